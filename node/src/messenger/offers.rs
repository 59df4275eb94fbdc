//! This messenger's own offers, and those of others on the topics of the processes it carries for.

use weft_protocol::limits::TIMESTAMP_AHEAD_MS_MAX;
use weft_protocol::offer::{Offer, OfferTerms};
use weft_protocol::{Hash, Network, Now, Verified};

use weft_protocol::crypto::Signer;

/// How long an offer stands, in milliseconds.
pub const OFFER_MS: u64 = 120_000;
/// How often an offer is made again, in milliseconds.
pub const REPEAT_MS: u64 = 40_000;

/// How soon after its last offer a messenger offers again for one that is new on a topic and cannot
/// have heard it, in milliseconds.
pub const NEWCOMER_MS: u64 = 1_000;

/// Whether an offer holds now, by clocks that differ no more than those of a scheduler may.
pub fn is_current(offer: &Offer, now: Now) -> bool {
    let terms = offer.terms();
    terms.valid_from <= now.plus_ms(TIMESTAMP_AHEAD_MS_MAX).0 && now.0 < terms.valid_to
}

/// An offer to carry for nothing: prices come with the market.
///
/// # Errors
/// None for an ed25519 key; an RSA key cannot make offers.
pub fn make(
    signer: &Signer,
    network: Network,
    now: Now,
) -> Result<Verified<Offer>, weft_protocol::offer::OfferError> {
    let terms = OfferTerms {
        network,
        // The time in milliseconds only grows, across restarts too.
        sequence: now.0,
        shards: Vec::new(),
        classes: 0,
        price_per_push: 0,
        price_per_kib: 0,
        max_kib: u32::try_from(weft_protocol::limits::ITEM_BYTES_MAX / 1024).unwrap_or(u32::MAX),
        capacity_per_s: 100,
        latency_p50_ms: 0,
        stake: Hash::ZERO,
        valid_from: now.0,
        valid_to: now.plus_ms(OFFER_MS).0,
    };
    terms.sign(signer)
}
