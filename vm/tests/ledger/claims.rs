//! Claims from the first word to the pay, and everything that earns nothing.

use super::guest::ledger::Send;
use super::guest::ledger::limits::{CHALLENGE_DEPOSIT, ESCROW_MIN, PAID_MESSENGERS_MAX, STAKE_MIN};
use super::world::{ONE, OWNER, PERIOD, World, has, name, value};

const SOURCE: u8 = 50;
const MESSENGER: u8 = 10;
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
    world.slot = due - 2;
    assert_eq!(world.balance(MESSENGER), 0);
    let sends = world.pass(1);
    assert!(has(&sends, "Claim-Notice", MESSENGER));
    assert_eq!(wealth(&mut world), BOND + 2 * ONE);
    assert_eq!(world.ledger.sums().escrows, 98 * ONE);
}

#[test]
fn a_window_is_paid_once() {
    let mut world = market();
    claim(&mut world, MESSENGER, "3", "1 500").unwrap();
    assert!(claim(&mut world, MESSENGER, "3", "1 500").unwrap_err().contains("claimed already"));
    // Another window while the first waits, in any order.
    claim(&mut world, MESSENGER, "2", "1 500").unwrap();
    world.pass(PERIOD);
    for window in ["0", "1", "2", "3"] {
        let error = claim(&mut world, MESSENGER, window, "1 500").unwrap_err();
        assert!(error.contains("up to 3 "), "{error}");
    }
    claim(&mut world, MESSENGER, "4", "1 500").unwrap();
    assert_eq!(wealth(&mut world), BOND + 1_000);
    let huge = u64::MAX.to_string();
    claim(&mut world, MESSENGER, &huge, "1 500").unwrap();
    world.pass(PERIOD);
    assert!(claim(&mut world, MESSENGER, &huge, "1 500").is_err(), "nothing is beyond the last window");
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

#[test]
fn what_an_earlier_slot_shows_ends_a_claim_at_once() {
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "3 500").unwrap();
    assert!(
        about(&mut world, CHALLENGER, "Challenge", "1", "0", "an earlier slot")
            .unwrap_err()
            .contains("shown")
    );
    claim(&mut world, MESSENGER, "2", "3 500 false").unwrap();
    // Whoever put a deposit down before has it back.
    world.fund(21, ONE);
    about(&mut world, 21, "Challenge", "2", "1", "").unwrap();
    about(&mut world, CHALLENGER, "Challenge", "2", "0", "an earlier slot").unwrap();
    assert_eq!(world.balance(21), ONE);
    // All of the bond but the stake of the other claim, which is paid as if nothing had been.
    let taken = BOND - STAKE_MIN;
    assert_eq!(world.balance(CHALLENGER), ONE + taken / 2);
    world.pass(2 * PERIOD);
    assert_eq!(wealth(&mut world), STAKE_MIN + 500);
}

#[test]
fn late_challenges_and_late_answers_are_refused() {
    let mut world = market();
    let opened = {
        claim(&mut world, MESSENGER, "1", "3 500").unwrap();
        world.slot
    };
    world.slot = opened + PERIOD - 2;
    about(&mut world, CHALLENGER, "Challenge", "1", "0", "").unwrap();
    let challenged = world.slot;
    // The claim waits for the answer, and can be challenged no more meanwhile.
    assert!(about(&mut world, CHALLENGER, "Challenge", "1", "1", "").unwrap_err().contains("before slot"));
    world.slot = challenged + PERIOD - 2;
    assert!(world.balance(MESSENGER) == 0);
    assert!(
        about(&mut world, MESSENGER, "Answer", "1", "0", "the logs").unwrap_err().contains("no such claim")
    );
    assert_eq!(world.bond(MESSENGER), 0);
    // In the last slot before it, it would have been in time.
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "3 500").unwrap();
    about(&mut world, CHALLENGER, "Challenge", "1", "0", "").unwrap();
    world.slot += PERIOD - 2;
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
    world.pass(3 * PERIOD);
    assert_eq!(wealth(&mut world), BOND + 3 * ONE);
    assert_eq!(world.balance(SOURCE), 97 * ONE - ESCROW_MIN);
    assert_eq!(world.ledger.sums().escrows, ESCROW_MIN);
    // What was paid is remembered, so that a new escrow does not pay it again.
    world.fund(1, ONE);
    world.ask(1, "Escrow", &[("Source", &source), ("Quantity", &ONE.to_string())]).unwrap();
    assert!(claim(&mut world, MESSENGER, "1", "1 5").unwrap_err().contains("up to 1 "));
}

/// Messengers of old are forgotten, with their windows: nobody is paid twice for it.
#[test]
fn a_flood_of_messengers_moves_the_floor_and_pays_nobody_twice() {
    let mut world = market();
    claim(&mut world, MESSENGER, "1", "1 500").unwrap();
    for at in 0..PAID_MESSENGERS_MAX as u8 {
        let messenger = 100 + at;
        bonded(&mut world, messenger);
        claim(&mut world, messenger, &(u64::from(at) + 2).to_string(), "1 7").unwrap();
    }
    world.pass(2 * PERIOD);
    let paid = wealth(&mut world);
    assert_eq!(paid, BOND + 500);
    assert!(claim(&mut world, MESSENGER, "1", "1 500").unwrap_err().contains("up to 1 "));
    assert!(claim(&mut world, 99, "1", "1 500").unwrap_err().contains("up to 1 "));
    assert!(claim(&mut world, 100, "2", "1 500").unwrap_err().contains("up to 2 "));
    claim(&mut world, MESSENGER, "2", "1 500").unwrap();
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
    world.terms.challenge_slots = 200;
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
    assert_eq!(claim["challenges"]["2"], world.slot - 1 + PERIOD);
    for tags in [vec![], vec![("Source", name(SOURCE))], vec![("From-Source", name(SOURCE))]] {
        let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (*name, &**value)).collect();
        let sends = world.ask(5, "Claims", &tags).unwrap();
        let claims: serde_json::Value = serde_json::from_str(&sends[0].data).unwrap();
        assert_eq!(claims, serde_json::json!([claim]));
    }
    let sends = world.ask(5, "Audit", &[]).unwrap();
    let audit: serde_json::Value = serde_json::from_str(&sends[0].data).unwrap();
    assert_eq!(
        (&audit["conserves"], &audit["claims"]),
        (&serde_json::json!(true), &serde_json::json!("500"))
    );
    assert_eq!(audit["deposits"], CHALLENGE_DEPOSIT.to_string());
    let sends = world.ask(OWNER, "Info", &[]).unwrap();
    assert_eq!((value(&sends[0], "Ticker"), value(&sends[0], "Challenge-Slots")), ("T", "8"));
}
