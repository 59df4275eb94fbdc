//! Claims of messengers on the escrows of sources: made with a stake, open to challenges, paid when
//! nobody showed otherwise in time.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::{Address, Hash, Id};

use super::due::{Due, Moment, Note, Wait};
use super::limits::{CHALLENGE_DEPOSIT, CHALLENGES_MAX, CLAIMS_MAX, STAKE_MIN, TAKEN_LISTED_MAX, least};
use super::money::Account;
use super::refusal::Refusal;
use super::stakes::messenger;
use super::windows::Window;
use super::{Call, Ledger, Send};

/// Which claim: a messenger has one open for each window of a source.
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

/// What opens a claim, as far as it is shown at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The claim.
    pub claimed: Claimed,
    /// Its pushes, in the order of its leaves: [`Paid::key`](weft_protocol::market::Paid::key).
    pub pushes: Vec<u64>,
    /// When its window began, in the source's timestamps.
    pub began: u64,
}

/// A leaf that is not owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refuted {
    /// Its push.
    pub push: u64,
    /// What it claims.
    pub amount: u128,
}

/// An open claim. What it claims is out of the escrow, and its stake is locked in the bond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub(super) claimed: Claimed,
    /// The pushes that it holds: all but those that were struck.
    pub(super) pushes: Vec<u64>,
    /// What they come to.
    pub(super) sum: u128,
    pub(super) stake: u128,
    /// Before this it can be challenged.
    pub(super) until: Moment,
    /// When it is paid: after every open challenge.
    pub(super) note: Note,
    /// By leaf.
    pub(super) challenges: BTreeMap<u32, Challenge>,
    /// Leaves that were refuted.
    pub(super) struck: BTreeSet<u32>,
    /// Leaves that were challenged and shown to be owed: nothing new is learned of them.
    pub(super) answered: BTreeSet<u32>,
}

/// A leaf that its claimant has to account for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) by: Account,
    pub(super) deposit: u128,
    /// When the claim is lost.
    pub(super) note: Note,
}

impl ClaimKey {
    fn of(call: &Call<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            source: call.process("Source")?,
            window: call.number("Window")?,
            messenger: messenger(call.account("Messenger")?)?,
        })
    }

    pub(super) const fn first(source: Id, window: u64) -> Self {
        Self { source, window, messenger: Address([0; 32]) }
    }

    pub(super) const fn last(source: Id, window: u64) -> Self {
        Self { source, window, messenger: Address([u8::MAX; 32]) }
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
        self.claims.range(ClaimKey::first(*source, 0)..=ClaimKey::last(*source, u64::MAX))
    }

    /// What a claim locks of a bond at least, now.
    pub(super) fn stake_min(&self) -> u128 {
        least(STAKE_MIN, self.claims.len(), CLAIMS_MAX)
    }

    /// What a challenge takes, now.
    pub(super) fn deposit_min(&self) -> u128 {
        least(CHALLENGE_DEPOSIT, self.challenges, CHALLENGES_MAX)
    }

    /// Opens a claim of the sender.
    pub(super) fn claim(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        if call.terms.network.is_none() {
            return Err(Refusal::NoNetwork);
        }
        let (source, window) = (call.process("Source")?, call.number("Window")?);
        let messenger = messenger(call.from()?)?;
        let key = ClaimKey { source, window, messenger };
        let (Opened { claimed, pushes, .. }, stake) = self.check_claim(call, &key)?;
        self.make_room(&key, pushes.len())?;

        if let Some(bond) = self.bonds.get_mut(&messenger) {
            bond.locked += stake;
        }
        if let Some(escrow) = self.escrows.get_mut(&source) {
            escrow.take(claimed.sum);
            escrow.windows.entry(window).or_insert_with(|| {
                let note = self.dues.note(self.now, Wait::Window, call.terms, Due::Window(source, window));
                Window { paid: Vec::new(), note: Some(note) }
            });
        }
        let note = self.dues.note(self.now, Wait::Challenge, call.terms, Due::Claim(key));
        let (until, sum) = (note.due, claimed.sum);
        let (challenges, struck, answered) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let claim = Claim { claimed, pushes, sum, stake, until, note, challenges, struck, answered };
        self.claims.insert(key, claim);
        let answer = key.name(call.answer("Response")).tag("Quantity", sum).tag("Leaves", claimed.count);
        Ok(vec![answer.due(until)])
    }

    /// What a claim opens with, and what it locks of the bond.
    fn check_claim(&self, call: &Call<'_>, key: &ClaimKey) -> Result<(Opened, u128), Refusal> {
        if let Some(claim) = self.claims.get(key) {
            return Err(Refusal::Claimed(claim.note.due));
        }
        if self.claims.len() >= CLAIMS_MAX {
            return Err(Refusal::ClaimsFull);
        }
        let escrow = self.escrows.get(&key.source).ok_or(Refusal::NoEscrow)?;
        if key.window <= escrow.floor {
            return Err(Refusal::Closed(escrow.floor));
        }
        let free = self.bonds.get(&key.messenger).map_or(0, |bond| bond.free());
        // Nobody's leaves are read for nothing.
        let least = self.stake_min();
        if free < least {
            return Err(Refusal::BondLow { free, needed: least });
        }
        let opened = call.court.opened(key, call.data()).map_err(|why| Refusal::Claim(why.0))?;
        if opened.began < escrow.since || opened.began > self.now.time {
            return Err(Refusal::Outside { began: opened.began, since: escrow.since, now: self.now.time });
        }
        let sum = opened.claimed.sum;
        if sum == 0 {
            return Err(Refusal::Claim("it comes to nothing".into()));
        }
        let mut taken = self.taken(key, &opened.pushes);
        if !taken.is_empty() {
            taken.truncate(TAKEN_LISTED_MAX);
            let mut paid = self.paid(key, &opened.pushes);
            paid.retain(|leaf| taken.contains(leaf));
            return Err(Refusal::Taken { leaves: taken, paid });
        }
        let has = escrow.claimable();
        if sum > has {
            return Err(Refusal::EscrowLow { has });
        }
        // Who claims what is not his has as much to lose as to gain.
        let stake = sum.max(least);
        if stake > free { Err(Refusal::BondLow { free, needed: stake }) } else { Ok((opened, stake)) }
    }

    /// Challenges a leaf with a deposit; or strikes it at once with something that shows that it is
    /// not owed.
    pub(super) fn challenge(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, key, leaf) = (call.from()?, ClaimKey::of(call)?, leaf(call)?);
        let deposit = self.deposit_min();
        let now = self.now;
        let is_open = |claim: &&mut Claim| !claim.note.due.has_come(now);
        let claim = self.claims.get_mut(&key).filter(is_open).ok_or(Refusal::NoClaim)?;
        if leaf >= claim.claimed.count {
            return Err(Refusal::NoLeaf(claim.claimed.count));
        }
        if claim.struck.contains(&leaf) {
            return Err(Refusal::Struck);
        }
        if !call.data().is_empty() {
            return self.strike(call, &key, leaf);
        }
        if claim.answered.contains(&leaf) {
            return Err(Refusal::Answered);
        }
        if claim.until.has_come(self.now) {
            return Err(Refusal::Late(claim.until));
        }
        if claim.challenges.contains_key(&leaf) {
            return Err(Refusal::Challenged);
        }
        if self.challenges >= CHALLENGES_MAX {
            return Err(Refusal::ChallengesFull);
        }
        self.balances.debit(&from, deposit)?;
        self.challenges += 1;
        let note = self.dues.note(self.now, Wait::Challenge, call.terms, Due::Challenge(key, leaf));
        claim.challenges.insert(leaf, Challenge { by: from, deposit, note });
        // Later than the claim's own, which was opened before; and of one moment the first note goes first.
        self.dues.drop(claim.note);
        claim.note = self.dues.note(self.now, Wait::Challenge, call.terms, Due::Claim(key));
        let about = |send: Send| key.name(send).tag("Leaf", leaf).due(note.due);
        Ok(vec![about(Send::new(key.messenger, "Challenge-Notice")), about(call.answer("Response"))])
    }

    /// Takes a leaf out of a claim, and no more: its push was taken twice by its target, and who carried it the
    /// second time may not have known. What it claims goes back to the escrow, and the push can be claimed by who
    /// carried it first.
    fn strike(&mut self, call: &Call<'_>, key: &ClaimKey, leaf: u32) -> Result<Vec<Send>, Refusal> {
        let Some(claim) = self.claims.get_mut(key) else { return Err(Refusal::NoClaim) };
        let shown = call.court.refuted(key, &claim.claimed, leaf, call.data());
        let Refuted { push, amount } = shown.map_err(|why| Refusal::Evidence(why.0))?;
        claim.struck.insert(leaf);
        claim.pushes.retain(|held| *held != push);
        claim.sum -= amount;
        let challenge = claim.challenges.remove(&leaf);
        self.add_to_escrow(key.source, amount);
        if let Some(challenge) = challenge {
            self.end(&challenge);
            self.balances.credit(challenge.by, challenge.deposit);
        }
        let about = |send: Send| key.name(send).tag("Leaf", leaf).tag("Quantity", amount);
        Ok(vec![about(Send::new(key.messenger, "Leaf-Struck-Notice")), about(call.answer("Response"))])
    }

    /// Takes the answer to a challenge, from anybody: what it shows is in public logs. A wrong one
    /// changes nothing, or a stranger's would lose the claim; without a right one it is lost in time. The
    /// claimant hears of a right one, or he would go on answering.
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, key, leaf) = (call.from()?, ClaimKey::of(call)?, leaf(call)?);
        let claim = self.claims.get_mut(&key).ok_or(Refusal::NoClaim)?;
        let open = claim.challenges.get(&leaf).filter(|challenge| !challenge.note.due.has_come(self.now));
        let deposit = open.ok_or(Refusal::NoChallenge)?.deposit;
        let shown = call.court.answered(&key, &claim.claimed, leaf, call.data());
        shown.map_err(|why| Refusal::Answer(why.0))?;
        claim.answered.insert(leaf);
        if let Some(challenge) = claim.challenges.remove(&leaf) {
            self.end(&challenge);
        }
        self.balances.credit(key.account(), deposit);
        let about = |send: Send| key.name(send).tag("Leaf", leaf);
        let notice = (from != key.account()).then(|| about(Send::new(key.messenger, "Answer-Notice")));
        Ok(notice.into_iter().chain([about(call.answer("Response"))]).collect())
    }

    /// Counts a challenge out that was open.
    fn end(&mut self, challenge: &Challenge) {
        self.challenges -= 1;
        self.dues.drop(challenge.note);
    }

    /// Pays a claim whose time is over.
    pub(super) fn pay_claim(&mut self, key: &ClaimKey) -> Option<Send> {
        let claim = self.claims.remove(key)?;
        if let Some(bond) = self.bonds.get_mut(&key.messenger) {
            bond.locked -= claim.stake;
        }
        self.remember(key, &claim.pushes);
        if let Some(escrow) = self.escrows.get_mut(&key.source) {
            // Money may go round and be paid again; this is for people to look at.
            escrow.paid = escrow.paid.saturating_add(claim.sum);
        }
        self.forget_escrow(&key.source);
        self.balances.credit(key.account(), claim.sum);
        Some(key.name(Send::new(key.messenger, "Claim-Notice")).tag("Quantity", claim.sum))
    }

    /// Ends a claim of which nobody answered a challenge.
    pub(super) fn end_challenge(&mut self, key: &ClaimKey, leaf: u32) -> Vec<Send> {
        let challenge = self.claims.get(key).and_then(|claim| claim.challenges.get(&leaf));
        match challenge.map(|challenge| challenge.by) {
            Some(by) => self.lose(key, by),
            None => Vec::new(),
        }
    }

    /// Takes a claim, and the bond but what other claims lock of it: half of the bond goes to who
    /// challenged it, the rest and the claim to the escrow. So who challenges himself still loses, and
    /// gets nothing of the escrow. Nothing is remembered of its pushes: they can be claimed again, with
    /// another stake.
    fn lose(&mut self, key: &ClaimKey, shown_by: Account) -> Vec<Send> {
        let Some(claim) = self.claims.remove(key) else { return Vec::new() };
        self.dues.drop(claim.note);
        let mut taken = 0;
        if let Some(bond) = self.bonds.get_mut(&key.messenger) {
            bond.locked -= claim.stake;
            taken = bond.free() + bond.leaving;
            (bond.amount, bond.leaving) = (bond.locked, 0);
            bond.note.take().into_iter().for_each(|note| self.dues.drop(note));
        }
        self.forget_bond(&key.messenger);
        let half = taken / 2;
        self.add_to_escrow(key.source, claim.sum + taken - half);
        self.balances.credit(shown_by, half);
        for challenge in claim.challenges.values() {
            self.end(challenge);
            self.balances.credit(challenge.by, challenge.deposit);
        }
        let lost = key.name(Send::new(key.messenger, "Claim-Lost-Notice")).tag("Quantity", taken);
        let won = key.name(Send::new(shown_by, "Challenge-Won-Notice")).tag("Quantity", half);
        vec![lost, won]
    }
}

fn leaf(call: &Call<'_>) -> Result<u32, Refusal> {
    u32::try_from(call.number("Leaf")?).map_err(|_| Refusal::NotANumber("Leaf"))
}
