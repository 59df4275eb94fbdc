//! What was carried and is not claimed: how much by window, which pushes of one can be claimed, and what is given up.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::market::{ClaimTree, Court, Paid, WINDOW_SLOTS, judge, window_of};
use weft_protocol::{Id, Position};
use weft_storage::{ClaimKey, ClaimRow, ClaimState, EarnedRow, OutboxKey, Reader, StoreError, Write};

use super::evidence::{AnswerError, answer};
use super::machine::{CLAIM_PUSHES_MAX, TAKEN_MS};
use crate::error::NodeError;
use crate::shared::Shared;

/// Pushes that are read at once.
const ROWS_MAX: usize = 4_096;
/// Claims of one window that are read. More are of a ledger that keeps no rules.
const CLAIMS_READ_MAX: usize = 4_096;
/// Reads of so many pushes, and of so many claims, in which what is not paid for one source is counted.
const UNPAID_PAGES_MAX: usize = 256;
/// Unclaimed pushes of one source that are kept while its ledger is neither computed nor named here: nobody claims them.
pub const KEPT_EACH: u64 = 4_096;
/// Those of all such sources. With their proofs they take some ten megabytes, a gigabyte at most.
pub const KEPT_MAX: u64 = 16_384;
/// Unclaimed pushes of one source that are kept while its ledger is named and not computed here: it may never be heard.
const HEARD_EACH: u64 = 4 * KEPT_EACH;
/// Those of all such sources.
const HEARD_MAX: u64 = 4 * KEPT_MAX;
/// How old a push gets that a ledger does not pay, in milliseconds: thirty days after it was sent.
const AGE_MS_MAX: u64 = 30 * 86_400_000;

/// Unclaimed pushes of one window of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owing {
    /// Where its claim stands: of one that was refused, or of a new one.
    pub key: ClaimKey,
    /// The ledger.
    pub ledger: Id,
    /// How often it was refused.
    pub tries: u32,
    /// Whether nothing is added any more: the window is over, or the source is not followed here.
    pub is_over: bool,
    /// How many there are.
    pub pushes: u64,
    /// What they come to, in the ledger's smallest unit.
    pub sum: u128,
    /// What those come to that one claim would hold now.
    pub ready: u64,
}

/// What is looked for.
pub struct Look<'a> {
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Windows that are passed over: sources with windows.
    pub but: &'a BTreeSet<(Id, u64)>,
    /// Whether the log of a source goes on here.
    pub is_followed: &'a dyn Fn(&Id) -> bool,
}

/// What this node carried and has not claimed, by window.
///
/// # Errors
/// The disk.
pub fn owing(reader: &Reader, look: &Look<'_>) -> Result<Vec<Owing>, StoreError> {
    let mut found = Vec::new();
    let mut from = first_of(Id([0; 32]), 0);
    while let Some((OutboxKey { process, position, .. }, row)) = reader.earned_from(&from, 1)?.pop() {
        let window = window_of(position.slot);
        if !look.but.contains(&(process, window)) {
            let mut owing = begin(reader, look, process, window, row.ledger)?;
            let mut ready = 0;
            each(reader, &process, window, |_, row| {
                owing.pushes += 1;
                owing.sum += u128::from(row.amount);
                if row.next_try_ms <= look.now_ms && ready < CLAIM_PUSHES_MAX {
                    ready += 1;
                    owing.ready = owing.ready.saturating_add(row.amount);
                }
                true
            })?;
            if owing.pushes > 0 {
                found.push(owing);
            }
        }
        // Where slots end all is read.
        from = first_of(process, window.saturating_add(1));
        from.position.epoch = position.epoch;
        if from.position <= position {
            break;
        }
    }
    Ok(found)
}

/// What was carried for one source and is not paid yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpaid {
    /// Pushes that are not claimed.
    pub pushes: u64,
    /// What they come to, in the ledger's smallest unit.
    pub sum: u128,
    /// Claims that wait for their ledger.
    pub claims: u64,
}

/// What is not paid yet of what was carried for a source; of very much only the first part is counted.
///
/// # Errors
/// The disk.
pub fn unpaid(reader: &Reader, source: &Id) -> Result<Unpaid, StoreError> {
    let mut unpaid = Unpaid::default();
    let mut from = first_of(*source, 0);
    for _ in 0..UNPAID_PAGES_MAX {
        let page = reader.earned_in(&from, u64::MAX, ROWS_MAX)?;
        let end = page.last().map(|(key, _)| *key).filter(|_| page.len() == ROWS_MAX);
        for (_, row) in page.into_iter().filter(|(_, row)| row.claim.is_none()) {
            unpaid.pushes += 1;
            unpaid.sum += u128::from(row.amount);
        }
        let Some(last) = end else { break };
        from = OutboxKey { index: last.index + 1, ..last };
    }
    // Window 0 has no offers, so nothing is claimed of it.
    let mut after = ClaimKey { source: *source, window: 0, number: 0 };
    for _ in 0..UNPAID_PAGES_MAX {
        let page = reader.claims_after(Some(&after), CLAIMS_READ_MAX)?;
        let end = page.last().map(|(key, _)| *key).filter(|_| page.len() == CLAIMS_READ_MAX);
        let of_source = page.iter().take_while(|(key, _)| key.source == *source);
        let waits = |row: &ClaimRow| matches!(row.state, ClaimState::Made | ClaimState::Open { .. });
        unpaid.claims += of_source.filter(|(_, row)| waits(row)).count() as u64;
        match end.filter(|last| last.source == *source) {
            Some(last) => after = last,
            None => break,
        }
    }
    Ok(unpaid)
}

/// Where the pushes of a window begin.
const fn first_of(process: Id, window: u64) -> OutboxKey {
    let position = Position { epoch: 0, slot: window.saturating_mul(WINDOW_SLOTS), tick: 0 };
    OutboxKey { process, position, index: 0 }
}

/// Goes through the unclaimed pushes of a window, in order, as long as `take` wants more.
fn each(
    reader: &Reader,
    process: &Id,
    window: u64,
    mut take: impl FnMut(OutboxKey, EarnedRow) -> bool,
) -> Result<(), StoreError> {
    let mut from = first_of(*process, window);
    let last = from.position.slot.saturating_add(WINDOW_SLOTS - 1);
    loop {
        let page = reader.earned_in(&from, last, ROWS_MAX)?;
        let end = page.last().map(|(key, _)| *key).filter(|_| page.len() == ROWS_MAX);
        for (key, row) in page.into_iter().filter(|(_, row)| row.claim.is_none()) {
            if !take(key, row) {
                return Ok(());
            }
        }
        match end {
            // An index is far below its limit: an outbox has a thousand entries.
            Some(last) => from = OutboxKey { index: last.index + 1, ..last },
            None => return Ok(()),
        }
    }
}

fn begin(reader: &Reader, look: &Look<'_>, source: Id, window: u64, ledger: Id) -> Result<Owing, StoreError> {
    let head = reader.head(&source)?.map_or(0, |(slot, _)| slot);
    let before = ClaimKey { source, window: window.saturating_sub(1), number: u32::MAX };
    let claims = reader.claims_after(Some(&before), CLAIMS_READ_MAX)?;
    let of_window = claims.into_iter().take_while(|(key, _)| (key.source, key.window) == (source, window));
    let (number, tries) = match of_window.last() {
        None => (0, 0),
        Some((key, ClaimRow { state: ClaimState::Refused { .. }, tries, .. })) => (key.number, tries),
        Some((key, _)) => (key.number.saturating_add(1), 0),
    };
    let key = ClaimKey { source, window, number };
    // Who leaves owes what was carried all the same: the window ends here with that.
    let is_over = window_of(head) > window || !(look.is_followed)(&source);
    Ok(Owing { key, ledger, tries, is_over, pushes: 0, sum: 0, ready: 0 })
}

/// The leaf of a push.
pub(super) fn paid(key: &OutboxKey, row: &EarnedRow) -> Paid {
    Paid {
        position: key.position,
        index: key.index,
        target: row.target,
        target_slot: row.slot,
        accepted: row.accepted,
        amount: row.amount,
    }
}

/// Of the pushes of a window that can be claimed now those that the ledger would have to pay, and what is to be written
/// down of the others: they are not looked at again.
///
/// # Errors
/// The disk.
pub(super) fn judged(
    shared: &Shared,
    owing: &Owing,
    now_ms: u64,
) -> Result<(Vec<Paid>, Vec<Write>), NodeError> {
    let Owing { key, ledger, tries, .. } = *owing;
    let reader = shared.store.read()?;
    let mut pushes = Vec::new();
    each(&reader, &key.source, key.window, |push, row| {
        if row.next_try_ms <= now_ms {
            pushes.push((push, row));
        }
        pushes.len() < CLAIM_PUSHES_MAX
    })?;
    let court = Court { network: shared.network, ledger };
    let all = pushes.iter().map(|(key, row)| paid(key, row)).collect();
    let tree = match ClaimTree::new(shared.address, key.source, key.window, all) {
        Ok(tree) => tree,
        Err(error) => {
            tracing::error!(source = %key.source, window = key.window, %error, "nothing is claimed");
            let later = pushes.into_iter().map(|(key, row)| Write::Earned {
                key,
                row: EarnedRow { next_try_ms: now_ms.saturating_add(TAKEN_MS), ..row },
            });
            return Ok((Vec::new(), later.collect()));
        }
    };
    let (mut good, mut writes) = (Vec::new(), Vec::new());
    for (number, (push, row)) in (0_u32..).zip(pushes) {
        let judged = match answer(&reader, key.source, &tree, number) {
            _ if tries > 0 && is_old(&reader, &push, now_ms)? => {
                Err("the ledger did not pay it in thirty days".to_owned())
            }
            Ok(answer) => judge(&court, tree.claim(), number, &answer).map_err(|fraud| fraud.to_string()),
            Err(AnswerError::Disk(error)) => return Err(error.into()),
            Err(missing) => Err(missing.to_string()),
        };
        match judged {
            Ok(_) => good.push(paid(&push, &row)),
            Err(why) => {
                let OutboxKey { process, position, index } = push;
                tracing::warn!(%process, %position, index, why, "a push that was carried for pay is not claimed");
                writes.extend(dropped(push, &row));
            }
        }
    }
    Ok((good, writes))
}

fn is_old(reader: &Reader, push: &OutboxKey, now_ms: u64) -> Result<bool, StoreError> {
    let sent = reader.slot(&push.process, push.position.slot)?;
    Ok(sent.is_some_and(|sent| sent.timestamp.saturating_add(AGE_MS_MAX) < now_ms))
}

/// What forgets a push.
pub(super) fn dropped(key: OutboxKey, row: &EarnedRow) -> [Write; 2] {
    [Write::DropBlob(row.shown), Write::DropEarned { key }]
}

/// How much is kept of what a ledger owes and what is not claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// All: its operator has the ledger computed here.
    All,
    /// Much: he names it.
    Much,
    /// Little: nothing is claimed there.
    Little,
}

impl Kept {
    /// How many pushes of one source, and of all; any number for none.
    const fn limits(self) -> Option<(u64, u64)> {
        match self {
            Self::All => None,
            Self::Much => Some((HEARD_EACH, HEARD_MAX)),
            Self::Little => Some((KEPT_EACH, KEPT_MAX)),
        }
    }
}

/// The windows of which nothing is kept: a source names any ledger that it likes, and most of what one owes that is not
/// computed here may never be paid. The oldest go first, of the source that has most.
pub(super) fn given_up(owing: &[Owing], kept: impl Fn(&Id) -> Kept) -> Vec<ClaimKey> {
    let mut given_up = Vec::new();
    for class in [Kept::Much, Kept::Little] {
        let Some((each, all)) = class.limits() else { continue };
        let mut by_source: BTreeMap<Id, (u64, Vec<Owing>)> = BTreeMap::new();
        for owing in owing.iter().rev().filter(|owing| kept(&owing.ledger) == class) {
            let (count, windows) = by_source.entry(owing.key.source).or_default();
            *count += owing.pushes;
            // The oldest is the last.
            windows.push(*owing);
        }
        let mut total: u64 = by_source.values().map(|(count, _)| count).sum();
        while let Some((count, windows)) = by_source.values_mut().max_by_key(|(count, _)| *count) {
            if *count <= each && total <= all {
                break;
            }
            let Some(oldest) = windows.pop() else { break };
            *count -= oldest.pushes;
            total -= oldest.pushes;
            given_up.push(oldest.key);
        }
    }
    given_up
}

/// What forgets some of the unclaimed pushes of a window; all are forgotten where nothing is written any more.
///
/// # Errors
/// The disk.
pub(super) fn forgotten(reader: &Reader, key: &ClaimKey) -> Result<Vec<Write>, StoreError> {
    let mut writes = Vec::new();
    each(reader, &key.source, key.window, |key, row| {
        writes.extend(dropped(key, &row));
        writes.len() < 2 * ROWS_MAX
    })?;
    Ok(writes)
}

#[cfg(test)]
mod tests;
