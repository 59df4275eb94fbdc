//! Escrows and bonds: what they wait for, who gets them back, and their limits.

use super::guest::ledger::limits::{BOND_MIN, BONDS_MAX, ESCROW_MIN, ESCROWS_MAX, least};
use super::world::{ONE, TOKEN, WAIT, World, name, one_of, value};

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
            .ask(
                SOURCE,
                "Release",
                &[("Source", &source), ("Quantity", &(2 * ONE - ESCROW_MIN + 1).to_string())]
            )
            .unwrap_err()
            .contains("stay")
    );
    let sends = world.ask(SOURCE, "Release", &[("Source", &source), ("Quantity", &ONE.to_string())]).unwrap();
    let due: u64 = value(&sends[0], "Due").parse().unwrap();
    assert_eq!(due, world.slot + WAIT);
    world.skip(due - 2 - world.slot);
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
    world.skip(WAIT - 4);
    world.ask(1, "Unbond", &[("Quantity", &(2 * ONE).to_string())]).unwrap();
    world.skip(4);
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

/// The attack: small escrows fill the places for escrows, and small bonds theirs. With each sixteenth that is taken a
/// place costs twice as much, so that the last ones cost tens of thousands of times the first.
#[test]
fn a_place_costs_the_more_the_fewer_are_left() {
    for (places, first, action) in [(ESCROWS_MAX, ESCROW_MIN, "Escrow"), (BONDS_MAX, BOND_MIN, "Bond")] {
        let mut world = World::funded();
        let total: u128 = (0..places).map(|taken| least(first, taken, places)).sum();
        world.fund(1, 2 * total + ONE);
        let rich = name(1);
        let put_in = |world: &mut World, at: usize, quantity: u128| {
            let (who, quantity) = (one_of(at), quantity.to_string());
            if action == "Escrow" {
                return world.quiet(&rich, action, &[("Source", &who), ("Quantity", &quantity)], "");
            }
            world.quiet(&rich, "Transfer", &[("Recipient", &who), ("Quantity", &quantity)], "");
            world.quiet(&who, action, &[("Quantity", &quantity)], "")
        };
        for taken in 0..places {
            let costs = least(first, taken, places);
            if taken % (places / 16) == 0 {
                let less = put_in(&mut world, taken, costs - 1);
                assert!(less.contains(&format!("{costs} at least")), "{action} {taken}: {less}");
                let back = [("Quantity", &*(costs - 1).to_string()), ("Recipient", &*name(1))];
                world.quiet(&one_of(taken), "Transfer", &back, "");
            }
            assert_eq!(put_in(&mut world, taken, costs), "", "{action} {taken}");
        }
        assert!(put_in(&mut world, places, total).contains("there is room for no other"), "{action}");
        // Who is in adds what he likes.
        assert_eq!(put_in(&mut world, 3, 1), "");
        let sums = world.ledger.sums();
        assert!(sums.conserve() && sums.escrows + sums.bonds == total + 1, "{action}: {sums:?}");
        // More than six hundred thousand tokens for all of them, where the first costs a hundredth of one.
        assert!(total > 600_000 * ONE, "{action}: {total}");
    }
}

/// Money that goes on does not leave a place behind that it does not pay for.
#[test]
fn what_begins_again_costs_as_what_begins() {
    let mut world = World::funded();
    world.fund(1, 10 * ONE);
    let source = name(1);
    world.ask(1, "Escrow", &[("Source", &source), ("Quantity", &ONE.to_string())]).unwrap();
    world.ask(1, "Release", &[("Source", &source)]).unwrap();
    let little = [("Source", &*source), ("Quantity", "1")];
    assert!(world.ask(1, "Escrow", &little).unwrap_err().contains("begins with"));
    assert!(world.ask(1, "Release", &[("Source", &source)]).unwrap_err().contains("has 0"));
    world.pass(WAIT);
    assert!(world.ask(1, "Escrow-Of", &[("Source", &source)]).unwrap_err().contains("no escrow"));
    world.ask(1, "Bond", &[("Quantity", &ONE.to_string())]).unwrap();
    world.ask(1, "Unbond", &[("Quantity", &ONE.to_string())]).unwrap();
    assert!(world.ask(1, "Bond", &[("Quantity", "1")]).unwrap_err().contains("a bond is"));
    world.ask(1, "Bond", &[("Quantity", &BOND_MIN.to_string())]).unwrap();
    world.pass(WAIT);
    assert_eq!((world.bond(1), world.balance(1)), (BOND_MIN, 10 * ONE - BOND_MIN));
    let sends = world.ask(1, "Audit", &[]).unwrap();
    assert!(
        sends[0].data.contains("\"due\":0,") || sends[0].data.contains("\"due\":0}"),
        "{}",
        sends[0].data
    );
}
