//! BLAKE3 of long inputs, on all cores.

/// Below it, waking another thread takes longer than hashing alone.
const ALONE_BYTES: usize = 128 * 1024;

/// Adds the bytes to the hash.
pub(super) fn update<'a>(hasher: &'a mut blake3::Hasher, bytes: &[u8]) -> &'a mut blake3::Hasher {
    if bytes.len() < ALONE_BYTES { hasher.update(bytes) } else { hasher.update_rayon(bytes) }
}
