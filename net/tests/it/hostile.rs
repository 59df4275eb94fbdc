//! A peer that does not keep to the limits: libp2p without our crate. What a whole network makes of such
//! peers is in `tests/siege`.

use std::time::Duration;

use futures::StreamExt as _;
use libp2p::Swarm;
use libp2p::gossipsub::{self, IdentTopic};
use libp2p::request_response;
use libp2p::swarm::SwarmEvent;
use prost::Message as _;
use weft_protocol::wire::{self, ANNOUNCEMENT_BYTES_MAX, refusal::Code, response};

use crate::raw::{Hostile, HostileEvent, connect, swarm};
use crate::support::{Node, network, process, within};

/// One that is connected to the node.
async fn hostile(node: &Node) -> Swarm<Hostile> {
    let mut swarm = swarm(true);
    connect(&mut swarm, &node.address()).await;
    swarm
}

/// Lets the swarm run until the check holds.
async fn run_until(what: &str, swarm: &mut Swarm<Hostile>, mut check: impl AsyncFnMut() -> bool) {
    within(what, async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        while !check().await {
            tokio::select! {
                _ = swarm.select_next_some() => {}
                _ = pause.tick() => {}
            }
        }
    })
    .await;
}

async fn ask(swarm: &mut Swarm<Hostile>, node: &Node, bytes: &[u8]) -> Result<wire::Response, String> {
    let peer = node.peer().to_string().parse().unwrap();
    swarm.behaviour_mut().requests.send_request(&peer, bytes.to_vec());
    let answer = within("an answer", async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(HostileEvent::Requests(request_response::Event::Message {
                    message: request_response::Message::Response { response, .. },
                    ..
                })) => break Ok(response),
                SwarmEvent::Behaviour(HostileEvent::Requests(request_response::Event::OutboundFailure {
                    error,
                    ..
                })) => break Err(error.to_string()),
                _ => {}
            }
        }
    })
    .await?;
    wire::Response::decode_length_delimited(&answer[..]).map_err(|error| error.to_string())
}

#[tokio::test]
async fn malformed_requests_are_refused_and_never_reach_the_node() {
    let mut node = Node::plain(1).await;
    let mut swarm = hostile(&node).await;
    for bytes in [&b"\x00"[..], b"\x05hello", b"\x02\x7a\x00", b"\x03\x12\x80\x00"] {
        let refused = ask(&mut swarm, &node, bytes).await;
        match refused.map(|response| response.body) {
            Ok(Some(response::Body::Refusal(refusal))) => assert_eq!(refusal.code(), Code::Invalid),
            other => panic!("{bytes:?} was answered with {other:?}"),
        }
    }
    // A length beyond the limit, and a body that is cut short.
    for bytes in [&b"\xff\xff\xff\xff\x7f"[..], b"\x7f\x12"] {
        assert!(ask(&mut swarm, &node, bytes).await.is_err_and(|e| !e.is_empty()));
    }
    let metrics = node.net.metrics();
    assert_eq!((metrics.requests_malformed, metrics.requests_received), (4, 0));
    while let Ok(event) = node.events.try_recv() {
        assert!(!matches!(event, weft_net::NetEvent::Request { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn announcements_beyond_the_limit_are_rejected_unheard() {
    let node = Node::plain(1).await;
    node.net.join(process(1)).await.unwrap();
    let mut swarm = hostile(&node).await;
    let topic = within("the node's topic", async {
        loop {
            if let SwarmEvent::Behaviour(HostileEvent::Gossip(gossipsub::Event::Subscribed {
                topic, ..
            })) = swarm.select_next_some().await
            {
                break topic;
            }
        }
    })
    .await;
    for n in 0..3 {
        let large = vec![n; ANNOUNCEMENT_BYTES_MAX + 1];
        swarm.behaviour_mut().gossip.publish(topic.clone(), large).unwrap();
    }
    run_until("three rejects", &mut swarm, async || node.net.metrics().gossip_oversized == 3).await;
    let peer = swarm.local_peer_id().to_string();
    let peers = node.net.peers().await.unwrap();
    let score = peers.iter().find(|info| info.peer.to_string() == peer).unwrap().score;
    assert!(score < -800.0, "{score}");
}

#[tokio::test]
async fn topics_of_other_networks_are_not_remembered() {
    let node = Node::plain(1).await;
    let mut swarm = hostile(&node).await;
    let ours = format!("ao1/{}/own", network().short());
    for topic in ["ao1/other/x", "x", &format!("{ours}{}", "n".repeat(64)), &ours] {
        swarm.behaviour_mut().gossip.subscribe(&IdentTopic::new(topic)).unwrap();
    }
    run_until("the subscriptions", &mut swarm, async || {
        let peers = node.net.peers().await.unwrap();
        peers.first().is_some_and(|info| info.topics == 1) && node.net.metrics().subscriptions_refused >= 3
    })
    .await;
    assert_eq!(node.net.peers().await.unwrap()[0].topics, 1);
}

#[tokio::test]
async fn a_peer_that_sends_nothing_but_nonsense_is_shut_out_and_others_are_not() {
    let node = Node::plain(1).await;
    let other = Node::joining(2, &node).await;
    let mut swarm = hostile(&node).await;
    let mut refused = 0;
    // At forty it is over, and the last answers may be lost with the connection.
    while refused < 60 && ask(&mut swarm, &node, b"\x05hello").await.is_ok() {
        refused += 1;
    }
    assert!((39..=40).contains(&refused), "{refused} were answered");
    run_until("the end", &mut swarm, async || {
        let peers = node.net.peers().await.unwrap();
        peers.len() == 1 && peers[0].peer == other.peer()
    })
    .await;
    swarm.dial(node.address().parse::<libp2p::Multiaddr>().unwrap()).unwrap();
    within("a refusal", async {
        while !matches!(
            swarm.select_next_some().await,
            SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. }
        ) {}
    })
    .await;
    assert_eq!(node.net.peers().await.unwrap().len(), 1);
    assert_eq!(node.net.metrics().faults, 40);
}

/// What is not known here may be of a version to come: its sender is told so as often as it asks.
#[tokio::test]
async fn a_peer_that_asks_for_what_is_not_known_here_yet_is_answered_and_stays() {
    let node = Node::plain(1).await;
    let mut swarm = hostile(&node).await;
    for count in 0..100 {
        let refused = ask(&mut swarm, &node, b"\x02\x7a\x00").await;
        let body = refused.unwrap_or_else(|error| panic!("after {count}: {error}")).body;
        let Some(response::Body::Refusal(refusal)) = body else { panic!("{body:?}") };
        assert_eq!(refusal.code(), Code::Invalid);
    }
    assert_eq!((node.net.metrics().requests_malformed, node.net.metrics().faults), (100, 0));
    // But not at any length.
    let mut long = vec![0x7a];
    prost::encoding::encode_varint(100_000, &mut long);
    long.resize(long.len() + 100_000, 0);
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(long.len() as u64, &mut bytes);
    bytes.extend(long);
    ask(&mut swarm, &node, &bytes).await.unwrap();
    assert_eq!((node.net.metrics().requests_malformed, node.net.metrics().faults), (101, 1));
}
