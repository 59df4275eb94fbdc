//! What arweave-rs does for us: wallets that pay, roots and chunks of bytes of our own. The only file that uses it;
//! foreign bytes never get here, because its parsers panic on them.

use std::path::Path;

use arweave_rs::crypto::Provider;
use arweave_rs::crypto::hash::hash_all_sha256;
use arweave_rs::crypto::merkle::{self, Helpers as _, Node};
use bytes::Bytes;
use weft_protocol::crypto::{SignatureError, Signer};
use weft_protocol::l1::chunk::ChunkProof;
use weft_protocol::l1::{L1Draft, L1Error, L1Tx};
use weft_protocol::{Address, Hash, Verified};

use super::AnchorError;

/// Bytes of a wallet's file: one has about 3,200.
const WALLET_BYTES_MAX: u64 = 64 * 1024;

/// An Arweave wallet: an RSA key that pays for transactions. It signs in milliseconds, so off the request path.
pub struct Wallet {
    provider: Provider,
    owner: Bytes,
    address: Address,
}

impl std::fmt::Debug for Wallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wallet({})", self.address)
    }
}

impl Wallet {
    /// Reads the file of a JSON Web Key.
    ///
    /// # Errors
    /// [`AnchorError::Wallet`].
    pub fn load(path: &Path) -> Result<Self, AnchorError> {
        let wrong = |why: String| AnchorError::Wallet { path: path.display().to_string(), why };
        let bytes = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if bytes > WALLET_BYTES_MAX {
            return Err(wrong(format!("it has {bytes} bytes; a wallet has at most {WALLET_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        // The library panics on keys that are none, so each is read by our own reader first.
        let key = Signer::from_jwk(&text).map_err(|error| wrong(error.to_string()))?;
        let provider =
            Provider::from_keypair_path(path.to_owned()).map_err(|error| wrong(error.to_string()))?;
        let owner = Bytes::from(provider.keypair_modulus().0);
        let wallet = Self { provider, address: Address::of_key(&owner), owner };
        if wallet.address == key.address() {
            Ok(wallet)
        } else {
            Err(wrong("it was read in two ways".into()))
        }
    }

    /// Its address, which has the money.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs a transaction; two signatures of one draft differ.
    ///
    /// # Errors
    /// What is over its limit, or that signing failed.
    pub fn sign(&self, draft: L1Draft) -> Result<Verified<L1Tx>, L1Error> {
        draft.sign_with(self.owner.clone(), |hash| {
            let signed = self.provider.sign(hash);
            signed.map(|signed| signed.0.into()).map_err(|error| SignatureError::Signing(error.to_string()))
        })
    }
}

/// The data root of bytes of our own, as Arweave chunks and hashes them; none for no bytes.
pub fn data_root(bytes: &[u8]) -> Option<Hash> {
    // The library panics on no data at all.
    if bytes.is_empty() {
        return None;
    }
    let leaves = merkle::generate_leaves(bytes.to_vec()).ok()?;
    root(leaves)
}

/// The chunks in which bytes of our own travel, each with its proof. Copies the bytes once.
pub fn chunks(bytes: &[u8]) -> Vec<ChunkProof> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let Ok(leaves) = merkle::generate_leaves(bytes.to_vec()) else { return Vec::new() };
    let ranges: Vec<_> = leaves
        .iter()
        .map(|leaf| (leaf.min_byte_range..leaf.max_byte_range, leaf.data_hash.unwrap_or_default()))
        .collect();
    let proofs = merkle::generate_data_root(leaves).and_then(|root| merkle::resolve_proofs(root, None));
    let Ok(proofs) = proofs else { return Vec::new() };
    // A last leaf of no bytes is proven too, and nobody takes it.
    let whole = ranges.into_iter().zip(proofs).filter(|((range, _), _)| !range.is_empty());
    whole
        .map(|((range, data_hash), proof)| ChunkProof {
            range,
            data_hash: Hash(data_hash),
            data_path: proof.proof.into(),
        })
        .collect()
}

/// The transactions root of a block, as Arweave builds it: the tree of chunks, with the data
/// roots as the chunks. `None` without transactions.
pub(crate) fn transactions_root(transactions: impl Iterator<Item = (Hash, u64)>) -> Option<Hash> {
    let mut end = 0_usize;
    let leaves = transactions.map(|(data_root, bytes)| {
        let start = end;
        end = end.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        Node {
            id: hash_all_sha256(vec![&data_root.0, &end.to_note_vec()]),
            data_hash: Some(data_root.0),
            min_byte_range: start,
            max_byte_range: end,
            left_child: None,
            right_child: None,
        }
    });
    root(leaves.collect())
}

fn root(leaves: Vec<Node>) -> Option<Hash> {
    if leaves.is_empty() {
        return None;
    }
    merkle::generate_data_root(leaves).ok().map(|root| Hash(root.id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::l1::L1Tag;
    use weft_protocol::l1::chunk::{self, CHUNK_BYTES_MAX};

    use super::*;

    fn wallet() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/wallet.json")
    }

    #[test]
    fn a_wallet_signs_what_our_own_reader_takes() {
        let wallet = Wallet::load(&wallet()).unwrap();
        let draft = L1Draft {
            reward: 12,
            last_tx: vec![7; 48].into(),
            tags: vec![L1Tag::new("Bundle-Format", "binary")],
            data: "bundle".into(),
            ..L1Draft::default()
        };
        let tx = wallet.sign(draft.clone()).unwrap();
        let read = L1Tx::parse_json(tx.to_json().as_bytes()).unwrap().verify().unwrap();
        assert_eq!((read.owner(), read.reward(), read.id()), (wallet.address(), 12, tx.id()));
        assert_ne!(wallet.sign(draft).unwrap().id(), tx.id(), "each signature is another");
    }

    #[test]
    fn what_is_no_wallet_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wallet.json");
        let error = |path: &Path| Wallet::load(path).unwrap_err().to_string();
        assert!(error(&path).contains("wallet.json"), "{}", error(&path));
        for text in ["", "{}", r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#] {
            std::fs::write(&path, text).unwrap();
            assert!(error(&path).contains("wallet.json"), "{text}");
        }
        std::fs::File::create(&path).unwrap().set_len(WALLET_BYTES_MAX + 1).unwrap();
        assert!(error(&path).contains("at most 65536"), "{}", error(&path));
    }

    #[test]
    fn chunks_are_those_of_the_protocol() {
        for size in [0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 * CHUNK_BYTES_MAX, 700_000] {
            let data: Vec<u8> = (0..size).map(|at| (at / 7) as u8 ^ (at >> 13) as u8).collect();
            assert_eq!(chunks(&data), chunk::prove_chunks(&data), "{size}");
            assert_eq!(data_root(&data), chunk::data_root(&data), "{size}");
        }
    }
}
