//! A messenger of our own: a peer that holds no key of a node, asks nodes for what any peer may ask,
//! and hands proven messages to schedulers at the door that peers use. Honest, or not.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;
use weft_net::{Net, NetConfig, NetEvent, Peer};
use weft_protocol::attestation::Attestation;
use weft_protocol::crypto::Signer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::header::Header;
use weft_protocol::offer::{OFFER_TTL_MS_MAX, OfferTerms};
use weft_protocol::origin::{OriginProof, ProofParts};
use weft_protocol::outcome::{EntryKind, Outcome, Running};
use weft_protocol::process::{Process, Terms};
use weft_protocol::push::Dispatch;
use weft_protocol::record::{SlotRecord, VerifiedRecord};
use weft_protocol::time::Weave;
use weft_protocol::wire::announcement::Body as Said;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Draft, Hash, Id, Network, Position, Verified, wire};
use weft_testnet::{Actor, Fleet, Look, PATIENCE, until};

/// Bytes of slots asked for at once.
const RANGE_BYTES: u64 = 1024 * 1024;

/// A peer without a node.
pub struct Courier {
    net: Net,
    peers: BTreeMap<usize, Peer>,
    network: Network,
    /// What it hears is of no interest, but the queue must have an owner.
    _events: mpsc::Receiver<NetEvent>,
}

/// Everything that a position's messages need to be carried, collected from peers.
pub struct Parcel {
    header: Verified<Header>,
    outcome: Outcome,
    before: Running,
    assignment: Id,
    attestations: Vec<Verified<Attestation>>,
    network: Network,
}

/// An item and its proof.
#[derive(Debug, Clone)]
pub struct Push {
    pub item: Verified<DataItem>,
    pub proof: Verified<DataItem>,
}

impl Courier {
    /// A peer with this key that is connected to these nodes.
    pub async fn connect(seed: u8, fleet: &Fleet, nodes: &[usize]) -> Self {
        let network = Network::of_name(&fleet.node(0).ready().network);
        let (net, events) = Net::start(NetConfig::new([seed; 32], network)).unwrap();
        let mut peers = BTreeMap::new();
        for node in nodes {
            peers.insert(*node, net.dial(&fleet.node(*node).ready().listen[0]).await.unwrap());
        }
        net.wait_ready(peers.len()).await.unwrap();
        Self { net, peers, network, _events: events }
    }

    async fn ask(&self, node: usize, body: Ask) -> Result<Answer, wire::Refusal> {
        let asked = self.net.request(self.peers[&node], wire::Request { body: Some(body) }).await;
        match asked.unwrap_or_else(|error| panic!("node {node} did not answer: {error}")).body.unwrap() {
            Answer::Refusal(refusal) => Err(refusal),
            answer => Ok(answer),
        }
    }

    /// Hands an item to a scheduler as a peer does.
    pub async fn submit(
        &self,
        node: usize,
        item: &Bytes,
        proof: &Bytes,
    ) -> Result<wire::SubmitResponse, wire::Refusal> {
        let ask = Ask::Submit(wire::SubmitRequest { item: item.clone(), proof: proof.clone() });
        match self.ask(node, ask).await? {
            Answer::Submit(answer) => Ok(answer),
            other => panic!("an answer to another question: {other:?}"),
        }
    }

    /// Hands over a push as it is.
    pub async fn carry(&self, node: usize, push: &Push) -> Result<wire::SubmitResponse, wire::Refusal> {
        self.submit(node, push.item.raw(), push.proof.raw()).await
    }

    /// A slot as its scheduler serves it, verified.
    pub async fn record(&self, actor: &Actor, slot: u64) -> VerifiedRecord {
        let process = wire::bytes(actor.id);
        let ask = Ask::Range(wire::RangeRequest { process, from: slot, to: slot, max_bytes: RANGE_BYTES });
        let Ok(Answer::Range(range)) = self.ask(actor.scheduler, ask).await else {
            panic!("slot {slot} of {} is not served", actor.name)
        };
        let process = self.process(actor);
        let terms = EpochTerms::of_process(&process).unwrap();
        SlotRecord::from_wire(&range.slots[0]).unwrap().verify(&process, &terms, None).unwrap()
    }

    fn process(&self, actor: &Actor) -> Process {
        let terms = Terms { network: self.network, weave: Weave::Clock };
        Process::accept(actor.item.clone(), None, &terms).unwrap()
    }

    /// The outcome of an item, as a node that computes its process has it, as soon as it has it.
    async fn outcome(&self, actor: &Actor, item: Id) -> wire::OutcomeResponse {
        let ask = wire::OutcomeRequest { process: wire::bytes(actor.id), item: wire::bytes(item) };
        let look = async || match self.ask(actor.witness(), Ask::Outcome(ask.clone())).await {
            Ok(Answer::Outcome(outcome)) => Ok::<_, std::convert::Infallible>(Look::There(outcome)),
            Err(refusal) if refusal.code() == wire::refusal::Code::Unknown => Ok(Look::NotYet(refusal.text)),
            other => panic!("no outcome of {item}: {other:?}"),
        };
        until(format!("the outcome of {item}"), PATIENCE, look).await.unwrap()
    }

    /// Collects what a slot has sent, once a quorum has attested it.
    pub async fn collect(&self, actor: &Actor, slot: u64) -> Parcel {
        let record = self.record(actor, slot).await;
        let item = record.item().id();
        let said = self.outcome(actor, item).await;
        let earlier = self.record(actor, slot - 1).await;
        let before = self.outcome(actor, earlier.item().id()).await;
        let before = Running(wire::hash("running", &before.running).unwrap());
        // The result in the form in which the module returned it.
        let result = format!(r#"{{"ok":true,"response":{}}}"#, std::str::from_utf8(&said.result).unwrap());
        let position = Position::slot(slot);
        let root = record.origin().root_of_entries(item);
        let outcome = Outcome::of_result(position, result.as_bytes(), Some(root));
        let running = before.then(&outcome.hash()).0;
        assert_eq!(running.0, said.running[..], "the outcome is not what its computer attests");
        let attestations = self.attestations(actor, position).await;
        let (header, assignment) = (Verified::<Header>::of(&actor.item), record.assignment().id);
        Parcel { header, outcome, before, assignment, attestations, network: self.network }
    }

    async fn attestations(&self, actor: &Actor, position: Position) -> Vec<Verified<Attestation>> {
        let request =
            wire::AttestationsRequest { process: wire::bytes(actor.id), position: Some(position.into()) };
        let what = format!("{} attestations of {position} of {}", actor.quorum, actor.name);
        let look = async || {
            let Ok(Answer::Attestations(answer)) =
                self.ask(actor.witness(), Ask::Attestations(request.clone())).await
            else {
                panic!("attestations are not served")
            };
            let read = |found| Attestation::from_wire(found, self.network).unwrap().verify().unwrap();
            let found: Vec<_> = answer.attestations.iter().map(read).collect();
            let count = found.iter().filter(|found| actor.attestors.contains(&found.attestor())).count();
            Ok::<_, std::convert::Infallible>(if count >= actor.quorum {
                Look::There(found)
            } else {
                Look::NotYet(format!("{count}"))
            })
        };
        until(what, PATIENCE, look).await.unwrap()
    }

    /// Offers on the topic of a process, with this key, to carry what it sends.
    pub async fn offer(&self, process: Id, signer: &Signer) {
        self.net.join(process).await.unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_millis()).unwrap();
        let terms = OfferTerms {
            network: self.network,
            sequence: now,
            shards: Vec::new(),
            classes: 0,
            price_per_push: 0,
            price_per_kib: 0,
            max_kib: 1024,
            capacity_per_s: 1,
            latency_p50_ms: 0,
            stake: Hash::ZERO,
            valid_from: now,
            valid_to: now + OFFER_TTL_MS_MAX,
        };
        let body = Some(Said::Offer(terms.sign(signer).unwrap().to_wire()));
        let said = wire::Announcement { process: wire::bytes(process), body }.encode_to_vec();
        let look = async || {
            let sent = self.net.publish(process, said.clone().into()).await;
            Ok::<_, std::convert::Infallible>(match sent {
                Ok(_) => Look::There(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        };
        until("somebody to hear an offer", PATIENCE, look).await.unwrap();
    }
}

impl Parcel {
    /// The index of the only entry of this kind.
    pub fn index_of(&self, kind: EntryKind) -> u32 {
        let mut found = self.outcome.outbox.live().filter(|(_, entry)| entry.kind == kind);
        let (index, _) = found.next().unwrap();
        assert!(found.next().is_none(), "more than one {kind:?}");
        index
    }

    /// The proof of an entry, and what to push with it.
    pub fn prove(&self, index: u32) -> (OriginProof, Dispatch) {
        let outbox = &self.outcome.outbox;
        let parts = ProofParts {
            network: self.network,
            header: &self.header,
            certificates: &[],
            entry: &outbox.entries()[index as usize],
            path: outbox.path(index).unwrap(),
            outcome: self.outcome.core(),
            before: self.before,
            assignment: self.assignment,
            state_root: Hash::ZERO,
            attestations: &self.attestations,
        };
        OriginProof::build(&parts).unwrap()
    }

    /// The only message, signed by whoever carries it.
    pub fn message(&self, carrier: &Signer) -> Push {
        let (proof, dispatch) = self.prove(self.index_of(EntryKind::Message));
        Push::of(&proof, |proof| dispatch.message(proof).unwrap(), carrier)
    }

    /// The Process item of the only spawn, signed by whoever carries it.
    pub fn process(&self, carrier: &Signer) -> Push {
        let (proof, dispatch) = self.prove(self.index_of(EntryKind::Spawn));
        Push::of(&proof, |proof| dispatch.process(proof).unwrap(), carrier)
    }
}

impl Push {
    /// A proof and the item that names it.
    pub fn of(proof: &OriginProof, draft: impl FnOnce(Id) -> Draft, carrier: &Signer) -> Self {
        let proof = proof.sign(carrier).unwrap();
        let item = draft(proof.id()).sign(carrier).unwrap();
        Self { item, proof }
    }
}
