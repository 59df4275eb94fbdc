//! Claims from what is owed to what they come to, without a ledger.
#![allow(clippy::unwrap_used, clippy::panic)]

use weft_protocol::Position;

use super::*;

const SOURCE: Id = Id([1; 32]);
const LEDGER: Id = Id([2; 32]);
const KEY: ClaimKey = ClaimKey { source: SOURCE, window: 1, number: 0 };

fn claims() -> Claims {
    Claims::new(Address([3; 32]), 10)
}

fn run(claims: &mut Claims, now: u64, input: Input) -> Vec<Effect> {
    let mut effects = Effects::new();
    claims.handle(input, Now(now), &mut effects);
    effects.drain().collect()
}

fn pushes(amounts: &[u64]) -> Vec<Paid> {
    let paid = |(at, amount): (u64, &u64)| Paid {
        position: Position::slot(256 + at),
        index: 0,
        target: Id([4; 32]),
        target_slot: at,
        accepted: Id([5; 32]),
        amount: *amount,
    };
    (0..).zip(amounts).map(paid).collect()
}

fn owed(amounts: &[u64]) -> Input {
    Input::Owed(Owed { key: KEY, ledger: LEDGER, tries: 0, pushes: pushes(amounts) })
}

fn said(said: Said) -> Input {
    Input::Said { ledger: LEDGER, source: SOURCE, window: 1, said }
}

const OPENED: Said = Said::Opened { due: 8, due_ms: 5_000 };

#[test]
fn a_claim_is_written_down_before_it_is_sent_and_again_until_it_is_answered() {
    let mut claims = claims();
    assert_eq!(run(&mut claims, 0, owed(&[])), []);
    assert_eq!(run(&mut claims, 0, owed(&[4, 5])), [], "it is not worth it");
    let made = run(&mut claims, 0, owed(&[4, 6]));
    let [Effect::Make(KEY, row), Effect::Send(KEY, sent)] = &made[..] else { panic!("{made:?}") };
    assert_eq!((row.sum, row), (10, sent));
    assert_eq!(run(&mut claims, 0, owed(&[4, 6])), [], "one claim of a window at a time");
    assert_eq!(run(&mut claims, ANSWER_MS - 1, Input::Tick), []);
    assert_eq!(run(&mut claims, ANSWER_MS, Input::Tick), [Effect::Send(KEY, row.clone())], "byte for byte");
    let elsewhere = Input::Said { ledger: Id([9; 32]), source: SOURCE, window: 1, said: Said::Lost };
    assert_eq!(run(&mut claims, ANSWER_MS, elsewhere), [], "another process has no say in it");
    let saved = run(&mut claims, ANSWER_MS, said(OPENED));
    assert!(
        matches!(&saved[..], [Effect::Save(KEY, row)] if row.state == ClaimState::Open { due: 8, due_ms: 5_000 })
    );
    assert_eq!(run(&mut claims, ANSWER_MS, said(OPENED)), [], "it is open");

    let paid = run(&mut claims, 9_000, said(Said::Paid));
    let [Effect::End { key: KEY, row: last, pushes }] = &paid[..] else { panic!("{paid:?}") };
    assert_eq!((&last.state, &last.pushes, pushes), (&ClaimState::Paid, &Bytes::new(), &row.pushes));
    assert_eq!(run(&mut claims, 9_000, said(Said::Lost)), [], "it is over");
    assert_eq!(claims.under_way(), 0);
}

#[test]
fn a_restart_goes_on_where_it_stopped() {
    let mut before = claims();
    let made = run(&mut before, 0, owed(&[10]));
    let Effect::Make(_, row) = &made[0] else { panic!("{made:?}") };
    let mut after = claims();
    assert_eq!(run(&mut after, 1, Input::Held(KEY, row.clone())), []);
    assert_eq!(run(&mut after, 1, Input::Tick), [Effect::Send(KEY, row.clone())], "the same message");
    run(&mut after, 1, said(OPENED));
    let challenged = run(&mut after, 2, said(Said::Challenged { leaf: 0, due: 20, due_ms: 9_000 }));
    let Effect::Save(_, row) = &challenged[0] else { panic!("{challenged:?}") };
    // It stops before the answer went out.
    let mut after = claims();
    run(&mut after, 3, Input::Held(KEY, row.clone()));
    let answers = run(&mut after, 3, Input::Tick);
    assert!(
        matches!(&answers[..], [Effect::Answer(KEY, _, challenge)] if challenge.leaf == 0),
        "{answers:?}"
    );
    // What is over is not taken up.
    let over = ClaimRow { state: ClaimState::Lost, ..row.clone() };
    let mut after = claims();
    run(&mut after, 3, Input::Held(KEY, over));
    assert_eq!(after.under_way(), 0);
}

#[test]
fn challenges_are_answered_until_the_ledger_takes_the_answer() {
    let mut claims = claims();
    run(&mut claims, 0, owed(&[10, 10]));
    run(&mut claims, 0, said(OPENED));
    let challenged = run(&mut claims, 100, said(Said::Challenged { leaf: 1, due: 20, due_ms: 90_000 }));
    let [Effect::Save(..), Effect::Answer(KEY, _, first)] = &challenged[..] else { panic!("{challenged:?}") };
    assert_eq!((first.leaf, first.tries), (1, 0));
    assert_eq!(run(&mut claims, 101, Input::Tick), []);
    let again = run(&mut claims, 100 + ANSWER_MS, Input::Tick);
    let [Effect::Answer(_, _, second)] = &again[..] else { panic!("{again:?}") };
    assert_eq!(second.tries, 0, "the same message");
    // An answer that was not right is made anew.
    run(&mut claims, 20_000, said(Said::Unanswered(1)));
    let anew = run(&mut claims, 20_000 + ANSWER_MS, Input::Tick);
    let [Effect::Answer(_, _, third)] = &anew[..] else { panic!("{anew:?}") };
    assert_eq!(third.tries, 1);
    run(&mut claims, 40_000, said(Said::Answered(1)));
    assert_eq!(run(&mut claims, 80_000, Input::Tick), []);
    // Answered once, an error of the copy changes nothing.
    assert_eq!(run(&mut claims, 80_000, said(Said::Unanswered(1))), []);
    let struck = run(&mut claims, 80_000, said(Said::Struck(0, 10)));
    assert!(matches!(&struck[..], [Effect::Save(_, row)] if row.sum == 10), "{struck:?}");
}

#[test]
fn what_is_refused_is_claimed_anew_and_what_is_taken_later() {
    let mut claims = claims();
    run(&mut claims, 0, owed(&[10, 10]));
    let refused = Said::Refused { why: "the bond is too small".into(), taken: Vec::new() };
    let freed = run(&mut claims, 5, said(refused.clone()));
    let [Effect::Free { row, pushes, taken, .. }] = &freed[..] else { panic!("{freed:?}") };
    assert!(taken.is_empty());
    assert_eq!((row.tries, row.next_try_ms, pushes.len()), (1, 5 + REFUSED_MS, 2 * Paid::BYTES));
    assert_eq!(run(&mut claims, 5, said(refused)), [], "nothing is under way");
    run(&mut claims, 6, owed(&[10, 10]));
    let taken = Said::Refused { why: "taken".into(), taken: vec![1] };
    let freed = run(&mut claims, 7, said(taken));
    let [Effect::Free { row, taken, taken_until_ms, .. }] = &freed[..] else { panic!("{freed:?}") };
    assert_eq!((row.next_try_ms, &taken[..], *taken_until_ms), (7, &[1][..], 7 + TAKEN_MS));
}

#[test]
fn a_quiet_ledger_is_helped_on_once_its_time_has_come() {
    let mut claims = claims();
    run(&mut claims, 0, owed(&[10]));
    run(&mut claims, 0, said(OPENED));
    assert_eq!(run(&mut claims, 4_999, Input::Tick), []);
    assert_eq!(run(&mut claims, 5_000, Input::Tick), [Effect::Settle(LEDGER, 0)]);
    assert_eq!(run(&mut claims, 5_000 + SETTLE_MS - 1, Input::Tick), []);
    assert_eq!(run(&mut claims, 5_000 + SETTLE_MS, Input::Tick), [Effect::Settle(LEDGER, 1)]);
    // Ever more slowly, where it does not help.
    let (mut now, mut count) = (10_000, 0);
    for _ in 0..3_600 {
        now += 1_000;
        count += run(&mut claims, now, Input::Tick).len();
    }
    assert!((150..400).contains(&count), "{count}");
    run(&mut claims, now, said(Said::Paid));
    assert_eq!(run(&mut claims, now + 100_000, Input::Tick), []);
}

#[test]
fn claims_under_way_are_bounded() {
    let mut claims = claims();
    for window in 1..=CLAIMS_MAX as u64 + 1 {
        let mut pushes = pushes(&[10]);
        pushes[0].position = Position::slot(256 * window);
        let key = ClaimKey { window, ..KEY };
        run(&mut claims, 0, Input::Owed(Owed { key, ledger: LEDGER, tries: 0, pushes }));
    }
    assert_eq!(claims.under_way(), CLAIMS_MAX);
}
