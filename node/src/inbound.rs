//! What comes from the network: verified on workers, in the order of each process, and judged
//! once. The swarm never waits for this: a full queue means Ignore or Busy.

mod later;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_net::{NetEvent, Peer, Ticket, Verdict};
use weft_protocol::attestation::Attestation;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::evidence::Evidence;
use weft_protocol::lobby::Shard;
use weft_protocol::placed::Placed;
use weft_protocol::process::Process;
use weft_protocol::record::{Blame, SlotRecord};
use weft_protocol::time::Ahead;
use weft_protocol::wire::announcement::Body;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::{ANNOUNCEMENT_BYTES_MAX, WireError, decode_canonical};
use weft_protocol::{Id, wire};

use crate::attestations::{hold_attestation, is_of_use, keep_attestation};
use crate::follower::{FollowerHandle, VerifiedHead, verify_head};
use crate::lobby;
use crate::market;
use crate::market::machine::Place;
use crate::messenger::{MessengerHandle, NoReceipt, Receipt};
use crate::metrics::Level;
use crate::pending;
use crate::serve::Server;
use crate::shared::SharedRef;
use crate::shares::{Share, Shares};
use crate::supervisor::joined;

/// Announcements that may wait for one verifier.
const VERIFIER_QUEUE_MAX: usize = 512;
/// Announcements that one peer handed on and that wait or are verified, over all verifiers: half a
/// queue, so that a flood from one peer leaves room for what the others hand on.
const ANNOUNCEMENTS_PER_PEER_MAX: usize = VERIFIER_QUEUE_MAX / 2;
/// Attestations that one verifier has written at once, most of them in one commit: those behind them wait no longer for the
/// disk than they have to.
const KEEPING_MAX: usize = 64;
/// Requests answered at once. Large ones share a budget of memory besides.
pub const REQUESTS_MAX: usize = 256;
/// Those of one peer: a quarter, so that no three peers keep out a fourth. It is also what two
/// connections carry at once.
const REQUESTS_PER_PEER_MAX: usize = REQUESTS_MAX / 4;

/// Where verified things go.
#[derive(Debug, Clone)]
pub struct Sinks {
    /// Slots and heads.
    pub follower: FollowerHandle,
    /// Offers and receipts, if this node carries.
    pub messenger: Option<MessengerHandle>,
}

/// What an announcement is about, by its topic.
enum Topic {
    Process(Id),
    Lobby(Shard),
}

impl Topic {
    /// One topic always has the same verifier, so its announcements stay in order.
    fn verifier(&self, count: usize) -> usize {
        let number = match self {
            Self::Process(process) => usize::from(process.0[0]),
            Self::Lobby(shard) => usize::from(shard.number()),
        };
        number % count
    }
}

struct Gossip {
    topic: Topic,
    data: Bytes,
    from: Peer,
    ticket: Ticket,
    _share: Share<Peer>,
}

/// Reads network events until the node stops.
pub async fn run(
    shared: SharedRef,
    mut events: mpsc::Receiver<NetEvent>,
    sinks: Sinks,
    server: Server,
    verifiers: usize,
    stop: CancellationToken,
) {
    let (mut tasks, mut verifying) = (JoinSet::new(), JoinSet::new());
    let queues: Vec<_> = (0..verifiers.max(1))
        .map(|_| {
            let (sender, queue) = mpsc::channel(VERIFIER_QUEUE_MAX);
            verifying.spawn(verify_all(SharedRef::clone(&shared), sinks.clone(), queue));
            sender
        })
        .collect();
    let announcements = Shares::new(queues.len() * VERIFIER_QUEUE_MAX, ANNOUNCEMENTS_PER_PEER_MAX);
    let requests = Shares::new(REQUESTS_MAX, REQUESTS_PER_PEER_MAX);
    shared.metrics.watch(requests.level("inbound", "requests"));
    shared.metrics.watch(level_of(&queues));
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => break,
            event = events.recv() => event,
            Some(ended) = verifying.join_next() => {
                // Without it the announcements of its processes would be ignored from now on.
                joined(ended);
                continue;
            }
        };
        let Some(event) = event else { break };
        match event {
            NetEvent::Gossip { process, data, from, ticket } => {
                queue_up(&shared, &queues, &announcements, (Topic::Process(process), data, from, ticket));
            }
            NetEvent::Lobby { shard, data, from, ticket } => {
                queue_up(&shared, &queues, &announcements, (Topic::Lobby(shard), data, from, ticket));
            }
            NetEvent::Request { peer, request: wire::Request { body: Some(Ask::Follow(ask)) }, reply } => {
                let server = server.clone();
                tasks.spawn(async move { server.follow(peer, ask, reply).await });
            }
            NetEvent::Request { peer, request, reply } => match requests.take(peer) {
                Ok(share) => {
                    let server = server.clone();
                    tasks.spawn(async move {
                        server.answer(peer, request, reply).await;
                        drop(share);
                    });
                }
                Err(_) => {
                    shared.metrics.full("inbound", "requests").inc();
                    Server::busy(reply);
                }
            },
            NetEvent::Subscribed { process, peer } => {
                shared.pending.shares(process, peer);
                if shared.directory.roles(&process).is_some_and(|roles| roles.schedules) {
                    shared.placements.came(process);
                }
                sinks.follower.source(process, peer).await;
            }
            NetEvent::PeerUp { peer } => {
                if let Some(messenger) = &sinks.messenger {
                    messenger.up(peer);
                }
            }
            NetEvent::PeerDown { peer } => {
                shared.pending.lost(peer);
                sinks.follower.lost(peer).await;
            }
            _ => {}
        }
        while tasks.try_join_next().is_some() {}
    }
    tasks.shutdown().await;
    verifying.shutdown().await;
}

/// Hands an announcement to its verifier, or ignores it where there is no room.
fn queue_up(
    shared: &SharedRef,
    queues: &[mpsc::Sender<Gossip>],
    announcements: &Shares<Peer>,
    (topic, data, from, ticket): (Topic, Bytes, Peer, Ticket),
) {
    let ignore = |ticket| {
        shared.metrics.full("inbound", "announcements").inc();
        shared.net.verdict(ticket, Verdict::Ignore);
    };
    let Ok(share) = announcements.take(from) else { return ignore(ticket) };
    let queue = &queues[topic.verifier(queues.len())];
    if let Err(error) = queue.try_send(Gossip { topic, data, from, ticket, _share: share }) {
        ignore(error.into_inner().ticket);
    }
}

/// How much waits for all verifiers together.
fn level_of(queues: &[mpsc::Sender<Gossip>]) -> Level {
    let queues: Vec<_> = queues.iter().map(mpsc::Sender::downgrade).collect();
    Level::queue("inbound", "announcements", move || {
        let queues: Vec<_> = queues.iter().filter_map(mpsc::WeakSender::upgrade).collect();
        let limit: usize = queues.iter().map(mpsc::Sender::max_capacity).sum();
        let free: usize = queues.iter().map(mpsc::Sender::capacity).sum();
        (limit > 0).then_some(((limit - free) as u64, limit as u64))
    })
}

async fn verify_all(shared: SharedRef, sinks: Sinks, mut queue: mpsc::Receiver<Gossip>) {
    let mut keeping = JoinSet::new();
    while let Some(gossip) = queue.recv().await {
        let Gossip { topic, data, from, ticket, _share } = gossip;
        let verdict = match topic {
            Topic::Process(process) => judge(&shared, &sinks, &mut keeping, process, data, from).await,
            Topic::Lobby(shard) => lobby::judge(&shared, shard, &data, from).await,
        };
        shared.net.verdict(ticket, verdict);
    }
}

/// Decides about one announcement. Reject only what no correct peer could have forwarded.
async fn judge(
    shared: &SharedRef,
    sinks: &Sinks,
    keeping: &mut JoinSet<()>,
    process: Id,
    data: Bytes,
    from: Peer,
) -> Verdict {
    let decoded: Result<wire::Announcement, _> = decode_canonical(&data, ANNOUNCEMENT_BYTES_MAX);
    let announcement = match decoded {
        Ok(announcement) => announcement,
        // Peers of a later release pass it on to each other in good faith.
        Err(WireError::Malformed | WireError::NotCanonical) if later::is_of_later_release(&data, process) => {
            return Verdict::Ignore;
        }
        Err(_) => return Verdict::Reject,
    };
    if announcement.process != process.as_ref() {
        return Verdict::Reject;
    }
    let Some(known) = shared.known(process).await else { return Verdict::Ignore };
    match announcement.body {
        Some(Body::Slot(record)) => slot(shared, sinks, known.process, record).await,
        Some(Body::Attestation(message)) => attestation(shared, keeping, known.process, &message).await,
        Some(Body::Head(head)) => match verify_head(known.process, head).await {
            Some(VerifiedHead { slot, scheduler }) => {
                let by_scheduler = from.address() == Some(scheduler);
                sinks.follower.head(process, slot, from, by_scheduler).await;
                Verdict::Accept
            }
            None => Verdict::Reject,
        },
        Some(Body::Offer(message)) => offer(shared, sinks, process, &message, from).await,
        Some(Body::Receipt(message)) => receipt(shared, sinks, process, message).await,
        Some(Body::Evidence(message)) => evidence(shared, &known.process, message).await,
        Some(Body::Pending(message)) => pending::judge(shared, &known.process, &message, from).await,
        Some(Body::Placed(message)) => placed(shared, &known.process, &message).await,
        None => Verdict::Reject,
    }
}

async fn slot(shared: &SharedRef, sinks: &Sinks, process: Arc<Process>, record: wire::SlotRecord) -> Verdict {
    let scheduler = process.scheduler();
    let own = scheduler == shared.address;
    let (id, now) = (process.id(), shared.clock.now());
    let verify = move || {
        let terms = EpochTerms::of_process(&process)?;
        let record = SlotRecord::from_wire(&record)?.verify(&process, &terms, None)?;
        let ahead = record.ahead(&process, now, None);
        Ok::<_, weft_protocol::record::RecordError>((record, ahead))
    };
    match tokio::task::spawn_blocking(verify).await {
        // Our own slots come back when a peer asks for them again; there is nothing to learn.
        Ok(Ok(_)) if own => Verdict::Ignore,
        Ok(Ok((record, ahead))) => {
            // Also one from so far ahead that it is not taken yet: then this clock may be behind.
            shared.offset.note(scheduler, record.link().time.timestamp, now);
            if ahead != Ahead::No {
                return Verdict::Ignore;
            }
            sinks.follower.record(id, record).await;
            Verdict::Accept
        }
        Ok(Err(error)) => {
            tracing::debug!(process = %id, %error, "an announced slot was refused");
            match error.blame() {
                Blame::Sender => Verdict::Reject,
                Blame::Nobody => Verdict::Ignore,
            }
        }
        Err(_) => Verdict::Ignore,
    }
}

/// Decides about an attestation. One that is of use goes on to others at once: each of them would else wait for a commit of
/// everybody before it.
async fn attestation(
    shared: &SharedRef,
    keeping: &mut JoinSet<()>,
    process: Arc<Process>,
    message: &wire::Attestation,
) -> Verdict {
    let Ok(unverified) = Attestation::from_wire(message, shared.network) else { return Verdict::Reject };
    let verified = match tokio::task::spawn_blocking(move || unverified.verify()).await {
        Ok(Ok(verified)) => verified,
        Ok(Err(_)) => return Verdict::Reject,
        Err(_) => return Verdict::Ignore,
    };
    if !is_of_use(shared, &process, &verified) {
        return Verdict::Ignore;
    }
    if hold_attestation(shared, &verified) {
        return Verdict::Accept;
    }
    while let Some(ended) = keeping.try_join_next() {
        joined(ended);
    }
    if keeping.len() >= KEEPING_MAX
        && let Some(ended) = keeping.join_next().await
    {
        joined(ended);
    }
    let shared = SharedRef::clone(shared);
    keeping.spawn(async move {
        let _ = keep_attestation(&shared, &process, &verified).await;
    });
    Verdict::Accept
}

/// Evidence convicts whoever reads it. Of a key that has no office in the process it is worth
/// nothing, which an older sender may not have known.
async fn evidence(shared: &SharedRef, process: &Arc<Process>, message: wire::Evidence) -> Verdict {
    let Ok(unverified) = Evidence::from_wire(message, shared.network) else { return Verdict::Reject };
    if matches!(unverified.claims(), Evidence::Offers { .. }) {
        return market::judge_evidence(shared, process.id(), unverified).await;
    }
    let Ok(terms) = EpochTerms::of_process(process) else { return Verdict::Ignore };
    if !unverified.claims().concerns(&terms) {
        return Verdict::Ignore;
    }
    match tokio::task::spawn_blocking(move || unverified.verify()).await {
        Ok(Ok(verified)) => match shared.witness.brought(process.id(), verified).await {
            true => Verdict::Accept,
            false => Verdict::Ignore,
        },
        Ok(Err(_)) => Verdict::Reject,
        Err(_) => Verdict::Ignore,
    }
}

/// Only the scheduler's word about its own log is passed on, and each place once in a while.
async fn placed(shared: &SharedRef, process: &Process, message: &wire::Placed) -> Verdict {
    let read = Placed::from_wire(message, shared.network, process.id());
    let Ok(unverified) = read else { return Verdict::Reject };
    let claims = unverified.claims();
    let now = shared.clock.now();
    if claims.signer() != process.scheduler() || !shared.placements.is_wanted(claims.place(), now) {
        return Verdict::Ignore;
    }
    match tokio::task::spawn_blocking(move || unverified.verify()).await {
        Ok(Ok(placed)) if shared.placements.keep(&placed, now) => Verdict::Accept,
        Ok(Err(_)) => Verdict::Reject,
        Ok(Ok(_)) | Err(_) => Verdict::Ignore,
    }
}

async fn receipt(shared: &SharedRef, sinks: &Sinks, process: Id, message: wire::Receipt) -> Verdict {
    let network = shared.network;
    let read = tokio::task::spawn_blocking(move || Receipt::read(process, &message, network)).await;
    match read {
        Ok(Ok(receipt)) => {
            // Only who carries for the source needs to know whether it settles anything.
            if let Some(messenger) = &sinks.messenger {
                messenger.receipt(process, receipt);
            }
            Verdict::Accept
        }
        Ok(Err(NoReceipt::Malformed)) => Verdict::Reject,
        Ok(Err(NoReceipt::NoPush)) | Err(_) => Verdict::Ignore,
    }
}

async fn offer(shared: &SharedRef, sinks: &Sinks, process: Id, message: &wire::Offer, from: Peer) -> Verdict {
    let verdict = market::judge(shared, Place::Process(process), message, from).await;
    if verdict == Verdict::Accept
        && let Some(messenger) = &sinks.messenger
    {
        messenger.offers(process);
    }
    verdict
}
