//! Claims of messengers on the escrows of sources: made with a stake, open to challenges, paid when
//! nobody showed otherwise in time.

use std::collections::BTreeMap;

use weft_protocol::{Address, Hash, Id};

use super::limits::{CHALLENGE_DEPOSIT, STAKE_MIN};
use super::money::Account;
use super::refusal::Refusal;
use super::stakes::messenger;
use super::{Call, Due, Ledger, Send};

/// Which claim: a messenger has one for each window of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey {
    /// Whose pushes were carried.
    pub source: Id,
    /// In which window of its slots.
    pub window: u64,
    /// By whom.
    pub messenger: Address,
}

/// What a claim says, in short: its leaves stand in the log, in the data of the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// How many pushes.
    pub count: u32,
    /// The root of the tree of them.
    pub root: Hash,
    /// What they come to.
    pub sum: u128,
}

/// An open claim. What it claims is out of the escrow, and its stake is locked in the bond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub(super) claimed: Claimed,
    pub(super) stake: u128,
    /// Before this slot it can be challenged.
    pub(super) until: u64,
    /// At this slot it is paid, if no challenge is open.
    pub(super) due: u64,
    /// By leaf.
    pub(super) challenges: BTreeMap<u32, Challenge>,
}

/// A leaf that its claimant has to account for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) by: Account,
    /// At this slot the claim is lost.
    pub(super) due: u64,
}

impl ClaimKey {
    fn of(call: &Call<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            source: call.process("Source")?,
            window: call.number("Window")?,
            messenger: messenger(call.account("Messenger")?)?,
        })
    }

    fn account(&self) -> Account {
        Account::Key(self.messenger.0)
    }

    /// Names the claim in a message.
    fn name(&self, send: Send) -> Send {
        send.tag("Messenger", self.messenger).tag("Source", self.source).tag("Window", self.window)
    }
}

impl Ledger {
    /// The open claims on a source.
    pub(super) fn claims_of(&self, source: &Id) -> impl Iterator<Item = (&ClaimKey, &Claim)> {
        let key = |window, end| ClaimKey { source: *source, window, messenger: Address(end) };
        self.claims.range(key(0, [0; 32])..=key(u64::MAX, [u8::MAX; 32]))
    }

    /// Opens a claim of the sender.
    pub(super) fn claim(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        if call.terms.network.is_none() {
            return Err(Refusal::NoNetwork);
        }
        let (source, window) = (call.process("Source")?, call.number("Window")?);
        let messenger = messenger(call.from()?)?;
        let key = ClaimKey { source, window, messenger };
        if let Some(claim) = self.claims.get(&key) {
            return Err(Refusal::Claimed(claim.due));
        }
        let escrow = self.escrows.get(&source).ok_or(Refusal::NoEscrow)?;
        let last = escrow.last_window(&messenger);
        if window <= last {
            return Err(Refusal::Paid(last));
        }
        let free = self.bonds.get(&messenger).map_or(0, |bond| bond.free());
        // Nobody's leaves are read for nothing.
        if free < STAKE_MIN {
            return Err(Refusal::BondLow { free, needed: STAKE_MIN });
        }
        let claimed = call.court.claimed(&key, call.data()).map_err(|why| Refusal::Claim(why.0))?;
        if claimed.sum == 0 {
            return Err(Refusal::Claim("it comes to nothing".into()));
        }
        let has = escrow.claimable();
        if claimed.sum > has {
            return Err(Refusal::EscrowLow { has });
        }
        // Who claims what is not his has as much to lose as to gain.
        let stake = claimed.sum.max(STAKE_MIN);
        let (Some(bond), true) = (self.bonds.get_mut(&messenger), stake <= free) else {
            return Err(Refusal::BondLow { free, needed: stake });
        };
        bond.locked += stake;
        if let Some(escrow) = self.escrows.get_mut(&source) {
            escrow.take(claimed.sum);
        }
        let until = self.slot.saturating_add(call.terms.challenge_slots);
        let claim = Claim { claimed, stake, until, due: until, challenges: BTreeMap::new() };
        self.claims.insert(key, claim);
        self.note(until, Due::Claim(key));
        let answer = key.name(call.answer("Response")).tag("Quantity", claimed.sum);
        Ok(vec![answer.tag("Leaves", claimed.count).tag("Due", until)])
    }

    /// Challenges a leaf with a deposit; or ends the claim at once with something that shows that
    /// the leaf is not owed.
    pub(super) fn challenge(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, key, leaf) = (call.from()?, ClaimKey::of(call)?, leaf(call)?);
        let slot = self.slot;
        let claim = self.claims.get_mut(&key).filter(|claim| slot < claim.due).ok_or(Refusal::NoClaim)?;
        if leaf >= claim.claimed.count {
            return Err(Refusal::NoLeaf(claim.claimed.count));
        }
        if !call.data().is_empty() {
            let shown = call.court.refuted(&key, &claim.claimed, leaf, call.data());
            shown.map_err(|why| Refusal::Evidence(why.0))?;
            let mut sends = self.lose(&key, from);
            sends.push(key.name(call.answer("Response")).tag("Leaf", leaf));
            return Ok(sends);
        }
        if slot >= claim.until {
            return Err(Refusal::Late(claim.until));
        }
        if claim.challenges.contains_key(&leaf) {
            return Err(Refusal::Challenged);
        }
        self.balances.debit(&from, CHALLENGE_DEPOSIT)?;
        let due = slot.saturating_add(call.terms.challenge_slots);
        claim.challenges.insert(leaf, Challenge { by: from, due });
        // Later than the claim's own, which was opened before; and of one slot the first note goes first.
        claim.due = due;
        self.note(due, Due::Challenge(key, leaf));
        self.note(due, Due::Claim(key));
        let notice = key.name(Send::new(key.messenger, "Challenge-Notice")).tag("Leaf", leaf).tag("Due", due);
        Ok(vec![notice, key.name(call.answer("Response")).tag("Leaf", leaf).tag("Due", due)])
    }

    /// Takes the answer to a challenge, from anybody: what it shows is in public logs. A wrong one
    /// changes nothing, or a stranger's would lose the claim; without a right one it is lost in time.
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (key, leaf) = (ClaimKey::of(call)?, leaf(call)?);
        let slot = self.slot;
        let claim = self.claims.get_mut(&key).ok_or(Refusal::NoClaim)?;
        let open = claim.challenges.get(&leaf).filter(|challenge| slot < challenge.due);
        open.ok_or(Refusal::NoChallenge)?;
        let shown = call.court.answered(&key, &claim.claimed, leaf, call.data());
        shown.map_err(|why| Refusal::Answer(why.0))?;
        claim.challenges.remove(&leaf);
        self.balances.credit(key.account(), CHALLENGE_DEPOSIT);
        Ok(vec![key.name(call.answer("Response")).tag("Leaf", leaf)])
    }

    /// Pays a claim whose time is over.
    pub(super) fn pay_claim(&mut self, key: &ClaimKey, slot: u64) -> Option<Send> {
        let is_due = |claim: &&Claim| claim.due == slot && claim.challenges.is_empty();
        self.claims.get(key).filter(is_due)?;
        let claim = self.claims.remove(key)?;
        let sum = claim.claimed.sum;
        if let Some(bond) = self.bonds.get_mut(&key.messenger) {
            bond.locked -= claim.stake;
        }
        if let Some(escrow) = self.escrows.get_mut(&key.source) {
            escrow.remember(key.messenger, key.window, sum);
        }
        self.balances.credit(key.account(), sum);
        Some(key.name(Send::new(key.messenger, "Claim-Notice")).tag("Quantity", sum))
    }

    /// Ends a claim of which nobody answered a challenge.
    pub(super) fn end_challenge(&mut self, key: &ClaimKey, leaf: u32, slot: u64) -> Vec<Send> {
        let challenge = self.claims.get(key).and_then(|claim| claim.challenges.get(&leaf));
        match challenge.filter(|challenge| challenge.due == slot).map(|challenge| challenge.by) {
            Some(by) => self.lose(key, by),
            None => Vec::new(),
        }
    }

    /// Takes a claim, and the bond but what other claims lock of it: half of the bond goes to who
    /// showed it, the rest and the claim to the escrow. So who challenges himself still loses, and
    /// gets nothing of the escrow. Nothing is remembered of the window: it can be claimed again, with
    /// another stake.
    fn lose(&mut self, key: &ClaimKey, shown_by: Account) -> Vec<Send> {
        let Some(claim) = self.claims.remove(key) else { return Vec::new() };
        let mut taken = 0;
        if let Some(bond) = self.bonds.get_mut(&key.messenger) {
            bond.locked -= claim.stake;
            taken = bond.free() + bond.leaving;
            (bond.amount, bond.leaving) = (bond.locked, 0);
        }
        self.forget_bond(&key.messenger);
        let half = taken / 2;
        self.add_to_escrow(key.source, claim.claimed.sum + taken - half);
        self.balances.credit(shown_by, half);
        for challenge in claim.challenges.values() {
            self.balances.credit(challenge.by, CHALLENGE_DEPOSIT);
        }
        let lost = key.name(Send::new(key.messenger, "Claim-Lost-Notice")).tag("Quantity", taken);
        let won = key.name(Send::new(shown_by, "Challenge-Won-Notice")).tag("Quantity", half);
        vec![lost, won]
    }
}

fn leaf(call: &Call<'_>) -> Result<u32, Refusal> {
    u32::try_from(call.number("Leaf")?).map_err(|_| Refusal::NotANumber("Leaf"))
}
