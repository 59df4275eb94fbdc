//! Asks peers about processes, and hands what they say to the follower.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_net::Peer;
use weft_protocol::{Effects, Id, Machine as _, wire};

use super::machine::{Direct, Effect, Input};
use crate::follower::{FollowerHandle, verify_head};
use crate::metrics::{Level, Metrics};
use crate::remote;
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// How often time passes for the subscriptions.
const TICK: Duration = Duration::from_millis(500);
/// Inputs that may wait; whoever has one more waits too.
const INBOX_MAX: usize = 1_024;
/// How long a peer may keep a question open.
const WAIT: Duration = Duration::from_secs(10);
/// How long a question takes at least that brought nothing new: a peer that answers at once with nothing, or
/// with what was known, is no reason to ask it in a circle.
const PAUSE: Duration = Duration::from_millis(500);

/// How others hold the subscriptions.
#[derive(Debug, Clone)]
pub struct DirectHandle(mpsc::Sender<Input<Peer>>);

impl DirectHandle {
    /// A handle, and where its task hears.
    pub fn new(metrics: &Metrics) -> (Self, mpsc::Receiver<Input<Peer>>) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        metrics.watch(Level::channel("direct", "inbox", &sender));
        (Self(sender), inbox)
    }

    /// Follows a process.
    pub async fn add(&self, process: Id) {
        // Only a stopping node has no subscriptions.
        let _ = self.0.send(Input::Add(process)).await;
    }

    /// Follows it no longer.
    pub async fn remove(&self, process: Id) {
        let _ = self.0.send(Input::Remove(process)).await;
    }
}

/// The loop.
pub struct DirectTask {
    shared: SharedRef,
    follower: FollowerHandle,
    machine: Direct<Peer>,
    inbox: mpsc::Receiver<Input<Peer>>,
    asks: JoinSet<Input<Peer>>,
}

impl DirectTask {
    /// The loop that hands what it hears to this follower.
    pub fn new(shared: SharedRef, follower: FollowerHandle, inbox: mpsc::Receiver<Input<Peer>>) -> Self {
        Self { shared, follower, machine: Direct::default(), inbox, asks: JoinSet::new() }
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let input = tokio::select! {
                () = stop.cancelled() => return,
                Some(input) = self.inbox.recv() => input,
                Some(ended) = self.asks.join_next() => match joined(ended) {
                    Some(input) => input,
                    None => continue,
                },
                _ = tick.tick() => Input::Tick,
            };
            let mut effects = Effects::new();
            self.machine.handle(input, self.shared.clock.now(), &mut effects);
            for effect in effects.drain() {
                let (shared, follower) = (SharedRef::clone(&self.shared), self.follower.clone());
                match effect {
                    Effect::Find(process) => {
                        self.asks.spawn(async move { find(&shared, &follower, process).await });
                    }
                    Effect::Ask { question, peer, processes } => {
                        self.asks.spawn(async move {
                            let heads = ask(&shared, &follower, peer, processes).await;
                            Input::Answered { question, heads }
                        });
                    }
                }
            }
        }
    }
}

/// Names the peers at hand to the follower, which asks each for its head. It looks for others beside, and
/// those are at hand by the next search.
async fn find(shared: &SharedRef, follower: &FollowerHandle, process: Id) -> Input<Peer> {
    let known = shared.known(process).await;
    // Who schedules a process has its log, and nobody to ask.
    let address = known.map(|known| known.process.scheduler()).filter(|of| *of != shared.address);
    let mut others = match address {
        Some(_) => remote::sources(shared, process, address).await,
        None => Vec::new(),
    };
    for peer in &others {
        follower.source(process, *peer).await;
    }
    let is_scheduler = |peer: &Peer| address.is_some() && peer.address() == address;
    let scheduler = others.iter().copied().find(is_scheduler);
    others.retain(|peer| !is_scheduler(peer));
    Input::Found { process, scheduler, others }
}

/// Asks one question, each process with the newest slot that the peer told before; gives the slots that
/// are news, or nothing if the answer makes no sense.
async fn ask(
    shared: &SharedRef,
    follower: &FollowerHandle,
    peer: Peer,
    processes: Vec<(Id, Option<u64>)>,
) -> Option<Vec<(Id, u64)>> {
    let began = Instant::now();
    let reader = SharedRef::clone(shared);
    let watched = tokio::task::spawn_blocking(move || watched(&reader, processes)).await.ok()?;
    let known: BTreeMap<Id, Option<u64>> = watched.iter().copied().collect();
    let heads = match remote::follow(shared, peer, watched, WAIT).await {
        Ok(heads) => heads,
        Err(error) => {
            tracing::debug!(%peer, %error, "a direct subscription ended");
            return None;
        }
    };
    let mut news = Vec::new();
    for head in heads {
        let process = wire::id("process", &head.process).ok()?;
        // What was not asked for, or is no news, is not worth a look at its signature.
        if known.get(&process).is_none_or(|known| Some(head.slot) <= *known) {
            continue;
        }
        let Some(known) = shared.known(process).await else { continue };
        let head = verify_head(known.process, head).await?;
        let by_scheduler = peer.address() == Some(head.scheduler);
        follower.head(process, head.slot, peer, by_scheduler).await;
        news.push((process, head.slot));
    }
    // A peer that answers at once is not asked in a circle: with news it is given time for more, and
    // without any it would have waited.
    let pause = if news.is_empty() { PAUSE } else { PAUSE / 5 };
    tokio::time::sleep(pause.saturating_sub(began.elapsed())).await;
    Some(news)
}

/// The newest slot of each process that is known: here, or from what the peer told.
fn watched(shared: &SharedRef, processes: Vec<(Id, Option<u64>)>) -> Vec<(Id, Option<u64>)> {
    let Ok(reader) = shared.store.read() else { return Vec::new() };
    let head = |process: &Id| reader.head(process).ok().flatten().map(|(slot, _)| slot);
    processes.into_iter().map(|(process, told)| (process, told.max(head(&process)))).collect()
}
