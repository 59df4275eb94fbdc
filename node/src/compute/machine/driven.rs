//! One process, as the driver sees it.

use weft_protocol::Now;

use super::line::{Pace, Turn};
use crate::config::Evaluate;

#[derive(Debug)]
pub(super) struct Driven {
    pub next: u64,
    pub head: Option<u64>,
    pub evaluate: Evaluate,
    pub unasked: bool,
    /// The newest slot that anybody waited for.
    pub wanted: Option<u64>,
    pub state: State,
    pub failures: u32,
    pub attest_at: Option<Now>,
    pub pace: Pace,
    /// Its turn among those that wait for gas: kept until it runs, so that whoever comes later waits
    /// behind it.
    pub turn: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    Queued(Turn),
    Running,
    Committing,
    Resting(Now),
    /// Until there is gas for it.
    Waiting,
    Stopped,
}

impl Driven {
    /// The last slot to evaluate now, if there is one.
    pub fn due(&self) -> Option<u64> {
        let head = self.head?;
        let to = match self.evaluate {
            Evaluate::Eager => head,
            Evaluate::Lazy => head.min(self.wanted?),
        };
        (to >= self.next).then_some(to)
    }
}
