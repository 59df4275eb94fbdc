//! Messengers that mean harm to the process in hard mode: what each does while there are faults. Afterwards they carry as
//! all do, so that a run comes to its end.
//!
//! Whatever they hand in beside their own machine's pushes goes to the scheduler of the target as a peer's does.

use bytes::Bytes;
use weft_node::messenger::machine::{Entry, To};
use weft_protocol::crypto::Signer;
use weft_protocol::offer::OfferTerms;
use weft_protocol::origin::{OriginProof, PROOF_TYPE};
use weft_protocol::push::{Dispatch, ORIGIN_PROOF};
use weft_protocol::{DataItem, Draft, Tag, Verified};

use super::hard::PRICE;
use super::network::{Ask, Message};
use super::node::{Ctx, Node};
use super::roles::{Pushing, Rpc, offer};
use super::town::Town;
use super::world::{FAULTS_MS, Mutation};

/// Names in which one node floods the market with offers: more than take part in the ranks of a process.
const NAMES_MAX: u8 = 120;

/// How a messenger carries for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vice {
    /// When its turn comes.
    None,
    /// At once, whoever's turn it is.
    Snipes,
    /// Four turns after its own.
    Delays,
    /// Never.
    Withholds,
    /// With other data under the proof of the push.
    Alters,
    /// With a proof that no quorum signed.
    Forges,
    /// As an item of its own that calls itself the push.
    Squats,
    /// Twice, under two names, as two items.
    Doubles,
    /// At once, and what was sent later before what was sent first.
    Reorders,
    /// When its turn comes, and offers in a hundred names.
    Floods,
}

impl Vice {
    /// All that are none.
    pub const ALL: [Self; 9] = [
        Self::Snipes,
        Self::Delays,
        Self::Withholds,
        Self::Alters,
        Self::Forges,
        Self::Squats,
        Self::Doubles,
        Self::Reorders,
        Self::Floods,
    ];

    /// Those of two messengers in a seed: each with each of the others in turn.
    pub const fn drawn(seed: u64) -> [Self; 2] {
        let count = Self::ALL.len() as u64;
        let other = seed + 1 + (seed / count) % (count - 1);
        [Self::ALL[(seed % count) as usize], Self::ALL[(other % count) as usize]]
    }

    /// The vice of a node, if the town has a process in hard mode.
    pub fn of(town: &Town<'_>, node: usize) -> Self {
        match (town.hard, node) {
            (Some(_), 1 | 2) => town.vices[node - 1],
            _ => Self::None,
        }
    }

    /// Whether it carries before its turn.
    pub const fn is_hasty(self) -> bool {
        matches!(self, Self::Snipes | Self::Reorders)
    }
}

/// An item and its proof, which may be empty.
type Parcel = (Verified<DataItem>, Bytes);

impl Node {
    /// How this node carries now.
    pub(super) fn vice(&self, ctx: &Ctx<'_, '_>) -> Vice {
        match ctx.mutation {
            Mutation::NobodyWaits => Vice::Snipes,
            Mutation::NoOrder => Vice::Reorders,
            _ if ctx.time < FAULTS_MS => Vice::of(ctx.town, self.at),
            _ => Vice::None,
        }
    }

    /// Does what its vice asks for when it is to carry a push; whether it does not carry it then.
    pub(super) fn cheats(&mut self, ctx: &mut Ctx<'_, '_>, pushing: &Pushing) -> bool {
        let vice = self.vice(ctx);
        let Entry { source, to: To::Process(target), .. } = pushing.entry else { return false };
        if ctx.town.hard != Some(source) || vice == Vice::None {
            return false;
        }
        if vice != Vice::Delays {
            ctx.checker.acted(vice);
        }
        // What it schedules itself it may write as it likes.
        let Some(node) = ctx.town.scheduler(&target).filter(|node| *node != self.at) else { return false };
        let (parcels, is_false) = match vice {
            Vice::None | Vice::Snipes | Vice::Delays | Vice::Floods => return false,
            Vice::Withholds => return true,
            Vice::Alters => (self.parcel(ctx, pushing, altered), true),
            Vice::Forges => (self.parcel(ctx, pushing, forged), true),
            Vice::Squats => (self.parcel(ctx, pushing, squatted), false),
            Vice::Doubles => (self.parcel(ctx, pushing, doubled), false),
            Vice::Reorders => (self.later(ctx, pushing), false),
        };
        for (item, proof) in parcels {
            let ask = Ask::Submit(item.raw().clone(), proof);
            self.ask(ctx, node, ask, Rpc::Tried { is_false });
        }
        matches!(vice, Vice::Alters | Vice::Forges | Vice::Squats)
    }

    fn parcel(
        &self,
        ctx: &Ctx<'_, '_>,
        pushing: &Pushing,
        make: impl Fn(&OriginProof, &Dispatch, &Signer) -> Option<Parcel>,
    ) -> Vec<Parcel> {
        let proven = self.prove(ctx, pushing).ok();
        proven.and_then(|(proof, dispatch)| make(&proof, &dispatch, &self.key)).into_iter().collect()
    }

    /// What the process sent to the same target after this, the last first, as far as it can be proven.
    fn later(&self, ctx: &Ctx<'_, '_>, Pushing { entry, .. }: &Pushing) -> Vec<Parcel> {
        let wanted = |process, place| process == entry.source && place > entry.place();
        let pending = self.pending(ctx, wanted).into_iter().rev().map(|(later, _)| later);
        let pushes = pending.filter(|later| later.to == entry.to);
        let built = pushes.filter_map(|entry| self.build(ctx, &Pushing { entry, born: None }).ok());
        built.map(|(item, proof)| (item, proof.raw().clone())).collect()
    }

    /// Offers in one more name, cheaper than all others.
    pub(super) fn flood(&mut self, ctx: &mut Ctx<'_, '_>) {
        if self.vice(ctx) != Vice::Floods || self.roles.names == NAMES_MAX {
            return;
        }
        self.roles.names += 1;
        ctx.checker.acted(Vice::Floods);
        let mut secret = [210; 32];
        (secret[0], secret[1]) = (self.at as u8, self.roles.names);
        let terms = OfferTerms { price_per_push: PRICE - 1, ..offer(ctx.now(self.at)) };
        if let Ok(offer) = terms.sign(&Signer::from_seed(&secret)) {
            self.gossip(ctx, &Message::Offer(offer.to_wire()));
        }
    }
}

fn altered(proof: &OriginProof, dispatch: &Dispatch, key: &Signer) -> Option<Parcel> {
    let proof = proof.sign(key).ok()?;
    let draft = Draft { data: Bytes::from_static(b"give me all"), ..dispatch.message(proof.id())? };
    Some((draft.sign(key).ok()?, proof.raw().clone()))
}

fn forged(proof: &OriginProof, dispatch: &Dispatch, key: &Signer) -> Option<Parcel> {
    // The last byte is of an attestor's signature; one of them may be the forger itself.
    let mut data = proof.encode();
    *data.last_mut()? ^= 1;
    let tags = vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", PROOF_TYPE)];
    let draft = Draft { target: None, anchor: None, tags, data: data.into() };
    let proof = draft.sign(key).ok()?;
    Some((dispatch.message(proof.id())?.sign(key).ok()?, proof.raw().clone()))
}

fn squatted(proof: &OriginProof, dispatch: &Dispatch, key: &Signer) -> Option<Parcel> {
    let mut draft = dispatch.message(proof.sign(key).ok()?.id())?;
    draft.tags.retain(|tag| tag.name != ORIGIN_PROOF);
    Some((draft.sign(key).ok()?, Bytes::new()))
}

fn doubled(proof: &OriginProof, dispatch: &Dispatch, key: &Signer) -> Option<Parcel> {
    let mut secret = [220; 32];
    secret[0] = key.address().0[0];
    let other = Signer::from_seed(&secret);
    let proof = proof.sign(&other).ok()?;
    Some((dispatch.message(proof.id())?.sign(&other).ok()?, proof.raw().clone()))
}
