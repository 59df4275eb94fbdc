//! Checking a process by replay: every outcome on disk and every attestation held, against a
//! fresh fold of the log from slot 0.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use weft_protocol::attestation::Attestation;
use weft_protocol::process::Process;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::{Address, Hash, Position, wire};
use weft_storage::Reader;

use crate::compute::hosted::{Evaluated, HostError, Hosted};
use crate::compute::modules::{Host, load_module};
use crate::control::api::{Progress, VerifyReport};
use crate::log::{Ahead, Way, walk};

/// Replays a process up to the newest slot on the host's disk and compares. `tell` is called as it goes, and says
/// whether to go on: there is no report if not. The first difference ends it; none means that
/// everything is equal.
///
/// # Errors
/// A host failure, which says nothing about the process.
pub fn verify(
    host: Host<'_>,
    process: &Arc<Process>,
    tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<VerifyReport>, HostError> {
    let started = Instant::now();
    // First, for what is read while a compiler is at work stays on disk as long.
    let loaded = load_module(host, process)?;
    let reader = host.store.read()?;
    let id = process.id();
    let last = reader.head(&id)?.map(|(slot, _)| slot);
    let total = last.map_or(0, |slot| slot + 1);
    let (spare, to) = (host.spare, total.saturating_sub(1));
    let way = Way { reader: &reader, process, spare, from: 0, to, due: to };
    let mut hosted = Hosted::fresh(Arc::clone(process), loaded)?;
    let mut check = Check { reader: &reader, process, checked: 0, attestors: BTreeSet::new() };
    let (mut positions, mut running, mut difference) = (0, Hash::ZERO, None);
    let mut replay_slot = |record: &VerifiedRecord| -> Result<ControlFlow<()>, HostError> {
        for evaluated in hosted.run_slot(record)? {
            positions += 1;
            running = evaluated.closed.running.0;
            difference = check.compare(&evaluated)?;
            if difference.is_some() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(tell(Progress { done: hosted.next_slot(), total }))
    };
    let ended = match last {
        Some(_) => walk(&way, &mut Ahead::default(), &mut replay_slot)?,
        None => ControlFlow::Continue(()),
    };
    if ended.is_break() && difference.is_none() {
        return Ok(None);
    }
    let state_root = hosted.summary()?.map_or(Hash::ZERO, |summary| summary.root());
    Ok(Some(VerifyReport {
        process: id,
        slots: hosted.next_slot(),
        positions,
        attestations_checked: check.checked,
        attestors: check.attestors.into_iter().collect(),
        running,
        state_root,
        difference,
        weave: None,
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }))
}

struct Check<'a> {
    reader: &'a Reader,
    process: &'a Process,
    checked: u64,
    attestors: BTreeSet<Address>,
}

impl Check<'_> {
    /// What differs at one position, if anything does.
    fn compare(&mut self, evaluated: &Evaluated) -> Result<Option<String>, HostError> {
        let position = evaluated.closed.outcome.position;
        let replayed = evaluated.closed.running.0;
        if let Some(row) = self.reader.outcome(&self.process.id(), position)?
            && row.running != replayed
        {
            let stored = row.running;
            return Ok(Some(format!(
                "position {position}: the replay gives {replayed}, this node stored {stored}"
            )));
        }
        self.compare_attested(position, replayed, evaluated.state_root)
    }

    fn compare_attested(
        &mut self,
        position: Position,
        replayed: Hash,
        state_root: Option<Hash>,
    ) -> Result<Option<String>, HostError> {
        for (attestor, row) in self.reader.attestations(&self.process.id(), position)? {
            let message: Option<wire::Attestation> = prost::Message::decode(row.bytes).ok();
            let attestation = message.and_then(|message| {
                Attestation::from_wire(&message, self.process.network()).ok()?.verify().ok()
            });
            let Some(attestation) = attestation else {
                return Ok(Some(format!("position {position}: the attestation of {attestor} is damaged")));
            };
            let said = attestation.statement();
            if said.running != replayed {
                let other = said.running;
                return Ok(Some(format!(
                    "position {position}: the replay gives {replayed}, {attestor} attested {other}"
                )));
            }
            if state_root.is_some_and(|root| said.state_root != root) {
                return Ok(Some(format!("position {position}: {attestor} attested another state root")));
            }
            self.checked += 1;
            self.attestors.insert(attestor);
        }
        Ok(None)
    }
}
