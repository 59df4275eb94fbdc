//! A store for one log from a weave, to be replayed there and then removed: nothing that is on this node's own
//! disk has a part in it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message as _;
use weft_protocol::attestation::Attestation;
use weft_protocol::held::Held;
use weft_protocol::process::Process;
use weft_protocol::record::{Link, VerifiedRecord};
use weft_protocol::{Address, Id, Position, Verified};
use weft_storage::{AttestationRow, ProcessRow, Roles, SlotRow, Store, StoreConfig, StoreError, Write};

use super::RecoverError;
use super::sink::{Sink, Tally};
use crate::log;
use crate::portable::{Part, PortableError};
use crate::room::{self, Grant};
use crate::shared::SharedRef;

/// The folder in the data folder, with one for each process that is checked.
pub(crate) const FOLDER: &str = "from-weave";

/// The store.
pub(crate) struct Scratch {
    id: Id,
    store: Store,
    folder: Folder,
    grant: Grant,
    process: Option<Arc<Process>>,
    attestations: u64,
    module: bool,
    /// Attestors who signed two things about one position.
    pub(crate) contradictions: Vec<String>,
}

/// Gone with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is removed when the node starts again.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Scratch {
    /// An empty one for a process, with a share of its own of what the node may take of the disk.
    ///
    /// # Errors
    /// The disk, or that another check of the process is under way.
    pub(crate) async fn open(shared: &SharedRef, process: Id) -> Result<Self, RecoverError> {
        let all = shared.config.data_dir.join(FOLDER);
        let path = all.join(process.to_string());
        let config = StoreConfig::new(shared.network, shared.address);
        let granting = SharedRef::clone(shared);
        let granted = tokio::task::spawn_blocking(move || room::grant(&granting)).await;
        let grant = granted.map_err(|_| PortableError::Stopped)?.map_err(RecoverError::Room)?;
        let opened = tokio::task::spawn_blocking(move || {
            let io = |action| {
                let path = path.clone();
                move |source| PortableError::Io { action, path, source }
            };
            std::fs::create_dir_all(&all).map_err(io("make"))?;
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(RecoverError::Busy(process));
                }
                made => made.map_err(io("make"))?,
            }
            let folder = Folder(path.clone());
            let store = Store::open(&path.join("store.redb"), &config).map_err(PortableError::from)?;
            Ok((store, folder))
        });
        let (store, folder) = opened.await.map_err(|_| PortableError::Stopped)??;
        store.set_room(grant.bytes(), grant.bytes());
        Ok(Self {
            id: process,
            store,
            folder,
            grant,
            process: None,
            attestations: 0,
            module: false,
            contradictions: Vec::new(),
        })
    }

    /// Removes what a node that was killed left.
    pub(crate) fn clear(data_dir: &Path) {
        let all = data_dir.join(FOLDER);
        if all.exists()
            && let Err(error) = std::fs::remove_dir_all(&all)
        {
            tracing::warn!(folder = %all.display(), %error, "what was read from a weave is not removed");
        }
    }

    /// The process, once slot 0 came.
    pub(crate) fn process(&self) -> Option<Arc<Process>> {
        self.process.clone()
    }

    /// Where the log is.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps what the log only names.
    ///
    /// # Errors
    /// The disk.
    pub(crate) async fn keep(&self, held: &Verified<Held>) -> Result<(), StoreError> {
        self.store.write(vec![Write::Item { id: held.id(), raw: held.raw() }]).await
    }

    /// Removes it.
    pub(crate) async fn remove(self) {
        let Self { store, folder, grant, .. } = self;
        let removed = tokio::task::spawn_blocking(move || {
            store.shutdown();
            drop(store);
            drop(folder);
            // Others may have the room once it is free.
            drop(grant);
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "a store that was read from a weave was not removed");
        }
    }

    fn slot(&self, record: &VerifiedRecord) -> Vec<Write> {
        let items: Vec<_> = [Some(record.item()), record.proof()].into_iter().flatten().collect();
        log::slot_writes(self.id, record.assignment().slot, SlotRow::of(record), &items)
    }

    /// Keeps what the process's attestors signed: what others say decides nothing.
    async fn attested(&mut self, attestations: Vec<Verified<Attestation>>) -> Result<(), PortableError> {
        let Some(process) = self.process.clone() else { return Ok(()) };
        let reader = self.store.read()?;
        let mut new: BTreeMap<(Position, Address), AttestationRow> = BTreeMap::new();
        for found in attestations {
            let (statement, attestor) = (found.statement(), found.attestor());
            if statement.process != self.id || !process.attestors().members.contains(&attestor) {
                continue;
            }
            let position = statement.position;
            let row =
                AttestationRow { statement: statement.hash(), bytes: found.to_wire().encode_to_vec().into() };
            let held = match new.get(&(position, attestor)) {
                Some(held) => Some(held.statement),
                None => reader.attestation(&self.id, position, &attestor)?.map(|held| held.statement),
            };
            match held {
                Some(held) if held != row.statement => {
                    self.contradictions
                        .push(format!("{attestor} signed two things about position {position}"));
                }
                Some(_) => {}
                None => drop(new.insert((position, attestor), row)),
            }
        }
        drop(reader);
        let count = new.len() as u64;
        let writes = new.into_iter().map(|((position, attestor), row)| Write::Attestation {
            process: self.id,
            position,
            attestor,
            row,
        });
        let writes: Vec<Write> = writes.collect();
        if !writes.is_empty() {
            self.store.write(writes).await?;
        }
        self.attestations += count;
        Ok(())
    }
}

impl Sink for Scratch {
    async fn parts(&mut self, parts: Vec<Part>) -> Result<(), PortableError> {
        let mut writes = Vec::new();
        let mut attestations = Vec::new();
        for part in parts {
            match part {
                Part::Opening(process, record) => {
                    let row = ProcessRow { module: process.module(), roles: Roles::default() };
                    writes.push(Write::Process { process: self.id, row });
                    writes.extend(self.slot(&record));
                    self.process = Some(process);
                }
                Part::Slot(record) => writes.extend(self.slot(&record)),
                Part::Attestations(found) => attestations.extend(found),
                Part::Module(item) => {
                    writes.push(Write::Item { id: item.id(), raw: item.raw().clone() });
                    self.module = true;
                }
            }
        }
        if !writes.is_empty() {
            self.store.write(writes).await?;
        }
        self.attested(attestations).await
    }

    async fn settle(&mut self, _: Option<Link>) -> Result<(), PortableError> {
        // A write is answered when it is on disk.
        Ok(())
    }

    fn has(&self, item: &Id) -> Result<bool, PortableError> {
        Ok(self.store.read()?.item(item)?.is_some())
    }

    fn tally(&self) -> Tally {
        Tally { had: 0, attestations: self.attestations, module: self.module }
    }
}
