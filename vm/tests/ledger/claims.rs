//! Claims from the first word to the pay, and everything that earns nothing.

use super::guest::ledger::Send;
use super::guest::ledger::limits::{CHALLENGE_DEPOSIT, REMEMBERED_MAX, STAKE_MIN, WINDOW_WEIGHT};
use super::world::{CLOSES, ONE, OWNER, PERIOD, SECOND_MS, World, has, name, value};

const SOURCE: u8 = 50;
const MESSENGER: u8 = 10;
const OTHER: u8 = 11;
const CHALLENGER: u8 = 20;
const BOND: u128 = 8 * ONE;

/// A market: an escrow of 100 tokens, a messenger with a bond of 8, a challenger with one.
fn market() -> World {
    let mut world = World::funded();
    world.fund(1, 100 * ONE);
    world.ask(1, "Escrow", &[("Source", &name(SOURCE)), ("Quantity", &(100 * ONE).to_string())]).unwrap();
    bonded(&mut world, MESSENGER);
    world.fund(CHALLENGER, ONE);
    world
}

fn bonded(world: &mut World, messenger: u8) {
    world.fund(messenger, BOND);
    world.ask(messenger, "Bond", &[("Quantity", &BOND.to_string())]).unwrap();
}

fn claim(world: &mut World, messenger: u8, window: &str, data: &str) -> Result<Vec<Send>, String> {
    world.tell(messenger, "Claim", &[("Source", &name(SOURCE)), ("Window", window)], data)
}

fn about(
    world: &mut World,
    from: u8,
    action: &str,
    window: &str,
    leaf: &str,
    data: &str,
) -> Result<Vec<Send>, String> {
    let (messenger, source) = (name(MESSENGER), name(SOURCE));
    let tags = [("Messenger", &*messenger), ("Source", &*source), ("Window", window), ("Leaf", leaf)];
    world.tell(from, action, &tags, data)
}

/// The answer to what is refused of a leaf in window 1.
fn refusal(world: &mut World, from: u8, action: &str, leaf: &str, data: &str) -> Send {
    let (messenger, source) = (name(MESSENGER), name(SOURCE));
    let tags = [("Messenger", &*messenger), ("Source", &*source), ("Window", "1"), ("Leaf", leaf)];
    let sends = world.send(&name(from), action, &tags, data);
    let refused = sends.into_iter().next_back().unwrap();
    assert_eq!(value(&refused, "Action"), format!("{action}-Error"));
    refused
}

/// What the messenger has in all.
fn wealth(world: &mut World) -> u128 {
    world.balance(MESSENGER) + world.bond(MESSENGER)
}

#[test]
fn a_claim_that_nobody_challenges_is_paid_in_time() {
    let mut world = market();
    let sum = (2 * ONE).to_string();
    let sends = claim(&mut world, MESSENGER, "1", &format!("3 {sum}")).unwrap();
    let due: u64 = value(&sends[0], "Due").parse().unwrap();
    assert_eq!(due, world.slot + PERIOD);
    assert_eq!(world.ledger.sums().claims, 2 * ONE);
    world.skip(due - 2 - world.slot);
    assert_eq!(world.balance(MESSENGER), 0);
    let sends = world.pass(1);
    assert!(has(&sends, "Claim-Notice", MESSENGER));
    assert_eq!(wealth(&mut world), BOND + 2 * ONE);
    assert_eq!(world.ledger.sums().escrows, 98 * ONE);
}

#[test]
fn a_push_is_paid_once_and_a_window_as_often_as_there_is_something() {
    let mut world = market();
    claim(&mut world, MESSENGER, "3", "3 900 at=0").unwrap();
    assert!(claim(&mut world, MESSENGER, "3", "1 500 at=7").unwrap_err().contains("of this window is open"));
    // Another window while the first waits, in any order, and of the same places.
    claim(&mut world, MESSENGER, "2", "1 500 at=0").unwrap();
    world.pass(PERIOD);
    for (window, data) in [("3", "3 900 at=0"), ("3", "2 10 at=2"), ("3", "1 10 at=1"), ("2", "1 500 at=0")] {
        let error = claim(&mut world, MESSENGER, window, data).unwrap_err();
        assert!(error.contains("claimed by another or paid"), "{error}");
    }
    // What was late is claimed by itself.
    claim(&mut world, MESSENGER, "3", "2 50 at=3").unwrap();
    world.pass(PERIOD);
    assert_eq!(wealth(&mut world), BOND + 1_450);
    assert!(claim(&mut world, MESSENGER, "0", "1 5").unwrap_err().contains("up to 0 "), "no offers");
    claim(&mut world, MESSENGER, &u64::MAX.to_string(), "1 500").unwrap();
    world.pass(CLOSES);
    let error = claim(&mut world, MESSENGER, "7", "1 5").unwrap_err();
    assert!(error.contains(&format!("up to {} ", u64::MAX - 1)), "{error}");
    claim(&mut world, MESSENGER, &u64::MAX.to_string(), "1 500 at=1").unwrap();
}

/// The attack: whoever has the target's scheduler on his side has a receipt of his own for what another
/// carried, or another child of the same spawn. The source pays one of them.
#[test]
fn two_messengers_are_not_paid_for_one_push() {
    let mut world = market();
    bonded(&mut world, OTHER);
    claim(&mut world, MESSENGER, "1", "4 400 at=10").unwrap();
    let tags = [("Source", &*name(SOURCE)), ("Window", "1")];
    let sends = world.send(&name(OTHER), "Claim", &tags, "5 500 at=8");
    let refused = sends.last().unwrap();
    assert_eq!((value(refused, "Taken"), value(refused, "Window")), ("2,3,4", "1"));
    assert_eq!((value(refused, "Paid"), value(refused, "Final")), ("", ""), "the claim may be lost");
    // He leaves them out, and has the others.
    claim(&mut world, OTHER, "1", "2 200 at=8").unwrap();
    world.pass(PERIOD);
    assert_eq!(world.balance(OTHER), 200);
    let tags = [("Source", &*name(SOURCE)), ("Window", "1")];
    let sends = world.send(&name(OTHER), "Claim", &tags, "2 200 at=13");
    let refused = sends.last().unwrap();
    assert_eq!((value(refused, "Taken"), value(refused, "Paid")), ("0", "0"), "what was paid stays paid");
    assert_eq!(wealth(&mut world), BOND + 400);
    // A claim that is lost holds nothing back.
    claim(&mut world, MESSENGER, "2", "4 400 at=10 false").unwrap();
    assert!(claim(&mut world, OTHER, "2", "2 200 at=11").is_err());
    about(&mut world, CHALLENGER, "Challenge", "2", "3", "").unwrap();
    world.pass(PERIOD);
    claim(&mut world, OTHER, "2", "2 200 at=11").unwrap();
    world.pass(PERIOD);
    assert_eq!(world.balance(OTHER), 400);
}

#[test]
fn a_challenge_that_is_answered_pays_the_claimant() {
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "3 500").unwrap();
    let sends = about(&mut world, CHALLENGER, "Challenge", "1", "2", " ").unwrap();
    assert!(has(&sends, "Challenge-Notice", MESSENGER));
    assert!(
        about(&mut world, CHALLENGER, "Challenge", "1", "2", "").unwrap_err().contains("challenged already")
    );
    assert!(about(&mut world, CHALLENGER, "Challenge", "1", "3", "").unwrap_err().contains("3 leaves"));
    assert!(
        about(&mut world, CHALLENGER, "Answer", "1", "1", "the logs").unwrap_err().contains("no challenge")
    );
    // A stranger's wrong answer does the claim no harm, and his right one is as good as any.
    assert!(about(&mut world, 77, "Answer", "1", "2", "rubbish").unwrap_err().contains("the answer"));
    about(&mut world, 77, "Answer", "1", "2", "the logs").unwrap();
    assert!(about(&mut world, 77, "Answer", "1", "2", "the logs").is_err());
    world.pass(2 * PERIOD);
    assert_eq!(wealth(&mut world), BOND + 500 + CHALLENGE_DEPOSIT);
    assert_eq!(world.balance(CHALLENGER), ONE - CHALLENGE_DEPOSIT);
}

/// The attack: a leaf that was answered for is challenged again and again, until an answer is missed.
#[test]
fn a_leaf_that_was_answered_for_is_owed_and_the_claimant_hears_who_answered() {
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "3 500").unwrap();
    about(&mut world, CHALLENGER, "Challenge", "1", "2", "").unwrap();
    let sends = about(&mut world, 77, "Answer", "1", "2", "the logs").unwrap();
    assert!(has(&sends, "Answer-Notice", MESSENGER), "or the claimant goes on answering");
    let refused = refusal(&mut world, MESSENGER, "Answer", "2", "the logs");
    assert_eq!((value(&refused, "Final"), value(&refused, "Leaf")), ("true", "2"));
    // The leaf that was answered for is owed: nobody takes the bond by having it shown for ever.
    let refused = refusal(&mut world, CHALLENGER, "Challenge", "2", "");
    assert!(refused.data.contains("answered for already"), "{}", refused.data);
    assert_eq!(value(&refused, "Final"), "true");
    // Another leaf can be challenged, and an answer of the claimant is told to nobody else.
    about(&mut world, CHALLENGER, "Challenge", "1", "1", "").unwrap();
    let sends = about(&mut world, MESSENGER, "Answer", "1", "1", "the logs").unwrap();
    assert!(!has(&sends, "Answer-Notice", MESSENGER));
    world.pass(2 * PERIOD);
    assert_eq!(wealth(&mut world), BOND + 500 + 2 * CHALLENGE_DEPOSIT);
    assert_eq!(world.balance(CHALLENGER), ONE - 2 * CHALLENGE_DEPOSIT);
}

#[test]
fn a_forged_claim_and_a_withheld_answer_lose_everything() {
    for (data, answer) in [("3 500 false", "the logs"), ("3 500", "")] {
        let mut world = market();
        claim(&mut world, MESSENGER, "1", data).unwrap();
        about(&mut world, CHALLENGER, "Challenge", "1", "0", "").unwrap();
        assert!(about(&mut world, MESSENGER, "Answer", "1", "0", answer).is_err());
        let sends = world.pass(PERIOD);
        assert!(
            has(&sends, "Claim-Lost-Notice", MESSENGER) && has(&sends, "Challenge-Won-Notice", CHALLENGER)
        );
        assert_eq!(wealth(&mut world), 0);
        assert_eq!(world.balance(CHALLENGER), ONE + BOND / 2);
        assert_eq!(world.ledger.sums().escrows, 100 * ONE + BOND / 2);
        assert_eq!(world.ledger.sums().claims, 0);
        // It is as if it had not been, and takes another stake.
        assert!(claim(&mut world, MESSENGER, "1", "1 500").unwrap_err().contains("of the bond"));
    }
}

/// The attack: a target's scheduler that takes a push twice can have the second carrier refuted, who did not know. He
/// is not paid for that push, as if it had been refused, and loses nothing else.
#[test]
fn an_earlier_slot_strikes_one_leaf_and_no_more() {
    let mut world = market();
    bonded(&mut world, OTHER);
    claim(&mut world, MESSENGER, "1", "3 600 at=10").unwrap();
    assert!(about(&mut world, CHALLENGER, "Challenge", "1", "1", "rubbish").unwrap_err().contains("shown"));
    // Whoever put a deposit down for that leaf has it back.
    about(&mut world, CHALLENGER, "Challenge", "1", "1", "").unwrap();
    let before = world.ledger.sums();
    let sends = about(&mut world, OTHER, "Challenge", "1", "1", "an earlier slot").unwrap();
    assert!(has(&sends, "Leaf-Struck-Notice", MESSENGER));
    assert_eq!(value(&sends[0], "Quantity"), "200");
    let after = world.ledger.sums();
    assert_eq!((after.escrows, after.bonds), (before.escrows + 200, before.bonds));
    assert_eq!((after.claims, after.deposits, world.balance(CHALLENGER)), (400, 0, ONE));
    for data in ["", "an earlier slot"] {
        assert!(
            about(&mut world, OTHER, "Challenge", "1", "1", data).unwrap_err().contains("refuted already")
        );
    }
    // Who was first claims it now, and nobody claims the rest.
    assert!(claim(&mut world, OTHER, "1", "2 200 at=11").is_err());
    claim(&mut world, OTHER, "1", "1 200 at=11").unwrap();
    world.pass(2 * PERIOD);
    assert_eq!((wealth(&mut world), world.balance(OTHER)), (BOND + 400, 200));
    // All of them: there is nothing to pay, and still nothing lost.
    claim(&mut world, MESSENGER, "2", "2 10 at=0").unwrap();
    for leaf in ["0", "1"] {
        about(&mut world, OTHER, "Challenge", "2", leaf, "an earlier slot").unwrap();
    }
    world.pass(PERIOD);
    assert_eq!(wealth(&mut world), BOND + 400);
}

#[test]
fn late_challenges_and_late_answers_are_refused() {
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "3 500").unwrap();
    world.skip(PERIOD - 2);
    about(&mut world, CHALLENGER, "Challenge", "1", "0", "").unwrap();
    // The claim waits for the answer, and can be challenged no more meanwhile.
    assert!(about(&mut world, CHALLENGER, "Challenge", "1", "1", "").unwrap_err().contains("before slot"));
    world.skip(PERIOD - 3);
    assert!(world.balance(MESSENGER) == 0);
    assert!(
        about(&mut world, MESSENGER, "Answer", "1", "0", "the logs").unwrap_err().contains("no such claim")
    );
    assert_eq!(world.bond(MESSENGER), 0);
    // In the last slot before it, it would have been in time.
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "3 500").unwrap();
    about(&mut world, CHALLENGER, "Challenge", "1", "0", "").unwrap();
    world.skip(PERIOD - 2);
    about(&mut world, MESSENGER, "Answer", "1", "0", "the logs").unwrap();
    world.pass(PERIOD);
    assert_eq!(wealth(&mut world), BOND + 500 + CHALLENGE_DEPOSIT);
}

#[test]
fn squatters_and_the_penniless_claim_nothing() {
    let mut world = market();
    let tags =
        |source: &str| vec![("Source".to_owned(), source.to_owned()), ("Window".to_owned(), "1".to_owned())];
    let mut tell = |from: u8, source: u8, data: &str| {
        let tags = tags(&name(source));
        let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        world.tell(from, "Claim", &tags, data).unwrap_err()
    };
    assert!(tell(33, SOURCE, "1 500").contains("of the bond are free"), "without a bond");
    assert!(tell(MESSENGER, 51, "1 500").contains("no escrow"));
    assert!(tell(MESSENGER, SOURCE, &format!("1 {}", BOND + 1)).contains("of the bond are free"));
    assert!(tell(MESSENGER, SOURCE, &format!("1 {}", 100 * ONE)).contains("to give"));
    assert!(tell(MESSENGER, SOURCE, "1 0").contains("nothing"));
    assert!(tell(MESSENGER, SOURCE, "rubbish").contains("the claim"));
    assert!(tell(MESSENGER, SOURCE, "1 500 unproven").contains("not shown"));
    // Who bonds for a claim cannot have the bond back before it is settled.
    claim(&mut world, MESSENGER, "1", &format!("1 {BOND}")).unwrap();
    assert!(
        world.ask(MESSENGER, "Unbond", &[("Quantity", "1")]).unwrap_err().contains("0 of the bond are free")
    );
    assert!(claim(&mut world, MESSENGER, "2", "1 5").unwrap_err().contains("0 of the bond are free"));
    let mut alone = World::of(&[]);
    assert!(claim(&mut alone, MESSENGER, "1", "1 5").unwrap_err().contains("`Network`"));
    // A challenge takes a deposit.
    assert!(about(&mut world, 34, "Challenge", "1", "0", "").unwrap_err().contains("balance is 0"));
}

/// Who challenges himself loses half of his bond to the escrow and gains nothing of it.
#[test]
fn challenging_oneself_costs() {
    let mut world = market();
    claim(&mut world, MESSENGER, "1", &format!("3 {BOND} false")).unwrap();
    about(&mut world, CHALLENGER, "Challenge", "1", "0", "").unwrap();
    world.pass(PERIOD);
    let both = wealth(&mut world) + world.balance(CHALLENGER);
    assert_eq!(both, ONE + BOND / 2);
}

#[test]
fn a_bond_that_is_leaving_can_still_be_lost() {
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "1 500 false").unwrap();
    world.ask(MESSENGER, "Unbond", &[("Quantity", &(BOND - STAKE_MIN).to_string())]).unwrap();
    about(&mut world, CHALLENGER, "Challenge", "1", "0", "").unwrap();
    world.pass(4 * PERIOD);
    assert_eq!((wealth(&mut world), world.ledger.sums().bonds), (0, 0));
    assert_eq!(world.balance(CHALLENGER), ONE + BOND / 2);
}

#[test]
fn claims_go_before_a_release_and_something_stays_where_something_was_paid() {
    let mut world = market();
    let source = name(SOURCE);
    world.ask(SOURCE, "Release", &[("Source", &source)]).unwrap();
    claim(&mut world, MESSENGER, "1", &format!("1 {}", 3 * ONE)).unwrap();
    let before = world.time;
    world.pass(3 * PERIOD);
    assert_eq!(wealth(&mut world), BOND + 3 * ONE);
    assert_eq!(world.balance(SOURCE), 97 * ONE);
    assert_eq!(world.ledger.sums().escrows, 0);
    // With the escrow went what it remembers. A new one pays for what begins after it, and so nothing twice.
    world.fund(1, ONE);
    world.ask(1, "Escrow", &[("Source", &source), ("Quantity", &ONE.to_string())]).unwrap();
    let old = format!("1 5 began={before}");
    assert!(claim(&mut world, MESSENGER, "1", &old).unwrap_err().contains("pays for later ones"));
    claim(&mut world, MESSENGER, "2", "1 5").unwrap();
}

/// The attack: a window that has not come is claimed, so that those before it are forgotten. A claim shows a push of its
/// window, and windows close by the time that all had for them.
#[test]
fn windows_close_four_periods_after_a_later_one_was_claimed_and_not_before() {
    let mut world = market();
    bonded(&mut world, OTHER);
    let soon = format!("1 5 began={}", world.time + 60_000);
    assert!(claim(&mut world, OTHER, "9", "1 5 unproven").unwrap_err().contains("not shown"));
    assert!(claim(&mut world, OTHER, "9", &soon).unwrap_err().contains("it is "));
    claim(&mut world, OTHER, "3", "1 5").unwrap();
    // However long a window goes on: none after it is there.
    world.pass(10 * CLOSES);
    claim(&mut world, MESSENGER, "3", "1 500").unwrap();
    let sends =
        world.send(&name(MESSENGER), "Claim", &[("Source", &*name(SOURCE)), ("Window", "2")], "1 500");
    let refused = sends.last().unwrap();
    assert!(refused.data.contains("up to 2 "), "{}", refused.data);
    assert_eq!(value(refused, "Final"), "true", "it is never paid");
    claim(&mut world, OTHER, "4", "1 5").unwrap();
    world.pass(CLOSES - 2);
    claim(&mut world, MESSENGER, "3", "1 500 at=3").unwrap();
    // The claims that are open are paid all the same.
    let error = claim(&mut world, OTHER, "3", "1 500 at=4").unwrap_err();
    assert!(error.contains("up to 3 "), "{error}");
    world.pass(PERIOD);
    assert_eq!(wealth(&mut world), BOND + 1_000);
    // Nothing of a window stays behind that is closed.
    world.pass(CLOSES);
    let sends = world.ask(5, "Audit", &[]).unwrap();
    let audit: serde_json::Value = serde_json::from_str(&sends[0].data).unwrap();
    assert_eq!((&audit["due"], &audit["remembered"]), (&serde_json::json!(0), &serde_json::json!(17)));
}

/// The attack: thousands of messages make a challenge period short. It lasts in time as well; and in slots, or a ledger
/// that stood still would end it before anybody is heard.
#[test]
fn a_period_is_over_in_slots_and_in_time() {
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "3 500 false").unwrap();
    world.ask(CHALLENGER, "Transfer", &[("Recipient", &name(5)), ("Quantity", "5")]).unwrap();
    world.pace = 1;
    world.pass(1_000);
    let late = about(&mut world, CHALLENGER, "Challenge", "1", "0", "");
    assert!(late.is_ok(), "{late:?}");
    // An answer may still come: the flood took no time.
    world.pass(1_000);
    assert_eq!(world.ledger.sums().claims, 500);
    world.pace = SECOND_MS;
    world.pass(PERIOD);
    assert_eq!(world.ledger.sums().claims, 0);
    // Time alone.
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "3 500 false").unwrap();
    world.pace = 3_600_000;
    for _ in 1..PERIOD - 1 {
        world.pass(1);
    }
    about(&mut world, CHALLENGER, "Challenge", "1", "0", "").unwrap();
    // A ledger's clock never goes back, whatever its scheduler writes.
    world.time = 0;
    world.pace = 0;
    world.pass(PERIOD);
    assert_eq!((world.balance(CHALLENGER), world.bond(MESSENGER)), (ONE - CHALLENGE_DEPOSIT, BOND));
}

/// What is remembered is bounded: who has most of it has his oldest windows closed, and nobody else any.
#[test]
fn when_no_more_can_be_remembered_the_source_with_most_gives_way() {
    let mut world = market();
    world.fund(1, 2_000 * ONE);
    let flood = name(51);
    world.ask(1, "Escrow", &[("Source", &flood), ("Quantity", &ONE.to_string())]).unwrap();
    world.ask(1, "Bond", &[("Quantity", &(500 * ONE).to_string())]).unwrap();
    claim(&mut world, MESSENGER, "1", "7 500").unwrap();
    let each = 1 << 14;
    let fits = REMEMBERED_MAX / (each + WINDOW_WEIGHT);
    for window in 1..=fits {
        let tags = [("Source", &*flood), ("Window", &*window.to_string())];
        assert_eq!(world.quiet(&name(1), "Claim", &tags, &format!("{each} 5")), "");
        // Nothing closes by time.
        world.pace = 0;
        world.time += if window % 100 == 0 { 8 * SECOND_MS } else { 0 };
    }
    let rooms = |world: &mut World, of: &str| {
        let sends = world.ask(5, "Escrow-Of", &[("Source", of)]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&sends.last().unwrap().data).unwrap();
        (json["floor"].as_u64().unwrap(), json["windows"].as_object().unwrap().len())
    };
    world.time += 8 * SECOND_MS;
    assert_eq!(rooms(&mut world, &flood), (0, fits));
    claim(&mut world, MESSENGER, "2", &format!("{each} 500 at=20000")).unwrap();
    assert_eq!(rooms(&mut world, &flood), (1, fits - 1));
    assert_eq!(rooms(&mut world, &name(SOURCE)), (0, 2));
    // The flood's own claims push its own windows out.
    let tags = [("Source", &*flood), ("Window", &*(fits + 1).to_string())];
    assert_eq!(world.quiet(&name(1), "Claim", &tags, &format!("{each} 5")), "");
    assert_eq!(rooms(&mut world, &flood).0, 2);
    let tags = [("Source", &*flood), ("Window", "2")];
    assert!(world.quiet(&name(1), "Claim", &tags, "1 5 at=70000").contains("up to 2 "));
}

/// Many claims at once: open ones are bounded by the slots that they are open, and what is due
/// together is done over a few messages.
#[test]
fn a_flood_of_claims_is_settled_over_a_few_messages() {
    let mut world = market();
    let sources: Vec<String> = (0..100_u8).map(|at| name(at + 100)).collect();
    world.fund(1, 1_000 * ONE);
    for source in &sources {
        world.ask(1, "Escrow", &[("Source", source), ("Quantity", &ONE.to_string())]).unwrap();
    }
    world.fund(MESSENGER, 100 * ONE);
    world.ask(MESSENGER, "Bond", &[("Quantity", &(100 * ONE).to_string())]).unwrap();
    (world.terms.challenge_slots, world.terms.challenge_ms) = (200, 200 * SECOND_MS);
    for source in &sources {
        world.tell(MESSENGER, "Claim", &[("Source", source), ("Window", "1")], "1 500").unwrap();
    }
    let sends = world.pass(1_000);
    assert_eq!(sends.iter().filter(|send| value(send, "Action") == "Claim-Notice").count(), 64);
    assert_eq!(world.pass(1).len(), 37, "the rest, and the answer");
    assert_eq!(world.balance(MESSENGER), 100 * 500);
}

#[test]
fn what_is_open_can_be_read() {
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "3 500").unwrap();
    about(&mut world, CHALLENGER, "Challenge", "1", "2", "").unwrap();
    let sends = about(&mut world, 5, "Claim-Of", "1", "0", "").unwrap();
    let claim: serde_json::Value = serde_json::from_str(&sends[0].data).unwrap();
    assert_eq!((&claim["leaves"], &claim["sum"]), (&serde_json::json!(3), &serde_json::json!("500")));
    let challenge = &claim["challenges"]["2"];
    assert_eq!(challenge["due"], world.slot - 1 + PERIOD);
    assert_eq!(challenge["dueTime"], world.time - SECOND_MS + 8 * SECOND_MS);
    assert_eq!(challenge["by"], name(CHALLENGER));
    for tags in [
        vec![],
        vec![("Source", name(SOURCE))],
        vec![("From-Source", name(SOURCE))],
        vec![("Messenger", name(MESSENGER))],
    ] {
        let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (*name, &**value)).collect();
        let sends = world.ask(5, "Claims", &tags).unwrap();
        let claims: serde_json::Value = serde_json::from_str(&sends[0].data).unwrap();
        assert_eq!(claims, serde_json::json!([claim]));
    }
    let sends = world.ask(5, "Claims", &[("Messenger", &name(OTHER))]).unwrap();
    assert_eq!(sends[0].data, "[]");
    let sends = world.ask(5, "Audit", &[]).unwrap();
    let audit: serde_json::Value = serde_json::from_str(&sends[0].data).unwrap();
    assert_eq!(
        (&audit["conserves"], &audit["claims"]),
        (&serde_json::json!(true), &serde_json::json!("500"))
    );
    assert_eq!(audit["deposits"], CHALLENGE_DEPOSIT.to_string());
    let sends = world.ask(OWNER, "Info", &[]).unwrap();
    let info = sends.last().unwrap();
    let shown = ["Ticker", "Challenge-Slots", "Challenge-Seconds"].map(|name| value(info, name));
    assert_eq!(shown, ["T", "8", "8"]);
}
