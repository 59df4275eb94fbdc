//! Random requests of many: money is conserved after every one, and no false claim pays.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::guest::ledger::Send;
use super::world::{ONE, OWNER, PERIOD, TOKEN, World, name, value};

/// Honest messengers make true claims and answer; the others make false ones.
const HONEST: [u8; 2] = [10, 11];
const FALSE: [u8; 2] = [12, 13];
const SOURCES: [u8; 2] = [50, 51];
const CHALLENGER: u8 = 20;
/// Looks at every claim, and does nothing else.
const WATCHER: u8 = 21;

#[derive(Debug, Clone)]
enum Step {
    Deposit { to: u8, amount: u128 },
    Escrowed { source: u8, amount: u128 },
    Simple { from: u8, action: &'static str, other: u8, amount: u128 },
    Claim { messenger: u8, source: u8, window: u64, sum: u128, at: u64 },
    Challenge { messenger: u8, source: u8, window: u64, leaf: u32, shown: bool },
    Answer { messenger: u8, source: u8, window: u64, leaf: u32 },
    Pass(u64),
}

fn amount() -> impl Strategy<Value = u128> {
    prop_oneof![1 => 0..5_u128, 4 => 1..20 * ONE, 1 => Just(u128::MAX)]
}

fn messenger() -> impl Strategy<Value = u8> {
    prop::sample::select([&HONEST[..], &FALSE[..]].concat())
}

fn person() -> impl Strategy<Value = u8> {
    prop::sample::select([&HONEST[..], &FALSE[..], &SOURCES[..], &[CHALLENGER, OWNER][..]].concat())
}

fn source() -> impl Strategy<Value = u8> {
    prop::sample::select(SOURCES.to_vec())
}

fn step() -> impl Strategy<Value = Step> {
    let actions =
        ["Transfer", "Withdraw", "Escrow", "Release", "Bond", "Unbond", "Mint", "Audit", "Balances"];
    let simple = (person(), prop::sample::select(actions.to_vec()), person(), amount());
    let claim = (messenger(), source(), 0..6_u64, amount(), 0..8_u64);
    let challenge = (messenger(), source(), 0..6_u64, 0..3_u32, any::<bool>());
    prop_oneof![
        2 => (person(), amount()).prop_map(|(to, amount)| Step::Deposit { to, amount }),
        1 => (source(), amount()).prop_map(|(source, amount)| Step::Escrowed { source, amount }),
        5 => simple.prop_map(|(from, action, other, amount)| Step::Simple { from, action, other, amount }),
        4 => claim.prop_map(|(messenger, source, window, sum, at)| {
            Step::Claim { messenger, source, window, sum, at }
        }),
        3 => challenge.prop_map(|(messenger, source, window, leaf, shown)| {
            Step::Challenge { messenger, source, window, leaf, shown }
        }),
        2 => (messenger(), source(), 0..6_u64, 0..3_u32)
            .prop_map(|(messenger, source, window, leaf)| Step::Answer { messenger, source, window, leaf }),
        2 => (1..3 * PERIOD).prop_map(Step::Pass),
    ]
}

/// Runs a step; those that the ledger refuses count too, for `World::send` checks after each.
fn run(world: &mut World, step: &Step) -> Vec<Send> {
    let text = |number: u128| number.to_string();
    match *step {
        Step::Deposit { to, amount } => {
            let tags = [("Sender", &*name(to)), ("Quantity", &*text(amount))];
            world.send(&name(TOKEN), "Credit-Notice", &tags, "")
        }
        Step::Escrowed { source, amount } => {
            let tags = [("Sender", &*name(1)), ("Quantity", &*text(amount)), ("X-Escrow", &*name(source))];
            world.send(&name(TOKEN), "Credit-Notice", &tags, "")
        }
        Step::Simple { from, action, other, amount } => {
            let source = SOURCES[usize::from(other) % 2];
            let tags =
                [("Recipient", &*name(other)), ("Source", &*name(source)), ("Quantity", &*text(amount))];
            world.send(&name(from), action, &tags, "")
        }
        Step::Claim { messenger, source, window, sum, at } => {
            let data = if FALSE.contains(&messenger) { " false" } else { "" };
            let tags = [("Source", &*name(source)), ("Window", &*text(window.into()))];
            world.send(&name(messenger), "Claim", &tags, &format!("3 {}{data} at={at}", sum % (4 * ONE)))
        }
        Step::Challenge { messenger, source, window, leaf, shown } => {
            let data = if shown { "an earlier slot" } else { "" };
            about(world, CHALLENGER, "Challenge", messenger, source, window, leaf, data)
        }
        Step::Answer { messenger, source, window, leaf } => {
            about(world, 99, "Answer", messenger, source, window, leaf, "the logs")
        }
        Step::Pass(slots) => world.pass(slots),
    }
}

#[expect(clippy::too_many_arguments, reason = "the tags of one message")]
fn about(
    world: &mut World,
    from: u8,
    action: &str,
    messenger: u8,
    source: u8,
    window: u64,
    leaf: u32,
    data: &str,
) -> Vec<Send> {
    let (window, leaf) = (window.to_string(), leaf.to_string());
    let tags = [
        ("Messenger", &*name(messenger)),
        ("Source", &*name(source)),
        ("Window", &*window),
        ("Leaf", &*leaf),
    ];
    world.send(&name(from), action, &tags, data)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_global_rejects: 0, ..ProptestConfig::default() })]

    /// `World::send` holds the ledger to its promises after each message.
    #[test]
    fn money_is_conserved_whatever_is_asked(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::funded();
        let mut minted = World::of(&[("Network", "00000007"), ("Challenge-Slots", "8")]);
        for step in &steps {
            run(&mut world, step);
            run(&mut minted, step);
        }
    }

    /// One who challenges every claim, and messengers who answer: no false claim is paid, no true one is lost, and
    /// none is paid twice, whatever else is asked.
    #[test]
    fn watched_claims_pay_what_is_true(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::funded();
        world.fund(WATCHER, 1_000 * ONE);
        world.fund(1, 1_000 * ONE);
        for messenger in [HONEST, FALSE].concat() {
            world.fund(messenger, 10 * ONE);
            world.ask(messenger, "Bond", &[("Quantity", &(10 * ONE).to_string())]).unwrap();
        }
        for source in SOURCES {
            world.ask(1, "Escrow", &[("Source", &name(source)), ("Quantity", &(50 * ONE).to_string())]).unwrap();
        }
        let mut said = Vec::new();
        // What each claim holds: from which push on, and which of those.
        let mut held: BTreeMap<[String; 3], (u64, BTreeSet<u64>)> = BTreeMap::new();
        let mut paid: BTreeSet<(String, String, u64)> = BTreeSet::new();
        for step in steps.iter().chain(&[Step::Pass(10 * PERIOD)]) {
            let sends = match step {
                Step::Challenge { messenger, shown: true, .. } if HONEST.contains(messenger) => run(&mut world, step),
                // Others would get the watcher's reward, and not the less.
                Step::Challenge { .. } | Step::Answer { .. } => continue,
                Step::Claim { .. } | Step::Deposit { .. } | Step::Escrowed { .. } | Step::Simple { .. }
                | Step::Pass(_) => run(&mut world, step),
            };
            for send in &sends {
                let claim = ["Messenger", "Source", "Window"].map(|tag| value(send, tag).to_owned());
                match value(send, "Action") {
                    "Claim-Notice" => for push in held.remove(&claim).unwrap_or_default().1 {
                        let push = (claim[1].clone(), claim[2].clone(), push);
                        prop_assert!(paid.insert(push.clone()), "{:?} was paid twice", push);
                    },
                    "Leaf-Struck-Notice" => {
                        let (first, pushes) = held.get_mut(&claim).unwrap();
                        let leaf: u64 = value(send, "Leaf").parse().unwrap();
                        prop_assert!(pushes.remove(&(*first + leaf)), "struck twice");
                    }
                    _ => {}
                }
            }
            let is_claimed = sends.last().is_some_and(|send| value(send, "Action") == "Claim-Response");
            said.extend(sends);
            if let (&Step::Claim { messenger, source, window, at, .. }, true) = (step, is_claimed) {
                let claim = [name(messenger), name(source), window.to_string()];
                held.insert(claim, (at, (at..at + 3).collect()));
                said.extend(about(&mut world, WATCHER, "Challenge", messenger, source, window, 0, ""));
                said.extend(about(&mut world, messenger, "Answer", messenger, source, window, 0, "the logs"));
            }
        }
        prop_assert!(world.ledger.sums().claims == 0);
        for send in &said {
            let (action, claim) = (value(send, "Action"), value(send, "Messenger"));
            let of = |set: &[u8]| set.iter().any(|&one| claim == name(one));
            prop_assert!(action != "Claim-Lost-Notice" || !of(&HONEST), "{:?}", send);
            prop_assert!(action != "Claim-Notice" || !of(&FALSE), "{:?}", send);
        }
    }
}
