//! Asks peers about processes, and hands what they say to the follower.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_net::Peer;
use weft_protocol::{Effects, Id, Machine as _, wire};

use super::machine::{Direct, Effect, Input};
use crate::follower::{FollowerHandle, verified_head};
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
/// How long a question that brought nothing new is followed by none: a peer that answers at once with what
/// was known is no reason to ask it in a circle.
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
                            let useful = ask(&shared, &follower, peer, processes).await;
                            Input::Answered { question, useful }
                        });
                    }
                }
            }
        }
    }
}

/// Looks for peers, and names them to the follower, which asks each for its head.
async fn find(shared: &SharedRef, follower: &FollowerHandle, process: Id) -> Input<Peer> {
    let known = shared.directory.get(&process);
    // Who schedules a process has its log, and nobody to ask.
    let scheduler = known.map(|known| known.process.scheduler()).filter(|of| *of != shared.address);
    let peers = match scheduler {
        Some(scheduler) => remote::sources(shared, process, Some(scheduler)).await,
        None => Vec::new(),
    };
    for peer in &peers {
        follower.source(process, *peer).await;
    }
    Input::Found { process, peers }
}

/// Asks one question; says whether the answer makes sense.
async fn ask(shared: &SharedRef, follower: &FollowerHandle, peer: Peer, processes: Vec<Id>) -> bool {
    let reader = SharedRef::clone(shared);
    let watched = tokio::task::spawn_blocking(move || watched(&reader, processes)).await;
    let Ok(watched) = watched else { return false };
    let have: BTreeMap<Id, u64> = watched.iter().filter_map(|(id, next)| Some((*id, (*next)?))).collect();
    let heads = match remote::follow(shared, peer, watched, WAIT).await {
        Ok(heads) => heads,
        Err(error) => {
            tracing::debug!(%peer, %error, "a direct subscription ended");
            return false;
        }
    };
    let mut grown = false;
    for head in &heads {
        let Ok(process) = wire::id("process", &head.process) else { return false };
        let Some(known) = shared.directory.get(&process) else { continue };
        let Some(slot) = verified_head(&known.process, head) else { return false };
        grown |= have.get(&process).is_none_or(|have| slot > *have);
        follower.head(process, slot, peer).await;
    }
    if !heads.is_empty() {
        // The follower fetches what there is now; asking sooner would bring the same heads.
        tokio::time::sleep(if grown { PAUSE / 5 } else { PAUSE }).await;
    }
    true
}

/// The newest slot here of each process.
fn watched(shared: &SharedRef, processes: Vec<Id>) -> Vec<(Id, Option<u64>)> {
    let Ok(reader) = shared.store.read() else { return Vec::new() };
    let head = |process: &Id| reader.head(process).ok().flatten().map(|(slot, _)| slot);
    processes.into_iter().map(|process| (process, head(&process))).collect()
}
