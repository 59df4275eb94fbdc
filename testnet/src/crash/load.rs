//! The clients: they sign items and hand them to whichever node is there, again and again until
//! one gives a reply.
//!
//! An item is signed once, so handing it in again is harmless: a reply was given for it or it was
//! not, and the second time it is answered with the first slot.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};
use weft_node::control::api::{FailureCode, Request, Submitted};
use weft_node::control::client::ClientError;
use weft_protocol::data_item::ItemError;
use weft_protocol::{Id, Tag};

use super::evidence::Given;
use crate::node::Door;
use crate::user::{User, encoded};

/// How long one node may take for a reply before another one is asked.
const TRY_WAIT: Duration = Duration::from_secs(5);
/// How long until the next try: long enough for a node to come back within some.
const TRY_AGAIN_MS: std::ops::RangeInclusive<u64> = 10..=80;
/// How long an item may go without a reply: nodes are down for a second or two.
const REPLY_WAIT: Duration = Duration::from_secs(90);
/// The longest that a client rests between two items in a short storm, in milliseconds: the nodes and
/// not the clients are to be busy.
const REST_MS: u64 = 20;
/// How often an item that has a reply is handed in once more.
const ONCE_MORE: f64 = 0.125;
/// Items of one client in a long storm, or about as many: what they come to is looked at whole, and
/// replayed, by every node. Clients rest longer for that, now and then not at all.
const ITEMS_AIM: u64 = 1_500;
/// Items of one client of a storm at most, however long that takes.
pub(crate) const ITEMS_MAX: usize = 5_000;

/// What a client found.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Items it signed.
    pub(crate) items: usize,
    /// Clients that stopped before they were told, as they had signed the most they may.
    pub(crate) stopped: usize,
    /// The times it asked a node.
    pub(crate) tries: usize,
    /// Why there was no reply, and how often.
    pub(crate) failed: BTreeMap<String, usize>,
    /// The replies it got.
    pub(crate) given: Vec<Given>,
    /// Milliseconds from the first try of an item until its reply.
    pub(crate) waits_ms: Vec<f64>,
    /// What must not be: items without a reply, and refused ones.
    pub(crate) wrong: Vec<String>,
}

impl Load {
    /// What all clients found together.
    pub(crate) fn sum(loads: Vec<Self>) -> Self {
        let mut sum = Self::default();
        for load in loads {
            sum.items += load.items;
            sum.stopped += load.stopped;
            sum.tries += load.tries;
            sum.given.extend(load.given);
            for (why, times) in load.failed {
                *sum.failed.entry(why).or_default() += times;
            }
            sum.waits_ms.extend(load.waits_ms);
            sum.wrong.extend(load.wrong);
        }
        sum
    }
}

/// What the items are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Bytes of data in each.
    pub(crate) bytes: usize,
    /// How many of a hundred have a process send to another.
    pub(crate) pushes: u8,
    /// How many of a hundred fail in the guest.
    pub(crate) failures: u8,
}

/// Where the clients work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) user: &'a User,
    pub(crate) processes: &'a [Id],
    pub(crate) doors: &'a [Door],
    /// The longest that a client rests between two items, in milliseconds.
    pub(crate) rest_ms: u64,
    pub(crate) mix: Mix,
    /// Items of one client at most.
    pub(crate) items_max: usize,
    /// Set when no more items are wanted.
    pub(crate) over: &'a Cell<bool>,
}

/// The longest rest of a client in a storm that takes so many milliseconds.
pub(crate) fn rest_ms(storm_ms: u64) -> u64 {
    REST_MS.max(2 * storm_ms / ITEMS_AIM)
}

/// Runs one client until no more items are wanted and each of its items has its reply.
///
/// # Errors
/// That items cannot be signed.
pub(crate) async fn client(field: Field<'_>, seed: u64) -> Result<Load, ItemError> {
    let mut client = Client { field, rng: StdRng::seed_from_u64(seed), load: Load::default() };
    while !field.over.get() {
        if client.load.items >= field.items_max {
            client.load.stopped = 1;
            break;
        }
        let (process, item) = client.draw()?;
        client.load.items += 1;
        let request = Request::Submit { item };
        client.insist(process, &request).await;
        if client.rng.random_bool(ONCE_MORE) {
            client.insist(process, &request).await;
        }
        sleep(Duration::from_millis(client.rng.random_range(0..=field.rest_ms))).await;
    }
    Ok(client.load)
}

struct Client<'a> {
    field: Field<'a>,
    rng: StdRng,
    load: Load,
}

impl Client<'_> {
    /// An item for some process: it counts, has another one count, or fails.
    fn draw(&mut self) -> Result<(Id, String), ItemError> {
        let processes = self.field.processes;
        let at = self.rng.random_range(0..processes.len());
        let Mix { bytes, pushes, failures } = self.field.mix;
        let drawn = self.rng.random_range(0..100);
        let (action, tags) = if drawn < failures {
            ("Fail", Vec::new())
        } else if drawn < failures + pushes && processes.len() > 1 {
            let other = (at + self.rng.random_range(1..processes.len())) % processes.len();
            ("Relay", vec![Tag::new("To", processes[other].to_string())])
        } else {
            ("Increment", Vec::new())
        };
        let item = self.field.user.message(processes[at], action, tags, "x".repeat(bytes))?;
        Ok((processes[at], encoded(&item)))
    }

    /// Asks one node after the other until one gives a reply.
    async fn insist(&mut self, process: Id, request: &Request) {
        let since = Instant::now();
        let deadline = since + REPLY_WAIT;
        loop {
            let node = self.rng.random_range(0..self.field.doors.len());
            self.load.tries += 1;
            let answer = self.field.doors[node].ask::<Submitted>("a slot", request, TRY_WAIT).await;
            let error = match answer {
                Ok(Submitted { id: item, process, slot, assignment, duplicate }) => {
                    self.load.waits_ms.push(since.elapsed().as_secs_f64() * 1000.0);
                    self.load.given.push(Given { node, process, item, slot, assignment, duplicate });
                    return;
                }
                Err(error) => error,
            };
            *self.load.failed.entry(kind(&error.source)).or_default() += 1;
            let is_final = matches!(
                &error.source,
                ClientError::Failed(failure)
                    if matches!(failure.code, FailureCode::Invalid | FailureCode::Refused)
            );
            if is_final || Instant::now() >= deadline {
                let why = if is_final { "was refused" } else { "has no reply" };
                self.load.wrong.push(format!("an item for {process} {why}: {error}"));
                return;
            }
            sleep(Duration::from_millis(self.rng.random_range(TRY_AGAIN_MS))).await;
        }
    }
}

/// The kind of a failure, in a word or two.
fn kind(error: &ClientError) -> String {
    match error {
        ClientError::NotRunning { .. } | ClientError::Stale { .. } => "down".to_owned(),
        ClientError::Lost | ClientError::Io { .. } => "killed while it was asked".to_owned(),
        ClientError::TimedOut { .. } => "no answer in time".to_owned(),
        ClientError::Failed(failure) => format!("answered {:?}", failure.code),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_client_that_may_sign_no_more_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let user = User::open(dir.path()).unwrap();
        let mix = Mix { bytes: 0, pushes: 0, failures: 0 };
        let over = Cell::new(false);
        let field =
            Field { user: &user, processes: &[], doors: &[], rest_ms: 0, mix, items_max: 0, over: &over };
        let loads = vec![client(field, 1).await.unwrap(), client(field, 2).await.unwrap()];
        assert_eq!(Load::sum(loads).stopped, 2);
        over.set(true);
        assert_eq!(client(field, 1).await.unwrap().stopped, 0, "one that was told is as it should be");
    }
}
