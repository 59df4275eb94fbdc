//! What goes to standard output and standard error, for people or as JSON.

use std::future::Future;
use std::io::{ErrorKind, IsTerminal, Write};
use std::pin::pin;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::builder::StyledStr;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::args::Global;
use super::exit::CliError;
use super::fold::{columns, folded};

/// What takes longer shows that it is at work.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// What ends all colours.
const RESET: &str = "\x1b[0m";

/// An ANSI colour.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    /// What stands beside what matters.
    Dim,
    /// What went well.
    Green,
    /// What is odd.
    Yellow,
    /// What went wrong.
    Red,
    /// What names something.
    Cyan,
}

/// How a command talks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    json: bool,
    quiet: bool,
    colour: bool,
}

impl Screen {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            colour: !is_plain_wanted() && !global.json && std::io::stdout().is_terminal(),
        }
    }

    /// Whether answers are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the answer: as one line of JSON, or as `human` puts it. Whether anybody reads it
    /// changes nothing: the exit code is an answer too.
    pub(crate) fn answer<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        match self.event(value, human) {
            Err(error) if error.is_unread() => Ok(()),
            other => other,
        }
    }

    /// Prints one of many answers, as [`answer`](Self::answer) does; fails when nobody reads on.
    pub(crate) fn event<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        let mut text = if self.json {
            serde_json::to_string(value).map_err(|error| CliError::fault(error.to_string()))?
        } else {
            human()
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.raw(text.as_bytes())
    }

    /// Writes bytes to standard output.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => CliError::unread(),
            _ => CliError::fault(format!("cannot write to standard output: {error}")),
        })
    }

    /// Says something to a person that is no part of the answer.
    pub(crate) fn remark(&self, text: &str) {
        if !self.quiet && !self.json {
            // There is nowhere to report that standard error is gone.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Says why a command failed.
    pub(crate) fn error(&self, error: &CliError) {
        let line = if self.json {
            json!({ "error": { "code": error.code, "text": error.text } }).to_string()
        } else {
            format!("weft: {}", clean(&error.text, false))
        };
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// Colours text where that is wanted.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Dim => 2,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
            Colour::Cyan => 36,
        };
        if self.colour { format!("\x1b[{code}m{text}{RESET}") } else { text.to_owned() }
    }

    /// Text of somebody else, made harmless for a terminal.
    pub(crate) fn foreign(&self, text: &str) -> String {
        clean(text, self.colour)
    }

    /// Whether a text of somebody else would be shown as it is, without a colour, in one line.
    pub(crate) fn is_plain(text: &str) -> bool {
        !text.contains(['\n', '\t']) && clean(text, false) == text
    }

    /// Awaits `work`, with a sign of life on standard error once it takes longer than a second.
    pub(crate) async fn waiting<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
            return done;
        }
        let spinner = self.spinner(what);
        let done = work.await;
        spinner.finish_and_clear();
        done
    }

    /// Does `work` that blocks, with a sign of life on standard error once it takes longer than a
    /// second.
    pub(crate) fn busy<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        self.busy_with_many(|sign| sign.during(|| what.to_owned(), work))
    }

    /// Does `work` of many steps, each of which blocks: a step inside [`Sign::during`] that takes
    /// longer than a second shows a sign of life. Costs a step no more than reading the time.
    pub(crate) fn busy_with_many<T>(&self, work: impl FnOnce(&Sign) -> T) -> T {
        let sign = Sign { step: Mutex::new(None) };
        std::thread::scope(|scope| {
            let (done, waiting) = std::sync::mpsc::sync_channel::<()>(0);
            // Nothing is ever sent: the channel breaks when the work is done.
            scope.spawn(|| {
                let waiting = waiting;
                while waiting.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    sign.show_if_slow(self);
                }
            });
            let result = work(&sign);
            drop(done);
            result
        })
    }

    /// A bar for `total` steps, which appears once it takes longer than a second.
    pub(crate) fn bar(&self, what: &str, total: u64) -> Bar {
        Bar { bar: None, target: *self, what: what.to_owned(), total, since: Instant::now() }
    }

    /// A count of what is done, step after step, which appears once it takes longer than a second.
    pub(crate) fn tally(&self) -> Tally {
        Tally { spinner: None, target: *self, shown: Instant::now() }
    }

    fn spinner(&self, what: &str) -> ProgressBar {
        let spinner = ProgressBar::with_draw_target(None, self.target());
        spinner.set_message(what.to_owned());
        spinner.enable_steady_tick(TICK);
        spinner
    }

    fn target(&self) -> ProgressDrawTarget {
        if self.quiet || self.json {
            ProgressDrawTarget::hidden()
        } else {
            // Hidden by itself when standard error is no terminal.
            ProgressDrawTarget::stderr()
        }
    }
}

/// Says what step is being done, once it is a long one.
pub(crate) struct Sign {
    step: Mutex<Option<Step>>,
}

struct Step {
    what: String,
    since: Instant,
    spinner: Option<ProgressBar>,
}

impl Sign {
    /// Does one step.
    pub(crate) fn during<T>(&self, what: impl FnOnce() -> String, work: impl FnOnce() -> T) -> T {
        *self.step() = Some(Step { what: what(), since: Instant::now(), spinner: None });
        let result = work();
        // Gone before the caller prints what came of it.
        if let Some(spinner) = self.step().take().and_then(|step| step.spinner) {
            spinner.finish_and_clear();
        }
        result
    }

    fn show_if_slow(&self, screen: &Screen) {
        if let Some(step) = &mut *self.step()
            && step.spinner.is_none()
            && step.since.elapsed() >= PATIENCE
        {
            step.spinner = Some(screen.spinner(&step.what));
        }
    }

    fn step(&self) -> MutexGuard<'_, Option<Step>> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A progress bar that stays away from quick work.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    target: Screen,
    what: String,
    total: u64,
    since: Instant,
}

impl Bar {
    /// Shows that `done` of `total` steps are done.
    pub(crate) fn set(&mut self, done: u64, total: u64) {
        self.total = total;
        if self.bar.is_none() && self.since.elapsed() >= PATIENCE {
            let bar = ProgressBar::with_draw_target(Some(total), self.target.target());
            let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} ({eta} left)");
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(self.what.clone());
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A count that stays away from quick work.
pub(crate) struct Tally {
    spinner: Option<ProgressBar>,
    target: Screen,
    shown: Instant,
}

impl Tally {
    /// Shows what is being done and how much of it is done.
    pub(crate) fn set(&mut self, what: &str, done: u64) {
        let wait = if self.spinner.is_some() { TICK } else { PATIENCE };
        if self.shown.elapsed() < wait {
            return;
        }
        self.shown = Instant::now();
        let spinner = self.spinner.get_or_insert_with(|| self.target.spinner(what));
        spinner.set_message(format!("{what}: {done}"));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Prints what clap says of a command, folded at the edge of the terminal. There is nobody to tell that nobody reads.
pub(crate) fn help(text: &StyledStr, mut to: impl Write + IsTerminal) {
    let plain = is_plain_wanted() || !to.is_terminal();
    let text = if plain { text.to_string() } else { text.ansi().to_string() };
    let _ = to.write_all(folded(&text, columns()).as_bytes()).and_then(|()| to.flush());
}

/// Whether whoever reads asked for no colours.
fn is_plain_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// A table without lines, as wide as its content: ids are copied from it.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    table.add_rows(rows);
    let lines: Vec<String> =
        table.lines().map(|line| line.trim_end().strip_prefix(' ').unwrap_or_default().to_owned()).collect();
    lines.join("\n")
}

/// Pairs of a name and a value, the values below each other.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = rows.iter().map(|(name, value)| {
        // Further lines of a value stand below its first.
        let value = value.replace('\n', &format!("\n{:width$}  ", ""));
        format!("{name:width$}  {value}").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Replaces control characters, with which a guest or a peer could rewrite the screen. Line
/// breaks and tabs stay, and colours where they are wanted, which end with the text.
fn clean(text: &str, colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_coloured = false;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = colour_length(rest) {
            if colours {
                let colour = &rest[..length];
                is_coloured = colour != RESET;
                out.push_str(colour);
            }
            rest = &rest[length..];
            continue;
        }
        match first {
            '\n' | '\t' => out.push(first),
            // Direction marks reorder what stands around them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
        rest = &rest[first.len_utf8()..];
    }
    if is_coloured {
        out.push_str(RESET);
    }
    out
}

/// Bytes of the colour sequence (`ESC [ digits and ; m`) at the start, if one is there.
fn colour_length(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\x1b[")?;
    let end = body.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    body[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        let evil = "a\x1b[2Jb\x1b[31mc\x1b]0;title\x07\r\nd\u{202e}";
        assert_eq!(clean(evil, false), "a\u{fffd}[2Jbc\u{fffd}]0;title\u{fffd}\u{fffd}\nd\u{fffd}");
        assert!(clean(evil, true).contains("b\x1b[31mc"));
        // Nor hide what comes after it.
        assert_eq!(clean("\x1b[8m> ", true), "\x1b[8m> \x1b[0m");
        assert_eq!(clean("\x1b[31ma\x1b[0m", true), "\x1b[31ma\x1b[0m");
        assert_eq!(clean("\x1b[", true), "\u{fffd}[");
    }

    #[test]
    fn tables_and_pairs_line_up() {
        let text = table(["a", "long"], [["1".into(), "2".into()], ["333".into(), String::new()]]);
        assert_eq!(text, "a    long\n1    2\n333");
        assert_eq!(pairs(&[("id", "x".into()), ("owner", "y\nz".into())]), "id     x\nowner  y\n       z");
    }
}
