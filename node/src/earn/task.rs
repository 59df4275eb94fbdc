//! The loop: what was carried becomes claims, and what the ledgers say of them is followed.

mod asking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::market::{ClaimTree, Opening, Paid};
use weft_protocol::{Address, Effects, Id, Machine as _, Position};
use weft_storage::{ChallengeRow, ClaimKey, ClaimRow, EarnedRow, OutboxKey, Reader, StoreError, Write};

use super::elsewhere::{Mark, NotTold, Shown, Written, before_next};
use super::evidence::answer;
use super::ledgers::Ledgers;
use super::letters::{Ask, Letter};
use super::machine::{ANSWERS_MAX, CLAIMS_MAX, Claims, Effect, Input, Owed, SENDS_MAX, Sending};
use super::notices;
use super::owed::{Kept, Look, Owing, dropped, forgotten, given_up, judged, owing};
use crate::error::NodeError;
use crate::metrics::Level;
use crate::shared::{Shared, SharedRef};
use crate::submit::Submitter;
use crate::supervisor::joined;

/// How often the ledgers' logs are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How many of those looks lie between two for what may be claimed.
const OWED_EVERY: u32 = 5;
/// Stretches of a ledger's log that are read in one look.
const STRETCHES_MAX: usize = 16;
/// Messages to ledgers under way at once, which is what the machine has places for.
const PLACES: usize = ANSWERS_MAX + SENDS_MAX;
/// Claims that are read at once.
const ROWS_MAX: usize = 4_096;
/// Notices of claims after which only the last row of each is kept, as each row has all challenges of its claim.
const SAID_AT_ONCE: usize = 64;
/// What starts the name of the setting that says how far a ledger's log was read; its id follows.
const READ_SETTING: &str = "earn/";

/// What was found beside the loop.
enum Found {
    /// What may be claimed.
    Owing(Vec<Owing>),
    /// The pushes of a window that can be claimed, and what is to be written down of the others.
    Judged(Owing, Vec<Paid>, Vec<Write>),
}

/// A message that is not under way any more, with its ledger and the slot that it has there.
type Sent = (Id, Sending, Option<u64>);

/// The loop.
pub struct EarnTask {
    shared: SharedRef,
    submitter: Submitter,
    machine: Claims,
    effects: Effects<Effect>,
    /// How far what each ledger says is read.
    read: BTreeMap<Id, Mark>,
    /// The ledgers that are evaluated here, as far as they were heard before at least, and the others, by the last look.
    here: BTreeSet<Id>,
    elsewhere: BTreeSet<Id>,
    /// Which of the others are asked, and what keeps some from being heard.
    ledgers: Ledgers,
    silent: BTreeMap<Id, String>,
    asks: JoinSet<(Id, Result<Shown, NotTold>)>,
    used: Arc<AtomicU64>,
    written: Arc<Written>,
    /// The newest slot that a message of this run has in each of them.
    slots: BTreeMap<Id, u64>,
    sends: JoinSet<Sent>,
    places: Arc<Semaphore>,
    /// The look for what may be claimed, or the judging of a window of that: one at a time, and beside the loop, or no
    /// challenge is heard and answered meanwhile.
    finding: JoinSet<Result<Found, NodeError>>,
    /// What the last look found and is not judged yet.
    owed: VecDeque<Owing>,
    /// The ledgers that owe something, by that look; none before the first.
    owing: Option<BTreeSet<Id>>,
}

impl EarnTask {
    /// The loop of a messenger.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef, submitter: Submitter) -> Result<Self, NodeError> {
        let mut machine = Claims::new(shared.address, shared.config.pay.claim_least);
        let places = Arc::new(Semaphore::new(PLACES));
        shared.metrics.watch(Level::permits("earn", "sends", &places, PLACES));
        let (mut effects, reader) = (Effects::new(), shared.store.read()?);
        let (mut after, mut read) = (None, BTreeMap::new());
        loop {
            let page = reader.claims_after(after.as_ref(), ROWS_MAX)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (key, row) in page {
                machine.handle(Input::Held(key, row), shared.clock.now(), &mut effects);
            }
        }
        for name in reader.setting_names(READ_SETTING)? {
            let ledger = name.strip_prefix(READ_SETTING).and_then(|ledger| ledger.parse().ok());
            let mark = reader.setting(&name)?.and_then(|mark| Mark::from_bytes(&mark));
            read.extend(ledger.zip(mark));
        }
        drop(reader);
        // Those of claims have places, named or not.
        let most = shared.config.pay.claim_at.len() + CLAIMS_MAX;
        let (level, used) = Level::cell("earn", "ledgers", most as u64);
        shared.metrics.watch(level);
        Ok(Self {
            shared,
            submitter,
            machine,
            effects,
            read,
            here: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            ledgers: Ledgers::default(),
            silent: BTreeMap::new(),
            asks: JoinSet::new(),
            used,
            written: Arc::default(),
            slots: BTreeMap::new(),
            sends: JoinSet::new(),
            places,
            finding: JoinSet::new(),
            owed: VecDeque::new(),
            owing: None,
        })
    }

    /// Runs until the node stops. Messages under way are dropped; they are made again.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0_u32;
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                Some(sent) = self.sends.join_next(), if !self.sends.is_empty() => self.ended(joined(sent)).await,
                Some(found) = self.finding.join_next(), if !self.finding.is_empty() => {
                    self.found(joined(found)).await
                }
                Some(told) = self.asks.join_next(), if !self.asks.is_empty() => self.told(joined(told)).await,
                _ = tick.tick() => {
                    looks = looks.wrapping_add(1);
                    if looks % OWED_EVERY == 1 && self.finding.is_empty() {
                        self.find();
                    }
                    self.look().await
                }
            };
            if let Err(error) = done {
                tracing::error!(%error, "what is owed to this node is not known");
            }
        }
    }

    async fn look(&mut self) -> Result<(), NodeError> {
        self.sort()?;
        for ledger in self.here.clone() {
            self.hear(ledger).await?;
        }
        self.ask().await?;
        self.handle(Input::Deaf(self.deaf()));
        self.handle(Input::Tick);
        self.perform(Vec::new()).await
    }

    async fn ended(&mut self, sent: Option<Sent>) -> Result<(), NodeError> {
        if let Some((ledger, sending, slot)) = sent {
            self.has_slot(ledger, slot);
            self.handle(Input::Ended(ledger, sending));
        }
        self.perform(Vec::new()).await
    }

    /// Looks for what may be claimed, and forgets what nobody will.
    fn find(&mut self) {
        let (shared, but) = (SharedRef::clone(&self.shared), self.machine.windows());
        self.finding.spawn(async move {
            let looking = SharedRef::clone(&shared);
            let looked = tokio::task::spawn_blocking(move || {
                let is_followed = |source: &Id| looking.directory.roles(source).is_some();
                let look = Look { now_ms: looking.clock.now().0, but: &but, is_followed: &is_followed };
                Ok::<_, NodeError>(owing(&looking.store.read()?, &look)?)
            });
            let owing = joined(looked.await).unwrap_or(Ok(Vec::new()))?;
            let kept = |ledger: &Id| match is_computed(&shared, ledger) {
                true => Kept::All,
                false if shared.config.pay.claim_at.contains(ledger) => Kept::Much,
                false => Kept::Little,
            };
            for key in given_up(&owing, kept) {
                forget(&shared, key).await?;
            }
            Ok(Found::Owing(owing))
        });
    }

    /// Takes up what was found, and goes on with the next window.
    async fn found(&mut self, found: Option<Result<Found, NodeError>>) -> Result<(), NodeError> {
        match found {
            Some(Ok(Found::Owing(owing))) => {
                self.owing = Some(owing.iter().map(|owing| owing.ledger).collect());
                self.owed = owing.into();
                self.sort()?;
            }
            Some(Ok(Found::Judged(owing, pushes, unpaid))) => {
                let Owing { key, ledger, tries, .. } = owing;
                self.handle(Input::Owed(Owed { key, ledger, tries, pushes }));
                self.perform(unpaid).await?;
            }
            // One that cannot be judged is not in the way of those after it.
            Some(Err(error)) => tracing::error!(%error, "a window cannot be claimed"),
            None => {}
        }
        self.judge_next();
        Ok(())
    }

    /// Judges the next window that would be claimed now, as far as every push of it can be answered for.
    fn judge_next(&mut self) {
        while let Some(owing) = self.owed.pop_front() {
            let is_wanted = owing.is_over && self.machine.wants(&owing.key, owing.ready);
            if !is_wanted || !self.may_claim(&owing.ledger) {
                continue;
            }
            let (shared, now) = (SharedRef::clone(&self.shared), self.shared.clock.now().0);
            self.finding.spawn(async move {
                let judging = tokio::task::spawn_blocking(move || judged(&shared, &owing, now));
                let (pushes, unpaid) = joined(judging.await).unwrap_or_else(|| Ok(Default::default()))?;
                Ok(Found::Judged(owing, pushes, unpaid))
            });
            return;
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    /// Reads on in the log of a ledger. How far it was read is written down with what that came to. Where claims are under
    /// way nothing may be left out: one of which something is not here is asked for from others.
    async fn hear(&mut self, ledger: Id) -> Result<(), NodeError> {
        for _ in 0..STRETCHES_MAX {
            let (mark, is_claimed) = (self.read.get(&ledger).copied(), self.waits(&ledger));
            let shared = SharedRef::clone(&self.shared);
            let read = tokio::task::spawn_blocking(move || {
                let reader = shared.store.read()?;
                let from = mark.map_or(Position::slot(0), |mark| mark.next);
                let before = if is_claimed { before_next(&reader, &ledger, mark)? } else { None };
                notices::read(&reader, &ledger, shared.address, (from, before))
            });
            let Some(heard) = joined(read.await).transpose()? else { return Ok(()) };
            if heard.has_gap {
                self.here.remove(&ledger);
                self.elsewhere.insert(ledger);
            }
            let Some(next) = heard.next else { return Ok(()) };
            self.say(ledger, heard.notices);
            self.read_to(ledger, Mark { next, running: None }).await?;
        }
        Ok(())
    }

    /// Takes up what a ledger says of claims. One may say the same of a claim ten thousand times before anything is written:
    /// of the rows of each claim the last is enough.
    fn say(&mut self, ledger: Id, notices: Vec<notices::Notice>) {
        for (number, notices::Notice { source, window, said }) in notices.into_iter().enumerate() {
            tracing::debug!(%ledger, %source, window, ?said, "the ledger says of a claim");
            self.handle(Input::Said { ledger, source, window, said });
            if number % SAID_AT_ONCE == SAID_AT_ONCE - 1 {
                keep_last_saves(&mut self.effects);
            }
        }
        keep_last_saves(&mut self.effects);
    }

    /// Writes down how far a ledger was heard, with what that came to.
    async fn read_to(&mut self, ledger: Id, mark: Mark) -> Result<(), NodeError> {
        let name = format!("{READ_SETTING}{ledger}");
        self.perform(vec![Write::Setting { name, value: mark.to_bytes() }]).await?;
        self.read.insert(ledger, mark);
        Ok(())
    }

    /// Writes down what is to be written, all at once, then sends what is to be sent.
    async fn perform(&mut self, writes: Vec<Write>) -> Result<(), NodeError> {
        let effects: Vec<Effect> = self.effects.drain().collect();
        if effects.is_empty() && writes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.write(writes, effects.clone()).await {
            // What is not written down is not sent either.
            for (ledger, sending) in effects.iter().filter_map(Effect::sending) {
                self.handle(Input::Ended(ledger, sending));
            }
            return Err(error);
        }
        for effect in effects {
            match effect {
                Effect::Send(key, row) => {
                    self.send((row.ledger, Sending::Claim(key)), Letters::Claim(key, row));
                }
                Effect::Answer(key, row, challenge) => {
                    let sending = (row.ledger, Sending::Answer(key, challenge.leaf));
                    self.send(sending, Letters::Answer(key, row, challenge));
                }
                Effect::Settle(ledger, _) => self.send((ledger, Sending::Settle), Letters::Settle),
                Effect::End { key, row, .. } => {
                    let ClaimKey { source, window, .. } = key;
                    tracing::info!(%source, window, sum = row.sum, state = ?row.state, "a claim is over");
                }
                Effect::Free { key, row, .. } => {
                    let ClaimKey { source, window, .. } = key;
                    tracing::warn!(%source, window, sum = row.sum, state = ?row.state, "a claim was not taken");
                }
                Effect::Make(..) | Effect::Save(..) => {}
            }
        }
        Ok(())
    }

    async fn write(&self, mut writes: Vec<Write>, effects: Vec<Effect>) -> Result<(), NodeError> {
        let shared = SharedRef::clone(&self.shared);
        let reading = tokio::task::spawn_blocking(move || {
            let reader = shared.store.read()?;
            let mut writes = Vec::new();
            for effect in effects {
                writes.extend(writes_of(&reader, effect, shared.address)?);
            }
            Ok::<_, StoreError>(writes)
        });
        writes.extend(joined(reading.await).unwrap_or(Ok(Vec::new()))?);
        if !writes.is_empty() {
            self.shared.store.write(writes).await?;
        }
        Ok(())
    }

    fn send(&mut self, (ledger, sending): (Id, Sending), letters: Letters) {
        let (shared, submitter) = (SharedRef::clone(&self.shared), self.submitter.clone());
        let (place, written) = (Arc::clone(&self.places).try_acquire_owned(), Arc::clone(&self.written));
        self.sends.spawn(async move {
            let _place = place;
            let challenged = letters.challenged();
            let sent = letters.send(&shared, &submitter, &written, (ledger, sending)).await;
            if let Err(error) = &sent {
                match challenged {
                    None => tracing::warn!(%ledger, error, "a message to a ledger was not sent"),
                    Some((ClaimKey { source, window, .. }, ChallengeRow { leaf, due, due_ms, .. })) => {
                        let why =
                            "a challenge is not answered: the claim and the bond are lost when it is due";
                        tracing::error!(%ledger, %source, window, leaf, due, due_ms, error, "{why}");
                    }
                }
            }
            (ledger, sending, sent.ok().flatten())
        });
    }
}

/// Forgets the unclaimed pushes of a window: too many wait for ledgers that are not computed here.
async fn forget(shared: &SharedRef, key: ClaimKey) -> Result<(), NodeError> {
    let ClaimKey { source, window, .. } = key;
    tracing::warn!(%source, window, "pushes are kept no longer: too many wait for ledgers that are not computed here");
    loop {
        let reading = SharedRef::clone(shared);
        let read =
            tokio::task::spawn_blocking(move || Ok::<_, NodeError>(forgotten(&reading.store.read()?, &key)?));
        let writes = joined(read.await).unwrap_or(Ok(Vec::new()))?;
        if writes.is_empty() {
            return Ok(());
        }
        shared.store.write(writes).await?;
    }
}

/// Of several rows that are to be written of one claim keeps the last.
fn keep_last_saves(effects: &mut Effects<Effect>) {
    let mut saved = BTreeSet::new();
    let all: Vec<Effect> = effects.drain().collect();
    let is_last = |effect: &Effect| !matches!(effect, Effect::Save(key, _) if !saved.insert(*key));
    let mut kept: Vec<Effect> = all.into_iter().rev().filter(is_last).collect();
    kept.reverse();
    effects.extend(kept);
}

/// Whether what a ledger says is computed here.
fn is_computed(shared: &Shared, ledger: &Id) -> bool {
    shared.directory.roles(ledger).is_some_and(|roles| roles.computes)
}

/// A message that is made when it is sent.
enum Letters {
    Claim(ClaimKey, ClaimRow),
    Answer(ClaimKey, ClaimRow, ChallengeRow),
    Settle,
}

impl Letters {
    /// The challenge that it answers.
    const fn challenged(&self) -> Option<(ClaimKey, ChallengeRow)> {
        match self {
            Self::Answer(key, _, challenge) => Some((*key, *challenge)),
            Self::Claim(..) | Self::Settle => None,
        }
    }

    async fn send(
        self,
        shared: &SharedRef,
        submitter: &Submitter,
        written: &Written,
        (ledger, sending): (Id, Sending),
    ) -> Result<Option<u64>, String> {
        let making = SharedRef::clone(shared);
        let making = tokio::task::spawn_blocking(move || self.made(&making, ledger));
        let Some(letter) = joined(making.await) else { return Ok(None) };
        let item = letter?.sign(&shared.signer).map_err(|error| error.to_string())?;
        // What the ledger answers names it.
        written.remember(item.id(), sending);
        let sent = submitter.submit(item.raw().clone(), Bytes::new()).await;
        sent.map(|slot| Some(slot.slot)).map_err(|error| error.to_string())
    }

    fn made(self, shared: &Shared, ledger: Id) -> Result<Letter, String> {
        let shown = |key: &ClaimKey, row: &ClaimRow, leaf: u32| {
            let tree = ClaimTree::decode(shared.address, key.source, key.window, &row.pushes);
            let tree = tree.map_err(|error| error.to_string())?;
            let reader = shared.store.read().map_err(|error| error.to_string())?;
            let shown = answer(&reader, key.source, &tree, leaf).map_err(|error| error.to_string())?;
            Ok::<_, String>((tree, shown))
        };
        let letter = |ask, tries, data| Letter { ledger, ask, tries, data };
        Ok(match self {
            Self::Claim(key, row) => {
                let (tree, shown) = shown(&key, &row, 0)?;
                letter(Ask::Claim(key), row.tries.into(), Opening { tree, shown }.encode())
            }
            Self::Answer(key, row, ChallengeRow { leaf, due, tries, .. }) => {
                let (_, shown) = shown(&key, &row, leaf)?;
                letter(Ask::Answer { key, leaf, due }, tries.into(), shown.encode())
            }
            // The count begins anew with each claim, so time tells them apart.
            Self::Settle => letter(Ask::Settle, shared.clock.now().0, Vec::new()),
        })
    }
}

/// What an effect writes.
fn writes_of(reader: &Reader, effect: Effect, me: Address) -> Result<Vec<Write>, StoreError> {
    let mut writes = Vec::new();
    let mut each = |key: &ClaimKey,
                    pushes: &Bytes,
                    change: &dyn Fn(u32, OutboxKey, EarnedRow) -> Vec<Write>| {
        // It was made of a tree.
        let Ok(tree) = ClaimTree::decode(me, key.source, key.window, pushes) else { return Ok(()) };
        for (number, leaf) in (0_u32..).zip(tree.leaves()) {
            let key = OutboxKey { process: key.source, position: leaf.paid.position, index: leaf.paid.index };
            if let Some(row) = reader.earned(&key)? {
                writes.extend(change(number, key, row));
            }
        }
        Ok::<_, StoreError>(())
    };
    match effect {
        Effect::Make(key, row) => {
            each(&key, &row.pushes, &|_, push, row| {
                vec![Write::Earned { key: push, row: EarnedRow { claim: Some(key.number), ..row } }]
            })?;
            writes.push(Write::Claim { key, row });
        }
        Effect::Save(key, row) => writes.push(Write::Claim { key, row }),
        Effect::End { key, row, pushes } => {
            each(&key, &pushes, &|_, key, row| dropped(key, &row).to_vec())?;
            writes.push(Write::Claim { key, row });
        }
        Effect::Free { key, row, pushes, taken, taken_until_ms, paid } => {
            let free_at = row.next_try_ms;
            each(&key, &pushes, &|number, key, row| {
                if paid.contains(&number) {
                    return dropped(key, &row).to_vec();
                }
                let next_try_ms = if taken.contains(&number) { taken_until_ms } else { free_at };
                vec![Write::Earned { key, row: EarnedRow { claim: None, next_try_ms, ..row } }]
            })?;
            writes.push(Write::Claim { key, row });
        }
        Effect::Send(..) | Effect::Answer(..) | Effect::Settle(..) => {}
    }
    Ok(writes)
}
