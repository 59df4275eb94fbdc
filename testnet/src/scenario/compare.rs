//! Two reports of scenarios, side by side.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use crate::args::Compare;
use crate::error::TestnetError;
use crate::run::Exit;
use crate::screen::Screen;

/// What is compared of a report.
#[derive(Debug, Deserialize)]
struct Told {
    scenario: String,
    peers: usize,
    seed: u64,
    ok: bool,
    #[serde(default)]
    skipped: Option<String>,
    figures: BTreeMap<String, f64>,
}

/// Shows the figures of two runs. Red when the second was.
///
/// # Errors
/// Files that are no reports, or not of the same scenario.
pub(crate) fn compare(compare: &Compare, screen: Screen) -> Result<Exit, TestnetError> {
    let (a, b) = (read(&compare.a)?, read(&compare.b)?);
    if (&a.scenario, a.peers) != (&b.scenario, b.peers) {
        let of = |told: &Told| format!("{} with {} peers", told.scenario, told.peers);
        return Err(TestnetError::Scenario(format!("{} and {} are not the same scenario", of(&a), of(&b))));
    }
    let verdict = |told: &Told| if told.ok { "green" } else { "RED" };
    screen.line(&format!(
        "{} with {} peers; seeds {} and {}; {} and {}",
        a.scenario,
        a.peers,
        a.seed,
        b.seed,
        verdict(&a),
        verdict(&b)
    ));
    let rows = rows(&a.figures, &b.figures);
    screen.table(["FIGURE", "A", "B", "B - A", "CHANGE"], rows.iter().cloned());
    let figures: Vec<_> =
        rows.iter().map(|[name, a, b, by, change]| json!([name, a, b, by, change])).collect();
    screen.report(&json!({ "scenario": a.scenario, "ok": [a.ok, b.ok], "figures": figures }));
    Ok(if b.ok { Exit::Green } else { Exit::Red })
}

fn read(path: &Path) -> Result<Told, TestnetError> {
    let failed = |why: String| TestnetError::Scenario(format!("{}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let told: Told = serde_json::from_slice(&text)
        .map_err(|error| failed(format!("this is no report of a scenario ({error})")))?;
    match &told.skipped {
        Some(why) => Err(failed(format!("this run was skipped: {why}"))),
        None => Ok(told),
    }
}

fn rows(a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>) -> Vec<[String; 5]> {
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let row = |name: &String| {
        let (a, b) = (a.get(name).copied(), b.get(name).copied());
        let by = a.zip(b).map(|(a, b)| b - a);
        let change = a.zip(by).filter(|(a, _)| *a != 0.0).map(|(a, by)| format!("{:+.0}%", by / a * 100.0));
        [name.clone(), shown(a), shown(b), shown(by), change.unwrap_or_else(|| "-".to_owned())]
    };
    names.into_iter().map(row).collect()
}

/// A figure for a person: whole where it is large.
pub(super) fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_run_that_was_skipped_is_not_compared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.json");
        let told = |skipped: &str| {
            let text = format!(
                r#"{{"scenario":"s","peers":4,"seed":1,"ok":true,"skipped":{skipped},"figures":{{"kills":2.0}}}}"#
            );
            std::fs::write(&path, text).unwrap();
            read(&path).map_err(|error| error.to_string())
        };
        assert_eq!(told("null").unwrap().figures["kills"], 2.0);
        let error = told(r#""no network namespaces""#).unwrap_err();
        assert!(error.ends_with("b.json: this run was skipped: no network namespaces"), "{error}");
    }

    #[test]
    fn figures_of_both_runs_are_told() {
        let figures = |pairs: &[(&str, f64)]| -> BTreeMap<String, f64> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let rows =
            rows(&figures(&[("kills", 4.0), ("p50", 1.25)]), &figures(&[("kills", 5.0), ("slots", 0.0)]));
        assert_eq!(rows[0], ["kills", "4", "5", "1", "+25%"]);
        assert_eq!(rows[1], ["p50", "1.25", "-", "-", "-"]);
        assert_eq!(rows[2], ["slots", "-", "0", "-", "-"]);
    }
}
