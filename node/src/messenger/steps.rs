//! The steps of a push: timed for the metrics, and told to whoever looks on.
//!
//! Who links the node may look on, as the tests do that end it exactly at a step. No setting of a node makes anybody
//! look on, and without that a step costs one look at a flag.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use weft_protocol::Now;

use super::machine::Entry;
use crate::shared::Shared;

/// A step of a push, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is this messenger's turn, and nothing was done yet.
    Chosen,
    /// The proof is made, and nothing has left this messenger.
    Proved,
    /// The target's scheduler, which is the node that tells of it, holds the slot on its disk and has not answered.
    Assigned,
    /// The answer has come, and nobody was told of it.
    Answered,
    /// The receipt is stored.
    Stored,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Chosen, Self::Proved, Self::Assigned, Self::Answered, Self::Stored];

    /// Its name, in one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Proved => "proved",
            Self::Assigned => "assigned",
            Self::Answered => "answered",
            Self::Stored => "stored",
        }
    }
}

static ONLOOKER: OnceLock<fn(Step)> = OnceLock::new();

/// Has somebody look on from now on, in every node of this process of the operating system: the push waits while he is
/// told of a step. Whether he could, as there is one at most.
pub fn look_on(onlooker: fn(Step)) -> bool {
    ONLOOKER.set(onlooker).is_ok()
}

/// A push has come to a step here.
pub(crate) fn reached(step: Step) {
    if let Some(onlooker) = ONLOOKER.get() {
        onlooker(step);
    }
}

/// The stages of a push that are timed, in their order: until this messenger knew what is sent, until its turn came with
/// a quorum's word, until the proof was made, and until the target's scheduler had answered.
pub(crate) const STAGES: [&str; 4] = ["told", "turn", "proof", "slot"];

/// Times the stages of one push.
#[derive(Debug)]
pub(super) struct Stopwatch {
    known_since: Now,
    chosen: Now,
    since: Instant,
    proved: Duration,
    answered: Duration,
}

impl Stopwatch {
    /// Begins when a push is chosen of an entry that was known since then.
    pub(super) fn begin(known_since: Now, chosen: Now) -> Self {
        let since = Instant::now();
        Self { known_since, chosen, since, proved: Duration::ZERO, answered: Duration::ZERO }
    }

    /// The proof is made.
    pub(super) fn proved(&mut self) {
        self.proved = self.since.elapsed();
    }

    /// The target's scheduler has answered.
    pub(super) fn answered(&mut self) {
        self.answered = self.since.elapsed();
    }

    /// Notes the stages of a push that went as it should. What a tick sent is left out: its slot is an earlier one.
    pub(super) fn note(&self, shared: &Shared, entry: &Entry) {
        let slot = shared.store.read().and_then(|reader| reader.slot(&entry.source, entry.position.slot));
        let Some(sent) = slot.ok().flatten().filter(|_| entry.position.tick == 0) else { return };
        // Another node's clock gave the first of these times, so it may lie ahead.
        let told = Duration::from_millis(self.known_since.0.saturating_sub(sent.timestamp));
        let turn = Duration::from_millis(self.chosen.0.saturating_sub(self.known_since.0));
        let slot = self.answered.saturating_sub(self.proved);
        for (stage, time) in STAGES.into_iter().zip([told, turn, self.proved, slot]) {
            shared.metrics.push_stages.add(stage, time);
        }
    }
}
