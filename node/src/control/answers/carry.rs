//! Carrying: for which processes, what is not delivered, and delivering it again.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use weft_protocol::outcome::{EntryKind, OutboxEntry};
use weft_protocol::process::Process;
use weft_protocol::{Id, Position};
use weft_storage::{OutboxKey, OutboxRow, OutboxState, Roles, Write};

use super::super::api::{
    CarryEnded, CarryRequest, Failure, FailureCode, OutboxEntryInfo, OutboxInfo, ProcessInfo, PushName,
    SubscriptionInfo,
};
use super::turns::blocking;
use super::{Answers, decode, disk, fail, not_hosted};
use crate::carrying::{self, Terms};
use crate::directory::Known;
use crate::earn::{Unpaid, unpaid};
use crate::messenger::{collect, destination};
use crate::news::News;
use crate::shared::SharedRef;
use crate::subscriptions::{self, SubscribeError, Wanted};

/// How long somebody waits until carrying has begun.
const START_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const START_LOOK: Duration = Duration::from_millis(50);
/// Entries of an outbox in one answer, and those that are pushed again at once.
const ENTRIES_MAX: usize = 10_000;

impl Answers {
    pub(super) async fn carry(&self, request: CarryRequest) -> Result<Value, Failure> {
        let answer = match request {
            CarryRequest::Begin { process, all } => {
                serde_json::to_value(self.begin_carrying(process, all).await?)
            }
            CarryRequest::End { process } => serde_json::to_value(self.end_carrying(process).await?),
            CarryRequest::Subscribe { item } => serde_json::to_value(self.subscribe(&item).await?),
            CarryRequest::Subscriptions => serde_json::to_value(subscriptions::list(&self.shared)?),
            CarryRequest::Outbox { process, limit } => serde_json::to_value(self.outbox(process, limit)?),
            CarryRequest::Push { process, push } => {
                serde_json::to_value(self.push_again(process, push).await?)
            }
        };
        answer.map_err(|error| fail(FailureCode::Fault, error.to_string()))
    }

    async fn begin_carrying(&self, process: Id, all: bool) -> Result<ProcessInfo, Failure> {
        if self.messenger.is_none() {
            return Err(fail(FailureCode::Refused, "this node has no messenger role; add it to `roles`"));
        }
        let terms = Terms { all, for_others: false };
        let begun = carrying::begin(&self.shared, process, terms).await;
        let roles = begun.map_err(|error| not_hosted(&error))?;
        self.ordered(process, Wanted { carries: Some(true), keeps_time: None }).await?;
        if collect::collects(roles) && !all {
            self.wait_for_start(process).await?;
        }
        self.info(&self.read()?, &self.known(&process)?)
    }

    /// Waits until it is known with which position carrying begins: what is sent from then on is carried. Where no computer
    /// answers in time it begins with what is newest when one does.
    async fn wait_for_start(&self, process: Id) -> Result<(), Failure> {
        let until = Instant::now() + START_WAIT;
        let mut look = tokio::time::interval(START_LOOK);
        while Instant::now() < until {
            look.tick().await;
            if collect::last(&self.read()?, &process).map_err(disk)?.is_some() {
                break;
            }
        }
        Ok(())
    }

    async fn end_carrying(&self, process: Id) -> Result<CarryEnded, Failure> {
        let known = self.known(&process)?;
        if !known.roles.messenges {
            let text = format!("this node does not carry for process {process}");
            return Err(fail(FailureCode::Refused, text));
        }
        carrying::end(&self.shared, known.clone()).await?;
        self.ordered(process, Wanted { carries: Some(false), keeps_time: None }).await?;
        let left = Known { roles: Roles::default(), ..known };
        let info = self.info(&self.read()?, &self.known(&process).unwrap_or(left))?;
        let answers = self.clone();
        blocking(move || answers.left_open(info)).await
    }

    /// What is still owed to those who paid for carrying, and to this node.
    fn left_open(&self, info: ProcessInfo) -> Result<CarryEnded, Failure> {
        let (process, reader) = (info.process, self.read()?);
        let mut owed = subscriptions::list(&self.shared)?;
        owed.retain(|held| held.process == process && held.holds);
        let undelivered = reader.outbox_pending(&process, ENTRIES_MAX).map_err(disk)?.len();
        let Unpaid { pushes, sum, claims } = unpaid(&reader, &process).map_err(disk)?;
        Ok(CarryEnded { info, owed, undelivered, unclaimed: pushes, unclaimed_sum: sum.to_string(), claims })
    }

    /// Notes what the operator wants, beside what he is paid for.
    pub(super) async fn ordered(&self, process: Id, wanted: Wanted) -> Result<(), Failure> {
        Ok(subscriptions::ordered(&self.shared, process, wanted).await?)
    }

    async fn subscribe(&self, item: &str) -> Result<SubscriptionInfo, Failure> {
        let shared = SharedRef::clone(&self.shared);
        let item = decode(item)?;
        // Whoever hangs up meanwhile leaves nothing half done.
        let taking = tokio::spawn(async move { subscriptions::hand_in(&shared, item).await });
        let taken = taking.await.map_err(|error| fail(FailureCode::Fault, error.to_string()))?;
        taken.map_err(|error| {
            let code = match &error {
                SubscribeError::NotTaken(_) | SubscribeError::Item(_) | SubscribeError::Forgotten(_) => {
                    FailureCode::Invalid
                }
                SubscribeError::NoRole | SubscribeError::Whose(_) => FailureCode::Refused,
                SubscribeError::Full(_) | SubscribeError::Declined(_) => FailureCode::Busy,
                SubscribeError::Hosting(_) | SubscribeError::NotFound(_) => FailureCode::Unknown,
                // What the messenger said is its text.
                SubscribeError::Remote(_) => FailureCode::Refused,
                SubscribeError::Store(_) => FailureCode::Fault,
            };
            fail(code, error.to_string())
        })
    }

    fn outbox(&self, process: Id, limit: u32) -> Result<OutboxInfo, Failure> {
        let known = self.known(&process)?;
        let reader = self.read()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(ENTRIES_MAX);
        let mut rows = reader.outbox_unsettled(&process, limit.saturating_add(1)).map_err(disk)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let now = self.shared.clock.now();
        let info = |(key, row): (OutboxKey, OutboxRow)| entry_info(&known.process, key, row, now.0);
        let collected = if collect::collects(known.roles) {
            collect::last(&reader, &process).map_err(disk)?.map(|position| position.slot)
        } else {
            None
        };
        Ok(OutboxInfo { process, collected, entries: rows.into_iter().map(info).collect(), more })
    }

    /// Has entries that were given up, or refused where they went, wait for their push again.
    async fn push_again(&self, process: Id, push: Option<PushName>) -> Result<usize, Failure> {
        let known = self.known(&process)?;
        if !known.roles.messenges {
            let text = format!(
                "this node does not carry for process {process}; `weft carry {process}` has it do so"
            );
            return Err(fail(FailureCode::Refused, text));
        }
        let rows = self.read()?.outbox_unsettled(&process, ENTRIES_MAX).map_err(disk)?;
        let wanted = |key: &OutboxKey| push.is_none_or(|push| push == name_of(key));
        let again: Vec<OutboxKey> = rows
            .into_iter()
            .filter(|(key, row)| wanted(key) && may_go_again(&known.process, key, row))
            .map(|(key, _)| key)
            .collect();
        if let (Some(push), true) = (push, again.is_empty()) {
            let text = format!(
                "slot {} index {} of process {process} is not an entry that was given up or refused: see `weft outbox {process}`",
                push.slot, push.index
            );
            return Err(fail(FailureCode::Unknown, text));
        }
        let state = OutboxState::Pending;
        let write = |key: &OutboxKey| Write::OutboxState {
            key: *key,
            state: state.clone(),
            attempts: 0,
            next_try_ms: 0,
        };
        self.shared.store.write(again.iter().map(write).collect()).await?;
        let mut positions: Vec<Position> = again.iter().map(|key| key.position).collect();
        positions.dedup();
        for position in positions {
            self.shared.news.tell(News::Unsent { process, position });
        }
        Ok(again.len())
    }
}

/// Whether an entry can be pushed again: given up, or refused there though it is well-formed.
fn may_go_again(process: &Process, key: &OutboxKey, row: &OutboxRow) -> bool {
    match &row.state {
        OutboxState::GivenUp => true,
        OutboxState::Dropped { .. } => {
            let entry = OutboxEntry::from_bytes(&row.entry).ok();
            entry.is_some_and(|entry| destination(process, &entry, (key.position, key.index)).is_some())
        }
        OutboxState::Pending | OutboxState::Settled { .. } => false,
    }
}

const fn name_of(key: &OutboxKey) -> PushName {
    PushName { slot: key.position.slot, tick: key.position.tick, index: key.index }
}

fn entry_info(process: &Process, key: OutboxKey, row: OutboxRow, now_ms: u64) -> OutboxEntryInfo {
    let entry = OutboxEntry::from_bytes(&row.entry).ok();
    let to = entry.as_ref().and_then(|entry| destination(process, entry, (key.position, key.index)));
    let kind = match entry.map(|entry| entry.kind) {
        Some(EntryKind::Dropped) | None => "nowhere",
        Some(EntryKind::Message | EntryKind::Spawn | EntryKind::Assignment) => "no process",
    };
    let (state, why) = match row.state {
        OutboxState::Pending => ("waits", None),
        OutboxState::GivenUp => ("given-up", None),
        OutboxState::Dropped { why } => ("dropped", Some(why)),
        OutboxState::Settled { .. } => ("settled", None),
    };
    let again_ms = row.next_try_ms.checked_sub(now_ms).filter(|ms| *ms > 0 && state == "waits");
    OutboxEntryInfo {
        push: name_of(&key),
        to: to.map_or_else(|| kind.to_owned(), |to| to.to_string()),
        state: state.to_owned(),
        why,
        tries: row.attempts,
        again_ms,
    }
}
