//! The rules of the open market: which offers of messengers are worth a look, kept and handed on, and what this
//! node offers itself.
//!
//! An offer is said at places: on the topics of processes, by whoever carries what they send, and on lobby shards,
//! for whoever looks for a messenger. Of each messenger the newest offer is kept, with the places at which it stands until
//! it ends. What others say is kept within bounds that a flood cannot take for itself, as adverts are: who was
//! there first stays, the neighbour that handed on most makes room for what others hand on. What is not kept goes no
//! further. Who gives one number to two different offers is believed nothing more for a while, and both go on as what
//! convicts it.

pub mod own;

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::limits::TIMESTAMP_AHEAD_MS_MAX;
use weft_protocol::lobby::Shard;
use weft_protocol::offer::{OFFER_TTL_MS_MAX, OfferTerms};
use weft_protocol::{Address, Effects, Id, Machine, Now};

use self::own::{Own, Prices};
use crate::lobby::machine::share::{Paces, gives_way};

/// Offers that are kept at one process: as many as take part in its ranks.
pub const AT_PROCESS_MAX: usize = 64;
/// Offers that are kept at one lobby shard.
pub const AT_SHARD_MAX: usize = 512;
/// Places at which offers stand, all together: some 5 MiB, and as much again for the offers themselves.
pub const STANDING_MAX: usize = 16_384;
/// The least time between two offers of a messenger at one place: an honest one takes twice as long.
pub const GAP_MS: u64 = 500;
/// How long a messenger is believed nothing that gave one number to two offers: until both have ended.
pub const VOID_MS: u64 = OFFER_TTL_MS_MAX + TIMESTAMP_AHEAD_MS_MAX;
/// Such messengers that are known.
pub const VOID_MAX: usize = 1_024;
/// How often what has ended is thrown out.
const SWEEP_MS: u64 = 5_000;
/// The same where there is no room.
const FULL_SWEEP_MS: u64 = 1_000;

/// Where an offer is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the topic of a process: its messenger carries what that sends.
    Process(Id),
    /// On a lobby shard: its messenger works for processes there.
    Shard(Shard),
}

/// An offer, as it was heard.
#[derive(Debug, Clone)]
pub struct Said<B> {
    /// Whose it is, proven by its signature once it was verified.
    pub by: Address,
    /// What it says.
    pub terms: OfferTerms,
    /// What is kept of it as proof.
    pub body: B,
}

/// What becomes of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<B> {
    /// It is kept, and goes on.
    Kept,
    /// It has the number of this other one: both together convict their messenger.
    Contradicts(B),
    /// It is not worth keeping.
    Dropped(Why),
}

/// Why an offer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is over, or of a time to come.
    Untimely,
    /// As new or newer is known, or this comes too soon after it.
    Old,
    /// Its messenger gave one number to two offers.
    Void,
    /// There is no room, or its neighbour hands on too many.
    Full,
}

impl<B> Heard<B> {
    /// All words for what becomes of one, for counting.
    pub const NAMES: [&'static str; 6] = ["kept", "contradicts", "untimely", "old", "void", "full"];

    /// The word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Contradicts(_) => "contradicts",
            Self::Dropped(Why::Untimely) => "untimely",
            Self::Dropped(Why::Old) => "old",
            Self::Dropped(Why::Void) => "void",
            Self::Dropped(Why::Full) => "full",
        }
    }
}

/// What the market hears of, beside offers.
#[derive(Debug, Clone)]
pub enum Input {
    /// This node carries for a process from now on, or no longer.
    Carries(Id, bool),
    /// A push of this node's got its slot after so many milliseconds.
    Carried(u64),
    /// Time passed.
    Tick,
}

/// What the market asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Sign these terms and say them at these places.
    Say {
        /// The terms. Those of one number are the same everywhere.
        terms: OfferTerms,
        /// Where.
        places: Vec<Place>,
    },
}

/// That an offer stands at a place.
#[derive(Debug)]
struct Stand<P> {
    sequence: u64,
    until: u64,
    /// Who handed it on.
    from: P,
    at: Now,
    /// Since when the messenger is known here.
    since: Now,
}

/// A messenger's newest offer.
#[derive(Debug)]
struct Newest<B> {
    terms: OfferTerms,
    body: B,
    /// At how many places it stands.
    stands: usize,
}

/// An offer that this node knows, for whoever wants to see it.
#[derive(Debug, Clone)]
pub struct Known<B> {
    /// Whose.
    pub by: Address,
    /// Its terms.
    pub terms: OfferTerms,
    /// What proves it.
    pub body: B,
    /// Where it stands.
    pub places: Vec<Place>,
}

/// The market as one node knows it. `P` names neighbours, `B` is what is kept of an offer.
#[derive(Debug)]
pub struct Market<P, B> {
    offers: BTreeMap<Address, Newest<B>>,
    places: BTreeMap<Place, BTreeMap<Address, Stand<P>>>,
    /// What each neighbour handed on of it, by since when it is known.
    handed: BTreeMap<P, BTreeSet<(Now, Place, Address)>>,
    paces: Paces<P>,
    void: BTreeMap<Address, Now>,
    own: Own,
    swept: Now,
}

impl<P: Ord + Copy, B: Clone> Market<P, B> {
    /// A market that knows nobody, of a node that offers at these prices.
    pub const fn new(prices: Prices) -> Self {
        Self {
            offers: BTreeMap::new(),
            places: BTreeMap::new(),
            handed: BTreeMap::new(),
            paces: Paces::new(),
            void: BTreeMap::new(),
            own: Own::new(prices),
            swept: Now(0),
        }
    }

    /// At how many places offers stand.
    pub fn standing(&self) -> usize {
        self.handed.values().map(BTreeSet::len).sum()
    }

    /// What this node offers now; nothing while it carries for nobody.
    pub fn own(&self) -> Option<&OfferTerms> {
        self.own.terms()
    }

    /// For which processes this node carries.
    pub fn carried(&self) -> impl Iterator<Item = Id> {
        self.own.carried()
    }

    /// Whether an offer is worth the look at its signature; what it claims is not proven yet. Whoever claims to be
    /// another changes nothing by it.
    ///
    /// # Errors
    /// Why it is not.
    pub fn is_news(&self, by: Address, terms: &OfferTerms, place: Place, now: Now) -> Result<(), Why> {
        if !is_current(terms, now) {
            return Err(Why::Untimely);
        }
        if self.void.get(&by).is_some_and(|since| now < since.plus_ms(VOID_MS)) {
            return Err(Why::Void);
        }
        let Some(newest) = self.offers.get(&by) else { return Ok(()) };
        if newest.terms.sequence == terms.sequence && newest.terms != *terms {
            return Ok(());
        }
        if terms.sequence < newest.terms.sequence {
            return Err(Why::Old);
        }
        let stand = self.places.get(&place).and_then(|all| all.get(&by));
        match stand {
            Some(stand) if terms.sequence <= stand.sequence => Err(Why::Old),
            Some(stand) if now < stand.at.plus_ms(GAP_MS) => Err(Why::Old),
            _ => Ok(()),
        }
    }

    /// Takes in an offer that was verified, handed on by a neighbour.
    pub fn hear(&mut self, said: Said<B>, place: Place, from: P, now: Now) -> Heard<B> {
        let Said { by, terms, body } = said;
        if let Err(why) = self.is_news(by, &terms, place, now) {
            return Heard::Dropped(why);
        }
        if let Some(newest) = self.offers.get(&by)
            && newest.terms.sequence == terms.sequence
            && newest.terms != terms
        {
            let other = newest.body.clone();
            self.convict(by, now);
            return Heard::Contradicts(other);
        }
        let since = self.places.get(&place).and_then(|all| all.get(&by)).map(|stand| stand.since);
        let room = if since.is_some() { Some(None) } else { self.room(place, from, now) };
        // One that is known carries for as many processes as it likes: only new names come slowly.
        let is_new = !self.offers.contains_key(&by);
        let Some(leaves) = room.filter(|_| self.paces.takes(from, is_new, now)) else {
            return Heard::Dropped(Why::Full);
        };
        if let Some((place, leaving)) = leaves {
            self.remove(place, leaving);
        }
        if since.is_none() {
            self.own.newcomer(place);
        }
        self.put(
            place,
            by,
            Stand {
                sequence: terms.sequence,
                until: terms.valid_to,
                from,
                at: now,
                since: since.unwrap_or(now),
            },
        );
        let newest = self.offers.entry(by).or_insert_with(|| Newest {
            terms: terms.clone(),
            body: body.clone(),
            stands: 0,
        });
        newest.stands += usize::from(since.is_none());
        (newest.terms, newest.body) = (terms, body);
        Heard::Kept
    }

    /// Believes a messenger nothing more for a while.
    pub fn convict(&mut self, by: Address, now: Now) {
        for place in self.places_of(by) {
            self.remove(place, by);
        }
        self.void.retain(|_, since| now < since.plus_ms(VOID_MS));
        if self.void.len() < VOID_MAX || self.void.contains_key(&by) {
            self.void.insert(by, now);
        }
    }

    /// Whether an offer of this messenger stands at a place, or at the shard that it is in.
    pub fn knows(&self, by: &Address, place: Place) -> bool {
        let at = |place| self.places.get(&place).is_some_and(|all| all.contains_key(by));
        match place {
            Place::Process(process) => at(place) || at(Place::Shard(Shard::of(&process))),
            Place::Shard(_) => at(place),
        }
    }

    /// Who offers to carry for a process now, this node left out, each with the end of its offer.
    pub fn at(&self, process: Id, now: Now) -> BTreeMap<Address, u64> {
        let all = self.places.get(&Place::Process(process)).into_iter().flatten();
        all.filter(|(_, stand)| now.0 < stand.until).map(|(by, stand)| (*by, stand.until)).collect()
    }

    /// The newest offers of those who offer to carry for a process now, this node left out.
    pub fn bodies_at(&self, process: Id, now: Now) -> impl Iterator<Item = B> {
        let at = self.at(process, now);
        at.into_keys().filter_map(|by| self.offers.get(&by).map(|newest| newest.body.clone()))
    }

    /// All offers that are known and hold now, this node's left out.
    pub fn offers(&self, now: Now) -> Vec<Known<B>> {
        let mut places: BTreeMap<Address, Vec<Place>> = BTreeMap::new();
        for (place, all) in &self.places {
            for (by, _) in all.iter().filter(|(_, stand)| now.0 < stand.until) {
                places.entry(*by).or_default().push(*place);
            }
        }
        let known = places.into_iter().filter_map(|(by, places)| {
            let Newest { terms, body, .. } = self.offers.get(&by)?;
            Some(Known { by, terms: terms.clone(), body: body.clone(), places })
        });
        known.collect()
    }

    /// The processes for which somebody offers to carry now, this node included.
    pub fn offered(&self, now: Now) -> BTreeSet<Id> {
        let held = self.places.iter().filter(|(_, all)| all.values().any(|stand| now.0 < stand.until));
        let of = |(place, _): (&Place, _)| match place {
            Place::Process(process) => Some(*process),
            Place::Shard(_) => None,
        };
        held.filter_map(of).chain(self.own.carried()).collect()
    }

    fn places_of(&self, by: Address) -> Vec<Place> {
        self.places.iter().filter(|(_, all)| all.contains_key(&by)).map(|(place, _)| *place).collect()
    }

    fn put(&mut self, place: Place, by: Address, stand: Stand<P>) {
        self.handed.entry(stand.from).or_default().insert((stand.since, place, by));
        if let Some(old) = self.places.entry(place).or_default().insert(by, stand)
            && self.places.get(&place).and_then(|all| all.get(&by)).is_some_and(|new| new.from != old.from)
        {
            self.unhand(old.from, (old.since, place, by));
        }
    }

    fn unhand(&mut self, from: P, what: (Now, Place, Address)) {
        if let Some(handed) = self.handed.get_mut(&from) {
            handed.remove(&what);
            if handed.is_empty() {
                self.handed.remove(&from);
            }
        }
    }

    fn remove(&mut self, place: Place, by: Address) {
        let Some(all) = self.places.get_mut(&place) else { return };
        let removed = all.remove(&by);
        if all.is_empty() {
            self.places.remove(&place);
        }
        let Some(Stand { from, since, .. }) = removed else { return };
        self.unhand(from, (since, place, by));
        if let Some(newest) = self.offers.get_mut(&by) {
            newest.stands -= 1;
            if newest.stands == 0 {
                self.offers.remove(&by);
            }
        }
    }

    /// Whether there is room at a place for one more from this neighbour, and what gives way to it.
    fn room(&mut self, place: Place, from: P, now: Now) -> Option<Option<(Place, Address)>> {
        let most = match place {
            Place::Process(_) => AT_PROCESS_MAX,
            Place::Shard(_) => AT_SHARD_MAX,
        };
        let is_full = |market: &Self| {
            let here = market.places.get(&place).is_some_and(|all| all.len() >= most);
            (here, market.standing() >= STANDING_MAX)
        };
        if is_full(self) != (false, false) && self.swept.plus_ms(FULL_SWEEP_MS) <= now {
            self.sweep(now);
        }
        match is_full(self) {
            (false, false) => Some(None),
            (true, _) => {
                let all = self.places.get(&place)?;
                let leaving = gives_way(all.iter().map(|(by, stand)| (*by, stand.from, stand.since)), from);
                leaving.map(|by| Some((place, by)))
            }
            (false, true) => {
                let own = self.handed.get(&from).map_or(0, BTreeSet::len);
                let (_, most) = self.handed.iter().max_by_key(|(_, handed)| handed.len())?;
                let (_, place, by) = most.last().filter(|_| most.len() > own + 1)?;
                Some(Some((*place, *by)))
            }
        }
    }

    /// Throws out what has ended.
    fn sweep(&mut self, now: Now) {
        let ended: Vec<(Place, Address)> = self
            .places
            .iter()
            .flat_map(|(place, all)| all.iter().map(move |(by, stand)| (*place, *by, stand.until)))
            .filter(|(.., until)| *until <= now.0)
            .map(|(place, by, _)| (place, by))
            .collect();
        for (place, by) in ended {
            self.remove(place, by);
        }
        self.void.retain(|_, since| now < since.plus_ms(VOID_MS));
        self.swept = now;
    }
}

/// Whether an offer holds now, by clocks that differ no more than those of a scheduler may.
pub fn is_current(terms: &OfferTerms, now: Now) -> bool {
    terms.valid_from <= now.plus_ms(TIMESTAMP_AHEAD_MS_MAX).0 && now.0 < terms.valid_to
}

impl<P: Ord + Copy, B: Clone> Machine for Market<P, B> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Carries(process, is_carried) => self.own.carries(process, is_carried),
            Input::Carried(ms) => self.own.carried_in(ms),
            Input::Tick => {
                if self.swept.plus_ms(SWEEP_MS) <= now {
                    self.sweep(now);
                }
                self.own.tick(now, effects);
            }
        }
    }
}

#[cfg(test)]
mod tests;
