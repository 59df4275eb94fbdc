//! What stands behind the market: escrows that sources pay from, and bonds of messengers.

use weft_protocol::{Address, Id};

use super::limits::{BOND_MIN, BONDS_MAX, ESCROW_MIN, ESCROWS_MAX, PAID_MESSENGERS_MAX, WAIT_PERIODS};
use super::money::Account;
use super::refusal::Refusal;
use super::{Call, Due, Ledger, Send};

/// Money that waits for its time to go to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) amount: u128,
    pub(super) to: Account,
    /// From this slot on.
    pub(super) due: u64,
}

/// What a source pays its messengers from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Escrow {
    /// What claims and releases take from, [`ESCROW_MIN`] excepted.
    pub(super) free: u128,
    /// What is being released; claims take it until then where nothing else is left.
    pub(super) releasing: Option<Leaving>,
    /// All that was ever paid from it.
    pub(super) paid: u128,
    /// Windows up to this one are paid to nobody any more; window 0 has no offers.
    pub(super) floor: u64,
    /// The last window for which each messenger was paid.
    pub(super) last: Vec<(Address, u64)>,
}

impl Escrow {
    pub(super) fn total(&self) -> u128 {
        self.free + self.releasing.map_or(0, |releasing| releasing.amount)
    }

    /// What can be claimed.
    pub(super) fn claimable(&self) -> u128 {
        self.total().saturating_sub(ESCROW_MIN)
    }

    /// Takes a sum that can be claimed.
    pub(super) fn take(&mut self, sum: u128) {
        let first = sum.min(self.free.saturating_sub(ESCROW_MIN));
        self.free -= first;
        if let Some(releasing) = self.releasing.as_mut() {
            releasing.amount -= sum - first;
        }
    }

    /// The window up to which a messenger is paid nothing any more.
    pub(super) fn last_window(&self, messenger: &Address) -> u64 {
        let last = self.last.iter().find(|(paid, _)| paid == messenger).map(|(_, window)| *window);
        last.unwrap_or(0).max(self.floor)
    }

    /// Remembers that a messenger was paid for a window.
    pub(super) fn remember(&mut self, messenger: Address, window: u64, sum: u128) {
        // Money may go round and be paid again; this is for people to look at.
        self.paid = self.paid.saturating_add(sum);
        if let Some((_, last)) = self.last.iter_mut().find(|(paid, _)| *paid == messenger) {
            *last = window.max(*last);
            return;
        }
        if self.last.len() == PAID_MESSENGERS_MAX {
            let oldest = (0..self.last.len()).min_by_key(|&at| self.last[at].1).unwrap_or(0);
            let (_, window) = self.last.swap_remove(oldest);
            self.floor = self.floor.max(window);
        }
        self.last.push((messenger, window));
    }
}

/// What a messenger can lose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bond {
    /// What counts as bonded.
    pub(super) amount: u128,
    /// The part of it that open claims lock.
    pub(super) locked: u128,
    /// What waits to be given back, and can be lost until then.
    pub(super) leaving: u128,
    pub(super) due: u64,
}

impl Bond {
    pub(super) const fn free(&self) -> u128 {
        self.amount - self.locked
    }
}

impl Ledger {
    /// When money that is asked back now is given.
    fn wait(&self, call: &Call<'_>) -> u64 {
        self.slot.saturating_add(WAIT_PERIODS * call.terms.challenge_slots)
    }

    pub(super) fn escrow(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, source, quantity) = (call.from()?, call.process("Source")?, call.quantity()?);
        self.check_escrow_room(&source, quantity)?;
        self.balances.debit(&from, quantity)?;
        self.add_to_escrow(source, quantity);
        Ok(vec![call.answer("Response").tag("Source", source).tag("Quantity", quantity)])
    }

    pub(super) fn check_escrow_room(&self, source: &Id, quantity: u128) -> Result<(), Refusal> {
        if self.escrows.contains_key(source) {
            return Ok(());
        }
        if quantity < ESCROW_MIN {
            return Err(Refusal::EscrowSmall);
        }
        if self.escrows.len() >= ESCROWS_MAX { Err(Refusal::EscrowsFull) } else { Ok(()) }
    }

    pub(super) fn add_to_escrow(&mut self, source: Id, quantity: u128) {
        self.escrows.entry(source).or_default().free += quantity;
    }

    /// Begins to give an escrow back: to the source itself, or to whoever signed its Process item.
    pub(super) fn release(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, source) = (call.from()?, call.process("Source")?);
        let wanted = call.find("Quantity").map(|_| call.quantity()).transpose()?;
        let escrow = self.escrows.get(&source).ok_or(Refusal::NoEscrow)?;
        let has = escrow.free.saturating_sub(ESCROW_MIN);
        if wanted.is_some_and(|wanted| wanted > has) {
            return Err(Refusal::EscrowLow { has });
        }
        if from != Account::of(source) {
            let signer = call.court.signer(source, call.data());
            let signer = signer.map_err(|why| Refusal::NotTheSource(why.0))?;
            if signer != call.message.from {
                return Err(Refusal::NotTheSource(format!("{signer} signed it")));
            }
        }
        let (due, quantity) = (self.wait(call), wanted.unwrap_or(has));
        if let Some(escrow) = self.escrows.get_mut(&source) {
            escrow.free -= quantity;
            let before = escrow.releasing.map_or(0, |releasing| releasing.amount);
            escrow.releasing = Some(Leaving { amount: before + quantity, to: from, due });
        }
        self.note(due, Due::Release(source));
        let answer = call.answer("Response").tag("Source", source).tag("Quantity", quantity).tag("Due", due);
        Ok(vec![answer])
    }

    /// Gives a released escrow to who asked for it. One from which nothing was ever paid ends.
    pub(super) fn give_escrow(&mut self, source: &Id, slot: u64) {
        let is_claimed = self.claims_of(source).next().is_some();
        let Some(escrow) = self.escrows.get_mut(source) else { return };
        let Some(leaving) = escrow.releasing.filter(|leaving| leaving.due == slot) else { return };
        escrow.releasing = None;
        let mut amount = leaving.amount;
        if escrow.last.is_empty() && !is_claimed && escrow.free <= ESCROW_MIN {
            amount += escrow.free;
            self.escrows.remove(source);
        }
        self.balances.credit(leaving.to, amount);
    }

    pub(super) fn bond(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, quantity) = (call.from()?, call.quantity()?);
        let messenger = messenger(from)?;
        match self.bonds.get(&messenger) {
            // Of a quantity nothing is known before it is taken.
            Some(bond) if bond.amount < BOND_MIN.saturating_sub(quantity) => return Err(Refusal::BondSmall),
            None if quantity < BOND_MIN => return Err(Refusal::BondSmall),
            None if self.bonds.len() >= BONDS_MAX => return Err(Refusal::BondsFull),
            Some(_) | None => {}
        }
        self.balances.debit(&from, quantity)?;
        let bond = self.bonds.entry(messenger).or_default();
        bond.amount += quantity;
        Ok(vec![call.answer("Response").tag("Bond", bond.amount)])
    }

    /// Begins to give a bond back. What stays is nothing, or a bond.
    pub(super) fn unbond(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (messenger, quantity) = (messenger(call.from()?)?, call.quantity()?);
        let due = self.wait(call);
        let Some(bond) = self.bonds.get_mut(&messenger) else {
            return Err(Refusal::BondLow { free: 0, needed: quantity });
        };
        if quantity > bond.free() {
            return Err(Refusal::BondLow { free: bond.free(), needed: quantity });
        }
        let left = bond.amount - quantity;
        if left > 0 && left < BOND_MIN {
            return Err(Refusal::BondSmall);
        }
        bond.amount = left;
        bond.leaving += quantity;
        bond.due = due;
        self.note(due, Due::Unbond(messenger));
        Ok(vec![call.answer("Response").tag("Bond", left).tag("Quantity", quantity).tag("Due", due)])
    }

    pub(super) fn give_bond(&mut self, messenger: &Address, slot: u64) {
        let Some(bond) = self.bonds.get_mut(messenger).filter(|bond| bond.due == slot) else { return };
        self.balances.credit(Account::Key(messenger.0), bond.leaving);
        bond.leaving = 0;
        self.forget_bond(messenger);
    }

    /// Makes room where nothing is bonded.
    pub(super) fn forget_bond(&mut self, messenger: &Address) {
        if self.bonds.get(messenger).is_some_and(|bond| bond.amount == 0 && bond.leaving == 0) {
            self.bonds.remove(messenger);
        }
    }
}

/// The messenger whose account this is: the key that signs pushes and offers is the node's own.
pub(super) fn messenger(account: Account) -> Result<Address, Refusal> {
    match account {
        Account::Key(bytes) => Ok(Address(bytes)),
        Account::Ethereum(_) => Err(Refusal::NotAMessenger),
    }
}
