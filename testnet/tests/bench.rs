//! The open-loop bench as its users run it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsStr;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

mod launched;
use launched::Launched;

/// How long a bench may take on a machine with other work.
const RUN_WAIT: Duration = Duration::from_secs(300);

fn bench(args: &[&str], set: &[(&str, &OsStr)]) -> Output {
    let all = [&["bench", "--json", "--rate", "20", "--for", "2s", "--seed", "3"], args].concat();
    Launched::run_with(&all, set, RUN_WAIT)
}

fn report(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_else(|| panic!("no report: {errors}"));
    let report = serde_json::from_str(last).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report:#}\n{errors}");
    report
}

/// Every message has its slot, and all that followed from it was seen, in this order.
fn expect_whole(report: &Value, nodes: u64) {
    assert_eq!(report["nodes"], nodes);
    let arrivals = report["arrivals"].as_u64().unwrap();
    assert!((15..90).contains(&arrivals), "about forty are expected: {report}");
    assert_eq!(report["assigned"], arrivals);
    let latencies = report["latencies"].as_array().unwrap();
    let of = |name: &str| latencies.iter().find(|it| it["until"] == name).unwrap();
    for name in ["assigned", "computed", "computed everywhere"] {
        assert_eq!((&of(name)["messages"], &of(name)["missing"]), (&arrivals.into(), &0.into()), "{report}");
    }
    assert!(of("pushed")["messages"].as_u64().unwrap() > 0 && of("pushed")["missing"] == 0, "{report}");
    let p50 = |name: &str| of(name)["p50_us"].as_u64().unwrap();
    assert!(p50("assigned") > 0 && p50("computed") <= p50("computed everywhere"), "{report}");
    assert!(p50("computed everywhere") <= of("computed everywhere")["p99_us"].as_u64().unwrap());
}

#[test]
fn a_fresh_testnet_is_loaded_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let svg = dir.path().join("plot.svg");
    let drawn = ["--peers", "3", "--pushes", "40", "--bytes", "100", "--svg", svg.to_str().unwrap()];
    expect_whole(&report(&bench(&drawn, &[])), 3);
    assert!(std::fs::read_to_string(svg).unwrap().starts_with("<svg"));
}

#[test]
fn more_processes_are_watched_than_a_node_has_connections() {
    expect_whole(&report(&bench(&["--peers", "3", "--processes", "70", "--pushes", "30"], &[])), 3);
}

#[test]
fn a_testnet_that_is_up_is_loaded_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let set = [("XDG_RUNTIME_DIR", dir.path().as_os_str())];
    let (mut up, _) = Launched::up_with(&["--no-tour", "--json", "--peers", "2"], &set);
    expect_whole(&report(&bench(&["--attach", "--pushes", "50"], &set)), 2);
    assert!(Launched::run_with(&["down"], &set, RUN_WAIT).status.success());
    assert_eq!(up.ended().code(), Some(0));
}

#[test]
fn nobody_to_load_is_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    for (args, words, code) in [
        (&["--peers", "65"][..], "--peers 65: expected 2 to 64", 2),
        (&["--attach"], "no testnet runs: start one", 2),
        (&["--data-dir", "/no/such/node"], "no node is running for data folder /no/such/node", 3),
    ] {
        let output = bench(args, &[("XDG_RUNTIME_DIR", dir.path().as_os_str())]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(words) && error.lines().count() == 1, "{error}");
    }
}
