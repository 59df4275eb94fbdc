//! What guests hand to their host: result texts, and themselves.

use std::sync::LazyLock;

use weft_protocol::data_digest::DataDigest;
use weft_protocol::outcome::{Code, EntryKind, OutboxEntry, Outcome, proof};
use weft_protocol::{Id, Position, js};
use weft_vm::{Engine, EngineConfig, Format, Limits, Module, ModuleError, Outcome as Ended};

/// Modules up to this size are compiled and run; compiling takes about a microsecond a byte.
const COMPILED_BYTES_MAX: usize = 2_048;
/// A few milliseconds of a guest's time.
const LIMITS: Limits = Limits { gas: 5_000_000, memory_bytes: 1 << 20 };

/// Makes an outcome of what a module returned.
pub(super) fn result(bytes: &[u8]) {
    let position = Position::slot(7);
    let outcome = Outcome::of_result(position, bytes, Some(Id([1; 32])));
    assert_eq!(outcome, Outcome::of_result(position, bytes, Some(Id([1; 32]))));
    assert!(matches!(outcome.code, Code::Ok | Code::Error | Code::OutOfMemory | Code::Malformed));
    let shown = outcome.result_json(Some(7));
    let again = js::parse(shown.as_bytes()).map(|value| value.to_json());
    assert_eq!(again.as_ref(), Ok(&shown), "a result is as JavaScript prints it");
    let read = proof::shown(position, outcome.code, shown.as_bytes(), Some(Id([1; 32])));
    assert_eq!(read.as_ref(), Some(&outcome), "what is shown is what was hashed");
    if outcome.code != Code::Ok {
        assert!(outcome.outbox.is_empty(), "what failed sends nothing");
    }
    let root = outcome.outbox.root();
    for (index, entry) in (0u32..).zip(outcome.outbox.entries()) {
        assert_eq!(OutboxEntry::from_bytes(&entry.to_bytes()).as_ref(), Ok(entry));
        if entry.kind == EntryKind::Dropped {
            continue;
        }
        let path = outcome.outbox.path(index).expect("an entry has a path");
        assert_eq!(path.root(&entry.head_bytes(), &DataDigest::of(&entry.data)), Some(root));
    }
}

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(EngineConfig::default()).expect("the compiler works here"));

/// Loads a module, whose format the first byte chooses; a small one is run.
pub(super) fn module(bytes: &[u8]) {
    let Some((format, wasm)) = bytes.split_first() else { return };
    let names = Format::NAMES;
    let format = Format::parse(names[usize::from(*format) % names.len()]).expect("a format of ours");
    let guarded = match ENGINE.guarded(wasm, format) {
        Ok(guarded) => guarded,
        Err(ModuleError::Host(fault)) => panic!("not the host's fault: {fault}"),
        Err(_) => return,
    };
    assert!(ENGINE.guarded(&guarded, format).is_err(), "a guarded module has reserved names");
    if wasm.len() > COMPILED_BYTES_MAX {
        return;
    }
    match ENGINE.compile(wasm, format) {
        Ok(module) => run(&module),
        Err(ModuleError::Host(fault)) => panic!("not the host's fault: {fault}"),
        Err(_) => {}
    }
}

/// A guest may do what it likes within its limits, and does the same each time.
fn run(module: &Module) {
    let Ok(mut instance) = module.instantiate(LIMITS) else { return };
    let before = instance.memory_image().expect("nothing is pending");
    let first = instance.evaluate(b"{\"Id\":\"1\"}", b"{}").expect("a guest is no fault of the host");
    assert!(first.gas <= LIMITS.gas);
    instance.roll_back().expect("rolling back works");
    assert!(instance.memory_image().expect("nothing is pending") == before);
    let again = instance.evaluate(b"{\"Id\":\"1\"}", b"{}").expect("a guest is no fault of the host");
    assert_eq!(first, again);
    if let Ended::Returned(text) = first.outcome {
        instance.keep().expect("what returned can be kept");
        result(&text);
    }
}
