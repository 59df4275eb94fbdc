//! Reads what offer sets are weighed by: the bonds in the ledgers, and who carried what in the windows that are over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_protocol::market::{WINDOW_SLOTS, window_of};
use weft_protocol::process::Process;
use weft_protocol::{Id, Now};

use super::audit::{Audit, Sent, audit};
use super::sent::{Push, look_for, outboxes};
use super::{ledger, window_at};
use crate::control::Answers;
use crate::error::NodeError;
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// How often it is looked what there is to read.
const LOOK: Duration = Duration::from_secs(5);
/// How often the bonds of a ledger are read again, in milliseconds.
const AGAIN_MS: u64 = 60_000;
/// The same where it could not be, or a process is new.
const RETRY_MS: u64 = 10_000;
/// How long reading one ledger may take: half of what lies between two times.
const READ_WAIT: Duration = Duration::from_secs(30);
/// Ledgers that are read at once.
const AT_ONCE: usize = 4;
/// Processes that are weighed for, those with the lowest ids: for the sets of others nobody has a bond.
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
}

/// When each ledger was read last, or tried to be.
type Tried = BTreeMap<Id, Now>;

impl WeighTask {
    /// The loops of a node that schedules.
    pub const fn new(shared: SharedRef, answers: Answers) -> Self {
        Self { shared, answers }
    }

    /// Runs until the node stops. Targets that nobody serves hold up no ledger.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.read() => {}
            () = self.look() => {}
        }
    }

    async fn read(&self) {
        let (mut tick, mut tried) = (tokio::time::interval(LOOK), Tried::new());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let processes = self.processes().await;
            let ids = processes.iter().map(|process| process.id()).collect();
            self.shared.market.weights().keep(&ids);
            self.read_ledgers(&processes, &mut tried).await;
        }
    }

    async fn look(&self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for process in self.processes().await {
                if let Err(error) = self.look_back(&process).await {
                    let process = process.id();
                    tracing::warn!(%process, %error, "who carried for it is not known");
                }
            }
        }
    }

    /// The processes in hard mode that this node schedules and somebody carries for.
    async fn processes(&self) -> Vec<Arc<Process>> {
        let shared = SharedRef::clone(&self.shared);
        let found = tokio::task::spawn_blocking(move || {
            let offered = shared.market.offered(shared.clock.now()).into_iter();
            let known = offered.filter_map(|process| shared.directory.get(&process));
            let hard = known.filter(|known| known.roles.schedules && known.process.market().is_some());
            hard.map(|known| known.process).take(PROCESSES_MAX).collect()
        });
        joined(found.await).unwrap_or_default()
    }

    /// Reads the ledgers whose time has come.
    async fn read_ledgers(&self, processes: &[Arc<Process>], tried: &mut Tried) {
        let mut ledgers: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
        for (process, market) in
            processes.iter().filter_map(|process| Some((process.id(), process.market()?)))
        {
            ledgers.entry(market.terms.ledger).or_default().push(process);
        }
        tried.retain(|ledger, _| ledgers.contains_key(ledger));
        let now = self.shared.clock.now();
        let is_known = |process: &Id| {
            let address = self.shared.address;
            self.shared.market.bond(process, &address, now).is_some()
        };
        let due: Vec<(Id, Vec<Id>)> = ledgers
            .into_iter()
            .filter(|(ledger, of)| {
                let wait = if of.iter().all(is_known) { AGAIN_MS } else { RETRY_MS };
                tried.get(ledger).is_none_or(|tried| tried.plus_ms(wait) <= now)
            })
            .collect();
        tried.extend(due.iter().map(|(ledger, _)| (*ledger, now)));
        let (shared, answers) = (&self.shared, &self.answers);
        let reading = due.into_iter().map(|(ledger, of)| async move {
            let read = tokio::time::timeout(READ_WAIT, ledger::bonds(shared, answers, ledger)).await;
            let Some(bonds) = read.ok().flatten() else {
                return tracing::debug!(%ledger, "the bonds of a ledger are not known");
            };
            let (bonds, now) = (Arc::new(bonds), shared.clock.now());
            for process in of {
                shared.market.weights().bonds(process, Arc::clone(&bonds), now);
            }
        });
        futures::stream::iter(reading).for_each_concurrent(AT_ONCE, |read| read).await;
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
