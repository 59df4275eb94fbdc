//! Open-loop load: messages arrive when they arrive, whether or not the ones before are done, so that
//! a queue that grows shows in the figures. Every latency counts from the moment at which the message
//! was due, not from when somebody had time to send it.
//!
//! It asks nodes by their control sockets alone, so it does the same with a fresh testnet, one that is
//! up, and any nodes of this machine.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::future::{join, join_all, try_join_all};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use weft_node::control::api::{
    FailureCode, ModuleInfo, ProcessInfo, Reply, Request, SlotInfo, Status, Submitted, WatchEvent, Watched,
};
use weft_node::control::client::{ANSWER_WAIT, Client, ClientError, typed};
use weft_protocol::push::Source;
use weft_protocol::{Id, Tag};

use crate::args::Bench;
use crate::crash::evidence::came;
use crate::error::AskError;
use crate::node::Door;
use crate::town::Trouble;
use crate::user::{NewProcess, User, encoded};
use crate::wait::{Look, until, until_each};

/// The guest.
const FORMAT: &str = "wasm32-weft-plain";
/// Connections over which messages are handed in: half of those that a node serves.
const CONNECTIONS: usize = 32;
/// Processes that are spawned beside each other.
const SPAWNED_AT_ONCE: usize = 8;
/// Nodes that compute a process, if there are so many.
const COMPUTED_BY: usize = 3;
/// How long all that was handed in may take to be computed and pushed when the last has arrived.
const DRAIN_WAIT: Duration = Duration::from_secs(60);
/// How long a node may take for one message.
const REPLY_WAIT: Duration = Duration::from_secs(60);
/// How often it is looked whether they are: each look is at all that are not.
const DRAIN_LOOK: Duration = Duration::from_secs(1);
/// Messages at most: they are signed before the clock runs.
const MESSAGES_MAX: f64 = 200_000.0;
/// Bytes of their data at most: they are held as text until they are handed in, which is a third more.
const DATA_MAX: f64 = 512.0 * 1024.0 * 1024.0;

/// A message that is due at a time after the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) due: Duration,
    /// Whether a push to another process follows from it.
    pub(super) pushes: bool,
    process: usize,
    item: String,
}

/// What became of one that got a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) process: Id,
    pub(super) slot: u64,
    pub(super) due: Duration,
    pub(super) at: Duration,
    pub(super) pushes: bool,
}

/// When what was seen where.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When each position was evaluated, by each of those that compute it.
    pub(super) outcomes: BTreeMap<(Id, u64), Vec<Duration>>,
    /// When each slot was shown by its scheduler.
    pub(super) slots: BTreeMap<(Id, u64), Duration>,
    /// The slots that hold pushes.
    pushed: BTreeMap<Id, Vec<SlotInfo>>,
}

/// Everything that an open-loop bench saw.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) assigned: Vec<Assigned>,
    /// Why the others got none, and how often.
    pub(super) failed: BTreeMap<String, usize>,
    pub(super) seen: Seen,
    /// The slot of each push, by where it comes from.
    pub(super) pushes: BTreeMap<(Id, u64), (Id, u64)>,
    /// Nodes that compute each process.
    pub(super) computed_by: usize,
    pub(super) load: Duration,
}

/// One process of the bench.
struct Place {
    process: Id,
    scheduler: usize,
    computing: Vec<usize>,
}

/// Why a bench would measure something else than it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    #[error("--rate {rate} --for {span:?} are about {messages} messages: expected at most {MESSAGES_MAX}")]
    Messages { rate: String, span: Duration, messages: u64 },
    #[error(
        "about {messages} messages of --bytes {bytes} are {} MiB: expected at most {} MiB", .mib, DATA_MAX / 1048576.0
    )]
    Data { messages: u64, bytes: usize, mib: u64 },
}

/// Looks whether all that a bench is to hand in can be held.
///
/// # Errors
/// What is too much.
pub(super) fn check(bench: &Bench) -> Result<(), TooMuch> {
    let rate = bench.rate.unwrap_or_default();
    let expected = rate * bench.span.as_secs_f64();
    let (messages, bytes) = (expected as u64, bench.bytes);
    if expected > MESSAGES_MAX {
        return Err(TooMuch::Messages { rate: rate.to_string(), span: bench.span, messages });
    }
    let data = expected * bytes as f64;
    if data > DATA_MAX {
        return Err(TooMuch::Data { messages, bytes, mib: (data / 1_048_576.0) as u64 });
    }
    Ok(())
}

/// The nodes that compute a process, its scheduler first.
fn computing(number: usize, nodes: usize) -> Vec<usize> {
    (0..nodes.min(COMPUTED_BY)).map(|step| (number + step) % nodes).collect()
}

/// Arrivals of a Poisson process: so many a second, for so long, from a seed.
pub(super) fn dues(rate: f64, span: Duration, seed: u64) -> Vec<Duration> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut dues = Vec::new();
    let mut at = 0.0;
    loop {
        // The time to the next of a memoryless stream; 1 - x is never 0.
        at += -(1.0 - rng.random::<f64>()).ln() / rate;
        if at >= span.as_secs_f64() {
            return dues;
        }
        dues.push(Duration::from_secs_f64(at));
    }
}

/// Loads these nodes.
///
/// # Errors
/// That a node does not answer at all.
pub(super) async fn load(
    doors: &[Door],
    user: &User,
    bench: &Bench,
    tell: impl Fn(usize),
) -> Result<Run, Trouble> {
    let places = spawn(doors, user, bench.processes).await?;
    let arrivals = sign(&places, user, bench)?;
    let on = |node: usize| {
        let here = places.iter().filter(move |place| place.computing.contains(&node));
        here.map(|place| place.process).collect::<Vec<Id>>()
    };
    let looking = (0..doors.len()).map(|node| (node, on(node))).filter(|(_, here)| !here.is_empty());
    let open =
        async |(node, here): (usize, Vec<Id>)| Ok::<_, Trouble>((watched(&doors[node], &here).await?, node));
    let open = try_join_all(looking.map(open)).await?;
    let schedulers: BTreeMap<Id, usize> =
        places.iter().map(|place| (place.process, place.scheduler)).collect();
    let began = Instant::now();
    let seen = RefCell::new(Seen::default());
    let watches = open.into_iter().map(|(client, node)| watch(client, node, &schedulers, began, &seen));
    let all = async {
        let (assigned, failed) = hand_in(doors, &places, &arrivals, began, tell).await;
        let load = began.elapsed();
        drain(&assigned, &places, &seen).await;
        (assigned, failed, load)
    };
    // Those who look on do so until everything is done.
    let watching = async {
        join_all(watches).await;
        std::future::pending().await
    };
    let (assigned, failed, load) = tokio::select! {
        never = watching => never,
        done = all => done,
    };
    let seen = seen.into_inner();
    let pushes = sources(doors, &places, &seen).await?;
    let computed_by = places.first().map_or(0, |place| place.computing.len());
    Ok(Run { assigned, failed, seen, pushes, computed_by, load })
}

async fn ask<T: serde::de::DeserializeOwned>(
    door: &Door,
    what: &'static str,
    request: &Request,
) -> Result<T, Trouble> {
    let look = async || match door.ask(what, request, ANSWER_WAIT).await {
        Ok(answer) => Ok(Look::There(answer)),
        Err(AskError { source: ClientError::Failed(failure), .. })
            if matches!(failure.code, FailureCode::Busy | FailureCode::Unknown | FailureCode::Pending) =>
        {
            Ok(Look::NotYet(failure.text))
        }
        Err(error) => Err(error),
    };
    Ok(until(format!("{what} of node {}", door.node()), DRAIN_WAIT, look).await?)
}

async fn spawn(doors: &[Door], user: &User, processes: usize) -> Result<Vec<Place>, Trouble> {
    let asked = try_join_all(doors.iter().map(|door| ask::<Status>(door, "its status", &Request::Status)));
    let asked: Vec<Status> = asked.await?;
    let carries = |node: usize| asked[node].roles.iter().any(|role| role == "messenger");
    let module = user.module(weft_node::guests::COUNTER.to_vec(), FORMAT)?;
    let request = Request::PutModule { item: encoded(&module) };
    let module = ask::<ModuleInfo>(&doors[0], "to take a module", &request).await?.module;
    let one = async |number: usize| {
        let computing = computing(number, doors.len());
        let scheduler = computing[0];
        let new = NewProcess {
            name: "bench",
            module,
            scheduler: asked[scheduler].address,
            attestors: (Vec::new(), 0),
            tags: Vec::new(),
        };
        let item = user.process(new)?;
        let request = Request::Submit { item: encoded(&item) };
        let process = ask::<Submitted>(&doors[scheduler], "to take a process", &request).await?.process;
        for node in &computing[1..] {
            let request = Request::Host { process, compute: true, messenger: carries(*node), evaluate: None };
            ask::<ProcessInfo>(&doors[*node], "to compute a process", &request).await?;
        }
        Ok::<_, Trouble>(Place { process, scheduler, computing })
    };
    stream::iter((0..processes).map(one)).buffered(SPAWNED_AT_ONCE).try_collect().await
}

fn sign(places: &[Place], user: &User, bench: &Bench) -> Result<Vec<Arrival>, Trouble> {
    let mut rng = StdRng::seed_from_u64(bench.seed.wrapping_add(1));
    let data = "x".repeat(bench.bytes);
    let mut arrivals = Vec::new();
    for due in dues(bench.rate.unwrap_or_default(), bench.span, bench.seed) {
        let process = rng.random_range(0..places.len());
        let pushes = rng.random_range(0..100) < bench.pushes && places.len() > 1;
        let (action, tags) = if pushes {
            let other = (process + rng.random_range(1..places.len())) % places.len();
            ("Relay", vec![Tag::new("To", places[other].process.to_string())])
        } else {
            ("Increment", Vec::new())
        };
        let item = user.message(places[process].process, action, tags, &data)?;
        arrivals.push(Arrival { due, pushes, process, item: encoded(&item) });
    }
    Ok(arrivals)
}

/// Hands in every message when it is due, or as soon after as a connection is free.
async fn hand_in(
    doors: &[Door],
    places: &[Place],
    arrivals: &[Arrival],
    began: Instant,
    tell: impl Fn(usize),
) -> (Vec<Assigned>, BTreeMap<String, usize>) {
    let queue: RefCell<VecDeque<&Arrival>> = RefCell::default();
    let (there, over) = (Notify::new(), std::cell::Cell::new(false));
    let assigned = RefCell::new(Vec::with_capacity(arrivals.len()));
    let failed: RefCell<BTreeMap<String, usize>> = RefCell::default();
    let feed = async {
        for arrival in arrivals {
            sleep_until(began + arrival.due).await;
            queue.borrow_mut().push_back(arrival);
            there.notify_one();
        }
        over.set(true);
        there.notify_waiters();
    };
    let one = async |_: usize| {
        let mut clients = BTreeMap::new();
        loop {
            let Some(arrival) = queue.borrow_mut().pop_front() else {
                if over.get() {
                    return;
                }
                let more = there.notified();
                // One that came, or the end of all, before this waited: looked at once more.
                if queue.borrow().is_empty() && !over.get() {
                    more.await;
                }
                continue;
            };
            let place = &places[arrival.process];
            match submit(&doors[place.scheduler], &mut clients, &arrival.item).await {
                Ok(Submitted { slot, .. }) => {
                    let (process, pushes) = (place.process, arrival.pushes);
                    let (due, at) = (arrival.due, began.elapsed());
                    assigned.borrow_mut().push(Assigned { process, slot, due, at, pushes });
                    tell(assigned.borrow().len());
                }
                Err(error) => *failed.borrow_mut().entry(error.to_string()).or_default() += 1,
            }
        }
    };
    join(feed, join_all((0..CONNECTIONS).map(one))).await;
    (assigned.into_inner(), failed.into_inner())
}

type Clients = BTreeMap<usize, Client>;

async fn submit(door: &Door, clients: &mut Clients, item: &str) -> Result<Submitted, ClientError> {
    let mut client = match clients.remove(&door.node()) {
        Some(client) => client,
        None => door.open().await?,
    };
    let request = Request::Submit { item: item.to_owned() };
    let answer = client.call(&request, REPLY_WAIT).await;
    // A connection whose call failed is not used again, nor one that a node without room hangs up on.
    let is_open = match &answer {
        Ok(_) => true,
        Err(ClientError::Failed(failure)) => failure.code != FailureCode::Busy,
        Err(_) => false,
    };
    if is_open {
        clients.insert(door.node(), client);
    }
    answer
}

/// A connection over which a node shows these processes from now on: it has shown the first slot of each.
async fn watched(door: &Door, processes: &[Id]) -> Result<Client, Trouble> {
    let request = Request::WatchMany { processes: processes.to_vec(), from: Some(0) };
    let shown = async || {
        let mut client = door.open().await?;
        client.send(&request).await?;
        let mut missing: BTreeSet<Id> = processes.iter().copied().collect();
        while !missing.is_empty() {
            match client.reply().await? {
                Reply::Event(value) => {
                    let Watched { process, event } = typed(value)?;
                    if matches!(event, WatchEvent::Slot(slot) if slot.slot == 0) {
                        missing.remove(&process);
                    }
                }
                Reply::Done(_) => return Err(ClientError::Lost),
                Reply::Error(failure) if matches!(failure.code, FailureCode::Busy | FailureCode::Unknown) => {
                    return Ok(Look::NotYet(failure.text));
                }
                Reply::Error(failure) => return Err(ClientError::Failed(failure)),
            }
        }
        Ok(Look::There(client))
    };
    let failed = |source| AskError { node: door.node(), what: "to show processes", source };
    let look = async || shown().await.map_err(failed);
    Ok(until(format!("node {} to show its processes", door.node()), DRAIN_WAIT, look).await?)
}

/// Notes what a node shows of its processes, as long as it is polled.
async fn watch(
    mut client: Client,
    node: usize,
    schedulers: &BTreeMap<Id, usize>,
    began: Instant,
    seen: &RefCell<Seen>,
) {
    let follow = async {
        loop {
            let Watched { process, event } = match client.reply().await? {
                Reply::Event(value) => typed(value)?,
                Reply::Done(_) | Reply::Error(_) => return Ok::<_, ClientError>(()),
            };
            let at = began.elapsed();
            let mut seen = seen.borrow_mut();
            match event {
                WatchEvent::Outcome { position, .. } => {
                    seen.outcomes.entry((process, position.slot)).or_default().push(at);
                }
                WatchEvent::Slot(slot) if schedulers.get(&process) == Some(&node) => {
                    seen.slots.insert((process, slot.slot), at);
                    if slot.pushed {
                        seen.pushed.entry(process).or_default().push(slot);
                    }
                }
                WatchEvent::Slot(_)
                | WatchEvent::Attestation { .. }
                | WatchEvent::Freshness { .. }
                | WatchEvent::Waits { .. }
                | WatchEvent::Alarm { .. } => {}
            }
        }
    };
    // What is not seen is missing in the figures, and they say of how many they are.
    let _ = follow.await;
}

/// Waits until everything that was assigned is computed everywhere and pushed, or for long enough.
async fn drain(assigned: &[Assigned], places: &[Place], seen: &RefCell<Seen>) {
    let wanted: usize = assigned.iter().filter(|one| one.pushes).count();
    let by: BTreeMap<Id, usize> = places.iter().map(|place| (place.process, place.computing.len())).collect();
    let mut behind: Vec<&Assigned> = assigned.iter().collect();
    let look = async || {
        let seen = seen.borrow();
        let pushed: usize = seen.pushed.values().map(Vec::len).sum();
        behind.retain(|one| {
            seen.outcomes.get(&(one.process, one.slot)).map(Vec::len) < by.get(&one.process).copied()
        });
        let behind = behind.len();
        Ok::<_, std::convert::Infallible>(if behind == 0 && pushed >= wanted {
            Look::There(())
        } else {
            Look::NotYet(format!("{behind} not computed by all, {pushed} of {wanted} pushed"))
        })
    };
    // What is missing then is missing in the figures.
    let _ = until_each("everything to be computed and pushed", DRAIN_WAIT, DRAIN_LOOK, look).await;
}

/// Where each push came from.
async fn sources(
    doors: &[Door],
    places: &[Place],
    seen: &Seen,
) -> Result<BTreeMap<(Id, u64), (Id, u64)>, Trouble> {
    let mut pushes = BTreeMap::new();
    for place in places {
        let Some(slots) = seen.pushed.get(&place.process) else { continue };
        let door = &doors[place.scheduler];
        let failed = |source| AskError { node: door.node(), what: "what came", source };
        for (Source { process, position, .. }, slot) in came(door, slots).await.map_err(failed)? {
            pushes.insert((process, position.slot), (place.process, slot));
        }
    }
    Ok(pushes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_cannot_be_measured_is_told_before_anything_starts() {
        let of = |rate: f64, seconds: u64, bytes: usize| {
            let span = Duration::from_secs(seconds);
            Bench { rate: Some(rate), span, bytes, ..Bench::for_tests() }
        };
        let told = |bench: &Bench| check(bench).map_err(|error| error.to_string());
        assert_eq!(told(&of(5_000.0, 40, 0)), Ok(()));
        let error = told(&of(5_000.0, 60, 0)).unwrap_err();
        assert_eq!(error, "--rate 5000 --for 60s are about 300000 messages: expected at most 200000");
        let error = told(&of(100.0, 100, 100_000)).unwrap_err();
        assert!(error.starts_with("about 10000 messages of --bytes 100000 are 953 MiB: "), "{error}");
    }

    #[test]
    fn processes_are_computed_by_their_scheduler_and_the_next() {
        assert_eq!((computing(5, 4), computing(1, 2), computing(9, 1)), (vec![1, 2, 3], vec![1, 0], vec![0]));
    }

    #[test]
    fn arrivals_are_as_many_as_asked_and_the_same_for_a_seed() {
        let span = Duration::from_secs(20);
        let one = dues(100.0, span, 1);
        // Two thousand are expected; the deviation is forty-five.
        assert!((1_700..2_300).contains(&one.len()), "{}", one.len());
        assert!(one.windows(2).all(|pair| pair[0] <= pair[1]) && one.last().is_some_and(|last| *last < span));
        assert_eq!(one, dues(100.0, span, 1));
        assert_ne!(one, dues(100.0, span, 2));
    }
}
