//! What is logged of one message, in every role and on every node, is found by its id.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::node::Node;

/// How long a message may take through all roles.
const WAIT: Duration = Duration::from_secs(60);
/// Lines that may wait for the test.
const LINES_MAX: usize = 100_000;
const FLAGS: [&str; 4] = ["--log", "weft_node=debug", "--log-format", "json"];

/// Reads a log to its end.
fn lines(log: impl BufRead + Send + 'static) -> Receiver<Value> {
    let (sender, lines) = sync_channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    lines
}

/// Reads on until all these things were said inside the span of a message.
fn await_said(log: &Receiver<Value>, message: &str, wanted: &[&str]) {
    let mut left: BTreeSet<&str> = wanted.iter().copied().collect();
    let deadline = Instant::now() + WAIT;
    while !left.is_empty() {
        let wait = deadline.saturating_duration_since(Instant::now());
        let event = log.recv_timeout(wait).unwrap_or_else(|_| panic!("not said of {message}: {left:?}"));
        let spans = event["spans"].as_array().cloned().unwrap_or_default();
        if spans.iter().any(|span| span["name"] == "message" && span["id"] == message) {
            left.remove(event["fields"]["message"].as_str().unwrap());
        }
    }
}

#[test]
fn the_events_of_a_message_carry_its_id_in_every_role() {
    let mut home = Node::start_with(&FLAGS);
    let mut away = home.start_beside(&FLAGS);
    let (home_log, away_log) = (lines(home.log()), lines(away.log()));
    let (relay, counter) = (home.counter(), home.counter());
    away.json(&["host", &relay, "--compute"]);
    let to = format!("To={counter}");
    let sent = home.json(&["send", &relay, "--action", "Relay", "--tag", &to]);
    let message: String = sent["id"].as_str().unwrap().chars().take(8).collect();
    await_said(&home_log, &message, &["submitted", "assigned", "computed", "pushed"]);
    await_said(&away_log, &message, &["followed", "computed"]);
}
