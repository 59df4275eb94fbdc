//! Whom to ask for which pages of a checkpoint.
//!
//! Each provider is asked for one chunk at a time, so that none carries more than it gives; several are asked beside
//! each other. Who lies is asked no more, and neither is who does not have the pages; who is busy says when to come
//! back, and who is silent rests ever longer.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Machine, Now};

/// Providers that are asked beside each other.
pub const ASKS_MAX: usize = 4;
/// Times in a row that a provider may be silent or busy before it is asked no more.
pub const FAILURES_MAX: u32 = 8;
/// The first rest after a failure, in milliseconds; doubled each time.
pub const REST_MS_MIN: u64 = 250;

/// One in so many pages of a chunk makes a failure none: a slow line gives more in its time.
pub const PART_OF: usize = 8;

/// What the machine hears; `P` names a provider.
#[derive(Debug)]
pub enum Input<P> {
    /// It may have the pages.
    Provider(P),
    /// It gave the chunk that it was asked for, and that is on disk.
    Got(P),
    /// It gave some pages of that chunk, so many of so many, and they are on disk; `Failed` says why no more.
    Part(P, usize, usize),
    /// It did not.
    Failed(P, Why),
    /// Time passed.
    Tick,
}

/// Why a chunk did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It said so, and when to come back, in milliseconds.
    Busy(u64),
    /// It did not answer.
    Silent,
    /// It does not have the pages.
    Absent,
    /// It gave something else.
    Lie,
}

/// What the machine asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<P> {
    /// Ask it for this chunk; answer with `Got` or `Failed`.
    Ask(P, usize),
    /// All is there, or nobody is left who could be asked for the rest.
    Ended {
        /// Whether all is there.
        whole: bool,
    },
}

#[derive(Debug, Default)]
struct Provider {
    asked: Option<usize>,
    failures: u32,
    rest_until: u64,
}

/// The pages of one checkpoint on their way.
#[derive(Debug)]
pub struct Fetch<P> {
    /// Chunks that nobody is asked for.
    waiting: BTreeSet<usize>,
    providers: BTreeMap<P, Provider>,
    ended: bool,
}

impl<P: Ord + Copy> Fetch<P> {
    /// Of so many chunks.
    pub fn new(chunks: usize) -> Self {
        Self { waiting: (0..chunks).collect(), providers: BTreeMap::new(), ended: false }
    }

    fn step(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        let mut asked = self.providers.values().filter(|provider| provider.asked.is_some()).count();
        // Who failed least, and then who comes first.
        let mut free: Vec<(u32, P)> = self
            .providers
            .iter()
            .filter(|(_, provider)| provider.asked.is_none() && provider.rest_until <= now.0)
            .map(|(peer, provider)| (provider.failures, *peer))
            .collect();
        free.sort_unstable();
        for (_, peer) in free {
            if asked >= ASKS_MAX {
                break;
            }
            let Some(provider) = self.providers.get_mut(&peer) else { continue };
            let Some(chunk) = self.waiting.pop_first() else { break };
            provider.asked = Some(chunk);
            asked += 1;
            effects.push(Effect::Ask(peer, chunk));
        }
        let whole = self.waiting.is_empty() && asked == 0;
        if !self.ended && (whole || self.providers.is_empty()) {
            self.ended = true;
            effects.push(Effect::Ended { whole });
        }
    }

    fn failed(&mut self, peer: P, why: Why, now: Now) {
        let Some(provider) = self.providers.get_mut(&peer) else { return };
        self.waiting.extend(provider.asked.take());
        provider.failures += 1;
        let is_over = matches!(why, Why::Absent | Why::Lie) || provider.failures >= FAILURES_MAX;
        let rest = match why {
            Why::Busy(retry_ms) => retry_ms,
            _ => REST_MS_MIN << provider.failures.min(16),
        };
        provider.rest_until = now.0.saturating_add(rest);
        if is_over {
            self.providers.remove(&peer);
        }
    }
}

impl<P: Ord + Copy> Machine for Fetch<P> {
    type Input = Input<P>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Provider(peer) => drop(self.providers.entry(peer).or_default()),
            Input::Got(peer) => {
                if let Some(provider) = self.providers.get_mut(&peer) {
                    *provider = Provider::default();
                }
            }
            Input::Part(peer, gave, asked) => {
                // Who gives a page at a time is as good as silent.
                if let Some(provider) =
                    self.providers.get_mut(&peer).filter(|_| gave >= asked.div_ceil(PART_OF))
                {
                    provider.failures = 0;
                }
            }
            Input::Failed(peer, why) => self.failed(peer, why, now),
            Input::Tick => {}
        }
        self.step(now, effects);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(fetch: &mut Fetch<u8>, input: Input<u8>, now: u64) -> Vec<Effect<u8>> {
        let mut effects = Effects::new();
        fetch.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    #[test]
    fn each_is_asked_for_one_chunk_at_a_time_and_what_one_owes_another_gives() {
        let mut fetch = Fetch::new(3);
        assert_eq!(run(&mut fetch, Input::Provider(1), 0), [Effect::Ask(1, 0)]);
        assert_eq!(run(&mut fetch, Input::Provider(2), 0), [Effect::Ask(2, 1)]);
        assert_eq!(run(&mut fetch, Input::Failed(1, Why::Lie), 0), []);
        assert_eq!(run(&mut fetch, Input::Got(2), 0), [Effect::Ask(2, 0)]);
        assert_eq!(run(&mut fetch, Input::Failed(2, Why::Busy(700)), 0), []);
        assert_eq!(run(&mut fetch, Input::Tick, 699), []);
        assert_eq!(run(&mut fetch, Input::Tick, 700), [Effect::Ask(2, 0)]);
        assert_eq!(run(&mut fetch, Input::Got(2), 700), [Effect::Ask(2, 2)]);
        assert_eq!(run(&mut fetch, Input::Got(2), 700), [Effect::Ended { whole: true }]);
        assert_eq!(run(&mut fetch, Input::Tick, 900), []);
    }

    #[test]
    fn no_more_are_asked_at_once_than_may_and_who_never_answers_is_given_up() {
        let mut fetch = Fetch::new(100);
        let asked = (0..20).map(|peer| run(&mut fetch, Input::Provider(peer), 0).len());
        assert_eq!(asked.sum::<usize>(), ASKS_MAX);
        let mut fetch = Fetch::new(1);
        let mut now = 0;
        run(&mut fetch, Input::Provider(1), now);
        for _ in 1..FAILURES_MAX {
            assert_eq!(run(&mut fetch, Input::Failed(1, Why::Silent), now), []);
            now += 1 << 20;
            assert_eq!(run(&mut fetch, Input::Tick, now), [Effect::Ask(1, 0)]);
        }
        assert_eq!(run(&mut fetch, Input::Failed(1, Why::Silent), now), [Effect::Ended { whole: false }]);
        // Who gives a part each time is not silent; one page of many is no part.
        for (gave, ends) in [(8, false), (7, true)] {
            let (mut fetch, mut now) = (Fetch::new(1), 0);
            run(&mut fetch, Input::Provider(1), now);
            let mut all = Vec::new();
            for _ in 0..FAILURES_MAX * 2 {
                all.extend(run(&mut fetch, Input::Part(1, gave, 64), now));
                all.extend(run(&mut fetch, Input::Failed(1, Why::Silent), now));
                now += 1 << 20;
                all.extend(run(&mut fetch, Input::Tick, now));
            }
            assert_eq!(all.contains(&Effect::Ended { whole: false }), ends, "{gave}");
        }
        // With nothing to fetch there is nobody to ask.
        assert_eq!(run(&mut Fetch::new(0), Input::Tick, 0), [Effect::Ended { whole: true }]);
    }

    proptest! {
        /// Whatever providers do, it ends once, and whole exactly where every chunk was given.
        #[test]
        fn it_ends_once(answers in prop::collection::vec(0u8..6, 0..400), chunks in 0usize..12, peers in 1u8..6) {
            let mut fetch = Fetch::new(chunks);
            let (mut asked, mut given, mut ends) = (Vec::new(), BTreeSet::new(), Vec::new());
            let mut now = 0;
            let mut hear = |fetch: &mut Fetch<u8>, asked: &mut Vec<(u8, usize)>, input, now| {
                for effect in run(fetch, input, now) {
                    match effect {
                        Effect::Ask(peer, chunk) => asked.push((peer, chunk)),
                        Effect::Ended { whole } => ends.push(whole),
                    }
                }
                assert!(asked.len() <= ASKS_MAX);
            };
            (0..peers).for_each(|peer| hear(&mut fetch, &mut asked, Input::Provider(peer), 0));
            for answer in answers.into_iter().chain(std::iter::repeat_n(0, 1_000)) {
                now += 1_000_000;
                let Some((peer, chunk)) = asked.pop() else {
                    hear(&mut fetch, &mut asked, Input::Tick, now);
                    continue;
                };
                let input = match answer {
                    0 | 1 => { given.insert(chunk); Input::Got(peer) }
                    2 => Input::Failed(peer, Why::Busy(500)),
                    3 => Input::Failed(peer, Why::Silent),
                    4 => Input::Failed(peer, Why::Absent),
                    _ => Input::Failed(peer, Why::Lie),
                };
                hear(&mut fetch, &mut asked, input, now);
            }
            prop_assert_eq!(ends, [given.len() == chunks]);
        }
    }
}
