//! Items that are handed in, and messages that wait for a slot.

use bytes::Bytes;
use serde_json::Value;
use weft_protocol::assignment::Assignment;
use weft_protocol::record::Submission;
use weft_protocol::{DataItem, Id, Now};
use weft_storage::StoreError;

use super::super::api::{
    Failure, FailureCode, HeldInfo, LetterInfo, LetterState, PendingInfo, PendingRequest, Submitted,
};
use super::{Answers, decode, disk, fail};
use crate::pending::{End, NoLetter, Shown};
use crate::submit::{Assign, Slot, StoredItem, SubmitError, excludes};

/// Messages of others in one answer.
const HELD_SHOWN_MAX: usize = 1_000;

impl Answers {
    /// Where the scheduler cannot be reached, or gives no reason, a message goes the other way.
    pub(super) async fn submit(&self, item: &str) -> Result<Submitted, Failure> {
        let raw = decode(item)?;
        let (id, target) = names(&raw)?;
        let why = match (self.submitter.submit(raw.clone(), Bytes::new()).await, target) {
            (Err(SubmitError::NoAnswer(why)), Some(_)) => why,
            (slot, _) => return submitted(id, slot),
        };
        match self.send_letter((id, target), &raw, false, why.clone()).await {
            Ok(letter) => Err(fail(FailureCode::Pending, pending_text(&letter))),
            Err(error) => {
                let text = format!("{why}; and it cannot wait on the topic: {error}");
                let code = match error {
                    NoLetter::Disk(StoreError::Full { .. }) => FailureCode::Full,
                    NoLetter::Disk(_) => FailureCode::Fault,
                    _ => FailureCode::Unknown,
                };
                Err(fail(code, text))
            }
        }
    }

    pub(super) async fn assign(
        &self,
        process: Id,
        item: Id,
        base_layer: bool,
        exclude: &[String],
    ) -> Result<Submitted, Failure> {
        let excludes = excludes(exclude).map_err(|error| no_slot(&error))?;
        let stored = StoredItem::of(&self.read()?, item, base_layer).map_err(disk)?;
        let slot = self.submitter.assign(Assign { process, item, base_layer, excludes, stored }).await;
        // What stands at the slot of a transaction is the item that carries it.
        let standing = |slot: &Slot| {
            let assignment = DataItem::parse(slot.signed.clone()).ok()?;
            Some(Assignment::from_item(assignment.claims()).ok()?.item())
        };
        let item = slot.as_ref().ok().filter(|_| base_layer).and_then(standing).unwrap_or(item);
        submitted(item, slot)
    }

    pub(super) async fn pending(&self, request: PendingRequest) -> Result<Value, Failure> {
        let answer = match request {
            PendingRequest::List { process } => serde_json::to_value(self.list_pending(process).await),
            PendingRequest::Send { item } => serde_json::to_value(self.send_pending(&item).await?),
        };
        answer.map_err(|error| fail(FailureCode::Fault, error.to_string()))
    }

    async fn list_pending(&self, process: Option<Id>) -> PendingInfo {
        let pending = &self.shared.pending;
        let is_of = |of: Id| process.is_none_or(|process| process == of);
        let letters = pending.letters().await;
        let letters = letters.into_iter().filter(|shown| is_of(shown.letter.process)).map(info).collect();
        let held = pending.waiting(process, HELD_SHOWN_MAX, self.shared.clock.now());
        let held = held.into_iter().map(|(process, held)| HeldInfo {
            item: held.item,
            process,
            signer: held.signer,
            postage_bits: held.bits,
            age_ms: held.age_ms,
        });
        PendingInfo { letters, held: held.collect() }
    }

    async fn send_pending(&self, item: &str) -> Result<LetterInfo, Failure> {
        let raw = decode(item)?;
        let named = names(&raw)?;
        // As peers will: what they would reject costs this node its standing with them.
        let (of, network) = (raw.clone(), self.shared.network);
        let verify = tokio::task::spawn_blocking(move || Submission::verify(&of, &Bytes::new(), network));
        let verified = verify.await.map_err(|error| fail(FailureCode::Fault, error.to_string()))?;
        verified.map_err(|error| fail(FailureCode::Invalid, format!("the item: {error}")))?;
        let why = "its sender did not ask the scheduler first".to_owned();
        let sent = self.send_letter(named, &raw, true, why).await;
        sent.map(info).map_err(|error| match error {
            NoLetter::TooMany => fail(FailureCode::Busy, error.to_string()),
            NoLetter::Disk(error) => disk(error),
            error => fail(FailureCode::Invalid, error.to_string()),
        })
    }

    async fn send_letter(
        &self,
        (item, target): (Id, Option<Id>),
        raw: &Bytes,
        insists: bool,
        why: String,
    ) -> Result<Shown, NoLetter> {
        let now: Now = self.shared.clock.now();
        let process = target.ok_or(NoLetter::NoMessage)?;
        let letter = crate::pending::Pending::letter(process, raw, insists, now)?;
        self.shared.pending.send(item, letter, why).await
    }
}

/// The id of an item, and of a message the process that it is for.
fn names(raw: &Bytes) -> Result<(Id, Option<Id>), Failure> {
    let item = DataItem::parse(raw.clone());
    let item = item.map_err(|error| fail(FailureCode::Invalid, format!("the item: {error}")))?;
    let item = item.claims();
    Ok((item.id(), item.target().filter(|_| item.tag("Type") == Some("Message"))))
}

fn submitted(id: Id, slot: Result<Slot, SubmitError>) -> Result<Submitted, Failure> {
    let Slot { process, slot, assignment, duplicate, .. } = slot.map_err(|error| no_slot(&error))?;
    Ok(Submitted { id, process, slot, assignment, duplicate })
}

/// Why there is no slot, as clients are told.
pub(crate) fn no_slot(error: &SubmitError) -> Failure {
    let code = match error {
        SubmitError::Invalid(_) => FailureCode::Invalid,
        SubmitError::Refused(_) => FailureCode::Refused,
        SubmitError::Unknown(_) | SubmitError::NoAnswer(_) => FailureCode::Unknown,
        SubmitError::Busy(_) | SubmitError::Grown(_) => FailureCode::Busy,
        SubmitError::Full(_) => FailureCode::Full,
        SubmitError::Fault(_) => FailureCode::Fault,
    };
    let failure = fail(code, error.to_string());
    match error {
        SubmitError::Busy(ms) | SubmitError::Grown(ms) => failure.retry_in(*ms),
        _ => failure,
    }
}

fn pending_text(shown: &Shown) -> String {
    let Shown { item, letter, why, .. } = shown;
    format!(
        "pending: {why}. Message {item} was published on the topic of process {} instead, with {} bits of postage and \
         more every 30 s, up to {}; meanwhile its scheduler is asked again, and peers on the topic keep the message \
         for it. `weft pending` shows what becomes of it",
        letter.process,
        letter.bits,
        weft_protocol::postage::POSTAGE_BITS_MAX
    )
}

fn info(shown: Shown) -> LetterInfo {
    let Shown { item, letter, why, until, end } = shown;
    let (state, slot, why) = match end {
        Some(End::Slot(slot)) => (LetterState::Assigned, Some(slot), why),
        Some(End::GivenUp(why)) => (LetterState::GivenUp, None, why),
        None if letter.nonce.is_none() => (LetterState::Paying, None, why),
        None if letter.said.is_none() => (LetterState::Unheard, None, why),
        None => (LetterState::Waiting, None, why),
    };
    LetterInfo { item, process: letter.process, state, postage_bits: letter.bits, slot, why, until }
}
