//! The rules of messages that wait for a slot on the topic of their process: the way around a scheduler that
//! refuses them or cannot be reached (RULES.md 6.15).
//!
//! Of each process some messages are held for a while: half the places are for signers that have a slot in its log
//! already, the others for whoever pays most. What is held goes on, is offered to the scheduler if that is this node,
//! and is given to peers that ask; what is not held goes no further. So nothing is carried that is not paid for, each
//! message once for what it paid, and paying more always gets in. A signature is looked at only where the message
//! would be held, and only so often: by neighbour, and in all, where those that pay more come before others.
//!
//! What left is known for longer than it was held, so that nobody has it carried a second time for what it paid.

pub mod asks;
mod bounds;
pub mod letters;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Address, Effects, Id, Machine, Now};

use self::bounds::{Left, Looks};
use crate::lobby::machine::share::Paces;

/// Messages that are held of one process.
pub const AT_PROCESS_MAX: usize = 64;
/// Of those, places for signers that have a slot in its log; the others are for postage.
pub const KNOWN_MAX: usize = AT_PROCESS_MAX / 2;
/// Such places of one signer.
pub const KNOWN_EACH_MAX: usize = 2;
/// How long a message is held, in milliseconds, from when it was last paid for.
pub const HELD_MS: u64 = 10 * 60_000;
/// Messages that are held in all: 16 MiB, at the 4 KiB that each may have.
pub const HELD_MAX: usize = 4_096;
/// Of those, such of signers that have a slot, whom no postage drives out.
const HELD_KNOWN_MAX: usize = HELD_MAX / 2;
/// Messages that left and are still known; of more the oldest are forgotten.
pub const LEFT_MAX: usize = 16_384;
/// For how long they are, in milliseconds.
pub const LEFT_MS: u64 = 60 * 60_000;

/// Signatures that are looked at without a pause ...
pub const LOOKS_BURST: u64 = 256;
/// ... and in a second after that: one takes 0.2 ms at most, and reading who has a slot some more.
pub const LOOKS_PER_S: u64 = 32;

/// Messages that are offered to this node's own scheduler beside each other.
pub const OFFERS_MAX: usize = 8;
/// The first wait before one that the scheduler could not take is offered again, in milliseconds; doubled each time.
const OFFER_AGAIN_MS: u64 = 1_000;
/// The longest.
const OFFER_AGAIN_MS_MAX: u64 = 30_000;

/// What a message says of itself, before and after its signature was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Whom it is for.
    pub process: Id,
    /// Which item it is.
    pub item: Id,
    /// Who signed it.
    pub signer: Address,
    /// What it paid, in zero bits: at least [`POSTAGE_BITS_MIN`](weft_protocol::postage::POSTAGE_BITS_MIN).
    pub bits: u32,
}

/// A message that was verified.
#[derive(Debug, Clone)]
pub struct Said<B> {
    /// What it says of itself.
    pub claim: Claim,
    /// Whether its signer has a slot in the log.
    pub is_known: bool,
    /// Whether this node schedules its process.
    pub is_mine: bool,
    /// For how long others held it, in milliseconds.
    pub age_ms: u64,
    /// What is kept of it.
    pub body: B,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is held, and goes on.
    Kept,
    /// It is not worth holding.
    Dropped(Why),
}

/// Why a message is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is held or was, for as much postage or more.
    Old,
    /// It has its slot, or was refused for good by the scheduler that is here.
    Over,
    /// There is no place for what it paid.
    Full,
    /// Too many were looked at lately, or came from this neighbour.
    Busy,
}

impl Heard {
    /// All words for what becomes of one, for counting.
    pub const NAMES: [&'static str; 5] = ["kept", "old", "over", "full", "busy"];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Dropped(Why::Old) => "old",
            Self::Dropped(Why::Over) => "over",
            Self::Dropped(Why::Full) => "full",
            Self::Dropped(Why::Busy) => "busy",
        }
    }
}

/// What the pools hear of, beside messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message has its slot.
    Assigned {
        /// Whose.
        process: Id,
        /// Which message.
        item: Id,
    },
    /// What came of [`Effect::Offer`].
    Offered {
        /// Whose message.
        process: Id,
        /// Which.
        item: Id,
        /// Whether it is settled, with a slot or without one for ever; it is offered again if not.
        is_settled: bool,
    },
    /// This node does nothing for a process any more.
    Drop(Id),
    /// Time passed.
    Tick,
}

/// What the pools ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<B> {
    /// Ask this node's own scheduler for a slot; answer with [`Input::Offered`].
    Offer {
        /// Of which process.
        process: Id,
        /// For which message.
        item: Id,
        /// What is kept of it.
        body: B,
    },
}

/// When a message that left may come again.
#[derive(Debug, Clone, Copy)]
enum After {
    /// For more postage.
    More,
    /// It has what it was sent for.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Known,
    Paid,
}

/// How far a message is with this node's own scheduler.
#[derive(Debug, Clone, Copy)]
enum Offer {
    /// That is another node.
    None,
    Due(Now, u32),
    UnderWay(u32),
}

#[derive(Debug)]
struct Held<B> {
    signer: Address,
    bits: u32,
    half: Half,
    /// When it was paid for.
    since: Now,
    /// Later ones have higher numbers.
    number: u64,
    offer: Offer,
    body: B,
}

/// A message that is held, for whoever wants to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting<B> {
    /// Which.
    pub item: Id,
    /// Whose.
    pub signer: Address,
    /// What it paid.
    pub bits: u32,
    /// For how long it is held, in milliseconds.
    pub age_ms: u64,
    /// What is kept of it.
    pub body: B,
}

/// A message with the rank in which it makes room for others: what paid least first, of those the newest.
type Rank = (u32, Reverse<u64>, Id, Id);

/// The messages that one node holds. `P` names neighbours, `B` is what is kept of a message.
#[derive(Debug)]
pub struct Pools<P, B> {
    pools: BTreeMap<Id, BTreeMap<Id, Held<B>>>,
    /// Those of them in places for postage.
    paid: BTreeSet<Rank>,
    /// How many are in the other places.
    known: usize,
    left: Left,
    paces: Paces<P>,
    looks: Looks,
    numbers: u64,
    offers: usize,
}

impl<P: Ord + Copy, B: Clone> Default for Pools<P, B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Ord + Copy, B: Clone> Pools<P, B> {
    /// Nothing is held yet.
    pub const fn new() -> Self {
        Self {
            pools: BTreeMap::new(),
            paid: BTreeSet::new(),
            known: 0,
            left: Left::new(),
            paces: Paces::new(),
            looks: Looks::new(),
            numbers: 0,
            offers: 0,
        }
    }

    /// How many messages are held.
    pub fn held(&self) -> usize {
        self.paid.len() + self.known
    }

    /// How many messages of a process are held.
    pub fn held_of(&self, process: &Id) -> usize {
        self.pools.get(process).map_or(0, BTreeMap::len)
    }

    /// The processes of which any are held.
    pub fn processes(&self) -> impl Iterator<Item = Id> {
        self.pools.keys().copied()
    }

    /// The messages of a process that are held, those that paid most first.
    pub fn waiting(&self, process: &Id, now: Now) -> Vec<Waiting<B>> {
        let held = self.pools.get(process).into_iter().flatten();
        let mut waiting: Vec<Waiting<B>> = held
            .map(|(item, held)| Waiting {
                item: *item,
                signer: held.signer,
                bits: held.bits,
                age_ms: now.0.saturating_sub(held.since.0),
                body: held.body.clone(),
            })
            .collect();
        waiting.sort_by_key(|waiting| (Reverse(waiting.bits), Reverse(waiting.age_ms)));
        waiting
    }

    /// Whether a message would be held if its signature is right; nothing of what it claims is proven yet.
    ///
    /// # Errors
    /// Why it would not.
    pub fn is_news(&self, claim: &Claim, is_known: bool, now: Now) -> Result<(), Why> {
        if let Some(held) = self.pools.get(&claim.process).and_then(|pool| pool.get(&claim.item)) {
            return if claim.bits > held.bits { Ok(()) } else { Err(Why::Old) };
        }
        match self.left.of(&claim.item, now) {
            Some(u32::MAX) => return Err(Why::Over),
            Some(bits) if claim.bits <= bits => return Err(Why::Old),
            _ => {}
        }
        self.place(claim, is_known).map(drop).ok_or(Why::Full)
    }

    /// Takes what looking at one more signature costs, of a message that a neighbour handed on.
    ///
    /// # Errors
    /// [`Why::Busy`].
    pub fn look(&mut self, from: P, bits: u32, now: Now) -> Result<(), Why> {
        // The neighbour's pace first: who is too fast takes nothing from the others.
        let may = self.paces.takes(from, true, now) && self.looks.take(bits, now);
        if may { Ok(()) } else { Err(Why::Busy) }
    }

    /// Takes in a message that was verified.
    pub fn hear(&mut self, said: Said<B>, now: Now) -> Heard {
        let Said { claim, is_known, is_mine, age_ms, body } = said;
        if let Err(why) = self.is_news(&claim, is_known, now) {
            return Heard::Dropped(why);
        }
        if age_ms >= HELD_MS {
            return Heard::Dropped(Why::Old);
        }
        // An age is a peer's word: of one that is almost over nothing would be offered to the scheduler that is here.
        let age_ms = if is_mine { 0 } else { age_ms };
        let Claim { process, item, signer, bits } = claim;
        self.numbers += 1;
        let since = Now(now.0.saturating_sub(age_ms));
        let before = self.pools.get_mut(&process).and_then(|pool| pool.get_mut(&item));
        if let Some(held) = before {
            // It keeps its place, and what was begun with it goes on.
            if held.half == Half::Paid {
                self.paid.remove(&(held.bits, Reverse(held.number), process, item));
                self.paid.insert((bits, Reverse(held.number), process, item));
            }
            (held.bits, held.since, held.body) = (bits, since, body);
            return Heard::Kept;
        }
        let Some((half, leaving)) = self.place(&claim, is_known) else {
            return Heard::Dropped(Why::Full);
        };
        if let Some((process, item)) = leaving {
            self.remove(process, item, After::More, now);
        }
        let number = self.numbers;
        match half {
            Half::Known => self.known += 1,
            Half::Paid => drop(self.paid.insert((bits, Reverse(number), process, item))),
        }
        let offer = if is_mine { Offer::Due(now, 0) } else { Offer::None };
        let held = Held { signer, bits, half, since, number, offer, body };
        self.pools.entry(process).or_default().insert(item, held);
        Heard::Kept
    }

    /// The place that a message gets, and what makes room for it.
    fn place(&self, claim: &Claim, is_known: bool) -> Option<(Half, Option<(Id, Id)>)> {
        let empty = BTreeMap::new();
        let pool = self.pools.get(&claim.process).unwrap_or(&empty);
        let local = (is_known.then(|| self.known_place(claim, pool)).flatten())
            .map(|leaving| (Half::Known, leaving))
            .or_else(|| self.paid_place(claim, pool).map(|leaving| (Half::Paid, leaving)));
        let (half, leaving) = local?;
        if leaving.is_some() || self.held() < HELD_MAX {
            return Some((half, leaving.map(|item| (claim.process, item))));
        }
        let (bits, _, process, item) = self.paid.first()?;
        (half == Half::Known || *bits < claim.bits).then_some((half, Some((*process, *item))))
    }

    /// A place for a signer that has a slot, and the message that leaves it: the newest of the signer with most.
    fn known_place(&self, claim: &Claim, pool: &BTreeMap<Id, Held<B>>) -> Option<Option<Id>> {
        let known = pool.iter().filter(|(_, held)| held.half == Half::Known);
        let mut counts: BTreeMap<Address, usize> = BTreeMap::new();
        for (_, held) in known.clone() {
            *counts.entry(held.signer).or_default() += 1;
        }
        let own = counts.get(&claim.signer).copied().unwrap_or_default();
        if own >= KNOWN_EACH_MAX {
            return None;
        }
        if known.clone().count() < KNOWN_MAX {
            return (self.known < HELD_KNOWN_MAX).then_some(None);
        }
        let newest = known.filter(|(_, held)| counts.get(&held.signer).is_some_and(|most| *most > own + 1));
        newest.max_by_key(|(_, held)| held.number).map(|(item, _)| Some(*item))
    }

    /// A place for postage, and the message that leaves it: the newest of those that paid least, if that is less.
    fn paid_place(&self, claim: &Claim, pool: &BTreeMap<Id, Held<B>>) -> Option<Option<Id>> {
        let paid = pool.iter().filter(|(_, held)| held.half == Half::Paid);
        if paid.clone().count() < AT_PROCESS_MAX - KNOWN_MAX {
            return Some(None);
        }
        let least = paid.min_by_key(|(_, held)| (held.bits, Reverse(held.number)));
        least.filter(|(_, held)| held.bits < claim.bits).map(|(item, _)| Some(*item))
    }

    /// Lets a message go.
    fn remove(&mut self, process: Id, item: Id, after: After, now: Now) {
        let Some(pool) = self.pools.get_mut(&process) else { return };
        let Some(held) = pool.remove(&item) else { return };
        if pool.is_empty() {
            self.pools.remove(&process);
        }
        match held.half {
            Half::Known => self.known -= 1,
            Half::Paid => drop(self.paid.remove(&(held.bits, Reverse(held.number), process, item))),
        }
        let bits = match after {
            After::Never => u32::MAX,
            After::More => held.bits,
        };
        self.left.put(item, bits, now);
    }

    fn offered(&mut self, process: Id, item: Id, is_settled: bool, now: Now) {
        self.offers = self.offers.saturating_sub(1);
        if is_settled {
            self.remove(process, item, After::Never, now);
            return self.left.put(item, u32::MAX, now);
        }
        let held = self.pools.get_mut(&process).and_then(|pool| pool.get_mut(&item));
        if let Some(held) = held
            && let Offer::UnderWay(tries) = held.offer
        {
            let wait = (OFFER_AGAIN_MS << tries.min(16)).min(OFFER_AGAIN_MS_MAX);
            held.offer = Offer::Due(now.plus_ms(wait), tries + 1);
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect<B>>) {
        let all = self.pools.iter().flat_map(|(process, pool)| pool.iter().map(move |held| (*process, held)));
        let is_over = |held: &Held<B>| held.since.plus_ms(HELD_MS) <= now;
        let over: Vec<(Id, Id)> =
            all.filter(|(_, (_, held))| is_over(held)).map(|(process, (item, _))| (process, *item)).collect();
        for (process, item) in over {
            self.remove(process, item, After::More, now);
        }
        self.left.sweep(now);
        while self.offers < OFFERS_MAX
            && let Some((process, item)) = self.due(now)
        {
            let Some(held) = self.pools.get_mut(&process).and_then(|pool| pool.get_mut(&item)) else {
                return;
            };
            let tries = if let Offer::Due(_, tries) = held.offer { tries } else { 0 };
            held.offer = Offer::UnderWay(tries);
            self.offers += 1;
            effects.push(Effect::Offer { process, item, body: held.body.clone() });
        }
    }

    /// The message to offer next: those that paid most first, of those the oldest.
    fn due(&self, now: Now) -> Option<(Id, Id)> {
        let all = self.pools.iter().flat_map(|(process, pool)| pool.iter().map(move |held| (*process, held)));
        let due = all.filter(|(_, (_, held))| matches!(held.offer, Offer::Due(at, _) if at <= now));
        let best = due.max_by_key(|(_, (_, held))| (held.bits, Reverse(held.number)));
        best.map(|(process, (item, _))| (process, *item))
    }
}

impl<P: Ord + Copy, B: Clone> Machine for Pools<P, B> {
    type Input = Input;
    type Effect = Effect<B>;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect<B>>) {
        match input {
            Input::Assigned { process, item } => self.remove(process, item, After::Never, now),
            Input::Offered { process, item, is_settled } => self.offered(process, item, is_settled, now),
            Input::Drop(process) => {
                let items: Vec<Id> =
                    self.pools.get(&process).into_iter().flat_map(BTreeMap::keys).copied().collect();
                for item in items {
                    self.remove(process, item, After::More, now);
                }
            }
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests;
