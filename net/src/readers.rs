//! Who takes the large answers that it asked for.
//!
//! A large answer is held in memory until its peer has taken it, and all that are answered share that memory. Peers
//! are slow for honest reasons, and a slow one loses nothing while there is room. One that takes nothing at all for
//! long is hung up on. And where there is no room left for somebody's answer, what is on its way to the slowest
//! ends; for a while it has no large answers.

use std::collections::BTreeMap;

use weft_protocol::{Effects, Machine, Now};

use crate::limits::{ANSWER_SHARE_SURE_KIB, READER_REST_MS, READER_WINDOWS, READERS_RESTING_MAX, TICK};

/// What is heard of answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Input<P> {
    /// A large answer is on its way to a peer.
    Sent(P),
    /// One is not any more: it was taken, or has failed.
    Ended(P),
    /// A peer took so many bytes more of what is on its way to it.
    Took(P, u64),
    /// There was no room for somebody's answer, though it had none on its way.
    Short,
    /// A peer is not connected any more.
    Gone(P),
    /// Time passed.
    Tick,
}

/// What is done about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<P> {
    /// End what is on its way to the peer.
    Cut(P),
    /// The peer takes nothing: end its connections. It may come again.
    HangUp(P),
}

/// A peer that has, or had, answers on their way.
#[derive(Debug)]
struct Reader {
    /// Answers that are on their way to it.
    answers: usize,
    /// Milliseconds in which something was on its way, since it last took any of it.
    idle_ms: u64,
    /// Since when what it takes is counted, and how many bytes that are.
    window: (Now, u64),
    /// What it took in the window before, if something was on its way in all of it.
    last: Option<u64>,
}

/// Those who are answered at length.
#[derive(Debug)]
pub(crate) struct Readers<P> {
    patience_ms: u64,
    ticked: Now,
    readers: BTreeMap<P, Reader>,
    /// Peers that have no large answers until then.
    resting: BTreeMap<P, Now>,
}

impl<P: Ord + Copy> Readers<P> {
    /// Who takes nothing for so long is hung up on.
    pub(crate) const fn new(patience_ms: u64, now: Now) -> Self {
        Self { patience_ms, ticked: now, readers: BTreeMap::new(), resting: BTreeMap::new() }
    }

    /// Whether a peer has no large answers now.
    pub(crate) fn rests(&self, peer: &P, now: Now) -> bool {
        self.resting.get(peer).is_some_and(|until| *until > now)
    }

    /// How many had answers and are connected, and how many have none for a while.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.readers.len(), self.resting.len())
    }

    fn rest(&mut self, peer: P, now: Now) {
        if self.resting.len() >= READERS_RESTING_MAX {
            let first = self.resting.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer);
            if let Some(first) = first {
                self.resting.remove(&first);
            }
        }
        self.resting.insert(peer, now.plus_ms(READER_REST_MS));
    }

    fn sent(&mut self, peer: P, now: Now) {
        let new = Reader { answers: 0, idle_ms: 0, window: (now, 0), last: None };
        let reader = self.readers.entry(peer).or_insert(new);
        if reader.answers == 0 {
            (reader.window, reader.last) = ((now, 0), None);
        }
        reader.answers += 1;
    }

    fn short(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        // Whoever takes its sure share in a window makes room by itself.
        let sure = ANSWER_SHARE_SURE_KIB as u64 * 1024;
        let slow = self.readers.iter_mut().filter(|(_, reader)| reader.answers > 0);
        let slow =
            slow.filter_map(|(peer, reader)| Some((reader.last.filter(|last| *last < sure)?, *peer, reader)));
        let Some((_, peer, reader)) = slow.min_by_key(|(last, peer, _)| (*last, *peer)) else { return };
        (reader.window, reader.last) = ((now, 0), None);
        self.rest(peer, now);
        effects.push(Effect::Cut(peer));
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        // A program that stood still was not there to be taken from.
        let passed_ms = now.0.saturating_sub(self.ticked.0).min(4 * TICK.as_millis() as u64);
        self.ticked = now;
        let window_ms = self.patience_ms / READER_WINDOWS;
        let mut idle = Vec::new();
        for (peer, reader) in self.readers.iter_mut().filter(|(_, reader)| reader.answers > 0) {
            reader.idle_ms += passed_ms;
            if reader.idle_ms >= self.patience_ms {
                reader.idle_ms = 0;
                idle.push(*peer);
            }
            let (since, taken) = reader.window;
            if since.plus_ms(window_ms) <= now {
                (reader.window, reader.last) = ((now, 0), Some(taken));
            }
        }
        for peer in idle {
            self.rest(peer, now);
            effects.push(Effect::HangUp(peer));
        }
        self.resting.retain(|_, until| *until > now);
    }
}

impl<P: Ord + Copy> Machine for Readers<P> {
    type Input = Input<P>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Sent(peer) => self.sent(peer, now),
            Input::Ended(peer) => {
                if let Some(reader) = self.readers.get_mut(&peer) {
                    reader.answers = reader.answers.saturating_sub(1);
                }
            }
            Input::Took(_, 0) => {}
            Input::Took(peer, bytes) => {
                if let Some(reader) = self.readers.get_mut(&peer) {
                    reader.idle_ms = 0;
                    reader.window.1 += bytes;
                }
            }
            Input::Short => self.short(now, effects),
            Input::Gone(peer) => {
                self.readers.remove(&peer);
            }
            Input::Tick => self.tick(now, effects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE_MS: u64 = 60_000;
    const WINDOW_MS: u64 = PATIENCE_MS / READER_WINDOWS;
    const TICK_MS: u64 = TICK.as_millis() as u64;

    fn run(readers: &mut Readers<usize>, input: Input<usize>, now: u64) -> Vec<Effect<usize>> {
        let mut effects = Effects::new();
        readers.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    /// Lets time pass, in which peers take so many bytes a tick, and says when what happened.
    fn pass(
        readers: &mut Readers<usize>,
        (from, to): (u64, u64),
        taking: &[(usize, u64)],
    ) -> Vec<(u64, Effect<usize>)> {
        let mut all = Vec::new();
        for now in (from..to).step_by(TICK_MS as usize) {
            for (peer, bytes) in taking {
                assert_eq!(run(readers, Input::Took(*peer, *bytes), now), []);
            }
            all.extend(run(readers, Input::Tick, now).into_iter().map(|effect| (now, effect)));
        }
        all
    }

    fn readers(peers: usize) -> Readers<usize> {
        let mut readers = Readers::new(PATIENCE_MS, Now(0));
        for peer in 0..peers {
            assert_eq!(run(&mut readers, Input::Sent(peer), 0), []);
        }
        readers
    }

    #[test]
    fn who_takes_nothing_is_hung_up_on_and_who_takes_a_little_is_not() {
        let mut readers = readers(2);
        let all = pass(&mut readers, (0, 3 * PATIENCE_MS / 2), &[(1, 100)]);
        assert_eq!(all, [(PATIENCE_MS, Effect::HangUp(0))]);
        assert!(
            readers.rests(&0, Now(PATIENCE_MS + READER_REST_MS - 1)) && !readers.rests(&1, Now(PATIENCE_MS))
        );
    }

    /// Each answer has a time of its own, which is shorter.
    #[test]
    fn answers_that_end_untaken_count_together_and_time_without_any_does_not() {
        let mut readers = readers(1);
        assert_eq!(pass(&mut readers, (0, PATIENCE_MS / 2), &[]), []);
        run(&mut readers, Input::Ended(0), PATIENCE_MS / 2);
        let later = 10 * PATIENCE_MS;
        assert_eq!(pass(&mut readers, (PATIENCE_MS / 2, later), &[]), []);
        run(&mut readers, Input::Sent(0), later);
        let all = pass(&mut readers, (later, later + PATIENCE_MS), &[]);
        assert!(
            matches!(all[..], [(at, Effect::HangUp(0))] if at >= later + PATIENCE_MS / 2 - TICK_MS),
            "{all:?}"
        );
        // It comes again.
        run(&mut readers, Input::Gone(0), later + PATIENCE_MS);
        assert!(readers.readers.is_empty());
    }

    #[test]
    fn a_program_that_stood_still_hangs_up_on_nobody() {
        let mut readers = readers(1);
        assert_eq!(run(&mut readers, Input::Tick, 10 * PATIENCE_MS), []);
    }

    #[test]
    fn where_there_is_no_room_the_slowest_makes_it_and_who_reads_does_not() {
        let mut readers = readers(4);
        // Nobody has had the time to take anything.
        assert_eq!(run(&mut readers, Input::Short, WINDOW_MS / 2), []);
        let fast = ANSWER_SHARE_SURE_KIB as u64 * 1024 * TICK_MS / WINDOW_MS + 1;
        assert_eq!(pass(&mut readers, (0, 2 * WINDOW_MS), &[(0, 10), (1, 1000), (3, fast)]), []);
        let now = 2 * WINDOW_MS;
        for slowest in [2, 0, 1] {
            assert_eq!(run(&mut readers, Input::Short, now), [Effect::Cut(slowest)]);
            assert!(readers.rests(&slowest, Now(now)));
        }
        assert_eq!(run(&mut readers, Input::Short, now), [], "whoever takes its share makes room by itself");
        // One that came later has a whole window too.
        run(&mut readers, Input::Sent(9), now);
        assert_eq!(run(&mut readers, Input::Short, now + WINDOW_MS - 1), []);
        run(&mut readers, Input::Tick, now + READER_REST_MS);
        assert!(readers.resting.is_empty());
    }

    #[test]
    fn those_who_rest_are_few() {
        let mut readers = readers(2 * READERS_RESTING_MAX);
        pass(&mut readers, (0, PATIENCE_MS + 1), &[]);
        assert_eq!(readers.resting.len(), READERS_RESTING_MAX);
    }
}
