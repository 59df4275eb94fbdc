//! Modules are compiled by a process of their own, which the system ends when it takes too much.

use std::path::PathBuf;

use serde_json::json;
use weft_protocol::crypto::Signer;
use weft_protocol::{Draft, Tag};
use weft_storage::Write;
use weft_vm::guests::COUNTER;
use weft_vm::{Compiler, Engine, EngineConfig, Format, HostFault, Limits, ModuleError};

use super::node::{self, Node};
use super::repair::store;

/// An engine whose compiler may take so much.
fn engine(memory_bytes: u64, seconds: u64) -> Engine {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_weft"));
    let arguments = vec!["compile-guarded-module".into()];
    let compiler = Some(Compiler { program, arguments, memory_bytes, seconds });
    Engine::new(EngineConfig { compiler, ..EngineConfig::default() }).unwrap()
}

/// A module that keeps so many values across twice as many branches and a call.
fn crowded(values: usize) -> Vec<u8> {
    let branch = "(br_if 0 (i64.eqz (local.get 0)))";
    let terms: String = (0..values)
        .map(|k| format!("(i64.mul (local.get 0) (i64.const {})) i64.xor {branch} ", 2 * k + 3))
        .collect();
    let text = format!(
        "(module (memory (export \"memory\") 1)
           (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
           (func $f (param i64) (result i64) (i64.const 0) {terms} (call $f (local.get 0)) {terms} i64.add)
           (func (export \"handle\") (param i32 i32 i32 i32) (result i64) (call $f (i64.const 1))))"
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn what_another_process_compiled_gives_the_same() {
    let evaluated = |engine: &Engine| {
        let limits = Limits { gas: 1_000_000_000, memory_bytes: 1 << 24 };
        let mut instance = engine.compile(COUNTER, Format::Plain).unwrap().instantiate(limits).unwrap();
        instance.evaluate(br#"{"Tags":[{"name":"Action","value":"Increment"}]}"#, b"{}").unwrap()
    };
    let here = Engine::new(EngineConfig::default()).unwrap();
    assert_eq!(evaluated(&engine(1 << 30, 60)), evaluated(&here));
}

/// What the pass lets through is always a module; one that is none shows how refusals are told.
#[test]
fn what_is_refused_and_what_is_cut_short_are_told_apart() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let answer = |bytes: u64, module: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
            .args(["compile-guarded-module", "1073741824", "60", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&[&bytes.to_be_bytes(), module].concat()).unwrap();
        drop(input);
        let ended = child.wait_with_output().unwrap();
        (ended.status.success(), ended.stdout)
    };
    let (is_told, refused) = answer(3, b"abc");
    assert!(
        is_told && refused[0] == 1 && String::from_utf8_lossy(&refused).contains("WebAssembly module"),
        "{refused:?}"
    );
    assert_eq!(answer(4, b"abc"), (false, Vec::new()));
    let (is_told, made) = answer(8, b"\0asm\x01\0\0\0");
    assert!(is_told && made[0] == 0 && made.len() > 1_000);
}

#[test]
fn a_module_that_takes_a_compiler_too_much_is_this_machines_fault_alone() {
    for (memory_bytes, seconds) in [(128 << 20, 600), (1 << 32, 1)] {
        let engine = engine(memory_bytes, seconds);
        // Once by what it takes, and then at once, with the same words.
        let said = [(), ()].map(|()| {
            let error = engine.compile(&crowded(2_000), Format::Plain).unwrap_err();
            let ModuleError::Host(HostFault::Uncompilable(why)) = error else { panic!("{error}") };
            why
        });
        assert!(said[0].contains("it takes more than") && said[0] == said[1], "{said:?}");
        // Others are not held up.
        engine.compile(COUNTER, Format::Plain).unwrap();
    }
}

#[test]
fn what_is_compiled_ends_with_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    // A compiler that never ends.
    let script = format!("echo > '{}'; exec tail -f /dev/null", begun.display());
    let arguments = vec!["-c".into(), script.into()];
    let compiler =
        Some(Compiler { program: "/bin/sh".into(), arguments, memory_bytes: 1 << 32, seconds: 600 });
    let engine = Engine::new(EngineConfig { compiler, ..EngineConfig::default() }).unwrap();
    let other = engine.clone();
    let compiling = std::thread::spawn(move || other.compile(COUNTER, Format::Plain).map(drop));
    while !begun.exists() {
        assert!(!compiling.is_finished(), "{:?}", compiling.join());
        std::thread::yield_now();
    }
    engine.end_compiling();
    let ended = compiling.join().unwrap().unwrap_err();
    assert!(matches!(ended, ModuleError::Host(HostFault::Compiler(_))), "{ended}");
    let later = engine.compile(COUNTER, Format::Plain).unwrap_err();
    assert!(matches!(later, ModuleError::Host(HostFault::Compiler(_))), "{later}");
}

/// More modules than a node has threads, each of which takes a compiler minutes.
#[test]
fn a_node_computes_while_others_are_compiled() {
    const THREADS: [&str; 2] = ["--compute-threads", "1"];
    let node = Node::start_with(&THREADS);
    let own = node.counter();
    let increment = |node: &Node| node.json(&["send", &own, "--action", "Increment", "--wait"]);
    assert_eq!(increment(&node)["result"]["result"]["Output"], "1");
    let folder = node.stop();
    // They lie on its disk as if they had come from peers: nobody here has compiled them.
    let disk = store(folder.path());
    let modules: Vec<String> = (0..6)
        .map(|number| {
            let tags = [
                ("Type", "Module"),
                ("Module-Format", "wasm32-weft-plain"),
                ("Input-Encoding", "JSON-1"),
                ("Output-Encoding", "JSON-1"),
            ];
            let tags = tags.map(|(name, value)| Tag::new(name, value)).into();
            let data = crowded(4_000 + number).into();
            let item = Draft { tags, data, ..Draft::default() }.sign(&Signer::from_seed(&[3; 32])).unwrap();
            disk.write_blocking(vec![Write::Item { id: item.id(), raw: item.raw().clone() }]).unwrap();
            item.id().to_string()
        })
        .collect();
    drop(disk);
    let node = Node::start_as(folder, &THREADS);
    let spawned = modules.iter().map(|module| {
        let spawned = node.json(&["spawn", "--module", module]);
        spawned["process"].as_str().unwrap().to_owned()
    });
    for process in spawned.collect::<Vec<_>>() {
        let info = || node.json(&["inspect", &process]);
        node::until("it waits", || match info()["waits"].as_str() {
            Some(why) if why.contains("is being compiled") => Ok(()),
            _ => Err(info().to_string()),
        });
        assert_eq!(info()["fault"], json!(null));
    }
    assert_eq!(increment(&node)["result"]["result"]["Output"], "2");
    assert_eq!(increment(&node)["result"]["result"]["Output"], "3");
    node.stop();
}
