//! The guest begins with Lua started and its prelude in place, of which the collector leaves alone what never
//! changes; what messages write to lies together.

use weft_vm::{MemoryImage, PAGE_BYTES};

use crate::process::{Process, module};

/// Bytes of the pages in which two memories differ.
fn changed(before: &MemoryImage, after: &MemoryImage) -> usize {
    let leaves = |image: &MemoryImage| -> std::collections::BTreeMap<u32, Vec<u8>> {
        image.leaves(|_| true).map(|(number, _, bytes)| (number, bytes)).collect()
    };
    let (before, after) = (leaves(before), leaves(after));
    let pages = after.iter().flat_map(|(number, bytes)| {
        let held = before.get(number);
        bytes.chunks(PAGE_BYTES).enumerate().filter(move |(page, bytes)| {
            let at = page * PAGE_BYTES;
            held.map_or_else(
                || bytes.iter().any(|byte| *byte != 0),
                |held| held[at..at + PAGE_BYTES] != **bytes,
            )
        })
    });
    pages.count() * PAGE_BYTES
}

const COUNTER: &str = "Handlers.add('inc', 'Inc', function(m) Count = (Count or 0) + 1 m.reply({ Data = tostring(Count) }) end)";
const TOKEN: &str = "local bint = require('.bint')(256) Balances = {}
    for i = 1, 1000 do Balances['holder' .. i] = '1000000' end Balances[Owner] = '1000000000000'
    Handlers.add('transfer', 'Transfer', function(m)
      local q = bint(m.Data) assert(bint(Balances[m.From]) >= q, 'too little')
      local to = 'holder' .. (m.Nonce * 7 % 1000 + 1)
      Balances[m.From] = tostring(bint(Balances[m.From]) - q)
      Balances[to] = tostring(bint(Balances[to] or '0') + q)
      m.reply({ Action = 'Debit-Notice', Recipient = to, Quantity = m.Data })
      Send({ Target = to, Action = 'Credit-Notice', Sender = m.From, Quantity = m.Data }) end)";

/// What each of 500 messages changed, from the least to the most.
fn changes(setup: &str, action: &str, data: &str) -> Vec<usize> {
    let mut process = Process::spawn();
    process.eval(setup);
    for _ in 0..20 {
        process.send(action, data);
    }
    let mut before = process.instance.memory_image().unwrap();
    let mut changes: Vec<usize> = (0..500)
        .map(|_| {
            process.send(action, data);
            let after = process.instance.memory_image().unwrap();
            let bytes = changed(&before, &after);
            before = after;
            bytes
        })
        .collect();
    changes.sort_unstable();
    changes
}

#[test]
fn a_small_message_changes_at_most_64_kib() {
    for (setup, action, data) in [("return 1", "Eval", "return 1 + 2"), (COUNTER, "Inc", "")] {
        let changes = changes(setup, action, data);
        assert!(changes[499] <= 64 << 10, "{action} changed {} bytes", changes[499]);
    }
}

/// The collector neither marks nor writes to what is older than the message: a cycle changed 188 KiB of a process
/// with a thousand balances.
#[test]
fn a_transfer_among_a_thousand_balances_changes_64_kib_and_rarely_a_page_more() {
    let changes = changes(TOKEN, "Transfer", "25");
    let (nearly_all, most) = (changes[474], changes[499]);
    assert!(nearly_all <= 64 << 10 && most <= 72 << 10, "{nearly_all} bytes, at most {most}");
}

/// Starting Lua took 30 times the gas of a message, and each process paid it with its first one.
#[test]
fn the_first_message_costs_what_others_do() {
    let mut process = Process::unborn(&[]);
    let mut gas = [0, 0];
    for gas in &mut gas {
        process.send("Eval", "return 1");
        *gas = process.instance.gas_spent();
    }
    assert!(gas[0] < gas[1] * 2, "{gas:?}");
}

#[test]
fn processes_take_little_memory_beside_their_module() {
    let mut process = Process::spawn();
    let (own, shared) = (process.instance.resident_bytes(), module().resident_bytes());
    assert!(own < 300_000 && shared > own, "{own} bytes, and {shared} of the module");

    // With a snapshot of what they wrote: one page among the prelude's code doubled 64 KiB of it.
    process.eval(COUNTER);
    for _ in 0..250 {
        process.send("Inc", "");
    }
    process.instance.memory_image().unwrap();
    let own = process.instance.resident_bytes();
    assert!(own < 300_000, "{own} bytes after its messages");
}

/// What a program puts into the runtime's own tables and functions is as safe from the collector as anything.
#[test]
fn what_hangs_on_the_prelude_is_kept() {
    let mut process = Process::spawn();
    process.eval(
        "string.mine = { 'kept' .. 1 } Handlers.utils.more = { { deep = 'kept' .. 2 } }
         setmetatable(Colors, { __index = function(_, key) return 'kept' .. key end })
         require('.utils').of = coroutine.wrap(function() local x = { 'kept' .. 4 } while true do coroutine.yield(x[1]) end end)
         table.sort(Inbox, function() return false end) debug.traceback = function(...) return 'kept' .. 5 end",
    );
    let shown = "return string.mine[1] .. Handlers.utils.more[1].deep .. Colors.three .. require('.utils').of() .. debug.traceback()";
    for round in 0..60 {
        process.eval("local t = {} for i = 1, 500 do t[i] = { i, 'garbage' .. i } end");
        assert_eq!(process.eval(shown), "kept1kept2keptthreekept4kept5", "round {round}");
    }
}

/// A program that has the runtime read a chunk of its own again gets a new one, and the first one stays as it was.
#[test]
fn a_chunk_of_the_prelude_is_read_again_when_it_was_forgotten() {
    let mut process = Process::spawn();
    for name in [".utils", ".handlers-utils", ".dump", ".chance"] {
        let again = format!(
            "local name = '{name}' local first = require(name) package.loaded[name] = nil
             local second = require(name) return tostring(first ~= second and second == require(name))"
        );
        assert_eq!(process.eval(&again), "true", "{name}");
    }
    assert_eq!(process.eval("return Utils.includes(2, { 1, 2 })"), "true");
}

#[test]
fn errors_of_the_prelude_name_their_line() {
    let mut process = Process::spawn();
    let error = process.send("Eval", "require('.utils').reverse(nil)")["Error"].as_str().unwrap().to_owned();
    assert!(error.contains("[string \"utils\"]:") && error.ends_with("(local 't')"), "{error}");
}
