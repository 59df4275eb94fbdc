//! The state of a process at any slot.

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::BufReader;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use weft_protocol::Id;
use weft_protocol::process::Process;

use super::super::api::{Failure, FailureCode, StateEvent, StateInfo};
use super::super::server::{HungUp, Out, hung_up};
use super::{Answers, fail};
use crate::replays::{OldState, PROGRESS_MAX, ReplayError};

impl Answers {
    pub(super) async fn state(
        &self,
        process: Id,
        slot: Option<u64>,
        memory: bool,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let known = match self.known(&process) {
            Ok(known) => known,
            Err(failure) => return out.end(Err::<(), _>(failure)).await,
        };
        let started = Instant::now();
        let state = match self.progress(known.process, slot, hung_up(lines), Some(out)).await? {
            Ok(state) => state,
            Err(error) => return out.end(Err::<(), _>(why(&error))).await,
        };
        if memory {
            for (number, _, bytes) in state.memory.leaves(|_| true) {
                out.event(StateEvent::Leaf { number, bytes: STANDARD.encode(bytes) }).await?;
            }
        }
        out.end(Ok(info(&state, started))).await
    }
}

impl Answers {
    /// The state of a process, until whoever asked is gone: the replay ends with that. Says how far it is to who
    /// wants to hear it.
    async fn progress(
        &self,
        process: Arc<Process>,
        slot: Option<u64>,
        gone: impl Future<Output = ()>,
        mut out: Option<&mut Out>,
    ) -> Result<Result<OldState, ReplayError>, HungUp> {
        let (telling, mut told) = mpsc::channel(PROGRESS_MAX);
        let state = self.replays.state(process, slot, telling);
        tokio::pin!(state, gone);
        loop {
            tokio::select! {
                found = &mut state => return Ok(found),
                () = &mut gone => return Err(HungUp),
                Some(progress) = told.recv() => {
                    if let Some(out) = &mut out {
                        out.event(StateEvent::Replayed(progress)).await?;
                    }
                }
            }
        }
    }

    /// The state of a process that is computed here, with its memory. Who waits for it no longer ends the
    /// replay with that.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn old_state(&self, process: Id, slot: Option<u64>) -> Result<OldState, Failure> {
        let known = self.known(&process)?;
        let found = self.progress(known.process, slot, pending(), None).await;
        found.map_err(|HungUp| fail(FailureCode::Fault, "nobody waits"))?.map_err(|error| why(&error))
    }
}

fn info(state: &OldState, started: Instant) -> StateInfo {
    let summary = &state.summary;
    StateInfo {
        process: summary.process,
        position: summary.position,
        state_root: summary.root(),
        rules: summary.rules,
        module: summary.module,
        timestamp: summary.time.timestamp,
        block_height: summary.time.height,
        memory_bytes: summary.memory_bytes,
        memory_root: summary.memory_root,
        memory_used: (state.memory.leaf_hashes().len() * weft_vm::LEAF_BYTES) as u64,
        seen_count: summary.seen_count,
        seen_root: summary.seen_root,
        running: summary.running.0,
        replayed: state.replayed,
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

pub(super) fn why(error: &ReplayError) -> Failure {
    let code = match error {
        ReplayError::Busy => FailureCode::Busy,
        ReplayError::TooLong { .. } => FailureCode::TimedOut,
        ReplayError::TooMuchGas { .. } => FailureCode::Refused,
        ReplayError::NoSlot { .. } | ReplayError::NoState(_) => FailureCode::Unknown,
        ReplayError::Wait(_) | ReplayError::Host(_) | ReplayError::Thread(_) | ReplayError::Abandoned => {
            FailureCode::Fault
        }
    };
    fail(code, error.to_string())
}
