//! Which connections are open, and which one makes room for the next: one that has never had an answer before
//! one that had, and of these the one that has been idle for longest. Pure; what waits is in `server.rs`.
//!
//! Whoever opens thousands and says nothing only pushes out his own: one that carries a request, all of which is
//! there, is never closed for another.

use std::collections::BTreeMap;

/// The name of a connection.
pub(super) type Name = u64;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    limit: usize,
    /// Counts what happens: a moment in its order.
    turn: u64,
    open: BTreeMap<Name, State>,
}

/// What a connection does. In the order in which they make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// It has not asked for anything yet, and came at this moment.
    New(u64),
    /// It had an answer, the last at this moment.
    Idle(u64),
    /// It carries a request.
    Working,
}

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is let in, instead of another one if there was no place.
    Let { name: Name, instead_of: Option<Name> },
    /// All others are at work.
    Full,
}

impl Connections {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, turn: 0, open: BTreeMap::new() }
    }

    /// Decides about a new one.
    pub(super) fn admit(&mut self) -> Admission {
        let mut instead_of = None;
        if self.open.len() >= self.limit {
            let first = self.open.iter().map(|(name, state)| (*state, *name)).min();
            let Some((_, first)) = first.filter(|(state, _)| *state != State::Working) else {
                return Admission::Full;
            };
            self.open.remove(&first);
            instead_of = Some(first);
        }
        let name = self.moment();
        self.open.insert(name, State::New(name));
        Admission::Let { name, instead_of }
    }

    /// It carries a whole request from now on, unless it has made room meanwhile.
    pub(super) fn began(&mut self, name: Name) {
        if let Some(state) = self.open.get_mut(&name) {
            *state = State::Working;
        }
    }

    /// Its request is answered.
    pub(super) fn ended(&mut self, name: Name) {
        let now = self.moment();
        if let Some(state) = self.open.get_mut(&name) {
            *state = State::Idle(now);
        }
    }

    /// It is closed.
    pub(super) fn closed(&mut self, name: Name) {
        self.open.remove(&name);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    fn moment(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;

    fn admit(connections: &mut Connections) -> (Name, Option<Name>) {
        match connections.admit() {
            Admission::Let { name, instead_of } => (name, instead_of),
            Admission::Full => panic!("full"),
        }
    }

    #[test]
    fn strangers_make_room_before_clients() {
        let mut connections = Connections::new(3);
        let [(a, _), (b, _), (c, _)] = std::array::from_fn(|_| admit(&mut connections));
        connections.began(a);
        connections.ended(a);
        connections.began(b);
        // `c` said nothing since it came; `a` had an answer; `b` is at work.
        let (d, instead) = admit(&mut connections);
        assert_eq!(instead, Some(c));
        let (e, instead) = admit(&mut connections);
        assert_eq!(instead, Some(d));
        connections.began(e);
        // All others are clients: the one that was idle for longest makes room.
        connections.ended(e);
        assert_eq!(admit(&mut connections).1, Some(a));
        assert_eq!(connections.len(), 3);
    }

    #[test]
    fn no_request_is_cut_off_for_another() {
        let mut connections = Connections::new(2);
        let [(a, _), (b, _)] = std::array::from_fn(|_| admit(&mut connections));
        connections.began(a);
        connections.began(b);
        assert_eq!(connections.admit(), Admission::Full);
        connections.closed(a);
        let (c, instead) = admit(&mut connections);
        assert_eq!(instead, None);
        connections.began(c);
        connections.ended(b);
        assert_eq!(admit(&mut connections).1, Some(b));
        // What is said of one that is gone is late.
        connections.began(b);
        connections.ended(b);
        assert_eq!(connections.len(), 2);
    }
}
