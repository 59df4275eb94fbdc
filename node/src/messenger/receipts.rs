//! Receipts: what a messenger shows the others of a source when a push of it has its slot.

use weft_protocol::assignment::Assignment;
use weft_protocol::push::Source;
use weft_protocol::{Address, DataItem, Id, Network, wire};

use super::machine::{Input, PushId};
use crate::hosting;
use crate::pushed;
use crate::shared::Shared;

/// A receipt whose two items are what they say: a push of one outbox entry, and a slot of the
/// target's log that holds it. Whether the target's own scheduler signed the slot is still open.
#[derive(Debug)]
pub struct Receipt {
    push_id: PushId,
    target: Id,
    assignment: Id,
    signer: Address,
    /// What a spawn became, if the push is the news of that.
    child: Option<Id>,
}

/// Why a receipt is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReceipt {
    /// It is malformed or signed wrongly: no correct peer passes it on.
    Malformed,
    /// It is well-formed and shows something else than a push of this source.
    NoPush,
}

impl Receipt {
    /// Reads a receipt from the topic of `source` and checks its signatures; takes about as long
    /// as a slot record.
    ///
    /// # Errors
    /// What it is instead.
    pub fn read(source: Id, receipt: &wire::Receipt, network: Network) -> Result<Self, NoReceipt> {
        let malformed = |_| NoReceipt::Malformed;
        let position = wire::position(receipt.position.as_ref()).map_err(|_| NoReceipt::Malformed)?;
        let item = DataItem::verify_bytes(receipt.item.clone()).map_err(malformed)?;
        let signed = DataItem::verify_bytes(receipt.assignment.clone()).map_err(malformed)?;
        let assignment = Assignment::from_item(&signed).map_err(|_| NoReceipt::Malformed)?;
        let place = Source { process: source, position, index: receipt.index };
        let is_push = assignment.message == Some(item.id())
            && item.target() == Some(assignment.process)
            && pushed::is_of(&place, item.tags());
        let (target, signer) = (assignment.process, signed.owner());
        let child = item.tag("Process").and_then(|child| child.parse().ok());
        let push_id = place.push_id(network);
        let receipt = Self { push_id, target, assignment: assignment.id, signer, child };
        is_push.then_some(receipt).ok_or(NoReceipt::NoPush)
    }

    /// Of which push.
    pub const fn push_id(&self) -> PushId {
        self.push_id
    }

    /// In whose log the push has its slot.
    pub const fn target(&self) -> Id {
        self.target
    }

    /// What it settles, if the target's own scheduler signed the slot: that assigns a push only
    /// with a valid proof.
    pub async fn settles(self, shared: &Shared) -> Option<Input> {
        let target = hosting::find_process(shared, self.target).await.ok()?;
        let Self { push_id, assignment, child, .. } = self;
        (target.scheduler() == self.signer).then_some(Input::Receipt { push_id, assignment, child })
    }
}
