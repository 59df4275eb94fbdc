//! What messengers earned in a window of a process in hard mode: from its log, and from those of its targets.
//!
//! Pure: who has the same slots comes to the same sums.

use std::collections::BTreeMap;

use weft_protocol::market::{RANKS_PAID, TURN_MS, Unpaid, Window, due, price};
use weft_protocol::{Address, Hash};

pub use crate::pushed::Pushed;

/// A push that a process sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its id.
    pub push: Hash,
    /// Bytes of its data.
    pub bytes: u64,
    /// The timestamp of the source's slot that let it be known.
    pub at: u64,
    /// Its slot in the target's log, if that is known here.
    pub found: Option<Pushed>,
}

/// What one messenger did in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Pushes that were its to carry first.
    pub first: u64,
    /// Those of them that others carried before their turn: it did not leave them lying.
    pub snatched: u64,
    /// Pushes that it carried and is paid for, those of others that it took over included.
    pub paid: u64,
    /// Those of them that were another's to carry first.
    pub taken_over: u64,
    /// Pushes that it carried before its turn, for nothing.
    pub early: u64,
    /// Pushes that it carried at a rank that is not paid.
    pub late: u64,
    /// What it is due, in the ledger's smallest unit.
    pub due: u128,
}

/// What all messengers did in a window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// By messenger, those that only had their turn included.
    pub messengers: BTreeMap<Address, Tally>,
    /// Pushes carried by keys without an offer for them: nobody is paid for those.
    pub outside: u64,
    /// Pushes of which no slot is known.
    pub unknown: u64,
}

/// Adds up what these pushes of a window come to.
pub fn audit(window: &Window, sent: &[Sent]) -> Audit {
    let mut audit = Audit::default();
    for Sent { push, bytes, at, found } in sent {
        let order = window.order(push, *bytes);
        if let Some(first) = order.first() {
            audit.messengers.entry(first.messenger()).or_default().first += 1;
        }
        let Some(Pushed { carrier, timestamp, .. }) = found else {
            audit.unknown += 1;
            continue;
        };
        let ranked = order.iter().enumerate().find(|(_, entry)| entry.messenger() == *carrier);
        // After the turn of the last rank that has one it is anybody's.
        let turns = ranked.map_or(RANKS_PAID, |(rank, _)| rank.min(RANKS_PAID)) as u64;
        if timestamp.saturating_sub(*at) < turns * TURN_MS
            && let Some(first) = order.first()
        {
            audit.messengers.entry(first.messenger()).or_default().snatched += 1;
        }
        let Some((rank, entry)) = ranked else {
            audit.outside += 1;
            continue;
        };
        let tally = audit.messengers.entry(*carrier).or_default();
        match due(rank, *at, *timestamp) {
            Ok(()) => {
                tally.paid += 1;
                tally.taken_over += u64::from(rank > 0);
                tally.due += u128::from(price(entry.offer().terms(), *bytes));
            }
            Err(Unpaid::Early { .. }) => tally.early += 1,
            Err(_) => tally.late += 1,
        }
    }
    audit
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::assignment::{Assignment, AssignmentDraft};
    use weft_protocol::crypto::Signer;
    use weft_protocol::market::{Entry, Market, OfferSet, PushTerms, Quality, draft, set_slot};
    use weft_protocol::offer::OfferTerms;
    use weft_protocol::time::TimePoint;
    use weft_protocol::{Id, Network};

    use super::*;

    pub(crate) const NETWORK: Network = Network(7);
    pub(crate) const PROCESS: Id = Id([1; 32]);
    pub(crate) const TIME: u64 = 1_000_000;

    /// What the messenger of this key offers: each has its own price.
    pub(crate) fn offer(seed: u8) -> Entry {
        let terms = OfferTerms {
            network: NETWORK,
            sequence: 1,
            shards: Vec::new(),
            classes: 0,
            price_per_push: seed.into(),
            price_per_kib: 1,
            max_kib: 4,
            capacity_per_s: 1,
            latency_p50_ms: 0,
            stake: Hash::ZERO,
            valid_from: TIME,
            valid_to: TIME + 1_000,
        };
        Entry::new(terms.sign(&Signer::from_seed(&[seed; 32])).unwrap(), 0, Quality::NEW)
    }

    /// Window 1 with seven messengers, each at its own price.
    pub(crate) fn window() -> Window {
        let terms = PushTerms { ledger: Id([9; 32]), price_max: 100, kib_max: 100 };
        let market = Market { network: NETWORK, process: PROCESS, terms };
        let set = OfferSet::build(&market, 1, TIME, (1..8).map(offer).collect());
        let scheduler = Signer::from_seed(&[99; 32]);
        let item = draft(NETWORK, PROCESS, 1, &set).sign(&scheduler).unwrap();
        let assignment = AssignmentDraft {
            network: NETWORK,
            process: PROCESS,
            epoch: 0,
            slot: set_slot(1).unwrap(),
            hash_chain: Hash([3; 32]),
            time: TimePoint { timestamp: TIME, height: 0 },
            message: Some(item.id()),
            excludes: Vec::new(),
        };
        let assignment = Assignment::from_item(&assignment.draft().sign(&scheduler).unwrap()).unwrap();
        Window::read(&market, &assignment, &item).unwrap()
    }

    fn sent(push: u8, bytes: u64, carried: Option<(Address, u64)>) -> Sent {
        let found = carried.map(|(carrier, after)| Pushed {
            slot: 5,
            assignment: Id([4; 32]),
            timestamp: TIME + after,
            carrier,
        });
        Sent { push: Hash([push; 32]), bytes, at: TIME, found }
    }

    #[test]
    fn who_carried_in_its_turn_is_due_its_price_and_nobody_else() {
        let window = window();
        let at = |push: u8, bytes: u64, rank: usize| {
            let order = window.order(&Hash([push; 32]), bytes);
            (order[rank].messenger(), u128::from(order[rank].offer().terms().price_per_push))
        };
        // The first, for two KiB that were begun.
        let (first, price) = at(1, 1_025, 0);
        let paid = audit(&window, &[sent(1, 1_025, Some((first, 0)))]);
        let tally = Tally { first: 1, paid: 1, due: price + 2, ..Tally::default() };
        assert_eq!(paid, Audit { messengers: BTreeMap::from([(first, tally)]), ..Audit::default() });
        // A backup that waited, and one that did not.
        let (third, price) = at(1, 0, 2);
        let first = at(1, 0, 0).0;
        for (after, wanted) in [
            (2 * TURN_MS, Tally { paid: 1, taken_over: 1, due: price, ..Tally::default() }),
            (2 * TURN_MS - 1, Tally { early: 1, ..Tally::default() }),
        ] {
            let audit = audit(&window, &[sent(1, 0, Some((third, after)))]);
            assert_eq!(audit.messengers.get(&third), Some(&wanted), "{after}");
            let snatched = u64::from(after < 2 * TURN_MS);
            assert_eq!(audit.messengers.get(&first), Some(&Tally { first: 1, snatched, ..Tally::default() }));
        }
        // Behind all who are paid, somebody without an offer, and nobody who is known.
        let (sixth, _) = at(2, 0, RANKS_PAID);
        let stranger = Address([200; 32]);
        let all = [sent(2, 0, Some((sixth, 60_000))), sent(3, 0, Some((stranger, 0))), sent(4, 0, None)];
        let audit = audit(&window, &all);
        assert_eq!((audit.outside, audit.unknown), (1, 1));
        assert_eq!(audit.messengers[&sixth].late, 1);
        assert_eq!(audit.messengers.values().map(|tally| tally.first).sum::<u64>(), 3);
        assert_eq!(audit.messengers.values().map(|tally| tally.due).sum::<u128>(), 0);
    }

    /// The attack: who carries before its turn earns nothing, and would take the others' good name with it.
    #[test]
    fn what_others_carried_too_early_is_nobodys_fault() {
        let window = window();
        let first = window.order(&Hash([3; 32]), 0)[0].messenger();
        let anybodys = RANKS_PAID as u64 * TURN_MS;
        let last = window.order(&Hash([3; 32]), 0)[RANKS_PAID].messenger();
        for carrier in [Address([200; 32]), last] {
            for (after, snatched) in [(0, 1), (anybodys - 1, 1), (anybodys, 0)] {
                let audit = audit(&window, &[sent(3, 0, Some((carrier, after)))]);
                let tally = Tally { first: 1, snatched, ..Tally::default() };
                assert_eq!(audit.messengers[&first], tally, "{carrier} after {after}");
            }
        }
        let itself = audit(&window, &[sent(3, 0, Some((first, 0)))]);
        assert_eq!(itself.messengers[&first].snatched, 0);
    }

    #[test]
    fn an_offer_for_smaller_pushes_has_no_rank() {
        let window = window();
        let messenger = window.set().entries()[0].messenger();
        let audit = audit(&window, &[sent(1, 4 * 1_024 + 1, Some((messenger, 0)))]);
        assert_eq!((audit.outside, audit.messengers.len()), (1, 0));
    }
}
