//! `weft backup` and `weft restore`.

use std::ops::ControlFlow;
use std::path::Path;

use super::Context;
use super::disk::{absolute, ask};
use super::exit::{CliError, Exit};
use super::screen::{Bar, Screen, pairs};
use crate::backup::{self, BackupError, BackupReport, Source};
use crate::control::api::DiskRequest;

const COPYING: &str = "copying";

/// Has the running node make a backup; makes it here where none runs.
pub(super) async fn backup(folder: &Path, with_key: bool, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let folder = absolute(folder)?;
    let request = DiskRequest::Backup { folder: folder.clone(), with_key };
    let report = match ask(context, COPYING, request).await {
        Err(error) if error.exit == Exit::Unreachable => {
            let data_dir = context.data_dir()?;
            let mut bar = screen.bar(COPYING, 0);
            backup::back_up(&Source::Closed, &data_dir, &folder, with_key, &mut shown(&mut bar))?
        }
        asked => asked?,
    };
    show(&report, screen)?;
    if !report.with_key {
        screen.remark("the node's key is not in it: keep `weft key show --secret` somewhere safe");
    }
    Ok(Exit::Ok)
}

pub(super) fn restore(folder: &Path, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let mut bar = screen.bar(COPYING, 0);
    let report = backup::restore(folder, &context.data_dir()?, &mut shown(&mut bar))?;
    drop(bar);
    show(&report, screen)?;
    screen.remark(
        "processes that this node schedules get no slots until you say that no newer copy of this store \
         exists; what was assigned after the backup comes back from peers first",
    );
    Ok(Exit::Ok)
}

fn shown(bar: &mut Bar) -> impl FnMut(u64, u64) -> ControlFlow<()> {
    |done, total| {
        bar.set(done, total);
        ControlFlow::Continue(())
    }
}

fn show(report: &BackupReport, screen: Screen) -> Result<(), CliError> {
    screen.answer(report, || {
        pairs(&[
            ("folder", report.folder.display().to_string()),
            ("rows", report.rows.to_string()),
            ("bytes", report.bytes.to_string()),
            ("key", if report.with_key { "copied" } else { "not copied" }.to_owned()),
        ])
    })
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        let exit = match &error {
            BackupError::Key(_) | BackupError::NoStore(_) | BackupError::NoName(_) => Exit::Input,
            BackupError::Store(weft_storage::StoreError::OtherNode { .. }) | BackupError::NoKey(_) => {
                Exit::Input
            }
            BackupError::Store(weft_storage::StoreError::InUse { .. }) => Exit::Busy,
            BackupError::Store(_) | BackupError::Io { .. } => Exit::Fault,
            _ => Exit::No,
        };
        Self::new(exit, error.to_string())
    }
}
