//! Offers from the network: verified before they are kept and go on.

use std::sync::Arc;

use weft_net::{Peer, Verdict};
use weft_protocol::evidence::Evidence;
use weft_protocol::offer::Offer;
use weft_protocol::{Id, Unverified, Verified, wire};

use super::Body;
use super::machine::{Heard, Place, Said};
use crate::shared::Shared;

/// Decides about one offer at a place. Reject only what no correct peer could have forwarded.
pub async fn judge(shared: &Shared, place: Place, message: &wire::Offer, from: Peer) -> Verdict {
    let Ok(unverified) = Offer::from_wire(message, shared.network) else { return Verdict::Reject };
    let (by, terms) = (unverified.claims().messenger(), unverified.claims().terms().clone());
    if matches!(place, Place::Shard(shard) if !terms.shards.contains(&shard.number())) {
        return Verdict::Reject;
    }
    if by == shared.address {
        // What this node offers it knows better itself.
        return Verdict::Ignore;
    }
    let heard = match shared.market.is_news(by, &terms, place, shared.clock.now()) {
        Err(why) => Heard::Dropped(why),
        Ok(()) => {
            let body = match verify(unverified).await {
                Some(Ok(verified)) => Arc::new(verified),
                Some(Err(())) => return Verdict::Reject,
                None => return Verdict::Ignore,
            };
            let said = Said { by, terms, body: Arc::clone(&body) };
            let heard = shared.market.hear(said, place, from, shared.clock.now());
            if let Heard::Contradicts(other) = &heard {
                tell(shared, place, other, &body);
            }
            heard
        }
    };
    shared.metrics.offers.add(heard.name());
    match heard {
        // Both go on as they are: whoever has one is convinced by the other.
        Heard::Kept | Heard::Contradicts(_) => Verdict::Accept,
        Heard::Dropped(_) => Verdict::Ignore,
    }
}

/// Whether the signature is right; nothing where this node is stopping.
async fn verify(unverified: Unverified<Offer>) -> Option<Result<Verified<Offer>, ()>> {
    let verified = tokio::task::spawn_blocking(move || unverified.verify()).await;
    verified.ok().map(|verified| verified.map_err(|_| ()))
}

/// Hands two offers of one number to the witness, under the process at whose place they were said: on a shard, one
/// that this node serves there.
fn tell(shared: &Shared, place: Place, one: &Body, other: &Body) {
    let process = match place {
        Place::Process(process) => Some(process),
        Place::Shard(shard) => shared.lobby.serves_in(shard),
    };
    if let Some((process, evidence)) = process.zip(Evidence::of_offers(one, other)) {
        shared.witness.found(process, evidence);
    }
}

/// Decides about two offers of one messenger that a peer brought on the topic of a process. They are worth something
/// only of one that is known to offer there: anybody can make keys that contradict themselves.
pub async fn judge_evidence(shared: &Shared, process: Id, unverified: Unverified<Evidence>) -> Verdict {
    let culprit = unverified.claims().culprit();
    if !shared.market.knows(&culprit, Place::Process(process)) {
        return Verdict::Ignore;
    }
    let verified = tokio::task::spawn_blocking(move || unverified.verify()).await;
    match verified {
        Ok(Ok(verified)) => {
            let is_news = shared.witness.brought(process, verified).await;
            // Once: the same two offers, brought again, say nothing new of it.
            if is_news {
                shared.market.convict(culprit, shared.clock.now());
            }
            if is_news { Verdict::Accept } else { Verdict::Ignore }
        }
        Ok(Err(_)) => Verdict::Reject,
        Err(_) => Verdict::Ignore,
    }
}
