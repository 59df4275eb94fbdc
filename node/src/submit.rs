//! Getting a signed item to the scheduler of its process, wherever that is, and deciding here
//! what this node's own scheduler takes: RULES.md 6.10.

mod assign;
mod base_layer;
mod error;
mod growth;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::Instrument as _;
use weft_protocol::assignment::Assignment;
use weft_protocol::process::Process;
use weft_protocol::record::Submission as Verification;
use weft_protocol::seen::SeenKeys;
use weft_protocol::time::Weave;
use weft_protocol::{Address, DataItem, Hash, Id, tag, wire};
use weft_storage::{CautionRow, Roles};

use crate::config::Role;
use crate::follower::verify_head;
use crate::hosting::{self, Claim, Declined, LimitsError};
use crate::messenger::steps::{self, Step};
use crate::metrics::Level;
use crate::remote::{self, RemoteError};
use crate::room::ROOM_RETRY_MS;
use crate::scheduler::machine::{Answer, Submission};
use crate::scheduler::{ANSWER_WAIT_MAX, LATE_RETRY_MS, SchedulerHandle};
use crate::shared::SharedRef;
use crate::trace;

pub use assign::{Assign, StoredItem, excludes};
pub use error::SubmitError;
use growth::Growth;

/// Characters of a tag's value that an error repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// Bytes of an item without a proof that is verified where it is: one signature takes less time than
/// going to another thread and back costs, and hashing so much takes less than that.
const QUICK_BYTES_MAX: usize = 16 * 1024;

/// Processes that wait for their slot 0 at a time, also those that nobody waits for any more.
const OPENINGS_MAX: usize = 256;

/// A slot that an item has, durably.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Of which process.
    pub process: Id,
    /// The slot.
    pub slot: u64,
    /// Its assignment.
    pub assignment: Id,
    /// The raw assignment, signed by the scheduler.
    pub signed: Bytes,
    /// Whether it had it before.
    pub duplicate: bool,
}

/// Takes items to schedulers.
#[derive(Debug, Clone)]
pub struct Submitter {
    shared: SharedRef,
    scheduler: Option<SchedulerHandle>,
    /// Turns to look for items among peers.
    searches: Arc<Semaphore>,
    /// Places of processes that are being opened.
    openings: Arc<Semaphore>,
    growth: Arc<Growth>,
}

impl Submitter {
    /// `scheduler` is this node's own, if it has that role.
    pub fn new(shared: SharedRef, scheduler: Option<SchedulerHandle>) -> Self {
        let searches = Arc::new(Semaphore::new(assign::SEARCHES_MAX));
        shared.metrics.watch(Level::permits("submit", "searches", &searches, assign::SEARCHES_MAX));
        let openings = Arc::new(Semaphore::new(OPENINGS_MAX));
        shared.metrics.watch(Level::permits("submit", "openings", &openings, OPENINGS_MAX));
        Self { shared, scheduler, searches, openings, growth: Arc::default() }
    }

    /// Takes an item to the scheduler of its process.
    ///
    /// # Errors
    /// Why it got no slot.
    pub async fn submit(&self, item: Bytes, proof: Bytes) -> Result<Slot, SubmitError> {
        let verified = self.verify(item, proof.clone()).await?;
        let span = trace::message(&verified.item.id());
        self.submit_verified(verified, proof).instrument(span).await
    }

    async fn submit_verified(&self, verified: Verification, proof: Bytes) -> Result<Slot, SubmitError> {
        let scheduler = match kind_of(&verified.item)? {
            Kind::Process => {
                let scheduler = verified.item.tag("Scheduler").and_then(|text| text.parse().ok());
                scheduler.ok_or_else(|| {
                    SubmitError::Invalid("the Process item has no valid `Scheduler` tag".to_owned())
                })?
            }
            Kind::Message(process) => hosting::find_process(&self.shared, process)
                .await
                .map_err(|error| SubmitError::Unknown(format!("process {process}: {error}")))?
                .scheduler(),
        };
        if scheduler == self.shared.address {
            self.submit_here(verified).await
        } else {
            self.submit_there(&verified, scheduler, proof).await
        }
    }

    /// Takes an item that came from a peer: only for processes that this node schedules.
    ///
    /// # Errors
    /// Why it got no slot.
    pub async fn submit_local(&self, item: Bytes, proof: Bytes) -> Result<Slot, SubmitError> {
        let is_push = !proof.is_empty();
        let verified = self.verify(item, proof).await?;
        let span = trace::message(&verified.item.id());
        let slot = self.submit_here(verified).instrument(span).await;
        if is_push && slot.is_ok() {
            steps::reached(Step::Assigned);
        }
        slot
    }

    /// The newest slot of a process as of now: its scheduler lets time pass first where a tick is
    /// due (RULES.md 6.6).
    ///
    /// # Errors
    /// Why nobody says.
    pub async fn now(&self, process: Id) -> Result<u64, SubmitError> {
        let known = hosting::find_process(&self.shared, process).await;
        let known = known.map_err(|error| SubmitError::Unknown(format!("process {process}: {error}")))?;
        if known.scheduler() == self.shared.address {
            return self.now_local(process).await;
        }
        let peer = remote::with_address(&self.shared, known.scheduler()).await;
        let peer = peer.map_err(|error| SubmitError::Unknown(error.to_string()))?;
        let head = remote::now(&self.shared, peer, process).await.map_err(|error| refused(&error))?;
        let head = verify_head(known, head).await.map(|head| head.slot);
        head.ok_or_else(|| SubmitError::Unknown(format!("{peer} gave a false head of process {process}")))
    }

    /// The newest slot of a process that this node schedules, as of now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn now_local(&self, process: Id) -> Result<u64, SubmitError> {
        let unknown = || SubmitError::Unknown(format!("process {process} is not scheduled by this node"));
        match self.scheduler.as_ref().ok_or_else(unknown)?.now(process).await {
            Answer::Assigned { slot, .. } => Ok(slot),
            Answer::Busy { retry_ms } => Err(SubmitError::Busy(retry_ms)),
            Answer::Full => Err(SubmitError::Full(ROOM_RETRY_MS)),
            Answer::UnknownProcess => Err(unknown()),
            Answer::Cautious => Err(self.cautious(process)),
            Answer::Fault(why) => Err(SubmitError::Fault(why)),
        }
    }

    async fn verify(&self, item: Bytes, proof: Bytes) -> Result<Verification, SubmitError> {
        let network = self.shared.network;
        let is_quick = item.len() <= QUICK_BYTES_MAX && proof.is_empty();
        let verify = move || Verification::verify(&item, &proof, network);
        let verified = if is_quick {
            verify()
        } else {
            let verified = tokio::task::spawn_blocking(verify).await;
            verified.map_err(|error| SubmitError::Fault(error.to_string()))?
        };
        let verified = verified.map_err(|error| SubmitError::Invalid(error.to_string()))?;
        self.shared.directory.saw_signer(verified.item.owner());
        Ok(verified)
    }

    async fn submit_there(
        &self,
        verified: &Verification,
        scheduler: Address,
        proof: Bytes,
    ) -> Result<Slot, SubmitError> {
        let peer = remote::with_address(&self.shared, scheduler).await;
        let peer = peer.map_err(|error| SubmitError::NoAnswer(error.to_string()))?;
        let answer = remote::submit(&self.shared, peer, verified.item.raw().clone(), proof).await;
        let answer = answer.map_err(|error| refused(&error))?;
        // The scheduler may know another child of the same spawn already.
        let process = match verified.parent() {
            Some(_) => None,
            None => Some(process_of(&verified.item)?),
        };
        let checked = check_answer(process, scheduler, &answer);
        let (process, assignment) = checked.map_err(|why| {
            SubmitError::NoAnswer(format!("the answer of scheduler {scheduler} is false: {why}"))
        })?;
        let wire::SubmitResponse { slot, assignment: signed, duplicate } = answer;
        Ok(Slot { process, slot, assignment, signed, duplicate })
    }

    async fn submit_here(&self, verified: Verification) -> Result<Slot, SubmitError> {
        match kind_of(&verified.item)? {
            Kind::Process => {
                let (submission, new) = self.admit_process(verified).await?;
                self.open(submission, new).await
            }
            Kind::Message(process) => self.schedule(self.admit_message(process, verified)?, None).await,
        }
    }

    /// Schedules what may open a log in a task of its own: whoever asked may wait no longer, and a
    /// process that is on disk by then is taken up all the same.
    async fn open(&self, submission: Submission, new: Option<New>) -> Result<Slot, SubmitError> {
        let Ok(place) = Arc::clone(&self.openings).try_acquire_owned() else {
            return Err(SubmitError::Busy(LATE_RETRY_MS));
        };
        let submitter = self.clone();
        let opening = async move {
            let _place = place;
            submitter.schedule(submission, new).await
        };
        let opening = tokio::spawn(opening.in_current_span());
        match tokio::time::timeout(ANSWER_WAIT_MAX, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => Err(SubmitError::Fault(error.to_string())),
            Err(_) => Err(SubmitError::Busy(LATE_RETRY_MS)),
        }
    }

    /// Hands a submission to this node's own scheduler.
    async fn schedule(&self, submission: Submission, new: Option<New>) -> Result<Slot, SubmitError> {
        let Some(scheduler) = &self.scheduler else {
            return Err(SubmitError::Refused("this node has no scheduler role".to_owned()));
        };
        // Before it is signed: a slot is dear to make and the store would refuse it.
        let proof = submission.proof.as_ref().map_or(0, |proof| proof.raw().len());
        if !self.shared.store.has_room(submission.item.raw().len() + proof) {
            self.shared.metrics.submits.add(Answer::Full.name());
            return Err(SubmitError::Full(ROOM_RETRY_MS));
        }
        let asked = submission.process;
        let grown = if new.is_some() { 0 } else { self.grow(&submission)? };
        let began = Instant::now();
        let answer = match new {
            Some(_) => scheduler.open(submission).await,
            None => scheduler.submit(submission).await,
        };
        self.shared.metrics.assign_times.add(began.elapsed());
        self.shared.metrics.submits.add(answer.name());
        if !matches!(answer, Answer::Assigned { duplicate: false, .. }) {
            self.growth.give_back(&asked, grown);
        }
        match answer {
            Answer::Assigned { process, slot, assignment, signed, duplicate } => {
                tracing::debug!(%process, slot, duplicate, "submitted");
                // Also one whose first submitter hung up before he was answered.
                let is_new = |accepted: &Process| {
                    accepted.id() == process && self.shared.directory.get(&process).is_none()
                };
                if let Some(New { process, roles, _place }) = new.filter(|new| is_new(&new.process)) {
                    hosting::take_up(&self.shared, process, roles).await;
                }
                let read = || {
                    let stored = self.shared.store.read().and_then(|reader| reader.slot(&process, slot));
                    let stored = stored.map_err(|error| SubmitError::Fault(error.to_string()))?;
                    Ok(stored.map(|row| row.assignment).unwrap_or_default())
                };
                let signed = signed.map_or_else(read, Ok)?;
                Ok(Slot { process, slot, assignment, signed, duplicate })
            }
            Answer::Busy { retry_ms } => Err(SubmitError::Busy(retry_ms)),
            Answer::Full => Err(SubmitError::Full(ROOM_RETRY_MS)),
            Answer::UnknownProcess => {
                Err(SubmitError::Unknown("its process is not scheduled by this node".to_owned()))
            }
            Answer::Cautious => Err(self.cautious(asked)),
            Answer::Fault(why) => Err(SubmitError::Fault(why)),
        }
    }

    /// Why this node signs nothing in a log for now, and what can be done about it.
    fn cautious(&self, process: Id) -> SubmitError {
        let read = || {
            let reader = self.shared.store.read()?;
            let head = reader.head(&process)?.map_or(0, |(slot, _)| slot + 1);
            Ok::<_, weft_storage::StoreError>((head, reader.caution_of(&process)?))
        };
        let (slots, row) = match read() {
            Ok(read) => read,
            Err(error) => return SubmitError::Fault(error.to_string()),
        };
        let accept = "stop the node and run `weft repair --accept-loss";
        SubmitError::Fault(match row {
            None => format!(
                "this node's store lost processes, and {process} may be one of them: opening it again could \
                 give its slot 0 two signatures; if it is new, {accept} new`"
            ),
            Some(CautionRow { slots: Some(signed), .. }) => format!(
                "this node signed {signed} slots of process {process} and its store has {slots}; it asks peers \
                 for the others and signs nothing until it has them; if nobody has them, {accept} {process}`"
            ),
            Some(CautionRow { why, slots: None }) => format!(
                "this node's store was {}, has {slots} slots of process {process} and may lack some that were \
                 signed; it asks peers and signs nothing until every node that the process names to compute it \
                 has answered; if no slot is missing, {accept} {process}`",
                why.name()
            ),
        })
    }

    async fn admit_process(&self, verified: Verification) -> Result<(Submission, Option<New>), SubmitError> {
        let shared = &self.shared;
        let (parent, spawn) = verified.spawn().unzip();
        let Verification { item, proof } = verified;
        let process = Process::accept(item.clone(), parent, &shared.terms)
            .map_err(|refusal| SubmitError::Invalid(format!("the process is refused: {refusal}")))?;
        let address = shared.address;
        if process.scheduler() != address {
            let named = process.scheduler();
            return Err(SubmitError::Refused(format!(
                "the process names scheduler {named}, but this node is {address}"
            )));
        }
        if *process.weave() != Weave::Clock {
            let weave = process.weave();
            return Err(SubmitError::Refused(format!("this scheduler has no view of the weave `{weave}`")));
        }
        let (process_id, keys) = (item.id(), SeenKeys::of_item(item.id()));
        let proof = proof.map(|(proof, _)| proof);
        let submission =
            Submission { process: process_id, item, proof, keys, spawn, assigned: None, roles: None };
        if self.has_child(spawn)? {
            // Another messenger's item for the same child: it is told of that one, whatever is free here.
            return Ok((submission, None));
        }
        let claim = Claim::of(shared, &process);
        claim.check_scheduling(shared).map_err(|declined| self.decline(&declined))?;
        let place = match claim.is_own() {
            true => None,
            false => {
                let budget = shared.config.spawn_budget;
                let place = shared.unasked.reserve(&shared.directory, process.id(), spawn, budget);
                Some(place.map_err(|declined| self.decline(&declined))?)
            }
        };
        let computes = self.computes(&claim, &process).await?;
        let messenges = computes && shared.config.roles.contains(&Role::Messenger);
        let for_others = !claim.is_own();
        let roles = Roles { schedules: true, computes, messenges, for_others, ..Roles::default() };
        let submission = Submission { roles: Some(roles), ..submission };
        Ok((submission, Some(New { process: Arc::new(process), roles, _place: place })))
    }

    /// Whether this spawn has its child.
    fn has_child(&self, spawn: Option<Hash>) -> Result<bool, SubmitError> {
        let Some(spawn) = spawn else { return Ok(false) };
        let opening = self.shared.store.read().and_then(|reader| match reader.child(&spawn)? {
            Some(child) => reader.slot(&child, 0),
            None => Ok(None),
        });
        Ok(opening.map_err(|error| SubmitError::Fault(error.to_string()))?.is_some())
    }

    /// Whether a new process is computed here. What this node would attest it must compute; what
    /// others attest it may leave to them.
    async fn computes(&self, claim: &Claim, process: &Process) -> Result<bool, SubmitError> {
        let shared = &self.shared;
        let attests = process.attestors().members.contains(&shared.address);
        let mut declined = claim.check_computing(shared).err();
        if declined.is_none() {
            let limits = hosting::limits_of(shared, process).await.map_err(|error| match error {
                LimitsError::NotHere(..) => SubmitError::Unknown(error.to_string()),
                LimitsError::Refused(..) => SubmitError::Invalid(error.to_string()),
                LimitsError::Store(_) => SubmitError::Fault(error.to_string()),
            })?;
            declined = claim.check_limits(shared, &limits).err();
        }
        match declined {
            Some(declined) if attests => Err(self.decline(&declined)),
            other => Ok(other.is_none()),
        }
    }

    fn decline(&self, declined: &Declined) -> SubmitError {
        self.shared.metrics.declined.add(declined.name());
        SubmitError::Refused(declined.to_string())
    }

    fn admit_message(&self, process: Id, verified: Verification) -> Result<Submission, SubmitError> {
        let known = self.shared.directory.get(&process);
        let known = known.filter(|known| known.roles.schedules).ok_or_else(|| {
            SubmitError::Unknown(format!("process {process} is not scheduled by this node"))
        })?;
        let origin = verified.origin(&known.process);
        let keys = SeenKeys::of_submission(&known.process, &verified.item, &origin);
        let Verification { item, proof } = verified;
        let proof = proof.map(|(proof, _)| proof);
        Ok(Submission { process, item, proof, keys, spawn: None, assigned: None, roles: None })
    }
}

/// A process on its way into the directory.
struct New {
    process: Arc<Process>,
    roles: Roles,
    /// Held until it is there.
    _place: Option<hosting::Place>,
}

/// Why a scheduler gave no slot.
fn refused(error: &RemoteError) -> SubmitError {
    match error {
        RemoteError::Refused { refusal, .. } => SubmitError::of_refusal(refusal),
        _ => SubmitError::NoAnswer(error.to_string()),
    }
}

/// The slot that a remote scheduler answers with must be signed by it and be of the process; of a
/// spawn, slot 0 of whichever child it names. Gives the process and the assignment.
fn check_answer(
    process: Option<Id>,
    scheduler: Address,
    answer: &wire::SubmitResponse,
) -> Result<(Id, Id), String> {
    let item = DataItem::verify_bytes(answer.assignment.clone()).map_err(|error| error.to_string())?;
    if item.owner() != scheduler {
        return Err("the assignment is signed by another key".to_owned());
    }
    let assignment = Assignment::from_item(&item).map_err(|error| error.to_string())?;
    let is_asked = process.map_or(assignment.slot == 0, |process| assignment.process == process);
    if !is_asked || assignment.slot != answer.slot {
        return Err("the assignment is of another slot".to_owned());
    }
    Ok((assignment.process, assignment.id))
}

enum Kind {
    Process,
    Message(Id),
}

/// What the reference's scheduler asks of an item before anything else.
fn kind_of(item: &DataItem) -> Result<Kind, SubmitError> {
    let invalid = |why: &str| SubmitError::Invalid(why.to_owned());
    item.tag("Data-Protocol").ok_or_else(|| invalid("the `Data-Protocol` tag is missing; expected `ao`"))?;
    if item.tags().iter().any(|tag| tag.name.ends_with("+link") || tag.value.ends_with("+link")) {
        return Err(invalid("tags whose name or value ends in +link are refused"));
    }
    match tag::first(item.tags(), "Type").or_else(|| tag::first(item.tags(), "type")) {
        Some("Process") => Ok(Kind::Process),
        Some("Message") => item.target().map(Kind::Message).ok_or_else(|| {
            invalid("the message has no target; expected the id of a process in the item's target field")
        }),
        Some(other) => {
            let other: String = other.chars().take(SHOWN_CHARS_MAX).collect();
            Err(invalid(&format!("the `Type` tag is `{other}`; expected `Process` or `Message`")))
        }
        None => Err(invalid("the `Type` tag is missing; expected `Process` or `Message`")),
    }
}

fn process_of(item: &DataItem) -> Result<Id, SubmitError> {
    Ok(match kind_of(item)? {
        Kind::Process => item.id(),
        Kind::Message(process) => process,
    })
}

#[cfg(test)]
mod tests;
