//! Messengers that die: the next in rank carries, once its turn has come, and nothing is carried
//! twice.

use weft_protocol::crypto::Signer;
use weft_protocol::market::rank_score;
use weft_protocol::push::Source;
use weft_protocol::{Address, Hash, Network, Position};
use weft_testnet::{Actor, Open, Trouble};

use crate::courier::Courier;
use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};

/// Two schedulers that carry nothing, and two messengers.
const ROLES: [&str; 4] = ["scheduler,compute", "scheduler,compute", "compute,messenger", "compute,messenger"];
const MESSENGERS: [usize; 2] = [2, 3];
/// One messenger's turn: long enough for a peer of ours to carry in it on a busy machine.
const WINDOW_MS: u64 = 5_000;

#[tokio::test]
async fn the_next_messenger_carries_for_aos_when_the_first_is_dead() -> Result<(), Trouble> {
    with_aos("takeover::the_next_messenger_carries_for_aos_when_the_first_is_dead", take_over).await
}

#[tokio::test]
async fn the_next_messenger_carries_for_the_counter_when_the_first_is_dead() -> Result<(), Trouble> {
    take_over(Guest::Counter).await
}

async fn take_over(guest: Guest) -> Result<(), Trouble> {
    let mut rig = Rig::start(guest, &ROLES, WINDOW_MS).await;
    let [m, n] = MESSENGERS;
    let a = rig.spawn("a", 0, &[0, m, n], &[]).await?;
    let b = rig.spawn("b", 1, &[1], &[]).await?;
    let mut open = Open::new("take over");
    rig.guest.prepare(&rig.town(), &b, &mut open).await?;
    rig.all_offer(&a, &MESSENGERS, 0).await?;

    // The first in rank is dead before the message is sent.
    let push = next_push(&rig, &a).await?;
    let ahead = |node: usize| rank_score(&push, &rig.fleet.node(node).ready().address);
    let (first, next) = if ahead(m) > ahead(n) { (m, n) } else { (n, m) };
    let a = Actor { computing: vec![0, next], ..a };
    rig.fleet.kill(first).await;
    let town = rig.town();
    let sent = rig.guest.ask(&town, &a, &b, "first", &mut open).await?;
    let (slot, carrier) = town.pushed(&a, &b, rig.guest.action(), 1, &mut open).await?;
    open.same("who carried it", &Some(next), &carrier);
    let asked = town.slots(&a, 0, sent).await?[0].timestamp;
    let waited = slot.timestamp - asked;
    open.that("its wait in milliseconds", "the first one's turn", waited, waited >= WINDOW_MS);
    rig.settled(&a, next, 1).await?;

    // A messenger of a higher rank hands the push over and dies before it tells anybody.
    let push = next_push(&rig, &a).await?;
    let straw = higher(&push, rig.fleet.node(next).ready().address);
    let courier = Courier::connect(90, &rig.fleet, &[0, 1, next]).await;
    courier.offer(a.id, &straw).await;
    // The dead one's offer has not lapsed.
    rig.all_offer(&a, &[next], 2).await?;
    let sent = rig.guest.ask(&town, &a, &b, "second", &mut open).await?;
    let parcel = courier.collect(&a, sent).await;
    let answer = courier.carry(b.scheduler, &parcel.message(&straw)).await.unwrap();
    open.equal("whether somebody was faster", &false, &answer.duplicate);
    drop(courier);
    rig.settled(&a, next, 2).await?;
    let stored = rig.pushes(&a, &b).await?;
    assert_eq!(stored.len(), 2, "assignments of two pushes: {stored:#?}");
    open.equal("the slot of the second", &answer.slot, &stored[1].slot);
    open.same("who carried it", &Some(straw.address().to_string()), &stored[1].carrier);
    town.result(&b, b.scheduler, answer.slot).await?;
    rig.guest.ran(&town, &b, 2, &mut open).await?;
    assert_holds(open);
    rig.end(&[first]).await;
    Ok(())
}

/// The id of the first push of the next slot.
async fn next_push(rig: &Rig, a: &Actor) -> Result<Hash, Trouble> {
    let next = rig.town().slots(a, a.scheduler, 0).await?.len() as u64;
    let network = Network::of_name(&rig.fleet.node(0).ready().network);
    Ok(Source { process: a.id, position: Position::slot(next), index: 0 }.push_id(network))
}

/// A key that ranks before this messenger for this push.
fn higher(push: &Hash, messenger: Address) -> Signer {
    let mut keys = (0..=u8::MAX).map(|seed| Signer::from_seed(&[seed; 32]));
    keys.find(|key| rank_score(push, &key.address()) > rank_score(push, &messenger)).unwrap()
}
