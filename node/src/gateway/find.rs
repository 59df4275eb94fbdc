//! Finding items by what stands in their headers, as the weave's gateways do. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use weft_protocol::limits::CLOCK_BLOCK_MS;
use weft_protocol::{DataItem, Id, Tag, tag};

/// Characters of a cursor: several times what any takes.
const CURSOR_CHARS_MAX: usize = 256;

/// Where an item stands in time: by its slot, or at the beginning where it has none here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    /// The height of the weave `clock`.
    pub(super) height: u64,
    /// Milliseconds.
    pub(super) timestamp: u64,
}

/// An item without its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) id: Id,
    /// The hash of the key that signed it.
    pub(super) signer: String,
    /// The same as clients write it: an Ethereum address is one.
    pub(super) owner: String,
    pub(super) key: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) anchor: Option<[u8; 32]>,
    pub(super) target: Option<Id>,
    pub(super) tags: Vec<Tag>,
    pub(super) data_bytes: usize,
    /// None where it has no slot here.
    pub(super) place: Option<Place>,
}

impl Header {
    pub(super) fn of(item: &DataItem, place: Option<Place>) -> Self {
        Self {
            id: item.id(),
            signer: item.owner().to_string(),
            owner: item.owner_text(),
            key: item.owner_key().to_vec(),
            signature: item.signature().to_vec(),
            anchor: item.anchor().copied(),
            target: item.target(),
            tags: item.tags().to_vec(),
            data_bytes: item.data().len(),
            place,
        }
    }

    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        tag::first(&self.tags, name)
    }

    /// Bytes of what it shows, about.
    fn bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| tag.name.len() + tag.value.len()).sum();
        tags + self.key.len() + self.signature.len()
    }

    /// The order of headers: those without a place are the oldest.
    fn key(&self) -> Key {
        Key { place: self.place.unwrap_or_default(), id: self.id }
    }

    /// Where a page goes on after this one.
    pub(super) fn cursor(&self) -> String {
        let Key { place: Place { height, timestamp }, id } = self.key();
        URL_SAFE_NO_PAD.encode(format!("{height}.{timestamp}.{id}"))
    }
}

/// By height, then time, then name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    place: Place,
    id: Id,
}

impl Key {
    /// Where it stands in time.
    pub(super) const fn place(self) -> Place {
        self.place
    }

    /// Reads a cursor that a client gives back; none if it is not one.
    pub(super) fn parse(cursor: &str) -> Option<Self> {
        if cursor.len() > CURSOR_CHARS_MAX {
            return None;
        }
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let mut parts = text.splitn(3, '.');
        let (height, timestamp) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { place: Place { height, timestamp }, id: parts.next()?.parse().ok()? })
    }
}

/// What a tag must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TagRule {
    pub(super) name: String,
    /// One of these; any if there are none.
    pub(super) values: Vec<String>,
    /// Or none of them.
    pub(super) not: bool,
}

impl TagRule {
    fn holds(&self, tags: &[Tag]) -> bool {
        let is_named = |tag: &&Tag| {
            tag.name == self.name && (self.values.is_empty() || self.values.contains(&tag.value))
        };
        tags.iter().any(|tag| is_named(&tag)) != self.not
    }
}

/// Which items are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Signed by one of these, unless there are none.
    pub(super) owners: Vec<String>,
    /// Written to one of these, unless there are none.
    pub(super) recipients: Vec<String>,
    pub(super) tags: Vec<TagRule>,
    /// Not below this height.
    pub(super) min: Option<u64>,
    /// Not above this one.
    pub(super) max: Option<u64>,
}

/// What an item may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) processes: bool,
    pub(super) modules: bool,
    pub(super) locations: bool,
    pub(super) messages: bool,
}

impl Filter {
    pub(super) fn takes(&self, header: &Header) -> bool {
        let is_owner = |owner: &String| *owner == header.signer || owner.eq_ignore_ascii_case(&header.owner);
        let is_recipient = |to: &String| header.target.is_some_and(|target| *to == target.to_string());
        let height = header.place.map(|place| place.height);
        (self.owners.is_empty() || self.owners.iter().any(is_owner))
            && (self.recipients.is_empty() || self.recipients.iter().any(is_recipient))
            && self.min.is_none_or(|min| height.is_some_and(|height| height >= min))
            && self.max.is_none_or(|max| height.is_some_and(|height| height <= max))
            && self.tags.iter().all(|rule| rule.holds(&header.tags))
    }

    /// Which kinds can pass: others need not be read.
    pub(super) fn kinds(&self) -> Kinds {
        let types =
            self.tags.iter().filter(|rule| rule.name == "Type" && !rule.not && !rule.values.is_empty());
        let types: Vec<_> = types.map(|rule| &rule.values).collect();
        let may = |kind: &str| types.iter().all(|values| values.iter().any(|value| value == kind));
        Kinds {
            processes: may("Process"),
            modules: may("Module") && self.recipients.is_empty(),
            locations: may("Scheduler-Location") && self.recipients.is_empty(),
            messages: may("Message"),
        }
    }
}

/// In which order a page stands, and where it begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) ascending: bool,
    /// After this one.
    pub(super) after: Option<Key>,
}

impl Order {
    /// Where everything begins.
    pub(super) const fn start(self) -> Place {
        if self.ascending {
            Place { height: 0, timestamp: 0 }
        } else {
            Place { height: u64::MAX, timestamp: u64::MAX }
        }
    }
}

/// What was found so far: as many as a page may have, and one that says whether more follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Findings {
    order: Order,
    first: usize,
    headers: BTreeMap<Key, Header>,
    /// How far everything was looked at, if not to the end.
    edge: Option<Place>,
}

impl Findings {
    /// Nothing yet, for a page of at most so many.
    pub(super) const fn new(order: Order, first: usize) -> Self {
        Self { order, first, headers: BTreeMap::new(), edge: None }
    }

    pub(super) const fn order(&self) -> Order {
        self.order
    }

    /// Adds those that may stand on the page.
    pub(super) fn add(&mut self, headers: impl IntoIterator<Item = Header>) {
        for header in headers {
            let key = header.key();
            let is_after = match self.order.after {
                Some(after) if self.order.ascending => key > after,
                Some(after) => key < after,
                None => true,
            };
            if !is_after {
                continue;
            }
            // The same item may be known with its place and without.
            self.headers.insert(key, header);
            if self.headers.len() > self.first.saturating_add(1) {
                if self.order.ascending {
                    self.headers.pop_last()
                } else {
                    self.headers.pop_first()
                };
            }
        }
    }

    /// Whether nothing at this place or behind it can come onto the page, or say that more follow.
    pub(super) fn is_full_before(&self, place: Place) -> bool {
        let last =
            if self.order.ascending { self.headers.last_key_value() } else { self.headers.first_key_value() };
        let is_before = |key: &Key| if self.order.ascending { key.place < place } else { key.place > place };
        self.headers.len() > self.first && last.is_some_and(|(key, _)| is_before(key))
    }

    /// Whether not everything was looked at.
    pub(super) const fn is_cut(&self) -> bool {
        self.edge.is_some()
    }

    /// Beyond this not everything was looked at.
    pub(super) fn cut(&mut self, edge: Place) {
        let nearer = if self.order.ascending { Place::min } else { Place::max };
        self.edge = Some(self.edge.map_or(edge, |other| nearer(other, edge)));
    }

    /// The page: in order, each once; and whether more follow. It ends where not everything was looked at,
    /// unless nothing was found before that: then the next begins behind what was not.
    pub(super) fn page(self) -> (Vec<Header>, bool) {
        let Self { order, first, headers, edge } = self;
        let mut headers: Vec<Header> = headers.into_values().collect();
        if !order.ascending {
            headers.reverse();
        }
        if let Some(edge) = edge {
            let is_before = |header: &Header| {
                let place = header.key().place;
                if order.ascending { place < edge } else { place > edge }
            };
            let whole = headers.iter().take_while(|header| is_before(header)).count();
            headers.truncate(if whole > 0 { whole } else { headers.len() });
        }
        let more = headers.len() > first || (edge.is_some() && !headers.is_empty());
        headers.truncate(first);
        (headers, more)
    }
}

/// Cuts a page where its headers have more than so many bytes, after the first; whether it did.
pub(super) fn cut(page: &mut Vec<Header>, bytes_max: usize) -> bool {
    let mut bytes = 0;
    let within = page.iter().take_while(|header| {
        bytes += header.bytes();
        bytes <= bytes_max
    });
    let kept = within.count().max(1);
    let is_cut = page.len() > kept;
    page.truncate(kept);
    is_cut
}

/// The time at which a height begins, in seconds.
pub(super) const fn seconds_of(height: u64) -> u64 {
    height.saturating_mul(CLOCK_BLOCK_MS) / 1_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn header(number: u8, height: u64, tags: &[(&str, &str)]) -> Header {
        Header {
            id: Id([number; 32]),
            signer: "signer".into(),
            owner: "0xAbC".into(),
            key: Vec::new(),
            signature: Vec::new(),
            anchor: None,
            target: Some(Id([9; 32])),
            tags: tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect(),
            data_bytes: 0,
            place: Some(Place { height, timestamp: height * 10 }),
        }
    }

    fn rule(name: &str, values: &[&str], not: bool) -> TagRule {
        TagRule { name: name.into(), values: values.iter().map(|value| (*value).into()).collect(), not }
    }

    #[test]
    fn every_condition_must_hold() {
        let found = header(1, 5, &[("Type", "Process"), ("Name", "a"), ("Name", "b")]);
        let with = |filter: Filter| filter.takes(&found);
        assert!(with(Filter::default()));
        for owner in ["signer", "0xabc"] {
            assert!(
                with(Filter { owners: vec![owner.into(), String::new()], ..Filter::default() }),
                "{owner}"
            );
        }
        assert!(!with(Filter { owners: vec![String::new()], ..Filter::default() }));
        assert!(with(Filter { recipients: vec![Id([9; 32]).to_string()], ..Filter::default() }));
        assert!(!with(Filter { recipients: vec![Id([8; 32]).to_string()], ..Filter::default() }));
        let tags = |rules: &[TagRule]| with(Filter { tags: rules.to_vec(), ..Filter::default() });
        assert!(tags(&[rule("Type", &["Process"], false), rule("Name", &["x", "b"], false)]));
        assert!(!tags(&[rule("Type", &["Process"], false), rule("Name", &["x"], false)]));
        assert!(tags(&[rule("Name", &[], false)]) && !tags(&[rule("Other", &[], false)]));
        assert!(tags(&[rule("Name", &["x"], true)]) && !tags(&[rule("Name", &["a"], true)]));
        for (min, max, holds) in [(Some(5), Some(5), true), (Some(6), None, false), (None, Some(4), false)] {
            assert_eq!(with(Filter { min, max, ..Filter::default() }), holds);
        }
    }

    #[test]
    fn a_type_says_what_need_not_be_read() {
        let kinds = |rules: Vec<TagRule>| Filter { tags: rules, ..Filter::default() }.kinds();
        let all = Kinds { processes: true, modules: true, locations: true, messages: true };
        assert_eq!(kinds(vec![]), all);
        assert_eq!(kinds(vec![rule("Type", &["Process"], true)]), all);
        let process = kinds(vec![rule("Type", &["Process"], false)]);
        assert_eq!((process.processes, process.modules, process.messages), (true, false, false));
        let location = kinds(vec![rule("Type", &["Scheduler-Location"], false)]);
        assert_eq!((location.locations, location.processes), (true, false));
    }

    #[test]
    fn a_page_ends_where_not_everything_was_looked_at() {
        let ids = |ascending, edges: &[u64]| {
            let mut found = Findings::new(Order { ascending, after: None }, 10);
            found.add((1..=4).map(|number| header(number, number.into(), &[])));
            for height in edges {
                found.cut(Place { height: *height, timestamp: height * 10 });
            }
            let (page, more) = found.page();
            (page.iter().map(|header| header.id.0[0]).collect::<Vec<_>>(), more)
        };
        assert_eq!(ids(true, &[]), (vec![1, 2, 3, 4], false));
        assert_eq!(ids(true, &[4, 3]), (vec![1, 2], true));
        assert_eq!(ids(false, &[1, 2]), (vec![4, 3], true));
        assert_eq!(ids(true, &[1]), (vec![1, 2, 3, 4], true), "there is nothing before it");
        let mut none = Findings::new(Order::default(), 10);
        none.cut(Order::default().start());
        assert_eq!(none.page(), (vec![], false), "no cursor leads on from nothing");
    }

    #[test]
    fn pages_follow_each_other_in_either_order() {
        let all = || [header(3, 2, &[]), header(1, 1, &[]), header(2, 2, &[]), header(1, 1, &[])];
        let page = |order| {
            let mut found = Findings::new(order, 1);
            found.add(all());
            assert!(found.headers.len() <= 2, "no more than the page needs is kept");
            found.page()
        };
        for (ascending, numbers) in [(true, [1, 2, 3]), (false, [3, 2, 1])] {
            let mut order = Order { ascending, after: None };
            for (at, number) in numbers.into_iter().enumerate() {
                let (page, more) = page(order);
                assert_eq!(page[0].id, Id([number; 32]));
                assert_eq!(more, at < 2);
                order.after = Some(Key::parse(&page[0].cursor()).unwrap());
            }
            assert_eq!(page(order), (vec![], false));
        }
        let tagged = |number| header(number, 1, &[("Name", "12345678")]);
        let mut three = vec![tagged(1), tagged(2), tagged(3)];
        assert!(!cut(&mut three, 36) && three.len() == 3);
        assert!(cut(&mut three, 35) && three.len() == 2);
        assert!(cut(&mut three, 0) && three.len() == 1, "the first is always there");
        for wrong in ["", "%%", "MS4y", &"A".repeat(1_000)] {
            assert_eq!(Key::parse(wrong), None, "{wrong}");
        }
    }
}
