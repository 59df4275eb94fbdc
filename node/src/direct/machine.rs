//! Whom to ask about processes whose topic this node is not on.
//!
//! A peer is told for which processes this node wants to know, and how far it has them; it
//! answers as soon as one of them goes further, or after a while. One question covers many processes,
//! and at most a few questions are open with one peer, so that following a thousand processes of a
//! scheduler costs little more than following one.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Effects, Id, Machine, Now};

/// Processes in one question.
pub const WATCHED_MAX: usize = weft_protocol::wire::WATCHED_MAX;
/// Questions that may be open with one peer: those of before, and one for what came since.
pub const OPEN_PER_PEER_MAX: usize = 2;
/// Searches for peers that may be under way.
pub const SEARCHES_MAX: usize = 16;
/// How long after a search or a failure the next search comes.
pub const SEARCH_MS: u64 = 5_000;
/// How often a process is looked up anew though its peer answers: another may know more.
pub const CHANGE_MS: u64 = 5 * 60_000;

/// What the machine hears of; `P` names a peer.
#[derive(Debug)]
pub enum Input<P> {
    /// Follow this process.
    Add(Id),
    /// No longer.
    Remove(Id),
    /// A search ended with these peers, the best first.
    Found {
        /// For which process.
        process: Id,
        /// Whom it found.
        peers: Vec<P>,
    },
    /// A question was answered.
    Answered {
        /// Which one.
        question: u64,
        /// Whether the peer could be asked and said something that makes sense.
        useful: bool,
    },
    /// Time passed.
    Tick,
}

/// What the machine asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<P> {
    /// Look for peers that serve this process.
    Find(Id),
    /// Ask a peer about these processes.
    Ask {
        /// The number of the question.
        question: u64,
        /// Whom.
        peer: P,
        /// About which.
        processes: Vec<Id>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State<P> {
    /// Nobody is known.
    Lost { search_at: Now },
    /// A search is under way.
    Searched,
    /// This peer is asked, `open` while it is; `last` numbers the question.
    Asked { peer: P, since: Now, open: bool, last: u64 },
}

/// The direct subscriptions of one node.
#[derive(Debug)]
pub struct Direct<P> {
    processes: BTreeMap<Id, State<P>>,
    questions: BTreeMap<u64, (P, Vec<Id>)>,
    searches: usize,
    next: u64,
}

impl<P: Ord + Copy> Default for Direct<P> {
    fn default() -> Self {
        Self { processes: BTreeMap::new(), questions: BTreeMap::new(), searches: 0, next: 0 }
    }
}

impl<P: Ord + Copy> Direct<P> {
    /// Asks every peer about what it is not being asked about.
    fn ask(&mut self, effects: &mut Effects<Effect<P>>) {
        let mut open: BTreeMap<P, usize> = BTreeMap::new();
        for (peer, _) in self.questions.values() {
            *open.entry(*peer).or_default() += 1;
        }
        let mut waiting: BTreeMap<P, Vec<(u64, Id)>> = BTreeMap::new();
        for (process, state) in &self.processes {
            if let State::Asked { peer, open: false, last, .. } = state {
                waiting.entry(*peer).or_default().push((*last, *process));
            }
        }
        for (peer, mut all) in waiting {
            // Who waited longest comes first: not all may have room.
            all.sort_unstable();
            let all: Vec<Id> = all.into_iter().map(|(_, process)| process).collect();
            let free = OPEN_PER_PEER_MAX.saturating_sub(open.get(&peer).copied().unwrap_or(0));
            for processes in all.chunks(WATCHED_MAX).take(free) {
                self.next += 1;
                let question = self.next;
                for process in processes {
                    if let Some(State::Asked { open, last, .. }) = self.processes.get_mut(process) {
                        (*open, *last) = (true, question);
                    }
                }
                self.questions.insert(question, (peer, processes.to_vec()));
                effects.push(Effect::Ask { question, peer, processes: processes.to_vec() });
            }
        }
    }

    fn search(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        let free = SEARCHES_MAX.saturating_sub(self.searches);
        let due = |state: &State<P>| match state {
            State::Lost { search_at } => *search_at <= now,
            State::Asked { since, open: false, .. } => since.plus_ms(CHANGE_MS) <= now,
            State::Asked { .. } | State::Searched => false,
        };
        let due = self.processes.iter_mut().filter(|(_, state)| due(state)).take(free);
        for (process, state) in due {
            *state = State::Searched;
            self.searches += 1;
            effects.push(Effect::Find(*process));
        }
    }
}

impl<P: Ord + Copy> Machine for Direct<P> {
    type Input = Input<P>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Add(process) => {
                self.processes.entry(process).or_insert(State::Lost { search_at: now });
                self.search(now, effects);
            }
            Input::Remove(process) => {
                self.processes.remove(&process);
            }
            Input::Found { process, peers } => {
                self.searches = self.searches.saturating_sub(1);
                let used: BTreeSet<P> = self.questions.values().map(|(peer, _)| *peer).collect();
                if let Some(state @ State::Searched) = self.processes.get_mut(&process) {
                    // One that is asked anyway costs nothing more.
                    let peer = peers.iter().find(|peer| used.contains(peer)).or_else(|| peers.first());
                    *state = match peer {
                        Some(peer) => State::Asked { peer: *peer, since: now, open: false, last: 0 },
                        None => State::Lost { search_at: now.plus_ms(SEARCH_MS) },
                    };
                }
                self.ask(effects);
            }
            Input::Answered { question, useful } => {
                let Some((asked, processes)) = self.questions.remove(&question) else { return };
                for process in processes {
                    // One that was removed and added again has another peer, or none yet.
                    if let Some(state) = self.processes.get_mut(&process)
                        && let State::Asked { peer, since, open: true, last } = *state
                        && peer == asked
                    {
                        *state = if useful {
                            State::Asked { peer, since, open: false, last }
                        } else {
                            State::Lost { search_at: now.plus_ms(SEARCH_MS) }
                        };
                    }
                }
                self.search(now, effects);
                self.ask(effects);
            }
            Input::Tick => {
                self.search(now, effects);
                self.ask(effects);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> Id {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Id(bytes)
    }

    fn run(direct: &mut Direct<u8>, input: Input<u8>, now: u64) -> Vec<Effect<u8>> {
        let mut effects = Effects::new();
        direct.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    fn found(number: u16, peers: &[u8]) -> Input<u8> {
        Input::Found { process: id(number), peers: peers.to_vec() }
    }

    #[test]
    fn a_process_is_looked_up_asked_about_and_asked_about_again() {
        let mut direct = Direct::default();
        assert_eq!(run(&mut direct, Input::Add(id(1)), 0), [Effect::Find(id(1))]);
        assert_eq!(run(&mut direct, Input::Add(id(1)), 0), []);
        let asked = run(&mut direct, found(1, &[7, 8]), 1);
        assert_eq!(asked, [Effect::Ask { question: 1, peer: 7, processes: vec![id(1)] }]);
        assert_eq!(run(&mut direct, Input::Tick, 2), []);
        let again = run(&mut direct, Input::Answered { question: 1, useful: true }, 3);
        assert_eq!(again, [Effect::Ask { question: 2, peer: 7, processes: vec![id(1)] }]);
        // One that says nothing useful is left, and others are looked for after a while.
        assert_eq!(run(&mut direct, Input::Answered { question: 2, useful: false }, 4), []);
        assert_eq!(run(&mut direct, Input::Tick, 3 + SEARCH_MS), []);
        assert_eq!(run(&mut direct, Input::Tick, 4 + SEARCH_MS), [Effect::Find(id(1))]);
        run(&mut direct, Input::Remove(id(1)), 9_999);
        assert_eq!(run(&mut direct, found(1, &[8]), 9_999), []);
        assert_eq!((direct.processes.len(), direct.searches), (0, 0));
    }

    #[test]
    fn what_comes_while_a_question_is_open_gets_one_of_its_own_and_then_they_are_one() {
        let mut direct = Direct::default();
        let mut asked = Vec::new();
        for number in 0..4 {
            run(&mut direct, Input::Add(id(number)), 0);
            asked.extend(run(&mut direct, found(number, &[7]), 0));
        }
        // The first, the second, and no third question.
        assert_eq!(asked.len(), 2);
        let merged = run(&mut direct, Input::Answered { question: 1, useful: true }, 1);
        // Those that were not asked about yet come first.
        let all = vec![id(2), id(3), id(0)];
        assert_eq!(merged, [Effect::Ask { question: 3, peer: 7, processes: all }]);
    }

    #[test]
    fn many_processes_are_few_questions_and_searches_are_bounded() {
        let mut direct = Direct::default();
        let count = WATCHED_MAX as u16 + 50;
        let mut searches = 0;
        let mut queue: Vec<Id> = Vec::new();
        for number in 0..count {
            queue.extend(finds(run(&mut direct, Input::Add(id(number)), 0)));
        }
        assert_eq!(queue.len(), SEARCHES_MAX);
        while let Some(process) = queue.pop() {
            searches += 1;
            run(&mut direct, Input::Found { process, peers: vec![7] }, 0);
            queue.extend(finds(run(&mut direct, Input::Tick, 0)));
        }
        assert_eq!(searches, count);
        assert_eq!(direct.questions.len(), OPEN_PER_PEER_MAX);
        let sizes: Vec<_> = direct.questions.values().map(|(_, processes)| processes.len()).collect();
        assert!(sizes.iter().all(|size| *size <= WATCHED_MAX), "{sizes:?}");
    }

    fn finds(effects: Vec<Effect<u8>>) -> Vec<Id> {
        let find = |effect| if let Effect::Find(process) = effect { Some(process) } else { None };
        effects.into_iter().filter_map(find).collect()
    }

    #[test]
    fn a_peer_that_is_asked_anyway_is_taken_before_another() {
        let mut direct = Direct::default();
        run(&mut direct, Input::Add(id(1)), 0);
        run(&mut direct, found(1, &[7]), 0);
        run(&mut direct, Input::Add(id(2)), 0);
        let asked = run(&mut direct, found(2, &[8, 7]), 0);
        assert_eq!(asked, [Effect::Ask { question: 2, peer: 7, processes: vec![id(2)] }]);
    }
}
