//! What the follower asks of peers, and what it takes of their answers: that alone which is signed by whom
//! it must be.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use weft_net::Peer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::head::Head;
use weft_protocol::process::Process;
use weft_protocol::record::{Blame, SlotRecord};
use weft_protocol::{Address, Id, wire};

use super::lane::{Joins, Waits};
use super::machine::{AUDIT_MS, Input, Record};
use super::task::In;
use crate::remote;
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// How long a peer may take to say where a log ends: until the next is asked.
const HEAD_WAIT: Duration = Duration::from_millis(AUDIT_MS);

/// What is asked of a log beside its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Head(Peer),
    Sources,
    Elsewhere,
}

impl Waits for (Id, Peer) {
    type Peer = Peer;

    fn peer(&self) -> Option<Peer> {
        Some(self.1)
    }
}

impl Waits for (Id, What) {
    type Peer = Peer;

    fn peer(&self) -> Option<Peer> {
        match self.1 {
            What::Head(peer) => Some(peer),
            What::Sources | What::Elsewhere => None,
        }
    }
}

/// What others are asked.
#[derive(Debug)]
pub(super) enum Ask {
    Range {
        process: Id,
        peer: Peer,
        from: u64,
        to: u64,
    },
    /// Of so many logs at once that following thousands of one scheduler costs little.
    Heads {
        peer: Peer,
        processes: Vec<Id>,
    },
    Sources {
        process: Id,
    },
    Elsewhere {
        process: Id,
    },
}

impl Joins for Ask {
    fn has_room(&self) -> bool {
        matches!(self, Self::Heads { processes, .. } if processes.len() < wire::HEADS_MAX)
    }

    fn join(&mut self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Heads { peer, processes }, Self::Heads { peer: asked, processes: more })
                if *peer == asked && processes.len() + more.len() <= wire::HEADS_MAX =>
            {
                processes.extend(more);
                None
            }
            (_, other) => Some(other),
        }
    }
}

impl Ask {
    /// Asks, and gives what the machine hears of it.
    pub(super) async fn put(self, shared: SharedRef) -> Vec<In> {
        match self {
            Self::Range { process, peer, from, to } => ask_range(&shared, process, peer, from..=to).await,
            Self::Heads { peer, processes } => ask_heads(&shared, peer, &processes).await,
            Self::Sources { process } => {
                let scheduler = scheduler_elsewhere(&shared, process).await;
                sources(process, remote::sources(&shared, process, scheduler).await)
            }
            Self::Elsewhere { process } => {
                let Some(scheduler) = scheduler_elsewhere(&shared, process).await else { return Vec::new() };
                sources(process, remote::elsewhere(&shared, process, scheduler).await)
            }
        }
    }
}

/// Who schedules a known process, unless this node does.
async fn scheduler_elsewhere(shared: &SharedRef, process: Id) -> Option<Address> {
    let known = shared.known(process).await?;
    Some(known.process.scheduler()).filter(|address| *address != shared.address)
}

fn sources(process: Id, peers: Vec<Peer>) -> Vec<In> {
    peers.into_iter().map(|peer| Input::Source { process, peer }).collect()
}

async fn ask_heads(shared: &SharedRef, peer: Peer, processes: &[Id]) -> Vec<In> {
    // Until the next is asked: logs whose sources are silent keep few places from the others.
    let answer = tokio::time::timeout(HEAD_WAIT, remote::heads(shared, peer, processes)).await;
    let Ok(Ok(heads)) = answer else { return Vec::new() };
    let mut asked: BTreeSet<&Id> = processes.iter().collect();
    let mut inputs = Vec::new();
    for head in heads {
        // What was not asked for is not worth a look at its signature, nor is the same once more.
        let Some(process) = wire::id("process", &head.process).ok().filter(|id| asked.remove(id)) else {
            continue;
        };
        let Some(known) = shared.known(process).await else { continue };
        if let Some(VerifiedHead { slot, scheduler }) = verify_head(known.process, head).await {
            let by_scheduler = peer.address() == Some(scheduler);
            inputs.push(Input::Head { process, slot, peer, by_scheduler });
        }
    }
    inputs
}

async fn ask_range(shared: &SharedRef, process: Id, peer: Peer, asked: RangeInclusive<u64>) -> Vec<In> {
    let ended = |useful| Input::RangeEnded { process, peer, useful };
    let Some(known) = shared.known(process).await.filter(|_| shared.store.has_room(0)) else {
        return vec![ended(false)];
    };
    match remote::range(shared, peer, process, *asked.start(), *asked.end()).await {
        Ok(slots) => {
            let Verified { mut inputs, lie } = verify_range(process, known.process, slots, asked).await;
            if lie {
                shared.lied(peer).await;
            }
            let useful = !inputs.is_empty();
            inputs.push(ended(useful));
            inputs
        }
        Err(error) => {
            tracing::debug!(%process, %error, "a range was not served");
            vec![ended(false)]
        }
    }
}

/// What an answer came to.
#[derive(Default)]
struct Verified {
    inputs: Vec<In>,
    /// Whether something in it is signed falsely, or by somebody else: whoever stored it had to see that.
    lie: bool,
}

/// The valid slots of an answer, as long as each is the one that is due: a peer cannot make us
/// verify more than was asked for, nor the same slot again and again.
async fn verify_range(
    process: Id,
    known: Arc<Process>,
    slots: Vec<wire::SlotRecord>,
    asked: RangeInclusive<u64>,
) -> Verified {
    let verify = move || {
        let mut verified = Verified::default();
        let Ok(terms) = EpochTerms::of_process(&known) else { return verified };
        for (due, record) in asked.zip(&slots) {
            match SlotRecord::from_wire(record).and_then(|record| record.verify(&known, &terms, None)) {
                Ok(record) if record.assignment().slot == due => {
                    let record = Record::of(record);
                    verified.inputs.push(Input::Record { process, record });
                }
                Ok(_) => break,
                Err(error) => {
                    verified.lie = error.blame() == Blame::Sender;
                    break;
                }
            }
        }
        verified
    };
    joined(tokio::task::spawn_blocking(verify).await).unwrap_or_default()
}

/// Where a log ends, as its scheduler signed it.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedHead {
    /// The newest slot.
    pub slot: u64,
    /// Who signed it.
    pub scheduler: Address,
}

/// What a head says, if the process's scheduler signed it. Looks at signatures off this thread.
pub async fn verify_head(process: Arc<Process>, head: wire::Head) -> Option<VerifiedHead> {
    let verify = move || {
        let terms = EpochTerms::of_process(&process).ok()?;
        let head = Head::from_wire(&head).ok()?.verify(&terms).ok()?;
        let slot = head.assignment().slot;
        let is_of = head.assignment().process == process.id();
        is_of.then(|| VerifiedHead { slot, scheduler: process.scheduler() })
    };
    joined(tokio::task::spawn_blocking(verify).await).flatten()
}
