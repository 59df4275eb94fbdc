//! Postage of unscheduled messages on a topic: RULES.md 6.15.
//!
//! A little work that anybody can check, so that a full topic can always be entered by paying
//! more, and never by asking somebody.

use crate::hashing::{Digest, Sha256};
use crate::id::{Id, Network};

/// Zero bits below which a stranger's pending message is not carried.
pub const POSTAGE_BITS_MIN: u32 = 18;
/// What a sender adds when its message got no slot in [`POSTAGE_RESEND_MS`].
pub const POSTAGE_BITS_STEP: u32 = 2;
/// Where senders stop raising: about a minute of one core.
pub const POSTAGE_BITS_MAX: u32 = 26;
/// How long a sender waits for a slot before it sends again with more postage.
pub const POSTAGE_RESEND_MS: u64 = 30_000;

/// What postage is paid for: one item on one process's topic.
#[derive(Debug, Clone)]
pub struct Postage {
    prefix: Sha256,
}

impl Postage {
    /// The postage of `item` to `process`.
    pub fn new(network: Network, process: Id, item: Id) -> Self {
        let prefix = Sha256::new()
            .chain_update(b"weft/postage/1")
            .chain_update(network.to_bytes())
            .chain_update(process)
            .chain_update(item);
        Self { prefix }
    }

    /// The leading zero bits that this nonce pays.
    pub fn bits(&self, nonce: u64) -> u32 {
        let digest = self.prefix.clone().chain_update(nonce.to_be_bytes()).finalize();
        let mut bits = 0;
        for byte in digest {
            bits += byte.leading_zeros();
            if byte != 0 {
                break;
            }
        }
        bits
    }

    /// The first of `tries` nonces from `start` that pays `bits`. The caller repeats the call,
    /// so that the search can be stopped or shared out.
    pub fn search(&self, bits: u32, start: u64, tries: u64) -> Option<u64> {
        (start..start.saturating_add(tries)).find(|&nonce| self.bits(nonce) >= bits)
    }
}

/// The bits to send with next time; None when the sender stops raising.
pub const fn raised(bits: u32) -> Option<u32> {
    let next = bits + POSTAGE_BITS_STEP;
    if next > POSTAGE_BITS_MAX { None } else { Some(next) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_first_paying_nonce_is_golden_and_pays_nowhere_else() {
        let postage = Postage::new(Network(5), Id([1; 32]), Id([2; 32]));
        let nonce = postage.search(POSTAGE_BITS_MIN, 0, 1 << 24).unwrap();
        assert_eq!(nonce, 23259);
        assert!(postage.bits(nonce) >= POSTAGE_BITS_MIN);
        for other in [
            Postage::new(Network(6), Id([1; 32]), Id([2; 32])),
            Postage::new(Network(5), Id([3; 32]), Id([2; 32])),
            Postage::new(Network(5), Id([1; 32]), Id([3; 32])),
        ] {
            assert!(other.bits(nonce) < POSTAGE_BITS_MIN);
        }
    }

    #[test]
    fn postage_is_raised_in_steps_to_its_ceiling() {
        let steps: Vec<u32> = std::iter::successors(Some(POSTAGE_BITS_MIN), |&bits| raised(bits)).collect();
        assert_eq!(steps, [18, 20, 22, 24, 26]);
    }
}
