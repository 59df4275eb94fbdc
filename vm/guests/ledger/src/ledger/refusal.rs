//! Why a request changes nothing.

use super::due::Moment;
use super::limits::{
    ACCOUNTS_MAX, BONDS_MAX, CHALLENGE_SECONDS_MAX, CHALLENGE_SLOTS_MAX, CHALLENGE_SLOTS_MIN, CHALLENGES_MAX,
    CLAIMS_MAX, ESCROWS_MAX, FORWARDED_BYTES_MAX, FORWARDED_MAX, REMEMBERED_MAX,
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
    /// A new account with too little.
    #[error("with so many accounts a new one begins with {0} at least")]
    AccountSmall(u128),
    /// Something too small that would stay in an account.
    #[error("with so many accounts one holds {0} at least: send all that there is, or leave so much")]
    Dust(u128),
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
    #[error("an escrow begins with {0} at least")]
    EscrowSmall(u128),
    /// [`ESCROWS_MAX`].
    #[error("{ESCROWS_MAX} sources have an escrow, and there is room for no other")]
    EscrowsFull,
    /// More than an escrow has to give.
    #[error("the escrow has {has} to give")]
    EscrowLow {
        /// What it has.
        has: u128,
    },
    /// A release of nothing, or of so much that too little would stay.
    #[error("the escrow has {has}: all of it can be released, or so much that {least} stay")]
    ReleaseLow {
        /// What it has that is not being released.
        has: u128,
        /// What stays at least.
        least: u128,
    },
    /// Not the source or its owner.
    #[error("only the source itself, or the signer of its Process item, releases its escrow: {0}")]
    NotTheSource(String),
    /// A first bond that is too small.
    #[error("a bond is {0} at least")]
    BondSmall(u128),
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
    /// A window that is paid to nobody any more.
    #[error("windows up to {0} of this source are closed, and paid to nobody any more")]
    Closed(u64),
    /// A window that began before the escrow, or has not begun.
    #[error(
        "the window began at {began}; the escrow, which began at {since}, pays for later ones, and it is {now} here"
    )]
    Outside {
        /// When its offers were assigned.
        began: u64,
        /// When the escrow began.
        since: u64,
        /// The ledger's time.
        now: u64,
    },
    /// Pushes that are claimed or paid.
    #[error("{count} or more of the pushes are claimed by another or paid, the first of them leaf {first}: leave them out", count = .leaves.len(), first = .leaves.first().copied().unwrap_or_default())]
    Taken {
        /// Their leaves: the first ones.
        leaves: Vec<u32>,
        /// Those of them that are paid.
        paid: Vec<u32>,
    },
    /// A claim while another of the same window waits for its time.
    #[error("a claim of this window is open, and settled at slot {slot} and {time} ms if nobody shows otherwise", slot = .0.slot, time = .0.time)]
    Claimed(Moment),
    /// [`CLAIMS_MAX`].
    #[error("{CLAIMS_MAX} claims are open, and there is room for no other")]
    ClaimsFull,
    /// [`REMEMBERED_MAX`].
    #[error("{REMEMBERED_MAX} pushes are remembered, and there is room for no others")]
    RememberedFull,
    /// Leaves that are no claim.
    #[error("the claim: {0}")]
    Claim(String),
    /// No such claim.
    #[error("no such claim is open")]
    NoClaim,
    /// A challenge after the challenge time.
    #[error("the claim could be challenged before slot {slot} or {time} ms", slot = .0.slot, time = .0.time)]
    Late(Moment),
    /// A leaf that the claim has not.
    #[error("the claim has {0} leaves, the first of which is 0")]
    NoLeaf(u32),
    /// [`CHALLENGES_MAX`].
    #[error("{CHALLENGES_MAX} challenges are open, and there is room for no other")]
    ChallengesFull,
    /// A leaf that was refuted.
    #[error("the leaf was refuted already, and is not claimed any more")]
    Struck,
    /// A leaf that was answered for.
    #[error("the leaf was challenged and answered for already: it is owed")]
    Answered,
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
    /// Whether asking again comes to the same, however long one waits.
    pub(super) const fn is_final(&self) -> bool {
        match self {
            Self::Outside { began, since, .. } => *began < *since,
            Self::Closed(_) | Self::NoChallenge | Self::Answered | Self::Struck | Self::NoLeaf(_) => true,
            _ => false,
        }
    }

    /// A `Challenge-Slots` tag that is no such number.
    pub(super) const fn challenge_slots() -> Self {
        const { assert!(CHALLENGE_SLOTS_MIN == 8 && CHALLENGE_SLOTS_MAX == 32_768) };
        Self::Terms("Challenge-Slots", "a number from 8 to 32768")
    }

    /// A `Challenge-Seconds` tag that is no such number.
    pub(super) const fn challenge_seconds() -> Self {
        const { assert!(CHALLENGE_SECONDS_MAX == 2_592_000) };
        Self::Terms("Challenge-Seconds", "a number from 1 to 2592000")
    }
}
