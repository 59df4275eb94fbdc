//! Subscriptions at this node: whose word it took to carry for a process, and what it does for that.
//!
//! What is agreed is on disk before it is answered. As long as any payer's agreement about a process holds, this node carries what
//! that sends and lets time pass in it; in the end it leaves the process as it was before the first.

mod children;
mod room;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use weft_protocol::process::Process;
use weft_protocol::subscription::{self, Agreement, NotTaken, Said, Statement, decide};
use weft_protocol::wire::refusal::Code;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Address, DataItem, Id, wire};
use weft_storage::{Reader, Roles, StoreError, Write};

use crate::carrying::{self, Terms};
use crate::config::Role;
use crate::control::api::SubscriptionInfo;
use crate::hosting::{self, Declined, HostingError};
use crate::remote::{self, RemoteError};
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;
pub use children::take_child;
use room::{Rest, forgotten_to, is_full, make_room};

/// What starts the name of the setting that holds an agreement; process and payer follow.
const SETTING: &str = "subscription/";
/// What starts the name of the setting that says that a process is served for its payers; its id follows. The value says
/// what was done for it before: one byte for carrying, one for letting time pass.
const SERVED: &str = "subscribed/";
/// Agreements of one process that hold: of payers who are carried for themselves, and of others beside them. Its owner
/// always has a place beside them.
const PAYERS_MAX: usize = 16;
const STRANGERS_MAX: usize = PAYERS_MAX / 2;
/// Agreements of one process and of either kind of payers in all: those that were cancelled are remembered until their date, so that nothing that
/// their payers said before brings them back.
const REMEMBERED_MAX: usize = 64;
/// Bytes of a statement with its signature, of any kind of key; looked at before that.
const STATEMENT_BYTES_MAX: usize = 16 * 1024;
/// When somebody who finds no place is told to come back, in milliseconds.
const FULL_RETRY_MS: u64 = 60_000;
/// How often what is over is looked for: an agreement holds so long too long at most.
const LOOK: Duration = Duration::from_secs(10);

/// Processes of which what is agreed may be changed at once, about: by the first bits of their ids.
const TURNS: usize = 64;

/// One change at a time of what is agreed of a process.
#[derive(Debug)]
pub struct Subscriptions {
    turns: [tokio::sync::Mutex<()>; TURNS],
    rest: Rest,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self { turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())), rest: Rest::default() }
    }
}

impl Subscriptions {
    async fn turn(&self, process: &Id) -> tokio::sync::MutexGuard<'_, ()> {
        let first = process.0.first().copied().unwrap_or_default();
        self.turns[usize::from(first) % TURNS].lock().await
    }

    /// All turns. Nobody waits for a second one while he has one, but for those who take all, in one order.
    async fn all_turns(&self) -> Vec<tokio::sync::MutexGuard<'_, ()>> {
        let mut turns = Vec::with_capacity(TURNS);
        for turn in &self.turns {
            turns.push(turn.lock().await);
        }
        turns
    }
}

/// Why a statement is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// It is malformed, too old, or not its signer's to make.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// It is no signed item.
    #[error("the statement: {0}")]
    Item(String),
    /// This node carries for nobody.
    #[error("this node has no messenger role")]
    NoRole,
    /// Neither payer nor owner are served here.
    #[error(
        "this messenger does not carry for {0}; ask its operator to set `carry_for`, or subscribe at another"
    )]
    Whose(Address),
    /// As many agreements are held as may be.
    #[error(
        "this messenger holds as many subscriptions as it may {0}; one that ends or is cancelled makes room"
    )]
    Full(&'static str),
    /// It may be one that was cancelled.
    #[error(
        "this messenger has forgotten what was cancelled up to number {0}: sign a statement with a higher one, such as the \
         time in milliseconds since 1970"
    )]
    Forgotten(u64),
    /// All places for processes of others are taken.
    #[error(transparent)]
    Declined(#[from] Declined),
    /// The process could not be taken up.
    #[error(transparent)]
    Hosting(#[from] HostingError),
    /// Nobody knows where its messenger is.
    #[error("messenger {0} was not found: it must be running and connected to this network")]
    NotFound(Address),
    /// The messenger could not be asked, or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes a statement that is for this node.
///
/// # Errors
/// Why not.
pub async fn take(shared: &Shared, raw: Bytes) -> Result<SubscriptionInfo, SubscribeError> {
    if !shared.config.roles.contains(&Role::Messenger) {
        return Err(SubscribeError::NoRole);
    }
    let (statement, by) = read(shared, raw).await?;
    if statement.messenger != shared.address {
        return Err(NotTaken::Messenger(statement.messenger).into());
    }
    let process = find(shared, &statement, by).await?;
    let mut turn = shared.subscriptions.turn(&process.id()).await;
    let mut judged = judge(shared, &process, (&statement, by))?;
    if judged.is_none() {
        // Whoever is refused for another reason has nothing forgotten.
        drop(turn);
        make_room(shared).await?;
        turn = shared.subscriptions.turn(&process.id()).await;
        judged = judge(shared, &process, (&statement, by))?;
    }
    let _turn = turn;
    let (payer, agreement) = judged.ok_or(SubscribeError::Full("in all"))?;
    let now = shared.clock.now().0;
    if agreement.holds(now) {
        serve(shared, &process).await?;
    }
    let value = Bytes::copy_from_slice(&agreement.to_bytes());
    shared.store.write(vec![Write::Setting { name: setting(&process.id(), &payer), value }]).await?;
    if !agreement.holds(now) {
        shared.subscriptions.rest.end();
        leave_if_over(shared, process.id(), now).await?;
    }
    tracing::info!(process = %process.id(), %payer, holds = agreement.holds(now), "a subscription");
    Ok(info(&process, shared.address, payer, &agreement, now))
}

/// Whose agreement a statement makes, and which, under the turn of its process; none where only a place in all is missing.
fn judge(
    shared: &Shared,
    process: &Process,
    (statement, by): (&Statement, Address),
) -> Result<Option<(Address, Agreement)>, SubscribeError> {
    let (reader, now) = (shared.store.read()?, shared.clock.now().0);
    let held = all_of(&reader, Some(&process.id()))?;
    let of = |payer: &Address| held.iter().find(|(_, by, _)| by == payer).map(|(_, _, held)| *held);
    let (payer, agreement) = decide(process, (statement, by), of, now)?;
    if agreement.holds(now) && !of(&payer).is_some_and(|held| held.holds(now)) {
        let standing = admit(shared, process, payer)?;
        // Those who are as he is; who is of no standing any more counts as a stranger.
        let beside = held.iter().filter(|(_, by, _)| {
            *by != payer && admit(shared, process, *by).unwrap_or(Standing::Stranger) == standing
        });
        let beside: Vec<Agreement> = beside.map(|(.., agreement)| *agreement).collect();
        has_place(standing, &beside, now).map_err(SubscribeError::Full)?;
    }
    if agreement.holds(now) && of(&payer).is_none() {
        let forgotten = forgotten_to(&reader)?;
        if statement.number <= forgotten {
            return Err(SubscribeError::Forgotten(forgotten));
        }
        if is_full(shared, &process.id(), payer)? {
            return Ok(None);
        }
    }
    Ok(Some((payer, agreement)))
}

/// The process of a statement. A stranger has this node look for none: without a payer who is served here it is one that is known.
async fn find(shared: &Shared, statement: &Statement, by: Address) -> Result<Arc<Process>, SubscribeError> {
    if let Some(known) = shared.directory.get(&statement.process) {
        return Ok(known.process);
    }
    match statement.said {
        // One that its operator left alone is on disk.
        Said::Cancelled(_) => {
            let left = hosting::left_here(shared, &statement.process)?;
            Ok(left.ok_or(NotTaken::Nothing)?)
        }
        Said::Until(_) if !shared.config.carry_for.includes(&by, by == shared.address) => {
            Err(SubscribeError::Whose(by))
        }
        Said::Until(_) => Ok(hosting::find_process(shared, statement.process).await?),
    }
}

/// Hands a statement to the messenger that it is for, which may be this node.
///
/// # Errors
/// Why that does not take it.
pub async fn hand_in(shared: &Shared, raw: Bytes) -> Result<SubscriptionInfo, SubscribeError> {
    let (statement, by) = read(shared, raw.clone()).await?;
    if statement.messenger == shared.address {
        return take(shared, raw).await;
    }
    let process = hosting::find_process(shared, statement.process).await?;
    let peer = remote::with_address(shared, statement.messenger).await;
    let peer = peer.map_err(|_| SubscribeError::NotFound(statement.messenger))?;
    let ask = Ask::Subscribe(wire::SubscribeRequest { item: raw });
    let Answer::Subscribe(answer) = remote::ask(shared, peer, ask).await? else {
        return Err(RemoteError::Mismatch { peer }.into());
    };
    let payer = if let Said::Cancelled(payer) = statement.said { payer } else { by };
    let is_cancelled = matches!(statement.said, Said::Cancelled(_));
    let agreement = Agreement { number: statement.number, until: answer.until_ms, is_cancelled };
    Ok(info(&process, statement.messenger, payer, &agreement, shared.clock.now().0))
}

/// Answers a peer that hands in a statement.
pub async fn answer(shared: &Shared, ask: wire::SubscribeRequest) -> Answer {
    let error = match take(shared, ask.item).await {
        Ok(info) => return Answer::Subscribe(wire::SubscribeResponse { until_ms: info.until_ms }),
        Err(error) => error,
    };
    let (code, retry_ms) = match &error {
        SubscribeError::NotTaken(_) | SubscribeError::Item(_) | SubscribeError::Forgotten(_) => {
            (Code::Invalid, 0)
        }
        SubscribeError::NoRole | SubscribeError::Whose(_) => (Code::NotMine, 0),
        SubscribeError::Full(_) | SubscribeError::Declined(_) => (Code::Busy, FULL_RETRY_MS),
        SubscribeError::Hosting(_) | SubscribeError::NotFound(_) | SubscribeError::Remote(_) => {
            (Code::Unknown, 0)
        }
        SubscribeError::Store(_) => (Code::Fault, 0),
    };
    Answer::Refusal(wire::Refusal { code: code.into(), text: error.to_string(), retry_ms })
}

/// What is agreed at this node, by process and payer.
///
/// # Errors
/// The disk.
pub fn list(shared: &Shared) -> Result<Vec<SubscriptionInfo>, StoreError> {
    let now = shared.clock.now().0;
    let held = all_of(&shared.store.read()?, None)?;
    let known = |(id, payer, agreement): (Id, Address, Agreement)| {
        let known = shared.directory.get(&id).map(|known| known.process);
        let process = known.or_else(|| hosting::left_here(shared, &id).ok().flatten())?;
        Some(info(&process, shared.address, payer, &agreement, now))
    };
    Ok(held.into_iter().filter_map(known).collect())
}

/// Ends what is over, now and then, until the node stops.
pub async fn run(shared: SharedRef, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
        }
        if let Err(error) = end_what_is_over(&shared).await {
            tracing::error!(%error, "a subscription that is over was not ended");
        }
    }
}

/// The processes of which an agreement is over by its date, and those that are served though none holds any more.
fn with_what_is_over(reader: &Reader, now: u64) -> Result<BTreeSet<Id>, StoreError> {
    let all = all_of(reader, None)?;
    let holding: BTreeSet<Id> =
        all.iter().filter(|(.., agreement)| agreement.holds(now)).map(|(process, ..)| *process).collect();
    let over = all.iter().filter(|(.., agreement)| agreement.until <= now).map(|(process, ..)| *process);
    let served = reader.setting_names(SERVED)?;
    let served = served.iter().filter_map(|name| name.strip_prefix(SERVED)?.parse().ok());
    Ok(over.chain(served.filter(|process| !holding.contains(process))).collect())
}

async fn end_what_is_over(shared: &Shared) -> Result<(), StoreError> {
    let (store, now) = (shared.store.clone(), shared.clock.now().0);
    // All that is agreed is read for it.
    let found = tokio::task::spawn_blocking(move || with_what_is_over(&store.read()?, now)).await;
    for process in joined(found).transpose()?.unwrap_or_default() {
        let _turn = shared.subscriptions.turn(&process).await;
        let now = shared.clock.now().0;
        // What is over by its date need not be remembered: nothing that its payer said before lasts longer.
        let held = all_of(&shared.store.read()?, Some(&process))?;
        let over = held.iter().filter(|(.., agreement)| agreement.until <= now);
        let over: Vec<Write> =
            over.map(|(process, payer, _)| Write::DropSetting { name: setting(process, payer) }).collect();
        if !over.is_empty() {
            shared.store.write(over).await?;
        }
        leave_if_over(shared, process, now).await?;
    }
    Ok(())
}

/// What a payer is to a process and to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// He owns it.
    Owner,
    /// He is carried for himself.
    Listed,
    /// Its owner is.
    Stranger,
}

/// What a payer is, if processes of him, or of the owner of this one, are carried for.
fn admit(shared: &Shared, process: &Process, payer: Address) -> Result<Standing, SubscribeError> {
    let is_taken = |address: &Address| shared.config.carry_for.includes(address, *address == shared.address);
    let owner = subscription::owner(process);
    let is_owner = owner == Some(payer);
    match owner {
        _ if is_taken(&payer) => Ok(if is_owner { Standing::Owner } else { Standing::Listed }),
        Some(owner) if is_taken(&owner) => Ok(Standing::Stranger),
        _ => Err(SubscribeError::Whose(payer)),
    }
}

/// Whether there is a place for one more payer of a process, beside those of his standing: no number of strangers keeps out
/// whoever is carried for himself, and nobody keeps out the owner.
fn has_place(standing: Standing, beside: &[Agreement], now: u64) -> Result<(), &'static str> {
    let holding = beside.iter().filter(|agreement| agreement.holds(now)).count();
    let most = match standing {
        Standing::Owner => return Ok(()),
        Standing::Listed => PAYERS_MAX,
        Standing::Stranger => STRANGERS_MAX,
    };
    if holding < most && beside.len() < REMEMBERED_MAX { Ok(()) } else { Err("of this process") }
}

/// Carries for a process and lets time pass in it, if that is not done already.
async fn serve(shared: &Shared, process: &Process) -> Result<(), SubscribeError> {
    let (id, name) = (process.id(), format!("{SERVED}{}", process.id()));
    let is_noted = shared.store.read()?.setting(&name)?.is_some();
    let had = shared.directory.roles(&id).unwrap_or_default();
    // The operator may have ended what is noted; who asks anew is served anew.
    if is_noted && had.messenges && (had.keeps_time || process.crons().is_empty()) {
        return Ok(());
    }
    let budget = shared.config.spawn_budget;
    let _place = shared.unasked.reserve(&shared.directory, id, None, budget)?;
    if !is_noted {
        let value = Bytes::copy_from_slice(&[u8::from(had.messenges), u8::from(had.keeps_time)]);
        // Noted first: who is killed in between undoes what was never done.
        shared.store.write(vec![Write::Setting { name, value }]).await?;
    }
    let began = async {
        carrying::begin(shared, id, Terms { all: false, for_others: true }).await?;
        // In a process without crons nothing falls due.
        if !process.crons().is_empty() {
            let roles = Roles { watches: true, keeps_time: true, for_others: true, ..Roles::default() };
            hosting::host(shared, id, roles).await?;
        }
        Ok::<_, HostingError>(())
    };
    if let Err(error) = began.await {
        leave(shared, id).await?;
        return Err(error.into());
    }
    Ok(())
}

/// Leaves a process of which no agreement holds any more.
async fn leave_if_over(shared: &Shared, process: Id, now: u64) -> Result<(), StoreError> {
    let held = all_of(&shared.store.read()?, Some(&process))?;
    if held.iter().any(|(.., agreement)| agreement.holds(now)) {
        Ok(())
    } else {
        leave(shared, process).await
    }
}

/// What the operator says he wants of a process himself: that is left to him when the last agreement about it ends, as
/// if it had been so before the first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Whether it is carried for, if he said anything of it.
    pub carries: Option<bool>,
    /// Whether time passes in it, likewise.
    pub keeps_time: Option<bool>,
}

/// Notes what the operator wants of a process that is served for its payers; nothing for others.
///
/// # Errors
/// The disk.
pub async fn ordered(shared: &Shared, process: Id, wanted: Wanted) -> Result<(), StoreError> {
    let _turn = shared.subscriptions.turn(&process).await;
    let name = format!("{SERVED}{process}");
    let Some(had) = shared.store.read()?.setting(&name)? else { return Ok(()) };
    let was = |at: usize| had.get(at).is_some_and(|had| *had != 0);
    let noted = [wanted.carries.unwrap_or_else(|| was(0)), wanted.keeps_time.unwrap_or_else(|| was(1))];
    let value = Bytes::copy_from_slice(&noted.map(u8::from));
    shared.store.write(vec![Write::Setting { name, value }]).await?;
    if wanted.carries == Some(false) { children::leave(shared, process, false).await } else { Ok(()) }
}

/// Leaves a process as it was before it was served.
async fn leave(shared: &Shared, process: Id) -> Result<(), StoreError> {
    let name = format!("{SERVED}{process}");
    let Some(had) = shared.store.read()?.setting(&name)? else { return Ok(()) };
    let had = |at: usize| had.get(at).is_some_and(|had| *had != 0);
    if let Some(known) = shared.directory.get(&process)
        && !had(1)
    {
        hosting::change(shared, known, |has| Ok::<_, StoreError>(Roles { keeps_time: false, ..has })).await?;
    }
    if let Some(known) = shared.directory.get(&process)
        && !had(0)
    {
        carrying::end(shared, known).await?;
    }
    children::leave(shared, process, had(0)).await?;
    shared.store.write(vec![Write::DropSetting { name }]).await.map(drop)
}

async fn read(shared: &Shared, raw: Bytes) -> Result<(Statement, Address), SubscribeError> {
    if raw.len() > STATEMENT_BYTES_MAX {
        return Err(SubscribeError::Item(format!("a statement has at most {STATEMENT_BYTES_MAX} bytes")));
    }
    let verified = joined(tokio::task::spawn_blocking(move || DataItem::verify_bytes(raw)).await);
    let stopped = || SubscribeError::Item("the node stops".to_owned());
    let item = verified.ok_or_else(stopped)?.map_err(|error| SubscribeError::Item(error.to_string()))?;
    Ok(Statement::read(&item, shared.network)?)
}

/// Agreements by process and payer: of one process, or all.
fn all_of(reader: &Reader, process: Option<&Id>) -> Result<Vec<(Id, Address, Agreement)>, StoreError> {
    let prefix = process.map_or_else(|| SETTING.to_owned(), |process| format!("{SETTING}{process}/"));
    let mut all = Vec::new();
    for name in reader.setting_names(&prefix)? {
        let parts = name.strip_prefix(SETTING).and_then(|rest| rest.split_once('/'));
        let Some((process, payer)) = parts else { continue };
        if let (Ok(process), Ok(payer), Some(value)) =
            (process.parse(), payer.parse(), reader.setting(&name)?)
            && let Some(agreement) = Agreement::from_bytes(&value)
        {
            all.push((process, payer, agreement));
        }
    }
    Ok(all)
}

/// Whether this node is bound to anybody for a process.
///
/// # Errors
/// The disk.
pub fn holds(shared: &Shared, reader: &Reader, process: &Id) -> Result<bool, StoreError> {
    let now = shared.clock.now().0;
    Ok(all_of(reader, Some(process))?.iter().any(|(.., agreement)| agreement.holds(now)))
}

fn setting(process: &Id, payer: &Address) -> String {
    format!("{SETTING}{process}/{payer}")
}

fn info(process: &Process, messenger: Address, payer: Address, of: &Agreement, now: u64) -> SubscriptionInfo {
    let pay = match process.market() {
        Some(market) => {
            format!("by hard mode, from the escrow of the process in ledger {}", market.terms.ledger)
        }
        None => "nothing: the process names no ledger".to_owned(),
    };
    let (number, until_ms, holds) = (of.number, of.until, of.holds(now));
    SubscriptionInfo { process: process.id(), messenger, payer, number, until_ms, holds, pay }
}

#[cfg(test)]
mod tests;
