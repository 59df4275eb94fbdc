//! Nodes that are killed at random under load, with real processes and real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

#[path = "../../tests/src/full.rs"]
mod full;
mod launched;
use full::is_full;
use launched::Launched;

/// Kills in the ordinary run.
const KILLS: u64 = 20;
/// Kills when `WEFT_FULL=1`.
const KILLS_FULL: u64 = 200;
/// The seed; `WEFT_SEED` is another.
const SEED: u64 = 1;

/// How long the whole may take beside its kills, and each of them: several times what it does.
const WAIT: Duration = Duration::from_secs(600);
const KILL_WAIT: Duration = Duration::from_secs(20);

/// Every expectation that does not hold, and where to look.
fn complaint(report: &Value) -> String {
    let mut lines = vec![report["repeat"].to_string(), format!("logs and data: {}", report["dir"])];
    for step in report["steps"].as_array().unwrap() {
        let broken = step["checks"].as_array().unwrap().iter().filter(|check| check["holds"] == false);
        lines.extend(broken.map(|check| format!("{}: {check}", step["name"])));
    }
    lines.join("\n")
}

#[test]
fn no_promise_is_broken_by_kills_under_load() {
    let kills = if is_full() { KILLS_FULL } else { KILLS };
    let seed = std::env::var("WEFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let args = ["crash", "--json", "--kills", &kills.to_string(), "--seed", &seed.to_string()];
    let wait = WAIT + KILL_WAIT * u32::try_from(kills).unwrap();
    let output = Launched::run(&args, wait);
    let errors = String::from_utf8_lossy(&output.stderr);
    let report = String::from_utf8_lossy(&output.stdout);
    let report = report.lines().last().unwrap_or_else(|| panic!("seed {seed}: no report: {errors}"));
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}\n{errors}", complaint(&report));
    assert_eq!(report["ok"], true, "{}", complaint(&report));
    assert_eq!(report["seed"], seed);
    assert_eq!(report["kills"]["total"], kills);
    let steps = report["steps"].as_array().unwrap();
    for name in ["storm", "settle", "replies", "slots", "pushes", "compare", "verify", "stop", "logs"] {
        let step = steps.iter().find(|step| step["name"] == name);
        let step = step.unwrap_or_else(|| panic!("no step {name}: {report}"));
        assert!(!step["checks"].as_array().unwrap().is_empty(), "step {name} expects nothing");
    }
    // Clients were told things, processes talked, and every log was held by several nodes.
    let processes = report["processes"].as_array().unwrap();
    assert!(report["replies"].as_u64().unwrap() > kills, "{report}");
    assert!(report["duplicates"].as_u64().unwrap() > 0, "{report}");
    assert!(processes.len() == 3 && processes.iter().all(|process| process["came"].as_u64().unwrap() > 0));
    assert!(processes.iter().all(|process| process["computed_by"].as_array().unwrap().len() == 3));
    assert!(!Path::new(report["dir"].as_str().unwrap()).exists(), "the folder is still there");
}
