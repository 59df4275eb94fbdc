//! What others ask of the compute role.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use weft_protocol::Id;
use weft_protocol::state::StateSummary;

use super::frozen::Frozen;

/// A question about the state of a process now.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) process: Id,
    pub(super) reply: Reply,
}

/// What the compute role is asked.
#[derive(Debug)]
pub(super) enum Question {
    /// The state of a process.
    State(Ask),
    /// Which processes are in memory, and how many bytes each takes up.
    Resident(oneshot::Sender<Vec<(Id, u64)>>),
}

/// What is asked, and where the answer goes.
pub(super) enum Reply {
    /// Its hash.
    Summary(oneshot::Sender<Option<StateSummary>>),
    /// The state itself.
    Frozen(oneshot::Sender<Option<Frozen>>),
    /// Both, of one position.
    State(oneshot::Sender<Option<State>>),
}

impl Reply {
    /// Whether whoever asked has hung up.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Summary(reply) => reply.is_closed(),
            Self::Frozen(reply) => reply.is_closed(),
            Self::State(reply) => reply.is_closed(),
        }
    }
}

/// The state of a process, and its hash.
pub type State = (StateSummary, Frozen);

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Summary(_) => "Summary",
            Self::Frozen(_) => "Frozen",
            Self::State(_) => "State",
        })
    }
}

/// How often it is looked whether a process has left memory.
const LEAVES_LOOK: Duration = Duration::from_millis(50);

/// How others hold the compute role.
#[derive(Debug, Clone)]
pub struct ComputeHandle(mpsc::Sender<Question>);

impl ComputeHandle {
    pub(super) const fn new(questions: mpsc::Sender<Question>) -> Self {
        Self(questions)
    }

    /// The processes in memory, and how many bytes each takes up.
    pub async fn resident(&self) -> Vec<(Id, u64)> {
        let (reply, answer) = oneshot::channel();
        // Only a stopping node has no compute role.
        let _ = self.0.send(Question::Resident(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Waits until a process that is computed no longer has left memory.
    pub async fn leaves(&self, process: Id) {
        while self.resident().await.iter().any(|(resident, _)| *resident == process) {
            tokio::time::sleep(LEAVES_LOOK).await;
        }
    }

    /// Hashes the state of a process now; none if it is not computed here or cannot be loaded.
    pub async fn summary(&self, process: Id) -> Option<StateSummary> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Question::State(Ask { process, reply: Reply::Summary(reply) })).await.ok()?;
        answer.await.ok().flatten()
    }

    /// The state of a process now, with its hash; none if it is not computed here or cannot be
    /// loaded.
    pub async fn state(&self, process: Id) -> Option<State> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Question::State(Ask { process, reply: Reply::State(reply) })).await.ok()?;
        answer.await.ok().flatten()
    }

    /// The state of a process now; none if it is not computed here or cannot be loaded.
    pub async fn freeze(&self, process: Id) -> Option<Frozen> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Question::State(Ask { process, reply: Reply::Frozen(reply) })).await.ok()?;
        answer.await.ok().flatten()
    }
}
