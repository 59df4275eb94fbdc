//! The timekeeper's loop: news of subscriptions and logs in, asks to schedulers out.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::{Effects, Id, Machine};

use super::machine::{Effect, Input, Timekeeper};
use crate::error::NodeError;
use crate::log;
use crate::news::News;
use crate::shared::SharedRef;
use crate::submit::Submitter;
use crate::supervisor::joined;

/// How often time passes for the timekeeper: a tick runs at most so long after its second.
const TICK: Duration = Duration::from_millis(200);
/// Schedulers that are asked at once; others are asked later.
const ASKS_MAX: usize = 64;

/// The timekeeper's loop.
#[derive(Debug)]
pub struct TimekeeperTask {
    shared: SharedRef,
    submitter: Submitter,
    machine: Timekeeper,
    effects: Effects<Effect>,
    asks: JoinSet<Input>,
}

impl TimekeeperTask {
    /// Reads who is subscribed to and makes the loop.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef, submitter: Submitter) -> Result<Self, NodeError> {
        let (machine, effects, asks) = (Timekeeper::default(), Effects::new(), JoinSet::new());
        let mut task = Self { shared, submitter, machine, effects, asks };
        let kept = task.shared.directory.ids(|roles| roles.keeps_time);
        task.take_up(kept)?;
        Ok(task)
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.perform();
            let heard = tokio::select! {
                () = stop.cancelled() => return,
                Some(asked) = self.asks.join_next(), if !self.asks.is_empty() => {
                    if let Some(input) = joined(asked) {
                        self.handle(input);
                    }
                    Ok(())
                }
                heard = news.recv() => match heard {
                    Ok(News::Hosted { process }) => self.take_up([process]),
                    Err(RecvError::Lagged(_)) => self.take_up(self.shared.directory.ids(|_| true)),
                    Ok(News::Grew { process, .. }) if self.machine.keeps(&process) => self.grew(process),
                    Ok(_) => Ok(()),
                    Err(RecvError::Closed) => return,
                },
                _ = tick.tick() => {
                    self.handle(Input::Tick);
                    Ok(())
                }
            };
            if let Err(error) = heard {
                tracing::error!(%error, "the timekeeper cannot read the logs");
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    /// Subscribes where the directory says so and nowhere else.
    fn take_up(&mut self, processes: impl IntoIterator<Item = Id>) -> Result<(), NodeError> {
        let reader = self.shared.store.read()?;
        for process in processes {
            let keeps_time = self.shared.directory.roles(&process).is_some_and(|roles| roles.keeps_time);
            let known = if keeps_time { self.shared.directory.get(&process) } else { None };
            let Some(known) = known else {
                self.handle(Input::Unsubscribe { process });
                continue;
            };
            let schedule = log::read_schedule(&reader, &known.process)?;
            let head = log::read_link(&reader, &process)?;
            if let (Some(schedule), Some(head)) = (schedule, head) {
                self.handle(Input::Subscribe { process, schedule, newest: head.time });
                self.handle(Input::Grew { process, newest: head.time });
            }
        }
        Ok(())
    }

    fn grew(&mut self, process: Id) -> Result<(), NodeError> {
        if let Some(head) = log::read_link(&self.shared.store.read()?, &process)? {
            self.handle(Input::Grew { process, newest: head.time });
        }
        Ok(())
    }

    fn perform(&mut self) {
        let effects: Vec<Effect> = self.effects.drain().collect();
        for Effect::AskNow { process } in effects {
            if self.asks.len() >= ASKS_MAX {
                self.handle(Input::Asked { process, answered: false });
                continue;
            }
            let submitter = self.submitter.clone();
            self.asks.spawn(async move {
                let asked = submitter.now(process).await;
                if let Err(error) = &asked {
                    tracing::debug!(%process, %error, "its scheduler lets no time pass");
                }
                Input::Asked { process, answered: asked.is_ok() }
            });
        }
    }
}
