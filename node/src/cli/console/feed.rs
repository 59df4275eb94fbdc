//! What happens in a process while somebody types: who else sends to it, and what comes of that.
//!
//! A task of its own watches the process and asks for the result of every slot, a few beside each other, so that
//! a node that computes nothing shows what its peers have. It waits for nobody who listens: what there is no room
//! for stands in the log. A node that is gone is looked for again.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use weft_protocol::Id;

use super::super::process::printed;
use super::super::screen::{Colour, Screen};
use super::super::talk::ask_aside;
use crate::control::api::{Reply, Request, ResultInfo, ResultOf, SlotInfo, WatchEvent};
use crate::control::client::{ANSWER_WAIT, Client, ClientError, typed};

/// Happenings that wait to be shown: a burst, while somebody waits for a result.
const WAITING_MAX: usize = 256;
/// What is wrong that waits to be shown, before all else.
const ALARMS_MAX: usize = 16;
/// Bytes of a printed text that are shown: the rest is a question away.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a sender, and of an action.
const HEAD_BYTES_MAX: usize = 256;
/// Results that are asked for beside each other. Each may have 10 MiB until its text is made, and takes one of the
/// connections of the node.
const ASKED_MAX: usize = 4;
/// Slots that are to be asked for, and as many of which nobody knew a result: the oldest are let go.
const SLOTS_MAX: usize = 256;
/// How long the result of somebody else's message is waited for, in milliseconds.
const RESULT_MS: u64 = 10_000;
/// The pause before a node that is gone is looked for again, which doubles.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a connection holds before it counts as one: a node with too many says so at once.
const SETTLED: Duration = Duration::from_secs(1);

/// How far the clock of a scheduler may be behind this one: what it gave a slot before is not new.
const SKEW: Duration = Duration::from_secs(2);

/// Something that happened.
#[derive(Debug)]
pub(super) struct Told {
    /// The slot that it is about, if it is about one.
    pub(super) slot: Option<u64>,
    /// What to show, in a few lines.
    pub(super) text: String,
}

/// Happenings as they come. The task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Feed {
    happenings: mpsc::Receiver<Told>,
    alarms: mpsc::Receiver<Told>,
    task: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// Watches a process of the node of this folder.
    pub(super) fn start(data_dir: PathBuf, process: Id, screen: Screen) -> Self {
        let (sender, happenings) = mpsc::channel(WAITING_MAX);
        let (alarm, alarms) = mpsc::channel(ALARMS_MAX);
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let follower = Follower {
            data_dir,
            process,
            screen,
            began_ms: u64::try_from(began.saturating_sub(SKEW).as_millis()).unwrap_or(0),
            happenings: sender,
            alarms: alarm,
            is_full: false,
            is_lost: false,
            next: None,
            waiting: VecDeque::new(),
            unknown: BTreeMap::new(),
            asked: JoinSet::new(),
        };
        Self { happenings, alarms, task: tokio::spawn(follower.run()) }
    }

    /// The next one, first of all what is wrong. Safe to cancel.
    pub(super) async fn next(&mut self) -> Told {
        let told = tokio::select! {
            biased;
            told = self.alarms.recv() => told,
            told = self.happenings.recv() => told,
        };
        match told {
            Some(told) => told,
            // The task ends with this alone.
            None => std::future::pending().await,
        }
    }

    /// One that is there already.
    pub(super) fn ready(&mut self) -> Option<Told> {
        self.alarms.try_recv().or_else(|_| self.happenings.try_recv()).ok()
    }
}

struct Follower {
    data_dir: PathBuf,
    process: Id,
    screen: Screen,
    /// What has an earlier slot time is not new.
    began_ms: u64,
    happenings: mpsc::Sender<Told>,
    alarms: mpsc::Sender<Told>,
    /// Whether something was not told for want of room.
    is_full: bool,
    /// Whether it was said that nothing is heard.
    is_lost: bool,
    /// The slot after the newest that was heard of.
    next: Option<u64>,
    /// Slots whose results are to be asked for, with their messages.
    waiting: VecDeque<(u64, Id)>,
    /// Slots of which nobody knew a result in time.
    unknown: BTreeMap<u64, Id>,
    asked: JoinSet<Asked>,
}

/// What an asked slot came to: code, and what to show of it. None while that is not known.
struct Asked {
    slot: u64,
    item: Id,
    came: Option<Option<String>>,
}

impl Follower {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let began = tokio::time::Instant::now();
            let why = match self.follow().await {
                Ok(()) => "the node ended it".to_owned(),
                Err(error) => error.to_string(),
            };
            if !std::mem::replace(&mut self.is_lost, true) {
                let text = format!(
                    "what others send is not shown until the node is there again: {}",
                    self.screen.foreign(&why)
                );
                self.warn(Colour::Yellow, &text);
            }
            if began.elapsed() > SETTLED {
                pause = PAUSE_MIN;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Tells what is heard over one connection, until it ends.
    async fn follow(&mut self) -> Result<(), ClientError> {
        let mut watching = Client::connect(&self.data_dir).await?;
        watching.send(&Request::Watch { process: self.process, from: self.next }).await?;
        let settled = tokio::time::sleep(SETTLED);
        tokio::pin!(settled);
        let mut is_settled = false;
        loop {
            // A reply that was begun is read to its end.
            let reply = watching.reply();
            tokio::pin!(reply);
            let reply = loop {
                tokio::select! {
                    reply = &mut reply => break reply?,
                    Some(asked) = self.asked.join_next() => {
                        // None of them panics, and all are dropped with this.
                        if let Ok(asked) = asked {
                            self.answered(asked);
                        }
                    }
                    () = &mut settled, if !is_settled => {
                        is_settled = true;
                        self.settle();
                    }
                }
            };
            match reply {
                Reply::Event(value) => self.hear(typed(value)?),
                Reply::Done(_) => return Ok(()),
                Reply::Error(failure) => return Err(failure.into()),
            }
        }
    }

    /// Takes up what was left when the connection before was lost.
    fn settle(&mut self) {
        if std::mem::take(&mut self.is_lost) {
            self.warn(Colour::Green, "what others send is shown again");
            self.waiting.extend(self.unknown.iter().map(|(slot, item)| (*slot, *item)));
            self.ask();
        }
    }

    fn hear(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Slot(slot) => {
                self.next = Some(slot.slot + 1);
                // A log that this node has not held yet comes as a whole.
                if slot.timestamp >= self.began_ms {
                    self.tell(Some(slot.slot), human_slot(&slot, self.screen));
                    self.waiting.push_back((slot.slot, slot.item));
                    self.ask();
                }
            }
            WatchEvent::Outcome { position, code, output, .. } if position.tick > 0 => {
                let head = self.screen.paint(Colour::Cyan, &format!("[{position}] cron"));
                let result = serde_json::json!({ "Output": output });
                let lines = outcome(code, &result, self.screen);
                self.tell(None, std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n"));
            }
            WatchEvent::Outcome { position, .. } => {
                if let Some(item) = self.unknown.get(&position.slot) {
                    self.waiting.push_back((position.slot, *item));
                    self.ask();
                }
            }
            WatchEvent::Alarm { text } => {
                let text = format!("ALARM {}", self.screen.foreign(cut(&text, TEXT_BYTES_MAX).0));
                self.warn(Colour::Red, &text);
            }
            WatchEvent::Freshness { stale: true, .. } => {
                self.warn(Colour::Red, "ALARM nobody says any more where the log ends");
            }
            WatchEvent::Freshness { stale: false, .. } => {
                self.warn(Colour::Green, "it is known again where the log ends");
            }
            WatchEvent::Attestation { .. } | WatchEvent::Waits { .. } => {}
        }
    }

    /// Asks for as many results as may be asked for at once.
    fn ask(&mut self) {
        while self.waiting.len() > SLOTS_MAX {
            self.waiting.pop_front();
        }
        while self.asked.len() < ASKED_MAX
            && let Some((slot, item)) = self.waiting.pop_front()
        {
            let (data_dir, process, screen) = (self.data_dir.clone(), self.process, self.screen);
            self.asked.spawn(async move {
                let request = Request::Result { process, of: ResultOf::Item(item), wait_ms: RESULT_MS };
                let limit = Duration::from_millis(RESULT_MS) + ANSWER_WAIT;
                let result: Option<ResultInfo> = ask_aside(&data_dir, &request, limit).await;
                let came = result.map(|result| outcome(result.code, &result.result, screen));
                Asked { slot, item, came }
            });
        }
    }

    fn answered(&mut self, Asked { slot, item, came }: Asked) {
        let head = self.screen.paint(Colour::Cyan, &format!("[{slot}]"));
        match came {
            Some(text) => {
                self.unknown.remove(&slot);
                if let Some(text) = text {
                    self.tell(Some(slot), format!("{head} {text}"));
                }
            }
            None => {
                if self.unknown.insert(slot, item).is_none() {
                    let text = self.screen.paint(Colour::Dim, "no result is known yet");
                    self.tell(Some(slot), format!("{head} {text}"));
                }
                if self.unknown.len() > SLOTS_MAX {
                    self.unknown.pop_first();
                }
            }
        }
        self.ask();
    }

    fn tell(&mut self, slot: Option<u64>, text: String) {
        let is_full = self.happenings.try_send(Told { slot, text }).is_err();
        if is_full && !self.is_full {
            self.warn(Colour::Yellow, "more happens than can be shown; `weft watch` shows all of it");
        }
        self.is_full = is_full;
    }

    /// Says what passes everything else.
    fn warn(&self, colour: Colour, text: &str) {
        // Who has not looked at so many warnings is told nothing by one more.
        let _ = self.alarms.try_send(Told { slot: None, text: self.screen.paint(colour, text) });
    }
}

fn human_slot(slot: &SlotInfo, screen: Screen) -> String {
    let short = |text: &str| screen.foreign(cut(text, HEAD_BYTES_MAX).0).replace('\n', " ");
    let from = slot.from.as_deref().map_or_else(|| "nobody".to_owned(), short);
    let what = slot.action.as_deref().map(|action| format!(": {}", short(action)));
    screen.paint(Colour::Cyan, &format!("[{}] from {from}{}", slot.slot, what.unwrap_or_default()))
}

/// What was printed, or the error; nothing where there is neither.
fn outcome(code: u8, result: &Value, screen: Screen) -> Option<String> {
    let shown = |text: &str| match cut(text, TEXT_BYTES_MAX) {
        (text, false) => screen.foreign(text),
        (text, true) => format!("{} ... (`weft result` shows all of it)", screen.foreign(text)),
    };
    let text = |value: &Value| match value {
        Value::String(text) => shown(text),
        Value::Null => String::new(),
        other => shown(&other.to_string()),
    };
    let error = result.get("Error").map(text).filter(|error| !error.is_empty());
    let printed = result.get("Output").map(|output| text(printed(output)));
    match (error, printed.filter(|printed| !printed.is_empty())) {
        (Some(error), _) => Some(screen.paint(Colour::Red, &error)),
        (None, printed) if code == 0 => printed,
        (None, printed) => Some(screen.paint(Colour::Red, &printed.unwrap_or(format!("code {code}")))),
    }
}

/// At most so many bytes of a text, in whole signs, and whether that is not all of it.
pub(super) fn cut(text: &str, bytes_max: usize) -> (&str, bool) {
    let end = text.floor_char_boundary(bytes_max);
    (text.get(..end).unwrap_or_default(), end < text.len())
}

#[cfg(test)]
mod tests;
