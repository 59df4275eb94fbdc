//! Writing a process to a file. The store is read twice: once for the sizes in the header, once for
//! the bytes behind it, both from one snapshot, so no log is too long for memory.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use weft_protocol::bundle::Frame;
use weft_protocol::crypto::Signer;
use weft_protocol::process::Process;
use weft_protocol::wire::FILED_ATTESTATIONS_MAX;
use weft_protocol::{Draft, Id, Network, Tag, wire};
use weft_storage::{Reader, StoredSlot};

use super::{ATTESTATIONS_TYPE, ITEMS_MAX, MANIFEST_TYPE, PortableError, PortableReport, io};
use crate::log::READ_BYTES_MAX;

/// Bytes that are gathered before they go to the disk.
const BUFFER_BYTES: usize = 1024 * 1024;
/// What a file is called until it is whole.
const UNFINISHED: &str = ".unfinished";

/// Writes what a snapshot has of a process to a new file. `progress` hears how many of how many
/// slots are done, and says whether to go on. Blocks on the disk.
///
/// # Errors
/// Why there is no file.
pub fn export(
    reader: &Reader,
    (process, network): (&Process, Network),
    signer: &Signer,
    with_module: bool,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<PortableReport, PortableError> {
    if path.try_exists().map_err(io("look for", path))? {
        return Err(PortableError::Exists(path.to_owned()));
    }
    let id = process.id();
    let (last, row) = reader.head(&id)?.ok_or(PortableError::NoSlots(id))?;
    let mut parts = Parts { reader, process, network, signer, with_module, last, progress };
    let mut sizes = Vec::new();
    let mut attestations = 0;
    parts.each(&mut |part| {
        if sizes.len() >= ITEMS_MAX {
            return Err(PortableError::TooMany);
        }
        attestations += part.attestations;
        sizes.push((part.id, part.raw.len()));
        Ok(())
    })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name([name.as_ref(), UNFINISHED].concat());
    // Whatever is there under this name is somebody else's, and stays when this fails.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
    let file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => PortableError::Unfinished(unfinished.clone()),
        _ => io("make", &unfinished)(error),
    })?;
    let written = write(&mut parts, &sizes, file, (&unfinished, path));
    if written.is_err() {
        // The error that is told is the first one.
        let _ = std::fs::remove_file(&unfinished);
    }
    Ok(PortableReport {
        process: id,
        file: path.to_owned(),
        slots: last + 1,
        items: sizes.len() as u64,
        attestations,
        module: with_module,
        bytes: written?,
        new_slots: None,
        hash_chain: row.chain,
    })
}

/// Writes the file under the first name, and gives it the second when it is whole.
fn write(
    parts: &mut Parts<'_>,
    sizes: &[(Id, usize)],
    file: File,
    (unfinished, path): (&Path, &Path),
) -> Result<u64, PortableError> {
    let failed = |source| io("write", unfinished)(source);
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
    file.write_all(&Frame::of(sizes).to_bytes()).map_err(failed)?;
    parts.each(&mut |part| file.write_all(&part.raw).map_err(failed))?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    // A link, unlike a renaming, fails where somebody else was quicker.
    std::fs::hard_link(unfinished, path).map_err(io("name", path))?;
    std::fs::remove_file(unfinished).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))?;
    Ok(bytes)
}

/// One item of the file.
struct Part {
    id: Id,
    raw: Bytes,
    attestations: u64,
}

/// The items of the file, in order, as often as they are asked for: the same ones each time.
struct Parts<'a> {
    reader: &'a Reader,
    process: &'a Process,
    network: Network,
    signer: &'a Signer,
    with_module: bool,
    last: u64,
    progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

type Take<'a> = &'a mut dyn FnMut(Part) -> Result<(), PortableError>;

impl Parts<'_> {
    fn each(&mut self, take: Take<'_>) -> Result<(), PortableError> {
        take(self.manifest()?)?;
        self.slots(take)?;
        let module = self.process.module();
        if self.with_module {
            let raw = self.reader.item(&module)?;
            let raw = raw.ok_or(PortableError::NotHere { what: "module", id: module })?;
            take(Part { id: module, raw, attestations: 0 })?;
        }
        self.attestations(take)
    }

    fn signed(&self, kind: &str, data: Bytes, attestations: u64) -> Result<Part, PortableError> {
        let tags = vec![
            Tag::new("Type", kind),
            Tag::new("Process", self.process.id().to_string()),
            Tag::new("Network", self.network.to_string()),
        ];
        let item = Draft { target: None, anchor: None, tags, data }.sign(self.signer)?;
        Ok(Part { id: item.id(), raw: item.raw().clone(), attestations })
    }

    fn manifest(&self) -> Result<Part, PortableError> {
        self.signed(MANIFEST_TYPE, format!("slots 0 to {}", self.last).into(), 0)
    }

    fn slots(&mut self, take: Take<'_>) -> Result<(), PortableError> {
        let process = self.process.id();
        let mut next = 0;
        while next <= self.last {
            let stored = self.reader.slot_records(&process, next, self.last, READ_BYTES_MAX)?;
            if stored.slots.first().is_none_or(|first| first.slot != next) {
                return Err(PortableError::NotHere { what: "the assignment of the slot after", id: process });
            }
            for stored in stored.slots {
                next = stored.slot + 1;
                self.slot(stored, take)?;
            }
            // Twice over: once for the sizes, once for the bytes.
            if (self.progress)(next, self.last + 1).is_break() {
                return Err(PortableError::Stopped);
            }
        }
        Ok(())
    }

    fn slot(&self, stored: StoredSlot, take: Take<'_>) -> Result<(), PortableError> {
        let StoredSlot { slot, row, item, proof } = stored;
        take(Part { id: row.assignment_id, raw: row.assignment, attestations: 0 })?;
        // An item that is assigned again stands where it was assigned first.
        if self.reader.slot_of_item(&self.process.id(), &row.item)? != Some(slot) {
            return Ok(());
        }
        let raw = item.ok_or(PortableError::NotHere { what: "item", id: row.item })?;
        take(Part { id: row.item, raw, attestations: 0 })?;
        if let Some(id) = row.proof {
            let raw = proof.ok_or(PortableError::NotHere { what: "origin proof", id })?;
            take(Part { id, raw, attestations: 0 })?;
        }
        Ok(())
    }

    fn attestations(&self, take: Take<'_>) -> Result<(), PortableError> {
        let process = self.process.id();
        let mut after = None;
        loop {
            let rows = self.reader.attestations_after(&process, after, FILED_ATTESTATIONS_MAX)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(*last);
            let attestations = rows
                .iter()
                .filter_map(|(_, row)| wire::Attestation::decode(row.bytes.clone()).ok())
                .collect::<Vec<_>>();
            let count = attestations.len() as u64;
            let message = wire::AttestationsResponse { attestations };
            take(self.signed(ATTESTATIONS_TYPE, message.encode_to_vec().into(), count)?)?;
        }
    }
}
