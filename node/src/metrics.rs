//! What a node counts and measures: for Prometheus, and for people.
//!
//! Roles count where things happen, in [`Metrics`]; queues and budgets are looked at when somebody
//! asks. `METRICS.md` beside this crate lists every name, and a test holds the two to each other.
//! Labels have few values that are known here: nothing is counted by process, peer or item.
//!
//! Nothing in it decides anything.

mod http;
mod levels;
mod snapshot;

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use weft_protocol::outcome::Code;

use crate::hosting::Declined;
use crate::lobby::machine::Heard;
use crate::market::machine::Heard as Offered;
use crate::messenger::steps::STAGES;
use crate::pending::machine::Heard as Waits;
use crate::shared::Shared;

pub(crate) use http::MetricsServer;
pub use levels::Level;
use levels::{Levels, Reading};

/// What every name begins with.
const PREFIX: &str = "weft";

/// Upper bounds of the buckets of a time, in seconds: from a quick message to a slow disk.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The queues that drop what finds no room, or tell it to come back, and whose they are.
const FULL: [(&str, &str); 8] = [
    ("inbound", "announcements"),
    ("inbound", "requests"),
    ("network", "announcements"),
    ("messenger", "inbox"),
    ("witness", "inbox"),
    ("control", "clients"),
    ("metrics", "connections"),
    ("gateway", "connections"),
];

/// How a dry run may end.
const DRY_RUNS: [&str; 8] =
    ["done", "invalid", "busy", "spent", "too-long", "too-much-gas", "no-state", "fault"];

/// The words for the codes of outcomes.
fn codes() -> Vec<&'static str> {
    (0..=u8::MAX).map_while(Code::from_number).map(Code::name).collect()
}

/// One label with its value.
type Label = [(&'static str, &'static str); 1];

/// A counter for each value of one label.
#[derive(Debug, Clone)]
pub struct Counters {
    label: &'static str,
    family: Family<Label, Counter>,
}

impl Counters {
    /// All values stand at nothing, so that a reader can tell that from a name that is gone.
    fn new(label: &'static str, values: &[&'static str]) -> Self {
        let family = Family::default();
        for value in values {
            drop(family.get_or_create(&[(label, *value)]));
        }
        Self { label, family }
    }

    /// Counts one more.
    pub fn add(&self, value: &'static str) {
        self.family.get_or_create(&[(self.label, value)]).inc();
    }

    /// What was counted under all values.
    #[cfg(test)]
    fn of(&self, value: &'static str) -> u64 {
        self.family.get_or_create(&[(self.label, value)]).get()
    }
}

/// Times, in buckets.
#[derive(Debug, Clone)]
pub struct Times(Histogram);

impl Times {
    fn new() -> Self {
        Self(Histogram::new(SECONDS))
    }

    /// Notes one.
    pub fn add(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }
}

/// Times by the value of one label.
#[derive(Debug, Clone)]
pub struct TimesOf {
    label: &'static str,
    family: Family<Label, Histogram>,
}

impl TimesOf {
    /// All values are there from the beginning, as those of [`Counters`].
    fn new(label: &'static str, values: &[&'static str]) -> Self {
        let family = Family::<Label, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        for value in values {
            drop(family.get_or_create(&[(label, *value)]));
        }
        Self { label, family }
    }

    /// Notes one under a value.
    pub fn add(&self, value: &'static str, time: Duration) {
        self.family.get_or_create(&[(self.label, value)]).observe(time.as_secs_f64());
    }
}

/// What the roles of one node count.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    levels: Levels,
    /// Answers of the scheduler to those who asked for a slot.
    pub submits: Counters,
    /// From asking the scheduler for a slot until it is durable.
    pub assign_times: Times,
    /// Slots of others appended to logs here.
    pub followed: Counter,
    /// What processes need by id and this disk had not: who gave it, or that nobody did.
    pub weave_reads: Counters,
    /// Positions evaluated, by the code of their outcome.
    pub outcomes: Counters,
    /// Gas that they used.
    pub gas: Counter,
    /// The time of the guest for one position.
    pub compute_times: Times,
    /// Checkpoints written.
    pub checkpoints: Counter,
    /// Processes that left memory for others.
    pub evictions: Counter,
    /// Tries to push an outbox entry, by what came of it.
    pub pushes: Counters,
    /// The time of one try.
    pub push_times: Times,
    /// The stages of pushes that were this messenger's at once and went as they should.
    pub push_stages: TimesOf,
    /// Positions whose outboxes were collected from computers.
    pub collected: Counter,
    /// Answers among them of an attestor that was asked before a quorum had signed.
    pub collected_ahead: Counter,
    /// Answers of computers that were not what was sent.
    pub collect_lies: Counter,
    /// Dry runs, by how they ended.
    pub dry_runs: Counters,
    /// Processes far behind their logs, by what became of them.
    pub joins: Counters,
    /// Processes that nobody served and that were read from gateways, or not.
    pub recoveries: Counters,
    /// Batches given to the weave.
    pub batches: Counter,
    /// Steps of postings to a weave that costs money.
    pub postings: Counters,
    /// Winston that was signed for.
    pub anchor_winston: Counter,
    /// Processes of others that were not taken, by why.
    pub declined: Counters,
    /// Adverts of others on lobby shards, by what became of them.
    pub lobby: Counters,
    /// Offers of other messengers, by what became of them.
    pub offers: Counters,
    /// Messages that wait for a slot, by what became of them here.
    pub pending: Counters,
    /// From looking for a process of others until its first slot is here, verified.
    pub find_times: Times,
    full: Family<[(&'static str, &'static str); 2], Counter>,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            levels: Levels::default(),
            submits: Counters::new(
                "answer",
                &["assigned", "duplicate", "busy", "unknown", "cautious", "full", "fault"],
            ),
            assign_times: Times::new(),
            followed: Counter::default(),
            weave_reads: Counters::new("outcome", &["peer", "gateway", "false", "missing"]),
            outcomes: Counters::new("code", &codes()),
            gas: Counter::default(),
            compute_times: Times::new(),
            checkpoints: Counter::default(),
            evictions: Counter::default(),
            pushes: Counters::new(
                "outcome",
                &["assigned", "duplicate", "found", "born", "busy", "unreachable", "refused"],
            ),
            push_times: Times::new(),
            push_stages: TimesOf::new("stage", &STAGES),
            collected: Counter::default(),
            collected_ahead: Counter::default(),
            collect_lies: Counter::default(),
            dry_runs: Counters::new("outcome", &DRY_RUNS),
            joins: Counters::new("outcome", &["joined", "replayed"]),
            recoveries: Counters::new("outcome", &["whole", "part", "declined", "nothing"]),
            batches: Counter::default(),
            postings: Counters::new("step", &["signed", "posted", "refused", "final"]),
            anchor_winston: Counter::default(),
            declined: Counters::new("reason", &Declined::NAMES),
            lobby: Counters::new("outcome", &Heard::ALL.map(Heard::name)),
            offers: Counters::new("outcome", &Offered::<()>::NAMES),
            pending: Counters::new("outcome", &Waits::NAMES),
            find_times: Times::new(),
            full: Family::default(),
        };
        for (role, queue) in FULL {
            metrics.full(role, queue);
        }
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("submits", "Answers of the scheduler", self.submits.family.clone());
        registry.register(
            "followed_slots",
            "Slots of other schedulers appended to logs here",
            self.followed.clone(),
        );
        let reads = self.weave_reads.family.clone();
        registry.register("weave_reads", "Searches elsewhere for items that a process needs", reads);
        registry.register("outcomes", "Positions evaluated", self.outcomes.family.clone());
        registry.register("gas", "Gas used by evaluated positions", self.gas.clone());
        registry.register("checkpoints", "Checkpoints written", self.checkpoints.clone());
        registry.register("evictions", "Processes that left memory to make room", self.evictions.clone());
        registry.register("pushes", "Attempts to push an outbox entry", self.pushes.family.clone());
        let help = "Positions whose outboxes were fetched from computers";
        registry.register("collected", help, self.collected.clone());
        let help = "Answers fetched from an attestor before a quorum had signed";
        registry.register("collected_ahead", help, self.collected_ahead.clone());
        let help = "Answers of computers that contradicted what a process sent";
        registry.register("collect_lies", help, self.collect_lies.clone());
        registry.register("dry_runs", "Dry runs", self.dry_runs.family.clone());
        registry.register(
            "joins",
            "Processes that were far behind their logs, by how they caught up",
            self.joins.family.clone(),
        );
        let text = "Processes that no peer served, by what gateways had of them";
        registry.register("recoveries", text, self.recoveries.family.clone());
        registry.register("batches", "Batches given to the weave", self.batches.clone());
        registry.register("postings", "Steps of postings to a weave", self.postings.family.clone());
        registry.register(
            "anchor_winston",
            "Winston spent by signed transactions, mined or not",
            self.anchor_winston.clone(),
        );
        registry.register("declined", "Processes of others that were declined", self.declined.family.clone());
        registry.register("lobby_adverts", "Adverts of others on lobby shards", self.lobby.family.clone());
        registry.register("market_offers", "Offers of other messengers", self.offers.family.clone());
        registry.register("pending", "Messages that wait for a slot on a topic", self.pending.family.clone());
        registry.register("queue_full", "Times a queue had no room", self.full.clone());
        let mut times = |name, help, times: &Times| {
            registry.register_with_unit(name, help, Unit::Seconds, times.0.clone());
        };
        times("assign", "From asking the scheduler for a slot until it is durable", &self.assign_times);
        times("compute", "Time of the guest for one position", &self.compute_times);
        times("find", "From the search for a process until its first slot is here", &self.find_times);
        times("push", "Time of one attempt to push", &self.push_times);
        let help = "Stages of pushes that this messenger carried first and at the first attempt";
        registry.register_with_unit("push_stage", help, Unit::Seconds, self.push_stages.family.clone());
    }

    /// Watches a queue or a budget from now on. One of the same role and name takes its place.
    pub fn watch(&self, level: Level) {
        self.levels.put(level);
    }

    /// What is taken now of each queue and budget that is watched.
    pub(crate) fn levels(&self) -> Vec<Reading> {
        self.levels.read()
    }

    /// Counts what found no room in a queue: it was dropped, or told to come back.
    pub fn full(&self, role: &'static str, queue: &'static str) -> Counter {
        self.full.get_or_create_owned(&[("role", role), ("queue", queue)])
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory of this process of the operating system, if that says.
pub(crate) fn resident_bytes() -> Option<u64> {
    snapshot::resident_bytes(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Everything that is counted, measured and watched, as OpenMetrics text.
///
/// # Errors
/// Only what writing to a string can fail with.
pub async fn text(shared: &Shared) -> Result<String, fmt::Error> {
    let mut sampled = Registry::with_prefix(PREFIX);
    sampled.register_collector(Box::new(snapshot::Snapshot::take(shared).await));
    let mut operating_system = Registry::default();
    operating_system.register_collector(Box::new(snapshot::OsProcess::read()));
    let mut out = String::new();
    for registry in [&shared.metrics.registry, &sampled, &operating_system] {
        text::encode_registry(&mut out, registry)?;
    }
    text::encode_eof(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_by_value() {
        let metrics = Metrics::new();
        metrics.pushes.add("assigned");
        metrics.pushes.add("assigned");
        metrics.pushes.add("busy");
        assert_eq!((metrics.pushes.of("assigned"), metrics.pushes.of("busy")), (2, 1));
        assert_eq!(metrics.pushes.of("refused"), 0);
        assert_eq!(codes().len(), 9);
    }
}
