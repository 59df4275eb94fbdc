//! Finding items: every owner, target and tag is a term, and each term has the sorted list of
//! the places of its items. A query is an intersection of unions of such lists, walked by
//! seeking: a rare term makes a query cheap, however common the others are.

use weft_protocol::{Address, DataItem, Id};

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
    pub(super) fn find_now(
        &self,
        query: &TagQuery,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, AnchorError> {
        let criteria = criteria(query)?;
        let limit = limit.min(FIND_ITEMS_MAX);
        let reading = self.read()?;
        let start = Cursor { height: query.min_height, index: 0 };
        let mut at = from.map_or(start, |from| from.max(start));
        let mut page = Page::default();
        for _ in 0..FIND_LOOKS_MAX {
            if page.items.len() >= limit {
                break;
            }
            match look(&reading, &criteria, at)? {
                Look::End => return Ok(page),
                Look::Skip(to) => at = to,
                Look::Match => {
                    page.items.push(item_at(&reading, at)?);
                    at.index = at.index.saturating_add(1);
                }
            }
        }
        page.next = Some(at);
        Ok(page)
    }
}

/// The lists to intersect, each a union of terms.
fn criteria(query: &TagQuery) -> Result<Vec<Vec<Term>>, AnchorError> {
    let mut criteria = Vec::new();
    if !query.owners.is_empty() {
        criteria.push(query.owners.iter().map(owner_term).collect());
    }
    if let Some(target) = &query.target {
        criteria.push(vec![target_term(target)]);
    }
    for tag in &query.tags {
        criteria.push(tag.values.iter().map(|value| tag_term(&tag.name, value)).collect());
    }
    let size = criteria.iter().map(Vec::len).sum::<usize>().max(criteria.len());
    if size > QUERY_TERMS_MAX {
        return Err(AnchorError::TooLarge { what: "terms of a query", size, max: QUERY_TERMS_MAX });
    }
    Ok(criteria)
}

enum Look {
    /// All criteria hold here.
    Match,
    /// No match before there.
    Skip(Cursor),
    /// No match any more.
    End,
}

fn look(reading: &Reading, criteria: &[Vec<Term>], at: Cursor) -> Result<Look, StoreError> {
    let mut furthest = match seek(reading, Table::Order, &[], at)? {
        Some(first) => first,
        None => return Ok(Look::End),
    };
    for terms in criteria {
        let mut nearest: Option<Cursor> = None;
        for term in terms {
            if let Some(found) = seek(reading, Table::Terms, term, at)? {
                nearest = Some(nearest.map_or(found, |nearest| nearest.min(found)));
            }
        }
        let Some(nearest) = nearest else { return Ok(Look::End) };
        furthest = furthest.max(nearest);
    }
    Ok(if furthest == at { Look::Match } else { Look::Skip(furthest) })
}

/// The first place at or after `at` under a prefix.
fn seek(reading: &Reading, table: Table, prefix: &[u8], at: Cursor) -> Result<Option<Cursor>, StoreError> {
    let disk = |error| StoreError::disk("scanning", error);
    let from = [prefix, &key::place(at.height, at.index)].concat();
    let to = [prefix, &key::place(u64::MAX, u32::MAX)].concat();
    let open = reading.table(table)?;
    let mut range = open.range(from.as_slice()..=to.as_slice()).map_err(disk)?;
    let Some(entry) = range.next() else { return Ok(None) };
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
