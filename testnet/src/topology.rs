//! Who is told of whom when a testnet starts: pure, so that it can be read and tested.
//!
//! A topology says whom a node dials first. It is a beginning and no cage: nodes tell each other of
//! others and go on dialling until they have enough. What keeps them apart is a partition, which
//! takes network namespaces.

use std::collections::BTreeSet;
use std::ops::Range;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Deserialize;

/// Peers that each node of a mesh dials when it starts, if so many are there.
pub(crate) const LINKS: usize = 8;
/// Peers that a node of a random topology dials.
const RANDOM_LINKS: usize = 3;
/// Islands that are one network by one bridge each.
const ISLANDS: usize = 3;

/// The shape in which nodes are told of each other. Node 0 is always there first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Everybody dials eight others, evenly spread: a full mesh of up to nine.
    #[default]
    Mesh,
    /// Everybody dials node 0.
    Star,
    /// Everybody has two neighbours.
    Ring,
    /// Everybody dials up to three others, drawn from the seed.
    Random,
    /// Three meshes, each of which knows the next by one bridge.
    Islands,
}

impl Topology {
    /// The nodes that a node dials when it starts, all of them of lower numbers: of those below
    /// `up`, which are running by then.
    pub fn dials(self, node: usize, up: usize, peers: usize, seed: u64) -> Vec<usize> {
        if node == 0 || up == 0 {
            return Vec::new();
        }
        match self {
            Self::Mesh => spread(node, up),
            Self::Star => vec![0],
            // Two arms grow from node 0, and the last node joins them.
            Self::Ring if node + 1 == peers && peers > 2 => vec![node - 1, node.saturating_sub(2)],
            Self::Ring => vec![node.saturating_sub(2)],
            Self::Random => {
                let mut rng = StdRng::seed_from_u64(seed ^ (node as u64).rotate_left(32));
                let drawn: BTreeSet<usize> = (0..RANDOM_LINKS).map(|_| rng.random_range(0..up)).collect();
                drawn.into_iter().collect()
            }
            // The first node of each island knows the first of the island before.
            Self::Islands if node < ISLANDS => vec![node - 1],
            Self::Islands => {
                let mates: Vec<usize> = (node % ISLANDS..up).step_by(ISLANDS).collect();
                spread(node, mates.len()).into_iter().map(|mate| mates[mate]).collect()
            }
        }
    }

    /// How many connections each node has once the testnet is healthy.
    pub fn links(self, peers: usize) -> usize {
        let others = peers - 1;
        match self {
            Self::Mesh => others.min(LINKS),
            Self::Ring => others.min(2),
            Self::Star | Self::Random | Self::Islands => others.min(1),
        }
    }

    /// The nodes that may start at once, in order: nobody dials a node of its own group. The first
    /// of a mesh start one by one, so that a small one is full.
    pub fn groups(self, peers: usize, at_once: usize) -> Vec<Range<usize>> {
        let mut groups = Vec::new();
        let mut next = 0;
        while next < peers {
            let size = match self {
                Self::Mesh if next <= LINKS => 1,
                Self::Ring => at_once.clamp(1, if next == 0 { 1 } else { 2 }),
                _ if next == 0 => 1,
                Self::Islands if next < ISLANDS => 1,
                Self::Mesh | Self::Star | Self::Random | Self::Islands => at_once.max(1),
            };
            let mut end = (next + size).min(peers);
            // The node that closes a ring dials the one before it.
            if self == Self::Ring && end == peers && peers > 2 && next + 1 < end {
                end -= 1;
            }
            groups.push(next..end);
            next = end;
        }
        groups
    }
}

/// Up to eight of `count`, evenly spread and others for each node.
fn spread(node: usize, count: usize) -> Vec<usize> {
    if count <= LINKS {
        return (0..count).collect();
    }
    (0..LINKS).map(|link| (link * count / LINKS + node) % count).collect()
}

/// How many parts a network has whose nodes have these neighbours.
pub(crate) fn parts(neighbours: &[BTreeSet<usize>]) -> usize {
    let mut seen = BTreeSet::new();
    let mut parts = 0;
    for first in 0..neighbours.len() {
        let mut next = vec![first];
        parts += usize::from(!seen.contains(&first));
        while let Some(node) = next.pop() {
            if seen.insert(node) {
                next.extend(neighbours.get(node).into_iter().flatten().copied());
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Topology; 5] =
        [Topology::Mesh, Topology::Star, Topology::Ring, Topology::Random, Topology::Islands];

    fn neighbours(topology: Topology, peers: usize, seed: u64) -> Vec<BTreeSet<usize>> {
        let mut links = vec![BTreeSet::new(); peers];
        for group in topology.groups(peers, 4) {
            for node in group.clone() {
                for other in topology.dials(node, group.start, peers, seed) {
                    assert!(other < group.start, "{topology:?}: {node} dials {other}, which is not up");
                    links[node].insert(other);
                    links[other].insert(node);
                }
            }
        }
        links
    }

    #[test]
    fn every_topology_is_one_network_in_which_each_has_its_links() {
        for topology in ALL {
            for peers in 2..=64 {
                let links = neighbours(topology, peers, 7);
                assert_eq!(parts(&links), 1, "{topology:?} of {peers}");
                let wanted = topology.links(peers);
                assert!(
                    links.iter().all(|links| links.len() >= wanted),
                    "{topology:?} of {peers}: {links:?}"
                );
            }
        }
    }

    #[test]
    fn each_topology_has_its_shape() {
        let star = neighbours(Topology::Star, 9, 0);
        assert!(star[0].len() == 8 && star[1..].iter().all(|links| links.len() == 1));
        let ring = neighbours(Topology::Ring, 9, 0);
        assert!(ring.iter().all(|links| links.len() == 2));
        let islands = neighbours(Topology::Islands, 12, 0);
        let across = |node: usize| islands[node].iter().filter(|other| **other % 3 != node % 3).count();
        assert_eq!((0..12).map(across).sum::<usize>(), 4, "two bridges have two ends each");
    }

    #[test]
    fn a_seed_fixes_a_random_topology() {
        assert_eq!(neighbours(Topology::Random, 24, 1), neighbours(Topology::Random, 24, 1));
        assert_ne!(neighbours(Topology::Random, 24, 1), neighbours(Topology::Random, 24, 2));
    }

    #[test]
    fn parts_are_counted() {
        let pair = |a: usize| BTreeSet::from([a]);
        assert_eq!(parts(&[pair(1), pair(0), BTreeSet::new()]), 2);
        assert_eq!(parts(&[]), 0);
    }
}
