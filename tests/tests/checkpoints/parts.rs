//! What a checkpoint writes: what changed, however much that is, in parts of which only the last
//! makes it one.

use std::collections::BTreeSet;

use weft_protocol::Position;
use weft_storage::{MemoryDisk, Store, Write};
use weft_tests::full::is_full;
use weft_tests::lone::{Kind, Lone, modules, store_config};

use super::{checkpoint, root};

/// A guest with a large memory of which it writes a few bytes here and there: with its second message
/// in every leaf, with all others in page 0 and two leaves.
fn scribbler(leaves: u32) -> Vec<u8> {
    let source = format!(
        r#"(module
          (memory (export "memory") 1)
          (global $free (mut i32) (i32.const 1024))
          (data (i32.const 256) "{{\22ok\22:true,\22response\22:{{\22Output\22:\22\22,\22Messages\22:[],\22Spawns\22:[],\22Assignments\22:[]}}}}")
          (func (export "alloc") (param i32) (result i32)
            (global.get $free)
            (global.set $free (i32.add (global.get $free) (local.get 0))))
          (func (export "handle") (param i32 i32 i32 i32) (result i64)
            (local $n i32) (local $leaf i32) (local $end i32)
            (local.set $n (i32.load (i32.const 0)))
            (if (i32.eqz (local.get $n))
              (then (drop (memory.grow (i32.sub (i32.const {leaves}) (memory.size))))))
            (local.set $leaf
              (i32.add (i32.const 1) (i32.rem_u (i32.mul (local.get $n) (i32.const 7919)) (i32.const {some}))))
            (local.set $end (i32.add (local.get $leaf) (i32.const 2)))
            (if (i32.eq (local.get $n) (i32.const 1))
              (then (local.set $leaf (i32.const 1)) (local.set $end (i32.const {leaves}))))
            (loop $next
              (i32.store (i32.shl (local.get $leaf) (i32.const 16)) (local.get $leaf))
              (i32.store offset=4096 (i32.shl (local.get $leaf) (i32.const 16)) (local.get $n))
              (local.set $leaf (i32.add (local.get $leaf) (i32.const 1)))
              (br_if $next (i32.lt_u (local.get $leaf) (local.get $end))))
            (i32.store (i32.const 0) (i32.add (local.get $n) (i32.const 1)))
            (i64.const {result})))"#,
        some = leaves - 3,
        result = (256_u64 << 32) | RESULT_BYTES,
    );
    wat::parse_str(source).unwrap()
}

/// Length of the result text in [`scribbler`].
const RESULT_BYTES: u64 = 79;

fn kind(wasm: &[u8]) -> Kind<'_> {
    Kind { wasm, format: Kind::COUNTER.format, tags: &[("Memory-Limit", "4-gb")] }
}

fn pages(parts: &[Vec<Write>]) -> usize {
    parts.iter().flatten().filter(|write| matches!(write, Write::Page(_))).count()
}

#[test]
fn a_checkpoint_writes_only_what_changed_since_the_one_before() {
    const LEAVES: usize = 40;
    let wasm = scribbler(LEAVES as u32);
    let mut lone = Lone::in_memory(&kind(&wasm));
    let mut live = lone.fresh();
    let opening = lone.open();
    lone.run(&mut live, &opening);
    assert_eq!(pages(&checkpoint(&mut live)), 3);
    assert_eq!(pages(&checkpoint(&mut live)), 0);
    for (number, written) in [(1, LEAVES), (2, 3), (3, 3)] {
        let record = lone.send("Scribble", number, "");
        lone.run(&mut live, &record);
        assert_eq!(pages(&checkpoint(&mut live)), written, "message {number}");
    }
    live.forget_stored();
    assert_eq!(pages(&checkpoint(&mut live)), LEAVES);
}

/// `WEFT_FULL=1` touches 2 GiB.
#[test]
fn a_large_change_is_written_in_parts_and_a_crash_between_them_leaves_nothing_wrong() {
    let leaves = if is_full() { 32_768 } else { 9_000 };
    let wasm = scribbler(leaves);
    let disk = MemoryDisk::new();
    let open = |disk: MemoryDisk| Store::open_with_backend(disk, &store_config()).unwrap();
    let mut lone = Lone::new(&kind(&wasm), "large", open(disk.clone()), modules(None));
    let process = lone.process.id();
    let mut live = lone.fresh();
    let opening = lone.open();
    lone.run(&mut live, &opening);
    let before = checkpoint(&mut live);
    assert_eq!((before.len(), pages(&before)), (1, 3));
    lone.store.write_blocking(before.into_iter().flatten().collect()).unwrap();
    let record = lone.send("Scribble", 1, "");
    lone.run(&mut live, &record);
    let expected = root(&mut live);
    let parts = checkpoint(&mut live);
    assert_eq!(pages(&parts), leaves as usize);
    assert!(parts.len() > 2 && parts.iter().all(|part| part.len() <= 5_000), "{} parts", parts.len());
    let last = parts.len() - 1;
    for (number, part) in parts.into_iter().enumerate() {
        let written: BTreeSet<_> = part
            .iter()
            .filter_map(|write| if let Write::Page(page) = write { Some(page.hash()) } else { None })
            .collect();
        lone.store.write_blocking(part).unwrap();
        if number != 1 && number < last {
            continue;
        }
        // What another OS process finds after the power went.
        let mut found = lone.alike();
        found.store = open(disk.after_power_loss());
        let reader = found.store.read().unwrap();
        assert!(reader.check(&mut |_, _| {}).unwrap().is_sound(), "after part {number}");
        let mut loaded = found.load();
        assert_eq!(root(&mut loaded), expected, "after part {number}");
        let unfinished = if number < last { vec![Position::slot(1)] } else { Vec::new() };
        assert_eq!(loaded.since().slots, unfinished.len() as u64);
        assert_eq!(loaded.take_damaged(), unfinished);
        for position in unfinished {
            found.store.write_blocking(vec![Write::DropCheckpoint { process, position }]).unwrap();
            let reader = found.store.read().unwrap();
            // Only what the one before names is left.
            let left = written.iter().filter(|name| reader.page(name).unwrap().is_some()).count();
            assert!(left <= 3, "{left} pages of a checkpoint that is gone");
        }
    }
}
