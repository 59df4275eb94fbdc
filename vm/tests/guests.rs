//! Small guests that misbehave: each ends with its own constant outcome, rolls back exactly, and
//! leaves the host as it was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use weft_vm::{Engine, EngineConfig, Evaluation, Format, Limits, Module, ModuleError, Outcome, Trap};

const LIMITS: Limits = Limits { gas: 2_000_000_000, memory_bytes: 1 << 24 };

/// A plain module: `alloc` gives 1024, `handle` is the body given.
fn wat(handle: &str) -> String {
    format!(
        "(module (memory (export \"memory\") 1)
           (global $count (mut i32) (i32.const 0))
           (table 1 funcref)
           (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
           (func $recurse (param i32) (result i32)
             (i32.add (i32.const 1) (call $recurse (i32.add (local.get 0) (i32.const 1)))))
           (func $answer (param i32) (result i64)
             (i32.store8 (i32.const 512) (i32.add (i32.const 48) (local.get 0)))
             (i64.const 0x20000000001))
           (func (export \"handle\") (param i32 i32 i32 i32) (result i64)
             (i32.store (i32.const 16) (i32.add (i32.const 1) (i32.load (i32.const 16))))
             {handle}))"
    )
}

fn compile(text: &str) -> Result<Module, ModuleError> {
    let wasm = wat::parse_str(text).expect("the test's own text");
    Engine::new(EngineConfig::default()).unwrap().compile(&wasm, Format::Plain)
}

fn once(handle: &str, limits: Limits) -> Evaluation {
    let module = compile(&wat(handle)).unwrap();
    let mut instance = module.instantiate(limits).unwrap();
    let before = instance.memory_image().unwrap();
    let evaluation = instance.evaluate(b"x", b"y").unwrap();
    instance.roll_back().unwrap();
    assert!(instance.memory_image().unwrap() == before, "{handle} left a trace");
    let again = instance.evaluate(b"x", b"y").unwrap();
    assert_eq!(evaluation, again, "{handle} gives another outcome the second time");
    evaluation
}

fn trap(handle: &str) -> Trap {
    match once(handle, LIMITS).outcome {
        Outcome::Trapped(trap) => trap,
        Outcome::Returned(text) => panic!("{handle} returned {text:?}"),
    }
}

#[test]
fn each_failure_has_its_own_outcome() {
    assert_eq!(trap("(unreachable)"), Trap::Trap);
    assert_eq!(trap("(i64.div_u (i64.const 1) (i64.const 0))"), Trap::Trap);
    assert_eq!(trap("(i64.load (i32.const -8))"), Trap::Trap);
    assert_eq!(trap("(call_indirect (result i64) (i32.const 0))"), Trap::Trap);
    assert_eq!(trap("(i64.trunc_f64_s (f64.const nan))"), Trap::Trap);
    assert_eq!(trap("(loop $l (br $l)) (i64.const 0)"), Trap::OutOfGas);
    assert_eq!(trap("(i64.extend_i32_u (call $recurse (i32.const 0)))"), Trap::Depth);
    assert_eq!(
        trap("(if (i32.eq (i32.const -1) (memory.grow (i32.const 256))) (then (unreachable))) (i64.const 0)"),
        Trap::OutOfMemory
    );
    // An address outside, a length outside, a length over the limit.
    assert_eq!(trap("(i64.const 0x7fffffff00000001)"), Trap::MalformedResult);
    assert_eq!(trap("(i64.const 0x0000000100010000)"), Trap::MalformedResult);
    assert_eq!(trap("(i64.const 0x00000000ffffffff)"), Trap::MalformedResult);
    // Out of gas is said even when something else came after.
    let limits = Limits { gas: 30_000, ..LIMITS };
    let evaluation = once("(drop (i64.div_u (i64.const 8) (i64.const 2))) (unreachable)", limits);
    assert_eq!(
        evaluation,
        Evaluation { outcome: Outcome::Trapped(Trap::OutOfGas), gas: 30_000, gas_used: 0 }
    );
}

/// Frames of every shape: the depth limit comes before the end of the native stack.
#[test]
fn the_depth_runs_out_before_the_native_stack() {
    let call = "(call $deep (local.get 0))";
    let operands = format!("{} {}", call.repeat(200), "(i32.add)".repeat(199));
    let pairs = format!("(i32.add {call} {call})").repeat(150) + &"(i32.add)".repeat(149);
    let floats = format!(
        "{} {} (i32.trunc_sat_f64_s)",
        format!("(f64.sqrt (f64.convert_i32_s {call}))").repeat(100),
        "(f64.add)".repeat(99)
    );
    let vectors = format!(
        "{} {} (i32x4.extract_lane 0)",
        format!("(i32x4.splat {call})").repeat(100),
        "(i32x4.add)".repeat(99)
    );
    let nested = format!("{}{call}{}", "(i32.add (i32.const 1) ".repeat(100), ")".repeat(100));
    let branches = format!("(if (result i32) (local.get 0) (then {call}) (else (i32.mul {call} {call})))")
        .repeat(60)
        + &"(i32.xor)".repeat(59);
    for body in [call.to_owned(), operands, pairs, floats, vectors, nested, branches] {
        let deep = format!("(func $deep (param i32) (result i32) {body})");
        let text = wat("(i64.extend_i32_u (call $deep (i32.const 1)))")
            .replace("(func $recurse", &format!("{deep} (func $recurse"));
        let mut instance = compile(&text).unwrap().instantiate(LIMITS).unwrap();
        let outcome = instance.evaluate(b"", b"").unwrap().outcome;
        assert_eq!(outcome, Outcome::Trapped(Trap::Depth), "{}", body.get(..60).unwrap_or(&body));
    }
}

#[test]
fn a_guest_that_counts_in_a_global_answers_one_each_time() {
    let handle =
        "(global.set $count (i32.add (global.get $count) (i32.const 1))) (call $answer (global.get $count))";
    let module = compile(&wat(handle)).unwrap();
    let mut live = module.instantiate(LIMITS).unwrap();
    for _ in 0..3 {
        assert_eq!(live.evaluate(b"", b"").unwrap().outcome, Outcome::Returned(b"1".to_vec()));
        live.keep().unwrap();
    }
    let mut restored = module.restore(&live.memory_image().unwrap(), LIMITS).unwrap();
    assert_eq!(restored.evaluate(b"", b"").unwrap().outcome, Outcome::Returned(b"1".to_vec()));
}

#[test]
fn grown_memory_shrinks_when_rolled_back() {
    let handle = "(drop (memory.grow (i32.const 3))) (i32.store (i32.const 200000) (i32.const 7)) (call $answer (memory.size))";
    assert_eq!(once(handle, LIMITS).outcome, Outcome::Returned(b"4".to_vec()));
    // A limit that leaves no room makes `memory.grow` answer -1, as the standard says.
    let small = Limits { memory_bytes: 65_536, ..LIMITS };
    let handle = "(call $answer (i32.sub (i32.const 0) (memory.grow (i32.const 3))))";
    assert_eq!(once(handle, small).outcome, Outcome::Returned(b"1".to_vec()));
}

#[test]
fn imports_and_exports_are_checked_by_name() {
    let text = compile("(module (import \"weft\" \"clock\" (func)) (memory (export \"memory\") 1))")
        .unwrap_err()
        .to_string();
    assert!(text.contains("weft.clock") && text.contains("wasm32-weft-plain"), "{text}");
    let text = compile("(module (memory (export \"memory\") 1))").unwrap_err().to_string();
    assert!(text.contains("alloc(bytes)"), "{text}");
    let text = compile(&wat("(i64.const 0)").replace("(export \"memory\")", "")).unwrap_err().to_string();
    assert!(text.contains("memory"), "{text}");
    let text = compile(&wat("(i64.const 0)").replace("(table", "(data (i32.const 65535) \"xy\") (table"))
        .unwrap_err()
        .to_string();
    assert!(text.contains("initialisation failed"), "{text}");
}

#[test]
fn hashes_and_signatures_are_those_of_the_protocol() {
    let imports = "(import \"weft\" \"sha256\" (func $sha256 (param i32 i32 i32)))
        (import \"weft\" \"sha384\" (func $sha384 (param i32 i32 i32)))
        (import \"weft\" \"keccak256\" (func $keccak256 (param i32 i32 i32)))
        (import \"weft\" \"blake3\" (func $blake3 (param i32 i32 i32)))";
    // The four hashes of the message, one after the other.
    let handle = "(call $sha256 (i32.const 1024) (local.get 1) (i32.const 4096))
        (call $sha384 (i32.const 1024) (local.get 1) (i32.const 4128))
        (call $keccak256 (i32.const 1024) (local.get 1) (i32.const 4176))
        (call $blake3 (i32.const 1024) (local.get 1) (i32.const 4208))
        (i64.const 0x1000000000a0)";
    let text = wat(handle).replace("(memory (export", &format!("{imports} (memory (export"));
    // Both texts land at 1024, so the environment is the message that is hashed.
    let mut instance = compile(&text).unwrap().instantiate(LIMITS).unwrap();
    let evaluation = instance.evaluate(b"abc", b"abc").unwrap();
    let Outcome::Returned(bytes) = evaluation.outcome else { panic!("{:?}", evaluation.outcome) };
    let hex: String = bytes.iter().take(144).map(|byte| format!("{byte:02x}")).collect();
    let expected = [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
    ];
    assert_eq!(hex, expected.concat());
    instance.keep().unwrap();
}

#[test]
fn signatures_are_checked_by_the_host() {
    use weft_protocol::crypto::Signer;
    let imports = "(import \"weft\" \"ed25519_verify\" (func $check (param i32 i32 i32 i32) (result i32)))";
    // The environment is key, signature and data, one after the other.
    let handle = "(call $answer (call $check (i32.const 1024) (i32.const 1056) (i32.const 1120) \
                   (i32.sub (local.get 3) (i32.const 96))))";
    let text = wat(handle).replace("(memory (export", &format!("{imports} (memory (export"));
    let module = compile(&text).unwrap();
    let signer = Signer::from_seed(&[7; 32]);
    let mut good = signer.owner_key();
    good.extend(signer.sign(b"a message").unwrap());
    good.extend(b"a message");
    let mut bad = good.clone();
    bad[100] ^= 1;
    for (environment, expected) in [(good, b"1"), (bad, b"0")] {
        let mut instance = module.instantiate(LIMITS).unwrap();
        let evaluation = instance.evaluate(b"", &environment).unwrap();
        assert_eq!(evaluation.outcome, Outcome::Returned(expected.to_vec()));
        assert!(evaluation.gas > 50_000_000, "a signature check is not free");
    }
}

#[test]
fn a_host_call_outside_of_memory_is_the_guests_fault() {
    let imports = "(import \"weft\" \"sha256\" (func $sha256 (param i32 i32 i32)))";
    for call in [
        "(call $sha256 (i32.const 65536) (i32.const 1) (i32.const 0))",
        "(call $sha256 (i32.const 0) (i32.const -1) (i32.const 0))",
        "(call $sha256 (i32.const 0) (i32.const 1) (i32.const 65520))",
    ] {
        let text = wat(&format!("{call} (i64.const 0)"))
            .replace("(memory (export", &format!("{imports} (memory (export"));
        let limits = Limits { gas: 1 << 60, ..LIMITS };
        let mut instance = compile(&text).unwrap().instantiate(limits).unwrap();
        let evaluation = instance.evaluate(b"", b"").unwrap();
        assert_eq!(evaluation.outcome, Outcome::Trapped(Trap::Trap), "{call}");
    }
}

#[test]
fn a_cached_module_is_used_and_a_damaged_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig { cache_dir: Some(folder.path().to_owned()), ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    let wasm = wat::parse_str(wat("(call $answer (i32.const 3))")).unwrap();
    let answer = |module: &Module| {
        let mut instance = module.instantiate(LIMITS).unwrap();
        instance.evaluate(b"", b"").unwrap()
    };
    let fresh = answer(&engine.compile(&wasm, Format::Plain).unwrap());
    let files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let sound = std::fs::read(file).unwrap();
    assert_eq!(answer(&engine.compile(&wasm, Format::Plain).unwrap()), fresh);

    for damage in [0, 20, sound.len() / 2, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[damage] ^= 0x40;
        std::fs::write(file, &damaged).unwrap();
        assert_eq!(answer(&engine.compile(&wasm, Format::Plain).unwrap()), fresh);
        assert!(std::fs::read(file).unwrap() == sound, "the damaged entry was not written again");
    }
    std::fs::write(file, &sound[..sound.len() / 3]).unwrap();
    assert_eq!(answer(&engine.compile(&wasm, Format::Plain).unwrap()), fresh);
}

#[cfg(unix)]
#[test]
fn what_becomes_of_a_cached_file_changes_no_module_made_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig { cache_dir: Some(folder.path().to_owned()), ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    let wasm = wat::parse_str(wat("(call $answer (i32.const 3))")).unwrap();
    let answer = |module: &Module| {
        let mut instance = module.instantiate(LIMITS).unwrap();
        instance.evaluate(b"", b"").unwrap()
    };
    let fresh = answer(&engine.compile(&wasm, Format::Plain).unwrap());
    let read_from_it = engine.compile(&wasm, Format::Plain).unwrap();
    // In place: whoever had mapped the file itself would now run this, and then find pages gone.
    let entry = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
    let bytes = usize::try_from(entry.metadata().unwrap().len()).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(entry.path()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xcc; bytes], 0).unwrap();
    assert_eq!(answer(&read_from_it), fresh);
    file.set_len(0).unwrap();
    assert_eq!(answer(&read_from_it), fresh);
}
