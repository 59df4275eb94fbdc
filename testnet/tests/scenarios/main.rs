//! Scenarios as their users play them: real nodes, real faults, and verdicts that can be red.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Output;

mod broken;
mod hostile;
#[path = "../launched/mod.rs"]
mod launched;
mod played;
#[path = "../../../tests/src/skip.rs"]
mod skip;
use launched::Launched;
use played::{RUN_WAIT, play, play_text, written};
use skip::skip;

/// The faults that take no rights, all on five peers, in seconds.
const FAULTS: &str = r#"
about = "Kill, pause, wipe, skew, restart, join"
peers = 5
start = 4
topology = "ring"
settings = { compute_threads = 2, log = "info", checkpoint_slots = 64 }

[processes]
count = 2

[load]
clients = 2
rate = 30

[[steps]]
kill = { count = 1 }
[[steps]]
pause = { count = 1 }
[[steps]]
wait = "500ms"
[[steps]]
start = {}
[[steps]]
resume = {}
[[steps]]
wipe = { peers = [3] }
[[steps]]
skew = { peers = [2], ms = 30000 }
[[steps]]
restart = { peers = [0, 1] }
[[steps]]
join = 5
[[steps]]
settle = true
[[steps]]
churn = { for = "2s", every = "1s", down = "300ms" }

[[expect]]
of = "kills"
at-least = 3
[[expect]]
of = "wipes"
at-least = 1
at-most = 1
[[expect]]
of = "restarts"
at-least = 3
at-most = 3
[[expect]]
of = "joins"
at-least = 1
[[expect]]
of = "pushes"
at-least = 1
"#;

/// What messengers-12 shows, small: peers that compute nothing carry, and come and go.
const CARRIED: &str = r#"
about = "Messengers come and go"
peers = 6
roles = ["0-1=scheduler,compute", "2-5=messenger"]
settings = { messenger_window_ms = 500 }

[processes]
count = 2
computed-by = 2
carried-by = 4

[load]
clients = 2
rate = 20
pushes = 100
failures = 0

[[steps]]
wait = "1s"
[[steps]]
churn = { for = "6s", every = "1s", down = "500ms", peers = [2, 3, 4, 5] }

[[expect]]
of = "kills"
at-least = 2
[[expect]]
of = "pushes"
at-least = 20
[[expect]]
of = "pushes-evaluated"
at-least = 20
[[expect]]
of = "reordered"
at-most = 0
[[expect]]
of = "hop-p50-ms"
at-least = 1
[[expect]]
of = "hop-slot-p50-ms"
at-least = 0.1
"#;

/// The network is cut, and what the parts did is one again.
const CUT: &str = r#"
about = "A partition"
peers = 4

[processes]
count = 2

[load]
clients = 2
rate = 20

[[steps]]
partition = [[0, 2], [1, 3]]
[[steps]]
wait = "2s"
[[steps]]
heal = true

[[expect]]
of = "pushes"
at-least = 1
[[expect]]
of = "answers-across"
at-most = 0
# It is over before a ping has failed twice.
[[expect]]
of = "connections-across"
at-least = 1
"#;

/// Whether the scenarios are played as often as releases are held to: a step of its own, as it takes hours.
fn full() -> bool {
    std::env::var("WEFT_SCENARIOS").is_ok_and(|value| value == "1")
}

/// Plays a scenario that is shipped, so many times; another seed each time.
fn shipped(name: &str, times: u64, args: &[&str]) {
    for seed in 1..=times {
        let seed = seed.to_string();
        let played = play(name, &[&["--seed", &seed], args].concat());
        if let Some(why) = played.skipped() {
            let why = format!("{name}: {why}");
            return skip("the_shipped_scenarios_are_green_in_the_full_run", &why).unwrap();
        }
        played.assert_green();
    }
}

/// What the launcher says where what it is given makes no sense.
fn refused(args: &[&str]) -> String {
    let Output { status, stderr, .. } = Launched::run(args, RUN_WAIT);
    let error = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{error}");
    error
}

#[test]
fn smoke_is_green_and_reports_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a.json");
    let out = out.to_str().unwrap();
    play("smoke-4", &["--out", out]).assert_green();
    let compared = Launched::run(&["compare", out, out], RUN_WAIT);
    let said = String::from_utf8_lossy(&compared.stdout);
    assert!(compared.status.success() && said.contains("reply-p99-ms"), "{said}");
    refused(&["compare", out, "/no/such.json"]);
    if full() {
        shipped("smoke-4", 19, &[]);
    }
}

#[test]
fn faults_break_no_promise() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = written(dir.path(), "faults", FAULTS);
    let times = if full() { 20 } else { 1 };
    for seed in 1..=times {
        play(&scenario, &["--seed", &seed.to_string()]).assert_green();
    }
}

#[test]
fn pushes_are_evaluated_once_while_messengers_come_and_go() {
    let played = play_text("carried", CARRIED);
    played.assert_green();
    played.assert_all_evaluated();
}

#[test]
fn a_partition_is_healed() {
    let played = play_text("cut", CUT);
    match played.skipped() {
        Some(why) => skip("a_partition_is_healed", why).unwrap(),
        None => played.assert_green(),
    }
}

#[test]
fn a_typo_is_one_line_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spanless = FAULTS.split("[[steps]]").next().unwrap().to_owned() + "[[steps]]\nsettle = true\n";
    let spanless = written(dir.path(), "spanless", &spanless);
    let error = refused(&["run", &spanless, "--for", "2s"]);
    assert!(error.contains("--for: the scenario has neither a churn nor a wait"), "{error}");

    let scenario = written(dir.path(), "typo", &FAULTS.replace("clients = 2", "cleints = 2"));
    let error = refused(&["run", &scenario, "--dir", dir.path().join("net").to_str().unwrap()]);
    let line = FAULTS.lines().position(|line| line == "clients = 2").unwrap() + 1;
    assert!(
        error.contains(&format!("typo.toml:{line}: ")) && error.contains("did you mean `clients`?"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(!dir.path().join("net").exists());
}

#[test]
#[ignore = "hours: a step of its own of the full run, scenarios"]
fn the_shipped_scenarios_are_green_in_the_full_run() {
    for name in ["tour-16", "restart-all-12", "liars-12", "hostile-market-8", "hostile-pay-4"] {
        shipped(name, 20, &[]);
    }
    for name in ["join-late-32", "many-processes-16", "messengers-12"] {
        shipped(name, 1, &[]);
    }
    shipped("soak", 1, &["--for", "2m"]);
    for name in ["churn-24", "partition-24"] {
        shipped(name, 5, &[]);
    }
}
