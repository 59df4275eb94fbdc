//! Where a key is, in its own signed words, among peers that lie: libp2p without our crate keeps the records.

use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use libp2p::core::SignedEnvelope;
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, RecordStore as _};
use libp2p::kad::{self, InboundRequest, ProviderRecord, Quorum, Record, RecordKey};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, noise, tcp, yamux};
use prost::Message;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use weft_net::{Key, Peer, Reachability};
use weft_protocol::Address;

use crate::support::{LONG, Node, config, network, process, until, within};

/// What a location record says.
#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    expires: u64,
    #[prost(bytes = "vec", repeated, tag = "3")]
    addresses: Vec<Vec<u8>>,
}

const PAYLOAD_TYPE: &[u8] = b"/weft/location";

fn domain() -> String {
    format!("weft/location/1/{}", network().short())
}

fn location_of(key: &Keypair) -> Record {
    location_at(key, "/ip4/127.0.0.1/tcp/1")
}

fn location_at(key: &Keypair, address: &str) -> Record {
    let peer: Peer = key.public().to_peer_id().to_string().parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let address: Multiaddr = address.parse().unwrap();
    let payload = Payload { sequence: now * 1000, expires: now + 3600, addresses: vec![address.to_vec()] };
    let envelope = SignedEnvelope::new(key, domain(), PAYLOAD_TYPE.to_vec(), payload.encode_to_vec());
    Record::new(of_address(peer.address().unwrap()), envelope.unwrap().into_protobuf_encoding())
}

fn of_address(address: Address) -> RecordKey {
    RecordKey::new(&[b"ao/address/", &address.as_bytes()[..]].concat())
}

/// A peer that is asked like any other. Of what it is given it keeps location records alone.
#[derive(NetworkBehaviour)]
struct Keeper {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
}

async fn keeper(key: Keypair) -> Swarm<Keeper> {
    let name = format!("/ao/{}/kad/1", network().short());
    let mut config = kad::Config::new(StreamProtocol::try_from_owned(name).unwrap());
    config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual);
    let peer = key.public().to_peer_id();
    let mut kad = kad::Behaviour::with_config(peer, MemoryStore::new(peer), config);
    kad.set_mode(Some(kad::Mode::Server));
    let identify = identify::Config::new(format!("ao/{}/1", network().short()), key.public());
    let behaviour = Keeper { kad, identify: identify::Behaviour::new(identify) };
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(LONG))
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    within("listening", async {
        while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {}
    })
    .await;
    swarm
}

fn address_of(swarm: &Swarm<Keeper>) -> String {
    format!("{}/p2p/{}", swarm.listeners().next().unwrap(), swarm.local_peer_id())
}

fn id_of(node: &Node) -> PeerId {
    node.peer().to_string().parse().unwrap()
}

/// Takes the next event of the swarm, and the record in it.
async fn step(swarm: &mut Swarm<Keeper>) {
    if let SwarmEvent::Behaviour(KeeperEvent::Kad(kad::Event::InboundRequest {
        request: InboundRequest::PutRecord { record: Some(record), .. },
    })) = swarm.select_next_some().await
    {
        swarm.behaviour_mut().kad.store_mut().put(record).unwrap();
    }
}

/// Lets the swarm run until the future is done.
async fn beside<T>(what: &str, swarm: &mut Swarm<Keeper>, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    within(what, async {
        loop {
            tokio::select! {
                value = &mut future => break value,
                () = step(swarm) => {}
            }
        }
    })
    .await
}

/// Lets the swarm run until it keeps such a location record of the node.
async fn keeps(what: &str, swarm: &mut Swarm<Keeper>, node: &Node, check: impl Fn(&[Multiaddr]) -> bool) {
    let key = of_address(node.peer().address().unwrap());
    within(what, async {
        loop {
            if let Some(record) = swarm.behaviour_mut().kad.store_mut().get(&key) {
                let envelope = SignedEnvelope::from_protobuf_encoding(&record.value).unwrap();
                let (payload, _) = envelope.payload_and_signing_key(domain(), PAYLOAD_TYPE).unwrap();
                let addresses = Payload::decode(payload).unwrap().addresses;
                let addresses: Vec<_> =
                    addresses.into_iter().map(|address| Multiaddr::try_from(address).unwrap()).collect();
                if check(&addresses) {
                    break;
                }
            }
            step(swarm).await;
        }
    })
    .await;
}

/// A node that asks and is asked by nobody, so that whom it looks for cannot come to it.
async fn apart(seed: u8, known: Vec<String>) -> Node {
    let mut apart = config(seed);
    (apart.listen, apart.reachability, apart.bootstrap) = (Vec::new(), Reachability::Relayed, known);
    // Those who say nothing are what is tested.
    (apart.limits.opening_timeout, apart.limits.lookup_timeout) = (LONG, LONG);
    Node::start(apart).await
}

/// One peer says that the scheduler is where nobody answers; another has the scheduler's own word, and is slow.
#[tokio::test]
async fn the_word_of_a_key_itself_wins_over_what_a_liar_says_first() {
    let mut holder = keeper(Keypair::generate_ed25519()).await;
    let mut scheduler = config(1);
    scheduler.bootstrap = vec![address_of(&holder)];
    let scheduler = beside("the scheduler", &mut holder, Node::start(scheduler)).await;
    let key = Key::Address(scheduler.peer().address().unwrap());
    scheduler.net.provide(key).await.unwrap();
    keeps("the record", &mut holder, &scheduler, |_| true).await;

    // It takes connections, and says nothing on them.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("/ip4/127.0.0.1/tcp/{}", nobody.local_addr().unwrap().port());
    let mut liar = keeper(Keypair::generate_ed25519()).await;
    let store = liar.behaviour_mut().kad.store_mut();
    let of_address = of_address(scheduler.peer().address().unwrap());
    store
        .add_provider(ProviderRecord::new(of_address, id_of(&scheduler), vec![at.parse().unwrap()]))
        .unwrap();
    let of_process = RecordKey::new(&[b"ao/process/", &process(1).as_bytes()[..]].concat());
    let known = vec![address_of(&liar), address_of(&holder)];
    let own = *liar.local_peer_id();
    let store = liar.behaviour_mut().kad.store_mut();
    store.add_provider(ProviderRecord::new(of_process, own, Vec::new())).unwrap();
    let liar = tokio::spawn(async move { while liar.next().await.is_some() {} });

    let seeker = apart(2, known).await;
    beside("both peers", &mut holder, seeker.net.wait_ready(2)).await.unwrap();
    // From here on the holder is silent. The seeker has heard the liar when it dials where that says.
    let mut lookup = std::pin::pin!(seeker.net.providers(key));
    let dialled = within("a dial that comes to nothing", async {
        tokio::select! {
            found = &mut lookup => panic!("a lie ended the lookup: {found:?}"),
            dialled = nobody.accept() => dialled.unwrap(),
        }
    })
    .await;
    // A lookup of a process, begun later, ends because a peer in its way is silent. That of the address does not.
    let found = within("the process", seeker.net.providers(Key::Process(process(1)))).await.unwrap();
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [own.to_string()]);
    assert!(futures::poll!(&mut lookup).is_pending(), "a lie ended the lookup");
    let found = beside("the scheduler", &mut holder, lookup).await.unwrap();
    assert_eq!(found, [scheduler.peer()]);
    assert_eq!(seeker.net.metrics().locations_found, 1);
    seeker.sees("the scheduler", &scheduler, |_| true).await;
    drop(dialled);
    liar.abort();
}

/// Whoever looked it up asks it at once, and would be told that it cannot be reached should another dial fail.
#[tokio::test]
async fn a_lookup_of_an_address_waits_for_the_dial_to_where_it_is() {
    const SEED: u8 = 1;
    let scheduler = Node::plain(SEED).await;
    let own = Keypair::ed25519_from_bytes([SEED; 32]).unwrap();
    assert_eq!(own.public().to_peer_id(), id_of(&scheduler));
    // The way to it is slow.
    let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("/ip4/127.0.0.1/tcp/{}", way.local_addr().unwrap().port());
    let mut holder = keeper(Keypair::generate_ed25519()).await;
    holder.behaviour_mut().kad.store_mut().put(location_at(&own, &at)).unwrap();
    let seeker = apart(2, vec![address_of(&holder)]).await;
    beside("the holder", &mut holder, seeker.net.wait_ready(1)).await.unwrap();
    let mut lookup = std::pin::pin!(seeker.net.providers(Key::Address(scheduler.peer().address().unwrap())));
    let dialled = async {
        tokio::select! {
            found = &mut lookup => panic!("it ended before the dial: {found:?}"),
            dialled = way.accept() => dialled.unwrap().0,
        }
    };
    let mut dialled = beside("a dial", &mut holder, dialled).await;
    // Others that ask the same peers later are over, and so are its questions.
    for number in 0..3 {
        let other = seeker.net.providers(Key::Address(Address([number; 32])));
        assert_eq!(beside("another lookup", &mut holder, other).await.unwrap(), []);
    }
    assert!(futures::poll!(&mut lookup).is_pending(), "it ended while the dial was under way");
    let to = scheduler.address().split("/tcp/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let carried = tokio::spawn(async move {
        let mut to = TcpStream::connect(format!("127.0.0.1:{to}")).await.unwrap();
        // Until the test is over.
        let _ = copy_bidirectional(&mut dialled, &mut to).await;
    });
    assert_eq!(beside("the scheduler", &mut holder, lookup).await.unwrap(), [scheduler.peer()]);
    let peers = seeker.net.peers().await.unwrap();
    assert!(peers.iter().any(|info| info.peer == scheduler.peer()), "it is connected");
    carried.abort();
}

/// Records come from the keys that signed them: else one peer could fill the table of another.
#[tokio::test]
async fn records_of_other_keys_are_not_kept_and_count_against_who_brings_them() {
    let hub = Node::plain(1).await;
    let own = Keypair::generate_ed25519();
    let mut rogue = keeper(own.clone()).await;
    let address = hub.address().split("/p2p/").next().unwrap().parse().unwrap();
    rogue.behaviour_mut().kad.add_address(&id_of(&hub), address);
    for _ in 0..20 {
        let record = location_of(&Keypair::generate_ed25519());
        rogue.behaviour_mut().kad.put_record_to(record, [id_of(&hub)].into_iter(), Quorum::One);
    }
    let all = until("twenty records", || async {
        let metrics = hub.net.metrics();
        (metrics.locations_refused + metrics.locations_kept >= 20).then_some(metrics)
    });
    let all = beside("twenty records", &mut rogue, all).await;
    assert_eq!((all.locations_kept, all.locations_refused, all.faults), (0, 20, 20));
    rogue.behaviour_mut().kad.put_record_to(location_of(&own), [id_of(&hub)].into_iter(), Quorum::One);
    let kept = until("its own", || async { (hub.net.metrics().locations_kept == 1).then_some(()) });
    beside("its own", &mut rogue, kept).await;
    assert_eq!((hub.net.metrics().locations_refused, hub.net.metrics().faults), (20, 20));
}

#[tokio::test]
async fn who_stops_providing_an_address_says_no_longer_where_it_is() {
    let scheduler = Node::plain(1).await;
    let key = Key::Address(scheduler.peer().address().unwrap());
    scheduler.net.provide(key).await.unwrap();
    let seeker = apart(2, vec![scheduler.address()]).await;
    within("a peer", seeker.net.wait_ready(1)).await.unwrap();
    assert_eq!(seeker.net.providers(key).await.unwrap(), [scheduler.peer()]);
    scheduler.net.stop_providing(key).await.unwrap();
    assert_eq!(seeker.net.providers(key).await.unwrap(), []);
}

/// A node at home is where its relays are.
#[tokio::test]
async fn a_relay_that_goes_is_in_the_record_no_longer() {
    let relays = [Node::plain(1).await, Node::plain(2).await];
    let mut holder = keeper(Keypair::generate_ed25519()).await;
    let mut home = config(3);
    home.reachability = Reachability::Relayed;
    home.bootstrap = relays.iter().map(Node::address).chain([address_of(&holder)]).collect();
    let home = beside("the node at home", &mut holder, Node::start(home)).await;
    home.net.provide(Key::Address(home.peer().address().unwrap())).await.unwrap();
    let by = |relay: &Node, addresses: &[Multiaddr]| {
        addresses.iter().any(|address| address.to_string().contains(&relay.peer().to_string()))
    };
    let [goes, stays] = &relays;
    keeps("both relays", &mut holder, &home, |at| by(goes, at) && by(stays, at)).await;
    beside("the end", &mut holder, goes.net.shutdown()).await;
    keeps("one relay", &mut holder, &home, |at| !by(goes, at) && by(stays, at)).await;
}
