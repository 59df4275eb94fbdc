//! Who carried what a process in hard mode sent, and what is due for it: computed from the logs, as anybody can.

use std::collections::BTreeMap;

use weft_protocol::Id;
use weft_protocol::market::{WINDOW_SLOTS, Window, set_slot, window_of};
use weft_protocol::process::Process;

use super::super::api::{AuditInfo, CarrierRow, Failure, FailureCode, WindowAudit};
use super::{Answers, disk, fail};
use crate::market::audit::{Audit, Sent, audit};
use crate::market::sent::{Outboxes, Push, look_for, outboxes};
use crate::market::window_at;

/// Windows that are audited where none is named: the newest.
const WINDOWS_MAX: u64 = 4;
/// Pushes of one audit that targets' schedulers are asked about; of others it is said that nobody was asked.
const ASKED_MAX: usize = 1_024;

impl Answers {
    pub(super) async fn audit(&self, process: Id, window: Option<u64>) -> Result<AuditInfo, Failure> {
        let known = self.known(&process)?;
        if known.process.market().is_none() {
            let text = format!(
                "process {process} is in soft mode: messengers carry for free, and nothing is due to anybody"
            );
            return Err(fail(FailureCode::Refused, text));
        }
        let (head, computed) = {
            let reader = self.read()?;
            let head = reader.head(&process).map_err(disk)?.map_or(0, |(slot, _)| slot);
            (head, reader.last_computed(&process).map_err(disk)?.map(|position| position.slot))
        };
        let Some(computed) = computed else {
            let text = format!(
                "what process {process} sent is not known here: `weft host {process} --compute` evaluates it"
            );
            return Err(fail(FailureCode::Refused, text));
        };
        let newest = window_of(head);
        let windows: Vec<u64> = match window {
            Some(window) if (1..=newest).contains(&window) => vec![window],
            Some(window) => {
                let text = format!(
                    "there is no window {window} yet: the log here ends in window {newest}, and 1 is the first"
                );
                return Err(fail(FailureCode::Unknown, text));
            }
            None => (newest.saturating_sub(WINDOWS_MAX - 1).max(1)..=newest).collect(),
        };
        let mut left = ASKED_MAX;
        let mut audited = Vec::new();
        for number in windows {
            audited.push(self.audit_window(&known.process, number, computed, &mut left).await?);
        }
        let ledger = known.process.market().map(|market| market.terms.ledger);
        Ok(AuditInfo { process, ledger, head, computed, windows: audited })
    }

    async fn audit_window(
        &self,
        process: &Process,
        number: u64,
        computed: u64,
        left: &mut usize,
    ) -> Result<WindowAudit, Failure> {
        let first = number.saturating_mul(WINDOW_SLOTS);
        let (window, outboxes) = {
            let reader = self.read()?;
            let window = window_at(&reader, process, first);
            let window = window.map_err(|error| fail(FailureCode::Fault, error.to_string()))?;
            let outboxes = match &window {
                Some(_) => outboxes(&reader, process, first, computed).map_err(disk)?,
                None => Outboxes::default(),
            };
            (window, outboxes)
        };
        let mut notes = Vec::new();
        let Some(window) = window else {
            notes.push(
                "its slot holds no offers: its pushes are carried as in soft mode, for nothing".to_owned(),
            );
            return Ok(row(number, None, &Audit::default(), 0, notes));
        };
        if computed < first + WINDOW_SLOTS - 1 {
            notes.push(format!("evaluated here up to slot {computed} only: later pushes are missing"));
        }
        if outboxes.pruned > 0 {
            notes.push(format!("what {} slots sent has been pruned here and is missing", outboxes.pruned));
        }
        if outboxes.spawns > 0 {
            notes.push(format!("{} spawns are paid too, and are not audited here", outboxes.spawns));
        }
        let (asked, unasked) = outboxes.pushes.split_at(outboxes.pushes.len().min(*left));
        *left -= asked.len();
        if !unasked.is_empty() {
            notes.push(format!(
                "{} more pushes were not looked for: audit this window alone with --window",
                unasked.len()
            ));
        }
        let sent = self.look_for(asked, &mut notes).await;
        let pushes = (sent.len() + unasked.len()) as u64;
        Ok(row(number, Some(&window), &audit(&window, &sent), pushes, notes))
    }

    /// Looks for the slots of pushes, and notes why those of others are not known.
    async fn look_for(&self, asked: &[Push], notes: &mut Vec<String>) -> Vec<Sent> {
        let found = look_for(&self.shared, asked).await;
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        let mut sent = Vec::new();
        for (asked, found) in asked.iter().zip(found) {
            let (found, why) = match found {
                Ok(found) => (found, "its target has no slot for it".to_owned()),
                Err(why) => (None, why),
            };
            if found.is_none() {
                *reasons.entry(why).or_default() += 1;
            }
            sent.push(asked.with(found, self.shared.network));
        }
        let why = |(why, count)| format!("no slot is known for {count} pushes: {why}");
        notes.extend(reasons.into_iter().map(why));
        sent
    }
}

fn row(window: u64, of: Option<&Window>, audit: &Audit, pushes: u64, notes: Vec<String>) -> WindowAudit {
    let messengers = audit.messengers.iter().map(|(messenger, tally)| CarrierRow {
        messenger: *messenger,
        first: tally.first,
        paid: tally.paid,
        taken_over: tally.taken_over,
        early: tally.early,
        late: tally.late,
        due: tally.due.to_string(),
    });
    WindowAudit {
        window,
        set_slot: set_slot(window).unwrap_or_default(),
        seed: of.map(Window::seed),
        offers: of.map_or(0, |window| window.set().entries().len()),
        pushes,
        unknown: audit.unknown,
        outside: audit.outside,
        messengers: messengers.collect(),
        notes,
    }
}
