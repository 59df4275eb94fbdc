//! Finding items: every owner, target and tag is a term, and each term has the sorted list of
//! the places of its items. A query is an intersection of unions of such lists, walked by
//! seeking: a rare term makes a query cheap, however common the others are.

use weft_protocol::{Address, DataItem, Hash, Id};

use super::LocalWeave;
use super::access::{Access as _, Reading};
use super::rows::{Place, Table};
use crate::anchor::{AnchorError, Cursor, ItemRef, Page, TagQuery};
use crate::error::{StoreError, hex};
use crate::key::{self, Parts};
use crate::limits::{FIND_ITEMS_MAX, FIND_LOOKS_MAX, QUERY_TERMS_MAX};

/// BLAKE3 of what an item is indexed under.
type Term = [u8; 32];

fn term(kind: &str, parts: &[&[u8]]) -> Term {
    let mut hasher = blake3::Hasher::new_derive_key("weft weave term 1");
    for part in std::iter::once(&kind.as_bytes()).chain(parts) {
        hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
    }
    hasher.finalize().into()
}

fn owner_term(owner: &Address) -> Term {
    term("owner", &[&owner.0])
}

fn target_term(target: &Id) -> Term {
    term("target", &[&target.0])
}

fn tag_term(name: &str, value: &str) -> Term {
    term("tag", &[name.as_bytes(), value.as_bytes()])
}

/// Everything that an item is found by.
pub(super) fn terms(item: &DataItem) -> Vec<Term> {
    let tags = item.tags().iter().map(|tag| tag_term(&tag.name, &tag.value));
    let target = item.target().as_ref().map(target_term);
    tags.chain([owner_term(&item.owner())]).chain(target).collect()
}

impl LocalWeave {
    /// What and where an item is that is in a block. Blocks on the disk.
    ///
    /// # Errors
    /// As [`newest_block`](Self::newest_block).
    pub fn found(&self, id: &Id) -> Result<Option<ItemRef>, AnchorError> {
        let reading = self.read()?;
        let Some(place) = reading.get::<Place>(Table::Places, &id.0)? else { return Ok(None) };
        item_at(&reading, Cursor { height: place.height, index: place.index }).map(Some)
    }

    /// Items from a place on, at most `limit`. Blocks on the disk.
    ///
    /// # Errors
    /// [`AnchorError::TooLarge`] for a query of too many terms, or as
    /// [`newest_block`](Self::newest_block).
    pub fn find_now(
        &self,
        query: &TagQuery,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, AnchorError> {
        let reading = self.read()?;
        let criteria = criteria(query, &reading)?;
        let limit = limit.min(FIND_ITEMS_MAX);
        let walk = Walk::of(query);
        let mut at = from.map_or(walk.start(), |from| walk.further(from, walk.start()));
        let mut page = Page::default();
        for _ in 0..FIND_LOOKS_MAX {
            if page.items.len() >= limit {
                break;
            }
            match look(&reading, &criteria, at, walk)? {
                Look::End => return Ok(page),
                Look::Skip(to) => at = to,
                Look::Match => {
                    page.items.push(item_at(&reading, at)?);
                    let Some(next) = at.beyond(walk.newest_first) else { return Ok(page) };
                    at = next;
                }
            }
        }
        page.next = Some(at);
        Ok(page)
    }
}

/// Which places are gone through, and from which end.
#[derive(Debug, Clone, Copy)]
struct Walk {
    lowest: Cursor,
    highest: Cursor,
    newest_first: bool,
}

impl Walk {
    fn of(query: &TagQuery) -> Self {
        Self {
            lowest: Cursor { height: query.min_height, index: 0 },
            highest: Cursor { height: query.max_height.unwrap_or(u64::MAX), index: u32::MAX },
            newest_first: query.newest_first,
        }
    }

    const fn start(self) -> Cursor {
        if self.newest_first { self.highest } else { self.lowest }
    }

    /// That of two places which is reached first.
    fn nearer(self, one: Cursor, other: Cursor) -> Cursor {
        if self.newest_first { one.max(other) } else { one.min(other) }
    }

    /// That of two places which is reached last.
    fn further(self, one: Cursor, other: Cursor) -> Cursor {
        if self.newest_first { one.min(other) } else { one.max(other) }
    }
}

/// One thing that must hold of an item.
enum Criterion {
    /// It has one of these terms.
    Terms(Vec<Term>),
    /// It stands between one of these pairs of places, both included.
    Places(Vec<(Cursor, Cursor)>),
}

/// The lists to intersect, each a union.
fn criteria(query: &TagQuery, reading: &Reading) -> Result<Vec<Criterion>, AnchorError> {
    let mut criteria = Vec::new();
    let named = query.tags.iter().map(|tag| tag.values.len().max(1)).sum::<usize>();
    let size = query.owners.len() + query.targets.len() + query.batches.len() + named;
    if size > QUERY_TERMS_MAX {
        return Err(AnchorError::TooLarge { what: "terms of a query", size, max: QUERY_TERMS_MAX });
    }
    if !query.owners.is_empty() {
        criteria.push(Criterion::Terms(query.owners.iter().map(owner_term).collect()));
    }
    if !query.targets.is_empty() {
        criteria.push(Criterion::Terms(query.targets.iter().map(target_term).collect()));
    }
    for tag in &query.tags {
        let terms = tag.values.iter().map(|value| tag_term(&tag.name, value));
        criteria.push(Criterion::Terms(terms.collect()));
    }
    if !query.batches.is_empty() {
        let places = query.batches.iter().map(|batch| places_of(reading, batch));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        criteria.push(Criterion::Places(places.into_iter().flatten().collect()));
    }
    Ok(criteria)
}

/// The first and the last place of a batch in its block; none for one that is in no block.
fn places_of(reading: &Reading, batch: &Hash) -> Result<Option<(Cursor, Cursor)>, AnchorError> {
    let Some(height) = reading.get::<u64>(Table::Mined, &batch.0)? else { return Ok(None) };
    let missing = AnchorError::Chain { height, reason: "the block is missing" };
    let mut first = 0_usize;
    for transaction in reading.block(height)?.ok_or(missing)?.transactions {
        let count = reading.bundle(&transaction.data_root)?.ids().count();
        if transaction.data_root == *batch {
            let place = |index: usize| Cursor { height, index: u32::try_from(index).unwrap_or(u32::MAX) };
            return Ok(count.checked_sub(1).map(|last| (place(first), place(first + last))));
        }
        first += count;
    }
    Ok(None)
}

enum Look {
    /// All criteria hold here.
    Match,
    /// No match before there.
    Skip(Cursor),
    /// No match any more.
    End,
}

fn look(reading: &Reading, criteria: &[Criterion], at: Cursor, walk: Walk) -> Result<Look, StoreError> {
    let mut furthest = match seek(reading, Table::Order, &[], at, walk)? {
        Some(first) => first,
        None => return Ok(Look::End),
    };
    for criterion in criteria {
        let mut nearest: Option<Cursor> = None;
        let mut note = |found: Cursor| {
            nearest = Some(nearest.map_or(found, |nearest| walk.nearer(nearest, found)));
        };
        match criterion {
            Criterion::Terms(terms) => {
                for term in terms {
                    if let Some(found) = seek(reading, Table::Terms, term, at, walk)? {
                        note(found);
                    }
                }
            }
            Criterion::Places(places) => {
                for (first, last) in places {
                    let (entry, end) = if walk.newest_first { (*last, *first) } else { (*first, *last) };
                    let found = walk.further(entry, at);
                    if walk.further(found, end) == end {
                        note(found);
                    }
                }
            }
        }
        let Some(nearest) = nearest else { return Ok(Look::End) };
        furthest = walk.further(furthest, nearest);
    }
    Ok(if furthest == at { Look::Match } else { Look::Skip(furthest) })
}

/// The first place at or beyond `at` under a prefix.
fn seek(
    reading: &Reading,
    table: Table,
    prefix: &[u8],
    at: Cursor,
    walk: Walk,
) -> Result<Option<Cursor>, StoreError> {
    let disk = |error| StoreError::disk("scanning", error);
    let key = |place: Cursor| [prefix, &key::place(place.height, place.index)].concat();
    let (from, to) = if walk.newest_first { (walk.lowest, at) } else { (at, walk.highest) };
    if from > to {
        return Ok(None);
    }
    let open = reading.table(table)?;
    let mut range = open.range(key(from).as_slice()..=key(to).as_slice()).map_err(disk)?;
    let entry = if walk.newest_first { range.next_back() } else { range.next() };
    let Some(entry) = entry else { return Ok(None) };
    let (found, _) = entry.map_err(disk)?;
    let mut parts = Parts(found.value().get(prefix.len()..).unwrap_or_default());
    let place = parts.u64().zip(parts.u32()).map(|(height, index)| Cursor { height, index });
    place.map(Some).ok_or_else(|| StoreError::Damaged {
        table: table.name(),
        key: hex(found.value()),
        reason: "the key has the wrong length",
    })
}

fn item_at(reading: &Reading, at: Cursor) -> Result<ItemRef, AnchorError> {
    let id: Id = reading.named(Table::Order, &key::place(at.height, at.index))?;
    let place: Place = reading.named(Table::Places, &id.0)?;
    let missing = AnchorError::Chain { height: at.height, reason: "the block is missing" };
    let block = reading.block(at.height)?.ok_or(missing)?.hash();
    let raw = reading.item(&id)?;
    let item = DataItem::parse(raw).map_err(|_| StoreError::Damaged {
        table: Table::Items.name(),
        key: hex(&id.0),
        reason: "the item does not parse",
    })?;
    let item = item.claims();
    Ok(ItemRef {
        place: at,
        id,
        owner: item.owner(),
        target: item.target(),
        tags: item.tags().to_vec(),
        data_bytes: item.data().len() as u64,
        batch: place.batch,
        height: at.height,
        block,
    })
}
