//! The token interface: what every ao token answers, and how money comes in and goes out.

use weft_protocol::tag::Tag;

use super::limits::{FORWARDED_BYTES_MAX, FORWARDED_MAX};
use super::money::{self, Account};
use super::refusal::Refusal;
use super::{Call, Ledger, Send};

/// `X-` tags that are not passed on: those by which a process knows the answer to a question of
/// its own.
const KEPT: [&str; 2] = ["X-Reference", "X-Origin"];

impl Ledger {
    pub(super) fn info(&self, call: &Call<'_>) -> Vec<Send> {
        let terms = call.terms;
        let mut answer = call
            .answer("Response")
            .with(&terms.shown)
            .tag("Supply", self.deposited - self.withdrawn)
            .tag("Challenge-Slots", terms.challenge_slots)
            .tag("Challenge-Seconds", terms.challenge_ms / 1_000)
            .tag("Account-Min", self.balances.least())
            .tag("Bond-Min", self.bond_min())
            .tag("Stake-Min", self.stake_min())
            .tag("Escrow-Min", self.escrow_min())
            .tag("Challenge-Deposit", self.deposit_min());
        if let Some(token) = terms.token {
            answer = answer.tag("Token", token);
        }
        vec![answer]
    }

    pub(super) fn balance(&self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let named = call.find("Recipient").or_else(|| call.find("Target"));
        let account = Account::read("Recipient", named.unwrap_or(call.message.from))?;
        let balance = self.balances.of(&account);
        let ticker = call.terms.shown.iter().filter(|tag| tag.name == "Ticker").cloned().collect::<Vec<_>>();
        let answer = call.answer("Response").tag("Balance", balance).tag("Account", account).with(&ticker);
        Ok(vec![answer.data(balance.to_string())])
    }

    pub(super) fn transfer(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let (from, to) = (call.from()?, call.account("Recipient")?);
        let (quantity, forwarded) = (call.quantity()?, forwarded(call)?);
        self.balances.check_room(&to, quantity)?;
        self.balances.spend(&from, quantity)?;
        self.balances.credit(to, quantity);
        // Who casts a transfer wants nobody told.
        if call.find("Cast").is_some() {
            return Ok(Vec::new());
        }
        let credit = Send::new(to, "Credit-Notice").tag("Sender", from).tag("Quantity", quantity);
        let debit = Send::new(from, "Debit-Notice").tag("Recipient", to).tag("Quantity", quantity);
        let debit = match call.find("Reference") {
            Some(reference) => debit.tag("X-Reference", reference),
            None => debit,
        };
        Ok(vec![credit.with(&forwarded), debit.with(&forwarded)])
    }

    /// Makes money out of nothing, where the ledger is a token of its own.
    pub(super) fn mint(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        if call.terms.token.is_some() {
            return Err(Refusal::HasToken);
        }
        if call.message.from != call.terms.owner {
            return Err(Refusal::NotOwner);
        }
        let to = match call.find("Recipient") {
            Some(text) => Account::read("Recipient", text)?,
            None => call.from()?,
        };
        let quantity = call.quantity()?;
        self.balances.check_room(&to, quantity)?;
        self.deposited = self.deposited.checked_add(quantity).ok_or(Refusal::Overflow)?;
        self.balances.credit(to, quantity);
        let notice =
            Send::new(to, "Credit-Notice").tag("Sender", call.message.from).tag("Quantity", quantity);
        Ok(vec![notice, call.answer("Response").tag("Quantity", quantity)])
    }

    /// What the token says of money that came: it is booked to its sender, or into the escrow that
    /// he names in `X-Escrow`. What cannot be booked goes back.
    pub(super) fn deposit(&mut self, call: &Call<'_>) -> Vec<Send> {
        // The node proved whom a message is from. Another process's notice is about other money.
        let Some(token) = call.terms.token.filter(|token| call.message.from == token.to_string()) else {
            return Vec::new();
        };
        let (Some(sender), Some(text)) = (call.find("Sender"), call.find("Quantity")) else {
            return Vec::new();
        };
        let booked = money::quantity(text).and_then(|quantity| self.book(call, sender, quantity));
        match booked {
            Ok(notice) => vec![notice],
            Err(refusal) if is_whole(text) => {
                let back = Send::new(token, "Transfer").tag("Recipient", sender).tag("Quantity", text);
                vec![back.tag("X-Error", refusal)]
            }
            Err(_) => Vec::new(),
        }
    }

    fn book(&mut self, call: &Call<'_>, sender: &str, quantity: u128) -> Result<Send, Refusal> {
        let account = Account::read("Sender", sender)?;
        let forwarded = forwarded(call)?;
        let notice = Send::new(account, "Deposit-Notice").tag("Quantity", quantity);
        let deposited = self.deposited.checked_add(quantity).ok_or(Refusal::Overflow)?;
        if let Some(source) = call.find("X-Escrow") {
            let source = source.parse().map_err(|_| Refusal::NotAProcess("X-Escrow"))?;
            self.check_escrow_room(&source, quantity)?;
            self.add_to_escrow(source, quantity);
        } else {
            self.balances.check_room(&account, quantity)?;
            self.balances.credit(account, quantity);
        }
        self.deposited = deposited;
        Ok(notice.with(&forwarded))
    }

    /// Gives money back to the token's own accounts.
    pub(super) fn withdraw(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        let token = call.terms.token.ok_or(Refusal::NoToken)?;
        let (from, quantity, forwarded) = (call.from()?, call.quantity()?, forwarded(call)?);
        let to = match call.find("Recipient") {
            Some(text) => Account::read("Recipient", text)?,
            None => from,
        };
        // It would be a deposit again, of the ledger itself.
        if to == Account::of(call.terms.process) || to == Account::of(token) {
            return Err(Refusal::Recipient);
        }
        self.balances.spend(&from, quantity)?;
        // No more than was deposited, as every balance is a part of that.
        self.withdrawn += quantity;
        let transfer = Send::new(token, "Transfer").tag("Recipient", to).tag("Quantity", quantity);
        let answer = call.answer("Response").tag("Recipient", to).tag("Quantity", quantity);
        Ok(vec![transfer.with(&forwarded), answer])
    }
}

/// The `X-` tags that a notice passes on.
fn forwarded(call: &Call<'_>) -> Result<Vec<Tag>, Refusal> {
    let is_forwarded = |tag: &&Tag| tag.name.starts_with("X-") && !KEPT.contains(&tag.name.as_str());
    let tags: Vec<Tag> = call.message.tags.iter().filter(is_forwarded).cloned().collect();
    let bytes: usize = tags.iter().map(|tag| tag.name.len() + tag.value.len()).sum();
    if tags.len() > FORWARDED_MAX || bytes > FORWARDED_BYTES_MAX {
        return Err(Refusal::Forwarded);
    }
    Ok(tags)
}

/// Whether a text is a whole number above zero, of any size that a token might count in.
fn is_whole(text: &str) -> bool {
    text.len() <= 80
        && text.bytes().all(|digit| digit.is_ascii_digit())
        && text.bytes().any(|digit| digit != b'0')
}
