//! What stands behind the market: escrows that sources pay from, and bonds of messengers.

use std::collections::BTreeMap;

use weft_protocol::{Address, Id};

use super::due::{Due, Note, Wait};
use super::limits::{BOND_MIN, BONDS_MAX, ESCROW_MIN, ESCROWS_MAX, least};
use super::money::Account;
use super::refusal::Refusal;
use super::windows::Window;
use super::{Call, Ledger, Send};

/// Money that waits for its time to go to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) amount: u128,
    pub(super) to: Account,
    pub(super) note: Note,
}

/// What a source pays its messengers from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Escrow {
    /// When it began, in the ledger's time. Windows that began before it are paid nothing: what an escrow that ended
    /// has paid is forgotten with it.
    pub(super) since: u64,
    /// What claims and releases take from.
    pub(super) free: u128,
    /// What is being released; claims take it until then where nothing else is left.
    pub(super) releasing: Option<Leaving>,
    /// All that was ever paid from it.
    pub(super) paid: u128,
    /// Windows up to this one are paid to nobody any more; window 0 has no offers.
    pub(super) floor: u64,
    /// Windows that were claimed and are open.
    pub(super) windows: BTreeMap<u64, Window>,
}

impl Escrow {
    const fn begun(since: u64) -> Self {
        Self { since, free: 0, releasing: None, paid: 0, floor: 0, windows: BTreeMap::new() }
    }

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
    pub(super) note: Option<Note>,
}

impl Bond {
    pub(super) const fn free(&self) -> u128 {
        self.amount - self.locked
    }
}

impl Ledger {
    /// What an escrow begins with at least, now, and keeps where not all of it is released.
    pub(super) fn escrow_min(&self) -> u128 {
        least(ESCROW_MIN, self.escrows.len(), ESCROWS_MAX)
    }

    /// What a bond is at least, now, when it begins or a part of it leaves.
    pub(super) fn bond_min(&self) -> u128 {
        least(BOND_MIN, self.bonds.len(), BONDS_MAX)
    }

    pub(super) fn escrow(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, source, quantity) = (call.from()?, call.process("Source")?, call.quantity()?);
        self.check_escrow_room(&source, quantity)?;
        self.balances.spend(&from, quantity)?;
        self.add_to_escrow(source, quantity);
        Ok(vec![call.answer("Response").tag("Source", source).tag("Quantity", quantity)])
    }

    pub(super) fn check_escrow_room(&self, source: &Id, quantity: u128) -> Result<(), Refusal> {
        match self.escrows.get(source) {
            // One that is being released as a whole begins again, or a little would keep its place.
            Some(escrow) if escrow.free > 0 => return Ok(()),
            None if self.escrows.len() >= ESCROWS_MAX => return Err(Refusal::EscrowsFull),
            Some(_) | None => {}
        }
        let least = self.escrow_min();
        if quantity < least { Err(Refusal::EscrowSmall(least)) } else { Ok(()) }
    }

    pub(super) fn add_to_escrow(&mut self, source: Id, quantity: u128) {
        self.escrows.entry(source).or_insert(Escrow::begun(self.now.time)).free += quantity;
    }

    /// Begins to give an escrow back: to the source itself, or to whoever signed its Process item.
    pub(super) fn release(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, source) = (call.from()?, call.process("Source")?);
        let wanted = call.find("Quantity").map(|_| call.quantity()).transpose()?;
        let has = self.escrows.get(&source).ok_or(Refusal::NoEscrow)?.free;
        let (quantity, least) = (wanted.unwrap_or(has), self.escrow_min());
        if quantity == 0 || (quantity != has && quantity > has.saturating_sub(least)) {
            return Err(Refusal::ReleaseLow { has, least });
        }
        if from != Account::of(source) {
            let signer = call.court.signer(source, call.data());
            let signer = signer.map_err(|why| Refusal::NotTheSource(why.0))?;
            if signer != call.message.from {
                return Err(Refusal::NotTheSource(format!("{signer} signed it")));
            }
        }
        let note = self.dues.note(self.now, Wait::Leave, call.terms, Due::Release(source));
        if let Some(escrow) = self.escrows.get_mut(&source) {
            escrow.free -= quantity;
            let before = escrow.releasing.take();
            let amount = quantity + before.map_or(0, |releasing| releasing.amount);
            escrow.releasing = Some(Leaving { amount, to: from, note });
            before.into_iter().for_each(|before| self.dues.drop(before.note));
        }
        let answer = call.answer("Response").tag("Source", source).tag("Quantity", quantity);
        Ok(vec![answer.due(note.due)])
    }

    /// Gives a released escrow to who asked for it.
    pub(super) fn give_escrow(&mut self, source: &Id) {
        let leaving = self.escrows.get_mut(source).and_then(|escrow| escrow.releasing.take());
        if let Some(leaving) = leaving {
            self.balances.credit(leaving.to, leaving.amount);
        }
        self.forget_escrow(source);
    }

    /// Ends an escrow that is empty, with what it remembers. One that begins anew pays for later windows only.
    pub(super) fn forget_escrow(&mut self, source: &Id) {
        let is_empty = self.escrows.get(source).is_some_and(|escrow| escrow.total() == 0);
        if !is_empty || self.claims_of(source).next().is_some() {
            return;
        }
        self.close(source, u64::MAX);
        if let Some(escrow) = self.escrows.remove(source) {
            escrow.releasing.into_iter().for_each(|leaving| self.dues.drop(leaving.note));
        }
    }

    pub(super) fn bond(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, quantity) = (call.from()?, call.quantity()?);
        let messenger = messenger(from)?;
        let there = self.bonds.get(&messenger);
        if there.is_none() && self.bonds.len() >= BONDS_MAX {
            return Err(Refusal::BondsFull);
        }
        let has = there.map_or(0, |bond| bond.amount);
        // One that is leaving as a whole begins again, or a little would keep its place.
        let least = if has == 0 { self.bond_min() } else { BOND_MIN };
        // Of a quantity nothing is known before it is taken.
        if has < least.saturating_sub(quantity) {
            return Err(Refusal::BondSmall(least));
        }
        self.balances.spend(&from, quantity)?;
        let bond = self.bonds.entry(messenger).or_default();
        bond.amount += quantity;
        Ok(vec![call.answer("Response").tag("Bond", bond.amount)])
    }

    /// Begins to give a bond back. What stays is nothing, or a bond.
    pub(super) fn unbond(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (messenger, quantity) = (messenger(call.from()?)?, call.quantity()?);
        let least = self.bond_min();
        let Some(bond) = self.bonds.get_mut(&messenger) else {
            return Err(Refusal::BondLow { free: 0, needed: quantity });
        };
        if quantity > bond.free() {
            return Err(Refusal::BondLow { free: bond.free(), needed: quantity });
        }
        let left = bond.amount - quantity;
        if left > 0 && left < least {
            return Err(Refusal::BondSmall(least));
        }
        let note = self.dues.note(self.now, Wait::Leave, call.terms, Due::Unbond(messenger));
        bond.amount = left;
        bond.leaving += quantity;
        bond.note.replace(note).into_iter().for_each(|before| self.dues.drop(before));
        Ok(vec![call.answer("Response").tag("Bond", left).tag("Quantity", quantity).due(note.due)])
    }

    pub(super) fn give_bond(&mut self, messenger: &Address) {
        let Some(bond) = self.bonds.get_mut(messenger) else { return };
        self.balances.credit(Account::Key(messenger.0), bond.leaving);
        (bond.leaving, bond.note) = (0, None);
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
