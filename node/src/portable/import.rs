//! Reading a process from a file, on a node that runs. Slots take the way of all slots that come
//! from outside: verified here, then handed to the follower, which checks the links and appends.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weft_protocol::epoch::EpochTerms;
use weft_protocol::module::Module;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::{Link, SlotRecord};
use weft_protocol::{DataItem, Hash, Id, Network, tag, wire};

use super::apply::{Apply, Part, attestations_of};
use super::file::BundleFile;
use super::{ATTESTATIONS_TYPE, MANIFEST_TYPE, PortableError, PortableReport};
use crate::follower::FollowerHandle;
use crate::shared::SharedRef;

/// Items that are read and verified before they are handed on.
const GROUP_ITEMS: usize = 256;
/// Bytes of them that are in memory at once, and one part more.
const GROUP_BYTES: usize = 16 * 1024 * 1024;
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
    let mut apply = Apply::new(shared, follower, process);
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
            Some(ATTESTATIONS_TYPE) if names_process => {
                let attestations = attestations_of(&item.data(), self.terms.network)?;
                Ok(Some(Part::Attestations(attestations)))
            }
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
}

fn check_network(found: Option<&str>, expected: Network) -> Result<(), PortableError> {
    if found == Some(expected.to_string().as_str()) {
        return Ok(());
    }
    // Somebody else's words, shown no longer than a network's name is.
    let found = found.unwrap_or("none").chars().take(32).collect();
    Err(PortableError::OtherNetwork { found, expected })
}

#[cfg(test)]
mod tests;
