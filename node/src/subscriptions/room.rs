//! Places for agreements, of all processes together.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use weft_protocol::{Address, Id};
use weft_storage::{Reader, StoreError, Write};

use super::{SETTING, all_of, setting};
use crate::config::Whose;
use crate::shared::Shared;
use crate::supervisor::joined;

/// Agreements in all, those that were cancelled and are remembered included: a key costs nothing, and whoever has one
/// owns as many processes as he signs. Payers whom the operator named have as many places beside.
pub(super) const HELD_MAX: usize = 10_000;
/// Where all places are taken, so many of those that were cancelled are forgotten at once.
pub(super) const FORGOTTEN_AT_ONCE: usize = HELD_MAX / 16;
/// How long nothing is looked for to forget where there was nothing, in milliseconds: all that is agreed is read for it, and nobody
/// else has a turn meanwhile.
const REST_MS: u64 = 60_000;
/// The setting that says up to which number statements are not taken of payers of whom nothing is remembered: what was cancelled
/// and is forgotten had none above it.
const FORGOTTEN: &str = "subscriptions-forgotten";

/// Until when, in milliseconds since the Unix epoch, there is nothing to forget.
#[derive(Debug, Default)]
pub(super) struct Rest(AtomicU64);

impl Rest {
    fn begin(&self, now: u64) {
        self.0.store(now.saturating_add(REST_MS), Ordering::Relaxed);
    }

    fn is_under_way(&self, now: u64) -> bool {
        now < self.0.load(Ordering::Relaxed)
    }

    /// Something was cancelled.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Agreements in all beyond which a payer has no place for a new one. Where everybody's are taken nobody is named, the owner of a
/// process neither.
pub(super) fn held_max(shared: &Shared, payer: Address) -> usize {
    let carry_for = &shared.config.carry_for;
    let is_own = payer == shared.address;
    let is_named = is_own || (*carry_for != Whose::Anyone && carry_for.includes(&payer, is_own));
    if is_named { 2 * HELD_MAX } else { HELD_MAX }
}

/// Whether there is no place in all for what a payer says of a process. What takes the row that it had takes no place.
pub(super) fn is_full(shared: &Shared, process: &Id, payer: Address) -> Result<bool, StoreError> {
    let reader = shared.store.read()?;
    let is_new = reader.setting(&setting(process, &payer))?.is_none();
    Ok(is_new && reader.setting_names(SETTING)?.len() >= held_max(shared, payer))
}

/// Up to which number all that was cancelled may be forgotten.
pub(super) fn forgotten_to(reader: &Reader) -> Result<u64, StoreError> {
    let number = reader.setting(FORGOTTEN)?;
    Ok(number.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
}

/// Forgets those of the agreements that were cancelled whose numbers are lowest: whoever makes many and cancels them closes
/// this messenger to nobody.
pub(super) async fn make_room(shared: &Shared) -> Result<(), StoreError> {
    let rest = &shared.subscriptions.rest;
    if rest.is_under_way(shared.clock.now().0) {
        return Ok(());
    }
    let _turns = shared.subscriptions.all_turns().await;
    let (store, now) = (shared.store.clone(), shared.clock.now().0);
    let read = tokio::task::spawn_blocking(move || {
        let reader = store.read()?;
        Ok::<_, StoreError>((all_of(&reader, None)?, forgotten_to(&reader)?))
    });
    let Some((mut all, before)) = joined(read.await).transpose()? else { return Ok(()) };
    all.retain(|(.., agreement)| agreement.is_cancelled);
    all.sort_unstable_by_key(|(.., agreement)| agreement.number);
    all.truncate(FORGOTTEN_AT_ONCE);
    let Some((.., last)) = all.last() else {
        rest.begin(now);
        return Ok(());
    };
    // A number ahead of the time is its payer's own risk: it must not shut out those who say the time.
    let forgotten = before.max(last.number.min(now));
    let value = Bytes::copy_from_slice(&forgotten.to_be_bytes());
    let mut writes = vec![Write::Setting { name: FORGOTTEN.to_owned(), value }];
    let dropped = all.iter().map(|(process, payer, _)| setting(process, payer));
    writes.extend(dropped.map(|name| Write::DropSetting { name }));
    shared.store.write(writes).await
}
