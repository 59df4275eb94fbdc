//! Slots as people see them: who an item is from, and why that is believed.

use weft_protocol::owner::owner_text;
use weft_protocol::process::Process;
use weft_protocol::sender::{Origin, ProvenSource};
use weft_protocol::{DataItem, Id, Network, Position, origin};
use weft_storage::{Reader, SlotRow};

use super::super::api::{Failure, FailureCode, SlotInfo, Trust};
use super::{Answers, SLOTS_MAX, disk, fail};

impl Answers {
    /// Slots of a known process, at most `limit` and [`SLOTS_MAX`] of them.
    pub(super) async fn slots(&self, process: Id, from: u64, limit: u32) -> Result<Vec<SlotInfo>, Failure> {
        // Each item is verified again, which takes longer than others should wait.
        let answers = self.clone();
        let read = tokio::task::spawn_blocking(move || answers.read_slots(process, from, limit));
        read.await.map_err(|error| fail(FailureCode::Fault, error.to_string()))?
    }

    fn read_slots(&self, process: Id, from: u64, limit: u32) -> Result<Vec<SlotInfo>, Failure> {
        let limit = limit.clamp(1, SLOTS_MAX);
        let known = self.known(&process)?;
        let reader = self.read()?;
        let to = from.saturating_add(u64::from(limit) - 1);
        let rows = reader.slots(&process, from, to, limit as usize).map_err(disk)?;
        let info = |(slot, row)| slot_info(&reader, self.shared.network, &known.process, slot, row);
        rows.into_iter().map(info).collect()
    }
}

fn slot_info(
    reader: &Reader,
    network: Network,
    process: &Process,
    slot: u64,
    row: SlotRow,
) -> Result<SlotInfo, Failure> {
    let item = match reader.item(&row.item).map_err(disk)? {
        Some(raw) => Some(DataItem::verify_bytes(raw).map_err(|error| {
            fail(FailureCode::Fault, format!("item {} is damaged on disk: {error}", row.item))
        })?),
        None => None,
    };
    let position = Position { epoch: row.epoch, slot, tick: 0 };
    let outcome = reader.outcome(&process.id(), position).map_err(disk)?;
    let proof = row.proof.map(|proof| reader.item(&proof)).transpose().map_err(disk)?.flatten();
    let proven = item.as_ref().zip(proof).and_then(|(item, proof)| {
        // A scheduler may assign an item whose proof shows nothing: it counts as unproven.
        let proof = DataItem::verify_bytes(proof).ok()?;
        Some(origin::verify(item, &proof, network).ok()?.sender)
    });
    let sender = item.as_ref().map(|item| sender(process, item, proven));
    let (from, trust, carrier) = match sender {
        Some((from, trust, carrier)) => (Some(from), Some(trust), carrier),
        None => (None, None, None),
    };
    Ok(SlotInfo {
        slot,
        epoch: row.epoch,
        assignment: row.assignment_id,
        item: row.item,
        timestamp: row.timestamp,
        hash_chain: row.chain,
        from,
        action: item
            .as_ref()
            .and_then(|item| item.tag("Action").or_else(|| mark_of(item)))
            .map(str::to_owned),
        pushed: trust == Some(Trust::Proof),
        trust,
        carrier,
        code: outcome.as_ref().map(|row| row.code),
        running: outcome.map(|row| row.running),
    })
}

/// Marks have no action; what they are is said in its place.
fn mark_of(item: &DataItem) -> Option<&str> {
    item.tag("Type").filter(|kind| *kind == "Mark")
}

/// Who an item is from in the eyes of its process, why, and who brought it if that is another.
fn sender(
    process: &Process,
    item: &DataItem,
    proven: Option<ProvenSource>,
) -> (String, Trust, Option<String>) {
    let signer = owner_text(item);
    match Origin::of(process, item, proven) {
        Origin::Proven(source) => (source.process.to_string(), Trust::Proof, Some(signer)),
        Origin::Legacy { from, .. } => (from, Trust::Authority, Some(signer)),
        Origin::Direct => (signer, Trust::Signature, None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::crypto::Signer;
    use weft_protocol::process::Terms;
    use weft_protocol::time::Weave;
    use weft_protocol::{Draft, Tag};

    use super::*;

    fn item(seed: u8, target: Option<Id>, tags: &[(&str, &str)]) -> weft_protocol::Verified<DataItem> {
        let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
        Draft { target, anchor: None, tags, data: vec![1].into() }
            .sign(&Signer::from_seed(&[seed; 32]))
            .unwrap()
    }

    #[test]
    fn a_claim_is_shown_only_with_what_backs_it() {
        let authority = Signer::from_seed(&[2; 32]).address().to_string();
        let scheduler = Signer::from_seed(&[3; 32]).address().to_string();
        let module = Id([4; 32]).to_string();
        let process = item(
            1,
            None,
            &[
                ("Data-Protocol", "ao"),
                ("Variant", "ao.TN.1"),
                ("Type", "Process"),
                ("Module", &module),
                ("Scheduler", &scheduler),
                ("Authority", &authority),
            ],
        );
        let terms = Terms { network: Network(5), weave: Weave::Clock };
        let process = Process::accept(process, None, &terms).unwrap();
        let message = |seed| item(seed, Some(process.id()), &[("Type", "Message"), ("From-Process", "P")]);
        let stranger = Signer::from_seed(&[9; 32]).address().to_string();
        assert_eq!(sender(&process, &message(9), None), (stranger.clone(), Trust::Signature, None));
        let word = ("P".to_owned(), Trust::Authority, Some(authority));
        assert_eq!(sender(&process, &message(2), None), word);
        let proven = ProvenSource { process: Id([7; 32]), push: weft_protocol::Hash([0; 32]), root: None };
        let proof = (Id([7; 32]).to_string(), Trust::Proof, Some(stranger));
        assert_eq!(sender(&process, &message(9), Some(proven)), proof);
    }
}
