//! A process that sends, a process that receives, and everybody's keys.

use bytes::Bytes;
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::attestation::{Attestation, Statement};
use weft_protocol::crypto::Signer;
use weft_protocol::header::Header;
use weft_protocol::origin::{OriginProof, ProofError, ProofParts, ProvenOrigin, verify};
use weft_protocol::outcome::{Outcome, Running};
use weft_protocol::process::{Process, RULES, Terms};
use weft_protocol::push::Dispatch;
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{Address, DataItem, Draft, Hash, Id, Network, Position, Tag, Verified, hash_chain};

pub(crate) const NETWORK: Network = Network(7);
pub(crate) const MODULE: Id = Id([77; 32]);
/// The first message of the chain of pushes.
pub(crate) const ROOT: Id = Id([55; 32]);

/// Keys by number: whoever has one, always has the same.
pub(crate) const OWNER: u8 = 1;
pub(crate) const SCHEDULER: u8 = 2;
pub(crate) const CARRIER: u8 = 3;
pub(crate) const STRANGER: u8 = 4;
pub(crate) const RECOVERY: u8 = 5;
pub(crate) const COMPUTE: [u8; 3] = [11, 12, 13];

pub(crate) fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

pub(crate) fn address(seed: u8) -> Address {
    key(seed).address()
}

pub(crate) fn terms() -> Terms {
    Terms { network: NETWORK, weave: Weave::Clock }
}

pub(crate) fn tags(pairs: &[(&str, &str)]) -> Vec<Tag> {
    pairs.iter().map(|(name, value)| Tag::new(*name, *value)).collect()
}

pub(crate) fn item(signer: u8, target: Option<Id>, tags: Vec<Tag>, data: &[u8]) -> Verified<DataItem> {
    Draft { target, anchor: None, tags, data: Bytes::copy_from_slice(data) }.sign(&key(signer)).unwrap()
}

pub(crate) fn process_item(extra: &[(&str, &str)]) -> Verified<DataItem> {
    let mut all = tags(&[
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Module", &MODULE.to_string()),
        ("Scheduler", &address(SCHEDULER).to_string()),
    ]);
    all.extend(tags(extra));
    item(OWNER, None, all, b"return 'boot code'")
}

pub(crate) fn process(extra: &[(&str, &str)]) -> Process {
    Process::accept(process_item(extra), None, &terms()).unwrap()
}

/// The receiving process.
pub(crate) fn target() -> Process {
    process(&[("Name", "target")])
}

/// What the sending module returned: two messages, a spawn, an assignment.
pub(crate) fn result() -> String {
    let target = target().id();
    let message = |reference: u32, data: &str| {
        format!(
            r#"{{"Target":"{target}","Anchor":"{reference:032}","Data":"{data}","Tags":[
                {{"name":"Action","value":"Credit"}},{{"name":"Type","value":"Process"}},
                {{"name":"From-Process","value":"liar"}},{{"name":"Reference","value":"{reference}"}}]}}"#
        )
    };
    let spawn = format!(
        r#"{{"Anchor":"{:032}","Data":"return 'child'","Tags":[
            {{"name":"Module","value":"{MODULE}"}},{{"name":"Reference","value":"3"}}]}}"#,
        3
    );
    format!(
        r#"{{"ok":true,"response":{{"Messages":[{},{}],"Spawns":[{spawn}],
            "Assignments":[{{"Processes":["{target}"],"Message":"{ROOT}"}}],"Output":"done"}}}}"#,
        message(1, "one"),
        message(2, "two")
    )
}

/// Indexes of the entries of [`result`].
pub(crate) const MESSAGE: u32 = 0;
pub(crate) const OTHER_MESSAGE: u32 = 1;
pub(crate) const SPAWN: u32 = 2;
pub(crate) const ASSIGNMENT: u32 = 3;

/// A process at the position where it sends, with everything that its computers hold.
pub(crate) struct Sender {
    pub(crate) process: Process,
    pub(crate) header: Verified<Header>,
    pub(crate) certificates: Vec<Bytes>,
    pub(crate) outcome: Outcome,
    pub(crate) before: Running,
    pub(crate) assignment: Id,
    pub(crate) state_root: Hash,
}

impl Sender {
    /// A process with the two-of-three compute set, or with its scheduler alone.
    pub(crate) fn new(is_set: bool) -> Self {
        let compute = COMPUTE.map(|seed| address(seed).to_string()).join(",");
        let set = [("Compute", compute.as_str()), ("Compute-Quorum", "2")];
        Self::of(process(if is_set { &set } else { &[] }))
    }

    pub(crate) fn of(process: Process) -> Self {
        let position = Position { epoch: 0, slot: 9, tick: 0 };
        Self {
            header: Verified::<Header>::of(process.item()),
            before: Running::before(process.id()),
            process,
            certificates: Vec::new(),
            outcome: Outcome::of_result(position, result().as_bytes(), Some(ROOT)),
            assignment: Id([99; 32]),
            state_root: Hash::ZERO,
        }
    }

    pub(crate) fn statement(&self) -> Statement {
        Statement {
            network: NETWORK,
            process: self.process.id(),
            position: self.outcome.position,
            assignment: self.assignment,
            running: self.before.then(&self.outcome.hash()).0,
            state_root: self.state_root,
            rules: RULES,
        }
    }

    pub(crate) fn attest(&self, seeds: &[u8]) -> Vec<Verified<Attestation>> {
        seeds.iter().map(|&seed| self.statement().sign(&key(seed)).unwrap()).collect()
    }

    pub(crate) fn build(
        &self,
        index: u32,
        attestations: &[Verified<Attestation>],
    ) -> Result<(OriginProof, Dispatch), ProofError> {
        OriginProof::build(&ProofParts {
            network: NETWORK,
            header: &self.header,
            certificates: &self.certificates,
            entry: &self.outcome.outbox.entries()[index as usize],
            path: self.outcome.outbox.path(index).unwrap(),
            outcome: self.outcome.core(),
            before: self.before,
            assignment: self.assignment,
            state_root: self.state_root,
            attestations,
        })
    }

    /// A valid proof of the entry by the process's own attestors.
    pub(crate) fn prove(&self, index: u32) -> (OriginProof, Dispatch) {
        let attestors: &[u8] = if self.process.compute_set().is_some() { &COMPUTE } else { &[SCHEDULER] };
        self.build(index, &self.attest(attestors)).unwrap()
    }
}

/// An item with the proof item that it names.
#[derive(Clone)]
pub(crate) struct Push {
    pub(crate) item: Verified<DataItem>,
    pub(crate) proof: Verified<DataItem>,
}

impl Push {
    /// What `carrier` hands to the target's scheduler for a message or spawn.
    pub(crate) fn of(proof: &OriginProof, dispatch: &Dispatch, carrier: u8) -> Self {
        let proof = proof.sign(&key(carrier)).unwrap();
        let draft = dispatch.message(proof.id()).or_else(|| dispatch.process(proof.id())).unwrap();
        Self { item: draft.sign(&key(carrier)).unwrap(), proof }
    }

    pub(crate) fn verify(&self) -> Result<ProvenOrigin, ProofError> {
        verify(&self.item, &self.proof, NETWORK)
    }

    /// The same push with other proof bytes, as a lying carrier would sign it.
    pub(crate) fn with_proof_data(&self, data: Vec<u8>, carrier: u8) -> Self {
        let proof = item(carrier, None, self.proof.tags().to_vec(), &data);
        let name = proof.id().to_string();
        let draft = self.edited(|draft| {
            let tag = draft.tags.iter_mut().find(|tag| tag.name == "Origin-Proof").unwrap();
            tag.value.clone_from(&name);
        });
        Self { item: draft.sign(&key(carrier)).unwrap(), proof }
    }

    /// The item's fields, changed.
    pub(crate) fn edited(&self, edit: impl FnOnce(&mut Draft)) -> Draft {
        let mut draft = Draft {
            target: self.item.target(),
            anchor: self.item.anchor().copied(),
            tags: self.item.tags().to_vec(),
            data: self.item.data(),
        };
        edit(&mut draft);
        draft
    }

    /// The push with its item changed and signed again.
    pub(crate) fn forged(&self, edit: impl FnOnce(&mut Draft)) -> Self {
        let item = self.edited(edit).sign(&key(CARRIER)).unwrap();
        Self { item, proof: self.proof.clone() }
    }
}

/// A log as its scheduler writes it.
pub(crate) struct Log {
    pub(crate) process: Process,
    pub(crate) link: Hash,
    pub(crate) slot: u64,
}

pub(crate) fn time_of(slot: u64) -> TimePoint {
    let timestamp = 1_700_000_000_000 + 1_000 * slot;
    TimePoint { timestamp, height: timestamp / 120_000 }
}

impl Log {
    pub(crate) fn new(process: Process) -> Self {
        let link = hash_chain::first(process.id());
        Self { process, link, slot: 0 }
    }

    pub(crate) fn draft(&self, message: Option<Id>) -> AssignmentDraft {
        AssignmentDraft {
            network: NETWORK,
            process: self.process.id(),
            epoch: 0,
            slot: self.slot,
            hash_chain: self.link,
            time: time_of(self.slot),
            message,
            excludes: Vec::new(),
        }
    }

    pub(crate) fn assign(&mut self, message: Option<Id>) -> Verified<DataItem> {
        let assignment = self.draft(message).draft().sign(&key(SCHEDULER)).unwrap();
        self.link = hash_chain::next(assignment.id(), self.link);
        self.slot += 1;
        assignment
    }
}
