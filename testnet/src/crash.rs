//! The crash run: nodes are killed with `kill -9` one after the other while clients keep them
//! busy, and in the end nothing that was promised may be gone.
//!
//! Everything is seen from outside, over the control sockets: the replies that clients got, every
//! slot and outcome that any node ever showed, and what all nodes hold when the storm is over. The
//! kills follow from a seed; what the nodes were doing at that moment does not, so a seed repeats
//! the blows and not every step of the run.

pub(crate) mod evidence;
pub(crate) mod judge;
pub(crate) mod load;
pub(crate) mod observe;
mod schedule;
pub(crate) mod settle;
mod storm;
mod town;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::{join, try_join_all};
use serde::Serialize;
use weft_protocol::Id;

use crate::args::Crash;
use crate::check::{Open, Step, millis};
use crate::error::TestnetError;
use crate::fleet::{Fleet, Launch, free_ports};
use crate::guard::Guard;
use crate::plan::Plan;
use crate::run::{Exit, Folder, Signals, stop};
use crate::screen::Screen;
use crate::town::{Actor, Town, Trouble};
use crate::user::User;

use evidence::{Final, Sightings};
use load::{Field, Load, Mix};
use settle::{Excused, Log};
use storm::Kills;

/// Nodes of a crash run: three schedule, three carry, every process is computed by three.
pub(crate) const NODES: usize = 5;
/// Clients that hand in items at once.
const CLIENTS: u64 = 6;
/// Half of their items have processes talk.
const MIX: Mix = Mix { bytes: 0, pushes: 50, failures: 10 };

/// What a crash run found, for a script.
#[derive(Debug, Serialize)]
struct CrashReport {
    ok: bool,
    seed: u64,
    /// The command that repeats it.
    repeat: String,
    dir: String,
    kept: bool,
    kills: Kills,
    /// Items that the clients signed.
    items: usize,
    /// Times that a client asked a node for a slot.
    tries: usize,
    /// Why the others brought no reply, and how often.
    failed: BTreeMap<String, usize>,
    /// Replies that clients got.
    replies: usize,
    /// Of these, how many said that the item had its slot before.
    duplicates: usize,
    /// Slots that nodes showed to the observer.
    shown: usize,
    processes: Vec<ProcessReport>,
    steps: Vec<Step>,
    elapsed_ms: u64,
}

/// One process in the end.
#[derive(Debug, Serialize)]
struct ProcessReport {
    name: String,
    process: Id,
    scheduler: usize,
    computed_by: Vec<usize>,
    slots: usize,
    sent: usize,
    came: usize,
}

/// Runs it once.
///
/// # Errors
/// What kept the nodes from coming up at all.
pub(crate) async fn run(crash: &Crash, screen: Screen) -> Result<Exit, TestnetError> {
    let mut signals = Signals::listen().map_err(TestnetError::Runtime)?;
    let mut folder = Folder::make(crash.dir.as_deref(), crash.keep_logs)?;
    let base = crash.base_port.map_or_else(|| free_ports(NODES), Ok)?;
    let plan = Plan::new(NODES, Some(base), folder.path())?;
    let _guard = Guard::set(folder.fresh())?;
    let user = User::open(&plan.user_dir())?;
    let since = Instant::now();
    let mut fleet = Fleet::new(plan);
    let seed = crash.seed.unwrap_or_else(rand::random);
    screen.line(&format!(
        "{} kills of {NODES} nodes, seed {seed}, in {}",
        crash.kills,
        folder.path().display()
    ));
    let mut run = Run { seed, kills: crash.kills, user: &user, screen, steps: Vec::new(), found: None };
    let ended = tokio::select! {
        ended = run.all(&mut fleet) => ended.map(Some),
        () = signals.caught() => Ok(None),
    };
    let Run { mut steps, found, .. } = run;
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
            screen.error("repeat", &repeat(crash.kills, seed));
            return Err(error);
        }
    }
    let logs: Vec<Log> = fleet.nodes().iter().map(Log::of).collect();
    steps.push(stop(fleet, screen).await);
    steps.push(settle::read_logs(&logs, Excused { wronged: None, liar: None, gone: true }, screen));
    let ok = steps.iter().all(|step| step.ok);
    folder.keep |= !ok;
    let report = report(crash, seed, &folder, found.unwrap_or_default(), steps, since);
    show(&report, screen);
    screen.report(&report);
    if ok {
        return Ok(Exit::Green);
    }
    screen.error("red", &format!("a promise was broken; logs and data are in {}", folder.path().display()));
    screen.error("repeat", &report.repeat);
    Ok(Exit::Red)
}

/// The command that repeats a run.
fn repeat(kills: usize, seed: u64) -> String {
    format!("cargo run -p weft-testnet -- crash --kills {kills} --seed {seed}")
}

/// What the steps found beside what they expected.
#[derive(Debug, Default)]
struct Found {
    kills: Kills,
    load: Load,
    shown: usize,
    finals: Vec<Final>,
}

struct Run<'a> {
    seed: u64,
    kills: usize,
    user: &'a User,
    screen: Screen,
    steps: Vec<Step>,
    found: Option<Found>,
}

impl Run<'_> {
    /// Everything up to the judgement. A step that cannot be done ends it.
    async fn all(&mut self, fleet: &mut Fleet) -> Result<(), TestnetError> {
        self.start(fleet).await?;
        let Some(actors) = self.settle_in(fleet).await else { return Ok(()) };
        let doors = fleet.doors();
        let processes: Vec<Id> = actors.iter().map(|actor| actor.id).collect();
        let seen = RefCell::new(Sightings::default());
        tokio::select! {
            () = observe::watch(&doors, &processes, &seen) => {}
            ended = self.watched(fleet, &actors, &processes, &seen) => ended?,
        }
        Ok(())
    }

    async fn start(&mut self, fleet: &mut Fleet) -> Result<(), TestnetError> {
        let mut open = Open::new("peers");
        let bar = self.screen.bar("starting nodes", NODES);
        fleet.start(&Launch::this_executable()?, |up| bar.set(up)).await?;
        let least = fleet.healthy(|_| {}).await?;
        drop(bar);
        open.that("connections of each node", "to all others", least, least == NODES - 1);
        self.close(open, format!("{NODES} nodes are up, each connected to the others"));
        Ok(())
    }

    async fn settle_in(&mut self, fleet: &Fleet) -> Option<Vec<Actor>> {
        let town = Town { fleet, user: self.user, sender: fleet.plan().sender() };
        let mut open = Open::new("spawn");
        let busy = self.screen.spinner("spawning processes");
        let actors = town::found(&town, &mut open).await;
        drop(busy);
        match actors {
            Ok(actors) => {
                let said = format!("{} processes, each computed by 3 nodes and held by all", actors.len());
                self.close(open, said);
                Some(actors)
            }
            Err(trouble) => {
                self.broke(open, &town, trouble);
                None
            }
        }
    }

    /// The storm, the calm after it, and the judgement, while the observer looks on.
    async fn watched(
        &mut self,
        fleet: &mut Fleet,
        actors: &[Actor],
        processes: &[Id],
        seen: &RefCell<Sightings>,
    ) -> Result<(), TestnetError> {
        let Some((kills, load)) = self.storm(fleet, processes).await? else { return Ok(()) };
        fleet.all_up().await?;
        fleet.healthy(|_| {}).await?;
        let doors = fleet.doors();
        let town = Town { fleet, user: self.user, sender: fleet.plan().sender() };
        let mut open = Open::new("settle");
        let busy = self.screen.spinner("waiting until all nodes have everything");
        let finals = settle::settle(&town, &doors, actors, &|_| (0..NODES).collect()).await;
        drop(busy);
        let finals = match finals {
            Ok(finals) => finals,
            Err(trouble) => {
                self.broke(open, &town, trouble);
                // Why they do not agree may have been seen on the way.
                let mut open = Open::new("slots");
                sighted(&mut open, &seen.borrow());
                self.close(open, "what the nodes showed before".to_owned());
                return Ok(());
            }
        };
        open.that("processes that all nodes have whole", "all", finals.len(), finals.len() == actors.len());
        self.close(open, "all nodes have computed everything, and nothing is under way".to_owned());
        self.judge(&kills, &load, &finals, &seen.borrow());
        for (actor, known) in actors.iter().zip(&finals) {
            let mut open = Open::new("verify");
            match settle::verify(&town, actor, known, &mut open).await {
                Ok(said) => self.close(open, said),
                Err(trouble) => self.broke(open, &town, trouble),
            }
        }
        let shown = seen.borrow().shown;
        self.found = Some(Found { kills, load, shown, finals });
        Ok(())
    }

    /// Kills nodes while clients work, until each item has its reply.
    async fn storm(
        &mut self,
        fleet: &mut Fleet,
        processes: &[Id],
    ) -> Result<Option<(Kills, Load)>, TestnetError> {
        let mut open = Open::new("storm");
        let schedule = schedule::draw(self.seed, self.kills, NODES);
        let doors = fleet.doors();
        let over = Cell::new(false);
        let rest_ms = load::rest_ms(schedule.last().map_or(0, |event| event.at_ms));
        let (mix, items_max) = (MIX, load::ITEMS_MAX);
        let field = Field { user: self.user, processes, doors: &doors, rest_ms, mix, items_max, over: &over };
        let bar = self.screen.bar("killing nodes", self.kills);
        let rage = async {
            let kills = storm::rage(fleet, &schedule, |killed| bar.set(killed)).await;
            over.set(true);
            kills
        };
        let clients = (0..CLIENTS).map(|at| load::client(field, self.seed.wrapping_add(1 + at)));
        let (kills, loads) = join(rage, try_join_all(clients)).await;
        drop(bar);
        let (kills, loads) = match (kills?, loads) {
            (kills, Ok(loads)) => (kills, loads),
            (_, Err(error)) => {
                open.broke(error);
                self.close(open, "items cannot be signed".to_owned());
                return Ok(None);
            }
        };
        let load = Load::sum(loads);
        open.equal("kills", &self.kills, &kills.total);
        open.that("replies while nodes were killed", "more than kills", load.given.len(), {
            load.given.len() > kills.total
        });
        open.same("nodes that ended by themselves", &Vec::new(), &kills.too_late);
        let said = format!(
            "{} kills ({} of a node that was starting, {} while another was down); {} items, {} replies in {} tries",
            kills.total,
            kills.starting,
            kills.together,
            load.items,
            load.given.len(),
            load.tries
        );
        self.close(open, said);
        Ok(Some((kills, load)))
    }

    fn judge(&mut self, kills: &Kills, load: &Load, finals: &[Final], seen: &Sightings) {
        let mut open = Open::new("replies");
        nothing(&mut open, "items without a reply", &load.wrong);
        nothing(&mut open, "replies that are lost", &judge::lost_replies(&load.given, finals));
        self.close(open, format!("{} replies stand in the logs of all {NODES} nodes", load.given.len()));

        let mut open = Open::new("slots");
        sighted(&mut open, seen);
        nothing(&mut open, "what was shown and is gone", &judge::lost_slots(seen, finals));
        nothing(&mut open, "holes and doubles in logs", &judge::unsound_logs(finals));
        let slots: usize = finals.iter().map(|known| known.log().len()).sum();
        open.that("slots", "more than kills", slots, slots > kills.total);
        open.that(
            "slots seen by the observer",
            "each on every node",
            seen.shown,
            seen.shown >= slots * NODES,
        );
        self.close(open, format!("{slots} slots, shown {} times, never in two ways", seen.shown));

        let mut open = Open::new("pushes");
        nothing(&mut open, "pushes that went astray", &judge::misled_pushes(finals));
        let pushes: usize = finals.iter().map(|known| known.came.len()).sum();
        open.that("pushes", "more than kills", pushes, pushes > kills.total);
        self.close(open, format!("{pushes} messages between processes, each in its target exactly once"));

        let mut open = Open::new("compare");
        nothing(&mut open, "differences", &judge::differences(finals));
        self.close(open, "all nodes have equal logs, those that compute equal state roots".to_owned());
    }

    fn close(&mut self, open: Open, said: String) {
        let step = open.close(said);
        self.screen.step(&step);
        self.steps.push(step);
    }

    fn broke(&mut self, mut open: Open, town: &Town<'_>, trouble: Trouble) {
        open.broke(town.explain(trouble));
        self.close(open, "could not be done".to_owned());
    }
}

/// What the nodes showed must not contradict itself, and none may have raised an alarm.
pub(crate) fn sighted(open: &mut Open, seen: &Sightings) {
    nothing(open, "what was shown in two ways", &seen.contradictions);
    nothing(open, "alarms", &seen.alarms);
}

/// Expects that nothing was found; shows the first of what was.
pub(crate) fn nothing(open: &mut Open, what: &str, found: &[String]) {
    const SHOWN: usize = 4;
    let seen = match found {
        [] => "none".to_owned(),
        some => format!("{}: {}", some.len(), some[..some.len().min(SHOWN)].join("; ")),
    };
    open.equal(what, "none", seen.as_str());
}

fn report(
    crash: &Crash,
    seed: u64,
    folder: &Folder,
    found: Found,
    steps: Vec<Step>,
    since: Instant,
) -> CrashReport {
    let Found { kills, load, shown, finals } = found;
    let process = |known: &Final| ProcessReport {
        name: known.name.clone(),
        process: known.process,
        scheduler: known.scheduler,
        computed_by: known.computed.iter().map(|report| report.node).collect(),
        slots: known.log().len(),
        sent: known.sent.len(),
        came: known.came.len(),
    };
    CrashReport {
        ok: steps.iter().all(|step| step.ok),
        seed,
        repeat: repeat(crash.kills, seed),
        dir: folder.path().display().to_string(),
        kept: folder.keep,
        kills,
        items: load.items,
        tries: load.tries,
        failed: load.failed,
        replies: load.given.len(),
        duplicates: load.given.iter().filter(|given| given.duplicate).count(),
        shown,
        processes: finals.iter().map(process).collect(),
        steps,
        elapsed_ms: millis(since.elapsed()),
    }
}

fn show(report: &CrashReport, screen: Screen) {
    let rows = report.processes.iter().map(|process| {
        let computed_by: Vec<String> = process.computed_by.iter().map(ToString::to_string).collect();
        [
            process.name.clone(),
            process.scheduler.to_string(),
            computed_by.join(" "),
            process.slots.to_string(),
            process.sent.to_string(),
            process.came.to_string(),
        ]
    });
    screen.table(["PROCESS", "SCHEDULER", "COMPUTED BY", "SLOTS", "SENT", "CAME"], rows);
    let kills = report.kills.by_node.iter().enumerate();
    let kills: Vec<String> = kills.map(|(node, kills)| format!("node {node}: {kills}")).collect();
    screen.line(&format!("      kills: {}", kills.join(", ")));
    let failed: Vec<String> = report.failed.iter().map(|(why, times)| format!("{why}: {times}")).collect();
    screen.line(&format!("      tries without a reply: {}", failed.join(", ")));
    let seconds = report.elapsed_ms as f64 / 1000.0;
    let verdict = if report.ok { "no promise was broken" } else { "A PROMISE WAS BROKEN" };
    screen.line(&format!("{verdict} ({seconds:.1} s, seed {})", report.seed));
}
