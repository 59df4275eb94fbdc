//! A user of the nodes: a key of its own, which owns the processes and signs what is sent to them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weft_node::keyring::{self, KeyError};
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::{Draft, ItemError};
use weft_protocol::{Address, DataItem, Id, Tag, Verified};

/// The variant of the protocol that ao's clients name.
const VARIANT: &str = "ao.TN.1";
/// Memory of the tour's processes.
const MEMORY_LIMIT: &str = "500-mb";
/// Gas of one of their messages.
const COMPUTE_LIMIT: &str = "9000000000000";

/// Somebody who spawns processes and sends messages.
#[derive(Debug)]
pub struct User {
    signer: Signer,
    began_ms: u64,
    items: AtomicU64,
}

/// What a new process is to be.
#[derive(Debug)]
pub struct NewProcess<'a> {
    /// Its name for people.
    pub name: &'a str,
    /// Its module.
    pub module: Id,
    /// Who gives its slots.
    pub scheduler: Address,
    /// Whose word on it counts, and how many of them must agree; the scheduler's alone if empty.
    pub attestors: (Vec<Address>, usize),
    /// Tags beside those that every process has.
    pub tags: Vec<Tag>,
}

impl User {
    /// The user of this folder, made if there is none.
    ///
    /// # Errors
    /// A folder that cannot be used.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        let signer = keyring::load_or_create(dir)?.signer;
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { signer, began_ms: crate::check::millis(began), items: AtomicU64::new(0) })
    }

    /// The user's address.
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// A module of these bytes. It has no anchor, so the same bytes are the same module.
    ///
    /// # Errors
    /// Tags or data over a limit.
    pub fn module(&self, wasm: Vec<u8>, format: &str) -> Result<Verified<DataItem>, ItemError> {
        let tags = [
            ("Data-Protocol", "ao"),
            ("Variant", VARIANT),
            ("Type", "Module"),
            ("Module-Format", format),
            ("Input-Encoding", "JSON-1"),
            ("Output-Encoding", "JSON-1"),
            ("Memory-Limit", MEMORY_LIMIT),
            ("Compute-Limit", COMPUTE_LIMIT),
            ("Content-Type", "application/wasm"),
        ];
        let tags = tags.map(|(name, value)| Tag::new(name, value)).into();
        Draft { target: None, anchor: None, tags, data: wasm.into() }.sign(&self.signer)
    }

    /// A new process.
    ///
    /// # Errors
    /// Tags or data over a limit.
    pub fn process(&self, new: NewProcess<'_>) -> Result<Verified<DataItem>, ItemError> {
        let mut tags = vec![Tag::new("Data-Protocol", "ao"), Tag::new("Name", new.name)];
        tags.extend(new.tags);
        tags.extend([
            Tag::new("Variant", VARIANT),
            Tag::new("Type", "Process"),
            Tag::new("Module", new.module.to_string()),
            Tag::new("Scheduler", new.scheduler.to_string()),
        ]);
        let (attestors, quorum) = new.attestors;
        if !attestors.is_empty() {
            tags.extend(attestors.iter().map(|address| Tag::new("Compute", address.to_string())));
            tags.push(Tag::new("Compute-Quorum", quorum.to_string()));
        }
        self.sign(None, tags, Vec::new())
    }

    /// A message to a process.
    ///
    /// # Errors
    /// Tags or data over a limit.
    pub fn message(
        &self,
        process: Id,
        action: &str,
        tags: Vec<Tag>,
        data: impl AsRef<[u8]>,
    ) -> Result<Verified<DataItem>, ItemError> {
        let mut all = vec![Tag::new("Data-Protocol", "ao"), Tag::new("Action", action)];
        all.extend(tags);
        all.extend([Tag::new("Variant", VARIANT), Tag::new("Type", "Message")]);
        self.sign(Some(process), all, data.as_ref().to_vec())
    }

    fn sign(
        &self,
        target: Option<Id>,
        tags: Vec<Tag>,
        data: Vec<u8>,
    ) -> Result<Verified<DataItem>, ItemError> {
        let anchor = Some(self.anchor());
        Draft { target, anchor, tags, data: data.into() }.sign(&self.signer)
    }

    /// 32 characters that no item of this user had before: equal items are one item, and a kept
    /// folder has those of earlier tours.
    fn anchor(&self) -> [u8; 32] {
        let number = self.items.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:015}-{number:016}", self.began_ms % 1_000_000_000_000_000);
        let mut anchor = [b'0'; 32];
        for (to, from) in anchor.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        anchor
    }
}

/// An item as the control socket takes it.
pub fn encoded(item: &DataItem) -> String {
    STANDARD.encode(item.raw())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn user() -> User {
        User { signer: Signer::from_seed(&[7; 32]), began_ms: 1_764_000_000_000, items: AtomicU64::new(0) }
    }

    #[test]
    fn two_equal_messages_are_two_items_and_their_anchors_are_text() {
        let user = user();
        let one = user.message(Id([1; 32]), "Increment", Vec::new(), "").unwrap();
        let two = user.message(Id([1; 32]), "Increment", Vec::new(), "").unwrap();
        assert_ne!(one.id(), two.id());
        assert_eq!(two.anchor().unwrap(), b"001764000000000-0000000000000001");
        let module = || user.module(vec![1], "f").unwrap().id();
        assert_eq!(module(), module());
    }

    #[test]
    fn a_process_names_its_attestors_only_if_it_has_some() {
        let user = user();
        let process = |attestors| {
            let (module, scheduler) = (Id([1; 32]), Address([2; 32]));
            user.process(NewProcess { name: "n", module, scheduler, attestors, tags: Vec::new() }).unwrap()
        };
        let plain = process((Vec::new(), 0));
        assert!(plain.tag("Compute").is_none() && plain.tag("Compute-Quorum").is_none());
        let attested = process((vec![Address([3; 32]), Address([4; 32]), Address([5; 32])], 2));
        assert_eq!(attested.tag("Compute-Quorum"), Some("2"));
        assert_eq!(attested.tags().iter().filter(|tag| tag.name == "Compute").count(), 3);
    }
}
