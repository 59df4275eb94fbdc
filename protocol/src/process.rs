//! Processes: what a Process item promises, read once and checked at slot 0.
//!
//! Whatever this build or these rules lack is refused here by name, before slot 0 is assigned or
//! evaluated: it is never computed differently.

use crate::base_layer;
use crate::cron::{self, Cron, CronError};
use crate::data_item::DataItem;
use crate::id::{Address, Id, Network};
use crate::limits::ATTESTORS_MAX;
use crate::market::{self, Market, PushTerms};
use crate::module::{cut, digits, parse_compute_limit, parse_memory_limit};
use crate::owner::owner_text;
use crate::tag::{self, Tag};
use crate::time::Weave;
use crate::verify::Verified;

/// The rules that this build computes. Number 1 is frozen: a Process item without the tag means it, for
/// ever, and whatever would change a result gets the next number. Number 0 was before, and throw-away.
pub const RULES: u32 = 1;

/// What the network file says about every process on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The number of the network.
    pub network: Network,
    /// The weave of processes without a `Weave` tag.
    pub weave: Weave,
}

/// Who signs what a process computed: RULES.md 6.4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestors {
    /// Their addresses, in tag order, without repeats.
    pub members: Vec<Address>,
    /// How many must agree: more than half.
    pub quorum: usize,
}

/// Why a Process or Module item gets no slot 0 and is not computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The item has no such tag.
    #[error("the `{0}` tag is missing")]
    Missing(&'static str),
    /// The item is not a Process item.
    #[error("the item is not a Process: Data-Protocol must be ao and Type must be Process")]
    NotAProcess,
    /// A tag should name an item or a key and does not.
    #[error("the `{0}` tag is `{1}`, not 43 characters of base64url")]
    NotAnId(&'static str, String),
    /// Extensions are not in this build.
    #[error("the extension `{0}` is not supported")]
    Extension(String),
    /// Boot code that is neither the item's own nor an item's.
    #[error("On-Boot `{0}` is neither `Data` nor the id of an item")]
    OnBoot(String),
    /// Only items in the process's own log may be read in this build.
    #[error("the Availability-Type `{0}` is not supported; only `Assignments` is")]
    Availability(String),
    /// Scheduler sets are not in this build.
    #[error("scheduler sets are not supported: `{0}`")]
    SchedulerSet(String),
    /// The item asks for rules that this build does not know.
    #[error("rules `{0}` are not known; this build computes rules {RULES}")]
    Rules(String),
    /// A `Compute` set that is no set.
    #[error("the Compute set is refused: {0}")]
    ComputeSet(&'static str),
    /// A `Compute-Limit` that is no number or too large.
    #[error("the Compute-Limit `{0}` is not a number of at most 9000000000000")]
    ComputeLimit(String),
    /// A `Memory-Limit` that is no size or too large.
    #[error("the Memory-Limit `{0}` is not a size of at most 16-gb, such as 500-mb")]
    MemoryLimit(String),
    /// A `Weave` tag that is no name.
    #[error("the Weave `{0}` is not a name of 1 to 64 printable characters")]
    Weave(String),
    /// Cron tags that are refused.
    #[error("{0}")]
    Cron(#[from] CronError),
    /// A market that there is not.
    #[error("the Push-Market `{0}` is neither `soft` nor `hard`")]
    PushMarket(String),
    /// A price that is no number.
    #[error("the {0} `{1}` is not a number of at most 18446744073709551615")]
    PushPrice(&'static str, String),
}

/// A Process item, read and accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    item: Verified<DataItem>,
    parent: Option<Id>,
    owner: String,
    network: Network,
    module: Id,
    scheduler: Address,
    authorities: Vec<String>,
    compute: Option<Attestors>,
    compute_limit: Option<u64>,
    memory_limit: Option<u64>,
    crons: Vec<Cron>,
    weave: Weave,
    boots_from: Option<Id>,
    takes_base_layer: bool,
    data_attestors: Vec<String>,
    pushes: Option<PushTerms>,
}

impl Process {
    /// Reads a Process item. `parent` is the process that a valid spawn proof names; without one
    /// the signer owns the process, whatever its tags claim.
    ///
    /// # Errors
    /// What is missing, malformed or not in this build, by name.
    pub fn accept(item: Verified<DataItem>, parent: Option<Id>, terms: &Terms) -> Result<Self, Refusal> {
        let tags = item.tags();
        if !tag::all(tags, "Data-Protocol").any(|value| value == "ao")
            || !tag::all(tags, "Type").any(|value| value == "Process")
        {
            return Err(Refusal::NotAProcess);
        }
        refuse_unsupported(tags)?;
        let takes_base_layer =
            tag::all(tags, "Extension").any(|extension| extension == base_layer::EXTENSION);
        let scheduler = name32(tags, "Scheduler")?.ok_or(Refusal::Missing("Scheduler"))?;
        let weave = match item.tag("Weave") {
            None => terms.weave.clone(),
            Some(name) => Weave::parse(name).ok_or_else(|| Refusal::Weave(cut(name)))?,
        };
        Ok(Self {
            parent,
            owner: parent.map_or_else(|| owner_text(&item), |parent| parent.to_string()),
            network: terms.network,
            module: name32(tags, "Module")?.ok_or(Refusal::Missing("Module"))?,
            scheduler,
            authorities: listed(tags, "Authority").map(str::to_owned).collect(),
            compute: compute_set(tags)?,
            compute_limit: item.tag("Compute-Limit").map(parse_compute_limit).transpose()?,
            memory_limit: item.tag("Memory-Limit").map(parse_memory_limit).transpose()?,
            crons: cron::parse(tags)?,
            weave,
            boots_from: item.tag("On-Boot").and_then(|boot| boot.parse().ok()),
            takes_base_layer,
            data_attestors: listed(tags, "Attestor").map(str::to_owned).collect(),
            pushes: PushTerms::of_tags(tags)?,
            item,
        })
    }

    /// The id of the process.
    pub fn id(&self) -> Id {
        self.item.id()
    }

    /// The Process item.
    pub const fn item(&self) -> &Verified<DataItem> {
        &self.item
    }

    /// The process that spawned this one, if that is proven.
    pub const fn parent(&self) -> Option<Id> {
        self.parent
    }

    /// The owner as the module sees it: the parent's id, else the signer's address.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The network that the process was accepted on.
    pub const fn network(&self) -> Network {
        self.network
    }

    /// The module that the process runs.
    pub const fn module(&self) -> Id {
        self.module
    }

    /// The scheduler of epoch 0.
    pub const fn scheduler(&self) -> Address {
        self.scheduler
    }

    /// The signers whose word on `From-Process` counts.
    pub fn authorities(&self) -> &[String] {
        &self.authorities
    }

    /// The attestors of epoch 0: the `Compute` set, else the one scheduler.
    pub fn attestors(&self) -> Attestors {
        self.compute.clone().unwrap_or_else(|| Attestors { members: vec![self.scheduler], quorum: 1 })
    }

    /// The `Compute` set of the item, which new schedulers do not change; none if the item names
    /// none.
    pub const fn compute_set(&self) -> Option<&Attestors> {
        self.compute.as_ref()
    }

    /// The `Compute-Limit` tag, in gas.
    pub const fn compute_limit(&self) -> Option<u64> {
        self.compute_limit
    }

    /// The `Memory-Limit` tag, in bytes.
    pub const fn memory_limit(&self) -> Option<u64> {
        self.memory_limit
    }

    /// The crons, in tag order.
    pub fn crons(&self) -> &[Cron] {
        &self.crons
    }

    /// The weave whose heights the assignments carry.
    pub const fn weave(&self) -> &Weave {
        &self.weave
    }

    /// The market of the process's pushes; none in soft mode.
    pub fn market(&self) -> Option<Market> {
        let (network, process) = (self.network, self.id());
        self.pushes.map(|terms| Market { network, process, terms })
    }

    /// The version of the rules that compute this process.
    pub const fn rules(&self) -> u32 {
        RULES
    }

    /// The item that the module is asked to evaluate at boot, and may read at every position
    /// (RULES.md 6.13); none for `On-Boot: Data`, the Process item's own data.
    pub const fn boots_from(&self) -> Option<Id> {
        self.boots_from
    }

    /// Whether the process takes from the weave's base layer ([`base_layer`]).
    pub const fn takes_base_layer(&self) -> bool {
        self.takes_base_layer
    }

    /// The signers, beside the scheduler, whose attestations open data to the process (RULES.md 6.13).
    pub fn data_attestors(&self) -> &[String] {
        &self.data_attestors
    }
}

fn refuse_unsupported(tags: &[Tag]) -> Result<(), Refusal> {
    if let Some(rules) = tag::first(tags, "Rules")
        && digits(rules) != Some(u64::from(RULES))
    {
        return Err(Refusal::Rules(cut(rules)));
    }
    let market = PushTerms::of_tags(tags)?.map(|_| market::EXTENSION);
    refuse_extensions(tags, &[Some(base_layer::EXTENSION), market])?;
    if let Some(mode) = tag::first(tags, "Availability-Type") {
        check_availability(mode)?;
    }
    if let Some(boot) = tag::first(tags, "On-Boot")
        && boot != "Data"
        && boot.parse::<Id>().is_err()
    {
        return Err(Refusal::OnBoot(cut(boot)));
    }
    for name in ["Scheduler-Set", "Scheduler-Quorum", "Scheduler-Lease-Ms"] {
        if let Some(value) = tag::first(tags, name) {
            return Err(Refusal::SchedulerSet(format!("{name}: {}", cut(value))));
        }
    }
    Ok(())
}

/// Every process may read `/data/`, as if it named the extension for that; beside it there are those given.
pub(crate) fn refuse_extensions(tags: &[Tag], known: &[Option<&str>]) -> Result<(), Refusal> {
    let is_there = |extension: &str| extension == "WeaveDrive" || known.contains(&Some(extension));
    match tag::all(tags, "Extension").find(|extension| !is_there(extension)) {
        Some(extension) => Err(Refusal::Extension(cut(extension))),
        None => Ok(()),
    }
}

/// Refuses every mode of availability but that of items in the log.
pub(crate) fn check_availability(mode: &str) -> Result<(), Refusal> {
    if mode == "Assignments" { Ok(()) } else { Err(Refusal::Availability(cut(mode))) }
}

/// The `Compute` tags and `Compute-Quorum`: q of n distinct keys, 2q > n, n <= 16.
pub(crate) fn compute_set(tags: &[Tag]) -> Result<Option<Attestors>, Refusal> {
    let mut members = Vec::new();
    for value in listed(tags, "Compute") {
        let address: Address = value.parse().map_err(|_| Refusal::NotAnId("Compute", cut(value)))?;
        if members.contains(&address) {
            return Err(Refusal::ComputeSet("a key stands in it twice"));
        }
        if members.len() == ATTESTORS_MAX {
            return Err(Refusal::ComputeSet("it has more than 16 keys"));
        }
        members.push(address);
    }
    let named = tag::first(tags, "Compute").is_some();
    let quorum = match tag::first(tags, "Compute-Quorum") {
        None if named => return Err(Refusal::Missing("Compute-Quorum")),
        None => return Ok(None),
        Some(text) => digits(text).ok_or(Refusal::ComputeSet("Compute-Quorum is not a number"))?,
    };
    let size = members.len() as u64;
    if quorum > size || quorum <= size / 2 {
        return Err(Refusal::ComputeSet("Compute-Quorum is not more than half of its keys"));
    }
    Ok(Some(Attestors { members, quorum: quorum as usize }))
}

fn name32<T: std::str::FromStr>(tags: &[Tag], name: &'static str) -> Result<Option<T>, Refusal> {
    tag::first(tags, name)
        .map(|value| value.parse().map_err(|_| Refusal::NotAnId(name, cut(value))))
        .transpose()
}

/// The values of a tag that may repeat and may hold several, split on commas and trimmed.
fn listed<'a>(tags: &'a [Tag], name: &'a str) -> impl Iterator<Item = &'a str> {
    tag::all(tags, name).flat_map(|value| value.split(',')).map(str::trim_ascii).filter(|v| !v.is_empty())
}
