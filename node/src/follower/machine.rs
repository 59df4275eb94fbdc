//! The follower's rules: append other schedulers' slots in order, fill holes, doubt everything.
//!
//! A record that comes in here is already verified by itself (signatures, ids, proof). What is
//! left is its place: the hash chain must link it to the slot before, and there must be no gap.
//!
//! A slot that does not link means that its scheduler signed another log than the one here. Then
//! nothing more is appended, and a peer that has the other log is asked for its version of the slot
//! where the two part: both signatures together are evidence.

mod log;

use std::collections::BTreeMap;

use weft_protocol::record::{Link, VerifiedRecord};
use weft_protocol::{Effects, Id, Machine, Now, hash_chain};

use self::log::{Fork, Log, Source, Stretch, pick};

/// Slots that may be held out of order per process: as many as are asked for beside each other.
pub const HELD_SLOTS_MAX: usize = 512;
/// Bytes of them: one item may have as many as a thousand others. From half of it on only what comes next is
/// asked for.
pub const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of them in all logs: with many, schedulers that keep one slot back would fill the memory. Beyond it no
/// slot is held but the one that comes next. From half of it on nothing else is asked for either, and the other
/// half has room for all that was.
pub const HELD_ALL_BYTES_MAX: usize = 512 * 1024 * 1024;
/// How far ahead of the log a slot may be before it is only noted as a head.
pub const AHEAD_SLOTS_MAX: u64 = 4096;
/// How long a hole may stand before a peer is asked, in milliseconds: gossip often fills it.
pub const HOLE_PATIENCE_MS: u64 = 300;
/// Slots asked of one peer at once.
pub const RANGE_SLOTS_MAX: u64 = 128;
/// Peers that are asked for slots of one log beside each other.
pub const ASKS_MAX: usize = 4;
/// How long the first missing slots may be on their way before another peer is asked for them too.
pub const HEDGE_MS: u64 = 1_000;
/// How far ahead of the log slots are asked for.
const WINDOW_SLOTS: u64 = RANGE_SLOTS_MAX * ASKS_MAX as u64;
/// How often a source is asked for its head, and providers are looked up while there is none.
pub const AUDIT_MS: u64 = 5_000;
/// Sources kept per process.
pub const SOURCES_MAX: usize = 32;
/// Slots behind the log whose ids are kept in memory to recognise repeats.
const RECENT_SLOTS: usize = 256;
/// The longest wait before a failed source is asked again, in milliseconds.
const SOURCE_REST_MS_MAX: u64 = 30_000;
/// Failures that are counted; more make a source no worse, or it would never be asked again.
const SOURCE_FAILURES_MAX: u32 = 7;

/// A verified slot on its way into the log; `B` is what the disk needs of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<B> {
    /// Its place in the log.
    pub link: Link,
    /// Bytes of its item and proof: what holding it takes.
    pub bytes: usize,
    /// The rest.
    pub body: B,
}

impl Record<Box<VerifiedRecord>> {
    /// Of a verified slot.
    pub fn of(record: VerifiedRecord) -> Self {
        let bytes = record.item().raw().len() + record.proof().map_or(0, |proof| proof.raw().len());
        Self { link: record.link(), bytes, body: Box::new(record) }
    }
}

/// What the follower hears; `P` names a peer.
#[derive(Debug)]
pub enum Input<P, B> {
    /// Follow this log from where the disk has it.
    Follow {
        /// Which.
        process: Id,
        /// The newest slot on disk.
        head: Option<Link>,
    },
    /// Stop following.
    Unfollow {
        /// Which.
        process: Id,
    },
    /// A peer that may hold the log.
    Source {
        /// Which log.
        process: Id,
        /// Who.
        peer: P,
    },
    /// A peer went away.
    SourceLost {
        /// Who.
        peer: P,
    },
    /// A peer says, with the scheduler's signature, that the log reaches this slot.
    Head {
        /// Which log.
        process: Id,
        /// The newest slot there.
        slot: u64,
        /// Who.
        peer: P,
        /// Whether the peer is the log's scheduler itself.
        by_scheduler: bool,
    },
    /// A verified slot, by whatever way it came.
    Record {
        /// Of which log.
        process: Id,
        /// The slot.
        record: Record<B>,
    },
    /// A range request ended; its records came before this.
    RangeEnded {
        /// Of which log.
        process: Id,
        /// Who was asked.
        peer: P,
        /// Whether it answered with at least one valid slot, the first that was asked for.
        useful: bool,
    },
    /// A commit failed; the log must be read from disk again.
    PersistFailed {
        /// Of which log.
        process: Id,
    },
    /// Time passed.
    Tick,
}

impl<P, B> Input<P, B> {
    /// The log that it is about, if it is one.
    const fn process(&self) -> Option<Id> {
        match self {
            Self::Follow { process, .. }
            | Self::Unfollow { process }
            | Self::Source { process, .. }
            | Self::Head { process, .. }
            | Self::Record { process, .. }
            | Self::RangeEnded { process, .. }
            | Self::PersistFailed { process } => Some(*process),
            Self::SourceLost { .. } | Self::Tick => None,
        }
    }
}

/// What the follower asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<P, B> {
    /// Commit this slot, in order.
    Append {
        /// To which log.
        process: Id,
        /// The slot.
        record: Record<B>,
    },
    /// A peer confirmed where the log ends, now.
    Confirmed {
        /// Which log.
        process: Id,
        /// Who.
        peer: P,
        /// Whether the peer is the log's scheduler itself.
        by_scheduler: bool,
    },
    /// Ask a peer for slots `from..=to`.
    AskRange {
        /// Of which log.
        process: Id,
        /// Whom.
        peer: P,
        /// The first slot.
        from: u64,
        /// The last slot.
        to: u64,
    },
    /// Ask a peer for its head.
    AskHead {
        /// Of which log.
        process: Id,
        /// Whom.
        peer: P,
    },
    /// Look for peers that serve the log.
    FindSources {
        /// Which.
        process: Id,
    },
    /// Compare with the slot on disk: another assignment there is evidence of double assignment.
    Compare {
        /// Of which log.
        process: Id,
        /// The repeated or conflicting slot.
        record: Record<B>,
    },
    /// The scheduler signed a slot whose chain or time does not follow the one before.
    Unlinked {
        /// Of which log.
        process: Id,
        /// Which slot.
        slot: u64,
    },
    /// Read this log's head from disk and answer with `Follow`.
    Reload {
        /// Which.
        process: Id,
    },
}

/// Follows any number of logs.
#[derive(Debug)]
pub struct Follower<P, B> {
    logs: BTreeMap<Id, Log<P, B>>,
    /// Bytes that all logs hold.
    held: usize,
}

impl<P: Ord + Clone, B> Default for Follower<P, B> {
    fn default() -> Self {
        Self { logs: BTreeMap::new(), held: 0 }
    }
}

impl<P: Ord + Clone, B> Follower<P, B> {
    /// The next slot that a log wants, if it is followed.
    pub fn next_slot(&self, process: &Id) -> Option<u64> {
        self.logs.get(process).map(Log::next)
    }

    /// Whether the log has every slot that anyone proved to exist.
    pub fn is_caught_up(&self, process: &Id) -> bool {
        self.logs.get(process).is_some_and(|log| log.head.is_some() && !log.missing())
    }

    /// How far ahead of its log a slot may be that is asked for.
    const fn ahead(&self) -> u64 {
        if self.held < HELD_ALL_BYTES_MAX / 2 { WINDOW_SLOTS - RANGE_SLOTS_MAX } else { 0 }
    }

    /// Bytes that the log holds.
    fn held_of(&self, process: Option<Id>) -> usize {
        process.and_then(|process| self.logs.get(&process)).map_or(0, |log| log.held.bytes)
    }

    fn record(&mut self, process: Id, record: Record<B>, now: Now, effects: &mut Effects<Effect<P, B>>) {
        let (ahead, room) = (self.ahead(), HELD_ALL_BYTES_MAX.saturating_sub(self.held));
        let Some(log) = self.logs.get_mut(&process) else { return };
        let next = log.next();
        let slot = record.link.slot;
        log.learn(slot);
        if slot < next {
            if log.recent.get(&slot) != Some(&record.link.assignment) {
                if let Some(fork) = &mut log.fork {
                    fork.asks_left = 0;
                }
                effects.push(Effect::Compare { process, record });
            }
            return;
        }
        if log.fork.is_some() {
            return;
        }
        if slot - next <= AHEAD_SLOTS_MAX {
            // What comes next goes on at once.
            if slot == next || record.bytes <= room {
                log.held.hold(slot, record);
            }
            if !log.held.has(slot) {
                log.note_dropped(slot);
            }
        }
        advance(process, log, effects);
        step(process, log, (now, ahead), effects);
    }
}

/// Appends every held slot that follows the head.
fn advance<P: Ord + Clone, B>(process: Id, log: &mut Log<P, B>, effects: &mut Effects<Effect<P, B>>) {
    while let Some(record) = log.held.take(log.next()) {
        let link = record.link;
        let expected = log.head.map_or_else(|| hash_chain::first(process), |head| head.next());
        let goes_back = log.head.is_some_and(|head| {
            link.time.timestamp < head.time.timestamp || link.time.height < head.time.height
        });
        if link.hash_chain != expected || goes_back {
            log.fork = Some(Fork { asks_left: SOURCES_MAX });
            log.audited = None;
            log.held.clear();
            effects.push(Effect::Unlinked { process, slot: link.slot });
            return;
        }
        log.head = Some(link);
        log.recent.insert(link.slot, link.assignment);
        if log.recent.len() > RECENT_SLOTS {
            log.recent.pop_first();
        }
        log.hole_since = None;
        effects.push(Effect::Append { process, record });
    }
}

/// Decides what to ask whom, now, and how far ahead of the log.
fn step<P: Ord + Clone, B>(
    process: Id,
    log: &mut Log<P, B>,
    (now, ahead): (Now, u64),
    effects: &mut Effects<Effect<P, B>>,
) {
    let audit_due = log.audited.is_none_or(|then| then.plus_ms(AUDIT_MS) <= now);
    if audit_due {
        log.audited = Some(now);
        effects.push(Effect::FindSources { process });
        // In turns: who is behind like us would answer with nothing new for ever.
        if let Some(peer) = pick(log, now, |_, source| Some(source.asked)) {
            effects.push(Effect::AskHead { process, peer });
        }
    }
    if log.fork.is_some() {
        if audit_due {
            prove_fork(process, log, now, effects);
        }
        return;
    }
    if !log.missing() {
        log.hole_since = None;
        return;
    }
    let since = *log.hole_since.get_or_insert(now);
    let far = log.known.is_some_and(|known| known - log.next() >= RANGE_SLOTS_MAX);
    let first = log.head.is_none();
    if !(far || first || since.plus_ms(HOLE_PATIENCE_MS) <= now) {
        return;
    }
    ask_for_slots(process, log, (now, ahead), effects);
}

/// Asks several peers beside each other for the slots that are missing: who is slow holds up nobody.
fn ask_for_slots<P: Ord + Clone, B>(
    process: Id,
    log: &mut Log<P, B>,
    (now, ahead): (Now, u64),
    effects: &mut Effects<Effect<P, B>>,
) {
    while log.may_ask(now)
        && let Some((from, to)) = log.late(now).or_else(|| log.gap(ahead))
    {
        let next = log.next();
        let asking = std::mem::take(&mut log.asking);
        // What is wanted first may be asked of anybody, the rest of those alone who showed that they have it.
        let order = |peer: &P, source: &Source| {
            let has = source.head >= Some(from);
            let may = !asking.contains_key(peer) && (has || from == next);
            may.then_some((!has, source.failures, source.asked))
        };
        let peer = pick(log, now, order);
        log.asking = asking;
        let Some(peer) = peer else { return };
        log.asking.insert(peer.clone(), Stretch::new(from, to, now));
        effects.push(Effect::AskRange { process, peer, from, to });
    }
}

/// Asks for the other version of the newest slot here, until somebody had one.
fn prove_fork<P: Ord + Clone, B>(
    process: Id,
    log: &mut Log<P, B>,
    now: Now,
    effects: &mut Effects<Effect<P, B>>,
) {
    let asks_left = log.fork.map_or(0, |fork| fork.asks_left);
    let Some(Link { slot, .. }) = log.head.filter(|_| asks_left > 0 && log.asking.is_empty()) else {
        return;
    };
    // Who has more than we do has the other log.
    let order = |_: &P, source: &Source| Some((source.head <= Some(slot), source.failures, source.asked));
    if let Some(peer) = pick(log, now, order) {
        log.asking.insert(peer.clone(), Stretch::new(slot, slot, now));
        log.fork = Some(Fork { asks_left: asks_left - 1 });
        effects.push(Effect::AskRange { process, peer, from: slot, to: slot });
    }
}

impl<P: Ord + Clone, B> Machine for Follower<P, B> {
    type Input = Input<P, B>;
    type Effect = Effect<P, B>;

    fn handle(&mut self, input: Input<P, B>, now: Now, effects: &mut Effects<Effect<P, B>>) {
        let process = input.process();
        let before = self.held_of(process);
        self.hear(input, now, effects);
        // No other log holds more or less than before.
        self.held = self.held.saturating_sub(before) + self.held_of(process);
    }
}

impl<P: Ord + Clone, B> Follower<P, B> {
    fn hear(&mut self, input: Input<P, B>, now: Now, effects: &mut Effects<Effect<P, B>>) {
        let at = (now, self.ahead());
        match input {
            Input::Follow { process, head } => {
                let mut log = Log::new(head);
                if let Some(old) = self.logs.remove(&process) {
                    log.sources = old.sources;
                    log.known = log.known.max(old.known);
                }
                step(process, self.logs.entry(process).or_insert(log), at, effects);
            }
            Input::Unfollow { process } => {
                self.logs.remove(&process);
            }
            Input::Source { process, peer } => {
                let Some(log) = self.logs.get_mut(&process) else { return };
                if log.sources.len() < SOURCES_MAX && !log.sources.contains_key(&peer) {
                    log.sources.insert(peer.clone(), Source { asked: now.0, ..Source::default() });
                    effects.push(Effect::AskHead { process, peer });
                }
            }
            Input::SourceLost { peer } => {
                for log in self.logs.values_mut() {
                    log.sources.remove(&peer);
                }
            }
            Input::Head { process, slot, peer, by_scheduler } => {
                let Some(log) = self.logs.get_mut(&process) else { return };
                // A head of before what is here says nothing of now: anybody may repeat it. What the
                // scheduler says on its own connection is what it has.
                if by_scheduler || slot.saturating_add(1) >= log.next() {
                    effects.push(Effect::Confirmed { process, peer: peer.clone(), by_scheduler });
                }
                if log.sources.len() < SOURCES_MAX {
                    log.sources.entry(peer.clone()).or_default();
                }
                if let Some(source) = log.sources.get_mut(&peer) {
                    source.head = source.head.max(Some(slot));
                }
                log.learn(slot);
                step(process, log, at, effects);
            }
            Input::Record { process, record } => self.record(process, record, now, effects),
            Input::RangeEnded { process, peer, useful } => {
                let Some(log) = self.logs.get_mut(&process) else { return };
                // Valid slots that do not bring the log further are no use, however often they are
                // asked for: the source rests like one that gave nothing. A fork has its own way.
                let stretch = log.asking.remove(&peer);
                let brought = match stretch {
                    Some(Stretch { from, .. }) => {
                        let is_here = log.next() > from || log.held.has(from);
                        useful && (is_here || log.fork.is_some())
                    }
                    None => useful,
                };
                // That there was no room for them is no fault of who gave them, and is not asked for again
                // before there is.
                let was_in_vain = useful && stretch.is_some_and(|stretch| stretch.dropped);
                if let Some(source) = log.sources.get_mut(&peer).filter(|_| brought || !was_in_vain) {
                    source.ended(brought, now);
                }
                step(process, log, at, effects);
            }
            Input::PersistFailed { process } => {
                if let Some(log) = self.logs.get_mut(&process) {
                    log.held.clear();
                    effects.push(Effect::Reload { process });
                }
            }
            Input::Tick => {
                for (process, log) in &mut self.logs {
                    step(*process, log, at, effects);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
