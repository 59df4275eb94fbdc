//! Fixed keys, items and processes.

use bytes::Bytes;
use weft_protocol::assignment::{Assignment, AssignmentDraft, Excluded};
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::{DataItem, Draft};
use weft_protocol::module::Module;
use weft_protocol::process::{Process, Refusal, Terms};
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{Hash, Id, Network, Tag, Verified};

pub(crate) const NETWORK: Network = Network(7);

pub(crate) fn terms() -> Terms {
    Terms { network: NETWORK, weave: Weave::Clock }
}

/// The key of this number: 1 owns the process, 2 schedules it, the others are strangers.
pub(crate) fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

pub(crate) fn tags(pairs: &[(&str, &str)]) -> Vec<Tag> {
    pairs.iter().map(|(name, value)| Tag::new(*name, *value)).collect()
}

pub(crate) fn item(signer: u8, target: Option<Id>, tags: Vec<Tag>, data: &[u8]) -> Verified<DataItem> {
    let anchor = Some(*b"00000000000000000000000000000001");
    Draft { target, anchor, tags, data: Bytes::copy_from_slice(data) }.sign(&key(signer)).unwrap()
}

pub(crate) fn module() -> Module {
    let tags = tags(&[
        ("Data-Protocol", "ao"),
        ("Type", "Module"),
        ("Module-Format", "wasm64-unknown-emscripten-draft_2024_02_15"),
        ("Input-Encoding", "JSON-1"),
        ("Output-Encoding", "JSON-1"),
        ("Memory-Limit", "500-mb"),
        ("Compute-Limit", "9000000000000"),
    ]);
    Module::accept(item(1, None, tags, b"wasm")).unwrap()
}

pub(crate) fn process_item(extra: &[(&str, &str)], data: &[u8]) -> Verified<DataItem> {
    let (module, scheduler) = (module().id().to_string(), key(2).address().to_string());
    let mut all = tags(&[
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Variant", "ao.TN.1"),
        ("Module", &module),
        ("Scheduler", &scheduler),
    ]);
    all.extend(tags(extra));
    item(1, None, all, data)
}

pub(crate) fn try_process(extra: &[(&str, &str)]) -> Result<Process, Refusal> {
    Process::accept(process_item(extra, b" "), None, &terms())
}

pub(crate) fn process(extra: &[(&str, &str)]) -> Process {
    try_process(extra).unwrap()
}

pub(crate) fn draft(process: Id, slot: u64, message: Option<Id>) -> AssignmentDraft {
    AssignmentDraft {
        network: NETWORK,
        process,
        epoch: 0,
        slot,
        hash_chain: Hash([3; 32]),
        time: TimePoint { timestamp: 1_700_000_000_123, height: 14_166_666 },
        message,
        excludes: vec![],
    }
}

pub(crate) fn assigned(process: Id, slot: u64, message: Option<Id>, excludes: &[Excluded]) -> Assignment {
    let draft = AssignmentDraft { excludes: excludes.to_vec(), ..draft(process, slot, message) };
    Assignment::from_item(&draft.draft().sign(&key(2)).unwrap()).unwrap()
}
