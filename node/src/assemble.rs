//! Putting a node together: what is opened in which order, which tasks run, who holds whom.
//!
//! The line of waiting, from the edge inwards: control -> submit -> scheduler -> storage. The
//! network service waits on nobody. Scheduler, compute and messenger do not hold each other: what
//! passes between them lies in the store, and news only says where to look.

mod doors;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use weft_net::{Key, Net, NetConfig, NetEvent, Reachability};
use weft_protocol::process::Terms;
use weft_protocol::time::Weave;
use weft_protocol::{Address, Id, Network};
use weft_storage::anchor::{LocalWeave, LocalWeaveConfig};
use weft_storage::limits::{QUEUE_BYTES_MAX, QUEUE_REQUESTS_MAX};
use weft_storage::{Roles, Store, StoreConfig};
use weft_vm::EngineConfig;

use self::doors::{Addresses, Doors};
use crate::anchor::{AnchorTask, Board, Placements, PostTask};
use crate::backup;
use crate::builtin;
use crate::clock::{Clock, ClockOffset};
use crate::compute::ComputeTask;
use crate::compute::modules::Modules;
use crate::compute::residency::Elsewhere;
use crate::config::{self, Config, Reachable, Role, Whose};
use crate::control::{Answers, ControlSocket};
use crate::cron::TimekeeperTask;
use crate::direct::{DirectHandle, DirectTask};
use crate::directory::Directory;
use crate::earn::{DoubtTask, EarnTask, Standings};
use crate::error::NodeError;
use crate::follower::{FollowerHandle, FollowerTask};
use crate::freshness::Freshness;
use crate::gossip::{self, Publisher};
use crate::hosting::{self, Arrival, SearchHandle, SearchTask};
use crate::inbound::{self, Sinks};
use crate::join::{JoinTask, Joins};
use crate::keyring::NodeKey;
use crate::lobby::{Lobby, LobbyTask};
use crate::log::Spare;
use crate::market::machine::own::Prices;
use crate::market::{self, Market, MarketTask, WeighTask};
use crate::messenger::collect::{CollectorTask, Heard};
use crate::messenger::{MessengerTask, PUSHES_MAX};
use crate::metrics::{Level, Metrics};
use crate::news::Newsroom;
use crate::pending::{Pending, PendingInbox, PendingTask};
use crate::prune::PruneTask;
use crate::recover::{Scratch, UnaskedTask, Wish, Wishes};
use crate::remember;
use crate::remote::{Lookups, Turns};
use crate::room::{self, RoomTask};
use crate::scheduler::{SchedulerHandle, SchedulerTask};
use crate::serve::Server;
use crate::shared::{Shared, SharedRef};
use crate::submit::Submitter;
use crate::subscriptions::{self, Subscriptions};
use crate::supervisor::Tasks;
use crate::topics::{self, TopicsHandle, TopicsTask};
use crate::witness::{self, JudgeTask, WitnessTask};

/// Processes read from disk at once at start.
const PROCESSES_PAGE: usize = 10_000;

/// What a started node says of itself.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Ready {
    /// Its address.
    pub address: weft_protocol::Address,
    /// Its name among peers.
    pub peer_id: String,
    /// Where it listens, as others can dial it.
    pub listen: Vec<String>,
    /// The network's name.
    pub network: String,
    /// What it does.
    pub roles: Vec<String>,
    /// Where its batches go.
    pub weave: String,
    /// The control socket.
    pub socket: String,
    /// Its process in the operating system.
    pub pid: u32,
    /// Where its metrics are served, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// Where HTTP clients are served, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Where its weave is read, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weave_api: Option<String>,
}

/// Runs a node until `stop` is cancelled, then closes everything in order. `ready` is called once
/// it listens and serves its control socket.
///
/// # Errors
/// What kept it from starting, or ended it: a disk that failed, a task that did.
pub async fn run(
    config: Config,
    key: NodeKey,
    stop: CancellationToken,
    ready: impl FnOnce(&Ready),
) -> Result<(), NodeError> {
    embed(config, key, stop, |node, _| ready(node)).await
}

/// [`run`] for a program that has the node inside itself: `ready` is also given the way to hand in
/// items without the control socket.
///
/// # Errors
/// As [`run`].
pub async fn embed(
    config: Config,
    key: NodeKey,
    stop: CancellationToken,
    ready: impl FnOnce(&Ready, Submitter),
) -> Result<(), NodeError> {
    ControlSocket::check_path(&config.data_dir)?;
    let NodeKey { signer, peer_secret } = key;
    let (network, address) = (config.network(), signer.address());
    let (store, socket, weave, modules) = open_folder(&config, network, address)?;
    let (lobby, metrics) = (Arc::new(Lobby::new(&peer_secret)), Metrics::new());
    let (net, events) = Net::start(net_config(&config, peer_secret))?;
    let (publisher, announcements) = Publisher::new(&metrics);
    let (witness, evidence) = witness::queue(&metrics);
    let (topics, topics_inbox) = TopicsHandle::new(&metrics);
    let (pending, pending_inbox) = Pending::new(&metrics);
    let ((searches, sought), (wishes, wished)) = (SearchHandle::new(&metrics), Wishes::new(&metrics));
    let terms = Terms { network, weave: Weave::Clock };
    let shared = Arc::new(Shared {
        directory: Directory::new(store.clone(), terms.clone()),
        market: Market::new(prices(&config)),
        clock: Clock::new(config.clock_offset_ms),
        turns: Turns::new(&metrics),
        spare: Spare::beside(config.compute_threads, modules.elsewhere().clone()),
        config,
        signer,
        address,
        network,
        terms,
        store,
        net,
        elsewhere: modules.elsewhere().clone(),
        modules,
        weave,
        board: Board::default(),
        placements: Placements::default(),
        publisher,
        topics,
        witness,
        wishes,
        pending,
        metrics,
        news: Newsroom::new(),
        fresh: Freshness::default(),
        lookups: Lookups::default(),
        lobby,
        searches,
        offset: ClockOffset::default(),
        joins: Joins::default(),
        unasked: Arc::default(),
        leaving: hosting::Leaving::default(),
        room: room::Gauge::default(),
        subscriptions: Subscriptions::default(),
        heard: Heard::default(),
        ledgers: Standings::default(),
        started: Instant::now(),
    });
    let doors = Doors::open(&shared).await?;
    let addresses = doors.addresses();
    read_directory(&shared).await?;
    let mut tasks = Tasks::default();
    tasks.start("witness", WitnessTask::new(Arc::clone(&shared), evidence)?.run(stop.clone()));
    start_network(&shared, announcements, &stop, &mut tasks);
    start_lobby(&shared, SearchTask::new(Arc::clone(&shared), sought), &stop, &mut tasks);
    let (submitter, answers) =
        start_roles(&shared, (events, topics_inbox, wished), socket, &stop, &mut tasks)?;
    start_pending(&shared, &submitter, pending_inbox, &stop, &mut tasks)?;
    doors.start(&shared, (submitter.clone(), answers), &stop, &mut tasks);
    let arrival = Arrival::begin(&shared).await;
    tasks.start("arrival of processes", arrival.rest(Arc::clone(&shared), stop.clone()));
    listening(&shared, &stop).await?;
    announce(&shared).await;
    ready(&describe(&shared, addresses), submitter);
    until_ended(shared, tasks, stop).await
}

fn make_folder(config: &Config) -> Result<(), NodeError> {
    let failed = |error: std::io::Error| NodeError::Folder {
        path: config.data_dir.display().to_string(),
        why: error.to_string(),
    };
    std::fs::create_dir_all(&config.data_dir).map_err(failed)
}

/// Waits until the node is stopped or something ended it, then closes everything.
async fn until_ended(shared: SharedRef, mut tasks: Tasks, stop: CancellationToken) -> Result<(), NodeError> {
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = shared.store.failure() => Err(error.into()),
        fault = tasks.first_end() => Err(fault),
    };
    // Tasks end when they are told to, so the one that ended first may have been.
    let ended = if stop.is_cancelled() { Ok(()) } else { ended };
    stop.cancel();
    close(shared, tasks).await;
    ended
}

/// Makes the data folder where it is missing, and opens what lies in it.
fn open_folder(
    config: &Config,
    network: Network,
    address: Address,
) -> Result<(Store, ControlSocket, LocalWeave, Modules), NodeError> {
    make_folder(config)?;
    backup::check_restored(&config.data_dir)?;
    let store = room::open_store(config, &StoreConfig::new(network, address))?;
    // The store is locked now, so whatever else lies in the folder is ours.
    let socket = ControlSocket::open(&config.data_dir)?;
    Scratch::clear(&config.data_dir);
    let weave =
        LocalWeaveConfig { network, node: address, now_ms: Clock::new(config.clock_offset_ms).now().0 };
    let weave = LocalWeave::open(&config.data_dir.join(backup::WEAVE_NAME), &weave)?;
    let cache_dir = Some(config.data_dir.join(room::COMPILED));
    let cache_bytes = room::compiled_budget(config.disk_budget_bytes);
    let compiler = config.compiler.clone();
    let engine = EngineConfig { cache_dir, cache_bytes, compiler, ..EngineConfig::default() };
    Ok((store, socket, weave, Modules::new(engine, Elsewhere::default())?))
}

/// What the network layer is told.
fn net_config(config: &Config, peer_secret: [u8; 32]) -> NetConfig {
    let mut net = NetConfig::new(peer_secret, config.network());
    net.listen.clone_from(&config.listen);
    net.bootstrap.clone_from(&config.bootstrap);
    net.reachability = match config.reachable {
        Reachable::Auto => weft_net::reachability_of(&config.listen),
        Reachable::Yes => Reachability::Assumed,
        Reachable::No => Reachability::Relayed,
    };
    (net.mdns, net.relay) = (config.mdns, config.relay);
    // An address that the router gives counts as one that can be dialled.
    net.upnp = config.upnp && config.reachable != Reachable::No;
    net.remembered = remember::read(&config.data_dir, Clock::default().now().0);
    net.limits.memory_bytes = config::memory::for_connections();
    let limit = |bytes| if bytes == u64::MAX { None } else { NonZeroU64::new(bytes) };
    net.limits.bandwidth_out = limit(config.bandwidth_out_bytes);
    net.limits.bandwidth_in = limit(config.bandwidth_in_bytes);
    net
}

/// What this node asks for carrying.
fn prices(config: &Config) -> Prices {
    Prices {
        network: config.network(),
        per_push: config.price_per_push,
        per_kib: config.price_per_kib,
        at_once: PUSHES_MAX as u64,
    }
}

/// Puts every process on disk into the directory, and what comes with the binary on disk.
async fn read_directory(shared: &Shared) -> Result<(), NodeError> {
    builtin::keep(&shared.store).await?;
    let reader = shared.store.read()?;
    let mut after = None;
    loop {
        let page = reader.processes(after.as_ref(), PROCESSES_PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        // One that nothing is done for any more stays on disk.
        for (id, row) in page.into_iter().filter(|(_, row)| row.roles != Roles::default()) {
            shared.directory.put_row(id, row);
        }
    }
}

fn start_roles(
    shared: &SharedRef,
    (events, topics, wished): (Receiver<NetEvent>, Receiver<topics::Asked>, Receiver<Wish>),
    socket: ControlSocket,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) -> Result<(Submitter, Answers), NodeError> {
    watch_shared(shared);
    tasks.start("measure of the disk", RoomTask::new(Arc::clone(shared))?.run(stop.clone()));
    let is = |role| shared.config.roles.contains(&role);
    let scheduler = start_scheduler(shared, stop, tasks)?;
    let submitter = Submitter::new(Arc::clone(shared), scheduler);
    let (follower_task, follower) = FollowerTask::new(Arc::clone(shared))?;
    tasks.start("follower", follower_task.run(stop.clone()));
    start_topics(shared, topics, &follower, stop, tasks);
    let unasked = UnaskedTask::new(Arc::clone(shared), follower.clone(), wished);
    tasks.start("recovery unasked", unasked.run(stop.clone()));
    let mut compute = None;
    if is(Role::Compute) {
        let (task, handle) = ComputeTask::new(Arc::clone(shared))?;
        tasks.start("compute role", task.run(stop.clone()));
        compute = Some(handle);
    }
    let mut messenger = None;
    if is(Role::Messenger) {
        market::restore(shared)?;
        let (task, handle) = MessengerTask::new(Arc::clone(shared), submitter.clone())?;
        tasks.start("messenger", task.run(stop.clone()));
        tasks.start("collector", CollectorTask::new(Arc::clone(shared)).run(stop.clone()));
        tasks.start("subscriptions", subscriptions::run(Arc::clone(shared), stop.clone()));
        messenger = Some(handle);
    }
    if is(Role::Anchor) {
        tasks.start("anchor", AnchorTask::new(Arc::clone(shared))?.run(stop.clone()));
        if let Some(poster) = PostTask::new(shared)? {
            tasks.start("poster", poster.run(stop.clone()));
        }
    }
    let timekeeper = TimekeeperTask::new(Arc::clone(shared), submitter.clone())?;
    tasks.start("timekeeper", timekeeper.run(stop.clone()));
    tasks.start("pruning", PruneTask::new(Arc::clone(shared)).run(stop.clone()));
    let sinks = Sinks { follower: follower.clone(), messenger: messenger.clone() };
    let answers =
        Answers::new(Arc::clone(shared), (submitter.clone(), follower), compute, messenger, stop.clone());
    if is(Role::Compute) {
        let judge = JudgeTask::new(Arc::clone(shared), answers.replays.clone())?;
        tasks.start("judge", judge.run(stop.clone()));
        tasks.start("joining", JoinTask::new(Arc::clone(shared)).run(stop.clone()));
    }
    start_ledgers(shared, (&submitter, &answers), stop, tasks)?;
    let server = Server::new(Arc::clone(shared), submitter.clone(), answers.clone());
    let verifiers = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    let inbound = inbound::run(Arc::clone(shared), events, sinks, server, verifiers, stop.clone());
    tasks.start("inbound desk", inbound);
    tasks.start("control socket", socket.run(answers.clone(), stop.clone()));
    Ok((submitter, answers))
}

fn start_scheduler(
    shared: &SharedRef,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) -> Result<Option<SchedulerHandle>, NodeError> {
    if !shared.config.roles.contains(&Role::Scheduler) {
        return Ok(None);
    }
    let (task, handle) = SchedulerTask::new(Arc::clone(shared))?;
    tasks.start("scheduler", task.run(stop.clone()));
    Ok(Some(handle))
}

/// Starts what reads ledgers: for offer sets, and for what this node is owed.
fn start_ledgers(
    shared: &SharedRef,
    (submitter, answers): (&Submitter, &Answers),
    stop: &CancellationToken,
    tasks: &mut Tasks,
) -> Result<(), NodeError> {
    if shared.config.roles.contains(&Role::Scheduler) {
        let task = WeighTask::new(Arc::clone(shared), answers.clone());
        tasks.start("weights of messengers", task.run(stop.clone()));
    }
    if shared.config.roles.contains(&Role::Messenger) {
        let task = EarnTask::new(Arc::clone(shared), submitter.clone())?;
        tasks.start("claims", task.run(stop.clone()));
    }
    if shared.config.roles.contains(&Role::Compute) && shared.config.pay.audit_challenges > 0 {
        let task = DoubtTask::new(Arc::clone(shared), submitter.clone(), answers.clone());
        tasks.start("claims of others", task.run(stop.clone()));
    }
    Ok(())
}

/// Waits until the node listens: until then there is nothing to announce. One that stops first never does.
async fn listening(shared: &Shared, stop: &CancellationToken) -> Result<(), NodeError> {
    tokio::select! {
        bound = shared.net.wait_ready(0) => bound.map_err(|error| NodeError::Key(error.to_string())),
        () = stop.cancelled() => Ok(()),
    }
}

/// Starts what says things on the network, and what remembers its peers.
fn start_network(
    shared: &SharedRef,
    announcements: Receiver<(Id, Bytes)>,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) {
    tasks.start("publisher", gossip::run(shared.net.clone(), announcements, stop.clone()));
    let folder = shared.config.data_dir.clone();
    tasks.start("peer book", remember::run(shared.net.clone(), folder, stop.clone()));
}

/// Starts what takes care of messages that wait for a slot.
fn start_pending(
    shared: &SharedRef,
    submitter: &Submitter,
    inbox: PendingInbox,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) -> Result<(), NodeError> {
    let task = PendingTask::new(Arc::clone(shared), submitter.clone(), inbox)?;
    tasks.start("pending messages", task.run(stop.clone()));
    Ok(())
}

/// Starts what is said on the lobby and in the market, and what looks for processes there.
fn start_lobby(shared: &SharedRef, searches: SearchTask, stop: &CancellationToken, tasks: &mut Tasks) {
    tasks.start("lobby", LobbyTask::new(Arc::clone(shared)).run(stop.clone()));
    tasks.start("market", MarketTask::new(Arc::clone(shared)).run(stop.clone()));
    tasks.start("searches", searches.run(stop.clone()));
}

/// Starts what follows processes: by their topics, and by asking where there is no place for one.
fn start_topics(
    shared: &SharedRef,
    inbox: Receiver<topics::Asked>,
    follower: &FollowerHandle,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) {
    let (direct, direct_inbox) = DirectHandle::new(&shared.metrics);
    let task = DirectTask::new(Arc::clone(shared), follower.clone(), direct_inbox);
    tasks.start("direct subscriptions", task.run(stop.clone()));
    let of_node = (shared.net.clone(), shared.news.clone(), shared.clock, Arc::clone(&shared.lobby));
    let task = TopicsTask::new(of_node, direct, inbox, shared.config.topics);
    tasks.start("topics", task.run(stop.clone()));
}

/// Says on the mesh that this key schedules, or takes subscriptions of others, so that they find it by its address.
async fn announce(shared: &Shared) {
    let config = &shared.config;
    let takes_subscriptions = config.roles.contains(&Role::Messenger) && config.carry_for != Whose::Own;
    if (config.roles.contains(&Role::Scheduler) || takes_subscriptions)
        && let Err(error) = shared.net.provide(Key::Address(shared.address)).await
    {
        tracing::warn!(%error, "this node is not announced by its address; only connected peers find it");
    }
}

fn describe(shared: &Shared, Addresses { metrics, gateway, weave }: Addresses) -> Ready {
    Ready {
        address: shared.address,
        peer_id: shared.net.peer().to_string(),
        listen: shared.net.listening(),
        network: shared.config.network.clone(),
        roles: shared.config.roles.iter().map(ToString::to_string).collect(),
        weave: shared.anchored_on().to_owned(),
        socket: shared.config.data_dir.join(crate::control::api::SOCKET_NAME).display().to_string(),
        pid: std::process::id(),
        metrics: metrics.map(|address| format!("http://{address}/metrics")),
        gateway: gateway.map(|address| format!("http://{address}")),
        weave_api: weave.map(|address| format!("http://{address}")),
    }
}

/// Has the queues and budgets watched that belong to no role.
fn watch_shared(shared: &SharedRef) {
    // Metrics are a part of what is watched here: they must not keep it alive.
    let weak = Arc::downgrade(shared);
    shared.metrics.watch(Level::budget("hosting", "places", move || {
        let shared = weak.upgrade()?;
        Some((hosting::used(&shared.directory) as u64, shared.config.spawn_budget.into()))
    }));
    let store = shared.store.clone();
    shared.metrics.watch(Level::queue("store", "requests", move || {
        Some((store.stats().queued, QUEUE_REQUESTS_MAX as u64))
    }));
    let store = shared.store.clone();
    shared.metrics.watch(Level::queue("store", "bytes", move || {
        Some((store.stats().queued_bytes, QUEUE_BYTES_MAX as u64))
    }));
}

/// Ends every task, then the network, then the disk, so that what was accepted is committed.
async fn close(shared: SharedRef, mut tasks: Tasks) {
    remember::save(&shared.net, &shared.config.data_dir).await;
    shared.net.shutdown().await;
    tasks.join().await;
    let closing = tokio::task::spawn_blocking(move || shared.store.shutdown());
    if let Err(error) = closing.await {
        tracing::error!(%error, "the store was not closed cleanly");
    }
}
