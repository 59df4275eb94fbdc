//! What comes from the network: looked at cheaply, then verified, before it is held and goes on.

use std::sync::Arc;

use weft_net::{Peer, Verdict};
use weft_protocol::origin::ProofError;
use weft_protocol::postage::{POSTAGE_BITS_MIN, Postage};
use weft_protocol::process::Process;
use weft_protocol::record::{Blame, Submission, SubmissionError};
use weft_protocol::wire::{self, PENDING_BYTES_MAX};
use weft_protocol::{DataItem, Id, Network, tag};
use weft_storage::StoreError;

use super::machine::{Claim, Heard, Said, Why};
use super::{Body, Pending};
use crate::news::News;
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// Decides about one message on the topic of its process. Reject only what no correct peer could have forwarded.
pub async fn judge(
    shared: &SharedRef,
    process: &Arc<Process>,
    message: &wire::Pending,
    from: Peer,
) -> Verdict {
    match take(shared, process, message, 0, from).await {
        Some(Heard::Kept) => Verdict::Accept,
        Some(Heard::Dropped(_)) => Verdict::Ignore,
        None => Verdict::Reject,
    }
}

/// Takes in a message that a peer handed on, and that others held for so long; nothing for what no correct peer has.
pub(super) async fn take(
    shared: &SharedRef,
    process: &Arc<Process>,
    message: &wire::Pending,
    age_ms: u64,
    from: Peer,
) -> Option<Heard> {
    let claim = read(shared.network, process.id(), message)?;
    let heard = match shared.pending.look(&claim.claim, from, shared.clock.now()) {
        Err(why) => Heard::Dropped(why),
        Ok(()) if !claim.is_message => Heard::Dropped(Why::Over),
        Ok(()) => {
            let (of, process) = (SharedRef::clone(shared), Arc::clone(process));
            let (message, claim) = (message.clone(), claim.claim);
            let looked =
                tokio::task::spawn_blocking(move || verified(&of, &process, claim, &message, age_ms));
            match joined(looked.await) {
                Some(Ok(heard)) => heard?,
                Some(Err(error)) => {
                    tracing::error!(%error, "whether a message has its slot cannot be read");
                    Heard::Dropped(Why::Busy)
                }
                // The node stops.
                None => Heard::Dropped(Why::Busy),
            }
        }
    };
    shared.metrics.pending.add(heard.name());
    Some(heard)
}

/// What a message says of itself.
struct Read {
    claim: Claim,
    /// Whether a scheduler could give it a slot at all.
    is_message: bool,
}

/// The postage comes first: it takes one hash, and whoever did not pay is heard no further.
fn read(network: Network, process: Id, message: &wire::Pending) -> Option<Read> {
    if message.item.len() + message.proof.len() > PENDING_BYTES_MAX {
        return None;
    }
    let item = DataItem::parse(message.item.clone()).ok()?;
    let item = item.claims();
    let bits = Postage::new(network, process, item.id()).bits(message.postage_nonce);
    if bits < POSTAGE_BITS_MIN || item.target() != Some(process) {
        return None;
    }
    let is_message = tag::first(item.tags(), "Type") == Some("Message");
    Some(Read { claim: Claim { process, item: item.id(), signer: item.owner(), bits }, is_message })
}

/// Looks at the signatures, unless the log has the message already or nobody would hold it.
fn verified(
    shared: &Shared,
    process: &Process,
    claim: Claim,
    message: &wire::Pending,
    age_ms: u64,
) -> Result<Option<Heard>, StoreError> {
    let pending: &Pending = &shared.pending;
    let reader = shared.store.read()?;
    if reader.slot_of_item(&claim.process, &claim.item)?.is_some() {
        return Ok(Some(Heard::Dropped(Why::Over)));
    }
    let is_known = pending.signers.is_known(&reader, &claim.process, &claim.signer)?;
    if let Err(why) = pending.is_news(&claim, is_known, shared.clock.now()) {
        return Ok(Some(Heard::Dropped(why)));
    }
    match Submission::verify(&message.item, &message.proof, shared.network) {
        Ok(_) => {}
        // Other builds may know what this one does not.
        Err(SubmissionError::Proof(ProofError::Rules(_))) => return Ok(Some(Heard::Dropped(Why::Over))),
        Err(SubmissionError::Record(error)) if error.blame() == Blame::Nobody => {
            return Ok(Some(Heard::Dropped(Why::Over)));
        }
        Err(_) => return Ok(None),
    }
    let is_mine = process.scheduler() == shared.address
        && shared.directory.roles(&claim.process).is_some_and(|roles| roles.schedules);
    let said = Said { claim, is_known, is_mine, age_ms, body: Body::of(message) };
    let heard = pending.hear(said, shared.clock.now());
    if heard == Heard::Kept {
        let Claim { process, item, signer, bits } = claim;
        shared.news.tell(News::Waits { process, item, signer, bits });
    }
    Ok(Some(heard))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use weft_protocol::crypto::Signer;
    use weft_protocol::{Draft, Tag};

    use super::*;

    const NETWORK: Network = Network(7);
    const PROCESS: Id = Id([3; 32]);

    fn pending(target: Id, kind: &str, data: usize) -> wire::Pending {
        let tags = vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", kind)];
        let draft = Draft { target: Some(target), tags, data: vec![1; data].into(), ..Draft::default() };
        let item = draft.sign(&Signer::from_seed(&[1; 32])).unwrap();
        let nonce = Postage::new(NETWORK, PROCESS, item.id()).search(POSTAGE_BITS_MIN, 0, u64::MAX).unwrap();
        wire::Pending { item: item.raw().clone(), proof: Bytes::new(), postage_nonce: nonce }
    }

    #[test]
    fn what_is_not_paid_too_long_or_for_another_process_is_nobodys() {
        let good = pending(PROCESS, "Message", 100);
        let item = DataItem::verify_bytes(good.item.clone()).unwrap();
        let read_it = read(NETWORK, PROCESS, &good).unwrap();
        assert!(read_it.is_message && read_it.claim.bits >= POSTAGE_BITS_MIN);
        assert_eq!((read_it.claim.item, read_it.claim.signer), (item.id(), item.owner()));
        let is_read = |message: &wire::Pending| read(NETWORK, PROCESS, message).is_some();
        assert!(!is_read(&wire::Pending { postage_nonce: good.postage_nonce + 1, ..good.clone() }));
        assert!(!is_read(&wire::Pending { proof: vec![0; PENDING_BYTES_MAX].into(), ..good.clone() }));
        assert!(!is_read(&wire::Pending { item: good.item.slice(1..), ..good.clone() }));
        assert!(!is_read(&wire::Pending::default()));
        assert!(!is_read(&pending(Id([4; 32]), "Message", 0)));
        assert!(read(Network(8), PROCESS, &good).is_none() && read(NETWORK, Id([4; 32]), &good).is_none());
        assert!(!read(NETWORK, PROCESS, &pending(PROCESS, "Mark", 0)).unwrap().is_message);
    }
}
