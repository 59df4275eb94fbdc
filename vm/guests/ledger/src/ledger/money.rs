//! Who holds money, and how much: accounts, quantities, balances.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use weft_protocol::Id;
use weft_protocol::crypto::guest::keccak256;

use super::limits::{ACCOUNTS_MAX, least_of_account};
use super::refusal::Refusal;

/// Digits of the largest quantity.
const QUANTITY_DIGITS_MAX: usize = 39;

/// An account: whoever a message can be from. Each has one spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// A process, or the address of a key: 43 characters.
    Key([u8; 32]),
    /// An Ethereum wallet: `0x` and 40 digits, checksummed.
    Ethereum([u8; 20]),
}

impl Account {
    /// The account of a process.
    pub const fn of(process: Id) -> Self {
        Self::Key(process.0)
    }

    /// Reads the value of a tag.
    ///
    /// # Errors
    /// [`Refusal::NotAnAddress`] with the tag's name.
    pub fn read(name: &'static str, text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(|NotAnAccount| Refusal::NotAnAddress(name))
    }
}

/// A text that names no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnAccount;

impl FromStr for Account {
    type Err = NotAnAccount;

    fn from_str(text: &str) -> Result<Self, NotAnAccount> {
        if let Ok(id) = text.parse::<Id>() {
            return Ok(Self::Key(id.0));
        }
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40 && digits.is_ascii());
        let digits = digits.ok_or(NotAnAccount)?;
        let mut bytes = [0; 20];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(2 * at..2 * at + 2).ok_or(NotAnAccount)?;
            // `from_str_radix` would take a sign.
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(NotAnAccount);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotAnAccount)?;
        }
        // A typing error in an address is money lost; and no account has two names.
        if checksummed(&bytes) == text { Ok(Self::Ethereum(bytes)) } else { Err(NotAnAccount) }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(bytes) => Id(*bytes).fmt(f),
            Self::Ethereum(bytes) => f.write_str(&checksummed(bytes)),
        }
    }
}

/// The EIP-55 text of an Ethereum address.
fn checksummed(bytes: &[u8; 20]) -> String {
    let plain = hex(bytes);
    let check = hex(&keccak256(plain.as_bytes()));
    let case =
        |(letter, digit): (char, char)| if digit >= '8' { letter.to_ascii_uppercase() } else { letter };
    "0x".chars().chain(plain.chars().zip(check.chars()).map(case)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a quantity: a whole number above zero, in the token's smallest unit.
///
/// # Errors
/// [`Refusal::Quantity`].
pub fn quantity(text: &str) -> Result<u128, Refusal> {
    if text.len() > QUANTITY_DIGITS_MAX || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Refusal::Quantity);
    }
    text.parse().ok().filter(|&quantity| quantity > 0).ok_or(Refusal::Quantity)
}

/// Balances; an account without one is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balances(BTreeMap<Account, u128>);

impl Balances {
    /// No balances.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// What an account holds.
    pub fn of(&self, account: &Account) -> u128 {
        self.0.get(account).copied().unwrap_or(0)
    }

    /// All accounts with a balance, in order, from one on.
    pub fn from(&self, first: Option<Account>) -> impl Iterator<Item = (Account, u128)> {
        let first = first.unwrap_or(Account::Key([0; 32]));
        self.0.range(first..).map(|(account, balance)| (*account, *balance))
    }

    /// How many accounts have a balance.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them together, which what was deposited bounds.
    pub fn total(&self) -> u128 {
        self.0.values().sum()
    }

    /// Whether an account may be paid so much by whoever likes to.
    ///
    /// # Errors
    /// [`Refusal::AccountsFull`] if it would be one too many, [`Refusal::AccountSmall`] if it would begin with
    /// less than it takes now.
    pub fn check_room(&self, account: &Account, amount: u128) -> Result<(), Refusal> {
        if self.0.contains_key(account) {
            return Ok(());
        }
        if self.0.len() >= ACCOUNTS_MAX {
            return Err(Refusal::AccountsFull);
        }
        let least = self.least();
        if amount < least { Err(Refusal::AccountSmall(least)) } else { Ok(()) }
    }

    /// What a new account begins with at least now, and what is left of one that pays for what it likes.
    pub fn least(&self) -> u128 {
        least_of_account(self.0.len())
    }

    /// Adds what the ledger holds already, so that no sum overflows. What it owes always finds room: each such
    /// account stands in an open claim, bond or escrow, which are counted.
    pub fn credit(&mut self, account: Account, amount: u128) {
        if amount > 0 {
            *self.0.entry(account).or_insert(0) += amount;
        }
    }

    /// Takes from an account what its owner spends. What he leaves is nothing, or an account: else a little money
    /// that goes on and on would open one after the other.
    ///
    /// # Errors
    /// As [`debit`](Self::debit), and [`Refusal::Dust`].
    pub fn spend(&mut self, account: &Account, amount: u128) -> Result<(), Refusal> {
        let left = self.of(account).saturating_sub(amount);
        let least = self.least();
        if left > 0 && left < least {
            return Err(Refusal::Dust(least));
        }
        self.debit(account, amount)
    }

    /// Takes from an account.
    ///
    /// # Errors
    /// [`Refusal::Balance`], and nothing is taken.
    pub fn debit(&mut self, account: &Account, amount: u128) -> Result<(), Refusal> {
        let has = self.of(account);
        let left = has.checked_sub(amount).ok_or(Refusal::Balance { has, needed: amount })?;
        if left == 0 {
            self.0.remove(account);
        } else {
            self.0.insert(*account, left);
        }
        Ok(())
    }
}
