//! Two processes on different nodes talk through a third node's messenger, trusted by a proof that
//! two of three attestors signed.

use weft_protocol::Tag;
use weft_protocol::sender::Origin;
use weft_testnet::aos::{self, FOREIGN_AUTHORITY};
use weft_testnet::{Actor, AskError, Cast, Look, Open, PATIENCE, Town, Trouble, until};

use crate::courier::Courier;
use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};

/// Node 0 schedules the sender and nothing else, node 1 the receiver; nodes 1 to 3 attest; node 4
/// carries, schedules nothing and is trusted by nobody.
const ROLES: [&str; 5] = ["scheduler", "scheduler,compute", "compute", "compute", "compute,messenger"];
const ATTESTORS: [usize; 3] = [1, 2, 3];
/// The carrier last: it stays alive, so it is asked for results.
const COMPUTING: [usize; 4] = [1, 2, 3, 4];
const CARRIER: usize = 4;
/// The default of nodes.
const WINDOW_MS: u64 = 2_000;
/// Messages that the receiver gets from its user while it must get none from the sender.
const MEANWHILE: usize = 5;

#[tokio::test]
async fn aos_is_trusted_by_proof_of_two_of_three_attestors() -> Result<(), Trouble> {
    with_aos("quorum::aos_is_trusted_by_proof_of_two_of_three_attestors", two_of_three).await
}

#[tokio::test]
async fn the_counter_is_trusted_by_proof_of_two_of_three_attestors() -> Result<(), Trouble> {
    two_of_three(Guest::Counter).await
}

async fn two_of_three(guest: Guest) -> Result<(), Trouble> {
    let mut rig = Rig::start(guest, &ROLES, WINDOW_MS).await;
    let [a, b] = pair(&rig, ["a", "b"], &[]).await?;
    talk(&rig, &a, &b).await?;
    let foreign = [Tag::new("Authority", FOREIGN_AUTHORITY)];
    let [a, b] = pair(&rig, ["a-foreign", "b-foreign"], &foreign).await?;
    talk(&rig, &a, &b).await?;

    rig.fleet.kill(3).await;
    push(&rig, &a, &b, "one is down").await?;
    rig.fleet.kill(2).await;
    let slot = stays(&rig, &a, &b).await?;
    rig.fleet.start_again(2).unwrap();
    rig.fleet.all_up().await.unwrap();
    let mut open = Open::new("one is back");
    rig.town().pushed(&a, &b, rig.guest.action(), slot, &mut open).await?;
    assert_holds(open);
    assert_eq!(rig.pushes(&a, &b).await?.len(), 3);
    rig.end(&[2, 3]).await;
    Ok(())
}

async fn pair(rig: &Rig, names: [&'static str; 2], tags: &[Tag]) -> Result<[Actor; 2], Trouble> {
    let module = rig.module;
    let cast = |name, scheduler| Cast {
        name,
        module,
        scheduler,
        attestors: &ATTESTORS,
        quorum: 2,
        computing: &COMPUTING,
        tags,
    };
    let pair = [rig.cast(cast(names[0], 0)).await?, rig.cast(cast(names[1], 1)).await?];
    let mut open = Open::new("prepare");
    rig.guest.prepare(&rig.town(), &pair[1], &mut open).await?;
    assert_holds(open);
    Ok(pair)
}

/// There and, with aos, back again.
async fn talk(rig: &Rig, a: &Actor, b: &Actor) -> Result<(), Trouble> {
    let (town, mut open) = (rig.town(), Open::new("talk"));
    push(rig, a, b, "hello").await?;
    rig.guest.ran(&town, b, 1, &mut open).await?;
    if rig.guest.speaks_lua() {
        // Owner and From are the sender although it is no authority of the receiver.
        let expected = [format!("{0} {0} false {0} hello", a.id)];
        let seen = rig.guest.seen(&town, b, &mut open).await?;
        open.same("what the handler was told", &expected[..], &seen[..]);
        let (pong, _) = town.pushed(b, a, "Pong", 1, &mut open).await?;
        let result = town.result(a, CARRIER, pong.slot).await?;
        open.equal("the code of the answer", &0, &result.code);
        let last = "local m = Inbox[#Inbox] return m.From .. ' ' .. m.Owner .. ' ' .. m.Data";
        let last = aos::eval(&town, a, last, &mut open).await?;
        open.equal("the answer", format!("{0} {0} pong 1 to hello", b.id).as_str(), last.as_str());
    }
    assert_holds(open);
    Ok(())
}

/// A push with its proof, checked by a peer that trusts none of the nodes.
async fn push(rig: &Rig, a: &Actor, b: &Actor, data: &str) -> Result<(), Trouble> {
    let (town, mut open) = (rig.town(), Open::new("push"));
    let before = town.slots(b, b.scheduler, 0).await?.len() as u64;
    let sent = rig.guest.ask(&town, a, b, data, &mut open).await?;
    let (slot, carrier) = town.pushed(a, b, rig.guest.action(), before, &mut open).await?;
    open.same("who carried it", &Some(CARRIER), &carrier);
    let result = town.result(b, CARRIER, slot.slot).await?;
    open.equal("the code of the pushed message", &0, &result.code);
    let record = Courier::connect(90, &rig.fleet, &[b.scheduler]).await.record(b, slot.slot).await;
    open.same("that the slot holds a proof", &true, &record.proof().is_some());
    let proven = record.proven().map(|proven| (proven.sender.process, proven.source.position.slot));
    open.same("what the proof shows", &Some((a.id, sent)), &proven);
    open.same("that it decides", &true, &matches!(record.origin(), Origin::Proven(_)));
    assert_holds(open);
    Ok(())
}

/// A message that only one of three attestors can sign is not delivered, while others are. Answers
/// the receiver's slot from which on it is to come.
async fn stays(rig: &Rig, a: &Actor, b: &Actor) -> Result<u64, Trouble> {
    let (town, mut open) = (rig.town(), Open::new("stays"));
    let before = rig.pushes(a, b).await?.len();
    let sent = rig.guest.ask(&town, a, b, "two are down", &mut open).await?;
    let waits = format!("slot {sent} of {} to have one attestation and wait", a.name);
    until(waits, PATIENCE, async || one_attestation(&town, a, sent).await).await?;
    let mut last = 0;
    for _ in 0..MEANWHILE {
        let submitted = town.send(b, "Other", Vec::new(), "").await?;
        town.result(b, CARRIER, submitted.slot).await?;
        last = submitted.slot;
    }
    open.equal("pushes delivered without a quorum", &before, &rig.pushes(a, b).await?.len());
    let detail = town.detail(a, CARRIER, false).await?;
    open.equal("messages that wait", &1, &detail.outbox_pending);
    let one = one_attestation(&town, a, sent).await?;
    open.same("the attestations of it", &Look::There(()), &one);
    assert_holds(open);
    Ok(last + 1)
}

async fn one_attestation(town: &Town<'_>, a: &Actor, slot: u64) -> Result<Look<()>, AskError> {
    let result = town.result(a, CARRIER, slot).await?;
    let by = result.attested_by.iter().filter(|address| a.attestors.contains(address)).count();
    Ok(if by == 1 { Look::There(()) } else { Look::NotYet(format!("{by} attestations")) })
}
