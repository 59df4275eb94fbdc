//! Claims of others: computed again from the logs, and challenged where those show that nothing is owed.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use weft_protocol::market::{ClaimTree, Leaf, Opening, Window, due, price};
use weft_protocol::outcome::{EntryKind, OutboxEntry};
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::{Address, DataItem, Id, Network, Position};
use weft_storage::{OutboxKey, Reader, StoreError, Write};

use super::letters::{Ask, Letter};
use super::notices::{self, OfOthers, Opened};
use crate::control::Answers;
use crate::control::api::FailureCode;
use crate::error::NodeError;
use crate::market::ledger::ask_here;
use crate::market::sent::{Found, Push, look_for, stands_at};
use crate::market::window_at;
use crate::shared::{Shared, SharedRef};
use crate::submit::{SubmitError, Submitter};
use crate::supervisor::joined;

/// How often the ledgers' logs are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Ledgers whose claims are looked at, those with the lowest ids.
const LEDGERS_MAX: usize = 64;
/// Leaves of one claim of which the target's log is looked at, in an order that nobody else knows. One false leaf loses a
/// claim: who lies in a tenth of the leaves is found.
const LEAVES_MAX: usize = 512;
/// How many of them at a time.
const LEAVES_STEP: usize = 64;
/// Looks after which the end of a source's log here is believed to be its end: a minute.
const BEYOND_LOOKS: u32 = 12;
/// What starts the name of the setting that says how far a ledger's log was looked at; its id follows.
const READ_SETTING: &str = "doubt/";
/// The setting that says how many claims were challenged on which day.
const DAY_SETTING: &str = "doubted";
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// What a leaf of a claim looks like from here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// The source sent no such push.
    NotSent(&'static str),
    /// It sent it; where it stands is to be looked for.
    Sent(Push),
    /// It is not evaluated so far here yet.
    ToCome,
    /// The source's log here has no such slot.
    Beyond,
    /// Nothing is known here.
    Unknown,
}

/// What comes of looking at a claim.
enum Verdict {
    /// This leaf is not owed, for this reason.
    False(u32, String),
    /// As far as is known here it is right.
    Right,
    /// The source is not evaluated far enough here.
    TooSoon,
    /// The source's log here ends before this leaf.
    Beyond(u32),
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
    let at = reader.slot(&process, told)?.map(|row| row.timestamp);
    Ok(match (sent.kind, sent.target, at) {
        // A child's log is looked at by who hosts it.
        (EntryKind::Spawn, ..) | (_, _, None) => Seen::Unknown,
        (EntryKind::Message, Some(target), Some(at)) if target == paid.target => {
            Seen::Sent(Push { place, target, bytes: sent.data.len() as u64, at })
        }
        _ => Seen::NotSent("the source sent it to another process, or no message"),
    })
}

/// Why a leaf of this messenger is not owed, by where its push stands; `other` is what the target's scheduler signed for
/// the slot that the leaf names.
fn from_target(
    window: &Window,
    messenger: &Address,
    leaf: &Leaf,
    push: &Push,
    (found, other): (&Found, Option<Id>),
    network: Network,
) -> Option<String> {
    let Some((rank, entry)) = window.rank(&push.id(network), push.bytes, messenger) else {
        return Some("it has no offer for such a push in the window".to_owned());
    };
    let most = price(entry.offer().terms(), push.bytes);
    if leaf.paid.amount > most {
        return Some(format!("it claims {} for a push of {most}", leaf.paid.amount));
    }
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

/// The loop.
pub struct DoubtTask {
    shared: SharedRef,
    submitter: Submitter,
    answers: Answers,
    /// How often claims were looked at whose source's log ends before them here.
    beyond: BTreeMap<Id, u32>,
}

impl DoubtTask {
    /// The loop of a node that challenges false claims.
    pub const fn new(shared: SharedRef, submitter: Submitter, answers: Answers) -> Self {
        Self { shared, submitter, answers, beyond: BTreeMap::new() }
    }

    /// Runs until the node stops. What it was looking at it looks at again after a start.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.look_for_ever() => {}
        }
    }

    async fn look_for_ever(&mut self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for ledger in self.ledgers().await {
                if let Err(error) = self.look(ledger).await {
                    tracing::error!(%ledger, %error, "the claims at a ledger cannot be looked at");
                }
            }
        }
    }

    /// The ledgers that are computed here and pay for processes that are.
    async fn ledgers(&self) -> Vec<Id> {
        let shared = SharedRef::clone(&self.shared);
        let found = tokio::task::spawn_blocking(move || {
            let directory = &shared.directory;
            let markets = directory.ids(|roles| roles.computes).into_iter().filter_map(|process| {
                let known = directory.get(&process)?;
                known.process.market().map(|market| market.terms.ledger)
            });
            let is_computed = |ledger: &Id| directory.roles(ledger).is_some_and(|roles| roles.computes);
            let ledgers: BTreeSet<Id> = markets.filter(is_computed).collect();
            ledgers.into_iter().take(LEDGERS_MAX).collect()
        });
        joined(found.await).unwrap_or_default()
    }

    /// Looks at the claims that were opened since the last time.
    async fn look(&mut self, ledger: Id) -> Result<(), NodeError> {
        let name = format!("{READ_SETTING}{ledger}");
        let shared = SharedRef::clone(&self.shared);
        let from = shared.store.read()?.setting(&name)?.and_then(|at| at.as_ref().try_into().ok());
        let from = from.map_or(Position { epoch: 0, slot: 0, tick: 0 }, |at| Position::from_bytes(&at));
        let reading = SharedRef::clone(&shared);
        let read = tokio::task::spawn_blocking(move || {
            notices::read(&reading.store.read()?, &ledger, reading.address, from)
        });
        let Some(heard) = joined(read.await) else { return Ok(()) };
        let heard = heard?;
        let Some(next) = heard.next else { return Ok(()) };
        for told in heard.of_others {
            let OfOthers::Opened(opened) = told else { continue };
            if !self.look_at(ledger, opened).await? {
                // All of them are looked at again.
                return Ok(());
            }
        }
        let value = next.to_bytes().to_vec().into();
        shared.store.write(vec![Write::Setting { name, value }]).await?;
        Ok(())
    }

    /// Looks at one claim; says whether that is done.
    async fn look_at(&mut self, ledger: Id, opened: Opened) -> Result<bool, NodeError> {
        let Opened { messenger, source, window, item } = opened;
        let tags = [
            ("Messenger", messenger.to_string()),
            ("Source", source.to_string()),
            ("Window", window.to_string()),
        ];
        // One that is over cannot be challenged any more.
        match ask_here(&self.answers, (ledger, self.shared.address), "Claim-Of", &tags).await {
            Ok(_) => {}
            Err(failure) => {
                self.beyond.remove(&item);
                return Ok(failure.code == FailureCode::Refused);
            }
        }
        let known = self.shared.known(source).await.filter(|known| known.roles.computes);
        let Some(known) = known else { return Ok(true) };
        let (leaf, why) = match self.verdict(&known.process, opened).await? {
            Verdict::False(leaf, why) => (leaf, why),
            Verdict::Right => {
                tracing::debug!(%ledger, %messenger, %source, window, "a claim is right as far as is known here");
                return Ok(true);
            }
            Verdict::TooSoon => return Ok(false),
            Verdict::Beyond(leaf) => {
                let looks = self.beyond.entry(item).or_default();
                *looks += 1;
                if *looks < BEYOND_LOOKS {
                    return Ok(false);
                }
                (leaf, "the source has no such slot".to_owned())
            }
        };
        self.beyond.remove(&item);
        tracing::warn!(%ledger, %messenger, %source, window, leaf, why, %item, "a claim is false");
        if !self.may_challenge().await? {
            tracing::warn!(%ledger, "no more claims are challenged today (`audit_challenges`)");
            return Ok(true);
        }
        let ask = Ask::Challenge { messenger, source, window, leaf, item };
        let letter = Letter { ledger, ask, tries: 0, data: Vec::new() };
        let sent = match letter.sign(&self.shared.signer) {
            Ok(item) => self.submitter.submit(item.raw().clone(), Bytes::new()).await.map(drop),
            Err(error) => {
                tracing::error!(%error, "this node's key cannot sign a challenge");
                return Ok(true);
            }
        };
        let Err(error) = sent else { return Ok(true) };
        tracing::error!(%ledger, %error, "a false claim was not challenged");
        // What may pass is tried again, as far as today's number goes.
        Ok(matches!(error, SubmitError::Invalid(_) | SubmitError::Refused(_)))
    }

    /// Counts one more challenge of today, if there may be one.
    async fn may_challenge(&self) -> Result<bool, NodeError> {
        let shared = &self.shared;
        let day = shared.clock.now().0 / DAY_MS;
        let counted: Option<[u8; 16]> =
            shared.store.read()?.setting(DAY_SETTING)?.and_then(|value| value.as_ref().try_into().ok());
        let counted = counted.map_or(0, u128::from_be_bytes);
        let today = if (counted >> 64) as u64 == day { counted as u64 } else { 0 };
        if today >= shared.config.pay.audit_challenges {
            return Ok(false);
        }
        let value = (u128::from(day) << 64) | u128::from(today + 1);
        let value = Bytes::copy_from_slice(&value.to_be_bytes());
        shared.store.write(vec![Write::Setting { name: DAY_SETTING.to_owned(), value }]).await?;
        Ok(true)
    }

    /// What the logs say of a claim.
    async fn verdict(&self, source: &Arc<Process>, opened: Opened) -> Result<Verdict, NodeError> {
        let (shared, of) = (SharedRef::clone(&self.shared), Arc::clone(source));
        let read = tokio::task::spawn_blocking(move || read_claim(&shared, &of, opened));
        let Some(read) = joined(read.await) else { return Ok(Verdict::TooSoon) };
        let Some((window, mut leaves)) = read? else { return Ok(Verdict::Right) };
        for (number, _, seen) in &leaves {
            match seen {
                Seen::NotSent(why) => return Ok(Verdict::False(*number, (*why).to_owned())),
                Seen::ToCome => return Ok(Verdict::TooSoon),
                Seen::Beyond => return Ok(Verdict::Beyond(*number)),
                Seen::Sent(_) | Seen::Unknown => {}
            }
        }
        let order = RandomState::new();
        leaves.sort_by_cached_key(|(number, ..)| order.hash_one(number));
        let network = self.shared.network;
        let sent = leaves.into_iter().filter_map(|(number, leaf, seen)| match seen {
            Seen::Sent(push) => Some((number, leaf, push)),
            Seen::NotSent(_) | Seen::ToCome | Seen::Beyond | Seen::Unknown => None,
        });
        let sent: Vec<(u32, Leaf, Push)> = sent.collect();
        // What needs no other log is looked at for all.
        let unknown: Found = Err(String::new());
        for (number, leaf, push) in &sent {
            if let Some(why) = from_target(&window, &opened.messenger, leaf, push, (&unknown, None), network)
            {
                return Ok(Verdict::False(*number, why));
            }
        }
        for some in sent[..sent.len().min(LEAVES_MAX)].chunks(LEAVES_STEP) {
            let pushes: Vec<Push> = some.iter().map(|(.., push)| *push).collect();
            let found = look_for(&self.shared, &pushes).await;
            for ((number, leaf, push), found) in some.iter().zip(found) {
                let other = match &found {
                    Ok(None) => stands_at(&self.shared, push.target, leaf.paid.target_slot).await,
                    _ => None,
                };
                let shown = (&found, other);
                if let Some(why) = from_target(&window, &opened.messenger, leaf, push, shown, network) {
                    return Ok(Verdict::False(*number, why));
                }
            }
        }
        Ok(Verdict::Right)
    }
}

/// The leaves of a claim as the source's log here has them, with its window; nothing where the claim cannot be read.
type Leaves = Option<(Window, Vec<(u32, Leaf, Seen)>)>;

fn read_claim(shared: &Shared, source: &Process, opened: Opened) -> Result<Leaves, NodeError> {
    let reader = shared.store.read()?;
    let Opened { messenger, source: process, window, item } = opened;
    let Some(tree) = tree_of(&reader, messenger, process, window, &item)? else { return Ok(None) };
    let Some(computed) = reader.last_computed(&process)? else { return Ok(None) };
    let first = tree.leaves().first().map_or(0, |leaf| leaf.paid.position.slot);
    let Some(window) = window_at(&reader, source, first)? else { return Ok(None) };
    let mut leaves = Vec::new();
    for (number, leaf) in (0_u32..).zip(tree.leaves()) {
        leaves.push((number, *leaf, from_source(&reader, source, leaf, computed)?));
    }
    Ok(Some((window, leaves)))
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

    use weft_protocol::market::{Paid, TURN_MS};

    use super::*;
    use crate::market::audit::tests::{NETWORK, PROCESS, TIME, window};
    use crate::pushed::Pushed;

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
    }
}
