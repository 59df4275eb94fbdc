//! What a push pays, and whether it does.

use crate::offer::OfferTerms;

/// How long each rank waits for the one before it, in milliseconds.
pub const TURN_MS: u64 = 2_000;
/// Ranks that are paid, from 0 on; after them anyone may push, for nothing.
pub const RANKS_PAID: usize = 5;

/// Why a push by a messenger of the set pays nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unpaid {
    /// A rank that is not paid.
    #[error("rank {0} is not paid; ranks 0 to {last} are", last = RANKS_PAID - 1)]
    Rank(usize),
    /// It came before the rank's turn.
    #[error("rank {rank} carried it after {after_ms} ms, before its turn at {turn_ms} ms")]
    Early {
        /// The messenger's rank.
        rank: usize,
        /// From the source's slot to the target's.
        after_ms: u64,
        /// When its turn began.
        turn_ms: u64,
    },
}

/// When the turn of a rank begins, in milliseconds after the source's slot; none if it has none.
pub const fn turn(rank: usize) -> Option<u64> {
    if rank < RANKS_PAID { Some(rank as u64 * TURN_MS) } else { None }
}

/// Decides whether a push by this rank is paid, by the timestamps of two slots: the source's that
/// let the entry be computed and the target's that holds the push.
///
/// # Errors
/// Why it is not.
pub fn due(rank: usize, sent: u64, accepted: u64) -> Result<(), Unpaid> {
    let turn_ms = turn(rank).ok_or(Unpaid::Rank(rank))?;
    // Two schedulers' clocks: one that is behind has given no time at all.
    let after_ms = accepted.saturating_sub(sent);
    if after_ms < turn_ms { Err(Unpaid::Early { rank, after_ms, turn_ms }) } else { Ok(()) }
}

/// What an offer asks for a push of so many bytes of data; at most `u64::MAX`.
pub const fn price(offer: &OfferTerms, bytes: u64) -> u64 {
    let data = started_kib(bytes).saturating_mul(offer.price_per_kib);
    offer.price_per_push.saturating_add(data)
}

/// Started KiB of so many bytes.
pub(super) const fn started_kib(bytes: u64) -> u64 {
    bytes.div_ceil(1_024)
}
