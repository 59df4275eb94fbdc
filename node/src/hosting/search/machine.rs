//! In which order a process is looked for, and whom to ask for it first.
//!
//! What costs nothing comes first: who is on its topic, whom the lobby names, what connected peers say. What
//! costs the network something begins a little later, or as soon as nothing else is left, and all goes on
//! beside each other. So nobody who is silent or lies ends a search or holds it up, and a process that a
//! connected peer serves is found without a question to anybody else.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Machine, Now};

/// How a peer may be found, the best way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// It is on the topic of the process.
    Topic,
    /// It said on the lobby shard that it serves it.
    Lobby,
    /// A connected peer says so of itself, or has it signed by others.
    Peers,
    /// It has a record in Kademlia.
    Records,
    /// Who is on the lobby shard by a record there was asked.
    Shard,
    /// It is connected: small networks find things by asking around.
    Everyone,
}

impl Source {
    /// All of them, and when each begins at the latest, in milliseconds.
    pub const ALL: [(Self, u64); 6] = [
        (Self::Topic, 0),
        (Self::Lobby, 0),
        (Self::Peers, 20),
        (Self::Records, 100),
        (Self::Shard, 300),
        (Self::Everyone, 500),
    ];
}

/// Peers that are asked beside each other and of which an answer may be on its way.
pub const ASKED_AT_ONCE: usize = 4;
/// How long a peer that is asked keeps another from being asked.
pub const PATIENCE_MS: u64 = 500;
/// Peers that may be asked and silent.
pub const OPEN_MAX: usize = 32;
/// Peers that are asked in one search of those that one way names: false names in one leave room for the others.
pub const ASKED_PER_SOURCE_MAX: usize = 24;
/// The same of those that are connected: more than a node has connections.
pub const ASKED_EVERYONE_MAX: usize = 128;
/// Peers of one answer that are noted, the first.
pub const NAMED_MAX: usize = 16;
/// Peers that wait to be asked, of all answers together; those that are named first stay.
pub const WAITING_MAX: usize = 256;

/// What the machine hears of; `P` names a peer.
#[derive(Debug)]
pub enum Input<P> {
    /// These may serve it.
    Named(Source, Vec<P>),
    /// A peer that does not serve it itself heard that these do.
    Heard(Source, Vec<P>),
    /// Nobody more is found this way.
    Ended(Source),
    /// A peer that was asked gave nothing, or nothing true.
    Failed(P),
    /// Time passed.
    Tick,
}

/// What the machine asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<P> {
    /// Look for peers this way.
    Look(Source),
    /// Ask this peer for the process.
    Ask(P),
    /// Nobody is left.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended,
}

/// One search.
#[derive(Debug)]
pub struct Search<P> {
    began: Now,
    sources: BTreeMap<Source, State>,
    /// Whom to ask: the first that each names, the best way first, then the second of each. A crowd of false
    /// names from one hides nobody that others name, and who speaks for himself comes before what others heard.
    queue: BTreeSet<(usize, Source, usize, P)>,
    /// Who was named, this node included, and the place that it had or has in the queue.
    seen: BTreeMap<P, (usize, Source, usize)>,
    /// Who was asked and did not answer yet, and since when.
    open: BTreeMap<P, Now>,
    /// How many were named, and asked of those that each way named.
    named: usize,
    asked: BTreeMap<Source, usize>,
    is_over: bool,
}

impl<P: Ord + Copy> Search<P> {
    /// A search by this peer, that begins now.
    pub fn new(own: P, now: Now) -> Self {
        let sources = Source::ALL.into_iter().map(|(source, _)| (source, State::Waiting)).collect();
        let (queue, open) = Default::default();
        let seen = BTreeMap::from([(own, (0, Source::Topic, 0))]);
        Self { began: now, sources, queue, seen, open, named: 0, asked: BTreeMap::new(), is_over: false }
    }

    /// How many are asked and may answer any moment.
    fn lively(&self, now: Now) -> usize {
        self.open.values().filter(|since| now < since.plus_ms(PATIENCE_MS)).count()
    }

    fn named(&mut self, source: Source, first: usize, peers: Vec<P>) {
        for (place, peer) in (first..).zip(peers.into_iter().take(NAMED_MAX)) {
            self.named += 1;
            let at = (place, source, self.named);
            let is_better = match self.seen.get(&peer) {
                None => true,
                // Whom others name last may speak for himself; what they say of him moves him nowhere. Who was asked
                // is not asked again.
                Some(old) => place == 0 && at < *old && self.queue.remove(&(old.0, old.1, old.2, peer)),
            };
            if is_better {
                self.seen.insert(peer, at);
                self.queue.insert((place, source, self.named, peer));
            }
        }
        while self.queue.len() > WAITING_MAX
            && let Some((.., peer)) = self.queue.pop_last()
        {
            self.seen.remove(&peer);
        }
    }

    fn look(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        let mut goes_on = self.lively(now) > 0 || !self.queue.is_empty();
        for (source, at_ms) in Source::ALL {
            let Some(state) = self.sources.get_mut(&source) else { continue };
            if *state == State::Waiting && (!goes_on || self.began.plus_ms(at_ms) <= now) {
                *state = State::Running;
                effects.push(Effect::Look(source));
            }
            goes_on |= *state == State::Running;
        }
    }

    fn next(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        if self.is_over {
            return;
        }
        self.look(now, effects);
        let mut free = ASKED_AT_ONCE.saturating_sub(self.lively(now));
        while free > 0 && self.open.len() < OPEN_MAX {
            let Some((_, source, _, peer)) = self.queue.pop_first() else { break };
            let asked = self.asked.entry(source).or_default();
            let most = if source == Source::Everyone { ASKED_EVERYONE_MAX } else { ASKED_PER_SOURCE_MAX };
            if *asked >= most {
                // Another way may name it.
                self.seen.remove(&peer);
                continue;
            }
            *asked += 1;
            free -= 1;
            self.open.insert(peer, now);
            effects.push(Effect::Ask(peer));
        }
        let is_found_out = self.sources.values().all(|state| *state == State::Ended);
        if self.open.is_empty() && self.queue.is_empty() && is_found_out {
            self.is_over = true;
            effects.push(Effect::Over);
        }
    }
}

impl<P: Ord + Copy> Machine for Search<P> {
    type Input = Input<P>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Named(source, peers) => self.named(source, 0, peers),
            Input::Heard(source, peers) => self.named(source, 1, peers),
            Input::Ended(source) => {
                if let Some(state) = self.sources.get_mut(&source) {
                    *state = State::Ended;
                }
            }
            Input::Failed(peer) => {
                self.open.remove(&peer);
            }
            Input::Tick => {}
        }
        self.next(now, effects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(search: &mut Search<u16>, input: Input<u16>, now: u64) -> Vec<Effect<u16>> {
        let mut effects = Effects::new();
        search.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    const CHEAP: [Effect<u16>; 2] = [Effect::Look(Source::Topic), Effect::Look(Source::Lobby)];

    #[test]
    fn what_is_at_hand_is_asked_before_the_network_is() {
        let mut search = Search::new(0, Now(0));
        assert_eq!(run(&mut search, Input::Tick, 0), CHEAP);
        // This node does not ask itself, and nobody twice.
        assert_eq!(run(&mut search, Input::Named(Source::Lobby, vec![0, 5]), 1), [Effect::Ask(5)]);
        assert_eq!(run(&mut search, Input::Named(Source::Topic, vec![5]), 2), []);
        assert_eq!(run(&mut search, Input::Tick, 19), []);
        assert_eq!(run(&mut search, Input::Tick, 20), [Effect::Look(Source::Peers)]);
        assert_eq!(run(&mut search, Input::Tick, 99), []);
        // One that does not answer at once does not hold up the rest.
        assert_eq!(run(&mut search, Input::Tick, 100), [Effect::Look(Source::Records)]);
        assert_eq!(
            run(&mut search, Input::Tick, 500),
            [Effect::Look(Source::Shard), Effect::Look(Source::Everyone)]
        );
    }

    #[test]
    fn nobody_waits_for_a_time_when_nothing_else_goes_on() {
        let mut search = Search::new(0, Now(0));
        run(&mut search, Input::Tick, 0);
        assert_eq!(run(&mut search, Input::Ended(Source::Topic), 1), []);
        assert_eq!(run(&mut search, Input::Ended(Source::Lobby), 1), [Effect::Look(Source::Peers)]);
        assert_eq!(run(&mut search, Input::Ended(Source::Peers), 1), [Effect::Look(Source::Records)]);
        assert_eq!(run(&mut search, Input::Ended(Source::Records), 2), [Effect::Look(Source::Shard)]);
        assert_eq!(run(&mut search, Input::Ended(Source::Shard), 3), [Effect::Look(Source::Everyone)]);
        assert_eq!(run(&mut search, Input::Named(Source::Everyone, vec![7]), 4), [Effect::Ask(7)]);
        assert_eq!(run(&mut search, Input::Ended(Source::Everyone), 5), []);
        assert_eq!(run(&mut search, Input::Failed(7), 6), [Effect::Over]);
        assert_eq!(run(&mut search, Input::Tick, 7), []);
    }

    #[test]
    fn the_silent_make_way_and_a_crowd_of_names_hides_nobody() {
        let mut search = Search::new(0, Now(0));
        run(&mut search, Input::Tick, 0);
        let crowd: Vec<u16> = (1..1_000).collect();
        let mut asked = run(&mut search, Input::Named(Source::Topic, crowd), 0);
        assert_eq!(asked.len(), ASKED_AT_ONCE);
        // Whoever is named in another way, or by another, comes before the rest of the crowd.
        asked.extend(run(&mut search, Input::Named(Source::Peers, vec![2_000, 2_001]), 1));
        asked.extend(run(&mut search, Input::Named(Source::Peers, vec![2_002]), 1));
        asked.extend(run(&mut search, Input::Tick, PATIENCE_MS));
        assert!([2_000, 2_001, 2_002].iter().all(|peer| asked.contains(&Effect::Ask(*peer))), "{asked:?}");
        for step in 2..60 {
            asked.extend(run(&mut search, Input::Tick, step * PATIENCE_MS));
            assert!(search.open.len() <= OPEN_MAX);
        }
        let peers = asked.iter().filter(|effect| matches!(effect, Effect::Ask(_))).count();
        assert_eq!(peers, NAMED_MAX + 3, "of one answer the first are asked");
    }

    #[test]
    fn who_speaks_for_himself_comes_before_what_others_heard() {
        let mut search = Search::new(0, Now(0));
        run(&mut search, Input::Tick, 0);
        let asked = run(&mut search, Input::Named(Source::Topic, vec![1, 2, 3, 4]), 0);
        assert_eq!(asked.len(), ASKED_AT_ONCE);
        run(&mut search, Input::Heard(Source::Peers, vec![10, 11]), 1);
        run(&mut search, Input::Named(Source::Shard, vec![20, 21]), 2);
        // Whoever was named last by others, too.
        run(&mut search, Input::Heard(Source::Peers, vec![30, 31, 32]), 2);
        run(&mut search, Input::Named(Source::Shard, vec![32]), 2);
        let next = [1, 2, 3, 4].map(|peer| run(&mut search, Input::Failed(peer), 3).remove(0));
        assert_eq!(next, [20, 32, 10, 30].map(Effect::Ask));
        assert_eq!(run(&mut search, Input::Named(Source::Lobby, vec![20]), 4), [], "nobody is asked twice");
    }

    /// Fails all that were asked, and all that are asked then; gives how many there were.
    fn fail_all(search: &mut Search<u16>, asked: &mut Vec<Effect<u16>>) -> usize {
        let mut at = 0;
        while at < asked.len() {
            if let Effect::Ask(peer) = asked[at] {
                let more = run(search, Input::Failed(peer), 0);
                asked.extend(more);
            }
            at += 1;
        }
        asked.iter().filter(|effect| matches!(effect, Effect::Ask(_))).count()
    }

    #[test]
    fn false_names_end_no_search_and_there_is_an_end_to_what_is_asked() {
        let mut search = Search::new(0, Now(0));
        let mut asked = run(&mut search, Input::Tick, 0);
        let mut next = 1;
        for source in [Source::Lobby, Source::Topic, Source::Peers] {
            for _ in 0..20 {
                let crowd: Vec<u16> = (next..next + 8).collect();
                next += 8;
                asked.extend(run(&mut search, Input::Named(source, crowd), 0));
                assert!(search.queue.len() <= WAITING_MAX);
            }
        }
        assert!(fail_all(&mut search, &mut asked) <= 3 * ASKED_PER_SOURCE_MAX);
        // Kademlia is asked whatever the lobby said, and so is who stands in its records.
        for (source, _) in Source::ALL {
            asked.extend(run(&mut search, Input::Ended(source), 600));
        }
        assert!(
            asked.contains(&Effect::Look(Source::Records)) && asked.contains(&Effect::Look(Source::Everyone))
        );
        let mut search = Search::new(0, Now(0));
        let mut asked = run(&mut search, Input::Tick, 0);
        asked.extend(run(&mut search, Input::Tick, 600));
        asked.extend(run(&mut search, Input::Named(Source::Lobby, (1..=16).collect()), 600));
        fail_all(&mut search, &mut asked);
        asked.extend(run(&mut search, Input::Named(Source::Records, vec![3_000]), 600));
        assert!(asked.contains(&Effect::Ask(3_000)));
        run(&mut search, Input::Failed(3_000), 600);
        let mut last = Vec::new();
        for (source, _) in Source::ALL {
            last = run(&mut search, Input::Ended(source), 600);
        }
        assert_eq!(last, [Effect::Over]);
    }
}
