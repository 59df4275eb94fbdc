//! What the ledger holds at most, with what happens when it is full, and what taking part costs.
//!
//! Amounts are in the token's smallest unit. A place in a table costs the more the fuller the table is: what is put into
//! it at least doubles with each sixteenth of the places that is taken ([`least`]). So whoever fills a table pays for
//! all of it, and who comes last pays for one place.

use weft_protocol::market::BOND_UNIT;

/// Accounts with a balance. When they are full a transfer to another one is refused, and a deposit
/// goes back to its token; what the ledger owes is paid all the same.
pub const ACCOUNTS_MAX: usize = 1 << 18;
/// Sources with an escrow. When they are full no other begins one.
pub const ESCROWS_MAX: usize = 1 << 14;
/// Messengers with a bond. When they are full no other bonds.
pub const BONDS_MAX: usize = 1 << 14;
/// Open claims. When they are full no other is opened.
pub const CLAIMS_MAX: usize = 1 << 16;
/// Open challenges. When they are full nothing else is challenged.
pub const CHALLENGES_MAX: usize = 1 << 16;
/// Pushes that are remembered as claimed or paid, 8 bytes each, with what their windows take beside them. When they are
/// full the source that has most of them has its oldest window closed.
pub const REMEMBERED_MAX: usize = 1 << 22;
/// What an open window takes beside its pushes, in pushes.
pub const WINDOW_WEIGHT: usize = 16;
/// What becomes due at one message; the rest does at the next. No message adds more than two.
pub const DUE_MAX: usize = 64;
/// Entries of one page of a list.
pub const LISTED_MAX: usize = 1_000;
/// Leaves that a refused claim is told of that others hold; more are told when these are left out.
pub const TAKEN_LISTED_MAX: usize = 128;
/// `X-` tags that are passed on with a notice; more are refused.
pub const FORWARDED_MAX: usize = 32;
/// Bytes of them, which leave room for the notice's own.
pub const FORWARDED_BYTES_MAX: usize = 2_048;

/// What an account begins with at least where more than a sixteenth of the places is taken; before that it is nothing.
/// No transfer leaves less.
pub const ACCOUNT_MIN: u128 = BOND_UNIT as u128 / 1_000_000;
/// What an escrow begins with at least. No claim takes it: it goes back when all of the escrow is released.
pub const ESCROW_MIN: u128 = BOND_UNIT as u128 / 100;
/// The smallest bond.
pub const BOND_MIN: u128 = BOND_UNIT as u128 / 10;
/// What a claim locks of its messenger's bond at least; else as much as it claims.
pub const STAKE_MIN: u128 = BOND_UNIT as u128 / 10;
/// What a challenger puts down at least, and loses to the claimant if the answer is right.
pub const CHALLENGE_DEPOSIT: u128 = BOND_UNIT as u128 / 100;

/// Slots in which a claim can be challenged, and each challenge be answered, if the tag
/// `Challenge-Slots` of the ledger's Process item names no other number.
pub const CHALLENGE_SLOTS: u64 = 256;
/// The fewest that the tag may name.
pub const CHALLENGE_SLOTS_MIN: u64 = 8;
/// The most.
pub const CHALLENGE_SLOTS_MAX: u64 = 1 << 15;
/// Seconds that have to pass too, if the tag `Challenge-Seconds` names no other number: a day, in which people look.
pub const CHALLENGE_SECONDS: u64 = 24 * 60 * 60;
/// The most that the tag may name: thirty days. It names one at least.
pub const CHALLENGE_SECONDS_MAX: u64 = 30 * CHALLENGE_SECONDS;

/// What a place costs where so many of all are taken, when the first costs `first`.
pub const fn least(first: u128, taken: usize, places: usize) -> u128 {
    first << sixteenths(taken, places)
}

/// What a new account begins with at least, where there are so many.
pub const fn least_of_account(taken: usize) -> u128 {
    if sixteenths(taken, ACCOUNTS_MAX) == 0 { 0 } else { least(ACCOUNT_MIN, taken, ACCOUNTS_MAX) }
}

const fn sixteenths(taken: usize, places: usize) -> usize {
    // What is owed finds a place even where there is none.
    let taken = if taken < places { taken } else { places };
    16 * taken / places
}
