//! What a node says on the lobby and of it, and what it makes of what others say there.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use weft_node::control::api::{PeerInfo, Request};
use weft_protocol::lobby::{Advert, AdvertTerms, Duty, Shard, Short};
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::wire::{self, lobby_fact};
use weft_protocol::{Id, Verified};

use crate::support::{Node, Stranger, key, network, now, until};

async fn who_serves(stranger: &Stranger, process: Id) -> wire::WhoServesResponse {
    let ask = Ask::WhoServes(wire::WhoServesRequest { process: wire::bytes(process) });
    match stranger.ask(ask).await {
        Answer::WhoServes(answer) => answer,
        other => panic!("{other:?}"),
    }
}

async fn watch(node: &Node, process: Id) {
    let host = Request::Host { process, compute: false, messenger: false, evaluate: None };
    node.ask::<Value>(host).await.unwrap();
}

fn verified(message: &wire::Advert) -> Verified<Advert> {
    Advert::from_wire(message, network()).unwrap().verify().unwrap()
}

/// A word of this peer that it schedules a process.
fn advert(by: &Stranger, process: Id) -> Verified<Advert> {
    let sequence = now();
    let terms = AdvertTerms {
        network: network(),
        sequence,
        valid_to: sequence + 600_000,
        shard: Shard::of(&process),
        part: 0,
        parts: 1,
        more: false,
        addresses: Vec::new(),
        served: BTreeMap::from([(Short::of(&process), Duty::Schedules)]),
    };
    terms.sign(&by.signer).unwrap()
}

async fn say(stranger: &Stranger, shard: Shard, message: wire::Advert) {
    let fact = wire::LobbyFact { body: Some(lobby_fact::Body::Advert(message)) };
    let bytes = Bytes::from(fact.encode_to_vec());
    until("somebody to hear it", || async {
        stranger.net.publish_lobby(shard, bytes.clone()).await.is_ok().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_what_it_serves_and_passes_on_the_signed_word_of_others() {
    let scheduler = Node::start(140).await;
    let process = scheduler.counter().await;
    let stranger = Stranger::of(&scheduler, 141).await;
    let own = who_serves(&stranger, process).await;
    assert_eq!(own.duty, Duty::Schedules.number());
    let nothing = who_serves(&stranger, Id([1; 32])).await;
    assert_eq!((nothing.duty, nothing.heard.len()), (0, 0));
    let watcher = Node::knowing(142, &[&scheduler]).await;
    watch(&watcher, process).await;
    let asker = Stranger::of(&watcher, 143).await;
    let answer = until("the scheduler's word at the watcher", || async {
        let answer = who_serves(&asker, process).await;
        (!answer.heard.is_empty()).then_some(answer)
    })
    .await;
    assert_eq!(answer.duty, Duty::Watches.number());
    let [heard] = &answer.heard[..] else { panic!("{answer:?}") };
    let advert = verified(heard);
    let terms = advert.terms();
    assert_eq!(advert.key(), scheduler.signer.owner_key().try_into().ok());
    assert_eq!(terms.served.get(&Short::of(&process)), Some(&Duty::Schedules));
    assert!(!terms.addresses.is_empty() && terms.shard == Shard::of(&process));
    watcher.stop().await;
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lies_on_the_lobby_ends_no_search_and_who_forges_pays() {
    let scheduler = Node::start(150).await;
    let process = scheduler.counter().await;
    let shard = Shard::of(&process);
    // Another process of the same shard, so that the seeker is there and hears the liar.
    let mut number = 0;
    let neighbour = loop {
        number += 1;
        let other = scheduler.counter_named(&format!("counter {number}")).await;
        if Shard::of(&other) == shard {
            break other;
        }
    };
    let seeker = Node::knowing(151, &[&scheduler]).await;
    watch(&seeker, neighbour).await;
    let (liar, asker) = (Stranger::of(&seeker, 152).await, Stranger::of(&seeker, 153).await);
    let lie = advert(&liar, process);
    say(&liar, shard, lie.to_wire()).await;
    // Its word is passed on as what it is.
    let by = lie.key();
    until("the lie at the seeker", || async {
        let answer = who_serves(&asker, process).await;
        answer.heard.iter().any(|heard| verified(heard).key() == by).then_some(())
    })
    .await;
    // The liar answers nothing at all; who serves the process is found all the same.
    watch(&seeker, process).await;
    // In the name of somebody else, with the liar's signature.
    let mut forged = advert(&liar, process).to_wire();
    forged.owner = key(154).owner_key().to_vec().into();
    say(&liar, shard, forged).await;
    let name = liar.net.peer().to_string();
    until("a score below nothing", || async {
        let peers: Vec<PeerInfo> = seeker.ask(Request::Peers).await.unwrap();
        peers.into_iter().any(|peer| peer.peer_id == name && peer.score < 0.0).then_some(())
    })
    .await;
    seeker.stop().await;
    scheduler.stop().await;
}
