//! What spawns of a source became: by the news of that in its own log, else by the first slot of the process that a leaf
//! names, whoever shows it.

use std::time::Duration;

use prost::Message as _;
use weft_protocol::assignment::Assignment;
use weft_protocol::header::Header;
use weft_protocol::market::{Leaf, Window, due};
use weft_protocol::outcome::OutboxEntry;
use weft_protocol::process::Process;
use weft_protocol::push::{Dispatch, Source};
use weft_protocol::spawn::{check_child, spawned_push_id};
use weft_protocol::{Address, DataItem, Id, Network, Tag, Verified, seen, tag, wire};
use weft_storage::{OutboxKey, Reader, StoreError};

use super::seen::ranked;
use crate::hosting;
use crate::market::sent::{Push, Stands, stands_at};
use crate::shared::Shared;

/// A process that a spawn became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// Its id.
    pub id: Id,
    /// Who signed its Process item: whoever carried the spawn.
    pub carrier: Address,
    /// Its slot 0, as its scheduler signed it; none where nobody shows that.
    pub first: Option<Stands>,
}

/// What is found of the process that a leaf names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Nobody shows it.
    Unread,
    /// It is another process than the source asked for at this place.
    Stranger,
    /// The source asked for it.
    Child(Child),
}

/// What a leaf of a spawn is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// It is owed, as far as is known.
    Right,
    /// It is not owed, for this reason.
    Refuted(String),
    /// Not known before somebody shows the process that it names.
    Unread,
}

/// Whether any scheduler can give a process of these tags its slot 0. Of one that names no address or no module no answer
/// to a challenge is right.
pub fn may_be_born(tags: &[Tag]) -> bool {
    let names_module = tag::first(tags, "Module").is_some_and(|module| module.parse::<Id>().is_ok());
    // Without one it is the source's.
    let names_no_scheduler =
        tag::first(tags, "Scheduler").is_some_and(|named| named.parse::<Address>().is_err());
    names_module && !names_no_scheduler
}

/// What a spawn became, by the news of it in the source's log; none where that has none. The news holds the child's slot 0,
/// which the child's scheduler signed.
///
/// # Errors
/// The disk.
pub fn told(reader: &Reader, spawn: &Source, network: Network) -> Result<Option<Child>, StoreError> {
    let news = spawned_push_id(&spawn.push_id(network));
    let Some(at) = reader.seen(&spawn.process, &seen::push_key(&news))? else { return Ok(None) };
    let row = reader.slot(&spawn.process, at.slot)?;
    let proof = row.and_then(|row| row.proof).map(|proof| reader.item(&proof)).transpose()?.flatten();
    Ok(proof.and_then(|proof| {
        // All of it was verified before it came to disk, or its push id would not be seen.
        let proof = DataItem::parse(proof).ok()?;
        let child = wire::OriginProof::decode(proof.claims().data()).ok()?.child?;
        let header = Header::parse(&child.header).ok()?;
        let signed = DataItem::parse(child.assignment).ok()?;
        let said = Assignment::from_item(signed.claims()).ok()?;
        let (id, carrier) = (header.claims().id(), header.claims().owner());
        let first = Stands { assignment: said.id, timestamp: said.time.timestamp };
        Some(Child { id, carrier, first: Some(first) })
    }))
}

/// Looks for the process that a leaf of a spawn of `source` names: on the disk here, else at whoever serves it. Each of two
/// steps takes `wait` at most.
pub async fn named(shared: &Shared, source: &Process, spawn: &Push, wait: Duration) -> Named {
    let found = tokio::time::timeout(wait, hosting::find_process(shared, spawn.target)).await;
    let Ok(Ok(found)) = found else { return Named::Unread };
    let entry = shared.store.read().ok().and_then(|reader| entry(&reader, &spawn.place));
    let Some(entry) = entry else { return Named::Unread };
    if !is_asked_for(&found, source, spawn.place, entry) {
        return Named::Stranger;
    }
    let first = tokio::time::timeout(wait, stands_at(shared, spawn.target, 0)).await;
    let first = first.ok().flatten();
    Named::Child(Child { id: spawn.target, carrier: found.item().owner(), first })
}

fn entry(reader: &Reader, place: &Source) -> Option<OutboxEntry> {
    let Source { process, position, index } = *place;
    let row = reader.outbox_entry(&OutboxKey { process, position, index }).ok().flatten()?;
    OutboxEntry::from_bytes(&row.entry).ok()
}

/// Whether the entry of the source asks for this very process, whoever signed it. Its id says what it is, so this never
/// changes. Whether the proof that it names holds is not asked: whoever remembers it may not have looked at that, and its
/// scheduler, whom the entry names, signs nothing before.
fn is_asked_for(process: &Process, source: &Process, place: Source, entry: OutboxEntry) -> bool {
    let has_its_data = process.item().data() == entry.data;
    let dispatch = Dispatch { source: place, entry, module: source.module(), scheduler: source.scheduler() };
    has_its_data && check_child(&Verified::<Header>::of(process.item()), &dispatch).is_ok()
}

/// What a leaf of a spawn is worth, by the news in the source's log and by what was found of the process that it names,
/// where that was looked for.
pub fn worth(
    window: &Window,
    messenger: &Address,
    leaf: &Leaf,
    spawn: &Push,
    (told, named): (Option<&Child>, Option<Named>),
    network: Network,
) -> Worth {
    let rank = match ranked(window, messenger, leaf, spawn, network) {
        Ok(rank) => rank,
        Err(unowed) => return Worth::Refuted(unowed.to_string()),
    };
    let child = match (told, named) {
        (Some(told), _) if told.id == leaf.paid.target => *told,
        (_, None) | (None, Some(Named::Unread)) => return Worth::Unread,
        (None, Some(Named::Child(child))) => child,
        // Were there two of one spawn, who carried the other is paid as well; an item that no scheduler took is no other.
        (Some(_), Some(Named::Child(child @ Child { first: Some(_), .. }))) => child,
        (Some(told), Some(_)) => return Worth::Refuted(format!("the spawn became {}", told.id)),
        (None, Some(Named::Stranger)) => {
            return Worth::Refuted("the source asked for another process".to_owned());
        }
    };
    if child.carrier != *messenger {
        return Worth::Refuted(format!("{} carried it", child.carrier));
    }
    let Some(first) = child.first else { return Worth::Unread };
    if (leaf.paid.target_slot, leaf.paid.accepted) != (0, first.assignment) {
        return Worth::Refuted("its slot is another's".to_owned());
    }
    match due(rank, spawn.at, first.timestamp) {
        Ok(()) => Worth::Right,
        Err(unpaid) => Worth::Refuted(unpaid.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Position;
    use weft_protocol::market::{Paid, TURN_MS, price};

    use super::*;
    use crate::market::audit::tests::{NETWORK, PROCESS, TIME, window};

    #[test]
    fn a_leaf_of_a_spawn_is_refuted_by_what_is_signed_and_waits_for_what_is_not_shown() {
        let window = window();
        let place = Source { process: PROCESS, position: Position::slot(300), index: 0 };
        let (child, accepted) = (Id([8; 32]), Id([4; 32]));
        let spawn = Push { place, target: child, bytes: 0, at: TIME };
        let order = window.order(&spawn.id(NETWORK), 0);
        let worth = |rank: usize, told: Option<&Child>, named| {
            let (position, amount) = (place.position, price(order[rank].offer().terms(), 0));
            let paid = Paid { position, index: 0, target: child, target_slot: 0, accepted, amount };
            let leaf = Leaf { paid, before: 0 };
            super::worth(&window, &order[rank].messenger(), &leaf, &spawn, (told, named), NETWORK)
        };
        let first = |after| Some(Stands { assignment: accepted, timestamp: TIME + after });
        let carried =
            |rank: usize, after| Child { id: child, carrier: order[rank].messenger(), first: first(after) };
        let own = carried(0, 0);
        let another = Child { id: Id([9; 32]), ..own };
        for named in [None, Some(Named::Unread), Some(Named::Stranger)] {
            assert_eq!(worth(0, Some(&own), named), Worth::Right, "the source's own log says it");
        }
        assert_eq!(worth(0, None, Some(Named::Child(own))), Worth::Right);
        assert_eq!(worth(0, Some(&another), Some(Named::Child(own))), Worth::Right);
        // Before it was looked for, while nobody shows it, and while nobody shows its slot.
        let unsigned = Child { first: None, ..own };
        for (told, named) in [
            (None, None),
            (Some(&another), None),
            (None, Some(Named::Unread)),
            (None, Some(Named::Child(unsigned))),
        ] {
            assert_eq!(worth(0, told, named), Worth::Unread, "{told:?} {named:?}");
        }
        let why = |rank, told, named| match worth(rank, told, named) {
            Worth::Refuted(why) => why,
            other => format!("{other:?}"),
        };
        for named in [Named::Unread, Named::Stranger, Named::Child(unsigned)] {
            assert!(why(0, Some(&another), Some(named)).contains("became"), "{named:?}");
        }
        assert!(why(0, None, Some(Named::Stranger)).contains("another process"));
        assert!(why(1, Some(&own), None).contains("carried it"));
        assert!(why(1, None, Some(Named::Child(unsigned))).contains("carried it"));
        let early = carried(2, 2 * TURN_MS - 1);
        assert!(why(2, None, Some(Named::Child(early))).contains("before its turn"));
        assert_eq!(worth(2, Some(&carried(2, 2 * TURN_MS)), None), Worth::Right);
        // Where its rank is never paid nothing else matters.
        assert!(why(5, None, None).contains("is not paid"));
    }

    #[test]
    fn a_process_without_a_module_or_with_no_scheduler_is_never_born() {
        let tags = |tags: &[(&str, &str)]| -> Vec<Tag> {
            tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect()
        };
        let id = Id([3; 32]).to_string();
        assert!(may_be_born(&tags(&[("Module", &id)])), "the source's scheduler takes it");
        assert!(may_be_born(&tags(&[("Module", &id), ("Scheduler", &id)])));
        assert!(!may_be_born(&tags(&[("Module", &id), ("Scheduler", "me"), ("Scheduler", &id)])));
        assert!(!may_be_born(&tags(&[("Module", "aos")])) && !may_be_born(&[]));
    }
}
