//! What dry runs of peers may use in an hour, all together (`others_dry_run_gas`).
//!
//! Half of it is for whoever comes first. Of the other two quarters no peer may use more than a part, so that one that always asks
//! leaves something to the others; the last is for processes alone that this node attests and its operator hosts, as others
//! read ledgers so. A key costs nothing: many of them together can use up all of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_net::Peer;
use weft_protocol::Now;

use super::DryRunError;
use crate::compute::machine::Allowance;

/// What a run of a peer counts for beside its gas: the copy that it runs on takes about ten milliseconds of a core.
const COPY_GAS: u64 = 10_000_000_000;
/// The shortest that a peer is asked to wait for more gas, in milliseconds.
const SPENT_RETRY_MS_MIN: u64 = 1_000;
/// The part of all of it that one peer may use of what is not for whoever comes first.
const SHARE: u64 = 16;
/// Peers of which it is remembered what they used of that; beyond it those are forgotten that used least.
const PEERS_MAX: usize = 1_024;

/// What peers may use, and where the metrics read what they did.
pub(super) struct Budget {
    stores: Mutex<Stores>,
    used: Arc<AtomicU64>,
}

/// What a run is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// For whoever comes first.
    Common,
    /// For each peer a part.
    Shared,
    /// The same, and for the processes alone that this node is relied on for.
    Reserve,
}

struct Stores {
    common: Allowance,
    shared: Allowance,
    reserve: Allowance,
    /// What each peer may use of the latter two.
    each: u64,
    /// What is left of that, of those that used some.
    peers: BTreeMap<Peer, Allowance>,
}

impl Stores {
    fn new(per_hour: u64) -> Self {
        let quarter = per_hour / 4;
        Self {
            common: Allowance::new(per_hour - 2 * quarter),
            shared: Allowance::new(quarter),
            reserve: Allowance::new(quarter),
            each: per_hour / SHARE,
            peers: BTreeMap::new(),
        }
    }

    fn used(&self) -> u64 {
        [&self.common, &self.shared, &self.reserve]
            .iter()
            .fold(0, |sum, store| sum.saturating_add(store.used()))
    }

    /// In how many milliseconds one more run of a peer may begin, and what it is counted in then; none where none ever may.
    fn next(&mut self, peer: Peer, is_relied_on: bool, now: Now) -> Option<(u64, Store)> {
        let wait_ms = |store: &mut Allowance| {
            store.has_some(now);
            store.wait_ms()
        };
        let mut own = self.peers.get(&peer).cloned().unwrap_or_else(|| Allowance::new(self.each));
        let own = wait_ms(&mut own);
        let common = wait_ms(&mut self.common);
        let [shared, reserve] =
            [&mut self.shared, &mut self.reserve].map(|store| Some(wait_ms(store)?.max(own?)));
        let stores = [
            (Store::Common, common),
            (Store::Shared, shared),
            (Store::Reserve, reserve.filter(|_| is_relied_on)),
        ];
        let stores = stores.into_iter().filter_map(|(store, wait_ms)| Some((wait_ms?, store)));
        stores.min_by_key(|(wait_ms, _)| *wait_ms)
    }

    fn spend(&mut self, peer: Peer, store: Store, gas: u64, now: Now) {
        let of_all = match store {
            Store::Common => return self.common.spend(gas),
            Store::Shared => &mut self.shared,
            Store::Reserve => &mut self.reserve,
        };
        of_all.spend(gas);
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            self.peers.retain(|_, left| {
                left.has_some(now);
                left.used() > 0
            });
            let least = self.peers.iter().min_by_key(|(_, left)| left.used()).map(|(peer, _)| *peer);
            if let Some(least) = least.filter(|_| self.peers.len() >= PEERS_MAX) {
                self.peers.remove(&least);
            }
        }
        let own = self.peers.entry(peer).or_insert_with(|| Allowance::new(self.each));
        own.has_some(now);
        own.spend(gas);
    }
}

impl Budget {
    pub(super) fn new(per_hour: u64, used: Arc<AtomicU64>) -> Self {
        Self { stores: Mutex::new(Stores::new(per_hour)), used }
    }

    fn stores(&self) -> MutexGuard<'_, Stores> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more of a peer may begin, of a process that this node is relied on for or of another; gives what it is counted
    /// in.
    ///
    /// # Errors
    /// When, or that none ever may.
    pub(super) fn check(&self, peer: Peer, is_relied_on: bool, now: Now) -> Result<Store, DryRunError> {
        let mut stores = self.stores();
        let next = stores.next(peer, is_relied_on, now);
        self.used.store(stores.used(), Ordering::Relaxed);
        match next {
            Some((0, store)) => Ok(store),
            Some((wait_ms, _)) => Err(DryRunError::Spent { retry_ms: wait_ms.max(SPENT_RETRY_MS_MIN) }),
            None => Err(DryRunError::NotForPeers),
        }
    }

    /// Counts what a run used.
    pub(super) fn spend(&self, (peer, store): (Peer, Store), gas: u64, now: Now) {
        let mut stores = self.stores();
        stores.spend(peer, store, gas.saturating_add(COPY_GAS), now);
        self.used.store(stores.used(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use weft_protocol::crypto::Signer;

    use super::*;
    use crate::shared::testing::peer;

    const HOUR_MS: u64 = 3_600_000;

    fn budget(per_hour: u64) -> Budget {
        Budget::new(per_hour, Arc::default())
    }

    const fn at(ms: u64) -> Now {
        Now(1_000_000 + ms)
    }

    /// How many runs of a peer that use nothing may begin now, one after the other.
    fn runs(budget: &Budget, of: u8, is_relied_on: bool, now: Now) -> usize {
        let run = || {
            let store = budget.check(peer(of), is_relied_on, now).ok()?;
            budget.spend((peer(of), store), 0, now);
            Some(())
        };
        std::iter::from_fn(run).count()
    }

    #[test]
    fn peers_use_what_they_are_given_and_are_told_when_there_is_more() {
        let budget = budget(64 * COPY_GAS);
        let used = || budget.used.load(Ordering::Relaxed) / COPY_GAS;
        // However little they ask for, so many of them use up an hour's gas.
        let all: usize = (0..9).map(|of| runs(&budget, of, true, at(0))).sum();
        assert_eq!((all, used()), (64, 64));
        let Err(DryRunError::Spent { retry_ms }) = budget.check(peer(9), true, at(0)) else {
            panic!("it goes on")
        };
        assert_eq!(retry_ms, SPENT_RETRY_MS_MIN);
        // What was dear is paid off first.
        for store in [Store::Common, Store::Shared, Store::Reserve] {
            budget.spend((peer(9), store), 15 * COPY_GAS, at(0)); // and the copy
        }
        let error = budget.check(peer(10), false, at(0)).unwrap_err();
        assert!(error.to_string().contains("`others_dry_run_gas`"), "{error}");
        let DryRunError::Spent { retry_ms } = error else { panic!("{error}") };
        assert_eq!(retry_ms, HOUR_MS / 2 + 1);
        assert!(budget.check(peer(10), true, at(retry_ms - 1)).is_err());
        budget.check(peer(10), false, at(retry_ms)).unwrap();
        let none = self::budget(0).check(peer(0), true, at(HOUR_MS));
        assert!(matches!(none, Err(DryRunError::NotForPeers)), "{none:?}");
        assert_eq!(runs(&self::budget(1), 0, true, at(0)), 1, "something, at least");
    }

    #[test]
    fn one_peer_that_always_asks_leaves_the_others_something() {
        let budget = budget(64 * COPY_GAS);
        assert_eq!(runs(&budget, 0, false, at(0)), 32 + 4, "half of all, and its own part");
        assert_eq!(runs(&budget, 0, true, at(0)), 0, "it has one part");
        assert_eq!(runs(&budget, 1, false, at(0)), 4);
        // However often it asks, it takes nothing of what the others have.
        for minute in 0..=60 {
            runs(&budget, 0, false, at(minute * HOUR_MS / 60));
        }
        assert_eq!([0, 1, 2].map(|of| runs(&budget, of, false, at(HOUR_MS))), [0, 4, 4]);
    }

    #[test]
    fn what_this_node_is_relied_on_for_is_answered_when_all_else_is_used() {
        let budget = budget(64 * COPY_GAS);
        let all: usize = (0..99).map(|of| runs(&budget, of, false, at(0))).sum();
        assert_eq!(all, 48);
        assert_eq!((runs(&budget, 100, false, at(0)), runs(&budget, 100, true, at(0))), (0, 4));
    }

    #[test]
    fn of_many_peers_those_are_forgotten_that_used_least() {
        let mut stores = Stores::new(SHARE * COPY_GAS);
        let key = |number: usize| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&number.to_be_bytes());
            let key = Signer::from_seed(&seed).owner_key();
            Peer::from_ed25519(&key.try_into().unwrap()).unwrap()
        };
        let used = |stores: &Stores, number| stores.peers.get(&key(number)).map(Allowance::used);
        for number in 0..PEERS_MAX {
            // The first used least.
            stores.spend(key(number), Store::Shared, 1 + u64::from(number > 0), at(0));
        }
        stores.spend(key(PEERS_MAX), Store::Shared, 2, at(0));
        assert_eq!((stores.peers.len(), used(&stores, 0)), (PEERS_MAX, None));
        assert_eq!((used(&stores, 1), used(&stores, PEERS_MAX)), (Some(2), Some(2)));
        // Who uses nothing for a while has all of its part again, and is nobody to remember.
        stores.spend(key(0), Store::Reserve, 1, at(HOUR_MS));
        assert_eq!(stores.peers.len(), 1);
    }
}
