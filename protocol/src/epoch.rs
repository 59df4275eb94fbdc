//! Epochs: who may assign and attest from which slot on (RULES.md 6.4 and 6.11).
//!
//! The Process item fixes the terms of epoch 0; each certificate ends one epoch and fixes the
//! terms of the next. Terms follow from the item and the certificates alone, so a stranger to
//! the log can judge an attestation or a proof.

mod certificate;

pub use certificate::{Certificate, CertificateError, RECOVERY_TYPE, SignedVote, Succession, Vote};

use crate::hash_chain;
use crate::header::Header;
use crate::id::{Address, Hash, Id};
use crate::module::digits;
use crate::process::{self, Attestors, Process, RULES, Refusal};
use crate::push::ORIGIN_PROOF;
use crate::tag::{self, Tag};

/// Schedulers of one set: what a vote round asks and a certificate carries.
pub const SCHEDULERS_MAX: usize = 7;
/// The shortest lease of a scheduler set.
pub const LEASE_MS_MIN: u64 = 1_000;
/// The longest lease of a scheduler set.
pub const LEASE_MS_MAX: u64 = 600_000;

/// Why tags or a certificate give no terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TermsError {
    /// The item is not a Process item with a module.
    #[error("not a Process item with a Module")]
    NotAProcess,
    /// No scheduler, or a text that is no address.
    #[error("the Scheduler tag is missing or not an address")]
    Scheduler,
    /// A scheduler set that is no set.
    #[error("the scheduler set is refused: {0}")]
    SchedulerSet(&'static str),
    /// A compute set that is no set.
    #[error(transparent)]
    ComputeSet(Refusal),
    /// A recovery key that is neither an address nor `none`.
    #[error("Scheduler-Recovery is neither an address nor `none`")]
    Recovery,
    /// A rules number that is no number.
    #[error("Rules is not a number")]
    Rules,
}

/// The schedulers of an epoch; the first assigns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerSet {
    members: Vec<Address>,
    quorum: usize,
    lease_ms: u64,
}

impl SchedulerSet {
    /// The set of plain ao: one scheduler, which answers to itself.
    pub fn single(scheduler: Address) -> Self {
        Self { members: vec![scheduler], quorum: 1, lease_ms: 0 }
    }

    /// A set of several: 2 to 7 distinct keys, of which more than half decide.
    ///
    /// # Errors
    /// What the set breaks.
    pub fn new(members: Vec<Address>, quorum: usize, lease_ms: u64) -> Result<Self, TermsError> {
        let size = members.len();
        if let [only] = members[..] {
            let single = Self::single(only);
            let plain = (quorum, lease_ms) == (1, 0);
            return if plain { Ok(single) } else { Err(TermsError::SchedulerSet("one key has no quorum")) };
        }
        if !(2..=SCHEDULERS_MAX).contains(&size) {
            return Err(TermsError::SchedulerSet("it has not 2 to 7 keys"));
        }
        if members.iter().enumerate().any(|(at, key)| members[..at].contains(key)) {
            return Err(TermsError::SchedulerSet("a key stands in it twice"));
        }
        if quorum > size || 2 * quorum <= size {
            return Err(TermsError::SchedulerSet("its quorum is not more than half of its keys"));
        }
        if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease_ms) {
            return Err(TermsError::SchedulerSet("its lease is not 1 s to 10 min"));
        }
        Ok(Self { members, quorum, lease_ms })
    }

    /// The keys; the first assigns.
    pub fn members(&self) -> &[Address] {
        &self.members
    }

    /// How many must agree.
    pub const fn quorum(&self) -> usize {
        self.quorum
    }

    /// For how long a head holds; 0 for a single scheduler.
    pub const fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    /// Whether both are the same keys under the same rule, whichever of them assigns.
    fn same_members(&self, other: &Self) -> bool {
        self.members.len() == other.members.len()
            && self.members.iter().all(|key| other.members.contains(key))
            && (self.quorum, self.lease_ms) == (other.quorum, other.lease_ms)
    }

    fn of_tags(tags: &[Tag]) -> Result<Self, TermsError> {
        let scheduler: Address =
            tag::first(tags, "Scheduler").and_then(|text| text.parse().ok()).ok_or(TermsError::Scheduler)?;
        let Some(set) = tag::first(tags, "Scheduler-Set") else { return Ok(Self::single(scheduler)) };
        let members: Result<Vec<Address>, _> =
            set.split(',').take(SCHEDULERS_MAX + 1).map(|text| text.trim_ascii().parse()).collect();
        let members = members.map_err(|_| TermsError::SchedulerSet("a key in it is no address"))?;
        if members.len() < 2 || members.first() != Some(&scheduler) {
            return Err(TermsError::SchedulerSet("it does not start with the Scheduler"));
        }
        let number =
            |name, missing| tag::first(tags, name).and_then(digits).ok_or(TermsError::SchedulerSet(missing));
        let quorum = number("Scheduler-Quorum", "Scheduler-Quorum is not a number")?;
        let lease_ms = number("Scheduler-Lease-Ms", "Scheduler-Lease-Ms is not a number")?;
        Self::new(members, usize::try_from(quorum).unwrap_or(usize::MAX), lease_ms)
    }
}

/// Everything that decides who may speak for a process in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochTerms {
    process: Id,
    epoch: u64,
    first_slot: u64,
    chain: Hash,
    schedulers: SchedulerSet,
    compute: Option<Attestors>,
    rules: u32,
    recovery: Option<Address>,
}

impl EpochTerms {
    /// The terms of epoch 0.
    ///
    /// # Errors
    /// What in the Process item names no scheduler, set or key.
    pub fn of_process(process: &Process) -> Result<Self, TermsError> {
        let item = process.item();
        Self::first(item.id(), item.owner(), item.tags())
    }

    /// The terms of epoch 0 by the header of the Process item.
    ///
    /// # Errors
    /// As [`of_process`](Self::of_process).
    pub fn of_header(header: &crate::Verified<Header>) -> Result<Self, TermsError> {
        Self::first(header.id(), header.owner(), header.tags())
    }

    fn first(process: Id, owner: Address, tags: &[Tag]) -> Result<Self, TermsError> {
        let is = |name, wanted| tag::all(tags, name).any(|value| value == wanted);
        let module = tag::first(tags, "Module").and_then(|text| text.parse::<Id>().ok());
        if !is("Data-Protocol", "ao") || !is("Type", "Process") || module.is_none() {
            return Err(TermsError::NotAProcess);
        }
        let recovery = match tag::first(tags, "Scheduler-Recovery") {
            Some("none") => None,
            Some(text) => Some(text.parse().map_err(|_| TermsError::Recovery)?),
            // Whether a spawn is proven cannot be told from a header, so naming a proof is what
            // gives up the signer's key: a scheduler refuses a Process whose proof fails.
            None => tag::first(tags, ORIGIN_PROOF).is_none().then_some(owner),
        };
        let rules = match tag::first(tags, "Rules") {
            None => RULES,
            Some(text) => {
                digits(text).and_then(|number| u32::try_from(number).ok()).ok_or(TermsError::Rules)?
            }
        };
        Ok(Self {
            process,
            epoch: 0,
            first_slot: 0,
            chain: hash_chain::first(process),
            schedulers: SchedulerSet::of_tags(tags)?,
            compute: process::compute_set(tags).map_err(TermsError::ComputeSet)?,
            rules,
            recovery,
        })
    }

    /// The process.
    pub const fn process(&self) -> Id {
        self.process
    }

    /// The epoch.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The first slot of the epoch.
    pub const fn first_slot(&self) -> u64 {
        self.first_slot
    }

    /// The hash chain at the first slot.
    pub const fn chain(&self) -> Hash {
        self.chain
    }

    /// Who signs the epoch's assignments.
    pub fn scheduler(&self) -> Address {
        // A set is never empty: both constructors see to it.
        self.schedulers.members[0]
    }

    /// The scheduler set.
    pub const fn schedulers(&self) -> &SchedulerSet {
        &self.schedulers
    }

    /// The version of the rules.
    pub const fn rules(&self) -> u32 {
        self.rules
    }

    /// The key that may hand a process over whose scheduler is gone.
    pub const fn recovery(&self) -> Option<Address> {
        self.recovery
    }

    /// Whose attestations count: the named compute set, else the schedulers.
    pub fn attestors(&self) -> Attestors {
        self.compute.clone().unwrap_or_else(|| Attestors {
            members: self.schedulers.members.clone(),
            quorum: self.schedulers.quorum,
        })
    }
}
