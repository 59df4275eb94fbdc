//! The outside observer: it watches every process on every node and keeps all that any of them
//! ever shows.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;
use weft_node::control::api::{Reply, Request, WatchEvent};
use weft_node::control::client::{ClientError, typed};
use weft_protocol::{Id, Position};

use super::evidence::Sightings;
use crate::node::Door;

/// How long until a node that went away is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(40);
/// Slots that a node shows again after it came back: those around its end, when it was killed.
const AGAIN: u64 = 200;

/// Watches until it is dropped.
pub(crate) async fn watch(doors: &[Door], processes: &[Id], seen: &RefCell<Sightings>) {
    let all = doors.iter().flat_map(|door| processes.iter().map(|process| one(door, *process, seen)));
    join_all(all).await;
}

async fn one(door: &Door, process: Id, seen: &RefCell<Sightings>) -> Infallible {
    let mut next = 0;
    loop {
        // A node that is down or was killed is what this is about.
        if let Err(ClientError::Malformed { reason }) = follow(door, process, &mut next, seen).await {
            seen.borrow_mut().alarm(door.node(), process, &reason);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Takes in what a node shows, until it goes away.
async fn follow(
    door: &Door,
    process: Id,
    next: &mut u64,
    seen: &RefCell<Sightings>,
) -> Result<(), ClientError> {
    let node = door.node();
    let mut client = door.open().await?;
    client.send(&Request::Watch { process, from: Some(next.saturating_sub(AGAIN)) }).await?;
    loop {
        let event = match client.reply().await? {
            Reply::Event(value) => typed::<WatchEvent>(value)?,
            Reply::Done(_) | Reply::Error(_) => return Ok(()),
        };
        let mut seen = seen.borrow_mut();
        match event {
            WatchEvent::Slot(slot) => {
                *next = (*next).max(slot.slot + 1);
                seen.slot(process, node, slot.slot, slot.assignment);
                if let Some(running) = slot.running {
                    let position = Position { epoch: slot.epoch, slot: slot.slot, tick: 0 };
                    seen.running(process, node, position, running);
                }
            }
            WatchEvent::Outcome { position, running, .. } => seen.running(process, node, position, running),
            // An attestor's word may be shown by any node; it must be what everybody computed.
            WatchEvent::Attestation { position, running, attestor } => {
                if !seen.is_liar(attestor) {
                    seen.running(process, node, position, running);
                }
            }
            WatchEvent::Alarm { text } => seen.alarm(node, process, &text),
            // Nodes are killed all the time here, and what they were told before stays true.
            WatchEvent::Freshness { .. } => {}
            // It promises nothing.
            WatchEvent::Waits { .. } => {}
        }
    }
}
