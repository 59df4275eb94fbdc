//! Which bundle of a weave holds a slot, by the word of one gateway, with its bytes proven.

use bytes::Bytes;
use weft_protocol::{Address, Hash, Id};

use super::ask::{self, Question};
use super::gateway::{Gateway, GatewayError};
use super::given::{GivenBundle, Proof};

/// A bundle that is the bytes that its name or its signed transaction commits to. That it is in a block is not
/// proven by it.
pub(crate) struct Holding {
    /// Its transaction, or the root of its bytes.
    pub(crate) id: Id,
    /// The root of its bytes.
    pub(crate) root: Hash,
    pub(crate) bytes: Bytes,
}

/// Asks a gateway for the bundle in which this assignment is; none where it knows of none, or gives something else.
///
/// # Errors
/// Why it gave no answer.
pub(crate) async fn holding(
    gateway: &mut Gateway,
    (process, scheduler): (Id, Address),
    (slot, assignment): (u64, Id),
) -> Result<Option<Holding>, GatewayError> {
    let question = Question::Assignments { process, scheduler, slots: slot..slot.saturating_add(1) };
    let listed = ask::read(gateway.query(&question.to_json()).await?).unwrap_or_default();
    let bundle = listed.into_iter().find(|one| one.id == assignment).and_then(|one| one.bundle);
    let Some(id) = bundle else { return Ok(None) };
    let given = match GivenBundle::ask(gateway, id).await {
        Err(error) if error.is_unknown() => return Ok(None),
        given => given?,
    };
    match given {
        GivenBundle { bytes, root: Some(root), proof: Proof::Shown } => Ok(Some(Holding { id, root, bytes })),
        GivenBundle { proof: Proof::Unknown(error), .. } if !error.is_unknown() => Err(error),
        _ => Ok(None),
    }
}
