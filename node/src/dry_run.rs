//! Dry runs: unsigned messages evaluated on copies of a state. Nothing of them is kept, and the
//! process goes on meanwhile.
//!
//! A run waits for one of a few places, then for the state as of now, and has a ceiling of gas and
//! of time that the operator sets. What is too much is told to come back.
//!
//! Runs of peers have a budget of their own (`others_dry_run_gas`), as a key costs nothing and a run is work that
//! nobody pays for, and no peer takes what is left for the others; and at most half of the places at work, one at
//! least. What it takes to bring a cold process into memory is not counted. States of the past are refused to them
//! before they come here, as those take a replay.

mod budget;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_net::Peer;
use weft_protocol::message::DryRun;
use weft_protocol::process::Process;
use weft_protocol::{Id, Position, Tag};
use weft_vm::Interrupt;

use self::budget::{Budget, Store};
use crate::compute::hosted::HostError;
use crate::compute::{ComputeHandle, DryOutcome, Frozen, WaitError, evaluated};
use crate::config::Config;
use crate::metrics::Level;
use crate::replays::{Ceiling, ReplayError, go_back};
use crate::shared::{Shared, SharedRef};

/// Runs that wait or are evaluated; one more is told to come back. Each holds a message of up to
/// 10 MiB, and one of the control socket's connections.
pub const RUNS_MAX: usize = 32;
/// The longest that the configuration lets a run take.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// How long one too many is asked to wait, in milliseconds: what a middling run takes.
pub const BUSY_RETRY_MS: u64 = 100;
/// Frozen states kept for the next run: each is a memory, shared with its live process
/// as far as that one's snapshot goes; of one that has done little it is a copy, counted as held elsewhere.
const FROZEN_MAX: usize = 8;
/// The part of the memory budget that kept states may take; they count in it.
const FROZEN_SHARE: u64 = 8;

/// The body of a dry run, as the reference's compute unit takes it. What it does not name is
/// ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct DryRunBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    #[serde(default)]
    pub owner: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Number>,
    #[serde(rename = "Block-Height", default, skip_serializing_if = "Option::is_none")]
    pub block_height: Option<Number>,
}

/// A whole number, which clients also write as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub struct Number(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for Number {
    type Error = std::num::ParseIntError;

    fn try_from(given: NumberOrText) -> Result<Self, Self::Error> {
        match given {
            NumberOrText::Number(number) => Ok(Self(number)),
            NumberOrText::Text(text) => text.parse().map(Self),
        }
    }
}

impl DryRunBody {
    /// The message that the module sees.
    ///
    /// # Errors
    /// Without an `Owner`.
    fn into_run(self) -> Result<DryRun, DryRunError> {
        let Self { id, signature, owner, target, data, tags, anchor, timestamp, block_height } = self;
        if owner.is_empty() {
            return Err(DryRunError::NoOwner);
        }
        Ok(DryRun {
            id,
            signature,
            owner,
            target,
            data,
            anchor,
            tags,
            timestamp: timestamp.map(|number| number.0),
            height: block_height.map(|number| number.0),
        })
    }
}

/// Why a dry run has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DryRunError {
    /// The reference asks for it, and modules rely on it.
    #[error("the message has no `Owner`; a dry run may name any, but must name one")]
    NoOwner,
    /// Too many at once.
    #[error("{RUNS_MAX} dry runs wait here already; try again in {BUSY_RETRY_MS} ms")]
    Busy,
    /// The budget of peers is used.
    #[error(
        "dry runs for other nodes, or for the one that asks, have used what this node gives them in an hour \
         (`others_dry_run_gas`); try again in {retry_ms} ms, or ask another node"
    )]
    Spent {
        /// When there is some again, from now.
        retry_ms: u64,
    },
    /// There is no budget of peers.
    #[error(
        "this node makes no dry runs for other nodes (`others_dry_run_gas`); ask another, or host the process"
    )]
    NotForPeers,
    /// The operator's ceiling of time.
    #[error("the dry run took more than {ms} ms, this node's ceiling (`dry_run_ms`)")]
    TooLong {
        /// The ceiling.
        ms: u64,
    },
    /// The operator's ceiling of gas.
    #[error("the dry run used {gas} gas, this node's ceiling (`dry_run_gas`)")]
    TooMuchGas {
        /// The ceiling.
        gas: u64,
    },
    /// There is no state to run it on.
    #[error("process {0} has no state here yet: nothing of it has been evaluated, or it cannot be loaded")]
    NoState(Id),
    /// There is no such state.
    #[error("slot {slot} of process {process} was not evaluated here")]
    NoSlot {
        /// Of which process.
        process: Id,
        /// Which slot.
        slot: u64,
    },
    /// The process cannot be brought back to that state.
    #[error(transparent)]
    Back(ReplayError),
    /// The newest slot is not evaluated here.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// This host failed.
    #[error("{0}")]
    Host(String),
}

impl From<ReplayError> for DryRunError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::TooLong { ms, .. } => Self::TooLong { ms },
            ReplayError::NoSlot { process, slot } => Self::NoSlot { process, slot },
            other => Self::Back(other),
        }
    }
}

impl DryRunError {
    /// One word for it.
    const fn name(&self) -> &'static str {
        match self {
            Self::NoOwner => "invalid",
            Self::Busy => "busy",
            Self::Spent { .. } | Self::NotForPeers => "spent",
            Self::TooLong { .. } => "too-long",
            Self::TooMuchGas { .. } => "too-much-gas",
            Self::NoState(_) | Self::NoSlot { .. } | Self::Wait(_) | Self::Back(_) => "no-state",
            Self::Host(_) => "fault",
        }
    }
}

impl From<HostError> for DryRunError {
    fn from(error: HostError) -> Self {
        Self::Host(error.to_string())
    }
}

/// Whose a dry run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A client's of this node.
    Client,
    /// A peer's, within the budget of all peers.
    Peer(Peer),
}

/// Evaluates dry runs.
#[derive(Debug, Clone)]
pub struct DryRuns(Arc<Desk>);

struct Desk {
    shared: SharedRef,
    compute: ComputeHandle,
    /// Places to wait in, those of runs under way included.
    places: Arc<Semaphore>,
    /// Runs under way.
    running: Arc<Semaphore>,
    /// Those of peers among them.
    of_peers: Arc<Semaphore>,
    /// What those may use; none without a limit.
    budget: Option<Budget>,
    frozen: Mutex<VecDeque<Frozen>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("places", &self.places.available_permits()).finish_non_exhaustive()
    }
}

impl DryRuns {
    /// As many at once as the configuration says.
    pub fn new(shared: SharedRef, compute: ComputeHandle) -> Self {
        let running = Arc::new(Semaphore::new(shared.config.dry_runs));
        let places = Arc::new(Semaphore::new(RUNS_MAX));
        shared.metrics.watch(Level::permits("dry_run", "places", &places, RUNS_MAX));
        shared.metrics.watch(Level::permits("dry_run", "runs", &running, shared.config.dry_runs));
        let most = (shared.config.dry_runs / 2).max(1);
        let of_peers = Arc::new(Semaphore::new(most));
        shared.metrics.watch(Level::permits("dry_run", "peer_runs", &of_peers, most));
        let budget = shared.config.others_dry_run_gas.map(|per_hour| {
            let (level, used) = Level::cell("dry_run", "others_gas", per_hour);
            shared.metrics.watch(level);
            Budget::new(per_hour, used)
        });
        let frozen = Mutex::new(VecDeque::new());
        Self(Arc::new(Desk { shared, compute, places, running, of_peers, budget, frozen }))
    }

    /// Evaluates a message on the state as of now, or on that after a slot.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn run(
        &self,
        process: Arc<Process>,
        body: DryRunBody,
        slot: Option<u64>,
        of: For,
    ) -> Result<DryOutcome, DryRunError> {
        let run = body.into_run()?;
        let metrics = SharedRef::clone(&self.0.shared);
        let done = self.run_in_turn(process, run, slot, of).await;
        metrics.metrics.dry_runs.add(done.as_ref().map_or_else(DryRunError::name, |_| "done"));
        done
    }

    async fn run_in_turn(
        &self,
        process: Arc<Process>,
        run: DryRun,
        slot: Option<u64>,
        of: For,
    ) -> Result<DryOutcome, DryRunError> {
        self.0.may_begin(&process, of)?;
        let place = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| DryRunError::Busy)?;
        let ms = self.0.shared.config.dry_run_ms;
        let desk = Arc::clone(&self.0);
        let until = Instant::now() + Duration::from_millis(ms);
        let interrupt = desk.shared.modules.interrupt();
        // Once nobody waits for it any more, it ends, and gives back its place.
        let ended = CancellationToken::new();
        let _ends = EndsWith { interrupt: interrupt.clone(), ended: ended.clone() };
        let ended = ended.drop_guard();
        let work = async move {
            let closed = |error: tokio::sync::AcquireError| DryRunError::Host(error.to_string());
            // First: a peer that waits among its like keeps no place at work from others.
            let of_peer = match of {
                For::Peer(_) => Some(Arc::clone(&desk.of_peers).acquire_owned().await.map_err(closed)?),
                For::Client => None,
            };
            let turn = Arc::clone(&desk.running).acquire_owned().await.map_err(closed)?;
            // Those that it waited for may have used what there was.
            let counted = desk.may_begin(&process, of)?;
            let frozen = match slot {
                None => Some(desk.newest(&process).await?),
                Some(_) => None,
            };
            // The place and the turn are its own until it ends.
            let done = tokio::task::spawn_blocking(move || {
                let _held = (place, turn, of_peer, ended);
                let frozen = match (frozen, slot) {
                    (Some(frozen), _) => frozen,
                    (None, slot) => desk.after(process, slot.unwrap_or(u64::MAX), until, &interrupt)?,
                };
                // The copy that it runs on takes as much again.
                let _copy = desk.shared.elsewhere.hold(frozen.stored_bytes());
                let Shared { config, modules, clock, .. } = &*desk.shared;
                let done = frozen.dry_run(&run, config.dry_run_gas, modules, &interrupt);
                if let Some((budget, counted)) = desk.budget.as_ref().zip(counted) {
                    // What an interrupted one used nobody knows.
                    let gas = done.as_ref().map_or(config.dry_run_gas, |done| done.gas);
                    budget.spend(counted, gas, clock.now());
                }
                Ok::<_, DryRunError>(done?)
            });
            done.await.map_err(|error| DryRunError::Host(error.to_string()))?
        };
        let done = tokio::time::timeout_at(until, work).await;
        let outcome = done.map_err(|_| DryRunError::TooLong { ms })??;
        if outcome.over_ceiling {
            return Err(DryRunError::TooMuchGas { gas: self.0.shared.config.dry_run_gas });
        }
        Ok(outcome)
    }
}

/// How often a run is told again that it is to end: it misses what it is told while it looks.
const END_AGAIN: Duration = Duration::from_millis(100);

/// Ends a run when it is dropped.
struct EndsWith {
    interrupt: Interrupt,
    /// The run has ended.
    ended: CancellationToken,
}

impl Drop for EndsWith {
    fn drop(&mut self) {
        if self.ended.is_cancelled() {
            return;
        }
        self.interrupt.end();
        let (interrupt, ended) = (self.interrupt.clone(), self.ended.clone());
        // Without a runtime the node is over, and its guests with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                while tokio::time::timeout(END_AGAIN, ended.cancelled()).await.is_err() {
                    interrupt.end();
                }
            });
        }
    }
}

impl Desk {
    /// Whether there is anything left for one more run; gives what it is counted in, if it is a peer's.
    fn may_begin(&self, process: &Process, of: For) -> Result<Option<(Peer, Store)>, DryRunError> {
        let (Some(budget), For::Peer(peer)) = (&self.budget, of) else { return Ok(None) };
        let roles = self.shared.directory.roles(&process.id());
        // What came unasked may name any attestor.
        let is_relied_on = roles.is_some_and(|roles| !roles.for_others)
            && process.attestors().members.contains(&self.shared.address);
        let store = budget.check(peer, is_relied_on, self.shared.clock.now())?;
        Ok(Some((peer, store)))
    }

    /// The state after the newest slot, once that is evaluated: what a client expects that was
    /// told of a slot.
    async fn newest(&self, process: &Process) -> Result<Frozen, DryRunError> {
        let id = process.id();
        let host = |error: weft_storage::StoreError| DryRunError::Host(error.to_string());
        let head = self.shared.store.read().and_then(|reader| reader.head(&id)).map_err(host)?;
        let (head, _) = head.ok_or(DryRunError::NoState(id))?;
        evaluated(&self.shared, id, head).await?;
        let last = self.shared.store.read().and_then(|reader| reader.last_computed(&id)).map_err(host)?;
        let last = last.ok_or(DryRunError::NoState(id))?;
        if let Some(frozen) = self.kept(id, last) {
            return Ok(frozen);
        }
        let frozen = self.compute.freeze(id).await.ok_or(DryRunError::NoState(id))?;
        let frozen = frozen.counted(&self.shared.elsewhere);
        let mut kept = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|old| old.process() != id);
        kept.push_front(frozen.clone());
        kept.truncate(FROZEN_MAX);
        let most = self.shared.config.memory_budget_bytes / FROZEN_SHARE;
        while kept.iter().map(Frozen::stored_bytes).sum::<u64>() > most {
            kept.pop_back();
        }
        Ok(frozen)
    }

    fn kept(&self, process: Id, at: Position) -> Option<Frozen> {
        let kept = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|frozen| frozen.process() == process && frozen.position() >= at).cloned()
    }

    /// The state after a slot, replayed until then at the latest.
    fn after(
        &self,
        process: Arc<Process>,
        slot: u64,
        until: Instant,
        interrupt: &Interrupt,
    ) -> Result<Frozen, DryRunError> {
        let id = process.id();
        let unknown = DryRunError::NoSlot { process: id, slot };
        let host = |error: weft_storage::StoreError| DryRunError::Host(error.to_string());
        let reader = self.shared.store.read().map_err(host)?;
        if reader.last_computed(&id).map_err(host)?.is_none_or(|last| last.slot < slot) {
            return Err(unknown);
        }
        drop(reader);
        let Config { replay_gas, dry_run_ms, .. } = self.shared.config;
        let ceiling = Ceiling { gas: replay_gas, until, ms: dry_run_ms };
        let mut go_on = |_| {
            if interrupt.is_ended() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut hosted = go_back(&self.shared, process, slot, ceiling, &mut go_on)?;
        Ok(hosted.freeze()?.ok_or(unknown)?.counted(&self.shared.elsewhere))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_body_is_read_as_clients_write_it() {
        let text = r#"{"Owner":"me","Tags":[{"name":"Action","value":"Info"}],"Timestamp":"7",
            "Block-Height":8,"Process":"ignored"}"#;
        let run = serde_json::from_str::<DryRunBody>(text).unwrap().into_run().unwrap();
        assert_eq!((run.owner.as_str(), run.timestamp, run.height), ("me", Some(7), Some(8)));
        assert_eq!(run.tags, [Tag::new("Action", "Info")]);
        assert!(serde_json::from_str::<DryRunBody>(r#"{"Owner":"me","Timestamp":"-1"}"#).is_err());
        let nobody = serde_json::from_str::<DryRunBody>("{}").unwrap().into_run();
        assert!(matches!(nobody, Err(DryRunError::NoOwner)));
    }
}
