//! The functions of [`guest`] inside of a guest (`wasm32`): the plain format's host computes them,
//! with this very crate, so that what a ledger accepts is what every node accepts.
//!
//! A guest has no keys, so nothing here signs: [`Signer`] has no value.

use super::{SignatureError, SignatureType};
use crate::id::{Address, Hash};

/// What [`crate::crypto::guest`] is elsewhere.
pub mod guest {
    mod import {
        #[link(wasm_import_module = "weft")]
        unsafe extern "C" {
            pub(super) fn sha256(data: *const u8, length: usize, out: *mut u8);
            pub(super) fn sha384(data: *const u8, length: usize, out: *mut u8);
            pub(super) fn keccak256(data: *const u8, length: usize, out: *mut u8);
            pub(super) fn blake3(data: *const u8, length: usize, out: *mut u8);
            pub(super) fn ed25519_verify(
                key: *const u8,
                signature: *const u8,
                data: *const u8,
                length: usize,
            ) -> i32;
            pub(super) fn rsa_pss_verify(
                modulus: *const u8,
                signature: *const u8,
                data: *const u8,
                length: usize,
            ) -> i32;
            pub(super) fn secp256k1_recover(hash: *const u8, signature: *const u8, out: *mut u8) -> i32;
        }
    }

    /// Runs a hash of the host: `N` is what it writes.
    fn digest<const N: usize>(
        import: unsafe extern "C" fn(*const u8, usize, *mut u8),
        data: &[u8],
    ) -> [u8; N] {
        let mut out = [0; N];
        // SAFETY: the host reads `data` and writes the `N` bytes of its hash, which is `out`.
        unsafe { import(data.as_ptr(), data.len(), out.as_mut_ptr()) };
        out
    }

    /// SHA-256.
    pub fn sha256(data: &[u8]) -> [u8; 32] {
        digest(import::sha256, data)
    }

    /// SHA-384.
    pub fn sha384(data: &[u8]) -> [u8; 48] {
        digest(import::sha384, data)
    }

    /// Keccak-256 as Ethereum uses it, not SHA3-256.
    pub fn keccak256(data: &[u8]) -> [u8; 32] {
        digest(import::keccak256, data)
    }

    /// BLAKE3, 32 bytes.
    pub fn blake3(data: &[u8]) -> [u8; 32] {
        digest(import::blake3, data)
    }

    /// Whether a 64-byte ed25519 signature of this 32-byte key over the message is valid, strictly.
    pub fn ed25519_verify(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (<&[u8; 32]>::try_from(key), <&[u8; 64]>::try_from(signature)) else {
            return false;
        };
        // SAFETY: the host reads 32, 64 and `message.len()` bytes.
        unsafe {
            import::ed25519_verify(key.as_ptr(), signature.as_ptr(), message.as_ptr(), message.len()) == 1
        }
    }

    /// Whether a 512-byte RSA-PSS signature (SHA-256, any salt length, exponent 65537) of this
    /// 512-byte modulus over the message is valid.
    pub fn rsa_pss_verify(modulus: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let (Ok(modulus), Ok(signature)) =
            (<&[u8; 512]>::try_from(modulus), <&[u8; 512]>::try_from(signature))
        else {
            return false;
        };
        // SAFETY: the host reads 512, 512 and `message.len()` bytes.
        unsafe {
            import::rsa_pss_verify(modulus.as_ptr(), signature.as_ptr(), message.as_ptr(), message.len()) == 1
        }
    }

    /// The uncompressed key (4, x, y) that made a 65-byte signature (r, s, v) over a 32-byte
    /// digest. `None` unless s is in the lower half and v is 27 or 28.
    pub fn secp256k1_recover(digest: &[u8], signature: &[u8]) -> Option<[u8; 65]> {
        let digest: &[u8; 32] = digest.try_into().ok()?;
        let signature: &[u8; 65] = signature.try_into().ok()?;
        let mut key = [0; 65];
        // SAFETY: the host reads 32 and 65 bytes, and writes 65.
        let found =
            unsafe { import::secp256k1_recover(digest.as_ptr(), signature.as_ptr(), key.as_mut_ptr()) };
        (found == 1).then_some(key)
    }
}

/// Strict ed25519.
pub(super) mod ed25519 {
    use super::{SignatureError, guest};

    pub(in crate::crypto) const KEY_BYTES: usize = 32;
    pub(in crate::crypto) const SIGNATURE_BYTES: usize = 64;

    /// Checks an ed25519 signature strictly.
    ///
    /// # Errors
    /// [`SignatureError::Key`] or [`SignatureError::Mismatch`].
    pub fn verify(owner: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if owner.len() != KEY_BYTES {
            return Err(SignatureError::Key);
        }
        guest::ed25519_verify(owner, message, signature).then_some(()).ok_or(SignatureError::Mismatch)
    }
}

/// RSA-PSS 4096.
pub(super) mod rsa {
    use super::{SignatureError, guest};

    pub(in crate::crypto) const MODULUS_BYTES: usize = 512;

    pub(in crate::crypto) fn verify(
        modulus: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        if modulus.len() != MODULUS_BYTES {
            return Err(SignatureError::Key);
        }
        guest::rsa_pss_verify(modulus, message, signature).then_some(()).ok_or(SignatureError::Mismatch)
    }
}

/// Keys of secp256k1, from signatures.
pub(super) mod recovery {
    /// Whether these bytes may be a key: only one that was recovered is compared with it.
    pub(in crate::crypto) fn is_key(owner: &[u8]) -> bool {
        owner.first() == Some(&4)
    }

    pub(in crate::crypto) fn recover(digest: &[u8; 32], signature: &[u8]) -> Option<[u8; 65]> {
        super::guest::secp256k1_recover(digest, signature)
    }
}

/// A key that signs: there is none in a guest.
#[derive(Debug, Clone)]
pub enum Signer {}

impl Signer {
    /// The scheme this key signs with.
    pub const fn signature_type(&self) -> SignatureType {
        match *self {}
    }

    /// The public key as it stands in an item's owner.
    pub const fn owner_key(&self) -> Vec<u8> {
        match *self {}
    }

    /// The address of the public key.
    pub const fn address(&self) -> Address {
        match *self {}
    }

    /// Signs bytes.
    ///
    /// # Errors
    /// None: it is never called.
    pub const fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        match *self {}
    }
}

/// What the rules use of the crates that hash elsewhere.
pub(crate) trait Digest: Sized {
    /// The hash's bytes.
    type Output;

    /// A hash of nothing yet.
    fn new() -> Self;
    /// Adds bytes.
    fn update(&mut self, data: impl AsRef<[u8]>);
    /// The hash of what was added.
    fn finalize(self) -> Self::Output;

    /// Adds bytes.
    fn chain_update(mut self, data: impl AsRef<[u8]>) -> Self {
        self.update(data);
        self
    }

    /// The hash of these bytes.
    fn digest(data: impl AsRef<[u8]>) -> Self::Output {
        Self::new().chain_update(data).finalize()
    }
}

/// A hash that collects its bytes, as the host takes them in one piece.
macro_rules! collected {
    ($name:ident, $hash:path, $bytes:literal) => {
        #[doc = concat!("What ", stringify!($hash), " will hash.")]
        #[derive(Debug, Clone)]
        pub(crate) struct $name(Vec<u8>);

        impl Digest for $name {
            type Output = [u8; $bytes];

            fn new() -> Self {
                Self(Vec::new())
            }

            fn update(&mut self, data: impl AsRef<[u8]>) {
                self.0.extend_from_slice(data.as_ref());
            }

            fn finalize(self) -> [u8; $bytes] {
                $hash(&self.0)
            }
        }
    };
}

collected!(Sha256, guest::sha256, 32);
collected!(Sha384, guest::sha384, 48);
collected!(Keccak256, guest::keccak256, 32);

/// What the BLAKE3 crate's hasher is elsewhere.
#[derive(Debug)]
pub(crate) struct Blake3(Vec<u8>);

impl Blake3 {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn update(&mut self, data: &[u8]) -> &mut Self {
        self.0.extend_from_slice(data);
        self
    }

    pub(crate) fn finalize(&self) -> Hash {
        blake3_of(&self.0)
    }
}

pub(crate) fn blake3_of(data: &[u8]) -> Hash {
    Hash(guest::blake3(data))
}
