//! Pay: what this node carried in its turn for processes in hard mode is claimed at their ledgers, and accounted for.
//!
//! `evidence` is written down with each push, so that no target can take it back; [`machine`] decides what is claimed
//! when, `notices` reads what the ledger says of it, `letters` makes the messages, `task` is the loop. `doubt` looks at the
//! claims of others, and challenges what the logs refute.
//!
//! Whether a claim was paid or challenged is nowhere one other node's word: a ledger that is computed here is read here, and
//! of any other counts what a quorum of its attestors signed (`elsewhere`; `ledgers` says which are asked and when).

mod doubt;
mod elsewhere;
mod evidence;
mod ledgers;
mod letters;
pub mod machine;
mod notices;
mod owed;
mod pace;
mod task;

pub use doubt::DoubtTask;
pub use elsewhere::{Standing, Standings};
pub use evidence::{AnswerError, Delivered, answer, keep};
pub use owed::{KEPT_EACH, KEPT_MAX, Look, Owing, Unpaid, owing, unpaid};
pub use task::EarnTask;
