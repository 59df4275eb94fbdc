//! Scenarios with a fault on and the defence off: what they expect is missed.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::CUT;
use crate::launched::{Launched, Underway};
use crate::played::{Played, RUN_WAIT, play_red, written};
use crate::skip::skip;

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

/// Nothing is done to the peers.
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
of = "replies"
at-least = 1
[[expect]]
metric = "weft_outcomes"
labels = { code = "error" }
at-most = 0
"#;

/// What every step should have left, and the bound that shows it: what nobody looked for is not known to be zero.
const LEFT_BY_STEPS: [(&str, &str); 23] = [
    ("kills", "at-least = 1"),
    ("restarts", "at-least = 1"),
    ("wipes", "at-least = 1"),
    ("joins", "at-least = 1"),
    ("connections-across", "at-most = 0"),
    ("answers-across", "at-most = 0"),
    ("lies", "at-least = 1"),
    ("convictions", "at-least = 1"),
    ("second-slots", "at-least = 1"),
    ("evidence", "at-least = 1"),
    ("offers-not-kept", "at-least = 1"),
    ("forgeries", "at-least = 1"),
    ("forgeries-taken", "at-most = 0"),
    ("names-made-up", "at-least = 1"),
    ("thrown", "at-least = 1"),
    ("delayed", "at-least = 1"),
    ("delayed-taken", "at-most = 0"),
    ("swapped", "at-least = 1"),
    ("alterations", "at-least = 1"),
    ("double-claims", "at-least = 1"),
    ("bonds-lost", "at-least = 1"),
    ("taken-over", "at-least = 1"),
    ("money-missing", "at-most = 0"),
];

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

#[test]
fn what_no_step_brought_about_is_missed() {
    let left = LEFT_BY_STEPS.map(|(of, bound)| format!("[[expect]]\nof = \"{of}\"\n{bound}\n"));
    let played = play_red("nothing-done", &(NOTHING_DONE.to_owned() + &left.concat()));
    let mut missed = vec![("expect", "sum of weft_outcomes{code=error}")];
    missed.extend(LEFT_BY_STEPS.map(|(of, _)| ("expect", of)));
    assert_eq!(played.missed(), missed, "replies came");
}

#[test]
fn a_peer_that_joins_in_vain_is_missed() {
    let played = play_red("joins-in-vain", JOINS_IN_VAIN);
    let [("steps", why)] = played.seen()[..] else { panic!("{:#?}", played.seen()) };
    assert!(why.contains("node 2: to hold a process: ") && why.contains("no compute role"), "{why}");
}

#[test]
fn messengers_that_stay_away_are_missed() {
    let played = play_red("half-are-dead", HALF_ARE_DEAD);
    let missed = [("expect", "takeovers"), ("expect", "takeover-p99-ms")];
    assert_eq!(played.missed(), missed, "{:#?}", played.seen());
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
    played.assert_red();
    assert_eq!(played.missed_of("steps"), ["steps"], "{:#?}", played.seen());
    let told = "node 1 did not stop cleanly (signal: 9 (SIGKILL))";
    assert!(played.seen().contains(&("steps", told)), "{:#?}", played.seen());
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
    if let Some(why) = played.skipped() {
        return skip("broken::a_cut_that_is_undone_is_seen", why).unwrap();
    }
    played.assert_red();
    assert_eq!(played.missed_of("expect"), ["answers-across", "connections-across"]);
    let answers = played.seen().into_iter().find(|(step, _)| *step == "expect").unwrap();
    assert_eq!(answers, ("expect", "2"), "each part was told a slot by the other");
}

#[test]
fn a_step_that_cannot_be_done_is_told_and_kept() {
    let played = play_red("not-now", NOT_NOW);
    let steps = played.seen().into_iter().find(|(step, _)| *step == "steps");
    assert_eq!(steps, Some(("steps", "peer 1 is down: start it first")), "{:#?}", played.seen());
    assert!(played.errors.contains("not-now.toml --seed 0"), "{}", played.errors);
    assert!(played.dir().join("node-1").exists(), "what went wrong can be looked at");
}

#[test]
fn pushes_that_nobody_carries_are_missed() {
    let played = play_red("nobody-carries", NOBODY_CARRIES);
    assert_eq!(played.missed_of("pushes"), ["pushes that went astray"]);
    assert_eq!(played.missed_of("expect"), ["pushes"], "replies came");
}

/// Those that wait until somebody gives up.
#[test]
#[ignore = "a quarter of an hour: in the step scenarios of the full run"]
fn broken_promises_are_seen_in_the_full_run() {
    let lost = play_red("disk-lost", DISK_LOST);
    let [("settle", why)] = lost.seen()[..] else { panic!("{:#?}", lost.seen()) };
    assert!(why.contains("p0: node 0 has computed slot None of "), "{why}");
    let liars = play_red("liars-rule", LIARS_RULE);
    assert_eq!(liars.missed_of("pushes"), ["pushes that went astray"]);
    // One computer each is all that there is beside the liar.
    let differences =
        [("compare", "2: nobody has computed p0 a second time; nobody has computed p1 a second time")];
    let others: Vec<_> = liars.seen().into_iter().filter(|(step, _)| *step != "pushes").collect();
    assert_eq!(others, differences);
    let away = play_red("stays-away", STAYS_AWAY);
    assert_eq!(away.missed_of("steps"), ["items without a reply, or refused"], "{:#?}", away.seen());
}
