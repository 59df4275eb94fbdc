//! The anchor's task: slots in, bundles to the weave, receipts to disk.

use std::collections::BTreeSet;

use rand::RngExt as _;
use weft_node::anchor::machine::{Effect, Input};
use weft_protocol::record::VerifiedRecord;
use weft_protocol::{Hash, Id};
use weft_storage::anchor::Batch;

use super::Done;
use crate::sim::disk::{BatchRow, Write, WriteError};
use crate::sim::node::{Ctx, Node};
use crate::sim::world::Mutation;

impl Node {
    /// Takes up a log from disk for the anchor.
    pub(in crate::sim) fn anchor_log(&mut self, ctx: &Ctx<'_, '_>, process: Id) {
        let rows = &self.disk.rows;
        let head = rows.head(&process).map(|record| record.assignment().slot);
        let anchored = rows.anchored.get(&process).copied();
        let open = rows.batches.iter().find(|(_, row)| row.process == process && !row.confirmed);
        let open = open.map(|(root, row)| (row.from, row.to, *root));
        self.roles.anchor.handle(Input::Log { process, head, anchored, open }, ctx.now(self.at));
    }

    /// Performs one effect of the anchor; false when there is nothing to do.
    pub(in crate::sim) fn anchoring(&mut self, ctx: &mut Ctx<'_, '_>) -> bool {
        let Some(effect) = self.roles.anchor.next(ctx.now(self.at)) else { return false };
        match effect {
            Effect::Submit { process, from, to } => self.batch(ctx, process, from, to),
            Effect::Query { process, data_root } => {
                if !ctx.rng.random_bool(ctx.faults.weave) {
                    let (known, height) = ctx.weave.status(&data_root);
                    let block = height.map(|height| (height, Hash([height as u8; 32])));
                    self.roles.anchor.handle(Input::Status { process, block, known }, ctx.now(self.at));
                }
            }
            Effect::Confirm { process, to, data_root, .. } => {
                let mut writes = vec![Write::Anchored(process, to)];
                if let Some(row) = self.disk.rows.batches.get(&data_root) {
                    writes.push(Write::Batch(data_root, BatchRow { confirmed: true, ..*row }));
                }
                self.roles.anchor.waits = true;
                self.write(ctx, writes, Done::Confirmed(process, to));
            }
        }
        true
    }

    fn batch(&mut self, ctx: &mut Ctx<'_, '_>, process: Id, from: u64, to: u64) {
        let mut items = Vec::new();
        let mut have = BTreeSet::new();
        for slot in from..=to {
            let Some(record) = self.disk.rows.slot(&process, slot) else {
                // Only a disk that lost the end of a log has a batch of more than it.
                if ctx.mutation == Mutation::None && !self.disk.rows.cautions.contains_key(&process) {
                    ctx.checker.violation(format!("slot {slot} of {process} is anchored before it is there"));
                }
                return self.anchor_ended(ctx, Input::Failed { process });
            };
            for part in parts(record) {
                if have.insert(part.id()) {
                    items.push(part.clone());
                }
            }
        }
        let root = Batch::of_items(items).expect("a batch").data_root();
        self.roles.anchor.waits = true;
        let row = BatchRow { process, from, to, confirmed: false };
        self.write(ctx, vec![Write::Batch(root, row)], Done::Built(process, root));
    }

    /// Hears that a batch is durable, or is not, and hands it to the weave.
    pub(in crate::sim) fn built(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        (process, root): (Id, Hash),
        result: Result<(), WriteError>,
    ) {
        let row = self.disk.rows.batches.get(&root).copied();
        match (result, row) {
            (Ok(()), Some(row)) if !ctx.rng.random_bool(ctx.faults.weave) => {
                ctx.weave.submit(root, row);
                self.write(ctx, vec![Write::Batch(root, row)], Done::Handed(process, row.to, root));
            }
            _ => self.anchor_ended(ctx, Input::Failed { process }),
        }
    }

    /// Tells the anchor how its last effect ended.
    pub(in crate::sim) fn anchor_ended(&mut self, ctx: &Ctx<'_, '_>, input: Input) {
        self.roles.anchor.waits = false;
        self.roles.anchor.handle(input, ctx.now(self.at));
    }
}

fn parts(record: &VerifiedRecord) -> impl Iterator<Item = &weft_protocol::Verified<weft_protocol::DataItem>> {
    [Some(record.assignment_item()), Some(record.item()), record.proof()].into_iter().flatten()
}
