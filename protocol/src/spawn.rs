//! Spawned processes (RULES.md 6.9): the Process item that a spawn entry becomes, the `Spawned`
//! message that tells the parent, and what makes a child the one that the entry asked for.

use bytes::Bytes;

use crate::assignment::Assignment;
use crate::data_item::{DataItem, Draft};
use crate::hash_chain;
use crate::hashing::{Digest as _, Sha256};
use crate::header::Header;
use crate::id::{Address, Hash, Id};
use crate::outcome::{EntryKind, OutboxEntry};
use crate::push::{Dispatch, ORIGIN_PROOF};
use crate::tag::{self, Tag};
use crate::verify::Verified;
use crate::wire::ASSIGNMENT_BYTES_MAX;

/// The variant of items that name none.
const VARIANT: &str = "ao.TN.1";

/// The id of the `Spawned` message that answers the spawn entry with this push id.
pub fn spawned_push_id(spawn: &Hash) -> Hash {
    Hash(Sha256::new().chain_update(b"weft/spawned/1").chain_update(spawn).finalize().into())
}

impl Dispatch {
    /// The Process item to send to its scheduler; none if the entry is no spawn.
    pub fn process(&self, proof: Id) -> Option<Draft> {
        let OutboxEntry { kind: EntryKind::Spawn, anchor, tags, data, .. } = &self.entry else {
            return None;
        };
        let mut tags = tags.clone();
        if tag::first(&tags, "Scheduler").is_none() {
            tags.push(Tag::new("Scheduler", self.scheduler.to_string()));
        }
        if tag::first(&tags, "Variant").is_none() {
            tags.push(Tag::new("Variant", VARIANT));
        }
        tags.extend(self.source_tags("Process", proof));
        Some(Draft { target: None, anchor: *anchor, tags, data: data.clone() })
    }

    /// The message that tells the parent which process its spawn became; none if the entry is no
    /// spawn. The spawn's own tags come back, so that the parent finds its `Reference`.
    pub fn spawned(&self, child: Id, proof: Id) -> Option<Draft> {
        if self.entry.kind != EntryKind::Spawn {
            return None;
        }
        let variant = tag::first(&self.entry.tags, "Variant").unwrap_or(VARIANT).to_owned();
        let mut tags: Vec<Tag> =
            self.entry.tags.iter().filter(|tag| tag.name != "Variant").cloned().collect();
        tags.extend([
            Tag::new("Process", child.to_string()),
            Tag::new("Action", "Spawned"),
            Tag::new("Variant", variant),
        ]);
        tags.extend(self.source_tags("Message", proof));
        Some(Draft { target: Some(self.source.process), anchor: None, tags, data: Bytes::from_static(b" ") })
    }
}

/// Why a process is not the child that a spawn entry became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// The entry is no spawn.
    #[error("the entry is no spawn")]
    NotASpawn,
    /// Its Process item names no proof.
    #[error("the child names no origin proof")]
    NoProof,
    /// A field is not what the entry says.
    #[error("the child's {0} is not what its parent asked for")]
    Differs(&'static str),
    /// The assignment is no assignment, or its signature fails.
    #[error("the child's assignment is not a valid assignment")]
    Assignment,
    /// Somebody else than the scheduler that the child names signed the assignment.
    #[error("the child's assignment is not its scheduler's")]
    NotItsScheduler,
    /// The assignment is of another slot or process.
    #[error("the child's assignment is not that of its slot 0")]
    NotSlotZero,
}

/// Checks that `child` is a process that the entry asks for: everything but its data, which the
/// entry's leaf compares by its digest.
///
/// # Errors
/// What differs.
pub fn check_child(child: &Verified<Header>, dispatch: &Dispatch) -> Result<(), ChildError> {
    // The child names the proof that its own scheduler saw: which item that is, is free.
    let proof = child.tag(ORIGIN_PROOF).and_then(|text| text.parse().ok());
    let expected = dispatch.process(proof.ok_or(ChildError::NoProof)?).ok_or(ChildError::NotASpawn)?;
    if child.target() != expected.target {
        return Err(ChildError::Differs("target"));
    }
    if child.anchor() != expected.anchor.as_ref() {
        return Err(ChildError::Differs("anchor"));
    }
    if child.tags() != expected.tags {
        return Err(ChildError::Differs("tags"));
    }
    Ok(())
}

/// Checks that these bytes are the assignment of the child's slot 0, by the scheduler that the
/// child names.
///
/// # Errors
/// What they are instead.
pub fn check_first_assignment(child: &Verified<Header>, raw: &Bytes) -> Result<(), ChildError> {
    if raw.len() > ASSIGNMENT_BYTES_MAX {
        return Err(ChildError::Assignment);
    }
    let item = DataItem::verify_bytes(raw.clone()).map_err(|_| ChildError::Assignment)?;
    let assignment = Assignment::from_item(&item).map_err(|_| ChildError::Assignment)?;
    let scheduler: Option<Address> = child.tag("Scheduler").and_then(|text| text.parse().ok());
    if scheduler != Some(item.owner()) {
        return Err(ChildError::NotItsScheduler);
    }
    let is_first = (assignment.process, assignment.epoch, assignment.slot) == (child.id(), 0, 0)
        && assignment.hash_chain == hash_chain::first(child.id());
    if is_first { Ok(()) } else { Err(ChildError::NotSlotZero) }
}
