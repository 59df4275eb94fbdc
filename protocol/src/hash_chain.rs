//! The hash chain of a log: each link commits to every assignment before it.
//!
//! The rule is the reference SU's: slot 0 hashes the process id, slot n the id of assignment
//! n-1 and then the link of slot n-1.

use crate::hashing::{Digest, Sha256};
use crate::id::{Hash, Id};

/// The link of slot 0.
pub fn first(process: Id) -> Hash {
    Hash(Sha256::digest(process.0).into())
}

/// The link after the slot whose assignment has the id `assignment` and whose link is `link`.
pub fn next(assignment: Id, link: Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(assignment.0);
    hasher.update(link.0);
    Hash(hasher.finalize().into())
}
