//! From what lies in the pool to verified slots, in order. What is false is forgotten and its giver named;
//! what is missing is said. Verifies signatures: to be called away from the tasks.
//!
//! A slot follows from the one before by what that claims, so many are verified at once, each against the claims
//! before it. They are taken in order up to the first that fails; that one, and all after it, are read one by one.

use std::sync::Arc;

use bytes::Bytes;
use weft_protocol::assignment::Assignment;
use weft_protocol::attestation::Attestation;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::evidence::Evidence;
use weft_protocol::module::Module;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::{Link, RecordError, SlotRecord, VerifiedRecord};
use weft_protocol::{Address, DataItem, Id, Verified, tag, wire};

use super::machine::{Gateway, Want};
use super::pool::{Held, Place, Pool, Rival};
use crate::portable::{EVIDENCE_TYPE, Part, attestations_of};
use crate::threads;

/// Slots that are verified before they are handed on: what the follower commits twice.
const GROUP_SLOTS: usize = 1_024;
/// Bytes of them that are in memory at once, and one slot more.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// How far a log is read and verified.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) pool: Pool,
    terms: Terms,
    process: Id,
    /// Who signs its assignments: its Process item says so, which its id proves.
    scheduler: Option<Address>,
    known: Option<(Arc<Process>, EpochTerms)>,
    pub(super) link: Option<Link>,
    /// The module came, or was here.
    has_module: bool,
    /// Threads that verify.
    pub(super) threads: usize,
}

/// What came out of the pool.
#[derive(Default)]
pub(super) struct Group {
    /// In order.
    pub(super) parts: Vec<Part>,
    /// Whose assignments they are.
    pub(super) givers: Vec<Gateway>,
    /// Where something false was, and what.
    pub(super) lies: Vec<(Place, String)>,
    /// What is false and nobody's lie: anybody may sign something under the name of a process.
    pub(super) junk: Vec<(Gateway, String)>,
    /// Two assignments of one slot, both of which the scheduler signed.
    pub(super) rivals: Vec<(Verified<DataItem>, Verified<DataItem>)>,
    /// What convicts somebody who signed for this log.
    pub(super) evidence: Vec<Verified<Evidence>>,
    /// The last slot that came, of all groups.
    pub(super) link: Option<Link>,
    /// What is missing for the next slot.
    pub(super) wants: Option<Want>,
    /// Why the log cannot go on, whoever gives it.
    pub(super) refused: Option<String>,
    /// Bytes of the slots.
    bytes: usize,
}

impl Group {
    const fn has_room(&self) -> bool {
        self.givers.len() < GROUP_SLOTS && self.bytes < GROUP_BYTES
    }
}

/// What belongs to a log beside its slots.
pub(super) enum Beside {
    Attestations(Vec<Verified<Attestation>>),
    Evidence(Box<Verified<Evidence>>),
}

enum Next {
    Taken(Gateway, Option<Arc<Process>>, Box<VerifiedRecord>),
    Wants(Want),
    Refused(String),
    /// Something was forgotten; there may be another.
    Again,
}

impl Reading {
    /// Nothing came yet; so many threads verify.
    pub(super) const fn new(process: Id, terms: Terms, threads: usize) -> Self {
        let (scheduler, known, link, has_module) = (None, None, None, false);
        Self { pool: Pool::new(process), terms, process, scheduler, known, link, has_module, threads }
    }

    /// Takes a bundle into the pool.
    ///
    /// # Errors
    /// The bytes are none.
    pub(super) fn add_bundle(&mut self, from: (Gateway, bool), bytes: Bytes) -> Result<(), String> {
        self.pool.add_bundle(from, bytes, self.threads)
    }

    /// Goes on from what is here of the process.
    pub(super) fn go_on_from(&mut self, process: Arc<Process>, link: Link) -> Result<(), String> {
        let terms = EpochTerms::of_process(&process).map_err(|error| error.to_string())?;
        self.scheduler = Some(terms.scheduler());
        self.known = Some((process, terms));
        self.link = Some(link);
        Ok(())
    }

    pub(super) fn next_slot(&self) -> u64 {
        self.link.map_or(0, |link| link.slot + 1)
    }

    pub(super) const fn scheduler(&self) -> Option<Address> {
        self.scheduler
    }

    /// Learns from the Process item who schedules it, if the pool has it.
    pub(super) fn meet(&mut self) -> Option<Result<(), String>> {
        let (place, held) = self.pool.item(&self.process)?;
        let Ok(item) = DataItem::verify_bytes(held.raw.clone()) else {
            self.pool.forget(place);
            return None;
        };
        let scheduler = item.tag("Scheduler").and_then(|text| text.parse().ok());
        let none = || "its Process item names no scheduler".to_owned();
        Some(scheduler.ok_or_else(none).map(|scheduler| self.scheduler = Some(scheduler)))
    }

    /// Whether the pool has a thing, and it is true. What is false is forgotten.
    pub(super) fn has(&mut self, want: Want) -> Has {
        let mut none = Has::No;
        loop {
            let held = match want {
                Want::Item(id) => self.pool.item(&id).map(|(place, held)| (place, held.raw.clone())),
                Want::Slot(slot) => {
                    let held = self.pool.assignment(slot, |rival| self.continues(rival, self.link.as_ref()));
                    held.map(|(place, rival)| (place, rival.raw.clone()))
                }
            };
            let Some((place, raw)) = held else { return none };
            if DataItem::verify_bytes(raw).is_ok() {
                return Has::Yes;
            }
            // There may be another under its name.
            self.pool.forget(place);
            none = Has::False;
        }
    }

    /// Whether an assignment claims to be the one after this one.
    fn continues(&self, rival: &Rival, before: Option<&Link>) -> bool {
        let Assignment { process, hash_chain, epoch, .. } = rival.claims;
        let is_linked = match (before, &self.known) {
            (Some(link), Some((_, terms))) => hash_chain == link.next() && epoch == terms.epoch(),
            // Slot 0 is checked against the process when that is accepted.
            _ => true,
        };
        process == self.process && Some(rival.owner) == self.scheduler && is_linked
    }

    /// Takes as many slots as there are, up to a limit.
    pub(super) fn group(&mut self) -> Group {
        let mut group = Group::default();
        // Once for each lie would cost without end: after the first, what is left is read one by one.
        let mut together = true;
        while group.has_room() {
            if together && self.known.is_some() {
                together = self.take_together(&mut group);
                continue;
            }
            match self.next(&mut group) {
                Next::Taken(gateway, opened, record) => self.take(gateway, opened, record, &mut group),
                Next::Again => {}
                Next::Wants(want) => {
                    group.wants = Some(want);
                    break;
                }
                Next::Refused(why) => {
                    group.refused = Some(why);
                    break;
                }
            }
        }
        self.others(&mut group);
        group.link = self.link;
        group
    }

    fn take(
        &mut self,
        gateway: Gateway,
        opened: Option<Arc<Process>>,
        record: Box<VerifiedRecord>,
        group: &mut Group,
    ) {
        self.link = Some(record.link());
        self.note_rival(&record, group);
        let part = match opened {
            Some(process) => Part::Opening(process, record),
            None => Part::Slot(record),
        };
        group.bytes += part.bytes();
        group.givers.push(gateway);
        group.parts.push(part);
    }

    /// Takes the next slots of which all parts are there; whether there were any, and all were true.
    fn take_together(&mut self, group: &mut Group) -> bool {
        let claimed = self.claimed(group);
        let verified = threads::each(self.threads, &claimed, |one| self.verify_claimed(one));
        let found = !claimed.is_empty();
        for (one, record) in claimed.into_iter().zip(verified) {
            let Some(record) = record else { return false };
            self.take(one.gateway, None, record, group);
        }
        found
    }

    /// What the next slots are, by what each claims, as far as a group has room for them.
    fn claimed(&self, group: &Group) -> Vec<Claimed> {
        let (mut all, mut bytes, mut link) = (Vec::new(), group.bytes, self.link);
        while let Some(before) =
            link.filter(|_| group.givers.len() + all.len() < GROUP_SLOTS && bytes < GROUP_BYTES)
        {
            let parts = before.slot.checked_add(1).and_then(|slot| {
                let (place, rival) =
                    self.pool.assignment(slot, |rival| self.continues(rival, Some(&before)))?;
                let raw_of = |id: Id| self.pool.item(&id).map(|(_, held)| held.raw.clone());
                let (_, Held { raw, proof }) = self.pool.item(&rival.claims.item())?;
                let proof = proof.map_or(Some(Bytes::new()), raw_of)?;
                Some((place.gateway, rival, raw.clone(), proof))
            });
            let Some((gateway, Rival { raw, claims, .. }, item, proof)) = parts else { break };
            bytes += raw.len() + item.len() + proof.len();
            let record = wire::SlotRecord { assignment: raw.clone(), item, proof };
            all.push(Claimed { gateway, before, record });
            let Assignment { id, slot, hash_chain, time, .. } = claims;
            link = Some(Link { slot: *slot, assignment: *id, hash_chain: *hash_chain, time: *time });
        }
        all
    }

    /// Verifies a slot whose parts were there: as [`Self::next`] does, if the one before is what it claims to be.
    fn verify_claimed(&self, claimed: &Claimed) -> Option<Box<VerifiedRecord>> {
        let (process, terms) = self.known.as_ref()?;
        let record = SlotRecord::from_wire(&claimed.record).ok()?;
        Some(Box::new(record.verify(process, terms, Some(&claimed.before)).ok()?))
    }

    fn next(&mut self, group: &mut Group) -> Next {
        let slot = self.next_slot();
        let Some((place, rival)) =
            self.pool.assignment(slot, |rival| self.continues(rival, self.link.as_ref()))
        else {
            return Next::Wants(Want::Slot(slot));
        };
        let id = rival.claims.item();
        let mut parts = vec![Given { name: "assignment", place, raw: rival.raw.clone(), names: Some(id) }];
        // What a part names is believed, and looked for, only once the part itself is true.
        for name in ["item", "proof"] {
            let Some(named) = parts.last().and_then(|part| part.names) else { break };
            let given = |(place, held): (Place, &Held)| {
                let Held { raw, proof } = held;
                Given { name, place, raw: raw.clone(), names: *proof }
            };
            match self.pool.item(&named).map(given) {
                Some(part) => parts.push(part),
                None if self.are_true(&parts, slot, group) => return Next::Wants(Want::Item(named)),
                None => return Next::Again,
            }
        }
        let raw = |at: usize| parts.get(at).map(|part| part.raw.clone()).unwrap_or_default();
        let record = wire::SlotRecord { assignment: raw(0), item: raw(1), proof: raw(2) };
        match self.verify(&record) {
            Ok((opened, record)) => Next::Taken(place.gateway, opened, Box::new(record)),
            // Somebody else may have the true part; where all are, nobody has another.
            Err(_) if !self.are_true(&parts, slot, group) => Next::Again,
            Err(why) => Next::Refused(format!("slot {slot}: {why}")),
        }
    }

    /// Whether the signatures of all these are their own; those that are not are forgotten.
    fn are_true(&mut self, parts: &[Given], slot: u64, group: &mut Group) -> bool {
        let mut are_true = true;
        for Given { name, place, raw, .. } in parts {
            if let Err(error) = DataItem::verify_bytes(raw.clone()) {
                group.lies.push((*place, format!("the {name} of slot {slot}: {error}")));
                self.pool.forget(*place);
                are_true = false;
            }
        }
        are_true
    }

    /// Keeps another assignment of the same slot, if the scheduler signed one.
    fn note_rival(&self, record: &VerifiedRecord, group: &mut Group) {
        let ours = record.assignment();
        let is_other = |rival: &Rival| {
            rival.claims.id != ours.id
                && rival.claims.process == self.process
                && rival.claims.epoch == ours.epoch
                && Some(rival.owner) == self.scheduler
        };
        if let Some((_, rival)) = self.pool.assignment(ours.slot, is_other)
            && let Ok(rival) = DataItem::verify_bytes(rival.raw.clone())
        {
            group.rivals.push((record.assignment_item().clone(), rival));
        }
    }

    fn verify(
        &mut self,
        record: &wire::SlotRecord,
    ) -> Result<(Option<Arc<Process>>, VerifiedRecord), RecordError> {
        let record = SlotRecord::from_wire(record)?;
        if let Some((process, terms)) = &self.known {
            return Ok((None, record.verify(process, terms, self.link.as_ref())?));
        }
        let (process, record) = record.open(&self.terms)?;
        let terms = EpochTerms::of_process(&process)?;
        let process = Arc::new(process);
        self.known = Some((Arc::clone(&process), terms));
        Ok((Some(process), record))
    }

    /// The module and the attestations that are there, once it is known whose they are.
    fn others(&mut self, group: &mut Group) {
        let Some((process, _)) = &self.known else { return };
        if !self.has_module
            && let Some((place, held)) = self.pool.item(&process.module())
        {
            match module(held.raw.clone()) {
                Ok(item) => {
                    self.has_module = true;
                    group.parts.push(Part::Module(Box::new(item)));
                }
                Err(why) => {
                    group.lies.push((place, why));
                    self.pool.forget(place);
                }
            }
        }
        for (gateway, item) in self.pool.take_beside() {
            match self.beside(&item.data(), tag::first(item.tags(), "Type")) {
                Ok(Beside::Attestations(attestations)) => group.parts.push(Part::Attestations(attestations)),
                Ok(Beside::Evidence(evidence)) => group.evidence.push(*evidence),
                Err(why) => group.junk.push((gateway, why)),
            }
        }
    }

    /// Reads what belongs to the log beside its slots. It proves itself, whoever carries it.
    ///
    /// # Errors
    /// It is false, or of another process.
    pub(super) fn beside(&self, data: &Bytes, kind: Option<&str>) -> Result<Beside, String> {
        if kind != Some(EVIDENCE_TYPE) {
            return attestations_of(data, self.terms.network).map(Beside::Attestations);
        }
        let evidence = Evidence::decode(data, self.terms.network).and_then(|read| read.verify());
        let evidence = evidence.map_err(|error| format!("evidence: {error}"))?;
        let concerns = self.known.as_ref().is_some_and(|(_, terms)| evidence.concerns(terms));
        if concerns {
            Ok(Beside::Evidence(Box::new(evidence)))
        } else {
            Err("evidence: it convicts nobody here".to_owned())
        }
    }

    /// Whose word about the log counts: its scheduler's, and its attestors'.
    pub(super) fn signers(&self) -> Vec<Address> {
        let members = self.known.iter().flat_map(|(process, _)| process.attestors().members.clone());
        let mut signers: Vec<Address> = self.scheduler.into_iter().chain(members).collect();
        signers.sort_unstable();
        signers.dedup();
        signers
    }

    /// Whether the pool has an assignment of this id that the scheduler signed for this slot.
    pub(super) fn is_signed(&self, slot: u64, id: Id) -> bool {
        let is_it = |rival: &Rival| {
            rival.claims.id == id
                && rival.claims.process == self.process
                && Some(rival.owner) == self.scheduler
        };
        let found = self.pool.assignment(slot, is_it);
        found.is_some_and(|(_, rival)| DataItem::verify_bytes(rival.raw.clone()).is_ok())
    }

    /// The module is on disk.
    pub(super) const fn has_module_here(&mut self) {
        self.has_module = true;
    }

    /// The module that is still wanted.
    pub(super) fn wants_module(&self) -> Option<Id> {
        let (process, _) = self.known.as_ref()?;
        (!self.has_module).then(|| process.module())
    }
}

/// What the pool says of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    /// It is there.
    Yes,
    /// It is not.
    No,
    /// Something else was there under its name.
    False,
}

/// A slot as the assignments before it claim that it is.
struct Claimed {
    gateway: Gateway,
    /// What it must continue, by its claims.
    before: Link,
    record: wire::SlotRecord,
}

/// A part of a slot, from the pool.
struct Given {
    name: &'static str,
    place: Place,
    raw: Bytes,
    /// The next part: an assignment names its item, an item its proof.
    names: Option<Id>,
}

fn module(raw: Bytes) -> Result<Verified<DataItem>, String> {
    let item = DataItem::verify_bytes(raw).map_err(|error| format!("the module: {error}"))?;
    Module::accept(item.clone()).map_err(|error| format!("the module: {error}"))?;
    Ok(item)
}

#[cfg(test)]
pub(super) mod tests;
