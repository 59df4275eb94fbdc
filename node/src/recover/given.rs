//! A bundle as a gateway gives it, held against what its name, or the signed transaction of that name, commits to.

use bytes::Bytes;
use weft_protocol::l1::{L1Tx, chunk};
use weft_protocol::{Hash, Id};

use super::gateway::{Gateway, GatewayError};
use crate::supervisor::joined;

/// A bundle as somebody gave it.
#[derive(Debug)]
pub(super) struct GivenBundle {
    pub(super) bytes: Bytes,
    /// The root of the bytes; none of no bytes.
    pub(super) root: Option<Hash>,
    pub(super) proof: Proof,
}

/// Whether bytes are those that their name, or its signed transaction, commits to. That they are in a block is not
/// shown by it.
#[derive(Debug)]
pub(super) enum Proof {
    Shown,
    /// Nobody gave the transaction.
    Unknown(GatewayError),
    /// They are others; what is wrong.
    False(String),
}

impl GivenBundle {
    /// Reads a bundle from a gateway; and its transaction, where the bundle is not named by its own bytes.
    ///
    /// # Errors
    /// Why there are no bytes.
    pub(super) async fn ask(gateway: &mut Gateway, id: Id) -> Result<Self, GatewayError> {
        let bytes = gateway.bundle(id).await?;
        Ok(Self::held_against(id, bytes, Some(gateway)).await)
    }

    /// Holds the bytes of a bundle against its name, and against its transaction if there is somebody to ask for it.
    pub(super) async fn held_against(id: Id, bytes: Bytes, gateway: Option<&mut Gateway>) -> Self {
        let raw = bytes.clone();
        let root = joined(tokio::task::spawn_blocking(move || chunk::data_root(&raw)).await).flatten();
        let transaction = match (root, gateway) {
            (Some(root), _) if root == Hash(id.0) => {
                return Self { bytes, root: Some(root), proof: Proof::Shown };
            }
            (Some(_), Some(gateway)) => gateway.transaction(id).await,
            _ => Err(GatewayError::Unknown("a transaction")),
        };
        let proof = match transaction {
            Ok(text) => {
                let judged = tokio::task::spawn_blocking(move || signs(id, root, &text)).await;
                joined(judged).unwrap_or_else(|| Proof::False("the work was cut off".to_owned()))
            }
            Err(error) => Proof::Unknown(error),
        };
        Self { bytes, root, proof }
    }
}

/// Whether a transaction is the one of this id, signed, and over data of this root.
fn signs(id: Id, root: Option<Hash>, text: &[u8]) -> Proof {
    match L1Tx::parse_json(text).and_then(|transaction| transaction.verify()) {
        Ok(signed) if signed.id() == id && signed.data_root() == root => Proof::Shown,
        Ok(_) => Proof::False(format!("the bytes of bundle {id} are not those of its transaction")),
        Err(error) => Proof::False(format!(
            "the bytes of bundle {id} are neither those of its name nor of a signed transaction: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::crypto::Signer;
    use weft_protocol::l1::L1Draft;

    use super::*;

    const WALLET: &str = include_str!("../../../tests/vectors/wallet.json");

    #[test]
    fn a_transaction_shows_the_bytes_that_were_signed_and_no_others() {
        let data = Bytes::from(vec![7; 300_000]);
        let root = chunk::data_root(&data);
        let signed = L1Draft { data: data.clone(), reward: 1, ..L1Draft::default() };
        let signed = signed.sign(&Signer::from_jwk(WALLET).unwrap()).unwrap();
        let (id, text) = (signed.id(), signed.to_header_json());
        assert!(matches!(signs(id, root, text.as_bytes()), Proof::Shown));
        let why = |id, root, text: &str| match signs(id, root, text.as_bytes()) {
            Proof::False(why) => why,
            other => format!("{other:?}"),
        };
        let other_root = chunk::data_root(&data.slice(1..));
        assert!(why(id, other_root, &text).contains("are not those of its transaction"));
        assert!(why(Id([1; 32]), root, &text).contains("are not those of its transaction"));
        let other_fee = text.replace("\"reward\":\"1\"", "\"reward\":\"2\"");
        assert_ne!(other_fee, text);
        assert!(why(id, root, &other_fee).contains("nor of a signed transaction"));
        assert!(why(id, root, "{}").contains("nor of a signed transaction"));
    }

    #[tokio::test]
    async fn bytes_under_their_own_root_need_no_transaction() {
        let bytes = Bytes::from_static(b"some bytes");
        let root = chunk::data_root(&bytes).unwrap();
        let given = GivenBundle::held_against(Id(root.0), bytes.clone(), None).await;
        assert!(matches!(given.proof, Proof::Shown) && given.root == Some(root));
        let given = GivenBundle::held_against(Id([1; 32]), bytes, None).await;
        assert!(matches!(given.proof, Proof::Unknown(_)) && given.root == Some(root));
        // Nothing has no root, and is nobody's bundle.
        let given = GivenBundle::held_against(Id([0; 32]), Bytes::new(), None).await;
        assert!(matches!(given.proof, Proof::Unknown(_)) && given.root.is_none());
    }
}
