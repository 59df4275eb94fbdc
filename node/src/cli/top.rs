//! `weft top`: the node and its processes, live in the terminal.
//!
//! What is shown is made by [`Frame::lines`], of two looks at the node and the size of the screen
//! and nothing else. Keys are read by a thread of their own, which ends with the program.

use std::cmp::Reverse;
use std::io::Write as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use console::{Key, Term};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use weft_protocol::Id;

use super::Context;
use super::exit::{CliError, Exit};
use super::screen::{Screen, table};
use super::up::Signals;
use crate::control::api::{Request, RoomInfo, Top, TopProcess};
use crate::control::client::ANSWER_WAIT;
use crate::trace::short;

/// How to look at a node.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Print one table, with the rates of one second, and end
    #[arg(long)]
    once: bool,
    /// Refresh interval in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// What to sort the processes by
    #[arg(long, value_enum, default_value_t = Order::Rate)]
    sort: Order,
}

/// What the list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Slots a second
    Rate,
    /// Slots without an outcome
    Lag,
    /// Memory
    Memory,
    /// Gas of the newest position
    Gas,
    /// Slots
    Head,
    /// The name
    Name,
}

impl Order {
    /// What a key asks for.
    const fn of_key(key: char) -> Option<Self> {
        Some(match key {
            'r' => Self::Rate,
            'l' => Self::Lag,
            'm' => Self::Memory,
            'g' => Self::Gas,
            'h' => Self::Head,
            'n' => Self::Name,
            _ => return None,
        })
    }
}

const KEYS: &str = "sort by (r)ate (l)ag (m)emory (g)as (h)ead (n)ame, (q)uit";

/// Keys that may wait to be looked at.
const KEYS_MAX: usize = 16;
/// Columns of a bar.
const BAR_COLUMNS: usize = 20;
/// Lines and columns of a screen that does not say how many it has.
const SIZE: (usize, usize) = (24, 80);

/// Shows a node.
pub(super) async fn run(args: TopArgs, context: &Context) -> Result<Exit, CliError> {
    let pause = Duration::from_secs(args.every);
    let term = Term::stdout();
    if args.once || context.screen.is_json() || !term.is_term() {
        let before = look(context).await?;
        tokio::time::sleep(pause).await;
        let frame = Frame { now: look(context).await?, before: Some(before) };
        context.screen.answer(&frame.json(), || frame.lines(args.sort, context.screen, None).join("\n"))?;
        return Ok(Exit::Ok);
    }
    let fault = |error: std::io::Error| CliError::fault(format!("no signals can be heard: {error}"));
    let mut signals = Signals::listen().map_err(fault)?;
    let stage = Stage::enter(term);
    tokio::select! {
        // The terminal is given back before the program ends.
        _ = signals.next() => Ok(Exit::Ok),
        ended = live(&stage, args.sort, pause, context) => ended,
    }
}

async fn look(context: &Context) -> Result<Top, CliError> {
    // Without a sign of life: the view is one.
    let mut client = context.client().await?;
    Ok(client.call(&Request::Top, ANSWER_WAIT).await?)
}

async fn live(stage: &Stage, sort: Order, pause: Duration, context: &Context) -> Result<Exit, CliError> {
    let (mut sort, mut before) = (sort, None);
    let mut keys = read_keys(stage.term.clone())?;
    let mut tick = tokio::time::interval(pause);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shown = Vec::new();
    loop {
        tokio::select! {
            _ = tick.tick() => match look(context).await {
                Ok(now) => {
                    let frame = Frame { now, before: before.take() };
                    shown = frame.lines(sort, context.screen, Some(stage.size()));
                    before = Some(frame.now);
                }
                // A node that is started again is seen again.
                Err(error) => shown = vec![format!("{} ((q)uit)", error.text)],
            },
            key = keys.recv() => match key {
                None | Some(Key::Escape | Key::CtrlC | Key::Char('q')) => return Ok(Exit::Ok),
                Some(Key::Char(key)) => {
                    sort = Order::of_key(key).unwrap_or(sort);
                    // The next look follows at once.
                    tick.reset_immediately();
                }
                Some(_) => {}
            },
        }
        stage.show(&shown)?;
    }
}

/// Reads keys until the terminal is gone. Nobody waits for this thread: it sits in a read.
fn read_keys(term: Term) -> Result<mpsc::Receiver<Key>, CliError> {
    let (sender, keys) = mpsc::channel(KEYS_MAX);
    let read = move || {
        while let Ok(key) = term.read_key_raw() {
            if sender.blocking_send(key).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("weft-keys".into()).spawn(read);
    thread.map(|_| keys).map_err(|error| CliError::fault(format!("no thread for the keys: {error}")))
}

/// The terminal while it shows the view; given back as it was when this is dropped.
struct Stage {
    term: Term,
}

/// The screen beside the one with the command line, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

impl Stage {
    fn enter(term: Term) -> Self {
        // A panic is reported before anything is dropped, and would vanish with the view.
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        write_out(ENTER);
        Self { term }
    }

    fn size(&self) -> (usize, usize) {
        self.term.size_checked().map_or(SIZE, |(lines, columns)| (lines.into(), columns.into()))
    }

    fn show(&self, lines: &[String]) -> Result<(), CliError> {
        // Line by line over what was there, so that nothing flickers.
        let text: String = lines.iter().map(|line| format!("{line}\x1b[K\r\n")).collect();
        let shown = self.term.write_str(&format!("\x1b[H{}\x1b[J", text.trim_end_matches("\r\n")));
        shown.map_err(|_| CliError::unread())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        restore();
    }
}

fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    // A terminal that is gone needs nothing.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Gives the terminal back: the thread that reads keys may have it in raw mode still.
fn restore() {
    write_out(LEAVE);
    let _ = std::process::Command::new("stty").arg("sane").status();
}

/// Two looks at a node.
struct Frame {
    now: Top,
    before: Option<Top>,
}

impl Frame {
    /// Slots a second that a log grew by.
    fn rate(&self, process: &TopProcess) -> Option<f64> {
        let before = self.before.as_ref()?;
        let id = process.info.process;
        let old = before.processes.iter().find(|old| old.info.process == id)?;
        let slots = |process: &TopProcess| process.info.head.map_or(0, |head| head + 1);
        let ms = self.now.at_ms.checked_sub(before.at_ms).filter(|ms| *ms > 0)?;
        Some(slots(process).saturating_sub(slots(old)) as f64 * 1000.0 / ms as f64)
    }

    fn sorted(&self, sort: Order) -> Vec<(&TopProcess, Option<f64>)> {
        let processes = self.now.processes.iter();
        let mut all: Vec<_> = processes.map(|process| (process, self.rate(process))).collect();
        match sort {
            Order::Rate => all.sort_by(|a, b| b.1.unwrap_or(0.0).total_cmp(&a.1.unwrap_or(0.0))),
            Order::Lag => all.sort_by_key(|(process, _)| Reverse(process.lag)),
            Order::Memory => all.sort_by_key(|(process, _)| Reverse(process.memory_bytes)),
            Order::Gas => all.sort_by_key(|(process, _)| Reverse(process.gas)),
            Order::Head => all.sort_by_key(|(process, _)| Reverse(process.info.head)),
            Order::Name => all.sort_by_key(|(process, _)| process.info.name.clone()),
        }
        all
    }

    fn json(&self) -> Value {
        let mut answer = json!(self.now);
        let listed = answer.get_mut("processes").and_then(Value::as_array_mut);
        for (shown, process) in listed.into_iter().flatten().zip(&self.now.processes) {
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("slots_per_second".into(), json!(self.rate(process)));
            }
        }
        answer
    }

    /// The view, cut to so many lines and columns; whole where there is no screen.
    fn lines(&self, sort: Order, screen: Screen, size: Option<(usize, usize)>) -> Vec<String> {
        let mut lines = self.head();
        let id = |id: &Id| if size.is_some() { short(id) } else { id.to_string() };
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let rows = self.sorted(sort).into_iter().map(|(process, rate)| {
            let info = &process.info;
            let state = info.fault.as_deref().or(info.waits.as_deref()).unwrap_or_default();
            [
                id(&info.process),
                screen.foreign(info.name.as_deref().unwrap_or("-")),
                info.duties.join(","),
                number(info.head),
                rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
                info.computed.map_or_else(|| "-".to_owned(), |position| position.to_string()),
                number(process.lag),
                process.memory_bytes.map_or_else(|| "-".to_owned(), bytes),
                number(process.gas),
                screen.foreign(state),
            ]
        });
        let names =
            ["PROCESS", "NAME", "DUTIES", "HEAD", "SLOTS/S", "COMPUTED", "LAG", "MEMORY", "GAS", "STATE"];
        lines.extend(table(names, rows).lines().map(str::to_owned));
        let Some((height, width)) = size else { return lines };
        lines.truncate(height.saturating_sub(1));
        lines.push(KEYS.to_owned());
        lines.iter().map(|line| console::truncate_str(line, width, "").into_owned()).collect()
    }

    /// What is said of the node as a whole.
    fn head(&self) -> Vec<String> {
        let Top { status, levels, .. } = &self.now;
        let level =
            |role: &str, name: &str| levels.iter().find(|level| level.role == role && level.name == name);
        let resident = level("compute", "instances").map_or(0, |level| level.used);
        let mut lines = vec![format!(
            "weft {}  {}  up {}  peers {}  processes {} ({resident} in memory)",
            status.version,
            status.network,
            time(status.uptime_ms / 1000),
            status.peers,
            status.processes,
        )];
        let guests = level("compute", "memory_bytes").map_or_else(
            || "none computed".to_owned(),
            |level| {
                let (used, limit) = (bytes(level.used), bytes(level.limit));
                format!("{} {used} of {limit}", bar(level.used, level.limit))
            },
        );
        let size = |bytes_of: Option<u64>| bytes_of.map_or_else(|| "-".to_owned(), bytes);
        lines.push(format!("guests {guests}  node {}", size(self.now.resident_bytes)));
        lines.push(format!("disk {}", disk(&status.room)));
        let mut busy: Vec<_> = levels.iter().filter(|level| level.used > 0 && level.limit > 0).collect();
        // The fullest first: it is what others wait for.
        busy.sort_by_key(|level| Reverse(u128::from(level.used) * 1_000_000 / u128::from(level.limit)));
        let busy: Vec<String> = busy
            .iter()
            .filter(|level| level.name != "memory_bytes" && level.name != "instances")
            .map(|level| format!("{}/{} {}/{}", level.role, level.name, level.used, level.limit))
            .collect();
        lines.push(match busy.is_empty() {
            true => "queues all empty".to_owned(),
            false => format!("queues {}", busy.join("  ")),
        });
        lines.push(String::new());
        lines
    }
}

fn bar(used: u64, limit: u64) -> String {
    let filled = u128::from(used) * BAR_COLUMNS as u128 / u128::from(limit.max(1));
    let filled = usize::try_from(filled).unwrap_or(BAR_COLUMNS).min(BAR_COLUMNS);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(BAR_COLUMNS - filled))
}

/// What the node takes of the disk.
pub(super) fn disk(room: &RoomInfo) -> String {
    let used = bytes(room.used_bytes);
    let taken = match room.budget_bytes {
        Some(budget) => format!("{} {used} of {}", bar(room.used_bytes, budget), bytes(budget)),
        None => used,
    };
    let reusable =
        room.reusable_bytes.map_or_else(String::new, |free| format!(", {} of it to use again", bytes(free)));
    let full = if room.is_full { "  FULL: no new work is taken" } else { "" };
    let (store, weave, free) = (bytes(room.store_bytes), bytes(room.weave_bytes), bytes(room.free_bytes));
    format!("{taken}  store {store}{reusable}  weave {weave}  free {free}{full}")
}

fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, size)| bytes >= *size);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, size)| format!("{:.1} {name}", bytes as f64 / *size as f64),
    )
}

fn time(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match hours {
        0 if minutes == 0 => format!("{seconds}s"),
        0 => format!("{minutes}m {}s", seconds % 60),
        1..24 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{}d {}h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests;
