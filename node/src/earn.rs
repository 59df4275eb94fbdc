//! Pay: what this node carried in its turn for processes in hard mode is claimed at their ledgers, and accounted for.
//!
//! `evidence` is written down with each push, so that no target can take it back; [`machine`] decides what is claimed
//! when, `notices` reads what the ledger says of it in a log that this node computes, `letters` makes the messages, `task`
//! is the loop. `doubt` looks at the claims of others, and challenges what the logs refute.
//!
//! Claims are made only at ledgers that are computed here: whether one was paid or challenged is then nobody's word.

mod doubt;
mod evidence;
mod letters;
pub mod machine;
mod notices;
mod owed;
mod task;

pub use doubt::DoubtTask;
pub use evidence::{AnswerError, Delivered, answer, keep};
pub use owed::{KEPT_EACH, KEPT_MAX, Look, Owing, Unpaid, owing, unpaid};
pub use task::EarnTask;
