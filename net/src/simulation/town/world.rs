//! Time, connections, what travels over them, and the nodes that are started and killed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::identity::Keypair;
use weft_protocol::lobby::Shard;
use weft_protocol::{Id, Now};

use super::checker::Checker;
use super::connections::Link;
use super::gossip::{Announcement, Heard, Weights};
use super::node::{Node, Place, Probe, Run, Vice, Written};
use super::{LIARS, Mutation, NODES, STEP_MS};
use crate::discovery::machine::reach::{self, Reachability};
use crate::discovery::machine::{book, bootstrap, provide};
use crate::gossip::machine::{self as tickets, Verdict};
use crate::key::Key;
use crate::peer::Peer;
use crate::simulation::dice::{Dice, mixed};
use crate::{conduct, limits};

/// How often a node writes down what it remembers.
const SAVE_MS: u64 = 60_000;
/// How often it is checked that nothing is beyond its limit.
const CHECK_MS: u64 = 5_000;
/// Whom every node is told of.
const KNOWN: [usize; 2] = [0, 1];

/// What one node tells another over a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Letter {
    /// Who it is and what it does.
    Identify,
    Announcement(u64),
    /// Asks for a place, or gives it back. Places are numbered.
    Reserve(u64),
    Release(u64),
    Reserved(u64),
    Refused(u64),
    /// Asks for something large that the answerer is said to provide.
    Ask(Key),
    /// The whole of it, or a lie.
    Answer {
        is_true: bool,
    },
}

/// What a node does later by itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    DialEnds(usize),
    /// A verifier is done.
    Verdict {
        ticket: u64,
        heard: Heard,
        verdict: Verdict,
    },
    /// It was told whether peers can dial it.
    Probed(bool),
    /// A relay has not answered for as long as the library waits.
    NoPlace {
        relay: usize,
        number: u64,
    },
    /// The library ends what listened at a relay.
    Closed(usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// Over a connection, and lost with it.
    Over { link: u64, from: usize, to: usize, letter: Letter },
    /// A provider record, on a connection of its own.
    Record { from: usize, to: usize, key: Key },
    /// Within a node, and lost when it is killed.
    Within { node: usize, run: u64, task: Task },
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) mutation: Mutation,
    pub(super) now: u64,
    pub(super) start: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) keys: Vec<Key>,
    pub(super) links: BTreeMap<(usize, usize), Link>,
    queue: BTreeMap<(u64, u64), Event>,
    pub(super) numbers: u64,
    pub(super) announcements: Vec<Announcement>,
    pub(super) weights: Weights,
    /// Which half a node is in, while the network is cut.
    pub(super) cut: Option<Vec<bool>>,
    /// Chances in a hundred.
    pub(super) loss: u64,
    pub(super) doubling: u64,
    pub(super) delay_ms: u64,
    /// Chance in a hundred that something is said or asked in a second.
    pub(super) bustle: u64,
    /// Between whom a connection damages what the second asks the first for: it is no request any more.
    pub(super) damaged: Option<(usize, usize)>,
    pub(super) liars_rest: bool,
    /// What the checker will say of the mutation.
    pub(super) sign: Option<&'static str>,
    pub(super) checker: Checker,
}

/// The address of a node, which tells who it is.
fn name(number: usize) -> PeerId {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    // Any 32 bytes are a key.
    Keypair::ed25519_from_bytes(seed).expect("32 bytes").public().to_peer_id()
}

impl World {
    pub(super) fn new(seed: u64, mutation: Mutation, sign: Option<&'static str>) -> Self {
        let start = Instant::now();
        let mut keys: Vec<Key> = (1..=5).map(|number| Key::Process(Id([number; 32]))).collect();
        keys.extend(Shard::all().take(2).map(Key::Lobby));
        keys.push(Key::Address(Peer(name(5)).address().expect("an ed25519 key")));
        let nodes = (0..NODES).map(|number| {
            let (place, mode) = match number {
                0 => (Place::Assumed, Reachability::Assumed),
                3 | 7 => (Place::Router { lets_in: true }, Reachability::Probed),
                8 => (Place::Home, Reachability::Probed),
                9 => (Place::Home, Reachability::Relayed),
                _ => (Place::Open, Reachability::Probed),
            };
            let liar = LIARS.iter().position(|liar| *liar == number);
            let vice = liar.map(|liar| Vice::ALL[(LIARS.len() * seed as usize + liar) % Vice::ALL.len()]);
            let known = KNOWN.into_iter().filter(|known| *known != number);
            let run = Run::new(name(number), mode, known, &Written::default(), (0, start));
            let (provides, known, written) = Default::default();
            Node { name: name(number), place, mode, vice, provides, known, written, up: true, runs: 0, run }
        });
        let mut world = Self {
            dice: Dice::new(mixed(seed)),
            mutation,
            now: 0,
            start,
            nodes: nodes.collect(),
            keys,
            links: BTreeMap::new(),
            queue: BTreeMap::new(),
            numbers: 0,
            announcements: Vec::new(),
            weights: Weights::new(),
            cut: None,
            loss: 0,
            doubling: 0,
            delay_ms: 200,
            bustle: 6,
            damaged: None,
            liars_rest: false,
            sign,
            checker: Checker::default(),
        };
        for node in 0..NODES {
            world.choose_provided(node);
            world.begin(node);
        }
        world
    }

    pub(super) const fn time(&self) -> Now {
        Now(self.now)
    }

    /// The same time, as the store counts it.
    pub(super) fn instant(&self) -> Instant {
        let stands = self.mutation == Mutation::NothingEnds;
        self.start + Duration::from_millis(if stands { 0 } else { self.now })
    }

    pub(super) const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Nodes that are up.
    pub(super) fn live(&self) -> Vec<usize> {
        (0..NODES).filter(|node| self.nodes[*node].up).collect()
    }

    pub(super) fn can_talk(&self, a: usize, b: usize) -> bool {
        let together = self.cut.as_ref().is_none_or(|half| half[a] == half[b]);
        self.nodes[a].up && self.nodes[b].up && together
    }

    /// Whether one of the two refuses the other.
    pub(super) fn bars(&self, a: usize, b: usize) -> bool {
        self.nodes[a].run.banned.contains(&b) || self.nodes[b].run.banned.contains(&a)
    }

    pub(super) fn post(&mut self, after_ms: u64, event: Event) {
        let number = self.number();
        self.queue.insert((self.now + after_ms, number), event);
    }

    pub(super) fn later(&mut self, node: usize, after_ms: u64, task: Task) {
        let run = self.nodes[node].runs;
        self.post(after_ms, Event::Within { node, run, task });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Over { link, from, to, letter } => {
                if self.link(from, to).is_some_and(|own| own.number == link) {
                    self.on_letter(from, to, letter);
                } else if self.holds(from, to, link) {
                    // It is said again until it comes through, or the connection ends.
                    self.post(1_000, event);
                }
            }
            Event::Record { from, to, key } => self.on_record(from, to, key),
            Event::Within { node, run, task } => {
                if self.nodes[node].up && self.nodes[node].runs == run {
                    self.on_task(node, task);
                }
            }
        }
    }

    fn on_letter(&mut self, from: usize, own: usize, letter: Letter) {
        match letter {
            Letter::Identify => self.on_identify(own, from),
            Letter::Announcement(announcement) => self.on_announcement(own, from, announcement),
            Letter::Reserve(number) => self.on_reserve(own, from, number),
            Letter::Release(number) => self.on_release(own, from, number),
            Letter::Reserved(number) => self.on_reserved(own, from, number),
            Letter::Refused(number) => self.on_refused(own, from, number),
            Letter::Ask(key) => self.on_ask(own, from, key),
            Letter::Answer { is_true } => self.on_answer(own, from, is_true),
        }
    }

    fn on_task(&mut self, node: usize, task: Task) {
        match task {
            Task::DialEnds(peer) => self.end_dial(node, peer),
            Task::Verdict { ticket, heard, verdict } => self.on_verdict(node, ticket, heard, verdict),
            Task::Probed(is_reached) => self.on_probed(node, is_reached),
            Task::NoPlace { relay, number } => {
                if self.nodes[node].run.circuits.get(&relay) == Some(&(number, false)) {
                    self.on_refused(node, relay, number);
                }
            }
            Task::Closed(relay) => self.reach(node, reach::Input::Refused(relay)),
        }
    }

    /// Ends a node as `kill -9` does; with a `crash` of its machine the peers are not told.
    pub(super) fn kill(&mut self, node: usize, crash: bool) {
        self.nodes[node].up = false;
        self.checker.forget(node);
        if !crash {
            for peer in self.peers(node) {
                self.disconnect(node, peer);
            }
        }
    }

    /// Starts a node again with what it wrote down.
    pub(super) fn restart(&mut self, node: usize) {
        let time = (self.now, self.instant());
        let it = &mut self.nodes[node];
        let known = KNOWN.into_iter().filter(|known| *known != node);
        it.run = Run::new(it.name, it.mode, known, &it.written, time);
        it.runs += 1;
        it.up = true;
        self.begin(node);
    }

    /// What a node does first.
    fn begin(&mut self, node: usize) {
        let provides: Vec<Key> = self.nodes[node].provides.iter().copied().collect();
        for key in provides {
            self.provided(node, provide::Input::Provide(key));
        }
        match self.nodes[node].place {
            Place::Assumed => self.on_external(node),
            Place::Router { lets_in: true } => self.later(node, 3_000, Task::Probed(true)),
            _ => {}
        }
        self.nodes[node].run.probe = Probe::Untried;
    }

    fn tick(&mut self, node: usize, step_ms: u64) {
        if self.mutation != Mutation::NeverIgnores {
            self.tickets(node, tickets::Input::Tick, None);
        }
        self.bootstrap(node, bootstrap::Input::Tick);
        self.provided(node, provide::Input::Tick);
        self.book(node, book::Input::Tick);
        self.reach(node, reach::Input::Tick);
        if self.mutation != Mutation::NeverForgives {
            self.conduct(node, conduct::Input::Tick);
        }
        self.follow_answers(node, step_ms);
        self.fade(node, step_ms);
        if self.now.is_multiple_of(SAVE_MS) && step_ms == STEP_MS {
            let (now, instant) = (self.time(), self.instant());
            let run = &mut self.nodes[node].run;
            let book = run.book.written(now).collect();
            let providers = run.store.remembered(instant);
            self.nodes[node].written = Written { at: now.0, book, providers };
        }
        if self.now.is_multiple_of(limits::BOOTSTRAP_INTERVAL.as_millis() as u64) {
            self.walk(node, mixed(node as u64));
        }
    }

    fn step(&mut self, step_ms: u64) {
        let until = self.now + step_ms;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = until;
        self.notice_silence();
        for node in self.live() {
            self.tick(node, step_ms);
        }
        self.try_out();
        self.lie(step_ms);
        self.bustle();
        if step_ms > SAVE_MS {
            self.ask_oddly();
        }
        if self.now.is_multiple_of(CHECK_MS) {
            self.check_limits();
        }
    }

    /// Lets time pass, unless what is looked for was noticed.
    pub(super) fn run(&mut self, ms: u64, step_ms: u64) {
        for _ in 0..ms / step_ms {
            if !self.checker.is_noticed {
                self.step(step_ms);
            }
        }
    }
}
