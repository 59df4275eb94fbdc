//! Whom this node asks for the messages that it holds: peers that came on the topic of a process after this node, or
//! before it. So a scheduler that comes back hears of what waits for it, and a node that was parted from the others
//! of what was sent meanwhile; what it takes in then goes on from it.
//!
//! A peer is asked for many processes at once, and few peers for one process: they hold the same. The scheduler of a
//! process asks more, as any of them may keep something back.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::wire::HEADS_MAX;
use weft_protocol::{Effects, Id, Machine, Now};

/// Peers that are asked for one process in a stretch of time ...
pub const ASKED_MAX: usize = 2;
/// ... those that its scheduler asks ...
pub const ASKED_BY_SCHEDULER_MAX: usize = 8;
/// ... and how long that is, in milliseconds.
pub const ASKED_MS: u64 = 60_000;
/// Times that one of them answers for the same process in it: once, and again when it went and came back, as after a
/// parting it knows of more.
pub const ANSWERS_MAX: u8 = 2;
/// Peers that are asked beside each other.
pub const UNDER_WAY_MAX: usize = 8;
/// Processes that wait until their peer is asked for them, over all peers; one more is not asked for.
pub const WANTED_MAX: usize = 16_384;
/// Processes of which it is known that peers were asked for them lately; beyond that none is asked for.
pub const LATELY_MAX: usize = 16_384;
/// Times that a peer is asked which gives nothing.
const TRIES_MAX: u32 = 3;
/// The wait between them, in milliseconds.
const AGAIN_MS: u64 = 2_000;
/// How often what is over makes room for others, in milliseconds: thousands may come at once.
const SWEEP_MS: u64 = 1_000;

/// What is heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<P> {
    /// A peer is on the topic of a process, as this node is.
    Shared {
        /// Which process.
        process: Id,
        /// Which peer.
        peer: P,
        /// Whether this node schedules the process.
        is_mine: bool,
    },
    /// A peer answered for so many of the processes that it was asked for, in their order.
    Answered(P, usize),
    /// A peer did not answer.
    Silent(P),
    /// A peer is gone.
    Gone(P),
    /// Time passed.
    Tick,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<P> {
    /// Ask a peer what it holds of these processes, at most [`HEADS_MAX`]; answer with [`Input::Answered`] or
    /// [`Input::Silent`].
    Ask(P, Vec<Id>),
}

#[derive(Debug, Default)]
struct Peer {
    wanted: BTreeSet<Id>,
    under_way: Vec<Id>,
    tries: u32,
    /// When it may be asked again.
    due: Option<Now>,
}

/// Whom one node asks.
#[derive(Debug)]
pub struct Asks<P> {
    peers: BTreeMap<P, Peer>,
    /// Since when, which peers, and how often each.
    lately: BTreeMap<Id, (Now, Vec<(P, u8)>)>,
    /// When what is over was thrown out.
    swept: Now,
}

impl<P: Ord + Copy> Default for Asks<P> {
    fn default() -> Self {
        Self { peers: BTreeMap::new(), lately: BTreeMap::new(), swept: Now(0) }
    }
}

impl<P: Ord + Copy> Asks<P> {
    fn shared(&mut self, process: Id, peer: P, is_mine: bool, now: Now) {
        let is_over = |since: &Now| since.plus_ms(ASKED_MS) <= now;
        if self.lately.len() >= LATELY_MAX && self.swept.plus_ms(SWEEP_MS) <= now {
            self.lately.retain(|_, (since, _)| !is_over(since));
            self.swept = now;
        }
        let wanted: usize = self.peers.values().map(|peer| peer.wanted.len()).sum();
        let is_known = self.lately.contains_key(&process);
        if wanted >= WANTED_MAX || (self.lately.len() >= LATELY_MAX && !is_known) {
            return;
        }
        let (since, asked) = self.lately.entry(process).or_insert((now, Vec::new()));
        if is_over(since) {
            (*since, *asked) = (now, Vec::new());
        }
        let most = if is_mine { ASKED_BY_SCHEDULER_MAX } else { ASKED_MAX };
        let is_being_asked =
            |state: &Peer| state.wanted.contains(&process) || state.under_way.contains(&process);
        if self.peers.get(&peer).is_some_and(is_being_asked) {
            return;
        }
        // Who comes back takes no place from others.
        if let Some((_, times)) = asked.iter_mut().find(|(name, _)| *name == peer) {
            if *times >= ANSWERS_MAX {
                return;
            }
            *times += 1;
        } else if asked.len() < most {
            asked.push((peer, 1));
        } else {
            return;
        }
        self.peers.entry(peer).or_default().wanted.insert(process);
    }

    /// Asks a peer no more. What it was not asked for, or did not answer, others may be asked for in its place.
    fn drop_peer(&mut self, name: P) {
        let Some(Peer { wanted, under_way, .. }) = self.peers.remove(&name) else { return };
        for process in wanted.into_iter().chain(under_way) {
            let Some((_, asked)) = self.lately.get_mut(&process) else { continue };
            for (_, times) in asked.iter_mut().filter(|(peer, _)| *peer == name) {
                *times -= 1;
            }
            asked.retain(|(_, times)| *times > 0);
        }
    }

    /// Asks those that are due, as many processes at a time as a request may name.
    fn ask(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        let mut under_way = self.peers.values().filter(|peer| !peer.under_way.is_empty()).count();
        for (name, peer) in &mut self.peers {
            let is_due = peer.due.is_none_or(|due| due <= now);
            if under_way >= UNDER_WAY_MAX {
                return;
            }
            if !is_due || !peer.under_way.is_empty() || peer.wanted.is_empty() {
                continue;
            }
            while peer.under_way.len() < HEADS_MAX
                && let Some(process) = peer.wanted.pop_first()
            {
                peer.under_way.push(process);
            }
            under_way += 1;
            effects.push(Effect::Ask(*name, peer.under_way.clone()));
        }
    }

    fn answered(&mut self, name: P, count: usize) {
        let Some(peer) = self.peers.get_mut(&name) else { return };
        let asked = std::mem::take(&mut peer.under_way);
        // One that answers for none of them would be asked for ever.
        if count > 0 {
            peer.wanted.extend(asked.into_iter().skip(count));
        }
        (peer.tries, peer.due) = (0, None);
        if peer.wanted.is_empty() {
            self.peers.remove(&name);
        }
    }

    fn silent(&mut self, name: P, now: Now) {
        let Some(peer) = self.peers.get_mut(&name) else { return };
        peer.tries += 1;
        if peer.tries >= TRIES_MAX {
            self.drop_peer(name);
            return;
        }
        peer.wanted.extend(std::mem::take(&mut peer.under_way));
        peer.due = Some(now.plus_ms(AGAIN_MS));
    }
}

impl<P: Ord + Copy> Machine for Asks<P> {
    type Input = Input<P>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Shared { process, peer, is_mine } => self.shared(process, peer, is_mine, now),
            Input::Answered(peer, count) => self.answered(peer, count),
            Input::Silent(peer) => self.silent(peer, now),
            Input::Gone(peer) => self.drop_peer(peer),
            Input::Tick => self.ask(now, effects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> Id {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        Id(id)
    }

    fn run(asks: &mut Asks<u16>, input: Input<u16>, now: u64) -> Vec<(u16, Vec<Id>)> {
        let mut effects = Effects::new();
        asks.handle(input, Now(now), &mut effects);
        effects.drain().map(|Effect::Ask(peer, processes)| (peer, processes)).collect()
    }

    fn share(asks: &mut Asks<u16>, process: u16, peer: u16, is_mine: bool, now: u64) {
        assert!(run(asks, Input::Shared { process: id(process), peer, is_mine }, now).is_empty());
    }

    #[test]
    fn few_are_asked_for_one_process_more_by_its_scheduler_and_others_later() {
        let mut asks = Asks::default();
        for peer in 0..20 {
            share(&mut asks, 1, peer, false, 0);
            share(&mut asks, 2, 100 + peer, true, 0);
        }
        let mut asked = Vec::new();
        for _ in 0..4 {
            let now = run(&mut asks, Input::Tick, 0);
            assert!(now.len() <= UNDER_WAY_MAX);
            for (peer, processes) in now {
                assert!(run(&mut asks, Input::Answered(peer, processes.len()), 0).is_empty());
                asked.push(peer);
            }
        }
        let expected: Vec<u16> = (0..2).chain(100..108).collect();
        asked.sort_unstable();
        assert_eq!(asked, expected);
        assert!(asks.peers.is_empty(), "nothing is kept of whoever was asked");
        share(&mut asks, 1, 50, false, ASKED_MS - 1);
        assert!(run(&mut asks, Input::Tick, ASKED_MS - 1).is_empty());
        share(&mut asks, 1, 50, false, ASKED_MS);
        assert_eq!(run(&mut asks, Input::Tick, ASKED_MS), [(50, vec![id(1)])]);
    }

    #[test]
    fn what_an_answer_had_no_room_for_is_asked_for_again() {
        let mut asks = Asks::default();
        for process in 0..100 {
            share(&mut asks, process, 7, false, 0);
        }
        let first = run(&mut asks, Input::Tick, 0);
        assert_eq!(first[0].1.len(), HEADS_MAX);
        assert!(run(&mut asks, Input::Tick, 0).is_empty(), "one question at a time");
        run(&mut asks, Input::Answered(7, 10), 0);
        let second = run(&mut asks, Input::Tick, 0);
        assert_eq!((second[0].1.len(), second[0].1[0]), (HEADS_MAX, id(10)));
        // Whoever answers for nothing is not asked for it again.
        run(&mut asks, Input::Answered(7, 0), 0);
        assert_eq!(run(&mut asks, Input::Tick, 0)[0].1.len(), 100 - 10 - HEADS_MAX);
    }

    #[test]
    fn the_silent_are_asked_a_few_times_and_those_that_went_no_more() {
        let mut asks = Asks::default();
        share(&mut asks, 1, 7, false, 0);
        for tries in 0..u64::from(TRIES_MAX) {
            let now = tries * AGAIN_MS;
            assert_eq!(run(&mut asks, Input::Tick, now).len(), 1);
            run(&mut asks, Input::Silent(7), now);
            assert!(run(&mut asks, Input::Tick, now + AGAIN_MS - 1).is_empty());
        }
        assert!(run(&mut asks, Input::Tick, ASKED_MS).is_empty());
        share(&mut asks, 2, 8, false, 0);
        run(&mut asks, Input::Gone(8), 0);
        assert!(run(&mut asks, Input::Tick, 0).is_empty());
    }

    #[test]
    fn one_that_leaves_and_comes_back_takes_no_place_from_others() {
        let mut asks = Asks::default();
        let mut answers = 0;
        for round in 0..50 {
            share(&mut asks, 1, 7, true, round);
            for (peer, processes) in run(&mut asks, Input::Tick, round) {
                answers += 1;
                run(&mut asks, Input::Answered(peer, processes.len()), round);
            }
            run(&mut asks, Input::Gone(7), round);
        }
        assert_eq!(answers, ANSWERS_MAX, "and is not asked without end");
        for peer in 100..120 {
            share(&mut asks, 1, peer, true, 50);
        }
        let asked: Vec<_> = run(&mut asks, Input::Tick, 50).into_iter().map(|(peer, _)| peer).collect();
        assert_eq!(asked.len(), ASKED_BY_SCHEDULER_MAX - 1, "{asked:?}");
    }

    #[test]
    fn those_that_went_before_they_answered_leave_their_places_to_others() {
        let mut asks = Asks::default();
        for peer in 0..50 {
            share(&mut asks, 1, peer, false, 0);
            // Every other one goes while it is being asked.
            if peer % 2 == 0 {
                assert_eq!(run(&mut asks, Input::Tick, 0), [(peer, vec![id(1)])]);
            }
            run(&mut asks, Input::Gone(peer), 0);
        }
        for tries in 0..u64::from(TRIES_MAX) {
            share(&mut asks, 2, 8, false, tries * AGAIN_MS);
            assert_eq!(run(&mut asks, Input::Tick, tries * AGAIN_MS).len(), 1);
            run(&mut asks, Input::Silent(8), tries * AGAIN_MS);
        }
        let left: Vec<_> = asks.lately.values().map(|(_, asked)| asked.len()).collect();
        assert_eq!(left, [0, 0]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut asks = Asks::default();
        for process in 0..u16::MAX {
            share(&mut asks, process, process % 64, true, 0);
        }
        let wanted: usize = asks.peers.values().map(|peer| peer.wanted.len()).sum();
        assert_eq!((wanted, asks.lately.len()), (WANTED_MAX, LATELY_MAX));
        // What is over makes room.
        for peer in 0..64 {
            run(&mut asks, Input::Gone(peer), ASKED_MS);
        }
        share(&mut asks, u16::MAX, 7, false, ASKED_MS);
        assert_eq!(run(&mut asks, Input::Tick, ASKED_MS), [(7, vec![id(u16::MAX)])]);
    }
}
