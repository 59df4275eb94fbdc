//! Spawned processes: one child for each spawn entry, and its parent told once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_protocol::origin::ProvenKind;
use weft_protocol::outcome::EntryKind;
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::spawn::spawned_push_id;
use weft_protocol::{Hash, Id};

use super::Checker;
use crate::sim::disk::Rows;
use crate::sim::node::Node;
use crate::sim::town::{NETWORK, Town};

/// Every process: those of the town, and children with a slot 0 anywhere.
pub fn all(town: &Town<'_>, nodes: &[Node]) -> Vec<Arc<Process>> {
    let ids: BTreeSet<Id> = nodes.iter().flat_map(|node| node.hosted(town)).collect();
    ids.iter().filter_map(|id| town.process(id)).collect()
}

/// The children of each spawn, by push id, wherever they are.
fn births(town: &Town<'_>, nodes: &[Node]) -> BTreeMap<Hash, BTreeSet<Id>> {
    let mut births: BTreeMap<Hash, BTreeSet<Id>> = BTreeMap::new();
    for node in nodes {
        for process in node.hosted(town) {
            let opening = node.disk.rows.slot(&process, 0);
            if let Some(proven) = opening.and_then(|record| record.proven()) {
                births.entry(proven.sender.push).or_default().insert(process);
            }
        }
    }
    births
}

/// The spawn entries that a node computed, each with its parent and push id.
fn spawns(rows: &Rows) -> impl Iterator<Item = (Id, Hash)> {
    let outcomes = rows.outcomes.iter().flat_map(|(process, all)| all.iter().map(move |at| (*process, at)));
    outcomes.flat_map(|(process, (&position, closed))| {
        let entries = closed.outcome.outbox.live().filter(|(_, entry)| entry.kind == EntryKind::Spawn);
        entries.map(move |(index, _)| (process, Source { process, position, index }.push_id(NETWORK)))
    })
}

impl Checker {
    /// Each spawn entry has one child everywhere, of which its parent hears once.
    pub(super) fn check_children(&mut self, town: &Town<'_>, nodes: &[Node]) {
        let births = births(town, nodes);
        let mut asked = BTreeSet::new();
        for (parent, push) in nodes.iter().flat_map(|node| spawns(&node.disk.rows)) {
            if !asked.insert(push) {
                continue;
            }
            let children = births.get(&push).cloned().unwrap_or_default();
            let told = told(town, nodes, &parent, &push);
            // Where a scheduler lies there may be no quorum for a spawn, or for the news of it.
            let is_unsure = children.iter().any(|child| town.is_unsure(child)) || town.is_unsure(&parent);
            let few = usize::from(!is_unsure);
            if children.len() > 1 || children.len() < few {
                self.violation(format!("a spawn of {parent} has {} children", children.len()));
            }
            if told.len() > 1 || told.len() < few || !told.iter().all(|child| children.contains(child)) {
                self.violation(format!("{parent} was told of {told:?}, its children are {children:?}"));
            }
        }
        if births.keys().any(|push| !asked.contains(push)) {
            self.violation("a child was born of no spawn".to_owned());
        }
    }
}

/// The children of a spawn that its parent's log tells of.
fn told(town: &Town<'_>, nodes: &[Node], parent: &Id, spawn: &Hash) -> Vec<Id> {
    let Some(scheduler) = town.scheduler(parent) else { return Vec::new() };
    let log = nodes[scheduler].disk.rows.slots.get(parent).into_iter().flatten();
    let push = spawned_push_id(spawn);
    log.filter_map(|(_, record)| record.proven())
        .filter(|proven| proven.sender.push == push)
        .filter_map(|proven| match proven.kind {
            ProvenKind::Spawned { child } => Some(child),
            ProvenKind::Message | ProvenKind::Spawn => None,
        })
        .collect()
}
