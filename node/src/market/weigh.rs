//! Reads what offer sets are weighed by: the bonds in the ledgers, and who carried what in the windows that are over.

mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_protocol::Id;
use weft_protocol::market::{WINDOW_SLOTS, window_of};
use weft_protocol::process::Process;
use weft_storage::Roles;

use self::turns::Turns;
use super::audit::{Audit, Sent, audit};
use super::sent::{Push, look_for, outboxes};
use super::{ledger, window_at};
use crate::control::Answers;
use crate::error::NodeError;
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// How often it is looked what there is to read.
const LOOK: Duration = Duration::from_secs(5);
/// How long reading one ledger may take: half of what lies between two times.
const READ_WAIT: Duration = Duration::from_secs(30);
/// Processes that are weighed for: for the sets of others nobody has a bond. This node's own come first, then those of
/// strangers whose bonds are known.
const PROCESSES_MAX: usize = 1_024;
/// Windows that are looked at after a start: what is older hardly counts any more in a busy one.
const WINDOWS_BACK: u64 = 4;
/// Pushes of a window that are looked for, the first ones: they say enough of who carries.
const PUSHES_MAX: usize = 1_024;
/// How many are looked for before it is seen whether there is time for more.
const PUSHES_STEP: usize = 64;
/// How long looking for those of one window may take, about.
const WINDOW_WAIT: Duration = Duration::from_secs(60);

/// The loops.
pub struct WeighTask {
    shared: SharedRef,
    answers: Answers,
    /// Which of too many strangers' processes come first: another order on each node and at each start, as ids can be made to
    /// be the lowest of any order that is known.
    order: RandomState,
}

/// What is to be read.
#[derive(Default)]
struct Named {
    /// The processes that named each ledger.
    ledgers: BTreeMap<Id, Vec<Id>>,
    /// Ledgers of which some process has no bonds yet.
    lacking: BTreeSet<Id>,
}

impl WeighTask {
    /// The loops of a node that schedules.
    pub fn new(shared: SharedRef, answers: Answers) -> Self {
        Self { shared, answers, order: RandomState::new() }
    }

    /// Runs until the node stops. Targets that nobody serves hold up no ledger, and those that strangers name none of this
    /// node's own processes.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.read() => {}
            () = self.look(|roles| !roles.for_others) => {}
            () = self.look(|roles| roles.for_others) => {}
        }
    }

    async fn read(&self) {
        let (mut tick, mut turns) = (tokio::time::interval(LOOK), Turns::default());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut named, mut reading) = (Named::default(), FuturesUnordered::new());
        loop {
            tokio::select! {
                _ = tick.tick() => named = self.named(&mut turns).await,
                Some((ledger, has_answered)) = reading.next(), if !reading.is_empty() => {
                    turns.ended(&ledger, has_answered, self.shared.clock.now());
                }
            }
            for ledger in turns.begin(&named.lacking, self.shared.clock.now()) {
                let of = named.ledgers.get(&ledger).cloned().unwrap_or_default();
                reading.push(self.read_ledger(ledger, of));
            }
        }
    }

    /// Looks which ledgers there are to read.
    async fn named(&self, turns: &mut Turns) -> Named {
        let processes = self.processes().await;
        self.shared.market.weights().keep(&processes.iter().map(|process| process.id()).collect());
        let (mut named, mut own) = (Named::default(), BTreeMap::new());
        let (now, directory) = (self.shared.clock.now(), &self.shared.directory);
        for process in &processes {
            let (id, Some(market)) = (process.id(), process.market()) else { continue };
            let ledger = market.terms.ledger;
            named.ledgers.entry(ledger).or_default().push(id);
            if self.shared.market.bond(&id, &self.shared.address, now).is_none() {
                named.lacking.insert(ledger);
            }
            let is_own = directory.roles(&id).is_some_and(|roles| !roles.for_others)
                || directory.roles(&ledger).is_some_and(|roles| roles.computes);
            *own.entry(ledger).or_default() |= is_own;
        }
        turns.keep(&own);
        named
    }

    /// Reads a ledger for these processes; whether it answered.
    async fn read_ledger(&self, ledger: Id, of: Vec<Id>) -> (Id, bool) {
        let read = tokio::time::timeout(READ_WAIT, ledger::bonds(&self.shared, &self.answers, ledger)).await;
        let Some(bonds) = read.ok().flatten() else {
            tracing::debug!(%ledger, "the bonds of a ledger are not known");
            return (ledger, false);
        };
        let (bonds, now) = (Arc::new(bonds), self.shared.clock.now());
        for process in of {
            self.shared.market.weights().bonds(process, Arc::clone(&bonds), now);
        }
        (ledger, true)
    }

    /// Looks at the windows of processes for which this node does what `is_meant` says, of one after the other.
    async fn look(&self, is_meant: impl Fn(Roles) -> bool) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for process in self.processes().await {
                if !self.shared.directory.roles(&process.id()).is_some_and(&is_meant) {
                    continue;
                }
                if let Err(error) = self.look_back(&process).await {
                    let process = process.id();
                    tracing::warn!(%process, %error, "who carried for it is not known");
                }
            }
        }
    }

    /// The processes in hard mode that this node schedules and somebody carries for.
    async fn processes(&self) -> Vec<Arc<Process>> {
        let (shared, order) = (SharedRef::clone(&self.shared), self.order.clone());
        let found = tokio::task::spawn_blocking(move || {
            let now = shared.clock.now();
            let known =
                shared.market.offered(now).into_iter().filter_map(|process| shared.directory.get(&process));
            let hard = known.filter(|known| known.roles.schedules && known.process.market().is_some());
            let ranked = hard.map(|known| {
                let id = known.process.id();
                let is_read = shared.market.bond(&id, &shared.address, now).is_some();
                ((known.roles.for_others, !is_read, order.hash_one(id)), known.process)
            });
            first_of(ranked.collect(), PROCESSES_MAX)
        });
        joined(found.await).unwrap_or_default()
    }

    /// Takes the windows of a process into account that are over, as far as it is computed here.
    async fn look_back(&self, process: &Arc<Process>) -> Result<(), NodeError> {
        let id = process.id();
        let computed = self.shared.store.read()?.last_computed(&id)?;
        // The next window's first slot is computed, so this one's last ticks are too.
        let Some(newest) = computed.and_then(|at| window_of(at.slot).checked_sub(1)) else { return Ok(()) };
        let through = self.shared.market.weights().through(&id);
        let first = through.map_or(newest.saturating_sub(WINDOWS_BACK - 1), |through| through + 1).max(1);
        for number in first..=newest {
            let (shared, process) = (SharedRef::clone(&self.shared), Arc::clone(process));
            let read = tokio::task::spawn_blocking(move || {
                let (reader, first) = (shared.store.read()?, number * WINDOW_SLOTS);
                let window = window_at(&reader, &process, first)?;
                let pushes = outboxes(&reader, &process, first, first + WINDOW_SLOTS - 1)?.pushes;
                Ok::<_, NodeError>((window, pushes))
            });
            let Some(read) = joined(read.await) else { return Ok(()) };
            let (window, mut pushes) = read?;
            pushes.truncate(PUSHES_MAX);
            let mut tallied = Audit::default();
            if let Some(window) = window {
                tallied = audit(&window, &self.found(&pushes).await);
            }
            self.shared.market.weights().carried(id, number, &tallied);
        }
        Ok(())
    }

    /// What is known of pushes. Where nobody answers for a target its messengers are not to blame.
    async fn found(&self, pushes: &[Push]) -> Vec<Sent> {
        let (until, mut sent) = (Instant::now() + WINDOW_WAIT, Vec::new());
        for some in pushes.chunks(PUSHES_STEP) {
            if Instant::now() >= until {
                break;
            }
            let found = look_for(&self.shared, some).await.into_iter().zip(some);
            let known = found.filter_map(|(found, push)| Some(push.with(found.ok()?, self.shared.network)));
            sent.extend(known);
        }
        sent
    }
}

/// So many of these, the lowest in rank.
fn first_of<T>(mut ranked: Vec<((bool, bool, u64), T)>, most: usize) -> Vec<T> {
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, of)| of).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_processes_come_before_strangers_and_those_whose_ledger_is_there_before_others() {
        let all = vec![
            ((true, true, 1), "a stranger's"),
            ((true, false, 9), "a stranger's that is known"),
            ((false, true, 7), "own"),
            ((true, true, 0), "another stranger's"),
        ];
        assert_eq!(first_of(all, 3), ["own", "a stranger's that is known", "another stranger's"]);
    }
}
