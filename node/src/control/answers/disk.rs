//! What goes through much of the disk: backups, exports, imports, recovery, pruning.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::io::BufReader;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use weft_protocol::{Address, Id};
use weft_storage::{Forgot, StoreError};

use super::super::api::{DiskRequest, Failure, FailureCode, ForgetReport, Progress};
use super::super::server::{HungUp, Out, hung_up};
use super::live::relay;
use super::{Answers, disk, fail};
use crate::backup::{self, BackupError, Source};
use crate::hosting::{self, Accepted, ForgetError, HostingError, Leave};
use crate::portable::{self, PortableError};
use crate::prune::Pruning;
use crate::recover::{self, RecoverError};
use crate::replays::{PROGRESS_MAX, hears};
use crate::shared::SharedRef;

/// How long a process that is to be forgotten may take to leave memory.
const LEAVE_WAIT: Duration = Duration::from_secs(30);

/// Hears how far work is; says whether to go on.
type Tell<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

impl Answers {
    pub(super) async fn through_disk(
        &self,
        request: DiskRequest,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        match request {
            DiskRequest::Backup { folder, with_key } => self.backup(folder, with_key, out, lines).await,
            DiskRequest::Export { process, file, with_module } => {
                self.export(process, file, with_module, out, lines).await
            }
            DiskRequest::Import { file } => self.import(file, out, lines).await,
            DiskRequest::Recover { process, from } => self.recover(process, from, out, lines).await,
            DiskRequest::RecoverAll { scheduler, from } => {
                self.recover_all(scheduler, from, out, lines).await
            }
            DiskRequest::Forget { process, accepts_loss } => {
                self.forget(process, accepts_loss, out, lines).await
            }
            DiskRequest::Prune { process, keep, dry_run } => {
                self.prune(process, keep, dry_run, out, lines).await
            }
        }
    }

    async fn backup(
        &self,
        folder: PathBuf,
        with_key: bool,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let shared = SharedRef::clone(&self.shared);
        let work = move |tell: Tell<'_>| {
            let source = Source::Open(&shared.store, &shared.weave);
            let made = backup::back_up(&source, &shared.config.data_dir, &folder, with_key, tell);
            made.map_err(|error| backup_failure(&error))
        };
        tell_while(work, out, lines).await
    }

    async fn export(
        &self,
        process: Id,
        file: PathBuf,
        with_module: bool,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let known = match self.known(&process) {
            Ok(known) => known.process,
            Err(failure) => return out.end(Err::<(), _>(failure)).await,
        };
        let shared = SharedRef::clone(&self.shared);
        let work = move |tell: Tell<'_>| {
            let reader = shared.store.read().map_err(disk)?;
            let of = (&*known, shared.network);
            let made = portable::export(&reader, of, &shared.signer, with_module, &file, tell);
            made.map_err(|error| portable_failure(&error))
        };
        tell_while(work, out, lines).await
    }

    async fn import(
        &self,
        file: PathBuf,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let (tell, told) = mpsc::channel(PROGRESS_MAX);
        let mut progress = move |done, total| hears(&tell, Progress { done, total });
        let (shared, follower) = (SharedRef::clone(&self.shared), self.follower.clone());
        let importing = async move {
            let imported = portable::import(&shared, &follower, file, &mut progress).await;
            imported.map_err(|error| portable_failure(&error))
        };
        tell_during(importing, told, out, lines).await
    }

    async fn recover(
        &self,
        process: Id,
        from: Vec<String>,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let (tell, told) = mpsc::channel(PROGRESS_MAX);
        let mut progress = move |done, total| hears(&tell, Progress { done, total });
        let (shared, follower) = (SharedRef::clone(&self.shared), self.follower.clone());
        let recovering = async move {
            let recovered = recover::recover(&shared, &follower, process, &from, &mut progress).await;
            recovered.map_err(|error| recover_failure(&error))
        };
        tell_during(recovering, told, out, lines).await
    }

    async fn recover_all(
        &self,
        scheduler: Option<Address>,
        from: Vec<String>,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let (tell, told) = mpsc::channel(PROGRESS_MAX);
        let mut progress = move |done, total| hears(&tell, Progress { done, total });
        let (shared, follower) = (SharedRef::clone(&self.shared), self.follower.clone());
        let recovering = async move {
            let scheduler = scheduler.unwrap_or(shared.address);
            let recovered = recover::recover_all(&shared, &follower, scheduler, &from, &mut progress).await;
            recovered.map_err(|error| recover_failure(&error))
        };
        tell_during(recovering, told, out, lines).await
    }

    async fn forget(
        &self,
        process: Id,
        accepts_loss: bool,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let begun = async {
            let lost = hosting::check_forgetting(&self.shared, process, accepts_loss).await;
            let mut lost = lost.map_err(|error| not_forgotten(&error))?;
            let was_hosted = self.shared.directory.roles(&process).is_some();
            if was_hosted {
                self.unhost(process).await?;
            }
            let begun = self.begin_forgetting(process, accepts_loss).await;
            let (leave, accepted) = begun.map_err(|mut failure| {
                if was_hosted {
                    failure.text += &format!(
                        "; this node does nothing for it any more: `weft host {process}` takes it up again"
                    );
                }
                failure
            })?;
            lost.retain(|one| !accepted.lost.contains(one));
            lost.extend(accepted.lost.iter().cloned());
            Ok::<_, Failure>((leave, accepted, lost))
        };
        let (leave, accepted, lost) = match begun.await {
            Ok(begun) => begun,
            Err(failure) => return out.end(Err::<(), _>(failure)).await,
        };
        let work = move |tell: Tell<'_>| {
            let forgot = hosting::forget(&leave, &accepted, tell);
            let Forgot { slots, items, bytes } = forgot.map_err(|error| not_forgotten(&error.into()))?;
            Ok(ForgetReport { process, slots, items, bytes, lost })
        };
        tell_while(work, out, lines).await
    }

    /// Has nothing begun for a process that is forgotten, and looks once more at what would be lost.
    async fn begin_forgetting(&self, process: Id, accepts_loss: bool) -> Result<(Leave, Accepted), Failure> {
        let begun = hosting::begin_forgetting(&self.shared, process).await;
        let leave = begun.map_err(|error| not_forgotten(&error))?;
        // Nothing is begun for it from here on, so what it has in memory is of before.
        if let Some(compute) = &self.compute
            && tokio::time::timeout(LEAVE_WAIT, compute.leaves(process)).await.is_err()
        {
            let text = format!(
                "process {process} is still being computed, so nothing was dropped; try again in a moment"
            );
            return Err(fail(FailureCode::Busy, text));
        }
        let accepted = hosting::check_forgetting_again(&leave, accepts_loss).await;
        Ok((leave, accepted.map_err(|error| not_forgotten(&error))?))
    }

    async fn prune(
        &self,
        process: Option<Id>,
        keep: Option<u64>,
        dry_run: bool,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let processes = match process.map(|process| self.known(&process)).transpose() {
            Ok(Some(known)) => vec![known.process.id()],
            Ok(None) => self.shared.directory.ids(|_| true),
            Err(failure) => return out.end(Err::<(), _>(failure)).await,
        };
        let Some(kept) = keep.or(self.shared.config.results_kept) else {
            let text = "all results are kept here: set `results_kept`, or say with --keep how many slots keep theirs";
            return out.end(Err::<(), _>(fail(FailureCode::Invalid, text))).await;
        };
        let shared = SharedRef::clone(&self.shared);
        let work = move |tell: Tell<'_>| {
            let pruning = Pruning { store: &shared.store, weave: shared.anchored_on(), kept, dry_run };
            let mut reports = Vec::new();
            for id in processes {
                let report = pruning.run(id, tell).map_err(disk)?;
                reports.extend((report.positions > 0 || process.is_some()).then_some(report));
            }
            Ok(reports)
        };
        tell_while(work, out, lines).await
    }
}

/// Waits for work, and tells the client how far it is. Dropping the work, as for a client that hangs up, ends it
/// between two groups of slots.
async fn tell_during<T: Serialize + Send>(
    work: impl Future<Output = Result<T, Failure>>,
    mut told: mpsc::Receiver<Progress>,
    out: &mut Out,
    lines: &mut BufReader<OwnedReadHalf>,
) -> Result<(), HungUp> {
    let mut work = Box::pin(work);
    let done = loop {
        tokio::select! {
            () = hung_up(lines) => return Err(HungUp),
            Some(progress) = told.recv() => out.event(progress).await?,
            done = &mut work => break done,
        }
    };
    out.end(done).await
}

/// Does work that blocks, and tells the client how far it is. A client that hangs up ends it.
async fn tell_while<T: Serialize + Send + 'static>(
    work: impl FnOnce(Tell<'_>) -> Result<T, Failure> + Send + 'static,
    out: &mut Out,
    lines: &mut BufReader<OwnedReadHalf>,
) -> Result<(), HungUp> {
    let (tell, mut told) = mpsc::channel(PROGRESS_MAX);
    let hear = move |done, total| hears(&tell, Progress { done, total });
    let working = tokio::task::spawn_blocking(move || work(&mut { hear }));
    relay(&mut told, out, lines).await?;
    let worked = working.await.unwrap_or_else(|error| Err(fail(FailureCode::Fault, error.to_string())));
    out.end(worked).await
}

fn not_forgotten(error: &ForgetError) -> Failure {
    let code = match error {
        ForgetError::Unknown(_) => FailureCode::Unknown,
        ForgetError::Begun(_) => FailureCode::Busy,
        ForgetError::Own(_)
        | ForgetError::Pinned(_)
        | ForgetError::Unsettled { .. }
        | ForgetError::Lost { .. }
        | ForgetError::Store(StoreError::Conflict(_) | StoreError::Stopped) => FailureCode::Refused,
        ForgetError::Store(StoreError::Full { .. }) => FailureCode::Full,
        ForgetError::Damaged(_) | ForgetError::Store(_) => FailureCode::Fault,
    };
    fail(code, error.to_string())
}

fn backup_failure(error: &BackupError) -> Failure {
    let code = match error {
        BackupError::Store(_) | BackupError::Io { .. } => FailureCode::Fault,
        _ => FailureCode::Refused,
    };
    fail(code, error.to_string())
}

pub(super) fn recover_failure(error: &RecoverError) -> Failure {
    let code = match error {
        RecoverError::Portable(error) => return portable_failure(error),
        RecoverError::Gateway(_) | RecoverError::Gateways(_) => FailureCode::Invalid,
        RecoverError::Busy(_) => FailureCode::Busy,
        RecoverError::Room(_) => FailureCode::Full,
        RecoverError::Unknown { .. } | RecoverError::Silent(_) => FailureCode::Unknown,
        RecoverError::Refused { .. } | RecoverError::Foreign { .. } => FailureCode::Refused,
    };
    fail(code, error.to_string())
}

fn portable_failure(error: &PortableError) -> Failure {
    let code = match error {
        PortableError::Exists(_)
        | PortableError::Unfinished(_)
        | PortableError::Own { .. }
        | PortableError::OtherLog { .. }
        | PortableError::Slot { .. }
        | PortableError::Longer { .. }
        | PortableError::TooMany => FailureCode::Refused,
        PortableError::NoSlots(_) | PortableError::NotHere { .. } => FailureCode::Unknown,
        PortableError::Frame(_) | PortableError::NotAnExport(_) | PortableError::OtherNetwork { .. } => {
            FailureCode::Invalid
        }
        PortableError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            FailureCode::Invalid
        }
        PortableError::Store(StoreError::Full { .. }) | PortableError::Hosting(HostingError::NoRoom) => {
            FailureCode::Full
        }
        PortableError::Hosting(_)
        | PortableError::Stuck { .. }
        | PortableError::Stopped
        | PortableError::Store(_)
        | PortableError::Sign(_)
        | PortableError::Io { .. } => FailureCode::Fault,
    };
    fail(code, error.to_string())
}
