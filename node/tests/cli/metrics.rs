//! What a node counts, as scrapers and people read it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::node::Node;

/// The table that people read.
const TABLE: &str = include_str!("../../METRICS.md");

/// Longer than any answer takes.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Kind and meaning of a name, and its labels, each with the values that it may have.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    kind: String,
    meaning: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The rows of the table: name, kind, labels, meaning.
fn documented() -> BTreeMap<String, Row> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let [name, kind, labels, meaning] = cells[..] else { panic!("not four cells: {cells:?}") };
            let row = Row { kind: kind.into(), meaning: meaning.into(), labels: labels_of_cell(labels) };
            (name.trim_matches('`').to_owned(), row)
        })
        .collect()
}

/// `a`: x, y; `b`: z
fn labels_of_cell(cell: &str) -> BTreeMap<String, BTreeSet<String>> {
    let pairs = cell.split(';').filter_map(|pair| pair.split_once(':'));
    pairs
        .map(|(label, values)| {
            let values = values.split(',').map(|value| value.trim().to_owned());
            (label.trim().trim_matches('`').to_owned(), values.collect())
        })
        .collect()
}

/// What a page exports, in the same form.
fn exported(page: &str) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            rows.entry(name.to_owned()).or_default().meaning = help.trim_end_matches('.').to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            rows.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((series, _)) = line.split_once(' ').filter(|_| !line.starts_with('#')) {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = rows.iter_mut().rev().find(|(family, _)| name.starts_with(family.as_str()));
            let (_, row) = family.unwrap_or_else(|| panic!("{name} is of no family"));
            for pair in labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty()) {
                let (label, value) = pair.split_once('=').unwrap();
                if label != "le" {
                    let values = row.labels.entry(label.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
    }
    rows
}

fn get(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER_WAIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn page(address: &str) -> String {
    get(address, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[test]
fn the_table_names_what_is_exported() {
    let node = Node::start_with(&["--gateway", "127.0.0.1:0", "--weave-listen", "0"]);
    let process = node.counter();
    node.json(&["send", &process, "--action", "Increment", "--wait"]);
    node.weft(&["dry-run", &process, "--action", "Get"]).expect(0);
    let documented = documented();
    let exported = exported(node.weft(&["metrics"]).expect(0).text());
    let names = |rows: &BTreeMap<String, Row>| rows.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&exported), names(&documented));
    for (name, row) in &exported {
        let told = &documented[name];
        assert_eq!((&row.kind, &row.meaning), (&told.kind, &told.meaning), "{name}");
        let labels = |row: &Row| row.labels.keys().cloned().collect::<Vec<_>>();
        assert_eq!(labels(row), labels(told), "{name}");
        // Dots say that the values are the node's own.
        let fixed = told.labels.iter().filter(|(_, values)| !values.contains("..."));
        for (label, values) in fixed {
            assert_eq!(&row.labels[label], values, "{name} {label}");
        }
    }
}

#[test]
fn scrapers_and_people_read_the_same_counts() {
    let node = Node::start_with(&["--metrics", "127.0.0.1:0"]);
    let url = node.ready["metrics"].as_str().unwrap();
    let address = url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let process = node.counter();
    for _ in 0..3 {
        node.json(&["send", &process, "--action", "Increment", "--wait"]);
    }
    let scraped = page(address);
    assert!(scraped.starts_with("HTTP/1.1 200 OK\r\n"), "{scraped}");
    assert!(scraped.contains("Content-Type: application/openmetrics-text"), "{scraped}");
    assert!(scraped.trim_end().ends_with("# EOF"), "{scraped}");
    let samples = node.json(&["metrics"]);
    // The Process item and three messages.
    for (name, count) in [
        ("weft_submits_total{answer=\"assigned\"}", 4),
        ("weft_outcomes_total{code=\"ok\"}", 4),
        ("weft_assign_seconds_count", 4),
        ("weft_compute_seconds_count", 4),
        ("weft_processes{duty=\"schedule\"}", 1),
        ("weft_queue_limit{role=\"scheduler\",queue=\"inbox\"}", 1024),
    ] {
        assert_eq!(samples[name].as_f64(), Some(f64::from(count)), "{name}");
        let line = scraped.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
        let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!((value - f64::from(count)).abs() < f64::EPSILON, "{line}");
    }
    assert!(samples["weft_gas_total"].as_u64().unwrap() > 0);
    assert!(samples["weft_budget_used{role=\"compute\",budget=\"memory_bytes\"}"].as_f64().unwrap() > 0.0);
    let elsewhere = get(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
    let posted =
        get(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    // A taken address ends a start with words.
    let taken = super::weft(
        tempfile::tempdir().unwrap().path(),
        &["up", "--listen", "/ip4/127.0.0.1/tcp/0", "--metrics", address],
    );
    assert!(
        taken.code != 0 && taken.err.contains(address) && taken.err.contains("`metrics`"),
        "{}",
        taken.err
    );
}

#[test]
fn top_prints_one_table_or_one_object() {
    let node = Node::start();
    let process = node.counter();
    node.json(&["send", &process, "--action", "Increment", "--wait"]);
    let text = node.weft(&["top", "--once", "--sort", "memory"]).expect(0);
    let lines: Vec<&str> = text.text().lines().collect();
    assert!(lines[0].contains("processes 1 (1 in memory)"), "{lines:?}");
    assert!(lines[5].starts_with("PROCESS ") && lines[6].starts_with(&process), "{lines:?}");
    let top = node.json(&["top"]);
    let shown = &top["processes"][0];
    assert_eq!((&shown["process"], &shown["head"], &shown["lag"]), (&process.into(), &1.into(), &0.into()));
    assert!(shown["memory_bytes"].as_u64().unwrap() > 0 && shown["gas"].as_u64().unwrap() > 0, "{shown}");
    assert_eq!(shown["slots_per_second"].as_f64(), Some(0.0));
    assert!(
        top["resident_bytes"].as_u64().unwrap() > 0
            && top["status"]["room"]["store_bytes"].as_u64().unwrap() > 0
    );
}
