//! Joins, leaves and subscribes as the rules say.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weft_net::Net;
use weft_protocol::lobby::Duty;
use weft_protocol::{Effects, Id, Machine as _};
use weft_storage::Roles;

use super::machine::{Effect, Input, Interest, Topics};
use crate::clock::Clock;
use crate::direct::DirectHandle;
use crate::lobby::Lobby;
use crate::metrics::{Level, Metrics};
use crate::news::{News, Newsroom};

/// How often time passes for the topics.
const TICK: Duration = Duration::from_millis(500);
/// Inputs that may wait; whoever has one more waits too.
const INBOX_MAX: usize = 1_024;

/// What a role of this node makes of a process, for its topic; nothing if it does nothing with it.
fn interest(roles: Roles) -> Option<Interest> {
    if roles.schedules {
        return Some(Interest::Schedules);
    }
    if roles.computes || roles.pinned {
        return Some(Interest::Computes);
    }
    if roles.messenges {
        return Some(Interest::Carries);
    }
    (roles != Roles::default()).then_some(Interest::Watches)
}

/// What others are told of it.
const fn duty(interest: Interest) -> Duty {
    match interest {
        // Whoever only carries has the log and no results.
        Interest::Watches | Interest::Carries => Duty::Watches,
        Interest::Computes => Duty::Computes,
        Interest::Schedules => Duty::Schedules,
    }
}

/// Something for the topics to hear, and whom to tell when it is done.
pub type Asked = (Input, Option<oneshot::Sender<()>>);

/// How others hold the topics.
#[derive(Debug, Clone)]
pub struct TopicsHandle(mpsc::Sender<Asked>);

impl TopicsHandle {
    /// A handle, and where its task hears.
    pub fn new(metrics: &Metrics) -> (Self, mpsc::Receiver<Asked>) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        metrics.watch(Level::channel("topics", "inbox", &sender));
        (Self(sender), inbox)
    }

    /// Says what this node does with a process, and waits until it is followed, one way or another.
    pub async fn set(&self, process: Id, roles: Roles) {
        let input = match interest(roles) {
            Some(interest) => Input::Want { process, interest },
            None => Input::Drop { process },
        };
        let (done, is_done) = oneshot::channel();
        // Only a stopping node has no topics.
        if self.0.send((input, Some(done))).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

/// The loop.
pub struct TopicsTask {
    net: Net,
    direct: DirectHandle,
    news: Newsroom,
    clock: Clock,
    lobby: Arc<Lobby>,
    machine: Topics,
    inbox: mpsc::Receiver<Asked>,
}

impl TopicsTask {
    /// A node that may be on `limit` topics.
    pub fn new(
        (net, news, clock, lobby): (Net, Newsroom, Clock, Arc<Lobby>),
        direct: DirectHandle,
        inbox: mpsc::Receiver<Asked>,
        limit: usize,
    ) -> Self {
        Self { net, direct, news, clock, lobby, machine: Topics::new(limit), inbox }
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (input, done) = tokio::select! {
                () = stop.cancelled() => return,
                Some(asked) = self.inbox.recv() => asked,
                heard = news.recv() => match heard {
                    Ok(News::Grew { process, .. }) => (Input::Heard { process }, None),
                    // What was lost makes a process look quieter than it is, for a while.
                    Ok(_) | Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                },
                _ = tick.tick() => (Input::Tick, None),
            };
            self.handle(input).await;
            if let Some(done) = done {
                // Who asked may have gone.
                let _ = done.send(());
            }
        }
    }

    async fn handle(&mut self, input: Input) {
        let (mut effects, now) = (Effects::new(), self.clock.now());
        match &input {
            Input::Want { process, interest } => self.lobby.serves(*process, Some(duty(*interest)), now),
            Input::Drop { process } => self.lobby.serves(*process, None, now),
            Input::Heard { .. } | Input::Tick => {}
        }
        self.machine.handle(input, now, &mut effects);
        let effects: Vec<_> = effects.drain().collect();
        for effect in effects {
            match effect {
                Effect::Join(process) => {
                    if let Err(error) = self.net.join(process).await {
                        tracing::warn!(%process, %error, "the topic was not joined; slots come by asking only");
                        self.direct.add(process).await;
                    }
                }
                // Only a network that has stopped says no.
                Effect::Leave(process) => {
                    let _ = self.net.leave(process).await;
                    self.direct.remove(process).await;
                }
                Effect::Subscribe(process) => self.direct.add(process).await,
                Effect::Unsubscribe(process) => self.direct.remove(process).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_does_most_for_a_process_counts() {
        let computes = Roles { computes: true, watches: true, ..Roles::default() };
        assert_eq!(interest(Roles::default()), None);
        assert_eq!(interest(Roles { watches: true, ..Roles::default() }), Some(Interest::Watches));
        assert_eq!(interest(computes), Some(Interest::Computes));
        let carries = Roles { messenges: true, watches: true, ..Roles::default() };
        assert_eq!(interest(carries), Some(Interest::Carries));
        assert_eq!(duty(Interest::Carries), Duty::Watches);
        assert_eq!(interest(Roles { messenges: true, ..computes }), Some(Interest::Computes));
        assert_eq!(interest(Roles { schedules: true, ..computes }), Some(Interest::Schedules));
    }
}
