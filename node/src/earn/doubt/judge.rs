//! What the logs say of a claim of another: its leaves one by one, until one is not owed.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use weft_protocol::Id;
use weft_protocol::market::{Leaf, Window};
use weft_protocol::process::Process;

use super::child::{self, Worth};
use super::list::Doubt;
use super::seen::{Claimed, Seen, from_target, read_claim};
use crate::error::NodeError;
use crate::market::sent::{Found, Push, find, stands_at};
use crate::shared::SharedRef;
use crate::supervisor::joined;

/// How long one is judged at a time: it goes on where it stopped, and others have their turn.
const JUDGED_WAIT: Duration = Duration::from_secs(60);
/// How long a target is waited for, and then the one who signs its log: nothing is known then.
const FOUND_WAIT: Duration = Duration::from_secs(10);
/// Leaves of one claim of which the target's log is looked at, in an order that nobody else knows. One false leaf loses a
/// claim: who lies in a tenth of the leaves is found.
const LEAVES_MAX: usize = 512;
/// How many of them at a time.
const LEAVES_STEP: usize = 16;

/// What comes of looking at a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This leaf is not owed, for this reason.
    False(u32, String),
    /// As far as is known here it is right.
    Right,
    /// It is over, or nothing of it is known here.
    Over,
    /// The leaf that is challenged is not answered for yet.
    Waits,
    /// It is.
    Answered(u32),
    /// The source's log, or what is evaluated of it, does not go far enough here.
    TooSoon,
    /// It takes long: so many leaves were looked for, and these of them name children that nobody shows yet.
    Further(usize, BTreeSet<u32>),
    /// So many were, which are all; these name such children.
    Unread(usize, BTreeSet<u32>),
    /// The source's log here ends before this leaf.
    Beyond(u32),
}

/// What the logs say of a claim.
///
/// # Errors
/// A damaged store.
pub async fn verdict(shared: &SharedRef, source: &Arc<Process>, doubt: &Doubt) -> Result<Verdict, NodeError> {
    let (began, opened) = (Instant::now(), doubt.opened);
    let (reading, of) = (SharedRef::clone(shared), Arc::clone(source));
    let read = tokio::task::spawn_blocking(move || read_claim(&reading, &of, opened));
    let Some(read) = joined(read.await) else { return Ok(Verdict::TooSoon) };
    let (window, mut leaves) = match read? {
        Claimed::Leaves(window, leaves) => (window, leaves),
        Claimed::ToCome => return Ok(Verdict::TooSoon),
        Claimed::Unknown => return Ok(Verdict::Right),
    };
    leaves.retain(|(number, ..)| !doubt.settled.contains(number));
    for (number, _, seen) in &leaves {
        match seen {
            Seen::NotSent(why) => return Ok(Verdict::False(*number, (*why).to_owned())),
            Seen::ToCome => return Ok(Verdict::TooSoon),
            Seen::Beyond => return Ok(Verdict::Beyond(*number)),
            Seen::Sent(_) | Seen::Spawned(..) | Seen::Unknown => {}
        }
    }
    leaves.retain(|(.., seen)| matches!(seen, Seen::Sent(_) | Seen::Spawned(..)));
    let drawn = |number: &u32| BuildHasherDefault::<DefaultHasher>::default().hash_one((doubt.order, number));
    leaves.sort_by_cached_key(|(number, ..)| drawn(number));
    // What needs no other log is looked at for all.
    for (number, leaf, seen) in &leaves {
        let worth = seen.worth_here(&window, &opened.messenger, leaf, shared.network);
        if let Worth::Refuted(why) = worth {
            return Ok(Verdict::False(*number, why));
        }
    }
    leaves.truncate(LEAVES_MAX);
    Ok(look_for(shared, source, doubt, &window, &leaves, began).await)
}

/// What other logs say of these leaves of a claim: first of those that were not looked for, and once all were, of those
/// of which nobody showed the child.
async fn look_for(
    shared: &SharedRef,
    source: &Process,
    doubt: &Doubt,
    window: &Window,
    leaves: &[(u32, Leaf, Seen)],
    began: Instant,
) -> Verdict {
    let (old, new) = leaves.split_at(doubt.looked.min(leaves.len()));
    let mut again: Vec<_> = old.iter().filter(|(number, ..)| doubt.unread.contains(number)).collect();
    let mut unread: BTreeSet<u32> = again.iter().map(|(number, ..)| *number).collect();
    // Each look begins with others: the time may be over before all had their turn.
    let first = (doubt.looks as usize * LEAVES_STEP) % again.len().max(1);
    again.rotate_left(first);
    let mut looked = old.len();
    let left: Vec<_> = if new.is_empty() { again } else { new.iter().collect() };
    for some in left.chunks(LEAVES_STEP) {
        if began.elapsed() > JUDGED_WAIT {
            let is_all = new.is_empty();
            return if is_all { Verdict::Unread(looked, unread) } else { Verdict::Further(looked, unread) };
        }
        let asked = some.iter().map(|(_, leaf, seen)| worth(shared, source, doubt, window, leaf, seen));
        for ((number, ..), worth) in some.iter().zip(join_all(asked).await) {
            match worth {
                Worth::Refuted(why) => return Verdict::False(*number, why),
                Worth::Right => unread.remove(number),
                Worth::Unread => unread.insert(*number),
            };
        }
        looked += if new.is_empty() { 0 } else { some.len() };
    }
    if unread.is_empty() { Verdict::Right } else { Verdict::Unread(looked, unread) }
}

/// What other logs say of a leaf.
async fn worth(
    shared: &SharedRef,
    source: &Process,
    doubt: &Doubt,
    window: &Window,
    leaf: &Leaf,
    seen: &Seen,
) -> Worth {
    let (messenger, network) = (&doubt.opened.messenger, shared.network);
    match seen {
        Seen::Sent(push) => {
            let (found, other) = found(shared, leaf, push).await;
            from_target(window, messenger, leaf, push, (&found, other), network)
                .map_or(Worth::Right, Worth::Refuted)
        }
        Seen::Spawned(push, told) => {
            let told = told.as_ref();
            let named = match told {
                // The source's own log says all of it.
                Some(told) if told.id == push.target => None,
                _ => Some(child::named(shared, source, push, FOUND_WAIT).await),
            };
            child::worth(window, messenger, leaf, push, (told, named), network)
        }
        Seen::NotSent(_) | Seen::ToCome | Seen::Beyond | Seen::Unknown => Worth::Right,
    }
}

/// Where a push stands, and where it is said to have no slot what is signed for the one that its leaf names.
async fn found(shared: &SharedRef, leaf: &Leaf, push: &Push) -> (Found, Option<Id>) {
    let silent = || Err("its target does not answer in time".to_owned());
    let found = tokio::time::timeout(FOUND_WAIT, find(shared, push)).await;
    let found = found.unwrap_or_else(|_| silent());
    let other = match &found {
        Ok(None) => {
            let signed = stands_at(shared, push.target, leaf.paid.target_slot);
            tokio::time::timeout(FOUND_WAIT, signed).await.ok().flatten().map(|stands| stands.assignment)
        }
        _ => None,
    };
    (found, other)
}

#[cfg(test)]
mod tests;
