//! The market of messengers, as this node knows it.

use serde_json::Value;
use weft_protocol::market::{
    Entry, RANKS_PAID, TURN_MS, Window, draws, price, rank_score, set_slot, window_of,
};
use weft_protocol::offer::OfferTerms;
use weft_protocol::outcome::OutboxEntry;
use weft_protocol::push::Source;
use weft_protocol::{Address, Hash, Id, Now, Position};
use weft_storage::OutboxKey;

use super::super::api::{Failure, FailureCode, MarketRequest, OfferInfo, PushName, RankInfo, RankRow};
use super::{Answers, disk, fail};
use crate::directory::Known;
use crate::market::machine::Place;
use crate::market::window_at;
use crate::messenger::machine::RANKS_MAX;

impl Answers {
    pub(super) async fn market(&self, request: MarketRequest) -> Result<Value, Failure> {
        let answer = match request {
            MarketRequest::Offers => serde_json::to_value(self.offers()),
            MarketRequest::Rank { process, push } => serde_json::to_value(self.rank(process, push)?),
            MarketRequest::Audit { process, window } => {
                serde_json::to_value(self.audit(process, window).await?)
            }
            MarketRequest::Earnings { ledger } => serde_json::to_value(self.earnings(ledger).await?),
        };
        answer.map_err(|error| fail(FailureCode::Fault, error.to_string()))
    }

    /// This node's offer, then those of others, the cheapest first.
    fn offers(&self) -> Vec<OfferInfo> {
        let (shared, now) = (&self.shared, self.shared.clock.now());
        let own = shared.market.own();
        let own = own.map(|(terms, processes)| {
            let bond = processes.iter().find_map(|process| shared.market.bond(process, &shared.address, now));
            info(shared.address, bond, true, &terms, processes, now)
        });
        let mut others: Vec<OfferInfo> = Vec::new();
        for known in shared.market.offers(now) {
            let processes = known.places.iter().filter_map(|place| match place {
                Place::Process(process) => Some(*process),
                Place::Shard(_) => None,
            });
            let processes: Vec<Id> = processes.collect();
            let bond = processes.iter().find_map(|process| shared.market.bond(process, &known.by, now));
            others.push(info(known.by, bond, false, &known.terms, processes, now));
        }
        others.sort_by_key(|offer| (offer.price_per_push, offer.price_per_kib, offer.messenger));
        own.into_iter().chain(others).collect()
    }

    fn rank(&self, process: Id, push: Option<PushName>) -> Result<RankInfo, Failure> {
        let known = self.known(&process)?;
        let reader = self.read()?;
        let head = reader.head(&process).map_err(disk)?.map(|(slot, _)| slot);
        let next = PushName { slot: head.map_or(0, |slot| slot + 1), tick: 0, index: 0 };
        let push = push.unwrap_or(next);
        let position = Position { epoch: 0, slot: push.slot, tick: push.tick };
        let push_id = Source { process, position, index: push.index }.push_id(self.shared.network);
        let at = set_slot(window_of(push.slot)).filter(|_| known.process.market().is_some());
        if let Some(at) = at.filter(|at| head.is_none_or(|head| head < *at)) {
            let text = format!(
                "the offers that rank slot {} of {process} are in slot {at}, which is not here yet: the newest is {}",
                push.slot,
                head.map_or_else(|| "none".to_owned(), |head| head.to_string()),
            );
            return Err(fail(FailureCode::Unknown, text));
        }
        let window = window_at(&reader, &known.process, push.slot);
        let window = window.map_err(|error| fail(FailureCode::Fault, error.to_string()))?;
        match window {
            Some(window) => {
                let key = OutboxKey { process, position, index: push.index };
                let row = reader.outbox_entry(&key).map_err(disk)?;
                let sent = row.and_then(|row| OutboxEntry::from_bytes(&row.entry).ok());
                let bytes = sent.map_or(0, |sent| sent.data.len() as u64);
                Ok(self.rank_hard(process, push, (push_id, bytes), &window))
            }
            None => Ok(self.rank_soft(&known, push, push_id)),
        }
    }

    fn rank_hard(
        &self,
        process: Id,
        push: PushName,
        (push_id, bytes): (Hash, u64),
        window: &Window,
    ) -> RankInfo {
        let row = |(rank, entry): (usize, &Entry)| RankRow {
            rank,
            messenger: entry.messenger(),
            own: entry.messenger() == self.shared.address,
            turn_ms: rank.min(RANKS_PAID) as u64 * TURN_MS,
            due: (rank < RANKS_PAID).then(|| price(entry.offer().terms(), bytes)),
            why: match draws(entry.bond(), entry.quality()) {
                Some(count) => {
                    format!("bond {}, quality {}: {count} draws", entry.bond(), entry.quality().number())
                }
                None => "no bond: one draw".to_owned(),
            },
        };
        let ranks: Vec<RankRow> = window.order(&push_id, bytes).into_iter().enumerate().map(row).collect();
        let (number, count) = (window.number(), window.set().entries().len());
        let why = format!(
            "hard mode: of the {count} offers for window {number} in slot {}, those that take pushes of {bytes} bytes draw by the seed \
             of the window, and the highest draw goes first; ranks 0 to {} are paid in their turns",
            set_slot(number).unwrap_or_default(),
            RANKS_PAID - 1
        );
        let (mode, turn_ms) = ("hard".to_owned(), TURN_MS);
        let (window, seed) = (Some(number), Some(window.seed()));
        RankInfo { process, push, push_id, mode, window, seed, turn_ms, ranks, why }
    }

    fn rank_soft(&self, known: &Known, push: PushName, push_id: Hash) -> RankInfo {
        let (shared, process) = (&self.shared, known.process.id());
        let mut messengers: Vec<Address> =
            shared.market.at(process, shared.clock.now()).into_keys().collect();
        if known.roles.messenges && shared.market.own().is_some() {
            messengers.push(shared.address);
        }
        messengers.sort_by_key(|messenger| std::cmp::Reverse(rank_score(&push_id, messenger)));
        let turn_ms = shared.config.messenger_window_ms;
        let row = |(rank, messenger): (usize, Address)| RankRow {
            rank,
            messenger,
            own: messenger == shared.address,
            turn_ms: (rank as u64).min(RANKS_MAX).saturating_mul(turn_ms),
            due: None,
            why: format!("its draw is {}", rank_score(&push_id, &messenger)),
        };
        let ranks: Vec<RankRow> = messengers.into_iter().enumerate().map(row).collect();
        let hard = match known.process.market() {
            Some(_) => "this window of a process in hard mode has no offers in its log; as in ",
            None => "",
        };
        let why = format!(
            "{hard}soft mode: each messenger whose offer for this process this node knows ({} of them) draws once, and the \
             highest draw goes first; nobody is paid, and other nodes may know other messengers",
            ranks.len()
        );
        let mode = "soft".to_owned();
        RankInfo { process, push, push_id, mode, window: None, seed: None, turn_ms, ranks, why }
    }
}

fn info(
    messenger: Address,
    bond: Option<u64>,
    own: bool,
    terms: &OfferTerms,
    processes: Vec<Id>,
    now: Now,
) -> OfferInfo {
    OfferInfo {
        messenger,
        own,
        price_per_push: terms.price_per_push,
        price_per_kib: terms.price_per_kib,
        max_kib: terms.max_kib,
        capacity_per_s: terms.capacity_per_s,
        latency_p50_ms: Some(terms.latency_p50_ms).filter(|ms| *ms > 0),
        lasts_ms: terms.valid_to.saturating_sub(now.0),
        bond,
        shards: terms.shards.clone(),
        processes,
    }
}
