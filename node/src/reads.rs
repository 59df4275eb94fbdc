//! What HTTP clients of today's ao units ask of a process, as a question that any node which serves it
//! can answer: from its own disk where it has the process, else by the word of a peer.
//!
//! Logs are answered by whoever follows them, everything about results by whoever evaluates. What a
//! peer answers is its word alone, as `weft result` shows one: who wants proof hosts the process.

mod elsewhere;
mod json;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_protocol::Id;
use weft_protocol::limits::JSON_VALUES_MAX;
use weft_protocol::wire::RESPONSE_BYTES_MAX;
use weft_storage::Roles;

use crate::control::api::ResultOf;
use crate::dry_run::DryRunBody;
use crate::legacy::messages::{PageBytes, Span};
use crate::results::Sort;

pub(crate) use elsewhere::Elsewhere;
pub use json::{json_bytes, value};

/// Bytes of an answer that one node gives another: the largest message that is plain text fits. One that is
/// none, of which each byte is shown as up to three, does not from a third of that on.
pub const ANSWER_BYTES_MAX: usize = RESPONSE_BYTES_MAX - 1024;
/// Values in an answer of a peer, and what it may hold beside one result: each takes some 70 bytes here.
pub const ANSWER_VALUES_MAX: usize = JSON_VALUES_MAX + 16 * 1024;
/// What a page may have for an HTTP client.
pub const HTTP_PAGE_BYTES: PageBytes = PageBytes { wanted: 16 * 1024 * 1024, max: 64 * 1024 * 1024 };
/// What a page may have for a peer.
pub const PEER_PAGE_BYTES: PageBytes =
    PageBytes { wanted: 4 * 1024 * 1024, max: ANSWER_BYTES_MAX - 64 * 1024 };
/// Bytes of a question: a dry run's message is the largest.
pub const QUESTION_BYTES_MAX: usize = weft_protocol::limits::ITEM_BYTES_MAX;
/// How long a node lets a peer wait for a result that is not there yet: less than a request may take.
pub const WAIT_MS_MAX: u64 = 15_000;

/// How long a peer takes to answer what it need not wait for.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// A question about one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Read {
    /// The result of a message, an assignment or a slot: [`ResultInfo`](crate::control::api::ResultInfo).
    Result {
        /// Of what.
        of: ResultOf,
        /// Wait for it at most so many milliseconds.
        wait_ms: u64,
    },
    /// A page of results: [`Page`](crate::results::Page).
    Results(ResultsQuery),
    /// What a message would come to: [`DryRunInfo`](crate::control::api::DryRunInfo).
    DryRun {
        /// The message.
        message: Box<DryRunBody>,
        /// On the state after this message; as of now if absent.
        #[serde(default)]
        to: Option<Id>,
    },
    /// A page of the log: [`Page`](crate::legacy::messages::Page).
    Messages {
        /// Between which times or nonces.
        span: Span,
        /// At most so many slots.
        #[serde(default)]
        limit: Option<usize>,
    },
    /// One slot: [`Message`](crate::legacy::messages::Message).
    Message {
        /// By the id of its message or of its assignment; the newest if absent.
        #[serde(default)]
        id: Option<Id>,
    },
    /// The process itself: [`ProcessInfo`](crate::legacy::messages::ProcessInfo).
    Process,
}

/// Which results are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultsQuery {
    /// Begin after this cursor or timestamp.
    #[serde(default)]
    pub from: Option<String>,
    /// End with this one.
    #[serde(default)]
    pub to: Option<String>,
    /// At most so many entries.
    #[serde(default)]
    pub limit: Option<usize>,
    /// In which order.
    #[serde(default)]
    pub sort: Sort,
    /// Cron ticks alone.
    #[serde(default)]
    pub crons: bool,
    /// Let time pass and evaluate the newest slot first, for at most so many milliseconds.
    #[serde(default)]
    pub now_ms: Option<u64>,
}

/// Where a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Here, and nowhere else: nobody knows better.
    Here,
    /// Here if it is found here, else by a peer: what is here may be behind.
    HereFirst,
    /// By a peer.
    There,
}

impl Read {
    /// Where a node that does this for the process has it answered.
    pub const fn place(&self, roles: Option<Roles>) -> Place {
        let Some(roles) = roles else { return Place::There };
        match self {
            Self::Result { .. } | Self::Results(_) | Self::DryRun { .. } => {
                if roles.computes {
                    Place::Here
                } else {
                    Place::There
                }
            }
            Self::Messages { .. } | Self::Message { .. } | Self::Process => {
                if roles.schedules {
                    Place::Here
                } else {
                    Place::HereFirst
                }
            }
        }
    }

    /// The same question for the next peer, after one waited for so long: waits do not add up.
    #[must_use]
    pub fn after(&self, waited: Duration) -> Self {
        match self {
            Self::Result { of, wait_ms } => {
                let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                Self::Result { of: *of, wait_ms: wait_ms.saturating_sub(waited) }
            }
            other => other.clone(),
        }
    }

    /// Whether it may wait for what is not there yet.
    pub const fn waits(&self) -> bool {
        match self {
            Self::Result { wait_ms, .. } => *wait_ms > 0,
            Self::Results(query) => query.now_ms.is_some(),
            Self::DryRun { .. } | Self::Messages { .. } | Self::Message { .. } | Self::Process => false,
        }
    }

    /// How long an honest peer takes for it at most, unless it has too much to do.
    pub fn patience(&self) -> Duration {
        let waits = match self {
            Self::Result { wait_ms, .. } => *wait_ms,
            Self::Results(query) => query.now_ms.unwrap_or_default(),
            // As long as its gas lasts.
            Self::DryRun { .. } => WAIT_MS_MAX,
            Self::Messages { .. } | Self::Message { .. } | Self::Process => 0,
        };
        ANSWER_WAIT + Duration::from_millis(waits.min(WAIT_MS_MAX))
    }

    /// Whether it is about the log, which others have than those who evaluate it.
    pub const fn is_of_log(&self) -> bool {
        matches!(self, Self::Messages { .. } | Self::Message { .. } | Self::Process)
    }

    /// Whether a peer may ask it: states of the past take a replay, and are shown to clients of this node.
    pub const fn is_for_peers(&self) -> bool {
        !matches!(self, Self::DryRun { to: Some(_), .. })
    }

    /// The same question of whoever waits for nothing; none where the answer would be another.
    pub fn at_once(self) -> Option<Self> {
        match self {
            Self::Result { of, .. } => Some(Self::Result { of, wait_ms: 0 }),
            other => Some(other).filter(|other| !other.waits()),
        }
    }

    /// The question of a peer: it waits for no longer than one may.
    #[must_use]
    pub fn of_peer(self) -> Self {
        match self {
            Self::Result { of, wait_ms } => Self::Result { of, wait_ms: wait_ms.min(WAIT_MS_MAX) },
            Self::Results(query) => {
                let now_ms = query.now_ms.map(|ms| ms.min(WAIT_MS_MAX));
                Self::Results(ResultsQuery { now_ms, ..query })
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn all() -> Vec<Read> {
        let id = Id([7; 32]);
        let results = ResultsQuery { now_ms: Some(600_000), ..ResultsQuery::default() };
        vec![
            Read::Result { of: ResultOf::Item(id), wait_ms: 600_000 },
            Read::Results(results),
            Read::DryRun { message: Box::default(), to: Some(id) },
            Read::Messages { span: Span::Nonces { from: Some(3), to: None }, limit: Some(5) },
            Read::Message { id: None },
            Read::Process,
        ]
    }

    #[test]
    fn a_question_survives_the_wire_and_nothing_else_is_one() {
        for read in all() {
            let text = serde_json::to_string(&read).unwrap();
            let again: Read = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&again).unwrap(), text);
        }
        assert!(serde_json::from_str::<Read>(r#"{"state":{}}"#).is_err());
        assert!(serde_json::from_str::<Read>(r#"{"results":{"form":"x"}}"#).is_err());
    }

    #[test]
    fn the_waits_of_several_peers_do_not_add_up() {
        let wait = |read: &Read| match read {
            Read::Result { wait_ms, .. } => *wait_ms,
            _ => u64::MAX,
        };
        let read = Read::Result { of: ResultOf::Slot(1), wait_ms: 5_000 };
        assert_eq!(wait(&read.after(Duration::from_secs(2))), 3_000);
        assert_eq!(wait(&read.after(Duration::from_secs(9))), 0);
    }

    #[test]
    fn whoever_knows_is_asked() {
        let does = |schedules, computes| Some(Roles { schedules, computes, ..Roles::default() });
        let places = |roles| all().iter().map(|read| read.place(roles)).collect::<Vec<_>>();
        let (h, f, t) = (Place::Here, Place::HereFirst, Place::There);
        assert_eq!(places(does(true, true)), [h, h, h, h, h, h]);
        assert_eq!(places(does(false, true)), [h, h, h, f, f, f]);
        assert_eq!(places(does(true, false)), [t, t, t, h, h, h]);
        assert_eq!(places(does(false, false)), [t, t, t, f, f, f]);
        assert_eq!(places(None), [t, t, t, t, t, t]);
    }

    #[test]
    fn what_is_asked_at_once_waits_for_nothing() {
        let waits = |read: &Read| read.waits();
        assert_eq!(all().iter().map(waits).collect::<Vec<_>>(), [true, true, false, false, false, false]);
        let at_once: Vec<_> = all().into_iter().map(Read::at_once).collect();
        assert!(at_once[1].is_none(), "time is to pass first");
        assert!(!at_once.iter().flatten().any(waits));
    }

    #[test]
    fn a_peer_waits_for_no_longer_than_its_request_lives() {
        let waits = all().into_iter().filter_map(|read| match read.of_peer() {
            Read::Result { wait_ms, .. } => Some(wait_ms),
            Read::Results(query) => query.now_ms,
            _ => None,
        });
        assert_eq!(waits.collect::<Vec<_>>(), [WAIT_MS_MAX, WAIT_MS_MAX]);
    }
}
