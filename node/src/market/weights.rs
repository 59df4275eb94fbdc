//! What a scheduler knows of the messengers of its processes in hard mode: their bonds, as the ledger of each process
//! shows them, and how well they carried, as the logs do.
//!
//! Pure. An offer set is made of what stands here when its slot comes up: what was not heard by then, or long ago, counts
//! as no bond.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_protocol::market::{Quality, Standing};
use weft_protocol::{Address, Id, Now};

use super::audit::Audit;

/// How long bonds are believed that were not read again, in milliseconds: a ledger gives a bond back no sooner than two
/// challenge periods after it was asked for.
pub const BELIEVED_MS: u64 = 600_000;
/// Messengers of one process whose standings are kept: four sets of them. The one that carried nothing for
/// longest is forgotten, and begins anew.
pub const STANDINGS_MAX: usize = 256;

/// Bonds of a ledger by messenger.
pub type Bonds = Arc<BTreeMap<Address, u64>>;

/// What is known of the messengers of one process.
#[derive(Debug, Default)]
struct Known {
    bonds: Option<(Now, Bonds)>,
    /// With the window in which each was seen last.
    standings: BTreeMap<Address, (u64, Standing)>,
    /// The newest window that is in them.
    through: Option<u64>,
}

/// What is known, by process.
#[derive(Debug, Default)]
pub struct Weights(BTreeMap<Id, Known>);

impl Weights {
    /// Forgets all processes but these.
    pub fn keep(&mut self, processes: &BTreeSet<Id>) {
        self.0.retain(|process, _| processes.contains(process));
    }

    /// The ledger of a process shows these bonds.
    pub fn bonds(&mut self, process: Id, bonds: Bonds, now: Now) {
        self.0.entry(process).or_default().bonds = Some((now, bonds));
    }

    /// The newest window of a process that is in the standings.
    pub fn through(&self, process: &Id) -> Option<u64> {
        self.0.get(process)?.through
    }

    /// A window came to this. One that is in the standings already changes nothing.
    pub fn carried(&mut self, process: Id, window: u64, audit: &Audit) {
        let known = self.0.entry(process).or_default();
        if known.through.is_some_and(|through| window <= through) {
            return;
        }
        known.through = Some(window);
        for (messenger, tally) in &audit.messengers {
            let first = tally.first.saturating_sub(tally.snatched);
            if first == 0 {
                continue;
            }
            let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            let (seen, standing) = known.standings.entry(*messenger).or_insert((window, Standing::NEW));
            // Of what was paid, all that was not another's was its own to carry first.
            let own = tally.paid.saturating_sub(tally.taken_over);
            (*seen, *standing) = (window, standing.after(count(first), count(own)));
        }
        while known.standings.len() > STANDINGS_MAX {
            let oldest = known.standings.iter().min_by_key(|(_, (seen, _))| *seen);
            let Some(oldest) = oldest.map(|(messenger, _)| *messenger) else { break };
            known.standings.remove(&oldest);
        }
    }

    /// The bond of a messenger at the ledger of a process, if that ledger was read not long ago.
    pub fn bond(&self, process: &Id, messenger: &Address, now: Now) -> Option<u64> {
        let (at, bonds) = self.0.get(process)?.bonds.as_ref()?;
        let bond = bonds.get(messenger).copied().unwrap_or(0);
        (now < at.plus_ms(BELIEVED_MS)).then_some(bond)
    }

    /// How well a messenger carried for a process.
    pub fn quality(&self, process: &Id, messenger: &Address) -> Quality {
        let standing = self.0.get(process).and_then(|known| known.standings.get(messenger));
        standing.map_or(Quality::NEW, |(_, standing)| standing.quality())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::audit::Tally;
    use super::*;

    const PROCESS: Id = Id([1; 32]);

    fn address(number: u16) -> Address {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Address(bytes)
    }

    fn window(messengers: &[(u16, u64, u64)]) -> Audit {
        let tally = |first, own| Tally { first, paid: own, ..Tally::default() };
        let messengers =
            messengers.iter().map(|(number, first, own)| (address(*number), tally(*first, *own)));
        Audit { messengers: messengers.collect(), ..Audit::default() }
    }

    #[test]
    fn what_was_read_long_ago_is_no_bond() {
        let mut weights = Weights::default();
        assert_eq!(weights.bond(&PROCESS, &address(1), Now(0)), None);
        weights.bonds(PROCESS, Arc::new(BTreeMap::from([(address(1), 7)])), Now(1_000));
        let bond = |number, now| weights.bond(&PROCESS, &address(number), Now(now));
        assert_eq!((bond(1, 1_000), bond(2, 1_000)), (Some(7), Some(0)));
        assert_eq!((bond(1, 1_000 + BELIEVED_MS - 1), bond(1, 1_000 + BELIEVED_MS)), (Some(7), None));
        weights.keep(&BTreeSet::new());
        assert_eq!(weights.bond(&PROCESS, &address(1), Now(1_000)), None);
    }

    #[test]
    fn who_carries_what_is_its_own_weighs_more_and_who_does_not_less() {
        let mut weights = Weights::default();
        assert_eq!(weights.quality(&PROCESS, &address(1)), Quality::NEW);
        weights.carried(PROCESS, 1, &window(&[(1, 200, 200), (2, 600, 0), (3, 0, 9)]));
        let quality = |weights: &Weights, number| weights.quality(&PROCESS, &address(number)).number();
        assert_eq!((quality(&weights, 1), quality(&weights, 2), quality(&weights, 3)), (3, 1, 2));
        // A window counts once.
        weights.carried(PROCESS, 1, &window(&[(1, 5_000, 0)]));
        assert_eq!((weights.through(&PROCESS), quality(&weights, 1)), (Some(1), 3));
        weights.carried(PROCESS, 2, &window(&[(1, 600, 600)]));
        assert_eq!(quality(&weights, 1), 4);
        // What another could not carry and it did is nothing of its own.
        let mut taken = window(&[(2, 600, 600)]);
        taken.messengers.get_mut(&address(2)).unwrap().taken_over = 600;
        weights.carried(PROCESS, 3, &taken);
        assert_eq!(quality(&weights, 2), 1);
        // And what others carried before their turn it could not: that counts neither way.
        let mut snatched = window(&[(1, 600, 0)]);
        snatched.messengers.get_mut(&address(1)).unwrap().snatched = 600;
        weights.carried(PROCESS, 4, &snatched);
        assert_eq!((weights.through(&PROCESS), quality(&weights, 1)), (Some(4), 4));
    }

    #[test]
    fn standings_are_bounded_and_the_newest_stay() {
        let mut weights = Weights::default();
        weights.carried(PROCESS, 1, &window(&[(1, 600, 600)]));
        let many: Vec<_> = (2..=1 + STANDINGS_MAX as u16).map(|number| (number, 1, 1)).collect();
        weights.carried(PROCESS, 2, &window(&many));
        assert_eq!(weights.0[&PROCESS].standings.len(), STANDINGS_MAX);
        assert_eq!(weights.quality(&PROCESS, &address(1)), Quality::NEW, "it was seen before the others");
    }
}
