//! Subscriptions: the signed word of a payer that a messenger carries what a process sends, and lets time pass in it, until
//! a date or until it is cancelled.
//!
//! A statement is a data item for the process that is no message: it has no `Data-Protocol`. Of one payer the
//! highest number counts, so what was said before says nothing when it is shown again. Only the payer and the key
//! that signed the Process item may cancel. What carrying costs is paid as in hard mode, from the escrow of the process,
//! and nothing where it names no ledger.

use crate::data_item::{DataItem, Draft};
use crate::id::{Address, Id, Network};
use crate::process::Process;
use crate::tag::Tag;
use crate::verify::Verified;

/// How far ahead a subscription may end, in milliseconds: 400 days.
pub const SUBSCRIPTION_MS_MAX: u64 = 400 * 24 * 60 * 60 * 1_000;

/// The `Type` of a statement that begins or prolongs a subscription.
const SUBSCRIBE: &str = "Push-Subscription";
/// That of one that cancels it.
const CANCEL: &str = "Push-Cancellation";

/// What is said of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It holds until then, Unix milliseconds.
    Until(u64),
    /// It holds no longer. The payer's is meant whose key this is.
    Cancelled(Address),
}

/// A statement about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Whose pushes.
    pub process: Id,
    /// Who is to carry them.
    pub messenger: Address,
    /// Higher than that of any statement before.
    pub number: u64,
    /// What is said.
    pub said: Said,
}

/// Why something is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// It is no statement about a subscription.
    #[error("it is no `{SUBSCRIBE}` or `{CANCEL}`: tag `{0}` is missing or malformed")]
    Malformed(&'static str),
    /// It is a message of the process's log.
    #[error("it is a message; a statement has no `Data-Protocol`")]
    Message,
    /// It is of another network.
    #[error("it is of another network")]
    Network,
    /// It is for another messenger.
    #[error("it is for messenger {0}")]
    Messenger(Address),
    /// A newer statement is known.
    #[error("statement {0} of its payer is newer, or the same number says something else")]
    Old(u64),
    /// It ends in the past, or too far ahead.
    #[error("it must end in the future, and within 400 days")]
    Until,
    /// An earlier one would outlast it, and could be shown again once this one is forgotten.
    #[error(
        "it must end no earlier than what its payer said before, at {0}, in milliseconds since 1970; or cancel it"
    )]
    Shorter(u64),
    /// There is nothing to cancel.
    #[error("there is no subscription of this payer")]
    Nothing,
    /// Its signer may not cancel it.
    #[error("only its payer and the owner of the process may cancel it")]
    Stranger,
}

impl Statement {
    /// Reads a statement and who made it.
    ///
    /// # Errors
    /// What it is instead.
    pub fn read(item: &Verified<DataItem>, network: Network) -> Result<(Self, Address), NotTaken> {
        if item.tag("Data-Protocol").is_some() {
            return Err(NotTaken::Message);
        }
        let tag = |name: &'static str| item.tag(name).ok_or(NotTaken::Malformed(name));
        if tag("Network")? != network.to_string() {
            return Err(NotTaken::Network);
        }
        let process = item.target().ok_or(NotTaken::Malformed("Target"))?;
        let messenger = tag("Messenger")?.parse().map_err(|_| NotTaken::Malformed("Messenger"))?;
        let number = digits(tag("Number")?).ok_or(NotTaken::Malformed("Number"))?;
        let said = match tag("Type")? {
            SUBSCRIBE => Said::Until(digits(tag("Until")?).ok_or(NotTaken::Malformed("Until"))?),
            CANCEL => {
                let payer = item.tag("Payer").map(str::parse).transpose();
                let payer = payer.map_err(|_| NotTaken::Malformed("Payer"))?;
                Said::Cancelled(payer.unwrap_or(item.owner()))
            }
            _ => return Err(NotTaken::Malformed("Type")),
        };
        Ok((Self { process, messenger, number, said }, item.owner()))
    }

    /// The item that makes this statement, to be signed by whoever makes it.
    pub fn draft(&self, network: Network) -> Draft {
        let mut tags = vec![
            Tag::new("Type", if matches!(self.said, Said::Until(_)) { SUBSCRIBE } else { CANCEL }),
            Tag::new("Network", network.to_string()),
            Tag::new("Messenger", self.messenger.to_string()),
            Tag::new("Number", self.number.to_string()),
        ];
        tags.push(match self.said {
            Said::Until(until) => Tag::new("Until", until.to_string()),
            Said::Cancelled(payer) => Tag::new("Payer", payer.to_string()),
        });
        Draft { target: Some(self.process), tags, ..Draft::default() }
    }
}

fn digits(text: &str) -> Option<u64> {
    // Signs and spaces are none.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// What stands between one payer and a messenger about one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The number of the last statement.
    pub number: u64,
    /// When it ends, or would have, Unix milliseconds. From then on it need not be remembered.
    pub until: u64,
    /// Whether it was cancelled.
    pub is_cancelled: bool,
}

impl Agreement {
    /// Bytes of [`to_bytes`](Self::to_bytes).
    pub const BYTES: usize = 17;

    /// Whether it holds now.
    pub const fn holds(&self, now_ms: u64) -> bool {
        !self.is_cancelled && now_ms < self.until
    }

    /// As it is stored: number u64, until u64, cancelled u8.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.number.to_be_bytes());
        out[8..16].copy_from_slice(&self.until.to_be_bytes());
        out[16] = u8::from(self.is_cancelled);
        out
    }

    /// Reads [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (until, rest) = rest.split_first_chunk()?;
        let is_cancelled = match rest {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        Some(Self { number: u64::from_be_bytes(*number), until: u64::from_be_bytes(*until), is_cancelled })
    }
}

/// Who owns a process by signature: of one that was spawned nobody does, as its item is signed by whoever carried it.
pub fn owner(process: &Process) -> Option<Address> {
    process.parent().is_none().then(|| process.item().owner())
}

/// Decides what a statement that is for this messenger comes to: whose agreement, and what stands then. `held` gives
/// what stood with a payer.
///
/// # Errors
/// Why it is not taken.
pub fn decide(
    process: &Process,
    (statement, by): (&Statement, Address),
    held: impl Fn(&Address) -> Option<Agreement>,
    now_ms: u64,
) -> Result<(Address, Agreement), NotTaken> {
    match statement.said {
        Said::Until(until) => {
            if until <= now_ms || until > now_ms.saturating_add(SUBSCRIPTION_MS_MAX) {
                return Err(NotTaken::Until);
            }
            let new = Agreement { number: statement.number, until, is_cancelled: false };
            match held(&by) {
                // Handed in again, as its answer was lost.
                Some(held) if held == new => {}
                Some(held) if held.number >= statement.number => return Err(NotTaken::Old(held.number)),
                Some(held) if until < held.until => return Err(NotTaken::Shorter(held.until)),
                _ => {}
            }
            Ok((by, new))
        }
        Said::Cancelled(payer) => {
            if by != payer && Some(by) != owner(process) {
                return Err(NotTaken::Stranger);
            }
            let held = held(&payer).ok_or(NotTaken::Nothing)?;
            // It cancels what has its number or a lower one.
            if held.number > statement.number {
                return Err(NotTaken::Old(held.number));
            }
            Ok((payer, Agreement { number: statement.number, is_cancelled: true, ..held }))
        }
    }
}
