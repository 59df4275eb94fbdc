//! The witness's loop: evidence in, to disk, then to people and peers.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weft_protocol::evidence::Evidence;
use weft_protocol::wire::announcement::Body;
use weft_protocol::{Effects, Hash, Id, Machine, Verified};
use weft_storage::{EvidenceRow, Write};

use super::machine::{Effect, Input, Ticket, Witness, is_messenger};
use crate::error::NodeError;
use crate::metrics::{Counter, Level, Metrics};
use crate::news::News;
use crate::shared::SharedRef;

/// Evidence that may wait. More is dropped: whoever lies that often is convicted already.
const INBOX_MAX: usize = 256;

/// Evidence with its process, and who waits for a verdict.
type Brought = (Id, Box<Verified<Evidence>>, Option<oneshot::Sender<bool>>);

/// How others hold the witness.
#[derive(Debug, Clone)]
pub struct WitnessHandle {
    inbox: mpsc::Sender<Brought>,
    dropped: Counter,
}

impl WitnessHandle {
    /// Hands over evidence that this node made.
    pub fn found(&self, process: Id, evidence: Verified<Evidence>) {
        if self.inbox.try_send((process, Box::new(evidence), None)).is_err() {
            self.dropped.inc();
            tracing::warn!(%process, "the witness is behind: evidence is dropped");
        }
    }

    /// Hands over evidence that a peer brought; says whether it is worth passing on.
    pub async fn brought(&self, process: Id, evidence: Verified<Evidence>) -> bool {
        let (reply, verdict) = oneshot::channel();
        if self.inbox.try_send((process, Box::new(evidence), Some(reply))).is_err() {
            self.dropped.inc();
            return false;
        }
        verdict.await.unwrap_or(false)
    }
}

/// What waits for the witness.
#[derive(Debug)]
pub struct WitnessQueue(mpsc::Receiver<Brought>);

/// The handle, which everybody holds, and the queue behind it.
pub fn queue(metrics: &Metrics) -> (WitnessHandle, WitnessQueue) {
    let (sender, inbox) = mpsc::channel(INBOX_MAX);
    metrics.watch(Level::channel("witness", "inbox", &sender));
    let dropped = metrics.full("witness", "inbox");
    (WitnessHandle { inbox: sender, dropped }, WitnessQueue(inbox))
}

/// The witness's loop.
pub struct WitnessTask {
    shared: SharedRef,
    machine: Witness,
    effects: Effects<Effect>,
    inbox: mpsc::Receiver<Brought>,
    waiting: BTreeMap<Ticket, oneshot::Sender<bool>>,
    tickets: Ticket,
}

impl WitnessTask {
    /// Reads what was kept before and makes the loop.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef, WitnessQueue(inbox): WitnessQueue) -> Result<Self, NodeError> {
        let mut task = Self {
            shared,
            machine: Witness::default(),
            effects: Effects::new(),
            inbox,
            waiting: BTreeMap::new(),
            tickets: 0,
        };
        let reader = task.shared.store.read()?;
        for ((process, name), row) in reader.evidence_of_all(usize::MAX)? {
            let read = Evidence::decode(&row.bytes, task.shared.network);
            let is_messenger = read.is_ok_and(|read| is_messenger(read.claims()));
            task.handle(Input::Recover { process, culprit: row.culprit, name, is_messenger });
        }
        Ok(task)
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let brought = tokio::select! {
                () = stop.cancelled() => return,
                brought = self.inbox.recv() => brought,
            };
            let Some((process, evidence, reply)) = brought else { return };
            let ticket = reply.map(|reply| {
                self.tickets += 1;
                self.waiting.insert(self.tickets, reply);
                self.tickets
            });
            self.handle(Input::Found { process, evidence, ticket });
            self.perform().await;
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    async fn perform(&mut self) {
        while !self.effects.is_empty() {
            let effects: Vec<Effect> = self.effects.drain().collect();
            for effect in effects {
                match effect {
                    Effect::Persist { process, name, evidence } => {
                        self.persist(process, name, &evidence).await;
                    }
                    Effect::Tell { process, evidence } => {
                        let text = evidence.to_string();
                        tracing::error!(%process, "{text}");
                        self.shared.news.tell(News::Alarm { process, text });
                    }
                    Effect::Publish { process, evidence } => {
                        self.shared.publisher.publish(process, Body::Evidence(evidence.to_wire()));
                    }
                    Effect::Verdict { ticket, worth } => {
                        // Nobody waits any more when the network gave up on the verdict.
                        let _ = self.waiting.remove(&ticket).map(|reply| reply.send(worth));
                    }
                }
            }
        }
    }

    async fn persist(&mut self, process: Id, name: Hash, evidence: &Evidence) {
        let row = EvidenceRow { culprit: evidence.culprit(), bytes: evidence.encode().into() };
        // Whoever sees it anchors it: it may convict the one who anchors the log.
        let writes = vec![Write::Evidence { process, name, row }, Write::AnchorEvidence { process, name }];
        let input = match self.shared.store.write(writes).await {
            Ok(()) => Input::Persisted { name },
            Err(error) => {
                tracing::error!(%process, %error, "evidence was not stored");
                Input::PersistFailed { name }
            }
        };
        self.handle(input);
    }
}
