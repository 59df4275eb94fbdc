//! What happens in a process while somebody types: who else sends to it, and what comes of that.
//!
//! A task of its own watches the process and asks for the result of every slot, so that a node that computes
//! nothing shows what its peers have. Whoever listens too slowly holds up this task and nobody else.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weft_protocol::{Id, Position};

use super::super::process::printed;
use super::super::screen::{Colour, Screen};
use crate::control::api::{Reply, Request, ResultInfo, ResultOf, SlotInfo, WatchEvent};
use crate::control::client::{ANSWER_WAIT, Client, ClientError, typed};

/// Happenings that wait to be shown: a burst, while somebody waits for a result.
const WAITING_MAX: usize = 256;
/// How long the result of somebody else's message is waited for, in milliseconds.
const RESULT_MS: u64 = 10_000;

/// How far the clock of a scheduler may be behind this one: what it gave a slot before is not new.
const SKEW: Duration = Duration::from_secs(2);

/// Something that happened.
#[derive(Debug)]
pub(super) enum Happening {
    /// A slot, with what it came to if that is known in time.
    Slot(Box<(SlotInfo, Option<ResultInfo>)>),
    /// A cron ran.
    Tick {
        /// When.
        position: Position,
        /// How it ended.
        code: u8,
        /// What it printed.
        output: Value,
    },
    /// Something is wrong with the process.
    Alarm(String),
    /// Nothing more is heard.
    Ended(String),
}

/// Happenings as they come. The task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Feed {
    happenings: mpsc::Receiver<Happening>,
    task: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// Watches a process of the node of this folder.
    pub(super) fn start(data_dir: PathBuf, process: Id) -> Self {
        let (sender, happenings) = mpsc::channel(WAITING_MAX);
        let task = tokio::spawn(async move {
            let why = match follow(data_dir, process, &sender).await {
                Ok(()) => "the node ended it".to_owned(),
                Err(error) => error.to_string(),
            };
            // Nobody listens any more where this fails.
            let _ = sender.send(Happening::Ended(why)).await;
        });
        Self { happenings, task }
    }

    /// The next one; waits for ever after the last. Safe to cancel.
    pub(super) async fn next(&mut self) -> Happening {
        match self.happenings.recv().await {
            Some(happening) => happening,
            None => std::future::pending().await,
        }
    }

    /// One that is there already.
    pub(super) fn ready(&mut self) -> Option<Happening> {
        self.happenings.try_recv().ok()
    }
}

async fn follow(data_dir: PathBuf, process: Id, sender: &mpsc::Sender<Happening>) -> Result<(), ClientError> {
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let began_ms = u64::try_from(began.saturating_sub(SKEW).as_millis()).unwrap_or(0);
    let mut watching = Client::connect(&data_dir).await?;
    watching.send(&Request::Watch { process, from: None }).await?;
    loop {
        let event: WatchEvent = match watching.reply().await? {
            Reply::Event(value) => typed(value)?,
            Reply::Done(_) => return Ok(()),
            Reply::Error(failure) => return Err(failure.into()),
        };
        let happening = match event {
            WatchEvent::Slot(slot) => {
                // A log that this node has not held yet comes as a whole.
                if slot.timestamp < began_ms {
                    continue;
                }
                let result = result(&data_dir, process, slot.item).await;
                Happening::Slot(Box::new((slot, result)))
            }
            WatchEvent::Outcome { position, code, output, .. } if position.tick > 0 => {
                Happening::Tick { position, code, output }
            }
            WatchEvent::Alarm { text } => Happening::Alarm(text),
            WatchEvent::Freshness { stale: true, .. } => {
                Happening::Alarm("nobody says any more where the log ends".to_owned())
            }
            WatchEvent::Outcome { .. } | WatchEvent::Attestation { .. } | WatchEvent::Freshness { .. } => {
                continue;
            }
        };
        if sender.send(happening).await.is_err() {
            return Ok(());
        }
    }
}

/// What a message came to, of this node or a peer. A connection of its own: one that is silent is closed.
async fn result(data_dir: &Path, process: Id, item: Id) -> Option<ResultInfo> {
    let request = Request::Result { process, of: ResultOf::Item(item), wait_ms: RESULT_MS };
    let mut client = Client::connect(data_dir).await.ok()?;
    client.call(&request, Duration::from_millis(RESULT_MS) + ANSWER_WAIT).await.ok()
}

/// A happening in a few lines.
pub(super) fn human(happening: &Happening, screen: Screen) -> String {
    match happening {
        Happening::Slot(told) => {
            let (slot, result) = &**told;
            let from = screen.foreign(slot.from.as_deref().unwrap_or("nobody"));
            let what = slot.action.as_deref().map(|action| format!(": {}", screen.foreign(action)));
            let head = format!("[{}] from {from}{}", slot.slot, what.unwrap_or_default());
            let mut lines = vec![screen.paint(Colour::Cyan, &head)];
            match result {
                Some(result) => lines.extend(outcome(result.code, &result.result, screen)),
                None => lines.push(screen.paint(Colour::Dim, "no result is known yet")),
            }
            lines.join("\n")
        }
        Happening::Tick { position, code, output } => {
            let head = screen.paint(Colour::Cyan, &format!("[{position}] cron"));
            let result = serde_json::json!({ "Output": output });
            let lines = outcome(*code, &result, screen);
            std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
        }
        Happening::Alarm(text) => screen.paint(Colour::Red, &format!("ALARM {}", screen.foreign(text))),
        Happening::Ended(why) => {
            let text = format!("what others send is not shown any more: {}", screen.foreign(why));
            screen.paint(Colour::Yellow, &text)
        }
    }
}

/// What was printed, or the error; nothing where there is neither.
fn outcome(code: u8, result: &Value, screen: Screen) -> Option<String> {
    let text = |value: &Value| match value {
        Value::String(text) => screen.foreign(text),
        Value::Null => String::new(),
        other => screen.foreign(&other.to_string()),
    };
    let error = result.get("Error").map(text).filter(|error| !error.is_empty());
    let printed = result.get("Output").map(|output| text(printed(output)));
    match (error, printed.filter(|printed| !printed.is_empty())) {
        (Some(error), _) => Some(screen.paint(Colour::Red, &error)),
        (None, printed) if code == 0 => printed,
        (None, printed) => Some(screen.paint(Colour::Red, &printed.unwrap_or(format!("code {code}")))),
    }
}
