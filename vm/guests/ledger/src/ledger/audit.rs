//! What the ledger says of itself: lists a page at a time, one thing by name, and the sums of all.

use weft_protocol::{Address, Id, js};

use super::claims::{Claim, ClaimKey};
use super::limits::LISTED_MAX;
use super::money::Account;
use super::refusal::Refusal;
use super::stakes::{Bond, Escrow, messenger};
use super::{Call, Ledger, Moment, Send};

/// A JSON object, field by field. Amounts are texts: JSON's numbers are not exact beyond 2^53.
struct Json(String);

impl Json {
    fn new() -> Self {
        Self(String::from("{"))
    }

    fn key(&mut self, name: &str) -> &mut String {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        js::write_str(name, &mut self.0);
        self.0.push(':');
        &mut self.0
    }

    fn text(mut self, name: &str, value: impl ToString) -> Self {
        js::write_str(&value.to_string(), self.key(name));
        self
    }

    fn number(mut self, name: &str, value: u64) -> Self {
        self.key(name).push_str(&value.to_string());
        self
    }

    /// A point of the ledger's log: its slot under the name, its time beside it.
    fn moment(self, name: &str, moment: Moment) -> Self {
        self.number(name, moment.slot).number(&format!("{name}Time"), moment.time)
    }

    fn flag(mut self, name: &str, value: bool) -> Self {
        self.key(name).push_str(if value { "true" } else { "false" });
        self
    }

    fn raw(mut self, name: &str, value: &str) -> Self {
        self.key(name).push_str(value);
        self
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// What the money of the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// All that came in.
    pub deposited: u128,
    /// All that went out.
    pub withdrawn: u128,
    /// Balances.
    pub balances: u128,
    /// Escrows, what is being released included.
    pub escrows: u128,
    /// Bonds, what is leaving included.
    pub bonds: u128,
    /// Sums of open claims.
    pub claims: u128,
    /// Deposits of open challenges.
    pub deposits: u128,
}

impl Sums {
    /// Whether all that came in is accounted for, and no more.
    pub const fn conserve(&self) -> bool {
        let held = self.balances + self.escrows + self.bonds + self.claims + self.deposits;
        held + self.withdrawn == self.deposited
    }
}

impl Ledger {
    /// Counts all the money out.
    pub fn sums(&self) -> Sums {
        let challenges = self.claims.values().flat_map(|claim| claim.challenges.values());
        Sums {
            deposited: self.deposited,
            withdrawn: self.withdrawn,
            balances: self.balances.total(),
            escrows: self.escrows.values().map(Escrow::total).sum(),
            bonds: self.bonds.values().map(|bond| bond.amount + bond.leaving).sum(),
            claims: self.claims.values().map(|claim| claim.sum).sum(),
            deposits: challenges.map(|challenge| challenge.deposit).sum(),
        }
    }

    pub(super) fn audit(&self, call: &Call<'_>) -> Vec<Send> {
        let sums = self.sums();
        let json = Json::new()
            .number("slot", self.now.slot)
            .number("time", self.now.time)
            .text("deposited", sums.deposited)
            .text("withdrawn", sums.withdrawn)
            .text("balances", sums.balances)
            .text("escrows", sums.escrows)
            .text("bonds", sums.bonds)
            .text("claims", sums.claims)
            .text("deposits", sums.deposits)
            .flag("conserves", sums.conserve())
            .number("accounts", self.balances.len() as u64)
            .number("sources", self.escrows.len() as u64)
            .number("messengers", self.bonds.len() as u64)
            .number("openClaims", self.claims.len() as u64)
            .number("openChallenges", self.challenges as u64)
            .number("remembered", self.remembered() as u64)
            .number("due", self.dues.len() as u64);
        vec![call.answer("Response").data(json.end())]
    }

    pub(super) fn list_balances(&self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let first = call.find("From-Account").map(|text| Account::read("From-Account", text)).transpose()?;
        let entries = self.balances.from(first).map(|(account, balance)| (account.to_string(), balance));
        Ok(vec![page(call, "From-Account", entries)])
    }

    pub(super) fn list_bonds(&self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let first =
            call.find("From-Messenger").map(|text| Account::read("From-Messenger", text)).transpose()?;
        let first = first.map(messenger).transpose()?.unwrap_or(Address([0; 32]));
        let entries = self.bonds.range(first..).map(|(messenger, bond)| (messenger.to_string(), bond.amount));
        Ok(vec![page(call, "From-Messenger", entries)])
    }

    pub(super) fn bond_of(&self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let account =
            if call.find("Messenger").is_some() { call.account("Messenger")? } else { call.from()? };
        let messenger = messenger(account)?;
        let bond = self.bonds.get(&messenger).cloned().unwrap_or_default();
        let Bond { amount, locked, leaving, note } = bond;
        let answer = call.answer("Response").tag("Messenger", messenger).tag("Bond", amount);
        let answer = answer.tag("Locked", locked).tag("Leaving", leaving);
        let answer = match note {
            Some(note) => answer.due(note.due),
            None => answer,
        };
        Ok(vec![answer.data(amount.to_string())])
    }

    pub(super) fn escrow_of(&self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let source = call.process("Source")?;
        let escrow = self.escrows.get(&source).ok_or(Refusal::NoEscrow)?;
        let claims = self.claims_of(&source);
        let (open, claimed) = claims.fold((0, 0), |(open, sum), (_, claim)| (open + 1, sum + claim.sum));
        let mut windows = Json::new();
        for (number, window) in escrow.windows.iter().take(LISTED_MAX) {
            let shown = Json::new().number("paid", window.paid.len() as u64);
            let shown = match window.note {
                Some(note) => shown.moment("closesEarlier", note.due),
                None => shown,
            };
            windows = windows.raw(&number.to_string(), &shown.end());
        }
        let json = Json::new()
            .text("source", source)
            .text("free", escrow.free)
            .text("claimable", escrow.claimable())
            .text("claimed", claimed)
            .number("openClaims", open)
            .text("paid", escrow.paid)
            .number("since", escrow.since)
            .number("floor", escrow.floor)
            .raw("windows", &windows.end());
        let json = match escrow.releasing {
            Some(leaving) => json.text("releasing", leaving.amount).moment("due", leaving.note.due),
            None => json.text("releasing", 0),
        };
        Ok(vec![call.answer("Response").tag("Source", source).data(json.end())])
    }

    pub(super) fn claim_of(&self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let key = ClaimKey {
            source: call.process("Source")?,
            window: call.number("Window")?,
            messenger: messenger(call.account("Messenger")?)?,
        };
        let claim = self.claims.get(&key).ok_or(Refusal::NoClaim)?;
        Ok(vec![call.answer("Response").data(claim_json(&key, claim))])
    }

    /// Open claims by source, window and messenger: those of one source or one messenger, or a page of all from a
    /// source on.
    pub(super) fn list_claims(&self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let source = call.find("Source").map(|_| call.process("Source")).transpose()?;
        let first = call.find("From-Source").map(|_| call.process("From-Source")).transpose()?;
        let start = ClaimKey {
            source: source.or(first).unwrap_or(Id([0; 32])),
            window: call.find("From-Window").map(|_| call.number("From-Window")).transpose()?.unwrap_or(0),
            messenger: call
                .find("From-Messenger")
                .map(|_| messenger(call.account("From-Messenger")?))
                .transpose()?
                .unwrap_or(Address([0; 32])),
        };
        let by = call.find("Messenger").map(|_| messenger(call.account("Messenger")?)).transpose()?;
        let is_asked = |key: &ClaimKey| source.is_none_or(|source| key.source == source);
        let of_source = self.claims.range(start..).take_while(|(key, _)| is_asked(key));
        let mut found = of_source.filter(|(key, _)| by.is_none_or(|by| key.messenger == by));
        let listed: Vec<String> =
            found.by_ref().take(LISTED_MAX).map(|(key, claim)| claim_json(key, claim)).collect();
        let mut answer = call.answer("Response").data(format!("[{}]", listed.join(",")));
        if let Some((next, _)) = found.next() {
            answer = answer.tag("From-Source", next.source).tag("From-Window", next.window);
            answer = answer.tag("From-Messenger", next.messenger);
        }
        Ok(vec![answer])
    }
}

/// One page of amounts by name; where there are more the tag `next` says from where.
fn page(call: &Call<'_>, next: &str, mut entries: impl Iterator<Item = (String, u128)>) -> Send {
    let mut json = Json::new();
    for (name, amount) in entries.by_ref().take(LISTED_MAX) {
        json = json.text(&name, amount);
    }
    let answer = call.answer("Response").data(json.end());
    match entries.next() {
        Some((name, _)) => answer.tag(next, name),
        None => answer,
    }
}

fn claim_json(key: &ClaimKey, claim: &Claim) -> String {
    let mut challenges = Json::new();
    for (leaf, challenge) in &claim.challenges {
        let shown = Json::new().text("by", challenge.by).moment("due", challenge.note.due);
        challenges = challenges.raw(&leaf.to_string(), &shown.end());
    }
    Json::new()
        .text("source", key.source)
        .number("window", key.window)
        .text("messenger", key.messenger)
        .number("leaves", u64::from(claim.claimed.count))
        .text("root", claim.claimed.root)
        .text("sum", claim.sum)
        .number("struck", claim.struck.len() as u64)
        .number("answered", claim.answered.len() as u64)
        .text("stake", claim.stake)
        .moment("challengeableUntil", claim.until)
        .moment("due", claim.note.due)
        .raw("challenges", &challenges.end())
        .end()
}
