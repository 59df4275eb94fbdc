//! The loop: what was carried becomes claims, and what the ledgers say of them is followed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::market::{ClaimTree, Court, Opening, Paid, judge, window_of};
use weft_protocol::process::Process;
use weft_protocol::{Address, Effects, Id, Machine as _, Position};
use weft_storage::{ClaimKey, ClaimRow, ClaimState, EarnedRow, OutboxKey, Reader, StoreError, Write};

use super::evidence::{AnswerError, answer};
use super::letters::{Ask, Letter};
use super::machine::{CLAIM_PUSHES_MAX, Claims, Effect, Input, Owed};
use super::notices;
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
/// Messages to ledgers under way at once; what finds no place goes out later.
const SENDS_MAX: usize = 16;
/// Pushes that are read at once.
const ROWS_MAX: usize = 4_096;
/// What starts the name of the setting that says how far a ledger's log was read; its id follows.
const READ_SETTING: &str = "earn/";

/// Unclaimed pushes of one window of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owing {
    /// Where its claim stands: of one that was refused, or of a new one.
    pub key: ClaimKey,
    /// The ledger.
    pub ledger: Id,
    /// How often it was refused.
    pub tries: u32,
    /// Whether the window is over.
    pub is_over: bool,
    /// The pushes, with when each may be claimed.
    pub pushes: Vec<(OutboxKey, EarnedRow)>,
}

/// What this node carried and has not claimed, by window.
///
/// # Errors
/// The disk.
pub fn owing(reader: &Reader) -> Result<Vec<Owing>, StoreError> {
    let mut by_window: BTreeMap<(Id, u64), Owing> = BTreeMap::new();
    let first = Position { epoch: 0, slot: 0, tick: 0 };
    let mut from = OutboxKey { process: Id([0; 32]), position: first, index: 0 };
    loop {
        let page = reader.earned_from(&from, ROWS_MAX)?;
        let last = page.last().map(|(key, _)| *key).filter(|_| page.len() == ROWS_MAX);
        for (key, row) in page.into_iter().filter(|(_, row)| row.claim.is_none()) {
            let window = window_of(key.position.slot);
            let owing = match by_window.entry((key.process, window)) {
                std::collections::btree_map::Entry::Occupied(held) => held.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(begin(reader, key.process, window, row.ledger)?)
                }
            };
            owing.pushes.push((key, row));
        }
        match last {
            // An index is far below its limit: an outbox has a thousand entries.
            Some(last) => from = OutboxKey { index: last.index + 1, ..last },
            None => return Ok(by_window.into_values().collect()),
        }
    }
}

fn begin(reader: &Reader, source: Id, window: u64, ledger: Id) -> Result<Owing, StoreError> {
    let head = reader.head(&source)?.map_or(0, |(slot, _)| slot);
    let before = ClaimKey { source, window: window.saturating_sub(1), number: u32::MAX };
    // More than so many of one window are of a ledger that keeps no rules.
    let claims = reader.claims_after(Some(&before), ROWS_MAX)?;
    let of_window = claims.into_iter().take_while(|(key, _)| (key.source, key.window) == (source, window));
    let (number, tries) = match of_window.last() {
        None => (0, 0),
        Some((key, ClaimRow { state: ClaimState::Refused { .. }, tries, .. })) => (key.number, tries),
        Some((key, _)) => (key.number.saturating_add(1), 0),
    };
    let key = ClaimKey { source, window, number };
    let is_over = window_of(head) > window;
    Ok(Owing { key, ledger, tries, is_over, pushes: Vec::new() })
}

fn paid(key: &OutboxKey, row: &EarnedRow) -> Paid {
    Paid {
        position: key.position,
        index: key.index,
        target: row.target,
        target_slot: row.slot,
        accepted: row.accepted,
        amount: row.amount,
    }
}

/// The loop.
pub struct EarnTask {
    shared: SharedRef,
    submitter: Submitter,
    machine: Claims,
    effects: Effects<Effect>,
    /// How far the log of each ledger is read.
    read: BTreeMap<Id, Position>,
    sends: JoinSet<()>,
    places: Arc<Semaphore>,
}

impl EarnTask {
    /// The loop of a messenger.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef, submitter: Submitter) -> Result<Self, NodeError> {
        let mut machine = Claims::new(shared.address, shared.config.pay.claim_least);
        let places = Arc::new(Semaphore::new(SENDS_MAX));
        shared.metrics.watch(Level::permits("earn", "sends", &places, SENDS_MAX));
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
            let at = reader.setting(&name)?.and_then(|at| at.as_ref().try_into().ok());
            if let Some((ledger, at)) = ledger.zip(at) {
                read.insert(ledger, Position::from_bytes(&at));
            }
        }
        drop(reader);
        Ok(Self { shared, submitter, machine, effects, read, sends: JoinSet::new(), places })
    }

    /// Runs until the node stops. Messages under way are dropped; they are made again.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(sent) = self.sends.join_next(), if !self.sends.is_empty() => {
                    joined(sent);
                    continue;
                }
                _ = tick.tick() => {}
            }
            if let Err(error) = self.look(looks % OWED_EVERY == 0).await {
                tracing::error!(%error, "what is owed to this node is not known");
            }
            looks = looks.wrapping_add(1);
        }
    }

    async fn look(&mut self, for_owed: bool) -> Result<(), NodeError> {
        let owing = if for_owed { self.owing().await? } else { Vec::new() };
        let of_claims = self.machine.ledgers();
        let ledgers: BTreeSet<Id> = owing.iter().map(|owing| owing.ledger).chain(of_claims).collect();
        for ledger in ledgers {
            if is_computed(&self.shared, &ledger) {
                self.hear(ledger).await?;
            }
        }
        for owing in owing {
            if owing.is_over && is_computed(&self.shared, &owing.ledger) {
                self.claim(owing).await?;
            }
        }
        self.handle(Input::Tick);
        self.perform(Vec::new()).await
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    async fn owing(&self) -> Result<Vec<Owing>, NodeError> {
        let shared = SharedRef::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || Ok(owing(&shared.store.read()?)?));
        joined(read.await).unwrap_or(Ok(Vec::new()))
    }

    /// Reads on in the log of a ledger. How far it was read is written down with what that came to.
    async fn hear(&mut self, ledger: Id) -> Result<(), NodeError> {
        for _ in 0..STRETCHES_MAX {
            let from = self.read.get(&ledger).copied();
            let from = from.unwrap_or(Position { epoch: 0, slot: 0, tick: 0 });
            let shared = SharedRef::clone(&self.shared);
            let read = tokio::task::spawn_blocking(move || {
                notices::read(&shared.store.read()?, &ledger, shared.address, from)
            });
            let Some(heard) = joined(read.await) else { return Ok(()) };
            let heard = heard?;
            let Some(next) = heard.next else { return Ok(()) };
            for notices::Notice { source, window, said } in heard.notices {
                tracing::debug!(%ledger, %source, window, ?said, "the ledger says of a claim");
                self.handle(Input::Said { ledger, source, window, said });
            }
            let (name, value) = (format!("{READ_SETTING}{ledger}"), next.to_bytes().to_vec().into());
            self.perform(vec![Write::Setting { name, value }]).await?;
            self.read.insert(ledger, next);
        }
        Ok(())
    }

    /// Claims what is owed of a window, as far as every push can be answered for.
    async fn claim(&mut self, owing: Owing) -> Result<(), NodeError> {
        let now = self.shared.clock.now().0;
        let Owing { key, ledger, tries, mut pushes, .. } = owing;
        pushes.retain(|(_, row)| row.next_try_ms <= now);
        pushes.truncate(CLAIM_PUSHES_MAX);
        if pushes.is_empty() || self.machine.holds(&key.source, key.window) {
            return Ok(());
        }
        let Some(source) = self.shared.known(key.source).await.map(|known| known.process) else {
            return Ok(());
        };
        let shared = SharedRef::clone(&self.shared);
        let judging = tokio::task::spawn_blocking(move || judged(&shared, &source, &key, ledger, pushes));
        let Some(judged) = joined(judging.await) else { return Ok(()) };
        let (pushes, unpaid) = judged?;
        self.handle(Input::Owed(Owed { key, ledger, tries, pushes }));
        self.perform(unpaid).await
    }

    /// Writes down what is to be written, all at once, then sends what is to be sent.
    async fn perform(&mut self, mut writes: Vec<Write>) -> Result<(), NodeError> {
        let effects: Vec<Effect> = self.effects.drain().collect();
        let shared = SharedRef::clone(&self.shared);
        let made = effects.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let reader = shared.store.read()?;
            let mut writes = Vec::new();
            for effect in made {
                writes.extend(writes_of(&reader, effect, shared.address)?);
            }
            Ok::<_, StoreError>(writes)
        });
        let Some(made) = joined(reading.await) else { return Ok(()) };
        writes.extend(made?);
        if !writes.is_empty() {
            self.shared.store.write(writes).await?;
        }
        for effect in effects {
            match effect {
                Effect::Send(key, row) => self.send(row.ledger, Letters::Claim(key, row)),
                Effect::Answer(key, row, challenge) => {
                    let (leaf, tries) = (challenge.leaf, challenge.tries);
                    self.send(row.ledger, Letters::Answer(key, row, leaf, tries));
                }
                Effect::Settle(ledger, _) => self.send(ledger, Letters::Settle),
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

    fn send(&mut self, ledger: Id, letters: Letters) {
        // The machine sends it again.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let (shared, submitter) = (SharedRef::clone(&self.shared), self.submitter.clone());
        self.sends.spawn(async move {
            let _place = place;
            if let Err(error) = letters.send(&shared, &submitter, ledger).await {
                tracing::warn!(%ledger, error, "a message to a ledger was not sent");
            }
        });
    }
}

/// Whether what a ledger says is computed here.
fn is_computed(shared: &Shared, ledger: &Id) -> bool {
    shared.directory.roles(ledger).is_some_and(|roles| roles.computes)
}

/// A message that is made when it is sent.
enum Letters {
    Claim(ClaimKey, ClaimRow),
    Answer(ClaimKey, ClaimRow, u32, u32),
    Settle,
}

impl Letters {
    async fn send(self, shared: &SharedRef, submitter: &Submitter, ledger: Id) -> Result<(), String> {
        let (source, making) = match &self {
            Self::Claim(key, _) | Self::Answer(key, ..) => {
                (shared.known(key.source).await.map(|known| known.process), SharedRef::clone(shared))
            }
            Self::Settle => (None, SharedRef::clone(shared)),
        };
        let making = tokio::task::spawn_blocking(move || self.made(&making, source.as_deref(), ledger));
        let Some(letter) = joined(making.await) else { return Ok(()) };
        let item = letter?.sign(&shared.signer).map_err(|error| error.to_string())?;
        let sent = submitter.submit(item.raw().clone(), Bytes::new()).await;
        sent.map(drop).map_err(|error| error.to_string())
    }

    fn made(self, shared: &Shared, source: Option<&Process>, ledger: Id) -> Result<Letter, String> {
        let shown = |key: &ClaimKey, row: &ClaimRow, leaf: u32| {
            let tree = ClaimTree::decode(shared.address, key.source, key.window, &row.pushes);
            let tree = tree.map_err(|error| error.to_string())?;
            let source =
                source.ok_or_else(|| format!("process {} is not hosted here any more", key.source))?;
            let reader = shared.store.read().map_err(|error| error.to_string())?;
            let shown = answer(&reader, source, &tree, leaf).map_err(|error| error.to_string())?;
            Ok::<_, String>((tree, shown))
        };
        let letter = |ask, tries, data| Letter { ledger, ask, tries, data };
        Ok(match self {
            Self::Claim(key, row) => {
                let (tree, shown) = shown(&key, &row, 0)?;
                letter(Ask::Claim(key), row.tries.into(), Opening { tree, shown }.encode())
            }
            Self::Answer(key, row, leaf, tries) => {
                let (_, shown) = shown(&key, &row, leaf)?;
                letter(Ask::Answer(key, leaf), tries.into(), shown.encode())
            }
            // The count begins anew with each claim, so time tells them apart.
            Self::Settle => letter(Ask::Settle, shared.clock.now().0, Vec::new()),
        })
    }
}

/// Of these pushes those that the ledger would have to pay, and what is to be written down of the others: they are not
/// looked at again.
fn judged(
    shared: &Shared,
    source: &Process,
    key: &ClaimKey,
    ledger: Id,
    pushes: Vec<(OutboxKey, EarnedRow)>,
) -> Result<(Vec<Paid>, Vec<Write>), NodeError> {
    let court = Court { network: shared.network, ledger };
    let all = pushes.iter().map(|(key, row)| paid(key, row)).collect();
    let tree = match ClaimTree::new(shared.address, key.source, key.window, all) {
        Ok(tree) => tree,
        Err(error) => {
            tracing::error!(source = %key.source, window = key.window, %error, "nothing is claimed");
            return Ok((Vec::new(), Vec::new()));
        }
    };
    let reader = shared.store.read()?;
    let (mut good, mut writes) = (Vec::new(), Vec::new());
    for (number, (key, row)) in (0_u32..).zip(pushes) {
        let judged = match answer(&reader, source, &tree, number) {
            Ok(answer) => judge(&court, tree.claim(), number, &answer).map_err(|fraud| fraud.to_string()),
            Err(AnswerError::Disk(error)) => return Err(error.into()),
            Err(missing) => Err(missing.to_string()),
        };
        match judged {
            Ok(_) => good.push(paid(&key, &row)),
            Err(why) => {
                let OutboxKey { process, position, index } = key;
                tracing::warn!(%process, %position, index, why, "a push that was carried for pay is not claimed");
                writes.push(Write::DropBlob(row.shown));
                writes.push(Write::DropEarned { key });
            }
        }
    }
    Ok((good, writes))
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
            each(&key, &pushes, &|_, key, row| vec![Write::DropBlob(row.shown), Write::DropEarned { key }])?;
            writes.push(Write::Claim { key, row });
        }
        Effect::Free { key, row, pushes, taken, taken_until_ms } => {
            let free_at = row.next_try_ms;
            each(&key, &pushes, &|number, key, row| {
                let next_try_ms = if taken.contains(&number) { taken_until_ms } else { free_at };
                vec![Write::Earned { key, row: EarnedRow { claim: None, next_try_ms, ..row } }]
            })?;
            writes.push(Write::Claim { key, row });
        }
        Effect::Send(..) | Effect::Answer(..) | Effect::Settle(..) => {}
    }
    Ok(writes)
}
