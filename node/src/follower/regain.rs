//! When a log of this node's own that may have lost its end is taken to have all of it again.

use std::collections::BTreeSet;

use weft_protocol::Address;
use weft_protocol::process::Process;

/// Who of the others that compute a log was asked and has no more of it.
///
/// Where nobody knows how many slots were signed, the log is whole when all of them said so: whoever
/// else may have seen a later slot, nobody could act on it.
#[derive(Debug, Default)]
pub struct Regain(BTreeSet<Address>);

impl Regain {
    /// Hears that `peer` has the log up to `slot`, where `slots` are here and `caught_up` says that
    /// nobody is known to have more. Answers whether the log is whole.
    pub fn hear(
        &mut self,
        process: &Process,
        node: Address,
        (peer, slot): (Address, u64),
        slots: u64,
        caught_up: bool,
    ) -> bool {
        let mut others = process.attestors().members;
        others.retain(|member| *member != node);
        if slot < slots && others.contains(&peer) {
            self.0.insert(peer);
        }
        caught_up && !others.is_empty() && others.iter().all(|other| self.0.contains(other))
    }
}
