//! `weft export`, `import`, `recover` and `prune`: long ways through a disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::json;
use weft_protocol::{Address, Id};
use weft_storage::{Compacted, Store, StoreConfig};

use super::args::ConfigFlags;
use super::exit::{CliError, Exit};
use super::screen::{Colour, Screen, pairs, table};
use super::{Context, configure};
use crate::backup::STORE_NAME;
use crate::control::api::{DiskRequest, ForgetReport, Progress, Reply, Request};
use crate::control::client::{ClientError, typed};
use crate::keyring;
use crate::portable::PortableReport;
use crate::prune::PruneReport;
use crate::recover::{Missing, ModuleState, RecoverAllReport, RecoverReport};

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

/// What `weft recover` is told.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// The process
    #[arg(allow_hyphen_values = true, required_unless_present = "all")]
    process: Option<Id>,
    /// Every process that this node schedules, instead of one: its key is all it needs
    #[arg(long, conflicts_with = "process")]
    all: bool,
    /// With --all, the processes of this scheduler instead
    #[arg(long, value_name = "ADDRESS", requires = "all", allow_hyphen_values = true)]
    scheduler: Option<Address>,
    /// A gateway of the weave that has the batches, such as https://arweave.net or the `weave_listen` of a node;
    /// may repeat: what one lacks is requested from the next
    #[arg(long, value_name = "URL", required = true)]
    from: Vec<String>,
}

/// What `weft prune` is told.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// The process [default: all of them]
    #[arg(allow_hyphen_values = true)]
    process: Option<Id>,
    /// How many of the newest slots keep their results [default: `results_kept`]
    #[arg(long, value_name = "SLOTS")]
    keep: Option<u64>,
    /// Only show what would be dropped
    #[arg(long)]
    dry_run: bool,
    /// Prune nothing, but return the free space inside a stopped node's store to the disk
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
    let imported = ask(context, "reading and verifying", request).await;
    let report: PortableReport = imported.map_err(|error| match error.exit {
        // What is wrong is in the file.
        Exit::Input => CliError { text: format!("{}: {}", file.display(), error.text), ..error },
        _ => error,
    })?;
    show(&report, context)?;
    Ok(Exit::Ok)
}

pub(super) async fn recover(of: Recover, context: &Context) -> Result<Exit, CliError> {
    let Recover { process, scheduler, from, .. } = of;
    let Some(process) = process else { return recover_all(scheduler, from, context).await };
    let request = DiskRequest::Recover { process, from };
    let report: RecoverReport = ask(context, "reading and verifying", request).await?;
    context.screen.answer(&report, || recovered(&report, context.screen))?;
    Ok(if report.is_whole() { Exit::Ok } else { Exit::No })
}

async fn recover_all(
    scheduler: Option<Address>,
    from: Vec<String>,
    context: &Context,
) -> Result<Exit, CliError> {
    let request = DiskRequest::RecoverAll { scheduler, from };
    let report: RecoverAllReport = ask(context, "processes", request).await?;
    let screen = context.screen;
    screen.answer(&report, || {
        let rows = [
            ("scheduler", report.scheduler.clone()),
            ("processes", format!("{}, of which {} are whole", report.found, report.whole)),
            ("slots", format!("{}, of which {} are new here", report.slots, report.new_slots)),
            ("attestations", format!("{} new ones", report.attestations)),
            ("took", format!("{} ms", report.elapsed_ms)),
        ];
        if report.failed_count == 0 {
            return pairs(&rows);
        }
        let failed = report
            .failed
            .iter()
            .map(|one| [one.process.to_string(), one.slots.to_string(), screen.foreign(&one.why)]);
        let failed = table(["NOT WHOLE", "SLOTS", "WHY"], failed);
        let more = report.failed_count.saturating_sub(report.failed.len() as u64);
        let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
        format!("{}\n\n{failed}{more}", pairs(&rows))
    })?;
    Ok(if report.failed_count == 0 { Exit::Ok } else { Exit::No })
}

/// Which of the bundles are shown to be in a block.
fn in_blocks(report: &RecoverReport, screen: Screen) -> String {
    if report.bundles == 0 {
        return "no bundle was read".to_owned();
    }
    let shown = format!(
        "{} of {}: paths lead to them from the block roots that most of the gateways name",
        report.bundles_in_blocks, report.bundles
    );
    match &report.not_in_blocks {
        None => shown,
        Some(why) => {
            let not = screen.paint(Colour::Yellow, "not proven for the others");
            format!("{shown}; {not}: {}", screen.foreign(why))
        }
    }
}

/// What was read of a weave.
pub(super) fn recovered(report: &RecoverReport, screen: Screen) -> String {
    let module = match report.module {
        ModuleState::Here => "here",
        ModuleState::Recovered => "recovered",
        ModuleState::Missing => {
            "no gateway has it: add it with `weft module add`, or connect to a peer that has it"
        }
    };
    let confirmed = report.least_confirmations.map_or_else(
        || "not every gateway says how deep they are".to_owned(),
        |least| format!("confirmed by at least {least} blocks, according to the gateways"),
    );
    let missing = match report.missing {
        None if report.ends_here => screen.paint(Colour::Green, "nothing, as far as any gateway shows"),
        None => screen.paint(Colour::Yellow, "unknown: every gateway lists newer slots, and none shows one"),
        Some(Missing { from, to }) => {
            let text =
                format!("slots {from} to {to}: signed by the scheduler, and no gateway has slot {from}");
            screen.paint(Colour::Red, &text)
        }
    };
    let mut rows = vec![
        ("process", report.process.to_string()),
        ("slots", format!("{}, of which {} are new here", report.slots, report.new_slots)),
        ("hash chain", report.hash_chain.to_string()),
        ("module", module.to_owned()),
        ("attestations", format!("{} new ones", report.attestations)),
        (
            "bundles",
            format!(
                "{}, of which {} match what their transaction or name commits to; {confirmed}",
                report.bundles, report.bundles_proven
            ),
        ),
        ("in blocks", in_blocks(report, screen)),
        ("missing", missing),
        ("took", format!("{} ms", report.elapsed_ms)),
    ];
    let unproven = report.unproven.iter().map(|text| ("unproven", screen.foreign(text)));
    rows.extend(unproven);
    let gateways = report.gateways.iter().map(|one| {
        let more = one.faults_count.saturating_sub(one.faults.len() as u64);
        let mut faults: Vec<String> = one.faults.iter().map(|fault| screen.foreign(fault)).collect();
        faults.extend((more > 0).then(|| format!("and {more} more")));
        faults.extend(one.given_up.then(|| "it was not asked any more".to_owned()));
        let shown = [one.slots, one.requests, one.bytes].map(|number| number.to_string());
        let [slots, requests, bytes] = shown;
        [screen.foreign(&one.gateway), slots, requests, bytes, faults.join("\n")]
    });
    let gateways = table(["GATEWAY", "SLOTS", "REQUESTS", "BYTES", "FAULTS"], gateways);
    format!("{}\n\n{gateways}", pairs(&rows))
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
        (if dry_run { "would be" } else { "were" }, reports.iter().map(|report| report.bytes));
    let bytes: u64 = bytes.sum();
    context
        .screen
        .remark(&format!("{bytes} bytes {what} freed for reuse; the file does not shrink until `weft prune --compact`, with the node stopped"));
    Ok(Exit::Ok)
}

/// Forgets a process of another node.
pub(super) async fn forget(process: Id, accepts_loss: bool, context: &Context) -> Result<Exit, CliError> {
    let request = DiskRequest::Forget { process, accepts_loss };
    let report: ForgetReport = ask(context, "forgetting", request).await?;
    let screen = context.screen;
    screen.answer(&report, || {
        let mut rows = vec![
            ("process", report.process.to_string()),
            ("slots", report.slots.to_string()),
            ("items", format!("{}; those that other logs name stay", report.items)),
            ("bytes", format!("{} are free for reuse, besides those of its states", report.bytes)),
        ];
        rows.extend(report.lost.iter().map(|lost| ("lost", screen.foreign(lost))));
        pairs(&rows)
    })?;
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
    let Compacted { before, after } = compacted.map_err(|error| CliError::from(&error))?;
    let answer = json!({ "before_bytes": before, "after_bytes": after });
    context.screen.answer(&answer, || {
        pairs(&[
            ("before", format!("{before} bytes")),
            ("after", format!("{after} bytes")),
            ("freed", format!("{} bytes", before.saturating_sub(after))),
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
