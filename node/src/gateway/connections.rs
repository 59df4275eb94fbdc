//! Which connections are open, and which one makes room for the next: the one that has been idle for
//! longest. Pure; what waits is in `server.rs`.
//!
//! Whoever opens thousands and says nothing only pushes out his own: one that carries a request is never
//! closed for another.

use std::collections::BTreeMap;

/// The name of a connection.
pub(super) type Name = u64;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    limit: usize,
    /// Counts what happens: a moment in its order.
    turn: u64,
    /// Since when each is idle; none while it carries a request.
    open: BTreeMap<Name, Option<u64>>,
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
            let idle = self.open.iter().filter_map(|(name, since)| Some((since.as_ref()?, *name)));
            let Some((_, longest)) = idle.min() else { return Admission::Full };
            self.open.remove(&longest);
            instead_of = Some(longest);
        }
        let name = self.moment();
        self.open.insert(name, Some(name));
        Admission::Let { name, instead_of }
    }

    /// It carries a request from now on, unless it has made room meanwhile.
    pub(super) fn began(&mut self, name: Name) {
        if let Some(since) = self.open.get_mut(&name) {
            *since = None;
        }
    }

    /// Its request is answered.
    pub(super) fn ended(&mut self, name: Name) {
        let now = self.moment();
        if let Some(since) = self.open.get_mut(&name) {
            *since = Some(now);
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
    fn the_one_idle_for_longest_makes_room() {
        let mut connections = Connections::new(3);
        let [(a, _), (b, _), (c, _)] = std::array::from_fn(|_| admit(&mut connections));
        connections.began(a);
        connections.ended(a);
        connections.began(b);
        // `c` said nothing since it came; `a` was idle later; `b` is at work.
        let (d, instead) = admit(&mut connections);
        assert_eq!(instead, Some(c));
        assert_eq!(admit(&mut connections).1, Some(a));
        assert_eq!(admit(&mut connections).1, Some(d));
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
