//! All nodes of a testnet.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use futures::future::{join, join_all, select_all, try_join_all};
use weft_node::control::api::{PeerInfo, Request};

use crate::error::{AskError, TestnetError};
use crate::netns;
use crate::node::{Door, Node, Start, Starting};
use crate::plan::Plan;
use crate::topology;
use crate::wait::{Look, WaitError, until};
use crate::weave;

/// Nodes that start at once.
const STARTS_MAX: usize = 4;
/// How long the mesh may take to be whole: a node that was missed is dialled again after seconds.
const HEALTHY_WAIT: Duration = Duration::from_secs(90);

/// The folder of compiled modules in a node's data folder.
const COMPILED: &str = "compiled";

/// Where ports are looked for that a node can leave and come back to: below the first one that Linux
/// gives away by itself.
const FREE_PORTS: (u16, u16) = (20_000, 32_767);

/// Settings of every node, beside its roles and addresses, where its plan has no others. Batches and blocks come sooner than a
/// node of its own makes them, because somebody is watching.
const SETTINGS: [(&str, &str); 6] = [
    ("--network", "weft-testnet"),
    ("--schedule-for", "anyone"),
    ("--weave-block-ms", "500"),
    ("--anchor-batch-age-ms", "1000"),
    ("--compute-threads", "1"),
    ("--log", "info"),
];

/// How nodes are started: a program that is `weft`, and what stands before its arguments.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub args: Vec<OsString>,
}

impl Launch {
    /// This executable, which is a node when it is asked to be one.
    ///
    /// # Errors
    /// When the system does not say where it is.
    pub fn this_executable() -> Result<Self, TestnetError> {
        let program = std::env::current_exe()
            .map_err(|source| TestnetError::Program { program: "this program".into(), source })?;
        Ok(Self { program, args: vec![crate::NODE_ARG.into()] })
    }
}

/// The nodes of a testnet, by number.
#[derive(Debug)]
pub struct Fleet {
    plan: Plan,
    nodes: Vec<Node>,
    /// Nodes that were started and are not up yet.
    starting: Vec<Starting>,
}

impl Fleet {
    /// A testnet of which no node runs yet.
    pub const fn new(plan: Plan) -> Self {
        Self { plan, nodes: Vec::new(), starting: Vec::new() }
    }

    /// Starts every node of the plan. `tell` hears how many are up.
    ///
    /// # Errors
    /// The first node that did not come up. All that were started run until [`stop`](Self::stop).
    ///
    /// After an error, and where this is cancelled, only that is left to do.
    pub async fn start(&mut self, launch: &Launch, tell: impl Fn(usize)) -> Result<(), TestnetError> {
        self.start_until(launch, self.plan.peers(), tell).await
    }

    /// Starts the nodes below `count` that were not started before.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) async fn start_until(
        &mut self,
        launch: &Launch,
        count: usize,
        tell: impl Fn(usize),
    ) -> Result<(), TestnetError> {
        check_ports(&self.plan, self.nodes.len()..count)?;
        for group in self.plan.groups(STARTS_MAX) {
            for node in group.start.max(self.nodes.len())..group.end.min(count) {
                let start = start_of(&self.plan, launch, node, &self.nodes)?;
                // Kept from its first moment, so that `stop` waits for it wherever this is cut off.
                self.starting.push(Starting::spawn(start)?);
            }
            let ready = try_join_all(self.starting.iter_mut().map(Starting::ready)).await?;
            let up = self.starting.drain(..).zip(ready).map(|(starting, ready)| starting.up(ready));
            self.nodes.extend(up);
            tell(self.nodes.len());
        }
        Ok(())
    }

    /// The plan it follows.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node. Numbers come from the plan, which has as many.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Waits until every node that should run is connected to as many others as the plan says, and
    /// all of them are one network. `tell` hears how many have enough. Answers the least number of
    /// connections that a node has.
    ///
    /// # Errors
    /// What is missing when the time is over, or a node that died.
    pub async fn healthy(&self, tell: impl Fn(usize)) -> Result<usize, TestnetError> {
        let nodes: Vec<&Node> = self.nodes.iter().filter(|node| node.is_meant_to_run()).collect();
        let at: BTreeMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.ready().peer_id.as_str(), at)).collect();
        let wanted = self.plan.links(nodes.len().max(1));
        let look = async || {
            let asked = nodes.iter().map(|node| node.ask::<Vec<PeerInfo>>("its peers", &Request::Peers));
            let mut neighbours: Vec<BTreeSet<usize>> = Vec::with_capacity(nodes.len());
            let mut lonely = Vec::new();
            for (node, peers) in nodes.iter().zip(join_all(asked).await) {
                let peers = peers?;
                let known: BTreeSet<usize> =
                    peers.iter().filter_map(|peer| at.get(peer.peer_id.as_str()).copied()).collect();
                if known.len() < wanted {
                    lonely.push(format!("node {} has {}", node.index(), known.len()));
                }
                neighbours.push(known);
            }
            tell(nodes.len() - lonely.len());
            let parts = topology::parts(&neighbours);
            let least = neighbours.iter().map(BTreeSet::len).min().unwrap_or_default();
            Ok::<_, AskError>(match (lonely.is_empty(), parts) {
                (true, 0 | 1) => Look::There(least),
                (true, parts) => Look::NotYet(format!("they are {parts} networks")),
                (false, _) => Look::NotYet(lonely.join(", ")),
            })
        };
        let what = format!("every node to be connected to {wanted} others");
        until(what, HEALTHY_WAIT, look).await.map_err(|error| {
            self.obituary(&error).unwrap_or_else(|| TestnetError::Unhealthy {
                what: error.to_string(),
                dir: self.plan.dir().into(),
            })
        })
    }

    /// The node with this address.
    pub fn of_address(&self, address: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.ready().address.to_string() == address)
    }

    /// The first node that has ended by itself.
    pub fn dead(&self) -> Option<TestnetError> {
        self.nodes.iter().find_map(Node::obituary)
    }

    /// Waits until a node ends by itself, and says how.
    pub async fn first_death(&self) -> TestnetError {
        let gone = self.nodes.iter().map(|node| Box::pin(node.gone()));
        let (_, index, _) = select_all(gone).await;
        self.nodes[index].obituary().unwrap_or_else(|| TestnetError::Unhealthy {
            what: format!("node {index} is gone"),
            dir: self.plan.dir().into(),
        })
    }

    /// What is behind an unanswered question, if that is a dead node.
    fn obituary(&self, error: &WaitError<AskError>) -> Option<TestnetError> {
        match error {
            WaitError::Failed(error) => self.nodes[error.node].obituary(),
            WaitError::TimedOut { .. } => self.dead(),
        }
    }

    /// Where the nodes are asked, by number, also while some of them are down.
    pub fn doors(&self) -> Vec<Door> {
        self.nodes.iter().map(Node::door).collect()
    }

    /// Kills a node as `kill -9` does, also one that is just starting. Answers how it ended: by
    /// that signal, unless it had ended by itself before.
    pub async fn kill(&mut self, node: usize) -> Option<ExitStatus> {
        self.nodes[node].kill().await
    }

    /// Starts a killed node again with the same key, store and arguments, without waiting for it.
    /// It has the same port only if the plan names the ports.
    ///
    /// # Errors
    /// That the program cannot be started.
    pub fn start_again(&mut self, node: usize) -> Result<(), TestnetError> {
        self.nodes[node].start_again()
    }

    /// Waits until every node that was started again says that it is up.
    ///
    /// # Errors
    /// The first one that ended instead.
    pub async fn all_up(&mut self) -> Result<(), TestnetError> {
        try_join_all(self.nodes.iter_mut().map(Node::up)).await?;
        Ok(())
    }

    /// A node, to do something to it.
    pub(crate) fn node_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// Some nodes, to do something to all of them at once.
    pub(crate) fn some_mut(&mut self, which: &[usize]) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut().filter(|node| which.contains(&node.index()))
    }

    /// Ends every node, also those that are not up yet, and answers how each that was up ended, by number.
    pub async fn stop(self) -> Vec<Option<ExitStatus>> {
        let starting = join_all(self.starting.into_iter().map(Starting::stop));
        join(join_all(self.nodes.into_iter().map(Node::stop)), starting).await.0
    }
}

/// The first of so many ports that follow each other and are free: for nodes that come back on the
/// port they had. They lie below those that systems give to whoever asks for any port, so nobody
/// gets one of them by chance while its node is down.
///
/// # Errors
/// When there are none, which nobody has seen.
pub fn free_ports(peers: usize) -> Result<u16, TestnetError> {
    let (first, last) = FREE_PORTS;
    let span = usize::from(last - first) + 1 - peers;
    // Launchers that run side by side begin at places of their own.
    let begin = std::process::id() as usize * peers % span;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let bases = (begin..span).chain(0..begin).step_by(peers.max(1));
    let mut bases = bases.filter_map(|at| Some(first + u16::try_from(at).ok()?));
    let found = bases.find(|base| (*base..).take(peers).all(is_free));
    found.ok_or(TestnetError::NoPorts { peers })
}

/// Fails when a port that a node must have is taken: said before anything is started.
fn check_ports(plan: &Plan, nodes: Range<usize>) -> Result<(), TestnetError> {
    for node in nodes {
        if let Some(port) = plan.port(node) {
            TcpListener::bind(("127.0.0.1", port)).map_err(|source| TestnetError::Port {
                port,
                node,
                source,
            })?;
        }
    }
    Ok(())
}

fn start_of(plan: &Plan, launch: &Launch, node: usize, up: &[Node]) -> Result<Start, TestnetError> {
    let data_dir = plan.data_dir(node);
    make_folder(&data_dir)?;
    share_compiled(plan, &data_dir)?;
    let mut args = Vec::new();
    let program = match plan.lanes() {
        Some(lanes) => {
            args.extend(lanes.enter(node).map(OsString::from));
            args.push(launch.program.clone().into());
            PathBuf::from(netns::IP)
        }
        None => launch.program.clone(),
    };
    args.extend(launch.args.clone());
    args.extend(["up", "--json", "--exit-with-stdin", "--data-dir"].map(OsString::from));
    args.push(data_dir.clone().into());
    args.extend(["--roles", plan.roles(node)].map(OsString::from));
    args.extend(["--listen".into(), plan.listen(node).into()]);
    for other in plan.dials(node, up.len()) {
        for address in &up[other].ready().listen {
            args.extend(["--bootstrap".into(), OsString::from(address)]);
        }
    }
    // A flag that is given twice is refused.
    let ours = SETTINGS.iter().filter(|(flag, _)| plan.settings().iter().all(|(given, _)| given != flag));
    args.extend(ours.flat_map(|(flag, value)| [flag.into(), value.into()]));
    args.extend(plan.settings().iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
    if plan.shares_weave() {
        args.extend(weave::flags(plan.dir(), node, up)?);
    }
    let log = data_dir.join("node.log");
    Ok(Start { node, program, args, data_dir, log })
}

/// Keeps what the nodes compile in one place: it decides nothing, and is most of their work.
fn share_compiled(plan: &Plan, data_dir: &Path) -> Result<(), TestnetError> {
    let shared = plan.dir().join(COMPILED);
    make_folder(&shared)?;
    let link = data_dir.join(COMPILED);
    match std::os::unix::fs::symlink(&shared, &link) {
        // A kept folder has it, or a folder of its own from before.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|source| TestnetError::Folder { path: link, source }),
    }
}

/// Makes a folder that only its user can open.
pub(crate) fn make_folder(path: &Path) -> Result<(), TestnetError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| TestnetError::Folder { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_taken_port_is_named_before_anything_starts() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let base = port.saturating_sub(1);
        let plan = Plan::new(2, Some(base), Path::new("/tmp/t")).unwrap();
        let error = check_ports(&plan, 0..2).unwrap_err();
        let text = error.to_string();
        assert!(error.is_input());
        // The port before it may be taken too.
        assert!(
            text.starts_with("port ") && text.contains("with `up` or `crash` give another --base-port"),
            "{text}"
        );
    }

    #[test]
    fn ports_that_are_free_follow_each_other() {
        let base = free_ports(5).unwrap();
        let all: Vec<TcpListener> =
            (base..base + 5).map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap()).collect();
        let other = free_ports(5).unwrap();
        assert!(other >= base + 5 || other + 5 <= base, "{other} is among those from {base}");
        drop(all);
    }

    #[test]
    fn a_setting_of_the_plan_takes_the_place_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::new(2, None, dir.path()).unwrap();
        let plan = plan.with_setting("--compute-threads", 2).with_setting("--dry-runs", 3);
        let launch = Launch { program: "weft".into(), args: Vec::new() };
        let args = start_of(&plan, &launch, 0, &[]).unwrap().args;
        let values = |flag: &str| -> Vec<&OsString> {
            args.windows(2).filter(|pair| pair[0] == flag).map(|pair| &pair[1]).collect()
        };
        assert_eq!(values("--compute-threads"), ["2"]);
        assert_eq!(values("--dry-runs"), ["3"]);
        assert!(SETTINGS.iter().all(|(flag, _)| values(flag).len() == 1), "{args:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = make_folder(&file.join("node-0")).unwrap_err();
        assert!(error.to_string().contains("file/node-0: "), "{error}");
        assert!(error.is_input());
    }
}
