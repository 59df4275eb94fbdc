//! Messages that wait for a slot on the topic of their process: the way around a scheduler that refuses them or cannot
//! be reached (RULES.md 6.15).
//!
//! [`machine`] holds the rules: what is held and goes on, whom this node asks for what others hold, and what a sender
//! does. `judge` looks at what comes from the network, `task` performs what the rules want: it offers to this node's
//! scheduler what is its own, asks peers, works for postage and says what is sent. Who schedules, computes or watches a
//! process holds its messages; a scheduler that comes back asks them.

mod judge;
pub mod machine;
mod mining;
mod signers;
#[cfg(test)]
mod simulation;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use weft_net::Peer;
use weft_protocol::wire::{self, PENDING_BYTES_MAX, WAITING_MAX};
use weft_protocol::{Effects, Id, Machine as _, Now};
use weft_storage::StoreError;

use self::machine::letters::{self, Letter};
use self::machine::{Effect, HELD_MAX, Heard, Input, Pools, Said, Waiting, Why};
use self::signers::Signers;
use crate::metrics::{Level, Metrics};

pub use self::machine::letters::{End, Shown};
pub use judge::judge;
pub use task::PendingTask;

/// What others may ask of the task at once. A peer on a topic that finds no room here is not asked for what it holds.
const INBOX_MAX: usize = 4_096;

/// What is kept of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    item: Bytes,
    proof: Bytes,
    nonce: u64,
}

impl Body {
    /// A copy: the message that this came in may be a hundred times as long.
    fn of(message: &wire::Pending) -> Arc<Self> {
        let item = Bytes::copy_from_slice(&message.item);
        let proof = Bytes::copy_from_slice(&message.proof);
        Arc::new(Self { item, proof, nonce: message.postage_nonce })
    }

    fn to_wire(&self) -> wire::Pending {
        wire::Pending { item: self.item.clone(), proof: self.proof.clone(), postage_nonce: self.nonce }
    }
}

/// What the task is asked for.
#[derive(Debug)]
enum Command {
    /// A peer is on the topic of a process, as this node is.
    Shared { process: Id, peer: Peer },
    /// A peer is gone.
    Gone(Peer),
    /// Send this message by its topic, for this reason.
    Send(Id, Letter, String, oneshot::Sender<Result<Shown, NoLetter>>),
    /// What is sent and was lately.
    Show(oneshot::Sender<Vec<Shown>>),
}

/// Why a message is not sent by its topic.
#[derive(Debug, thiserror::Error)]
pub enum NoLetter {
    /// It is too long.
    #[error("it has {0} bytes, and a message that waits on a topic has at most {PENDING_BYTES_MAX}")]
    TooLong(usize),
    /// It is no message.
    #[error("it is not a message to a process")]
    NoMessage,
    /// Too many are sent.
    #[error("this node already sends {} messages by topic, its limit", letters::LETTERS_MAX)]
    TooMany,
    /// The disk does not take it.
    #[error("it was not stored, and would be lost when this node stops: {0}")]
    Disk(#[from] StoreError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

/// What waits, as this node knows it. Nobody waits while holding it.
#[derive(Debug)]
pub struct Pending {
    pools: Mutex<Pools<Peer, Arc<Body>>>,
    signers: Signers,
    commands: mpsc::Sender<Command>,
}

/// What the task is asked for and has not heard of yet.
#[derive(Debug)]
pub struct PendingInbox(mpsc::Receiver<Command>);

impl Pending {
    /// Nothing waits yet.
    pub fn new(metrics: &Metrics) -> (Self, PendingInbox) {
        let (commands, inbox) = mpsc::channel(INBOX_MAX);
        metrics.watch(Level::channel("pending", "inbox", &commands));
        (Self { pools: Mutex::default(), signers: Signers::default(), commands }, PendingInbox(inbox))
    }

    fn pools(&self) -> MutexGuard<'_, Pools<Peer, Arc<Body>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, input: Input, now: Now) -> Vec<Effect<Arc<Body>>> {
        let mut effects = Effects::new();
        self.pools().handle(input, now, &mut effects);
        effects.drain().collect()
    }

    fn hear(&self, said: Said<Arc<Body>>, now: Now) -> Heard {
        self.pools().hear(said, now)
    }

    /// Whether a message is worth a look at its signature, and what the look costs is taken.
    fn look(&self, claim: &machine::Claim, from: Peer, now: Now) -> Result<(), Why> {
        // Whether its signer has a slot is read from disk only where that may matter.
        let is_known = self.signers.is_known_here(&claim.process, &claim.signer).unwrap_or(true);
        let mut pools = self.pools();
        pools.is_news(claim, is_known, now)?;
        pools.look(from, claim.bits, now)
    }

    fn is_news(&self, claim: &machine::Claim, is_known: bool, now: Now) -> Result<(), Why> {
        self.pools().is_news(claim, is_known, now)
    }

    /// How many messages of a process wait here.
    pub fn held_of(&self, process: &Id) -> usize {
        self.pools().held_of(process)
    }

    /// How many messages wait here, and how many may.
    fn held(&self) -> (u64, u64) {
        (self.pools().held() as u64, HELD_MAX as u64)
    }

    /// The messages that wait here, of one process or of all, at most so many: each with its process.
    pub fn waiting(&self, of: Option<Id>, most: usize, now: Now) -> Vec<(Id, Waiting<Arc<Body>>)> {
        let pools = self.pools();
        let processes: Vec<Id> = of.map_or_else(|| pools.processes().collect(), |process| vec![process]);
        let each =
            |process: Id| pools.waiting(&process, now).into_iter().map(move |waiting| (process, waiting));
        processes.into_iter().flat_map(each).take(most).collect()
    }

    /// What a peer is told that asks for these processes: whole ones, as many as fit.
    pub fn told(&self, processes: &[Id], now: Now) -> wire::PendingResponse {
        let pools = self.pools();
        let mut answer = wire::PendingResponse::default();
        for process in processes {
            let held = pools.waiting(process, now);
            if answer.waiting.len() + held.len() > WAITING_MAX {
                break;
            }
            answer.answered += 1;
            answer.waiting.extend(held.into_iter().map(|held| wire::Waiting {
                process: wire::bytes(process),
                pending: Some(held.body.to_wire()),
                age_ms: held.age_ms,
            }));
        }
        answer
    }

    /// A peer is on the topic of a process, as this node is: it may hold what this node did not hear.
    pub fn shares(&self, process: Id, peer: Peer) {
        self.tell(Command::Shared { process, peer });
    }

    /// A peer is gone.
    pub fn lost(&self, peer: Peer) {
        self.tell(Command::Gone(peer));
    }

    /// Whoever finds no room is asked when it comes the next time; what waits is sent again meanwhile.
    fn tell(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            tracing::debug!("messages that wait elsewhere are not asked for: too much is to be done");
        }
    }

    /// Sends a verified message by the topic of its process, as its scheduler gives it no slot for this reason; once
    /// this is on disk.
    ///
    /// # Errors
    /// Why it is not sent.
    pub async fn send(&self, item: Id, letter: Letter, why: String) -> Result<Shown, NoLetter> {
        let (reply, shown) = oneshot::channel();
        let command = Command::Send(item, letter, why, reply);
        self.commands.send(command).await.map_err(|_| NoLetter::Stopping)?;
        shown.await.map_err(|_| NoLetter::Stopping)?
    }

    /// A letter of this raw item.
    ///
    /// # Errors
    /// It is too long.
    pub fn letter(process: Id, raw: &Bytes, insists: bool, now: Now) -> Result<Letter, NoLetter> {
        use base64::Engine as _;
        if raw.len() > PENDING_BYTES_MAX {
            return Err(NoLetter::TooLong(raw.len()));
        }
        let item = base64::engine::general_purpose::STANDARD.encode(raw);
        Ok(Letter::new(process, item, insists, now))
    }

    /// The messages that this node sends by their topics, and what became of the last ones.
    pub async fn letters(&self) -> Vec<Shown> {
        let (reply, shown) = oneshot::channel();
        if self.commands.send(Command::Show(reply)).await.is_err() {
            return Vec::new();
        }
        shown.await.unwrap_or_default()
    }
}
