//! Long chains of messages between processes on two nodes, and many children of one message.

use std::collections::BTreeSet;

use weft_node::control::api::{ProcessInfo, Request, SlotInfo};
use weft_testnet::{Actor, AskError, Look, Open, PATIENCE, Trouble, aos, until};

use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};
use crate::scenario::{count, grows_to, is_sound};

/// Plays the ball back until it was played so often.
const PLAYER: &str = "Handlers.add('ball', 'Ball', function(m) \
      local hit = tonumber(m.Hit) \
      if hit < tonumber(m.Last) then \
        Send({Target = m.Next, Action = 'Ball', Hit = tostring(hit + 1), Last = m.Last, Next = ao.id}) \
      end end) \
    return 'ready'";

#[tokio::test]
async fn aos_processes_play_ping_pong() -> Result<(), Trouble> {
    with_aos("chains::aos_processes_play_ping_pong", play_ping_pong).await
}

#[tokio::test]
async fn lua_processes_play_ping_pong() -> Result<(), Trouble> {
    play_ping_pong(Guest::Lua).await
}

async fn play_ping_pong(guest: Guest) -> Result<(), Trouble> {
    let hits = count(20, 1_000);
    let rig = Rig::pair(guest).await;
    let (town, mut open) = (rig.town(), Open::new("ping-pong"));
    let a = rig.spawn("a", 0, &[0], &[]).await?;
    let b = rig.spawn("b", 1, &[1], &[]).await?;
    for player in [&a, &b] {
        let said = aos::eval(&town, player, PLAYER, &mut open).await?;
        open.equal("the player", "ready", said.as_str());
    }
    let serve = [("Hit", "0"), ("Last", &*hits.to_string()), ("Next", &*b.id.to_string())];
    let serve = serve.map(|(name, value)| weft_protocol::Tag::new(name, value)).to_vec();
    let first = town.send(&a, "Ball", serve, "").await?;
    // Each hit but the serve is a push; the players take turns.
    let in_b = grows_to(&town, &b, "Ball", hits.div_ceil(2)).await?;
    let in_a = grows_to(&town, &a, "Ball", 1 + hits / 2).await?;
    let mut heard = BTreeSet::new();
    let hits_of = |log: Vec<SlotInfo>, to| {
        log.into_iter().filter(|slot| slot.action.as_deref() == Some("Ball")).map(move |slot| (slot, to))
    };
    for (slot, to) in hits_of(in_a, &a).chain(hits_of(in_b, &b)) {
        let item = town.item(to.scheduler, slot.item).await?;
        let tag = |name: &str| item.tags.iter().find(|tag| tag.name == name).map(|tag| tag.value.clone());
        heard.extend(tag("Hit").and_then(|hit| hit.parse::<usize>().ok()));
        // Every hit names the message that began it all.
        let root = (slot.item != first.id).then(|| first.id.to_string());
        open.same("the root of a hit", &root, &tag("Pushed-For"));
    }
    assert!(heard.iter().copied().eq(0..=hits), "{heard:?}");
    rig.settled(&a, 0, hits.div_ceil(2)).await?;
    rig.settled(&b, 1, hits / 2).await?;
    for (player, node) in [(&a, 0), (&b, 1)] {
        is_sound(&town, player, &[node], &mut open).await?;
    }
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}

/// One message of a process asks for all of them; each is told of, once, and belongs to it.
#[tokio::test]
async fn aos_has_many_children_at_once() -> Result<(), Trouble> {
    with_aos("chains::aos_has_many_children_at_once", has_many_children).await
}

#[tokio::test]
async fn lua_has_many_children_at_once() -> Result<(), Trouble> {
    has_many_children(Guest::Lua).await
}

async fn has_many_children(guest: Guest) -> Result<(), Trouble> {
    let wanted = count(5, 50);
    let rig = Rig::pair(guest).await;
    let (town, mut open) = (rig.town(), Open::new("children"));
    let parent = rig.spawn("parent", 0, &[0], &[]).await?;
    // Half of them on the other node.
    let other = rig.fleet.node(1).ready().address;
    let code = format!(
        "for i = 1, {wanted} do \
           Spawn('{}', {{Name = 'child ' .. i, Scheduler = i % 2 == 0 and '{other}' or nil}}) end \
         return 'spawned'",
        rig.module
    );
    let said = aos::eval(&town, &parent, &code, &mut open).await?;
    open.that("the asking", "spawned", &said, said.ends_with("spawned"));
    let told = grows_to(&town, &parent, "Spawned", wanted).await?;
    rig.settled(&parent, 0, wanted).await?;
    let mut children = BTreeSet::new();
    for slot in told.iter().filter(|slot| slot.action.as_deref() == Some("Spawned")) {
        open.same("who tells of it", &(Some(parent.id.to_string()), true), &(slot.from.clone(), slot.pushed));
        let item = town.item(0, slot.item).await?;
        let child = item.tags.iter().find(|tag| tag.name == "Process").unwrap();
        children.insert(child.value.parse::<weft_protocol::Id>().unwrap());
    }
    open.equal("children that it was told of", &wanted, &children.len());
    let mut seen = BTreeSet::new();
    for node in 0..2 {
        let processes: Vec<ProcessInfo> =
            town.ask(node, "its processes", &Request::Processes, PATIENCE).await?;
        let ids = processes.iter().map(|info| info.process).filter(|id| *id != parent.id);
        let ids: Vec<_> = ids.filter(|id| children.contains(id)).collect();
        open.that(format!("children on node {node}"), "some", ids.len(), !ids.is_empty());
        for id in ids {
            seen.insert(id);
            let child =
                Actor { name: "child".into(), id, scheduler: node, computing: vec![node], ..parent.clone() };
            boots(&rig, &child, &parent, &mut open).await?;
        }
    }
    open.equal("children that live", &children.len(), &seen.len());
    is_sound(&town, &parent, &[0], &mut open).await?;
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}

/// Waits until a child has booted, and checks whose it is.
async fn boots(rig: &Rig, child: &Actor, parent: &Actor, open: &mut Open) -> Result<(), Trouble> {
    let (town, node) = (rig.town(), child.scheduler);
    let look = async || {
        let detail = town.detail(child, node, false).await?;
        let seen = format!("{detail:?}");
        Ok::<_, AskError>(if detail.info.computed.is_some() {
            Look::There(detail)
        } else {
            Look::NotYet(seen)
        })
    };
    let detail = until(format!("{} to boot on node {node}", child.id), PATIENCE, look).await?;
    open.equal("its owner", parent.id.to_string().as_str(), detail.owner.as_str());
    Ok(())
}
