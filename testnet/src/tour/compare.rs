//! One process on all nodes that compute it: equal logs, equal outcomes, equal state.

use std::time::Duration;

use futures::future::try_join_all;
use weft_node::control::api::{ProcessDetail, Request, SlotInfo, VerifyReport};
use weft_protocol::{Id, Position};

use super::counted;
use crate::check::Open;
use crate::error::AskError;
use crate::report::{ActorReport, ComputedReport};
use crate::screen::Screen;
use crate::town::{Actor, PATIENCE, Town, Trouble};
use crate::wait::{Look, until};

/// How long a replay may take.
const REPLAY_WAIT: Duration = Duration::from_secs(300);
/// Characters of a hash that a person compares.
const HASH_SHOWN: usize = 14;

/// Waits until every computing node has computed every slot and nothing is under way, then
/// compares.
pub(super) async fn compare(
    town: &Town<'_>,
    actor: &Actor,
    open: &mut Open,
) -> Result<(ActorReport, String), Trouble> {
    let what = format!("nodes {} to have computed all of {}", actor.node_list(), actor.name);
    let look = async || {
        let details = actor.computing.iter().map(|node| town.detail(actor, *node, false));
        let details = try_join_all(details).await?;
        Ok::<_, AskError>(match laggard(actor, &details) {
            Some(behind) => Look::NotYet(behind),
            None => Look::There(()),
        })
    };
    until(what, PATIENCE, look).await?;
    let slots = town.slots(actor, actor.scheduler, 0).await?;
    let computed = try_join_all(actor.computing.iter().map(|node| computed(town, actor, *node))).await?;
    let equal = computed.iter().all(|report| report.agrees(&computed[0]));
    for report in &computed {
        let what = format!("node {} has the same as node {}", report.node, actor.scheduler);
        open.same(what, &true, &report.agrees(&computed[0]));
    }
    let pushes = doubled(&slots);
    open.same("items with two slots", &Vec::<Id>::new(), &pushes);
    let said =
        format!("{}: {} slots, computed alike on nodes {}", actor.name, slots.len(), actor.node_list());
    let report = ActorReport {
        name: actor.name.clone(),
        process: actor.id,
        scheduler: actor.scheduler,
        attestors: actor.attestors.clone(),
        quorum: actor.quorum,
        slots,
        computed,
        equal,
    };
    Ok((report, said))
}

/// What is not done yet, if anything: the scheduler's head is what all must reach.
pub(crate) fn laggard(actor: &Actor, details: &[ProcessDetail]) -> Option<String> {
    let head = details.first().and_then(|detail| detail.info.head);
    actor.computing.iter().zip(details).find_map(|(node, detail)| {
        let info = &detail.info;
        if let Some(fault) = &info.fault {
            return Some(format!("node {node} has stopped: {fault}"));
        }
        let slot = info.computed.map(|position| position.slot);
        if head.is_none() || info.head != head || slot != head {
            return Some(format!(
                "node {node} has computed slot {slot:?} of {:?}, the head is {head:?}",
                info.head
            ));
        }
        let carries = info.duties.iter().any(|duty| duty == "messenger");
        let pending = detail.outbox_pending;
        (carries && pending > 0).then(|| format!("node {node} still has {pending} messages to carry"))
    })
}

/// Items that stand in more than one slot.
fn doubled(slots: &[SlotInfo]) -> Vec<Id> {
    let mut items: Vec<Id> = slots.iter().map(|slot| slot.item).collect();
    items.sort_unstable();
    let mut twice: Vec<Id> = items.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    twice.dedup();
    twice
}

pub(crate) async fn computed(
    town: &Town<'_>,
    actor: &Actor,
    node: usize,
) -> Result<ComputedReport, AskError> {
    let detail = town.detail(actor, node, true).await?;
    let last = town.slots(actor, node, detail.info.head.unwrap_or_default()).await?;
    Ok(ComputedReport {
        node,
        duties: detail.info.duties,
        head: detail.info.head,
        hash_chain: last.last().map(|slot| slot.hash_chain),
        position: detail.info.computed,
        running: detail.info.running,
        state_root: detail.state_root,
        outbox_pending: detail.outbox_pending,
    })
}

/// Replays a process on a node that does not schedule it and compares with what the others have.
pub(crate) async fn verify(
    town: &Town<'_>,
    actor: &Actor,
    known: &ActorReport,
    open: &mut Open,
) -> Result<((), String), Trouble> {
    let node = actor.witness();
    // The newest position is attested when the log has been quiet for a while.
    let head = known.slots.last().map_or(0, |slot| slot.slot);
    let look = async || {
        let by = town.result(actor, node, head).await?.attested_by;
        let seen = format!("{} attestations, none of an attestor", by.len());
        let attested = by.iter().any(|address| actor.attestors.contains(address));
        Ok::<_, AskError>(if attested { Look::There(()) } else { Look::NotYet(seen) })
    };
    until(format!("node {node} to hold an attestation of slot {head}"), PATIENCE, look).await?;
    let request = Request::Verify { process: actor.id };
    let report: VerifyReport = town.ask(node, "to verify a process", &request, REPLAY_WAIT).await?;
    let none = "no difference".to_owned();
    open.equal("what the replay differs in", &none, report.difference.as_ref().unwrap_or(&none));
    open.equal("slots replayed", &(known.slots.len() as u64), &report.slots);
    let here = known.computed.iter().find(|computed| computed.node == node);
    let here = here.or_else(|| known.computed.first());
    open.same("the running hash", &here.and_then(|here| here.running), &Some(report.running));
    open.same("the state root", &here.and_then(|here| here.state_root), &Some(report.state_root));
    open.that(
        "attestations compared",
        "at least 1",
        report.attestations_checked,
        report.attestations_checked >= 1,
    );
    let strangers = report.attestors.iter().filter(|address| !actor.attestors.contains(address)).count();
    open.equal("attestations of strangers that count", &0, &strangers);
    let said = format!(
        "{}: node {node} replayed {}; every outcome is equal, and {} of {}",
        actor.name,
        counted(report.slots, "slot", "slots"),
        counted(report.attestations_checked, "attestation", "attestations"),
        counted(report.attestors.len(), "node", "nodes")
    );
    Ok(((), said))
}

/// Shows a process: its slots, and what each node has.
pub(super) fn show(town: &Town<'_>, report: &ActorReport, earlier: &[ActorReport], screen: Screen) {
    let user = town.user.address().to_string();
    let name = |from: &str| {
        let other = earlier.iter().find(|other| other.process.to_string() == from);
        match other {
            _ if from == user => "the user".to_owned(),
            _ if from == report.process.to_string() => "itself".to_owned(),
            Some(other) => other.name.clone(),
            None => cut(from),
        }
    };
    screen.line(&format!("      process {}", report.process));
    let rows = report.slots.iter().map(|slot| {
        [
            slot.slot.to_string(),
            slot.action
                .clone()
                .unwrap_or_else(|| if slot.slot == 0 { "(spawn)".into() } else { String::new() }),
            slot.from.as_deref().map(name).unwrap_or_default(),
            if slot.pushed { "proven push".into() } else { "signed item".into() },
            slot.code.map_or_else(|| "-".into(), code),
            cut_option(slot.running.as_ref()),
        ]
    });
    screen.table(["SLOT", "ACTION", "FROM", "CAME AS", "OUTCOME", "RUNNING HASH"], rows);
    let rows = report.computed.iter().map(|computed| {
        [
            computed.node.to_string(),
            computed.duties.join(" "),
            computed.position.as_ref().map(Position::to_string).unwrap_or_else(|| "-".into()),
            cut_option(computed.hash_chain.as_ref()),
            cut_option(computed.running.as_ref()),
            cut_option(computed.state_root.as_ref()),
        ]
    });
    screen.table(["NODE", "DUTIES", "COMPUTED", "HASH CHAIN", "RUNNING HASH", "STATE ROOT"], rows);
}

fn code(code: u8) -> String {
    match code {
        0 => "ok".into(),
        1 => "error".into(),
        other => format!("code {other}"),
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(HASH_SHOWN).collect()
}

fn cut_option(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| cut(&value.to_string()))
}

#[cfg(test)]
mod tests {
    use weft_protocol::Hash;

    use super::*;

    #[test]
    fn an_item_with_two_slots_is_found() {
        let slot = |slot: u64, item: u8| SlotInfo {
            slot,
            epoch: 0,
            assignment: Id([9; 32]),
            item: Id([item; 32]),
            timestamp: 1,
            hash_chain: Hash([0; 32]),
            from: None,
            action: None,
            pushed: false,
            trust: None,
            carrier: None,
            code: Some(0),
            running: None,
        };
        assert!(doubled(&[slot(0, 1), slot(1, 2)]).is_empty());
        assert_eq!(doubled(&[slot(0, 1), slot(1, 2), slot(2, 1), slot(3, 1)]), [Id([1; 32])]);
    }
}
