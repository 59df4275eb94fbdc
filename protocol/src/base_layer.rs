//! What a process takes from the weave's base layer: transactions as messages, and data that attestations open.
//!
//! Both change what a log comes to, so they are there only for processes with the tag `Extension: Base-Layer`
//! ([`EXTENSION`]), which builds without them refuse at slot 0.
//!
//! A transaction is no data item, and a slot holds one. So the log's scheduler puts it into an item of its own,
//! the *carrier*, which holds the whole transaction: whoever has the record verifies the wallet's signature and
//! the data from it, with nothing to fetch. Whether the transaction was mined, and how deep, is the scheduler's
//! word, as it is in the reference. The module sees the transaction, not its carrier, and the transaction counts
//! once (RULES.md 6.3), whatever carries it.
//!
//! An attestation opens `/data/<id>` to the module (RULES.md 6.13): an item of `Type: Attestation` whose
//! `Message` names the id, signed by the scheduler or by one of the `Attestor`s that the Process item names.

use crate::data_item::{DataItem, Draft};
use crate::hashing;
use crate::id::{Hash, Id};
use crate::l1::{L1Error, L1Tx};
use crate::owner::owner_text;
use crate::process::Process;
use crate::tag::{self, Tag};
use crate::verify::{Unverified, Verified};

/// The `Extension` of a process that takes from the base layer.
pub const EXTENSION: &str = "Base-Layer";

/// The tags of a carrier, in this order and no others.
const CARRIER_TAGS: [(&str, &str); 3] =
    [("Data-Protocol", "ao"), ("Type", "Base-Layer"), ("Variant", "ao.TN.1")];

/// The carrier of a transaction with all of its data, for the log's scheduler to sign. Its anchor is the id of
/// the transaction, so a scheduler whose signatures are deterministic makes one carrier of it.
pub fn carrier(process: Id, tx: &Verified<L1Tx>) -> Draft {
    Draft {
        target: Some(process),
        anchor: Some(tx.id().0),
        tags: CARRIER_TAGS.iter().map(|(name, value)| Tag::new(*name, *value)).collect(),
        data: tx.to_bytes(),
    }
}

/// The transaction that an item carries, where it is a carrier in this log. An item of anybody else that looks
/// like one is an ordinary message.
pub fn carried_id(process: &Process, item: &DataItem) -> Option<Id> {
    let tags = item.tags().iter().map(|tag| (tag.name.as_str(), tag.value.as_str()));
    let is_carrier = process.takes_base_layer()
        && item.target() == Some(process.id())
        && tags.eq(CARRIER_TAGS)
        && item.owner() == process.scheduler();
    if is_carrier { item.anchor().map(|anchor| Id(*anchor)) } else { None }
}

/// The transaction in a carrier, read and not verified; none where the item is no carrier.
///
/// # Errors
/// Data that is no transaction, or another than the anchor names. No record with such an item is taken.
pub fn carried(process: &Process, item: &DataItem) -> Result<Option<Unverified<L1Tx>>, L1Error> {
    let Some(named) = carried_id(process, item) else { return Ok(None) };
    let tx = L1Tx::from_bytes(&item.data())?;
    let actual = tx.claims().id();
    if actual == named { Ok(Some(tx)) } else { Err(L1Error::Id { named, actual }) }
}

/// The id that an item opens under `/data/`, where it is an attestation that counts in this log.
pub fn attested(process: &Process, item: &DataItem) -> Option<Id> {
    let is_ao = tag::all(item.tags(), "Data-Protocol").any(|protocol| protocol == "ao");
    if !process.takes_base_layer() || !is_ao || item.tag("Type") != Some("Attestation") {
        return None;
    }
    let id = item.tag("Message")?.parse().ok()?;
    let is_admitted =
        item.owner() == process.scheduler() || process.data_attestors().contains(&owner_text(item));
    is_admitted.then_some(id)
}

/// The key that an attestation adds to the seen list. It makes nothing a duplicate: an id may be attested
/// again, and is open from the first time on.
pub fn attested_key(id: Id) -> Hash {
    hashing::sha256("weft/seen/a", &[&id.0])
}
