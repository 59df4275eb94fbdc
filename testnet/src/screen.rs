//! What a person sees: steps and tables on standard output, progress and errors on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::check::Step;
use crate::error::TestnetError;

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// How the launcher talks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    json: bool,
    colour: bool,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colour: !json && !no_colour && std::io::stdout().is_terminal() }
    }

    /// One line for a person.
    pub(crate) fn line(&self, text: &str) {
        if !self.json {
            out(text);
        }
    }

    /// A step that is done, and every expectation of it that does not hold.
    pub(crate) fn step(&self, step: &Step) {
        let mark = if step.ok { self.paint(32, " ok ") } else { self.paint(31, "FAIL") };
        let seconds = Duration::from_millis(step.ms).as_secs_f64();
        let time = self.paint(2, &format!("({seconds:.1} s)"));
        self.line(&format!("{mark}  {:<9} {} {time}", step.name, step.said));
        for check in step.checks.iter().filter(|check| !check.holds) {
            self.line(&format!("      {}: expected {}", check.what, check.expected));
            self.line(&format!("      {}  but saw {}", " ".repeat(check.what.len()), check.seen));
        }
    }

    /// A table without lines.
    pub(crate) fn table<const N: usize>(&self, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        if self.json {
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(head);
        table.add_rows(rows);
        for (at, line) in table.lines().enumerate() {
            let line = format!("      {}", line.trim_end());
            out(&if at == 0 { self.paint(2, &line) } else { line });
        }
    }

    /// The report for a script: one line.
    pub(crate) fn report(&self, report: &impl Serialize) {
        if self.json {
            match serde_json::to_string(report) {
                Ok(text) => out(&text),
                Err(error) => note(&format!("weft-testnet: the report cannot be written: {error}")),
            }
        }
    }

    /// What went wrong.
    pub(crate) fn error(&self, code: &str, text: &str) {
        note(&if self.json {
            json!({ "error": { "code": code, "text": text } }).to_string()
        } else {
            format!("weft-testnet: {text}")
        });
    }

    /// What ended the run.
    pub(crate) fn failure(&self, error: &TestnetError) {
        self.error(if error.is_input() { "input" } else { "not-up" }, &error.to_string());
    }

    /// A sign that something is under way, until it is dropped.
    pub(crate) fn spinner(&self, what: &str) -> Busy {
        let spinner = ProgressBar::with_draw_target(None, self.target());
        spinner.set_message(what.to_owned());
        spinner.enable_steady_tick(TICK);
        Busy(spinner)
    }

    /// A bar of `total` steps, until it is dropped.
    pub(crate) fn bar(&self, what: &str, total: usize) -> Busy {
        let bar = ProgressBar::with_draw_target(Some(total as u64), self.target());
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        Busy(bar)
    }

    fn target(&self) -> ProgressDrawTarget {
        // Hidden by itself when standard error is no terminal.
        if self.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
    }

    fn paint(&self, code: u8, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Progress that disappears when it is dropped.
pub(crate) struct Busy(ProgressBar);

impl Busy {
    /// Shows that so many steps are done.
    pub(crate) fn set(&self, done: usize) {
        self.0.set_position(done as u64);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A reader that went away is told nothing; the run goes on for the others.
fn out(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
