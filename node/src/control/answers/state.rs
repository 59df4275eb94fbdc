//! The state of a process at any slot.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::BufReader;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use weft_protocol::Id;

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
        let (tell, mut told) = mpsc::channel(PROGRESS_MAX);
        let state = self.replays.state(known.process, slot, tell);
        tokio::pin!(state);
        let found = loop {
            // A client that hangs up ends the replay with it: the channel's end is dropped.
            tokio::select! {
                found = &mut state => break found,
                () = hung_up(lines) => return Err(HungUp),
                Some(progress) = told.recv() => out.event(StateEvent::Replayed(progress)).await?,
            }
        };
        let state = match found {
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
    /// The state of a process that is computed here, with its memory. Who waits for it no longer ends the
    /// replay with that.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn old_state(&self, process: Id, slot: Option<u64>) -> Result<OldState, Failure> {
        let known = self.known(&process)?;
        let (tell, mut told) = mpsc::channel(PROGRESS_MAX);
        let state = self.replays.state(known.process, slot, tell);
        tokio::pin!(state);
        let found = loop {
            tokio::select! {
                found = &mut state => break found,
                // Nobody hears of the progress.
                Some(_) = told.recv() => {}
            }
        };
        found.map_err(|error| why(&error))
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
