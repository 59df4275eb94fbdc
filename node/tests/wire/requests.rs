//! Requests that make no sense, and more of them than a node serves.

use bytes::Bytes;
use futures::future::join_all;
use weft_net::{Net, NetConfig, RequestError};
use weft_protocol::wire::refusal::Code;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Id, Network, wire};

use crate::support::{Node, Stranger, until, within};

fn bytes(id: Id) -> Bytes {
    Bytes::copy_from_slice(id.as_ref())
}

fn submit(item: impl Into<Bytes>, proof: impl Into<Bytes>) -> Ask {
    Ask::Submit(wire::SubmitRequest { item: item.into(), proof: proof.into() })
}

/// Requests by name, the code of the refusal, and what it must say.
fn senseless(process: Id, module: Id, me: &Stranger) -> Vec<(&'static str, Ask, Code, &'static str)> {
    let nobody = Id([7; 32]);
    let range = |process, from, to| Ask::Range(wire::RangeRequest { process, from, to, max_bytes: u64::MAX });
    let blob = |id, offset| Ask::Blob(wire::BlobRequest { id, offset, max_bytes: u64::MAX });
    let message = Node::message(process, 1, &me.signer);
    let mut tampered = message.raw().to_vec();
    tampered[2] ^= 1;
    let elsewhere = Node::message(nobody, 1, &me.signer);
    let short = || Bytes::from_static(b"short");
    let attestations = |process, position| Ask::Attestations(wire::AttestationsRequest { process, position });
    let outcome = |process, item| Ask::Outcome(wire::OutcomeRequest { process, item });
    let pushed = |process, push_id| Ask::Pushed(wire::PushedRequest { process, push_id });
    let stranger = crate::support::tags(&[
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Module", &module.to_string()),
        ("Scheduler", &process.to_string()),
    ]);
    let stranger = weft_protocol::data_item::Draft { tags: stranger, ..Default::default() };
    let stranger = stranger.sign(&me.signer).unwrap();
    vec![
        (
            "heads of no id",
            Ask::Head(wire::HeadRequest { processes: vec![short()] }),
            Code::Invalid,
            "process",
        ),
        ("a range of no id", range(short(), 0, 9), Code::Invalid, "process"),
        ("a range backwards", range(bytes(process), 9, 0), Code::Invalid, "slots 9..=0 are not a range"),
        ("a range of nobody", range(bytes(nobody), 0, 9), Code::Unknown, "is not here"),
        ("no item", blob(bytes(nobody), 0), Code::Unknown, "is not here"),
        ("an item of no id", blob(short(), 0), Code::Invalid, "id"),
        ("beyond an item", blob(bytes(module), u64::MAX), Code::Invalid, "ends before 18446744073709551615"),
        ("attestations of nowhere", attestations(bytes(process), None), Code::Invalid, "position"),
        ("attestations of no id", attestations(short(), None), Code::Invalid, "process"),
        ("no outcome", outcome(bytes(process), bytes(nobody)), Code::Unknown, "no outcome here yet"),
        ("an outcome of no id", outcome(bytes(process), short()), Code::Invalid, "item"),
        ("no push", pushed(bytes(process), bytes(nobody)), Code::Unknown, "has no slot of process"),
        ("a push of no id", pushed(bytes(process), short()), Code::Invalid, "push_id"),
        ("nothing to submit", submit("", ""), Code::Invalid, "the item ends inside its signature type"),
        ("garbage to submit", submit("hello", ""), Code::Invalid, "signature type"),
        ("a tampered item", submit(tampered, ""), Code::Invalid, "signature"),
        ("a stray proof", submit(message.raw().clone(), message.raw().clone()), Code::Invalid, "proof"),
        ("a broken proof", submit(message.raw().clone(), "x"), Code::Invalid, "proof"),
        (
            "a message to nobody",
            submit(elsewhere.raw().clone(), ""),
            Code::Unknown,
            "not scheduled by this node",
        ),
        ("another's process", submit(stranger.raw().clone(), ""), Code::NotMine, "names scheduler"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senseless_requests_are_refused_by_name() {
    let node = Node::start(30).await;
    let process = node.counter().await;
    let module = node.detail(process).await.info.module;
    let me = Stranger::of(&node, 31).await;
    for (name, ask, code, part) in senseless(process, module, &me) {
        match me.ask(ask).await {
            Answer::Refusal(refusal) => {
                assert!(refusal.code() == code && refusal.text.contains(part), "{name}: {refusal:?}");
            }
            other => panic!("{name} was answered with {other:?}"),
        }
    }
    // What is asked without measure is given in measure.
    let most = u64::MAX;
    let all = Ask::Range(wire::RangeRequest { process: bytes(process), from: 0, to: most, max_bytes: most });
    let Answer::Range(range) = me.ask(all).await else { panic!("no range") };
    assert_eq!((range.slots.len(), range.more), (1, true));
    assert_eq!(node.increments(process, 1).await, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests_is_told_to_wait_and_the_owner_is_served() {
    let node = Node::start(32).await;
    let process = node.counter().await;
    let module = node.detail(process).await.info.module;
    let other = node.counter_named("other").await;
    let honest = Stranger::of(&node, 40).await;
    let strangers = join_all((33..37).map(|seed| Stranger::of(&node, seed))).await;
    let mut asks = Vec::new();
    for stranger in &strangers {
        for number in 0..200_u8 {
            let item = Node::message(process, number, &stranger.signer).raw().clone();
            asks.push(stranger.net.request(node_peer(&node), wire::Request { body: Some(submit(item, "")) }));
            let blob = wire::BlobRequest { id: bytes(module), offset: 0, max_bytes: 1 };
            let body = Some(Ask::Blob(blob));
            asks.push(stranger.net.request(node_peer(&node), wire::Request { body }));
        }
    }
    let (answers, own, theirs) = within("the flood", async {
        let own = async {
            let mut own = Vec::new();
            for number in 0..5 {
                own.push(node.increments(process, number).await);
            }
            own
        };
        // Who writes to another process is never told to wait for the flood on this one.
        let theirs = async {
            let mut theirs = Vec::new();
            for number in 0..20 {
                let item = Node::message(other, number, &honest.signer).raw().clone();
                match honest.ask(submit(item, "")).await {
                    Answer::Submit(submitted) => theirs.push(submitted.slot),
                    refused => panic!("{refused:?}"),
                }
            }
            theirs
        };
        tokio::join!(join_all(asks), own, theirs)
    })
    .await;
    assert!(own.is_sorted_by(|a, b| a < b), "{own:?}");
    assert!(theirs.into_iter().eq(1..=20));
    let mut slots = 0;
    for answer in answers {
        match answer.map(|response| response.body) {
            Ok(Some(Answer::Submit(_))) => slots += 1,
            Ok(Some(Answer::Blob(_))) => {}
            Ok(Some(Answer::Refusal(refusal))) => {
                assert_eq!(refusal.code(), Code::Busy, "{refusal:?}");
                assert!(refusal.retry_ms > 0, "{refusal:?}");
            }
            // The stranger's own limits, or those of the connection.
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    }
    // Every slot that was given is in the log, and no other.
    let head = until("all slots", || async {
        let head = node.detail(process).await.info.head.unwrap();
        (head >= slots + 5).then_some(head)
    })
    .await;
    assert!(head >= slots + own.len() as u64);
    node.stop().await;
}

fn node_peer(node: &Node) -> weft_net::Peer {
    node.ready.peer_id.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_network_is_let_go() {
    let node = Node::start(38).await;
    let process = node.counter().await;
    let other = Network::of_name("another-net");
    let (net, _events) = Net::start(NetConfig::new([39; 32], other)).unwrap();
    within("listening", net.wait_ready(0)).await.unwrap();
    let peer = within("a dial", net.dial(&node.address())).await.unwrap();
    let body = Some(Ask::Head(wire::HeadRequest { processes: vec![bytes(process)] }));
    let answer = within("an answer", net.request(peer, wire::Request { body })).await;
    let gone = |error: &RequestError| {
        matches!(
            error,
            RequestError::Unsupported
                | RequestError::Disconnected
                | RequestError::Io(_)
                | RequestError::Unreachable
        )
    };
    assert!(answer.as_ref().is_err_and(gone), "{answer:?}");
    until("the node to let it go", || async {
        let peers: Vec<serde_json::Value> = node.ask(weft_node::control::api::Request::Peers).await.unwrap();
        peers.is_empty().then_some(())
    })
    .await;
    node.stop().await;
}
