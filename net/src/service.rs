//! The network task: owns the swarm and translates.
//!
//! In: events of the swarm, commands of handles, verdicts, answers to peers, a tick. Out: events
//! for the node. It never verifies (location records are, on other threads), never touches a disk and
//! never waits for anything but its own inputs: what the node does not take at once is ignored
//! (gossip), answered with Busy (requests) or kept in a bounded backlog (notices). What it may decide
//! is decided by the pure machines in `gossip/`, `discovery/machine/`, `conduct.rs` and `readers.rs`; the rules of
//! lookups are in `service/lookups.rs`, beside what they ask of Kademlia.
//!
//! Invariant: every announcement that gossipsub hands up gets exactly one report.

pub(crate) mod command;
mod connections;
mod dispatch;
mod gossip;
mod locations;
mod lookups;
mod neighbours;
mod requests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use libp2p::core::transport::ListenerId;
use libp2p::metrics::Registry;
use libp2p::swarm::{ConnectionId, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, gossipsub};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use weft_protocol::{Effects, Machine as _, Now};

use self::command::{Command, Place, Status};
use self::connections::PeerState;
use self::gossip::MessageRef;
use self::locations::Checks;
use self::lookups::Lookups;
use self::requests::{AnswerFuture, OnTheirWay, Waiting};
use crate::address;
use crate::behaviour::{self, Behaviour, BehaviourEvent, OthersEvent};
use crate::codec::Budget;
use crate::conduct::{self, Conduct, Fault};
use crate::config::Settings;
use crate::discovery::machine::book::{self, Book};
use crate::discovery::machine::bootstrap::{self, Bootstrap};
use crate::discovery::machine::provide::{self, Provided};
use crate::discovery::machine::reach::{self, Reach};
use crate::event::{NetEvent, Ticket};
use crate::gossip::flood::{self, Floods};
use crate::gossip::machine::{Tickets, Verdict};
use crate::handle::{DialError, NetError};
use crate::key::Key;
use crate::limits::{ADDRESS_BYTES_MAX, ADDRESSES_PER_PEER_MAX, BOOK_AGE_S_MAX, NOTICES_MAX, TICK};
use crate::metrics::{Counters, Gauges};
use crate::peer::Peer;
use crate::readers::Readers;
use crate::remembered::RememberedPeer;

/// The machines' time at the start: what was before it has a time too.
const STARTED_MS: u64 = BOOK_AGE_S_MAX * 1000;

/// A caller that waits for its dial, and the address as it was given.
struct Dial {
    address: String,
    done: oneshot::Sender<Result<Peer, DialError>>,
}

pub(crate) struct Service {
    // Dropped first: sockets are closed before the command queue, whose end `shutdown` waits for.
    swarm: Swarm<Behaviour>,
    settings: Settings,
    counters: Arc<Counters>,
    registry: Registry,
    started: Instant,
    stop: CancellationToken,

    events: mpsc::Sender<NetEvent>,
    /// Notices that found the event queue more than half full, oldest first.
    notices: VecDeque<NetEvent>,
    status: watch::Sender<Status>,
    verdicts: mpsc::Receiver<(Ticket, Verdict)>,

    /// What the topics are of that this node is on.
    joined: BTreeMap<gossipsub::TopicHash, Place>,
    /// How many of them are of processes.
    processes: usize,
    tickets: Tickets<MessageRef>,
    floods: Floods<PeerId>,
    /// Makes numbers of topics, as nobody can foresee them.
    topic_numbers: RandomState,

    peers: BTreeMap<PeerId, PeerState>,
    bootstrap: Bootstrap<PeerId>,
    book: Book<PeerId, Multiaddr>,
    conduct: Conduct<PeerId>,
    reach: Reach<PeerId, Multiaddr>,
    /// Places that relays hold for this node, by their listener.
    circuits: HashMap<ListenerId, PeerId>,
    /// Peers of other networks.
    foreign: HashSet<PeerId>,
    /// Peers that were disconnected on purpose, to be dialled again when they are gone.
    redial: BTreeSet<PeerId>,
    /// Peers that were disconnected on purpose and are not, until they are gone.
    unwanted: BTreeSet<PeerId>,
    dials: HashMap<ConnectionId, Dial>,
    /// Dials under way to peers that somebody named.
    introduced: HashSet<ConnectionId>,
    unbound: HashSet<ListenerId>,

    provided: Provided<Key>,
    lookups: Lookups,
    /// Location records that are being verified.
    checks: Checks,

    waiting: Waiting,
    answers: FuturesUnordered<AnswerFuture>,
    /// What large answers that are on their way may take.
    outgoing: Budget,
    on_their_way: OnTheirWay,
    readers: Readers<PeerId>,

    commands: mpsc::Receiver<Command>,
}

impl Service {
    pub(crate) fn new(
        mut settings: Settings,
        commands: mpsc::Receiver<Command>,
        verdicts: mpsc::Receiver<(Ticket, Verdict)>,
        events: mpsc::Sender<NetEvent>,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> Result<(Self, watch::Receiver<Status>), NetError> {
        let mut registry = Registry::default();
        let mut swarm = behaviour::swarm(&settings, &counters, &mut registry)?;
        let mut unbound = HashSet::new();
        for address in &settings.listen {
            let error = |reason| NetError::Listen { address: address.to_string(), reason };
            connections::check_free(address).map_err(|taken| error(taken.to_string()))?;
            let listener = swarm.listen_on(address.clone()).map_err(|failed| error(failed.to_string()))?;
            unbound.insert(listener);
        }
        let (remembered, started) = (std::mem::take(&mut settings.remembered), Instant::now());
        swarm.behaviour_mut().others.kademlia.store_mut().restore(&remembered.providers, started);
        let (status, watching) = watch::channel(Status { bound: unbound.is_empty(), ..Status::default() });
        let patience_ms = settings.limits.slow_patience.as_millis() as u64;
        let service = Self {
            swarm,
            floods: Floods::new(settings.limits.announcements_per_peer, patience_ms),
            topic_numbers: RandomState::new(),
            outgoing: Budget::of_all(),
            on_their_way: OnTheirWay::default(),
            readers: Readers::new(patience_ms, Now(STARTED_MS)),
            bootstrap: Bootstrap::new(settings.bootstrap.keys().copied()),
            book: Book::new(remembered_peers(&settings, remembered.peers)),
            conduct: Conduct::new(),
            reach: Reach::new(settings.reachability),
            circuits: HashMap::new(),
            foreign: HashSet::new(),
            settings,
            counters,
            registry,
            started,
            stop,
            events,
            notices: VecDeque::new(),
            status,
            verdicts,
            joined: BTreeMap::new(),
            processes: 0,
            tickets: Tickets::new(),
            peers: BTreeMap::new(),
            redial: BTreeSet::new(),
            unwanted: BTreeSet::new(),
            dials: HashMap::new(),
            introduced: HashSet::new(),
            unbound,
            provided: Provided::new(),
            lookups: Lookups::default(),
            checks: Checks::default(),
            waiting: Waiting::default(),
            answers: FuturesUnordered::new(),
            commands,
        };
        Ok((service, watching))
    }

    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(command) = self.commands.recv() => self.on_commands(command),
                Some((ticket, verdict)) = self.verdicts.recv() => self.on_verdict(ticket, verdict),
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => self.on_answer(answer),
                Some(checked) = self.checks.next(), if self.checks.len() > 0 => self.on_checked(checked),
                // Also polls the swarm, without which gossipsub's heartbeat would stall.
                _ = tick.tick() => self.on_tick(),
                () = stop.cancelled() => break,
            }
            self.flush_notices();
        }
    }

    /// Milliseconds since long before the start: the machines need differences alone.
    fn now(&self) -> Now {
        Now(STARTED_MS + self.started.elapsed().as_millis() as u64)
    }

    fn on_tick(&mut self) {
        self.swarm.behaviour().others.rouse();
        self.expire_tickets();
        self.run_bootstrap(bootstrap::Input::Tick);
        self.run_provided(provide::Input::Tick);
        self.end_found_lookups();
        self.run_book(book::Input::Tick);
        self.run_reach(reach::Input::Tick);
        self.run_conduct(conduct::Input::Tick);
        self.follow_answers();
        self.measure();
    }

    /// Notes how much of each limit is taken.
    fn measure(&self) {
        let gauges = &self.counters.gauges;
        Gauges::set(&gauges.topics, self.processes);
        Gauges::set(&gauges.provided_keys, self.provided.len());
        Gauges::set(&gauges.tickets, self.tickets.open());
        Gauges::set(&gauges.notices, self.notices.len());
        Gauges::set(&gauges.requests_inbound, self.answers.len());
        Gauges::set(&gauges.requests_outbound, self.waiting.len());
        Gauges::set(&gauges.lookups, self.lookups.len());
        Gauges::set(&gauges.checks, self.checks.len());
        Gauges::set(&gauges.dials, self.dials.len());
        Gauges::set(&gauges.book, self.book.len());
        Gauges::set(&gauges.banned, self.conduct.banned());
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Others(event)) => self.on_other(event),
            event => self.on_connection_event(event),
        }
    }

    fn on_other(&mut self, event: OthersEvent) {
        match event {
            OthersEvent::Requests(event) => self.on_request_event(event),
            OthersEvent::Kademlia(event) => self.on_kademlia(event),
            OthersEvent::Identify(event) => self.on_identify(event),
            OthersEvent::Ping(event) => self.on_ping(&event),
            OthersEvent::Relayed(event) => self.on_relay_client(&event),
            OthersEvent::Upgrade(event) => self.on_upgrade(event),
            OthersEvent::Probe(event) => self.on_probe(&event),
            OthersEvent::Mdns(event) => self.on_mdns(event),
            OthersEvent::Upnp(event) => Self::on_upnp(&event),
            // What is done for others.
            OthersEvent::Relay(_) | OthersEvent::Prober(_) => {}
        }
    }

    fn run_bootstrap(&mut self, input: bootstrap::Input<PeerId>) {
        let mut dials = Effects::new();
        self.bootstrap.handle(input, self.now(), &mut dials);
        for peer in dials.drain() {
            self.dial_bootstrap(peer);
        }
    }

    /// Counts what a peer did wrong.
    fn fault(&mut self, peer: PeerId, fault: Fault) {
        Counters::add(&self.counters.faults);
        self.run_conduct(conduct::Input::Fault(peer, fault));
    }

    fn run_conduct(&mut self, input: conduct::Input<PeerId>) {
        let mut effects = Effects::new();
        self.conduct.handle(input, self.now(), &mut effects);
        let behaviour = self.swarm.behaviour_mut();
        for effect in effects.drain() {
            match effect {
                // Whether gossip knows the peer matters to nobody.
                conduct::Effect::Score(peer, points) => {
                    let _ = behaviour.gossip.set_application_score(&peer, -f64::from(points));
                }
                conduct::Effect::Ban(peer) => {
                    tracing::info!(%peer, "a peer is shut out for what it did");
                    behaviour.others.banned.block_peer(peer);
                }
                conduct::Effect::Unban(peer) => {
                    behaviour.others.banned.unblock_peer(peer);
                }
            }
        }
    }

    /// Says whether the announcement that this may be is heard.
    fn run_floods(&mut self, input: flood::Input<PeerId>) -> bool {
        let (mut effects, mut heard) = (Effects::new(), true);
        self.floods.handle(input, self.now(), &mut effects);
        for effect in effects.drain() {
            match effect {
                flood::Effect::Unheard => heard = false,
                flood::Effect::Flood(peer) => self.fault(peer, Fault::Flood),
                flood::Effect::HangUp(peer) => self.hang_up(peer),
            }
        }
        heard
    }

    /// Ends the connections with a peer that takes nothing. It may come again.
    fn hang_up(&mut self, peer: PeerId) {
        tracing::info!(%peer, "a peer that takes nothing is disconnected");
        Counters::add(&self.counters.slow_peers);
        self.disconnect(peer);
    }

    fn run_provided(&mut self, input: provide::Input<Key>) {
        let mut writes = Effects::new();
        self.provided.handle(input, self.now(), &mut writes);
        for key in writes.drain() {
            if let Err(error) = self.swarm.behaviour_mut().others.kademlia.start_providing(key.record_key()) {
                tracing::warn!(?key, %error, "cannot provide");
            }
            if let Key::Address(_) = key {
                self.put_location(key);
            }
        }
    }

    /// Tells the node of peers and subscriptions, in order.
    fn notify(&mut self, notice: NetEvent) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push_back(notice);
        } else {
            // The node still finds out: `peers` and `subscribers` say how things are.
            Counters::add(&self.counters.notices_lost);
        }
    }

    /// Notices take at most half of the event queue; the rest is for gossip and requests.
    fn flush_notices(&mut self) {
        while self.events.capacity() > self.settings.limits.events / 2
            && let Some(notice) = self.notices.pop_front()
        {
            if let Err(TrySendError::Full(notice)) = self.events.try_send(notice) {
                self.notices.push_front(notice);
                return;
            }
        }
    }
}

/// The entries of the book, without what cannot be used.
fn remembered_peers(
    settings: &Settings,
    peers: Vec<RememberedPeer>,
) -> impl Iterator<Item = (PeerId, book::Entry<Multiaddr>)> {
    let own = settings.keypair.public().to_peer_id();
    peers.into_iter().filter(move |peer| peer.peer.0 != own && peer.age_s <= BOOK_AGE_S_MAX).filter_map(
        |peer| {
            let addresses = peer.addresses.iter().filter(|text| text.len() <= ADDRESS_BYTES_MAX);
            let addresses: Vec<_> =
                addresses.filter_map(|text| address::dial(text).ok()).take(ADDRESSES_PER_PEER_MAX).collect();
            let met = Now(STARTED_MS - peer.age_s * 1000);
            let entry = book::Entry::remembered(addresses, Some(met), peer.failures, peer.anchor);
            (!entry.addresses.is_empty()).then_some((peer.peer.0, entry))
        },
    )
}
