//! Nodes for one test: started, watched, ended, and every expectation asserted.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use tempfile::TempDir;
use tokio::sync::Mutex;
use weft_node::config::FILE_NAME;
use weft_node::control::api::SlotInfo;
use weft_protocol::{Id, Tag};
use weft_testnet::{
    Actor, AskError, Cast, Fleet, Launch, Look, NODE_ARG, Open, PATIENCE, Plan, Topology, Town, Trouble,
    User, until,
};

use crate::guest::Guest;

/// One test compiles a module, the others find it compiled.
static COMPILING: Mutex<()> = Mutex::const_new(());

/// Running nodes with the module published on the first.
#[derive(Debug)]
pub struct Rig {
    pub fleet: Fleet,
    pub user: User,
    pub guest: Guest,
    pub module: Id,
    dir: TempDir,
}

/// Two nodes that do everything, and a turn as nodes have it by default.
const PAIR: [&str; 2] = ["scheduler,compute,messenger"; 2];
const PAIR_WINDOW_MS: u64 = 2_000;

impl Rig {
    /// Starts two nodes that do everything.
    pub async fn pair(guest: Guest) -> Self {
        Self::start(guest, &PAIR, PAIR_WINDOW_MS).await
    }

    /// Starts one node for each of `roles`; a messenger's turn takes `window_ms`.
    pub async fn start(guest: Guest, roles: &[&'static str], window_ms: u64) -> Self {
        Self::start_with(guest, roles, window_ms, &[]).await
    }

    /// As [`start`](Self::start), with more settings for some nodes, as their files have them.
    pub async fn start_with(
        guest: Guest,
        roles: &[&'static str],
        window_ms: u64,
        settings: &[(usize, &str)],
    ) -> Self {
        Self::start_in(Topology::default(), guest, roles, window_ms, settings).await
    }

    /// As [`start`](Self::start), but all others are told of the first node alone.
    pub async fn start_around_one(guest: Guest, roles: &[&'static str]) -> Self {
        Self::start_in(Topology::Star, guest, roles, PAIR_WINDOW_MS, &[]).await
    }

    async fn start_in(
        topology: Topology,
        guest: Guest,
        roles: &[&'static str],
        window_ms: u64,
        settings: &[(usize, &str)],
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("weft-mesh-").tempdir().unwrap();
        let plan = Plan::new(roles.len(), None, dir.path()).unwrap();
        let plan = plan.with_roles(roles).with_topology(topology, 0);
        let plan = plan.with_setting("--messenger-window-ms", window_ms);
        share_compiled(&plan);
        for (node, settings) in settings {
            std::fs::write(plan.data_dir(*node).join(FILE_NAME), settings).unwrap();
        }
        let launch =
            Launch { program: env!("CARGO_BIN_EXE_weft-tests-node").into(), args: vec![NODE_ARG.into()] };
        let user = User::open(&plan.user_dir()).unwrap();
        let mut fleet = Fleet::new(plan);
        fleet.start(&launch, |_| ()).await.unwrap();
        fleet.healthy(|_| ()).await.unwrap();
        let town = Town { fleet: &fleet, user: &user, sender: 0 };
        let (wasm, format) = guest.module();
        let compiling = COMPILING.lock().await;
        let module = town.publish(wasm, format, &[]).await.unwrap().module;
        drop(compiling);
        Self { fleet, user, guest, module, dir }
    }

    /// The nodes and the user, who hands everything to the first node.
    pub const fn town(&self) -> Town<'_> {
        Town { fleet: &self.fleet, user: &self.user, sender: 0 }
    }

    /// Spawns a process that trusts its scheduler, and has its nodes compute and carry, as their
    /// roles are.
    pub async fn spawn(
        &self,
        name: &'static str,
        scheduler: usize,
        computing: &[usize],
        tags: &[Tag],
    ) -> Result<Actor, Trouble> {
        let module = self.module;
        self.cast(Cast { name, module, scheduler, attestors: &[], quorum: 1, computing, tags }).await
    }

    /// Spawns a process and has its nodes compute and carry, as their roles are.
    pub async fn cast(&self, cast: Cast<'_>) -> Result<Actor, Trouble> {
        let mut open = Open::new("cast");
        let actor = self.town().spawn(cast, &mut open).await?;
        self.town().host(&actor, &mut open).await?;
        assert_holds(open);
        Ok(actor)
    }

    /// Waits until the messengers of these nodes all know each other's offers for a process.
    pub async fn all_offer(&self, actor: &Actor, nodes: &[usize], strangers: usize) -> Result<(), Trouble> {
        let wanted = nodes.len() + strangers;
        let what = format!("nodes {nodes:?} to know {wanted} messengers of {}", actor.name);
        let look = async || {
            for node in nodes {
                let known = self.town().detail(actor, *node, false).await?.messengers.len();
                if known != wanted {
                    return Ok::<_, AskError>(Look::NotYet(format!("node {node} knows {known}")));
                }
            }
            Ok(Look::There(()))
        };
        Ok(until(what, PATIENCE, look).await?)
    }

    /// The slots of `to` that `from` sent and proved.
    pub async fn pushes(&self, from: &Actor, to: &Actor) -> Result<Vec<SlotInfo>, Trouble> {
        let slots = self.town().slots(to, to.scheduler, 0).await?;
        let source = from.id.to_string();
        Ok(slots.into_iter().filter(|slot| slot.pushed && slot.from.as_ref() == Some(&source)).collect())
    }

    /// Waits until a messenger has receipts for so many messages of a process and carries no more.
    pub async fn settled(&self, actor: &Actor, node: usize, wanted: usize) -> Result<(), Trouble> {
        let what = format!("node {node} to hold {wanted} receipts of {}", actor.name);
        let look = async || {
            let detail = self.town().detail(actor, node, false).await?;
            let (pending, settled) = (detail.outbox_pending, detail.outbox_settled);
            let done = pending == 0 && settled == wanted;
            let seen = format!("{pending} pending, {settled} settled");
            Ok::<_, AskError>(if done { Look::There(()) } else { Look::NotYet(seen) })
        };
        Ok(until(what, PATIENCE, look).await?)
    }

    /// Ends the nodes that still run, each of which must end by itself.
    pub async fn end(self, killed: &[usize]) {
        let Self { fleet, dir, .. } = self;
        if let Some(dead) = fleet.dead() {
            panic!("{dead}");
        }
        for (node, status) in fleet.stop().await.into_iter().enumerate() {
            let ended = status.is_some_and(|status| status.success());
            assert!(ended || killed.contains(&node), "node {node} ended with {status:?}");
        }
        dir.close().unwrap();
    }
}

/// Keeps what the nodes of all tests compile in one place: it decides nothing and takes longest.
fn share_compiled(plan: &Plan) {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mesh-compiled");
    std::fs::create_dir_all(&shared).unwrap();
    for node in 0..plan.peers() {
        let data_dir = plan.data_dir(node);
        DirBuilder::new().recursive(true).mode(0o700).create(&data_dir).unwrap();
        std::os::unix::fs::symlink(&shared, data_dir.join("compiled")).unwrap();
    }
}

/// Panics with every expectation that does not hold.
pub fn assert_holds(open: Open) {
    let step = open.close("");
    let broken: Vec<_> = step.checks.iter().filter(|check| !check.holds).collect();
    assert!(broken.is_empty(), "{}: {broken:#?}", step.name);
}
