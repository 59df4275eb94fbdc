//! What a ledger says that is not computed here: asked of its computers, and taken as what a quorum of its attestors signed.
//!
//! That is what the ledger's own money rests on: what it pays out counts by the same signatures. Nothing of its log
//! is kept; written down is how far it was heard, and O there, from which the next answer has to follow without a gap.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, join_all};
use weft_net::{Key, Peer};
use weft_protocol::outcome::Running;
use weft_protocol::outcome::sent::{Sent, Since, Stretch};
use weft_protocol::process::Process;
use weft_protocol::{Address, Hash, Id, Position, Tag};
use weft_storage::{ClaimKey, Reader, StoreError};

use super::machine::Sending;
use super::notices::{self, Asked, Notice};
use crate::hosting::{self, HostingError};
use crate::messenger::collect::{computers, shown};
use crate::remote::{self, RemoteError};
use crate::shared::SharedRef;

/// Computers that are asked first.
const NEAR_MAX: usize = 3;
/// Computers that are asked where those had nothing, half of them such as are not at hand.
const WIDE_MAX: usize = 16;
/// Attestors that are looked for by their keys at once. Who is found is connected, and at hand from then on.
const FOUND_MAX: usize = 4;
/// How long it takes until others of them have their turn, in milliseconds.
const FIND_TURN_MS: u64 = 30_000;
/// How long an attestor is waited for. The search goes on: who is found later is at hand when the ledger is asked again.
const FIND_WAIT: Duration = Duration::from_secs(2);
/// How long asking one ledger may take.
const ASK_WAIT: Duration = Duration::from_secs(60);
/// Messages of this node to ledgers that are remembered, the newest: those of all places many times.
const WRITTEN_MAX: usize = 4_096;
/// Bytes of a mark that has no O, and of what follows in one that has.
const POSITION_BYTES: usize = 20;
const RUNNING_BYTES: usize = 32;

/// How far what a ledger says was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Where to read on.
    pub next: Position,
    /// O before that, where others showed it; the disk has it where the ledger is computed here.
    pub running: Option<Running>,
}

impl Mark {
    /// As it is written down.
    pub fn to_bytes(self) -> Bytes {
        let running = self.running.map(|running| running.0.0.to_vec()).unwrap_or_default();
        [self.next.to_bytes().to_vec(), running].concat().into()
    }

    /// What [`to_bytes`](Self::to_bytes) wrote; none if it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (next, running) = bytes.split_first_chunk::<POSITION_BYTES>()?;
        let running = match running.len() {
            0 => None,
            RUNNING_BYTES => Some(Running(Hash::try_from(running).ok()?)),
            _ => return None,
        };
        Some(Self { next: Position::from_bytes(next), running })
    }

    /// Behind a position at which O was this.
    fn behind(last: Position, running: Running) -> Self {
        let next = Position { tick: last.tick.saturating_add(1), ..last };
        Self { next, running: Some(running) }
    }

    /// The last position that was read.
    pub fn last(&self) -> Option<Position> {
        Some(Position { tick: self.next.tick.checked_sub(1)?, ..self.next })
    }
}

/// O before what is to be read next of a ledger, by what is evaluated here; none where that is not what was heard, or does not
/// go so far: who goes on from a checkpoint of others has nothing of what was said before it.
pub(super) fn before_next(
    reader: &Reader,
    ledger: &Id,
    read: Option<Mark>,
) -> Result<Option<Running>, StoreError> {
    let Some((mark, last)) = read.and_then(|mark| Some((mark, mark.last()?))) else {
        return Ok(Some(Running::before(*ledger)));
    };
    let here = reader.outcome(ledger, last)?.map(|row| Running(row.running));
    Ok(here.filter(|here| mark.running.is_none_or(|heard| heard == *here)))
}

/// Whether a ledger can be read on here: all of what follows what was read where claims are under way, as they wait for it.
pub(super) fn goes_on_here(
    reader: &Reader,
    ledger: &Id,
    read: Option<Mark>,
    is_claimed: bool,
) -> Result<bool, StoreError> {
    let Some(before) = before_next(reader, ledger, read)? else { return Ok(false) };
    if !is_claimed {
        return Ok(true);
    }
    let from = read.map_or(Position::slot(0), |read| read.next);
    let next = reader.outcomes_up(ledger, from, 1, 1)?;
    Ok(next.first().is_none_or(|(_, row)| notices::follows(before, row)))
}

/// From where on a ledger is asked; none where claims are under way and it is not known what follows what was read of it.
fn since(
    reader: &Reader,
    ledger: &Id,
    read: Option<Mark>,
    is_claimed: bool,
) -> Result<Option<Since>, StoreError> {
    if !is_claimed {
        // What was said before the first claim is of no interest.
        return Ok(Some(Since::Newest));
    }
    let Some((mark, last)) = read.and_then(|mark| Some((mark, mark.last()?))) else {
        return Ok(Some(Since::Start));
    };
    let here = reader.outcome(ledger, last)?.map(|row| Running(row.running));
    Ok(mark.running.or(here).map(|running| Since::After(last, running)))
}

/// What the computers of a ledger showed.
#[derive(Debug)]
pub(super) enum Shown {
    /// Something new.
    New(Told),
    /// That it said nothing since it was read.
    Same,
}

/// What a ledger said.
#[derive(Debug)]
pub(super) struct Told {
    /// How far it was read when it was asked.
    pub read: Option<Mark>,
    /// Whether it was asked for its newest position alone: no claim was under way.
    pub is_newest: bool,
    /// What it said of claims of this node, in order.
    pub notices: Vec<Notice>,
    /// How far it is read with this.
    pub to: Mark,
    /// Whether there may be more at once.
    pub is_more: bool,
}

/// Why nothing is known of what a ledger said.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTold {
    /// Nobody serves it.
    #[error(transparent)]
    Unknown(#[from] HostingError),
    /// Who was asked has nothing, or nothing that a quorum signed.
    #[error("none of its computers shows anything that a quorum of its attestors signed")]
    Nothing,
    /// It goes on, and nobody shows how from where it was read to there.
    #[error("nobody shows what it said in slots {0} to {1}: `weft host` it with `--compute`")]
    Missing(u64, u64),
    /// It was computed here and is so no longer.
    #[error("it was computed here, and what it said since is not known: `weft host {0} --compute`")]
    Gap(Id),
    /// It answers to a message that nobody shows.
    #[error("it answers to a message that nobody shows: {0}")]
    Message(#[from] RemoteError),
    /// It takes too long.
    #[error("asking it took more than {} s", ASK_WAIT.as_secs())]
    Late,
    /// The disk.
    #[error(transparent)]
    Disk(#[from] StoreError),
}

/// A question to a ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    /// Which.
    pub ledger: Id,
    /// How far it is read.
    pub read: Option<Mark>,
    /// Whether claims are under way there.
    pub is_claimed: bool,
    /// Whether more are asked than those that come first.
    pub is_wide: bool,
}

/// Asks what a ledger said after what was read of it. Safe to cancel.
pub(super) async fn ask(shared: &SharedRef, written: &Written, question: Question) -> Result<Shown, NotTold> {
    tokio::time::timeout(ASK_WAIT, try_ask(shared, written, question)).await.unwrap_or(Err(NotTold::Late))
}

async fn try_ask(shared: &SharedRef, written: &Written, question: Question) -> Result<Shown, NotTold> {
    let Question { ledger, read, is_claimed, is_wide } = question;
    let from = since(&shared.store.read()?, &ledger, read, is_claimed)?.ok_or(NotTold::Gap(ledger))?;
    let process = hosting::find_process(shared, ledger).await?;
    let peers = whom(shared, &process, is_wide).await;
    let stretch = shown(shared, &process, peers.clone(), from).await;
    let is_newest = from == Since::Newest;
    let stretch = match stretch {
        Some(stretch) => stretch,
        // Who has nothing newer and who is not there look alike: whoever shows where it stands tells them apart.
        None if is_newest || from == Since::Start => return Err(NotTold::Nothing),
        None => {
            let newest = shown(shared, &process, peers, Since::Newest).await.ok_or(NotTold::Nothing)?;
            return compared(read, newest.end);
        }
    };
    let (last, running) = stretch.end;
    let is_behind =
        |read: Mark| read.last().is_some_and(|at| last < at || last == at && read.running.is_some());
    if is_newest && read.is_some_and(is_behind) {
        return compared(read, stretch.end);
    }
    let mut notices = Vec::new();
    if !is_newest {
        let asked = asked(shared, written, ledger, &stretch).await?;
        for Sent { outbox, .. } in &stretch.sent {
            let told = notices::told(shared.address, outbox.entries(), |item| asked.get(item).cloned());
            notices.extend(told);
        }
    }
    let is_more = stretch.may_have_more(from);
    Ok(Shown::New(Told { read, is_newest, notices, to: Mark::behind(last, running), is_more }))
}

/// What it says of a ledger that its computers show it to end here. That is no proof of an end: who shows it may have nothing
/// newer, or keep it back. Every second time that nothing new came, more are asked (`Due::is_wide`), and one that is honest and
/// has more ends that.
fn compared(read: Option<Mark>, (last, running): (Position, Running)) -> Result<Shown, NotTold> {
    let Some((mark, at)) = read.and_then(|mark| Some((mark, mark.last()?))) else {
        return Err(NotTold::Nothing);
    };
    match last.cmp(&at) {
        Ordering::Equal if mark.running.is_none_or(|known| known == running) => Ok(Shown::Same),
        Ordering::Greater => Err(NotTold::Missing(at.slot, last.slot)),
        // Who is behind shows nothing, and nor does another O: one of the two is false.
        Ordering::Equal | Ordering::Less => Err(NotTold::Nothing),
    }
}

/// Who is asked about a ledger. Its topic is another's, so those who computed it may not be connected.
async fn whom(shared: &SharedRef, ledger: &Process, is_wide: bool) -> Vec<Peer> {
    let mut near = computers(shared, ledger).await;
    if !is_wide {
        near.truncate(NEAR_MAX);
        return near;
    }
    let turn = shared.clock.now().0 / FIND_TURN_MS;
    let missing = missing(ledger, &near, shared.address, turn);
    let by_key = missing.into_iter().map(|attestor| async move {
        let found = tokio::time::timeout(FIND_WAIT, shared.net.providers(Key::Address(attestor))).await;
        found.ok().and_then(Result::ok).unwrap_or_default()
    });
    let serving = shared.net.providers(Key::Process(ledger.id()));
    let (attestors, serving) = join(join_all(by_key), serving).await;
    wide(shared.net.peer(), near, attestors.concat(), serving.unwrap_or_default())
}

/// Attestors of a ledger that are not among these peers, as many as are looked for; in another turn others.
fn missing(ledger: &Process, near: &[Peer], own: Address, turn: u64) -> Vec<Address> {
    let there: BTreeSet<Address> = near.iter().filter_map(Peer::address).chain([own]).collect();
    let mut missing = ledger.attestors().members;
    missing.retain(|member| !there.contains(member));
    let first = usize::try_from(turn).unwrap_or_default() % missing.len().max(1);
    missing.rotate_left(first);
    missing.truncate(FOUND_MAX);
    missing
}

/// Each of these peers once, as many as are asked: some that are at hand, the attestors that were found by their keys, and then
/// those who serve the ledger by their place in the mesh alone.
fn wide(own: Peer, mut near: Vec<Peer>, attestors: Vec<Peer>, serving: Vec<Peer>) -> Vec<Peer> {
    near.truncate(WIDE_MAX / 2);
    let mut seen = BTreeSet::from([own]);
    let all = near.into_iter().chain(attestors).chain(serving);
    let mut all: Vec<Peer> = all.filter(|peer| seen.insert(*peer)).collect();
    all.truncate(WIDE_MAX);
    all
}

/// The messages of this node to which a stretch answers. Those that are not remembered are asked for by their ids.
async fn asked(
    shared: &SharedRef,
    written: &Written,
    ledger: Id,
    stretch: &Stretch,
) -> Result<BTreeMap<Id, Asked>, RemoteError> {
    let entries = stretch.sent.iter().flat_map(|sent| sent.outbox.entries());
    let answered: BTreeSet<Id> =
        entries.filter_map(|entry| notices::answered(entry, shared.address)).collect();
    let mut all = BTreeMap::new();
    for item in answered {
        let asked = match written.of(&item) {
            Some(sending) => Asked { by: shared.address, item, tags: tags(&sending) },
            None => {
                let found = remote::anywhere(shared, ledger, item).await?;
                Asked { by: found.owner(), item, tags: found.tags().to_vec() }
            }
        };
        all.insert(item, asked);
    }
    Ok(all)
}

/// What a message names that asked for this.
fn tags(sending: &Sending) -> Vec<Tag> {
    let (key, leaf) = match sending {
        Sending::Claim(key) => (key, None),
        Sending::Answer(key, leaf) => (key, Some(leaf)),
        Sending::Settle => return Vec::new(),
    };
    let ClaimKey { source, window, .. } = key;
    let leaf = leaf.map(|leaf| Tag::new("Leaf", leaf.to_string()));
    let of = [Tag::new("Source", source.to_string()), Tag::new("Window", window.to_string())];
    of.into_iter().chain(leaf).collect()
}

/// The newest messages of this node to ledgers: an answer names the item that it is about, and nothing else.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<(BTreeMap<Id, Sending>, VecDeque<Id>)>);

impl Written {
    /// Remembers what a message is for. One that lets slots pass is answered by nothing that is heard.
    pub fn remember(&self, item: Id, sending: Sending) {
        if sending == Sending::Settle {
            return;
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (by_item, order) = &mut *held;
        if by_item.insert(item, sending).is_none() {
            order.push_back(item);
        }
        while order.len() > WRITTEN_MAX {
            let Some(oldest) = order.pop_front() else { return };
            by_item.remove(&oldest);
        }
    }

    fn of(&self, item: &Id) -> Option<Sending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get(item).copied()
    }
}

/// How it stands with a ledger that is not computed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The slot up to which it was heard; none before the first time.
    pub heard_to: Option<u64>,
    /// What keeps more of it away.
    pub why: Option<String>,
}

/// How it stands with those that are heard, for whoever asks what keeps money away.
#[derive(Debug, Default)]
pub struct Standings(Mutex<BTreeMap<Id, Standing>>);

impl Standings {
    fn held(&self) -> MutexGuard<'_, BTreeMap<Id, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how it stands with all of them.
    pub(super) fn set(&self, all: BTreeMap<Id, Standing>) {
        *self.held() = all;
    }

    /// How it stands with one; none where it is not heard.
    pub fn of(&self, ledger: &Id) -> Option<Standing> {
        self.held().get(ledger).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Draft;
    use weft_protocol::crypto::Signer;
    use weft_protocol::process::Terms;
    use weft_protocol::time::Weave;
    use weft_storage::{MemoryDisk, Store, StoreConfig};

    use super::*;
    use crate::shared::testing::{NETWORK, peer, process_item};

    #[test]
    fn a_mark_is_read_as_it_was_written_by_this_build_or_an_earlier_one() {
        let (last, running) = (Position { epoch: 0, slot: 7, tick: 2 }, Running(Hash([9; 32])));
        let mark = Mark::behind(last, running);
        assert_eq!(Mark::from_bytes(&mark.to_bytes()), Some(mark));
        assert_eq!(mark.last(), Some(last));
        let here = Mark { next: Position { tick: 1, ..Position::slot(3) }, running: None };
        assert_eq!(here.to_bytes(), here.next.to_bytes().as_slice());
        assert_eq!(Mark::from_bytes(&here.to_bytes()), Some(here));
        assert_eq!(here.last(), Some(Position::slot(3)));
        assert_eq!(Mark { next: Position::slot(0), running: None }.last(), None, "nothing was read");
        for wrong in [0, 19, 21, 51, 53] {
            assert_eq!(Mark::from_bytes(&vec![0; wrong]), None);
        }
    }

    #[test]
    fn a_ledger_is_asked_from_where_it_was_heard_and_never_past_what_claims_wait_for() {
        let own = Signer::from_seed(&[1; 32]);
        let config = StoreConfig::new(NETWORK, own.address());
        let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
        let reader = store.read().unwrap();
        let since = |read, is_claimed| since(&reader, &Id([2; 32]), read, is_claimed).unwrap();
        assert_eq!((since(None, false), since(None, true)), (Some(Since::Newest), Some(Since::Start)));
        let (last, running) = (Position::slot(7), Running(Hash([9; 32])));
        let heard = Mark::behind(last, running);
        let after = Some(Since::After(last, running));
        assert_eq!((since(Some(heard), false), since(Some(heard), true)), (Some(Since::Newest), after));
        // It was computed here, and its outcomes are forgotten.
        let here = Mark { running: None, ..heard };
        assert_eq!((since(Some(here), false), since(Some(here), true)), (Some(Since::Newest), None));
    }

    #[test]
    fn attestors_that_are_not_at_hand_are_looked_for_by_their_keys_and_asked_before_strangers() {
        let own = peer(9);
        let owner = Signer::from_seed(&[1; 32]);
        let members = [1, 2, 3, 4, 5, 6, 9].map(|seed| peer(seed).address().unwrap().to_string());
        let tags = process_item(&owner, owner.address()).tags().to_vec().into_iter();
        let set = [Tag::new("Compute", members.join(",")), Tag::new("Compute-Quorum", "4")];
        let item = Draft { tags: tags.chain(set).collect(), ..Draft::default() }.sign(&owner).unwrap();
        let terms = Terms { network: NETWORK, weave: Weave::Clock };
        let ledger = Process::accept(item, None, &terms).unwrap();
        let addresses = |seeds: &[u8]| -> Vec<Address> {
            seeds.iter().map(|seed| peer(*seed).address().unwrap()).collect()
        };
        let missing = |near: &[Peer], turn| missing(&ledger, near, own.address().unwrap(), turn);
        assert_eq!(
            missing(&[peer(5), peer(6), peer(7)], 0),
            addresses(&[1, 2, 3, 4]),
            "not this node itself"
        );
        assert_eq!(missing(&[peer(2), peer(7)], 3), addresses(&[5, 6, 1, 3]), "nobody is left out for ever");
        assert!(missing(&[1, 2, 3, 4, 5, 6].map(peer), 7).is_empty());
        let peers = |seeds: std::ops::Range<u8>| seeds.map(peer).collect::<Vec<_>>();
        let asked = wide(own, peers(20..22), peers(20..23), vec![own, peer(22), peer(40)]);
        assert_eq!(asked, [20, 21, 22, 40].map(peer));
        // There is room for each kind, however many there are of the others.
        let asked = wide(own, peers(20..40), peers(60..64), peers(100..120));
        let expected: Vec<Peer> = [peers(20..28), peers(60..64), peers(100..104)].concat();
        assert_eq!(asked, expected);
    }

    #[test]
    fn only_who_shows_where_it_stands_shows_that_nothing_was_said() {
        let (at, running) = (Position::slot(7), Running(Hash([9; 32])));
        let read = Some(Mark::behind(at, running));
        assert!(matches!(compared(read, (at, running)), Ok(Shown::Same)));
        assert!(matches!(compared(read, (at, Running(Hash([8; 32])))), Err(NotTold::Nothing)), "another O");
        assert!(
            matches!(compared(read, (Position::slot(6), running)), Err(NotTold::Nothing)),
            "it is behind"
        );
        let ahead = compared(read, (Position::slot(9), running));
        assert!(matches!(ahead, Err(NotTold::Missing(7, 9))));
        assert!(matches!(compared(None, (at, running)), Err(NotTold::Nothing)));
    }

    #[test]
    fn messages_are_remembered_up_to_a_limit() {
        let written = Written::default();
        let key = ClaimKey { source: Id([3; 32]), window: 5, number: 0 };
        let item = |number: usize| {
            let mut item = [0; 32];
            item[..8].copy_from_slice(&number.to_be_bytes());
            Id(item)
        };
        written.remember(item(0), Sending::Settle);
        assert_eq!(written.of(&item(0)), None);
        for number in 0..=WRITTEN_MAX {
            written.remember(item(number), Sending::Claim(key));
            // Sent again it is the same.
            written.remember(item(number), Sending::Answer(key, 4));
        }
        assert_eq!(written.of(&item(0)), None, "the oldest");
        assert_eq!(written.of(&item(1)), Some(Sending::Answer(key, 4)));
        let said = tags(&Sending::Answer(key, 4));
        let said: Vec<_> = said.iter().map(|tag| (tag.name.as_str(), tag.value.clone())).collect();
        let source = key.source.to_string();
        assert_eq!(said, [("Source", source), ("Window", "5".into()), ("Leaf", "4".into())]);
    }
}
