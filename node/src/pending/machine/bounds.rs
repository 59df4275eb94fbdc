//! What is known of messages that left, and how many signatures may be looked at.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::postage::{POSTAGE_BITS_MIN, POSTAGE_BITS_STEP};
use weft_protocol::{Id, Now};

use super::{LEFT_MAX, LEFT_MS, LOOKS_BURST, LOOKS_PER_S};

/// The messages that left, each with what it would have to pay more than.
#[derive(Debug)]
pub(super) struct Left {
    items: BTreeMap<Id, (Now, u32)>,
    order: BTreeSet<(Now, Id)>,
}

impl Left {
    pub(super) const fn new() -> Self {
        Self { items: BTreeMap::new(), order: BTreeSet::new() }
    }

    pub(super) fn of(&self, item: &Id, now: Now) -> Option<u32> {
        self.items.get(item).filter(|(since, _)| now < since.plus_ms(LEFT_MS)).map(|(_, bits)| *bits)
    }

    pub(super) fn put(&mut self, item: Id, bits: u32, now: Now) {
        let before = self.items.insert(item, (now, bits));
        if let Some((since, _)) = before {
            self.order.remove(&(since, item));
        }
        self.order.insert((now, item));
        if self.items.len() > LEFT_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.items.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn sweep(&mut self, now: Now) {
        while let Some((since, item)) =
            self.order.first().copied().filter(|(since, _)| since.plus_ms(LEFT_MS) <= now)
        {
            self.order.remove(&(since, item));
            self.items.remove(&item);
        }
    }
}

/// How many signatures may still be looked at. What pays least may take half of them, and each step of postage half of
/// what remained: whoever raises is looked at, however many are sent beside it.
#[derive(Debug)]
pub(super) struct Looks {
    /// In thousandths.
    left: u64,
    since: Option<Now>,
}

impl Looks {
    pub(super) const fn new() -> Self {
        Self { left: LOOKS_BURST * 1_000, since: None }
    }

    pub(super) fn take(&mut self, bits: u32, now: Now) -> bool {
        let since = self.since.replace(now).unwrap_or(now);
        let earned = now.0.saturating_sub(since.0).saturating_mul(LOOKS_PER_S);
        self.left = self.left.saturating_add(earned).min(LOOKS_BURST * 1_000);
        let steps = bits.saturating_sub(POSTAGE_BITS_MIN) / POSTAGE_BITS_STEP;
        let kept = (LOOKS_BURST * 1_000) >> (1 + steps).min(63);
        let may = self.left >= kept.saturating_add(1_000);
        self.left -= if may { 1_000 } else { 0 };
        may
    }
}
