//! Who carried what for the process in hard mode, read from the logs alone, and what that is worth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_protocol::market::{Unpaid, Window, due, price};
use weft_protocol::outcome::{EntryKind, OutboxEntry};
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::{Id, Position};

use super::disk::Rows;
use super::hard::window;
use super::node::Node;
use super::town::{NETWORK, Town};
use super::vice::Vice;
use super::world::Mutation;

/// A turn, in milliseconds: said here once more, so that the rule is held to something else than itself.
const TURN_MS: u64 = 2_000;
/// Ranks with a turn of their own; after them it is anybody's.
const TURNS: usize = 5;

/// What the logs say of the carriers of the process's pushes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Pushes of windows with offers.
    pub ranked: usize,
    /// Those that somebody is paid for.
    pub paid: usize,
    /// Those of them that another was to carry first.
    pub taken_over: usize,
    /// Those that came before their carrier's turn, for nothing.
    pub early: usize,
    /// What is due in all.
    pub due: u64,
    /// Carriers that were early.
    pub hasty: BTreeSet<usize>,
    /// Those that a carrier without a place in the set handed in, for nothing.
    pub strangers: usize,
    /// How often a later one came before an earlier one of the same carrier.
    pub reordered: usize,
    /// Offers in made-up names in a set, at most.
    pub crowd: usize,
}

struct Audit<'a> {
    town: &'a Town<'a>,
    nodes: &'a [Node],
    process: Arc<Process>,
    rows: &'a Rows,
    pays_early: bool,
    carried: Carried,
    violations: Vec<String>,
    /// What each node carried into each log, by its slot there.
    taken: BTreeMap<(usize, Id), BTreeMap<u64, (Position, u32)>>,
}

/// Reads who carried what, and what that is worth. A violation is a push that does not stand in its target's log once and
/// as it was sent, pay for who did not wait, and an honest carrier who did not, or kept no order.
pub fn audit(town: &Town<'_>, nodes: &[Node], mutation: Mutation) -> (Carried, Vec<String>) {
    let Some(process) = town.hard.and_then(|hard| town.process(&hard)) else { return Default::default() };
    let rows = &nodes[town.scheduler(&process.id()).unwrap_or_default()].disk.rows;
    let mut audit = Audit {
        town,
        nodes,
        process: Arc::clone(&process),
        rows,
        pays_early: mutation == Mutation::PayEarly,
        carried: Carried::default(),
        violations: Vec::new(),
        taken: BTreeMap::new(),
    };
    for (position, closed) in rows.outcomes.get(&process.id()).into_iter().flatten() {
        let Some(window) = window(&process, rows, position.slot) else { continue };
        let names = window.set().entries().iter().map(|entry| entry.messenger());
        let crowd = names.filter(|name| town.node(name).is_none()).count();
        audit.carried.crowd = audit.carried.crowd.max(crowd);
        for (index, entry) in closed.outcome.outbox.live() {
            let source = Source { process: process.id(), position: *position, index };
            audit.look(&window, source, entry);
        }
    }
    audit.check_order();
    (audit.carried, audit.violations)
}

impl Audit<'_> {
    /// Looks for a push in its target's log.
    fn look(&mut self, window: &Window, source: Source, entry: &OutboxEntry) {
        let target = entry.target.filter(|_| entry.kind == EntryKind::Message);
        let Some(target) = target else { return };
        let Some(scheduler) = self.town.scheduler(&target) else { return };
        let push = source.push_id(NETWORK);
        let nodes = self.nodes;
        let log = nodes[scheduler].disk.rows.slots.get(&target).into_iter().flatten();
        let is_push =
            |found: &&VerifiedRecord| found.proven().is_some_and(|proven| proven.sender.push == push);
        let found: Vec<_> = log.map(|(_, record)| record).filter(is_push).collect();
        let [record] = found[..] else {
            let what = format!("{source:?} stands {} times in its target's log", found.len());
            return self.violations.push(what);
        };
        if record.item().data() != entry.data || record.item().target() != entry.target {
            self.violations.push(format!("{source:?} stands otherwise in its target's log"));
        }
        self.carried.ranked += 1;
        if let Some(node) = self.town.node(&record.item().owner()) {
            let of_node = self.taken.entry((node, target)).or_default();
            of_node.insert(record.assignment().slot, (source.position, source.index));
        }
        self.pay(window, source, entry.data.len() as u64, record);
    }

    /// What a push is worth to who carried it.
    fn pay(&mut self, window: &Window, source: Source, bytes: u64, record: &VerifiedRecord) {
        let by = record.item().owner();
        let (Some(node), Some((rank, offer))) =
            (self.town.node(&by), window.rank(&source.push_id(NETWORK), bytes, &by))
        else {
            self.carried.strangers += 1;
            return;
        };
        let sent = self.rows.slot(&self.process.id(), source.position.slot);
        let sent = sent.map_or(0, |record| record.assignment().time.timestamp);
        let accepted = record.assignment().time.timestamp;
        let is_early = accepted < sent + TURN_MS * rank.min(TURNS) as u64;
        match due(rank, sent, accepted) {
            Err(Unpaid::Early { .. }) if !self.pays_early => {
                self.carried.early += 1;
                self.carried.hasty.insert(node);
            }
            Ok(()) | Err(Unpaid::Early { .. }) => {
                self.carried.paid += 1;
                self.carried.taken_over += usize::from(rank > 0);
                self.carried.due += price(offer.offer().terms(), bytes);
                if is_early {
                    self.violations.push(format!("{source:?} is paid before the turn of node {node}"));
                }
            }
            Err(_) => {}
        }
        if is_early && !Vice::of(self.town, node).is_hasty() {
            self.violations.push(format!("node {node} kept to its turn and was early with {source:?}"));
        }
    }

    /// Each messenger carries what one process sends to another in its order (RULES.md 6.16).
    fn check_order(&mut self) {
        for ((node, target), slots) in &self.taken {
            let places: Vec<_> = slots.values().collect();
            let disorder = places.windows(2).filter(|pair| pair[0] > pair[1]).count();
            self.carried.reordered += disorder;
            if disorder > 0 && Vice::of(self.town, *node) != Vice::Reorders {
                self.violations.push(format!("node {node} carried out of order to {target}"));
            }
        }
    }
}
