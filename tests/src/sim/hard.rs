//! Hard mode: a process whose log comes to its first window, and messengers who offer to carry for it.
//!
//! Its scheduler puts the offers that it heard into slot 255, which others heard or did not; from slot 256 on every
//! messenger has its rank by that slot alone. What each does that means harm is in [`vice`](super::vice), what the logs say
//! of all of them in [`audit`](super::audit).

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt as _;
use rand::rngs::StdRng;
use weft_node::market::machine::{Place, Said};
use weft_node::messenger::machine::Turn;
use weft_protocol::market::{
    BOND_UNIT, Entry, PushTerms, Quality, RANKS_PAID, Window, rank_score, set_slot, window_of,
};
use weft_protocol::offer::Offer;
use weft_protocol::process::Process;
use weft_protocol::record::{Link, to_wire};
use weft_protocol::{Address, Hash, Id, Now, Verified};

use super::disk::Rows;
use super::guest::Live;
use super::node::{Ctx, Node, clock};
use super::town::{NETWORK, NOTHING, Town, item};
use super::vice::Vice;
use super::workload::Errand;
use super::world::Mutation;
use crate::lone::next_slot;

/// What the process pays at most; its ledger is nowhere here.
pub const TERMS: PushTerms = PushTerms { ledger: Id([99; 32]), price_max: 1_000, kib_max: 100 };
/// What every offer asks for a push.
pub const PRICE: u64 = 10;
/// The slots that are there when a run begins: the next one is for the first window's offers.
const PAST: u64 = 255;
/// Messages that make the process send, two at a time to one target.
const MESSAGES: usize = 16;
/// How long clients wait before they send, in milliseconds.
const QUIET_MS: u64 = 3_000;
/// How often offers are made again meanwhile and after, in milliseconds.
pub const REPEAT_MS: u64 = 1_000;
/// Turns that who delays lets pass.
const DELAY_TURNS: usize = 4;
/// How many of the offers are not heard, beside those that are lost: views differ.
const DEAF: f64 = 0.2;
/// The place at which offers stand: here they are for every process.
const EVERYWHERE: Id = Id([0; 32]);

/// What the scheduler reads in a ledger: node 3 has no bond, and no name that is made up.
fn bond(town: &Town<'_>, messenger: &Address) -> u64 {
    match town.node(messenger) {
        None | Some(3) => 0,
        Some(node) => (node as u64 + 1) * BOND_UNIT,
    }
}

impl Node {
    /// Keeps an offer by the rules of the market.
    pub(super) fn keep_offer(&mut self, ctx: &mut Ctx<'_, '_>, from: usize, offer: Verified<Offer>) {
        let is_deaf = ctx.town.hard.is_some() && ctx.rng.random_bool(DEAF);
        if !is_deaf {
            let said = Said { by: offer.messenger(), terms: offer.terms().clone(), body: offer };
            self.roles.market.hear(said, Place::Process(EVERYWHERE), from, ctx.now(self.at));
        }
    }

    /// Who offers to carry now, this node left out, each with the end of its offer.
    pub(super) fn offers(&self, now: Now) -> BTreeMap<Address, u64> {
        self.roles.market.at(EVERYWHERE, now)
    }

    /// The offers that this node knows, as entries of a set.
    pub(super) fn entries(&self, ctx: &Ctx<'_, '_>) -> Vec<Entry> {
        let known = self.roles.market.bodies_at(EVERYWHERE, ctx.now(self.at));
        let entry = |offer: Verified<Offer>| {
            let bond = bond(ctx.town, &offer.messenger());
            Entry::new(offer, bond, Quality::NEW)
        };
        self.roles.own.clone().into_iter().chain(known).map(entry).collect()
    }

    /// When this node carries a push.
    pub(super) fn turn_of(
        &self,
        ctx: &Ctx<'_, '_>,
        process: &Process,
        slot: u64,
        push: &Hash,
        bytes: u64,
    ) -> Turn {
        let Some(window) = window(process, &self.disk.rows, slot) else { return Turn::Soft };
        let rank = match ctx.mutation {
            Mutation::OwnViews => self.own_rank(push, ctx.now(self.at)),
            _ => window.rank(push, bytes, &self.address).map_or(RANKS_PAID, |(rank, _)| rank),
        };
        let rank = match self.vice(ctx) {
            vice if vice.is_hasty() => 0,
            Vice::Delays => rank.min(RANKS_PAID) + DELAY_TURNS,
            _ => rank.min(RANKS_PAID),
        };
        Turn::Hard(u8::try_from(rank).unwrap_or(u8::MAX))
    }

    /// The rank that the offers give which were heard here.
    fn own_rank(&self, push: &Hash, now: Now) -> usize {
        let own = rank_score(push, &self.address);
        self.offers(now).keys().filter(|other| rank_score(push, other) > own).count()
    }
}

/// The window of a slot, as a log on disk has it.
pub(super) fn window(process: &Process, rows: &Rows, slot: u64) -> Option<Window> {
    let record = rows.slot(&process.id(), set_slot(window_of(slot))?)?;
    Window::of_record(process, record)?.ok().filter(|window| !window.set().entries().is_empty())
}

/// Puts the log up to the slot of the first set on the disk of every node.
pub fn remember(town: &Town<'_>, nodes: &mut [Node]) {
    let Some(process) = town.hard.and_then(|hard| town.process(&hard)) else { return };
    let (id, scheduler) = (process.id(), town.scheduler(&process.id()).unwrap_or_default());
    let start = clock(0, 0, 0).0;
    let mut rows = Rows::default();
    let mut end: Option<Link> = None;
    for slot in 0..PAST {
        let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Wait")];
        let item = match slot {
            0 => process.item().clone(),
            _ => item(&town.user, Some(id), 1_000_000 + slot, &tags, NOTHING),
        };
        let mut draft = next_slot(NETWORK, id, end, 0, &item);
        draft.time.timestamp = start - 1_000;
        draft.time.height = draft.time.timestamp / 120_000;
        let signed = draft.draft().sign(&town.keys[scheduler]).expect("an assignment");
        let record = town.verify(&to_wire(&signed, &item, None)).expect("a slot");
        end = Some(record.link());
        rows.slots.entry(id).or_default().insert(slot, record);
    }
    rows.relist(&process);
    let mut live = Live::load(Arc::clone(&process), town, &Rows::default()).expect("a process");
    for record in rows.slots[&id].values() {
        for closed in live.run_slot(record) {
            rows.outcomes.entry(id).or_default().insert(closed.outcome.position, closed);
        }
    }
    for node in nodes {
        let disk = &mut node.disk.rows;
        disk.slots.insert(id, rows.slots[&id].clone());
        disk.seen.insert(id, rows.seen[&id].clone());
        disk.outcomes.insert(id, rows.outcomes[&id].clone());
    }
}

/// Lets clients begin when offers had time to be heard: the first slot that is asked for is behind the set.
pub fn delay(town: &Town<'_>, errands: &mut [Errand]) {
    if town.hard.is_some() {
        errands.iter_mut().for_each(|errand| errand.at = errand.at.max(QUIET_MS));
    }
}

/// Messages that make the process send.
pub fn errands(town: &Town<'_>, span_ms: u64, rng: &mut StdRng) -> Vec<Errand> {
    let Some(process) = town.hard else { return Vec::new() };
    let node = town.scheduler(&process).unwrap_or_default();
    let others: Vec<Id> = town.processes.keys().copied().filter(|id| *id != process).collect();
    let mut errands = Vec::new();
    for pair in 0..MESSAGES / 2 {
        let to = others[rng.random_range(0..others.len())].to_string();
        let at = rng.random_range(0..span_ms);
        for number in [2 * pair, 2 * pair + 1] {
            let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Relay"), ("To", &to)];
            let item = item(&town.user, Some(process), 20_000 + number as u64, &tags, NOTHING);
            errands.push(Errand { process, node, item, at, answered: false });
        }
    }
    errands
}
