//! What is said on a lobby shard: verified before it goes on. Each kind of fact has its own rules here.

use std::sync::Arc;

use bytes::Bytes;
use weft_net::{Peer, Verdict};
use weft_protocol::lobby::{Advert, Shard};
use weft_protocol::wire::lobby_fact::Body;
use weft_protocol::wire::{self, LOBBY_FACT_BYTES_MAX, WireError, decode_canonical};

use super::machine::{Heard, Said};
use crate::market;
use crate::market::machine::Place;
use crate::shared::Shared;

/// Decides about one fact on a shard. Reject only what no correct peer could have forwarded.
pub async fn judge(shared: &Shared, shard: Shard, data: &Bytes, from: Peer) -> Verdict {
    let fact: wire::LobbyFact = match decode_canonical(data, LOBBY_FACT_BYTES_MAX) {
        Ok(fact) => fact,
        // Of a kind that a newer version knows.
        Err(WireError::NotCanonical) => return Verdict::Ignore,
        Err(_) => return Verdict::Reject,
    };
    match fact.body {
        Some(Body::Advert(message)) => advert(shared, shard, &message, from).await,
        Some(Body::Offer(message)) => market::judge(shared, Place::Shard(shard), &message, from).await,
        None => Verdict::Reject,
    }
}

async fn advert(shared: &Shared, shard: Shard, message: &wire::Advert, from: Peer) -> Verdict {
    let Ok(unverified) = Advert::from_wire(message, shared.network) else { return Verdict::Reject };
    let claims = unverified.claims();
    let by = claims.key().and_then(|key| Peer::from_ed25519(&key).ok());
    let Some(by) = by.filter(|_| claims.terms().shard == shard) else { return Verdict::Reject };
    let heard = match shared.lobby.is_news(by, claims.terms(), shared.clock.now()) {
        Err(why) => why,
        Ok(()) => {
            let verified = tokio::task::spawn_blocking(move || unverified.verify()).await;
            let verified = match verified {
                Ok(Ok(verified)) => verified,
                Ok(Err(_)) => return Verdict::Reject,
                Err(_) => return Verdict::Ignore,
            };
            let said = Said { by, terms: verified.terms().clone(), body: Arc::new(verified) };
            shared.lobby.hear(said, from, shared.clock.now())
        }
    };
    shared.metrics.lobby.add(heard.name());
    if heard == Heard::Kept { Verdict::Accept } else { Verdict::Ignore }
}
