//! One node of the town: what it is, what a restart leaves of it, and the machines of one run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use libp2p::PeerId;
use weft_protocol::Now;

use super::gossip::{Heard, Scores};
use crate::conduct::Conduct;
use crate::discovery::machine::book::{self, Book};
use crate::discovery::machine::bootstrap::Bootstrap;
use crate::discovery::machine::provide::Provided;
use crate::discovery::machine::reach::{Reach, Reachability};
use crate::discovery::store::ProviderStore;
use crate::gossip::flood::Floods;
use crate::gossip::machine::Tickets;
use crate::key::Key;
use crate::readers::Readers;
use crate::remembered::{Remembered, RememberedProvider};

/// Announcements that a peer may hand on in a second: as far above what is said in the town as the node's own
/// limit is above what is said in a network.
pub(super) const PER_S: u32 = 50;
/// How long a peer may take nothing.
pub(super) const PATIENCE_MS: u64 = 60_000;

/// How a node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Anybody can dial it, as its operator says.
    Assumed,
    /// Anybody can dial it; it finds that out when one has.
    Open,
    /// Behind a router that says whether it lets peers in.
    Router { lets_in: bool },
    /// Nobody can dial it.
    Home,
}

impl Place {
    /// Whether it can be dialled.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Assumed | Self::Open | Self::Router { lets_in: true })
    }
}

/// What a liar does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Vice {
    /// It announces what nobody signed.
    Forges,
    /// It says far more than anybody has to say, on far more topics, and comes again and again.
    Floods,
    /// It says that it provides everything, and answers with lies.
    Advertises,
    /// It gives places as a relay and takes them back, or never answers.
    Vanishes,
    /// It fills tables, under its own name and under many.
    Hoards,
    /// It asks and does not read.
    ReadsNothing,
}

impl Vice {
    pub(super) const ALL: [Self; 6] =
        [Self::Forges, Self::Floods, Self::Advertises, Self::Vanishes, Self::Hoards, Self::ReadsNothing];
}

/// What became of the one time that a peer tries out whether a node can be dialled: the library tries each address
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    Untried,
    Failed,
    Confirmed,
}

/// A large answer that is on its way to a peer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) to: usize,
    pub(super) left: u64,
    pub(super) since: u64,
}

/// What a node writes down.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) at: u64,
    pub(super) book: Vec<(usize, book::Entry<usize>)>,
    pub(super) providers: Vec<RememberedProvider>,
}

/// What a restart leaves nothing of.
pub(super) struct Run {
    pub(super) book: Book<usize, usize>,
    pub(super) bootstrap: Bootstrap<usize>,
    pub(super) conduct: Conduct<usize>,
    pub(super) floods: Floods<usize>,
    pub(super) readers: Readers<usize>,
    pub(super) tickets: Tickets<Heard>,
    pub(super) provided: Provided<Key>,
    pub(super) reach: Reach<usize, usize>,
    pub(super) store: ProviderStore,

    /// Whom it refuses, as the conduct machine said.
    pub(super) banned: BTreeSet<usize>,
    /// Whom it hung up on.
    pub(super) unwanted: BTreeSet<usize>,
    pub(super) scores: Scores,
    /// The routing table.
    pub(super) routes: BTreeSet<usize>,
    pub(super) serves: bool,
    pub(super) probe: Probe,
    /// As a relay: for whom it holds which place.
    pub(super) places: BTreeMap<usize, u64>,
    /// At which relays it asked for which place, and whether it has it.
    pub(super) circuits: BTreeMap<usize, (u64, bool)>,
    /// Announcements by when they were heard: the same is not heard again for a while.
    pub(super) heard: BTreeMap<u64, u64>,
    /// Announcements that were handed up and have no verdict, since when.
    pub(super) open: BTreeMap<u64, u64>,
    /// Announcements that wait for a verifier.
    pub(super) events: usize,
    pub(super) answers: Vec<Answer>,
    /// Since when a peer takes nothing of what is on its way to it, in milliseconds of such time.
    pub(super) idle: BTreeMap<usize, u64>,
}

pub(super) struct Node {
    pub(super) name: PeerId,
    pub(super) place: Place,
    pub(super) mode: Reachability,
    pub(super) vice: Option<Vice>,
    /// What its operator has it provide.
    pub(super) provides: BTreeSet<Key>,
    /// The announcements that are on its disk.
    pub(super) known: BTreeSet<u64>,
    pub(super) written: Written,
    pub(super) up: bool,
    /// How often it was started.
    pub(super) runs: u64,
    pub(super) run: Run,
}

impl Node {
    pub(super) fn is_honest(&self) -> bool {
        self.vice.is_none()
    }
}

impl Run {
    /// Begins with what was written down. `bootstrap` names whom every node is told of.
    pub(super) fn new(
        name: PeerId,
        mode: Reachability,
        bootstrap: impl IntoIterator<Item = usize>,
        written: &Written,
        (now, instant): (u64, Instant),
    ) -> Self {
        let mut store = ProviderStore::new(name, Arc::default());
        let remembered = Remembered { peers: Vec::new(), providers: written.providers.clone() };
        let away_s = (now - written.at) / 1000;
        store.restore(&remembered.aged(away_s).providers, instant);
        Self {
            book: Book::new(written.book.clone()),
            bootstrap: Bootstrap::new(bootstrap),
            conduct: Conduct::new(),
            floods: Floods::new(PER_S, PATIENCE_MS),
            readers: Readers::new(PATIENCE_MS, Now(now)),
            tickets: Tickets::new(),
            provided: Provided::new(),
            reach: Reach::new(mode),
            store,
            banned: BTreeSet::new(),
            unwanted: BTreeSet::new(),
            scores: Scores::default(),
            routes: BTreeSet::new(),
            serves: false,
            probe: Probe::Untried,
            places: BTreeMap::new(),
            circuits: BTreeMap::new(),
            heard: BTreeMap::new(),
            open: BTreeMap::new(),
            events: 0,
            answers: Vec::new(),
            idle: BTreeMap::new(),
        }
    }
}
