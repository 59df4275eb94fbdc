#![allow(clippy::unwrap_used)]

use weft_protocol::{Hash, Position};

use super::*;

const ONE: Id = Id([1; 32]);
const TWO: Id = Id([2; 32]);

fn network() -> Network {
    Network::of_name("weft-testnet")
}

fn source(slot: u64) -> Source {
    Source { process: ONE, position: Position::slot(slot), index: 0 }
}

fn slot(slot: u64, timestamp: u64, carrier: Option<Address>) -> SlotInfo {
    SlotInfo {
        slot,
        epoch: 0,
        assignment: Id([100; 32]),
        item: Id([101; 32]),
        timestamp,
        hash_chain: Hash([1; 32]),
        from: None,
        action: None,
        pushed: carrier.is_some(),
        trust: None,
        carrier: carrier.map(|carrier| carrier.to_string()),
        code: Some(0),
        running: None,
    }
}

/// Who is to carry the push of each of the first ten slots, and who is not.
fn ranked(of: u64) -> [Address; 2] {
    let mut pair = [Address([7; 32]), Address([8; 32])];
    let push = source(of).push_id(network());
    pair.sort_by_key(|carrier| std::cmp::Reverse(rank_score(&push, carrier)));
    pair
}

/// One process has sent at the second 1, 2 and so on; these came to the other, each with who carried it and when.
fn finals(came: &[(u64, Address, u64)]) -> Vec<Final> {
    let known = |name: &str, process, log, came| Final {
        name: name.into(),
        process,
        scheduler: 0,
        logs: [(0, log)].into(),
        computed: Vec::new(),
        sent: Vec::new(),
        came,
    };
    let sent = (0..10).map(|at| slot(at, at * 1_000, None)).collect();
    let taken = came.iter().zip(1..).map(|((_, carrier, at), number)| slot(number, *at, Some(*carrier)));
    let log = std::iter::once(slot(0, 0, None)).chain(taken).collect();
    let came = came.iter().zip(1..).map(|((of, ..), number)| (source(*of), number)).collect();
    vec![known("one", ONE, sent, Vec::new()), known("two", TWO, log, came)]
}

fn told(finals: &[Final]) -> Figures {
    told_with(finals, |_, _, _| false)
}

fn told_with(finals: &[Final], away: impl Fn(&Address, u64, u64) -> bool) -> Figures {
    figures(network(), finals, &[(ONE, vec![Address([7; 32]), Address([8; 32])])], away, &[])
}

#[test]
fn hops_are_those_of_who_was_first_in_rank() {
    let [[a, _], [b, _], [_, late]] = [ranked(1), ranked(2), ranked(3)];
    let figures = told(&finals(&[(1, a, 1_020), (2, b, 2_040), (3, late, 5_500)]));
    assert_eq!((figures["hop-p50-ms"], figures["hop-p99-ms"]), (20.0, 40.0));
    assert_eq!((figures["takeovers"], figures["takeover-p99-ms"]), (1.0, 2_500.0));
    assert_eq!((figures["pushes-evaluated"], figures["reordered"], figures["overtaken"]), (3.0, 0.0, 0.0));
}

#[test]
fn who_was_away_and_all_that_waited_behind_it_are_told_apart() {
    let by = |of: u64| ranked(of)[0];
    // The second was sent while its first was away, which came back and brought it; two waited for it, the last did not.
    let finals = finals(&[
        (1, by(1), 1_020),
        (2, by(2), 4_000),
        (3, by(3), 4_010),
        (4, by(4), 4_040),
        (5, by(5), 5_060),
    ]);
    let away = |carrier: &Address, from: u64, to: u64| *carrier == by(2) && from <= 2_500 && 1_900 <= to;
    let all = told(&finals);
    assert_eq!((all["hop-p50-ms"], all["hop-alive-p50-ms"]), (60.0, 60.0), "nobody was away");
    let figures = told_with(&finals, away);
    assert_eq!((figures["hop-p50-ms"], figures["hop-p99-ms"]), (60.0, 2_000.0));
    assert_eq!((figures["hop-alive-p50-ms"], figures["hop-alive-p99-ms"]), (20.0, 60.0));
}

#[test]
fn a_push_that_is_evaluated_twice_or_never_does_not_count() {
    let [a, _] = ranked(1);
    // Two slots of one push, both of them evaluated: no scheduler and no computer knows it again.
    let twice = finals(&[(1, a, 1_020), (1, a, 1_030), (2, a, 2_020)]);
    assert_eq!(told(&twice)["pushes-evaluated"], 1.0);
    let mut known_again = twice;
    let log = known_again[1].logs.get_mut(&0).unwrap();
    log[2].code = Some(7);
    assert_eq!(told(&known_again)["pushes-evaluated"], 2.0);
    let log = known_again[1].logs.get_mut(&0).unwrap();
    log[1].code = None;
    assert_eq!(told(&known_again)["pushes-evaluated"], 1.0);
}

#[test]
fn the_order_of_one_messenger_is_held_to_and_no_more() {
    let [a, b] = ranked(1);
    let across = told(&finals(&[(1, a, 1_020), (3, b, 3_020), (2, a, 3_030)]));
    assert_eq!((across["reordered"], across["overtaken"]), (0.0, 1.0));
    let within = told(&finals(&[(1, b, 1_020), (3, a, 3_020), (2, a, 3_030), (4, a, 4_020)]));
    assert_eq!((within["reordered"], within["overtaken"]), (1.0, 1.0));
}

#[test]
fn what_rogues_carry_out_of_order_is_not_their_peers() {
    let [a, b] = ranked(1);
    let finals = finals(&[(3, a, 3_020), (2, a, 3_030), (5, b, 5_020), (4, b, 5_030)]);
    let of = |rogues: &[Address]| figures(network(), &finals, &[], |_, _, _| false, rogues)["reordered"];
    assert_eq!((of(&[]), of(&[a]), of(&[a, b])), (2.0, 1.0, 0.0));
}

#[test]
fn a_median_is_read_from_the_buckets_of_all_peers() {
    let of = |quick: u32, all: u32| {
        Metrics::read(&format!(
            "{STAGE_SECONDS}_bucket{{le=\"0.01\",stage=\"slot\"}} {quick}\n\
             {STAGE_SECONDS}_bucket{{le=\"0.02\",stage=\"slot\"}} {all}\n\
             {STAGE_SECONDS}_bucket{{le=\"+Inf\",stage=\"slot\"}} {all}\n"
        ))
    };
    // Ten in all, of which two are below a hundredth: the fifth is three eighths further on.
    let figures = stages(&[of(0, 4), of(2, 6)]);
    assert!((figures["hop-slot-p50-ms"] - 13.75).abs() < 1e-9, "{figures:?}");
    assert_eq!(figures.len(), 1, "of the others nothing is known");
    assert_eq!(median(&[(0.01, 1.0), (f64::INFINITY, 9.0)]), Some(0.01));
    assert_eq!((median(&[]), median(&[(0.01, 0.0)])), (None, None));
}
