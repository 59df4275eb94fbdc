//! What was seen from outside, during the storm and after it.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde_json::Value;
use weft_node::control::api::{ItemInfo, Request, ResultInfo, ResultOf, SlotInfo};
use weft_node::control::client::{ANSWER_WAIT, Client, ClientError, typed};
use weft_protocol::push::Source;
use weft_protocol::{Address, Hash, Id, Position};

use crate::error::AskError;
use crate::node::Door;
use crate::report::ComputedReport;
use crate::town::Actor;

/// Slots asked for at once: as many as a node answers with.
const PAGE: u32 = 1_000;

/// A reply that a client got: this item has this slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// The node that gave it.
    pub(crate) node: usize,
    pub(crate) process: Id,
    pub(crate) item: Id,
    pub(crate) slot: u64,
    pub(crate) assignment: Id,
    /// The node said that the item had its slot before.
    pub(crate) duplicate: bool,
}

/// Something that a node showed, and which node was the first to do so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen<T> {
    what: T,
    node: usize,
}

/// All that the nodes showed while they were killed and came back.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    slots: BTreeMap<(Id, u64), Seen<Id>>,
    running: BTreeMap<(Id, Position), Seen<Hash>>,
    /// Slots shown, each as often as a node did.
    pub(crate) shown: usize,
    /// What was shown and cannot be: two assignments of a slot, two outcomes of a position.
    pub(crate) contradictions: Vec<String>,
    /// Attestors who are known to lie.
    liars: Vec<Address>,
    /// What the nodes themselves found wrong.
    pub(crate) alarms: Vec<String>,
    /// Times that a node said of one of the liars that it was wrong, as it should.
    pub(crate) convictions: usize,
}

impl Sightings {
    /// Nothing seen yet, where these attestors are known to lie.
    pub(crate) fn among_liars(liars: Vec<Address>) -> Self {
        Self { liars, ..Self::default() }
    }

    /// A node showed a slot.
    pub(crate) fn slot(&mut self, process: Id, node: usize, slot: u64, assignment: Id) {
        self.shown += 1;
        let first = self.slots.entry((process, slot)).or_insert(Seen { what: assignment, node });
        if first.what != assignment {
            self.contradictions.push(format!(
                "slot {slot} of {process} is {} on node {} and {assignment} on node {node}",
                first.what, first.node
            ));
        }
    }

    /// A node showed a running hash.
    pub(crate) fn running(&mut self, process: Id, node: usize, position: Position, running: Hash) {
        let first = self.running.entry((process, position)).or_insert(Seen { what: running, node });
        if first.what != running {
            self.contradictions.push(format!(
                "position {position} of {process} gives {} on node {} and {running} on node {node}",
                first.what, first.node
            ));
        }
    }

    /// Whether somebody's word is to be disregarded.
    pub(crate) fn is_liar(&self, attestor: Address) -> bool {
        self.liars.contains(&attestor)
    }

    /// A node found something wrong.
    pub(crate) fn alarm(&mut self, node: usize, process: Id, text: &str) {
        if self.liars.iter().any(|liar| convicts(text, *liar)) {
            self.convictions += 1;
        } else {
            self.alarms.push(format!("node {node}, {process}: {text}"));
        }
    }

    /// The slots of a process that were ever shown.
    pub(crate) fn of(&self, process: Id) -> impl Iterator<Item = (u64, Id)> {
        self.slots.range((process, 0)..=(process, u64::MAX)).map(|((_, slot), seen)| (*slot, seen.what))
    }
}

/// Whether a text, an alarm or a line of a log, says of an attestor that a replay proved it wrong.
pub(crate) fn convicts(text: &str, attestor: Address) -> bool {
    text.contains(&format!("attestor {attestor} was wrong about position"))
}

/// A process as it stands in the end.
#[derive(Debug)]
pub(crate) struct Final {
    pub(crate) name: String,
    pub(crate) process: Id,
    pub(crate) scheduler: usize,
    /// Its log on each node that should hold it, by number.
    pub(crate) logs: BTreeMap<usize, Vec<SlotInfo>>,
    /// What each node that computes it has.
    pub(crate) computed: Vec<ComputedReport>,
    /// What it sent, and to whom.
    pub(crate) sent: Vec<(Source, Id)>,
    /// The pushes in its log, with their slots.
    pub(crate) came: Vec<(Source, u64)>,
}

impl Final {
    /// The log of its scheduler.
    pub(crate) fn log(&self) -> &[SlotInfo] {
        self.logs.get(&self.scheduler).map_or(&[], Vec::as_slice)
    }
}

/// Asks the nodes for everything about a process.
///
/// # Errors
/// That a node does not answer.
pub(crate) async fn collect(
    doors: &[Door],
    actor: &Actor,
    holders: &[usize],
    computed: Vec<ComputedReport>,
) -> Result<Final, AskError> {
    let logs =
        holders.iter().map(async |node| Ok::<_, AskError>((*node, log(&doors[*node], actor.id).await?)));
    let logs: BTreeMap<usize, Vec<SlotInfo>> = try_join_all(logs).await?.into_iter().collect();
    let scheduler = &doors[actor.scheduler];
    let slots = logs.get(&actor.scheduler).map_or(&[][..], Vec::as_slice);
    let failed = |source| AskError { node: actor.scheduler, what: "what was sent and what came", source };
    let (sent, came) = futures::future::try_join(sent(scheduler, actor.id, slots), came(scheduler, slots))
        .await
        .map_err(failed)?;
    let (name, process, scheduler) = (actor.name.clone(), actor.id, actor.scheduler);
    Ok(Final { name, process, scheduler, logs, computed, sent, came })
}

/// The whole log of a process on a node.
async fn log(door: &Door, process: Id) -> Result<Vec<SlotInfo>, AskError> {
    let mut log: Vec<SlotInfo> = Vec::new();
    loop {
        let from = log.last().map_or(0, |slot| slot.slot + 1);
        let request = Request::Slots { process, from, limit: PAGE };
        let page: Vec<SlotInfo> = door.ask("slots", &request, ANSWER_WAIT).await?;
        let is_last = page.len() < PAGE as usize;
        log.extend(page);
        if is_last {
            return Ok(log);
        }
    }
}

/// Every message in the outboxes of a process.
async fn sent(door: &Door, process: Id, slots: &[SlotInfo]) -> Result<Vec<(Source, Id)>, ClientError> {
    let mut client = door.open().await?;
    let mut sent = Vec::new();
    for slot in slots {
        let request = Request::Result { process, of: ResultOf::Slot(slot.slot), wait_ms: 0 };
        let result: ResultInfo = client.call(&request, ANSWER_WAIT).await?;
        let messages = result.result.get("Messages").and_then(Value::as_array).cloned().unwrap_or_default();
        for (index, message) in (0..).zip(messages) {
            let target = typed(message.get("Target").cloned().unwrap_or_default())?;
            sent.push((Source { process, position: result.position, index }, target));
        }
    }
    Ok(sent)
}

/// Where each push in a log says that it comes from. The scheduler has checked the proof of it.
pub(crate) async fn came(door: &Door, slots: &[SlotInfo]) -> Result<Vec<(Source, u64)>, ClientError> {
    let mut client: Client = door.open().await?;
    let mut came = Vec::new();
    for slot in slots.iter().filter(|slot| slot.pushed) {
        let item: ItemInfo = client.call(&Request::Item { id: slot.item }, ANSWER_WAIT).await?;
        let reason = format!("the push in slot {} does not say where it comes from", slot.slot);
        let source = source(&item).ok_or(ClientError::Malformed { reason })?;
        came.push((source, slot.slot));
    }
    Ok(came)
}

/// What a pushed item says of its source in its tags.
fn source(item: &ItemInfo) -> Option<Source> {
    let tag = |name: &str| Some(item.tags.iter().rfind(|tag| tag.name == name)?.value.as_str());
    let position = Position {
        epoch: tag("From-Epoch")?.parse().ok()?,
        slot: tag("From-Slot")?.parse().ok()?,
        tick: tag("From-Tick")?.parse().ok()?,
    };
    Some(Source {
        process: tag("From-Process")?.parse().ok()?,
        position,
        index: tag("From-Index")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Tag;

    use super::*;

    #[test]
    fn a_slot_shown_twice_is_a_contradiction_only_if_it_differs() {
        let mut seen = Sightings::default();
        let (one, other) = (Id([1; 32]), Id([2; 32]));
        seen.slot(one, 0, 7, Id([8; 32]));
        seen.slot(one, 3, 7, Id([8; 32]));
        seen.slot(other, 3, 7, Id([9; 32]));
        seen.slot(one, 3, 8, Id([9; 32]));
        assert!(seen.contradictions.is_empty() && seen.shown == 4);
        seen.slot(one, 2, 7, Id([9; 32]));
        assert_eq!(seen.contradictions.len(), 1);
        assert!(seen.contradictions[0].starts_with("slot 7 of "), "{:?}", seen.contradictions);
        assert_eq!(seen.of(one).collect::<Vec<_>>(), [(7, Id([8; 32])), (8, Id([9; 32]))]);
    }

    #[test]
    fn a_position_with_two_outcomes_is_a_contradiction() {
        let mut seen = Sightings::default();
        seen.running(Id([1; 32]), 0, Position::slot(4), Hash([8; 32]));
        seen.running(Id([1; 32]), 2, Position::slot(4), Hash([8; 32]));
        assert!(seen.contradictions.is_empty());
        seen.running(Id([1; 32]), 3, Position::slot(4), Hash([9; 32]));
        assert!(seen.contradictions[0].starts_with("position "), "{:?}", seen.contradictions);
    }

    #[test]
    fn the_source_of_a_push_is_read_from_its_last_tags() {
        let position = Position { epoch: 1, slot: 20, tick: 3 };
        let expected = Source { process: Id([5; 32]), position, index: 4 };
        // What the sending process wrote itself stands before.
        let mut tags = vec![Tag::new("From-Slot", "99")];
        tags.extend(expected.tags("Message", "m", None, Id([6; 32])));
        let item = ItemInfo {
            id: Id([1; 32]),
            owner: String::new(),
            signature_type: 2,
            target: None,
            anchor: None,
            tags,
            data_bytes: 0,
            data: None,
            slots: Vec::new(),
        };
        assert_eq!(source(&item).unwrap(), expected);
        assert!(source(&ItemInfo { tags: Vec::new(), ..item }).is_none());
    }
}
