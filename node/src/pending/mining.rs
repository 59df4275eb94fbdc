//! Work for postage, on a thread of its own and for half of its time.

use std::time::Instant;

use weft_protocol::postage::Postage;

/// Nonces that are tried without a pause: a fraction of a second.
const TRIES: u64 = 1 << 18;
/// Rounds of that for each bit combination: all but one of e^32 searches end sooner.
const ROUNDS_PER_EXPECTED: u64 = 32;

/// A nonce from `start` on that pays so much; none where luck was out of this world, or the node stops. Stops when it is
/// dropped.
pub(super) async fn mine(postage: Postage, bits: u32, start: u64) -> Option<u64> {
    let rounds = ((1_u64 << bits.min(40)) / TRIES + 1) * ROUNDS_PER_EXPECTED;
    for round in 0..rounds {
        let (postage, began) = (postage.clone(), Instant::now());
        let from = start.saturating_add(round * TRIES);
        let search = tokio::task::spawn_blocking(move || postage.search(bits, from, TRIES));
        if let Some(nonce) = search.await.ok()? {
            return Some(nonce);
        }
        // As long as it worked: what the node does for others has the other half.
        tokio::time::sleep(began.elapsed()).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use weft_protocol::{Id, Network};

    use super::*;

    #[tokio::test]
    async fn what_is_found_pays_from_where_it_began() {
        let postage = || Postage::new(Network(5), Id([1; 32]), Id([2; 32]));
        assert_eq!(mine(postage(), 18, 0).await, Some(23_259));
        let next = mine(postage(), 10, 23_260).await;
        assert!(next.is_some_and(|nonce| nonce >= 23_260 && postage().bits(nonce) >= 10));
    }
}
