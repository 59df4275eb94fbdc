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

/// All messages that these effects send are not under way any more.
fn end_of(claims: &mut Claims, now: u64, effects: &[Effect]) -> Vec<Effect> {
    let ended = effects.iter().filter_map(Effect::sending);
    ended.flat_map(|(ledger, sending)| run(claims, now, Input::Ended(ledger, sending))).collect()
}

fn challenged(leaf: u32, due: u64) -> Input {
    said(Said::Challenged { leaf, due, due_ms: 90_000 })
}

fn refused(why: &str, taken: Vec<u32>, paid: Vec<u32>, is_final: bool) -> Said {
    Said::Refused { why: why.to_owned(), taken, paid, is_final }
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
    assert_eq!(run(&mut claims, ANSWER_MS, Input::Tick), [], "it is under way");
    assert_eq!(end_of(&mut claims, 0, &made), []);
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
    let challenged = run(&mut claims, 100, said(Said::Challenged { leaf: 1, due: 20, due_ms: 900_000 }));
    let [Effect::Save(..), Effect::Answer(KEY, _, first)] = &challenged[..] else { panic!("{challenged:?}") };
    assert_eq!((first.leaf, first.tries), (1, 0));
    assert_eq!(run(&mut claims, 101, Input::Tick), []);
    assert_eq!(run(&mut claims, 100 + ANSWER_MS, Input::Tick), [], "it is under way");
    assert_eq!(end_of(&mut claims, 100, &challenged), []);
    let again = run(&mut claims, 100 + ANSWER_MS, Input::Tick);
    let [Effect::Answer(_, _, second)] = &again[..] else { panic!("{again:?}") };
    assert_eq!(second.tries, 0, "the same message");
    end_of(&mut claims, 16_000, &again);
    // An answer that was not right is made anew, ever later.
    let unanswered = || said(Said::Unanswered { leaf: 1, is_final: false });
    run(&mut claims, 20_000, unanswered());
    let anew = run(&mut claims, 20_000 + ANSWER_MS, Input::Tick);
    let [Effect::Answer(_, _, third)] = &anew[..] else { panic!("{anew:?}") };
    assert_eq!(third.tries, 1);
    end_of(&mut claims, 35_000, &anew);
    run(&mut claims, 36_000, unanswered());
    assert_eq!(run(&mut claims, 35_999 + 2 * ANSWER_MS, Input::Tick), []);
    assert_eq!(run(&mut claims, 36_000 + 2 * ANSWER_MS, Input::Tick).len(), 1);
    run(&mut claims, 70_000, said(Said::Answered(1)));
    assert_eq!(run(&mut claims, 80_000, Input::Tick), []);
    // Answered once, an error of the copy changes nothing.
    assert_eq!(run(&mut claims, 80_000, unanswered()), []);
    let struck = run(&mut claims, 80_000, said(Said::Struck(0, 10)));
    assert!(matches!(&struck[..], [Effect::Save(_, row)] if row.sum == 10), "{struck:?}");
}

#[test]
fn what_is_refused_is_claimed_anew_and_what_is_taken_later() {
    let mut claims = claims();
    run(&mut claims, 0, owed(&[10, 10]));
    let low = refused("the bond is too small", Vec::new(), Vec::new(), false);
    let freed = run(&mut claims, 5, said(low.clone()));
    let [Effect::Free { row, pushes, taken, .. }] = &freed[..] else { panic!("{freed:?}") };
    assert!(taken.is_empty());
    assert_eq!((row.tries, row.next_try_ms, pushes.len()), (1, 5 + REFUSED_MS, 2 * Paid::BYTES));
    assert_eq!(run(&mut claims, 5, said(low)), [], "nothing is under way");
    run(&mut claims, 6, owed(&[10, 10]));
    let freed = run(&mut claims, 7, said(refused("taken", vec![0, 1], vec![1], false)));
    let [Effect::Free { row, taken, taken_until_ms, paid, .. }] = &freed[..] else { panic!("{freed:?}") };
    assert_eq!((row.next_try_ms, &taken[..], *taken_until_ms), (7, &[0, 1][..], 7 + TAKEN_MS));
    assert_eq!(paid[..], [1], "which is forgotten");
    // What is never taken is not claimed for ever.
    run(&mut claims, 8, owed(&[10]));
    let over = run(&mut claims, 9, said(refused("the window is closed", Vec::new(), Vec::new(), true)));
    let [Effect::End { row, pushes, .. }] = &over[..] else { panic!("{over:?}") };
    assert!(matches!(row.state, ClaimState::Refused { .. }) && pushes.len() == Paid::BYTES, "{row:?}");
}

#[test]
fn a_quiet_ledger_is_helped_on_once_its_time_has_come() {
    let mut claims = claims();
    run(&mut claims, 0, owed(&[10]));
    run(&mut claims, 0, said(OPENED));
    assert_eq!(run(&mut claims, 4_999, Input::Tick), []);
    // Whoever does not know what the ledger said last may have a challenge to answer.
    run(&mut claims, 5_000, Input::Deaf(BTreeSet::from([LEDGER])));
    assert_eq!(run(&mut claims, 5_000, Input::Tick), []);
    run(&mut claims, 5_000, Input::Deaf(BTreeSet::from([SOURCE])));
    let settled = run(&mut claims, 5_000, Input::Tick);
    assert_eq!(settled, [Effect::Settle(LEDGER, 0)]);
    end_of(&mut claims, 5_000, &settled);
    assert_eq!(run(&mut claims, 5_000 + SETTLE_MS - 1, Input::Tick), []);
    let settled = run(&mut claims, 5_000 + SETTLE_MS, Input::Tick);
    assert_eq!(settled, [Effect::Settle(LEDGER, 1)]);
    end_of(&mut claims, 5_000 + SETTLE_MS, &settled);
    // Ever more slowly, where it does not help.
    let (mut now, mut count) = (10_000, 0);
    for _ in 0..3_600 {
        now += 1_000;
        let settled = run(&mut claims, now, Input::Tick);
        end_of(&mut claims, now, &settled);
        count += settled.len();
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

/// The attack: a leaf is challenged again once its answer was taken. The same message would have the slot of the first, and
/// never be heard.
#[test]
fn a_leaf_that_is_challenged_again_is_answered_by_another_message() {
    use weft_protocol::crypto::Signer;

    use crate::earn::letters::{Ask, Letter};

    let mut claims = claims();
    run(&mut claims, 0, owed(&[10, 10]));
    run(&mut claims, 0, said(OPENED));
    let mut answered = |now: u64, due: u64| {
        let answers = run(&mut claims, now, challenged(0, due));
        let [Effect::Save(..), Effect::Answer(key, row, challenge)] = &answers[..] else {
            panic!("{answers:?}")
        };
        let ask = Ask::Answer { key: *key, leaf: challenge.leaf, due: challenge.due };
        let tries = challenge.tries.into();
        let letter = Letter { ledger: row.ledger, ask, tries, data: b"shown".to_vec() };
        end_of(&mut claims, now, &answers);
        run(&mut claims, now + 1, said(Said::Answered(0)));
        (challenge.tries, letter.sign(&Signer::from_seed(&[1; 32])).unwrap().id())
    };
    let (first, second, third) = (answered(100, 20), answered(200, 21), answered(300, 21));
    assert_eq!([first.0, second.0, third.0], [0, 1, 2]);
    assert!(first.1 != second.1 && second.1 != third.1, "{first:?} {second:?} {third:?}");
}

/// The attack: one who challenges answers himself. The node has no more to say, and says no more.
#[test]
fn an_answer_for_what_is_not_challenged_any_more_is_not_repeated() {
    let mut claims = claims();
    run(&mut claims, 0, owed(&[10]));
    run(&mut claims, 0, said(OPENED));
    let answers = run(&mut claims, 100, challenged(0, 20));
    end_of(&mut claims, 100, &answers);
    run(&mut claims, 200, said(Said::Unanswered { leaf: 0, is_final: true }));
    let later = run(&mut claims, 10_000_000, Input::Tick);
    assert!(!later.iter().any(|effect| matches!(effect, Effect::Answer(..))), "{later:?}");
}

#[test]
fn an_answer_goes_out_again_before_a_short_time_for_it_is_over() {
    let mut claims = claims();
    run(&mut claims, 0, owed(&[10, 10]));
    run(&mut claims, 0, said(OPENED));
    let sent = run(&mut claims, 0, said(Said::Challenged { leaf: 1, due: 20, due_ms: 20_000 }));
    end_of(&mut claims, 1_000, &sent);
    assert_eq!(run(&mut claims, 5_749, Input::Tick), []);
    let again = run(&mut claims, 5_750, Input::Tick);
    assert!(matches!(&again[..], [Effect::Answer(..)]), "{again:?}");
    end_of(&mut claims, 5_750, &again);
    // So does another after one that was not right.
    run(&mut claims, 10_000, said(Said::Unanswered { leaf: 1, is_final: false }));
    assert_eq!(run(&mut claims, 12_499, Input::Tick), []);
    assert_eq!(run(&mut claims, 12_500, Input::Tick).len(), 1);
}

#[test]
fn a_ledger_that_does_not_answer_holds_up_no_other_and_no_answer() {
    let elsewhere = Id([9; 32]);
    let mut claims = claims();
    for window in 1..=40 {
        let mut pushes = pushes(&[10; 2]);
        pushes.iter_mut().for_each(|paid| paid.position.slot += 256 * (window - 1));
        let key = ClaimKey { window, ..KEY };
        run(&mut claims, 0, Input::Owed(Owed { key, ledger: LEDGER, tries: 0, pushes }));
    }
    // Those that found a place never end.
    let at = |window, ledger, said| Input::Said { ledger, source: SOURCE, window, said };
    for window in 1..=40 {
        run(&mut claims, 0, at(window, LEDGER, OPENED));
        for leaf in 0..2 {
            run(&mut claims, 0, at(window, LEDGER, Said::Challenged { leaf, due: 9, due_ms: 9_000 }));
        }
    }
    let late = run(&mut claims, 10 * ANSWER_MS, Input::Tick);
    assert_eq!(late, [], "all places of this ledger are taken");
    // Another ledger's claim, and its challenge.
    let key = ClaimKey { source: Id([8; 32]), ..KEY };
    let made = run(
        &mut claims,
        0,
        Input::Owed(Owed { key, ledger: elsewhere, tries: 0, pushes: pushes(&[10; 20]) }),
    );
    assert!(matches!(&made[..], [Effect::Make(..), Effect::Send(..)]), "{made:?}");
    let at = |said| Input::Said { ledger: elsewhere, source: key.source, window: 1, said };
    run(&mut claims, 0, at(OPENED));
    let mut answers = Vec::new();
    for leaf in 0..20 {
        answers.extend(run(&mut claims, 0, at(Said::Challenged { leaf, due: 9, due_ms: 9_000 })));
    }
    answers.retain(|effect| matches!(effect, Effect::Answer(..)));
    assert_eq!(answers.len(), ANSWERS_EACH);
    // Each that ends makes room for the next at once.
    assert_eq!(end_of(&mut claims, 1, &answers[..3]).len(), 3);
}

#[test]
fn no_slots_are_let_pass_while_a_challenge_can_be_answered() {
    let mut claims = claims();
    run(&mut claims, 0, owed(&[10]));
    run(&mut claims, 0, said(OPENED));
    let answers = run(&mut claims, 0, said(Said::Challenged { leaf: 0, due: 20, due_ms: 5_000 }));
    end_of(&mut claims, 0, &answers);
    let mut settles = |from: u64, to: u64| {
        let effects = (from..to).step_by(10_000).flat_map(|now| {
            let effects = run(&mut claims, now, Input::Tick);
            end_of(&mut claims, now, &effects);
            effects
        });
        effects.filter(|effect| matches!(effect, Effect::Settle(..))).count()
    };
    assert_eq!(settles(10_000, 10_000 + UNANSWERED_MS), 0, "they are the time that is left");
    assert!(
        settles(10_000 + UNANSWERED_MS, 20_000 + UNANSWERED_MS) > 0,
        "what cannot be answered holds up no pay"
    );
}

#[test]
fn what_would_not_be_claimed_is_known_before_it_is_judged() {
    let mut claims = claims();
    assert!(!claims.wants(&KEY, 9) && claims.wants(&KEY, 10));
    run(&mut claims, 0, owed(&[10]));
    assert!(!claims.wants(&KEY, 10), "one claim of a window at a time");
    assert!(claims.wants(&ClaimKey { window: 2, ..KEY }, 10));
}

/// The attack: one that says that it is a ledger challenges what is not claimed, and the same thing again and again.
#[test]
fn what_is_not_claimed_is_not_challenged() {
    let mut claims = claims();
    run(&mut claims, 0, owed(&[10, 10]));
    run(&mut claims, 0, said(OPENED));
    for leaf in [2, 4_095, u32::MAX] {
        assert_eq!(run(&mut claims, 1, challenged(leaf, 20)), []);
    }
    assert!(matches!(&run(&mut claims, 1, challenged(1, 20))[..], [Effect::Save(..), Effect::Answer(..)]));
    for due in 21..1_000 {
        let saved = run(&mut claims, 1, challenged(1, due));
        let [Effect::Save(_, row)] = &saved[..] else { panic!("{saved:?}") };
        assert_eq!(row.challenges.len(), 1);
    }
    // A restart knows as well what it claimed.
    let mut before = self::claims();
    let made = run(&mut before, 0, owed(&[10]));
    let Effect::Make(_, row) = &made[0] else { panic!("{made:?}") };
    let mut after = self::claims();
    run(&mut after, 1, Input::Held(KEY, row.clone()));
    assert_eq!(run(&mut after, 1, challenged(1, 20)), []);
    assert!(!run(&mut after, 1, challenged(0, 20)).is_empty());
}
