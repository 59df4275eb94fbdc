//! Messengers that compute nothing: they take over from each other, go on where they stopped, and are believed by proof;
//! children of what they carry for are carried too.

use weft_node::control::api::{CarryRequest, OutboxInfo, ProcessInfo, Request};
use weft_protocol::Tag;
use weft_protocol::market::rank_score;
use weft_protocol::push::Source;
use weft_protocol::{Hash, Network, Position};
use weft_testnet::aos::{self, FOREIGN_AUTHORITY};
use weft_testnet::{Actor, AskError, Cast, Look, Open, PATIENCE, Trouble, until};

use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};

/// Two schedulers that carry nothing, and two messengers that compute nothing.
const ROLES: [&str; 4] = ["scheduler,compute", "scheduler,compute", "messenger", "messenger"];
const MESSENGERS: [usize; 2] = [2, 3];
/// One messenger's turn.
const WINDOW_MS: u64 = 2_000;
/// The shortest turn, so that both push at nearly the same time.
const RACE_MS: u64 = 50;

#[tokio::test]
async fn what_aos_sends_is_carried_by_who_computes_nothing() -> Result<(), Trouble> {
    with_aos("carried::what_aos_sends_is_carried_by_who_computes_nothing", carried).await
}

#[tokio::test]
async fn what_lua_sends_is_carried_by_who_computes_nothing() -> Result<(), Trouble> {
    carried(Guest::Lua).await
}

async fn carried(guest: Guest) -> Result<(), Trouble> {
    let mut rig = Rig::start(guest, &ROLES, WINDOW_MS).await;
    let mut open = Open::new("carried");
    let [a, b] = pair(&rig, &mut open).await?;
    // There and back again, with proof, though both trust a key that signs nothing.
    let town = rig.town();
    rig.guest.ask(&town, &a, &b, "hello", &mut open).await?;
    let (_, carrier) = town.pushed(&a, &b, "Ping", 1, &mut open).await?;
    open.that("who carried it", "a messenger", format!("{carrier:?}"), carrier.is_some_and(is_messenger));
    let (pong, carrier) = town.pushed(&b, &a, "Pong", 1, &mut open).await?;
    open.that(
        "who carried the answer",
        "a messenger",
        format!("{carrier:?}"),
        carrier.is_some_and(is_messenger),
    );
    open.equal("the code of the answer", &0, &town.result(&a, 0, pong.slot).await?.code);
    let expected = [format!("{0} {0} false {0} hello", a.id)];
    let seen = rig.guest.seen(&town, &b, &mut open).await?;
    open.same("what the handler was told", &expected[..], &seen[..]);

    // The first in rank is dead before the next is sent: the other has its turn.
    let (first, next) = ranked(&rig, &a).await?;
    rig.fleet.kill(first).await;
    let town = rig.town();
    let head = town.slots(&b, 1, 0).await?.len() as u64;
    let sent = rig.guest.ask(&town, &a, &b, "taken over", &mut open).await?;
    let (slot, carrier) = town.pushed(&a, &b, "Ping", head, &mut open).await?;
    open.same("who took over", &Some(next), &carrier);
    let waited = slot.timestamp - town.slots(&a, 0, sent).await?[0].timestamp;
    open.that("its wait in milliseconds", "a turn", waited, waited >= WINDOW_MS);
    // Both are dead while more is sent: whoever comes back goes on where it stopped.
    rig.settled(&a, next, 2).await?;
    rig.fleet.kill(next).await;
    let town = rig.town();
    for data in ["three", "four", "five"] {
        rig.guest.ask(&town, &a, &b, data, &mut open).await?;
    }
    for node in [first, next] {
        rig.fleet.start_again(node).unwrap();
    }
    rig.fleet.all_up().await.unwrap();
    for node in MESSENGERS {
        rig.settled(&a, node, 5).await?;
    }
    let town = rig.town();
    rig.guest.ran(&town, &b, 5, &mut open).await?;
    let stored = rig.pushes(&a, &b).await?;
    assert_eq!(stored.len(), 5, "assignments of five pushes: {stored:#?}");
    let order: Vec<u64> =
        rig.guest.seen(&town, &b, &mut open).await?.iter().map(|line| number(line)).collect();
    open.same("the order", &[0, 0, 3, 4, 5][..], &order[..]);
    for node in MESSENGERS {
        let info = town.detail(&a, node, false).await?.info;
        open.same(format!("what node {node} computed"), &None, &info.computed);
    }
    // Who is told to stops, and leaves the process alone.
    let request = Request::Carry(CarryRequest::End { process: a.id });
    let left: ProcessInfo = town.insist(first, "to carry no longer", &request).await?;
    open.that("duties of who stopped", "none", left.duties.join(" "), left.duties.is_empty());
    assert_holds(open);
    rig.end(&MESSENGERS).await;
    Ok(())
}

#[tokio::test]
async fn aos_spawns_through_racing_messengers_and_its_child_is_carried_too() -> Result<(), Trouble> {
    with_aos("carried::aos_spawns_through_racing_messengers_and_its_child_is_carried_too", spawns).await
}

#[tokio::test]
async fn lua_spawns_through_racing_messengers_and_its_child_is_carried_too() -> Result<(), Trouble> {
    spawns(Guest::Lua).await
}

async fn spawns(guest: Guest) -> Result<(), Trouble> {
    let rig = Rig::start(guest, &ROLES, RACE_MS).await;
    let (town, mut open) = (rig.town(), Open::new("spawns"));
    let parent = rig.spawn("parent", 0, &[0], &foreign()).await?;
    for node in MESSENGERS {
        town.carry_on(&parent, node, &mut open).await?;
    }
    rig.all_offer(&parent, &MESSENGERS, 0).await?;
    let scheduler = rig.fleet.node(1).ready().address;
    let code = format!(
        "local born = Spawn('{}', {{Scheduler = '{scheduler}', Name = 'child'}}).receive() \
         Child = born.Process Told = born.From .. ' ' .. born.Owner",
        rig.module
    );
    town.send(&parent, "Eval", Vec::new(), &code).await?;
    let (told, _) = town.pushed(&parent, &parent, "Spawned", 1, &mut open).await?;
    town.result(&parent, 0, told.slot).await?;
    let trusted = aos::eval(&town, &parent, "return Told", &mut open).await?;
    open.equal("what the parent was told", format!("{0} {0}", parent.id).as_str(), trusted.as_str());
    let id = aos::eval(&town, &parent, "return Child", &mut open).await?.parse().unwrap();
    let child = Actor { name: "child".into(), id, scheduler: 1, computing: vec![1], ..parent.clone() };
    // Who carries for the parent carries for the child, from its first word on.
    let answer = "Send({Target = Owner, Action = 'Hello', Data = 'from the child of ' .. Owner})";
    let code = format!("Send({{Target = Child, Action = 'Eval', Data = [[{answer}]]}}) return 'sent'");
    aos::eval(&town, &parent, &code, &mut open).await?;
    let (asked, _) = town.pushed(&parent, &child, "Eval", 1, &mut open).await?;
    open.equal("the code of the child's Eval", &0, &town.result(&child, 1, asked.slot).await?.code);
    let (hello, _) = town.pushed(&child, &parent, "Hello", told.slot, &mut open).await?;
    town.result(&parent, 0, hello.slot).await?;
    let heard = aos::eval(&town, &parent, "return Inbox[#Inbox].Data", &mut open).await?;
    open.equal("what the parent heard", format!("from the child of {}", parent.id).as_str(), heard.as_str());
    for node in MESSENGERS {
        rig.settled(&parent, node, 2).await?;
        rig.settled(&child, node, 1).await?;
    }
    let of_parent = rig.pushes(&parent, &parent).await?;
    assert_eq!(of_parent.len(), 1, "news of one spawn: {of_parent:#?}");
    assert_eq!(rig.pushes(&child, &parent).await?.len(), 1);
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}

/// Node 0 schedules and does nothing else; nodes 1 to 3 attest; node 4 carries.
const QUORUM_ROLES: [&str; 5] = ["scheduler", "scheduler,compute", "compute", "compute", "messenger"];
const ATTESTORS: [usize; 3] = [1, 2, 3];
/// The one that stays alive last: it is asked for results.
const COMPUTING: [usize; 3] = [3, 2, 1];

#[tokio::test]
async fn what_two_of_three_signed_is_carried_and_what_one_signed_waits() -> Result<(), Trouble> {
    let mut rig = Rig::start(Guest::Counter, &QUORUM_ROLES, WINDOW_MS).await;
    let mut open = Open::new("quorum");
    let (module, tags) = (rig.module, foreign());
    let cast = |name, scheduler| Cast {
        name,
        module,
        scheduler,
        attestors: &ATTESTORS,
        quorum: 2,
        computing: &COMPUTING,
        tags: &tags,
    };
    let (a, b) = (rig.cast(cast("a", 0)).await?, rig.cast(cast("b", 1)).await?);
    let town = rig.town();
    town.carry_on(&a, 4, &mut open).await?;
    rig.guest.ask(&town, &a, &b, "", &mut open).await?;
    let (_, carrier) = town.pushed(&a, &b, "Increment", 1, &mut open).await?;
    open.same("who carried it", &Some(4), &carrier);
    rig.settled(&a, 4, 1).await?;
    // Two of three are down: what one says is not taken for what was sent.
    for node in [2, 3] {
        rig.fleet.kill(node).await;
    }
    let town = rig.town();
    let sent = rig.guest.ask(&town, &a, &b, "", &mut open).await?;
    let signed = async || {
        let by = town.result(&a, 1, sent).await?.attested_by.len();
        Ok::<_, AskError>(if by == 1 { Look::There(()) } else { Look::NotYet(format!("{by} attestations")) })
    };
    until("one attestor to sign".to_owned(), PATIENCE, signed).await?;
    // Others are served meanwhile, and it is asked for.
    rig.guest.ran(&town, &b, 1, &mut open).await?;
    let outbox: OutboxInfo = town
        .insist(4, "what waits", &Request::Carry(CarryRequest::Outbox { process: a.id, limit: 9 }))
        .await?;
    let behind = outbox.collected.is_some_and(|slot| slot < sent);
    open.that("collected", "less than what one signed", format!("{:?}", outbox.collected), behind);
    open.equal("entries that wait", &0, &outbox.entries.len());
    rig.fleet.start_again(2).unwrap();
    rig.fleet.all_up().await.unwrap();
    rig.settled(&a, 4, 2).await?;
    rig.guest.ran(&rig.town(), &b, 2, &mut open).await?;
    assert_eq!(rig.pushes(&a, &b).await?.len(), 2);
    assert_holds(open);
    rig.end(&[2, 3]).await;
    Ok(())
}

fn is_messenger(node: usize) -> bool {
    MESSENGERS.contains(&node)
}

/// The number that a line of the handler ends with, 0 for other words.
fn number(line: &str) -> u64 {
    let word = line.rsplit(' ').next().unwrap_or_default();
    ["zero", "one", "two", "three", "four", "five"].iter().position(|name| *name == word).unwrap_or(0) as u64
}

/// The tag that today's clients put on every process: trust in a key that signs nothing here.
fn foreign() -> [Tag; 1] {
    [Tag::new("Authority", FOREIGN_AUTHORITY)]
}

/// Two processes on different nodes that have heard of no messenger, carried by both.
async fn pair(rig: &Rig, open: &mut Open) -> Result<[Actor; 2], Trouble> {
    let town = rig.town();
    let pair = [rig.spawn("a", 0, &[0], &foreign()).await?, rig.spawn("b", 1, &[1], &foreign()).await?];
    for actor in &pair {
        for node in MESSENGERS {
            town.carry_on(actor, node, open).await?;
        }
        rig.all_offer(actor, &MESSENGERS, 0).await?;
    }
    rig.guest.prepare(&town, &pair[1], open).await?;
    Ok(pair)
}

/// Whose turn the first push of the next slot is, and whose then.
async fn ranked(rig: &Rig, a: &Actor) -> Result<(usize, usize), Trouble> {
    let next = rig.town().slots(a, a.scheduler, 0).await?.len() as u64;
    let network = Network::of_name(&rig.fleet.node(0).ready().network);
    let push: Hash = Source { process: a.id, position: Position::slot(next), index: 0 }.push_id(network);
    let [m, n] = MESSENGERS;
    let score = |node: usize| rank_score(&push, &rig.fleet.node(node).ready().address);
    Ok(if score(m) > score(n) { (m, n) } else { (n, m) })
}
