//! Who answers for which process, who was silent, and when others than whoever answers are asked again.

use std::collections::BTreeMap;

use weft_net::Peer;
use weft_protocol::{Id, Now};

/// Logs and results of which it is remembered who answers; when there are more all are forgotten, and found again.
const KEPT_MAX: usize = 4_096;
/// How long it is remembered, in milliseconds: the scheduler may answer by then.
const KEPT_MS: u64 = 600_000;
/// The first pause before others are asked again for what whoever answers does not know, in milliseconds; doubled
/// each time.
const OTHERS_MS_MIN: u64 = 250;
/// The longest such pause.
const OTHERS_MS_MAX: u64 = 4_000;
/// Peers of which it is remembered that they were silent, and for how long, in milliseconds: by then whatever they
/// were asked is given up.
const SILENT_MAX: usize = 1_024;
const SILENT_MS: u64 = 30_000;

/// What is asked about: a process, and of that its log or what came of it. They are known to different peers.
pub(super) type Subject = (Id, bool);

/// Whoever answered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answerer {
    peer: Peer,
    /// The scheduler has said that it does not do this, so it is not asked first.
    instead: bool,
    until: Now,
    others_at: Now,
    pause_ms: u64,
}

/// Whom to ask first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct First {
    pub(super) peers: Vec<Peer>,
    /// Who knows best among all.
    pub(super) best: Option<Peer>,
    /// Others are asked too, if these do not know.
    pub(super) then_others: bool,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answers: BTreeMap<Subject, Answerer>,
    silent: BTreeMap<Peer, Now>,
}

impl Memory {
    /// Whom to ask first of all, with the scheduler if it is connected. Nobody where nobody is remembered.
    pub(super) fn first(&mut self, of: Subject, scheduler: Option<Peer>, now: Now) -> First {
        if self.answers.get(&of).is_some_and(|known| known.until <= now) {
            self.answers.remove(&of);
        }
        let scheduler = scheduler.filter(|peer| !self.is_silent(peer, now));
        let known = self.answers.get(&of).filter(|known| !self.is_silent(&known.peer, now));
        let best = scheduler.filter(|_| !known.is_some_and(|known| known.instead));
        let mut peers = Vec::new();
        if let Some(known) = known {
            peers.extend(best);
            peers.extend(Some(known.peer).filter(|peer| best != Some(*peer)));
        }
        let then_others = known.is_none_or(|known| known.others_at <= now);
        First { peers, best, then_others }
    }

    /// Somebody answered: is it the scheduler, or was that not there to be asked; and has the scheduler said that it
    /// does not do this.
    pub(super) fn answered(&mut self, of: Subject, peer: Peer, (is_first, instead): (bool, bool), now: Now) {
        self.silent.remove(&peer);
        let known = self.answers.get(&of);
        let was_instead = known.is_some_and(|known| known.instead);
        // A scheduler that is only busy hands nothing over to whoever comes next.
        if !is_first && !instead && !was_instead {
            return;
        }
        let until = match known {
            Some(known) if known.peer == peer => known.until,
            _ => now.plus_ms(KEPT_MS),
        };
        if self.answers.len() >= KEPT_MAX && known.is_none() {
            self.answers.clear();
        }
        let instead = instead || (was_instead && !is_first);
        self.answers.insert(of, Answerer { peer, instead, until, others_at: now, pause_ms: 0 });
    }

    /// Nobody knows it, also of the others.
    pub(super) fn nobody_knows(&mut self, of: Subject, now: Now) {
        if let Some(known) = self.answers.get_mut(&of) {
            known.pause_ms = (known.pause_ms * 2).clamp(OTHERS_MS_MIN, OTHERS_MS_MAX);
            known.others_at = now.plus_ms(known.pause_ms);
        }
    }

    /// Whoever answered does so no longer.
    pub(super) fn forget(&mut self, of: Subject, peer: Peer) {
        if self.answers.get(&of).is_some_and(|known| known.peer == peer) {
            self.answers.remove(&of);
        }
    }

    /// A peer was asked, and said nothing in time.
    pub(super) fn was_silent(&mut self, peer: Peer, now: Now) {
        if self.silent.len() >= SILENT_MAX {
            self.silent.retain(|_, until| *until > now);
        }
        if self.silent.len() < SILENT_MAX {
            self.silent.insert(peer, now.plus_ms(SILENT_MS));
        }
    }

    /// Puts those that were silent behind the others.
    pub(super) fn order(&self, peers: &mut [Peer], now: Now) {
        peers.sort_by_key(|peer| self.is_silent(peer, now));
    }

    fn is_silent(&self, peer: &Peer, now: Now) -> bool {
        self.silent.get(peer).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::testing::peer;

    const OF: Subject = (Id([1; 32]), true);

    fn first(memory: &mut Memory, scheduler: Option<Peer>, now: u64) -> (Vec<Peer>, bool) {
        let First { peers, then_others, .. } = memory.first(OF, scheduler, Now(now));
        (peers, then_others)
    }

    #[test]
    fn the_scheduler_is_asked_first_unless_it_does_not_do_this() {
        let (scheduler, other) = (peer(1), peer(2));
        let mut memory = Memory::default();
        assert_eq!(first(&mut memory, Some(scheduler), 0), (vec![], true));
        // It was busy, which hands nothing over.
        memory.answered(OF, other, (false, false), Now(0));
        assert_eq!(first(&mut memory, Some(scheduler), 0), (vec![], true));
        // It was not there.
        memory.answered(OF, other, (true, false), Now(0));
        assert_eq!(first(&mut memory, None, 0), (vec![other], true));
        assert_eq!(first(&mut memory, Some(scheduler), 0), (vec![scheduler, other], true));
        // It has said that it does not do this; for a while that is believed.
        memory.answered(OF, other, (false, true), Now(1));
        assert_eq!(first(&mut memory, Some(scheduler), 1), (vec![other], true));
        assert_eq!(memory.first(OF, Some(scheduler), Now(1)).best, None);
        memory.answered(OF, other, (false, false), Now(KEPT_MS - 1));
        assert_eq!(first(&mut memory, Some(scheduler), KEPT_MS), (vec![], true));
        memory.answered(OF, scheduler, (true, false), Now(0));
        assert_eq!(first(&mut memory, Some(scheduler), 0), (vec![scheduler], true));
    }

    #[test]
    fn others_are_asked_ever_more_seldom_for_what_nobody_knows() {
        let mut memory = Memory::default();
        memory.nobody_knows(OF, Now(0));
        assert!(first(&mut memory, None, 0).1, "nobody is known");
        memory.answered(OF, peer(1), (true, false), Now(0));
        let (mut asked, mut now) = (Vec::new(), 0);
        while now < 12_000 {
            if first(&mut memory, None, now).1 {
                asked.push(now);
                memory.nobody_knows(OF, Now(now));
            }
            now += 50;
        }
        assert_eq!(asked, [0, 250, 750, 1_750, 3_750, 7_750, 11_750]);
        memory.answered(OF, peer(1), (true, false), Now(now));
        assert!(first(&mut memory, None, now).1);
    }

    #[test]
    fn who_was_silent_comes_last_for_a_while() {
        let mut memory = Memory::default();
        memory.answered(OF, peer(1), (true, false), Now(0));
        memory.was_silent(peer(1), Now(0));
        assert_eq!(first(&mut memory, Some(peer(1)), 1), (vec![], true));
        let mut peers = [peer(1), peer(2), peer(3)];
        memory.order(&mut peers, Now(SILENT_MS - 1));
        assert_eq!(peers, [peer(2), peer(3), peer(1)]);
        let mut peers = [peer(1), peer(2)];
        memory.order(&mut peers, Now(SILENT_MS));
        assert_eq!(peers, [peer(1), peer(2)]);
        memory.forget(OF, peer(2));
        assert_eq!(first(&mut memory, None, SILENT_MS), (vec![peer(1)], true));
        memory.forget(OF, peer(1));
        assert_eq!(first(&mut memory, None, SILENT_MS), (vec![], true));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..=KEPT_MAX as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            memory.answered((Id(id), false), peer(1), (true, false), Now(0));
        }
        assert_eq!(memory.answers.len(), 1);
    }
}
