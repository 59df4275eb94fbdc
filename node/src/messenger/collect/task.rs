//! The collector's loop: news of logs and attestations in, what others sent to disk, news of it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::market::rank_score;
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::{Address, Effects, Id, Machine, Position};
use weft_storage::{Conflict, StoreError};

use super::machine::{ASKS_MAX, Came, Collector, Effect, Input};
use super::{ask, collects, rows};
use crate::attestations;
use crate::backlog::Backlog;
use crate::error::NodeError;
use crate::metrics::Level;
use crate::news::News;
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// How often time passes for the collector.
const TICK: Duration = Duration::from_millis(100);
/// How often what has its receipts is forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// Entries of a position of which it is looked whose they are to carry first: how many it sent is not known before it is asked
/// for, and most send no more.
const LOOKED_AT: u32 = 2;

/// The loop.
pub struct CollectorTask {
    shared: SharedRef,
    backlog: Backlog,
    machine: Collector,
    effects: Effects<Effect>,
    /// As many as the machine asks for at once.
    asks: Arc<Semaphore>,
    work: JoinSet<Option<Input>>,
    /// Whether something is being forgotten.
    sweeping: JoinSet<()>,
}

impl CollectorTask {
    /// The loop of this node's collector.
    pub fn new(shared: SharedRef) -> Self {
        let backlog = Backlog::new(shared.directory.ids(|roles| collects(*roles)));
        let asks = Arc::new(Semaphore::new(ASKS_MAX));
        shared.metrics.watch(Level::permits("messenger", "collects", &asks, ASKS_MAX));
        Self {
            shared,
            backlog,
            machine: Collector::default(),
            effects: Effects::new(),
            asks,
            work: JoinSet::new(),
            sweeping: JoinSet::new(),
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.perform();
            let heard = tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = self.work.join_next(), if !self.work.is_empty() => {
                    if let Some(Some(input)) = joined(done) {
                        self.handle(input);
                    }
                    Ok(())
                }
                Some(_) = self.sweeping.join_next(), if !self.sweeping.is_empty() => Ok(()),
                heard = news.recv() => match heard {
                    Ok(news) => self.hear(&news),
                    Err(RecvError::Lagged(_)) => {
                        self.backlog.refill(self.shared.directory.ids(|roles| collects(*roles)));
                        Ok(())
                    }
                    Err(RecvError::Closed) => return,
                },
                page = self.backlog.turn() => page.into_iter().try_for_each(|process| self.take_up(process)),
                _ = sweep.tick() => {
                    self.sweep();
                    Ok(())
                }
                _ = tick.tick() => {
                    self.handle(Input::Tick);
                    Ok(())
                }
            };
            if let Err(error) = heard {
                tracing::error!(%error, "the collector cannot read the disk");
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    fn hear(&mut self, news: &News) -> Result<(), NodeError> {
        match news {
            News::Hosted { process } => self.take_up(*process),
            News::Grew { process, head } if self.machine.carries(process) => {
                self.handle(Input::Grew { process: *process, head: *head });
                Ok(())
            }
            News::Attested { process, position, attestor } if self.machine.wants(process, *position) => {
                self.attested(*process, *position, *attestor)
            }
            News::Grew { .. }
            | News::Attested { .. }
            | News::Wanted { .. }
            | News::Computed { .. }
            | News::Unsent { .. }
            | News::Waits { .. }
            | News::Alarm { .. } => Ok(()),
        }
    }

    /// Collects for a process where the directory says so and nowhere else.
    fn take_up(&mut self, process: Id) -> Result<(), NodeError> {
        let Some(roles) = self.shared.directory.roles(&process).filter(|roles| collects(*roles)) else {
            self.handle(Input::Drop { process });
            self.keep_held(process);
            return Ok(());
        };
        let reader = self.shared.store.read()?;
        let to = rows::last(&reader, &process)?;
        let head = reader.head(&process)?.map(|(slot, _)| slot);
        // Whoever schedules it anchors what its attestors signed, from the disk.
        if roles.schedules {
            self.keep_held(process);
        } else {
            self.shared.heard.begin(process, to);
        }
        self.handle(Input::Carry { process, to, head });
        Ok(())
    }

    /// Writes down what is held of a process, and holds no more of it: it may be computed or scheduled here from now on.
    fn keep_held(&mut self, process: Id) {
        let held = self.shared.heard.end(&process);
        let Some(known) = self.shared.directory.get(&process).filter(|_| !held.is_empty()) else { return };
        let shared = SharedRef::clone(&self.shared);
        self.work.spawn(async move {
            for said in held {
                let _ = attestations::keep_attestation(&shared, &known.process, &said).await;
            }
            None
        });
    }

    fn attested(&mut self, process: Id, position: Position, attestor: Address) -> Result<(), NodeError> {
        let Some(known) = self.shared.directory.get(&process) else { return Ok(()) };
        let is_first = self.is_first(&known.process, position)?;
        if attestor != self.shared.address {
            self.handle(Input::Heard { process, position, attestor, is_first });
        }
        if attestations::is_signed(&self.shared, &known.process, position)? {
            self.handle(Input::Signed { process, position, is_first });
        }
        Ok(())
    }

    /// Whether something that a position may have sent is this node's to carry first, by what is known here now.
    fn is_first(&self, process: &Process, position: Position) -> Result<bool, NodeError> {
        let (shared, source, own) = (&self.shared, process.id(), self.shared.address);
        let window = shared.market.windows().at(&shared.store.read()?, process, position.slot)?;
        let others = match window {
            Some(_) => BTreeMap::new(),
            None => shared.market.at(source, shared.clock.now()),
        };
        Ok((0..LOOKED_AT).any(|index| {
            let push_id = Source { process: source, position, index }.push_id(shared.network);
            match &window {
                Some(window) => window.rank(&push_id, 0, &own).is_some_and(|(rank, _)| rank == 0),
                None => others.keys().all(|other| rank_score(&push_id, other) <= rank_score(&push_id, &own)),
            }
        }))
    }

    fn perform(&mut self) {
        let effects: Vec<Effect> = self.effects.drain().collect();
        for Effect::Ask { process, ahead } in effects {
            let (shared, asks) = (SharedRef::clone(&self.shared), Arc::clone(&self.asks));
            self.work.spawn(async move {
                let _permit = asks.acquire_owned().await;
                let came = match shared.known(process).await {
                    Some(known) => ask::collect(&shared, &known.process, ahead).await,
                    None => Came::Nothing,
                };
                Some(Input::Asked { process, came })
            });
        }
    }

    /// Forgets what was carried long ago, of one process after the other.
    fn sweep(&mut self) {
        if !self.sweeping.is_empty() {
            return;
        }
        let (shared, all) = (SharedRef::clone(&self.shared), self.machine.all().collect::<Vec<Id>>());
        self.sweeping.spawn(async move {
            for process in all {
                if let Err(error) = forget(&shared, process).await {
                    tracing::warn!(%process, %error, "what was carried long ago was not forgotten");
                }
            }
        });
    }
}

async fn forget(shared: &SharedRef, process: Id) -> Result<(), StoreError> {
    let of = SharedRef::clone(shared);
    let read = tokio::task::spawn_blocking(move || rows::forgotten(&of.store.read()?, &process));
    for write in joined(read.await).transpose()?.unwrap_or_default() {
        match shared.store.write(vec![write]).await {
            Ok(()) => {}
            // Taken up again meanwhile.
            Err(StoreError::Conflict(why)) if matches!(*why, Conflict::Unsent { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
