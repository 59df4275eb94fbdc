//! Joins shards and says there what the rules want said.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_net::{Key, ProvideError, PublishError};
use weft_protocol::lobby::{ADVERT_TTL_MS_MAX, AdvertTerms, Shard};
use weft_protocol::wire::{self, lobby_fact};

use super::machine::{Effect, Input, KEPT_PER_SHARD_MAX};
use crate::metrics::Level;
use crate::shared::SharedRef;

/// How often time passes for the lobby.
const TICK: Duration = Duration::from_millis(500);
/// Searches for others on shards that are under way.
const LOOKING_MAX: usize = 4;

/// The loop.
pub struct LobbyTask {
    shared: SharedRef,
    /// The number of the last advert.
    sequence: u64,
    /// Searches for others on shards on which nobody is connected.
    looking: JoinSet<Result<(), ProvideError>>,
}

impl LobbyTask {
    /// The loop of this node's lobby.
    pub fn new(shared: SharedRef) -> Self {
        // Metrics are a part of what is watched here: they must not keep it alive.
        let weak = std::sync::Arc::downgrade(&shared);
        let limit = KEPT_PER_SHARD_MAX * usize::from(weft_protocol::lobby::SHARDS);
        shared.metrics.watch(Level::budget("lobby", "adverts", move || {
            Some((weak.upgrade()?.lobby.counts().0 as u64, limit as u64))
        }));
        Self { shared, sequence: 0, looking: JoinSet::new() }
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // What it came to shows when something is said.
                Some(_) = self.looking.join_next() => continue,
                _ = tick.tick() => {}
            }
            for effect in self.shared.lobby.run(Input::Tick, self.shared.clock.now()) {
                self.perform(effect).await;
            }
        }
    }

    async fn perform(&mut self, effect: Effect) {
        let net = &self.shared.net;
        match effect {
            Effect::Join(shard) => {
                if let Err(error) = net.join_lobby(shard).await {
                    tracing::warn!(shard = shard.number(), %error, "a lobby shard was not joined");
                }
                if let Err(error) = net.provide(Key::Lobby(shard)).await {
                    tracing::debug!(shard = shard.number(), %error, "it is not announced that this node is there");
                }
            }
            // Only a network that has stopped says no.
            Effect::Leave(shard) => {
                let _ = net.leave_lobby(shard).await;
                let _ = net.stop_providing(Key::Lobby(shard)).await;
            }
            Effect::Say { shard, part, more, served } => {
                let addresses = net.dialled_at().await.unwrap_or_default();
                // The clock may have been set back.
                self.sequence = self.shared.clock.now().0.max(self.sequence + 1);
                let terms = AdvertTerms {
                    network: self.shared.network,
                    sequence: self.sequence,
                    valid_to: self.sequence.saturating_add(ADVERT_TTL_MS_MAX),
                    shard,
                    part: part.0,
                    parts: part.1,
                    more,
                    addresses: fitting(addresses),
                    served,
                };
                self.say(shard, terms).await;
            }
        }
    }

    async fn say(&mut self, shard: Shard, terms: AdvertTerms) {
        let advert = match terms.sign(&self.shared.lobby.signer) {
            Ok(advert) => advert,
            Err(error) => return tracing::error!(%error, "an advert could not be signed"),
        };
        let fact = wire::LobbyFact { body: Some(lobby_fact::Body::Advert(advert.to_wire())) };
        let said = self.shared.net.publish_lobby(shard, fact.encode_to_vec().into()).await;
        let is_nobody = matches!(said, Err(PublishError::NoSubscribers));
        if is_nobody && self.looking.len() < LOOKING_MAX {
            // Those that are found are dialled: by the next time somebody is there.
            let net = self.shared.net.clone();
            self.looking.spawn(async move { net.providers(Key::Lobby(shard)).await.map(drop) });
        }
        self.shared.lobby.run(Input::Reached(shard, !is_nobody), self.shared.clock.now());
    }
}

/// The first addresses that an advert has room for.
fn fitting(addresses: Vec<Bytes>) -> Vec<Bytes> {
    use weft_protocol::lobby::{ADVERT_ADDRESS_BYTES_MAX, ADVERT_ADDRESSES_MAX};
    let mut left = ADVERT_ADDRESS_BYTES_MAX;
    let mut fits = |address: &Bytes| {
        let is_short = !address.is_empty() && address.len() <= left;
        left -= if is_short { address.len() } else { 0 };
        is_short
    };
    addresses.into_iter().filter(|address| fits(address)).take(ADVERT_ADDRESSES_MAX).collect()
}
