//! Whom to ask about processes whose topic this node is not on.
//!
//! A peer is told for which processes this node wants to know, and how far it has them; it
//! answers as soon as one of them goes further, or after a while. One question covers many processes,
//! and at most a few questions are open with one peer, so that following a thousand processes of a
//! scheduler costs little more than following one.

use std::collections::btree_map::Entry;
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
/// The same where that peer is not the scheduler: it is looked for beside, and nobody knows more.
pub const BETTER_MS: u64 = 60_000;

/// What the machine hears of; `P` names a peer.
#[derive(Debug)]
pub enum Input<P> {
    /// Follow this process.
    Add(Id),
    /// No longer.
    Remove(Id),
    /// A search ended.
    Found {
        /// For which process.
        process: Id,
        /// Its scheduler, if that was found: nobody knows more.
        scheduler: Option<P>,
        /// Who else serves it, the best first.
        others: Vec<P>,
    },
    /// A question was answered.
    Answered {
        /// Which one.
        question: u64,
        /// The newest slots that are news here, or nothing if the peer could not be asked or said what
        /// makes no sense.
        heads: Option<Vec<(Id, u64)>>,
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
        /// About which, each with the newest slot that this peer told: it is told once, also where the log
        /// cannot come so far here.
        processes: Vec<(Id, Option<u64>)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State<P> {
    /// Nobody is known.
    Lost { search_at: Now },
    /// A search is under way.
    Searched,
    /// This peer is asked, in the question `open` if there is one; `last` numbers the newest. The scheduler
    /// is the best to ask.
    Asked { peer: P, since: Now, open: bool, last: u64, told: Option<u64>, best: bool },
}

impl<P> State<P> {
    /// When it is searched for, if it may be.
    fn due(&self) -> Option<Now> {
        match self {
            Self::Lost { search_at } => Some(*search_at),
            Self::Asked { since, open: false, best, .. } => {
                Some(since.plus_ms(if *best { CHANGE_MS } else { BETTER_MS }))
            }
            Self::Asked { .. } | Self::Searched => None,
        }
    }
}

#[derive(Debug)]
struct Watched<P> {
    state: State<P>,
    /// Who was asked last and brought nothing: another comes first.
    poor: Option<P>,
}

/// The direct subscriptions of one node.
#[derive(Debug)]
pub struct Direct<P> {
    processes: BTreeMap<Id, Watched<P>>,
    /// Processes that may be searched for, by when: who waited longest comes first, so that those that
    /// nobody has do not keep the others waiting.
    due: BTreeSet<(Now, Id)>,
    questions: BTreeMap<u64, (P, Vec<Id>)>,
    searches: usize,
    next: u64,
}

impl<P: Ord + Copy> Default for Direct<P> {
    fn default() -> Self {
        let (processes, due, questions) = Default::default();
        Self { processes, due, questions, searches: 0, next: 0 }
    }
}

impl<P: Ord + Copy> Direct<P> {
    /// Changes the state of a process, and with it when it is searched for.
    fn set(&mut self, process: Id, state: State<P>) {
        let Some(watched) = self.processes.get_mut(&process) else { return };
        if let Some(due) = watched.state.due() {
            self.due.remove(&(due, process));
        }
        if let Some(due) = state.due() {
            self.due.insert((due, process));
        }
        watched.state = state;
    }

    /// Asks every peer about what it is not being asked about.
    fn ask(&mut self, effects: &mut Effects<Effect<P>>) {
        let mut open: BTreeMap<P, usize> = BTreeMap::new();
        for (peer, _) in self.questions.values() {
            *open.entry(*peer).or_default() += 1;
        }
        let mut waiting: BTreeMap<P, Vec<(u64, Id)>> = BTreeMap::new();
        for (process, watched) in &self.processes {
            if let State::Asked { peer, open: false, last, .. } = watched.state {
                waiting.entry(peer).or_default().push((last, *process));
            }
        }
        for (peer, mut all) in waiting {
            // Who waited longest comes first: not all may have room.
            all.sort_unstable();
            let all: Vec<Id> = all.into_iter().map(|(_, process)| process).collect();
            let free = OPEN_PER_PEER_MAX.saturating_sub(open.get(&peer).copied().unwrap_or(0));
            for processes in all.chunks(WATCHED_MAX).take(free) {
                self.question(peer, processes, effects);
            }
        }
    }

    fn question(&mut self, peer: P, processes: &[Id], effects: &mut Effects<Effect<P>>) {
        self.next += 1;
        let question = self.next;
        let mut asked = Vec::with_capacity(processes.len());
        for process in processes {
            let state = self.processes.get(process).map(|watched| watched.state);
            if let Some(State::Asked { peer, since, told, best, .. }) = state {
                asked.push((*process, told));
                self.set(*process, State::Asked { peer, since, open: true, last: question, told, best });
            }
        }
        self.questions.insert(question, (peer, processes.to_vec()));
        effects.push(Effect::Ask { question, peer, processes: asked });
    }

    fn search(&mut self, now: Now, effects: &mut Effects<Effect<P>>) {
        while self.searches < SEARCHES_MAX {
            let Some((_, process)) = self.due.first().copied().filter(|(due, _)| *due <= now) else { return };
            self.set(process, State::Searched);
            self.searches += 1;
            effects.push(Effect::Find(process));
        }
    }

    fn found(&mut self, process: Id, scheduler: Option<P>, others: &[P], now: Now) {
        let Some(Watched { state: State::Searched, poor }) = self.processes.get(&process) else { return };
        let used: BTreeSet<P> = self.questions.values().map(|(peer, _)| *peer).collect();
        let is_better = |peer: &&P| Some(**peer) != *poor;
        // One that is asked anyway costs nothing more, and whoever brought nothing is better than nobody.
        let peer = scheduler
            .iter()
            .find(is_better)
            .or_else(|| others.iter().filter(|peer| used.contains(peer)).find(is_better))
            .or_else(|| others.iter().find(is_better))
            .or_else(|| scheduler.iter().chain(others).next())
            .copied();
        let state = match peer {
            Some(peer) => {
                let best = Some(peer) == scheduler;
                State::Asked { peer, since: now, open: false, last: 0, told: None, best }
            }
            None => State::Lost { search_at: now.plus_ms(SEARCH_MS) },
        };
        self.set(process, state);
        if let Some(watched) = self.processes.get_mut(&process) {
            // Nobody knows more than the scheduler, whose log may only be quiet.
            watched.poor = peer.filter(|peer| Some(*peer) != scheduler);
        }
    }

    fn answered(&mut self, question: u64, heads: Option<Vec<(Id, u64)>>, now: Now) {
        let Some((_, processes)) = self.questions.remove(&question) else { return };
        let news: Option<BTreeMap<Id, u64>> = heads.map(|heads| heads.into_iter().collect());
        for process in processes {
            // One that was removed and added again is in another question, or in none yet.
            let state = self.processes.get(&process).map(|watched| watched.state);
            let Some(State::Asked { peer, since, open: true, last, told, best }) = state else { continue };
            if last != question {
                continue;
            }
            let Some(news) = &news else {
                self.set(process, State::Lost { search_at: now.plus_ms(SEARCH_MS) });
                if let Some(watched) = self.processes.get_mut(&process) {
                    watched.poor = Some(peer);
                }
                continue;
            };
            let slot = news.get(&process).copied();
            let told = told.max(slot);
            self.set(process, State::Asked { peer, since, open: false, last, told, best });
            if let Some(watched) = self.processes.get_mut(&process)
                && slot.is_some()
            {
                watched.poor = None;
            }
        }
    }
}

impl<P: Ord + Copy> Machine for Direct<P> {
    type Input = Input<P>;
    type Effect = Effect<P>;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<Effect<P>>) {
        match input {
            Input::Add(process) => {
                if let Entry::Vacant(place) = self.processes.entry(process) {
                    place.insert(Watched { state: State::Lost { search_at: now }, poor: None });
                    self.due.insert((now, process));
                }
                return self.search(now, effects);
            }
            Input::Remove(process) => {
                let removed = self.processes.remove(&process);
                if let Some(due) = removed.and_then(|watched| watched.state.due()) {
                    self.due.remove(&(due, process));
                }
                return;
            }
            Input::Found { process, scheduler, others } => {
                self.searches = self.searches.saturating_sub(1);
                self.found(process, scheduler, &others, now);
            }
            Input::Answered { question, heads } => self.answered(question, heads, now),
            Input::Tick => {}
        }
        self.search(now, effects);
        self.ask(effects);
    }
}

#[cfg(test)]
mod tests;
