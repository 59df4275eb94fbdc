//! The witness's task: evidence to disk, then to the others.

use weft_node::witness::machine::{Effect, Input};
use weft_protocol::epoch::EpochTerms;
use weft_protocol::evidence::Evidence;
use weft_protocol::{Hash, Id, Verified, wire};

use super::Done;
use crate::sim::disk::{Write, WriteError};
use crate::sim::network::Message;
use crate::sim::node::{Ctx, Node};
use crate::sim::town::NETWORK;

impl Node {
    /// Reads from disk what was kept before.
    pub(in crate::sim) fn remember_evidence(&mut self, ctx: &Ctx<'_, '_>) {
        for ((process, name), evidence) in &self.disk.rows.evidence {
            let (process, culprit, name) = (*process, evidence.culprit(), *name);
            let input = Input::Recover { process, culprit, name, is_messenger: false };
            self.roles.witness.handle(input, ctx.now(self.at));
        }
    }

    /// Performs one effect of the witness; false when there is nothing to do.
    pub(in crate::sim) fn witness(&mut self, ctx: &mut Ctx<'_, '_>) -> bool {
        let Some(effect) = self.roles.witness.next(ctx.now(self.at)) else { return false };
        match effect {
            Effect::Persist { process, name, evidence } => {
                self.roles.witness.waits = true;
                self.write(ctx, vec![Write::Evidence(process, name, evidence)], Done::Witnessed(name));
            }
            Effect::Tell { .. } => {}
            Effect::Publish { process, evidence } => {
                self.gossip(ctx, &Message::Evidence(process, Box::new(evidence.to_wire())));
            }
            Effect::Verdict { ticket, worth } => {
                let brought = self.roles.brought.remove(&ticket);
                // What is accepted is forwarded.
                if let Some((process, evidence)) = brought.filter(|_| worth) {
                    self.gossip(ctx, &Message::Evidence(process, Box::new(evidence)));
                }
            }
        }
        true
    }

    /// Hears that evidence is durable, or is not.
    pub(in crate::sim) fn witnessed(
        &mut self,
        ctx: &Ctx<'_, '_>,
        name: Hash,
        result: Result<(), WriteError>,
    ) {
        self.roles.witness.waits = false;
        let input = match result {
            Ok(()) => Input::Persisted { name },
            Err(_) => Input::PersistFailed { name },
        };
        self.roles.witness.handle(input, ctx.now(self.at));
    }

    /// Takes two signatures of one key that this node holds both of.
    pub(in crate::sim) fn convict(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        process: Id,
        evidence: Verified<Evidence>,
    ) {
        ctx.checker.holds_both(self.at);
        let evidence = Box::new(evidence);
        self.roles.witness.hear(Input::Found { process, evidence, ticket: None });
    }

    /// Takes evidence from the network.
    pub(in crate::sim) fn hear_evidence(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        process: Id,
        message: wire::Evidence,
    ) {
        let Some(known) = ctx.town.process(&process) else { return };
        let verify = |message| {
            let read = Evidence::from_wire(message, NETWORK).ok()?;
            let terms = EpochTerms::of_process(&known).ok()?;
            read.claims().concerns(&terms).then_some(())?;
            read.verify().ok()
        };
        let Some(evidence) = verify(message.clone()) else {
            return ctx.checker.violation(format!("evidence that convicts nobody travels about {process}"));
        };
        self.roles.tickets += 1;
        let ticket = Some(self.roles.tickets);
        self.roles.brought.insert(self.roles.tickets, (process, message));
        self.roles.witness.hear(Input::Found { process, evidence: Box::new(evidence), ticket });
    }
}
