//! Who does what in a testnet of so many peers: pure, so that it can be read and tested.

use std::path::{Path, PathBuf};

use crate::netns::Lanes;
use crate::topology::Topology;
use crate::weave::KEEPER;

/// The fewest peers: two processes on different nodes.
pub const PEERS_MIN: usize = 2;
/// The most peers: a node takes no more connections from others.
pub const PEERS_MAX: usize = 64;
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
    #[error("--base-port {base}: {peers} peers need the ports {base} to {last}, and 65535 is the last one")]
    Ports {
        /// The first.
        base: u16,
        /// How many peers.
        peers: usize,
        /// The port that the last one would have.
        last: usize,
    },
    /// The tour's processes have nobody who schedules, computes or carries for them.
    #[error("--roles: node {node} lacks the role {role}, which the tour needs; add it, or use --no-tour")]
    Role {
        /// Which node.
        node: usize,
        /// What it would have to be.
        role: &'static str,
    },
    /// The weave of all would have no blocks.
    #[error("--shared-weave: node {KEEPER} lacks the role anchor, but all use its weave: add it")]
    Keeper,
    /// Roles of a node that there is not.
    #[error("--roles {given}: there are the peers 0 to {}", peers - 1)]
    NoPeer {
        /// What was asked for.
        given: String,
        /// How many peers there are.
        peers: usize,
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

/// The roles of some nodes, as `0-3=scheduler,compute` says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolesOf {
    first: usize,
    last: usize,
    roles: String,
}

impl std::str::FromStr for RolesOf {
    type Err = NotRoles;

    fn from_str(text: &str) -> Result<Self, NotRoles> {
        let (nodes, roles) = text.split_once('=').ok_or(NotRoles)?;
        let (first, last) = nodes.split_once('-').unwrap_or((nodes, nodes));
        let number = |text: &str| text.parse::<usize>().map_err(|_| NotRoles);
        let (first, last) = (number(first)?, number(last)?);
        let known = |role: &str| ALL_ROLES.split(',').any(|known| known == role);
        if first > last || !roles.split(',').all(known) {
            return Err(NotRoles);
        }
        Ok(Self { first, last, roles: roles.to_owned() })
    }
}

impl std::fmt::Display for RolesOf {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}-{}={}", self.first, self.last, self.roles)
    }
}

/// Text that names no roles of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected PEER=ROLES or FIRST-LAST=ROLES, with roles of {ALL_ROLES}")]
pub struct NotRoles;

/// A testnet as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    peers: usize,
    base_port: Option<u16>,
    dir: PathBuf,
    topology: Topology,
    /// What a random topology is drawn from.
    seed: u64,
    /// Their network namespaces, if they have some.
    lanes: Option<Lanes>,
    /// The roles of each node.
    roles: Vec<String>,
    /// Flags of every node beside those that all testnets have, each with its value.
    settings: Vec<(String, String)>,
    /// All batches go to the weave of one node.
    shares_weave: bool,
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
        let roles = (0..peers).map(|node| tour_roles(peers, node).to_owned()).collect();
        let (topology, seed, settings) = (Topology::Mesh, 0, Vec::new());
        let (dir, lanes, shares_weave) = (dir.into(), None, false);
        let plan = Self { peers, base_port, dir, topology, seed, lanes, roles, settings, shares_weave };
        let path = plan.data_dir(peers - 1).join(weft_node::control::api::SOCKET_NAME);
        let bytes = path.as_os_str().len();
        if bytes >= SOCKET_PATH_BYTES_MAX {
            return Err(PlanError::SocketPath { path, bytes });
        }
        Ok(plan)
    }

    /// The same plan with each node in a network namespace of its own.
    #[must_use]
    pub fn with_lanes(mut self, lanes: Lanes) -> Self {
        self.lanes = Some(lanes);
        self
    }

    /// The namespaces of the nodes, if they have some.
    pub const fn lanes(&self) -> Option<&Lanes> {
        self.lanes.as_ref()
    }

    /// Where a node is to listen.
    pub fn listen(&self, node: usize) -> String {
        match &self.lanes {
            Some(lanes) => lanes.listen(node),
            None => format!("/ip4/127.0.0.1/tcp/{}", self.port(node).unwrap_or(0)),
        }
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
    pub fn with_roles(mut self, roles: &[&str]) -> Self {
        self.roles = roles.iter().map(|roles| (*roles).to_owned()).collect();
        self
    }

    /// The same plan with other roles for some nodes.
    ///
    /// # Errors
    /// A node that there is not.
    pub fn with_some_roles(mut self, given: &[RolesOf]) -> Result<Self, PlanError> {
        for of in given {
            let Some(nodes) = self.roles.get_mut(of.first..=of.last) else {
                return Err(PlanError::NoPeer { given: of.to_string(), peers: self.peers });
            };
            nodes.fill(of.roles.clone());
        }
        Ok(self)
    }

    /// The same plan with one weave, node 0's, to which all others post their batches.
    ///
    /// # Errors
    /// Node 0 lacks the role `anchor`.
    pub fn with_shared_weave(mut self) -> Result<Self, PlanError> {
        if !self.has_role(KEEPER, "anchor") {
            return Err(PlanError::Keeper);
        }
        self.shares_weave = true;
        Ok(self)
    }

    /// Whether all batches go to the weave of one node.
    pub const fn shares_weave(&self) -> bool {
        self.shares_weave
    }

    /// Fails when the tour's processes would have nobody.
    ///
    /// # Errors
    /// The first node that misses a role.
    pub fn check_tour(&self) -> Result<(), PlanError> {
        for (node, role) in [(0, "scheduler"), (1, "scheduler"), (0, "compute"), (1, "compute")] {
            if !self.has_role(node, role) {
                return Err(PlanError::Role { node, role });
            }
        }
        let carrier = *self.hosts(0).first().unwrap_or(&1);
        for (node, role) in
            self.hosts(0).into_iter().map(|node| (node, "compute")).chain([(carrier, "messenger")])
        {
            if !self.has_role(node, role) {
                return Err(PlanError::Role { node, role });
            }
        }
        Ok(())
    }

    /// The same plan with another topology, drawn from this seed if it is drawn.
    #[must_use]
    pub const fn with_topology(mut self, topology: Topology, seed: u64) -> Self {
        (self.topology, self.seed) = (topology, seed);
        self
    }

    /// The same plan with one more flag for every node, and its value.
    #[must_use]
    pub fn with_setting(mut self, flag: impl Into<String>, value: impl ToString) -> Self {
        self.settings.push((flag.into(), value.to_string()));
        self
    }

    /// The flags of every node beside those that all testnets have, each with its value.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Whether a node carries messages between processes.
    pub fn carries(&self, node: usize) -> bool {
        self.has_role(node, "messenger")
    }

    /// Whether a node has a role.
    pub fn has_role(&self, node: usize, wanted: &str) -> bool {
        self.roles(node).split(',').any(|role| role == wanted)
    }

    /// The roles of a node as its configuration writes them; a node that none are given has all.
    pub fn roles(&self, node: usize) -> &str {
        self.roles.get(node).map_or(ALL_ROLES, String::as_str)
    }

    /// The nodes that a node dials when it starts and the first `up` of them are up.
    pub fn dials(&self, node: usize, up: usize) -> Vec<usize> {
        self.topology.dials(node, up, self.peers, self.seed)
    }

    /// The nodes that may start at once, in order: each knows only those of earlier groups.
    pub fn groups(&self, at_once: usize) -> Vec<std::ops::Range<usize>> {
        self.topology.groups(self.peers, at_once)
    }

    /// How many others each node is connected with once `up` of them are and the mesh is healthy.
    pub fn links(&self, up: usize) -> usize {
        self.topology.links(up)
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
            "--base-port 65533: 4 peers need the ports 65533 to 65536, and 65535 is the last one"
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
    fn roles_are_given_by_peer() {
        let of = |text: &str| text.parse::<RolesOf>();
        for bad in ["", "0", "x=compute", "2-1=compute", "0=cook", "0=", "-1=compute"] {
            assert_eq!(of(bad), Err(NotRoles), "{bad}");
        }
        let given = [of("2-3=compute").unwrap(), of("3=anchor").unwrap()];
        let plan = plan(5).with_some_roles(&given).unwrap();
        assert_eq!((plan.roles(2), plan.roles(3), plan.roles(4)), ("compute", "anchor", ALL_ROLES));
        let error = plan.check_tour().unwrap_err().to_string();
        assert!(error.starts_with("--roles: node 3 lacks the role compute"), "{error}");
        let error = plan.clone().with_shared_weave().unwrap().with_some_roles(&[of("4-5=compute").unwrap()]);
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "--roles 4-5=compute: there are the peers 0 to 4");
        let plan = plan.with_some_roles(&[of("0=compute,messenger").unwrap()]).unwrap();
        assert_eq!(plan.with_shared_weave(), Err(PlanError::Keeper));
    }

    #[test]
    fn the_tour_can_be_done_with_the_roles_it_gives() {
        for peers in PEERS_MIN..=PEERS_MAX {
            plan(peers).check_tour().unwrap();
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
