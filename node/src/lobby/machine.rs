//! What this node says on the lobby shards, and what it keeps of what others say there.
//!
//! A node is on the shards of the processes that it does something for, and says there which those are:
//! when that changes, and every few minutes as adverts end. It never joins a shard to say or to find
//! something: who looks for a process asks peers that are on its shard.
//!
//! What others say is kept within bounds that a flood cannot take for itself: who was there first stays, the
//! neighbour that handed on most makes room for what others hand on, and adverts come at a pace, those of new names at
//! a slower one. What is not kept goes no further. Who says that it serves a process and does not, when it
//! is asked, is not named for it again, and after a few times for nothing at all for a while.

mod own;
pub mod share;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::lobby::{
    ADVERT_PARTS_MAX, ADVERT_PROCESSES_MAX, ADVERT_TTL_MS_MAX, AdvertTerms, Duty, Shard, Short,
};
use weft_protocol::{Effects, Id, Machine, Now};

use self::own::Own;
use self::share::{Paces, gives_way};

/// How long an advert waits for more changes, and for peers on a shard that was just joined.
pub const SETTLE_MS: u64 = 1_000;
/// The least time between two adverts of a shard.
pub const CHANGE_GAP_MS: u64 = 10_000;
/// How often a shard is told again, at most; the time is drawn anew between this and three quarters of it. So an
/// advert that is lost is made good before the one before it ends.
pub const REFRESH_MS: u64 = 240_000;
/// When one that nobody was there to hear is said again; doubled each time up to ...
pub const UNHEARD_MS: u64 = 5_000;
/// ... this: others on the shard are looked for each time.
pub const UNHEARD_MS_MAX: u64 = 80_000;
/// Adverts that are said in a tick: each costs a signature, and those of all shards may be due.
pub const SAID_PER_TICK: usize = 4;
/// How long a shard is kept that none of this node's processes is in any more.
pub const LINGER_MS: u64 = 120_000;

/// The least time between two adverts of a peer for one place that are kept: an honest one takes twice as long.
pub const HEARD_GAP_MS: u64 = 5_000;
/// The same for one that says nothing new: an honest one comes every three minutes.
pub const REPEAT_GAP_MS: u64 = 60_000;
/// The least time for which an advert may hold: places are not turned over faster than they are looked at.
pub const LASTS_MS_MIN: u64 = 180_000;
/// How far the clock of who says something may be ahead.
pub const SKEW_MS: u64 = 120_000;
/// Adverts kept in one shard: with all shards some 8 MiB.
pub const KEPT_PER_SHARD_MAX: usize = 512;
/// Broken promises after which a peer is believed nothing more.
pub const BROKEN_MAX: u32 = 3;
/// For how long, and how long a promise that was broken counts.
pub const DOUBT_MS: u64 = 600_000;
/// Peers whose broken promises are known.
pub const DOUBTED_MAX: usize = 1_024;
/// Peers of which it is known that they gave what they said that they have.
pub const PROVEN_MAX: usize = 1_024;
/// Peers that are named for one process.
pub const NAMED_MAX: usize = 16;

/// Something that a peer says of what it does.
#[derive(Debug, Clone)]
pub struct Said<P, B> {
    /// Who says it, proven by its signature once it was verified.
    pub by: P,
    /// What it says.
    pub terms: AdvertTerms,
    /// What is handed on of it: to who asks, as proof.
    pub body: B,
}

/// What becomes of something said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// It is kept, and goes on.
    Kept,
    /// It is over, or of a time to come.
    Untimely,
    /// As new or newer is known, or this comes too soon after it.
    Old,
    /// This node is not on the shard.
    Elsewhere,
    /// Its sender broke promises.
    Doubted,
    /// There is no room, or its neighbour hands on too many new names.
    Full,
}

impl Heard {
    /// All there is, for counting.
    pub const ALL: [Self; 6] =
        [Self::Kept, Self::Untimely, Self::Old, Self::Elsewhere, Self::Doubted, Self::Full];

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Untimely => "untimely",
            Self::Old => "old",
            Self::Elsewhere => "elsewhere",
            Self::Doubted => "doubted",
            Self::Full => "full",
        }
    }
}

/// What the machine hears of.
#[derive(Debug, Clone)]
pub enum Input<P> {
    /// This node does this for a process from now on, or nothing.
    Serves(Id, Option<Duty>),
    /// What was said on a shard reached somebody, or nobody.
    Reached(Shard, bool),
    /// A peer that said that it serves a process does not.
    Broke(P, Id),
    /// One that did gave what it said that it has.
    Served(P),
    /// Time passed.
    Tick,
}

/// What the machine asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Join a shard, and say where such are looked for that this node is there.
    Join(Shard),
    /// Leave it.
    Leave(Shard),
    /// Sign this and say it on its shard.
    Say {
        /// Where.
        shard: Shard,
        /// Which part of how many.
        part: (u8, u8),
        /// Whether there is more than all parts name.
        more: bool,
        /// What the node does.
        served: BTreeMap<Short, Duty>,
    },
}

#[derive(Debug)]
struct Kept<P, B> {
    said: Said<P, B>,
    /// Who handed it on.
    from: P,
    at: Now,
    /// Since when the peer is known here.
    since: Now,
    /// Short hashes of processes that it was asked for in vain, and when.
    broken: BTreeMap<Short, Now>,
}

impl<P, B> Kept<P, B> {
    /// Whether it was asked for this in vain, not long ago.
    fn is_broken(&self, short: &Short, now: Now) -> bool {
        self.broken.get(short).is_some_and(|at| now < at.plus_ms(DOUBT_MS))
    }
}

/// Whom this node knows to serve a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<P, B> {
    /// Who.
    pub peer: P,
    /// What it does; nothing is said by one that serves more than it names.
    pub duty: Option<Duty>,
    /// Its advert.
    pub body: B,
}

/// What was heard on one shard: each part of what each peer says.
type Shelf<P, B> = BTreeMap<(P, u8), Kept<P, B>>;

/// In which order peers are named, and the advert: first who names the process, then who kept its word before, then
/// who is known for longest.
type Rank<'a, B> = (bool, bool, Now, Reverse<Option<Duty>>, &'a B);

/// The lobby as one node knows it.
#[derive(Debug)]
pub struct Lobby<P, B> {
    own: BTreeMap<Shard, Own>,
    kept: BTreeMap<Shard, Shelf<P, B>>,
    paces: Paces<P>,
    doubts: BTreeMap<P, (u32, Now)>,
    /// Who gave what it said that it has.
    proven: BTreeSet<P>,
    dice: u64,
}

impl<P: Ord + Copy, B: Clone> Lobby<P, B> {
    /// A lobby that knows nobody. The seed spreads what nodes say over time.
    pub fn new(seed: u64) -> Self {
        let (own, kept, doubts, proven) = Default::default();
        Self { own, kept, paces: Paces::new(), doubts, proven, dice: seed }
    }

    /// How many adverts are kept.
    pub fn kept(&self) -> usize {
        self.kept.values().map(BTreeMap::len).sum()
    }

    /// On how many shards this node is.
    pub fn joined(&self) -> usize {
        self.own.values().filter(|own| own.is_joined).count()
    }

    /// What this node does for a process.
    pub fn duty(&self, process: &Id) -> Option<Duty> {
        self.own.get(&Shard::of(process))?.served.get(process).copied()
    }

    /// A process that this node does something for in a shard.
    pub fn serves_in(&self, shard: Shard) -> Option<Id> {
        self.own.get(&shard)?.served.keys().next().copied()
    }

    /// Whether something is worth the look at its signature; what it claims is not proven yet. Whoever claims to be
    /// another changes nothing by it.
    pub fn is_news(&self, by: P, terms: &AdvertTerms, now: Now) -> Result<(), Heard> {
        let is_live = terms.sequence <= now.plus_ms(SKEW_MS).0
            && terms.valid_to.saturating_sub(terms.sequence) >= LASTS_MS_MIN
            && now.0 < terms.valid_to
            && terms.valid_to <= now.plus_ms(SKEW_MS + ADVERT_TTL_MS_MAX).0;
        if !is_live {
            return Err(Heard::Untimely);
        }
        if !self.own.get(&terms.shard).is_some_and(|own| own.is_joined) {
            return Err(Heard::Elsewhere);
        }
        if self.is_doubted(&by, now) {
            return Err(Heard::Doubted);
        }
        let known = self.kept.get(&terms.shard).and_then(|kept| kept.get(&(by, terms.part)));
        match known {
            Some(known) if terms.sequence <= known.said.terms.sequence => Err(Heard::Old),
            Some(known) if now < known.at.plus_ms(gap_ms(&known.said.terms, terms)) => Err(Heard::Old),
            _ => Ok(()),
        }
    }

    /// Takes in something that was verified, handed on by a neighbour.
    pub fn hear(&mut self, said: Said<P, B>, from: P, now: Now) -> Heard {
        if let Err(why) = self.is_news(said.by, &said.terms, now) {
            return why;
        }
        let (shard, place) = (said.terms.shard, (said.by, said.terms.part));
        let is_known = self.kept.get(&shard).is_some_and(|kept| kept.contains_key(&place));
        let room = if is_known { Some(None) } else { self.room(shard, from, now) };
        let Some(gives_way) = room.filter(|_| self.paces.takes(from, !is_known, now)) else {
            return Heard::Full;
        };
        let kept = self.kept.entry(shard).or_default();
        if let Some(place) = gives_way {
            kept.remove(&place);
        }
        // What the peer said in parts that there are no more.
        let (parts, sequence) = (said.terms.parts, said.terms.sequence);
        for part in parts..ADVERT_PARTS_MAX {
            if kept.get(&(said.by, part)).is_some_and(|old| old.said.terms.sequence < sequence) {
                kept.remove(&(said.by, part));
            }
        }
        // A promise that was broken is not made good by making it again.
        let (broken, since) =
            kept.remove(&place).map_or((BTreeMap::new(), now), |old| (old.broken, old.since));
        kept.insert(place, Kept { said, from, at: now, since, broken });
        Heard::Kept
    }

    /// Whether there is room for one more from this neighbour, and what gives way to it: the name that came last of
    /// the neighbour with most, so that in the end all have as many.
    fn room(&mut self, shard: Shard, from: P, now: Now) -> Option<Option<(P, u8)>> {
        let Some(kept) = self.kept.get_mut(&shard) else { return Some(None) };
        if kept.len() < KEPT_PER_SHARD_MAX {
            return Some(None);
        }
        kept.retain(|_, kept| now.0 < kept.said.terms.valid_to);
        if kept.len() < KEPT_PER_SHARD_MAX {
            return Some(None);
        }
        gives_way(kept.iter().map(|(place, kept)| (*place, kept.from, kept.since)), from).map(Some)
    }

    fn is_doubted(&self, by: &P, now: Now) -> bool {
        let doubt = self.doubts.get(by);
        doubt.is_some_and(|(count, at)| *count >= BROKEN_MAX && now < at.plus_ms(DOUBT_MS))
    }

    /// Who says that it serves a process. Those that gave what they said before come first, then those that are
    /// known for longest: whoever makes up names makes up new ones. What they say that they do breaks ties, and
    /// those that serve more than they name come last.
    pub fn named(&self, process: &Id, now: Now) -> Vec<Named<P, B>> {
        let short = Short::of(process);
        let mut best: BTreeMap<P, Rank<'_, B>> = BTreeMap::new();
        for kept in self.kept.get(&Shard::of(process)).into_iter().flat_map(BTreeMap::values) {
            let (by, terms) = (kept.said.by, &kept.said.terms);
            let duty = terms.served.get(&short).copied();
            let is_live = now.0 < terms.valid_to && !self.is_doubted(&by, now);
            if !is_live || (duty.is_none() && !terms.more) || kept.is_broken(&short, now) {
                continue;
            }
            let is_new = !self.proven.contains(&by);
            let found = (duty.is_none(), is_new, kept.since, Reverse(duty), &kept.said.body);
            let known = best.entry(by).or_insert(found);
            if (found.0, found.2) < (known.0, known.2) {
                *known = found;
            }
        }
        let mut named: Vec<_> = best.into_iter().collect();
        named.sort_by_key(|(_, (is_more, is_new, since, duty, _))| (*is_more, *is_new, *since, *duty));
        let named = named.into_iter().take(NAMED_MAX);
        named.map(|(peer, (.., duty, body))| Named { peer, duty: duty.0, body: body.clone() }).collect()
    }

    fn broke(&mut self, peer: P, process: &Id, now: Now) {
        let short = Short::of(process);
        let mut is_promise = false;
        for kept in self.kept.get_mut(&Shard::of(process)).into_iter().flat_map(BTreeMap::values_mut) {
            if kept.said.by == peer {
                // Who serves more than it names promised nothing, and is not asked for this one again.
                is_promise |= kept.said.terms.served.contains_key(&short) && !kept.is_broken(&short, now);
                kept.broken.retain(|_, at| now < at.plus_ms(DOUBT_MS));
                if kept.broken.len() < ADVERT_PROCESSES_MAX {
                    kept.broken.insert(short, now);
                }
            }
        }
        if !is_promise {
            return;
        }
        self.proven.remove(&peer);
        if self.doubts.len() >= DOUBTED_MAX && !self.doubts.contains_key(&peer) {
            self.doubts.retain(|_, (_, at)| now < at.plus_ms(DOUBT_MS));
            if self.doubts.len() >= DOUBTED_MAX {
                return;
            }
        }
        let (count, at) = self.doubts.entry(peer).or_insert((0, now));
        let is_over = at.plus_ms(DOUBT_MS) <= now;
        (*count, *at) = (if is_over { 1 } else { count.saturating_add(1) }, now);
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    fn serves(&mut self, process: Id, duty: Option<Duty>, now: Now) {
        let shard = Shard::of(&process);
        let is_news = match duty {
            Some(duty) => self.own.entry(shard).or_default().served.insert(process, duty) != Some(duty),
            None => self.own.get_mut(&shard).is_some_and(|own| own.served.remove(&process).is_some()),
        };
        let Some(own) = self.own.get_mut(&shard).filter(|_| is_news) else { return };
        own.empty_since = own.served.is_empty().then_some(now);
        let after_last = own.said.map_or(now, |said| said.plus_ms(CHANGE_GAP_MS));
        let soon = now.plus_ms(SETTLE_MS).max(after_last);
        own.due = Some(own.due.map_or(soon, |due| due.min(soon)));
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let mut said = 0;
        let shards: Vec<Shard> = self.own.keys().copied().collect();
        for shard in shards {
            let next = REFRESH_MS - self.roll(REFRESH_MS / 4);
            let Some(own) = self.own.get_mut(&shard) else { continue };
            if own.empty_since.is_some_and(|since| since.plus_ms(LINGER_MS) <= now) {
                if own.is_joined {
                    effects.push(Effect::Leave(shard));
                }
                self.own.remove(&shard);
                self.kept.remove(&shard);
                continue;
            }
            if !own.is_joined && !own.served.is_empty() {
                own.is_joined = true;
                own.due = Some(now.plus_ms(SETTLE_MS));
                effects.push(Effect::Join(shard));
            }
            if own.is_joined && own.due.is_some_and(|due| due <= now) {
                let (count, is_done) = own.say(shard, SAID_PER_TICK.saturating_sub(said), effects);
                said += count;
                if is_done {
                    (own.said, own.due) = (Some(now), Some(now.plus_ms(next)));
                }
            }
        }
        for kept in self.kept.values_mut() {
            kept.retain(|_, kept| now.0 < kept.said.terms.valid_to);
        }
    }
}

/// How long after an advert another may take its place.
fn gap_ms(old: &AdvertTerms, new: &AdvertTerms) -> u64 {
    let what = |terms: &AdvertTerms| (terms.parts, terms.more);
    let is_same = what(old) == what(new) && old.served == new.served && old.addresses == new.addresses;
    if is_same { REPEAT_GAP_MS } else { HEARD_GAP_MS }
}

impl<P: Ord + Copy, B: Clone> Machine for Lobby<P, B> {
    type Input = Input<P>;
    type Effect = Effect;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Serves(process, duty) => self.serves(process, duty, now),
            Input::Reached(shard, is_heard) => {
                if let Some(own) = self.own.get_mut(&shard) {
                    own.reached(is_heard, now);
                }
            }
            Input::Broke(peer, process) => self.broke(peer, &process, now),
            Input::Served(peer) => {
                self.doubts.remove(&peer);
                if self.proven.len() >= PROVEN_MAX {
                    // It is soon proven again.
                    self.proven.clear();
                }
                self.proven.insert(peer);
            }
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests;
