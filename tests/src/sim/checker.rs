//! Who watches the nodes from outside, and says what must never be.

mod children;
mod ticks;

pub use ticks::{count_evals, count_marks_and_ticks};

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weft_protocol::assignment::Assignment;
use weft_protocol::outcome::EntryKind;
use weft_protocol::push::Source;
use weft_protocol::{DataItem, Hash, Id, Now, Position};

use super::disk::{OutboxState, Rows};
use super::network::{Answer, Assigned, Message, Refused};
use super::node::Node;
use super::roles;
use super::town::{NETWORK, Town};
use super::vice::Vice;
use super::workload::Errand;
use super::world::Weave;

/// Violations that are kept; one is enough, a few tell more.
const VIOLATIONS_MAX: usize = 8;

/// An answer that a node gave: the item has this slot.
#[derive(Debug)]
struct Answered {
    process: Id,
    slot: u64,
    assignment: Id,
    /// None if it was asked for as the newest slot.
    item: Option<Id>,
}

/// What was seen, and what was wrong with it.
#[derive(Debug, Default)]
pub struct Checker {
    /// What was wrong.
    pub violations: Vec<String>,
    signed: BTreeMap<(Id, u64, u64), Id>,
    answered: Vec<Answered>,
    /// What readers were given as the newest slot, and when they asked.
    read: Vec<(Id, u64, Now)>,
    /// Nodes that held two contradicting signatures of one key.
    hold_both: BTreeSet<usize>,
    /// No write fails, so no evidence is lost.
    disks_are_sound: bool,
    /// How often messengers did what their vice asks for.
    pub acts: BTreeMap<Vice, usize>,
    /// False pushes that a scheduler refused.
    pub refused: usize,
    /// Pushes that were handed in when they had a slot.
    pub duplicates: usize,
}

impl Checker {
    /// A checker of a run in which writes may fail or may not.
    pub fn new(disks_are_sound: bool) -> Self {
        Self { disks_are_sound, ..Self::default() }
    }

    /// Notes something that must not be.
    pub fn violation(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }

    /// Notes that a messenger did what its vice asks for.
    pub fn acted(&mut self, vice: Vice) {
        *self.acts.entry(vice).or_default() += 1;
    }

    /// Looks at what became of something that a messenger tried beside its pushes; `is_false` says that no scheduler may
    /// take it.
    pub fn tried(&mut self, is_false: bool, became: &Result<Assigned, Refused>) {
        match became {
            Ok(Assigned { process, slot, .. }) if is_false => {
                self.violation(format!("slot {slot} of {process} was given to a false push"));
            }
            Err(Refused::Invalid(_)) if is_false => self.refused += 1,
            Err(Refused::Invalid(why)) => self.violation(format!("a true push was called invalid: {why}")),
            Ok(_) | Err(Refused::Busy(_) | Refused::Unknown(_)) => {}
        }
    }

    /// Looks at a message that leaves a node: one message per slot, for ever.
    pub fn leaves(&mut self, town: &Town<'_>, message: &Message) {
        match message {
            Message::Slot(record) => self.says(town, &record.assignment),
            Message::Receipt(_, receipt) => self.says(town, &receipt.assignment),
            Message::Answer(_, Answer::Head(Some(head))) => self.says(town, &head.assignment),
            Message::Answer(_, Answer::Range(slots)) => {
                slots.iter().for_each(|record| self.says(town, &record.assignment));
            }
            Message::Answer(_, Answer::Submit(Ok(assigned))) => self.says(town, &assigned.signed),
            Message::Attestation(_)
            | Message::Evidence(..)
            | Message::Offer(_)
            | Message::Ask(..)
            | Message::Answer(..) => {}
        }
    }

    fn says(&mut self, town: &Town<'_>, signed: &Bytes) {
        if signed.is_empty() {
            // Only a harness that breaks the rules answers without the slot.
            return;
        }
        let item = DataItem::parse(signed.clone()).ok();
        let assignment = item.and_then(|item| Assignment::from_item(item.claims()).ok());
        let Some(Assignment { id, process, epoch, slot, .. }) = assignment else {
            return self.violation("an assignment that is none leaves a node".to_owned());
        };
        let first = *self.signed.entry((process, epoch, slot)).or_insert(id);
        if first != id && !town.is_forked(&process) {
            self.violation(format!("slot {slot} of {process} left as {first} and as {id}"));
        }
    }

    /// Notes that a node answered a submit.
    pub fn answered(&mut self, process: Id, slot: u64, assignment: Id, item: Option<Id>) {
        self.answered.push(Answered { process, slot, assignment, item });
    }

    /// Looks at everything when the faults are over and the nodes had time.
    pub fn end(&mut self, town: &Town<'_>, nodes: &[Node], errands: &[Errand], weave: &Weave) {
        for errand in errands.iter().filter(|errand| !errand.answered) {
            self.violation(format!("item {} was never answered", errand.item.id()));
        }
        self.check_reads(town, nodes);
        self.check_children(town, nodes);
        for known in children::all(town, nodes) {
            let process = known.id();
            let Some(scheduler) = town.scheduler(&process) else { continue };
            let rows = &nodes[scheduler].disk.rows;
            self.check_log(process, rows);
            self.check_answers(process, rows);
            self.check_marks(&known, roles::schedule(town, rows, &process).as_ref(), rows);
            let positions = ticks::positions(&known, rows);
            // There is no one log of a scheduler that lies.
            let is_unsure = town.is_unsure(&process);
            let is_ours = |node: &&Node| {
                !is_unsure
                    && (town.processes.contains_key(&process) || roles::is_named(town, &known, node.at))
            };
            for node in nodes.iter().filter(is_ours) {
                self.check_copy(process, rows, &node.disk.rows, node.at);
                self.check_computed(process, rows, &node.disk.rows, &positions, node.at);
            }
            let head = rows.head(&process).map(|record| record.assignment().slot);
            self.check_batches(process, head, weave);
        }
        for node in nodes {
            for (key, state) in &node.disk.rows.outbox {
                self.check_push(town, nodes, &node.disk.rows, *key, *state);
            }
            self.check_evidence(town, node);
        }
    }

    /// Notes that a node holds two signatures of one key that contradict each other.
    pub fn holds_both(&mut self, node: usize) {
        self.hold_both.insert(node);
    }

    /// Who lied is convicted by whoever can prove it, and nobody else ever.
    fn check_evidence(&mut self, town: &Town<'_>, node: &Node) {
        let liar = town.liar.map(|liar| town.keys[liar.node].address());
        let mut culprits = node.disk.rows.evidence.values().map(|evidence| evidence.culprit());
        if culprits.clone().any(|culprit| Some(culprit) != liar) {
            self.violation(format!("node {} convicts an honest key", node.at));
        }
        if node.roles.judged.iter().any(|judged| Some(*judged) != liar) {
            self.violation(format!("node {} finds an honest attestor wrong", node.at));
        }
        // A node that stopped in between has forgotten one of the two, or whom it judged.
        let is_steady = node.life == 0 && self.disks_are_sound;
        if is_steady && self.hold_both.contains(&node.at) && culprits.next().is_none() {
            self.violation(format!("node {} does not convict who lied to it", node.at));
        }
        if node.life == 0 && node.hears_contradictions() && node.roles.judged.is_empty() {
            self.violation(format!("node {} does not find out which attestor was wrong", node.at));
        }
    }

    /// No gap, and each item and push once.
    fn check_log(&mut self, process: Id, rows: &Rows) {
        let (mut items, mut pushes) = (BTreeSet::new(), BTreeSet::new());
        let mut before = None;
        for (expected, (&slot, record)) in (0u64..).zip(rows.slots.get(&process).into_iter().flatten()) {
            if slot != expected {
                return self.violation(format!("slot {expected} of {process} is missing"));
            }
            let link = record.link();
            if before.is_some_and(|before| before != link.hash_chain) {
                self.violation(format!("the chain of {process} breaks at slot {slot}"));
            }
            before = Some(link.next());
            if !items.insert(record.item().id()) {
                self.violation(format!("an item stands twice in {process}, again at slot {slot}"));
            }
            if let Some(proven) = record.proven()
                && !pushes.insert(proven.sender.push)
            {
                self.violation(format!("a push stands twice in {process}, again at slot {slot}"));
            }
        }
    }

    /// A reply implies durable.
    fn check_answers(&mut self, process: Id, rows: &Rows) {
        let push_of = |assigned: &Answered| {
            let record = rows.slot(&assigned.process, assigned.slot)?;
            Some((record.assignment().id, record.item().id(), record.proven().is_some()))
        };
        let broken: Vec<String> = self
            .answered
            .iter()
            .filter(|answered| answered.process == process)
            .filter(|answered| match push_of(answered) {
                // Of a push the first messenger's item stands in the log.
                Some((assignment, item, is_push)) => {
                    let is_other = answered.item.is_some_and(|asked| asked != item);
                    assignment != answered.assignment || (is_other && !is_push)
                }
                None => true,
            })
            .map(|answered| format!("the answer for slot {} of {process} was not kept", answered.slot))
            .collect();
        broken.into_iter().for_each(|what| self.violation(what));
    }

    /// Equal logs.
    fn check_copy(&mut self, process: Id, rows: &Rows, copy: &Rows, node: usize) {
        let ids = |rows: &Rows| -> Vec<Id> {
            let slots = rows.slots.get(&process).into_iter().flatten();
            slots.map(|(_, record)| record.assignment().id).collect()
        };
        if ids(rows) != ids(copy) {
            let (all, here) = (ids(rows).len(), ids(copy).len());
            self.violation(format!("node {node} has {here} of {all} slots of {process}, or others"));
        }
    }

    /// Every slot and tick is computed, everywhere alike.
    fn check_computed(&mut self, process: Id, rows: &Rows, copy: &Rows, positions: &[Position], node: usize) {
        let running = |rows: &Rows| -> Vec<Hash> {
            let outcomes = rows.outcomes.get(&process).into_iter().flatten();
            outcomes.map(|(_, closed)| closed.running.0).collect()
        };
        if running(rows) != running(copy) {
            self.violation(format!("node {node} computed {process} differently, or not to its end"));
        }
        let computed = copy.outcomes.get(&process).into_iter().flat_map(|outcomes| outcomes.keys());
        if !computed.eq(positions) {
            self.violation(format!("node {node} did not compute every slot and tick of {process}"));
        }
    }

    /// Each outbox entry once in its target's log, and settled.
    fn check_push(
        &mut self,
        town: &Town<'_>,
        nodes: &[Node],
        rows: &Rows,
        (process, position, index): (Id, Position, u32),
        state: OutboxState,
    ) {
        let push = Source { process, position, index }.push_id(NETWORK);
        let closed = rows.outcome(&process, position);
        let entry = closed.and_then(|closed| closed.outcome.outbox.entries().get(index as usize));
        let target = entry.map_or(process, |entry| entry.target.unwrap_or(process));
        // A log that its scheduler forked may say anything to anyone, but once.
        let is_unsure = town.is_unsure_between(&process, &target);
        if state != OutboxState::Settled && !is_unsure {
            self.violation(format!("entry {index} of {position} of {process} is {state:?}"));
        }
        if entry.is_none_or(|entry| entry.kind != EntryKind::Message) {
            return;
        }
        let Some(scheduler) = town.scheduler(&target) else { return };
        let log = nodes[scheduler].disk.rows.slots.get(&target).into_iter().flatten();
        let count =
            log.filter(|(_, record)| record.proven().is_some_and(|it| it.sender.push == push)).count();
        if count > 1 || (count == 0 && !is_unsure) {
            self.violation(format!(
                "entry {index} of {position} of {process} is {count} times in its target"
            ));
        }
    }

    /// Batches follow each other without overlap or gap, up to the head.
    fn check_batches(&mut self, process: Id, head: Option<u64>, weave: &Weave) {
        let mut spans: Vec<(u64, u64)> =
            weave.mined().filter(|row| row.process == process).map(|row| (row.from, row.to)).collect();
        spans.sort_unstable();
        let mut next = 0;
        for (from, to) in spans {
            if from != next {
                return self.violation(format!("a batch of {process} starts at {from}, not at {next}"));
            }
            next = to + 1;
        }
        if head.is_some_and(|head| head + 1 != next) {
            self.violation(format!("{process} is anchored to {next} of {head:?}"));
        }
    }
}
