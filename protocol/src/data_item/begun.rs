//! The deep hash of an item, whose beginning is the same for all that one key says to one process.

use std::sync::{Mutex, PoisonError};

use super::PREFIXES;
use crate::crypto::SignatureType;
use crate::deep_hash::{Chunk, DeepHash, Prefix};

/// Places for beginnings that are kept: more than the busiest pairs of sender and process of a node, in 200 KiB.
const KEPT: usize = 1_024;

/// A beginning that was hashed: that of a key of 32 bytes, with the target or nothing.
struct Begun {
    kind: SignatureType,
    owner: [u8; 32],
    target: Option<[u8; 32]>,
    prefix: Prefix,
}

static BEGUN: [Mutex<Option<Begun>>; KEPT] = [const { Mutex::new(None) }; KEPT];

/// What the signature of an item with these fields signs; those that it lacks are empty.
pub(super) fn signing_hash(
    kind: SignatureType,
    owner: &[u8],
    target: &[u8],
    anchor: &[u8],
    raw_tags: &[u8],
    data: Chunk<'_>,
) -> DeepHash {
    begun(kind, owner, target).end(&[Chunk::Blob(anchor), Chunk::Blob(raw_tags), data])
}

/// The beginning of the items of an owner for a target, a third of what a small item has to hash. So it is kept, at the
/// place that the first bytes of both say, where the next one takes it.
fn begun(kind: SignatureType, owner: &[u8], target: &[u8]) -> Prefix {
    let to = if target.is_empty() { Some(None) } else { target.try_into().map(Some).ok() };
    let (Ok(key), Some(to)) = (<[u8; 32]>::try_from(owner), to) else {
        return hashed(kind, owner, target);
    };
    let first = |bytes: &[u8; 32]| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    let place = (first(&key) ^ to.as_ref().map_or(0, first)) % KEPT;
    let kept = || BEGUN[place].lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(begun) = &*kept()
        && (begun.kind, begun.owner, begun.target) == (kind, key, to)
    {
        return begun.prefix;
    }
    let prefix = hashed(kind, owner, target);
    *kept() = Some(Begun { kind, owner: key, target: to, prefix });
    prefix
}

fn hashed(kind: SignatureType, owner: &[u8], target: &[u8]) -> Prefix {
    PREFIXES[usize::from(kind.number()) - 1].and(&[Chunk::Blob(owner), Chunk::Blob(target)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_would_be_hashed() {
        let kinds = [SignatureType::Ed25519, SignatureType::Solana, SignatureType::Rsa];
        // Those with a target of 32 bytes are all at one place, and those without one too: each takes it from the one before.
        let like = |bytes: [u8; 32]| [bytes, std::array::from_fn(|at| bytes[at] ^ u8::from(at == 31))];
        let (owners, processes) = (like([7; 32]), like([0; 32]));
        let targets = [&[][..], &processes[0], &processes[1], &[1; 5]];
        for _ in 0..2 {
            for kind in kinds {
                for owner in &owners {
                    for target in targets {
                        for _ in 0..2 {
                            assert_eq!(begun(kind, owner, target), hashed(kind, owner, target));
                        }
                    }
                }
            }
        }
        for (one, other) in [(0, 1), (1, 2)] {
            assert_ne!(
                begun(kinds[0], &owners[0], targets[one]),
                begun(kinds[0], &owners[0], targets[other])
            );
        }
        assert_ne!(begun(kinds[0], &owners[0], targets[1]), begun(kinds[0], &owners[1], targets[1]));
    }
}
