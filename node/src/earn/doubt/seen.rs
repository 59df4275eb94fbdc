//! What the logs say of a claim's leaves: that of the source, as it is evaluated here, and those of the targets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use weft_protocol::market::{ClaimTree, Leaf, Opening, Unpaid, Window, due, price, set_slot};
use weft_protocol::outcome::{EntryKind, OutboxEntry};
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::{Address, DataItem, Id, Network, Position};
use weft_storage::{OutboxKey, Reader, StoreError};

use super::child::{self, Child, Worth};
use crate::earn::notices::Opened;
use crate::error::NodeError;
use crate::market::sent::{Found, Push};
use crate::market::window_at;
use crate::shared::Shared;

/// What a leaf of a claim looks like from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The source sent no such push.
    NotSent(&'static str),
    /// It sent it; where it stands is to be looked for.
    Sent(Push),
    /// It asked for a process there; the target is the one that the leaf names. What its log says that became of it, if it
    /// says so.
    Spawned(Push, Option<Child>),
    /// It is not evaluated so far here yet.
    ToCome,
    /// The source's log here has no such slot.
    Beyond,
    /// Nothing is known here.
    Unknown,
}

impl Seen {
    /// What a leaf of this messenger is worth, as far as no other log is needed to say that.
    pub fn worth_here(&self, window: &Window, messenger: &Address, leaf: &Leaf, network: Network) -> Worth {
        match self {
            Self::Sent(push) => {
                let ranked = ranked(window, messenger, leaf, push, network);
                ranked.map_or_else(|unowed| Worth::Refuted(unowed.to_string()), |_| Worth::Right)
            }
            Self::Spawned(push, told) => {
                child::worth(window, messenger, leaf, push, (told.as_ref(), None), network)
            }
            Self::NotSent(_) | Self::ToCome | Self::Beyond | Self::Unknown => Worth::Right,
        }
    }
}

/// Why a leaf is not owed, as far as the source's log says.
fn from_source(
    reader: &Reader,
    source: &Process,
    leaf: &Leaf,
    computed: Position,
) -> Result<Seen, StoreError> {
    let (process, paid) = (source.id(), leaf.paid);
    let place = Source { process, position: paid.position, index: paid.index };
    // A tick is known with the slot after it.
    let told = paid.position.slot + u64::from(paid.position.tick > 0);
    if paid.position > computed || told > computed.slot {
        let head = reader.head(&process)?.map_or(0, |(slot, _)| slot);
        return Ok(if told > head { Seen::Beyond } else { Seen::ToCome });
    }
    let Some(row) = reader.outcome(&process, paid.position)? else {
        // Who went on from a checkpoint evaluated nothing before it.
        let is_whole = reader.outcome(&process, Position::slot(0))?.is_some();
        return Ok(if is_whole { Seen::NotSent("the source has no such position") } else { Seen::Unknown });
    };
    if row.is_pruned() {
        return Ok(Seen::Unknown);
    }
    let sent = reader.outbox_entry(&OutboxKey { process, position: paid.position, index: paid.index })?;
    let Some(sent) = sent.and_then(|row| OutboxEntry::from_bytes(&row.entry).ok()) else {
        return Ok(Seen::NotSent("the source sent no such push"));
    };
    let Some(at) = reader.slot(&process, told)?.map(|row| row.timestamp) else { return Ok(Seen::Unknown) };
    let push = Push { place, target: paid.target, bytes: sent.data.len() as u64, at };
    Ok(match (sent.kind, sent.target) {
        (EntryKind::Message, Some(target)) if target == paid.target => Seen::Sent(push),
        (EntryKind::Spawn, _) if !child::may_be_born(&sent.tags) => {
            Seen::NotSent("no scheduler takes what the source asked for")
        }
        (EntryKind::Spawn, _) => Seen::Spawned(push, child::told(reader, &place, source.network())?),
        _ => Seen::NotSent("the source sent it to another process, or no message"),
    })
}

/// Why a leaf is not owed, wherever its push stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unowed {
    /// Its messenger is in no order for such a push.
    #[error("it has no offer for such a push in the window")]
    NoOffer,
    /// It is more than the offer asks.
    #[error("it claims {claimed} for a push of {most}")]
    Amount {
        /// What the leaf says.
        claimed: u64,
        /// What the push pays.
        most: u64,
    },
    /// Its messenger's rank is not paid, however late it carried.
    #[error(transparent)]
    Rank(#[from] Unpaid),
}

/// The rank of this messenger for a push, where a leaf of it may be owed.
///
/// # Errors
/// Why none is, which the source's log alone says.
pub fn ranked(
    window: &Window,
    messenger: &Address,
    leaf: &Leaf,
    push: &Push,
    network: Network,
) -> Result<usize, Unowed> {
    let ranked = window.rank(&push.id(network), push.bytes, messenger);
    let (rank, entry) = ranked.ok_or(Unowed::NoOffer)?;
    let (claimed, most) = (leaf.paid.amount, price(entry.offer().terms(), push.bytes));
    if claimed > most {
        return Err(Unowed::Amount { claimed, most });
    }
    due(rank, push.at, u64::MAX)?;
    Ok(rank)
}

/// Why a leaf of this messenger is not owed, by where its push stands; `other` is what the target's scheduler signed for
/// the slot that the leaf names.
pub fn from_target(
    window: &Window,
    messenger: &Address,
    leaf: &Leaf,
    push: &Push,
    (found, other): (&Found, Option<Id>),
    network: Network,
) -> Option<String> {
    let rank = match ranked(window, messenger, leaf, push, network) {
        Ok(rank) => rank,
        Err(unowed) => return Some(unowed.to_string()),
    };
    // Where nobody answers nothing is known.
    match found.as_ref().ok()? {
        // That there is none nobody signs: who has the target's scheduler would have right claims challenged.
        None => (other? != leaf.paid.accepted).then(|| "its slot is another's".to_owned()),
        Some(pushed) if pushed.carrier != *messenger => Some(format!("{} carried it", pushed.carrier)),
        Some(pushed) if pushed.slot != leaf.paid.target_slot => {
            Some(format!("it stands in slot {}", pushed.slot))
        }
        Some(pushed) => due(rank, push.at, pushed.timestamp).err().map(|unpaid| unpaid.to_string()),
    }
}

/// A claim by the source's log here.
pub enum Claimed {
    /// Its leaves, with its window.
    Leaves(Window, Vec<(u32, Leaf, Seen)>),
    /// The log does not reach its window yet, or nothing of it is evaluated.
    ToCome,
    /// It is not on disk any more, or its window has no offers by what is known here.
    Unknown,
}

/// Reads what the source's log here says of a claim.
///
/// # Errors
/// The disk.
pub fn read_claim(shared: &Shared, source: &Process, opened: Opened) -> Result<Claimed, NodeError> {
    read_at(&shared.store.read()?, source, opened)
}

fn read_at(reader: &Reader, source: &Process, opened: Opened) -> Result<Claimed, NodeError> {
    let Opened { messenger, source: process, window, item, .. } = opened;
    let Some(tree) = tree_of(reader, messenger, process, window, &item)? else { return Ok(Claimed::Unknown) };
    let Some(computed) = reader.last_computed(&process)? else { return Ok(Claimed::ToCome) };
    let set = set_slot(window).map(|set| reader.slot(&process, set)).transpose()?;
    // The claim may be heard before the log that it is of.
    if set.is_some_and(|set| set.is_none()) {
        return Ok(Claimed::ToCome);
    }
    let first = tree.leaves().first().map_or(0, |leaf| leaf.paid.position.slot);
    let Some(window) = window_at(reader, source, first)? else { return Ok(Claimed::Unknown) };
    let mut leaves = Vec::new();
    for (number, leaf) in (0_u32..).zip(tree.leaves()) {
        leaves.push((number, *leaf, from_source(reader, source, leaf, computed)?));
    }
    Ok(Claimed::Leaves(window, leaves))
}

fn tree_of(
    reader: &Reader,
    messenger: Address,
    source: Id,
    window: u64,
    item: &Id,
) -> Result<Option<ClaimTree>, StoreError> {
    let Some(raw) = reader.item(item)? else { return Ok(None) };
    // It was verified before it came to disk.
    let data = DataItem::parse(raw).ok().map(|item| item.claims().data());
    let bytes = data.and_then(|data| URL_SAFE_NO_PAD.decode(data.trim_ascii()).ok());
    let opening = bytes.and_then(|bytes| Opening::decode(messenger, source, window, &bytes.into()).ok());
    Ok(opening.map(|opening| opening.tree))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::crypto::Signer;
    use weft_protocol::market::{Paid, PushTerms, TURN_MS};
    use weft_protocol::process::Terms;
    use weft_protocol::time::Weave;
    use weft_protocol::{Draft, Tag, Verified};
    use weft_storage::{Store, StoreConfig, Write};

    use super::*;
    use crate::earn::doubt::story::claim_of;
    use crate::market::audit::tests::{NETWORK, PROCESS, TIME, window};
    use crate::pushed::Pushed;
    use crate::shared::testing::outcome_row;

    #[test]
    fn a_leaf_is_refuted_by_what_the_target_shows_and_by_nothing_that_is_not_known() {
        let window = window();
        let position = Position::slot(300);
        let place = Source { process: PROCESS, position, index: 0 };
        let push = Push { place, target: Id([8; 32]), bytes: 0, at: TIME };
        let order = window.order(&push.id(NETWORK), 0);
        let (first, third) = (order[0], order[2]);
        let leaf = |entry: &weft_protocol::market::Entry, more: u64| {
            let amount = price(entry.offer().terms(), 0) + more;
            let (target, accepted) = (push.target, Id([4; 32]));
            Leaf { paid: Paid { position, index: 0, target, target_slot: 5, accepted, amount }, before: 0 }
        };
        let found = |carrier, slot, after| {
            let (assignment, timestamp) = (Id([4; 32]), TIME + after);
            Ok(Some(Pushed { slot, assignment, timestamp, carrier }))
        };
        let why = |entry: &weft_protocol::market::Entry, leaf: &Leaf, found: &Found| {
            from_target(&window, &entry.messenger(), leaf, &push, (found, None), NETWORK)
        };
        let own = found(first.messenger(), 5, 0);
        assert_eq!(why(first, &leaf(first, 0), &own), None);
        assert_eq!(why(first, &leaf(first, 0), &Err("nobody answers".into())), None);
        assert!(
            why(first, &leaf(first, 1), &Err("nobody answers".into())).unwrap().contains("for a push of")
        );
        // Its scheduler's word that there is none is not enough: what it signed for the slot is.
        let denied = |other| {
            from_target(&window, &first.messenger(), &leaf(first, 0), &push, (&Ok(None), other), NETWORK)
        };
        assert_eq!(denied(None), None);
        assert_eq!(denied(Some(Id([4; 32]))), None, "the receipt that the leaf names");
        assert!(denied(Some(Id([5; 32]))).unwrap().contains("another's"));
        assert!(why(first, &leaf(first, 0), &found(first.messenger(), 6, 0)).unwrap().contains("slot 6"));
        assert!(why(third, &leaf(third, 0), &own).unwrap().contains("carried it"));
        let early = found(third.messenger(), 5, 2 * TURN_MS - 1);
        assert!(why(third, &leaf(third, 0), &early).unwrap().contains("before its turn"));
        assert_eq!(why(third, &leaf(third, 0), &found(third.messenger(), 5, 2 * TURN_MS)), None);
        let stranger =
            from_target(&window, &Address([200; 32]), &leaf(first, 0), &push, (&own, None), NETWORK);
        assert!(stranger.unwrap().contains("no offer"));
        // One that is never paid is not owed, whatever its target says.
        let last = order[5];
        assert!(why(last, &leaf(last, 0), &Err("nobody answers".into())).unwrap().contains("not paid"));
    }

    /// A process in hard mode, and the claim of one push of its window 1 as the ledger took it.
    fn claimed() -> (Process, Verified<DataItem>, Opened) {
        let (signer, messenger) = (Signer::from_seed(&[1; 32]), Address([9; 32]));
        let scheduler = signer.address().to_string();
        let own = [
            ("Data-Protocol", "ao"),
            ("Type", "Process"),
            ("Variant", "ao.TN.1"),
            ("Module", &Id([3; 32]).to_string()),
            ("Scheduler", &scheduler),
        ];
        let mut tags: Vec<Tag> = own.map(|(name, value)| Tag::new(name, value)).to_vec();
        tags.extend(PushTerms { ledger: Id([4; 32]), price_max: 9, kib_max: 0 }.tags());
        let item = Draft { tags, ..Draft::default() }.sign(&signer).unwrap();
        let terms = Terms { network: NETWORK, weave: Weave::Clock };
        let process = Process::accept(item, None, &terms).unwrap();
        let (target, accepted) = (Id([5; 32]), Id([6; 32]));
        let paid =
            Paid { position: Position::slot(300), index: 0, target, target_slot: 1, accepted, amount: 5 };
        let tree = ClaimTree::new(messenger, process.id(), 1, vec![paid]).unwrap();
        let claim = claim_of(tree, &signer);
        let (item, until_ms) = (claim.id(), u64::MAX);
        let opened = Opened { messenger, source: process.id(), window: 1, item, until_ms };
        (process, claim, opened)
    }

    #[tokio::test]
    async fn a_claim_that_is_heard_before_the_log_it_is_of_is_not_taken_for_right() {
        let (process, claim, opened) = claimed();
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::new(NETWORK, opened.messenger);
        let store = Store::open(&folder.path().join("store.redb"), &config).unwrap();
        let read = || read_at(&store.read().unwrap(), &process, opened).unwrap();
        assert!(matches!(read(), Claimed::Unknown), "the claim itself is not here");
        store.write(vec![Write::Item { id: claim.id(), raw: claim.raw().clone() }]).await.unwrap();
        assert!(matches!(read(), Claimed::ToCome), "nothing of the source is here");
        let position = Position::slot(0);
        let evaluated = Write::Outcome { process: process.id(), position, row: outcome_row() };
        store.write(vec![evaluated]).await.unwrap();
        assert!(matches!(read(), Claimed::ToCome), "its log ends before the window's offers");
    }
}
