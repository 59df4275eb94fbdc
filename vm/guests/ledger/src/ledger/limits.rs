//! What the ledger holds at most, with what happens when it is full, and what taking part costs.
//!
//! Amounts are in the token's smallest unit. Periods are counted in the ledger's own slots.

use weft_protocol::market::BOND_UNIT;

/// Accounts with a balance. When they are full a transfer to another one is refused, and a deposit
/// goes back to its token; what the ledger owes is paid all the same.
pub const ACCOUNTS_MAX: usize = 1 << 18;
/// Sources with an escrow. When they are full no other begins one; each keeps [`ESCROW_MIN`] for
/// ever once a claim was paid from it, so that filling them costs.
pub const ESCROWS_MAX: usize = 1 << 14;
/// Messengers with a bond. When they are full no other bonds; each has [`BOND_MIN`] in it.
pub const BONDS_MAX: usize = 1 << 14;
/// Messengers of which a source remembers the last window it paid for. When they are full the one
/// whose last window is the oldest is forgotten, and that window and those before it are paid to
/// nobody any more.
pub const PAID_MESSENGERS_MAX: usize = 64;
/// What becomes due at one message; the rest does at the next. No message adds more than two.
pub const DUE_MAX: usize = 64;
/// Entries of one page of a list.
pub const LISTED_MAX: usize = 1_000;
/// `X-` tags that are passed on with a notice; more are refused.
pub const FORWARDED_MAX: usize = 32;
/// Bytes of them, which leave room for the notice's own.
pub const FORWARDED_BYTES_MAX: usize = 2_048;

/// What stays in an escrow: no claim and no release takes it while the ledger has to remember what
/// was paid.
pub const ESCROW_MIN: u128 = BOND_UNIT as u128 / 100;
/// The smallest bond.
pub const BOND_MIN: u128 = BOND_UNIT as u128 / 10;
/// What a claim locks of its messenger's bond at least; else as much as it claims.
pub const STAKE_MIN: u128 = BOND_UNIT as u128 / 10;
/// What a challenger puts down, and loses to the claimant if the answer is right.
pub const CHALLENGE_DEPOSIT: u128 = BOND_UNIT as u128 / 100;

/// Slots in which a claim can be challenged, and each challenge be answered, if the tag
/// `Challenge-Slots` of the ledger's Process item names no other number.
pub const CHALLENGE_SLOTS: u64 = 256;
/// The fewest that the tag may name.
pub const CHALLENGE_SLOTS_MIN: u64 = 8;
/// The most: with one claim or challenge a slot, so many are open at most, twice.
pub const CHALLENGE_SLOTS_MAX: u64 = 1 << 15;
/// Challenge periods that a bond or an escrow waits before it is given back: long enough for a
/// claim that is made when that is asked for, and for its challenge.
pub const WAIT_PERIODS: u64 = 2;
