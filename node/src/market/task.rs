//! Says what this node offers, when and where the rules want it said.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use weft_net::PublishError;
use weft_protocol::Id;
use weft_protocol::offer::OfferTerms;
use weft_protocol::wire::announcement::Body as Announced;
use weft_protocol::wire::{self, lobby_fact};

use super::kept;
use super::machine::{Effect, Input, Place, STANDING_MAX};
use crate::config::Role;
use crate::metrics::Level;
use crate::news::News;
use crate::shared::SharedRef;

/// How often time passes for the market.
const TICK: Duration = Duration::from_millis(100);

/// How often the offers of others are written down: each holds much longer.
const SAVE: Duration = Duration::from_secs(10);

/// The loop.
pub struct MarketTask {
    shared: SharedRef,
    /// Whether this node offers anything at all.
    offers: bool,
    /// Whether it was said that its key can sign no offers.
    is_mute: bool,
}

impl MarketTask {
    /// The loop of this node's market.
    pub fn new(shared: SharedRef) -> Self {
        // Metrics are a part of what is watched here: they must not keep it alive.
        let weak = Arc::downgrade(&shared);
        shared.metrics.watch(Level::budget("market", "offers", move || {
            Some((weak.upgrade()?.market.standing() as u64, STANDING_MAX as u64))
        }));
        let offers = shared.config.roles.contains(&Role::Messenger);
        Self { shared, offers, is_mute: false }
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut save = tokio::time::interval(SAVE);
        save.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut saved = Bytes::new();
        self.look_at_all();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                heard = news.recv() => match heard {
                    Ok(News::Hosted { process }) => self.look_at(process),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.look_at_all(),
                    Err(RecvError::Closed) => return,
                },
                _ = save.tick(), if self.offers => saved = kept::save(&self.shared, saved).await,
                _ = tick.tick() => {
                    for Effect::Say { terms, places } in self.shared.market.run(Input::Tick, self.shared.clock.now()) {
                        self.say(terms, places).await;
                    }
                }
            }
        }
    }

    /// What this node carries for, as the directory has it: some of it may have been missed.
    fn look_at_all(&self) {
        let before = self.shared.market.carried();
        for process in before.into_iter().chain(self.shared.directory.ids(|roles| roles.messenges)) {
            self.look_at(process);
        }
    }

    fn look_at(&self, process: Id) {
        let carries = self.shared.directory.roles(&process).is_some_and(|roles| roles.messenges);
        self.shared.market.run(Input::Carries(process, carries && self.offers), self.shared.clock.now());
    }

    async fn say(&mut self, terms: OfferTerms, places: Vec<Place>) {
        let offer = match terms.sign(&self.shared.signer) {
            Ok(offer) => {
                let message = offer.to_wire();
                self.shared.market.said(Arc::new(offer));
                message
            }
            Err(error) if self.is_mute => return tracing::debug!(%error, "an offer was not made"),
            Err(error) => {
                self.is_mute = true;
                return tracing::warn!(%error, "this node's key cannot make offers; it pushes without");
            }
        };
        for place in places {
            match place {
                Place::Process(process) => {
                    self.shared.publisher.publish(process, Announced::Offer(offer.clone()));
                }
                Place::Shard(shard) => {
                    let body = Some(lobby_fact::Body::Offer(offer.clone()));
                    let fact = wire::LobbyFact { body }.encode_to_vec();
                    match self.shared.net.publish_lobby(shard, fact.into()).await {
                        // Whoever comes later hears the next one.
                        Ok(_) | Err(PublishError::NoSubscribers) => {}
                        Err(error) => {
                            tracing::debug!(shard = shard.number(), %error, "an offer was not said");
                        }
                    }
                }
            }
        }
    }
}
