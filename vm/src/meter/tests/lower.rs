//! Lowered memories beside 64-bit ones: the same results, traps, gas, sizes and bytes, whatever the
//! address.

use super::random::{FUNCTIONS, Random};
use super::*;
use crate::host::Limiter;

const PAGE: u64 = 65_536;
const LOWERED: Policy = Policy { memory64: true, count: true, exceptions: false, ..POLICY };
const WIDE: Policy = Policy { lower: false, ..LOWERED };

/// Whether the pass gave this module a 32-bit memory.
fn is_lowered(wasm: &[u8]) -> bool {
    let memories = wasmparser::Parser::new(0).parse_all(wasm).find_map(|payload| match payload {
        Ok(wasmparser::Payload::MemorySection(section)) => section.into_iter().next(),
        _ => None,
    });
    !memories.expect("a memory section").expect("a memory").memory64
}

/// One instance of a module whose memory is exported.
struct Side {
    store: Store<Limiter>,
    instance: Instance,
}

/// What a call did that a guest or its host can tell.
#[derive(Debug, PartialEq)]
struct Seen {
    ended: Result<String, Option<wasmtime::Trap>>,
    counters: Vec<Option<i64>>,
    pages: u64,
    refused: bool,
}

impl Side {
    fn new(engine: &Engine, wasm: &[u8]) -> Result<Self, Option<wasmtime::Trap>> {
        let module = wasmtime::Module::new(engine, wasm).unwrap();
        let mut store = Store::new(engine, Limiter::default());
        store.limiter(|limiter| limiter);
        match Instance::new(&mut store, &module, &[]) {
            Ok(instance) => Ok(Self { store, instance }),
            Err(error) => Err(error.downcast_ref().copied()),
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        memory.data_mut(&mut self.store)
    }

    fn call(&mut self, name: &str, arguments: &[u64], gas: i64) -> Seen {
        self.store.data_mut().refused = false;
        let counters = [(GAS_EXPORT, gas), (DEPTH_EXPORT, DEPTH_START), (USED_EXPORT, 0)];
        let counters = counters.map(|(name, start)| {
            let counter = self.instance.get_global(&mut self.store, name)?;
            counter.set(&mut self.store, Val::I64(start)).unwrap();
            Some(counter)
        });
        let f = self.instance.get_func(&mut self.store, name).unwrap();
        let arguments: Vec<Val> = arguments.iter().map(|argument| Val::I64(*argument as i64)).collect();
        let mut results = vec![Val::I32(0); f.ty(&self.store).results().len()];
        let ended = match f.call(&mut self.store, &arguments, &mut results) {
            Ok(()) => Ok(format!("{results:?}")),
            Err(error) => Err(error.downcast_ref().copied()),
        };
        let counters = counters.map(|counter| counter.and_then(|it| it.get(&mut self.store).i64())).to_vec();
        let pages = self.bytes().len() as u64 / PAGE;
        Seen { ended, counters, pages, refused: self.store.data().refused }
    }
}

/// The same module lowered and as it was.
pub(super) struct Both([Side; 2]);

impl Both {
    /// Both, or the trap with which neither could be made.
    fn new(wat: &str) -> Result<Self, wasmtime::Trap> {
        let [lowered, wide] = [LOWERED, WIDE].map(|policy| guarded(wat, &policy));
        assert!(is_lowered(&lowered) && !is_lowered(&wide), "{wat}");
        Self::of(wat, [lowered, wide])
    }

    /// Two modules that are to be the same.
    pub(super) fn of(wat: &str, [lowered, wide]: [Vec<u8>; 2]) -> Result<Self, wasmtime::Trap> {
        let engine = Engine::default();
        match [Side::new(&engine, &lowered), Side::new(&engine, &wide)] {
            [Ok(lowered), Ok(wide)] => Ok(Self([lowered, wide])),
            [Err(Some(lowered)), Err(Some(wide))] if lowered == wide => Err(wide),
            [lowered, wide] => panic!("{:?} and {:?}: {wat}", lowered.err(), wide.err()),
        }
    }

    /// Calls a function of both with the same memory, and gives what both did.
    pub(super) fn call(&mut self, name: &str, arguments: &[u64]) -> Result<String, wasmtime::Trap> {
        self.call_within(name, arguments, i64::MAX).0
    }

    /// The same with so much gas; and how much they used.
    pub(super) fn call_within(
        &mut self,
        name: &str,
        arguments: &[u64],
        gas: i64,
    ) -> (Result<String, wasmtime::Trap>, i64) {
        let [lowered, wide] = &mut self.0;
        let (seen, expected) = (lowered.call(name, arguments, gas), wide.call(name, arguments, gas));
        assert_eq!(seen, expected, "{name} {arguments:?}");
        assert!(lowered.bytes() == wide.bytes(), "{name} {arguments:?} left other bytes");
        let used = gas - expected.counters[0].unwrap();
        (expected.ended.map_err(|trap| trap.expect("a trap of wasm")), used)
    }

    pub(super) fn fill(&mut self) {
        for side in &mut self.0 {
            for (at, byte) in side.bytes().iter_mut().enumerate() {
                *byte = (at * 7 % 251) as u8;
            }
        }
    }
}

/// Every load, what it gives, its bytes, and the lane that it names.
const LOADS: [(&str, &str, u64); 27] = [
    ("i32.load", "i32", 4),
    ("i64.load", "i64", 8),
    ("f32.load", "f32", 4),
    ("f64.load", "f64", 8),
    ("i32.load8_s", "i32", 1),
    ("i32.load8_u", "i32", 1),
    ("i32.load16_s", "i32", 2),
    ("i32.load16_u", "i32", 2),
    ("i64.load8_s", "i64", 1),
    ("i64.load8_u", "i64", 1),
    ("i64.load16_s", "i64", 2),
    ("i64.load16_u", "i64", 2),
    ("i64.load32_s", "i64", 4),
    ("i64.load32_u", "i64", 4),
    ("v128.load", "v128", 16),
    ("v128.load8x8_s", "v128", 8),
    ("v128.load8x8_u", "v128", 8),
    ("v128.load16x4_s", "v128", 8),
    ("v128.load16x4_u", "v128", 8),
    ("v128.load32x2_s", "v128", 8),
    ("v128.load32x2_u", "v128", 8),
    ("v128.load8_splat", "v128", 1),
    ("v128.load16_splat", "v128", 2),
    ("v128.load32_splat", "v128", 4),
    ("v128.load64_splat", "v128", 8),
    ("v128.load32_zero", "v128", 4),
    ("v128.load64_zero", "v128", 8),
];

const STORES: [(&str, &str, u64); 10] = [
    ("i32.store", "i32.const -1234567", 4),
    ("i32.store8", "i32.const -77", 1),
    ("i32.store16", "i32.const -777", 2),
    ("i64.store", "i64.const -12345678901", 8),
    ("i64.store8", "i64.const -78", 1),
    ("i64.store16", "i64.const -778", 2),
    ("i64.store32", "i64.const -778899", 4),
    // A NaN that arithmetic would not leave as it is.
    ("f32.store", "f32.const -nan:0x200001", 4),
    ("f64.store", "f64.const -nan:0x4000000000001", 8),
    ("v128.store", VECTOR, 16),
];

const LANES: [(&str, u64); 4] = [("8", 1), ("16", 2), ("32", 4), ("64", 8)];
const VECTOR: &str = "v128.const i64x2 0x123456789abcdef0 -3";
const OFFSETS: [u64; 9] = [0, 8, PAGE - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 8, 1 << 63, u64::MAX];
const FAR: [u64; 12] = [
    0,
    1,
    PAGE,
    1 << 31,
    (1 << 32) - 8,
    (1 << 32) - 1,
    1 << 32,
    (1 << 32) + 8,
    1 << 48,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];

/// One instruction as two functions of an address: held by a local, and made where it is used.
fn accesses() -> Vec<(String, String, u64)> {
    let mut all: Vec<(String, String, u64)> = Vec::new();
    for (op, ty, bytes) in LOADS {
        all.push((format!("(result {ty})"), format!("({op} offset=OFFSET ADDRESS)"), bytes));
    }
    for (op, value, bytes) in STORES {
        all.push((String::new(), format!("({op} offset=OFFSET ADDRESS ({value}))"), bytes));
    }
    for (lane, bytes) in LANES {
        let (load, store) = (format!("v128.load{lane}_lane"), format!("v128.store{lane}_lane"));
        all.push(("(result v128)".into(), format!("({load} offset=OFFSET 1 ADDRESS ({VECTOR}))"), bytes));
        all.push((String::new(), format!("({store} offset=OFFSET 1 ADDRESS ({VECTOR}))"), bytes));
    }
    all
}

#[test]
fn every_access_at_every_edge_is_the_same() {
    let shapes = ["(local.get 0)", "(i64.xor (local.get 0) (i64.const 0))", "(local.tee 0 (local.get 0))"];
    let (mut returned, mut trapped) = (0, 0);
    for offset in OFFSETS {
        let mut wat = String::from("(module (memory (export \"memory\") i64 1 2) ");
        let mut names = Vec::new();
        for (index, (results, text, bytes)) in accesses().into_iter().enumerate() {
            for (shape, address) in shapes.into_iter().enumerate() {
                let name = format!("{index}.{shape}");
                let text = text.replace("OFFSET", &offset.to_string()).replace("ADDRESS", address);
                wat += &format!("(func (export \"{name}\") (param i64) {results} {text})\n");
                names.push((name, bytes));
            }
        }
        let mut both = Both::new(&(wat + ")")).unwrap();
        for (name, bytes) in names {
            both.fill();
            // The last place where it fits, and the first where it does not.
            let last = PAGE.wrapping_sub(bytes).wrapping_sub(offset);
            let edges = [last.wrapping_sub(1), last, last.wrapping_add(1), last.wrapping_add(1 << 32)];
            for address in FAR.into_iter().chain(edges) {
                let fits = u128::from(address) + u128::from(offset) + u128::from(bytes) <= u128::from(PAGE);
                match both.call(&name, &[address]) {
                    Ok(_) => returned += 1,
                    Err(trap) => {
                        assert_eq!(trap, wasmtime::Trap::MemoryOutOfBounds);
                        trapped += 1;
                    }
                }
                assert_eq!(
                    both.0[0].call(&name, &[address], PLENTY).ended.is_ok(),
                    fits,
                    "{name} {address}+{offset}"
                );
            }
        }
    }
    assert!(returned > 1_000 && trapped > 10_000, "{returned} {trapped}");
}

#[test]
fn growing_is_the_same() {
    let wat = "(module (memory (export \"memory\") i64 2 7)
      (func (export \"grow\") (param i64) (result i64) (memory.grow (local.get 0)))
      (func (export \"size\") (result i64) (memory.size))
      (func (export \"dead\") (result i64)
        (return (i64.const 4)) (drop (memory.grow (i64.load offset=0x100000000 (memory.size))))))";
    let mut both = Both::new(wat).unwrap();
    let huge = [6, 65_533, 65_534, 65_535, 1 << 31, (1 << 32) - 2, (1 << 32) - 1, 1 << 32, (1 << 32) + 1];
    let more = [1 << 48, (1 << 48) - 2, 1 << 62, 1 << 63, u64::MAX];
    for amount in huge.into_iter().chain(more) {
        assert_eq!(both.call("grow", &[amount]).unwrap(), "[I64(-1)]", "{amount}");
    }
    for (amount, before) in [(0, 2), (1, 2), (3, 3), (2, 6), (1, 6), (1, 7), (0, 7)] {
        let expected = if before + amount > 7 { -1 } else { before as i64 };
        assert_eq!(both.call("grow", &[amount]).unwrap(), format!("[I64({expected})]"));
        both.call("size", &[]).unwrap();
    }
    assert_eq!(both.call("size", &[]).unwrap(), "[I64(7)]");
    both.call("dead", &[]).unwrap();
    // The largest that is lowered, up to its last page.
    let mut both = Both::new(&wat.replace("i64 2 7", "i64 2 65535")).unwrap();
    for amount in [65_534, 1 << 32, u64::MAX] {
        assert_eq!(both.call("grow", &[amount]).unwrap(), "[I64(-1)]", "{amount}");
    }
}

#[test]
fn copying_and_filling_are_the_same() {
    let wat = "(module (memory (export \"memory\") i64 1 2) (data $d \"abcdefgh\")
      (func (export \"copy\") (param i64 i64 i64) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
      (func (export \"fill\") (param i64 i64 i64)
        (memory.fill (local.get 0) (i32.wrap_i64 (local.get 1)) (local.get 2)))
      (func (export \"init\") (param i64 i64 i64)
        (memory.init $d (local.get 0) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2)))))";
    let mut both = Both::new(wat).unwrap();
    let edges =
        [0, 3, 8, PAGE - 8, PAGE - 1, PAGE, PAGE + 1, (1 << 32) - 1, 1 << 32, (1 << 32) + 8, u64::MAX];
    for name in ["copy", "fill", "init"] {
        both.fill();
        let mut returned = 0;
        for to in edges {
            for from in edges {
                for count in edges {
                    returned += u64::from(both.call(name, &[to, from, count]).is_ok());
                }
            }
        }
        assert!(returned > 30 && returned < 1_000, "{name} {returned}");
    }
}

#[test]
fn data_segments_are_the_same() {
    let module = |at: u64, data: &str| {
        let at = at as i64;
        format!(
            "(module (memory (export \"memory\") i64 1 2) (data (i64.const 5) \"first\") (data \"passive\")
               (data (memory 0) (i64.const {at}) \"{data}\") (func (export \"f\")))"
        )
    };
    for (at, data, fits) in [
        (0, "x", true),
        (PAGE - 1, "x", true),
        (PAGE, "", true),
        (PAGE, "x", false),
        (PAGE + 1, "", false),
        ((1 << 32) - 1, "", false),
        (1 << 32, "", false),
        (1 << 32, "x", false),
        ((1 << 32) + 9, "x", false),
        (1 << 63, "", false),
        (u64::MAX, "x", false),
    ] {
        match Both::new(&module(at, data)) {
            Ok(mut both) => assert!(both.call("f", &[]).is_ok() && fits, "{at} {data:?}"),
            Err(trap) => assert!(trap == wasmtime::Trap::MemoryOutOfBounds && !fits, "{at} {data:?}"),
        }
    }
}

/// In dead code operands may be missing; those of the constructs around it are none of its own.
#[test]
fn dead_code_is_lowered_too() {
    let wat = "(module (memory (export \"memory\") i64 1 2) (data $d \"x\")
      (func (export \"f\") (param i64) (result i64) (local i32 f32)
        local.get 1 local.get 2
        block
          unreachable
          i64.load drop i64.store f32.const 1 f32.store v128.load8_lane 3 drop
          memory.copy memory.fill memory.init $d memory.grow drop
          loop br 0 i32.const 1 i32.store8 end
        end
        drop drop i64.const 1)
      (func (export \"g\") (param i64) (result i64) (local i32)
        local.get 1
        block br 0 i64.load drop i64.load offset=0x100000000 i64.store end
        drop
        local.get 0 i64.load))";
    let mut both = Both::new(wat).unwrap();
    both.fill();
    assert_eq!(both.call("f", &[0]), Err(wasmtime::Trap::UnreachableCodeReached));
    assert!(both.call("g", &[8]).is_ok() && both.call("g", &[1 << 32]).is_err());
}

#[test]
fn changed_modules_stay_valid() {
    let functions: String = accesses()
        .into_iter()
        .map(|(results, text, _)| {
            let text = text.replace("OFFSET", "8").replace("ADDRESS", "(local.get 0)");
            format!("(func (param i64) {results} {text})\n")
        })
        .collect();
    let wat =
        format!("(module (memory (export \"memory\") i64 1 2) (data (i64.const 9) \"data\") {functions})");
    let whole = wat::parse_str(&wat).unwrap();
    let mut accepted = 0;
    for index in 0..whole.len() {
        for bit in [index % 8, (index + 3) % 8] {
            let mut changed = whole.clone();
            changed[index] ^= 1 << bit;
            if let Ok(metered) = instrument(&changed, &LOWERED) {
                let mut validator = wasmparser::Validator::new_with_features(sections::features());
                validator.validate_all(&metered.wasm).expect("what the pass accepts stays valid");
                accepted += u32::from(is_lowered(&metered.wasm));
            }
        }
    }
    assert!(accepted > 200, "{accepted}");
}

fn module(limits: &str, body: &str) -> String {
    format!(
        "(module (memory (export \"memory\") i64 {limits}) (global $g (mut i64) (i64.const 0)) (func $h)
           (func (export \"f\") (param i64) {body}))"
    )
}

#[test]
fn what_may_have_4_gib_is_not_lowered() {
    let load = "(drop (i64.load offset=0x100000000 (local.get 0)))";
    for (limits, lowered) in
        [("0 65535", true), ("1 1", true), ("1 65536", false), ("1 160000", false), ("1", false)]
    {
        assert_eq!(is_lowered(&guarded(&module(limits, load), &LOWERED)), lowered, "{limits}");
    }
    assert!(!is_lowered(&guarded(&module("1 1", load), &Policy { guard: false, ..LOWERED })));
}

/// What the compiler would refuse, or be kept busy with, once it is lowered.
#[test]
fn what_would_be_too_much_is_not_lowered() {
    let load = "(drop (i32.load (i64.xor (local.get 0) (i64.const 1))))";
    let many = |count: usize| module("1 1", &load.repeat(count));
    assert!(is_lowered(&guarded(&many(20_000), &LOWERED)));
    assert!(!is_lowered(&guarded(&many(33_000), &LOWERED)));
    let locals = |count: usize| module("1 1", &format!("(local {}) {load}", "i32 ".repeat(count)));
    assert!(is_lowered(&guarded(&locals(49_000), &LOWERED)));
    // With the parameter as many as there may be.
    assert!(!is_lowered(&guarded(&locals(49_999), &LOWERED)));
}

/// How often an address is compared.
fn compared(body: &str) -> usize {
    let wat = module("1 2", body);
    let [lowered, wide] = [LOWERED, WIDE].map(|policy| guarded(&wat, &policy));
    let count = |wasm: &[u8]| {
        let mut found = 0;
        for payload in wasmparser::Parser::new(0).parse_all(wasm) {
            if let Ok(wasmparser::Payload::CodeSectionEntry(body)) = payload {
                let operators = body.get_operators_reader().unwrap().into_iter();
                found += operators.filter(|op| matches!(op, Ok(wasmparser::Operator::I64Ne))).count();
            }
        }
        found
    };
    count(&lowered) - count(&wide)
}

#[test]
fn an_address_that_did_not_change_is_compared_once() {
    let load = "(drop (i64.load (local.get 0)))";
    let set = "(local.set 0 (i64.load offset=8 (local.get 0)))";
    let global = "(drop (i64.load (global.get $g)))";
    let again = "(br_if $l (i64.ne (local.get 0) (i64.const 0)))";
    for (body, times) in [
        (load.repeat(5), 1),
        (format!("{load} (i64.store (local.get 0) (i64.load offset=8 (local.get 0)))"), 1),
        (format!("{load} {set} {load} {load}"), 2),
        (format!("{load} (block {load} {set}) {load}"), 2),
        (format!("{load} (block {load}) {load}"), 1),
        (format!("(block {load}) {load}"), 2),
        (format!("{load} (if (i64.eqz (local.get 0)) (then {load} {set}) (else {load})) {load}"), 3),
        // The second turn of a loop may have another address.
        (format!("{load} (loop $l {load} {set} {again})"), 2),
        (format!("(loop $l {load} {load} {set} {again}) {load}"), 2),
        // Read before it was set, used after.
        (format!("{load} (i64.store (local.get 0) (block (result i64) {set} (i64.const 1)))"), 2),
        ("(drop (i64.load (i64.extend_i32_u (i32.wrap_i64 (local.get 0)))))".into(), 0),
        ("(drop (i64.load (i64.load32_u (i64.const 8))))".into(), 0),
        ("(drop (i64.load (i64.const 0x100000000)))".into(), 1),
        (global.repeat(3), 1),
        (format!("{global} (global.set $g (i64.const 0)) {global}"), 2),
        (format!("{global} (call $h) {global}"), 2),
        (format!("{global} (i64.store (global.get $g) (block (result i64) (call $h) (i64.const 1)))"), 2),
    ] {
        assert_eq!(compared(&body), times, "{body}");
        let mut both = Both::new(&module("1 2", &body)).unwrap();
        for side in &mut both.0 {
            // What the local is set to: outside of memory, and inside if it is cut.
            side.bytes()[8..16].copy_from_slice(&((1u64 << 32) + 16).to_le_bytes());
        }
        for address in [0, 1, PAGE - 16, PAGE - 8, PAGE, 1 << 32, (1 << 32) + 16, 1 << 63] {
            // Whether it traps is compared, and what it leaves.
            let _ = both.call("f", &[address]);
        }
    }
}

/// Offsets may be written in more bytes than a 32-bit memory allows.
#[test]
fn long_numbers_are_read_as_what_they_are() {
    let wat = "(module (memory (export \"memory\") i64 1 2) (func (export \"f\") (param i64) (result i32)
        (i32.load offset=0x7fffffffffffff4 (local.get 0))))";
    let mut wasm = wat::parse_str(wat).unwrap();
    let at = wasm.windows(2).position(|bytes| bytes == [0x28, 0x02]).unwrap() + 2;
    // 2^59 - 12 takes nine bytes; 4 takes as many with zeros behind it.
    wasm[at..at + 9].copy_from_slice(&[0x84, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]);
    let lowered = instrument(&wasm, &LOWERED).unwrap().wasm;
    assert!(is_lowered(&lowered));
    let mut side = Side::new(&Engine::default(), &lowered).unwrap();
    side.bytes()[12] = 7;
    assert_eq!(side.call("f", &[8], PLENTY).ended, Ok("[I32(7)]".to_owned()));
    assert!(side.call("f", &[PAGE - 7], PLENTY).ended.is_err());
}

#[test]
fn random_functions_do_the_same() {
    let mut random = Random::new(0x5eed_0000_1234_5678, false);
    let (mut returned, mut trapped) = (0, 0);
    for _ in 0..6 {
        let mut both = Both::new(&random.module()).unwrap();
        both.fill();
        for index in 0..FUNCTIONS {
            for _ in 0..12 {
                match both.call(&index.to_string(), &random.arguments()) {
                    Ok(_) => returned += 1,
                    Err(_) => trapped += 1,
                }
            }
        }
    }
    assert!(returned > 1_000 && trapped > 200, "{returned} returned, {trapped} trapped");
}
