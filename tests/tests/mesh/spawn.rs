//! A process that the real aos, or the Lua runtime, starts with `Spawn`: on another node, told of with proof, owned by its
//! parent, heard in return, and the only one whoever carries the spawn.

use std::io::Write as _;

use bytes::Bytes;
use weft_protocol::assignment::Assignment;
use weft_protocol::crypto::Signer;
use weft_protocol::header::Header;
use weft_protocol::origin::OriginProof;
use weft_protocol::outcome::EntryKind;
use weft_protocol::wire::SubmitResponse;
use weft_protocol::wire::refusal::Code;
use weft_protocol::{DataItem, Id, Verified};
use weft_testnet::aos::eval;
use weft_testnet::{Actor, Open, Trouble};

use crate::courier::{Courier, Push};
use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};

/// The parent's scheduler, the child's, and who carries for the parent.
const ROLES: [&str; 3] = ["scheduler,compute", "scheduler,compute,messenger", "compute,messenger"];
/// Two schedulers: nobody carries but whom the test plays.
const ALONE: [&str; 2] = ["scheduler,compute", "scheduler,compute"];
/// The default of nodes.
const WINDOW_MS: u64 = 2_000;
/// What the child is told to run: it answers its owner.
const ANSWER: &str = "Send({Target = Owner, Action = 'Hello', Data = 'from the child of ' .. Owner})";

#[tokio::test]
async fn aos_spawns_and_is_told_and_owns_what_it_spawned() -> Result<(), Trouble> {
    with_aos("spawn::aos_spawns_and_is_told_and_owns_what_it_spawned", spawns_and_is_told).await
}

#[tokio::test]
async fn lua_spawns_and_is_told_and_owns_what_it_spawned() -> Result<(), Trouble> {
    spawns_and_is_told(Guest::Lua).await
}

async fn spawns_and_is_told(guest: Guest) -> Result<(), Trouble> {
    let mut rig = Rig::start(guest, &ROLES, WINDOW_MS).await;
    let parent = rig.spawn("parent", 0, &[0, 2], &[]).await?;
    let (town, mut open) = (rig.town(), Open::new("spawn"));
    let scheduler = rig.fleet.node(1).ready().address;
    // The call waits in the process until `Spawned` comes, and goes on with it.
    let code = format!(
        "local born = Spawn('{}', {{Scheduler = '{scheduler}', Name = 'child'}}).receive() \
         Child = born.Process Told = born.From .. ' ' .. born.Owner",
        rig.module
    );
    let spawned = town.send(&parent, "Eval", Vec::new(), &code).await?;
    let (told, carrier) = town.pushed(&parent, &parent, "Spawned", 1, &mut open).await?;
    open.same("who carried the news", &Some(2), &carrier);
    town.result(&parent, 0, told.slot).await?;
    let trusted = eval(&town, &parent, "return Told", &mut open).await?;
    open.equal("what the parent was told", format!("{0} {0}", parent.id).as_str(), trusted.as_str());

    let id: Id = eval(&town, &parent, "return Child", &mut open).await?.parse().unwrap();
    let child = Actor { name: "child".into(), id, scheduler: 1, computing: vec![1], ..parent.clone() };
    let detail = town.detail(&child, 1, false).await?;
    open.equal("the child's owner", parent.id.to_string().as_str(), detail.owner.as_str());

    // aos runs what the owner sends, and the owner is the parent.
    let code = format!("Send({{Target = Child, Action = 'Eval', Data = [[{ANSWER}]]}}) return 'sent'");
    eval(&town, &parent, &code, &mut open).await?;
    let (asked, _) = town.pushed(&parent, &child, "Eval", 1, &mut open).await?;
    let ran = town.result(&child, 1, asked.slot).await?;
    open.equal("the code of the child's Eval", &0, &ran.code);
    let (hello, _) = town.pushed(&child, &parent, "Hello", told.slot, &mut open).await?;
    town.result(&parent, 0, hello.slot).await?;
    let heard = eval(&town, &parent, "return Inbox[#Inbox].Data", &mut open).await?;
    open.equal("what the parent heard", format!("from the child of {}", parent.id).as_str(), heard.as_str());
    assert_holds(open);

    // Another carrier's Process item comes too late, also at a scheduler that was killed in between.
    let courier = Courier::connect(96, &rig.fleet, &[0, 1, 2]).await;
    let twin = courier.collect(&parent, spawned.slot).await.process(&Signer::from_seed(&[96; 32]));
    let of = |answer: &SubmitResponse| {
        let signed = DataItem::verify_bytes(answer.assignment.clone()).unwrap();
        (Assignment::from_item(&signed).unwrap().process, answer.slot, answer.duplicate)
    };
    let answer = courier.carry(1, &twin).await.unwrap();
    assert_eq!(of(&answer), (child.id, 0, true));
    drop(courier);
    rig.fleet.kill(1).await;
    // The child has the only place there is, and its twin asks for no other.
    let mut settings = std::fs::OpenOptions::new();
    let settings = settings.create(true).append(true);
    let mut settings = settings.open(rig.fleet.plan().data_dir(1).join("weft.toml")).unwrap();
    writeln!(settings, "spawn_budget = 1").unwrap();
    rig.fleet.start_again(1).unwrap();
    rig.fleet.all_up().await.unwrap();
    let courier = Courier::connect(97, &rig.fleet, &[1]).await;
    let answer = courier.carry(1, &twin).await.unwrap();
    assert_eq!(of(&answer), (child.id, 0, true));
    rig.end(&[1]).await;
    Ok(())
}

#[tokio::test]
async fn aos_waits_for_the_news_of_its_child_through_all_that_is_forged() -> Result<(), Trouble> {
    let test = "spawn::aos_waits_for_the_news_of_its_child_through_all_that_is_forged";
    with_aos(test, forged_news).await
}

#[tokio::test]
async fn lua_waits_for_the_news_of_its_child_through_all_that_is_forged() -> Result<(), Trouble> {
    forged_news(Guest::Lua).await
}

async fn forged_news(guest: Guest) -> Result<(), Trouble> {
    let rig = Rig::start(guest, &ALONE, WINDOW_MS).await;
    let (town, mut open) = (rig.town(), Open::new("forged news"));
    let (parent, other) = (rig.spawn("parent", 0, &[0], &[]).await?, rig.spawn("other", 1, &[1], &[]).await?);
    let code = format!(
        "Child = 'none' local born = Spawn('{}', {{Scheduler = '{}', Name = 'child'}}).receive() Child = born.Process",
        rig.module,
        rig.fleet.node(1).ready().address
    );
    let spawned = town.send(&parent, "Eval", Vec::new(), &code).await?;
    let courier = Courier::connect(98, &rig.fleet, &[0, 1]).await;
    let thief = Signer::from_seed(&[98; 32]);
    let parcel = courier.collect(&parent, spawned.slot).await;
    let child = parcel.process(&thief).item;
    let born = courier.carry(1, &parcel.process(&thief)).await.unwrap();

    let (proof, dispatch) = parcel.prove(parcel.index_of(EntryKind::Spawn));
    let news =
        |proof: &OriginProof, of: Id| Push::of(proof, |proof| dispatch.spawned(of, proof).unwrap(), &thief);
    let with = |of: &Verified<DataItem>, first: &Verified<DataItem>| {
        proof.clone().with_child(&Verified::<Header>::of(of), first)
    };
    let first = DataItem::verify_bytes(born.assignment).unwrap();
    let others_first = courier.record(&other, 0).await.assignment_item().clone();
    let real = with(&child, &first);
    let forged = [
        ("no child in its proof", news(&proof, child.id())),
        ("another process as the child", news(&with(&other.item, &others_first), other.id)),
        ("the first slot of another process", news(&with(&child, &others_first), child.id())),
        ("another child than its proof has", news(&real, other.id)),
    ];
    for (what, push) in &forged {
        let refused = courier.carry(0, push).await.expect_err(what);
        open.same(format!("the code of news with {what}"), &Code::Invalid, &refused.code());
    }
    // Without a proof it is the word of whoever signed it: it has a slot, and is not what the process waits for.
    let mut said = dispatch.spawned(other.id, proof.sign(&thief).unwrap().id()).unwrap();
    said.tags.retain(|tag| tag.name != "Origin-Proof");
    let said = courier.submit(0, said.sign(&thief).unwrap().raw(), &Bytes::new()).await.unwrap();
    town.result(&parent, 0, said.slot).await?;
    let known = eval(&town, &parent, "return Child", &mut open).await?;
    open.equal("the child that the parent knows", "none", known.as_str());

    let told = courier.carry(0, &news(&real, child.id())).await.unwrap();
    town.result(&parent, 0, told.slot).await?;
    let known = eval(&town, &parent, "return Child", &mut open).await?;
    open.equal("the child that it knows in the end", child.id().to_string().as_str(), known.as_str());
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}
