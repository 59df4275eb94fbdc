//! The same log gives the same results and the same memory, live and from any checkpoint.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::process::{FRIEND, Message, Process};

/// Pieces of which random programs are made.
const PIECES: [&str; 25] = [
    "T = T or {} T[#T + 1] = math.random(1000)",
    "T = T or {} T['k' .. math.random(50)] = os.time()",
    "pcall(error, { at = os.time() })",
    "for i = 1, 300 do pcall(error, i) end",
    "S = (S or '') .. tostring(T) if #S > 5000 then S = nil end",
    "local keys = '' for k in pairs(_G) do keys = keys .. k end print(#keys, keys:sub(1, 40))",
    "K = K or {} K[{}] = true local n = 0 for k in pairs(K) do n = n + 1 end print(n)",
    "local out = {} for k, v in pairs(T or {}) do out[#out + 1] = tostring(k) .. '=' .. tostring(v) end print(table.concat(out, ' '))",
    "Send({ Target = ao.id, Action = 'Note', Data = { n = #Inbox } })",
    "Handlers.once({ Action = 'Note' }, function(m) Seen = (Seen or 0) + 1 m.reply({ Data = tostring(Seen) }) end)",
    "local m = Receive({ Action = 'Note' }) Waited = (Waited or '') .. m.From:sub(1, 1)",
    "Big = Big or require('.bint')(256)(1) Big = Big * 31 + math.random(7) print(tostring(Big))",
    "setmetatable({}, { __gc = function() Gone = (Gone or 0) + 1 end }) print(Gone)",
    "V = setmetatable(V or {}, { __mode = 'v' }) for i = 1, 40 do V[('v'):rep(40) .. i] = {} end print(#require('json').encode(V))",
    "local t = {} for i = 1, 400 do t[i] = (i * 7919) % 1009 end table.sort(t) print(t[200])",
    "local s = ('abc'):rep(2000):gsub('b', function(c) return c:upper() end) print(#s)",
    "W = W or setmetatable({}, { __mode = 'k' }) W[{}] = 1 local n = 0 for _ in pairs(W) do n = n + 1 end print(n)",
    "coroutine.wrap(function() coroutine.yield(1) end)() print(coroutine.isyieldable())",
    "print(os.date('%c'), os.clock(), collectgarbage('count'))",
    "print(require('.crypto').digest.sha2_256(tostring(os.time())).asHex())",
    "Floats = (Floats or 0.1) * 1.7 print(Floats, Floats % 1, 0/0, math.sqrt(Floats))",
    "print(string.format('%p %s', T, T), { 1, { a = Seen } })",
    "error('on purpose ' .. math.random(9))",
    "local function r(n) return n == 0 and 0 or 1 + r(n - 1) end print(r(3000))",
    "T = nil K = nil S = nil",
];

fn steps() -> impl Strategy<Value = Vec<Message>> {
    let eval = prop::collection::vec(0..PIECES.len(), 1..5).prop_map(|pieces| {
        let text: Vec<&str> = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        Message::new("Eval", &text.join("\n"))
    });
    let note = any::<bool>().prop_map(|mine| {
        let note = Message::new("Note", "n").tag("X-Reference", "1");
        if mine { note } else { note.from(FRIEND) }
    });
    prop::collection::vec(prop_oneof![4 => eval, 1 => note], 3..12)
}

/// One process lives through everything; the other is restored from an image at some messages, as a node
/// that was started anew or that rolled back would be.
fn live_and_restored_agree(steps: &[Message], restores: u64) -> Result<(), TestCaseError> {
    let mut live = Process::spawn();
    let mut other = live.restored();
    for (number, step) in steps.iter().enumerate() {
        if restores >> (number % 64) & 1 == 1 {
            other = other.restored();
        }
        prop_assert_eq!(live.take(step), other.take(step), "message {}", number);
        let same = live.instance.memory_image().unwrap() == other.instance.memory_image().unwrap();
        prop_assert!(same, "message {} left another memory", number);
    }
    Ok(())
}

#[test]
fn random_programs_give_the_same_live_and_restored() {
    let cases = if crate::full::is_full() { 1_000 } else { 40 };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner
        .run(&(steps(), any::<u64>()), |(steps, restores)| live_and_restored_agree(&steps, restores))
        .unwrap();
}

/// Bytes that are no message at all, and messages with a byte changed.
#[test]
fn fuzzed_messages_never_break_the_shell() {
    let cases = if crate::full::is_full() { 20_000 } else { 500 };
    let process = RefCell::new(Process::spawn());
    let before = process.borrow_mut().instance.memory_image().unwrap();
    let whole = br#"{"Id":"x","Tags":[{"name":"Action","value":"Eval"}],"Data":"1+1","Owner":"o","From":"o","Target":"t"}"#;
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let changed = prop::collection::vec((0..whole.len(), any::<u8>()), 1..4);
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        changed.prop_map(|changes| {
            let mut bytes = whole.to_vec();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes
        })
    ];
    runner
        .run(&bytes, |bytes| {
            let instance = &mut process.borrow_mut().instance;
            let ended = instance.evaluate(&bytes, b"{\"Process\":{\"Id\":\"t\",\"Tags\":[]}}").unwrap();
            let weft_vm::Outcome::Returned(text) = ended.outcome else {
                return Err(TestCaseError::fail(format!("{:?}", ended.outcome)));
            };
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
            instance.roll_back().unwrap();
            Ok(())
        })
        .unwrap();
    let mut process = process.into_inner();
    assert!(process.instance.memory_image().unwrap() == before);
    assert_eq!(process.eval("1 + 1"), "2");
}

/// A process that has just begun is quickly made again: looking at its memory leaves no second copy behind,
/// and it goes back as well as any.
#[test]
fn a_young_process_has_its_memory_once() {
    let mut process = Process::spawn();
    let first = process.instance.memory_image().unwrap();
    let taken = process.instance.resident_bytes();
    let copy = first.stored_bytes() as u64;
    assert!(copy > 64 * 1024 && taken < 2 * copy, "{taken} bytes in memory, {copy} of them once more");
    assert!(process.eval("error('oh')").contains("oh"));
    assert_eq!(process.instance.memory_image().unwrap(), first);
    assert_eq!(process.eval("Count = 1 return Count"), "1");
    assert_ne!(process.instance.memory_image().unwrap(), first);
    // What takes longer to evaluate again than to copy is copied.
    process.eval("for i = 1, 1e6 do Count = i end return Count");
    let later = process.instance.memory_image().unwrap();
    assert!(process.instance.resident_bytes() > taken + 64 * 1024);
    process.eval("error('oh')");
    assert_eq!(process.instance.memory_image().unwrap(), later);
}
