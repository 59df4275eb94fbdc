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
