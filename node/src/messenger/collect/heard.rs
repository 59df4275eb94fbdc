//! Attestations of what is not collected yet: in memory, until they go to disk with what they are of.
//!
//! Whoever only carries for a process needs them for the proofs of what that sends. Written when they come they would be a
//! commit each, the most that such a node has, and each push would wait for as many as a quorum has members. Nothing is
//! promised by holding one: who signed it has it on disk, and what a restart loses is given again with what was sent.
//! One that contradicts another is evidence where both are held. A restart between the two loses the first, and one that
//! is on disk already is compared when its stretch is written, so never where its position is not reached.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weft_protocol::attestation::Attestation;
use weft_protocol::{Address, Hash, Id, Position, Verified};

/// Attestations that are held of one process: its attestors may sign ahead of what is here.
const HELD_OF_EACH_MAX: usize = 1_024;
/// Those of all processes, a kilobyte and a half each with the longest keys. One more goes to disk by itself.
const HELD_MAX: usize = 8_192;

/// What is held, of processes that this node collects for.
#[derive(Debug, Default)]
pub struct Heard(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    of: BTreeMap<Id, Held>,
    count: usize,
}

#[derive(Debug, Default)]
struct Held {
    /// The last position that is here; none where nothing is.
    to: Option<Position>,
    said: BTreeMap<(Position, Address), Verified<Attestation>>,
}

/// What became of an attestation.
#[derive(Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is held.
    Yes,
    /// Another one of this key is held that says something else about the same position.
    Contradicts(Box<Verified<Attestation>>),
    /// It belongs on the disk: what it is of is here, or is not collected, or too many are held.
    No,
}

impl Heard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on those of positions behind this one are held.
    pub fn begin(&self, process: Id, to: Option<Position>) {
        let mut state = self.state();
        let held = state.of.entry(process).or_default();
        // Whoever read the disk before a stretch came to it may say so after that: nothing is held of what is there.
        held.to = held.to.max(to);
    }

    /// Holds no more of a process; gives what was held.
    pub fn end(&self, process: &Id) -> Vec<Verified<Attestation>> {
        let mut state = self.state();
        let held = state.of.remove(process).map(|held| held.said).unwrap_or_default();
        state.count -= held.len();
        held.into_values().collect()
    }

    /// Holds an attestation of one of the process's attestors, if it is to be held.
    pub fn hold(&self, found: &Verified<Attestation>) -> Hold {
        let mut state = self.state();
        let is_full = state.count >= HELD_MAX;
        let statement = found.statement();
        let Some(held) = state.of.get_mut(&statement.process) else { return Hold::No };
        if held.to.is_some_and(|to| statement.position <= to) {
            return Hold::No;
        }
        let key = (statement.position, found.attestor());
        match held.said.get(&key) {
            Some(said) if said.statement() == statement => Hold::Yes,
            Some(said) => Hold::Contradicts(Box::new(Verified::clone(said))),
            None if is_full || held.said.len() >= HELD_OF_EACH_MAX => Hold::No,
            None => {
                held.said.insert(key, Verified::clone(found));
                state.count += 1;
                Hold::Yes
            }
        }
    }

    /// Who said what of a position, by the hashes of their statements.
    pub fn said_of(&self, process: &Id, position: Position) -> Vec<(Address, Hash)> {
        let state = self.state();
        let of = state.of.get(process).map(|held| {
            let range = (position, Address([0; 32]))..=(position, Address([0xff; 32]));
            held.said.range(range).map(|((_, by), said)| (*by, said.statement().hash()))
        });
        of.into_iter().flatten().collect()
    }

    /// All that is held of a process.
    pub fn all(&self, process: &Id) -> Vec<Verified<Attestation>> {
        self.state().of.get(process).map(|held| held.said.values().cloned().collect()).unwrap_or_default()
    }

    /// What was sent up to here is on disk: gives what is held of it, and holds it no longer.
    pub fn taken(&self, process: &Id, to: Position) -> Vec<Verified<Attestation>> {
        let mut state = self.state();
        let Some(held) = state.of.get_mut(process) else { return Vec::new() };
        held.to = Some(to);
        let all = std::mem::take(&mut held.said).into_iter();
        let (taken, left): (BTreeMap<_, _>, _) = all.partition(|((position, _), _)| *position <= to);
        held.said = left;
        state.count -= taken.len();
        taken.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Network;
    use weft_protocol::attestation::Statement;
    use weft_protocol::crypto::Signer;

    use super::*;

    fn said(process: u8, slot: u64, by: u8, running: u8) -> Verified<Attestation> {
        let statement = Statement {
            network: Network(7),
            process: Id([process; 32]),
            position: Position::slot(slot),
            assignment: Id([8; 32]),
            running: Hash([running; 32]),
            state_root: Hash::ZERO,
            rules: 1,
        };
        statement.sign(&Signer::from_seed(&[by; 32])).unwrap()
    }

    #[test]
    fn what_is_not_collected_is_held_and_given_with_what_it_is_of() {
        let (heard, process) = (Heard::default(), Id([1; 32]));
        assert_eq!(heard.hold(&said(1, 5, 1, 9)), Hold::No, "nothing is collected for it");
        heard.begin(process, Some(Position::slot(4)));
        assert_eq!(heard.hold(&said(1, 4, 1, 9)), Hold::No, "what it is of is here");
        for (slot, by) in [(5, 1), (5, 2), (5, 2), (6, 1), (9, 1)] {
            assert_eq!(heard.hold(&said(1, slot, by, 9)), Hold::Yes);
        }
        let held = said(1, 5, 2, 9);
        assert_eq!(heard.hold(&said(1, 5, 2, 8)), Hold::Contradicts(Box::new(held)));
        let mut attestors = [1, 2].map(|by| Signer::from_seed(&[by; 32]).address());
        attestors.sort_unstable();
        let hash = said(1, 5, 1, 9).statement().hash();
        assert_eq!(heard.said_of(&process, Position::slot(5)), attestors.map(|by| (by, hash)));
        assert!(heard.said_of(&process, Position::slot(7)).is_empty());
        assert_eq!(heard.all(&process).len(), 4);

        let taken = heard.taken(&process, Position::slot(6));
        assert_eq!(taken.iter().map(|said| said.statement().position.slot).collect::<Vec<_>>(), [5, 5, 6]);
        // Whoever looked at the disk before that is late.
        heard.begin(process, Some(Position::slot(4)));
        assert_eq!(heard.hold(&said(1, 6, 2, 9)), Hold::No, "it goes to disk, where the others of it are");
        assert_eq!((heard.all(&process).len(), heard.state().count), (1, 1));
        assert_eq!(heard.end(&process), [said(1, 9, 1, 9)]);
        assert_eq!((heard.hold(&said(1, 9, 1, 9)), heard.state().count), (Hold::No, 0));
    }

    #[test]
    fn whoever_signs_far_ahead_fills_the_disk_as_before_and_not_the_memory() {
        let heard = Heard::default();
        let eighth = HELD_MAX / HELD_OF_EACH_MAX;
        let one = said(1, 1, 1, 9);
        for process in 0..=eighth as u8 {
            heard.begin(Id([process; 32]), None);
            // A signature for each would take long: what is held is looked at by its place alone.
            let mut state = heard.state();
            let many = if usize::from(process) < eighth { HELD_OF_EACH_MAX } else { 0 };
            let held = state.of.get_mut(&Id([process; 32])).unwrap();
            held.said.extend(
                (0..many as u64).map(|slot| ((Position::slot(slot + 9), one.attestor()), one.clone())),
            );
            state.count += many;
        }
        assert_eq!(heard.state().count, HELD_MAX);
        assert_eq!(heard.hold(&said(0, 1, 1, 9)), Hold::No, "of this one");
        assert_eq!(heard.hold(&said(eighth as u8, 1, 1, 9)), Hold::No, "of all");
        assert_eq!(heard.end(&Id([0; 32])).len(), HELD_OF_EACH_MAX);
        assert_eq!(heard.hold(&said(eighth as u8, 1, 1, 9)), Hold::Yes);
    }
}
