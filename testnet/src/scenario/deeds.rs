//! What is done to the peers of a scenario.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep_until};

use super::absences::Absences;
use super::cast;
use super::cut::{self, Crossing};
use super::file::{Churn, Scenario, Skew, Step, Who, Wire};
use super::measure::Figures;
use super::rogues::RogueError;
use crate::error::{AskError, TestnetError};
use crate::fleet::{Fleet, Launch};
use crate::guard::Guard;
use crate::netns::Lanes;
use crate::node::Node;
use crate::town::{Actor, Town, Trouble};
use crate::user::User;
use crate::wait::{Look, until_each};

/// The signal of `kill -9`.
const SIGKILL: i32 = 9;
/// How long peers may take for what they missed.
const CATCH_UP_WAIT: Duration = Duration::from_secs(180);
/// How often it is looked at meanwhile: every look asks all of them.
const CATCH_UP_LOOK: Duration = Duration::from_millis(500);
/// Processes that are looked at beside each other.
const CATCH_UP_AT_ONCE: usize = 8;
/// Of so many peers one may be away in a churn.
const AWAY: usize = 4;
/// How often those with empty disks are asked in a churn to hold again what they did.
const REFILL_EVERY: Duration = Duration::from_secs(5);

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeedError {
    /// A node, or the system.
    #[error(transparent)]
    Testnet(#[from] TestnetError),
    /// What a node was asked for.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// A rogue.
    #[error(transparent)]
    Rogue(#[from] RogueError),
    /// Nobody is left for whom it makes sense.
    #[error("nobody is left to do it to")]
    Nobody,
    /// A peer that was named, and that is not as the step would have it.
    #[error("peer {node} {why}")]
    NotNow {
        /// Which.
        node: usize,
        /// What is in the way.
        why: &'static str,
    },
    /// A node that was to be killed had ended before.
    #[error("node {node} had ended by itself ({how})")]
    EndedBefore {
        /// Which.
        node: usize,
        /// With what.
        how: String,
    },
    /// A node that was to stop in order did not.
    #[error("node {node} did not stop cleanly ({how})")]
    NotInOrder {
        /// Which.
        node: usize,
        /// With what it ended.
        how: String,
    },
}

/// How a node ended, for a person.
fn how(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "nobody knows how".to_owned(), |status| status.to_string())
}

/// The processes with all that compute them: who came later computes all.
pub(super) fn with_late(actors: &[Actor], first: usize, peers: usize) -> Vec<Actor> {
    let late = |actor: &Actor| {
        let computing = actor.computing.iter().copied().chain(first..peers).collect();
        Actor { computing, ..actor.clone() }
    };
    actors.iter().map(late).collect()
}

/// Whoever does things to peers.
pub(super) struct Hand<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) fleet: &'a mut Fleet,
    pub(super) guard: &'a mut Guard,
    pub(super) user: &'a User,
    pub(super) launch: &'a Launch,
    pub(super) actors: &'a [Actor],
    pub(super) figures: Figures,
    pub(super) absences: Absences,
    rng: StdRng,
    cut: Vec<Vec<usize>>,
    /// Peers whose wires are not those of the beginning.
    rewired: BTreeSet<usize>,
    /// Peers that have forgotten what they held, or never knew.
    empty: BTreeSet<usize>,
}

impl<'a> Hand<'a> {
    pub(super) fn new(
        (scenario, seed): (&'a Scenario, u64),
        fleet: &'a mut Fleet,
        guard: &'a mut Guard,
        (user, launch): (&'a User, &'a Launch),
        actors: &'a [Actor],
    ) -> Self {
        Self {
            scenario,
            fleet,
            guard,
            user,
            launch,
            actors,
            figures: Figures::new(),
            absences: Absences::default(),
            rng: StdRng::seed_from_u64(seed),
            cut: Vec::new(),
            rewired: BTreeSet::new(),
            empty: BTreeSet::new(),
        }
    }

    /// Does what a step says. Rogues and settling are not its business.
    pub(super) async fn step(&mut self, step: &Step) -> Result<(), DeedError> {
        match step {
            Step::Wait(span) => sleep_until(Instant::now() + span.0).await,
            Step::Kill(who) => {
                for node in self.choose(who, Self::is_down)? {
                    self.kill(node).await?;
                }
            }
            Step::Start(who) => {
                let runs =
                    |hand: &Self, node| hand.is_down(node).xor(Some("runs: only what was killed is started"));
                let nodes = self.choose(who, runs)?;
                self.start(&nodes).await?;
            }
            Step::Restart(who) => {
                let nodes = self.choose(who, Self::is_away)?;
                self.restart(&nodes, |_| ()).await?;
            }
            Step::Pause(who) => {
                for node in self.choose(who, Self::is_away)? {
                    self.pause(node)?;
                }
            }
            Step::Resume(who) => {
                let goes_on = |hand: &Self, node| (!hand.absences.is_paused(node)).then_some("is not paused");
                for node in self.choose(who, goes_on)? {
                    self.resume(node)?;
                }
            }
            Step::Wipe(who) => {
                // Who is named loses its disk whatever it does.
                let keeps = |hand: &Self, node| {
                    (who.peers.is_empty() && hand.schedules(node)).then_some("schedules a process")
                };
                for node in self.choose(who, keeps)? {
                    if self.is_down(node).is_none() {
                        self.kill(node).await?;
                    }
                    self.wipe(node)?;
                    self.start(&[node]).await?;
                    self.refill().await;
                }
            }
            Step::Join(count) => self.join(*count).await?,
            Step::Partition(groups) => self.partition(groups).await?,
            Step::Heal(_) => self.heal().await?,
            Step::Link(wire) => self.wire(wire).await?,
            Step::Skew(Skew { peers, ms }) => {
                let who = Who { peers: peers.clone(), count: None };
                let nodes = self.choose(&who, Self::is_away)?;
                self.restart(&nodes, |node| node.set_flag("--clock-offset-ms", &ms.to_string())).await?;
            }
            Step::Churn(churn) => self.churn(churn).await?,
            Step::Rogue(_) | Step::Until(_) | Step::Settle(_) => {}
        }
        Ok(())
    }

    /// Takes back everything that was done but wrong clocks, so that what is left is what it did to the logs. No
    /// promise may depend on clocks, so they may stay wrong.
    pub(super) async fn mend(&mut self) -> Result<(), DeedError> {
        self.heal().await?;
        self.rewire().await?;
        for node in self.absences.paused() {
            self.resume(node)?;
        }
        self.start(&self.absences.down()).await?;
        self.fleet.all_up().await?;
        self.fleet.healthy(|_| ()).await?;
        let wanted = self.missing();
        let wanted = wanted.iter().map(|(actor, node)| (actor, *node));
        cast::hold(&self.town(), wanted, self.scenario).await?;
        self.empty.clear();
        Ok(())
    }

    /// Waits until every computer has computed what its scheduler had when this was asked.
    pub(super) async fn caught_up(&self) -> Result<(), DeedError> {
        let town = self.town();
        let actors = with_late(self.actors, self.scenario.first(), self.fleet.nodes().len());
        let one = async |actor: &Actor| {
            let wanted = town.detail(actor, actor.scheduler, false).await?.info.head;
            let look = async || {
                let asked = actor.computing.iter().map(|node| town.detail(actor, *node, false));
                let details = try_join_all(asked).await?;
                let behind = actor.computing.iter().zip(details).find_map(|(node, detail)| {
                    let here = detail.info.computed.map(|at| at.slot);
                    (here < wanted).then(|| format!("node {node} has computed {here:?} of {wanted:?}"))
                });
                Ok::<_, AskError>(behind.map_or(Look::There(()), Look::NotYet))
            };
            let what = format!("all to catch up with {}", actor.name);
            until_each(what, CATCH_UP_WAIT, CATCH_UP_LOOK, look).await?;
            Ok::<_, Trouble>(())
        };
        // Not all at once: each asks every node that computes one of them.
        stream::iter(actors.iter().map(one)).buffer_unordered(CATCH_UP_AT_ONCE).try_collect::<()>().await?;
        Ok(())
    }

    fn town(&self) -> Town<'_> {
        Town { fleet: self.fleet, user: self.user, sender: 0 }
    }

    fn count(&mut self, figure: &'static str) {
        *self.figures.entry(figure).or_default() += 1.0;
    }

    fn schedules(&self, node: usize) -> bool {
        node < self.scenario.processes.get_ref().schedulers
    }

    fn is_down(&self, node: usize) -> Option<&'static str> {
        self.absences.is_down(node).then_some("is down: start it first")
    }

    fn is_away(&self, node: usize) -> Option<&'static str> {
        let is_paused = || self.absences.is_paused(node).then_some("is paused: resume it first");
        self.is_down(node).or_else(is_paused)
    }

    /// The peers that are meant: those named, if nothing is `in_the_way` of one, else some of whom that holds.
    fn choose(
        &mut self,
        who: &Who,
        in_the_way: impl Fn(&Self, usize) -> Option<&'static str>,
    ) -> Result<Vec<usize>, DeedError> {
        if !who.peers.is_empty() {
            let not_now = who.peers.iter().find_map(|node| Some((*node, in_the_way(self, *node)?)));
            return not_now
                .map_or_else(|| Ok(who.peers.clone()), |(node, why)| Err(DeedError::NotNow { node, why }));
        }
        let able: Vec<usize> =
            (0..self.fleet.nodes().len()).filter(|node| in_the_way(self, *node).is_none()).collect();
        let Some(count) = who.count else { return Ok(able) };
        if able.len() < count {
            return Err(DeedError::Nobody);
        }
        let mut drawn = able.into_iter().sample(&mut self.rng, count);
        drawn.sort_unstable();
        Ok(drawn)
    }

    async fn kill(&mut self, node: usize) -> Result<(), DeedError> {
        let status = self.fleet.kill(node).await;
        if status.and_then(|status| status.signal()) != Some(SIGKILL) {
            return Err(DeedError::EndedBefore { node, how: how(status) });
        }
        self.is_not_paused(node);
        if self.absences.dies(node) {
            self.count("kills");
        }
        Ok(())
    }

    /// Tells the guard that nobody has to wake a peer any more, if it was paused.
    fn is_not_paused(&mut self, node: usize) {
        if self.absences.is_paused(node) {
            self.guard.paused(self.fleet.node(node).ready().pid, false);
        }
    }

    /// Starts killed peers again, and waits until they are up.
    async fn start(&mut self, nodes: &[usize]) -> Result<(), DeedError> {
        for node in nodes {
            self.fleet.start_again(*node)?;
        }
        for node in nodes {
            self.fleet.node_mut(*node).up().await?;
            self.absences.is_back(*node);
        }
        Ok(())
    }

    async fn restart(&mut self, nodes: &[usize], change: impl Fn(&mut Node)) -> Result<(), DeedError> {
        nodes.iter().for_each(|node| self.absences.leaves(*node));
        let end = async |node: &mut Node| (node.index(), node.end().await);
        let ended = join_all(self.fleet.some_mut(nodes).map(end)).await;
        let is_bad = |status: &Option<ExitStatus>| !status.is_some_and(|status| status.success());
        if let Some((node, status)) = ended.into_iter().find(|(_, status)| is_bad(status)) {
            return Err(DeedError::NotInOrder { node, how: how(status) });
        }
        for node in nodes {
            let node = self.fleet.node_mut(*node);
            change(node);
            node.start_again()?;
        }
        try_join_all(self.fleet.some_mut(nodes).map(Node::up)).await?;
        nodes.iter().for_each(|_| self.count("restarts"));
        nodes.iter().for_each(|node| self.absences.is_back(*node));
        Ok(())
    }

    fn pause(&mut self, node: usize) -> Result<(), DeedError> {
        // The guard first: were we killed in between, it would have it go on.
        self.guard.paused(self.fleet.node(node).ready().pid, true);
        self.fleet.node(node).signal(Signal::SIGSTOP)?;
        self.absences.pauses(node);
        Ok(())
    }

    fn resume(&mut self, node: usize) -> Result<(), DeedError> {
        self.fleet.node(node).signal(Signal::SIGCONT)?;
        self.is_not_paused(node);
        self.absences.is_back(node);
        Ok(())
    }

    fn wipe(&mut self, node: usize) -> Result<(), DeedError> {
        self.fleet.node(node).wipe()?;
        self.empty.insert(node);
        self.count("wipes");
        Ok(())
    }

    /// What a peer is to hold. Who came later computes all of it.
    fn actors_of(&self, node: usize) -> Vec<Actor> {
        let actors = with_late(self.actors, self.scenario.first(), self.fleet.nodes().len());
        let holds = |actor: &Actor| cast::holders(actor, self.scenario, node + 1).contains(&node);
        actors.into_iter().filter(holds).collect()
    }

    /// What peers that hold nothing are to hold again.
    fn missing(&self) -> Vec<(Actor, usize)> {
        let of =
            |node: &usize| self.actors_of(*node).into_iter().map(|actor| (actor, *node)).collect::<Vec<_>>();
        self.empty.iter().flat_map(of).collect()
    }

    /// Asks peers that hold nothing to hold again what they did, once: a scheduler may be away.
    async fn refill(&mut self) {
        let wanted = self.missing();
        let wanted = wanted.iter().filter(|(_, node)| self.is_away(*node).is_none());
        let wanted = wanted.map(|(actor, node)| (actor, *node));
        let failed = cast::try_hold(&self.town(), wanted, self.scenario).await;
        let is_away = |node: usize| self.absences.is_down(node) || self.absences.is_paused(node);
        self.empty.retain(|node| failed.contains(node) || is_away(*node));
    }

    async fn join(&mut self, count: usize) -> Result<(), DeedError> {
        let first = self.fleet.nodes().len();
        self.fleet.start_until(self.launch, count, |_| ()).await?;
        for node in first..count {
            self.count("joins");
            self.empty.insert(node);
        }
        self.refill().await;
        Ok(())
    }

    fn lanes(&self) -> Option<Lanes> {
        self.fleet.plan().lanes().cloned()
    }

    async fn partition(&mut self, groups: &[Vec<usize>]) -> Result<(), DeedError> {
        self.heal().await?;
        if let Some(lanes) = self.lanes() {
            lanes.cut(groups).await?;
            self.cut = groups.to_vec();
        }
        Ok(())
    }

    async fn heal(&mut self) -> Result<(), DeedError> {
        let groups = std::mem::take(&mut self.cut);
        let Some(lanes) = self.lanes().filter(|_| !groups.is_empty()) else { return Ok(()) };
        let runs = |node| self.is_away(node).is_none();
        let crossing = cut::crossing(&self.town(), self.actors, &groups, runs).await;
        lanes.join(&groups).await?;
        let whole = Instant::now();
        let crossing = crossing?;
        let took = cut::healed(&self.town(), self.actors, runs, (&crossing, whole)).await?;
        let Crossing { connections, answers, .. } = crossing;
        let fewest = self.figures.entry("connections-across").or_insert(f64::INFINITY);
        *fewest = fewest.min(connections as f64);
        if let Some(answers) = answers {
            *self.figures.entry("answers-across").or_default() += answers as f64;
        }
        let longest = self.figures.entry("heal-ms").or_default();
        *longest = longest.max(took.as_secs_f64() * 1000.0);
        Ok(())
    }

    async fn wire(&mut self, wire: &Wire) -> Result<(), DeedError> {
        let Some(lanes) = self.lanes() else { return Ok(()) };
        for node in &wire.peers {
            self.rewired.insert(*node);
            lanes.shape(*node, &wire.link).await?;
        }
        Ok(())
    }

    /// Makes all wires again what they were at the beginning.
    async fn rewire(&mut self) -> Result<(), DeedError> {
        let Some(lanes) = self.lanes() else { return Ok(()) };
        while let Some(node) = self.rewired.pop_first() {
            lanes.shape(node, &self.scenario.link).await?;
        }
        Ok(())
    }

    /// About so long: from half of it to one and a half.
    fn about(&mut self, span: Duration) -> Duration {
        span.mul_f64(self.rng.random_range(0.5..1.5))
    }

    async fn churn(&mut self, churn: &Churn) -> Result<(), DeedError> {
        let end = Instant::now() + churn.span.0;
        let mut next = Instant::now();
        let mut back: Vec<(Instant, usize)> = Vec::new();
        let mut deaths = 0_usize;
        let mut refill = Instant::now();
        let among = |node: usize| churn.peers.is_empty() || churn.peers.contains(&node);
        while Instant::now() < end || !back.is_empty() {
            let first = back.iter().map(|(at, _)| *at).min();
            let until = if Instant::now() < end {
                first.map_or(next, |at| at.min(next))
            } else {
                first.unwrap_or(end)
            };
            sleep_until(until).await;
            let now = Instant::now();
            let due: Vec<usize> = back.iter().filter(|(at, _)| *at <= now).map(|(_, node)| *node).collect();
            back.retain(|(at, _)| *at > now);
            self.start(&due).await?;
            // Seldom, as a scheduler that is away has it wait, and deaths with it.
            if !self.empty.is_empty() && Instant::now() >= refill {
                self.refill().await;
                refill = Instant::now() + REFILL_EVERY;
            }
            if now >= next && now < end {
                next = now + self.about(churn.every.0);
                let peers = (0..self.fleet.nodes().len()).filter(|node| among(*node)).count();
                if back.len() < peers.div_ceil(AWAY) {
                    let one = Who { peers: Vec::new(), count: Some(1) };
                    let other = |node| (!among(node)).then_some("is not meant");
                    let node = self.choose(&one, |hand, node| hand.is_down(node).or_else(|| other(node)))?[0];
                    self.kill(node).await?;
                    deaths += 1;
                    if churn.wipe && deaths.is_multiple_of(2) && !self.schedules(node) {
                        self.wipe(node)?;
                    }
                    back.push((now + self.about(churn.down.0), node));
                }
            }
        }
        Ok(())
    }
}
