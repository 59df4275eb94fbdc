//! Results of processes that are not computed here, by the word of peers. They are asked by message: which message a slot has
//! is first asked of those who have the log, and shown by its scheduler's signature.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_net::Peer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::outcome::Code;
use weft_protocol::outcome::proof::{self, NoProof, Proven};
use weft_protocol::process::Process;
use weft_protocol::record::{Blame, SlotRecord};
use weft_protocol::{Id, wire};

use super::super::super::api::{Failure, FailureCode, ResultInfo};
use super::super::{Answers, disk, fail};
use super::{LOOK_MIN, Wanted};
use crate::asking::{self, Pace};
use crate::results::readable;
use crate::shared::Shared;
use crate::supervisor::joined;
use crate::{hosting, remote};

/// How they are asked: whoever is silent keeps nothing from those after it, and who is quicker than the scheduler
/// waits for what that says.
const PACE: Pace = Pace {
    beside: 4,
    stagger: Duration::ZERO,
    each: Duration::from_secs(2),
    grace: Duration::from_secs(2),
    until_sure: Duration::from_millis(500),
};
/// How they are asked for a slot, which one gives as well as another: the next where the one before takes its time, as each
/// answer has a whole message. All of one look have begun before who waits for nothing gives up.
const SLOT_PACE: Pace = Pace {
    beside: ASKED_MAX,
    stagger: Duration::from_millis(300),
    each: Duration::from_secs(10),
    grace: Duration::ZERO,
    until_sure: Duration::ZERO,
};
/// Peers that are asked for a slot in one look. The scheduler is the first of them; who was silent is not among the next.
const ASKED_MAX: usize = 8;
/// How long who was silent is not asked again by the same caller: by then its request is given up, and no
/// caller has two of them under way.
const SILENT_REST: Duration = Duration::from_secs(30);
/// Peers of whom a caller's question keeps what they said to it.
const SAID_MAX: usize = 64;
/// When whoever had no turn to ask is told to come back, in milliseconds.
const TURN_RETRY_MS: u64 = 1_000;
/// Liars that an error names.
const NAMED_MAX: usize = 4;

/// What one question has tried.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Peers that were silent, and when they may be asked again.
    silent: BTreeMap<Peer, Instant>,
    /// The message of the slot that is asked for, as its scheduler signed it.
    message: Option<Id>,
    /// Why that is not known: what each peer said last.
    said: BTreeMap<Peer, NoSlot>,
    /// Why nobody could be asked.
    nobody: Option<String>,
    /// The slot that the message had before, where its result is.
    before: Option<u64>,
    /// Whether nobody was asked because others are.
    has_no_turn: bool,
}

/// Why a peer gave no message of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NoSlot {
    /// It has no such slot.
    Absent,
    /// It did not answer.
    Silent,
    /// It said no, or this build cannot read what it said.
    Unread,
    /// It gave a slot that is another, or is not the scheduler's.
    False(String),
}

/// Why a peer gave no result.
#[derive(Debug)]
enum NoResult {
    /// It has none, or none that makes sense.
    None,
    /// It proved that the message had a slot before the one asked for.
    Before(u64),
}

impl Tried {
    /// Whether anybody was asked for a slot.
    pub(super) fn is_any(&self) -> bool {
        self.message.is_some() || !self.said.is_empty()
    }

    /// That nobody was asked for a slot, because too many others are asked for.
    pub(super) fn busy(&self, process: &Id, of: Wanted) -> Option<Failure> {
        let Wanted::Slot(slot) = of else { return None };
        let text = format!(
            "slot {slot} of process {process} is not here, and nobody was asked for it: this node asks for others of it, or of \
             too many processes; try again in {TURN_RETRY_MS} ms"
        );
        let is_busy = self.has_no_turn && !self.is_any();
        is_busy.then(|| fail(FailureCode::Busy, text).retry_in(TURN_RETRY_MS))
    }

    fn is_silent(&mut self, peer: &Peer) -> bool {
        self.silent.retain(|_, rests_until| Instant::now() < *rests_until);
        self.silent.contains_key(peer)
    }

    /// Whether a peer may be asked for the slot: not once it lied about it.
    fn may_give_slot(&mut self, peer: &Peer) -> bool {
        !self.is_silent(peer) && !matches!(self.said.get(peer), Some(NoSlot::False(_)))
    }

    /// Notes why a peer gave no slot; it said nothing in time if there is no reason.
    fn gave_no_slot(&mut self, peer: Peer, why: Option<NoSlot>) {
        if why.is_none() {
            self.silent.insert(peer, Instant::now() + SILENT_REST);
        }
        if self.said.len() < SAID_MAX || self.said.contains_key(&peer) {
            self.said.insert(peer, why.unwrap_or(NoSlot::Silent));
        }
    }

    /// What is said of a slot that is not here and of which there is no result, and what was tried.
    pub(super) fn told(&self, process: &Id, slot: u64) -> String {
        if let Some(message) = self.message {
            return format!(
                "slot {slot} of process {process} is message {message}, and no peer that was asked has its result yet"
            );
        }
        let slot = format!("slot {slot} of process {process} is not here");
        if self.said.is_empty() {
            let why = self.nobody.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            return format!(
                "{slot}, and nobody who has its log was found{why}: `weft providers {process}` looks for them again, `weft \
                 host {process}` on weaves too"
            );
        }
        let count = |of: &NoSlot| self.said.values().filter(|said| *said == of).count();
        let counted = [
            (NoSlot::Absent, "said that there is none"),
            (NoSlot::Silent, "did not answer"),
            (NoSlot::Unread, "did not give it"),
        ];
        let counted = counted.iter().map(|(of, what)| (count(of), what)).filter(|(count, _)| *count > 0);
        let mut parts: Vec<String> = counted.map(|(count, what)| format!("{count} {what}")).collect();
        let liars = self.said.iter().filter_map(|(peer, said)| match said {
            NoSlot::False(why) => Some(format!("{peer} gave a false one ({why})")),
            NoSlot::Absent | NoSlot::Silent | NoSlot::Unread => None,
        });
        parts.extend(liars.take(NAMED_MAX));
        format!(
            "{slot}, and no peer that was asked gave it: {}; `weft host {process}` follows the log",
            parts.join(", ")
        )
    }
}

impl Answers {
    /// What peers say came of what is looked for, if one says it in time; nothing of what nobody can be asked for.
    ///
    /// # Errors
    /// A damaged disk; and that the slot's message had a slot before, where its result is.
    pub(super) async fn elsewhere(
        &self,
        process: Id,
        of: Wanted,
        deadline: Instant,
        tried: &mut Tried,
    ) -> Result<Option<ResultInfo>, Failure> {
        let until = || deadline.max(Instant::now() + LOOK_MIN);
        let (item, slot) = match of {
            Wanted::Item(item) => (item, None),
            Wanted::Slot(slot) => match self.message_of(process, slot, until(), tried).await? {
                Some(item) => (item, Some(slot)),
                None => return Ok(None),
            },
            Wanted::Newest(_) => return Ok(None),
        };
        let found = self.ask_result(process, (item, slot), until(), tried).await;
        match (&found, slot, tried.before) {
            (None, Some(slot), Some(before)) => {
                let text = format!(
                    "slot {slot} of process {process} is message {item} once more, which had slot {before} before; its \
                     result is there: `weft result {process} {item}`"
                );
                Err(fail(FailureCode::Refused, text))
            }
            _ => Ok(found),
        }
    }

    /// The message of a slot: by the log that is here, else by what its scheduler signed, whoever has it.
    async fn message_of(
        &self,
        process: Id,
        slot: u64,
        until: Instant,
        tried: &mut Tried,
    ) -> Result<Option<Id>, Failure> {
        if let Some(row) = self.read()?.slot(&process, slot).map_err(disk)? {
            return Ok(Some(row.item));
        }
        let is_own = self.shared.directory.roles(&process).is_some_and(|roles| roles.schedules);
        if tried.message.is_none() && !is_own {
            // What was heard until then is noted.
            let _ = self.ask_slot(process, slot, until, tried).await;
        }
        Ok(tried.message)
    }

    /// Asks those who may have a log for one slot of it, the nearer ones first; none where the time was over before that.
    async fn ask_slot(&self, process: Id, slot: u64, mut until: Instant, tried: &mut Tried) -> Option<()> {
        let shared = &self.shared;
        let known = match in_time(until, hosting::find_process(shared, process)).await? {
            Ok(known) => known,
            Err(error) => {
                tried.nobody = Some(error.to_string());
                return Some(());
            }
        };
        let scheduler = known.scheduler();
        let near = in_time(until, remote::sources(shared, process, Some(scheduler))).await?;
        if self.ask_slot_of(near, (&known, slot), &mut until, tried).await.is_continue() {
            let far = in_time(until, remote::elsewhere(shared, process, scheduler)).await?;
            let _ = self.ask_slot_of(far, (&known, slot), &mut until, tried).await;
        }
        Some(())
    }

    /// Asks these peers, in a turn of their process, whose wait takes nothing of their time; goes on where another may know
    /// what none of them does.
    async fn ask_slot_of(
        &self,
        mut peers: Vec<Peer>,
        (known, slot): (&Arc<Process>, u64),
        until: &mut Instant,
        tried: &mut Tried,
    ) -> ControlFlow<()> {
        let (shared, scheduler) = (&self.shared, known.scheduler());
        peers.retain(|peer| tried.may_give_slot(peer));
        peers.truncate(ASKED_MAX);
        if peers.is_empty() {
            return ControlFlow::Continue(());
        }
        let began = Instant::now();
        let turn = shared.turns.slots.take(known.id()).await;
        *until += began.elapsed();
        tried.has_no_turn = turn.is_none();
        let Some(_turn) = turn else { return ControlFlow::Break(()) };
        // Until they say something else; the time may be over before that.
        peers.iter().for_each(|peer| tried.gave_no_slot(*peer, Some(NoSlot::Silent)));
        let ask = |peer: Peer| async move {
            match ask_peer_slot(shared, peer, Arc::clone(known), slot).await {
                // Nobody knows better, so nobody else is waited for.
                Err(NoSlot::Absent) if peer.address() == Some(scheduler) => Ok(None),
                said => said.map(Some),
            }
        };
        let noted = |peer, why| tried.gave_no_slot(peer, why);
        match in_time(*until, asking::first(peers, None, SLOT_PACE, ask, |_| true, noted)).await {
            Some(Some((_, Some(message)))) => {
                tried.message = Some(message);
                ControlFlow::Break(())
            }
            Some(Some((peer, None))) => {
                tried.said.retain(|_, said| *said != NoSlot::Silent);
                tried.gave_no_slot(peer, Some(NoSlot::Absent));
                ControlFlow::Break(())
            }
            Some(None) => ControlFlow::Continue(()),
            None => ControlFlow::Break(()),
        }
    }

    /// The word of a peer that computes the process, if one gives it in time; a proven one before others. Where a slot is
    /// named, nothing else than its result counts.
    pub(super) async fn ask_result(
        &self,
        process: Id,
        (item, slot): (Id, Option<u64>),
        until: Instant,
        tried: &mut Tried,
    ) -> Option<ResultInfo> {
        let shared = &self.shared;
        let asking = async {
            let known = hosting::find_process(shared, process).await.ok()?;
            let scheduler = known.scheduler();
            let mut peers = remote::sources(shared, process, Some(scheduler)).await;
            peers.retain(|peer| !tried.is_silent(peer));
            let best = peers.first().copied().filter(|peer| peer.address() == Some(scheduler));
            let known = &known;
            let ask = |peer| ask_peer(shared, peer, Arc::clone(known), (item, slot));
            let is_proven = |found: &ResultInfo| !found.attested_by.is_empty();
            let found = asking::first(peers, best, PACE, ask, is_proven, |peer, said| match said {
                Some(NoResult::Before(before)) => tried.before = Some(before),
                Some(NoResult::None) => {}
                None => {
                    tried.silent.insert(peer, Instant::now() + SILENT_REST);
                }
            });
            found.await.map(|(_, found)| found)
        };
        tokio::time::timeout_at(until, asking).await.ok().flatten()
    }
}

/// What this comes to; none where it takes longer than until then.
async fn in_time<T>(until: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(until, work).await.ok()
}

/// The message of a slot by one peer. Who gives a false one pays for it.
async fn ask_peer_slot(shared: &Shared, peer: Peer, process: Arc<Process>, slot: u64) -> Result<Id, NoSlot> {
    let id = process.id();
    let slots = match remote::range(shared, peer, id, slot, slot).await {
        Ok(slots) => slots,
        Err(error) => return Err(if error.is_absence() { NoSlot::Absent } else { NoSlot::Unread }),
    };
    let read = tokio::task::spawn_blocking(move || message_in(&process, slot, &slots)).await;
    let read = joined(read).unwrap_or(Err(NoSlot::Unread));
    if let Err(NoSlot::False(why)) = &read {
        tracing::warn!(process = %id, slot, %peer, %why, "a peer gave a false slot");
        shared.lied(peer).await;
    }
    read
}

/// The message of a slot by the answer of a peer that was asked for that slot alone. Its scheduler signed that it is that
/// message; that the slot continues the one before cannot be seen, but of the first one.
fn message_in(process: &Process, slot: u64, slots: &[wire::SlotRecord]) -> Result<Id, NoSlot> {
    let record = slots.first().ok_or(NoSlot::Absent)?;
    let terms = EpochTerms::of_process(process).map_err(|_| NoSlot::Unread)?;
    match SlotRecord::from_wire(record).and_then(|record| record.verify(process, &terms, None)) {
        Ok(record) if record.assignment().slot == slot => Ok(record.item().id()),
        Ok(record) => Err(NoSlot::False(format!("it is slot {}", record.assignment().slot))),
        Err(error) if error.blame() == Blame::Sender => Err(NoSlot::False(error.to_string())),
        Err(_) => Err(NoSlot::Unread),
    }
}

/// What one peer says, and whether that is proven. Who gives a proof that proves nothing pays for it; an answer
/// that makes no sense says nothing about the next.
async fn ask_peer(
    shared: &Shared,
    peer: Peer,
    process: Arc<Process>,
    (item, slot): (Id, Option<u64>),
) -> Result<ResultInfo, NoResult> {
    let answer = remote::outcome(shared, peer, process.id(), item).await.map_err(|_| NoResult::None)?;
    let read = tokio::task::spawn_blocking(move || {
        let proven = proof::verify(&process, item, &answer);
        (process.id(), read_answer(process.id(), &answer), proven)
    });
    let (process, found, proven) = joined(read.await).ok_or(NoResult::None)?;
    let found = match proven {
        Ok(Proven { position, .. }) if slot.is_some_and(|slot| position.slot < slot) => {
            return Err(NoResult::Before(position.slot));
        }
        // The same item had a slot before, which is what counts: somebody else may know of it.
        Ok(Proven { code: Code::Duplicate, .. }) if slot.is_none() => found,
        Ok(Proven { attestors, .. }) => found.map(|found| ResultInfo { attested_by: attestors, ..found }),
        Err(NoProof::Absent) => found,
        Err(error) => {
            tracing::warn!(%process, %item, %peer, %error, "a peer gave a false proof of a result");
            shared.lied(peer).await;
            None
        }
    };
    // An item that had a slot before has its result there.
    found.filter(|found| slot.is_none_or(|slot| found.position.slot == slot)).ok_or(NoResult::None)
}

/// The word of a peer, so far.
fn read_answer(process: Id, answer: &wire::OutcomeResponse) -> Option<ResultInfo> {
    Some(ResultInfo {
        process,
        position: wire::position(answer.position.as_ref()).ok()?,
        code: u8::try_from(answer.code).ok()?,
        result: readable(&answer.result).ok()?,
        running: wire::hash("running", &answer.running).ok()?,
        gas: 0,
        computed_here: false,
        attested_by: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
