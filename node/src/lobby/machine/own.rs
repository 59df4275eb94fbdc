//! A shard with processes of this node's own: what is said of them, and when.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use weft_protocol::lobby::{ADVERT_PARTS_MAX, ADVERT_PROCESSES_MAX, Duty, Shard, Short};
use weft_protocol::{Effects, Id, Now};

use super::{Effect, UNHEARD_MS, UNHEARD_MS_MAX};

/// A shard with processes of this node's own.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) served: BTreeMap<Id, Duty>,
    pub(super) is_joined: bool,
    pub(super) due: Option<Now>,
    pub(super) said: Option<Now>,
    /// Parts of the round that is being said, from this one on.
    pub(super) next_part: u8,
    /// Parts that were said last time: those that there are no more are said empty.
    pub(super) parts: u8,
    pub(super) empty_since: Option<Now>,
    /// How often in a row nobody was there to hear.
    pub(super) unheard: u32,
}

impl Own {
    pub(super) fn reached(&mut self, is_heard: bool, now: Now) {
        if is_heard {
            self.unheard = 0;
            return;
        }
        let wait_ms = (UNHEARD_MS << self.unheard.min(16)).min(UNHEARD_MS_MAX);
        self.unheard = self.unheard.saturating_add(1);
        let soon = now.plus_ms(wait_ms);
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// Says the next parts, so many at most; gives how many, and whether it was the last of them. What the node does
    /// most for comes first where there is more than all parts take.
    pub(super) fn say(&mut self, shard: Shard, most: usize, effects: &mut Effects<Effect>) -> (usize, bool) {
        let mut served: BTreeMap<Short, Duty> = BTreeMap::new();
        for (process, duty) in &self.served {
            let known = served.entry(Short::of(process)).or_insert(*duty);
            *known = (*known).max(*duty);
        }
        let mut served: Vec<(Short, Duty)> = served.into_iter().collect();
        let (room, all) = (ADVERT_PROCESSES_MAX * usize::from(ADVERT_PARTS_MAX), served.len());
        if all > room {
            served.sort_by_key(|(short, duty)| (Reverse(*duty), *short));
            served.truncate(room);
            served.sort_unstable();
        }
        let chunks: Vec<BTreeMap<Short, Duty>> =
            served.chunks(ADVERT_PROCESSES_MAX).map(|chunk| chunk.iter().copied().collect()).collect();
        let needed = chunks.len().max(1) as u8;
        let parts = needed.max(self.parts);
        let mut said = 0;
        while self.next_part < parts && said < most {
            let (part, served) = (self.next_part, chunks.get(usize::from(self.next_part)));
            let served = served.cloned().unwrap_or_default();
            effects.push(Effect::Say { shard, part: (part, parts), more: all > room, served });
            (self.next_part, said) = (self.next_part + 1, said + 1);
        }
        let is_done = self.next_part >= parts;
        if is_done {
            (self.next_part, self.parts) = (0, needed);
        }
        (said, is_done)
    }
}
