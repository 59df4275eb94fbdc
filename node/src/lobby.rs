//! The lobby: what this node says on its shards, what others say there, and who serves a process by that.

mod ask;
mod judge;
pub mod machine;
#[cfg(test)]
mod simulation;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_net::Peer;
use weft_protocol::crypto::Signer;
use weft_protocol::lobby::{Advert, AdvertTerms, Duty, Shard};
use weft_protocol::{Effects, Id, Machine as _, Now, Verified};

use self::machine::{Effect, Heard, Input, Named, Said};

pub use ask::{Pointer, answer, named, named_anywhere, say, to_ask};
pub use judge::judge;
pub use task::LobbyTask;

/// What is handed on of an advert.
pub type Body = Arc<Verified<Advert>>;

/// The lobby as this node knows it. Nobody waits while holding it.
#[derive(Debug)]
pub struct Lobby {
    machine: Mutex<machine::Lobby<Peer, Body>>,
    /// The key that is the name of this peer.
    signer: Signer,
}

impl Lobby {
    /// A lobby that knows nobody, of the peer with this secret.
    pub fn new(peer_secret: &[u8; 32]) -> Self {
        let signer = Signer::from_seed(peer_secret);
        let [a, b, c, d, e, f, g, h, ..] = signer.address().0;
        let seed = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        Self { machine: Mutex::new(machine::Lobby::new(seed)), signer }
    }

    fn machine(&self) -> MutexGuard<'_, machine::Lobby<Peer, Body>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, input: Input<Peer>, now: Now) -> Vec<Effect> {
        let mut effects = Effects::new();
        self.machine().handle(input, now, &mut effects);
        effects.drain().collect()
    }

    /// This node does this for a process from now on, or nothing.
    pub fn serves(&self, process: Id, duty: Option<Duty>, now: Now) {
        self.run(Input::Serves(process, duty), now);
    }

    /// A peer said that it serves a process, and says that it does not when it is asked for it.
    pub fn broke(&self, peer: Peer, process: Id, now: Now) {
        self.run(Input::Broke(peer, process), now);
    }

    /// A peer gave what it was asked for.
    pub fn served(&self, peer: Peer, now: Now) {
        self.run(Input::Served(peer), now);
    }

    /// Who says that it serves a process, the best to ask first.
    pub fn named(&self, process: &Id, now: Now) -> Vec<Named<Peer, Body>> {
        self.machine().named(process, now)
    }

    /// What this node does for a process, as it says itself.
    pub fn duty(&self, process: &Id) -> Option<Duty> {
        self.machine().duty(process)
    }

    /// A process that this node serves in a shard.
    pub fn serves_in(&self, shard: Shard) -> Option<Id> {
        self.machine().serves_in(shard)
    }

    /// Whether something is worth the look at its signature.
    fn is_news(&self, by: Peer, terms: &AdvertTerms, now: Now) -> Result<(), Heard> {
        self.machine().is_news(by, terms, now)
    }

    fn hear(&self, said: Said<Peer, Body>, from: Peer, now: Now) -> Heard {
        self.machine().hear(said, from, now)
    }

    /// How many adverts are known, and on how many shards this node is.
    pub fn counts(&self) -> (usize, usize) {
        let machine = self.machine();
        (machine.kept(), machine.joined())
    }
}
