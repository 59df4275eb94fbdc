//! What a messenger that keeps to no rule has in its hands: what processes truly sent, with proofs that are true. It asks peers
//! for what any peer may ask.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use weft_net::{NetEvent, Peer};
use weft_protocol::attestation::Attestation;
use weft_protocol::crypto::Signer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::header::Header;
use weft_protocol::origin::{OriginProof, ProofParts};
use weft_protocol::outcome::{EntryKind, Outcome, Running};
use weft_protocol::process::{Process, Terms};
use weft_protocol::push::{Dispatch, Source};
use weft_protocol::record::{SlotRecord, VerifiedRecord};
use weft_protocol::time::Weave;
use weft_protocol::wire::announcement::Body as Said;
use weft_protocol::wire::refusal::Code;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Hash, Id, Position, Verified, wire};

use super::Place;
use super::acts::{OFFER_EVERY, heard, offer, publish};
use crate::town::Actor;

/// Slots that are dealt with beside each other. Those beyond are missed.
const AT_ONCE: usize = 512;
/// Slots that are known to have been dealt with: the newest.
const TOLD_MAX: usize = 8_192;
/// How long one peer may take for an answer.
const ASK_WAIT: Duration = Duration::from_secs(10);
/// How long what a slot sends may take to be evaluated and attested.
const COLLECT_WAIT: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const COLLECT_AGAIN: Duration = Duration::from_millis(50);
/// Bytes of slots asked for at once.
const RANGE_BYTES: u64 = 1024 * 1024;

/// A push that a process sent, with its proof.
pub(super) struct Goods {
    pub(super) source: Source,
    pub(super) target: Id,
    /// Bytes of its data.
    pub(super) bytes: u64,
    pub(super) proof: OriginProof,
    pub(super) dispatch: Dispatch,
}

/// An item and its proof, both signed by who carries them.
pub(super) struct Push {
    pub(super) item: Verified<DataItem>,
    pub(super) proof: Verified<DataItem>,
}

impl Goods {
    /// As an honest messenger carries it.
    pub(super) fn sign(&self, carrier: &Signer) -> Option<Push> {
        let proof = self.proof.sign(carrier).ok()?;
        let item = self.dispatch.message(proof.id())?.sign(carrier).ok()?;
        Some(Push { item, proof })
    }
}

/// What a scheduler says of an item with a proof.
pub(super) enum Handed {
    /// It has this slot.
    Slot(wire::SubmitResponse),
    /// It is not what it should be.
    Refused,
}

impl Place {
    /// The place without what is heard there, and that.
    pub(super) fn split(self) -> (Arc<Self>, mpsc::Receiver<NetEvent>) {
        let (_, nothing) = mpsc::channel(1);
        let mut place = self;
        let events = std::mem::replace(&mut place.events, nothing);
        (Arc::new(place), events)
    }

    /// A process under load, and the peer that schedules it.
    pub(super) fn actor(&self, process: &Id) -> Option<(&Actor, Peer)> {
        let actor = self.actors.iter().find(|actor| actor.id == *process)?;
        let (_, peer) = self.processes.iter().find(|(id, _)| id == process)?;
        Some((actor, *peer))
    }

    /// A process under load as every node reads it.
    pub(super) fn process(&self, process: &Id) -> Option<Process> {
        let terms = Terms { network: self.network, weave: Weave::Clock };
        Process::accept(self.actor(process)?.0.item.clone(), None, &terms).ok()
    }

    pub(super) async fn ask(&self, peer: Peer, body: Ask) -> Option<Answer> {
        let asked = self.net.request(peer, wire::Request { body: Some(body) });
        timeout(ASK_WAIT, asked).await.ok()?.ok()?.body
    }

    /// Hands an item to the scheduler of a process; nothing where that does not look at it.
    pub(super) async fn hand(&self, to: &Id, item: &Bytes, proof: &Bytes) -> Option<Handed> {
        let (_, peer) = self.actor(to)?;
        let ask = Ask::Submit(wire::SubmitRequest { item: item.clone(), proof: proof.clone() });
        match self.ask(peer, ask).await? {
            Answer::Submit(slot) => Some(Handed::Slot(slot)),
            Answer::Refusal(refusal) if refusal.code() == Code::Invalid => Some(Handed::Refused),
            _ => None,
        }
    }

    /// Carries a push; nothing where the scheduler of its target has no slot for it now.
    pub(super) async fn bring(
        &self,
        goods: &Goods,
        carrier: &Signer,
    ) -> Option<(Push, wire::SubmitResponse)> {
        let push = goods.sign(carrier)?;
        match self.hand(&goods.target, push.item.raw(), push.proof.raw()).await? {
            Handed::Slot(slot) => Some((push, slot)),
            Handed::Refused => None,
        }
    }

    /// A slot that was heard of.
    pub(super) fn record(&self, process: &Id, said: &wire::SlotRecord) -> Option<VerifiedRecord> {
        let process = self.process(process)?;
        let terms = EpochTerms::of_process(&process).ok()?;
        SlotRecord::from_wire(said).ok()?.verify(&process, &terms, None).ok()
    }

    /// Slots of a log as its scheduler serves them, from one on: those up to `to`, or as many of them as there are.
    pub(super) async fn range(&self, peer: Peer, process: Id, from: u64, to: u64) -> Vec<wire::SlotRecord> {
        let mut slots: Vec<wire::SlotRecord> = Vec::new();
        loop {
            let (process, from) = (wire::bytes(process), from + slots.len() as u64);
            let ask = Ask::Range(wire::RangeRequest { process, from, to, max_bytes: RANGE_BYTES });
            let Some(Answer::Range(range)) = self.ask(peer, ask).await else { return slots };
            let goes_on = range.more && !range.slots.is_empty();
            slots.extend(range.slots);
            if !goes_on {
                return slots;
            }
        }
    }

    /// The messages that a slot sends, once a quorum has attested them.
    pub(super) async fn collect(&self, process: &Id, record: &VerifiedRecord) -> Vec<Goods> {
        let deadline = Instant::now() + COLLECT_WAIT;
        loop {
            if let Some(goods) = self.look(process, record).await {
                return goods;
            }
            if Instant::now() >= deadline {
                return Vec::new();
            }
            sleep(COLLECT_AGAIN).await;
        }
    }

    async fn look(&self, process: &Id, record: &VerifiedRecord) -> Option<Vec<Goods>> {
        let (actor, peer) = self.actor(process)?;
        let (item, position) = (record.item().id(), Position::slot(record.assignment().slot));
        let ask = wire::OutcomeRequest { process: wire::bytes(*process), item: wire::bytes(item) };
        let Answer::Outcome(said) = self.ask(peer, Ask::Outcome(ask)).await? else { return None };
        let before = Running(wire::hash("before", &said.proof?.before).ok()?);
        // The result in the form in which the module returned it.
        let result = format!(r#"{{"ok":true,"response":{}}}"#, std::str::from_utf8(&said.result).ok()?);
        let root = record.origin().root_of_entries(item);
        let outcome = Outcome::of_result(position, result.as_bytes(), Some(root));
        let ask =
            wire::AttestationsRequest { process: wire::bytes(*process), position: Some(position.into()) };
        let Answer::Attestations(said) = self.ask(peer, Ask::Attestations(ask)).await? else { return None };
        let read = |found| Attestation::from_wire(found, self.network).ok()?.verify().ok();
        let attestations: Vec<Verified<Attestation>> = said.attestations.iter().filter_map(read).collect();
        let header = Verified::<Header>::of(&actor.item);
        let mut goods = Vec::new();
        for (index, entry) in outcome.outbox.live().filter(|(_, entry)| entry.kind == EntryKind::Message) {
            let parts = ProofParts {
                network: self.network,
                header: &header,
                certificates: &[],
                entry,
                path: outcome.outbox.path(index)?,
                outcome: outcome.core(),
                before,
                assignment: record.assignment().id,
                state_root: Hash::ZERO,
                attestations: &attestations,
            };
            // At a boundary what is signed has the state in it, and until a quorum has signed there is no proof.
            let (proof, dispatch) = OriginProof::build(&parts).ok()?;
            let source = Source { process: *process, position, index };
            let (target, bytes) = (entry.target?, entry.data.len() as u64);
            goods.push(Goods { source, target, bytes, proof, dispatch });
        }
        Some(goods)
    }

    async fn offer(&self, signer: &Signer) {
        for (process, _) in &self.processes {
            if let Some(offer) = offer(self.network, signer, self.pays) {
                publish(self, *process, offer).await;
            }
        }
    }
}

/// Whether an item has a process send something to another: what clients of scenarios ask for.
pub(super) fn sends(item: &DataItem) -> bool {
    item.tag("Action") == Some("Relay")
}

/// Does a deed with every slot that is heard of, each beside the others, and offers to carry if there is a key to do so.
pub(super) async fn with_each<F>(
    (place, mut events): (Arc<Place>, mpsc::Receiver<NetEvent>),
    offers_as: Option<&Signer>,
    deed: impl Fn(Id, VerifiedRecord) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut again = interval(OFFER_EVERY);
    let mut jobs = JoinSet::new();
    let mut told: BTreeSet<(u64, Id)> = BTreeSet::new();
    loop {
        tokio::select! {
            _ = again.tick() => {
                if let Some(signer) = offers_as {
                    place.offer(signer).await;
                }
            }
            Some(event) = events.recv() => {
                let Some((process, Said::Slot(said))) = heard(&place, event) else { continue };
                let Some(record) = place.record(&process, &said) else { continue };
                // One may be told again.
                if jobs.len() < AT_ONCE && told.insert((record.assignment().slot, process)) {
                    jobs.spawn(deed(process, record));
                }
                if told.len() > TOLD_MAX {
                    told.pop_first();
                }
            }
            Some(_) = jobs.join_next(), if !jobs.is_empty() => {}
        }
    }
}
