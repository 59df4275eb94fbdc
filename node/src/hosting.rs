//! Taking up processes: finding one on the mesh, and starting what this node does for it.
//!
//! Where a child lives is written in its Process item and nowhere else, because the tags of the entry that spawned it are all
//! that it inherits. Its scheduler computes it and carries for it. A node that carries for the parent takes the child up if
//! that names the node in `Compute`; one that only carries for the parent only carries for the child.

mod forget;
mod search;
mod unasked;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use weft_net::{Key, Peer};
use weft_protocol::Id;
use weft_protocol::process::Process;
use weft_protocol::record::VerifiedRecord;
use weft_storage::{Caution, CautionRow, ProcessRow, Roles, SlotRow, StoreError, Write};

use crate::carrying::{self, Terms};
use crate::config::Role;
use crate::directory::Known;
use crate::log;
use crate::messenger::collect::collects;
use crate::news::News;
use crate::remote::RemoteError;
use crate::shared::Shared;
use crate::subscriptions;

pub use forget::{
    Accepted, ForgetError, Leave, Leaving, begin as begin_forgetting, check as check_forgetting,
    check_again as check_forgetting_again, finish as finish_forgetting, forget, is_leaving,
};
#[cfg(test)]
pub(crate) use search::machine as search_rules;
pub use search::{SearchHandle, SearchTask};
pub use unasked::{Claim, Declined, LimitsError, Place, Unasked, limits_of, used};

/// The first wait before a child that could not be taken up is tried again; doubled each time.
const ADOPT_WAIT_MIN: Duration = Duration::from_millis(500);
/// The longest.
const ADOPT_WAIT_MAX: Duration = Duration::from_secs(60);
/// Tries to take up a child: about ten minutes, time for whoever has its module to come back.
const ADOPT_TRIES_MAX: u32 = 16;
/// The try after which the operator is told of a child that waits.
const ADOPT_TOLD: u32 = 3;

/// Why a process could not be taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostingError {
    /// Nobody serves it, or nothing valid came.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What a peer gave as slot 0 is not its slot 0.
    #[error("{peer} gave a false slot 0: {why}")]
    False {
        /// Who.
        peer: Peer,
        /// What is wrong.
        why: String,
    },
    /// The search that others waited for too came to this.
    #[error(transparent)]
    Search(Arc<HostingError>),
    /// Its operator wants it gone.
    #[error("process {0} is being forgotten here; try again once that is done")]
    Leaving(Id),
    /// There is no room on the disk.
    #[error("this node's disk budget is used up: raise `disk_budget` or make room")]
    NoRoom,
    /// The disk.
    #[error(transparent)]
    Store(StoreError),
}

/// Processes whose topics are joined before a node says that it is ready; for the others its peers
/// wait some moments longer.
const JOINED_FIRST: usize = 256;

/// Starts what this node does for a process that is on disk.
pub async fn take_up(shared: &Shared, process: Arc<Process>, roles: Roles) {
    let (id, module) = (process.id(), process.module());
    shared.directory.put(process, roles);
    shared.topics.set(id, roles).await;
    provide(shared, id, module).await;
    shared.news.tell(News::Hosted { process: id });
}

/// Says on the mesh that this node serves a process and its module; whether there was room to.
async fn provide(shared: &Shared, process: Id, module: Id) -> bool {
    let mut all = true;
    for key in [Key::Process(process), Key::Process(module)] {
        if let Err(error) = shared.net.provide(key).await {
            tracing::debug!(%process, %error, "it is not announced that this node serves it");
            all = false;
        }
    }
    all
}

/// The processes on disk, on their way to the mesh after a start.
#[derive(Debug)]
pub struct Arrival {
    left: std::vec::IntoIter<Id>,
    may_provide: bool,
}

impl Arrival {
    /// Begins with all known processes, first those whose slots come from others, for which a topic matters most, and
    /// brings in as many as a start waits for.
    pub async fn begin(shared: &Shared) -> Self {
        let mut all = shared.directory.ids(|roles| !roles.schedules);
        all.extend(shared.directory.ids(|roles| roles.schedules));
        let mut arrival = Self { left: all.into_iter(), may_provide: true };
        arrival.some(shared, JOINED_FIRST).await;
        arrival
    }

    /// Brings in the others, and then waits until the node stops.
    pub async fn rest(mut self, shared: Arc<Shared>, stop: CancellationToken) {
        tokio::select! {
            () = self.some(&shared, usize::MAX) => {}
            () = stop.cancelled() => {}
        }
        stop.cancelled().await;
    }

    async fn some(&mut self, shared: &Shared, count: usize) {
        for process in self.left.by_ref().take(count) {
            if let Some(roles) = shared.directory.roles(&process) {
                shared.topics.set(process, roles).await;
            }
            if self.may_provide
                && let Some(module) = shared.directory.module(&process)
            {
                self.may_provide = provide(shared, process, module).await;
            }
        }
    }
}

/// The Process of an id: from the directory, else from peers that serve it. Kept in memory only
/// while somebody uses it.
///
/// # Errors
/// When nobody serves it.
pub async fn find_process(shared: &Shared, process: Id) -> Result<Arc<Process>, HostingError> {
    if let Some(known) = shared.directory.get(&process) {
        return Ok(known.process);
    }
    if let Some(found) = shared.directory.remembered(&process) {
        return Ok(found);
    }
    if let Some(found) = shared.searches.find(process).await {
        return found.map_err(HostingError::Search);
    }
    let (found, _) = search::fetch_opening(shared, process).await?;
    shared.directory.remember(Arc::clone(&found));
    Ok(found)
}

/// Takes up a process that another key schedules, or does more for one that is known.
///
/// # Errors
/// When nobody serves it, or the disk does not take it.
pub async fn host(shared: &Shared, process: Id, wanted: Roles) -> Result<Roles, HostingError> {
    let (found, opening) = match shared.directory.get(&process) {
        Some(known) => (known.process, None),
        None if let Some(found) = left_here(shared, &process)? => (found, None),
        None => {
            if !shared.store.has_room(crate::room::LITTLE_BYTES) {
                return Err(HostingError::NoRoom);
            }
            match search::fetch_opening(shared, process).await {
                Ok((found, record)) => (found, Some(record)),
                // A weave may have it; then it is taken up to be watched, and its log is here. For strangers it is not
                // read: that has no end, and is as large as they like.
                Err(error) if wanted.for_others => return Err(error),
                Err(error) => {
                    shared.wishes.read(process).await;
                    (shared.directory.get(&process).ok_or(error)?.process, None)
                }
            }
        }
    };
    // Somebody else may have taken it up meanwhile, to watch it, say.
    let _turn = shared.directory.turn(&process).await;
    if is_leaving(shared, &process)? {
        return Err(HostingError::Leaving(process));
    }
    let (roles, mut writes) = match (shared.directory.roles(&process), opening) {
        (Some(has), _) => (merge(has, wanted), Vec::new()),
        (None, Some(record)) => opening_writes(shared, &found, &record, wanted)?,
        (None, None) => (wanted, Vec::new()),
    };
    let row = ProcessRow { module: found.module(), roles };
    writes.push(Write::Process { process, row });
    shared.store.write(writes).await?;
    take_up(shared, found, roles).await;
    Ok(roles)
}

impl From<StoreError> for HostingError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Full { .. }) { Self::NoRoom } else { Self::Store(error) }
    }
}

/// What this node then does for a process of which it gets slot 0 from others, and the writes that
/// put that slot on disk. A log of its own is under caution from there on.
///
/// # Errors
/// A damaged store.
pub fn opening_writes(
    shared: &Shared,
    process: &Process,
    record: &VerifiedRecord,
    wanted: Roles,
) -> Result<(Roles, Vec<Write>), StoreError> {
    let (id, reader) = (process.id(), shared.store.read()?);
    let items: Vec<_> = [Some(record.item()), record.proof()].into_iter().flatten().collect();
    let mut writes = log::slot_writes(id, 0, SlotRow::of(record), &items);
    // Its row may be left of a process that lost its slot 0.
    let held = reader.process(&id)?.map(|row| row.roles).filter(|held| *held != Roles::default());
    let mut roles = held.map_or(wanted, |held| merge(held, wanted));
    if process.scheduler() == shared.address {
        roles.schedules = true;
        if reader.caution_of(&id)?.is_none() {
            let row = CautionRow { why: Caution::Repaired, slots: None };
            writes.push(Write::Caution { process: id, row });
        }
        writes.extend(log::child_write(&reader, process, record, shared.address)?);
    }
    Ok((roles, writes))
}

/// A process that was hosted before, if what lies on disk of it is whole.
pub(crate) fn left_here(shared: &Shared, process: &Id) -> Result<Option<Arc<Process>>, StoreError> {
    let reader = shared.store.read()?;
    if reader.process(process)?.is_none() {
        return Ok(None);
    }
    let found = log::read_process(&reader, process, &shared.terms).unwrap_or_else(|error| {
        tracing::warn!(%process, %error, "what was left of a process is not used");
        None
    });
    // How to go on with a log of our own that was lost is asked of others.
    Ok(found.filter(|found| found.scheduler() != shared.address))
}

/// Does what `roles` makes of what it does, and nothing else, for a known process from now on; nothing for
/// one that was left meanwhile. What is done for nothing any more is not known after a restart either;
/// what lies on disk of it stays until it is forgotten: no results of it are pruned any more.
///
/// # Errors
/// What `roles` refuses, or the disk.
pub async fn change<E: From<StoreError>>(
    shared: &Shared,
    known: Known,
    roles: impl FnOnce(Roles) -> Result<Roles, E>,
) -> Result<(), E> {
    let process = known.process;
    let (id, module) = (process.id(), process.module());
    let _turn = shared.directory.turn(&id).await;
    let Some(has) = shared.directory.roles(&id) else { return Ok(()) };
    let roles = roles(has)?;
    shared.store.write(vec![Write::Process { process: id, row: ProcessRow { module, roles } }]).await?;
    if roles == Roles::default() {
        shared.directory.remove(&id);
        // Only a network that has stopped says no.
        let _ = shared.net.stop_providing(Key::Process(id)).await;
    } else {
        shared.directory.put(process, roles);
    }
    shared.topics.set(id, roles).await;
    shared.news.tell(News::Hosted { process: id });
    Ok(())
}

/// Takes up a child of a process that this node carries for, if the child names this node among
/// its attestors: whoever computes the parent answers for such children too. Who only carries for the
/// parent carries for all its children. Says whether that is settled: what is missing may come, but is not
/// waited for for ever. A child that names others is theirs. As many are tried at once as there are permits.
pub async fn adopt(shared: &Shared, (parent, child): (Id, Id), at_once: &Semaphore) -> bool {
    let mut wait = ADOPT_WAIT_MIN;
    for number in 1..=ADOPT_TRIES_MAX {
        if number > 1 {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(ADOPT_WAIT_MAX);
        }
        let permit = at_once.acquire().await;
        let tried = try_adopt(shared, parent, child).await;
        drop(permit);
        let Err(error) = tried else { return true };
        if number == ADOPT_TOLD {
            tracing::warn!(%child, %error, "a child that names this node waits to be taken up");
        } else if number == ADOPT_TRIES_MAX {
            tracing::warn!(
                %child, %error,
                "a child that names this node was not taken up; it is tried again when the node starts, or \
                 `weft host` takes it"
            );
        } else {
            tracing::debug!(%child, %error, "a child was not taken up yet");
        }
    }
    false
}

async fn try_adopt(shared: &Shared, parent: Id, child: Id) -> Result<(), AdoptError> {
    if shared.directory.roles(&child).is_some() {
        return Ok(());
    }
    if shared.directory.roles(&parent).is_some_and(collects) {
        return carry_child(shared, parent, child).await;
    }
    if !shared.config.roles.contains(&Role::Compute) {
        return Ok(());
    }
    let found = find_process(shared, child).await?;
    if !found.attestors().members.contains(&shared.address) {
        return Ok(());
    }
    let claim = Claim::of(shared, &found);
    let taken = async {
        claim.check_computing(shared)?;
        let place = shared.unasked.reserve(&shared.directory, child, None, shared.config.spawn_budget)?;
        claim.check_limits(shared, &limits_of(shared, &found).await?)?;
        Ok::<_, AdoptError>(place)
    };
    let _place = match taken.await {
        Ok(place) => place,
        Err(AdoptError::Declined(declined)) => {
            shared.metrics.declined.add(declined.name());
            tracing::warn!(%child, why = %declined, "a child that names this node is not taken; `weft host` takes it");
            return Ok(());
        }
        Err(error @ AdoptError::Limits(LimitsError::Refused(..))) => {
            shared.metrics.declined.add(Declined::MODULE);
            tracing::warn!(%child, why = %error, "a child that names this node is not taken");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let messenges = shared.config.roles.contains(&Role::Messenger);
    let wanted = Roles { computes: true, messenges, watches: true, for_others: true, ..Roles::default() };
    host(shared, child, wanted).await?;
    tracing::info!(%child, "took up a child that names this node as an attestor");
    Ok(())
}

/// Carries for a child from its first slot on: nobody else may have heard of it.
async fn carry_child(shared: &Shared, parent: Id, child: Id) -> Result<(), AdoptError> {
    let budget = shared.config.spawn_budget;
    let _place = match shared.unasked.reserve(&shared.directory, child, None, budget) {
        Ok(place) => place,
        Err(declined) => {
            shared.metrics.declined.add(declined.name());
            tracing::warn!(%child, why = %declined, "a child is not carried for; `weft carry` takes it");
            return Ok(());
        }
    };
    if !subscriptions::take_child(shared, parent, child).await.map_err(HostingError::from)? {
        shared.metrics.declined.add(Declined::CHILDREN);
        tracing::warn!(%child, %parent, "a child is not carried for, as its parent has as many as it may; `weft carry` takes it");
        return Ok(());
    }
    carrying::begin(shared, child, Terms { all: true, for_others: true }).await?;
    tracing::info!(%child, "carries for a child of a process that this node carries for");
    Ok(())
}

/// Why a child was not taken up.
#[derive(Debug, thiserror::Error)]
enum AdoptError {
    #[error(transparent)]
    Hosting(#[from] HostingError),
    #[error(transparent)]
    Declined(#[from] Declined),
    #[error(transparent)]
    Limits(#[from] LimitsError),
}

/// What is done for a process for which this is done and that is wanted besides.
pub(crate) const fn merge(has: Roles, wants: Roles) -> Roles {
    Roles {
        schedules: has.schedules || wants.schedules,
        computes: has.computes || wants.computes,
        messenges: has.messenges || wants.messenges,
        watches: has.watches || wants.watches,
        keeps_time: has.keeps_time || wants.keeps_time,
        pinned: has.pinned || wants.pinned,
        // Whoever wants it computed says how.
        on_demand: if wants.computes { wants.on_demand } else { has.on_demand },
        // What the operator asked for is his own.
        for_others: has.for_others && wants.for_others,
    }
}
