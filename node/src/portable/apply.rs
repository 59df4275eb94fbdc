//! Taking verified parts of a process into a node that runs. Slots take the way of all slots that come
//! from outside: to the follower, which checks the links and appends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use weft_protocol::attestation::Attestation;
use weft_protocol::evidence::Evidence;
use weft_protocol::process::Process;
use weft_protocol::record::{Link, VerifiedRecord};
use weft_protocol::{DataItem, Id, Network, Verified, wire};
use weft_storage::{ProcessRow, Reader, Roles, Write};

use super::{ITEM_BYTES_MAX, PortableError};
use crate::attestations::{Kept, keep_attestation};
use crate::config::Role;
use crate::follower::FollowerHandle;
use crate::hosting;
use crate::shared::SharedRef;

/// How long the log may stay where it is while slots wait for it: a commit takes milliseconds.
const APPEND_WAIT: Duration = Duration::from_secs(60);
/// Attestations that are on their way to the disk at once.
const KEPT_AT_ONCE: usize = 64;
/// How often it is looked whether there is room for what waits.
const ROOM_PERIOD: Duration = Duration::from_secs(1);

/// Bytes of a process that may be taken.
#[derive(Debug)]
pub(crate) struct Allowance {
    granted: u64,
    left: AtomicU64,
}

impl Allowance {
    /// So many bytes.
    pub(crate) const fn new(granted: u64) -> Self {
        Self { granted, left: AtomicU64::new(granted) }
    }

    /// How many there were.
    pub(crate) const fn granted(&self) -> u64 {
        self.granted
    }

    /// How many may still come.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> Result<(), PortableError> {
        let take = |left: u64| left.checked_sub(bytes as u64);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(drop).map_err(|_| PortableError::Longer { most: self.granted })
    }
}

/// Something of a process that verifies.
pub(crate) enum Part {
    /// The process with its slot 0.
    Opening(Arc<Process>, Box<VerifiedRecord>),
    /// A slot of it.
    Slot(Box<VerifiedRecord>),
    /// What was attested of it.
    Attestations(Vec<Verified<Attestation>>),
    /// Its module.
    Module(Box<Verified<DataItem>>),
}

impl Part {
    /// What it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Opening(_, record) | Self::Slot(record) => {
                let proof = record.proof().map_or(0, |proof| proof.raw().len());
                record.assignment_item().raw().len() + record.item().raw().len() + proof
            }
            Self::Attestations(all) => size_of_val(all.as_slice()),
            Self::Module(item) => item.raw().len(),
        }
    }
}

/// Reads the attestations that are the data of an item of [`ATTESTATIONS_TYPE`]. Nothing is believed because of who
/// signed the item, and a bad one says nothing about the next.
///
/// # Errors
/// It is something else, or too many.
pub(crate) fn attestations_of(data: &Bytes, network: Network) -> Result<Vec<Verified<Attestation>>, String> {
    let message = wire::decode_canonical::<wire::AttestationsResponse>(data, ITEM_BYTES_MAX);
    let message = message.map_err(|error| format!("attestations: {error}"))?;
    let verified = message
        .attestations
        .iter()
        .filter_map(|message| Attestation::from_wire(message, network).ok()?.verify().ok());
    Ok(verified.collect())
}

/// Takes verified parts into the node.
pub(crate) struct Apply<'a> {
    pub(crate) shared: &'a SharedRef,
    pub(crate) follower: &'a FollowerHandle,
    pub(crate) process: Id,
    pub(crate) known: Option<Arc<Process>>,
    /// Slots that were here when it began.
    pub(crate) had: u64,
    /// Attestations that were kept.
    pub(crate) attestations: u64,
    /// Whether the module came.
    pub(crate) module: bool,
    /// Somebody else asked for it: it takes a place of those.
    pub(crate) for_others: bool,
    /// What may be taken, if that is bounded.
    pub(crate) allowance: Option<Arc<Allowance>>,
}

impl<'a> Apply<'a> {
    /// Nothing came yet.
    pub(crate) const fn new(shared: &'a SharedRef, follower: &'a FollowerHandle, process: Id) -> Self {
        let (known, had, attestations, module, for_others) = (None, 0, 0, false, false);
        Self { shared, follower, process, known, had, attestations, module, for_others, allowance: None }
    }

    /// Takes one part.
    ///
    /// # Errors
    /// Why it is not taken; [`PortableError::Longer`] where no more may be.
    pub(crate) async fn part(&mut self, part: Part) -> Result<(), PortableError> {
        // Attestations are read again and again: those that are here already take nothing.
        if let (Some(allowance), false) = (&self.allowance, matches!(part, Part::Attestations(_))) {
            allowance.take(part.bytes())?;
        }
        match part {
            Part::Opening(process, record) => self.open(process, &record).await,
            Part::Slot(record) => self.slot(*record).await,
            Part::Attestations(mut attestations) => {
                let Some(process) = &self.known else { return Ok(()) };
                // What is said twice in one part is stored, and counted, once.
                let mut said = BTreeSet::new();
                attestations.retain(|one| said.insert((one.attestor(), one.statement().hash())));
                // Beside each other, so that many share a commit.
                let one_bytes = attestations.first().map_or(0, size_of_val);
                let keep = |attestation| {
                    let (shared, process) = (SharedRef::clone(self.shared), Arc::clone(process));
                    async move { keep_attestation(&shared, &process, &attestation).await }
                };
                let kept = futures::stream::iter(attestations.into_iter().map(keep));
                let kept = kept.buffer_unordered(KEPT_AT_ONCE);
                let kept = kept.filter(|kept| std::future::ready(*kept == Kept::Yes)).count().await;
                self.attestations += kept as u64;
                if let Some(allowance) = &self.allowance {
                    allowance.take(kept * one_bytes)?;
                }
                Ok(())
            }
            Part::Module(module) => {
                let write = Write::Item { id: module.id(), raw: module.raw().clone() };
                self.shared.store.write(vec![write]).await?;
                self.module = true;
                Ok(())
            }
        }
    }

    /// Takes the process up, as one whose log this node follows and serves, unless it is known.
    async fn open(&mut self, process: Arc<Process>, record: &VerifiedRecord) -> Result<(), PortableError> {
        let id = self.process;
        // Only a log of its own that lost slots takes them back; the follower then brings them in.
        let own = process.scheduler() == self.shared.address;
        let is_whole = |reader: Reader| Ok(reader.caution_of(&id)?.is_none() && reader.head(&id)?.is_some());
        if own && self.shared.store.read().and_then(is_whole)? {
            return Err(PortableError::Own { process: id });
        }
        self.known = Some(Arc::clone(&process));
        let _turn = self.shared.directory.turn(&id).await;
        if self.shared.directory.get(&id).is_some() {
            self.had = self.head()?.map_or(0, |slot| slot + 1);
            return self.compare(record);
        }
        if hosting::is_leaving(self.shared, &id)? {
            return Err(hosting::HostingError::Leaving(id).into());
        }
        self.check_room(record.item().raw().len() + record.assignment_item().raw().len())?;
        // A scheduler computes its processes and carries for them, like those that it opened.
        let does = |role| own && self.shared.config.roles.contains(&role);
        let computes = does(Role::Compute);
        let messenges = computes && does(Role::Messenger);
        let for_others = self.for_others && !own;
        let wanted = Roles { watches: !own, computes, messenges, for_others, ..Roles::default() };
        let (roles, mut writes) = hosting::opening_writes(self.shared, &process, record, wanted)?;
        writes.push(Write::Process { process: id, row: ProcessRow { module: process.module(), roles } });
        self.shared.store.write(writes).await?;
        self.had = 0;
        hosting::take_up(self.shared, process, roles).await;
        // Before the slots that follow: whoever follows nothing drops them.
        self.follower.follow(id, record.link()).await;
        Ok(())
    }

    async fn slot(&self, record: VerifiedRecord) -> Result<(), PortableError> {
        if record.assignment().slot < self.had {
            return self.compare(&record);
        }
        let bytes = record.item().raw().len() + record.assignment_item().raw().len();
        self.check_room(bytes)?;
        self.follower.record(self.process, record).await;
        Ok(())
    }

    /// A slot that is here already must be the same one.
    fn compare(&self, record: &VerifiedRecord) -> Result<(), PortableError> {
        let (slot, offered) = (record.assignment().slot, record.assignment().id);
        let Some(row) = self.shared.store.read()?.slot(&self.process, slot)? else { return Ok(()) };
        if row.assignment_id == offered {
            return Ok(());
        }
        if let Ok(ours) = DataItem::verify_bytes(row.assignment) {
            let found = Evidence::of_assignments(&ours, record.assignment_item(), self.shared.network);
            found.into_iter().for_each(|evidence| self.shared.witness.found(self.process, evidence));
        }
        Err(PortableError::OtherLog { slot, held: row.assignment_id, offered })
    }

    /// Waits until every slot that was handed over is on disk.
    ///
    /// # Errors
    /// [`PortableError::Stuck`], or that there is no room.
    pub(crate) async fn settle(&self, link: Option<Link>) -> Result<(), PortableError> {
        let Some(Link { slot: wanted, .. }) = link else { return Ok(()) };
        // Listening before looking: what grows in between is heard.
        let mut news = self.shared.news.listen();
        let (mut head, mut since) = (self.head()?, Instant::now());
        while head < Some(wanted) {
            let Some(left) = APPEND_WAIT.checked_sub(since.elapsed()) else {
                return Err(PortableError::Stuck { head, wanted });
            };
            // Whatever the news is, and also when some were missed, the log is looked at.
            let _ = tokio::time::timeout(left.min(ROOM_PERIOD), news.recv()).await;
            let now = self.head()?;
            if now == head {
                // What is on its way to the disk takes room too.
                if since.elapsed() >= ROOM_PERIOD {
                    self.check_room(0)?;
                }
            } else {
                (head, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// The follower takes nothing where there is no room for it, and tells nobody.
    fn check_room(&self, bytes: usize) -> Result<(), PortableError> {
        match self.shared.store.has_room(bytes) {
            true => Ok(()),
            false => Err(self.shared.store.no_room().into()),
        }
    }

    fn head(&self) -> Result<Option<u64>, PortableError> {
        Ok(self.shared.store.read()?.head(&self.process)?.map(|(slot, _)| slot))
    }
}
