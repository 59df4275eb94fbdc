//! Why a request changes nothing.

use super::limits::{
    ACCOUNTS_MAX, BOND_MIN, BONDS_MAX, CHALLENGE_SLOTS_MAX, CHALLENGE_SLOTS_MIN, ESCROW_MIN, ESCROWS_MAX,
    FORWARDED_BYTES_MAX, FORWARDED_MAX,
};

/// Why a request changes nothing: the text of the `Error` tag in the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A tag of the Process item that says nothing.
    #[error("the tag `{0}` of the ledger's Process item is not {1}: spawn it anew")]
    Terms(&'static str, &'static str),
    /// A tag that the request needs.
    #[error("the tag `{0}` is missing")]
    Missing(&'static str),
    /// A tag that is no number.
    #[error("the tag `{0}` is not a number of at most 20 digits")]
    NotANumber(&'static str),
    /// A tag that names no account.
    #[error(
        "`{0}` is not an address: expected 43 characters of base64url, or 0x and 40 digits with the checksum of EIP-55"
    )]
    NotAnAddress(&'static str),
    /// A tag that names no process.
    #[error("`{0}` is not a process: expected 43 characters of base64url")]
    NotAProcess(&'static str),
    /// A quantity that is none.
    #[error("`Quantity` is not a whole number above zero, of at most 128 bits")]
    Quantity,
    /// More than the sender has.
    #[error("the balance is {has}; {needed} are needed")]
    Balance {
        /// What he has.
        has: u128,
        /// What it takes.
        needed: u128,
    },
    /// [`ACCOUNTS_MAX`].
    #[error("{ACCOUNTS_MAX} accounts have a balance, and there is room for no other")]
    AccountsFull,
    /// Deposits of more than 128 bits in all.
    #[error("more was deposited than the ledger can count")]
    Overflow,
    /// Not the owner of the ledger.
    #[error("only the ledger's owner mints")]
    NotOwner,
    /// Minting where a token funds the ledger.
    #[error("this ledger is funded by a token: send that one a Transfer to the ledger")]
    HasToken,
    /// Withdrawing where no token funds the ledger.
    #[error("this ledger has no token to withdraw to")]
    NoToken,
    /// A claim where the network is not known.
    #[error("this ledger's Process item has no `Network` tag, so that it cannot judge claims")]
    NoNetwork,
    /// Withdrawing to the ledger or its token.
    #[error("`Recipient` is the ledger itself or its token")]
    Recipient,
    /// `X-` tags over a limit.
    #[error("more than {FORWARDED_MAX} `X-` tags, or {FORWARDED_BYTES_MAX} bytes of them")]
    Forwarded,
    /// A source without an escrow.
    #[error("the ledger holds no escrow for this source")]
    NoEscrow,
    /// An escrow that begins with too little.
    #[error("an escrow begins with {ESCROW_MIN} at least")]
    EscrowSmall,
    /// [`ESCROWS_MAX`].
    #[error("{ESCROWS_MAX} sources have an escrow, and there is room for no other")]
    EscrowsFull,
    /// More than an escrow has to give.
    #[error("the escrow has {has} to give")]
    EscrowLow {
        /// What it has.
        has: u128,
    },
    /// Not the source or its owner.
    #[error("only the source itself, or the signer of its Process item, releases its escrow: {0}")]
    NotTheSource(String),
    /// A first bond that is too small.
    #[error("a bond is {BOND_MIN} at least")]
    BondSmall,
    /// [`BONDS_MAX`].
    #[error("{BONDS_MAX} messengers have a bond, and there is room for no other")]
    BondsFull,
    /// Less of a bond than is needed.
    #[error("{free} of the bond are free; {needed} are needed")]
    BondLow {
        /// What no claim locks.
        free: u128,
        /// What it takes.
        needed: u128,
    },
    /// A claim by whoever is no messenger.
    #[error("a claim is made by the messenger's own key")]
    NotAMessenger,
    /// A window that this messenger was paid for, or one before such a window.
    #[error("windows are claimed in rising order, and this messenger can claim none up to {0} any more")]
    Paid(u64),
    /// A window that waits for its time.
    #[error("the window is claimed already, and settled at slot {0} if nobody shows otherwise")]
    Claimed(u64),
    /// Leaves that are no claim.
    #[error("the claim: {0}")]
    Claim(String),
    /// No such claim.
    #[error("no such claim is open")]
    NoClaim,
    /// A challenge after the challenge time.
    #[error("the claim could be challenged before slot {0}")]
    Late(u64),
    /// A leaf that the claim has not.
    #[error("the claim has {0} leaves, the first of which is 0")]
    NoLeaf(u32),
    /// A leaf that is challenged.
    #[error("the leaf is challenged already")]
    Challenged,
    /// No such challenge.
    #[error("no challenge of this leaf is open")]
    NoChallenge,
    /// An answer that shows nothing.
    #[error("the answer: {0}")]
    Answer(String),
    /// Evidence that shows nothing.
    #[error("what was shown: {0}")]
    Evidence(String),
}

impl Refusal {
    /// A `Challenge-Slots` tag that is no such number.
    pub(super) const fn challenge_slots() -> Self {
        const { assert!(CHALLENGE_SLOTS_MIN == 8 && CHALLENGE_SLOTS_MAX == 32_768) };
        Self::Terms("Challenge-Slots", "a number from 8 to 32768")
    }
}
