//! A log followed through a source that lies: nothing of it is believed, and the truth is taken
//! from the same hands when it comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinHandle;
use weft_net::{Net, NetEvent, Verdict};
use weft_node::control::api::{Request, ResultOf};
use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::crypto::Signer;
use weft_protocol::time::TimePoint;
use weft_protocol::wire::announcement::Body;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Hash, Id, wire};

use crate::support::{Node, Stranger, announcement, network, now, until};

/// A log and its module, as an honest node gives them.
pub struct Truth {
    pub process: Id,
    pub slots: Vec<wire::SlotRecord>,
    module: Bytes,
    running: Option<Hash>,
}

/// The key of who reads it.
const READER: u8 = 250;

pub async fn truth(seed: u8, slots: u8) -> Truth {
    let node = Node::start(seed).await;
    let process = node.counter().await;
    for number in 1..slots {
        node.increments(process, number).await;
    }
    let truth = truth_of(&node, process, u64::from(slots)).await;
    node.stop().await;
    truth
}

/// A log of a node that runs, up to this slot.
pub async fn truth_of(node: &Node, process: Id, last: u64) -> Truth {
    let reader = Stranger::of(node, READER).await;
    let detail = node.detail(process).await;
    let id = Bytes::copy_from_slice(detail.info.module.as_ref());
    let blob = Ask::Blob(wire::BlobRequest { id, offset: 0, max_bytes: u64::MAX });
    let Answer::Blob(blob) = reader.ask(blob).await else { panic!("no module") };
    let slots = reader.slots(process, 0, last).await;
    Truth { process, slots, module: blob.piece, running: detail.info.running }
}

/// What a source was asked and what it still answers before it tells the truth.
#[derive(Default)]
pub struct Script {
    pub ranges: VecDeque<Vec<wire::SlotRecord>>,
    blobs: VecDeque<wire::BlobResponse>,
    pub asked: Vec<u64>,
    /// How often it was asked what came of an item, and answered.
    pub outcomes: u32,
    /// What came of any item, if it says so.
    pub outcome: Option<wire::OutcomeResponse>,
    /// How often it was asked what the process sent.
    pub sent_asked: u32,
    /// What the process sent, if it says so.
    pub sent: Option<wire::SentResponse>,
    heads: u32,
    /// Whether slots are asked for in vain too, where it is silent.
    pub keeps_slots: bool,
    /// Whether items are too.
    pub keeps_items: bool,
    /// When it was asked where the log ends or what came of an item and, if it is silent, did not answer.
    pub unanswered: Option<Vec<(Instant, weft_net::Reply)>>,
}

impl Script {
    /// Of a source that says nothing, or nothing but slots.
    pub fn silent(keeps_slots: bool) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { keeps_slots, unanswered: Some(Vec::new()), ..Self::default() }))
    }

    /// Of a source that answers so what the process sent.
    pub fn saying(sent: wire::SentResponse) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { sent: Some(sent), ..Self::default() }))
    }

    /// Of a source that answers so what came of any item.
    pub fn telling(outcome: wire::OutcomeResponse) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { outcome: Some(outcome), ..Self::default() }))
    }

    /// The request back if it is answered.
    fn hold(&mut self, request: wire::Request, reply: weft_net::Reply) -> Option<(Ask, weft_net::Reply)> {
        let ask = request.body.unwrap();
        let is_held = match &ask {
            Ask::Head(_) | Ask::Outcome(_) => true,
            Ask::Range(range) if self.keeps_slots => {
                self.asked.push(range.from);
                true
            }
            Ask::Blob(_) => self.keeps_items,
            _ => false,
        };
        match &mut self.unanswered {
            Some(held) if is_held => {
                held.push((Instant::now(), reply));
                None
            }
            _ => Some((ask, reply)),
        }
    }
}

/// Answers for a log as the script says, then as it is.
fn serve(net: Net, mut source: Stranger, truth: Arc<Truth>, script: Arc<Mutex<Script>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(event) = source.events.recv().await {
            match event {
                NetEvent::Request { request, reply, .. } => {
                    let mut script = script.lock().unwrap();
                    if let Some((ask, reply)) = script.hold(request, reply) {
                        let body = answer(&truth, &mut script, ask);
                        let _ = reply.send(wire::Response { body: Some(body) });
                    }
                }
                NetEvent::Gossip { ticket, .. } => net.verdict(ticket, Verdict::Accept),
                _ => {}
            }
        }
    })
}

fn answer(truth: &Truth, script: &mut Script, ask: Ask) -> Answer {
    let last = truth.slots.last().unwrap();
    match ask {
        Ask::Range(range) => {
            script.asked.push(range.from);
            let honest = || {
                let from = usize::try_from(range.from).unwrap().min(truth.slots.len());
                let to = usize::try_from(range.to).unwrap().min(truth.slots.len() - 1);
                truth.slots.get(from..=to).unwrap_or_default().to_vec()
            };
            let slots = script.ranges.pop_front().unwrap_or_else(honest);
            Answer::Range(wire::RangeResponse { slots, more: true })
        }
        Ask::Outcome(_) => {
            script.outcomes += 1;
            let refused = || Answer::Refusal(wire::Refusal::default());
            script.outcome.clone().map_or_else(refused, Answer::Outcome)
        }
        Ask::Sent(_) => {
            script.sent_asked += 1;
            let refused = || Answer::Refusal(wire::Refusal::default());
            script.sent.clone().map_or_else(refused, Answer::Sent)
        }
        Ask::Head(_) => {
            script.heads += 1;
            let (process, slot) =
                (Bytes::copy_from_slice(truth.process.as_ref()), truth.slots.len() as u64 - 1);
            let head = wire::Head { process, epoch: 0, slot, assignment: last.assignment.clone() };
            Answer::Head(wire::HeadResponse { heads: vec![head] })
        }
        Ask::Blob(blob) => Answer::Blob(script.blobs.pop_front().unwrap_or_else(|| wire::BlobResponse {
            total: truth.module.len() as u64,
            piece: truth.module.slice(usize::try_from(blob.offset).unwrap()..),
        })),
        _ => Answer::Refusal(wire::Refusal::default()),
    }
}

/// A follower, and a source that it knows for the process.
async fn pair(truth: &Arc<Truth>, seed: u8) -> (Node, Arc<Mutex<Script>>, JoinHandle<()>) {
    let follower = Node::start(seed).await;
    let script = Arc::new(Mutex::new(Script::default()));
    let serving = source(&follower, seed + 1, truth, &script).await;
    (follower, script, serving)
}

/// A source that a follower knows for the process.
pub async fn source(
    follower: &Node,
    seed: u8,
    truth: &Arc<Truth>,
    script: &Arc<Mutex<Script>>,
) -> JoinHandle<()> {
    named(follower, seed, truth, script).await.1
}

/// A source that a follower knows for the process, and its name.
pub async fn named(
    follower: &Node,
    seed: u8,
    truth: &Arc<Truth>,
    script: &Arc<Mutex<Script>>,
) -> (String, JoinHandle<()>) {
    let source = Stranger::of(follower, seed).await;
    let name = source.net.peer().to_string();
    source.net.join(truth.process).await.unwrap();
    source.is_heard_by(follower).await;
    (name, serve(source.net.clone(), source, Arc::clone(truth), Arc::clone(script)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_opening_is_refused_by_name() {
    let truth = Arc::new(truth(40, 2).await);
    let other = self::truth(42, 1).await;
    let (follower, script, serving) = pair(&truth, 44).await;
    let [first, second] = &truth.slots[..] else { panic!("{} slots", truth.slots.len()) };
    let tampered = |part: &Bytes| {
        let mut bytes = part.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Bytes::from(bytes)
    };
    let lies = [
        ("nothing", vec![]),
        ("an empty record", vec![wire::SlotRecord::default()]),
        ("bytes", vec![wire::SlotRecord { assignment: "x".into(), item: "y".into(), proof: "z".into() }]),
        ("another slot", vec![second.clone()]),
        ("another process", vec![other.slots[0].clone()]),
        ("a tampered item", vec![wire::SlotRecord { item: tampered(&first.item), ..first.clone() }]),
        (
            "a tampered slot",
            vec![wire::SlotRecord { assignment: tampered(&first.assignment), ..first.clone() }],
        ),
    ];
    let host = || Request::Host { process: truth.process, compute: true, messenger: false, evaluate: None };
    for (name, lie) in lies {
        script.lock().unwrap().ranges.push_back(lie);
        let error = follower.ask::<Value>(host()).await.unwrap_err().to_string();
        assert!(error.contains("gave a false slot 0"), "{name}: {error}");
    }
    follower.ask::<Value>(host()).await.unwrap();
    follower.stop().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_about_a_log_and_its_module_are_outlived() {
    let truth = Arc::new(truth(50, 6).await);
    let other = self::truth(52, 2).await;
    let (follower, script, serving) = pair(&truth, 54).await;
    {
        let slots = &truth.slots;
        let whole = truth.module.len() as u64;
        let mut script = script.lock().unwrap();
        script.ranges = [
            vec![slots[0].clone()],
            vec![],
            other.slots.clone(),
            vec![slots[3].clone(), slots[1].clone()],
            vec![slots[1].clone(); 1_000],
            vec![wire::SlotRecord::default(); 1_000],
            [&slots[2..], &slots[..]].concat(),
        ]
        .into();
        script.blobs = [
            wire::BlobResponse { total: u64::MAX, piece: truth.module.slice(..9) },
            wire::BlobResponse { total: whole, piece: Bytes::new() },
            wire::BlobResponse { total: whole, piece: truth.module.slice(..1) },
            wire::BlobResponse { total: whole, piece: Bytes::from(vec![1; truth.module.len()]) },
            wire::BlobResponse { total: 9, piece: truth.module.clone() },
        ]
        .into();
    }
    let process = truth.process;
    follower
        .ask::<Value>(Request::Host { process, compute: true, messenger: false, evaluate: None })
        .await
        .unwrap();
    until("the whole log, computed", || async {
        let info = follower.detail(process).await.info;
        (info.head == Some(5) && info.running == truth.running).then_some(())
    })
    .await;
    {
        let script = script.lock().unwrap();
        assert!(script.ranges.is_empty() && script.blobs.is_empty(), "some lies were never asked for");
    }
    follower.stop().await;
    serving.abort();
}

/// Lies fade, but not one after the other: who goes on is disconnected, and its answers are waited for
/// no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_goes_on_lying_is_shut_out() {
    let truth = Arc::new(truth(70, 4).await);
    let (follower, script, serving) = pair(&truth, 72).await;
    {
        let mut script = script.lock().unwrap();
        script.ranges.push_back(vec![truth.slots[0].clone()]);
        script.ranges.extend(vec![vec![wire::SlotRecord::default()]; 4]);
    }
    let process = truth.process;
    follower
        .ask::<Value>(Request::Host { process, compute: false, messenger: false, evaluate: None })
        .await
        .unwrap();
    until("nobody", || async {
        let peers: Vec<Value> = follower.ask(Request::Peers).await.unwrap();
        peers.is_empty().then_some(())
    })
    .await;
    assert_eq!(script.lock().unwrap().ranges.len(), 1, "the third lie was the last");
    follower.stop().await;
    serving.abort();
}

/// Whoever keeps new slots from a node may say the old ones again, as often as it likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_slots_said_again_do_not_make_a_log_fresh() {
    let truth = Arc::new(truth(80, 40).await);
    let (follower, _, serving) = pair(&truth, 82).await;
    let process = truth.process;
    let watching = Request::Host { process, compute: false, messenger: false, evaluate: None };
    follower.ask::<Value>(watching).await.unwrap();
    until("the whole log", || async { (follower.detail(process).await.info.head == Some(39)).then_some(()) })
        .await;
    let replayer = Stranger::on(&follower, process, 84).await;
    let mut stale = follower.told_stale(process);
    let mut pause = tokio::time::interval(Duration::from_secs(1));
    for slot in &truth.slots {
        tokio::select! {
            told = &mut stale => {
                told.unwrap();
                follower.stop().await;
                return serving.abort();
            }
            _ = pause.tick() => replayer.publish(process, announcement(process, Body::Slot(slot.clone()))).await,
        }
    }
    panic!("the log was fresh as long as old slots were said again");
}

/// A source that says nothing is asked again when it is its turn, as a place is free by then: not only when
/// the request is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_source_does_not_hold_the_place_of_those_asked_after_it() {
    let truth = Arc::new(truth(90, 2).await);
    let (follower, script, serving) = pair(&truth, 92).await;
    let process = truth.process;
    script.lock().unwrap().unanswered = Some(Vec::new());
    let watching = Request::Host { process, compute: false, messenger: false, evaluate: None };
    follower.ask::<Value>(watching).await.unwrap();
    let times: Vec<Instant> = until("the second question", || async {
        let script = script.lock().unwrap();
        let held = script.unanswered.as_ref().unwrap();
        (held.len() >= 2).then(|| held.iter().map(|(at, _)| *at).collect())
    })
    .await;
    // A request may take thirty.
    assert!(times[1] - times[0] < Duration::from_secs(25), "{times:?}");
    follower.stop().await;
    serving.abort();
}

/// Whoever waits for a result does not wait for lookups where somebody is at hand to be asked; the follower
/// makes them beside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_asked_of_those_at_hand_and_the_log_of_those_of_record_too() {
    let truth = Arc::new(truth(100, 2).await);
    let (follower, script, serving) = pair(&truth, 102).await;
    let process = truth.process;
    let of_record = Stranger::of(&follower, 104).await;
    of_record.net.provide(weft_net::Key::Process(process)).await.unwrap();
    let heard = Arc::new(Mutex::new(Script::default()));
    let recorded = serve(of_record.net.clone(), of_record, Arc::clone(&truth), Arc::clone(&heard));
    until("the record", || async {
        let providers: Vec<Value> = follower.ask(Request::Providers { process }).await.unwrap();
        (providers.len() == 2).then_some(())
    })
    .await;
    let item = DataItem::verify_bytes(truth.slots[1].item.clone()).unwrap().id();
    let asked = Request::Result { process, of: ResultOf::Item(item), wait_ms: 0 };
    follower.ask::<Value>(asked).await.unwrap_err();
    assert_eq!((script.lock().unwrap().outcomes, heard.lock().unwrap().outcomes), (1, 0));
    heard.lock().unwrap().heads = 0;
    let watching = Request::Host { process, compute: false, messenger: false, evaluate: None };
    follower.ask::<Value>(watching).await.unwrap();
    until("a question to the one of record", || async { (heard.lock().unwrap().heads > 0).then_some(()) })
        .await;
    follower.stop().await;
    serving.abort();
    recorded.abort();
}

/// Signs slot 1 of a log once more, with a chain that does not follow.
fn forked(slots: &[wire::SlotRecord], seed: u8) -> wire::SlotRecord {
    let signer = crate::support::key(seed);
    let first = DataItem::verify_bytes(slots[0].assignment.clone()).unwrap();
    let Assignment { process, mut time, .. } = Assignment::from_item(&first).unwrap();
    time.timestamp = now();
    unlinked(process, 1, time, &Node::message(process, 1, &signer), &signer)
}

/// A slot of a log with this message, signed by this key, with a chain that does not follow.
pub fn unlinked(
    process: Id,
    slot: u64,
    time: TimePoint,
    message: &DataItem,
    signer: &Signer,
) -> wire::SlotRecord {
    let draft = AssignmentDraft {
        network: network(),
        process,
        epoch: 0,
        slot,
        hash_chain: Hash([9; 32]),
        time,
        message: Some(message.id()),
        excludes: Vec::new(),
    };
    weft_protocol::record::to_wire(&draft.draft().sign(signer).unwrap(), message, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forked_log_is_not_asked_for_again_and_again() {
    let mut truth = truth(60, 1).await;
    truth.slots.push(forked(&truth.slots, 60));
    let truth = Arc::new(truth);
    let (follower, script, serving) = pair(&truth, 62).await;
    let process = truth.process;
    follower
        .ask::<Value>(Request::Host { process, compute: false, messenger: false, evaluate: None })
        .await
        .unwrap();
    // Slot 0 to take it up, slot 1, and then only what may prove the fork.
    let asked: Vec<u64> = until("the proof to be asked for", || async {
        let script = script.lock().unwrap();
        (script.asked.len() >= 3).then(|| script.asked.clone())
    })
    .await;
    assert_eq!(asked.iter().filter(|from| **from == 1).count(), 1, "{asked:?}");
    assert_eq!(follower.detail(process).await.info.head, Some(0));
    follower.stop().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_asked_for_at_once_is_lost() {
    let truth = Arc::new(truth(60, 1).await);
    let (follower, _, serving) = pair(&truth, 62).await;
    let process = truth.process;
    // One wants it computed; the others, whose wish is carried out later, only watched.
    let host = |number| Request::Host { process, compute: number == 0, messenger: false, evaluate: None };
    let all = (0..8).map(|number| follower.ask::<Value>(host(number)));
    for answer in futures::future::join_all(all).await {
        answer.unwrap();
    }
    let info: Value = follower.ask(Request::Process { process, state_root: false }).await.unwrap();
    assert!(info["duties"].as_array().unwrap().contains(&"compute".into()), "{info}");
    follower.stop().await;
    serving.abort();
}
