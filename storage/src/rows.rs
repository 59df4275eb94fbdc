//! The typed rows, one file a subject. Values are plain data; nothing here is checked beyond
//! its form.

mod anchoring;
mod checkpoint;
mod earned;
mod log;
mod outcome;
mod plain;

pub use anchoring::{AnchoredRow, BatchRow, BatchState, PostingRow, PostingState};
pub use checkpoint::{CheckpointRow, PackedPage, PageRef};
pub use earned::{ChallengeRow, ClaimKey, ClaimRow, ClaimState, EarnedRow};
pub use log::{ProcessRow, Roles, SeenKey, SlotRow};
pub use outcome::{AttestationRow, CarriedRow, EvidenceRow, OutboxKey, OutboxRow, OutboxState, OutcomeRow};
pub(crate) use plain::{MetaRow, Nothing, Raw, SeenMark};
