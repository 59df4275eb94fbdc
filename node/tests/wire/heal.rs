//! How soon a hole in a log is closed: slots that gossip lost, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinHandle;
use weft_net::{NetEvent, Verdict};
use weft_node::control::api::Request;
use weft_protocol::wire::announcement::Body;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Id, wire};

use crate::support::{Node, Stranger, announcement, send, until, within};

/// How often it is looked whether a hole is closed: what the figures are exact to.
const LOOK: Duration = Duration::from_millis(5);
/// Slots that a node gives at once.
const PAGE: u64 = 100;

/// A log as its scheduler wrote it, and how much of it there is so far for those who serve it.
struct Log {
    process: Id,
    slots: Vec<wire::SlotRecord>,
}

impl Log {
    /// One of so many slots.
    async fn written(seed: u8, slots: u64) -> Self {
        let node = Node::start(seed).await;
        let process = node.counter().await;
        send(&node, process, 1..u32::try_from(slots).unwrap()).await;
        let reader = Stranger::of(&node, seed + 1).await;
        let mut read = Vec::new();
        while (read.len() as u64) < slots {
            let from = read.len() as u64;
            read.extend(reader.slots(process, from, from + PAGE - 1).await);
        }
        node.stop().await;
        Self { process, slots: read }
    }

    fn answer(&self, newest: u64, ask: Ask) -> Answer {
        let at = |slot: u64| usize::try_from(slot).unwrap();
        match ask {
            Ask::Range(range) => {
                let slots = self.slots.get(at(range.from)..=at(range.to.min(newest))).unwrap_or_default();
                Answer::Range(wire::RangeResponse { slots: slots.to_vec(), more: false })
            }
            Ask::Head(_) => {
                let process = Bytes::copy_from_slice(self.process.as_ref());
                let assignment = self.slots[at(newest)].assignment.clone();
                let head = wire::Head { process, epoch: 0, slot: newest, assignment };
                Answer::Head(wire::HeadResponse { heads: vec![head] })
            }
            _ => Answer::Refusal(wire::Refusal::default()),
        }
    }
}

/// A peer on the topic that has the log up to a slot.
struct Source {
    net: weft_net::Net,
    newest: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Source {
    async fn of(follower: &Node, seed: u8, log: &Arc<Log>) -> Self {
        let mut source = Stranger::of(follower, seed).await;
        source.net.join(log.process).await.unwrap();
        source.is_heard_by(follower).await;
        let (net, newest) = (source.net.clone(), Arc::new(AtomicU64::new(0)));
        let (log, has) = (Arc::clone(log), Arc::clone(&newest));
        let serving = tokio::spawn(async move {
            while let Some(event) = source.events.recv().await {
                match event {
                    NetEvent::Request { request, reply, .. } => {
                        let answer = log.answer(has.load(Ordering::SeqCst), request.body.unwrap());
                        // The follower may have stopped.
                        let _ = reply.send(wire::Response { body: Some(answer) });
                    }
                    NetEvent::Gossip { ticket, .. } => source.net.verdict(ticket, Verdict::Accept),
                    _ => {}
                }
            }
        });
        Self { net, newest, serving }
    }
}

/// Loses so many slots of a log on their way to a follower, each beside the next one that comes; tells how long
/// each was missing. Of two peers that it may ask one has lost the slot too, each in turn.
pub async fn holes(seed: u8, count: u64) -> Vec<Duration> {
    let log = Arc::new(Log::written(seed, 2 * count + 1).await);
    let follower = Node::start(seed + 2).await;
    let sources = [Source::of(&follower, seed + 3, &log).await, Source::of(&follower, seed + 4, &log).await];
    let process = log.process;
    let host = Request::Host { process, compute: false, messenger: false, evaluate: None };
    follower.ask::<Value>(host).await.unwrap();
    for source in &sources {
        until("the follower on the topic", || async {
            (!source.net.subscribers(process).await.unwrap().is_empty()).then_some(())
        })
        .await;
    }
    let mut client = follower.client().await;
    let mut waits = Vec::new();
    for hole in 0..count {
        let [lost, shown] = [2 * hole + 1, 2 * hole + 2];
        let [has, lacks] = [&sources[(hole % 2) as usize], &sources[((hole + 1) % 2) as usize]];
        has.newest.store(shown, Ordering::SeqCst);
        lacks.newest.store(lost - 1, Ordering::SeqCst);
        let record = log.slots[usize::try_from(shown).unwrap()].clone();
        let published = has.net.publish(process, announcement(process, Body::Slot(record))).await.unwrap();
        assert_eq!(published, weft_net::Published::Sent);
        let began = Instant::now();
        within("a hole to be closed", async {
            let ask = Request::Process { process, state_root: false };
            let mut look = tokio::time::interval(LOOK);
            loop {
                look.tick().await;
                let detail: Value = client.call(&ask, Duration::from_secs(60)).await.unwrap();
                if detail["head"] == shown {
                    return;
                }
            }
        })
        .await;
        waits.push(began.elapsed());
    }
    follower.stop().await;
    sources.iter().for_each(|source| source.serving.abort());
    waits.sort_unstable();
    waits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_gossip_lost_is_had_from_whoever_has_it() {
    let waits = holes(140, 6).await;
    assert_eq!(waits.len(), 6);
    // The figure is the bench's. This says that a hole waits for no audit and no lookup.
    assert!(waits[3] < Duration::from_secs(4), "{waits:?}");
}
