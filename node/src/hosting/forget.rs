//! Forgetting a process of another node: its log, states and results go, and the disk is free for others.
//!
//! A log is never forgotten that this node schedules, nor one that something is still owed for: to others by this node, or to
//! this node by a ledger. Where nobody else shows that its head is known to it, its operator must say that it may be lost. What is
//! looked at here comes before anything goes; what may go at all is judged once more where it goes
//! (`storage/src/forget.rs`), and what would be lost once more when nothing is done for it any
//! more. What a stop breaks off is finished by a turn of pruning.
//!
//! Nothing is forgotten by itself: whoever has the last copy cannot know it, so an operator says what goes.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use weft_protocol::process::Process;
use weft_protocol::{DataItem, Id, Position};
use weft_storage::{
    ClaimKey, ClaimState, Conflict, FORGETTING_SETTING, Forgot, OutboxKey, OutboxState, Reader, StoreError,
    Write,
};

use crate::carrying;
use crate::error::NodeError;
use crate::follower::verify_head;
use crate::gateway::clients_of;
use crate::log;
use crate::prune;
use crate::remote;
use crate::shared::{Shared, SharedRef};
use crate::subscriptions;

/// Peers that are asked whether they have the log.
const ASKED_MAX: usize = 8;
/// How long finding and asking them may take, and each of them.
const ASK_WAIT: Duration = Duration::from_secs(20);
const PEER_WAIT: Duration = Duration::from_secs(4);
/// Entries that are given up, or rows of pay and claims that are looked at, at once.
const ROWS_AT_ONCE: usize = 1_000;

/// Why a process is not forgotten. Nothing of it went.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// Nothing of it is here.
    #[error("nothing of process {0} is on this disk")]
    Unknown(Id),
    /// It is this node's own.
    #[error("this node schedules process {0}, so its log cannot be forgotten")]
    Own(Id),
    /// It goes already.
    #[error("process {0} is being forgotten already")]
    Begun(Id),
    /// The operator said that it stays.
    #[error("process {0} is pinned; `weft pin {0} --off` first")]
    Pinned(Id),
    /// Something is owed.
    #[error("process {process} is not settled: {what}")]
    Unsettled {
        /// Which.
        process: Id,
        /// What is owed, and what to do.
        what: String,
    },
    /// Something would be lost for good.
    #[error("forgetting process {process} may lose what nobody else has: {}; --yes forgets it anyway", .lost.join("; "))]
    Lost {
        /// Which.
        process: Id,
        /// What.
        lost: Vec<String>,
    },
    /// Its beginning cannot be read.
    #[error(transparent)]
    Damaged(#[from] NodeError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is looked at before a log goes.
#[derive(Debug)]
struct Looked {
    process: Arc<Process>,
    /// The newest slot.
    head: u64,
    lost: Vec<String>,
    has_unsent: bool,
}

/// The processes that are being forgotten in this run, at most one for each client of the control
/// socket and one of pruning.
#[derive(Debug, Default)]
pub struct Leaving(Mutex<BTreeSet<Id>>);

impl Leaving {
    fn ids(&self) -> MutexGuard<'_, BTreeSet<Id>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that is being forgotten: while this is held nothing is begun for it, and nobody else
/// forgets it.
#[derive(Debug)]
pub struct Leave {
    shared: SharedRef,
    process: Id,
}

impl Leave {
    fn of(shared: &SharedRef, process: Id) -> Option<Self> {
        let is_first = shared.leaving.ids().insert(process);
        is_first.then(|| Self { shared: SharedRef::clone(shared), process })
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.shared.leaving.ids().remove(&self.process);
    }
}

/// What the operator lets go of a process.
#[derive(Debug, Default)]
pub struct Accepted {
    /// What may be lost, as they are told it.
    pub lost: Vec<String>,
    /// Whether that is said of messages that wait to be delivered.
    gives_up: bool,
}

/// Whether a process may be forgotten, and what would be lost; nothing is changed. Waits for peers, for some seconds.
///
/// # Errors
/// Why not; [`ForgetError::Lost`] unless `accepts_loss`.
pub async fn check(shared: &SharedRef, process: Id, accepts_loss: bool) -> Result<Vec<String>, ForgetError> {
    let of = SharedRef::clone(shared);
    let looked = tokio::task::spawn_blocking(move || look(&of, process)).await;
    let Looked { process: item, head, mut lost, .. } = looked.map_err(|_| StoreError::Closed)??;
    let is_on_weave = is_on_weave(shared, process, head)?;
    if !is_on_weave && !is_elsewhere(shared, &item, head).await {
        lost.push(format!("no reachable peer says that it has slots 0 to {head}"));
    }
    if lost.is_empty() || accepts_loss { Ok(lost) } else { Err(ForgetError::Lost { process, lost }) }
}

fn look(shared: &Shared, id: Id) -> Result<Looked, ForgetError> {
    let reader = shared.store.read()?;
    let roles = reader.process(&id)?.map(|row| row.roles).unwrap_or_default();
    if roles.schedules {
        return Err(ForgetError::Own(id));
    }
    let Some((head, _)) = reader.head(&id)? else { return Err(ForgetError::Unknown(id)) };
    let process = log::read_process(&reader, &id, &shared.terms)?.ok_or(ForgetError::Unknown(id))?;
    // Also one that its node does not know as its own any more.
    if process.scheduler() == shared.address {
        return Err(ForgetError::Own(id));
    }
    if roles.pinned {
        return Err(ForgetError::Pinned(id));
    }
    if let Some(what) = owed(shared, &reader, &id)? {
        return Err(ForgetError::Unsettled { process: id, what });
    }
    let mut lost = Vec::new();
    if process.attestors().members.contains(&shared.address) {
        lost.push("this node is one of its attestors, and what it signed goes with the log".to_owned());
    }
    let has_unsent = !reader.outbox_pending(&id, 1)?.is_empty();
    if has_unsent {
        lost.push(format!("messages that it sent wait to be delivered from here (`weft outbox {id}`)"));
    }
    Ok(Looked { process, head, lost, has_unsent })
}

/// What is owed to somebody for a process, or to this node.
fn owed(shared: &Shared, reader: &Reader, process: &Id) -> Result<Option<String>, StoreError> {
    if subscriptions::holds(shared, reader, process)? {
        let what = format!(
            "a subscription to it is in force (`weft subscriptions`); `weft carry {process} --stop` says more"
        );
        return Ok(Some(what));
    }
    let pay = |what: &str| Some(format!("{what}; `weft market earnings` shows it"));
    let first = Position { epoch: 0, slot: 0, tick: 0 };
    let mut from = OutboxKey { process: Id([0; 32]), position: first, index: 0 };
    loop {
        let rows = reader.earned_from(&from, ROWS_AT_ONCE)?;
        for (key, row) in &rows {
            if key.process == *process {
                return Ok(pay("this node has not been paid for what it carried from it"));
            }
            if row.target == *process || row.ledger == *process {
                return Ok(pay("this node has not been paid for pushes that its log proves"));
            }
        }
        let Some((last, _)) = rows.last().filter(|_| rows.len() == ROWS_AT_ONCE) else { break };
        let Some(index) = last.index.checked_add(1) else { break };
        from = OutboxKey { index, ..*last };
    }
    let mut after: Option<ClaimKey> = None;
    loop {
        let rows = reader.claims_after(after.as_ref(), ROWS_AT_ONCE)?;
        let is_open = |state: &ClaimState| matches!(state, ClaimState::Made | ClaimState::Open { .. });
        let names = |key: &ClaimKey, ledger: &Id| key.source == *process || ledger == process;
        if rows.iter().any(|(key, row)| is_open(&row.state) && names(key, &row.ledger)) {
            return Ok(pay("a claim is open"));
        }
        match rows.last().filter(|_| rows.len() == ROWS_AT_ONCE) {
            Some((last, _)) => after = Some(*last),
            None => return Ok(None),
        }
    }
}

/// Whether all of a log is in batches on a weave that outlasts this machine.
fn is_on_weave(shared: &Shared, process: Id, head: u64) -> Result<bool, StoreError> {
    let weave = shared.anchored_on();
    if weave.starts_with("local:") {
        return Ok(false);
    }
    Ok(shared.store.read()?.anchored(&process, weave)?.is_some_and(|row| row.slot >= head))
}

/// Whether a peer has a head of the log that its scheduler signed, this one or a later.
async fn is_elsewhere(shared: &SharedRef, process: &Arc<Process>, head: u64) -> bool {
    let (id, scheduler) = (process.id(), process.scheduler());
    let asking = async {
        for peer in remote::sources(shared, id, Some(scheduler)).await.into_iter().take(ASKED_MAX) {
            let told = tokio::time::timeout(PEER_WAIT, remote::head(shared, peer, id)).await;
            let Ok(Ok(Some(told))) = told else { continue };
            if verify_head(Arc::clone(process), told).await.is_some_and(|told| told.slot >= head) {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(ASK_WAIT, asking).await.unwrap_or(false)
}

/// Has nobody begin anything for a process that nothing is done for any more, while what is
/// returned is held.
///
/// # Errors
/// That somebody took it up again, or forgets it already.
pub async fn begin(shared: &SharedRef, process: Id) -> Result<Leave, ForgetError> {
    let _turn = shared.directory.turn(&process).await;
    if shared.directory.roles(&process).is_some() {
        return Err(StoreError::from(Conflict::Served { process }).into());
    }
    Leave::of(shared, process).ok_or(ForgetError::Begun(process))
}

/// Looks once more, when the process has left memory: what it sent, and what was earned and agreed
/// for it, since [`check`] counts too. Peers are not asked again.
///
/// # Errors
/// As [`check`]. Nothing of it went.
pub async fn check_again(leave: &Leave, accepts_loss: bool) -> Result<Accepted, ForgetError> {
    let (shared, process) = (SharedRef::clone(&leave.shared), leave.process);
    // What is on its way to the disk is on it after this.
    shared.store.write(Vec::new()).await?;
    let looked = tokio::task::spawn_blocking(move || look(&shared, process)).await;
    let Looked { lost, has_unsent, .. } = looked.map_err(|_| StoreError::Closed)??;
    if !lost.is_empty() && !accepts_loss {
        return Err(ForgetError::Lost { process, lost });
    }
    Ok(Accepted { lost, gives_up: has_unsent })
}

fn mark(process: &Id) -> String {
    format!("{FORGETTING_SETTING}{process}")
}

/// Forgets a process, after [`check_again`]. Blocks on the disk; `tell` hears how many of its slots
/// are gone, and says whether to go on: what it breaks off is finished by the next turn of pruning.
///
/// # Errors
/// The disk, or that somebody took it up again, or that something waits to be sent that was not
/// accepted to be lost.
pub fn forget(
    leave: &Leave,
    accepted: &Accepted,
    tell: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Forgot, StoreError> {
    let Leave { shared, process } = leave;
    let process = *process;
    if accepted.gives_up {
        give_up(shared, process)?;
    }
    let mut names = clients_of(&shared.store.read()?, &process)?;
    names.extend(carrying::names(&process));
    names.push(prune::setting(&process));
    let goes = |id: &Id, raw: &Bytes| goes(&process, id, raw);
    let forgot = shared.store.forget_log(process, &names, &goes, tell);
    if matches!(forgot, Err(StoreError::Conflict(_))) {
        // It is not to be forgotten, so it is free again.
        shared.store.write_blocking(vec![Write::DropSetting { name: mark(&process) }])?;
    }
    forgot
}

/// Says of what waits to be pushed that it never will be.
fn give_up(shared: &Shared, process: Id) -> Result<(), StoreError> {
    let mut before = None;
    loop {
        let pending = shared.store.read()?.outbox_pending(&process, ROWS_AT_ONCE)?;
        let first = pending.first().map(|(key, _)| *key);
        // What does not go, as it is passed over, refuses the rest.
        if first.is_none() || first == before {
            return Ok(());
        }
        before = first;
        let writes = pending.into_iter().map(|(key, _)| {
            let state = OutboxState::Dropped { why: "the operator had the process forgotten".to_owned() };
            Write::OutboxState { key, state, attempts: 0, next_try_ms: 0 }
        });
        shared.store.write_blocking(writes.collect())?;
    }
}

/// Whether an item may go with the log of a process: what was written to it, and its own beginning. A module or an item that programs
/// read has other uses than its slot.
fn goes(process: &Id, id: &Id, raw: &Bytes) -> bool {
    if id == process {
        return true;
    }
    DataItem::parse(raw.clone()).is_ok_and(|item| {
        let item = item.claims();
        let has_uses = matches!(item.tag("Type"), Some("Module" | "Process"));
        item.target() == Some(*process) && !has_uses
    })
}

/// Whether a process is being forgotten: until that is done nothing is begun for it.
///
/// # Errors
/// The disk.
pub fn is_leaving(shared: &Shared, process: &Id) -> Result<bool, StoreError> {
    Ok(shared.leaving.ids().contains(process) || is_begun(shared, process)?)
}

/// Whether rows of it may be gone.
fn is_begun(shared: &Shared, process: &Id) -> Result<bool, StoreError> {
    Ok(shared.store.read()?.setting(&mark(process))?.is_some())
}

/// Goes on with what was begun and broken off, until `go_on` says otherwise. Blocks on the disk.
pub fn finish(shared: &SharedRef, go_on: &dyn Fn() -> ControlFlow<()>) {
    let names = shared.store.read().and_then(|reader| reader.setting_names(FORGETTING_SETTING));
    let names = names.unwrap_or_else(|error| {
        tracing::error!(%error, "what is being forgotten cannot be read");
        Vec::new()
    });
    for process in names.iter().filter_map(|name| name.strip_prefix(FORGETTING_SETTING)?.parse().ok()) {
        // Who forgets it now needs nobody to finish it.
        let Some(leave) = Leave::of(shared, process) else { continue };
        // It may be done since the names were read, and taken up again. What is to be sent was given
        // up before it began.
        let finished = match is_begun(shared, &process) {
            Ok(false) => continue,
            Ok(true) => forget(&leave, &Accepted::default(), &mut |_, _| go_on()),
            Err(error) => Err(error),
        };
        match finished {
            Ok(forgot) => {
                tracing::info!(%process, slots = forgot.slots, "what was begun is done: it is forgotten");
            }
            Err(StoreError::Stopped) => return,
            Err(error) => tracing::error!(%process, %error, "a process is not forgotten to the end"),
        }
    }
}

#[cfg(test)]
mod tests;
