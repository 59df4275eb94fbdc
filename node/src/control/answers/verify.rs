//! Checking a process by replay: from what is on disk here, or from a weave alone.

use std::sync::Arc;

use tokio::io::BufReader;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use weft_protocol::Id;
use weft_protocol::process::Process;
use weft_storage::Store;

use super::super::api::{Failure, FailureCode, Progress, VerifyReport};
use super::super::server::{HungUp, Out, hung_up};
use super::disk::recover_failure;
use super::live::relay;
use super::state::why;
use super::{Answers, fail};
use crate::compute::modules::Host;
use crate::recover::{self, Scratch};
use crate::replay;
use crate::replays::{PROGRESS_MAX, Turn, hears};
use crate::shared::SharedRef;

impl Answers {
    pub(super) async fn verify(
        &self,
        process: Id,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let known = match self.known(&process) {
            Ok(known) => known,
            Err(failure) => return out.end(Err::<(), _>(failure)).await,
        };
        let turn = match self.turn(lines).await? {
            Ok(turn) => turn,
            Err(failure) => return out.end(Err::<(), _>(failure)).await,
        };
        let report = self.replayed(self.shared.store.clone(), known.process, turn, out, lines).await?;
        out.end(report).await
    }

    /// Reads the log into a store of its own, which is gone afterwards, and replays it there.
    pub(super) async fn verify_weave(
        &self,
        process: Id,
        from: Vec<String>,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let mut scratch = match Scratch::open(&self.shared, process).await {
            Ok(scratch) => scratch,
            Err(error) => return out.end(Err::<(), _>(recover_failure(&error))).await,
        };
        let verified = self.verify_scratch(&mut scratch, process, &from, out, lines).await;
        // Also where the client went away: closing a store takes a while, and no task may wait for that.
        scratch.remove().await;
        out.end(verified?).await
    }

    async fn verify_scratch(
        &self,
        scratch: &mut Scratch,
        process: Id,
        from: &[String],
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<Result<VerifyReport, Failure>, HungUp> {
        let (tell, mut told) = mpsc::channel(PROGRESS_MAX);
        let mut progress = move |done, total| hears(&tell, Progress { done, total });
        let mut read = Box::pin(recover::read_into(&self.shared, scratch, process, from, &mut progress));
        let read = loop {
            tokio::select! {
                () = hung_up(lines) => return Err(HungUp),
                Some(progress) = told.recv() => out.event(progress).await?,
                ended = &mut read => {
                    drop(read);
                    break ended;
                }
            }
        };
        let report = match read.map_err(|error| recover_failure(&error)) {
            Ok(report) => report,
            Err(failure) => return Ok(Err(failure)),
        };
        let Some(process) = scratch.process() else {
            return Ok(Err(fail(FailureCode::Fault, "the log has no process")));
        };
        let turn = match self.turn(lines).await? {
            Ok(turn) => turn,
            Err(failure) => return Ok(Err(failure)),
        };
        let verified = self.replayed(scratch.store().clone(), process, turn, out, lines).await?;
        Ok(verified.map(|verified| VerifyReport { weave: Some(report), ..verified }))
    }

    async fn turn(&self, lines: &mut BufReader<OwnedReadHalf>) -> Result<Result<Turn, Failure>, HungUp> {
        tokio::select! {
            turn = self.replays.turn() => Ok(turn.map_err(|error| why(&error))),
            () = hung_up(lines) => Err(HungUp),
        }
    }

    /// Replays what is in a store, on a thread for guests.
    async fn replayed(
        &self,
        store: Store,
        process: Arc<Process>,
        turn: Turn,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<Result<VerifyReport, Failure>, HungUp> {
        let (tell, mut told) = mpsc::channel(PROGRESS_MAX);
        let shared = SharedRef::clone(&self.shared);
        let replay = weft_vm::spawn_guest_thread("weft-verify", move || {
            let _held = turn;
            let host = Host { modules: &shared.modules, store: &store };
            replay::verify(host, &process, &mut |progress| hears(&tell, progress))
        });
        let replay = match replay {
            Ok(replay) => replay,
            Err(error) => {
                return Ok(Err(fail(FailureCode::Fault, format!("no thread for the replay: {error}"))));
            }
        };
        relay(&mut told, out, lines).await?;
        let joined = tokio::task::spawn_blocking(move || replay.join()).await;
        Ok(match joined {
            Ok(Ok(Ok(Some(report)))) => Ok(report),
            Ok(Ok(Err(error))) => Err(fail(FailureCode::Fault, error.to_string())),
            _ => Err(fail(FailureCode::Fault, "the replay failed")),
        })
    }
}
