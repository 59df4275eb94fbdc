//! Five messengers, of which one after the other is killed exactly at a step of the push that it was to carry: the next in
//! rank carries it in time, and it is evaluated once.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use tokio::time::timeout;
use weft_node::control::api::Request;
use weft_node::messenger::steps::Step;
use weft_protocol::market::rank_score;
use weft_protocol::push::Source;
use weft_protocol::{Network, Position};
use weft_testnet::{Actor, Open, PATIENCE, Trouble};
use weft_tests::stop_at;

use crate::guest::Guest;
use crate::rig::{Rig, assert_holds};
use crate::scenario::{count, log};

/// Two schedulers that carry nothing, and five messengers that compute nothing.
const ROLES: [&str; 7] = [
    "scheduler,compute",
    "scheduler,compute",
    "messenger",
    "messenger",
    "messenger",
    "messenger",
    "messenger",
];
const MESSENGERS: [usize; 5] = [2, 3, 4, 5, 6];
/// One messenger's turn, as nodes have it by default.
const WINDOW_MS: u64 = 2_000;
/// What a push may take beside the turns.
const SLACK_MS: u64 = 1_000;
/// How long a node may take from the slot of its push to the step at which it dies.
const DEATH_WAIT: Duration = Duration::from_secs(60);
/// One handed over in vain of so many pushes is too many where nothing fails: 0.5 %.
const IN_VAIN: u64 = 200;

/// One push in so many may come before the turn that all offers together give to who carries it.
const EARLY: u64 = 20;

/// The process that sends, the one that it sends to, and how many pushes there were.
struct Pair {
    a: Actor,
    b: Actor,
    pushes: u64,
    /// Of those whose messengers were killed, how many there were, and how many came before their turn.
    kills: u64,
    early: u64,
}

#[tokio::test]
async fn a_push_is_evaluated_once_wherever_its_messengers_are_killed() -> Result<(), Trouble> {
    let mut rig = Rig::start(Guest::Counter, &ROLES, WINDOW_MS).await;
    let mut open = Open::new("kills");
    let (a, b) = (rig.spawn("a", 0, &[0], &[]).await?, rig.spawn("b", 1, &[1], &[]).await?);
    for node in MESSENGERS {
        rig.town().carry_on(&a, node, &mut open).await?;
    }
    rig.all_offer(&a, &MESSENGERS, 0).await?;
    let mut pair = Pair { a, b, pushes: 0, kills: 0, early: 0 };
    undisturbed(&rig, &mut pair, &mut open).await?;
    for cycle in 0..count(1, 10) {
        let mut dead = Vec::new();
        for step in Step::ALL {
            killed_at(&mut rig, &mut pair, (step, &mut dead), &mut open).await?;
        }
        all_come_back(&mut rig, &pair, &dead, &mut open).await?;
        if cycle + 1 < count(1, 10) {
            // Who was away hears of the others when they say their offers again.
            rig.all_offer(&pair.a, &MESSENGERS, 0).await?;
        }
    }
    // No messenger carries later than the offers of all make it, but each goes by those that it knows itself: soft mode
    // sets no earliest time.
    let Pair { kills, early, .. } = pair;
    let few = early * EARLY <= kills;
    open.that("pushes that came before their turn", format!("at most one in {EARLY} of {kills}"), early, few);
    assert_holds(open);
    rig.end(&MESSENGERS).await;
    Ok(())
}

/// Pushes one after the other with nobody killed: each has one slot, and hardly one is handed over a second time. One that
/// takes a turn or longer on a busy machine is late, and then the others are right to carry it too.
async fn undisturbed(rig: &Rig, pair: &mut Pair, open: &mut Open) -> Result<(), Trouble> {
    let (town, Pair { a, b, pushes, .. }) = (rig.town(), pair);
    let mut late = 0;
    // With those of the kills fewer than the 1,024 positions whose receipts a messenger that computes nothing keeps:
    // settled() counts them.
    for _ in 0..count(60, 900) {
        let head = town.detail(b, b.scheduler, false).await?.info.head.unwrap_or_default();
        let sent = rig.guest.ask(&town, a, b, "", open).await?;
        let (slot, _) = town.pushed(a, b, "Increment", head + 1, open).await?;
        let sent = town.slots(a, a.scheduler, sent).await?[0].timestamp;
        late += u64::from(slot.timestamp - sent >= WINDOW_MS);
        *pushes += 1;
    }
    for node in MESSENGERS {
        rig.settled(a, node, *pushes as usize).await?;
    }
    evaluated_once(rig, a, b, *pushes, open).await?;
    let [assigned, duplicate] = handed_over(rig, &MESSENGERS).await?;
    let each = assigned == *pushes || late > 0;
    open.that("pushes that were handed over and had their slots then", pushes.to_string(), assigned, each);
    let others = MESSENGERS.len() as u64 - 1;
    let few = duplicate.saturating_sub(late * others) * IN_VAIN < *pushes;
    let seen = format!("{duplicate}, and {late} were late");
    open.that("pushes handed over again where nothing failed", "under 0.5 %", seen, few);
    Ok(())
}

/// Of those that are alive the first in rank dies at a step of a push. Nobody forgets the dead, who keep their turns.
async fn killed_at(
    rig: &mut Rig,
    pair: &mut Pair,
    (step, dead): (Step, &mut Vec<usize>),
    open: &mut Open,
) -> Result<(), Trouble> {
    let what = |what: &str| format!("{what}, {} killed", step.name());
    let order = ranked(rig, &pair.a).await?;
    let alive: Vec<usize> = order.iter().copied().filter(|node| !dead.contains(node)).collect();
    let (victim, rest) = alive.split_first().unwrap();
    // Who gives the slot knows when it stands and its messenger does not hear of it.
    let at = if step == Step::Assigned { pair.b.scheduler } else { *victim };
    stop_at::set(&rig.fleet.plan().data_dir(at), step, rig.fleet.node(*victim).ready().pid).unwrap();
    let [_, in_vain] = handed_over(rig, rest).await?;
    let (town, Pair { a, b, pushes, kills, early }) = (rig.town(), pair);
    let head = town.detail(b, b.scheduler, false).await?.info.head.unwrap_or_default();
    let sent = rig.guest.ask(&town, a, b, "", open).await?;
    let (slot, carrier) = town.pushed(a, b, "Increment", head + 1, open).await?;
    (*pushes, *kills) = (*pushes + 1, *kills + 1);

    // It came in the turn of whoever is to carry it.
    let carries = if matches!(step, Step::Chosen | Step::Proved) { rest[0] } else { *victim };
    open.same(what("who carried it"), &Some(carries), &carrier);
    let rank = order.iter().position(|node| *node == carries).unwrap() as u64;
    let waited = slot.timestamp - town.slots(a, a.scheduler, sent).await?[0].timestamp;
    let most = (rank + 1) * WINDOW_MS + SLACK_MS;
    open.that(what("its wait in milliseconds"), format!("at most {most}"), waited, waited <= most);
    *early += u64::from(waited < rank * WINDOW_MS);

    // Who was to die did, of that signal and at that step.
    let gone = timeout(DEATH_WAIT, rig.fleet.node(*victim).gone()).await;
    assert!(gone.is_ok(), "{}", what("nobody was"));
    let signal = rig.fleet.kill(*victim).await.and_then(|status| status.signal());
    open.same(what("what ended a messenger"), &Some(9), &signal);
    dead.push(*victim);
    for node in rest {
        rig.settled(a, *node, *pushes as usize).await?;
    }
    evaluated_once(rig, a, b, *pushes, open).await?;
    // Whose turn came when it had its slot is told so when it asks.
    let [_, now] = handed_over(rig, rest).await?;
    let none = now == in_vain || waited >= (rank + 1) * WINDOW_MS;
    open.that(what("handed over in vain by those that live"), format!("{in_vain} as before"), now, none);
    Ok(())
}

/// Who comes back goes on where it stopped, and that changes nothing.
async fn all_come_back(
    rig: &mut Rig,
    Pair { a, b, pushes, .. }: &Pair,
    dead: &[usize],
    open: &mut Open,
) -> Result<(), Trouble> {
    for node in dead {
        rig.fleet.start_again(*node).unwrap();
    }
    rig.fleet.all_up().await.unwrap();
    for node in dead {
        rig.settled(a, *node, *pushes as usize).await?;
    }
    evaluated_once(rig, a, b, *pushes, open).await?;
    // Whoever comes back may hand over what it missed, and what it had no receipt for when it died: nothing else.
    let missed: u64 = (1..=dead.len() as u64).sum();
    let [assigned, in_vain] = handed_over(rig, dead).await?;
    open.equal("slots that were given to who came back", &0, &assigned);
    open.that("what they handed over in vain", format!("at most {missed}"), in_vain, in_vain <= missed);
    Ok(())
}

/// All pushes so far have one slot each, and the target has counted each once.
async fn evaluated_once(
    rig: &Rig,
    a: &Actor,
    b: &Actor,
    pushes: u64,
    open: &mut Open,
) -> Result<(), Trouble> {
    rig.guest.ran(&rig.town(), b, pushes, open).await?;
    let log = log(&rig.town(), b).await?;
    let from = a.id.to_string();
    let slots: Vec<_> = log.iter().filter(|slot| slot.pushed && slot.from.as_ref() == Some(&from)).collect();
    let evaluated = slots.iter().filter(|slot| slot.code == Some(0)).count() as u64;
    open.equal("slots of pushes", &(pushes as usize), &slots.len());
    open.equal("of these, evaluated", &pushes, &evaluated);
    Ok(())
}

/// The messengers in the order in which the first push of the next slot is theirs.
async fn ranked(rig: &Rig, a: &Actor) -> Result<Vec<usize>, Trouble> {
    let head = rig.town().detail(a, a.scheduler, false).await?.info.head.unwrap_or_default();
    let network = Network::of_name(&rig.fleet.node(0).ready().network);
    let push = Source { process: a.id, position: Position::slot(head + 1), index: 0 }.push_id(network);
    let mut order = MESSENGERS.to_vec();
    order.sort_by_key(|node| std::cmp::Reverse(rank_score(&push, &rig.fleet.node(*node).ready().address)));
    Ok(order)
}

/// Pushes that these messengers handed over since they started and that had their slots then, and those that had them before.
async fn handed_over(rig: &Rig, nodes: &[usize]) -> Result<[u64; 2], Trouble> {
    let mut sums = [0, 0];
    for node in nodes {
        let text: String = rig.town().ask(*node, "its metrics", &Request::Metrics, PATIENCE).await?;
        for (sum, outcome) in sums.iter_mut().zip(["assigned", "duplicate"]) {
            let name = format!("weft_pushes_total{{outcome=\"{outcome}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            *sum += line.unwrap_or_else(|| panic!("node {node} counts no {name}")).parse::<u64>().unwrap();
        }
    }
    Ok(sums)
}
