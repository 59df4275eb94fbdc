//! Marks: items with which a scheduler lets time pass in a log where nothing else happens
//! (RULES.md 6.6). A mark takes a slot and is not shown to the module.

use bytes::Bytes;

use crate::cron::{self, Schedule};
use crate::data_item::{DataItem, Draft};
use crate::hashing;
use crate::id::{Address, Id, Network};
use crate::market;
use crate::process::Process;
use crate::tag::Tag;
use crate::time::TimePoint;

/// The mark for a slot. Its anchor names the slot, so every mark of a log has its own id and a
/// scheduler that crashed builds the same one again.
pub fn draft(network: Network, process: Id, epoch: u64, slot: u64) -> Draft {
    let anchor = hashing::sha256(
        "weft/mark/1",
        &[&network.to_bytes(), &process.0, &epoch.to_be_bytes(), &slot.to_be_bytes()],
    );
    Draft {
        target: Some(process),
        anchor: Some(anchor.0),
        tags: vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", "Mark"), Tag::new("Variant", "ao.TN.1")],
        data: Bytes::new(),
    }
}

/// Whether `item`, in the log of `process` whose scheduler is `scheduler`, is a mark. An item of
/// anybody else that calls itself one is an ordinary message.
pub fn is_mark(item: &DataItem, process: Id, scheduler: Address) -> bool {
    item.tag("Type") == Some("Mark") && item.target() == Some(process) && item.owner() == scheduler
}

/// Whether an item at `slot`, which `scheduler` assigned, is one that it put there for the log itself, a mark or
/// an offer set, which the module is not shown.
pub fn is_of_log(process: &Process, scheduler: Address, item: &DataItem, slot: u64) -> bool {
    is_mark(item, process.id(), scheduler) || market::is_offer_set(process, scheduler, item, slot)
}

/// Whether a scheduler that is asked for `now` assigns a mark at `next`, after a slot at `last`:
/// when a tick is due between them. It takes a whole second that no other slot began, so there
/// is at most one mark a second.
pub fn is_due(schedule: &Schedule, last: TimePoint, next: TimePoint) -> bool {
    let Schedule { crons, origin } = schedule;
    next.timestamp / 1_000 > last.timestamp / 1_000 && cron::is_due(crons, *origin, last, next)
}
