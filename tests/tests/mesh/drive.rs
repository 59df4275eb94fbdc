//! Items that processes read under `/data/`: those with a slot in their own log, and what they boot
//! from. What can be read is a fact of the log, so every node comes to the same state.

use weft_node::control::api::{Request, Submitted, VerifyReport};
use weft_protocol::{Id, Tag};
use weft_testnet::aos::{eval, printed};
use weft_testnet::{Actor, AskError, Look, Open, PATIENCE, Town, Trouble, until};

use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};
use crate::scenario::REPLAY_WAIT;

const ROLES: [&str; 2] = ["scheduler,compute,messenger", "scheduler,compute,messenger"];
/// The default of nodes.
const WINDOW_MS: u64 = 2_000;

/// Lua that reads a path as the drive of aos does, or says that there is nothing. Our runtime is asked for the id
/// alone where there is one.
pub fn read(guest: &Guest, path: &str) -> String {
    if matches!(guest, Guest::Lua) {
        let id = path.strip_prefix("/data/").unwrap_or(path);
        return format!("return (require('.drive').getData('{id}') or 'nothing')");
    }
    format!(
        "local file = io.open('{path}', 'r') if not file then return 'nothing' end \
         local text = file:read(file:seek('end')) or '' file:close() return text"
    )
}

/// Both nodes come to the same state, and a replay from slot 0 reads the same again.
pub async fn agree(town: &Town<'_>, actor: &Actor, slot: u64, open: &mut Open) -> Result<(), Trouble> {
    let mut roots = Vec::new();
    for node in [0, 1] {
        town.result(actor, node, slot).await?;
        roots.push(town.detail(actor, node, true).await?.state_root);
        let request = Request::Verify { process: actor.id };
        let report: VerifyReport = town.ask(node, "to verify a process", &request, REPLAY_WAIT).await?;
        open.same(format!("what differs on node {node}"), &None, &report.difference);
        open.equal(format!("slots verified on node {node}"), &(slot + 1), &report.slots);
    }
    open.same("that there is a state", &true, &roots[0].is_some());
    open.same(format!("the state of {}", actor.name), &roots[0], &roots[1]);
    Ok(())
}

#[tokio::test]
async fn aos_reads_an_item_from_its_slot_on() -> Result<(), Trouble> {
    with_aos("drive::aos_reads_an_item_from_its_slot_on", reads).await
}

#[tokio::test]
async fn lua_reads_an_item_from_its_slot_on() -> Result<(), Trouble> {
    reads(Guest::Lua).await
}

async fn reads(guest: Guest) -> Result<(), Trouble> {
    let rig = Rig::start(guest, &ROLES, WINDOW_MS).await;
    let (town, mut open) = (rig.town(), Open::new("drive"));
    let shelf = rig.spawn("shelf", 0, &[0], &[]).await?;
    let reader = rig.spawn("reader", 0, &[0, 1], &[Tag::new("Availability-Type", "Assignments")]).await?;
    let text = "a text that is kept elsewhere";
    let kept = town.send(&shelf, "Keep", Vec::new(), text).await?;
    let path = format!("/data/{}", kept.id);

    // Its bytes are on this disk, and still it is not there for a process whose log has no slot of it.
    let said = eval(&town, &reader, &read(&rig.guest, &path), &mut open).await?;
    open.equal("before its slot", "nothing", said.as_str());
    let request = Request::Assign {
        process: reader.id,
        item: kept.id,
        base_layer: false,
        exclude: vec!["Data".to_owned()],
    };
    let given: Submitted = town.insist(0, "to ask for a slot", &request).await?;
    town.result(&reader, 0, given.slot).await?;
    let said = eval(&town, &reader, &read(&rig.guest, &path), &mut open).await?;
    open.equal("from its slot on, whole", text, said.as_str());
    for path in [format!("/tx/{}", kept.id), "/block/1".to_owned(), format!("/data/{}", shelf.id)] {
        let said = eval(&town, &reader, &read(&rig.guest, &path), &mut open).await?;
        open.equal(format!("what is at {path}"), "nothing", said.as_str());
    }
    // It may read what a message itself is, and its own Process item, which has no data.
    let own = format!("/data/{}", reader.id);
    let said = eval(&town, &reader, &format!("{} .. '!'", read(&rig.guest, &own)), &mut open).await?;
    open.equal("its own item", "!", said.as_str());
    let last = town.send(&reader, "Eval", Vec::new(), &read(&rig.guest, &path)).await?;
    agree(&town, &reader, last.slot, &mut open).await?;
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}

/// Waits until a node says that a process waits for an item.
pub async fn waits_for(town: &Town<'_>, actor: &Actor, node: usize, item: Id) -> Result<(), Trouble> {
    let what = format!("node {node} to say that {} waits for {item}", actor.name);
    let look = async || {
        let waits = town.detail(actor, node, false).await?.info.waits.unwrap_or_default();
        let named = waits.contains(&item.to_string());
        Ok::<_, AskError>(if named { Look::There(()) } else { Look::NotYet(format!("it says `{waits}`")) })
    };
    Ok(until(what, PATIENCE, look).await?)
}

#[tokio::test]
async fn aos_boots_from_an_item_once_it_is_found() -> Result<(), Trouble> {
    with_aos("drive::aos_boots_from_an_item_once_it_is_found", boots).await
}

#[tokio::test]
async fn lua_boots_from_an_item_once_it_is_found() -> Result<(), Trouble> {
    boots(Guest::Lua).await
}

async fn boots(guest: Guest) -> Result<(), Trouble> {
    let rig = Rig::start(guest, &ROLES, WINDOW_MS).await;
    let (town, mut open) = (rig.town(), Open::new("boot"));
    let shelf = rig.spawn("shelf", 1, &[1], &[]).await?;
    let code = rig.user.message(shelf.id, "Keep", Vec::new(), "Booted = 'from ' .. 6 * 7")?;
    let tags = [Tag::new("On-Boot", code.id().to_string())];
    // Nobody has the item yet: it waits, and says for what.
    let booted = rig.spawn("booted", 0, &[0, 1], &tags).await?;
    for node in [0, 1] {
        waits_for(&town, &booted, node, code.id()).await?;
    }
    // The other node's scheduler takes it; this one finds it there.
    town.submit(&code).await?;
    let result = town.result(&booted, 0, 0).await?;
    open.equal("the code of slot 0", &0, &result.code);
    let said = town.send(&booted, "Eval", Vec::new(), "return Booted").await?;
    for node in [0, 1] {
        let result = town.result(&booted, node, said.slot).await?;
        open.equal(format!("what it booted with on node {node}"), "from 42", printed(&result).as_str());
        let waits = town.detail(&booted, node, false).await?.info.waits;
        open.same(format!("what it waits for on node {node}"), &None, &waits);
    }
    agree(&town, &booted, said.slot, &mut open).await?;
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}
