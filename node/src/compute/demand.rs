//! Which processes are evaluated only when somebody asks, and asking.
//!
//! What this node owes to others is always evaluated as it comes: the outcomes that it attests,
//! those whose outbox it carries, and the ticks that it keeps time for.

use weft_protocol::process::Process;
use weft_protocol::{Address, Id};
use weft_storage::{Roles, StoreError};

use crate::config::Evaluate;
use crate::news::News;
use crate::shared::Shared;

/// When the slots of a process are evaluated by the node of this address.
pub(super) fn policy(process: &Process, roles: Roles, node: Address) -> Evaluate {
    let has_duty = roles.messenges || roles.keeps_time || process.attestors().members.contains(&node);
    if roles.on_demand && !has_duty { Evaluate::Lazy } else { Evaluate::Eager }
}

/// Asks that a process which is evaluated on demand be evaluated up to a slot that is in its log: whoever waits
/// for a later one asks again, so that nobody has it evaluated from now on. The asking may be lost, as all news.
///
/// # Errors
/// The disk.
pub fn want(shared: &Shared, process: Id, slot: u64) -> Result<(), StoreError> {
    if shared.directory.roles(&process).is_some_and(|roles| roles.on_demand)
        && shared.store.read()?.head(&process)?.is_some_and(|(head, _)| slot <= head)
    {
        shared.news.tell(News::Wanted { process, slot });
    }
    Ok(())
}
