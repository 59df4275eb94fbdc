//! Assignments: the scheduler's signed statement that an item stands at a slot.

use crate::data_item::{DataItem, Draft};
use crate::hashing;
use crate::id::{Address, Hash, Id, Network};
use crate::limits::EXCLUDES_MAX;
use crate::tag::{self, Tag};
use crate::time::TimePoint;

/// The largest integer that the guest's JSON can carry exactly.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// A field of an assigned item that the module must not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Excluded {
    /// The data.
    Data,
    /// The tags: the module sees an empty list.
    Tags,
    /// The signature.
    Signature,
    /// The item anchor.
    Anchor,
}

impl Excluded {
    /// The field of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "Data" => Self::Data,
            "Tags" => Self::Tags,
            "Signature" => Self::Signature,
            "Anchor" => Self::Anchor,
            _ => return None,
        })
    }

    /// The value of the `Exclude` tag.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "Data",
            Self::Tags => "Tags",
            Self::Signature => "Signature",
            Self::Anchor => "Anchor",
        }
    }
}

/// Why a data item is no assignment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignmentError {
    /// A tag is absent.
    #[error("the assignment has no `{0}` tag")]
    Missing(&'static str),
    /// A tag has a value that cannot be read.
    #[error("the `{name}` tag of the assignment is `{value}`")]
    Invalid {
        /// The tag.
        name: &'static str,
        /// Its value, cut at 64 characters.
        value: String,
    },
    /// Slot 0 names a message, or another slot names none.
    #[error("an assignment of slot {0} {1}")]
    Message(u64, &'static str),
    /// More `Exclude` tags than fields.
    #[error("more than {EXCLUDES_MAX} Exclude tags")]
    Excludes,
    /// The item has a target or data.
    #[error("an assignment has neither target nor data")]
    NotEmpty,
}

/// Everything an assignment says, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentDraft {
    /// The network, which the item anchor commits to.
    pub network: Network,
    /// The process.
    pub process: Id,
    /// The scheduler's term.
    pub epoch: u64,
    /// The slot.
    pub slot: u64,
    /// The link of this slot.
    pub hash_chain: Hash,
    /// Timestamp and height.
    pub time: TimePoint,
    /// The item at this slot; none at slot 0, which is the Process item's.
    pub message: Option<Id>,
    /// Fields the module must not see.
    pub excludes: Vec<Excluded>,
}

impl AssignmentDraft {
    /// The item to sign, with the reference's tags in the reference's order.
    pub fn draft(&self) -> Draft {
        let mut tags = vec![
            Tag::new("Process", self.process.to_string()),
            Tag::new("Epoch", self.epoch.to_string()),
            Tag::new("Nonce", self.slot.to_string()),
            Tag::new("Hash-Chain", self.hash_chain.to_string()),
            Tag::new("Block-Height", format!("{:012}", self.time.height)),
            Tag::new("Timestamp", self.time.timestamp.to_string()),
            Tag::new("Data-Protocol", "ao"),
            Tag::new("Type", "Assignment"),
            Tag::new("Variant", "ao.TN.1"),
        ];
        tags.extend(self.message.map(|id| Tag::new("Message", id.to_string())));
        tags.extend(self.excludes.iter().map(|field| Tag::new("Exclude", field.name())));
        let item = self.message.unwrap_or(self.process);
        let anchor = item_anchor(self.network, self.process, self.epoch, self.slot, item);
        Draft { target: None, anchor: Some(anchor.0), tags, data: bytes::Bytes::new() }
    }
}

/// The item anchor of an assignment: RULES.md 6.10. It lets anybody show to which network an
/// assignment belongs and lets a scheduler that crashed build the same bytes again.
pub fn item_anchor(network: Network, process: Id, epoch: u64, slot: u64, item: Id) -> Hash {
    hashing::sha256(
        "weft/assign/1",
        &[&network.to_bytes(), &process.0, &epoch.to_be_bytes(), &slot.to_be_bytes(), &item.0],
    )
}

/// What a signed assignment says. The item's signature is the caller's to check, by taking it
/// from a verified item whose owner is the scheduler of the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The id of the assignment item.
    pub id: Id,
    /// Whose item it is: of a verified slot, the scheduler of its epoch.
    pub scheduler: Address,
    /// The process.
    pub process: Id,
    /// The scheduler's term.
    pub epoch: u64,
    /// The slot (`Nonce`).
    pub slot: u64,
    /// The link of this slot.
    pub hash_chain: Hash,
    /// Timestamp and height.
    pub time: TimePoint,
    /// The item at this slot; none at slot 0.
    pub message: Option<Id>,
    /// Fields the module must not see; names that are no field of an item are left out.
    pub excludes: Vec<Excluded>,
    /// The item anchor, if the item has one.
    pub anchor: Option<[u8; 32]>,
}

impl Assignment {
    /// Reads an assignment from its item. Of repeated tags the first counts.
    ///
    /// # Errors
    /// The tag that is missing or malformed.
    pub fn from_item(item: &DataItem) -> Result<Self, AssignmentError> {
        if item.target().is_some() || !item.data().is_empty() {
            return Err(AssignmentError::NotEmpty);
        }
        for (name, value) in [("Data-Protocol", "ao"), ("Type", "Assignment")] {
            if !tag::all(item.tags(), name).any(|found| found == value) {
                return Err(AssignmentError::Missing(name));
            }
        }
        let slot = integer(item, "Nonce")?;
        let message = item.tag("Message").map(|_| parsed(item, "Message")).transpose()?;
        match (slot, message) {
            (0, Some(_)) => return Err(AssignmentError::Message(0, "is the process itself: no Message")),
            (1.., None) => return Err(AssignmentError::Message(slot, "names its Message")),
            (0, None) | (1.., Some(_)) => {}
        }
        if tag::all(item.tags(), "Exclude").count() > EXCLUDES_MAX {
            return Err(AssignmentError::Excludes);
        }
        Ok(Self {
            id: item.id(),
            scheduler: item.owner(),
            process: parsed(item, "Process")?,
            epoch: integer(item, "Epoch")?,
            slot,
            hash_chain: parsed(item, "Hash-Chain")?,
            time: TimePoint {
                timestamp: integer(item, "Timestamp")?,
                height: integer(item, "Block-Height")?,
            },
            message,
            excludes: tag::all(item.tags(), "Exclude").filter_map(Excluded::parse).collect(),
            anchor: item.anchor().copied(),
        })
    }

    /// The id of the item at this slot: the message's, or the process's at slot 0.
    pub fn item(&self) -> Id {
        self.message.unwrap_or(self.process)
    }

    /// Whether the item anchor opens to this network: RULES.md 6.10. Those of foreign schedulers
    /// are random and do not.
    pub fn opens_to(&self, network: Network) -> bool {
        self.anchor == Some(item_anchor(network, self.process, self.epoch, self.slot, self.item()).0)
    }
}

fn required<'a>(item: &'a DataItem, name: &'static str) -> Result<&'a str, AssignmentError> {
    item.tag(name).ok_or(AssignmentError::Missing(name))
}

fn invalid(name: &'static str, value: &str) -> AssignmentError {
    AssignmentError::Invalid { name, value: value.chars().take(64).collect() }
}

fn parsed<T: std::str::FromStr>(item: &DataItem, name: &'static str) -> Result<T, AssignmentError> {
    let value = required(item, name)?;
    value.parse().map_err(|_| invalid(name, value))
}

/// Decimal digits only, at most 2^53 - 1.
fn integer(item: &DataItem, name: &'static str) -> Result<u64, AssignmentError> {
    let value = required(item, name)?;
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid(name, value));
    }
    let number: u64 = value.parse().map_err(|_| invalid(name, value))?;
    if number > INTEGER_MAX { Err(invalid(name, value)) } else { Ok(number) }
}
