//! The judgement over what was seen. It asks no node: everything it says follows from the
//! evidence, so that it can be shown evidence that is false.

use std::collections::{BTreeMap, BTreeSet};

use weft_node::control::api::{BatchInfo, SlotInfo};
use weft_protocol::push::Source;
use weft_protocol::{Hash, Id};

use super::evidence::{Final, Given, Sightings};

/// Replies that some log does not bear out.
pub(crate) fn lost_replies(given: &[Given], finals: &[Final]) -> Vec<String> {
    let mut lost = Vec::new();
    for reply in given {
        let Given { node, process, item, slot, assignment, .. } = reply;
        let Some(known) = finals.iter().find(|known| known.process == *process) else {
            lost.push(format!("node {node} gave slot {slot} of {process}, which nobody has"));
            continue;
        };
        for (holder, log) in &known.logs {
            let said = format!("node {node} gave item {item} the slot {slot} of {}", known.name);
            match at(log, *slot) {
                None => lost.push(format!("{said}, and node {holder} has no such slot")),
                Some(here) if here.assignment != *assignment || here.item != *item => {
                    lost.push(format!("{said}, and node {holder} has item {} there", here.item));
                }
                Some(_) => {}
            }
        }
    }
    lost
}

/// Slots that a node once showed and that are not in the log of their scheduler.
pub(crate) fn lost_slots(seen: &Sightings, finals: &[Final]) -> Vec<String> {
    let mut lost = Vec::new();
    for known in finals {
        for (slot, assignment) in seen.of(known.process) {
            if at(known.log(), slot).is_none_or(|here| here.assignment != assignment) {
                lost.push(format!("slot {slot} of {} was shown as {assignment} and is not", known.name));
            }
        }
    }
    lost
}

fn at(log: &[SlotInfo], slot: u64) -> Option<&SlotInfo> {
    log.get(usize::try_from(slot).ok()?).filter(|here| here.slot == slot)
}

/// Holes in logs, and items and pushes that stand in one twice.
pub(crate) fn unsound_logs(finals: &[Final]) -> Vec<String> {
    let mut unsound = Vec::new();
    for Final { name, logs, came, .. } in finals {
        for (node, log) in logs {
            let mut items = BTreeSet::new();
            for (expected, slot) in (0..).zip(log) {
                if slot.slot != expected {
                    unsound.push(format!("{name} on node {node} has slot {} for {expected}", slot.slot));
                }
                if !items.insert(slot.item) {
                    unsound
                        .push(format!("item {} is twice in {name}, also in slot {}", slot.item, slot.slot));
                }
            }
        }
        let mut pushes: BTreeMap<Source, u64> = BTreeMap::new();
        for (source, slot) in came {
            if let Some(first) = pushes.insert(*source, *slot) {
                unsound.push(format!("{source:?} is twice in {name}, in slots {first} and {slot}"));
            }
        }
    }
    unsound
}

/// Messages that did not come to their target, and pushes that nobody sent there.
pub(crate) fn misled_pushes(finals: &[Final]) -> Vec<String> {
    let mut misled = Vec::new();
    let mut sent: BTreeSet<(Source, Id)> = finals.iter().flat_map(|known| known.sent.clone()).collect();
    let all = sent.clone();
    for Final { name, process, came, .. } in finals {
        for (source, slot) in came {
            let push = (*source, *process);
            sent.remove(&push);
            if !all.contains(&push) {
                misled.push(format!("nobody sent what stands in slot {slot} of {name}: {source:?}"));
            }
        }
    }
    misled.extend(sent.iter().map(|(source, target)| format!("{source:?} never came to {target}")));
    misled
}

/// Nodes whose log is not the scheduler's, or whose state is not that of the first.
pub(crate) fn differences(finals: &[Final]) -> Vec<String> {
    let mut different = Vec::new();
    for known in finals {
        let Final { name, scheduler, logs, computed, .. } = known;
        let ids = |log: &[SlotInfo]| -> Vec<(Id, Hash)> {
            log.iter().map(|slot| (slot.assignment, slot.hash_chain)).collect()
        };
        for (node, log) in logs {
            if ids(log) != ids(known.log()) {
                let (here, there) = (log.len(), known.log().len());
                let why = format!("{here} slots, {there} on node {scheduler}, or others");
                different.push(format!("node {node} has another log of {name}: {why}"));
            }
        }
        for report in computed {
            let is_at_head = report.head.is_some() && report.position.map(|at| at.slot) == report.head;
            if !is_at_head || !report.agrees(&computed[0]) {
                let first = computed[0].node;
                different.push(format!("node {} has not the state of {name} on node {first}", report.node));
            }
        }
        if computed.len() < 2 {
            different.push(format!("nobody has computed {name} a second time"));
        }
    }
    different
}

/// Slots that stand in no batch, or in two.
pub(crate) fn misplaced_batches(name: &str, batches: &[BatchInfo], slots: usize) -> Vec<String> {
    // Those without slots have what was attested late.
    let with_slots = batches.iter().filter(|batch| batch.from <= batch.to);
    let mut spans: Vec<(u64, u64)> = with_slots.map(|batch| (batch.from, batch.to)).collect();
    spans.sort_unstable();
    let mut next = 0;
    let mut misplaced = Vec::new();
    for (from, to) in spans {
        if from != next {
            misplaced.push(format!("a batch of {name} begins at slot {from}, and {next} was to come"));
        }
        next = to + 1;
    }
    if next != slots as u64 {
        misplaced.push(format!("the batches of {name} end before slot {next}, its log has {slots}"));
    }
    misplaced
}

#[cfg(test)]
mod tests;
