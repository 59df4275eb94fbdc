//! Who does what in a testnet of so many peers: pure, so that it can be read and tested.

use std::path::{Path, PathBuf};

/// The fewest peers: two processes on different nodes.
pub const PEERS_MIN: usize = 2;
/// The most peers: a node takes no more connections from others.
pub const PEERS_MAX: usize = 64;
/// Peers that each node dials when it starts, if so many are there.
const LINKS: usize = 8;
/// Nodes that compute the tour's processes beside their schedulers: more show nothing new.
const HOSTS_MAX: usize = 4;
/// Bytes of a socket's path that every system allows, with the closing zero (macOS allows least).
const SOCKET_PATH_BYTES_MAX: usize = 104;

/// Every role.
const ALL_ROLES: &str = "scheduler,compute,messenger,anchor";

/// The roles of a node on the tour. Those that schedule its processes carry nothing, so that a push
/// is always seen to go through somebody else.
const fn tour_roles(peers: usize, node: usize) -> &'static str {
    let carries = if peers == PEERS_MIN { node == 1 } else { node >= 2 };
    if carries { ALL_ROLES } else { "scheduler,compute,anchor" }
}

/// Why no plan can be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Too few or too many.
    #[error("--peers {0}: expected {PEERS_MIN} to {PEERS_MAX}")]
    Peers(usize),
    /// The ports run past the last.
    #[error("--base-port {base}: {peers} peers need the ports {base} to {last}, the last one is 65535")]
    Ports {
        /// The first.
        base: u16,
        /// How many peers.
        peers: usize,
        /// The port that the last one would have.
        last: usize,
    },
    /// The system could not name the nodes' sockets.
    #[error(
        "--dir: the path {} has {bytes} bytes, the system allows {} for a socket; use a shorter folder",
        path.display(), SOCKET_PATH_BYTES_MAX - 1
    )]
    SocketPath {
        /// The longest.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
}

/// A testnet as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    peers: usize,
    base_port: Option<u16>,
    dir: PathBuf,
    /// The roles of each node.
    roles: Vec<&'static str>,
    /// Flags of every node beside those that all testnets have, each with its value.
    settings: Vec<(&'static str, String)>,
}

impl Plan {
    /// A plan for so many peers that live in `dir`. Without a base port the system picks the ports.
    ///
    /// # Errors
    /// What cannot be.
    pub fn new(peers: usize, base_port: Option<u16>, dir: &Path) -> Result<Self, PlanError> {
        if !(PEERS_MIN..=PEERS_MAX).contains(&peers) {
            return Err(PlanError::Peers(peers));
        }
        if let Some(base) = base_port {
            let last = usize::from(base) + peers - 1;
            if last > usize::from(u16::MAX) {
                return Err(PlanError::Ports { base, peers, last });
            }
        }
        let roles = (0..peers).map(|node| tour_roles(peers, node)).collect();
        let plan = Self { peers, base_port, dir: dir.into(), roles, settings: Vec::new() };
        let path = plan.data_dir(peers - 1).join(weft_node::control::api::SOCKET_NAME);
        let bytes = path.as_os_str().len();
        if bytes >= SOCKET_PATH_BYTES_MAX {
            return Err(PlanError::SocketPath { path, bytes });
        }
        Ok(plan)
    }

    /// How many peers.
    pub const fn peers(&self) -> usize {
        self.peers
    }

    /// The folder of everything.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The data folder of a node.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{node}"))
    }

    /// The data folder of the tour's user, who owns the processes.
    pub fn user_dir(&self) -> PathBuf {
        self.dir.join("user")
    }

    /// The port of a node, if it must have a certain one.
    pub fn port(&self, node: usize) -> Option<u16> {
        self.base_port?.checked_add(u16::try_from(node).ok()?)
    }

    /// The same plan with other roles than the tour's, by node.
    #[must_use]
    pub fn with_roles(mut self, roles: &[&'static str]) -> Self {
        self.roles = roles.to_vec();
        self
    }

    /// The same plan with one more flag for every node, and its value.
    #[must_use]
    pub fn with_setting(mut self, flag: &'static str, value: impl ToString) -> Self {
        self.settings.push((flag, value.to_string()));
        self
    }

    /// The flags of every node beside those that all testnets have, each with its value.
    pub fn settings(&self) -> &[(&'static str, String)] {
        &self.settings
    }

    /// Whether a node carries messages between processes.
    pub fn carries(&self, node: usize) -> bool {
        self.roles(node).split(',').any(|role| role == "messenger")
    }

    /// The roles of a node as its configuration writes them; a node that none are given has all.
    pub fn roles(&self, node: usize) -> &'static str {
        self.roles.get(node).copied().unwrap_or(ALL_ROLES)
    }

    /// The nodes that a node dials when it starts and the first `up` of them are up: all, or some,
    /// evenly spread and others for each node.
    pub fn bootstrap(node: usize, up: usize) -> Vec<usize> {
        if up <= LINKS {
            return (0..up).collect();
        }
        (0..LINKS).map(|link| (link * up / LINKS + node) % up).collect()
    }

    /// The nodes that may start at once, in order: each knows only those of earlier groups. The
    /// first start one by one, so that a small testnet is a full mesh.
    pub fn groups(&self, at_once: usize) -> Vec<std::ops::Range<usize>> {
        let mut groups = Vec::new();
        let mut next = 0;
        while next < self.peers {
            let size = if next <= LINKS { 1 } else { at_once.max(1) };
            let end = (next + size).min(self.peers);
            groups.push(next..end);
            next = end;
        }
        groups
    }

    /// How many others each node is connected with once the mesh is healthy.
    pub fn links(&self) -> usize {
        (self.peers - 1).min(LINKS)
    }

    /// The node that items are handed to: no scheduler of the tour where there is a third.
    pub const fn sender(&self) -> usize {
        self.peers - 1
    }

    /// The nodes beside its scheduler that compute a process.
    pub fn hosts(&self, scheduler: usize) -> Vec<usize> {
        if self.peers == PEERS_MIN {
            return vec![1 - scheduler.min(1)];
        }
        (2..self.peers.min(2 + HOSTS_MAX)).collect()
    }

    /// Whose word on the first process counts, and how many of them must agree.
    pub fn attestors(&self) -> (Vec<usize>, usize) {
        if self.peers >= 4 { (vec![0, 2, 3], 2) } else { (vec![0], 1) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn plan(peers: usize) -> Plan {
        Plan::new(peers, None, Path::new("/tmp/t")).unwrap()
    }

    #[test]
    fn bad_numbers_are_named() {
        let error = |peers, base| Plan::new(peers, base, Path::new("/tmp/t")).unwrap_err().to_string();
        for peers in [0, 1, 65, usize::MAX] {
            assert_eq!(error(peers, None), format!("--peers {peers}: expected 2 to 64"));
        }
        assert_eq!(
            error(4, Some(65_533)),
            "--base-port 65533: 4 peers need the ports 65533 to 65536, the last one is 65535"
        );
        assert_eq!(Plan::new(4, Some(65_532), Path::new("/t")).unwrap().port(3), Some(65_535));
        assert_eq!(plan(4).port(3), None);
    }

    #[test]
    fn a_folder_too_deep_for_a_socket_is_refused() {
        let deep = PathBuf::from(format!("/tmp/{}", "x".repeat(90)));
        let error = Plan::new(4, None, &deep).unwrap_err().to_string();
        assert!(error.contains("has 112 bytes, the system allows 103"), "{error}");
    }

    #[test]
    fn small_meshes_are_full_and_large_ones_connected() {
        for peers in PEERS_MIN..=PEERS_MAX {
            let plan = plan(peers);
            let mut links = vec![std::collections::BTreeSet::new(); peers];
            for group in plan.groups(4) {
                for node in group.clone() {
                    let dialled = Plan::bootstrap(node, group.start);
                    assert_eq!(dialled.len(), group.start.min(LINKS), "{dialled:?}");
                    for other in dialled {
                        assert!(other < group.start, "node {node} dials {other}, which is not up");
                        links[node].insert(other);
                        links[other].insert(node);
                    }
                }
            }
            assert!(links.iter().all(|links| links.len() >= plan.links()), "{peers} peers");
        }
    }

    #[test]
    fn pushes_go_through_nodes_that_schedule_neither_process() {
        for peers in PEERS_MIN..=PEERS_MAX {
            let plan = plan(peers);
            for scheduler in [0, 1] {
                let hosts = plan.hosts(scheduler);
                assert!(!hosts.contains(&scheduler) && !hosts.is_empty());
                assert!(hosts.iter().all(|host| *host < peers));
                let computes = hosts.iter().chain([&scheduler]);
                assert!(computes.clone().any(|node| plan.carries(*node)), "{peers} peers: nobody carries");
            }
            assert!(!plan.carries(0) && (peers == 2 || !plan.carries(1)));
            let (attestors, quorum) = plan.attestors();
            let computing = plan.hosts(0);
            assert!(attestors.iter().all(|node| *node == 0 || computing.contains(node)));
            assert!(2 * quorum > attestors.len() && quorum <= attestors.len());
        }
    }
}
