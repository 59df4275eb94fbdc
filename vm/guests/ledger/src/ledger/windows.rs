//! Which pushes of a source were claimed: each is paid once, whoever claims it.
//!
//! A window opens with the first claim of it. Four periods later those before it close: they are forgotten, and paid to
//! nobody any more. A claim shows a push of its window, so nobody opens one that has not begun, and none closes that
//! may still go on.

use std::collections::BTreeMap;

use weft_protocol::Id;

use super::Ledger;
use super::claims::{Claim, ClaimKey};
use super::due::Note;
use super::limits::{REMEMBERED_MAX, WINDOW_WEIGHT};
use super::refusal::Refusal;
use super::stakes::Escrow;

/// A window that can be claimed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// The pushes of it that are paid, in order: [`Paid::key`](weft_protocol::market::Paid::key).
    pub(super) paid: Vec<u64>,
    /// When those before it close; none once they have.
    pub(super) note: Option<Note>,
}

impl Window {
    fn weight(&self) -> usize {
        WINDOW_WEIGHT + self.paid.len()
    }
}

impl Ledger {
    /// The leaves of these pushes that an open claim holds or that are paid, in order.
    pub(super) fn taken(&self, key: &ClaimKey, pushes: &[u64]) -> Vec<u32> {
        let open = self.claims_in(&key.source, key.window).map(|(_, claim)| &claim.pushes[..]);
        let open = open.flat_map(|held| common(pushes, held));
        let mut taken = self.paid(key, pushes);
        taken.extend(open);
        taken.sort_unstable();
        taken
    }

    /// The leaves of these pushes that are paid, in order.
    pub(super) fn paid(&self, key: &ClaimKey, pushes: &[u64]) -> Vec<u32> {
        let window = self.escrows.get(&key.source).and_then(|escrow| escrow.windows.get(&key.window));
        window.map(|window| common(pushes, &window.paid).collect()).unwrap_or_default()
    }

    /// The open claims of a window.
    fn claims_in(&self, source: &Id, window: u64) -> impl Iterator<Item = (&ClaimKey, &Claim)> {
        self.claims.range(ClaimKey::first(*source, window)..=ClaimKey::last(*source, window))
    }

    /// What is remembered in all.
    pub(super) fn remembered(&self) -> usize {
        let open: usize = self.claims.values().map(|claim| claim.pushes.len()).sum();
        open + self.escrows.values().map(weight).sum::<usize>()
    }

    /// Makes room for so many pushes of a window: while there is none, the source of which most is remembered has its
    /// oldest window closed. So nobody crowds out those who need less.
    ///
    /// # Errors
    /// [`Refusal::RememberedFull`], where only open claims are left, or windows that this one would close with.
    pub(super) fn make_room(&mut self, key: &ClaimKey, pushes: usize) -> Result<(), Refusal> {
        let mut over = (self.remembered() + WINDOW_WEIGHT + pushes).saturating_sub(REMEMBERED_MAX);
        if over == 0 {
            return Ok(());
        }
        let mut weights: Vec<(usize, Id)> =
            self.escrows.iter().map(|(source, escrow)| (weight(escrow), *source)).collect();
        // Up to which window each source closes: chosen before anything is closed.
        let mut closing: BTreeMap<Id, u64> = BTreeMap::new();
        while over > 0 {
            let at = (0..weights.len()).max_by_key(|&at| weights[at]).ok_or(Refusal::RememberedFull)?;
            let source = weights[at].1;
            let from = closing.get(&source).map_or(0, |closed| closed + 1);
            let windows = self.escrows.get(&source).map(|escrow| escrow.windows.range(from..));
            match windows.and_then(|mut windows| windows.next()) {
                Some((&number, window)) if source != key.source || number < key.window => {
                    over = over.saturating_sub(window.weight());
                    weights[at].0 -= window.weight();
                    closing.insert(source, number);
                }
                Some(_) | None => {
                    weights.swap_remove(at);
                }
            }
        }
        closing.into_iter().for_each(|(source, number)| self.close(&source, number));
        Ok(())
    }

    /// Closes a window of a source, with those before it.
    pub(super) fn close(&mut self, source: &Id, number: u64) {
        let Some(escrow) = self.escrows.get_mut(source) else { return };
        escrow.floor = escrow.floor.max(number);
        let open = number.checked_add(1).map(|next| escrow.windows.split_off(&next)).unwrap_or_default();
        let closed = std::mem::replace(&mut escrow.windows, open).into_values();
        closed.filter_map(|window| window.note).for_each(|note| self.dues.drop(note));
    }

    /// Closes what is before a window.
    pub(super) fn close_before(&mut self, source: &Id, number: u64) {
        let window = self.escrows.get_mut(source).and_then(|escrow| escrow.windows.get_mut(&number));
        window.and_then(|window| window.note.take());
        self.close(source, number.saturating_sub(1));
    }

    /// Remembers what a claim of a window was paid for, if that is open.
    pub(super) fn remember(&mut self, key: &ClaimKey, pushes: &[u64]) {
        let window = self.escrows.get_mut(&key.source).and_then(|escrow| escrow.windows.get_mut(&key.window));
        if let Some(window) = window {
            window.paid.extend_from_slice(pushes);
            window.paid.sort_unstable();
        }
    }
}

fn weight(escrow: &Escrow) -> usize {
    escrow.windows.values().map(Window::weight).sum()
}

/// The places in `pushes` of those that stand in `held` too; both rise.
fn common<'a>(pushes: &'a [u64], held: &'a [u64]) -> impl Iterator<Item = u32> + 'a {
    let is_held = |push: &u64| held.binary_search(push).is_ok();
    (0_u32..).zip(pushes).filter(move |(_, push)| is_held(push)).map(|(at, _)| at)
}
