//! What a messenger hands to the target of an outbox entry: the push id, and the exact tags of
//! the pushed item (RULES.md 6.2 and 6.3).
//!
//! The carrier chooses nothing but its own key: target, data, anchor and tags all follow from
//! the entry and from where it stands.

use crate::data_item::Draft;
use crate::hashing::{Digest, Sha256};
use crate::id::{Address, Hash, Id, Network};
use crate::outcome::{EntryKind, OutboxEntry};
use crate::position::Position;
use crate::tag::Tag;

/// Tags that only a push carries and that no module ever sees.
pub const OWN_TAGS: [&str; 5] = ["From-Epoch", "From-Slot", "From-Tick", "From-Index", ORIGIN_PROOF];

/// The tag that names the proof item.
pub const ORIGIN_PROOF: &str = "Origin-Proof";

/// Tags that the sending process cannot set on what it sends, besides [`OWN_TAGS`].
pub const RESERVED_TAGS: [&str; 6] =
    ["Data-Protocol", "Type", "From-Process", "From-Module", "Assignments", "Pushed-For"];

/// Whether this is one of our own tags, which are removed before the message JSON is built.
pub fn is_own_tag(name: &str) -> bool {
    OWN_TAGS.contains(&name)
}

/// Whether a tag of this name is taken out of an outbox entry before it is pushed.
pub fn is_reserved_tag(name: &str) -> bool {
    RESERVED_TAGS.contains(&name) || is_own_tag(name)
}

/// Where an outbox entry stands: the one name that every messenger computes alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The sending process.
    pub process: Id,
    /// The evaluated step that sent it.
    pub position: Position,
    /// Its index in the outbox of that step.
    pub index: u32,
}

impl Source {
    /// The id by which a target knows a push again, whoever carries it.
    pub fn push_id(&self, network: Network) -> Hash {
        let digest = Sha256::new()
            .chain_update(b"weft/push/1")
            .chain_update(network.to_bytes())
            .chain_update(self.process)
            .chain_update(self.position.to_bytes())
            .chain_update(self.index.to_be_bytes())
            .finalize();
        Hash(digest.into())
    }

    /// The tags that say where a push comes from, in their order.
    ///
    /// `kind` is the value of `Type`; `root` the first item of the chain of messages, if any.
    pub fn tags(&self, kind: &str, module: &str, root: Option<Id>, proof: Id) -> Vec<Tag> {
        let mut tags = vec![
            Tag::new("Data-Protocol", "ao"),
            Tag::new("Type", kind),
            Tag::new("From-Process", self.process.to_string()),
            Tag::new("From-Module", module),
        ];
        tags.extend(root.map(|root| Tag::new("Pushed-For", root.to_string())));
        tags.extend([
            Tag::new("From-Epoch", self.position.epoch.to_string()),
            Tag::new("From-Slot", self.position.slot.to_string()),
            Tag::new("From-Tick", self.position.tick.to_string()),
            Tag::new("From-Index", self.index.to_string()),
            Tag::new(ORIGIN_PROOF, proof.to_string()),
        ]);
        tags
    }
}

/// An outbox entry at its place, with what the pushed item takes from the source process.
///
/// Verification builds the same drafts again and compares, so there is one place that says what
/// a pushed item is.
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

    /// The tags that end every pushed item.
    pub(crate) fn source_tags(&self, kind: &str, proof: Id) -> Vec<Tag> {
        self.source.tags(kind, &self.module.to_string(), self.entry.root, proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn::spawned_push_id;

    const SOURCE: Source =
        Source { process: Id([7; 32]), position: Position { epoch: 1, slot: 2, tick: 3 }, index: 4 };

    #[test]
    fn push_ids_are_golden() {
        let push = SOURCE.push_id(Network(5));
        assert_eq!(hex::encode(push), "bf1e42f7386bd79ac31688a45e13dc1b237dcef52e47b01cebf09e9cad641e3c");
        assert_eq!(
            hex::encode(spawned_push_id(&push)),
            "9f998941ef797a558bee7786a0e5fb3736d881f861f54396ce5741f8e5098463"
        );
    }

    #[test]
    fn every_field_of_the_source_changes_the_push_id() {
        let other = [
            Source { process: Id([8; 32]), ..SOURCE },
            Source { position: Position { epoch: 0, slot: 2, tick: 3 }, ..SOURCE },
            Source { position: Position { epoch: 1, slot: 0, tick: 3 }, ..SOURCE },
            Source { position: Position { epoch: 1, slot: 2, tick: 0 }, ..SOURCE },
            Source { index: 0, ..SOURCE },
        ];
        for source in other {
            assert_ne!(source.push_id(Network(5)), SOURCE.push_id(Network(5)));
        }
        assert_ne!(SOURCE.push_id(Network(6)), SOURCE.push_id(Network(5)));
    }

    #[test]
    fn source_tags_stand_in_the_order_of_the_rules() {
        let tags = SOURCE.tags("Message", "M", Some(Id([9; 32])), Id([1; 32]));
        let names: Vec<&str> = tags.iter().map(|tag| tag.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "Data-Protocol",
                "Type",
                "From-Process",
                "From-Module",
                "Pushed-For",
                "From-Epoch",
                "From-Slot",
                "From-Tick",
                "From-Index",
                "Origin-Proof"
            ]
        );
        assert!(tags.iter().all(|tag| is_reserved_tag(&tag.name)));
        assert_eq!(SOURCE.tags("Message", "M", None, Id([1; 32])).len(), 9);
    }
}
