//! The loop: which processes are far behind their logs, a few of them at a time from a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_net::Peer;
use weft_protocol::process::Process;
use weft_protocol::seen::SeenList;
use weft_protocol::{Effects, Hash, Id, Machine as _, Now};
use weft_storage::{CheckpointRow, OutcomeRow, PackedPage, PageRef, Reader, Roles, StoreError, Write};

use super::machine::{Effect, Fetch, Input};
use super::{CHUNK_PAGES, Manifest, ask, weave};
use crate::attestations::keep_attestation;
use crate::compute::checkpoint;
use crate::config::Join;
use crate::error::NodeError;
use crate::log;
use crate::news::{News, heard_of};
use crate::recover;
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// How often processes that grew are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Processes looked at in one tick.
const LOOKS_MAX: usize = 256;
/// How long after a join that came to nothing the next is tried, in milliseconds.
const AGAIN_MS: u64 = 10 * 60 * 1000;
/// How often time passes while pages come.
const FETCH_TICK: Duration = Duration::from_millis(250);
/// Processes that join at a time.
const JOINS_MAX: usize = 4;
/// How long a log may take to reach the checkpoint. Meanwhile its process is not computed.
const LOG_WAIT_ALL: Duration = Duration::from_secs(30 * 60);
/// How long it may stand still before that.
const LOG_WAIT: Duration = Duration::from_secs(120);
/// How often it is looked at, beside every time that it grows.
const LOG_LOOK: Duration = Duration::from_millis(500);

/// Why a process did not go on from a checkpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotJoined {
    #[error("its Process item cannot be read")]
    Unknown,
    #[error("no peer has a signed checkpoint so far ahead")]
    Nobody,
    #[error("there is no room for its {0} pages")]
    NoRoom(usize),
    #[error("no peer is left that gives all of its pages")]
    Pages,
    #[error("the log here does not reach slot {0}")]
    Log(u64),
    #[error("its attestors signed another log than the one here: {0}")]
    Another(&'static str),
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl From<StoreError> for NotJoined {
    fn from(error: StoreError) -> Self {
        Self::Node(error.into())
    }
}

/// The loop.
pub struct JoinTask {
    shared: SharedRef,
    /// Processes that may be far behind their logs.
    grown: BTreeSet<Id>,
    /// Processes that were just hosted, where all are to go on from a checkpoint.
    fresh: BTreeSet<Id>,
    rest: BTreeMap<Id, Now>,
    /// Those that join.
    joining: BTreeSet<Id>,
    running: JoinSet<(Id, Result<u64, NotJoined>)>,
}

impl JoinTask {
    /// A loop that looks at every process first.
    pub fn new(shared: SharedRef) -> Self {
        let grown = shared.directory.ids(|roles| roles.computes).into_iter().collect();
        let (fresh, rest, joining) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        Self { shared, grown, fresh, rest, joining, running: JoinSet::new() }
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let Some(least) = self.shared.config.join.slots() else { return stop.cancelled().await };
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                heard = news.recv() => match heard {
                    Ok(News::Hosted { process }) => self.hosted(process, least),
                    Ok(News::Grew { process, .. }) => {
                        self.grown.insert(process);
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.grown.extend(self.shared.directory.ids(|roles| roles.computes)),
                    Err(RecvError::Closed) => return,
                },
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => {
                    joined(ended).into_iter().for_each(|(process, ended)| self.ended(process, ended));
                }
                _ = tick.tick() => self.look(least),
            }
        }
    }

    /// A process that is new here need not be evaluated first, where none is to be.
    fn hosted(&mut self, process: Id, least: u64) {
        if self.shared.config.join == Join::Checkpoint {
            self.fresh.insert(process);
            self.look(least);
        }
        self.grown.insert(process);
    }

    /// Begins with the first process that is so many slots behind its log, if there is a place.
    fn look(&mut self, least: u64) {
        if self.joining.len() >= JOINS_MAX {
            return;
        }
        let now = self.shared.clock.now();
        self.rest.retain(|_, until| *until > now);
        for _ in 0..LOOKS_MAX {
            let fresh = self.fresh.pop_first();
            let Some(process) = fresh.or_else(|| self.grown.pop_first()) else { return };
            let roles = self.shared.directory.roles(&process);
            let may = roles.is_some_and(may_join);
            let is_due = match fresh {
                Some(_) => next_slot_of(&self.shared, process).is_ok_and(|next| next <= 1),
                None => is_behind(&self.shared, process, least),
            };
            let is_under_way = self.joining.contains(&process) || self.rest.contains_key(&process);
            if !may || is_under_way || !is_due {
                continue;
            }
            self.joining.insert(process);
            let shared = SharedRef::clone(&self.shared);
            self.running.spawn(async move { (process, join(&shared, process, least).await) });
            return;
        }
    }

    fn ended(&mut self, process: Id, ended: Result<u64, NotJoined>) {
        self.joining.remove(&process);
        match ended {
            Ok(slot) => {
                self.shared.metrics.joins.add("joined");
                tracing::info!(%process, slot, "a process goes on from a checkpoint that its attestors signed");
            }
            Err(error) => {
                self.shared.metrics.joins.add("replayed");
                tracing::info!(%process, %error, "a process is evaluated, and goes on from no checkpoint");
                if let NotJoined::Another(_) = error {
                    self.shared.news.tell(News::Alarm { process, text: error.to_string() });
                }
                self.rest.insert(process, self.shared.clock.now().plus_ms(AGAIN_MS));
            }
        }
    }
}

/// Whether nobody misses what was before a checkpoint. What this node schedules it has evaluated itself; of what it
/// carries for, or keeps whole, it needs all that was sent; and what came unasked, or is evaluated on demand, has its
/// own pace.
const fn may_join(roles: Roles) -> bool {
    let needs_all = roles.schedules || roles.messenges || roles.pinned;
    roles.computes && !needs_all && !roles.for_others && !roles.on_demand
}

/// The first slot without an outcome here.
fn next_slot(reader: &Reader, process: &Id) -> Result<u64, StoreError> {
    Ok(reader.last_computed(process)?.map_or(0, |position| position.slot + 1))
}

fn next_slot_of(shared: &Shared, process: Id) -> Result<u64, StoreError> {
    next_slot(&shared.store.read()?, &process)
}

fn is_behind(shared: &Shared, process: Id, least: u64) -> bool {
    let behind = |reader: Reader| {
        let head = reader.head(&process)?.map_or(0, |(slot, _)| slot);
        Ok::<_, StoreError>(head.saturating_sub(next_slot(&reader, &process)?))
    };
    shared.store.read().and_then(behind).is_ok_and(|behind| behind >= least)
}

/// Has a process go on from the newest signed checkpoint, if that is so many slots ahead; gives its slot.
async fn join(shared: &SharedRef, process: Id, least: u64) -> Result<u64, NotJoined> {
    let known = shared.known(process).await.ok_or(NotJoined::Unknown)?.process;
    let next = next_slot_of(shared, process)?;
    let is_ahead = |manifest: &Manifest| manifest.summary.position.slot >= next.saturating_add(least);
    let (manifest, from) = match ask::newest(shared, &known).await.filter(|(manifest, _)| is_ahead(manifest))
    {
        Some((manifest, peers)) => (manifest, Source::Peers(peers)),
        // Peers are quicker, and cost nobody anything.
        None => {
            let found = recover::newest_checkpoint(shared, &known).await;
            let found = found.filter(|found| is_ahead(&found.manifest)).ok_or(NotJoined::Nobody)?;
            (found.manifest, Source::Weave(found.parts))
        }
    };
    let slot = manifest.summary.position.slot;
    if !shared.store.has_room(manifest.pages.len() * weft_protocol::state::LEAF_BYTES) {
        return Err(NotJoined::NoRoom(manifest.pages.len()));
    }
    let joining = shared.joins.begin(process);
    shared.news.tell(News::Hosted { process });
    shared
        .directory
        .set_waits(&process, Some(format!("the checkpoint at slot {slot}, from which it goes on")));
    let done = take(shared, &known, Arc::new(manifest), from).await;
    drop(joining);
    shared.directory.set_waits(&process, None);
    // Computed again: from the checkpoint, or from where it was.
    shared.news.tell(News::Hosted { process });
    done.map(|()| slot)
}

/// Who has the pages of a checkpoint.
enum Source {
    Peers(Vec<Peer>),
    /// These items.
    Weave(Vec<Id>),
}

async fn take(
    shared: &SharedRef,
    process: &Arc<Process>,
    manifest: Arc<Manifest>,
    from: Source,
) -> Result<(), NotJoined> {
    match from {
        Source::Peers(providers) => fetch(shared, process.id(), &manifest, providers).await?,
        Source::Weave(parts) => weave::fetch(shared, &manifest, &parts).await?,
    }
    let slot = manifest.summary.position.slot;
    reached(shared, process.id(), slot).await?;
    let (of, known, held) = (SharedRef::clone(shared), Arc::clone(process), Arc::clone(&manifest));
    let writes = tokio::task::spawn_blocking(move || writes(&of, &known, &held)).await;
    for part in joined(writes).ok_or(NotJoined::Unknown)?? {
        shared.store.write(part).await?;
    }
    for attestation in &manifest.attestations {
        keep_attestation(shared, process, attestation).await;
    }
    // Of one that was begun and left for this one nothing is needed any more.
    let unfinished = shared.store.read()?.checkpoints(&process.id(), 64)?.of_no_use;
    for position in unfinished {
        shared.store.drop_checkpoint(process.id(), position).await?;
    }
    Ok(())
}

/// The pages of a checkpoint that are not on disk, each once, and those that are: of one that was begun before,
/// or of others.
pub(super) fn missing(
    reader: &Reader,
    manifest: &Manifest,
) -> Result<(Vec<Hash>, BTreeSet<Hash>), StoreError> {
    let (mut missing, mut here) = (Vec::new(), BTreeSet::new());
    let all: BTreeSet<Hash> = manifest.pages.iter().map(|page| page.hash).collect();
    for hash in all {
        if reader.page_refs(&hash)? > 0 {
            here.insert(hash);
        } else {
            missing.push(hash);
        }
    }
    Ok((missing, here))
}

/// The row that keeps the pages that are there so far. Without a state it is no checkpoint.
pub(super) fn row(manifest: &Manifest, has: impl Fn(&Hash) -> bool, state: Bytes) -> Write {
    let pages: Vec<PageRef> = manifest.pages.iter().filter(|page| has(&page.hash)).copied().collect();
    let summary = &manifest.summary;
    let row = CheckpointRow { memory_bytes: summary.memory_bytes, pages, state };
    Write::Checkpoint { process: summary.process, position: summary.position, row }
}

/// Has all pages put on disk, from these providers beside each other.
async fn fetch(
    shared: &SharedRef,
    process: Id,
    manifest: &Manifest,
    providers: Vec<Peer>,
) -> Result<(), NotJoined> {
    let (missing, mut here) = missing(&shared.store.read()?, manifest)?;
    if !here.is_empty() {
        shared.store.write(vec![row(manifest, |hash| here.contains(hash), Bytes::new())]).await?;
    }
    let chunks: Vec<Arc<[Hash]>> = missing.chunks(CHUNK_PAGES).map(Arc::from).collect();
    let (mut machine, mut effects) = (Fetch::new(chunks.len()), Effects::new());
    let mut asks: JoinSet<(Peer, usize, ask::Given)> = JoinSet::new();
    let mut tick = tokio::time::interval(FETCH_TICK);
    for peer in providers {
        machine.handle(Input::Provider(peer), shared.clock.now(), &mut effects);
    }
    loop {
        for effect in effects.drain().collect::<Vec<_>>() {
            match effect {
                Effect::Ask(peer, chunk) => {
                    let Some(hashes) = chunks.get(chunk) else { continue };
                    // Of one that came in part, the rest.
                    let left: Arc<[Hash]> =
                        hashes.iter().filter(|hash| !here.contains(hash)).copied().collect();
                    let shared = SharedRef::clone(shared);
                    asks.spawn(async move {
                        let asked = left.len();
                        (peer, asked, ask::pages(&shared, peer, process, left).await)
                    });
                }
                Effect::Ended { whole: true } => return Ok(()),
                Effect::Ended { whole: false } => return Err(NotJoined::Pages),
            }
        }
        let input = tokio::select! {
            Some(ended) = asks.join_next(), if !asks.is_empty() => match joined(ended) {
                Some((peer, asked, (pages, why))) => {
                    let gave = pages.len();
                    here.extend(pages.iter().map(PackedPage::hash));
                    let mut writes: Vec<Write> = pages.into_iter().map(Write::Page).collect();
                    writes.push(row(manifest, |hash| here.contains(hash), Bytes::new()));
                    if gave > 0 {
                        shared.store.write(writes).await?;
                        machine.handle(Input::Part(peer, gave, asked), shared.clock.now(), &mut effects);
                    }
                    why.map_or(Input::Got(peer), |why| Input::Failed(peer, why))
                }
                None => continue,
            },
            _ = tick.tick() => Input::Tick,
        };
        machine.handle(input, shared.clock.now(), &mut effects);
    }
}

/// Waits until the log here has a slot.
async fn reached(shared: &Shared, process: Id, slot: u64) -> Result<(), NotJoined> {
    let mut news = shared.news.listen();
    let began = Instant::now();
    let (mut last, mut grew) = (None, began);
    loop {
        let head = shared.store.read()?.head(&process)?.map(|(slot, _)| slot);
        if head >= Some(slot) {
            return Ok(());
        }
        if head != last {
            (last, grew) = (head, Instant::now());
        }
        if grew.elapsed() >= LOG_WAIT || began.elapsed() >= LOG_WAIT_ALL {
            return Err(NotJoined::Log(slot));
        }
        // Hearing nothing in time is a reason to look again too.
        let _ = tokio::time::timeout(LOG_LOOK, heard_of(&mut news, process)).await;
    }
}

/// What makes the pages a checkpoint, and the place from which the process goes on: the seen list of the log here, which
/// must be the one that was signed, and the outcome, of which only the hash is known. In parts, of which
/// the last says it all.
fn writes(shared: &Shared, process: &Process, manifest: &Manifest) -> Result<Vec<Vec<Write>>, NotJoined> {
    let (id, summary) = (process.id(), &manifest.summary);
    let position = summary.position;
    let reader = shared.store.read()?;
    let slot = reader.slot(&id, position.slot)?.ok_or(NotJoined::Log(position.slot))?;
    if slot.assignment_id != manifest.assignment {
        return Err(NotJoined::Another("its slot is another"));
    }
    if log::link_of(position.slot, &slot).time != summary.time {
        return Err(NotJoined::Another("its time is another"));
    }
    let mut next = next_slot(&reader, &id)?;
    let mut seen = match next.checked_sub(1) {
        Some(last) => log::read_seen(&reader, id, last)?,
        None => SeenList::default(),
    };
    let mut parts = Vec::new();
    while next <= position.slot {
        let records = log::read_records(&reader, process, next, position.slot)?;
        next += records.len() as u64;
        parts.push(log::seen_of(process, &mut seen, &records));
    }
    if (seen.len() as u64, seen.root()) != (summary.seen_count, summary.seen_root) {
        return Err(NotJoined::Another("its seen list is another"));
    }
    let outcome = OutcomeRow {
        item: Some(slot.item),
        code: 0,
        core: Bytes::new(),
        outcome: Hash::ZERO,
        running: summary.running.0,
        outbox_root: Hash::ZERO,
        outbox_count: 0,
        duplicate_of: None,
        skipped: 0,
        gas: 0,
        result: Bytes::new(),
        state_root: Some(summary.root()),
        elapsed_us: 0,
    };
    let finished = row(manifest, |_| true, checkpoint::encode(summary));
    parts.push(vec![finished, Write::Outcome { process: id, position, row: outcome }]);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Position;
    use weft_protocol::crypto::Signer;
    use weft_protocol::outcome::Running;
    use weft_protocol::state::{LEAF_BYTES, StateSummary};
    use weft_protocol::time::TimePoint;
    use weft_storage::{MemoryDisk, Store, StoreConfig};

    use super::*;
    use crate::shared::testing::NETWORK;

    fn manifest(pages: &[PackedPage]) -> Manifest {
        let summary = StateSummary {
            process: Id([1; 32]),
            rules: 1,
            module: Id([2; 32]),
            position: Position::slot(1024),
            time: TimePoint { timestamp: 1, height: 1 },
            memory_bytes: LEAF_BYTES as u64 * 8,
            memory_root: Hash([3; 32]),
            seen_count: 1,
            seen_root: Hash([4; 32]),
            running: Running(Hash([5; 32])),
        };
        let refs = (0..).zip(pages).map(|(number, page)| PageRef { number, hash: page.hash() });
        Manifest { summary, assignment: Id([6; 32]), attestations: Vec::new(), pages: refs.collect() }
    }

    #[tokio::test]
    async fn pages_that_are_here_are_not_asked_for_again_and_do_not_make_a_checkpoint() {
        let node = Signer::from_seed(&[9; 32]).address();
        let store = Store::open_with_backend(MemoryDisk::new(), &StoreConfig::new(NETWORK, node)).unwrap();
        let pages: Vec<PackedPage> =
            (1..=3).map(|byte| PackedPage::pack(&[byte; LEAF_BYTES]).unwrap()).collect();
        let manifest = manifest(&pages);
        let (all, _) = missing(&store.read().unwrap(), &manifest).unwrap();
        assert_eq!(all.len(), 3);
        // The second came before it broke off.
        let first = pages[1].hash();
        let part = row(&manifest, |hash| *hash == first, Bytes::new());
        store.write(vec![Write::Page(pages[1].clone()), part]).await.unwrap();
        let (left, here) = missing(&store.read().unwrap(), &manifest).unwrap();
        assert_eq!((left.len(), here), (2, BTreeSet::from([first])));
        assert!(!left.contains(&first));
        assert_eq!(store.read().unwrap().whole_checkpoint(&Id([1; 32])).unwrap(), None);
        // All of them, with the state.
        let mut rest: Vec<Write> = [&pages[0], &pages[2]].map(|page| Write::Page(page.clone())).into();
        rest.push(row(&manifest, |_| true, checkpoint::encode(&manifest.summary)));
        store.write(rest).await.unwrap();
        let whole = store.read().unwrap().whole_checkpoint(&Id([1; 32])).unwrap();
        assert_eq!(whole, Some(Position::slot(1024)));
    }

    #[test]
    fn what_is_owed_to_others_is_evaluated_from_the_beginning() {
        let roles = Roles { computes: true, ..Roles::default() };
        assert!(may_join(roles) && may_join(Roles { watches: true, keeps_time: true, ..roles }));
        for needs_all in [
            Roles { schedules: true, ..roles },
            Roles { messenges: true, ..roles },
            Roles { pinned: true, ..roles },
            Roles { on_demand: true, ..roles },
            Roles { for_others: true, ..roles },
            Roles::default(),
        ] {
            assert!(!may_join(needs_all), "{needs_all:?}");
        }
    }
}
