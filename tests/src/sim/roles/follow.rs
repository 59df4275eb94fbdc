//! The follower's task: verified records in, asks out, appends to disk in order.

use std::collections::BTreeMap;

use weft_node::follower::machine::{Effect, Input, Record};
use weft_protocol::epoch::EpochTerms;
use weft_protocol::evidence::Evidence;
use weft_protocol::head::Head;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::time::Ahead;
use weft_protocol::{Id, wire};

use super::{Body, Done, Rpc};
use crate::sim::disk::{Write, WriteError};
use crate::sim::network::Ask;
use crate::sim::node::{Ctx, Node};
use crate::sim::town::NETWORK;

impl Node {
    /// Follows a log from where the disk has it.
    pub(in crate::sim) fn follow_log(&mut self, ctx: &Ctx<'_, '_>, process: Id) {
        let head = self.disk.rows.head(&process).map(VerifiedRecord::link);
        self.roles.follower.handle(Input::Follow { process, head }, ctx.now(self.at));
    }

    /// Performs one effect of the follower, or commits; false when there is nothing to do.
    pub(in crate::sim) fn follow(&mut self, ctx: &mut Ctx<'_, '_>) -> bool {
        let now = ctx.now(self.at);
        match self.roles.follower.next(now) {
            Some(effect) => self.followed_effect(ctx, effect),
            None if self.roles.unfollowed.is_empty() || self.roles.follower.waits => return false,
            None => {
                let mut heads = BTreeMap::new();
                let mut writes = Vec::new();
                for record in std::mem::take(&mut self.roles.unfollowed) {
                    heads.insert(record.assignment().process, record.assignment().slot);
                    writes.push(Write::Slot(record, Vec::new()));
                }
                self.roles.follower.waits = true;
                self.write(ctx, writes, Done::Followed(heads));
            }
        }
        true
    }

    fn followed_effect(&mut self, ctx: &mut Ctx<'_, '_>, effect: Effect<usize, Body>) {
        match effect {
            Effect::Append { record, .. } => self.roles.unfollowed.push(record.body),
            // Nobody watches here.
            Effect::Confirmed { .. } => {}
            Effect::AskRange { process, peer, from, to } => {
                self.ask(ctx, peer, Ask::Range(process, from, to), Rpc::Range(process, peer, from, to));
            }
            Effect::AskHead { process, peer } => {
                self.ask(ctx, peer, Ask::Head(process), Rpc::Head(process, peer));
            }
            Effect::FindSources { process } => {
                for peer in (0..ctx.town.keys.len()).filter(|peer| *peer != self.at) {
                    self.roles.follower.hear(Input::Source { process, peer });
                }
            }
            Effect::Compare { process, record } => {
                let (slot, theirs) = (record.link.slot, record.link.assignment);
                let ours = self.disk.rows.slot(&process, slot);
                let Some(ours) = ours.filter(|ours| ours.assignment().id != theirs) else { return };
                let (ours, theirs) = (ours.assignment_item(), record.body.assignment_item());
                match Evidence::of_assignments(ours, theirs, NETWORK) {
                    Some(evidence) => self.convict(ctx, process, evidence),
                    None => ctx.checker.violation(format!("slot {slot} of {process} is signed oddly")),
                }
            }
            Effect::Unlinked { process, .. } if ctx.town.is_forked(&process) => {}
            Effect::Unlinked { process, slot } => {
                ctx.checker.violation(format!("slot {slot} of {process} does not follow the log"));
            }
            Effect::Reload { process } => self.follow_log(ctx, process),
        }
    }

    /// Hears that followed slots are durable, or are not.
    pub(in crate::sim) fn followed(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        heads: BTreeMap<Id, u64>,
        result: Result<(), WriteError>,
    ) {
        self.roles.follower.waits = false;
        for (process, head) in heads {
            match result {
                Ok(()) => self.grew(ctx, process, head),
                Err(error) => {
                    if error == WriteError::Conflict {
                        ctx.checker.violation(format!("slot {head} of {process} is held twice"));
                    }
                    self.roles.follower.handle(Input::PersistFailed { process }, ctx.now(self.at));
                }
            }
        }
    }

    /// Takes a slot from gossip.
    pub(in crate::sim) fn hear_slot(&mut self, ctx: &mut Ctx<'_, '_>, message: &wire::SlotRecord) {
        let record = match ctx.town.verify(message) {
            Ok(record) => record,
            Err(error) => return ctx.checker.violation(format!("a bad slot travels: {error}")),
        };
        let process = record.assignment().process;
        let Some(known) = ctx.town.process(&process) else { return };
        let own = known.scheduler() == self.address && !self.disk.rows.cautions.contains_key(&process);
        if !own && record.ahead(&known, ctx.now(self.at), None) == Ahead::No {
            let record = Record::of(record);
            self.roles.follower.hear(Input::Record { process, record });
        }
    }

    /// Takes the slots that a peer answered with.
    pub(in crate::sim) fn hear_range(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        (process, peer, from, to): (Id, usize, u64, u64),
        slots: &[wire::SlotRecord],
    ) {
        let verified = slots.iter().map_while(|slot| {
            let record = ctx.town.verify(slot).ok()?;
            (from..=to).contains(&record.assignment().slot).then_some(record)
        });
        let mut useful = false;
        for record in verified {
            useful = true;
            let record = Record::of(record);
            self.roles.follower.hear(Input::Record { process, record });
        }
        self.roles.follower.hear(Input::RangeEnded { process, peer, useful });
    }

    /// Takes the head that a peer answered with.
    pub(in crate::sim) fn hear_head(
        &mut self,
        ctx: &Ctx<'_, '_>,
        process: Id,
        peer: usize,
        head: &wire::Head,
    ) {
        let Some(known) = ctx.town.process(&process) else { return };
        let verify = || {
            let terms = EpochTerms::of_process(&known).ok()?;
            Head::from_wire(head).ok()?.verify(&terms).ok()
        };
        let Some(slot) = verify().map(|head| head.assignment().slot) else { return };
        let by_scheduler = known.scheduler() == ctx.town.keys[peer].address();
        let heard = Input::Head { process, slot, peer, by_scheduler };
        if !self.disk.rows.cautions.contains_key(&process) {
            return self.roles.follower.hear(heard);
        }
        self.roles.follower.handle(heard, ctx.now(self.at));
        let slots = self.roles.follower.machine.next_slot(&process).unwrap_or(0);
        let caught_up = self.roles.follower.machine.is_caught_up(&process);
        let said = (ctx.town.keys[peer].address(), slot);
        let regain = self.roles.regains.entry(process).or_default();
        let is_whole = regain.hear(&known, self.address, said, slots, caught_up);
        if let Some(row) = self.disk.rows.cautions.get_mut(&process).filter(|_| is_whole) {
            row.slots = row.slots.or(Some(slots));
        }
    }
}
