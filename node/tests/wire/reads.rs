//! Questions of clients that peers pass on: what is refused by name, what an answer may have, and who waits.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use weft_node::reads::{ANSWER_BYTES_MAX, QUESTION_BYTES_MAX, WAIT_MS_MAX};
use weft_protocol::data_item::Draft;
use weft_protocol::wire::refusal::Code;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Id, wire};

use crate::support::{Node, Stranger, tags, within};

fn read(process: impl AsRef<[u8]>, question: impl Into<Bytes>) -> Ask {
    let process = Bytes::copy_from_slice(process.as_ref());
    Ask::Read(wire::ReadRequest { process, question: question.into() })
}

fn asks(process: Id, question: &Value) -> Ask {
    read(process, question.to_string())
}

/// A question by its name, the code of the refusal, and what it must say.
fn senseless(process: Id) -> Vec<(&'static str, Ask, Code, &'static str)> {
    let nobody = Id([7; 32]);
    let dry_run = json!({ "dry-run": { "message": { "Owner": "x" }, "to": nobody } });
    vec![
        (
            "too long",
            read(process, vec![b' '; QUESTION_BYTES_MAX + 1]),
            Code::Invalid,
            "the question has more than",
        ),
        ("no JSON", read(process, "{"), Code::Invalid, "the question: EOF"),
        ("no text", read(process, vec![0xff]), Code::Invalid, "the question: "),
        ("no question", read(process, "\"state\""), Code::Invalid, "unknown variant"),
        ("deep JSON", read(process, "[".repeat(1_000_000)), Code::Invalid, "the question: "),
        ("more than a question", asks(process, &json!({ "message": { "x": 1 } })), Code::Invalid, "`x`"),
        ("no id", read("short", "\"process\""), Code::Invalid, "process"),
        ("the past", asks(process, &dry_run), Code::Invalid, "states of the past"),
        ("nobody's process", asks(nobody, &json!("process")), Code::Unknown, "not hosted"),
        (
            "no such message",
            asks(process, &json!({ "message": { "id": nobody } })),
            Code::Unknown,
            "not found",
        ),
        (
            "no such result",
            asks(process, &json!({ "result": { "of": { "slot": u64::MAX }, "wait_ms": 0 } })),
            Code::Unknown,
            "yet: its newest is 1",
        ),
        (
            "a cursor that is none",
            asks(process, &json!({ "results": { "from": "x" } })),
            Code::Invalid,
            "`from`",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senseless_questions_are_refused_by_name() {
    let node = Node::start(150).await;
    let process = node.counter().await;
    node.increments(process, 1).await;
    let me = Stranger::of(&node, 151).await;
    for (name, ask, code, part) in senseless(process) {
        match me.ask(ask).await {
            Answer::Refusal(refusal) => {
                assert!(refusal.code() == code && refusal.text.contains(part), "{name}: {refusal:?}");
            }
            other => panic!("{name} was answered with {other:?}"),
        }
    }
    // The same peer is answered what makes sense.
    let answer =
        answered(&me, asks(process, &json!({ "result": { "of": { "slot": 1 }, "wait_ms": 0 } }))).await;
    assert_eq!(answer["result"]["Output"], "1");
    node.stop().await;
}

async fn answered(me: &Stranger, ask: Ask) -> Value {
    match me.ask(ask).await {
        Answer::Read(read) => {
            assert!(read.answer.len() <= ANSWER_BYTES_MAX);
            serde_json::from_slice(&read.answer).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// Each byte that is no text is shown as three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_has_room_for_what_it_shows() {
    const MIB: usize = 1024 * 1024;
    let node = Node::start(152).await;
    let process = node.counter().await;
    let mut ids = Vec::new();
    for (number, data) in
        [vec![0xff; 3 * MIB], vec![0xff; 3 * MIB], vec![b'x'; 10 * MIB], vec![0xff; 4 * MIB]]
            .into_iter()
            .enumerate()
    {
        let tags = tags(&[("Data-Protocol", "ao"), ("Type", "Message")]);
        let anchor = Some([number as u8; 32]);
        // The largest item has some hundred bytes beside its data.
        let data = data[..data.len() - 4_096].to_vec().into();
        let item = Draft { target: Some(process), anchor, tags, data }.sign(&node.signer).unwrap();
        ids.push(node.submit(&item).await.unwrap().id);
    }
    let me = Stranger::of(&node, 153).await;
    let page = async |from: Option<u64>| {
        let question = json!({ "messages": { "span": { "by": "nonces", "from": from } } });
        let page = answered(&me, asks(process, &question)).await;
        let edges = page["edges"].as_array().unwrap();
        let cursors = edges.iter().map(|edge| edge["cursor"].as_str().unwrap().parse::<u64>().unwrap());
        (cursors.collect::<Vec<_>>(), page["page_info"]["has_next_page"].as_bool().unwrap())
    };
    assert_eq!(page(None).await, (vec![0], true));
    assert_eq!(page(Some(0)).await, (vec![1], true));
    assert_eq!(page(Some(1)).await, (vec![2], true));
    // The largest message that is text.
    assert_eq!(page(Some(2)).await, (vec![3], true));
    let message = |id: Id| asks(process, &json!({ "message": { "id": id } }));
    let shown = answered(&me, message(ids[2])).await;
    assert_eq!(shown["message"]["data"].as_str().unwrap().len(), 10 * MIB - 4_096);
    let Answer::Refusal(refusal) = me.ask(message(ids[3])).await else { panic!("it was given") };
    assert!(refusal.code() == Code::Invalid && refusal.text.contains("a peer is given"), "{refusal:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_what_never_comes_keeps_out_nobody() {
    // A quarter of the half that may wait.
    const WAITS: usize = 16;
    const MORE: usize = 4;
    let node = Node::start(154).await;
    let process = node.counter().await;
    node.increments(process, 1).await;
    let (me, other) = (Stranger::of(&node, 155).await, Stranger::of(&node, 156).await);
    let never = json!({ "result": { "of": { "slot": 9 }, "wait_ms": WAIT_MS_MAX } });
    let began = Instant::now();
    let mut waiting: FuturesUnordered<_> = (0..WAITS + MORE).map(|_| me.ask(asks(process, &never))).collect();
    let refused = |answer: Answer| match answer {
        Answer::Refusal(refusal) => assert_eq!(refusal.code(), Code::Unknown, "{refusal:?}"),
        other => panic!("{other:?}"),
    };
    for _ in 0..MORE {
        refused(within("an answer at once", waiting.next()).await.unwrap());
    }
    let now = json!({ "result": { "of": { "slot": 1 }, "wait_ms": WAIT_MS_MAX } });
    assert_eq!(answered(&other, asks(process, &now)).await["result"]["Output"], "1");
    assert!(began.elapsed() < Duration::from_millis(WAIT_MS_MAX), "{:?}", began.elapsed());
    while let Some(answer) = waiting.next().await {
        refused(answer);
    }
    assert!(began.elapsed() >= Duration::from_millis(WAIT_MS_MAX - 1_000), "the others waited");
    node.stop().await;
}

/// Those that wait were let in while there was some left: they are asked again when their turn comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_runs_of_peers_that_wait_for_each_other_have_one_budget() {
    let node = Node::set_up(158, &[], |config| {
        config.others_dry_run_gas = Some(1);
        config.dry_runs = 1;
    })
    .await;
    let process = node.counter().await;
    node.increments(process, 1).await;
    let message = json!({ "Owner": "x", "Tags": [{ "name": "Action", "value": "Increment" }] });
    let asked = json!({ "dry-run": { "message": message } });
    let me = Stranger::of(&node, 159).await;
    let answers: Vec<Answer> =
        (0..4).map(|_| me.ask(asks(process, &asked))).collect::<FuturesUnordered<_>>().collect().await;
    let run = answers.iter().filter(|answer| matches!(answer, Answer::Read(_))).count();
    assert_eq!(run, 1, "{answers:?}");
    node.stop().await;
}

/// A key costs nothing: what all peers together have a node compute for nothing has a bound, and its own clients are not in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_runs_of_peers_have_a_budget_and_those_of_clients_none() {
    let message = json!({ "Owner": "x", "Tags": [{ "name": "Action", "value": "Increment" }] });
    let asked = json!({ "dry-run": { "message": message } });
    for (seed, gas) in [(154, 1), (155, 0)] {
        let node = Node::set_up(seed, &[], |config| config.others_dry_run_gas = Some(gas)).await;
        let process = node.counter().await;
        node.increments(process, 1).await;
        let (one, other) = (Stranger::of(&node, 156).await, Stranger::of(&node, 157).await);
        if gas > 0 {
            assert_eq!(answered(&one, asks(process, &asked)).await["code"], 0);
        }
        // The peer that used it up, and any other.
        for me in [&one, &other] {
            let Answer::Refusal(refusal) = me.ask(asks(process, &asked)).await else { panic!("it was run") };
            assert!(refusal.text.contains("`others_dry_run_gas`"), "{refusal:?}");
            let expected = if gas > 0 { Code::Busy } else { Code::NotMine };
            assert_eq!((refusal.code(), refusal.retry_ms > 0), (expected, gas > 0), "{refusal:?}");
            // What is no dry run is answered as before.
            answered(me, asks(process, &json!("process"))).await;
        }
        for _ in 0..3 {
            let run = json!({ "do": "dry-run", "process": process.to_string(), "message": message });
            let told: Value = node.ask(serde_json::from_value(run).unwrap()).await.unwrap();
            assert_eq!(told["code"], 0, "{told}");
        }
        let metrics: Value =
            node.ask(serde_json::from_value(json!({ "do": "metrics" })).unwrap()).await.unwrap();
        let metrics = metrics.as_str().unwrap();
        assert!(metrics.contains("weft_dry_runs_total{outcome=\"spent\"} 2"), "{metrics}");
        node.stop().await;
    }
}
