//! The open market of messengers: who offers to carry what processes send, at which price.
//!
//! [`machine`] holds the rules: which offers are kept and go on, and what this node offers itself. `judge` verifies what
//! comes from the network, `task` says what this node offers. Offers are said on the topics of the processes that a
//! messenger carries for, and on their lobby shards.

pub mod audit;
mod judge;
mod kept;
pub(crate) mod ledger;
pub mod machine;
pub mod sent;
mod task;
mod weigh;
pub mod weights;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weft_net::Peer;
use weft_protocol::market::Entry;
use weft_protocol::offer::{Offer, OfferTerms};
use weft_protocol::{Address, Effects, Id, Machine as _, Now, Verified};

use self::machine::own::Prices;
use self::machine::{Effect, Heard, Input, Known, Place, Said, Why};
use self::weights::Weights;

pub use judge::{judge, judge_evidence};
pub use kept::restore;
pub use task::MarketTask;
pub use weigh::WeighTask;
pub use window::{Windows, window_at};

/// What is kept of an offer.
pub type Body = Arc<Verified<Offer>>;

/// The market as this node knows it. Nobody waits while holding it.
#[derive(Debug)]
pub struct Market {
    machine: Mutex<machine::Market<Peer, Body>>,
    /// What this node offered last, signed.
    own: Mutex<Option<Body>>,
    /// What the ledgers and the logs say of messengers.
    weights: Mutex<Weights>,
    windows: Windows,
}

impl Market {
    /// A market that knows nobody, of a node that offers at these prices.
    pub fn new(prices: Prices) -> Self {
        Self {
            machine: Mutex::new(machine::Market::new(prices)),
            own: Mutex::new(None),
            weights: Mutex::default(),
            windows: Windows::default(),
        }
    }

    /// The windows of processes that this node carries for, as it read them last.
    pub const fn windows(&self) -> &Windows {
        &self.windows
    }

    fn weights(&self) -> MutexGuard<'_, Weights> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn machine(&self) -> MutexGuard<'_, machine::Market<Peer, Body>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, input: Input, now: Now) -> Vec<Effect> {
        let mut effects = Effects::new();
        self.machine().handle(input, now, &mut effects);
        effects.drain().collect()
    }

    /// A push of this node's got its slot after this time.
    pub fn carried_in(&self, time: Duration, now: Now) {
        self.run(Input::Carried(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)), now);
    }

    /// Who else offers to carry for a process now, each with the end of its offer.
    pub fn at(&self, process: Id, now: Now) -> BTreeMap<Address, u64> {
        self.machine().at(process, now)
    }

    /// The offers to carry for a process, this node's included, as entries of an offer set, each with what is known
    /// here of its messenger by now: who waits for a ledger waits elsewhere.
    pub fn entries(&self, process: Id, now: Now) -> Vec<Entry> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known: Vec<Body> = {
            let machine = self.machine();
            let own = own.filter(|_| machine.carried().any(|carried| carried == process));
            own.into_iter().chain(machine.bodies_at(process, now)).collect()
        };
        let weights = self.weights();
        let entry = |offer: Body| {
            let by = offer.messenger();
            let bond = weights.bond(&process, &by, now).unwrap_or(0);
            Entry::new(Verified::clone(&offer), bond, weights.quality(&process, &by))
        };
        known.into_iter().map(entry).collect()
    }

    /// The processes for which somebody offers to carry, this node included.
    pub fn offered(&self, now: Now) -> BTreeSet<Id> {
        self.machine().offered(now)
    }

    /// The bond of a messenger at the ledger of a process, as far as it was read lately.
    pub fn bond(&self, process: &Id, messenger: &Address, now: Now) -> Option<u64> {
        self.weights().bond(process, messenger, now)
    }

    /// This node offers this from now on.
    fn said(&self, offer: Body) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(offer);
    }

    /// All offers of others that are known and hold now.
    pub fn offers(&self, now: Now) -> Vec<Known<Body>> {
        self.machine().offers(now)
    }

    /// What this node offers, and for which processes it carries; nothing while it carries for nobody.
    pub fn own(&self) -> Option<(OfferTerms, Vec<Id>)> {
        let machine = self.machine();
        machine.own().cloned().map(|terms| (terms, machine.carried().collect()))
    }

    fn carried(&self) -> Vec<Id> {
        self.machine().carried().collect()
    }

    /// At how many places offers stand.
    pub fn standing(&self) -> usize {
        self.machine().standing()
    }

    fn is_news(&self, by: Address, terms: &OfferTerms, place: Place, now: Now) -> Result<(), Why> {
        self.machine().is_news(by, terms, place, now)
    }

    fn hear(&self, said: Said<Body>, place: Place, from: Peer, now: Now) -> Heard<Body> {
        self.machine().hear(said, place, from, now)
    }

    fn knows(&self, by: &Address, place: Place) -> bool {
        self.machine().knows(by, place)
    }

    fn convict(&self, by: Address, now: Now) {
        self.machine().convict(by, now);
    }
}
