//! Reading a process from a file, on a node that runs. Slots take the way of all slots that come
//! from outside: verified here, then handed to the follower, which checks the links and appends.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_protocol::attestation::Attestation;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::evidence::Evidence;
use weft_protocol::module::Module;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::{Link, SlotRecord, VerifiedRecord};
use weft_protocol::{DataItem, Hash, Id, Network, Verified, tag, wire};
use weft_storage::{ProcessRow, Reader, Roles, Write};

use super::file::BundleFile;
use super::{ATTESTATIONS_TYPE, ITEM_BYTES_MAX, MANIFEST_TYPE, PortableError, PortableReport};
use crate::attestations::{Kept, keep_attestation};
use crate::config::Role;
use crate::follower::FollowerHandle;
use crate::hosting;
use crate::shared::SharedRef;

/// Items that are read and verified before they are handed on.
const GROUP_ITEMS: usize = 256;
/// Bytes of them that are in memory at once, and one part more.
const GROUP_BYTES: usize = 16 * 1024 * 1024;
/// How long the log may stay where it is while slots wait for it: a commit takes milliseconds.
const APPEND_WAIT: Duration = Duration::from_secs(60);

/// How often it is looked whether there is room for what waits.
const ROOM_PERIOD: Duration = Duration::from_secs(1);

/// Reads a file into this node. `progress` hears how many of how many items are done, and says
/// whether to go on.
///
/// # Errors
/// Why not all of it was imported; the text says what was.
pub async fn import(
    shared: &SharedRef,
    follower: &FollowerHandle,
    path: PathBuf,
    progress: &mut (dyn FnMut(u64, u64) -> ControlFlow<()> + Send),
) -> Result<PortableReport, PortableError> {
    let mut read = {
        let (terms, path) = (shared.terms.clone(), path.clone());
        blocking(move || Reading::open(&path, terms)).await?
    };
    let process = read.process;
    let mut apply = Apply { shared, follower, process, known: None, had: 0, attestations: 0, module: false };
    let total = read.file.len() as u64;
    loop {
        let (after, group) = blocking(move || {
            let group = read.group();
            Ok((read, group))
        })
        .await?;
        read = after;
        for part in group.parts {
            apply.part(part).await?;
        }
        apply.settle(read.link).await?;
        if let Some(why) = group.refused {
            let (slot, next) = (read.next_slot(), read.next_slot());
            return Err(PortableError::Slot { slot, why, next });
        }
        if progress(read.index as u64, total).is_break() {
            return Err(PortableError::Stopped);
        }
        if read.index >= read.file.len() {
            break;
        }
    }
    let slots = read.next_slot();
    if slots == 0 {
        return Err(PortableError::NotAnExport("there is no slot in it".to_owned()));
    }
    Ok(PortableReport {
        process,
        file: path,
        slots,
        items: total,
        attestations: apply.attestations,
        module: apply.module,
        bytes: read.file.bytes,
        new_slots: Some(slots.saturating_sub(apply.had)),
        hash_chain: read.link.map_or(Hash::ZERO, |link| link.hash_chain),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PortableError> + Send + 'static,
) -> Result<T, PortableError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(PortableError::Stopped))
}

/// Something of the file that verifies.
enum Part {
    Opening(Arc<Process>, Box<VerifiedRecord>),
    Slot(Box<VerifiedRecord>),
    Attestations(Vec<Verified<Attestation>>),
    Module(Box<Verified<DataItem>>),
}

impl Part {
    /// What it holds in memory.
    fn bytes(&self) -> usize {
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

/// Parts in order, and why the next one is refused, if it is.
struct Group {
    parts: Vec<Part>,
    refused: Option<String>,
}

/// How far a file is read and verified.
struct Reading {
    file: BundleFile,
    terms: Terms,
    process: Id,
    known: Option<(Arc<Process>, EpochTerms)>,
    link: Option<Link>,
    /// Whether the module was read: once is enough.
    has_module: bool,
    /// The next item.
    index: usize,
}

impl Reading {
    fn open(path: &Path, terms: Terms) -> Result<Self, PortableError> {
        let file = BundleFile::open(path)?;
        let not = |why: String| PortableError::NotAnExport(why);
        let first = file.nth(0)?.ok_or_else(|| not("it is empty".to_owned()))?;
        let first = DataItem::verify_bytes(first).map_err(|error| not(format!("its first item: {error}")))?;
        if first.tag("Type") != Some(MANIFEST_TYPE) {
            return Err(not("its first item does not say what is inside".to_owned()));
        }
        check_network(first.tag("Network"), terms.network)?;
        let process = first.tag("Process").and_then(|id| id.parse().ok());
        let process = process.ok_or_else(|| not("it names no process".to_owned()))?;
        Ok(Self { file, terms, process, known: None, link: None, has_module: false, index: 1 })
    }

    fn next_slot(&self) -> u64 {
        self.link.map_or(0, |link| link.slot + 1)
    }

    fn group(&mut self) -> Group {
        let mut group = Group { parts: Vec::new(), refused: None };
        let end = self.index.saturating_add(GROUP_ITEMS).min(self.file.len());
        let mut bytes = 0;
        while self.index < end && bytes < GROUP_BYTES {
            match self.part() {
                Ok(part) => {
                    bytes += part.as_ref().map_or(0, Part::bytes);
                    group.parts.extend(part);
                }
                Err(why) => {
                    group.refused = Some(why);
                    return group;
                }
            }
            self.index += 1;
        }
        group
    }

    /// What the next item brings, if it brings anything by itself: the item of a slot comes with
    /// its assignment.
    fn part(&mut self) -> Result<Option<Part>, String> {
        let raw = self.file.nth(self.index).map_err(|error| error.to_string())?;
        let raw = raw.ok_or_else(|| "the file ends".to_owned())?;
        let item = DataItem::parse(raw.clone()).map_err(|error| error.to_string())?;
        let item = item.claims();
        let is_module = self.known.as_ref().is_some_and(|(process, _)| process.module() == item.id());
        if is_module {
            if std::mem::replace(&mut self.has_module, true) {
                return Ok(None);
            }
            let verified = DataItem::verify_bytes(raw).map_err(|error| format!("the module: {error}"))?;
            Module::accept(verified.clone()).map_err(|error| format!("the module: {error}"))?;
            return Ok(Some(Part::Module(Box::new(verified))));
        }
        let names_process =
            tag::first(item.tags(), "Process").and_then(|id| id.parse::<Id>().ok()) == Some(self.process);
        match tag::first(item.tags(), "Type") {
            Some("Assignment") if names_process => self.slot(item).map(Some),
            Some(ATTESTATIONS_TYPE) if names_process => self.attestations(item).map(Some),
            _ => Ok(None),
        }
    }

    fn slot(&mut self, assignment: &DataItem) -> Result<Part, String> {
        let named = |name: &str| tag::first(assignment.tags(), name).and_then(|id| id.parse::<Id>().ok());
        let item = self.bytes_of("item", named("Message").unwrap_or(self.process))?;
        let claims = DataItem::parse(item.clone()).map_err(|error| error.to_string())?;
        let proof = tag::first(claims.claims().tags(), weft_protocol::push::ORIGIN_PROOF);
        let proof = proof.and_then(|id| id.parse::<Id>().ok());
        let proof = proof.map(|id| self.bytes_of("origin proof", id)).transpose()?;
        let record =
            wire::SlotRecord { assignment: assignment.raw().clone(), item, proof: proof.unwrap_or_default() };
        let record = SlotRecord::from_wire(&record).map_err(|error| error.to_string())?;
        let due = self.next_slot();
        if record.claims().assignment().slot != due {
            return Err(format!("slot {due} is missing"));
        }
        let Some((process, terms)) = &self.known else {
            let (process, record) = record.open(&self.terms).map_err(|error| error.to_string())?;
            if process.id() != self.process {
                return Err("it opens another process".to_owned());
            }
            let terms = EpochTerms::of_process(&process).map_err(|error| error.to_string())?;
            let process = Arc::new(process);
            self.known = Some((Arc::clone(&process), terms));
            self.link = Some(record.link());
            return Ok(Part::Opening(process, Box::new(record)));
        };
        let record = record.verify(process, terms, self.link.as_ref()).map_err(|error| error.to_string())?;
        self.link = Some(record.link());
        Ok(Part::Slot(Box::new(record)))
    }

    fn bytes_of(&self, what: &str, id: Id) -> Result<bytes::Bytes, String> {
        let found = self.file.item(&id).map_err(|error| error.to_string())?;
        found.ok_or_else(|| format!("its {what} {id} is not in the file"))
    }

    fn attestations(&self, item: &DataItem) -> Result<Part, String> {
        let message = wire::decode_canonical::<wire::AttestationsResponse>(&item.data(), ITEM_BYTES_MAX);
        let message = message.map_err(|error| format!("attestations: {error}"))?;
        // A bad one says nothing about the next.
        let verified = message
            .attestations
            .iter()
            .filter_map(|message| Attestation::from_wire(message, self.terms.network).ok()?.verify().ok());
        Ok(Part::Attestations(verified.collect()))
    }
}

fn check_network(found: Option<&str>, expected: Network) -> Result<(), PortableError> {
    if found == Some(expected.to_string().as_str()) {
        return Ok(());
    }
    // Somebody else's words, shown no longer than a network's name is.
    let found = found.unwrap_or("none").chars().take(32).collect();
    Err(PortableError::OtherNetwork { found, expected })
}

/// Takes verified parts into the node.
struct Apply<'a> {
    shared: &'a SharedRef,
    follower: &'a FollowerHandle,
    process: Id,
    known: Option<Arc<Process>>,
    /// Slots that were here when it began.
    had: u64,
    attestations: u64,
    module: bool,
}

impl Apply<'_> {
    async fn part(&mut self, part: Part) -> Result<(), PortableError> {
        match part {
            Part::Opening(process, record) => self.open(process, &record).await,
            Part::Slot(record) => self.slot(*record).await,
            Part::Attestations(attestations) => {
                let Some(process) = &self.known else { return Ok(()) };
                for attestation in attestations {
                    let kept = keep_attestation(self.shared, process, &attestation).await;
                    self.attestations += u64::from(kept == Kept::Yes);
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
        self.check_room(record.item().raw().len() + record.assignment_item().raw().len())?;
        // A scheduler computes its processes and carries for them, like those that it opened.
        let does = |role| own && self.shared.config.roles.contains(&role);
        let computes = does(Role::Compute);
        let messenges = computes && does(Role::Messenger);
        let wanted = Roles { watches: !own, computes, messenges, ..Roles::default() };
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
    async fn settle(&self, link: Option<Link>) -> Result<(), PortableError> {
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

#[cfg(test)]
mod tests;
