//! Scenarios with a fault on and the defence off: what they expect is missed.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::launched::{Launched, Underway};
use crate::skip::skip;
use crate::{CUT, Played, RUN_WAIT, play, written};

/// How long until something is seen of a run that is under way.
const SEEN_WAIT: Duration = Duration::from_secs(120);
/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Nobody carries what processes send: the defence that pushes need is off.
const NOBODY_CARRIES: &str = r#"
about = "No messengers"
peers = 3
roles = ["0-2=scheduler,compute"]

[processes]
count = 2

[load]
clients = 2
rate = 30
pushes = 100
failures = 0

[[steps]]
wait = "1s"

[[expect]]
of = "replies"
at-least = 1
[[expect]]
of = "pushes"
at-least = 1
"#;

/// A scheduler loses its disk: the defence of all that it promised.
const DISK_LOST: &str = r#"
about = "A scheduler's disk is emptied"
peers = 3

[processes]
count = 1
schedulers = 1

[load]
clients = 1
rate = 30

[[steps]]
wait = "1s"
[[steps]]
wipe = { peers = [0] }
"#;

/// A liar has half of the votes: nothing that is sent can be proven.
const LIARS_RULE: &str = r#"
about = "A liar who is needed"
peers = 3

[processes]
count = 2
computed-by = 1
quorum = 2
liars = 1

[load]
clients = 2
rate = 20

[[steps]]
rogue = "lying-computer"
[[steps]]
wait = "2s"
"#;

/// Nothing is done to the peers, and what every step should have left is expected.
const NOTHING_DONE: &str = r#"
about = "No faults"
peers = 3

[processes]
count = 2

[load]
clients = 2
rate = 40
failures = 50

[[steps]]
wait = "1s"

[[expect]]
of = "kills"
at-least = 1
[[expect]]
of = "restarts"
at-least = 1
[[expect]]
of = "wipes"
at-least = 1
[[expect]]
of = "joins"
at-least = 1
[[expect]]
of = "connections-across"
at-most = 0
[[expect]]
of = "answers-across"
at-most = 0
[[expect]]
of = "lies"
at-least = 1
[[expect]]
of = "convictions"
at-least = 1
[[expect]]
of = "second-slots"
at-least = 1
[[expect]]
of = "evidence"
at-least = 1
[[expect]]
of = "offers-not-kept"
at-least = 1
[[expect]]
of = "forgeries"
at-least = 1
[[expect]]
of = "forgeries-taken"
at-most = 0
[[expect]]
of = "names-made-up"
at-least = 1
[[expect]]
of = "thrown"
at-least = 1
[[expect]]
of = "delayed"
at-least = 1
[[expect]]
of = "delayed-taken"
at-most = 0
[[expect]]
of = "swapped"
at-least = 1
[[expect]]
of = "alterations"
at-least = 1
[[expect]]
of = "double-claims"
at-least = 1
[[expect]]
of = "bonds-lost"
at-least = 1
[[expect]]
of = "taken-over"
at-least = 1
[[expect]]
of = "money-missing"
at-most = 0
[[expect]]
of = "replies"
at-least = 1
[[expect]]
metric = "weft_outcomes"
labels = { code = "error" }
at-most = 0
"#;

/// A peer that joins has not the role that it needs.
const JOINS_IN_VAIN: &str = r#"
about = "Who comes later cannot compute"
peers = 3
start = 2
roles = ["2=anchor"]

[processes]
count = 1
schedulers = 1
computed-by = 2

[load]
clients = 1
rate = 20

[[steps]]
join = 3
"#;

/// Half of the messengers are dead from the beginning to the end: whose turn it is first is often one of them.
const HALF_ARE_DEAD: &str = r#"
about = "Messengers that stay away"
peers = 6
roles = ["0-1=scheduler,compute", "2-5=messenger"]

[processes]
count = 2
computed-by = 2
carried-by = 4

[load]
clients = 2
rate = 10
pushes = 100
failures = 0

# Until all have heard of each other.
[[steps]]
wait = "5s"
[[steps]]
kill = { peers = [2, 3] }
[[steps]]
wait = "6s"

[[expect]]
of = "pushes-evaluated"
at-least = 5
[[expect]]
of = "takeovers"
at-most = 0
[[expect]]
of = "takeover-p99-ms"
at-most = 1000
"#;

/// Time for somebody else to kill a peer that is then told to stop in order.
const KILLED_BESIDE: &str = r#"
about = "A peer that ends by itself"
peers = 2

[processes]
count = 1
schedulers = 1
computed-by = 2

[load]
clients = 1
rate = 10

[[steps]]
wait = "20s"
[[steps]]
restart = { peers = [1] }
"#;

/// A churn takes the only scheduler, and nobody brings it back in time.
const STAYS_AWAY: &str = r#"
about = "A scheduler is away for longer than clients wait"
peers = 3

[processes]
count = 1
schedulers = 1

[load]
clients = 1
rate = 20

[[steps]]
kill = { peers = [0] }
[[steps]]
wait = "100s"
"#;

/// A peer that is down is told to do what only one that runs can.
const NOT_NOW: &str = r#"
about = "A step that makes no sense any more"
peers = 2

[processes]
count = 1
schedulers = 1
computed-by = 2

[load]
clients = 1
rate = 10

[[steps]]
kill = { peers = [1] }
[[steps]]
pause = { peers = [1] }
"#;

/// Waits for something that a run brings about while it is under way. Whether it came before the run was over.
fn comes(run: &mut Underway, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + SEEN_WAIT;
    while !holds() {
        if run.has_ended() {
            return false;
        }
        assert!(Instant::now() < deadline, "nothing was seen");
        // tidy-allow(sleep): polls what is not ours, with a deadline
        std::thread::sleep(LOOK_AGAIN);
    }
    true
}

/// A folder that is kept, as what went wrong can be looked at.
pub(crate) fn remove_kept(played: &Played) {
    std::fs::remove_dir_all(played.report["dir"].as_str().unwrap()).unwrap();
}

#[test]
fn what_no_step_brought_about_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let played = play(&written(dir.path(), "nothing-done", NOTHING_DONE), &[]);
    assert_eq!(played.code, Some(1), "{}", played.errors);
    let figures = [
        "kills",
        "restarts",
        "wipes",
        "joins",
        "connections-across",
        "answers-across",
        "lies",
        "convictions",
        "second-slots",
        "evidence",
        "offers-not-kept",
        "forgeries",
        "forgeries-taken",
        "names-made-up",
        "thrown",
        "delayed",
        "delayed-taken",
        "swapped",
        "alterations",
        "double-claims",
        "bonds-lost",
        "taken-over",
        "money-missing",
        "sum of weft_outcomes{code=error}",
    ];
    assert_eq!(played.broken("expect"), figures, "replies came");
    assert_eq!(played.all_broken().len(), figures.len(), "{:#?}", played.all_broken());
    remove_kept(&played);
}

#[test]
fn a_peer_that_joins_in_vain_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let played = play(&written(dir.path(), "joins-in-vain", JOINS_IN_VAIN), &[]);
    assert_eq!(played.code, Some(1), "{}", played.errors);
    let [("steps", why)] = played.all_broken()[..] else { panic!("{:#?}", played.all_broken()) };
    assert!(why.contains("node 2: to hold a process: ") && why.contains("no compute role"), "{why}");
    remove_kept(&played);
}

#[test]
fn messengers_that_stay_away_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let played = play(&written(dir.path(), "half-are-dead", HALF_ARE_DEAD), &[]);
    assert_eq!(played.code, Some(1), "{}", played.errors);
    assert_eq!(played.broken("expect"), ["takeovers", "takeover-p99-ms"], "{:#?}", played.all_broken());
    assert_eq!(played.all_broken().len(), 2, "{:#?}", played.all_broken());
    remove_kept(&played);
}

#[test]
fn a_peer_that_does_not_stop_in_order_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = written(dir.path(), "killed-beside", KILLED_BESIDE);
    let set = [("XDG_RUNTIME_DIR", dir.path().as_os_str())];
    let mut run = Underway::begin(&["run", &scenario, "--json"], &set);
    let told = |args: &[&str]| {
        let told = Launched::run_with(args, &set, SEEN_WAIT).stdout;
        serde_json::from_slice::<Value>(&told).unwrap_or_default()
    };
    // There is load, so the steps have begun.
    let has_load =
        || told(&["exec", "1", "processes", "--json"])[0]["head"].as_u64().is_some_and(|head| head > 1);
    assert!(comes(&mut run, has_load), "it was over before");
    let pid = told(&["status", "--json"])["peers"][1]["status"]["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let played = Played::of(&scenario, run.output(RUN_WAIT));
    assert_eq!(played.code, Some(1), "{}", played.errors);
    assert_eq!(played.broken("steps"), ["steps"], "{:#?}", played.all_broken());
    let told = "node 1 did not stop cleanly (signal: 9 (SIGKILL))";
    assert!(played.all_broken().contains(&("steps", told)), "{:#?}", played.all_broken());
    remove_kept(&played);
}

#[test]
fn a_cut_that_is_undone_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    // Time to undo it, and nothing may cross it.
    let across = "of = \"connections-across\"\n";
    let undone = CUT.replace(&format!("{across}at-least = 1"), &format!("{across}at-most = 0"));
    let undone = undone.replace("\"2s\"", "\"20s\"");
    let scenario = written(dir.path(), "undone", &undone);
    let mut run = Underway::begin(&["run", &scenario, "--json"], &[]);
    let hub = format!("weft-{}-hub", run.id());
    let ip = |args: &[&str]| Command::new("ip").args(["-n", &hub]).args(args).output();
    // The last wire of the last group.
    let is_cut = || {
        ip(&["-o", "link", "show", "v3"])
            .is_ok_and(|done| String::from_utf8_lossy(&done.stdout).contains("master br1"))
    };
    if comes(&mut run, is_cut) {
        for wire in ["v1", "v3"] {
            assert!(ip(&["link", "set", wire, "master", "br0"]).unwrap().status.success());
        }
    }
    let played = Played::of(&scenario, run.output(RUN_WAIT));
    if let Some(why) = played.report["skipped"].as_str() {
        return skip("broken::a_cut_that_is_undone_is_seen", why).unwrap();
    }
    assert_eq!(played.code, Some(1), "{}", played.errors);
    assert_eq!(played.broken("expect"), ["answers-across", "connections-across"]);
    let answers = played.all_broken().into_iter().find(|(step, _)| *step == "expect").unwrap();
    assert_eq!(answers, ("expect", "2"), "each part was told a slot by the other");
    remove_kept(&played);
}

#[test]
fn a_step_that_cannot_be_done_is_told_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let played = play(&written(dir.path(), "not-now", NOT_NOW), &[]);
    assert_eq!(played.code, Some(1), "{}", played.errors);
    let steps = played.report["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["name"] == "steps").unwrap();
    assert_eq!(step["checks"][0]["seen"], "peer 1 is down: start it first", "{step}");
    assert!(played.errors.contains("not-now.toml --seed 0"), "{}", played.errors);
    let dir = PathBuf::from(played.report["dir"].as_str().unwrap());
    assert!(dir.join("node-1").exists(), "what went wrong can be looked at");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn pushes_that_nobody_carries_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let played = play(&written(dir.path(), "nobody-carries", NOBODY_CARRIES), &[]);
    assert_eq!(played.code, Some(1), "{}", played.errors);
    assert_eq!(played.broken("pushes"), ["pushes that went astray"]);
    assert_eq!(played.broken("expect"), ["pushes"], "replies came");
    let dir = PathBuf::from(played.report["dir"].as_str().unwrap());
    assert!(dir.exists(), "what went wrong can be looked at");
    std::fs::remove_dir_all(dir).unwrap();
}

/// Those that wait until somebody gives up.
#[test]
#[ignore = "a quarter of an hour: in the step scenarios of the full run"]
fn broken_promises_are_seen_in_the_full_run() {
    let dir = tempfile::tempdir().unwrap();
    let lost = play(&written(dir.path(), "disk-lost", DISK_LOST), &[]);
    assert_eq!(lost.code, Some(1), "a disk was lost, and nobody saw it: {}", lost.report);
    let [("settle", why)] = lost.all_broken()[..] else { panic!("{:#?}", lost.all_broken()) };
    assert!(why.contains("p0: node 0 has computed slot None of "), "{why}");
    let liars = play(&written(dir.path(), "liars-rule", LIARS_RULE), &[]);
    assert_eq!(liars.code, Some(1), "nothing could be proven, and nobody missed it: {}", liars.report);
    assert_eq!(liars.broken("pushes"), ["pushes that went astray"]);
    // One computer each is all that there is beside the liar.
    let differences =
        [("compare", "2: nobody has computed p0 a second time; nobody has computed p1 a second time")];
    let others: Vec<_> = liars.all_broken().into_iter().filter(|(step, _)| *step != "pushes").collect();
    assert_eq!(others, differences);
    let away = play(&written(dir.path(), "stays-away", STAYS_AWAY), &[]);
    assert_eq!(away.code, Some(1), "items had no reply, and nobody missed it: {}", away.report);
    assert_eq!(away.broken("steps"), ["items without a reply, or refused"], "{:#?}", away.all_broken());
    [lost, liars, away].iter().for_each(remove_kept);
}
