//! What attackers do. Each deed is told by its test's name.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use libp2p::Multiaddr;
use libp2p::gossipsub::IdentTopic;
use libp2p::swarm::SwarmEvent;
use prost::Message as _;
use weft_net::RequestError;
use weft_protocol::crypto::Signer;
use weft_protocol::wire;

use crate::attacker::Attacker;
use crate::full::is_full;
use crate::raw;
use crate::support::{network, process, within};
use crate::town::{Town, WHILE, announcement, blob, scheduler};

/// What all of this program may take more while a deed is done.
const HELD_MIB: u64 = 64;

/// Counts of the issue with `WEFT_FULL=1`.
fn count(ordinary: u32, full: u32) -> u32 {
    if is_full() { full } else { ordinary }
}

fn numbered(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_forges_signatures_is_soon_not_heard() {
    let town = Town::founded().await;
    let mut attacker = Attacker::on_topic(&town).await;
    for number in 0..50 {
        let mut forged = announcement(process(1), numbered(number), &scheduler()).to_vec();
        *forged.last_mut().unwrap() ^= 1;
        attacker.say(process(1), forged);
    }
    attacker.comes_to_nothing(&town).await;
    town.outlived(HELD_MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_true_elsewhere_is_no_truth_here() {
    let town = Town::founded().await;
    let mut attacker = Attacker::on_topic(&town).await;
    for number in 0..50 {
        attacker.say(process(1), announcement(process(2), numbered(number), &scheduler()).to_vec());
    }
    attacker.comes_to_nothing(&town).await;
    town.outlived(HELD_MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_truth_again_and_again_is_heard_once() {
    let mut town = Town::founded().await;
    let mut attacker = Attacker::on_topic(&town).await;
    let truths: Vec<Bytes> = (0..20).map(|_| town.truth(100)).collect();
    for truth in &truths {
        let _ = town.citizens[0].net.publish(process(1), truth.clone()).await.unwrap();
    }
    let received = |town: &Town| -> Vec<u64> {
        town.citizens.iter().map(|citizen| citizen.net.metrics().gossip_received).collect()
    };
    let before = received(&town);
    let mut said = 0;
    for _ in 0..count(20, 500) {
        for truth in &truths {
            said += u32::from(attacker.say(process(1), truth.to_vec()));
        }
        attacker.run(50).await;
    }
    assert!(said > count(100, 1_000), "{said} were said");
    // Each citizen's own network heard each truth once at most, and asked nobody about the others.
    for (now, before) in received(&town).into_iter().zip(before) {
        assert!(now - before <= truths.len() as u64, "{} of {}", now - before, truths.len());
    }
    // Whoever repeats what others said does no more than the mesh does: it is not at fault.
    town.outlived(HELD_MIB).await;
}

/// As fast as they can be made: well over ten thousand a second where the machine is quick enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_breaks_no_rule_is_shut_out_by_its_size() {
    let town = Town::with(|config| config.limits.announcements_per_peer = 200).await;
    let mut attacker = Attacker::on_topic(&town).await;
    let stranger = Signer::from_seed(&[201; 32]);
    let name = attacker.name.clone();
    for number in 0..count(20_000, 200_000) {
        attacker.say(process(1), announcement(process(1), numbered(number), &stranger).to_vec());
        if number % 64 == 0 {
            attacker.run(8).await;
            if town.all_shun(&name).await {
                break;
            }
        }
    }
    attacker.comes_to_nothing(&town).await;
    for citizen in &town.citizens {
        let metrics = citizen.net.metrics();
        assert!(metrics.gossip_flooded > 0 && metrics.faults > 0, "{metrics:?}");
    }
    town.outlived(HELD_MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_topics_are_four_thousand_too_many() {
    let town = Town::founded().await;
    let mut attacker = Attacker::of(&town).await;
    let name = attacker.name.clone();
    for number in 0..100_000 {
        let topic = IdentTopic::new(format!("ao1/{}/siege-{number}", network().short()));
        attacker.swarm.behaviour_mut().gossip.subscribe(&topic).unwrap();
        if number % 512 == 0 {
            attacker.run(8).await;
            if town.all_shun(&name).await {
                break;
            }
        }
    }
    attacker.comes_to_nothing(&town).await;
    town.outlived(HELD_MIB).await;
}

/// All in the first words of a connection: the frame is too long, and a filter would not take so many either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_topics_at_once_are_none() {
    let town = Town::founded().await;
    let mut swarm = raw::swarm(true);
    for number in 0..100_000 {
        let topic = IdentTopic::new(format!("ao1/{}/siege-{number}", network().short()));
        swarm.behaviour_mut().gossip.subscribe(&topic).unwrap();
    }
    for citizen in &town.citizens {
        raw::connect(&mut swarm, &citizen.address()).await;
    }
    let name = swarm.local_peer_id().to_string();
    let mut attacker = Attacker { swarm, name };
    attacker.is_answered(&town).await;
    assert!(attacker.topics_known(&town).await.iter().all(|known| *known == 0));
    drop(attacker);
    // The attacker's own hundred thousand names are in this program too.
    town.outlived(4 * HELD_MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_beyond_the_limit_are_not_read() {
    let town = Town::founded().await;
    let mut attacker = Attacker::on_topic(&town).await;
    for number in 0..8 {
        let mut huge = numbered(number);
        huge.resize(2 * 1024 * 1024, 0);
        assert!(attacker.say(process(1), huge));
        attacker.run(100).await;
    }
    attacker.is_answered(&town).await;
    for citizen in &town.citizens {
        assert_eq!(citizen.net.metrics().gossip_oversized, 0, "a frame was read");
    }
    // And announcements that fit in a frame and are still too large.
    let mut attacker = Attacker::on_topic(&town).await;
    for number in 0..8 {
        let mut large = numbered(number);
        large.resize(wire::ANNOUNCEMENT_BYTES_MAX + 1, 0);
        attacker.say(process(1), large);
    }
    attacker.comes_to_nothing(&town).await;
    // The attacker's own frames, one for each citizen, are in this program too.
    town.outlived(2 * HELD_MIB).await;
}

/// It is on the topic, and takes nothing of what is said there, on either of its connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_does_not_listen_is_hung_up_on() {
    let patience = Duration::from_secs(2);
    let mut town = Town::with(|config| config.limits.slow_patience = patience).await;
    let mut attacker = Attacker::on_topic(&town).await;
    raw::connect(&mut attacker.swarm, &town.citizens[0].address()).await;
    attacker.run(50).await;
    // From here on nobody runs its swarm.
    within("the attacker's end", async {
        while town.citizens[0].is_connected(&attacker.name).await {
            let truths: Vec<Bytes> = (0..16).map(|_| town.truth(4 * 1024)).collect();
            for truth in &truths {
                let _ = town.citizens[0].net.publish(process(1), truth.clone()).await;
            }
            // No more than the others take, however busy the machine is: they are not slow.
            for citizen in &mut town.citizens[1..] {
                citizen.hears(truths.last().unwrap()).await;
            }
            // tidy-allow(sleep): a pace, so that what gossip remembers of the last seconds is small on a quick machine.
            tokio::time::sleep(WHILE).await;
        }
    })
    .await;
    assert_eq!(town.citizens[0].net.metrics().slow_peers, 1);
    drop(attacker);
    town.outlived(2 * HELD_MIB).await;
}

/// So many peers that ask the first citizen for sixteen times eight MiB each, and read nothing.
async fn greedy(town: &Town, attackers: u64) -> Vec<Attacker> {
    const ASKED: u64 = 16;
    let victim = town.citizens[0].net.peer().to_string().parse().unwrap();
    let mut all = Vec::new();
    for number in 1..=attackers {
        let mut attacker = Attacker::reading(town, false).await;
        for _ in 0..ASKED {
            let bytes = blob().encode_length_delimited_to_vec();
            attacker.swarm.behaviour_mut().requests.send_request(&victim, bytes);
        }
        // Six at most are on their way to each.
        let refused = town.citizens[0].net.metrics().answers_busy + ASKED - 6;
        attacker
            .run_until("refusals", async |_: &str| {
                let metrics = town.citizens[0].net.metrics();
                metrics.requests_received >= number * ASKED && metrics.answers_busy >= refused
            })
            .await;
        all.push(attacker);
    }
    all
}

/// The second citizen asks the first until it has its answer.
async fn is_answered(town: &Town) {
    let victim = town.citizens[0].net.peer();
    within("an answer", async {
        let mut pause = tokio::time::interval(WHILE);
        loop {
            pause.tick().await;
            match town.citizens[1].net.request(victim, blob()).await {
                Ok(wire::Response { body: Some(wire::response::Body::Blob(_)) }) => return,
                Ok(_) | Err(RequestError::Timeout) => {}
                Err(other) => panic!("{other}"),
            }
        }
    })
    .await;
}

/// Together a gigabyte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_few() {
    let town = Town::founded().await;
    let attackers = greedy(&town, 8).await;
    // Whoever reads has its answer meanwhile.
    is_answered(&town).await;
    assert_eq!(town.citizens[0].net.metrics().answers_cut, 0);
    drop(attackers);
    // Two thirds of what answers may take, and what the attackers are.
    town.outlived(4 * HELD_MIB).await;
}

/// Enough of them to take all that answers may, for as long as they like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_make_room_for_those_that_somebody_does() {
    let town = Town::with(|config| {
        config.limits.request_timeout = Duration::from_secs(600);
        config.limits.slow_patience = Duration::from_secs(30);
    })
    .await;
    let attackers = greedy(&town, 22).await;
    is_answered(&town).await;
    let metrics = town.citizens[0].net.metrics();
    assert!(metrics.answers_cut > 0, "{metrics:?}");
    drop(attackers);
    town.outlived(6 * HELD_MIB).await;
}

/// Each announces the largest request there is, and one that takes the rest of what a connection may announce: together
/// more than there is for all, for as long as they like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_announces_much_and_sends_nothing_holds_up_nobody() {
    const LONG: Duration = Duration::from_secs(600);
    let town = Town::with(|config| config.limits.request_timeout = LONG).await;
    let victim = town.citizens[0].net.peer();
    let mut attackers = Vec::new();
    for _ in 0..17 {
        let mut attacker = Box::pin(Attacker::by(raw::mute(LONG), &town)).await;
        for announced in [wire::REQUEST_BYTES_MAX, 6 * 1024 * 1024 - 256 * 1024] {
            let mut length = Vec::new();
            prost::encoding::encode_varint(announced as u64, &mut length);
            let victim = victim.to_string().parse().unwrap();
            attacker.swarm.behaviour_mut().requests.send_request(&victim, length);
        }
        // By then both are read.
        attacker.is_answered_by(&town.citizens[0]).await;
        attackers.push(attacker);
    }
    let submit = wire::SubmitRequest { item: vec![1; 1024 * 1024].into(), proof: Bytes::new() };
    let request = wire::Request { body: Some(wire::request::Body::Submit(submit)) };
    let answer = within("an answer", town.citizens[1].net.request(victim, request)).await;
    assert!(answer.is_ok(), "{answer:?}");
    drop(attackers);
    town.outlived(4 * HELD_MIB).await;
}

/// Each with a key of its own, all from this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_connections_from_one_address_a_few_stand() {
    const ALLOWED: usize = 12;
    let town = Town::with(|config| config.limits.connections_per_machine = ALLOWED as u32).await;
    let address: Multiaddr = town.citizens[0].address().parse().unwrap();
    let (mut standing, mut refused) = (Vec::new(), 0);
    for _ in 0..200 {
        let mut swarm = raw::swarm(true);
        swarm.dial(address.clone()).unwrap();
        // One that is refused hears of it after it thought itself connected.
        let stands = within("an end of the dial", async {
            loop {
                match tokio::time::timeout(Duration::from_millis(100), swarm.select_next_some()).await {
                    Ok(SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. }) => {
                        return false;
                    }
                    Ok(_) => {}
                    Err(_) if swarm.connected_peers().next().is_some() => return true,
                    Err(_) => {}
                }
            }
        })
        .await;
        match stands {
            true => standing.push(swarm),
            false => refused += 1,
        }
    }
    assert!(standing.len() <= ALLOWED && refused >= 200 - ALLOWED, "{} stand", standing.len());
    assert!(town.citizens[0].net.metrics().connections_crowded >= 188);
    assert!(town.citizens[0].net.peers().await.unwrap().len() <= ALLOWED + 2);
    town.outlived(HELD_MIB).await;
}
