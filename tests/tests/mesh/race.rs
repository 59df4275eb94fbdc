//! Messengers that race each other: whoever is first, the push stands in the log once.

use std::collections::BTreeSet;

use futures::future::join_all;
use weft_protocol::Id;
use weft_protocol::crypto::Signer;
use weft_testnet::{Open, Trouble};

use crate::courier::{Courier, Push};
use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};

/// Two schedulers that carry nothing, and two messengers.
const ROLES: [&str; 4] = ["scheduler,compute", "scheduler,compute", "compute,messenger", "compute,messenger"];
const MESSENGERS: [usize; 2] = [2, 3];
/// Carriers of our own, each with a key, and so with an item, of its own.
const CARRIERS: u8 = 8;
/// How often each hands over its item, at once.
const EACH: usize = 4;
/// The shortest turn, so that the nodes' own messengers push at nearly the same time too.
const WINDOW_MS: u64 = 50;

#[tokio::test]
async fn racing_messengers_leave_one_assignment_of_aos() -> Result<(), Trouble> {
    with_aos("race::racing_messengers_leave_one_assignment_of_aos", race).await
}

#[tokio::test]
async fn racing_messengers_leave_one_assignment_of_the_counter() -> Result<(), Trouble> {
    race(Guest::Counter).await
}

async fn race(guest: Guest) -> Result<(), Trouble> {
    let rig = Rig::start(guest, &ROLES, WINDOW_MS).await;
    let (town, mut open) = (rig.town(), Open::new("race"));
    let a = rig.spawn("a", 0, &[0], &[]).await?;
    let b = rig.spawn("b", 1, &[1], &[]).await?;
    rig.guest.prepare(&town, &b, &mut open).await?;
    for node in MESSENGERS {
        town.host_on(&a, node, false, &mut open).await?;
    }
    // Nobody carries yet, so all begin at once.
    let sent = rig.guest.ask(&town, &a, &b, "race", &mut open).await?;
    for node in MESSENGERS {
        town.result(&a, node, sent).await?;
    }
    let couriers =
        [Courier::connect(90, &rig.fleet, &[0, 1]).await, Courier::connect(91, &rig.fleet, &[1]).await];
    let parcel = couriers[0].collect(&a, sent).await;
    let pushes: Vec<Push> =
        (0..CARRIERS).map(|seed| parcel.message(&Signer::from_seed(&[100 + seed; 32]))).collect();
    let items: BTreeSet<Id> = pushes.iter().map(|push| push.item.id()).collect();
    assert_eq!(items.len(), usize::from(CARRIERS), "the carriers' items are the same");

    let all = pushes.iter().flat_map(|push| std::iter::repeat_n(push, EACH)).enumerate();
    let handed = join_all(all.map(|(at, push)| couriers[at % couriers.len()].carry(b.scheduler, push)));
    let mut opens = MESSENGERS.map(|_| Open::new("carry"));
    let carrying =
        join_all(opens.iter_mut().zip(MESSENGERS).map(|(open, node)| town.host_on(&a, node, true, open)));
    let (answers, carrying) = tokio::join!(handed, carrying);
    carrying.into_iter().collect::<Result<(), Trouble>>()?;
    opens.into_iter().for_each(assert_holds);

    for node in MESSENGERS {
        rig.settled(&a, node, 1).await?;
    }
    let stored = rig.pushes(&a, &b).await?;
    assert_eq!(stored.len(), 1, "assignments of one push: {stored:#?}");
    let mut firsts = 0;
    for answer in answers {
        let answer = answer.unwrap_or_else(|refusal| panic!("a carrier is refused: {}", refusal.text));
        open.equal("the slot that a carrier is answered", &stored[0].slot, &answer.slot);
        let signed = weft_protocol::DataItem::verify_bytes(answer.assignment).unwrap();
        open.equal("its assignment", &stored[0].assignment, &signed.id());
        firsts += u32::from(!answer.duplicate);
    }
    let ours = items.contains(&stored[0].item);
    open.equal("carriers of ours that were first", &u32::from(ours), &firsts);
    town.result(&b, b.scheduler, stored[0].slot).await?;
    rig.guest.ran(&town, &b, 1, &mut open).await?;
    // Also later, when the first has long been answered.
    let late = parcel.message(&Signer::from_seed(&[77; 32]));
    let late = couriers[1].carry(b.scheduler, &late).await.unwrap();
    open.same("a late carrier", &(stored[0].slot, true), &(late.slot, late.duplicate));
    assert_eq!(rig.pushes(&a, &b).await?.len(), 1);
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}
