//! Random requests of many: money is conserved after every one, and no false claim pays.

use std::collections::BTreeMap;

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
    Claim { messenger: u8, source: u8, window: u64, sum: u128 },
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
    let claim = (messenger(), source(), 0..6_u64, amount());
    let challenge = (messenger(), source(), 0..6_u64, 0..3_u32, any::<bool>());
    prop_oneof![
        2 => (person(), amount()).prop_map(|(to, amount)| Step::Deposit { to, amount }),
        1 => (source(), amount()).prop_map(|(source, amount)| Step::Escrowed { source, amount }),
        5 => simple.prop_map(|(from, action, other, amount)| Step::Simple { from, action, other, amount }),
        4 => claim.prop_map(|(messenger, source, window, sum)| Step::Claim { messenger, source, window, sum }),
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
        Step::Claim { messenger, source, window, sum } => {
            let data = if FALSE.contains(&messenger) { " false" } else { "" };
            let tags = [("Source", &*name(source)), ("Window", &*text(window.into()))];
            world.send(&name(messenger), "Claim", &tags, &format!("3 {}{data}", sum % (4 * ONE)))
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
        for step in &steps {
            match *step {
                Step::Claim { messenger, source, window, .. } => {
                    said.extend(run(&mut world, step));
                    said.extend(about(&mut world, WATCHER, "Challenge", messenger, source, window, 0, ""));
                    said.extend(about(&mut world, messenger, "Answer", messenger, source, window, 0, "the logs"));
                }
                // Others would get the watcher's reward, and not the less.
                Step::Challenge { .. } | Step::Answer { .. } => {}
                Step::Deposit { .. } | Step::Escrowed { .. } | Step::Simple { .. } | Step::Pass(_) => {
                    said.extend(run(&mut world, step));
                }
            }
        }
        said.extend(world.pass(10 * PERIOD));
        let mut paid: BTreeMap<String, u32> = BTreeMap::new();
        for send in said.iter().filter(|send| value(send, "Action") == "Claim-Notice") {
            let claim = ["Messenger", "Source", "Window"].map(|tag| value(send, tag)).join(" ");
            *paid.entry(claim).or_default() += 1;
        }
        let lost = said.iter().filter(|send| value(send, "Action") == "Claim-Lost-Notice");
        for send in lost {
            prop_assert!(!HONEST.iter().any(|&honest| send.target == name(honest)), "{:?}", send);
        }
        for (claim, times) in &paid {
            prop_assert_eq!(*times, 1, "{} was paid twice", claim);
            prop_assert!(!FALSE.iter().any(|&liar| claim.starts_with(&name(liar))), "{} was paid", claim);
        }
    }
}
