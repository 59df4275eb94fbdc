//! A messenger that computes nothing among peers that say what they like of what a process sent: nothing but what its
//! attestors signed waits to be pushed, whoever shows it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use weft_node::config::Role;
use weft_node::control::api::{CarryRequest, OutboxInfo, PushName, Request};
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Draft, Id, wire};

use crate::followed::{Script, Truth, source, truth_of};
use crate::support::{Node, Stranger, tags, until};

/// A process that nobody serves.
const NOBODY: Id = Id([9; 32]);

/// A log that sends a message in slot 1, and what its node says of that.
async fn sending(seed: u8) -> (Node, Arc<Truth>, wire::SentResponse) {
    let node = Node::set_up(seed, &[], |config| {
        config.roles.remove(&Role::Messenger);
    })
    .await;
    let process = node.counter().await;
    relay(&node, process, &NOBODY.to_string()).await;
    node.increments(process, 2).await;
    let truth = Arc::new(truth_of(&node, process, 2).await);
    let reader = Stranger::of(&node, seed + 1).await;
    let ask = wire::SentRequest { process: wire::bytes(process), after: None, newest: false };
    let sent = until("what it sent", || async {
        match reader.ask(Ask::Sent(ask.clone())).await {
            Answer::Sent(sent) => {
                let slots = sent.attestations.iter().filter_map(|said| said.position.map(|at| at.slot));
                slots.max().filter(|slot| *slot == 2).map(|_| sent)
            }
            _ => None,
        }
    });
    let sent = sent.await;
    (node, truth, sent)
}

/// Has the process send a message.
async fn relay(node: &Node, process: Id, to: &str) {
    let tags = tags(&[("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Relay"), ("To", to)]);
    let item = Draft { target: Some(process), tags, ..Draft::default() }.sign(&node.signer).unwrap();
    node.submit(&item).await.unwrap();
}

async fn outbox(node: &Node, process: Id) -> OutboxInfo {
    node.ask(Request::Carry(CarryRequest::Outbox { process, limit: 10 })).await.unwrap()
}

/// A node that carries and does nothing else.
async fn messenger(seed: u8, others: &[&Node]) -> Node {
    Node::set_up(seed, others, |config| config.roles = [Role::Messenger].into()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_signed_waits_to_be_pushed() {
    let (node, truth, honest) = sending(180).await;
    let process = truth.process;
    node.stop().await;
    let lies: [fn(&mut wire::SentResponse); 4] = [
        |sent| sent.outboxes.clear(),
        |sent| sent.before = wire::bytes([1; 32]),
        |sent| {
            let mut entry = sent.outboxes[0].entries[0].to_vec();
            *entry.last_mut().unwrap() ^= 1;
            sent.outboxes[0].entries[0] = entry.into();
        },
        |sent| sent.attestations.clear(),
    ];
    let carrier = messenger(182, &[]).await;
    // Whoever has its key is the scheduler, who says nothing of what it sent.
    let silent = Arc::new(Mutex::new(Script::default()));
    let mut serving = vec![source(&carrier, 180, &truth, &silent).await];
    let begin = CarryRequest::Begin { process, all: true };
    carrier.ask::<Value>(Request::Carry(begin)).await.unwrap();
    for (number, lie) in (0u8..).zip(lies) {
        let mut sent = honest.clone();
        lie(&mut sent);
        let script = Script::saying(sent);
        serving.push(source(&carrier, 190 + number, &truth, &script).await);
        until("the liar to be asked", || async { (script.lock().unwrap().sent_asked > 0).then_some(()) })
            .await;
    }
    let info = outbox(&carrier, process).await;
    assert!(info.collected.is_none() && info.entries.is_empty(), "{info:?}");
    let script = Script::saying(honest);
    serving.push(source(&carrier, 200, &truth, &script).await);
    let entry =
        until("what was signed", || async { outbox(&carrier, process).await.entries.into_iter().next() });
    let entry = entry.await;
    let name = PushName { slot: 1, tick: 0, index: 0 };
    assert_eq!((entry.push, entry.state.as_str()), (name, "waits"));
    assert_eq!(entry.to, format!("process {NOBODY}"));
    carrier.stop().await;
    serving.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_where_it_goes_stays_visible_and_is_pushed_again_when_told() {
    let (node, truth, _) = sending(184).await;
    let process = truth.process;
    let carrier = messenger(186, &[&node]).await;
    let carry = |request| carrier.ask::<Value>(Request::Carry(request));
    // A node that does not carry pushes nothing again.
    let push = || CarryRequest::Push { process, push: None };
    assert!(carry(push()).await.unwrap_err().to_string().contains("not hosted"));
    // From now on: what was sent before is others' to carry.
    carry(CarryRequest::Begin { process, all: false }).await.unwrap();
    until("the newest", || async { outbox(&carrier, process).await.collected }).await;
    assert!(outbox(&carrier, process).await.entries.is_empty());
    // Told to stop and to begin anew with all of it.
    carry(CarryRequest::End { process }).await.unwrap();
    carry(CarryRequest::End { process }).await.unwrap_err();
    let info = carry(CarryRequest::Begin { process, all: true }).await.unwrap();
    assert_eq!(info["duties"], Value::from(vec!["carry", "watch"]));
    let waits =
        until("what it sent", || async { outbox(&carrier, process).await.entries.into_iter().next() });
    assert_eq!(waits.await.state, "waits");
    // What waits needs no second push, and what is none is named.
    assert_eq!(carry(push()).await.unwrap(), Value::from(0));
    let other = PushName { slot: 7, tick: 0, index: 0 };
    let error = carry(CarryRequest::Push { process, push: Some(other) }).await.unwrap_err().to_string();
    assert!(error.contains("slot 7 index 0"), "{error}");
    // Nobody schedules the address of a key: it is given up at once, said so, and tried again when somebody insists.
    relay(&node, process, &node.signer.address().to_string()).await;
    let dropped = || async {
        outbox(&carrier, process).await.entries.into_iter().find(|entry| entry.state == "dropped")
    };
    let entry = until("what goes nowhere", dropped).await;
    assert!(entry.why.is_some_and(|why| why.contains("wallet")));
    assert_eq!(carry(CarryRequest::Push { process, push: Some(entry.push) }).await.unwrap(), Value::from(1));
    until("what goes nowhere, again", dropped).await;
    // Whoever is heard to have signed is asked at once, without waiting for a quorum: here there is one.
    let mut nobody = NOBODY;
    until("an answer ahead", || {
        nobody.0[1] = nobody.0[1].wrapping_add(1);
        let (node, carrier, to) = (&node, &carrier, nobody.to_string());
        async move {
            relay(node, process, &to).await;
            let text: String = carrier.ask(Request::Metrics).await.unwrap();
            let of = |line: &str| line.strip_prefix("weft_collected_ahead_total ")?.parse::<u64>().ok();
            text.lines().find_map(of).filter(|ahead| *ahead > 0)
        }
    })
    .await;
    carrier.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_such_role_carries_for_nobody() {
    let node = Node::set_up(188, &[], |config| config.roles = [Role::Scheduler, Role::Compute].into()).await;
    let process = node.counter().await;
    let begin = CarryRequest::Begin { process, all: false };
    let error = node.ask::<Value>(Request::Carry(begin)).await.unwrap_err().to_string();
    assert!(error.contains("messenger role"), "{error}");
    // A stranger who asks for what is not there is told so, and so is one who asks for nothing.
    let reader = Stranger::of(&node, 189).await;
    for process in [wire::bytes([1; 32]), Bytes::new()] {
        let ask = wire::SentRequest { process, after: None, newest: true };
        let answer = reader.ask(Ask::Sent(ask)).await;
        assert!(matches!(answer, Answer::Refusal(_)), "{answer:?}");
    }
    node.stop().await;
}
