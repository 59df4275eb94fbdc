//! What can stand in a scenario, and what is said of one that makes no sense.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::problem::{self, Problem};
use super::rogue::Rogue;
use super::settings;
use super::span::Span;
use crate::netns::Link;
use crate::plan::{PEERS_MAX, PEERS_MIN, RolesOf};
use crate::topology::Topology;

/// Processes of one scenario: each is looked at whole on every node in the end.
const PROCESSES_MAX: usize = 1_000;
/// Clients: a node serves 64 connections, and the observer has some of them.
const CLIENTS_MAX: usize = 48;
/// Bytes of a message's data: ten times what gossip carries whole.
const BYTES_MAX: usize = 1024 * 1024;

/// A scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    /// What it shows, in a sentence.
    pub(crate) about: String,
    /// How many peers there are in the end.
    pub(crate) peers: Spanned<usize>,
    /// How many of them are there at the beginning; all if absent.
    pub(crate) start: Option<Spanned<usize>>,
    /// What chance is drawn from; `--seed` is another.
    #[serde(default)]
    pub(crate) seed: u64,
    #[serde(default)]
    pub(crate) topology: Topology,
    /// Whether each peer has a network namespace. Faults of wires imply it.
    #[serde(default)]
    pub(crate) netns: bool,
    /// How good the wires are.
    #[serde(default)]
    pub(crate) link: Link,
    #[serde(default)]
    pub(crate) roles: Vec<Roles>,
    /// Keys of `weft.toml` for every peer.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, Spanned<toml::Value>>,
    #[serde(default = "plain")]
    pub(crate) processes: Spanned<Processes>,
    #[serde(default = "plain")]
    pub(crate) load: Spanned<Load>,
    pub(crate) steps: Vec<Spanned<Step>>,
    #[serde(default)]
    pub(crate) expect: Vec<Spanned<Expect>>,
}

/// What is not said, and stands nowhere.
fn plain<T: Default>() -> Spanned<T> {
    Spanned::new(0..0, T::default())
}

/// Roles of some peers, as `--roles` takes them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Roles(pub(crate) RolesOf);

impl TryFrom<String> for Roles {
    type Error = crate::plan::NotRoles;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self(text.parse()?))
    }
}

/// The processes under load.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Processes {
    /// How many.
    pub(crate) count: usize,
    /// They are scheduled by the peers below this number, one after the other.
    pub(crate) schedulers: usize,
    /// Peers that compute each, its scheduler among them.
    pub(crate) computed_by: usize,
    /// How many of these must attest what is carried.
    pub(crate) quorum: usize,
    /// Liars among the attestors of each, who are no peers.
    pub(crate) liars: usize,
    /// The last so many of the first peers carry what all of them send, and compute none.
    pub(crate) carried_by: usize,
    /// The most that each pays for a push, at a ledger: all are in hard mode then. 0 says that they are in soft mode.
    pub(crate) pays: u64,
}

impl Default for Processes {
    fn default() -> Self {
        Self { count: 3, schedulers: 2, computed_by: 3, quorum: 2, liars: 0, carried_by: 0, pays: 0 }
    }
}

/// What clients do from the first step to the last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Load {
    /// How many.
    pub(crate) clients: usize,
    /// Messages a second that all of them hand in together, about.
    pub(crate) rate: u32,
    /// Bytes of data in each.
    pub(crate) bytes: usize,
    /// How many of a hundred have a process send one to another process.
    pub(crate) pushes: u8,
    /// How many of a hundred fail in the guest.
    pub(crate) failures: u8,
}

impl Default for Load {
    fn default() -> Self {
        Self { clients: 4, rate: 40, bytes: 0, pushes: 40, failures: 10 }
    }
}

/// Something that is done.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Let the load go on for so long.
    Wait(Span),
    /// `kill -9`.
    Kill(Who),
    /// Start what was killed.
    Start(Who),
    /// Stop in order, all at once, and start again.
    Restart(Who),
    /// Stop a process where it stands.
    Pause(Who),
    /// Let it go on.
    Resume(Who),
    /// Kill, remove everything but the key, start, and have it compute again what it did.
    Wipe(Who),
    /// Start peers until there are so many, and have the new ones compute.
    Join(usize),
    /// Cut the network into groups that do not reach each other.
    Partition(Vec<Vec<usize>>),
    /// Make one network of them again.
    Heal(Anything),
    /// Make wires better or worse.
    Link(Wire),
    /// Stop in order and start with a clock that is wrong.
    Skew(Skew),
    /// Kill and start peers one after the other.
    Churn(Churn),
    /// Let somebody who is no honest peer do his worst until the end.
    Rogue(Rogue),
    /// Let the load go on until a rogue has done something so often.
    Until(Until),
    /// Wait until every computer has computed everything.
    Settle(Anything),
}

/// A word that says nothing more: `true`, or a table of nothing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Anything {
    Word(bool),
    Table {},
}

/// Which peers: these, or so many, drawn from the seed among those that it makes sense for. Neither
/// says all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Who {
    pub(crate) peers: Vec<usize>,
    pub(crate) count: Option<usize>,
}

/// Wires that change.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wire {
    pub(crate) peers: Vec<usize>,
    pub(crate) link: Link,
}

/// Clocks that go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skew {
    pub(crate) peers: Vec<usize>,
    /// How far ahead they are.
    pub(crate) ms: i64,
}

/// Peers that come and go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Churn {
    /// Which peers; all where none are named.
    #[serde(default)]
    pub(crate) peers: Vec<usize>,
    /// How long.
    #[serde(rename = "for")]
    pub(crate) span: Span,
    /// The time from one death to the next, about.
    pub(crate) every: Span,
    /// How long a peer is away, about.
    pub(crate) down: Span,
    /// Whether every other one comes back with an empty disk: schedulers never do.
    #[serde(default)]
    pub(crate) wipe: bool,
}

/// What a rogue is to have done, and how long it has for that at most. What does not come in time fails the run, which goes
/// on all the same: what is expected in the end says more.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Until {
    /// A figure that a rogue counts.
    pub(crate) of: String,
    pub(crate) at_least: f64,
    pub(crate) within: Span,
}

/// What must come of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Expect {
    /// A figure of the run.
    pub(crate) of: Option<String>,
    /// A metric of the peers, as `weft metrics` names it.
    pub(crate) metric: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// What is taken of the peers' values.
    #[serde(default)]
    pub(crate) over: Over,
    pub(crate) at_least: Option<f64>,
    pub(crate) at_most: Option<f64>,
}

/// One value of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Over {
    #[default]
    Sum,
    Most,
    Least,
}

impl fmt::Display for Step {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = |name: &str, who: &Who| match (&who.count, who.peers.is_empty()) {
            (Some(count), _) => format!("{name} {count}"),
            (None, true) => format!("{name} all"),
            (None, false) => format!("{name} {:?}", who.peers),
        };
        let text = match self {
            Self::Wait(span) => format!("wait {:?}", span.0),
            Self::Kill(of) => who("kill", of),
            Self::Start(of) => who("start", of),
            Self::Restart(of) => who("restart", of),
            Self::Pause(of) => who("pause", of),
            Self::Resume(of) => who("resume", of),
            Self::Wipe(of) => who("wipe", of),
            Self::Join(count) => format!("join until {count}"),
            Self::Partition(groups) => format!("partition {groups:?}"),
            Self::Heal(_) => "heal".to_owned(),
            Self::Link(wire) => format!("link of {:?}", wire.peers),
            Self::Skew(skew) => format!("skew {:?} by {} ms", skew.peers, skew.ms),
            Self::Churn(churn) => format!("churn for {:?}", churn.span.0),
            Self::Rogue(rogue) => format!("rogue {rogue:?}"),
            Self::Until(until) => format!("until {} {}", until.at_least, until.of),
            Self::Settle(_) => "settle".to_owned(),
        };
        to.write_str(&text)
    }
}

impl Scenario {
    /// Reads a scenario; `path` says in errors where it stands.
    ///
    /// # Errors
    /// The first thing that makes no sense, with its line.
    pub(crate) fn read(text: &str, path: &Path) -> Result<Self, Problem> {
        let at = |at: usize, what: String| Problem::new(path, text, at, what);
        let scenario: Self = toml::from_str(text).map_err(|error| {
            at(error.span().map_or(0, |span| span.start), problem::clear(error.message()))
        })?;
        scenario.check(&at)?;
        Ok(scenario)
    }

    fn check(&self, at: &impl Fn(usize, String) -> Problem) -> Result<(), Problem> {
        let peers = *self.peers.get_ref();
        let here = |spanned: std::ops::Range<usize>, what: String| Err(at(spanned.start, what));
        if !(PEERS_MIN..=PEERS_MAX).contains(&peers) {
            return here(self.peers.span(), format!("peers = {peers}: expected {PEERS_MIN} to {PEERS_MAX}"));
        }
        let first = self.first();
        if let Some(start) = &self.start
            && !(PEERS_MIN..=peers).contains(&first)
        {
            return here(start.span(), format!("start = {first}: expected {PEERS_MIN} to {peers}"));
        }
        for (key, value) in &self.settings {
            if let Some(what) = settings::objection(key, value.get_ref(), self.needs_lanes()) {
                return here(value.span(), format!("settings: {what}"));
            }
        }
        self.check_processes(&here)?;
        let load = self.load.get_ref();
        for (what, value, most) in [
            ("clients", load.clients, CLIENTS_MAX),
            ("bytes", load.bytes, BYTES_MAX),
            ("pushes and failures", usize::from(load.pushes) + usize::from(load.failures), 100),
        ] {
            if value > most {
                return here(self.load.span(), format!("{what} = {value}: expected at most {most}"));
            }
        }
        let (mut there, mut counted) = (first, Vec::new());
        for step in &self.steps {
            if let Some(what) = self.objection(step.get_ref(), there, &counted) {
                return here(step.span(), format!("{}: {what}", step.get_ref()));
            }
            match step.get_ref() {
                Step::Join(count) => there = *count,
                Step::Rogue(rogue) => counted.extend(rogue.counts()),
                _ => {}
            }
        }
        for expect in &self.expect {
            if let Err(what) = expect.get_ref().check(self.processes.get_ref().pays > 0) {
                return here(expect.span(), what.to_string());
            }
        }
        Ok(())
    }

    fn check_processes(
        &self,
        here: &impl Fn(std::ops::Range<usize>, String) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let Processes { count, schedulers, computed_by, quorum, liars, carried_by, .. } =
            *self.processes.get_ref();
        let computers = self.carriers().start;
        for (what, value, least, most) in [
            ("count", count, 1, PROCESSES_MAX),
            ("carried-by", carried_by, 0, self.first().saturating_sub(1)),
            ("schedulers", schedulers, 1, computers),
            ("computed-by", computed_by, 1, computers),
            // Of keys of whom half may be wrong, no quorum is one.
            ("quorum", quorum, (computed_by + liars) / 2 + 1, computed_by + liars),
            ("liars", liars, 0, 1),
        ] {
            if !(least..=most).contains(&value) {
                let what = format!("{what} = {value}: expected {least} to {most}");
                return here(self.processes.span(), what);
            }
        }
        Ok(())
    }

    /// What is wrong with a step before which so many peers are there and rogues count these figures, if something is.
    fn objection(&self, step: &Step, there: usize, counted: &[&str]) -> Option<String> {
        let peers = *self.peers.get_ref();
        let mut named: Vec<usize> = Vec::new();
        // Wires are there from the beginning; whoever else is named must have come.
        let mut most = there;
        match step {
            Step::Kill(who)
            | Step::Start(who)
            | Step::Restart(who)
            | Step::Pause(who)
            | Step::Resume(who)
            | Step::Wipe(who) => {
                if who.count.is_some() && !who.peers.is_empty() {
                    return Some("expected peers or count, not both".to_owned());
                }
                if let Some(count) = who.count.filter(|count| *count > there) {
                    return Some(format!("count = {count}: there are {there} peers"));
                }
                named.extend(&who.peers);
            }
            Step::Partition(groups) => {
                if groups.len() < 2 {
                    return Some("expected two groups or more".to_owned());
                }
                for peer in groups.iter().flatten() {
                    if named.contains(peer) {
                        return Some(format!("peer {peer} is named twice"));
                    }
                    named.push(*peer);
                }
                most = peers;
            }
            Step::Link(wire) => {
                named.extend(&wire.peers);
                most = peers;
            }
            Step::Skew(skew) => named.extend(&skew.peers),
            Step::Join(_) if there == peers => return Some(format!("all {peers} peers are there")),
            Step::Join(count) if *count > peers || *count <= there => {
                return Some(format!("expected {} to {peers}", there + 1));
            }
            Step::Churn(churn) if churn.every.0.is_zero() => {
                return Some("every: expected more than 0".to_owned());
            }
            Step::Churn(churn) => named.extend(&churn.peers),
            Step::Rogue(rogue) => return self.objection_to(*rogue, there),
            Step::Until(until) if !counted.contains(&until.of.as_str()) => {
                let meant = problem::meant(&until.of, counted.iter().copied());
                let meant = meant.map(|figure| format!("; did you mean `{figure}`?")).unwrap_or_default();
                return Some(format!("expected an earlier step with a rogue that counts it{meant}"));
            }
            Step::Wait(_) | Step::Join(_) | Step::Heal(_) | Step::Until(_) | Step::Settle(_) => {}
        }
        let stranger = named.into_iter().find(|peer| *peer >= most)?;
        let why = if stranger < peers { "has not joined" } else { "is none" };
        Some(format!("peer {stranger} {why}: there are the peers 0 to {}", most - 1))
    }

    /// What is wrong with a rogue beside so many peers, if something is.
    fn objection_to(&self, rogue: Rogue, there: usize) -> Option<String> {
        let of = self.processes.get_ref();
        let expected = match rogue {
            _ if self.needs_lanes() => {
                "rogues are not in the peers' namespaces: expected no netns, link or partition"
            }
            Rogue::LyingComputer if of.liars == 0 => "expected liars = 1 in [processes]",
            Rogue::EquivocatingScheduler if of.schedulers >= there => {
                "expected a peer that schedules none of the processes"
            }
            Rogue::DoubleClaimingMessenger if of.pays == 0 => "expected pays = 1 or more in [processes]",
            _ => return None,
        };
        Some(expected.to_owned())
    }

    /// How many peers are there at the beginning.
    pub(crate) fn first(&self) -> usize {
        self.start.as_ref().map_or(*self.peers.get_ref(), |start| *start.get_ref())
    }

    /// The peers that carry for all processes and compute none.
    pub(crate) fn carriers(&self) -> Range<usize> {
        let first = self.first();
        first.saturating_sub(self.processes.get_ref().carried_by)..first
    }

    /// Whether it takes network namespaces.
    pub(crate) fn needs_lanes(&self) -> bool {
        let of_wires = |step: &Spanned<Step>| matches!(step.get_ref(), Step::Partition(_) | Step::Link(_));
        self.netns || self.link != Link::default() || self.steps.iter().any(of_wires)
    }

    /// Whether peers go away from others before the end, or bad wires may make it look so.
    pub(crate) fn parts_peers(&self) -> bool {
        let parts = |step: &Spanned<Step>| match step.get_ref() {
            Step::Kill(_)
            | Step::Restart(_)
            | Step::Pause(_)
            | Step::Wipe(_)
            | Step::Partition(_)
            | Step::Link(_)
            | Step::Skew(_)
            | Step::Churn(_)
            | Step::Rogue(_) => true,
            Step::Wait(_)
            | Step::Start(_)
            | Step::Resume(_)
            | Step::Join(_)
            | Step::Heal(_)
            | Step::Until(_)
            | Step::Settle(_) => false,
        };
        self.link != Link::default() || self.steps.iter().any(parts)
    }

    /// The worst wires that it has: where these can be made, so can all.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        let steps = self.steps.iter().filter_map(|step| match step.get_ref() {
            Step::Link(wire) => Some(&wire.link),
            _ => None,
        });
        std::iter::once(&self.link).chain(steps)
    }
}

#[cfg(test)]
mod tests;
