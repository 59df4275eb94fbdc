//! `weft repair`: makes a store whole again that its node cannot open or trust.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};
use weft_protocol::process::Terms;
use weft_protocol::time::Weave;
use weft_protocol::{Id, Network};
use weft_storage::anchor::AnchorError;
use weft_storage::{
    Caution, CautionRow, LocalWeave, LocalWeaveConfig, RepairMode, RepairReport, Store, StoreConfig,
    StoreError, Write, set_aside,
};

use super::args::{ConfigFlags, Wrong};
use super::exit::{CliError, Exit};
use super::screen::{Colour, Screen, table};
use super::{Context, configure};
use crate::keyring;

/// What to repair, or what loss to accept.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Only say what a repair would do
    #[arg(long, conflicts_with = "accept_loss")]
    dry_run: bool,
    /// Sign again in this process, begin `new` ones, or `all`, even though this node may have signed slots that are
    /// lost; may repeat. If anybody holds such a slot, the process is forked for ever
    #[arg(long, value_name = "PROCESS", allow_hyphen_values = true)]
    accept_loss: Vec<Accept>,
    /// The network's name
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// The version of the rules
    #[arg(long, value_name = "NUMBER")]
    rules: Option<String>,
}

/// A loss that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accept {
    Process(Id),
    New,
    All,
}

impl FromStr for Accept {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text {
            "new" => Ok(Self::New),
            "all" => Ok(Self::All),
            id => id.parse().map(Self::Process).map_err(|_| Wrong::new("expected a process, `new` or `all`")),
        }
    }
}

/// The files of a stopped node.
struct Files {
    store: PathBuf,
    weave: PathBuf,
    config: StoreConfig,
    network: Network,
}

/// Runs the command.
pub(super) fn run(of: &Repair, context: &Context) -> Result<Exit, CliError> {
    let flags = ConfigFlags::of([("network", of.network.clone()), ("rules", of.rules.clone())]);
    let config = configure::resolve(&flags, context)?.config;
    let signer = keyring::load(&config.data_dir)?.signer;
    let network = config.network();
    let files = Files {
        store: config.data_dir.join("store.redb"),
        weave: config.data_dir.join("weave.redb"),
        config: StoreConfig::new(network, signer.address()),
        network,
    };
    if !files.store.exists() {
        let folder = config.data_dir.display();
        return Err(CliError::input(format!("there is no store in {folder}: no node ever ran there")));
    }
    match of.accept_loss.as_slice() {
        [] => repair(&files, of.dry_run, context.screen),
        accepted => accept(&files, accepted, context.screen),
    }
}

fn repair(files: &Files, dry_run: bool, screen: Screen) -> Result<Exit, CliError> {
    let (weave, weave_kept) = open_weave(files, dry_run)?;
    let terms = Terms { network: files.network, weave: Weave::Clock };
    let mode = if dry_run { RepairMode::DryRun } else { RepairMode::Replace };
    let mut tally = screen.tally();
    let repaired =
        weft_storage::repair(&files.store, &files.config, &terms, weave.as_ref(), mode, &mut |what, done| {
            tally.set(what, done);
        });
    drop(tally);
    let report = repaired.map_err(|error| CliError::from(&error))?;
    screen.answer(&json_of(&report, weave_kept.as_deref()), || {
        human(&report, weave_kept.as_deref(), &files.store, dry_run, screen)
    })?;
    let whole = report.cuts.is_empty()
        && report.cautions.is_empty()
        && report.lost_openings.is_empty()
        && !report.caution_openings
        && report.tables.iter().all(|table| table.lost == 0 && !table.broken);
    Ok(if whole { Exit::Ok } else { Exit::No })
}

/// The embedded weave; one that does not open is set aside, since what it holds is in the store, and
/// `weft up` begins another.
fn open_weave(files: &Files, dry_run: bool) -> Result<(Option<LocalWeave>, Option<PathBuf>), CliError> {
    if !files.weave.exists() {
        return Ok((None, None));
    }
    // The time is that of a new weave's first block; this one exists.
    let config = LocalWeaveConfig { network: files.network, node: files.config.node, now_ms: 0 };
    match LocalWeave::open(&files.weave, &config) {
        Ok(weave) => Ok((Some(weave), None)),
        Err(AnchorError::Store(error @ (StoreError::InUse { .. } | StoreError::CannotOpen { .. }))) => {
            Err((&error).into())
        }
        Err(AnchorError::Store(
            error @ (StoreError::OtherNetwork { .. }
            | StoreError::OtherNode { .. }
            | StoreError::NewerSchema { .. }),
        )) => Err((&error).into()),
        Err(_) if dry_run => Ok((None, None)),
        Err(_) => {
            let kept = set_aside(&files.weave).map_err(|error| CliError::from(&error))?;
            Ok((None, Some(kept)))
        }
    }
}

/// Ends cautions on the operator's word.
fn accept(files: &Files, accepted: &[Accept], screen: Screen) -> Result<Exit, CliError> {
    let store = Store::open(&files.store, &files.config).map_err(|error| CliError::from(&error))?;
    let read = store.read().and_then(|reader| Ok((reader.held_back()?, reader.caution()?)));
    let (held, openings) = read.map_err(|error| CliError::from(&error))?;
    let all = accepted.contains(&Accept::All);
    let chosen = held.into_iter().filter(|(id, _)| all || accepted.contains(&Accept::Process(*id)));
    let chosen: BTreeMap<Id, u64> = chosen.collect();
    let processes: Vec<Id> = chosen.keys().copied().collect();
    let new = openings.is_some() && (all || accepted.contains(&Accept::New));
    // What is here is declared to be all. The scheduler ends the caution when it first needs the log, for
    // slots that peers gave back stand in no index yet that knows a message again.
    let mut writes: Vec<Write> = chosen
        .into_iter()
        .map(|(process, slots)| {
            let row = CautionRow { why: Caution::Repaired, slots: Some(slots) };
            Write::Caution { process, row }
        })
        .collect();
    if new {
        writes.push(Write::lift_openings());
    }
    for some in writes.chunks(WRITES_AT_ONCE) {
        store.write_blocking(some.to_vec()).map_err(|error| CliError::from(&error))?;
    }
    screen.answer(&json!({ "processes": processes, "new": new }), || {
        let mut lines: Vec<String> =
            processes.iter().map(|process| format!("this node signs again in {process}")).collect();
        if new {
            lines.push("this node starts new processes again".to_owned());
        }
        if lines.is_empty() {
            lines.push("nothing is held back for these".to_owned());
        }
        lines.join("\n")
    })?;
    Ok(if processes.is_empty() && !new { Exit::No } else { Exit::Ok })
}

/// Writes of one commit.
const WRITES_AT_ONCE: usize = 10_000;

fn json_of(report: &RepairReport, weave_kept: Option<&Path>) -> Value {
    let tables = report.tables.iter().map(|table| {
        json!({
            "table": table.table,
            "kept": table.kept,
            "found": table.found,
            "lost": table.lost,
            "dropped": table.dropped,
            "broken": table.broken,
        })
    });
    let cuts = report.cuts.iter().map(|cut| {
        json!({
            "process": cut.process,
            "own": cut.own,
            "slots": cut.slots,
            "slots_dropped": cut.slots_dropped,
            "outcomes_dropped": cut.outcomes_dropped,
            "why": cut.why,
        })
    });
    let cautions =
        report.cautions.iter().map(|(process, slots)| json!({ "process": process, "slots": slots }));
    json!({
        "intact": report.is_intact(),
        "kept_as": report.kept_as,
        "weave_kept_as": weave_kept,
        "from_weave": report.from_weave,
        "tables": tables.collect::<Vec<_>>(),
        "cuts": cuts.collect::<Vec<_>>(),
        "lost_openings": report.lost_openings,
        "cautions": cautions.collect::<Vec<_>>(),
        "caution_new": report.caution_openings,
        "problems": report.problems,
    })
}

fn human(
    report: &RepairReport,
    weave_kept: Option<&Path>,
    store: &Path,
    dry_run: bool,
    screen: Screen,
) -> String {
    let mut parts = Vec::new();
    if let Some(kept) = weave_kept {
        parts.push(format!(
            "the embedded weave was damaged: it is kept as {}, and `weft up` begins another",
            kept.display()
        ));
    }
    if report.is_intact() {
        parts.push(screen.paint(Colour::Green, &format!("{} is intact", store.display())));
        return parts.join("\n");
    }
    parts.extend(report.problems.iter().map(|problem| screen.foreign(problem)));
    let rows = report.tables.iter().filter(|table| table.kept + table.found + table.lost > 0 || table.broken);
    let rows = rows.map(|row| {
        let broken = if row.broken { screen.paint(Colour::Yellow, "broken") } else { String::new() };
        let counts = [row.kept, row.found, row.lost, row.dropped].map(|count| count.to_string());
        let [kept, found, lost, dropped] = counts;
        [row.table.to_owned(), kept, found, lost, dropped, broken]
    });
    parts.push(table(["TABLE", "KEPT", "FOUND", "LOST", "LEFT OUT", "TREE"], rows));
    if report.from_weave > 0 {
        parts.push(format!("{} slots and items were restored from the embedded weave", report.from_weave));
    }
    parts.extend(losses(report));
    parts.push(match &report.kept_as {
        Some(kept) => {
            format!("{} is repaired; the damaged file is kept as {}", store.display(), kept.display())
        }
        None if dry_run => "nothing was changed".to_owned(),
        None => String::new(),
    });
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// What is lost, and what brings it back.
fn losses(report: &RepairReport) -> Vec<String> {
    let mut lines = Vec::new();
    for cut in &report.cuts {
        lines.push(format!(
            "process {}: {} slots were kept, {} left out, {} outcomes will be computed again: {}",
            cut.process, cut.slots, cut.slots_dropped, cut.outcomes_dropped, cut.why
        ));
    }
    for process in &report.lost_openings {
        lines.push(format!(
            "process {process}: its slot 0 is lost; `weft host {process}` fetches it from peers"
        ));
    }
    for (process, slots) in &report.cautions {
        lines.push(match slots {
            Some(slots) => format!(
                "process {process}: this node signed {slots} slots of it, and signs no more until peers have \
                 given back those that are lost"
            ),
            None => format!(
                "process {process}: this node may have signed more slots than are left. It signs no more until it \
                 has asked all other nodes that compute the process, or until `weft repair --accept-loss {process}`; \
                 a slot that only the sender of its message saw is then signed a second time"
            ),
        });
    }
    if report.caution_openings {
        lines.push(
            "processes may be lost without a trace: no new one is started until `weft repair --accept-loss new`"
                .to_owned(),
        );
    }
    lines
}
