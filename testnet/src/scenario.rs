//! Scenarios: peers, faults, load, and what must come of it, written down in TOML.
//!
//! Whatever a scenario does to its peers, in the end it takes every fault but wrong clocks back and holds the system
//! to the same promises as the crash run: each reply that a client got is true in every log, each
//! message has one slot and each push one in its target, and all that compute have equal states.
//! What a scenario expects beside that, it says itself, of figures and metrics.

mod absences;
mod cast;
mod compare;
mod cut;
mod deeds;
mod file;
mod hops;
mod measure;
mod pay;
mod play;
mod problem;
mod rogue;
mod rogues;
mod settings;
mod span;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::Run;
use crate::check::{Step, millis};
use crate::crash::settle::{self, Excused, Log};
use crate::error::TestnetError;
use crate::fleet::{Fleet, Launch, free_ports};
use crate::guard::Guard;
use crate::netns::{self, Lanes};
use crate::out::Out;
use crate::plan::Plan;
use crate::run::{Exit, Folder, Signals, check_cores, stop};
use crate::screen::Screen;
use crate::state::{Listed, State};
use crate::user::User;

pub(crate) use compare::compare;
use file::{Churn, Scenario, Step as Deed};
use measure::Figures;
use play::Play;
pub(crate) use span::{NotSpan, Span};

/// The scenarios that come with the program.
const SHIPPED: [(&str, &str); 12] = [
    ("smoke-4", include_str!("../scenarios/smoke-4.toml")),
    ("tour-16", include_str!("../scenarios/tour-16.toml")),
    ("churn-24", include_str!("../scenarios/churn-24.toml")),
    ("partition-24", include_str!("../scenarios/partition-24.toml")),
    ("restart-all-12", include_str!("../scenarios/restart-all-12.toml")),
    ("liars-12", include_str!("../scenarios/liars-12.toml")),
    ("messengers-12", include_str!("../scenarios/messengers-12.toml")),
    ("hostile-market-8", include_str!("../scenarios/hostile-market-8.toml")),
    ("hostile-pay-4", include_str!("../scenarios/hostile-pay-4.toml")),
    ("join-late-32", include_str!("../scenarios/join-late-32.toml")),
    ("many-processes-16", include_str!("../scenarios/many-processes-16.toml")),
    ("soak", include_str!("../scenarios/soak.toml")),
];

/// What a scenario came to, for a script.
#[derive(Debug, Serialize)]
struct ScenarioReport<'a> {
    scenario: &'a str,
    about: &'a str,
    ok: bool,
    seed: u64,
    peers: usize,
    /// Why it was not played, if it was not.
    skipped: Option<String>,
    dir: String,
    kept: bool,
    figures: Figures,
    processes: Vec<ProcessReport>,
    steps: Vec<Step>,
    elapsed_ms: u64,
}

/// One process in the end.
#[derive(Debug, Serialize)]
struct ProcessReport {
    name: String,
    scheduler: usize,
    computed_by: Vec<usize>,
    slots: usize,
    sent: usize,
    came: usize,
}

/// Lists the scenarios that come with the program.
pub(crate) fn list(screen: Screen) -> Result<Exit, TestnetError> {
    let mut rows = Vec::new();
    for (name, text) in SHIPPED {
        let scenario = read(text, Path::new(name))?;
        rows.push([name.to_owned(), scenario.peers.get_ref().to_string(), scenario.about]);
    }
    screen.report(&rows);
    screen.table(["SCENARIO", "PEERS", "SHOWS"], rows);
    Ok(Exit::Green)
}

/// Runs a scenario once.
///
/// # Errors
/// What keeps it from being played at all.
pub(crate) async fn run(run: &Run, screen: Screen) -> Result<Exit, TestnetError> {
    let Some(name) = &run.scenario else { return list(screen) };
    let mut signals = Signals::listen().map_err(TestnetError::Runtime)?;
    let (name, mut scenario) = find(name)?;
    if let Some(span) = run.span {
        stretch(&mut scenario, span).map_err(|why| TestnetError::Scenario(format!("--for: {why}")))?;
    }
    let peers = *scenario.peers.get_ref();
    check_cores(peers, run.crowded)?;
    let seed = run.seed.unwrap_or(scenario.seed);
    let out = open_out(run, &name)?;
    if let Some(why) = missing(&scenario).await {
        return skip(out, (&name, &scenario), seed, why, screen);
    }
    let mut folder = Folder::make(run.dir.as_deref(), run.keep_logs)?;
    let plan = plan(&scenario, seed, folder.path())?;
    let mut guard = Guard::set(folder.fresh())?;
    let hands = (&mut folder, &mut guard, &mut signals);
    let ended = played((run, out), (&name, &scenario), seed, plan, hands, screen).await;
    if scenario.needs_lanes() {
        netns::remove(&netns::prefix_of(std::process::id())).await;
    }
    drop(guard);
    ended
}

async fn played(
    (run, out): (&Run, Option<Out>),
    (name, scenario): (&str, &Scenario),
    seed: u64,
    plan: Plan,
    (folder, guard, signals): (&mut Folder, &mut Guard, &mut Signals),
    screen: Screen,
) -> Result<Exit, TestnetError> {
    let since = Instant::now();
    let peers = plan.peers();
    if let Some(lanes) = plan.lanes() {
        lanes.make(peers, &scenario.link).await?;
    }
    let user = User::open(&plan.user_dir())?;
    let mut fleet = Fleet::new(plan);
    let _listed = Listed::new(&State::of(&fleet))?;
    screen.line(&format!("{name}: {} (seed {seed}, in {})", scenario.about, folder.path().display()));
    let launch = Launch::this_executable()?;
    let mut play = Play::new((scenario, seed), &user, launch, screen);
    let ended = tokio::select! {
        ended = play.all(&mut fleet, guard) => ended.map(Some),
        () = signals.caught() => Ok(None),
    };
    let Play { mut steps, figures, finals, wronged, liar, .. } = play;
    match ended {
        Ok(Some(())) => {}
        Ok(None) => {
            screen.error("interrupted", "stopped by a signal before the end");
            fleet.stop().await;
            return Ok(Exit::Interrupted);
        }
        Err(error) => {
            // Where nothing ran there is nothing to look at.
            folder.keep |= !fleet.nodes().is_empty() || !error.is_input();
            fleet.stop().await;
            return Err(error);
        }
    }
    let logs: Vec<Log> = fleet.nodes().iter().map(Log::of).collect();
    steps.push(stop(fleet, screen).await);
    let excused = Excused { wronged, liar, gone: scenario.parts_peers() };
    steps.push(settle::read_logs(&logs, excused, screen));
    let ok = steps.iter().all(|step| step.ok);
    folder.keep |= !ok;
    let processes = finals.iter().map(ProcessReport::of).collect();
    let report = ScenarioReport {
        scenario: name,
        about: &scenario.about,
        ok,
        seed,
        peers,
        skipped: None,
        dir: folder.path().display().to_string(),
        kept: folder.keep,
        figures,
        processes,
        steps,
        elapsed_ms: millis(since.elapsed()),
    };
    tell(out, &report, screen)?;
    if !ok {
        screen.error("red", &format!("NOT everything is as expected; logs and data are in {}", report.dir));
        screen.error("repeat", &repeat(run, seed));
    }
    Ok(if ok { Exit::Green } else { Exit::Red })
}

impl ProcessReport {
    fn of(known: &crate::crash::evidence::Final) -> Self {
        Self {
            name: known.name.clone(),
            scheduler: known.scheduler,
            computed_by: known.computed.iter().map(|report| report.node).collect(),
            slots: known.log().len(),
            sent: known.sent.len(),
            came: known.came.len(),
        }
    }
}

/// The file of the report, if there is to be one, from before anything is started.
fn open_out(run: &Run, name: &str) -> Result<Option<Out>, TestnetError> {
    match &run.out {
        Some(path) => Out::open(path).map(Some),
        None if run.json => Ok(None),
        None => Out::open(Path::new(&format!("{name}.report.json"))).map(Some),
    }
}

/// Prints the table and writes the report.
fn tell(out: Option<Out>, report: &ScenarioReport<'_>, screen: Screen) -> Result<(), TestnetError> {
    let meaning =
        |name: &str| measure::FIGURES.iter().find(|(known, _)| *known == name).map_or("", |(_, it)| it);
    let rows = report
        .figures
        .iter()
        .map(|(name, value)| [(*name).to_owned(), compare::number(*value), meaning(name).to_owned()]);
    screen.table(["FIGURE", "VALUE", "WHAT IT IS"], rows);
    let seconds = report.elapsed_ms as f64 / 1000.0;
    let verdict = if report.ok { "everything is as expected" } else { "NOT everything is as expected" };
    screen.line(&format!("{verdict} ({seconds:.1} s, seed {})", report.seed));
    screen.report(report);
    write(out, report, screen)
}

fn write(out: Option<Out>, report: &ScenarioReport<'_>, screen: Screen) -> Result<(), TestnetError> {
    let Some(out) = out else { return Ok(()) };
    let path = out.path().to_owned();
    let text = serde_json::to_vec_pretty(report)
        .map_err(|error| TestnetError::File { path: path.clone(), source: error.into() })?;
    out.write(&text)?;
    screen.line(&format!("the report is {}", path.display()));
    Ok(())
}

fn skip(
    out: Option<Out>,
    (name, scenario): (&str, &Scenario),
    seed: u64,
    why: String,
    screen: Screen,
) -> Result<Exit, TestnetError> {
    screen.line(&format!("SKIPPED {name}: {why}"));
    let report = ScenarioReport {
        scenario: name,
        about: &scenario.about,
        ok: false,
        seed,
        peers: *scenario.peers.get_ref(),
        skipped: Some(why),
        dir: String::new(),
        kept: false,
        figures: Figures::new(),
        processes: Vec::new(),
        steps: Vec::new(),
        elapsed_ms: 0,
    };
    screen.report(&report);
    write(out, &report, screen)?;
    Ok(Exit::Skipped)
}

/// The scenario of this name, else of this file.
fn find(name: &str) -> Result<(String, Scenario), TestnetError> {
    if let Some((name, text)) = SHIPPED.into_iter().find(|(shipped, _)| *shipped == name) {
        return Ok((name.to_owned(), read(text, Path::new(name))?));
    }
    let path = Path::new(name);
    let text = std::fs::read_to_string(path).map_err(|error| {
        let meant = problem::meant(name, SHIPPED.iter().map(|(shipped, _)| *shipped));
        let meant = meant.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
        TestnetError::Scenario(format!("there is no scenario or file called {name} ({error}){meant}"))
    })?;
    let stem = path.file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
    Ok((stem, read(&text, path)?))
}

fn read(text: &str, path: &Path) -> Result<Scenario, TestnetError> {
    Scenario::read(text, path).map_err(|problem| TestnetError::Scenario(problem.to_string()))
}

/// Has the churn of a scenario, else its longest wait, take so long. A wait is never cut short: what comes after
/// it rests on what happens meanwhile.
///
/// # Errors
/// Why it cannot.
fn stretch(scenario: &mut Scenario, span: Duration) -> Result<(), String> {
    let churns = scenario.steps.iter().any(|step| matches!(step.get_ref(), Deed::Churn(_)));
    let waits = scenario.steps.iter().filter_map(|step| match step.get_ref() {
        Deed::Wait(Span(span)) => Some(*span),
        _ => None,
    });
    let longest = waits.max();
    match longest {
        None if !churns => {
            return Err("the scenario has neither a churn nor a wait whose time could be set".into());
        }
        Some(longest) if !churns && span < longest => {
            return Err(format!(
                "the scenario waits for {} s and cannot do with less",
                longest.as_secs_f64()
            ));
        }
        _ => {}
    }
    for step in &mut scenario.steps {
        match step.get_mut() {
            Deed::Churn(Churn { span: of, .. }) => *of = Span(span),
            Deed::Wait(of) if !churns && Some(of.0) == longest => *of = Span(span),
            _ => {}
        }
    }
    Ok(())
}

/// The command that repeats a run.
fn repeat(run: &Run, seed: u64) -> String {
    let scenario = run.scenario.as_deref().unwrap_or_default();
    let span = run.span.map(|span| format!(" --for {}ms", span.as_millis())).unwrap_or_default();
    let crowded = if run.crowded { " --crowded" } else { "" };
    format!("weft-testnet run {scenario} --seed {seed}{span}{crowded}")
}

/// What the machine has not that a scenario needs.
async fn missing(scenario: &Scenario) -> Option<String> {
    if !scenario.needs_lanes() {
        return None;
    }
    if let Some(why) = netns::missing().await {
        return Some(why);
    }
    for link in scenario.links() {
        if let Some(why) = netns::missing_for(link).await {
            return Some(why);
        }
    }
    None
}

fn plan(scenario: &Scenario, seed: u64, dir: &Path) -> Result<Plan, TestnetError> {
    let peers = *scenario.peers.get_ref();
    // Peers come back on the port that they had.
    let base = if scenario.needs_lanes() { None } else { Some(free_ports(peers)?) };
    let roles: Vec<_> = scenario.roles.iter().map(|roles| roles.0.clone()).collect();
    let plan = Plan::new(peers, base, dir)?.with_topology(scenario.topology, seed).with_some_roles(&roles)?;
    let mut plan = plan;
    for (key, value) in &scenario.settings {
        plan = plan.with_setting(settings::flag(key), settings::text(value.get_ref()));
    }
    Ok(if scenario.needs_lanes() { plan.with_lanes(Lanes::of_this_launcher()) } else { plan })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_scenario_that_is_shipped_can_be_read() {
        for (name, text) in SHIPPED {
            let scenario = read(text, Path::new(name)).unwrap();
            let peers = *scenario.peers.get_ref();
            let number = name.rsplit_once('-').and_then(|(_, number)| number.parse::<usize>().ok());
            assert_eq!(number.unwrap_or(peers), peers, "{name} says how many peers it has");
            assert!(!scenario.expect.is_empty() && !scenario.steps.is_empty(), "{name} expects nothing");
            plan(&scenario, 1, Path::new("/tmp/t")).unwrap();
        }
    }

    #[test]
    fn a_run_is_repeated_as_it_was_asked_for() {
        use clap::Parser as _;
        let args = ["weft-testnet", "run", "my/own.toml", "--for", "2m", "--crowded"];
        let run = match crate::args::Cli::try_parse_from(args).map(crate::args::Cli::command) {
            Ok(crate::args::Command::Run(run)) => run,
            other => unreachable!("{other:?}"),
        };
        assert_eq!(repeat(&run, 7), "weft-testnet run my/own.toml --seed 7 --for 120000ms --crowded");
    }

    #[test]
    fn a_name_that_is_none_is_told_with_the_one_that_was_meant() {
        let error = find("chrun-24").unwrap_err();
        assert!(error.is_input() && error.to_string().contains("did you mean churn-24?"), "{error}");
    }

    #[test]
    fn a_scenario_takes_as_long_as_it_is_asked_to() {
        let (_, mut soak) = find("soak").unwrap();
        stretch(&mut soak, Duration::from_secs(7)).unwrap();
        let of = |step: &toml::Spanned<Deed>| match step.get_ref() {
            Deed::Churn(churn) => Some(churn.span.0),
            _ => None,
        };
        assert_eq!(soak.steps.iter().find_map(of), Some(Duration::from_secs(7)));
        let (_, mut cut) = find("partition-24").unwrap();
        let error = stretch(&mut cut, Duration::from_secs(20)).unwrap_err();
        assert!(error.contains("waits for 80 s and cannot do with less"), "{error}");
    }
}
