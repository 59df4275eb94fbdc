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
use crate::compute::hosted::HostError;
use crate::compute::modules::Host;
use crate::config::Backend;
use crate::recover::{self, RecoverError, Scratch};
use crate::remote::{self, HELD_BYTES_MAX};
use crate::replay;
use crate::replays::{PROGRESS_MAX, Turn, hears};
use crate::shared::SharedRef;

/// Things under `/data/` that one check looks for: each begins the replay anew.
const SOUGHT_MAX: usize = 64;

/// Why a log was not replayed to its end.
enum NotReplayed {
    /// It reads this, which is not in the store.
    Without(Id),
    /// Something else.
    Failed(Failure),
}

impl NotReplayed {
    fn failure(self) -> Failure {
        match self {
            Self::Without(id) => {
                fail(FailureCode::Unknown, format!("the log reads {id} under /data/, which is not here"))
            }
            Self::Failed(failure) => failure,
        }
    }
}

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
        out.end(report.map_err(|error| error.failure())).await
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

    /// Why a process may be missing on the embedded weave of the node that works for it, and what brings it there.
    async fn not_there_yet(&self, process: Id) -> String {
        let anchor = &self.shared.config.anchor;
        if anchor.backend != Backend::Local {
            let weave = self.shared.anchored_on();
            return format!("; batches of this node go to {weave}: name a gateway of that one with --from");
        }
        // A disk that fails here has nothing to say of the process.
        let logs = self.waits().await.map(|rest| rest.logs).unwrap_or_default();
        let of = logs.iter().find(|one| one.process == process);
        of.map_or_else(String::new, |one| {
            let slots = one.to + 1 - one.from;
            format!("; {slots} of its slots wait for a batch: `weft anchor flush` makes one now")
        })
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
        let report = match read {
            Ok(report) => report,
            Err(error) => {
                let mut failure = recover_failure(&error);
                if from.is_empty() && matches!(error, RecoverError::Unknown { .. }) {
                    failure.text.push_str(&self.not_there_yet(process).await);
                }
                return Ok(Err(failure));
            }
        };
        let Some(process) = scratch.process() else {
            return Ok(Err(fail(FailureCode::Fault, "the log has no process")));
        };
        let verified = self.replayed_whole(scratch, &process, out, lines).await?;
        Ok(verified.map(|verified| VerifyReport { weave: Some(report), ..verified }))
    }

    /// Replays a log that was read, and looks for what it reads under `/data/` and only names, one thing after
    /// the other.
    async fn replayed_whole(
        &self,
        scratch: &Scratch,
        process: &Arc<Process>,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<Result<VerifyReport, Failure>, HungUp> {
        let mut sought = 0;
        loop {
            let turn = match self.turn(lines).await? {
                Ok(turn) => turn,
                Err(failure) => return Ok(Err(failure)),
            };
            let replayed =
                self.replayed(scratch.store().clone(), Arc::clone(process), turn, out, lines).await?;
            let id = match replayed {
                Err(NotReplayed::Without(id)) if sought < SOUGHT_MAX => id,
                other => return Ok(other.map_err(|error| error.failure())),
            };
            sought += 1;
            let found = tokio::select! {
                found = remote::everywhere(&self.shared, process.id(), id, HELD_BYTES_MAX) => found,
                () = hung_up(lines) => return Err(HungUp),
            };
            let kept = match found {
                Ok(held) => scratch.keep(&held).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = kept {
                let text = format!("the log reads {id} under /data/, which cannot be had: {error}");
                return Ok(Err(fail(FailureCode::Unknown, text)));
            }
        }
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
    ) -> Result<Result<VerifyReport, NotReplayed>, HungUp> {
        let (tell, mut told) = mpsc::channel(PROGRESS_MAX);
        let shared = SharedRef::clone(&self.shared);
        let failed = |text: String| NotReplayed::Failed(fail(FailureCode::Fault, text));
        let replay = weft_vm::spawn_guest_thread("weft-verify", move || {
            let _held = turn;
            let host = Host { store: &store, ..shared.host() };
            replay::verify(host, &process, &mut |progress| hears(&tell, progress))
        });
        let replay = match replay {
            Ok(replay) => replay,
            Err(error) => return Ok(Err(failed(format!("no thread for the replay: {error}")))),
        };
        relay(&mut told, out, lines).await?;
        let joined = tokio::task::spawn_blocking(move || replay.join()).await;
        Ok(match joined {
            Ok(Ok(Ok(Some(report)))) => Ok(report),
            Ok(Ok(Err(HostError::NoItem { id, .. }))) => Err(NotReplayed::Without(id)),
            Ok(Ok(Err(error))) => Err(failed(error.to_string())),
            _ => Err(failed("the replay failed".to_owned())),
        })
    }
}
