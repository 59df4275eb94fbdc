//! What came from gateways and is not taken yet: items by id and assignments by slot, each with who gave it.
//! Nothing here is verified but that an item's id is that of its signature; whoever takes something verifies
//! it, and says so when it was false.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use weft_protocol::assignment::Assignment;
use weft_protocol::bundle::Bundle;
use weft_protocol::push::ORIGIN_PROOF;
use weft_protocol::{Address, DataItem, Id, tag};
use weft_storage::limits::BATCH_ITEMS_MAX;

use super::machine::Gateway;
use crate::portable::{ATTESTATIONS_TYPE, EVIDENCE_TYPE};
use crate::threads;

/// Bytes that are held, and what came last beside them.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Pieces that are held: bundles, and items that came alone.
const PIECES_MAX: usize = 512;
/// Assignments of one slot in one piece: an honest scheduler makes one.
const RIVALS_MAX: usize = 8;

/// A bundle, or an item that came alone.
#[derive(Debug)]
struct Piece {
    gateway: Gateway,
    /// It is a bundle of the bytes that its name or its transaction commits to.
    is_proven: bool,
    bytes: usize,
    assignments: BTreeMap<u64, Vec<Rival>>,
    /// Between which slots those are: a log is looked through piece by piece for each of its slots.
    slots: Option<(u64, u64)>,
    items: BTreeMap<Id, Held>,
    /// Items that carry attestations or evidence.
    beside: Vec<DataItem>,
}

/// What an item is to a pool. What is read of it is left where that is not needed: tags take more than their bytes.
enum Sorted {
    /// It carries attestations or evidence.
    Beside(DataItem),
    Assignment(Box<Rival>, Held),
    Other(Id, Held),
}

/// An item, and the proof that it names.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) raw: Bytes,
    /// By its claims.
    pub(super) proof: Option<Id>,
}

/// An assignment, and what it claims.
#[derive(Debug)]
pub(super) struct Rival {
    pub(super) raw: Bytes,
    /// Whose key signed it, if any did.
    pub(super) owner: Address,
    pub(super) claims: Assignment,
}

/// What is held of one process.
#[derive(Debug)]
pub(super) struct Pool {
    process: Id,
    pieces: VecDeque<Piece>,
    bytes: usize,
}

/// Where an item is in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Who gave it.
    pub(super) gateway: Gateway,
    /// It is in a bundle as that was signed: what is false in it is a stranger's.
    pub(super) is_proven: bool,
    piece: usize,
    id: Id,
}

impl Piece {
    fn take(&mut self, item: Sorted) {
        let (id, held) = match item {
            Sorted::Beside(item) => return self.beside.push(item),
            Sorted::Other(id, held) => (id, held),
            Sorted::Assignment(rival, held) => {
                let (id, slot) = (rival.claims.id, rival.claims.slot);
                let (first, last) = self.slots.unwrap_or((slot, slot));
                self.slots = Some((first.min(slot), last.max(slot)));
                let rivals = self.assignments.entry(slot).or_default();
                if rivals.len() < RIVALS_MAX {
                    rivals.push(*rival);
                }
                (id, held)
            }
        };
        self.items.entry(id).or_insert(held);
    }

    /// Assignments of a slot.
    fn rivals(&self, slot: u64) -> &[Rival] {
        match self.slots {
            Some((first, last)) if (first..=last).contains(&slot) => {
                self.assignments.get(&slot).map_or(&[], Vec::as_slice)
            }
            _ => &[],
        }
    }

    const fn place(&self, piece: usize, id: Id) -> Place {
        Place { gateway: self.gateway, is_proven: self.is_proven, piece, id }
    }
}

impl Pool {
    pub(super) const fn new(process: Id) -> Self {
        Self { process, pieces: VecDeque::new(), bytes: 0 }
    }

    /// Takes a bundle in, read on so many threads. Items that are none are left out: they say nothing about the
    /// others.
    ///
    /// # Errors
    /// The bytes are no bundle, or one of more items than any of ours.
    pub(super) fn add_bundle(
        &mut self,
        (gateway, is_proven): (Gateway, bool),
        bytes: Bytes,
        threads: usize,
    ) -> Result<(), String> {
        let length = bytes.len();
        let bundle = Bundle::parse(bytes).map_err(|error| error.to_string())?;
        if bundle.len() > BATCH_ITEMS_MAX {
            return Err(format!("{} items, and {BATCH_ITEMS_MAX} are the most", bundle.len()));
        }
        let entries: Vec<_> = bundle.entries().collect();
        let items = threads::each(threads, &entries, |(id, range)| {
            let item = DataItem::parse(bundle.raw().slice(range.clone())).ok()?;
            // It is held under the id that its bytes hash to, or not at all.
            (item.claims().id() == *id).then(|| self.sort(item.claims()))
        });
        self.add((gateway, is_proven), length, items.into_iter().flatten());
        Ok(())
    }

    /// Takes an item in.
    pub(super) fn add_item(&mut self, gateway: Gateway, item: &DataItem) {
        let sorted = self.sort(item);
        self.add((gateway, false), item.raw().len(), std::iter::once(sorted));
    }

    fn sort(&self, item: &DataItem) -> Sorted {
        let of_process =
            tag::first(item.tags(), "Process").and_then(|id| id.parse::<Id>().ok()) == Some(self.process);
        let kind = tag::first(item.tags(), "Type");
        if of_process && matches!(kind, Some(ATTESTATIONS_TYPE | EVIDENCE_TYPE)) {
            return Sorted::Beside(item.clone());
        }
        let proof = item.tag(ORIGIN_PROOF).and_then(|named| named.parse().ok());
        let held = Held { raw: item.raw().clone(), proof };
        match of_process.then(|| Assignment::from_item(item)) {
            Some(Ok(claims)) => {
                let rival = Rival { raw: item.raw().clone(), owner: claims.scheduler, claims };
                Sorted::Assignment(Box::new(rival), held)
            }
            _ => Sorted::Other(item.id(), held),
        }
    }

    fn add(
        &mut self,
        (gateway, is_proven): (Gateway, bool),
        bytes: usize,
        items: impl Iterator<Item = Sorted>,
    ) {
        let mut piece = Piece {
            gateway,
            is_proven,
            bytes,
            assignments: BTreeMap::new(),
            slots: None,
            items: BTreeMap::new(),
            beside: Vec::new(),
        };
        items.for_each(|item| piece.take(item));
        while self.pieces.len() >= PIECES_MAX || (self.bytes > BYTES_MAX && !self.pieces.is_empty()) {
            if let Some(old) = self.pieces.pop_front() {
                self.bytes -= old.bytes;
            }
        }
        self.bytes += bytes;
        self.pieces.push_back(piece);
    }

    /// An assignment of a slot that `is_it` takes by what it claims.
    pub(super) fn assignment(&self, slot: u64, is_it: impl Fn(&Rival) -> bool) -> Option<(Place, &Rival)> {
        self.pieces.iter().enumerate().rev().find_map(|(piece, held)| {
            let rival = held.rivals(slot).iter().find(|rival| is_it(rival))?;
            Some((held.place(piece, rival.claims.id), rival))
        })
    }

    /// An item.
    pub(super) fn item(&self, id: &Id) -> Option<(Place, &Held)> {
        self.pieces
            .iter()
            .enumerate()
            .rev()
            .find_map(|(piece, held)| Some((held.place(piece, *id), held.items.get(id)?)))
    }

    /// The slot after the last one of what came last, by its claims.
    pub(super) fn end(&self) -> Option<u64> {
        self.pieces.back()?.slots.map(|(_, last)| last.saturating_add(1))
    }

    /// Forgets something that was false. The same id may be held from somebody else.
    pub(super) fn forget(&mut self, place: Place) {
        if let Some(held) = self.pieces.get_mut(place.piece) {
            held.items.remove(&place.id);
            for rivals in held.assignments.values_mut() {
                rivals.retain(|rival| rival.claims.id != place.id);
            }
        }
    }

    /// Takes out the items that carry attestations or evidence.
    pub(super) fn take_beside(&mut self) -> Vec<(Gateway, DataItem)> {
        let each = |held: &mut Piece| {
            let gateway = held.gateway;
            std::mem::take(&mut held.beside).into_iter().map(move |item| (gateway, item))
        };
        self.pieces.iter_mut().flat_map(each).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::assignment::AssignmentDraft;
    use weft_protocol::crypto::Signer;
    use weft_protocol::time::TimePoint;
    use weft_protocol::{Draft, Hash, Network, Verified};

    use super::*;

    const PROCESS: Id = Id([9; 32]);

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(&[seed; 32])
    }

    fn assignment(seed: u8, slot: u64, chain: u8) -> Verified<DataItem> {
        let draft = AssignmentDraft {
            network: Network(1),
            process: PROCESS,
            epoch: 0,
            slot,
            hash_chain: Hash([chain; 32]),
            time: TimePoint { timestamp: 120_000, height: 1 },
            message: (slot > 0).then_some(Id([slot as u8; 32])),
            excludes: Vec::new(),
        };
        draft.draft().sign(&signer(seed)).unwrap()
    }

    fn bundle(items: &[Verified<DataItem>]) -> Bytes {
        Bundle::build(items).raw().clone()
    }

    #[test]
    fn what_is_false_is_forgotten_where_it_was_and_nowhere_else() {
        let (good, rival) = (assignment(1, 3, 7), assignment(2, 3, 8));
        let mut pool = Pool::new(PROCESS);
        pool.add_bundle((0, false), bundle(&[good.clone(), rival.clone()]), 2).unwrap();
        pool.add_bundle((1, true), bundle(std::slice::from_ref(&good)), 2).unwrap();
        let by_chain = |chain: u8| move |rival: &Rival| rival.claims.hash_chain == Hash([chain; 32]);
        let (place, held) = pool.assignment(3, by_chain(7)).unwrap();
        assert_eq!((place.gateway, held.claims.id), (1, good.id()), "the newest comes first");
        assert!(place.is_proven);
        assert_eq!((&held.raw, held.owner), (good.raw(), good.owner()));
        pool.forget(place);
        assert_eq!(pool.assignment(3, by_chain(7)).unwrap().0.gateway, 0);
        assert_eq!(pool.assignment(3, by_chain(8)).unwrap().0.gateway, 0);
        assert!(pool.assignment(4, |_| true).is_none());
        let (place, _) = pool.item(&good.id()).unwrap();
        assert_eq!(place.gateway, 0);
        pool.forget(place);
        assert!(pool.item(&good.id()).is_none() && pool.item(&rival.id()).is_some());
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut pool = Pool::new(PROCESS);
        for number in 0..2 * PIECES_MAX as u64 {
            pool.add_item(0, &assignment(1, number, 1));
        }
        assert!(pool.pieces.len() <= PIECES_MAX);
        assert_eq!(pool.bytes, pool.pieces.iter().map(|held| held.bytes).sum::<usize>());
        assert!(pool.item(&assignment(1, 0, 1).id()).is_none(), "the oldest goes");
        let large = Draft { data: vec![1; 9 * 1024 * 1024].into(), ..Draft::default() };
        let large = large.sign(&signer(1)).unwrap();
        for _ in 0..40 {
            pool.add_item(0, &large);
        }
        assert!(pool.bytes <= BYTES_MAX + large.raw().len());
        // Rivals of one slot.
        let rivals: Vec<_> = (0..20).map(|chain| assignment(1, 5, chain)).collect();
        let mut pool = Pool::new(PROCESS);
        pool.add_bundle((0, false), bundle(&rivals), 2).unwrap();
        assert_eq!(pool.pieces[0].assignments[&5].len(), RIVALS_MAX);
        assert!(pool.add_bundle((0, false), vec![0xff; 64].into(), 2).is_err());
    }
}
