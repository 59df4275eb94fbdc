//! Pushed items: the one draft that follows from an outbox entry, for messages, for spawned
//! processes and for the `Spawned` answer to the parent (rules.md 6.2 and 6.9).
//!
//! Verification builds the same draft again and compares, so there is one place that says what
//! a pushed item is.

use bytes::Bytes;

use crate::data_item::Draft;
use crate::id::{Address, Id};
use crate::outcome::{EntryKind, OutboxEntry};
use crate::push::Source;
use crate::tag::{self, Tag};

/// The variant of items that name none.
const VARIANT: &str = "ao.TN.1";

/// An outbox entry at its place, with what the pushed item takes from the source process.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Where the entry stands.
    pub source: Source,
    /// The entry.
    pub entry: OutboxEntry,
    /// The `Module` of the source process.
    pub module: Id,
    /// The scheduler of the source process in the epoch of the position: that of spawned
    /// processes which name none.
    pub scheduler: Address,
}

impl Dispatch {
    /// The message to push; none if the entry is no message.
    pub fn message(&self, proof: Id) -> Option<Draft> {
        let OutboxEntry { kind: EntryKind::Message, target, anchor, tags, data, .. } = &self.entry else {
            return None;
        };
        let tags = tags.iter().cloned().chain(self.source_tags("Message", proof)).collect();
        Some(Draft { target: *target, anchor: *anchor, tags, data: data.clone() })
    }

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

    fn source_tags(&self, kind: &str, proof: Id) -> Vec<Tag> {
        self.source.tags(kind, &self.module.to_string(), self.entry.root, proof)
    }
}
