//! The messenger's task: outbox rows in, proven pushes out, receipts to disk and to the others.

use bytes::Bytes;
use weft_node::messenger::destination;
use weft_node::messenger::machine::{Born, Effect, Entry, How, Input, Place, PushOutcome, To, Turn};
use weft_protocol::assignment::Assignment;
use weft_protocol::attestation::Attestation;
use weft_protocol::evidence::Evidence;
use weft_protocol::header::Header;
use weft_protocol::offer::{Offer, OfferTerms};
use weft_protocol::origin::{OriginProof, ProofError, ProofParts};
use weft_protocol::outcome::Running;
use weft_protocol::push::{Dispatch, Source};
use weft_protocol::{Address, DataItem, Hash, Id, Now, Position, Verified, wire};

use super::{Done, Pushing, Rpc, Waits};
use crate::sim::disk::{OutboxKey, OutboxState, Write, WriteError};
use crate::sim::hard::{self, PRICE};
use crate::sim::network::{Ask, Assigned, Message};
use crate::sim::node::{Ctx, Node};
use crate::sim::town::{NETWORK, Town};
use crate::sim::vice::Vice;

/// How long an offer stands, in milliseconds.
const OFFER_MS: u64 = 120_000;
/// How often an offer is made again, in milliseconds.
const REPEAT_MS: u64 = 40_000;

impl Node {
    /// Takes up what is pending on disk: of one position, or of all.
    pub(in crate::sim) fn take_up(&mut self, ctx: &Ctx<'_, '_>, of: Option<(Id, Position)>) {
        let wanted = |process, (position, _): Place| of.is_none_or(|place| place == (process, position));
        for (entry, tries) in self.pending(ctx, wanted) {
            let delays = self.vice(ctx) == Vice::Delays && matches!(entry.turn, Turn::Hard(_));
            self.delayed += usize::from(delays);
            self.roles.messenger.hear(Input::Pending { entry, tries });
            self.check_attested(ctx, entry.source, entry.position);
        }
    }

    /// The pending entries on disk that are wanted, in order, each with its tries.
    pub(in crate::sim) fn pending(
        &self,
        ctx: &Ctx<'_, '_>,
        wanted: impl Fn(Id, Place) -> bool,
    ) -> Vec<(Entry, u32)> {
        let mut found = Vec::new();
        for (key, state) in &self.disk.rows.outbox {
            let ((source, position, index), OutboxState::Pending(tries)) = (*key, state) else { continue };
            if !wanted(source, (position, index)) {
                continue;
            }
            let closed = self.disk.rows.outcome(&source, position);
            let entry = closed.and_then(|closed| closed.outcome.outbox.entries().get(index as usize));
            let Some(known) = ctx.town.process(&source) else { continue };
            let Some(to) = entry.and_then(|entry| destination(&known, entry, (position, index))) else {
                continue;
            };
            let push_id = Source { process: source, position, index }.push_id(NETWORK);
            let bytes = entry.map_or(0, |entry| entry.data.len() as u64);
            let turn = self.turn_of(ctx, &known, position.slot, &push_id, bytes);
            found.push((Entry { push_id, source, position, index, to, turn }, *tries));
        }
        found
    }

    /// Tells the messenger when a quorum has signed a position as it is here.
    pub(in crate::sim) fn check_attested(&mut self, ctx: &Ctx<'_, '_>, source: Id, position: Position) {
        let (Some(process), Some(closed)) =
            (ctx.town.process(&source), self.disk.rows.outcome(&source, position))
        else {
            return;
        };
        let said = self.disk.rows.attestations.get(&(source, position)).into_iter().flatten();
        let agreeing = said.filter(|(_, said)| said.statement().running == closed.running.0).count();
        if agreeing >= process.attestors().quorum {
            self.roles.messenger.hear(Input::Attested { source, position });
        }
    }

    /// Performs one effect of the messenger; false when there is nothing to do.
    pub(in crate::sim) fn carry(&mut self, ctx: &mut Ctx<'_, '_>) -> bool {
        let Some(effect) = self.roles.messenger.next(ctx.now(self.at)) else { return false };
        match effect.clone() {
            Effect::Push(entry) => self.push(ctx, Pushing { entry, born: None }),
            Effect::Tell { entry, born } => self.push(ctx, Pushing { entry, born: Some(born) }),
            Effect::AskAttestations { source, position } => {
                let members = ctx.town.process(&source).map(|process| process.attestors().members);
                for member in members.unwrap_or_default() {
                    if let Some(peer) = ctx.town.node(&member).filter(|peer| *peer != self.at) {
                        self.ask(ctx, peer, Ask::Attestations(source, position), Rpc::Attestations);
                    }
                }
            }
            Effect::Settle { entry, child: Some(child), .. } if self.adopt(ctx, child, key_of(&entry)) => {}
            Effect::Settle { entry, .. } => self.save(ctx, &entry, OutboxState::Settled, effect),
            Effect::Retry { entry, tries, .. } => self.save(ctx, &entry, OutboxState::Pending(tries), effect),
            Effect::GiveUp { entry, .. } if ctx.town.is_unsure_between(&entry.source, &entry.log()) => {
                self.save(ctx, &entry, OutboxState::GivenUp, effect);
            }
            Effect::GiveUp { entry, why, .. } => {
                ctx.checker.violation(format!("a push of {} was given up: {why}", entry.source));
                self.save(ctx, &entry, OutboxState::GivenUp, effect);
            }
            // So few messages never fill a lane, but one that was shortened asks for the others.
            Effect::TakeUp { source, to, from } => {
                let entries = self.pending(ctx, |process, place| process == source && place >= from);
                let entries: Vec<_> =
                    entries.into_iter().filter(|(entry, _)| to.is_none_or(|to| entry.to == to)).collect();
                let positions: Vec<_> = entries.iter().map(|(entry, _)| entry.position).collect();
                self.roles.messenger.hear(Input::TakenUp { source, to, entries, next: None });
                for position in positions {
                    self.check_attested(ctx, source, position);
                }
            }
        }
        true
    }

    fn save(&mut self, ctx: &mut Ctx<'_, '_>, entry: &Entry, state: OutboxState, effect: Effect) {
        self.roles.messenger.waits = true;
        self.write(ctx, vec![Write::Outbox(key_of(entry), state)], Done::Saved(Box::new(effect)));
    }

    /// Hears that a row of the messenger's is durable, or is not.
    pub(in crate::sim) fn saved(&mut self, effect: Effect, result: Result<(), WriteError>) {
        self.roles.messenger.waits = false;
        // How often a push was tried may be lost.
        if result.is_err() && !matches!(effect, Effect::Retry { .. }) {
            self.roles.messenger.hear(Input::NotSaved(effect));
        }
    }

    fn push(&mut self, ctx: &mut Ctx<'_, '_>, pushing: Pushing) {
        let push_id = pushing.entry.push_id;
        if self.cheats(ctx, &pushing) {
            let outcome = PushOutcome::Unreachable("it does not carry it".to_owned());
            return self.roles.messenger.hear(Input::Pushed { push_id, outcome });
        }
        let (item, proof) = match self.build(ctx, &pushing) {
            Ok(built) => built,
            Err(error) => {
                let outcome = PushOutcome::Unreachable(error.to_string());
                return self.roles.messenger.hear(Input::Pushed { push_id, outcome });
            }
        };
        let (item, proof) = (item.raw().clone(), proof.raw().clone());
        match pushing.scheduler(ctx.town).and_then(|address| ctx.town.node(&address)) {
            Some(node) if node == self.at => {
                self.submit(ctx, Waits::Push(Box::new(pushing)), &item, &proof);
            }
            Some(node) => {
                let rpc = Rpc::Push(Box::new(pushing), item.clone());
                self.ask(ctx, node, Ask::Submit(item, proof), rpc);
            }
            None => {
                let outcome = PushOutcome::Unreachable("nobody schedules it".to_owned());
                self.roles.messenger.hear(Input::Pushed { push_id, outcome });
            }
        }
    }

    /// The pushed item and its origin proof, from what the disk holds.
    pub(in crate::sim) fn build(
        &self,
        ctx: &Ctx<'_, '_>,
        pushing: &Pushing,
    ) -> Result<(Verified<DataItem>, Verified<DataItem>), ProofError> {
        let Pushing { entry, born } = pushing;
        let (proof, dispatch) = self.prove(ctx, pushing)?;
        let proof = match born {
            None => proof,
            Some(born) => proof.with_child(&born.header, &born.assignment),
        };
        let proof = proof.sign(&self.key)?;
        let draft = match (born, entry.to) {
            (Some(born), _) => dispatch.spawned(born.child(), proof.id()),
            (None, To::Process(_)) => dispatch.message(proof.id()),
            (None, To::Scheduler(_)) => dispatch.process(proof.id()),
            // The simulator's guest assigns nothing.
            (None, To::Several(_)) => None,
        };
        Ok((draft.ok_or(ProofError::Outcome)?.sign(&self.key)?, proof))
    }

    /// The origin proof of an entry, from what the disk holds, and what it lets be pushed.
    pub(in crate::sim) fn prove(
        &self,
        ctx: &Ctx<'_, '_>,
        Pushing { entry, .. }: &Pushing,
    ) -> Result<(OriginProof, Dispatch), ProofError> {
        let (rows, position) = (&self.disk.rows, entry.position);
        let missing = ProofError::Outcome;
        let source = ctx.town.process(&entry.source).ok_or(missing.clone())?;
        let closed = rows.outcome(&entry.source, position).ok_or(missing.clone())?;
        let slot = rows.slot(&entry.source, position.slot).ok_or(missing.clone())?;
        let outbox = &closed.outcome.outbox;
        let before = rows.outcomes.get(&entry.source).and_then(|all| all.range(..position).next_back());
        let before = before.map_or_else(|| Running::before(entry.source), |(_, closed)| closed.running);
        let said = rows.attestations.get(&(entry.source, position));
        let attestations: Vec<_> = said.into_iter().flatten().map(|(_, said)| said.clone()).collect();
        let header = Verified::<Header>::of(source.item());
        OriginProof::build(&ProofParts {
            network: NETWORK,
            header: &header,
            certificates: &[],
            entry: outbox.entries().get(entry.index as usize).ok_or(missing.clone())?,
            path: outbox.path(entry.index).ok_or(ProofError::Path)?,
            outcome: closed.outcome.core(),
            before,
            assignment: slot.assignment().id,
            state_root: Hash::ZERO,
            attestations: &attestations,
        })
    }

    /// A push of this node's has a slot: tells its messenger, and at the end of it the others with
    /// a receipt.
    pub(in crate::sim) fn pushed(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        Pushing { entry, born }: &Pushing,
        Assigned { process, assignment, signed, .. }: &Assigned,
        item: Bytes,
    ) {
        let (push_id, signed) = (entry.push_id, signed.clone());
        let is_last = born.is_some() || matches!(entry.to, To::Process(_));
        if !is_last {
            let child = ctx.town.process(process).zip(DataItem::verify_bytes(signed).ok());
            let outcome = match child {
                Some((child, assignment)) => {
                    let header = Verified::<Header>::of(child.item());
                    PushOutcome::Born(Box::new(Born { header, assignment }))
                }
                None => PushOutcome::Unreachable("no child".to_owned()),
            };
            return self.roles.messenger.hear(Input::Pushed { push_id, outcome });
        }
        let outcome = PushOutcome::Assigned { assignment: *assignment, how: How::Carried };
        self.roles.messenger.hear(Input::Pushed { push_id, outcome });
        let position = Some(entry.position.into());
        let receipt = wire::Receipt { position, index: entry.index, assignment: signed, item };
        self.gossip(ctx, &Message::Receipt(entry.source, receipt));
    }

    /// Takes a receipt that proves that a push stands in its target's log.
    pub(in crate::sim) fn hear_receipt(&mut self, ctx: &Ctx<'_, '_>, source: Id, receipt: &wire::Receipt) {
        let check = || {
            let position = wire::position(receipt.position.as_ref()).ok()?;
            let item = DataItem::verify_bytes(receipt.item.clone()).ok()?;
            let signed = DataItem::verify_bytes(receipt.assignment.clone()).ok()?;
            let assignment = Assignment::from_item(&signed).ok()?;
            let target = ctx.town.process(&assignment.process)?;
            let place = Source { process: source, position, index: receipt.index };
            let proof: Id = item.tag("Origin-Proof")?.parse().ok()?;
            let tags = place.tags("Message", "", None, proof);
            let tail = tags.into_iter().skip_while(|tag| tag.name != "From-Epoch").collect::<Vec<_>>();
            let fits = assignment.message == Some(item.id())
                && item.target() == Some(assignment.process)
                && signed.owner() == target.scheduler()
                && item.tags().ends_with(&tail)
                && item.tag("From-Process") == Some(source.to_string().as_str());
            let child = item.tag("Process").and_then(|child| child.parse().ok());
            let (push_id, assignment) = (place.push_id(NETWORK), assignment.id);
            fits.then_some(Input::Receipt { push_id, assignment, child })
        };
        if let Some(input) = check() {
            self.roles.messenger.hear(input);
        }
    }

    /// Takes an offer to carry.
    pub(in crate::sim) fn hear_offer(&mut self, ctx: &mut Ctx<'_, '_>, from: usize, message: &wire::Offer) {
        let verified = Offer::from_wire(message, NETWORK).ok().and_then(|offer| offer.verify().ok());
        // In hard mode the market alone says what is timely, by clocks that differ.
        let is_live = |offer: &Verified<Offer>| ctx.town.hard.is_some() || offer.is_live(ctx.now(self.at));
        let Some(offer) = verified.filter(is_live) else { return };
        self.keep_offer(ctx, from, offer);
        let offers = self.offers(ctx.now(self.at));
        for source in self.hosted(ctx.town) {
            let offers = offers.clone();
            self.roles.messenger.hear(Input::Offers { source, offers });
        }
    }

    /// Offers to carry, before the last offer lapses.
    pub(in crate::sim) fn repeat_offer(&mut self, ctx: &mut Ctx<'_, '_>) {
        self.flood(ctx);
        let now = ctx.now(self.at);
        let repeat_ms = if ctx.town.hard.is_some() { hard::REPEAT_MS } else { REPEAT_MS };
        if self.roles.offered.is_some_and(|then| then.plus_ms(repeat_ms) > now) {
            return;
        }
        self.roles.offered = Some(now);
        if let Ok(offer) = offer(now).sign(&self.key) {
            self.gossip(ctx, &Message::Offer(offer.to_wire()));
            self.roles.own = Some(offer);
        }
    }

    /// Keeps an attestation from the network.
    pub(in crate::sim) fn hear_attestation(&mut self, ctx: &mut Ctx<'_, '_>, message: &wire::Attestation) {
        let read = Attestation::from_wire(message, NETWORK).ok();
        let Some(said) = read.and_then(|said| said.verify().ok()) else { return };
        let process = said.statement().process;
        let Some(known) = ctx.town.process(&process) else { return };
        if self.hosts(ctx.town, &process) && known.attestors().members.contains(&said.attestor()) {
            let write = Write::Attestation(Box::new(said.clone()));
            self.write(ctx, vec![write], Done::Kept(Box::new(said)));
        }
    }

    /// Hears that an attestation is durable, or is not.
    pub(in crate::sim) fn kept(
        &mut self,
        ctx: &mut Ctx<'_, '_>,
        said: &Verified<Attestation>,
        result: Result<(), WriteError>,
    ) {
        let (process, position) = (said.statement().process, said.statement().position);
        match result {
            Ok(()) => {
                self.check_attested(ctx, process, position);
                self.weigh(process, position);
            }
            Err(WriteError::Conflict) => {
                let held = self.disk.rows.attestations.get(&(process, position));
                let held = held.and_then(|by| by.get(&said.attestor()));
                match held.and_then(|held| Evidence::of_attestations(held, said)) {
                    Some(evidence) => self.convict(ctx, process, evidence),
                    None => ctx.checker.violation(format!("{position} of {process} is attested oddly")),
                }
            }
            Err(WriteError::Disk) => {}
        }
    }
}

fn key_of(entry: &Entry) -> OutboxKey {
    (entry.source, entry.position, entry.index)
}

impl Pushing {
    /// Who gives it a slot.
    pub(in crate::sim) fn scheduler(&self, town: &Town<'_>) -> Option<Address> {
        let of = |process| town.process(process).map(|process| process.scheduler());
        match (&self.born, &self.entry.to) {
            (Some(_), _) => of(&self.entry.source),
            (None, To::Process(target)) => of(target),
            (None, To::Scheduler(address)) => Some(*address),
            (None, To::Several(_)) => None,
        }
    }
}

/// What a node offers.
pub(in crate::sim) fn offer(now: Now) -> OfferTerms {
    OfferTerms {
        network: NETWORK,
        sequence: now.0,
        shards: Vec::new(),
        classes: 0,
        price_per_push: PRICE,
        price_per_kib: 0,
        max_kib: 1_024,
        capacity_per_s: 100,
        latency_p50_ms: 0,
        stake: Hash::ZERO,
        valid_from: now.0,
        valid_to: now.plus_ms(OFFER_MS).0,
    }
}
