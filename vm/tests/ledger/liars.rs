//! Messengers, honest and not, between the logs of two processes and the last balance: whatever is drawn from a seed, what is paid
//! is what the logs say, each push once, and money is conserved after every message.
//!
//! Logs, offers, proofs, receipts, claims, answers and evidence are the real ones, judged by the ledger's own judge.

mod blind;
mod play;

use std::collections::BTreeMap;

use weft_protocol::market::{Answer, Carried, ClaimTree, Earlier, Paid, RANKS_PAID, TURN_MS, due, price};
use weft_protocol::{DataItem, Id, Position, Verified, hash_chain};

use super::fixture::{Log, MESSAGE, OTHER_MESSAGE, Push, SCHEDULER, address, key};
use super::market::{MESSENGERS, SENT, Told, header_bytes, offer, read};

/// Slots of the source that send two messages each.
const SLOTS: u64 = 6;

/// Chance from a seed: SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a messenger does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It waits for its turn, claims what is due to it, and answers.
    Honest,
    /// It carries before its turn, and claims that.
    Snipes,
    /// It claims more than its offer asks.
    Overcharges,
    /// It claims what others carried, with what is its own.
    Copies,
    /// It claims what is due to it, and does not answer.
    Withholds,
    /// It puts items of its own into the target's log, which call themselves the push, and claims by those.
    Squats,
    /// It carries nothing.
    Left,
}

const WAYS: [Way; 7] =
    [Way::Honest, Way::Snipes, Way::Overcharges, Way::Copies, Way::Withholds, Way::Squats, Way::Left];

/// A slot that the target's scheduler gave to somebody's item of a push.
struct Receipt {
    sent: usize,
    by: u8,
    push: Push,
    signed: Verified<DataItem>,
    /// In the target's one log, or in another that its scheduler made up.
    is_in_log: bool,
    /// Or what only calls itself the push.
    is_push: bool,
}

/// One push of the source.
struct Sent {
    told: Told,
    index: u32,
}

impl Sent {
    /// The amount that the receipt pays its carrier, by the timestamps and the set alone.
    fn due(&self, receipt: &Receipt) -> Option<u64> {
        let push = self.told.push_id(self.index);
        let (rank, entry) = self.told.window.rank(&push, 3, &address(receipt.by))?;
        let (sent, accepted) = (read(&self.told.sent).time, read(&receipt.signed).time);
        due(rank, sent.timestamp, accepted.timestamp).ok()?;
        Some(price(entry.offer().terms(), 3))
    }
}

struct Town {
    sent: Vec<Sent>,
    receipts: Vec<Receipt>,
    /// The ids of the target's slots.
    log: Vec<Id>,
    ways: BTreeMap<u8, Way>,
    chance: Chance,
}

impl Town {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let position = |slot| Position { slot, ..SENT };
        let both =
            |slot| [MESSAGE, OTHER_MESSAGE].map(|index| Sent { told: Told::at(position(slot)), index });
        let sent = (256..256 + SLOTS).flat_map(both).collect();
        let mut one_of = |many: usize| chance.below(many as u64) as usize;
        let mut ways: BTreeMap<u8, Way> =
            MESSENGERS.into_iter().map(|by| (by, WAYS[one_of(WAYS.len())])).collect();
        // One of them is honest in every town.
        ways.insert(MESSENGERS[one_of(MESSENGERS.len())], Way::Honest);
        let mut town = Self { sent, receipts: Vec::new(), log: Vec::new(), ways, chance };
        town.carry();
        town
    }

    /// When each item comes to the target: of which push, whose, and whether it stands in the one log. What is taken
    /// twice is there twice.
    fn arrivals(&mut self) -> Vec<(u64, usize, u8, bool)> {
        let (mut arrivals, chance) = (Vec::new(), &mut self.chance);
        for (number, sent) in self.sent.iter().enumerate() {
            let at = read(&sent.told.sent).time.timestamp;
            let mut come = Vec::new();
            for rank in 0..MESSENGERS.len() {
                let by = sent.told.at_rank(sent.index, rank);
                let after = match self.ways[&by] {
                    Way::Left | Way::Squats => continue,
                    Way::Snipes => chance.below(TURN_MS),
                    _ if rank >= RANKS_PAID || chance.is(20) => continue,
                    _ => rank as u64 * TURN_MS + chance.below(TURN_MS / 2),
                };
                come.push((at + after, number, by, true));
            }
            come.sort_unstable();
            arrivals.extend(come.first());
            // The target's scheduler takes a later one too, or gives it a slot of another log.
            let twice = come.get(1).filter(|_| chance.is(30));
            arrivals.extend(twice.map(|&(at, number, by, _)| (at, number, by, chance.is(60))));
        }
        arrivals.sort_unstable();
        arrivals
    }

    /// Writes the target's log.
    fn carry(&mut self) {
        let arrivals = self.arrivals();
        let mut log = Log::new(self.sent[0].told.target.clone());
        let mut assign = |item: Option<Id>, time: u64, is_in_log: bool| {
            let mut draft = log.draft(item);
            draft.time.timestamp = time;
            let signed = draft.draft().sign(&key(SCHEDULER)).unwrap();
            if is_in_log {
                log.link = hash_chain::next(signed.id(), log.link);
                log.slot += 1;
                self.log.push(signed.id());
            }
            signed
        };
        assign(None, 1, true);
        for (time, sent, by, is_in_log) in arrivals {
            let Sent { told, index } = &self.sent[sent];
            for (&by, _) in self.ways.iter().filter(|(_, way)| **way == Way::Squats) {
                let mine = format!("mine{time}");
                let push = told.push(*index, by).forged(|draft| draft.data = mine.into_bytes().into());
                let signed = assign(Some(push.item.id()), time, true);
                self.receipts.push(Receipt { sent, by, push, signed, is_in_log: true, is_push: false });
            }
            let push = told.push(*index, by);
            let signed = assign(Some(push.item.id()), time, is_in_log);
            self.receipts.push(Receipt { sent, by, push, signed, is_in_log, is_push: true });
        }
    }

    fn paid(&self, receipt: &Receipt, amount: u64) -> Paid {
        let (sent, at) = (&self.sent[receipt.sent], read(&receipt.signed));
        Paid {
            position: sent.told.source.outcome.position,
            index: sent.index,
            target: at.process,
            target_slot: at.slot,
            accepted: at.id,
            amount,
        }
    }

    /// What a messenger claims, by its way.
    fn wants(&self, by: u8) -> Vec<Paid> {
        let way = self.ways[&by];
        let asked = price(&offer(by), 3);
        let mut wants: BTreeMap<(Position, u32), Paid> = BTreeMap::new();
        for receipt in &self.receipts {
            let due = self.sent[receipt.sent].due(receipt);
            let amount = match (way, receipt.by == by) {
                (Way::Left, _) => None,
                (Way::Copies, false) if receipt.is_push => Some(asked),
                (_, false) => None,
                (Way::Squats, true) => Some(asked),
                (Way::Snipes, true) => Some(asked),
                (Way::Overcharges, true) => due.map(|due| due + 1),
                (_, true) => due,
            };
            if let Some(amount) = amount {
                let paid = self.paid(receipt, amount);
                wants.entry((paid.position, paid.index)).or_insert(paid);
            }
        }
        wants.into_values().collect()
    }

    fn receipt_of(&self, paid: &Paid) -> &Receipt {
        self.receipts.iter().find(|receipt| receipt.signed.id() == paid.accepted).unwrap()
    }

    /// The bytes that answer for a leaf, whether it is owed or not.
    fn answer(&self, tree: &ClaimTree, number: u32) -> Answer {
        let leaf = tree.path(number).unwrap();
        let receipt = self.receipt_of(&leaf.leaf.paid);
        let told = &self.sent[receipt.sent].told;
        Answer {
            leaf,
            previous: number.checked_sub(1).map(|before| tree.path(before).unwrap()),
            push: self.carried(receipt),
            sent: told.sent.raw().clone(),
            revealed: bytes::Bytes::new(),
            set: told.set.raw().clone(),
            set_assignment: told.set_assignment.raw().clone(),
            between: told.between.clone(),
        }
    }

    fn carried(&self, receipt: &Receipt) -> Carried {
        Carried {
            proof: receipt.push.proof.raw().clone(),
            item: header_bytes(&receipt.push.item),
            target: header_bytes(self.sent[receipt.sent].told.target.item()),
            certificates: Vec::new(),
            assignment: receipt.signed.raw().clone(),
        }
    }

    /// What shows that the push of a leaf stands earlier in the log of its receipt, if it does.
    fn earlier(&self, tree: &ClaimTree, number: u32) -> Option<Earlier> {
        let leaf = tree.path(number)?;
        let later = self.receipt_of(&leaf.leaf.paid);
        let slot = |receipt: &Receipt| read(&receipt.signed).slot;
        let is_first = |first: &&Receipt| {
            let is_same = first.sent == later.sent && first.is_push && later.is_push;
            is_same && first.is_in_log && later.is_in_log && slot(first) < slot(later)
        };
        let first = self.receipts.iter().find(is_first)?;
        let between = self.log[slot(first) as usize + 1..slot(later) as usize].to_vec();
        Some(Earlier { leaf, push: self.carried(first), receipt: later.signed.raw().clone(), between })
    }

    /// What every messenger is due by the logs: of pushes that the target took in one log, the first; of those that it
    /// took in two, any of the two.
    fn owed(&self, by: u8) -> (u64, u64) {
        let (mut least, mut most) = (0, 0);
        for (number, sent) in self.sent.iter().enumerate() {
            let of_push: Vec<&Receipt> =
                self.receipts.iter().filter(|receipt| receipt.sent == number && receipt.is_push).collect();
            let is_forked = of_push.iter().any(|receipt| !receipt.is_in_log);
            let first = of_push.first().filter(|first| first.by == by).and_then(|first| sent.due(first));
            let other = of_push.iter().find(|receipt| receipt.by == by && !receipt.is_in_log);
            let other = other.and_then(|other| sent.due(other));
            least += if is_forked { 0 } else { first.unwrap_or(0) };
            most += first.or(other).unwrap_or(0);
        }
        (least, most)
    }
}
