//! What a run is like, and what it comes to.

use std::collections::BTreeMap;

use super::audit::Carried;
use super::liar::Lie;
use super::vice::Vice;

/// How the harness breaks a rule, to see that the checker notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutation {
    /// It breaks none.
    #[default]
    None,
    /// The scheduler is told that slots are durable before they are.
    AnswerEarly,
    /// The scheduler forgets the seen list when it reads a log.
    ForgetSeen,
    /// The scheduler is not told which spawn a Process item is of.
    ForgetSpawns,
    /// The scheduler forgets that a process has crons when it reads a log.
    ForgetCrons,
    /// A store that lost the end of a log is not put under caution.
    ForgetCaution,
    /// The scheduler gives slots to pushes whose proof fails.
    TakeUnproven,
    /// Messengers in hard mode do not wait for their turn.
    NobodyWaits,
    /// Messengers in hard mode rank themselves among the offers that they heard, not those in the log.
    OwnViews,
    /// Whoever carried before its turn is paid.
    PayEarly,
    /// Messengers in hard mode carry what was sent later first.
    NoOrder,
}

/// What a run is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// From which everything is drawn.
    pub seed: u64,
    /// What the harness breaks.
    pub mutation: Mutation,
    /// How far the clock of each node is ahead of that of the one before it, in milliseconds.
    pub skew_ms: u64,
    /// Whether the store of one scheduler loses the end of its log.
    pub loses: bool,
    /// Whether hosts fail in the midst of runs.
    pub hosts_fail: bool,
    /// Whether the first process is in hard mode, and nobody lies.
    pub hard: bool,
}

impl Settings {
    /// A seed as it is, with clocks that are set as well as clocks are.
    pub const fn of(seed: u64) -> Self {
        Self {
            seed,
            mutation: Mutation::None,
            skew_ms: SKEW_MS,
            loses: false,
            hosts_fail: false,
            hard: false,
        }
    }
}

/// How far clocks are apart that are set as well as clocks are, in milliseconds.
const SKEW_MS: u64 = 37;

/// What a run came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the checker found.
    pub violations: Vec<String>,
    /// Slots in all logs.
    pub slots: usize,
    /// Outbox entries that were carried.
    pub pushes: usize,
    /// Processes that others spawned.
    pub children: usize,
    /// Slots that are marks.
    pub marks: usize,
    /// Cron ticks that ran.
    pub ticks: usize,
    /// Programs in messages that ran to their end.
    pub evals: usize,
    /// About what one node lied, if one did.
    pub lie: Option<Lie>,
    /// Nodes that convict it.
    pub convicting: usize,
    /// Slots that a scheduler's own store lost.
    pub lost: u64,
    /// Slots that it signed in that log afterwards.
    pub regained: u64,
    /// Nodes that found an attestor wrong.
    pub judging: usize,
    /// Stops of nodes.
    pub crashes: u64,
    /// Runs after some of whose slots the host failed.
    pub broken_off: usize,
    /// Who carried what in hard mode.
    pub carried: Carried,
    /// How often messengers did what their vice asks for.
    pub acts: BTreeMap<Vice, usize>,
    /// False pushes that a scheduler refused.
    pub refused: usize,
    /// Items that were handed in when they, or the push that they are, had a slot.
    pub duplicates: usize,
    /// When all was well, in virtual milliseconds.
    pub ended_ms: u64,
}
