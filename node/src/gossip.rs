//! Saying things on process topics, in order and without anyone waiting for the network.

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weft_net::{Net, PublishError};
use weft_protocol::assignment::Assignment;
use weft_protocol::wire::ANNOUNCEMENT_BYTES_MAX;
use weft_protocol::wire::announcement::Body;
use weft_protocol::{DataItem, Id, wire};

use crate::metrics::{Counter, Level, Metrics};

/// Announcements that may wait for the network. One more is dropped: whoever missed it asks.
const WAITING_MAX: usize = 1_024;
/// Announcements that are handed to the network at once, so that it is not woken for each.
const AT_ONCE: usize = 32;

/// Where roles leave what they announce. Only what is durable may be announced.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::Sender<(Id, Bytes)>,
    dropped: Counter,
}

impl Publisher {
    /// A publisher and the queue that [`run`] empties.
    pub fn new(metrics: &Metrics) -> (Self, mpsc::Receiver<(Id, Bytes)>) {
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        metrics.watch(Level::channel("network", "announcements", &sender));
        (Self { queue: sender, dropped: metrics.full("network", "announcements") }, queue)
    }

    /// Announces on a process topic. Never waits. A slot too large for gossip is announced as a
    /// head: who wants it asks.
    pub fn publish(&self, process: Id, body: Body) {
        let name = Bytes::copy_from_slice(process.as_ref());
        let mut announcement = wire::Announcement { process: name.clone(), body: Some(body) };
        if announcement.encoded_len() > ANNOUNCEMENT_BYTES_MAX
            && let Some(Body::Slot(record)) = &announcement.body
            && let Some((epoch, slot)) = place(&record.assignment)
        {
            let head = wire::Head { process: name, epoch, slot, assignment: record.assignment.clone() };
            announcement.body = Some(Body::Head(head));
        }
        if self.queue.try_send((process, announcement.encode_to_vec().into())).is_err() {
            self.dropped.inc();
            tracing::debug!(%process, "an announcement was dropped: the network is behind");
        }
    }
}

/// Publishes until the node stops. Nobody listening is no failure: who comes later asks for the
/// head.
pub async fn run(net: Net, mut queue: mpsc::Receiver<(Id, Bytes)>, stop: CancellationToken) {
    let mut some = Vec::with_capacity(AT_ONCE);
    loop {
        let taken = tokio::select! {
            () = stop.cancelled() => return,
            taken = queue.recv_many(&mut some, AT_ONCE) => taken,
        };
        if taken == 0 {
            return;
        }
        for published in net.publish_all(some.drain(..)).await {
            match published {
                Ok(_) | Err(PublishError::NoSubscribers) => {}
                Err(PublishError::Stopped(_)) => return,
                Err(error) => tracing::debug!(%error, "an announcement was not gossiped"),
            }
        }
    }
}

/// Epoch and slot of a raw assignment of ours.
fn place(assignment: &Bytes) -> Option<(u64, u64)> {
    let item = DataItem::parse(assignment.clone()).ok()?;
    let assignment = Assignment::from_item(item.claims()).ok()?;
    Some((assignment.epoch, assignment.slot))
}
