//! Who an item is from, in the eyes of one target process: RULES.md 6.2.

use crate::data_item::DataItem;
use crate::id::{Hash, Id};
use crate::owner::owner_text;
use crate::process::Process;
use crate::tag;

/// What a valid origin proof says of the item that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvenSource {
    /// The process that sent the item.
    pub process: Id,
    /// The push id, under which the item counts once.
    pub push: Hash,
    /// The first message of the chain of pushes; none for those that a tick began.
    pub root: Option<Id>,
}

/// How an item is accepted by its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A valid proof: Owner and From are the source process.
    Proven(ProvenSource),
    /// The signer is an authority of the target and says who sent it: From is `From-Process`.
    Legacy {
        /// What the signer says.
        from: String,
        /// The first message of the chain of pushes, if the signer names one.
        root: Option<Id>,
    },
    /// The signer speaks for himself: Owner and From are the signer.
    Direct,
}

impl Origin {
    /// Decides how `process` takes `item`, given what its origin proof says if that is valid.
    /// Process items are never taken on an authority's word.
    pub fn of(process: &Process, item: &DataItem, proven: Option<ProvenSource>) -> Self {
        if let Some(source) = proven {
            return Self::Proven(source);
        }
        if tag::all(item.tags(), "Type").any(|kind| kind == "Process") {
            return Self::Direct;
        }
        let owner = owner_text(item);
        let is_process = tag::all(item.tags(), "Type").any(|kind| kind == "Process");
        match item.tag("From-Process") {
            Some(from) if !is_process && process.authorities().contains(&owner) => Self::Legacy {
                from: if from.is_empty() { owner } else { from.to_owned() },
                root: tag::first(item.tags(), "Pushed-For").and_then(|text| text.parse().ok()),
            },
            _ => Self::Direct,
        }
    }

    /// The root of the entries that evaluating the item gives: its own root if it was a push with
    /// one, else the item itself.
    pub fn root_of_entries(&self, item: Id) -> Id {
        match self {
            Self::Proven(ProvenSource { root, .. }) | Self::Legacy { root, .. } => root.unwrap_or(item),
            Self::Direct => item,
        }
    }
}
