//! What the scenarios with many messages share: how many, and what must hold of every log in the
//! end.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use weft_node::control::api::{ProcessDetail, Request, SlotInfo, Submitted, VerifyReport};
use weft_protocol::{DataItem, Verified};
use weft_testnet::{Actor, AskError, Look, Open, Town, Trouble, until};
use weft_tests::full::is_full;

/// Items that are on their way to a scheduler at once.
const TOGETHER: usize = 16;
/// Slots that a node shows at once.
const SLOTS_PAGE: u64 = 1_000;
/// How long a replay of the longest log may take.
pub(crate) const REPLAY_WAIT: Duration = Duration::from_secs(1_800);
/// How long a node may stand still before it counts as stuck.
const STILL_WAIT: Duration = Duration::from_secs(120);

/// The count that the ordinary run has time for, or with `WEFT_FULL=1` the one that releases are
/// held to.
pub fn count(ordinary: usize, full: usize) -> usize {
    if is_full() { full } else { ordinary }
}

/// Hands over items, many at once, so that their order is the scheduler's.
pub async fn submit_all(town: &Town<'_>, items: &[Verified<DataItem>]) -> Result<Vec<Submitted>, Trouble> {
    let submitted = stream::iter(items).map(|item| town.submit(item)).buffer_unordered(TOGETHER);
    submitted.collect::<Vec<_>>().await.into_iter().collect()
}

/// The whole log of a process as its scheduler has it.
pub async fn log(town: &Town<'_>, actor: &Actor) -> Result<Vec<SlotInfo>, AskError> {
    let mut log = Vec::new();
    loop {
        let page = town.slots(actor, actor.scheduler, log.len() as u64).await?;
        let is_last = (page.len() as u64) < SLOTS_PAGE;
        log.extend(page);
        if is_last {
            return Ok(log);
        }
    }
}

/// Waits until a log has so many slots of this action, however long, as long as it grows.
pub async fn grows_to(
    town: &Town<'_>,
    actor: &Actor,
    action: &str,
    wanted: usize,
) -> Result<Vec<SlotInfo>, Trouble> {
    let (mut log, mut found) = (Vec::<SlotInfo>::new(), 0);
    while found < wanted {
        let before = log.len();
        let what = format!("more of {wanted} slots with {action} in {}", actor.name);
        let look = async || {
            let more = town.slots(actor, actor.scheduler, before as u64).await?;
            let seen = format!("{found} of them in {before} slots");
            Ok::<_, AskError>(if more.is_empty() { Look::NotYet(seen) } else { Look::There(more) })
        };
        let more = until(what, STILL_WAIT, look).await?;
        found += more.iter().filter(|slot| slot.action.as_deref() == Some(action)).count();
        log.extend(more);
    }
    Ok(log)
}

/// Waits until a node has computed a log up to a slot, however long, as long as it gets on.
pub async fn computes_to(town: &Town<'_>, actor: &Actor, node: usize, slot: u64) -> Result<(), Trouble> {
    let mut before = None;
    loop {
        let what = format!("node {node} to get on with {} towards slot {slot}", actor.name);
        let look = async || {
            let info = town.detail(actor, node, false).await?.info;
            let at = info.computed.map(|computed| computed.slot);
            let gets_on = at > before || at >= Some(slot);
            let seen = format!("head {:?}, computed {at:?}, fault {:?}", info.head, info.fault);
            Ok::<_, AskError>(if gets_on { Look::There(at) } else { Look::NotYet(seen) })
        };
        before = until(what, STILL_WAIT, look).await?;
        if before >= Some(slot) {
            return Ok(());
        }
    }
}

/// Waits until all of these nodes have computed a log to its end, expects equal states of them, and
/// replays it on one: every outcome must be what it was.
pub async fn is_sound(
    town: &Town<'_>,
    actor: &Actor,
    nodes: &[usize],
    open: &mut Open,
) -> Result<(), Trouble> {
    let head = town.detail(actor, actor.scheduler, false).await?.info.head.unwrap_or_default();
    let mut states = Vec::new();
    for node in nodes {
        computes_to(town, actor, *node, head).await?;
        let ProcessDetail { info, state_root, .. } = town.detail(actor, *node, true).await?;
        states.push((info.running, state_root));
    }
    open.that(
        format!("states of {} on nodes {nodes:?} after slot {head}", actor.name),
        "all alike",
        format!("{states:?}"),
        states.iter().all(|state| state.1.is_some() && *state == states[0]),
    );
    let request = Request::Verify { process: actor.id };
    let report: VerifyReport = town.ask(nodes[0], "to verify a process", &request, REPLAY_WAIT).await?;
    open.same("what a replay differs in", &None, &report.difference);
    open.equal("slots replayed", &(head + 1), &report.slots);
    Ok(())
}
