//! The bench: how long a message takes through a mesh of real nodes, and how many fit.
//!
//! Latencies are of one message at a time, from before the item is handed in until the answer is
//! read, so that nothing waits in a queue; the rate is of many clients at once. Items are signed
//! before the clock runs. Every figure goes through control sockets, as a user's tools do.

mod figures;
mod open;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde::Serialize;
use weft_node::control::api::{Reply, Request, ResultInfo, ResultOf, Submitted, WatchEvent};
use weft_node::control::client::{ANSWER_WAIT, Client, ClientError, typed};
use weft_protocol::Tag;

use crate::args::Bench;
use crate::check::{Open, millis};
use crate::error::{AskError, TestnetError};
use crate::fleet::{Fleet, Launch};
use crate::guard::Guard;
use crate::node::Door;
use crate::out::Out;
use crate::plan::Plan;
use crate::run::{Exit, Folder, Signals, check_cores};
use crate::screen::Screen;
use crate::state;
use crate::town::{Actor, Town, Trouble};
use crate::user::{User, encoded};
use figures::OpenReport;

pub use open::TooMuch;

/// Nodes of a bench: two schedule, two carry, all compute.
const NODES: usize = 4;
/// Messages of each kind before the clock runs: modules are compiled and connections are open.
const WARM_UP: usize = 10;
/// How long one message may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The guest.
const FORMAT: &str = "wasm32-weft-plain";

/// What a bench measured.
#[derive(Debug, Serialize)]
struct BenchReport {
    nodes: usize,
    latencies: Vec<Latency>,
    rate: Rate,
}

/// How long one kind of message took.
#[derive(Debug, Serialize)]
struct Latency {
    until: &'static str,
    messages: usize,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    max_us: u64,
}

/// How many messages got a durable slot, of many clients at once.
#[derive(Debug, Serialize)]
struct Rate {
    clients: usize,
    messages: usize,
    elapsed_ms: u64,
    per_second: u64,
}

impl Latency {
    fn of(until: &'static str, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            let time = times.get(index).or(times.last()).copied().unwrap_or_default();
            u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
        };
        let (p50_us, p90_us, p99_us, max_us) = (at(0.5), at(0.9), at(0.99), at(1.0));
        Self { until, messages: times.len(), p50_us, p90_us, p99_us, max_us }
    }
}

/// Runs it once.
///
/// # Errors
/// What kept the nodes from coming up, or a message that did not go through.
pub(crate) async fn run(bench: &Bench, screen: Screen) -> Result<Exit, TestnetError> {
    if bench.rate.is_some() {
        return open_loop(bench, screen).await;
    }
    let mut signals = Signals::listen().map_err(TestnetError::Runtime)?;
    let mut folder = Folder::make(bench.dir.as_deref(), false)?;
    let plan = Plan::new(NODES, None, folder.path())?;
    let _guard = Guard::set(folder.fresh())?;
    let user = User::open(&plan.user_dir())?;
    let mut fleet = Fleet::new(plan);
    let ended = tokio::select! {
        ended = measure(&mut fleet, &user, bench, screen) => ended.map(Some),
        () = signals.caught() => Ok(None),
    };
    keep_logs(&mut folder, &fleet, ended.as_ref().err());
    fleet.stop().await;
    let Some(report) = ended? else { return Ok(Exit::Interrupted) };
    show(&report, screen);
    screen.report(&report);
    Ok(Exit::Green)
}

/// Keeps the folder that an error is about, unless nothing ran there.
fn keep_logs(folder: &mut Folder, fleet: &Fleet, error: Option<&TestnetError>) {
    folder.keep |= error.is_some_and(|error| !fleet.nodes().is_empty() || !error.is_input());
}

/// Loads nodes that run, or a fresh testnet, with messages that arrive by themselves.
async fn open_loop(bench: &Bench, screen: Screen) -> Result<Exit, TestnetError> {
    let mut signals = Signals::listen().map_err(TestnetError::Runtime)?;
    // The folder that was named is the testnet's, and this bench has one of its own.
    let (up, own) = if bench.attach { (bench.dir.as_deref(), None) } else { (None, bench.dir.as_deref()) };
    let there: Vec<PathBuf> =
        if bench.attach { state::find(&state::folder(), up)?.peers } else { bench.data_dir.clone() };
    if there.is_empty() {
        check_cores(bench.peers, bench.crowded)?;
    }
    open::check(bench)?;
    let svg = bench.svg.as_deref().map(Out::open).transpose()?;
    let mut folder = Folder::make(own, false)?;
    let _guard = Guard::set(folder.fresh())?;
    let user = User::open(&folder.path().join("user"))?;
    if !there.is_empty() {
        let doors: Vec<Door> = there.iter().enumerate().map(|(node, dir)| Door::new(node, dir)).collect();
        return tokio::select! {
            ended = loaded(&doors, &user, (bench, svg), screen) => ended,
            () = signals.caught() => Ok(Exit::Interrupted),
        };
    }
    let plan = Plan::new(bench.peers, None, folder.path())?;
    let mut fleet = Fleet::new(plan);
    let all = async {
        let busy = screen.spinner("starting nodes");
        fleet.start(&Launch::this_executable()?, |_| {}).await?;
        fleet.healthy(|_| {}).await?;
        drop(busy);
        loaded(&fleet.doors(), &user, (bench, svg), screen).await
    };
    let ended = tokio::select! {
        ended = all => ended,
        () = signals.caught() => Ok(Exit::Interrupted),
    };
    keep_logs(&mut folder, &fleet, ended.as_ref().err());
    if matches!(ended, Ok(Exit::Red) | Err(TestnetError::Load { .. })) {
        folder.keep = true;
        let dir = folder.path().display();
        screen.error("red", &format!("something never came; the nodes' logs are {dir}/node-*/node.log"));
    }
    fleet.stop().await;
    ended
}

async fn loaded(
    doors: &[Door],
    user: &User,
    (bench, svg): (&Bench, Option<Out>),
    screen: Screen,
) -> Result<Exit, TestnetError> {
    let wanted = open::dues(bench.rate.unwrap_or_default(), bench.span, bench.seed).len();
    let bar = screen.bar("messages", wanted);
    let failed = |trouble: Trouble| TestnetError::Load { what: trouble.to_string() };
    let run = open::load(doors, user, bench, |done| bar.set(done)).await.map_err(failed)?;
    drop(bar);
    let report = OpenReport::of(&run, bench, doors.len(), wanted)?;
    report.show(screen);
    screen.report(&report);
    if let Some(svg) = svg {
        let path = svg.path().display().to_string();
        report.plot(svg)?;
        screen.line(&format!("the plot is {path}"));
    }
    Ok(if report.is_whole() { Exit::Green } else { Exit::Red })
}

async fn measure(
    fleet: &mut Fleet,
    user: &User,
    bench: &Bench,
    screen: Screen,
) -> Result<BenchReport, TestnetError> {
    let busy = screen.spinner("starting nodes");
    fleet.start(&Launch::this_executable()?, |_| {}).await?;
    fleet.healthy(|_| {}).await?;
    drop(busy);
    let town = Town { fleet, user, sender: fleet.plan().sender() };
    let failed = |trouble: Trouble| TestnetError::Unhealthy {
        what: town.explain(trouble),
        dir: fleet.plan().dir().into(),
    };
    let mut stand = Stand::build(town).await.map_err(failed)?;
    let mut latencies = Vec::new();
    for kind in Kind::ALL {
        let bar = screen.bar(kind.name(), bench.messages);
        latencies.push(stand.latency(kind, bench.messages, |done| bar.set(done)).await.map_err(failed)?);
    }
    let busy = screen.spinner("many clients at once");
    let rate = stand.rate(bench.clients, bench.messages).await.map_err(failed)?;
    drop(busy);
    Ok(BenchReport { nodes: NODES, latencies, rate })
}

/// Until what a message is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Handed to the scheduler's own node.
    AssignedHere,
    /// Handed to another node, which takes it to the scheduler.
    AssignedThere,
    /// Known, as the outcome, on a node that computes and does not schedule.
    Computed,
    /// A push that it causes has its slot in another process, at another scheduler.
    Pushed,
}

impl Kind {
    const ALL: [Self; 4] = [Self::AssignedHere, Self::AssignedThere, Self::Computed, Self::Pushed];

    const fn name(self) -> &'static str {
        match self {
            Self::AssignedHere => "assigned, handed to its scheduler",
            Self::AssignedThere => "assigned, handed to another node",
            Self::Computed => "computed by another node",
            Self::Pushed => "its push assigned by another scheduler",
        }
    }
}

/// Two processes, and a connection to every node.
struct Stand<'a> {
    town: Town<'a>,
    a: Actor,
    b: Actor,
    clients: Vec<Client>,
    arrivals: Client,
}

impl<'a> Stand<'a> {
    async fn build(town: Town<'a>) -> Result<Self, Trouble> {
        let module = town.publish(weft_node::guests::COUNTER, FORMAT, &[]).await?.module;
        // The tour judges these; here they only have to work.
        let mut open = Open::new("spawn");
        let [a, b] = town.spawn_two(["a", "b"], module, &[], &mut open).await?;
        town.host(&a, &mut open).await?;
        town.host(&b, &mut open).await?;
        let mut clients = Vec::new();
        for node in 0..NODES {
            clients.push(connect(&town, node).await?);
        }
        let mut arrivals = connect(&town, b.scheduler).await?;
        let watch = Request::Watch { process: b.id, from: None };
        arrivals.send(&watch).await.map_err(asked(b.scheduler))?;
        Ok(Self { town, a, b, clients, arrivals })
    }

    async fn latency(
        &mut self,
        kind: Kind,
        messages: usize,
        tell: impl Fn(usize),
    ) -> Result<Latency, Trouble> {
        let mut times = Vec::with_capacity(messages);
        for number in 0..WARM_UP + messages {
            let time = self.one(kind).await?;
            if number >= WARM_UP {
                times.push(time);
                tell(times.len());
            }
        }
        Ok(Latency::of(kind.name(), times))
    }

    async fn one(&mut self, kind: Kind) -> Result<Duration, Trouble> {
        let (action, tags) = match kind {
            Kind::Pushed => ("Relay", vec![Tag::new("To", self.b.id.to_string())]),
            _ => ("Increment", Vec::new()),
        };
        let item = self.town.user.message(self.a.id, action, tags, "")?;
        let item = encoded(&item);
        let node = match kind {
            Kind::AssignedHere => self.a.scheduler,
            _ => self.town.fleet.plan().sender(),
        };
        let begun = Instant::now();
        let submitted = submit(&mut self.clients[node], item).await.map_err(asked(node))?;
        match kind {
            Kind::AssignedHere | Kind::AssignedThere => {}
            Kind::Computed => {
                let (witness, of) = (self.a.witness(), ResultOf::Slot(submitted.slot));
                let request = Request::Result { process: self.a.id, of, wait_ms: millis(PATIENCE) };
                let call = self.clients[witness].call::<ResultInfo>(&request, PATIENCE + ANSWER_WAIT);
                call.await.map_err(asked(witness))?;
            }
            Kind::Pushed => arrival(&mut self.arrivals).await.map_err(asked(self.b.scheduler))?,
        }
        Ok(begun.elapsed())
    }

    /// Many clients hand in items to the scheduler's own node, each the next when it has a reply.
    async fn rate(&self, clients: usize, each: usize) -> Result<Rate, Trouble> {
        let mut work = Vec::new();
        for _ in 0..clients {
            let sign = |_| {
                let item = self.town.user.message(self.a.id, "Increment", Vec::new(), "")?;
                Ok(encoded(&item))
            };
            let items: Result<Vec<String>, Trouble> = (0..each).map(sign).collect();
            work.push((connect(&self.town, self.a.scheduler).await?, items?));
        }
        let begun = Instant::now();
        try_join_all(work.into_iter().map(async |(mut client, items)| {
            for item in items {
                submit(&mut client, item).await?;
            }
            Ok::<_, ClientError>(())
        }))
        .await
        .map_err(asked(self.a.scheduler))?;
        let elapsed = begun.elapsed();
        let messages = clients * each;
        let per_second = (messages as f64 / elapsed.as_secs_f64()) as u64;
        Ok(Rate { clients, messages, elapsed_ms: millis(elapsed), per_second })
    }
}

async fn connect(town: &Town<'_>, node: usize) -> Result<Client, Trouble> {
    Ok(town.fleet.node(node).door().open().await.map_err(asked(node))?)
}

async fn submit(client: &mut Client, item: String) -> Result<Submitted, ClientError> {
    client.call(&Request::Submit { item }, PATIENCE).await
}

/// Waits for the next pushed slot of a watched process.
async fn arrival(client: &mut Client) -> Result<(), ClientError> {
    loop {
        match client.reply().await? {
            Reply::Event(value) => {
                if matches!(typed(value)?, WatchEvent::Slot(slot) if slot.pushed) {
                    return Ok(());
                }
            }
            Reply::Done(_) | Reply::Error(_) => return Err(ClientError::Lost),
        }
    }
}

fn asked(node: usize) -> impl Fn(ClientError) -> AskError {
    move |source| AskError { node, what: "a measured message", source }
}

fn show(report: &BenchReport, screen: Screen) {
    let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
    let rows = report.latencies.iter().map(|of| {
        [
            of.until.to_owned(),
            of.messages.to_string(),
            ms(of.p50_us),
            ms(of.p90_us),
            ms(of.p99_us),
            ms(of.max_us),
        ]
    });
    screen.table(["UNTIL", "MESSAGES", "P50 MS", "P90 MS", "P99 MS", "MAX MS"], rows);
    let Rate { clients, messages, per_second, .. } = report.rate;
    screen.line(&format!(
        "{per_second} durable slots a second: {clients} clients, {messages} messages, one process"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let times = (1..=100).rev().map(Duration::from_micros).collect();
        let latency = Latency::of("x", times);
        assert_eq!((latency.p50_us, latency.p90_us, latency.p99_us, latency.max_us), (51, 91, 100, 100));
        assert_eq!(Latency::of("x", Vec::new()).max_us, 0);
    }
}
