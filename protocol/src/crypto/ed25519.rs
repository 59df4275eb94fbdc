//! Strict ed25519, the base of types 2, 4, 5 and 6.

use std::sync::{Mutex, PoisonError};

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

use super::SignatureError;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub(super) const SIGNATURE_BYTES: usize = 64;

/// Places for keys that are kept ready, a power of two: more than the busiest senders of a node, in 200 KiB.
const READY: usize = 1_024;

/// Keys as points, each at the place that its first bytes say, where the next one takes it. To find the point of a
/// key takes a tenth of checking a signature, and a log has the same keys again and again.
static READY_KEYS: [Mutex<Option<VerifyingKey>>; READY] = [const { Mutex::new(None) }; READY];

/// The y of each point of small order, of both signs: of order four, one, two, and twice eight.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Checks an ed25519 signature strictly: canonical S, neither key nor R of small order, and the
/// equation without cofactor, so that every implementation of these rules agrees.
///
/// # Errors
/// [`SignatureError::Key`] or [`SignatureError::Mismatch`].
pub fn verify(owner: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let key = point(owner.try_into().map_err(|_| SignatureError::Key)?)?;
    let signature: &[u8; SIGNATURE_BYTES] = signature.try_into().map_err(|_| SignatureError::Mismatch)?;
    // The library holds the bytes of R against the one encoding of the point that R must be. So an R of small order that
    // it takes is one of these encodings, and R need not be made a point to see that.
    let mut y: [u8; 32] = std::array::from_fn(|at| signature[at]);
    y[31] &= 0x7f;
    if SMALL_ORDER_Y.contains(&y) {
        return Err(SignatureError::Mismatch);
    }
    key.verify(message, &Signature::from_bytes(signature)).map_err(|_| SignatureError::Mismatch)
}

/// The point that a key is, if that is one of large order.
fn point(bytes: &[u8; KEY_BYTES]) -> Result<VerifyingKey, SignatureError> {
    let place = usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % READY;
    let ready = || READY_KEYS[place].lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = ready().filter(|key| key.as_bytes() == bytes) {
        return Ok(key);
    }
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| SignatureError::Key)?;
    if key.is_weak() {
        return Err(SignatureError::Key);
    }
    *ready() = Some(key);
    Ok(key)
}
