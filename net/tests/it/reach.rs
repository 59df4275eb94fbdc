//! Being reached: WebSockets, addresses that are tried out, relays, crowds, and the book.

use std::collections::BTreeMap;

use weft_net::{DialError, Key, Reachability, Remembered};
use weft_protocol::wire::{self, request, response};

use crate::support::{Node, config, process, until, within};

/// Asks for nothing in particular, and is answered.
async fn ask(from: &Node, to: &mut Node) {
    let head = request::Body::Head(wire::HeadRequest { processes: Vec::new() });
    let asked = from.net.request(to.peer(), wire::Request { body: Some(head) });
    let answer = response::Body::Head(wire::HeadResponse { heads: Vec::new() });
    let answer = wire::Response { body: Some(answer) };
    let (given, ()) = tokio::join!(asked, async {
        let reply = to.next("a request", |event| match event {
            weft_net::NetEvent::Request { reply, .. } => Some(reply),
            _ => None,
        });
        reply.await.send(answer.clone()).unwrap();
    });
    assert_eq!(given, Ok(answer));
}

#[tokio::test]
async fn a_node_is_reached_by_websocket_and_quic_as_by_tcp() {
    let mut all = config(1);
    let ways = ["/tcp/0/ws", "/udp/0/quic-v1", "/tcp/0"];
    all.listen = ways.iter().map(|way| format!("/ip4/127.0.0.1{way}")).collect();
    let mut server = Node::start(all).await;
    for (seed, way) in [(2, "/ws/p2p/"), (3, "/quic-v1/p2p/")] {
        let address = server.net.listening().into_iter().find(|at| at.contains(way)).unwrap();
        let client = Node::plain(seed).await;
        assert_eq!(within("a dial", client.net.dial(&address)).await, Ok(server.peer()));
        ask(&client, &mut server).await;
    }
}

/// A node whose reach is not known serves nobody until somebody has dialled it back.
#[tokio::test]
async fn an_address_counts_once_a_peer_has_dialled_it_back() {
    let hub = Node::plain(1).await;
    let mut probed = config(2);
    probed.reachability = Reachability::Probed;
    probed.bootstrap = vec![hub.address()];
    let probed = Node::start(probed).await;
    assert_eq!(probed.net.reach().await.unwrap().confirmed, Vec::<String>::new());
    let confirmed = until("a dial back", || async {
        let reach = probed.net.reach().await.unwrap();
        (!reach.confirmed.is_empty()).then_some(reach.confirmed)
    })
    .await;
    assert!(confirmed.iter().any(|address| probed.address().starts_with(address)), "{confirmed:?}");
    // Now it is announced, so that a third can find and dial it.
    hub.sees("its addresses", &probed, |info| !info.addresses.is_empty()).await;
}

/// A node at home: nobody is told its address, so the first connection runs through the relay. Here
/// nothing is in the way of a direct one, which follows: the one at home dials a seeker that can be
/// dialled, and two that are both at home punch a hole.
async fn found_at_home(seeker: Reachability) {
    let both_at_home = seeker == Reachability::Relayed;
    let relay = Node::plain(1).await;
    let at_home = |seed, reachability| {
        let mut config = config(seed);
        config.reachability = reachability;
        config.bootstrap = vec![relay.address()];
        config
    };
    let mut home = Node::start(at_home(2, Reachability::Relayed)).await;
    until("a place at the relay", || async {
        (home.net.reach().await.unwrap().relays == [relay.peer()]).then_some(())
    })
    .await;
    home.net.provide(Key::Process(process(1))).await.unwrap();
    let seeker = Node::start(at_home(3, seeker)).await;
    within("a peer", seeker.net.wait_ready(1)).await.unwrap();
    until("the provider", || async {
        let found = seeker.net.providers(Key::Process(process(1))).await.unwrap();
        (found == [home.peer()]).then_some(())
    })
    .await;
    ask(&seeker, &mut home).await;
    let info = seeker.sees("a direct connection", &home, |info| !info.relayed).await;
    assert!(info.addresses.iter().all(|address| address.contains("/p2p-circuit")), "{info:?}");
    // Whose address is known may be dialled before the relayed connection is upgraded.
    if both_at_home {
        until("a count", || async {
            let upgrades = home.net.metrics().direct_upgrades + seeker.net.metrics().direct_upgrades;
            (upgrades > 0).then_some(())
        })
        .await;
    }
    ask(&seeker, &mut home).await;
}

#[tokio::test]
async fn a_node_at_home_is_found_and_reached_by_a_relay_and_then_dials_back() {
    found_at_home(Reachability::Assumed).await;
}

#[tokio::test]
async fn two_nodes_at_home_meet_at_a_relay_and_punch_a_hole() {
    found_at_home(Reachability::Relayed).await;
}

#[tokio::test]
async fn a_relay_that_goes_is_replaced() {
    let (first, second) = (Node::plain(1).await, Node::plain(2).await);
    let third = Node::plain(3).await;
    let mut home = config(4);
    home.reachability = Reachability::Relayed;
    home.bootstrap = vec![first.address(), second.address(), third.address()];
    let home = Node::start(home).await;
    let relays = || async { home.net.reach().await.unwrap().relays };
    let used = until("two places", || async { Some(relays().await).filter(|used| used.len() == 2) }).await;
    let (gone, left): (Vec<_>, Vec<_>) =
        [first, second, third].into_iter().partition(|relay| relay.peer() == used[0]);
    gone[0].net.shutdown().await;
    let left: Vec<_> = left.iter().map(Node::peer).collect();
    until("both others", || async {
        let used = relays().await;
        (used.len() == 2 && left.iter().all(|peer| used.contains(peer))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_from_one_place_are_capped() {
    let mut capped = config(1);
    capped.limits.connections_per_machine = 3;
    let server = Node::start(capped).await;
    let mut clients = Vec::new();
    let mut refused = 0;
    for seed in 2..12 {
        let client = Node::plain(seed).await;
        // Refused before noise: the dialler sees a connection that ends.
        refused += u32::from(within("a dial", client.net.dial(&server.address())).await.is_err());
        clients.push(client);
    }
    assert_eq!((server.net.peers().await.unwrap().len(), refused), (3, 7));
    assert!(server.net.metrics().connections_crowded >= 7);
    // One that leaves makes room.
    clients.remove(0).net.shutdown().await;
    until("room", || async { clients[9 - 1].net.dial(&server.address()).await.ok() }).await;
}

/// The first packets of so many connections by QUIC, which anybody can send in anybody's name.
async fn first_packets(count: usize) -> Vec<Vec<u8>> {
    let trap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = format!("/ip4/127.0.0.1/udp/{}/quic-v1", trap.local_addr().unwrap().port());
    let dialler = Node::plain(9).await;
    for _ in 0..count {
        let (net, address) = (dialler.net.clone(), address.clone());
        tokio::spawn(async move { net.dial(&address).await });
    }
    // By the id of the connection: packets are sent again.
    let mut packets = BTreeMap::new();
    while packets.len() < count {
        let mut bytes = vec![0; 2048];
        let length = within("a packet", trap.recv(&mut bytes)).await.unwrap();
        bytes.truncate(length);
        let id = bytes[6..6 + usize::from(bytes[5])].to_vec();
        packets.entry(id).or_insert(bytes);
    }
    packets.into_values().collect()
}

#[tokio::test]
async fn handshakes_that_nobody_goes_on_with_leave_room_for_who_comes_by_tcp() {
    let packets = first_packets(4).await;
    let mut narrow = config(1);
    narrow.limits.connections_pending = 4;
    narrow.listen = ["/tcp/0", "/udp/0/quic-v1"].map(|way| format!("/ip4/127.0.0.1{way}")).to_vec();
    let server = Node::start(narrow).await;
    let at = |way: &str| server.net.listening().into_iter().find(|at| at.contains(way)).unwrap();
    let port = at("/udp/").split('/').nth(4).unwrap().parse::<u16>().unwrap();
    let sender = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for packet in &packets {
        sender.send_to(packet, ("127.0.0.1", port)).await.unwrap();
    }
    until("the half of QUIC to be full", || async {
        (server.net.metrics().connections_crowded >= 2).then_some(())
    })
    .await;
    let client = Node::plain(2).await;
    assert_eq!(within("a dial", client.net.dial(&at("/tcp/"))).await, Ok(server.peer()));
}

#[tokio::test]
async fn a_program_beyond_its_memory_opens_no_connection() {
    let mut full = config(1);
    full.limits.memory_bytes = Some(1);
    let full = Node::start(full).await;
    let other = Node::plain(2).await;
    assert!(matches!(full.net.dial(&other.address()).await, Err(DialError::Failed { .. })));
    assert!(matches!(other.net.dial(&full.address()).await, Err(DialError::Failed { .. })));
}

/// A node that starts again without any bootstrap peer finds whom it knew.
#[tokio::test]
async fn the_book_brings_a_node_back_to_whom_it_knew() {
    let stays = Node::plain(1).await;
    let goes = Node::joining(2, &stays).await;
    let provider = Node::joining(3, &stays).await;
    provider.net.provide(Key::Process(process(1))).await.unwrap();
    let written = until("a record and an anchor", || async {
        let written = goes.net.remembered().await.unwrap();
        let anchor = written.peers.iter().any(|peer| peer.anchor && peer.peer == stays.peer());
        (anchor && !written.providers.is_empty()).then_some(written)
    })
    .await;
    goes.net.shutdown().await;
    let text = serde_json::to_string(&written).unwrap();
    let mut again = config(2);
    again.remembered = serde_json::from_str::<Remembered>(&text).unwrap().aged(3600);
    let back = Node::start(again).await;
    within("the way back", back.net.wait_ready(1)).await.unwrap();
    // What it kept for others is still there, should they be gone.
    provider.net.shutdown().await;
    stays.net.shutdown().await;
    let found = back.net.providers(Key::Process(process(1))).await.unwrap();
    assert!(found.contains(&provider.peer()), "{found:?}");
}

/// What was changed on disk does no harm.
#[tokio::test]
async fn a_book_of_nonsense_is_left_out() {
    let node = Node::plain(1).await;
    let stranger = node.peer();
    let text = format!(
        r#"{{"peers":[{{"peer":"{stranger}","addresses":["nonsense","/ip4/1.2.3.4"],"age_s":1}},
            {{"peer":"{stranger}","addresses":["/ip4/127.0.0.1/tcp/1"],"age_s":18446744073709551615}}],
            "providers":[{{"key":"zz","peer":"{stranger}","addresses":[],"expires_s":18446744073709551615}}]}}"#
    );
    let mut odd = config(2);
    odd.remembered = serde_json::from_str(&text).unwrap();
    let odd = Node::start(odd).await;
    assert_eq!(odd.net.reach().await.unwrap().book, 0);
    assert_eq!(odd.net.remembered().await.unwrap(), Remembered::default());
}
