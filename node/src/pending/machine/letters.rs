//! The rules of a sender: a message that its scheduler gives no slot is said on the topic of its process with the
//! least postage, and again with more while it has none, until it has one or nothing is left to try (RULES.md 6.15).
//!
//! The scheduler is asked again all the while: one that is back answers soon, and with the slot if the message has one
//! already. Work for postage is done for one message at a time. What is begun is on disk, so that a node that stops
//! in between goes on with it, and what comes of each is shown for a while.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use weft_protocol::postage::{POSTAGE_BITS_MIN, POSTAGE_RESEND_MS, raised};
use weft_protocol::{Effects, Id, Machine, Now};

use super::HELD_MS;

/// Messages that one node sends this way at a time.
pub const LETTERS_MAX: usize = 32;
/// Messages that it did and that are still shown.
pub const ENDED_MAX: usize = 64;
/// How often the scheduler is asked for a slot meanwhile, in milliseconds.
pub const TRY_MS: u64 = 10_000;
/// How soon one is said again that nobody heard, in milliseconds.
pub const UNHEARD_MS: u64 = 5_000;

/// What is on disk of a message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Whom it is for.
    pub process: Id,
    /// The raw item, base64.
    pub item: String,
    /// When it was handed in.
    pub since: u64,
    /// What it pays, or is to pay next.
    pub bits: u32,
    /// When that was begun.
    pub step: u64,
    /// What pays it, once it is found.
    pub nonce: Option<u64>,
    /// Where to look for that: what does not pay less does not pay this.
    pub start: u64,
    /// When it was first said with that postage and heard.
    pub said: Option<u64>,
    /// Whether it is sent whatever reason the scheduler gives.
    pub insists: bool,
}

/// What its scheduler says to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It has this slot.
    Slot(u64),
    /// It gets none, for this reason.
    Refused(String),
    /// It gets none now.
    Later(String),
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It has this slot.
    Slot(u64),
    /// It has none, and is sent no more.
    GivenUp(String),
}

/// What the sender hears of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A message is to be sent, for this reason.
    Send(Id, Letter, String),
    /// A message of an earlier life.
    Recover(Id, Letter),
    /// What [`Effect::Mine`] came to.
    Mined {
        /// Whose.
        item: Id,
        /// The nonce; none if none was found.
        nonce: Option<u64>,
    },
    /// A message was said on its topic.
    Said {
        /// Which.
        item: Id,
        /// Whether anybody heard it.
        is_heard: bool,
    },
    /// What [`Effect::Try`] came to.
    Tried(Id, Tried),
    /// The disk did not take a message that was just handed in: it is not sent.
    Unkept(Id),
    /// Time passed.
    Tick,
}

/// What the sender asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put this on disk before anything else.
    Keep(Id, Letter),
    /// Look for a nonce that pays so much, from this one on; answer with [`Input::Mined`].
    Mine {
        /// For which message.
        item: Id,
        /// To which process.
        process: Id,
        /// How many bits.
        bits: u32,
        /// Where to begin.
        start: u64,
    },
    /// Say it on its topic; answer with [`Input::Said`].
    Say(Id, Letter),
    /// Ask the scheduler for a slot; answer with [`Input::Tried`].
    Try(Id, Letter),
    /// It is over: take it from the disk, and tell people.
    Over(Id, Letter, End),
}

#[derive(Debug)]
struct Way {
    letter: Letter,
    /// When to say it again that nobody heard; none while it is being said, or was heard.
    say_at: Option<Now>,
    try_at: Now,
    is_trying: bool,
    /// What the scheduler said last.
    why: String,
}

impl Letter {
    /// A message that was just handed in.
    pub fn new(process: Id, item: String, insists: bool, now: Now) -> Self {
        let (since, bits, start) = (now.0, POSTAGE_BITS_MIN, 0);
        Self { process, item, since, bits, step: since, nonce: None, start, said: None, insists }
    }
}

impl Way {
    /// When it is given up.
    fn ends(&self) -> Now {
        Now(self.letter.said.unwrap_or(self.letter.step)).plus_ms(HELD_MS)
    }
}

/// What is shown of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub item: Id,
    /// What is known of it.
    pub letter: Letter,
    /// What the scheduler said last.
    pub why: String,
    /// When it is given up.
    pub until: u64,
    /// What became of it; none while it is on its way.
    pub end: Option<End>,
}

/// The messages that one node sends.
#[derive(Debug, Default)]
pub struct Letters {
    on_way: BTreeMap<Id, Way>,
    mining: Option<Id>,
    ended: VecDeque<Shown>,
}

impl Letters {
    /// Whether one more may be sent, or this one is.
    pub fn takes(&self, item: &Id) -> bool {
        self.on_way.len() < LETTERS_MAX || self.on_way.contains_key(item)
    }

    /// How many are on their way.
    #[cfg(test)]
    pub fn on_way(&self) -> usize {
        self.on_way.len()
    }

    /// The processes that they are for.
    pub fn processes(&self) -> impl Iterator<Item = Id> {
        self.on_way.values().map(|way| way.letter.process)
    }

    /// Those on their way to a process.
    pub fn items_of(&self, process: &Id) -> Vec<Id> {
        let of = self.on_way.iter().filter(|(_, way)| way.letter.process == *process);
        of.map(|(item, _)| *item).collect()
    }

    /// All that are on their way, and what became of others lately.
    pub fn shown(&self) -> Vec<Shown> {
        let on_way = self.on_way.iter().map(|(item, way)| Shown {
            item: *item,
            letter: way.letter.clone(),
            why: way.why.clone(),
            until: way.ends().0,
            end: None,
        });
        on_way.chain(self.ended.iter().cloned()).collect()
    }

    fn send(&mut self, item: Id, letter: Letter, why: String, now: Now, effects: &mut Effects<Effect>) {
        if self.on_way.contains_key(&item) || !self.takes(&item) {
            return;
        }
        self.ended.retain(|ended| ended.item != item);
        effects.push(Effect::Keep(item, letter.clone()));
        let try_at = now.plus_ms(TRY_MS);
        self.on_way.insert(item, Way { letter, say_at: None, try_at, is_trying: false, why });
    }

    /// One that has its nonce is said again: whoever was there may have gone.
    fn recover(&mut self, item: Id, letter: Letter, now: Now) {
        let say_at = letter.nonce.map(|_| now);
        let why = "this node was restarted".to_owned();
        self.on_way.insert(item, Way { letter, say_at, try_at: now, is_trying: false, why });
    }

    fn mined(&mut self, item: Id, nonce: Option<u64>, effects: &mut Effects<Effect>) {
        self.mining.take_if(|mining| *mining == item);
        let Some(way) = self.on_way.get_mut(&item) else { return };
        let Some(nonce) = nonce else { return };
        way.letter.nonce = Some(nonce);
        effects.push(Effect::Keep(item, way.letter.clone()));
        effects.push(Effect::Say(item, way.letter.clone()));
    }

    fn said(&mut self, item: Id, is_heard: bool, now: Now, effects: &mut Effects<Effect>) {
        let Some(way) = self.on_way.get_mut(&item) else { return };
        if !is_heard {
            way.say_at = Some(now.plus_ms(UNHEARD_MS));
        } else if way.letter.said.is_none() {
            way.letter.said = Some(now.0);
            effects.push(Effect::Keep(item, way.letter.clone()));
        }
    }

    fn tried(&mut self, item: Id, tried: Tried, now: Now, effects: &mut Effects<Effect>) {
        let Some(way) = self.on_way.get_mut(&item) else { return };
        (way.is_trying, way.try_at) = (false, now.plus_ms(TRY_MS));
        match tried {
            Tried::Slot(slot) => self.end(item, End::Slot(slot), effects),
            Tried::Refused(why) if !way.letter.insists => {
                self.end(item, End::GivenUp(format!("the scheduler refused it: {why}")), effects);
            }
            Tried::Refused(why) | Tried::Later(why) => way.why = why,
        }
    }

    fn end(&mut self, item: Id, end: End, effects: &mut Effects<Effect>) {
        let Some(way) = self.on_way.remove(&item) else { return };
        effects.push(Effect::Over(item, way.letter.clone(), end.clone()));
        let until = way.ends().0;
        self.ended.push_front(Shown { item, letter: way.letter, why: way.why, until, end: Some(end) });
        self.ended.truncate(ENDED_MAX);
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        let over: Vec<Id> =
            self.on_way.iter().filter(|(_, way)| way.ends() <= now).map(|(item, _)| *item).collect();
        for item in over {
            let why = self.on_way.get(&item).map(|way| way.why.clone()).unwrap_or_default();
            self.end(
                item,
                End::GivenUp(format!("it got no slot in time; the last that was heard: {why}")),
                effects,
            );
        }
        for (item, way) in &mut self.on_way {
            if !way.is_trying && way.try_at <= now {
                way.is_trying = true;
                effects.push(Effect::Try(*item, way.letter.clone()));
            }
            if way.say_at.is_some_and(|at| at <= now) {
                way.say_at = None;
                effects.push(Effect::Say(*item, way.letter.clone()));
            }
            let is_late = way.letter.said.is_some_and(|said| Now(said).plus_ms(POSTAGE_RESEND_MS) <= now);
            if let Some(bits) = raised(way.letter.bits).filter(|_| is_late) {
                let start = way.letter.nonce.take().unwrap_or_default();
                let of_letter = way.letter.clone();
                way.letter = Letter { bits, step: now.0, said: None, start, ..of_letter };
                way.say_at = None;
                effects.push(Effect::Keep(*item, way.letter.clone()));
            }
        }
        self.mine(effects);
    }

    /// Begins work for the message that waits for it longest.
    fn mine(&mut self, effects: &mut Effects<Effect>) {
        if self.mining.is_some() {
            return;
        }
        let waiting = self.on_way.iter().filter(|(_, way)| way.letter.nonce.is_none());
        let Some((item, way)) = waiting.min_by_key(|(_, way)| way.letter.since) else { return };
        let Letter { process, bits, start, .. } = way.letter;
        self.mining = Some(*item);
        effects.push(Effect::Mine { item: *item, process, bits, start });
    }
}

impl Machine for Letters {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Send(item, letter, why) => self.send(item, letter, why, now, effects),
            Input::Recover(item, letter) => self.recover(item, letter, now),
            Input::Mined { item, nonce } => self.mined(item, nonce, effects),
            Input::Said { item, is_heard } => self.said(item, is_heard, now, effects),
            Input::Tried(item, tried) => self.tried(item, tried, now, effects),
            Input::Unkept(item) => drop(self.on_way.remove(&item)),
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests;
