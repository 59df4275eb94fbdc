//! A source in hard mode that sent something in window 1, five messengers, and a target.

use bytes::Bytes;
use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::header::Header;
use weft_protocol::market::{
    Answer, BOND_UNIT, Carried, Claim, ClaimTree, Court, Entry, Fraud, Market, OfferSet, Paid, PushTerms,
    Quality, TURN_MS, Window, draft, judge, set_slot, window_of,
};
use weft_protocol::offer::OfferTerms;
use weft_protocol::outcome::Outcome;
use weft_protocol::process::Process;
use weft_protocol::time::TimePoint;
use weft_protocol::{DataItem, Hash, Id, Position, Verified};

use crate::fixture::*;

pub(crate) const LEDGER: Id = Id([33; 32]);
pub(crate) const PUSH_TERMS: PushTerms = PushTerms { ledger: LEDGER, price_max: 1_000, kib_max: 50 };
pub(crate) const COURT: Court = Court { network: NETWORK, ledger: LEDGER };
/// Keys of the messengers with offers: the last has no bond.
pub(crate) const MESSENGERS: [u8; 6] = [21, 22, 23, 24, 25, 26];
/// The window of all claims here.
pub(crate) const WINDOW: u64 = 1;
/// Where the source sends.
pub(crate) const SENT: Position = Position { epoch: 0, slot: 260, tick: 0 };
/// The target's slot.
pub(crate) const TARGET_SLOT: u64 = 40;

/// A process in hard mode with the two-of-three compute set.
pub(crate) fn hard(terms: &PushTerms) -> Process {
    let tags = terms.tags();
    let compute = COMPUTE.map(|seed| address(seed).to_string()).join(",");
    let mut pairs: Vec<(&str, &str)> =
        tags.iter().map(|tag| (tag.name.as_str(), tag.value.as_str())).collect();
    pairs.extend([("Compute", compute.as_str()), ("Compute-Quorum", "2")]);
    process(&pairs)
}

/// When the set of the window is assigned.
pub(crate) fn set_time() -> u64 {
    time_of(set_slot(WINDOW).unwrap()).timestamp
}

/// A messenger's offer that holds in the window.
pub(crate) fn offer(seed: u8) -> OfferTerms {
    OfferTerms {
        network: NETWORK,
        sequence: 1,
        shards: vec![3],
        classes: 1,
        price_per_push: 100 + u64::from(seed),
        price_per_kib: 10,
        max_kib: 64,
        capacity_per_s: 50,
        latency_p50_ms: 20,
        stake: Hash::ZERO,
        valid_from: set_time() - 1_000,
        valid_to: set_time() + 60_000,
    }
}

pub(crate) fn entry(seed: u8, bond: u64, quality: u32, terms: OfferTerms) -> Entry {
    Entry::new(terms.sign(&key(seed)).unwrap(), bond, Quality::new(quality).unwrap())
}

/// The offers of all [`MESSENGERS`].
pub(crate) fn entries() -> Vec<Entry> {
    let bond = |seed| if seed == 26 { 0 } else { BOND_UNIT * u64::from(seed - 20) };
    MESSENGERS.map(|seed| entry(seed, bond(seed), 2, offer(seed))).to_vec()
}

pub(crate) fn market(process: &Process) -> Market {
    process.market().unwrap()
}

/// An assignment's content.
pub(crate) fn read(item: &Verified<DataItem>) -> Assignment {
    Assignment::from_item(item).unwrap()
}

fn read_raw(raw: &Bytes) -> Assignment {
    read(&DataItem::verify_bytes(raw.clone()).unwrap())
}

/// The window that a set of these entries begins in the log of a process.
pub(crate) fn window(process: &Process, known: Vec<Entry>) -> Window {
    let set = OfferSet::build(&market(process), WINDOW, set_time(), known);
    let item = draft(NETWORK, process.id(), WINDOW, &set).sign(&key(SCHEDULER)).unwrap();
    let mut log = Log { slot: set_slot(WINDOW).unwrap(), ..Log::new(process.clone()) };
    let assignment = read(&log.assign(Some(item.id())));
    Window::read(&market(process), &assignment, &item).unwrap()
}

/// The source's log around the window, and what it sent there.
pub(crate) struct Told {
    pub(crate) source: Sender,
    pub(crate) set: Verified<DataItem>,
    pub(crate) set_assignment: Verified<DataItem>,
    pub(crate) window: Window,
    pub(crate) between: Vec<Id>,
    pub(crate) sent: Verified<DataItem>,
    /// The assignment of the slot after the position's.
    pub(crate) next: Verified<DataItem>,
    pub(crate) target: Process,
}

impl Told {
    pub(crate) fn new() -> Self {
        Self::at(SENT)
    }

    pub(crate) fn at(position: Position) -> Self {
        Self::of(hard(&PUSH_TERMS), entries(), position)
    }

    /// The story of a source whose scheduler knows these offers and which sends at this position.
    pub(crate) fn of(process: Process, known: Vec<Entry>, position: Position) -> Self {
        let set = OfferSet::build(&market(&process), WINDOW, set_time(), known);
        let set = draft(NETWORK, process.id(), WINDOW, &set).sign(&key(SCHEDULER)).unwrap();
        Self::with_set(process, set, position)
    }

    /// The same with this item in the set's slot.
    pub(crate) fn with_set(process: Process, set: Verified<DataItem>, position: Position) -> Self {
        let mut log = Log { slot: set_slot(WINDOW).unwrap(), ..Log::new(process.clone()) };
        let set_assignment = log.assign(Some(set.id()));
        let window = Window::read(&market(&process), &read(&set_assignment), &set);
        log.slot = log.slot.min(position.slot);
        let message = |log: &mut Log| log.assign(Some(Id([log.slot as u8; 32])));
        let between = (256..position.slot).map(|_| message(&mut log).id()).collect();
        let sent = message(&mut log);
        let next = message(&mut log);
        let mut source = Sender::of(process.clone());
        source.outcome = Outcome::of_result(position, result().as_bytes(), Some(ROOT));
        source.assignment = sent.id();
        let empty = || self::window(&process, Vec::new());
        let window = window.unwrap_or_else(|_| empty());
        Self { source, set, set_assignment, window, between, sent, next, target: target() }
    }

    pub(crate) fn push_id(&self, index: u32) -> Hash {
        let (process, position) = (self.source.process.id(), self.source.outcome.position);
        weft_protocol::push::Source { process, position, index }.push_id(NETWORK)
    }

    /// The key of the messenger at this rank for an entry of a few bytes.
    pub(crate) fn at_rank(&self, index: u32, rank: usize) -> u8 {
        let order = self.window.order(&self.push_id(index), 3);
        let messenger = order[rank].messenger();
        MESSENGERS.into_iter().find(|&seed| address(seed) == messenger).unwrap()
    }

    /// What this messenger hands to the target.
    pub(crate) fn push(&self, index: u32, carrier: u8) -> Push {
        let (proof, dispatch) = self.source.prove(index);
        Push::of(&proof, &dispatch, carrier)
    }

    /// The target's assignment of a pushed item, so long after the source's.
    pub(crate) fn accept(&self, push: &Push, after_ms: u64) -> Verified<DataItem> {
        self.acceptance(push, after_ms).draft().sign(&key(SCHEDULER)).unwrap()
    }

    pub(crate) fn acceptance(&self, push: &Push, after_ms: u64) -> AssignmentDraft {
        let timestamp = read(&self.sent).time.timestamp + after_ms;
        AssignmentDraft {
            slot: TARGET_SLOT,
            time: TimePoint { timestamp, height: timestamp / 120_000 },
            ..Log::new(self.target.clone()).draft(Some(push.item.id()))
        }
    }

    /// The honest claim of one entry by the messenger at this rank, right at its turn, with its
    /// answer.
    pub(crate) fn honest(&self, index: u32, rank: usize) -> Case {
        self.carried(index, self.at_rank(index, rank), rank as u64 * TURN_MS)
    }

    /// The claim of one entry that this messenger carried so long after the source's slot: its leaf
    /// is the middle one of three.
    pub(crate) fn carried(&self, index: u32, carrier: u8, after_ms: u64) -> Case {
        let push = self.push(index, carrier);
        let assignment = self.accept(&push, after_ms);
        Case::new(self, push, &assignment, carrier)
    }
}

/// A claim and the answer to the challenge of one of its leaves.
pub(crate) struct Case {
    pub(crate) tree: ClaimTree,
    pub(crate) number: u32,
    pub(crate) push: Push,
    pub(crate) answer: Answer,
}

impl Case {
    /// The leaf stands between two others.
    pub(crate) fn new(told: &Told, push: Push, assignment: &Verified<DataItem>, carrier: u8) -> Self {
        Self::among(told, push, assignment, carrier, &[511, 256])
    }

    /// The leaf stands among others of these slots.
    pub(crate) fn among(
        told: &Told,
        push: Push,
        assignment: &Verified<DataItem>,
        carrier: u8,
        others: &[u64],
    ) -> Self {
        let origin = push.verify().unwrap();
        let accepted = read(assignment);
        let paid = Paid {
            position: origin.source.position,
            index: origin.source.index,
            target: accepted.process,
            target_slot: accepted.slot,
            accepted: accepted.id,
            amount: 100 + u64::from(carrier) + 10,
        };
        let is_spawn = accepted.slot == 0;
        let target = if is_spawn { Bytes::new() } else { header_bytes(told.target.item()) };
        let carried = Carried {
            proof: push.proof.raw().clone(),
            item: header_bytes(&push.item),
            target,
            certificates: Vec::new(),
            assignment: assignment.raw().clone(),
        };
        let tick = origin.source.position.tick;
        let (tree, number) = tree(told, paid, carrier, others);
        let answer = Answer {
            leaf: tree.path(number).unwrap(),
            previous: number.checked_sub(1).map(|before| tree.path(before).unwrap()),
            push: carried,
            sent: told.sent.raw().clone(),
            revealed: if tick > 0 { told.next.raw().clone() } else { Bytes::new() },
            set: told.set.raw().clone(),
            set_assignment: told.set_assignment.raw().clone(),
            between: told.between.clone(),
        };
        Self { tree, number, push, answer }
    }

    pub(crate) fn claim(&self) -> &Claim {
        self.tree.claim()
    }

    /// What the answer is worth.
    pub(crate) fn verdict(&self) -> Result<u64, Fraud> {
        self.judged(self.claim(), self.number, &self.answer)
    }

    fn judged(&self, claim: &Claim, number: u32, answer: &Answer) -> Result<u64, Fraud> {
        let judged = judge(&COURT, claim, number, answer)?;
        // The fixture's logs have one time.
        assert_eq!(judged.opened, read_raw(&self.answer.set_assignment).time.timestamp);
        Ok(judged.due)
    }

    /// The verdict on a changed answer.
    pub(crate) fn edited(&self, edit: impl FnOnce(&mut Answer)) -> Result<u64, Fraud> {
        let mut answer = self.answer.clone();
        edit(&mut answer);
        self.judged(self.claim(), self.number, &answer)
    }

    /// Why a changed answer is worth nothing.
    pub(crate) fn forged(&self, edit: impl FnOnce(&mut Answer)) -> Fraud {
        self.edited(edit).unwrap_err()
    }

    /// The verdict on the answer with a claim whose leaf says something else.
    pub(crate) fn claiming(&self, edit: impl FnOnce(&mut Paid)) -> Result<u64, Fraud> {
        let mut pushes: Vec<Paid> = self.tree.leaves().iter().map(|leaf| leaf.paid).collect();
        edit(&mut pushes[self.number as usize]);
        let Claim { messenger, source, window, .. } = *self.claim();
        let tree = ClaimTree::new(messenger, source, window, pushes).unwrap();
        let leaf = tree.path(self.number).unwrap();
        let previous = self.number.checked_sub(1).map(|before| tree.path(before).unwrap());
        let answer = Answer { leaf, previous, ..self.answer.clone() };
        self.judged(tree.claim(), self.number, &answer)
    }
}

pub(crate) fn header_bytes(item: &Verified<DataItem>) -> Bytes {
    Verified::<Header>::of(item).to_bytes()
}

/// A claim with this leaf among others of these slots, and its number.
fn tree(told: &Told, paid: Paid, carrier: u8, others: &[u64]) -> (ClaimTree, u32) {
    let other = |&slot: &u64| Paid { position: Position { slot, ..SENT }, ..paid };
    let pushes = others.iter().map(other).chain([paid]).collect();
    let (source, window) = (told.source.process.id(), window_of(paid.position.slot));
    let tree = ClaimTree::new(address(carrier), source, window, pushes).unwrap();
    let number = tree.leaves().iter().position(|leaf| leaf.paid == paid).unwrap();
    (tree, number as u32)
}
