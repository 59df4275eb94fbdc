//! The poster's loop: batches in, and what the machine asks for done beside each other, within a limit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::{Effects, Hash, Machine as _};
use weft_storage::PostingState;
use weft_storage::anchor::Wallet;

use super::client::Client;
use super::machine::{Effect, Held, Input, POSTINGS_MAX, Pays, Policy, Poster};
use super::work::{Done, Payer, Worker, spent};
use crate::config::{Anchoring, Backend};
use crate::error::NodeError;
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// Effects that carry a bundle and are being performed at once.
const CARRYING_MAX: usize = 2;
/// Others at once. They have places of their own: a slow gateway that takes or gives a bundle holds up no question, price
/// or signature.
const ASKING_MAX: usize = 4;
/// How often time passes for the machine, at most.
const TICK_MAX: Duration = Duration::from_secs(1);

/// The poster's loop.
pub struct PostTask {
    shared: SharedRef,
    worker: Arc<Worker>,
    poster: Poster,
    effects: Effects<Effect>,
    /// What carries a bundle, and what does not.
    carrying: Lane,
    asking: Lane,
    /// The data root of each posting that has a bundle.
    roots: BTreeMap<u64, Hash>,
}

/// What is done, a few at once, and what waits for its turn: at most one of each posting.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Effect>,
    work: JoinSet<Done>,
}

impl Lane {
    /// Begins what waits, as far as there are places.
    fn begin(&mut self, places: usize, mut begin: impl FnMut(&mut JoinSet<Done>, Effect)) {
        while self.work.len() < places {
            let Some(effect) = self.queue.pop_front() else { return };
            begin(&mut self.work, effect);
        }
    }
}

impl PostTask {
    /// The loop, with what the disk says of earlier postings; none where batches stay here.
    ///
    /// # Errors
    /// A damaged store, or a wallet that is none.
    pub fn new(shared: &SharedRef) -> Result<Option<Self>, NodeError> {
        let anchor = &shared.config.anchor;
        let client = |address: &str| {
            Client::new(address, anchor).map_err(|error| NodeError::Gateways { why: error.to_string() })
        };
        let payer = match (anchor.backend, &anchor.wallet, &anchor.bundler) {
            (Backend::Arweave, Some(wallet), _) => {
                let wallet = Wallet::load(wallet)?;
                shared.board.pays(wallet.address());
                Payer::Wallet(wallet)
            }
            (Backend::Bundler, _, Some(bundler)) => Payer::Bundler(client(bundler)?),
            _ => return Ok(None),
        };
        let gateways = anchor.gateways.iter().map(|address| client(address)).collect::<Result<_, _>>()?;
        let worker = Arc::new(Worker { shared: SharedRef::clone(shared), gateways, payer });
        let poster = Poster::new(policy(anchor, shared.config.anchor_batch_age_ms), spent(shared)?);
        let mut task = Self {
            shared: SharedRef::clone(shared),
            worker,
            poster,
            effects: Effects::new(),
            carrying: Lane::default(),
            asking: Lane::default(),
            roots: BTreeMap::new(),
        };
        task.take_up()?;
        Ok(Some(task))
    }

    /// Takes up what was on its way to this weave in an earlier life.
    fn take_up(&mut self) -> Result<(), NodeError> {
        let open = self.shared.store.read()?.postings_open(self.shared.anchored_on(), POSTINGS_MAX)?;
        for (number, (root, row)) in open.into_iter().enumerate() {
            self.roots.insert(number as u64, root);
            let signed = match row.state {
                PostingState::Signed { id, expires, .. } => Some((id, expires)),
                PostingState::Built | PostingState::Final { .. } => None,
            };
            self.handle(Input::Held(Held { parts: row.parts, bytes: row.bytes, signed }));
        }
        Ok(())
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let check = Duration::from_millis(self.shared.config.anchor.check_ms);
        let mut tick = tokio::time::interval(check.min(TICK_MAX));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shared = SharedRef::clone(&self.shared);
        loop {
            self.begin();
            self.show();
            tokio::select! {
                () = stop.cancelled() => return,
                () = shared.board.handed() => self.take_handed(),
                Some(done) = self.asking.work.join_next(), if !self.asking.work.is_empty() => self.done(joined(done)),
                Some(done) = self.carrying.work.join_next(), if !self.carrying.work.is_empty() => {
                    self.done(joined(done));
                }
                _ = tick.tick() => self.handle(Input::Tick),
            }
        }
    }

    fn take_handed(&mut self) {
        let (handed, flush) = self.shared.board.take();
        for (batch, (bytes, items)) in handed {
            self.handle(Input::Waits { batch, bytes, items });
        }
        if flush {
            self.handle(Input::Flush);
        }
    }

    fn done(&mut self, done: Option<Done>) {
        let Some(Done { input, built }) = done else { return };
        self.roots.extend(built);
        if let Input::Settled { number } = input {
            self.roots.remove(&number);
        }
        self.handle(input);
    }

    fn handle(&mut self, input: Input) {
        self.poster.handle(input, self.shared.clock.now(), &mut self.effects);
        for effect in self.effects.drain() {
            let lane = if effect.carries() { &mut self.carrying } else { &mut self.asking };
            lane.queue.push_back(effect);
        }
    }

    fn begin(&mut self) {
        let (roots, worker) = (&mut self.roots, &self.worker);
        let mut begin = |work: &mut JoinSet<Done>, effect: Effect| {
            let root = match effect {
                Effect::LetGo { number, .. } => roots.remove(&number),
                _ => roots.get(&effect.number()).copied(),
            };
            let root = root.unwrap_or(Hash::ZERO);
            work.spawn(Arc::clone(worker).perform(effect, root));
        };
        self.carrying.begin(CARRYING_MAX, &mut begin);
        self.asking.begin(ASKING_MAX, &mut begin);
    }

    fn show(&self) {
        let view = |view: super::machine::View| Some((*self.roots.get(&view.number)?, view));
        self.shared.board.show(self.poster.views().filter_map(view).collect(), self.poster.spent());
    }
}

/// What the configuration says.
fn policy(anchor: &Anchoring, gather_ms: u64) -> Policy {
    Policy {
        gateways: anchor.gateways.len(),
        quorum: anchor.quorum(),
        confirmations: anchor.confirmations,
        ask_ms: anchor.check_ms,
        gather_ms,
        pays: match anchor.backend {
            Backend::Bundler => Pays::Bundler,
            Backend::Arweave | Backend::Local => Pays::Wallet {
                margin_percent: anchor.margin_percent,
                day_limit: anchor.day_limit.unwrap_or_default(),
            },
        },
    }
}
