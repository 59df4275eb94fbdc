//! What others tell the messenger.

use tokio::sync::{mpsc, oneshot};
use weft_net::Peer;
use weft_protocol::{Address, Id};

use super::receipts::Receipt;
use crate::metrics::Counter;

/// What peers tell the messenger.
#[derive(Debug)]
pub(super) enum Told {
    Offers(Id),
    Receipt(Id, Box<Receipt>),
    Carriers(Id, oneshot::Sender<Vec<Address>>),
    Up(Peer),
}

/// How others hold the messenger.
#[derive(Debug, Clone)]
pub struct MessengerHandle {
    inbox: mpsc::Sender<Told>,
    dropped: Counter,
}

impl MessengerHandle {
    /// What finds no room is counted as dropped.
    pub(super) const fn new(inbox: mpsc::Sender<Told>, dropped: Counter) -> Self {
        Self { inbox, dropped }
    }

    /// The market heard something new of who carries for a process. Dropped when the messenger is behind:
    /// offers are repeated.
    pub fn offers(&self, source: Id) {
        self.tell(Told::Offers(source));
    }

    /// A receipt, seen on the topic of a process. Dropped when the messenger is behind: a push
    /// that is made again is answered with the first assignment.
    pub fn receipt(&self, source: Id, receipt: Receipt) {
        self.tell(Told::Receipt(source, Box::new(receipt)));
    }

    /// A peer is connected that was not. Dropped when the messenger is behind: what waits for that
    /// peer is tried again anyway.
    pub fn up(&self, peer: Peer) {
        self.tell(Told::Up(peer));
    }

    fn tell(&self, told: Told) {
        if self.inbox.try_send(told).is_err() {
            self.dropped.inc();
        }
    }

    /// Who offers to carry for a process now, this node included; nobody if it does not itself.
    pub async fn carriers(&self, source: Id) -> Vec<Address> {
        let (reply, answer) = oneshot::channel();
        // Only a stopping node has no messenger.
        let _ = self.inbox.send(Told::Carriers(source, reply)).await;
        answer.await.unwrap_or_default()
    }
}
