//! The open market: what a node offers, which offers of others it keeps and passes on, and who lies in them.

use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use weft_net::{NetEvent, Verdict};
use weft_node::config::{Config, Role};
use weft_node::control::api::{MarketRequest, OfferInfo, PushName, RankInfo, Request};
use weft_protocol::crypto::Signer;
use weft_protocol::lobby::Shard;
use weft_protocol::offer::{Offer, OfferTerms};
use weft_protocol::wire::announcement::Body;
use weft_protocol::wire::{self, lobby_fact};
use weft_protocol::{Hash, Id};

use crate::support::{Node, Stranger, announcement, key, network, now, until, within};

/// Offers at one process that a node keeps.
const AT_PROCESS_MAX: usize = weft_node::market::machine::AT_PROCESS_MAX;

fn offer(signer: &Signer, number: u64, price: u64, shards: &[Shard]) -> wire::Offer {
    let terms = OfferTerms {
        network: network(),
        sequence: number,
        shards: shards.iter().map(|shard| shard.number()).collect(),
        classes: 0,
        price_per_push: price,
        price_per_kib: 1,
        max_kib: 16,
        capacity_per_s: 9,
        latency_p50_ms: 20,
        stake: Hash::ZERO,
        valid_from: now(),
        valid_to: now() + 300_000,
    };
    terms.sign(signer).unwrap().to_wire()
}

fn on_topic(process: Id, offer: wire::Offer) -> Bytes {
    announcement(process, Body::Offer(offer))
}

fn on_shard(offer: wire::Offer) -> Bytes {
    wire::LobbyFact { body: Some(lobby_fact::Body::Offer(offer)) }.encode_to_vec().into()
}

async fn offers(node: &Node) -> Vec<OfferInfo> {
    node.ask(Request::Market(MarketRequest::Offers)).await.unwrap()
}

/// The offer of a key, once the node has one at this price.
async fn known(node: &Node, signer: &Signer, price: u64) -> OfferInfo {
    until("the node to know an offer", || async {
        let offers = offers(node).await;
        offers.into_iter().find(|offer| offer.messenger == signer.address() && offer.price_per_push == price)
    })
    .await
}

/// Says something on a shard as soon as somebody is there to hear it.
async fn say(stranger: &Stranger, shard: Shard, fact: &Bytes) {
    until("somebody to hear it", || async {
        stranger.net.publish_lobby(shard, fact.clone()).await.is_ok().then_some(())
    })
    .await;
}

/// The next offers that a peer hears on shards, until one suits.
async fn hears(stranger: &mut Stranger, suits: impl Fn(&Offer) -> bool) -> Offer {
    within("an offer on a shard", async {
        loop {
            let NetEvent::Lobby { data, ticket, .. } = stranger.events.recv().await.unwrap() else {
                continue;
            };
            stranger.net.verdict(ticket, Verdict::Accept);
            let fact = wire::LobbyFact::decode(data).unwrap();
            let Some(lobby_fact::Body::Offer(offer)) = fact.body else { continue };
            let offer = Offer::from_wire(&offer, network()).unwrap().verify().unwrap();
            if suits(&offer) {
                return Offer::clone(&offer);
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_are_heard_on_shards_and_topics_and_go_on_when_they_are_new() {
    let node = Node::set_up(160, &[], |config| {
        (config.price_per_push, config.price_per_kib) = (7, 2);
    })
    .await;
    let process = node.counter().await;
    let shard = Shard::of(&process);
    let own = known(&node, &node.signer, 7).await;
    assert_eq!((own.own, own.price_per_kib, own.latency_p50_ms), (true, 2, None));
    assert_eq!((own.processes, own.shards), (vec![process], vec![shard.number()]));

    let mut observer = Stranger::of(&node, 161).await;
    observer.net.join_lobby(shard).await.unwrap();
    // An offer of somebody else goes on to it through the node, once.
    let messenger = Stranger::of(&node, 162).await;
    messenger.net.join_lobby(shard).await.unwrap();
    say(&messenger, shard, &on_shard(offer(&messenger.signer, 1, 3, &[shard]))).await;
    let on_its_shard = known(&node, &messenger.signer, 3).await;
    assert_eq!((on_its_shard.own, on_its_shard.bond, on_its_shard.processes), (false, None, Vec::new()));
    let by = messenger.signer.address();
    hears(&mut observer, |offer| offer.messenger() == by && offer.terms().sequence == 1).await;

    // Who offers on the topic of the process carries for it, and is ranked.
    let carrier = Stranger::on(&node, process, 163).await;
    carrier.publish(process, on_topic(process, offer(&carrier.signer, 1, 4, &[]))).await;
    assert_eq!(known(&node, &carrier.signer, 4).await.processes, [process]);
    // It cannot know what the node offers: that is said again, on the shard too, to who never heard of the process.
    let address = node.signer.address();
    let heard = hears(&mut observer, |offer| offer.messenger() == address).await;
    assert_eq!((heard.terms().price_per_push, heard.terms().price_per_kib), (7, 2));
    let prices: Vec<u64> = offers(&node).await.iter().map(|offer| offer.price_per_push).collect();
    assert_eq!(prices, [7, 3, 4], "its own first, then the cheapest");
    let push = Some(PushName { slot: 5, tick: 0, index: 2 });
    let rank: RankInfo = node.ask(Request::Market(MarketRequest::Rank { process, push })).await.unwrap();
    let mut ranked: Vec<_> = rank.ranks.iter().map(|row| row.messenger).collect();
    assert_eq!((rank.mode.as_str(), ranked.len()), ("soft", 2));
    assert_eq!(rank.ranks.iter().map(|row| row.turn_ms).collect::<Vec<_>>(), [0, rank.turn_ms]);
    ranked.sort_unstable();
    let mut both = [address, carrier.signer.address()];
    both.sort_unstable();
    assert_eq!(ranked, both);
    let unknown = MarketRequest::Rank { process: Id([9; 32]), push: None };
    let error = node.ask::<RankInfo>(Request::Market(unknown)).await.unwrap_err();
    assert!(error.to_string().contains("weft host"), "{error}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_offers_of_one_number_convict_and_both_go_on() {
    let node = Node::start(170).await;
    let process = node.counter().await;
    let mut observer = Stranger::on(&node, process, 171).await;
    let liar = Stranger::on(&node, process, 172).await;
    let [one, other] = [5, 6].map(|price| on_topic(process, offer(&liar.signer, 1, price, &[])));
    liar.publish(process, one.clone()).await;
    observer.hear_until(&one).await;
    known(&node, &liar.signer, 5).await;
    liar.publish(process, other.clone()).await;
    observer.hear_until(&other).await;
    let evidence = until("the evidence", || async {
        let detail = node.detail(process).await;
        detail.evidence.into_iter().next()
    })
    .await;
    assert_eq!(evidence.culprit, liar.signer.address());
    assert!(evidence.text.contains("two offers with one number"), "{}", evidence.text);
    // It offers nothing any more; a new number does not help it.
    let next = on_topic(process, offer(&liar.signer, 2, 5, &[]));
    liar.publish(process, next.clone()).await;
    let mark = on_topic(process, offer(&key(173), 1, 1, &[]));
    liar.publish(process, mark.clone()).await;
    assert!(!observer.hear_until(&mark).await.contains(&next), "a liar's offer was passed on");
    assert!(offers(&node).await.iter().all(|offer| offer.messenger != liar.signer.address()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_messengers_shuts_nobody_out() {
    let node = Node::start(180).await;
    let process = node.counter().await;
    let flood = Stranger::on(&node, process, 181).await;
    for number in 0..400_u16 {
        let mut seed = [182; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        let made_up = Signer::from_seed(&seed);
        // Its own queue may be full: then the flood is as fast as it can be.
        let _ = flood.net.publish(process, on_topic(process, offer(&made_up, 1, 0, &[]))).await;
    }
    until("the flood to fill the places", || async {
        let offers = offers(&node).await.into_iter().filter(|offer| offer.processes.contains(&process));
        (offers.filter(|offer| !offer.own).count() == AT_PROCESS_MAX).then_some(())
    })
    .await;
    let honest = Stranger::on(&node, process, 183).await;
    honest.publish(process, on_topic(process, offer(&honest.signer, 1, 4, &[]))).await;
    assert_eq!(known(&node, &honest.signer, 4).await.processes, [process]);
    assert_eq!(node.increments(process, 1).await, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messengers_of_a_process_and_its_scheduler_know_all_prices() {
    let roles = |config: &mut Config, roles: &[Role], price| {
        config.roles = roles.iter().copied().collect();
        config.price_per_push = price;
    };
    let scheduler =
        Node::set_up(190, &[], |config| roles(config, &[Role::Scheduler, Role::Compute], 1)).await;
    let process = scheduler.counter().await;
    let carrying = [Role::Compute, Role::Messenger];
    let dear = Node::set_up(191, &[&scheduler], |config| roles(config, &carrying, 9)).await;
    let cheap = Node::set_up(192, &[&scheduler], |config| roles(config, &carrying, 5)).await;
    for node in [&dear, &cheap] {
        let host = Request::Host { process, compute: true, messenger: true, evaluate: None };
        node.ask::<Value>(host).await.unwrap();
    }
    for node in [&scheduler, &dear, &cheap] {
        let prices = until("all prices", || async {
            let offers = offers(node).await;
            let prices = offers.iter().filter(|offer| offer.processes.contains(&process));
            let mut prices: Vec<_> = prices.map(|offer| (offer.price_per_push, offer.own)).collect();
            prices.sort_unstable();
            (prices.len() == 2).then_some(prices)
        })
        .await;
        // Who carries for nobody offers nothing.
        let is = |other: &Node| std::ptr::eq(node, other);
        assert_eq!(prices, [(5, is(&cheap)), (9, is(&dear))]);
    }
    for node in [cheap, dear, scheduler] {
        node.stop().await;
    }
}
