//! Finding peers: bootstrap, providers, restarts, bad values, other networks.

use std::collections::BTreeSet;

use weft_net::{DialError, Key, Net, NetConfig, NetError, NetEvent, ProvideError};

use weft_protocol::Network;
use weft_protocol::wire::{self, request, response};

use crate::support::{Node, config, process, until, within};

#[tokio::test]
async fn nodes_that_know_one_find_all() {
    let hub = Node::plain(1).await;
    let mut nodes = Vec::new();
    for seed in 2..=5 {
        nodes.push(Node::joining(seed, &hub).await);
    }
    nodes.push(hub);
    for node in &nodes {
        within("four peers", node.net.wait_ready(4)).await.unwrap();
    }
    let info = nodes[0].sees("an agent", &nodes[1], |info| !info.agent.is_empty()).await;
    assert!(info.agent.starts_with("weft/"));
    assert_eq!(info.addresses.len(), 1);
    assert!(nodes[1].address().starts_with(&info.addresses[0]));
}

#[tokio::test]
async fn providers_are_found_by_process_and_by_address_and_can_be_asked() {
    let hub = Node::plain(1).await;
    let mut provider = Node::joining(2, &hub).await;
    let seeker = Node::joining(3, &hub).await;
    let address = Key::Address(provider.peer().address().unwrap());
    for key in [Key::Process(process(1)), address] {
        provider.net.provide(key).await.unwrap();
        until("the provider", || async {
            (seeker.net.providers(key).await.unwrap() == [provider.peer()]).then_some(())
        })
        .await;
    }
    assert_eq!(seeker.net.providers(Key::Process(process(2))).await.unwrap(), []);
    let head = request::Body::Head(wire::HeadRequest { processes: Vec::new() });
    let asked = seeker.net.request(provider.peer(), wire::Request { body: Some(head) });
    let answer = response::Body::Head(wire::HeadResponse { heads: Vec::new() });
    let answer = wire::Response { body: Some(answer) };
    let (given, ()) = tokio::join!(asked, async {
        let reply = provider.next("a request", |event| match event {
            NetEvent::Request { peer, reply, .. } => (peer == seeker.peer()).then_some(reply),
            _ => None,
        });
        reply.await.send(answer.clone()).unwrap();
    });
    assert_eq!(given, Ok(answer));
    // An address that is not one's own cannot be provided.
    assert_eq!(seeker.net.provide(address).await, Err(ProvideError::NotMine));
}

/// Where a key is stands in a record that it signed: peers keep it, and whoever looks for the key finds it.
#[tokio::test]
async fn where_a_key_is_stands_in_a_record_of_its_own() {
    let hub = Node::plain(1).await;
    let scheduler = Node::joining(2, &hub).await;
    scheduler.net.provide(Key::Address(scheduler.peer().address().unwrap())).await.unwrap();
    until("the record", || async { (hub.net.metrics().locations_kept >= 1).then_some(()) }).await;
    let mut apart = config(3);
    // It asks and is asked by nobody, so the scheduler cannot come to it by itself.
    (apart.listen, apart.reachability) = (Vec::new(), weft_net::Reachability::Relayed);
    apart.bootstrap = vec![hub.address()];
    let seeker = Node::start(apart).await;
    within("a peer", seeker.net.wait_ready(1)).await.unwrap();
    let key = Key::Address(scheduler.peer().address().unwrap());
    until("the scheduler, by its own word", || async {
        let found = seeker.net.providers(key).await.unwrap();
        (found == [scheduler.peer()] && seeker.net.metrics().locations_found >= 1).then_some(())
    })
    .await;
    assert_eq!((hub.net.metrics().locations_refused, seeker.net.metrics().locations_refused), (0, 0));
}

#[tokio::test]
async fn a_record_given_before_any_peer_is_known_is_written_when_one_comes() {
    let early = Node::plain(1).await;
    early.net.provide(Key::Process(process(1))).await.unwrap();
    let late = Node::joining(2, &early).await;
    let third = Node::joining(3, &late).await;
    until("the early provider", || async {
        third.net.providers(Key::Process(process(1))).await.unwrap().contains(&early.peer()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn three_providers_are_enough() {
    let hub = Node::plain(1).await;
    let mut nodes = Vec::new();
    for seed in 2..=6 {
        let node = Node::joining(seed, &hub).await;
        node.net.provide(Key::Process(process(1))).await.unwrap();
        nodes.push(node);
    }
    let seeker = Node::joining(9, &hub).await;
    let found = until("three providers", || async {
        let found = seeker.net.providers(Key::Process(process(1))).await.unwrap();
        (found.len() >= 3).then_some(found)
    })
    .await;
    let all: BTreeSet<_> = nodes.iter().map(Node::peer).collect();
    assert!(found.iter().all(|peer| all.contains(peer)));
}

#[tokio::test]
async fn a_peer_that_restarts_with_its_key_is_found_again_with_its_topics() {
    let mut stays = Node::plain(1).await;
    let goes = Node::joining(2, &stays).await;
    let port = goes.address();
    let (peer, port) = (goes.peer(), port.split("/p2p/").next().unwrap().to_string());
    stays.net.join(process(1)).await.unwrap();
    goes.net.join(process(1)).await.unwrap();
    stays.sees_subscribed(process(1), &goes).await;
    goes.net.shutdown().await;
    stays
        .next("the end", |event| match event {
            NetEvent::PeerDown { peer: down } => (down == peer).then_some(()),
            _ => None,
        })
        .await;
    let mut again = config(2);
    again.listen = vec![port];
    again.bootstrap = vec![stays.address()];
    let back = Node::start(again).await;
    back.net.join(process(1)).await.unwrap();
    assert_eq!(back.peer(), peer);
    stays.sees_subscribed(process(1), &back).await;
    back.sees_subscribed(process(1), &stays).await;
}

#[tokio::test]
async fn a_lost_bootstrap_peer_is_dialled_until_it_is_back() {
    let boot = Node::plain(1).await;
    let address = boot.address();
    let mut waits = Node::joining(2, &boot).await;
    boot.net.shutdown().await;
    waits.next("the end", |event| matches!(event, NetEvent::PeerDown { .. }).then_some(())).await;
    let mut again = config(1);
    again.listen = vec![address.split("/p2p/").next().unwrap().to_string()];
    let boot = Node::start(again).await;
    // The one that waits dials; the one that is back knows nobody.
    within("the way back", boot.net.wait_ready(1)).await.unwrap();
    assert!(waits.sees("the lost one", &boot, |_| true).await.dialled);
}

#[tokio::test]
async fn networks_do_not_mix() {
    let ours = Node::plain(1).await;
    let mut foreign = NetConfig::new([2; 32], Network::of_name("other"));
    foreign.bootstrap = vec![ours.address()];
    let foreign = Node::start(foreign).await;
    until("a parting", || async {
        let parted = ours.net.metrics().foreign_peers + foreign.net.metrics().foreign_peers;
        (parted > 0 && ours.net.peers().await.unwrap().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn bad_values_and_taken_ports_are_named() {
    let mut bad = config(1);
    bad.listen = vec!["127.0.0.1:4001".into()];
    let error = Net::start(bad).unwrap_err().to_string();
    assert!(error.contains("`127.0.0.1:4001`") && error.contains("/ip4/127.0.0.1/tcp/4001"), "{error}");

    let node = Node::plain(1).await;
    let taken = node.address().split("/p2p/").next().unwrap().to_string();
    let mut second = config(2);
    second.listen = vec![taken.clone()];
    let error = Net::start(second).unwrap_err();
    assert!(matches!(&error, NetError::Listen { address, .. } if *address == taken), "{error}");

    let error = node.net.dial("localhost").await.unwrap_err();
    assert!(
        matches!(error, DialError::Address { .. }) && error.to_string().contains("`localhost`"),
        "{error}"
    );
    let nobody = "/ip4/127.0.0.1/tcp/1";
    let error = node.net.dial(nobody).await.unwrap_err();
    assert!(matches!(&error, DialError::Failed { address, .. } if address == nobody), "{error}");
    let other = Node::plain(3).await;
    let wrong = format!("{taken}/p2p/{}", Node::plain(4).await.peer());
    assert!(matches!(other.net.dial(&wrong).await, Err(DialError::Failed { .. })));
    assert_eq!(other.net.dial(&node.address()).await, Ok(node.peer()));
}

#[tokio::test]
async fn nodes_of_one_program_connect_without_sockets() {
    let in_memory = |seed| {
        let mut config = config(seed);
        config.listen = vec!["/memory/0".into()];
        config
    };
    let first = Node::start(in_memory(1)).await;
    let mut second = in_memory(2);
    second.bootstrap = vec![first.address()];
    let second = Node::start(second).await;
    within("a peer", first.net.wait_ready(1)).await.unwrap();
    assert!(second.sees("the first", &first, |_| true).await.dialled);
}

#[tokio::test]
async fn the_network_stops_with_its_last_handle() {
    let Node { net, mut events } = Node::plain(1).await;
    let other = net.clone();
    drop(net);
    assert!(other.peers().await.is_ok());
    drop(other);
    assert!(within("the end of events", events.recv()).await.is_none());
}
