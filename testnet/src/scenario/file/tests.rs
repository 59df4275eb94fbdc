#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

const GOOD: &str = r#"about = "x"
peers = 6
start = 4
settings = { compute_threads = 1 }

[processes]
schedulers = 2

[[steps]]
kill = { count = 2 }

[[steps]]
wait = "500ms"

[[expect]]
of = "kills"
at-least = 2
"#;

fn error(text: &str) -> String {
    Scenario::read(text, Path::new("s.toml")).unwrap_err().to_string()
}

#[test]
fn a_good_one_is_read() {
    let scenario = Scenario::read(GOOD, Path::new("s.toml")).unwrap();
    assert_eq!((*scenario.peers.get_ref(), scenario.first()), (6, 4));
    assert_eq!(*scenario.steps[1].get_ref(), Step::Wait(Span(Duration::from_millis(500))));
    assert!(!scenario.needs_lanes());
    for free in
        ["gateway = 0", "gateway = \"off\"", "metrics = \"127.0.0.1:0\"", "gateway_hosts = [\"a\", \"b\"]"]
    {
        Scenario::read(&GOOD.replace("compute_threads = 1", free), Path::new("s.toml")).unwrap();
    }
    let cut = GOOD.replace("wait = \"500ms\"", "partition = [[0, 1], [2, 3]]");
    assert!(Scenario::read(&cut, Path::new("s.toml")).unwrap().needs_lanes());
}

#[test]
fn what_makes_no_sense_is_named_with_its_line() {
    for (from, to, line, words) in [
        ("peers = 6", "pers = 6", 2, "did you mean `peers`?"),
        ("peers = 6", "peers = 1", 2, "peers = 1: expected 2 to 64"),
        ("peers = 6", "peers = \"six\"", 2, "expected"),
        ("start = 4", "start = 7", 3, "start = 7: expected 2 to 6"),
        (
            "compute_threads",
            "compute_treads",
            4,
            "is called `compute_treads`; did you mean `compute_threads`?",
        ),
        ("threads = 1", "threads = 0", 4, "settings: `compute_threads` is \"0\"; expected a whole number"),
        ("compute_threads = 1", "listen = \"x\"", 4, "settings: `listen` differs for each peer"),
        ("compute_threads = 1", "bootstrap = []", 4, "settings: `bootstrap` differs for each peer"),
        ("compute_threads = 1", "roles = \"compute\"", 4, "settings: `roles` differ by peer"),
        ("compute_threads = 1", "log = \"off\"", 4, "settings: `log` leaves out errors"),
        ("compute_threads = 1", "log = \"info,weft_node=off\"", 4, "settings: `log` leaves out errors"),
        ("compute_threads = 1", "log = \"weft_node=info\"", 4, "settings: `log` leaves out errors"),
        ("compute_threads = 1", "log_format = \"json\"", 4, "settings: `log_format` cannot be changed"),
        ("compute_threads = 1", "gateway = 4004", 4, "`gateway` would be one address for all peers"),
        (
            "compute_threads = 1",
            "metrics = \"127.0.0.1:9\"",
            4,
            "`metrics` would be one address for all peers",
        ),
        ("schedulers = 2", "schedulers = 5", 6, "schedulers = 5: expected 1 to 4"),
        ("schedulers = 2", "carried-by = 4", 6, "carried-by = 4: expected 0 to 3"),
        ("schedulers = 2", "schedulers = 2\ncarried-by = 3", 6, "schedulers = 2: expected 1 to 1"),
        (
            "kill = { count = 2 }",
            "churn = { for = \"1s\", every = \"1s\", down = \"1s\", peers = [4] }",
            9,
            "peer 4",
        ),
        ("schedulers = 2", "schedulrs = 2", 7, "did you mean `schedulers`?"),
        ("kill =", "kil =", 10, "did you mean `kill`?"),
        ("count = 2", "cuont = 2", 10, "did you mean `count`?"),
        ("count = 2", "count = 5", 9, "kill 5: count = 5: there are 4 peers"),
        ("count = 2", "peers = [9]", 9, "peer 9 is none: there are the peers 0 to 3"),
        ("count = 2", "peers = [5]", 9, "peer 5 has not joined: there are the peers 0 to 3"),
        ("wait = \"500ms\"", "join = 4", 12, "expected 5 to 6"),
        ("kill = { count = 2 }", "skew = { peers = [4], ms = 5 }", 9, "peer 4 has not joined"),
        ("wait = \"500ms\"", "partition = [[0], [6]]", 12, "peer 6 is none: there are the peers 0 to 5"),
        ("wait = \"500ms\"", "partition = [[0, 1], [1]]", 12, "peer 1 is named twice"),
        ("\"500ms\"", "\"soon\"", 12, "`soon` is not a length of time"),
        ("\"500ms\"", "\"5d\"", 12, "`5d` is not a length of time"),
        ("\"kills\"", "\"kils\"", 15, "no figure is called `kils`; did you mean `kills`?"),
        (
            "kill = { count = 2 }",
            "until = { of = \"delayed\", at-least = 1, within = \"1s\" }",
            9,
            "until 1 delayed: expected an earlier step with a rogue that counts it",
        ),
        ("kill = { count = 2 }", "rogue = \"double-claiming-messenger\"", 9, "expected pays = 1 or more"),
        ("at-least = 2", "", 15, "expected at-least or at-most"),
        ("at-least = 2", "at-lest = 2", 17, "did you mean `at-least`?"),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        let error = error(&text);
        assert!(error.contains(words), "{to}: {error}");
        assert!(error.starts_with(&format!("s.toml:{line}: ")), "{to}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn whoever_has_joined_can_be_named() {
    let read = |text: &str| Scenario::read(text, Path::new("s.toml"));
    let joined = GOOD
        .replace("kill = { count = 2 }", "join = 6")
        .replace("wait = \"500ms\"", "kill = { peers = [5] }");
    read(&joined).unwrap();
    let early = joined.replace("join = 6", "join = 5");
    assert!(error(&early).contains("peer 5 has not joined: there are the peers 0 to 4"));
    let late = joined.replace("kill = { peers = [5] }", "join = 6");
    assert!(error(&late).contains("all 6 peers are there"));
    let wires = GOOD.replace("wait = \"500ms\"", "partition = [[0], [5]]");
    read(&wires).unwrap();
    let twin = GOOD
        .replace("schedulers = 2", "schedulers = 4")
        .replace("wait = \"500ms\"", "rogue = \"equivocating-scheduler\"");
    assert!(error(&twin).contains("expected a peer that schedules none"));
}

#[test]
fn peers_are_parted_by_whatever_takes_one_away() {
    let parts = |step: &str| {
        let text = GOOD.replace("kill = { count = 2 }", step);
        Scenario::read(&text, Path::new("s.toml")).unwrap().parts_peers()
    };
    for step in ["kill = {}", "pause = {}", "partition = [[0], [1]]", "rogue = \"flooder\""] {
        assert!(parts(step), "{step}");
    }
    for step in ["wait = \"1s\"", "join = 6", "settle = true", "heal = true"] {
        assert!(!parts(step), "{step}");
    }
}

#[test]
fn what_a_rogue_counts_can_be_waited_for() {
    let rogue = "rogue = \"delaying-messenger\"\n\n[[steps]]\n";
    let until = |of: &str| format!("{rogue}until = {{ of = \"{of}\", at-least = 1, within = \"1s\" }}");
    let read = |of: &str| {
        Scenario::read(&GOOD.replace("kill = { count = 2 }", &until(of)), Path::new("s.toml"))
            .map_err(|error| error.to_string())
    };
    read("delayed").unwrap();
    let error = read("delays").unwrap_err();
    assert!(error.starts_with("s.toml:12: ") && error.contains("did you mean `delayed`?"), "{error}");
}

#[test]
fn lengths_of_time_have_a_unit() {
    let of = |text: &str| Span::try_from(text.to_owned()).map(|span| span.0.as_millis()).ok();
    assert_eq!((of("500ms"), of("5s")), (Some(500), Some(5_000)));
    assert_eq!((of("3m"), of("2h")), (Some(180_000), Some(7_200_000)));
    for bad in ["", "5", "s", "-5s", "1.5s", "99999999999999999999s", "99999999999999999m"] {
        assert_eq!(of(bad), None, "{bad}");
    }
}
