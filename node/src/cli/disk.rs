//! `weft export`, `import` and `prune`: long ways through a disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::json;
use weft_protocol::Id;
use weft_storage::{Compacted, Store, StoreConfig, StoreError};

use super::args::ConfigFlags;
use super::exit::{CliError, Exit};
use super::screen::{pairs, table};
use super::{Context, configure};
use crate::backup::STORE_NAME;
use crate::control::api::{DiskRequest, Progress, Reply, Request};
use crate::control::client::{ClientError, typed};
use crate::keyring;
use crate::portable::PortableReport;
use crate::prune::PruneReport;

/// How long the node may go without a sign: a commit on a disk that others load takes seconds.
const SILENCE: Duration = Duration::from_secs(600);

/// What `weft export` is told.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The process
    #[arg(allow_hyphen_values = true)]
    process: Id,
    /// The file to make
    file: PathBuf,
    /// Also write the module, so that the file is all it takes to compute the process
    #[arg(long)]
    with_module: bool,
}

/// What `weft prune` is told.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// The process; all of them if absent
    #[arg(allow_hyphen_values = true)]
    process: Option<Id>,
    /// How many of the newest slots keep their results; as in `results_kept` if absent
    #[arg(long, value_name = "SLOTS")]
    keep: Option<u64>,
    /// Only show what would go
    #[arg(long)]
    dry_run: bool,
    /// Of a stopped node: give the disk back what its store has free inside, and prune nothing
    #[arg(long, conflicts_with_all = ["process", "keep", "dry_run"])]
    compact: bool,
}

pub(super) async fn export(of: Export, context: &Context) -> Result<Exit, CliError> {
    let Export { process, file, with_module } = of;
    let request = DiskRequest::Export { process, file: absolute(&file)?, with_module };
    let report: PortableReport = ask(context, "writing", request).await?;
    show(&report, context)?;
    Ok(Exit::Ok)
}

pub(super) async fn import(file: &Path, context: &Context) -> Result<Exit, CliError> {
    let request = DiskRequest::Import { file: absolute(file)? };
    let report: PortableReport = ask(context, "reading and verifying", request).await?;
    show(&report, context)?;
    Ok(Exit::Ok)
}

pub(super) async fn prune(of: Prune, context: &Context) -> Result<Exit, CliError> {
    let Prune { process, keep, dry_run, compact } = of;
    if compact {
        return self::compact(context);
    }
    let request = DiskRequest::Prune { process, keep, dry_run };
    let reports: Vec<PruneReport> = ask(context, "pruning", request).await?;
    context.screen.answer(&reports, || {
        let rows = reports.iter().map(|report| {
            [
                report.process.to_string(),
                format!("{}..{}", report.from, report.to),
                report.positions.to_string(),
                report.bytes.to_string(),
            ]
        });
        table(["PROCESS", "SLOTS", "RESULTS", "BYTES"], rows)
    })?;
    let (what, bytes) =
        (if dry_run { "would go" } else { "went" }, reports.iter().map(|report| report.bytes));
    let bytes: u64 = bytes.sum();
    context
        .screen
        .remark(&format!("{bytes} bytes {what}; the file keeps its size and fills the room again; `weft prune --compact` of the stopped node gives it \
         back"));
    Ok(Exit::Ok)
}

/// Compacts the store of a node that does not run.
fn compact(context: &Context) -> Result<Exit, CliError> {
    let config = configure::resolve(&ConfigFlags::default(), context)?.config;
    let store = config.data_dir.join(STORE_NAME);
    if !store.exists() {
        let folder = config.data_dir.display();
        return Err(CliError::input(format!("there is no store in {folder}: no node ever ran there")));
    }
    let node = keyring::load(&config.data_dir)?.signer.address();
    let compacted = Store::compact(&store, &StoreConfig::new(config.network(), node));
    let Compacted { before, after } = compacted.map_err(|error| match error {
        error @ StoreError::InUse { .. } => CliError::new(Exit::No, error.to_string()),
        error => CliError::fault(error.to_string()),
    })?;
    let answer = json!({ "before_bytes": before, "after_bytes": after });
    context.screen.answer(&answer, || {
        pairs(&[
            ("took", format!("{before} bytes")),
            ("takes", format!("{after} bytes")),
            ("given back", format!("{} bytes", before.saturating_sub(after))),
        ])
    })?;
    Ok(Exit::Ok)
}

/// The node has another current folder.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|error| CliError::input(format!("{}: {error}", path.display())))
}

pub(super) async fn ask<T: DeserializeOwned>(
    context: &Context,
    what: &str,
    request: DiskRequest,
) -> Result<T, CliError> {
    let mut client = context.client().await?;
    client.send(&Request::Disk(request)).await?;
    let mut bar = context.screen.bar(what, 0);
    loop {
        let reply = tokio::time::timeout(SILENCE, client.reply()).await;
        match reply.map_err(|_| ClientError::TimedOut { after: SILENCE })?? {
            Reply::Event(value) => {
                let progress: Progress = typed(value)?;
                bar.set(progress.done, progress.total);
            }
            Reply::Done(value) => return Ok(typed(value)?),
            Reply::Error(failure) => return Err(failure.into()),
        }
    }
}

fn show(report: &PortableReport, context: &Context) -> Result<(), CliError> {
    let slots = match report.new_slots {
        Some(new) => format!("{}, of which {new} are new here", report.slots),
        None => report.slots.to_string(),
    };
    context.screen.answer(report, || {
        pairs(&[
            ("process", report.process.to_string()),
            ("file", report.file.display().to_string()),
            ("slots", slots),
            ("items", report.items.to_string()),
            ("attestations", report.attestations.to_string()),
            ("module", if report.module { "in the file" } else { "not in the file" }.to_owned()),
            ("bytes", report.bytes.to_string()),
            ("hash chain", report.hash_chain.to_string()),
        ])
    })
}
