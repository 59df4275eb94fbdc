//! The loop: hears what is wanted, reads it, and looks now and then at what this node works for and nobody serves.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::process::Process;
use weft_protocol::{Effects, Id, Machine as _};
use weft_storage::{Roles, StoreError};

use super::super::task::{Asking, recover_as};
use super::super::{RecoverError, RecoverReport};
use super::machine::{By, Effect, Input, READS_MAX, Unasked, WAITING_MAX};
use super::{Wish, shares};
use crate::config::Role;
use crate::follower::FollowerHandle;
use crate::hosting::{self, Claim, Declined, HostingError, LimitsError, limits_of};
use crate::metrics::Level;
use crate::portable::PortableError;
use crate::remote;
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// How often it is looked whether somebody serves what this node works for.
const LOOK: Duration = Duration::from_secs(30);
/// Processes that are looked at each time.
const LOOKS_MAX: usize = 4;
/// How long a look may take: it asks the mesh.
const LOOK_WAIT: Duration = Duration::from_secs(20);
/// Who may wait for one process.
const WAITERS_MAX: usize = 16;

/// Why a process was not read, or not taken up.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRead {
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error(transparent)]
    Declined(#[from] Declined),
    #[error(transparent)]
    Limits(#[from] LimitsError),
    #[error(transparent)]
    Hosting(#[from] HostingError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("none of it came")]
    Nothing,
}

/// The loop.
pub struct UnaskedTask {
    shared: SharedRef,
    follower: FollowerHandle,
    inbox: mpsc::Receiver<Wish>,
    machine: Unasked,
    effects: Effects<Effect>,
    waiters: BTreeMap<Id, Vec<oneshot::Sender<bool>>>,
    running: JoinSet<(Id, Result<RecoverReport, NotRead>)>,
    /// What is to be looked at; away while some of it is.
    round: Option<VecDeque<Id>>,
    looking: JoinSet<(VecDeque<Id>, Vec<Id>)>,
    waiting: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl UnaskedTask {
    /// The loop that hears what is asked of the handle.
    pub fn new(shared: SharedRef, follower: FollowerHandle, inbox: mpsc::Receiver<Wish>) -> Self {
        let (level, waiting) = Level::cell("recover", "waiting", 2 * WAITING_MAX as u64);
        shared.metrics.watch(level);
        let (level, reads) = Level::cell("recover", "reads", READS_MAX as u64);
        shared.metrics.watch(level);
        Self {
            shared,
            follower,
            inbox,
            machine: Unasked::default(),
            effects: Effects::new(),
            waiters: BTreeMap::new(),
            running: JoinSet::new(),
            round: Some(VecDeque::new()),
            looking: JoinSet::new(),
            waiting,
            reads,
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let has_gateways = !self.shared.config.gateways.is_empty();
        let settling = settle(SharedRef::clone(&self.shared));
        tokio::pin!(settling);
        let mut is_settled = false;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // It may read a log's bytes again, for minutes; whoever takes a share meanwhile waits for it.
                () = &mut settling, if !is_settled => is_settled = true,
                Some(Wish { process, by, done }) = self.inbox.recv() => {
                    // Without gateways whoever waits hears at once that nothing came.
                    if has_gateways {
                        self.wanted(process, by, done);
                    }
                }
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => {
                    joined(ended).into_iter().for_each(|(process, ended)| self.ended(process, &ended));
                }
                _ = look.tick(), if has_gateways => {
                    self.handle(Input::Tick);
                    self.look();
                }
                Some(looked) = self.looking.join_next(), if !self.looking.is_empty() => {
                    let (round, unserved) = joined(looked).unwrap_or_default();
                    self.round = Some(round);
                    unserved.into_iter().for_each(|process| self.wanted(process, By::Operator, None));
                }
            }
            self.waiting.store(self.machine.waiting() as u64, Ordering::Relaxed);
            self.reads.store(self.running.len() as u64, Ordering::Relaxed);
        }
    }

    /// Looks at some of what this node works for, unless it still does: the mesh may be silent for long, and who
    /// waits is heard meanwhile.
    fn look(&mut self) {
        let Some(mut round) = self.round.take() else { return };
        let shared = SharedRef::clone(&self.shared);
        self.looking.spawn(async move {
            let unserved = unserved(&shared, &mut round).await;
            (round, unserved)
        });
    }

    fn wanted(&mut self, process: Id, by: By, done: Option<oneshot::Sender<bool>>) {
        if let Some(done) = done {
            let waiters = self.waiters.entry(process).or_default();
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.len() < WAITERS_MAX {
                waiters.push(done);
            }
        }
        self.handle(Input::Wanted { process, by });
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
        for effect in self.effects.drain().collect::<Vec<_>>() {
            match effect {
                Effect::Read { process, by } => self.begin(process, by),
                Effect::Refused { process } => drop(self.waiters.remove(&process)),
            }
        }
    }

    fn begin(&mut self, process: Id, by: By) {
        self.shared.wishes.held().insert(process);
        let (shared, follower) = (SharedRef::clone(&self.shared), self.follower.clone());
        self.running.spawn(async move { (process, read(&shared, &follower, process, by).await) });
    }

    fn ended(&mut self, process: Id, ended: &Result<RecoverReport, NotRead>) {
        self.shared.wishes.held().remove(&process);
        let (came, word) = match ended {
            Ok(report) if report.is_whole() => (true, "whole"),
            Ok(_) => (true, "part"),
            Err(
                NotRead::Declined(_) | NotRead::Recover(RecoverError::Portable(PortableError::Longer { .. })),
            ) => (false, "declined"),
            Err(_) => (false, "nothing"),
        };
        self.shared.metrics.recoveries.add(word);
        match ended {
            Ok(RecoverReport { slots, new_slots, .. }) => {
                tracing::info!(%process, slots, new_slots, "a process that no peer serves was read from the weave");
            }
            Err(error) => {
                tracing::info!(%process, %error, "a process that no peer serves was not read from the weave");
            }
        }
        for waiter in self.waiters.remove(&process).unwrap_or_default() {
            // It may have gone.
            let _ = waiter.send(came);
        }
        self.handle(Input::Ended { process, came });
    }
}

/// Some of the processes of others that this node works for and that no peer serves.
async fn unserved(shared: &SharedRef, round: &mut VecDeque<Id>) -> Vec<Id> {
    if round.is_empty() {
        round.extend(shared.directory.ids(|roles| !roles.schedules && (roles.watches || roles.computes)));
    }
    let mut unserved = Vec::new();
    for process in round.drain(..LOOKS_MAX.min(round.len())).collect::<Vec<_>>() {
        let Some(known) = shared.known(process).await else { continue };
        let sources = remote::sources(shared, process, Some(known.process.scheduler()));
        // A mesh that does not answer serves nobody.
        let sources = tokio::time::timeout(LOOK_WAIT, sources).await.unwrap_or_default();
        if sources.is_empty() {
            unserved.push(process);
        }
    }
    unserved
}

/// Gives back what logs of strangers did not take in an earlier life.
async fn settle(shared: SharedRef) {
    if let Err(error) = shares::settle(&shared).await {
        tracing::warn!(%error, "what logs of strangers did not take in an earlier life is not given back yet");
    }
}

async fn read(
    shared: &SharedRef,
    follower: &FollowerHandle,
    process: Id,
    by: By,
) -> Result<RecoverReport, NotRead> {
    let is_strange = by == By::Stranger && shared.directory.roles(&process).is_none();
    // Held until the directory has it.
    let _place = match is_strange {
        true => {
            let budget = shared.config.spawn_budget;
            Some(shared.unasked.reserve(&shared.directory, process, None, budget)?)
        }
        false => None,
    };
    // What an operator hosts himself is his own; what is here for others grows by their word alone.
    let is_of_others = is_strange || shared.directory.roles(&process).is_some_and(|roles| roles.for_others);
    let share = match is_of_others {
        true => Some(shares::take(shared, process).await?),
        false => None,
    };
    let from = shared.config.gateways.clone();
    let allowance = share.as_ref().map(shares::Share::allowance);
    let mut asking = Asking { for_others: is_strange, allowance, unreported: true, ..Asking::default() };
    let mut go_on = |_, _| ControlFlow::Continue(());
    let report = recover_as(shared, follower, process, (&from, &mut asking), &mut go_on).await;
    if let Some(share) = share {
        shares::give_back(shared, &share).await?;
    }
    let report = report?;
    if report.new_slots == 0 && report.slots == 0 {
        return Err(NotRead::Nothing);
    }
    if is_strange && let Some(known) = shared.directory.get(&process) {
        compute(shared, &known.process).await?;
    }
    Ok(report)
}

/// Has a process that somebody asked for computed as far as he asks, if this node takes such.
async fn compute(shared: &SharedRef, process: &Process) -> Result<(), NotRead> {
    let claim = Claim::of(shared, process);
    if !shared.config.roles.contains(&Role::Compute) || claim.check_computing(shared).is_err() {
        // Its log is here and can be read.
        return Ok(());
    }
    claim.check_limits(shared, &limits_of(shared, process).await?)?;
    let wanted =
        Roles { computes: true, watches: true, on_demand: true, for_others: true, ..Roles::default() };
    hosting::host(shared, process.id(), wanted).await?;
    Ok(())
}
