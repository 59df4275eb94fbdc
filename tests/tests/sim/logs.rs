//! The logs of a season: what a process in hard mode sends in a window, and what its target takes, every item and
//! signature as a node makes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use weft_protocol::attestation::Attestation;
use weft_protocol::market::{
    Answer, Carried, ClaimTree, Entry, OfferSet, Paid, PushTerms, WINDOW_SLOTS, Window, draft, set_slot,
};
use weft_protocol::outcome::Outcome;
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::{Address, DataItem, Draft, Hash, Id, Position, Verified, hash_chain};

use super::bank::LEDGER;
use crate::fixture::{
    COMPUTE, Log, NETWORK, Push, ROOT, SCHEDULER, Sender, address, key, process, target, time_of,
};

/// Slots of a window in which nothing is sent any more, so that all of it is carried before the next one.
const QUIET_SLOTS: u64 = 16;
/// Attestors that sign a position: the quorum.
const SIGNING: usize = 2;
/// Bytes of data of every push.
pub const BYTES: u64 = 3;

/// The source's log, window after window, and the target's.
pub struct Logs {
    pub process: Process,
    source: Log,
    target: Log,
    last_ms: u64,
}

/// A push, before anybody carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub position: Position,
    pub index: u32,
}

/// One window of the source's log.
pub struct Told {
    pub number: u64,
    pub window: Window,
    set: Verified<DataItem>,
    set_assignment: Verified<DataItem>,
    /// The slots of the window, from its first on.
    slots: Vec<Verified<DataItem>>,
    ids: Vec<Id>,
    sent: BTreeMap<Position, (Sender, Vec<Verified<Attestation>>)>,
}

/// A slot of the target's log, and the item that it holds.
pub struct Receipt {
    pub place: Place,
    pub by: u8,
    pub slot: u64,
    pub timestamp: u64,
    push: Push,
    signed: Verified<DataItem>,
}

/// What a process sends in one slot: so many messages to the target.
fn result(entries: usize) -> String {
    let target = target().id();
    let message = |number: usize| {
        format!(
            r#"{{"Target":"{target}","Anchor":"{number:032}","Data":"one","Tags":[{{"name":"Action","value":"Credit"}}]}}"#
        )
    };
    let messages: Vec<String> = (0..entries).map(message).collect();
    format!(r#"{{"ok":true,"response":{{"Messages":[{}],"Output":"done"}}}}"#, messages.join(","))
}

impl Logs {
    /// A process that pays at most this for a push, right before the slot of its first set.
    pub fn new(price_max: u64) -> Self {
        let terms = PushTerms { ledger: LEDGER, price_max, kib_max: 0 }.tags();
        let compute = COMPUTE.map(|seed| address(seed).to_string()).join(",");
        let mut pairs: Vec<(&str, &str)> =
            terms.iter().map(|tag| (tag.name.as_str(), tag.value.as_str())).collect();
        pairs.extend([("Compute", compute.as_str()), ("Compute-Quorum", "2")]);
        let process = process(&pairs);
        let source = Log { slot: set_slot(1).unwrap(), ..Log::new(process.clone()) };
        let mut target = Log::new(target());
        // Slot 0 is the process itself.
        target.assign(None);
        Self { process, source, target, last_ms: 0 }
    }

    /// When the set of the next window is assigned.
    pub fn set_time(&self) -> u64 {
        time_of(self.source.slot).timestamp
    }

    /// Writes the next window: the set of what its scheduler knows, and slots that send so many messages each.
    pub fn window(&mut self, known: Vec<Entry>, entries: usize) -> Told {
        let (market, log) = (self.process.market().unwrap(), &mut self.source);
        let number = weft_protocol::market::window_set_at(log.slot).unwrap();
        let set = OfferSet::build(&market, number, time_of(log.slot).timestamp, known);
        let set = draft(NETWORK, self.process.id(), number, &set).sign(&key(SCHEDULER)).unwrap();
        let set_assignment = log.assign(Some(set.id()));
        let assignment = weft_protocol::assignment::Assignment::from_item(&set_assignment).unwrap();
        let window = Window::read(&market, &assignment, &set).unwrap();
        let (mut slots, mut sent) = (Vec::new(), BTreeMap::new());
        let result = result(entries);
        // The last one is for the next set.
        for slot in number * WINDOW_SLOTS..(number + 1) * WINDOW_SLOTS - 1 {
            let assignment = log.assign(Some(Id([slot as u8; 32])));
            if slot % WINDOW_SLOTS < WINDOW_SLOTS - QUIET_SLOTS {
                let position = Position { epoch: 0, slot, tick: 0 };
                let mut sender = Sender::of(self.process.clone());
                sender.outcome = Outcome::of_result(position, result.as_bytes(), Some(ROOT));
                sender.assignment = assignment.id();
                let attestations = sender.attest(&COMPUTE[..SIGNING]);
                sent.insert(position, (sender, attestations));
            }
            slots.push(assignment);
        }
        let ids = slots.iter().map(|slot| slot.id()).collect();
        Told { number, window, set, set_assignment, slots, ids, sent }
    }

    /// The target takes an item that somebody hands in at this time.
    pub fn take(&mut self, told: &Told, place: Place, by: u8, timestamp: u64, is_push: bool) -> Receipt {
        // A log's time never goes back.
        self.last_ms = self.last_ms.max(timestamp);
        let timestamp = self.last_ms;
        let (sender, attestations) = &told.sent[&place.position];
        let (proof, dispatch) = sender.build(place.index, attestations).unwrap();
        let mut push = Push::of(&proof, &dispatch, by);
        if !is_push {
            // As one who squats on the push signs it: all but the proof.
            let item = &push.item;
            let mut tags = item.tags().to_vec();
            tags.retain(|tag| tag.name != "Origin-Proof");
            let anchor = item.anchor().copied();
            push.item =
                Draft { target: item.target(), anchor, tags, data: item.data() }.sign(&key(by)).unwrap();
        }
        let mut draft = self.target.draft(Some(push.item.id()));
        draft.time.timestamp = timestamp;
        draft.time.height = timestamp / 120_000;
        let signed = draft.draft().sign(&key(SCHEDULER)).unwrap();
        let slot = self.target.slot;
        self.target.link = hash_chain::next(signed.id(), self.target.link);
        self.target.slot += 1;
        Receipt { place, by, slot, timestamp, push, signed }
    }
}

impl Told {
    /// All that the window sends.
    pub fn places(&self) -> Vec<Place> {
        let of = |(position, (sender, _)): (&Position, &(Sender, _))| {
            let count = sender.outcome.outbox.entries().len() as u32;
            let position = *position;
            (0..count).map(move |index| Place { position, index })
        };
        self.sent.iter().flat_map(of).collect()
    }

    pub fn push_id(&self, place: Place) -> Hash {
        let process = self.process();
        Source { process, position: place.position, index: place.index }.push_id(NETWORK)
    }

    fn process(&self) -> Id {
        self.sent.values().next().unwrap().0.process.id()
    }

    /// When a push was sent, by its slot.
    pub fn sent_at(&self, place: Place) -> u64 {
        time_of(place.position.slot).timestamp
    }

    /// The leaf that claims so much for what this receipt is of.
    pub fn leaf(&self, receipt: &Receipt, amount: u64) -> Paid {
        Paid {
            position: receipt.place.position,
            index: receipt.place.index,
            target: target().id(),
            target_slot: receipt.slot,
            accepted: receipt.signed.id(),
            amount,
        }
    }

    /// The claim of a messenger.
    pub fn claim(&self, by: u8, leaves: Vec<Paid>) -> ClaimTree {
        let messenger: Address = address(by);
        ClaimTree::new(messenger, self.process(), self.number, leaves).unwrap()
    }

    /// The bytes that answer for a leaf with a receipt, whether it is owed or not.
    pub fn answer(&self, tree: &ClaimTree, number: u32, receipt: &Receipt) -> Answer {
        let at = (receipt.place.position.slot % WINDOW_SLOTS) as usize;
        Answer {
            leaf: tree.path(number).unwrap(),
            previous: number.checked_sub(1).map(|before| tree.path(before).unwrap()),
            push: Carried {
                proof: receipt.push.proof.raw().clone(),
                item: header_bytes(&receipt.push.item),
                target: header_bytes(target().item()),
                certificates: Vec::new(),
                assignment: receipt.signed.raw().clone(),
            },
            sent: self.slots[at].raw().clone(),
            revealed: Bytes::new(),
            set: self.set.raw().clone(),
            set_assignment: self.set_assignment.raw().clone(),
            between: self.ids[..at].to_vec(),
        }
    }
}

impl Receipt {
    /// Its assignment.
    pub fn assignment(&self) -> Id {
        self.signed.id()
    }
}

fn header_bytes(item: &Verified<DataItem>) -> Bytes {
    Verified::<weft_protocol::header::Header>::of(item).to_bytes()
}
