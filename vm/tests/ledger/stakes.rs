//! Escrows and bonds: what they wait for, who gets them back, and their limits.

use super::guest::ledger::limits::{BOND_MIN, BONDS_MAX, ESCROW_MIN, ESCROWS_MAX};
use super::guest::ledger::{Ledger, Message};
use super::world::{Knowing, ONE, TOKEN, WAIT, World, name, value};

const SOURCE: u8 = 50;

#[test]
fn an_escrow_waits_and_goes_back_to_the_source_or_its_owner() {
    let mut world = World::funded();
    world.fund(1, 10 * ONE);
    let source = name(SOURCE);
    let amount = (2 * ONE).to_string();
    assert!(
        world
            .ask(1, "Escrow", &[("Source", &source), ("Quantity", "5")])
            .unwrap_err()
            .contains("begins with")
    );
    world.ask(1, "Escrow", &[("Source", &source), ("Quantity", &amount)]).unwrap();
    // Who paid in has no say: it is the source's.
    for data in ["", "header"] {
        let error = world.tell(1, "Release", &[("Source", &source)], data).unwrap_err();
        assert!(error.contains("only the source itself"), "{error}");
    }
    assert!(
        world
            .ask(SOURCE, "Release", &[("Source", &source), ("Quantity", &amount)])
            .unwrap_err()
            .contains("to give")
    );
    let sends = world.ask(SOURCE, "Release", &[("Source", &source), ("Quantity", &ONE.to_string())]).unwrap();
    let due: u64 = value(&sends[0], "Due").parse().unwrap();
    assert_eq!(due, world.slot + WAIT);
    world.slot = due - 2;
    assert_eq!(world.balance(SOURCE), 0);
    assert_eq!(world.balance(SOURCE), ONE);
    // The signer of the Process item, by its header; with the rest the escrow ends.
    let owner = SOURCE ^ 0xff;
    world.tell(owner, "Release", &[("Source", &source)], "header").unwrap();
    assert_eq!(world.ledger.sums().escrows, ONE);
    world.pass(WAIT);
    assert_eq!(world.balance(owner), ONE);
    assert!(world.ask(1, "Escrow-Of", &[("Source", &source)]).unwrap_err().contains("no escrow"));
}

#[test]
fn a_deposit_can_go_straight_into_an_escrow() {
    let mut world = World::funded();
    let (source, sender, quantity) = (name(SOURCE), name(1), ONE.to_string());
    let tags = [("Sender", &*sender), ("Quantity", &*quantity), ("X-Escrow", &*source)];
    world.ask(TOKEN, "Credit-Notice", &tags).unwrap();
    assert_eq!((world.balance(1), world.ledger.sums().escrows), (0, ONE));
    let sends = world.ask(1, "Escrow-Of", &[("Source", &source)]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&sends[0].data).unwrap();
    assert_eq!(json["free"], quantity);
    assert_eq!(json["claimable"], (ONE - ESCROW_MIN).to_string());
}

#[test]
fn a_bond_waits_before_it_is_given_back() {
    let mut world = World::funded();
    world.fund(1, 10 * ONE);
    assert!(world.ask(1, "Bond", &[("Quantity", "5")]).unwrap_err().contains("a bond is"));
    world.ask(1, "Bond", &[("Quantity", &(3 * ONE).to_string())]).unwrap();
    assert!(
        world.ask(1, "Unbond", &[("Quantity", &(4 * ONE).to_string())]).unwrap_err().contains("are free")
    );
    let most = (3 * ONE - BOND_MIN + 1).to_string();
    assert!(world.ask(1, "Unbond", &[("Quantity", &most)]).unwrap_err().contains("a bond is"));
    world.ask(1, "Unbond", &[("Quantity", &ONE.to_string())]).unwrap();
    assert_eq!(world.bond(1), 2 * ONE, "what leaves gives no weight");
    // A second wish begins the wait anew, for all of it.
    world.slot += WAIT - 4;
    world.ask(1, "Unbond", &[("Quantity", &(2 * ONE).to_string())]).unwrap();
    world.slot += 4;
    assert_eq!(world.balance(1), 7 * ONE);
    world.pass(WAIT);
    assert_eq!((world.balance(1), world.bond(1)), (10 * ONE, 0));
    assert_eq!(world.ledger.sums().bonds, 0);
    assert!(world.ask(1, "Unbond", &[("Quantity", "1")]).is_err());
    // More than there is in the world is refused as any other sum that he has not.
    world.ask(1, "Bond", &[("Quantity", &ONE.to_string())]).unwrap();
    let all = u128::MAX.to_string();
    for action in ["Bond", "Unbond", "Transfer", "Escrow", "Withdraw"] {
        let somebody = name(2);
        let tags = [("Quantity", &*all), ("Recipient", &*somebody), ("Source", &*somebody)];
        assert!(world.ask(1, action, &tags).is_err(), "{action}");
    }
}

/// Whoever fills the places for bonds or escrows has put money into each.
#[test]
fn full_bonds_and_escrows_refuse_new_ones() {
    let mut world = World::funded();
    let each = BOND_MIN.max(ESCROW_MIN);
    let places = BONDS_MAX.max(ESCROWS_MAX) as u128 + 10;
    let key = |at: u64| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&at.to_be_bytes());
        weft_protocol::Id(bytes).to_string()
    };
    world.fund(1, each * places);
    let mut quiet = |ledger: &mut Ledger, from: &str, tags: &[(&str, &str)]| {
        let tags: Vec<_> = tags.iter().map(|(name, value)| weft_protocol::Tag::new(*name, *value)).collect();
        world.slot += 1;
        let message = Message { id: "m", from, tags: &tags, data: "", slot: Some(world.slot) };
        let sends = ledger.handle(&world.terms, &Knowing, &message);
        sends.last().map(|send| send.data.clone()).unwrap_or_default()
    };
    let mut ledger = world.ledger.clone();
    let (rich, each) = (name(1), each.to_string());
    for at in 0..ESCROWS_MAX as u64 {
        let tags = [("Action", "Escrow"), ("Source", &*key(at)), ("Quantity", &*each)];
        assert_eq!(quiet(&mut ledger, &rich, &tags), "");
    }
    let tags = [("Action", "Escrow"), ("Source", &*key(u64::MAX)), ("Quantity", &*each)];
    assert!(quiet(&mut ledger, &rich, &tags).contains("sources have an escrow"));
    let tags = [("Action", "Escrow"), ("Source", &*key(3)), ("Quantity", "1")];
    assert_eq!(quiet(&mut ledger, &rich, &tags), "", "who is in adds what he likes");
    let mut ledger = world.ledger.clone();
    for at in 0..=BONDS_MAX as u64 {
        let to = key(at);
        quiet(&mut ledger, &rich, &[("Action", "Transfer"), ("Recipient", &to), ("Quantity", &each)]);
        let said = quiet(&mut ledger, &to, &[("Action", "Bond"), ("Quantity", &each)]);
        let fits = at < BONDS_MAX as u64;
        assert_eq!(said.contains("messengers have a bond"), !fits, "{at}: {said}");
    }
    assert!(ledger.sums().conserve());
}
