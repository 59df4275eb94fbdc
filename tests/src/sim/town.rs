//! What everybody knows before the first message: keys, the module, the processes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use weft_protocol::crypto::Signer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::market::PushTerms;
use weft_protocol::module::Module;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::{RecordError, SlotRecord, VerifiedRecord};
use weft_protocol::time::Weave;
use weft_protocol::{Address, DataItem, Draft, Id, Network, Tag, Verified, wire};

use super::guest::Guest;
use super::liar::{Liar, Lie};
use super::vice::Vice;

/// The network of all simulations.
pub const NETWORK: Network = Network(7);
/// Attestors of each process, and how many of them must agree.
pub const ATTESTORS: usize = 3;
/// The data of items that need none.
pub const NOTHING: &str = "sim";
/// The quorum.
pub const QUORUM: usize = 2;

/// What does not change during a run.
pub struct Town<'a> {
    /// The compiled guest.
    pub guest: &'a Guest,
    /// The module item.
    pub module: Module,
    /// The keys of the nodes.
    pub keys: Vec<Signer>,
    /// The processes, with the node that schedules each.
    pub processes: BTreeMap<Id, (Arc<Process>, usize)>,
    /// Processes that others spawned, as anybody finds them by their id.
    children: RefCell<BTreeMap<Id, Arc<Process>>>,
    /// The key that owns everything and signs what clients send.
    pub user: Signer,
    /// The node that lies, if there is one.
    pub liar: Option<Liar>,
    /// The process in hard mode, if there is one.
    pub hard: Option<Id>,
    /// How nodes 1 and 2 carry for it.
    pub vices: [Vice; 2],
}

/// An item of the user's.
pub fn item(
    user: &Signer,
    target: Option<Id>,
    anchor: u64,
    tags: &[(&str, &str)],
    data: &str,
) -> Verified<DataItem> {
    let mut bytes = [b'0'; 32];
    bytes[..20].copy_from_slice(format!("{anchor:020}").as_bytes());
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    let draft = Draft { target, anchor: Some(bytes), tags, data: Bytes::copy_from_slice(data.as_bytes()) };
    draft.sign(user).expect("an item")
}

/// What holds for every process.
pub const fn terms() -> Terms {
    Terms { network: NETWORK, weave: Weave::Clock }
}

/// The crons of a process: none, of seconds, or of seconds and blocks with an outbox.
fn crons(number: usize, first: Option<Id>) -> Vec<(&'static str, String)> {
    let count = |interval: &str| {
        vec![("Cron-Interval", interval.to_owned()), ("Cron-Tag-Action", "Increment".to_owned())]
    };
    match (number % 3, first) {
        (0, _) | (_, None) => Vec::new(),
        (1, _) => count("2-seconds"),
        (_, Some(first)) => {
            let mut tags = count("3-seconds");
            tags.extend([
                ("Cron-Interval", "1-block".to_owned()),
                ("Cron-Tag-Action", "Relay".to_owned()),
                ("Cron-Tag-To", first.to_string()),
            ]);
            tags
        }
    }
}

fn process(
    user: &Signer,
    (module, program): (Id, Option<&'static str>),
    keys: &[Signer],
    number: usize,
    first: Option<Id>,
    market: Option<PushTerms>,
) -> Arc<Process> {
    let attestors: Vec<String> =
        (0..ATTESTORS).map(|at| keys[(number + at) % keys.len()].address().to_string()).collect();
    let mut tags = vec![
        ("Data-Protocol", "ao".to_owned()),
        ("Type", "Process".to_owned()),
        ("Module", module.to_string()),
        ("Scheduler", keys[number % keys.len()].address().to_string()),
        ("Compute", attestors.join(",")),
        ("Compute-Quorum", QUORUM.to_string()),
    ];
    if program.is_some() {
        tags.push(("On-Boot", "Data".to_owned()));
    }
    tags.extend(crons(number, first));
    let market = market.map(|terms| terms.tags()).unwrap_or_default();
    let tags: Vec<(&str, &str)> = tags
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(market.iter().map(|tag| (tag.name.as_str(), tag.value.as_str())))
        .collect();
    let item = item(user, None, number as u64, &tags, program.unwrap_or(NOTHING));
    Arc::new(Process::accept(item, None, &terms()).expect("a process"))
}

impl<'a> Town<'a> {
    /// A town of so many nodes, each with one process to schedule.
    pub fn new(guest: &'a Guest, nodes: usize, liar: Option<Liar>) -> Self {
        Self::of(guest, nodes, liar, None)
    }

    /// A town whose first process is in hard mode, and two messengers of which mean harm.
    pub fn hard(guest: &'a Guest, nodes: usize, seed: u64) -> Self {
        let town = Self::of(guest, nodes, None, Some(super::hard::TERMS));
        Self { vices: Vice::drawn(seed), ..town }
    }

    fn of(guest: &'a Guest, nodes: usize, liar: Option<Liar>, market: Option<PushTerms>) -> Self {
        let user = Signer::from_seed(&[200; 32]);
        let keys: Vec<Signer> = (0..nodes).map(|at| Signer::from_seed(&[at as u8 + 1; 32])).collect();
        let module = item(
            &user,
            None,
            999,
            &[
                ("Data-Protocol", "ao"),
                ("Type", "Module"),
                ("Module-Format", "wasm32-weft-plain"),
                ("Input-Encoding", "JSON-1"),
                ("Output-Encoding", "JSON-1"),
            ],
            NOTHING,
        );
        let module = Module::accept(module).expect("a module");
        let code = (module.id(), guest.program);
        let first = process(&user, code, &keys, 0, None, market);
        let hard = market.map(|_| first.id());
        let made = |number| match number {
            0 => Arc::clone(&first),
            _ => process(&user, code, &keys, number, Some(first.id()), None),
        };
        let processes = (0..nodes).map(|number| (made(number).id(), (made(number), number))).collect();
        Self {
            guest,
            module,
            keys,
            processes,
            children: RefCell::default(),
            user,
            liar,
            hard,
            vices: [Vice::None; 2],
        }
    }

    /// Whether a process has a scheduler that signs different slots for different peers.
    pub fn is_forked(&self, process: &Id) -> bool {
        let liar = self.liar.filter(|liar| liar.lie == Lie::Slots);
        liar.is_some_and(|liar| self.scheduler(process) == Some(liar.node))
    }

    /// Whether there may be no one log of a process for all: its scheduler forked it, or the log of
    /// an ancestor, so that not everyone heard of its birth.
    pub fn is_unsure(&self, process: &Id) -> bool {
        let parent = || self.process(process)?.parent();
        self.is_forked(process) || parent().is_some_and(|parent| self.is_unsure(&parent))
    }

    /// Whether that is so of the source or the target of a push.
    pub fn is_unsure_between(&self, source: &Id, target: &Id) -> bool {
        self.is_unsure(source) || self.is_unsure(target)
    }

    /// A process by its id.
    pub fn process(&self, id: &Id) -> Option<Arc<Process>> {
        let known = self.processes.get(id).map(|(process, _)| Arc::clone(process));
        known.or_else(|| self.children.borrow().get(id).cloned())
    }

    /// Makes a spawned process known.
    pub fn add_child(&self, process: Process) {
        self.children.borrow_mut().insert(process.id(), Arc::new(process));
    }

    /// The node that schedules a process.
    pub fn scheduler(&self, id: &Id) -> Option<usize> {
        self.node(&self.process(id)?.scheduler())
    }

    /// The node that subscribes to a process.
    pub fn keeper(&self, id: &Id) -> Option<usize> {
        // The scheduler's own node as well as others: the third of three is the first's neighbour.
        self.processes.get(id).map(|&(_, at)| if at % 3 == 1 { at } else { (at + 1) % self.keys.len() })
    }

    /// The node with this address.
    pub fn node(&self, address: &Address) -> Option<usize> {
        self.keys.iter().position(|key| key.address() == *address)
    }

    /// Verifies a slot that came over the network, but for its link.
    pub fn verify(&self, message: &wire::SlotRecord) -> Result<VerifiedRecord, RecordError> {
        let record = SlotRecord::from_wire(message)?;
        let named = record.claims().assignment().process;
        let process = self.process(&named).ok_or(RecordError::OtherProcess(named))?;
        record.verify(&process, &EpochTerms::of_process(&process)?, None)
    }
}
