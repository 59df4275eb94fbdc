//! A damaged checkpoint is passed over.

use weft_protocol::Position;
use weft_storage::Write;
use weft_tests::lone::Lone;

use super::{COUNTER, root, write_checkpoint};

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_it_and_for_slot_0() {
    let mut lone = Lone::in_memory(&COUNTER);
    let process = lone.process.id();
    let mut live = lone.fresh();
    let opening = lone.open();
    lone.run(&mut live, &opening);
    let mut at = Vec::new();
    for number in 0..40 {
        let record = lone.send("Increment", number, "");
        lone.run(&mut live, &record);
        if number % 10 == 5 {
            write_checkpoint(&lone, &mut live);
            at.push(Position::slot(number + 1));
        }
    }
    let expected = root(&mut live);
    let mut sound = lone.load();
    assert_eq!((root(&mut sound), sound.since().slots), (expected, 4));
    assert_eq!(sound.take_damaged(), []);
    let mut broken = Vec::new();
    for (way, position) in at.iter().rev().enumerate() {
        let held = |position| lone.store.read().unwrap().checkpoint(&process, position).unwrap().unwrap();
        let mut row = held(*position);
        let before = row.clone();
        match way {
            0 => row.state = [&[row.state[0] ^ 1], &row.state[1..]].concat().into(),
            1 => row.memory_bytes += 65_536,
            2 => row.pages.clear(),
            // The state of another position is whole, but not of this one.
            _ => row = held(at[1]),
        }
        assert_ne!(row, before, "way {way} changes nothing");
        lone.store.write_blocking(vec![Write::Checkpoint { process, position: *position, row }]).unwrap();
        broken.push(*position);
        let mut loaded = lone.load();
        assert_eq!(root(&mut loaded), expected, "after {way}");
        assert_eq!(loaded.take_damaged(), broken);
    }
    // All of them are of no use by now: everything was replayed.
    assert_eq!(lone.load().since().slots, 41);
}
