#![allow(clippy::panic)]

use weft_protocol::postage::POSTAGE_BITS_MAX;

use super::*;

const ITEM: Id = Id([1; 32]);
const PROCESS: Id = Id([9; 32]);

fn letter(insists: bool) -> Letter {
    Letter::new(PROCESS, "item".to_owned(), insists, Now(0))
}

fn run(letters: &mut Letters, input: Input, now: u64) -> Vec<Effect> {
    let mut effects = Effects::new();
    letters.handle(input, Now(now), &mut effects);
    effects.drain().collect()
}

fn sent(insists: bool) -> Letters {
    let mut letters = Letters::default();
    let kept = run(&mut letters, Input::Send(ITEM, letter(insists), "it is away".to_owned()), 0);
    assert_eq!(kept, [Effect::Keep(ITEM, letter(insists))]);
    letters
}

/// What is asked for by and by where nobody answers, until it is over: the bits and times of what is said, and how often
/// the scheduler is asked.
fn alone(letters: &mut Letters) -> (Vec<(u32, u64)>, usize, End) {
    let (mut said, mut tries) = (Vec::new(), 0);
    for now in (0..).step_by(500) {
        let mut inputs = vec![Input::Tick];
        while let Some(input) = inputs.pop() {
            for effect in run(letters, input, now) {
                match effect {
                    Effect::Keep(..) => {}
                    Effect::Mine { item, bits, start, .. } => {
                        // What paid less is not looked through again.
                        assert_eq!(start, if bits == POSTAGE_BITS_MIN { 0 } else { u64::from(bits) - 2 });
                        inputs.push(Input::Mined { item, nonce: Some(bits.into()) });
                    }
                    Effect::Say(item, letter) => {
                        said.push((letter.bits, now));
                        inputs.push(Input::Said { item, is_heard: true });
                    }
                    Effect::Try(item, _) => {
                        tries += 1;
                        inputs.push(Input::Tried(item, Tried::Later("nobody is there".to_owned())));
                    }
                    Effect::Over(_, _, end) => return (said, tries, end),
                }
            }
        }
    }
    unreachable!("it is over some time")
}

#[test]
fn postage_is_raised_each_half_minute_to_its_ceiling_and_then_it_is_given_up() {
    let mut letters = sent(false);
    let (said, tries, end) = alone(&mut letters);
    assert_eq!(said, [(18, 0), (20, 30_000), (22, 60_000), (24, 90_000), (26, 120_000)]);
    assert_eq!(said.last().map(|(bits, _)| *bits), Some(POSTAGE_BITS_MAX));
    assert_eq!(tries, 71, "the scheduler is asked all the while");
    assert!(matches!(end, End::GivenUp(why) if why.contains("nobody is there")));
    assert_eq!(letters.on_way(), 0);
    let shown = letters.shown();
    assert_eq!((shown.len(), shown[0].until), (1, 120_000 + HELD_MS));
}

#[test]
fn a_slot_or_a_reason_ends_it_and_whoever_insists_goes_on() {
    let refused = || Input::Tried(ITEM, Tried::Refused("closed".to_owned()));
    let mut letters = sent(false);
    let given_up = End::GivenUp("the scheduler refused it: closed".to_owned());
    assert_eq!(run(&mut letters, refused(), 5), [Effect::Over(ITEM, letter(false), given_up)]);
    let mut letters = sent(true);
    assert_eq!(run(&mut letters, refused(), 5), []);
    assert_eq!(letters.shown()[0].why, "closed");
    let slot = run(&mut letters, Input::Tried(ITEM, Tried::Slot(7)), 6);
    assert_eq!(slot, [Effect::Over(ITEM, letter(true), End::Slot(7))]);
    assert_eq!(run(&mut letters, refused(), 7), [], "it is over once");
    // Sent again it is not shown as over any more.
    run(&mut letters, Input::Send(ITEM, letter(false), String::new()), 8);
    assert_eq!(letters.shown().iter().filter(|shown| shown.end.is_some()).count(), 0);
}

#[test]
fn what_nobody_heard_is_said_again_for_the_same_postage() {
    let mut letters = sent(false);
    let mined = run(&mut letters, Input::Tick, 0);
    assert!(matches!(mined[..], [Effect::Mine { bits: 18, .. }]));
    let said = run(&mut letters, Input::Mined { item: ITEM, nonce: Some(5) }, 1);
    let paid = Letter { nonce: Some(5), ..letter(false) };
    assert_eq!(said, [Effect::Keep(ITEM, paid.clone()), Effect::Say(ITEM, paid.clone())]);
    run(&mut letters, Input::Said { item: ITEM, is_heard: false }, 1);
    assert_eq!(run(&mut letters, Input::Tick, UNHEARD_MS), []);
    assert_eq!(run(&mut letters, Input::Tick, UNHEARD_MS + 1), [Effect::Say(ITEM, paid)]);
    run(&mut letters, Input::Said { item: ITEM, is_heard: true }, 6_000);
    // Only from then on it costs more to wait.
    let quiet: Vec<_> = run(&mut letters, Input::Tick, 35_999);
    assert!(matches!(quiet[..], [Effect::Try(..)]), "{quiet:?}");
    let more = run(&mut letters, Input::Tick, 36_000);
    assert!(matches!(more[..], [Effect::Keep(..), Effect::Mine { bits: 20, start: 5, .. }]), "{more:?}");
}

#[test]
fn a_node_that_was_started_again_goes_on_where_it_was() {
    let mut letters = sent(false);
    run(&mut letters, Input::Tick, 0);
    run(&mut letters, Input::Mined { item: ITEM, nonce: Some(5) }, 1);
    let kept = run(&mut letters, Input::Said { item: ITEM, is_heard: true }, 2);
    let [Effect::Keep(item, on_disk)] = &kept[..] else { panic!("{kept:?}") };
    let mut again = Letters::default();
    run(&mut again, Input::Recover(*item, on_disk.clone()), 20_000);
    let begun = run(&mut again, Input::Tick, 20_000);
    assert_eq!(begun, [Effect::Try(ITEM, on_disk.clone()), Effect::Say(ITEM, on_disk.clone())]);
    // That it is said again makes it no younger.
    run(&mut again, Input::Said { item: ITEM, is_heard: true }, 20_001);
    assert!(matches!(
        run(&mut again, Input::Tick, 30_002)[..],
        [Effect::Keep(..), Effect::Mine { bits: 20, .. }]
    ));
    // One that was away for too long tells so.
    let mut late = Letters::default();
    run(&mut late, Input::Recover(*item, on_disk.clone()), 2 + HELD_MS);
    assert!(matches!(run(&mut late, Input::Tick, 2 + HELD_MS)[..], [Effect::Over(_, _, End::GivenUp(_))]));
}

#[test]
fn one_is_worked_for_at_a_time_and_few_are_on_their_way() {
    let mut letters = Letters::default();
    for number in 0..=LETTERS_MAX as u8 {
        let letter = Letter::new(PROCESS, String::new(), false, Now(number.into()));
        run(&mut letters, Input::Send(Id([number; 32]), letter, String::new()), 0);
    }
    assert_eq!(letters.on_way(), LETTERS_MAX);
    assert!(!letters.takes(&Id([99; 32])) && letters.takes(&Id([1; 32])));
    for number in 0..3 {
        let begun = run(&mut letters, Input::Tick, 0);
        assert!(
            matches!(begun[..], [Effect::Mine { item: Id([first, ..]), .. }] if first == number),
            "{begun:?}"
        );
        assert_eq!(run(&mut letters, Input::Tick, 0), []);
        run(&mut letters, Input::Mined { item: Id([number; 32]), nonce: Some(0) }, 0);
    }
}

#[test]
fn what_the_disk_did_not_take_is_not_sent() {
    let mut letters = sent(false);
    assert_eq!(run(&mut letters, Input::Unkept(ITEM), 1), []);
    assert_eq!((letters.on_way(), letters.shown()), (0, Vec::new()));
    assert_eq!(run(&mut letters, Input::Tick, 60_000), []);
}
