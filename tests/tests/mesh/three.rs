//! Three nodes of which two are told of the first alone: it schedules, the second is only asked, the third computes.

use weft_node::control::api::{PeerInfo, Request, ResultOf};
use weft_testnet::{AskError, Look, Open, PATIENCE, Town, Trouble, aos, until};

use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};
use crate::scenario::is_sound;

const FIRST: usize = 0;
const ASKED: usize = 1;
const COMPUTES: usize = 2;
const ROLES: [&str; 3] = ["scheduler,compute", "scheduler", "compute"];

/// Every message counts one more.
const COUNT: &str = "Count = (Count or 0) + 1 return tostring(Count)";
const MESSAGES: u64 = 5;

#[tokio::test]
async fn aos_is_one_process_at_any_of_three_nodes() -> Result<(), Trouble> {
    with_aos("three::aos_is_one_process_at_any_of_three_nodes", one_process).await
}

#[tokio::test]
async fn lua_is_one_process_at_any_of_three_nodes() -> Result<(), Trouble> {
    one_process(Guest::Lua).await
}

async fn one_process(guest: Guest) -> Result<(), Trouble> {
    let rig = Rig::start_around_one(guest, &ROLES).await;
    let (town, mut open) = (Town { sender: ASKED, ..rig.town() }, Open::new("three"));
    for node in [FIRST, ASKED, COMPUTES] {
        let look = async || {
            let peers: Vec<PeerInfo> = town.ask(node, "its peers", &Request::Peers, PATIENCE).await?;
            let seen = format!("it has {}", peers.len());
            Ok::<_, AskError>(if peers.len() == 2 { Look::There(()) } else { Look::NotYet(seen) })
        };
        until(format!("node {node} to find the two others"), PATIENCE, look).await?;
    }
    let counter = rig.spawn("counter", FIRST, &[FIRST, COMPUTES], &[]).await?;
    for count in 1..=MESSAGES {
        let sent = town.send(&counter, "Eval", Vec::new(), COUNT).await?;
        let mut results = Vec::new();
        for node in [FIRST, COMPUTES, ASKED] {
            results.push((node, town.result(&counter, node, sent.slot).await?));
        }
        // By the message as well as by the slot, where the log is not here.
        let (of, wait_ms) = (ResultOf::Item(sent.id), PATIENCE.as_millis() as u64);
        let request = Request::Result { process: counter.id, of, wait_ms };
        results.push((ASKED, town.ask(ASKED, "a result", &request, 2 * PATIENCE).await?));
        for (node, result) in results {
            let said = aos::printed(&result);
            let what = format!("the result of slot {} at node {node}", sent.slot);
            open.equal(what, count.to_string().as_str(), said.as_str());
        }
    }
    let asked = town.detail(&counter, ASKED, false).await;
    open.same("that who is only asked has no log", &false, &asked.is_ok());
    is_sound(&town, &counter, &[FIRST, COMPUTES], &mut open).await?;
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}
