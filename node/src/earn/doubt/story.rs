//! A source in hard mode that asks for processes in its window 1, five messengers, and a node that computes it and knows nobody.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use prost::Message as _;
use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::crypto::Signer;
use weft_protocol::header::Header;
use weft_protocol::market::{
    Answer, Carried, ClaimTree, OfferSet, Opening, Paid, PushTerms, TURN_MS, Window, draft, price,
};
use weft_protocol::outcome::{EntryKind, OutboxEntry};
use weft_protocol::process::Process;
use weft_protocol::push::{Dispatch, Source};
use weft_protocol::spawn::spawned_push_id;
use weft_protocol::time::TimePoint;
use weft_protocol::{DataItem, Draft, Id, Position, Tag, Verified, seen, wire};
use weft_storage::{OutboxKey, OutboxRow, OutboxState, OutcomeRow, SlotRow, Write};

use super::judge::{Verdict, verdict};
use super::list::{Doubt, Doubts};
use crate::earn::notices::{OfOthers, Opened};
use crate::log::slot_writes;
use crate::market::audit::tests::{TIME, offer};
use crate::shared::SharedRef;
use crate::shared::testing::{self, NETWORK, in_memory, process_item};

const LEDGER: Id = Id([4; 32]);
/// Milliseconds of a block where the clock is the weave.
const BLOCK_MS: u64 = 120_000;
/// Where the source sends.
const SENT: Position = Position { epoch: 0, slot: 300, tick: 0 };
/// The source's slot with the news of what a spawn became.
const NEWS: u64 = 310;
/// Keys of the messengers.
const MESSENGERS: std::ops::Range<u8> = 11..16;
const DATA: &[u8] = b"return 'child'";

/// Entries of the source that a claim may name: two spawns, one that nobody can schedule, and none.
pub const SPAWN: u32 = 0;
pub const OTHER_SPAWN: u32 = 1;
pub const UNBORN: u32 = 2;
pub const NOTHING: u32 = 3;

pub struct Story {
    shared: SharedRef,
    source: Arc<Process>,
    window: Window,
}

fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

/// The scheduler of the source and of all children.
fn scheduler() -> Signer {
    key(1)
}

fn source() -> Process {
    let own = process_item(&key(2), scheduler().address()).tags().to_vec();
    let market = PushTerms { ledger: LEDGER, price_max: 100, kib_max: 100 }.tags();
    let tags = own.into_iter().chain(market).collect();
    accepted(Draft { tags, ..Draft::default() }.sign(&key(2)).unwrap())
}

/// Whoever hears of it from others may not know its parent.
fn accepted(item: Verified<DataItem>) -> Process {
    let terms = weft_protocol::process::Terms { network: NETWORK, weave: weft_protocol::time::Weave::Clock };
    Process::accept(item, None, &terms).unwrap()
}

fn assigned(process: Id, slot: u64, item: Id, timestamp: u64) -> Verified<DataItem> {
    let time = TimePoint { timestamp, height: timestamp / BLOCK_MS };
    let draft = AssignmentDraft { time, ..testing::assigned(process, slot, item) };
    draft.draft().sign(&scheduler()).unwrap()
}

/// The writes of a slot that holds an item, or the Process item itself.
fn slot(process: Id, at: u64, item: &Verified<DataItem>, proof: Option<&Verified<DataItem>>) -> Vec<Write> {
    let signed = assigned(process, at, item.id(), TIME);
    slot_of(process, at, &signed, item, proof)
}

fn slot_of(
    process: Id,
    at: u64,
    signed: &Verified<DataItem>,
    item: &Verified<DataItem>,
    proof: Option<&Verified<DataItem>>,
) -> Vec<Write> {
    let said = Assignment::from_item(signed).unwrap();
    let row = SlotRow {
        epoch: 0,
        assignment_id: said.id,
        assignment: signed.raw().clone(),
        item: item.id(),
        proof: proof.map(|proof| proof.id()),
        chain: said.hash_chain,
        timestamp: said.time.timestamp,
        block_height: said.time.height,
    };
    let items: Vec<_> = [Some(item), proof].into_iter().flatten().collect();
    slot_writes(process, at, row, &items)
}

fn entry(tags: Vec<Tag>) -> OutboxEntry {
    OutboxEntry { kind: EntryKind::Spawn, tags, data: Bytes::from_static(DATA), ..OutboxEntry::dropped() }
}

fn module() -> Tag {
    Tag::new("Module", Id([3; 32]).to_string())
}

/// What the source sent: its entries but [`NOTHING`].
fn outbox(process: Id) -> Vec<Write> {
    let row = OutcomeRow { outbox_count: NOTHING, ..testing::outcome_row() };
    let unborn = vec![module(), Tag::new("Scheduler", "nobody")];
    let entries = [(SPAWN, vec![module()]), (OTHER_SPAWN, vec![module()]), (UNBORN, unborn)];
    let entries = entries.map(|(index, tags)| {
        let row = OutboxRow {
            kind: EntryKind::Spawn as u8,
            entry: entry(tags).to_bytes().into(),
            root: None,
            state: OutboxState::Pending,
            attempts: 0,
            next_try_ms: 0,
        };
        Write::Outbox { key: OutboxKey { process, position: SENT, index }, row }
    });
    [Write::Outcome { process, position: SENT, row }].into_iter().chain(entries).collect()
}

/// The message that opens this claim.
pub fn claim_of(tree: ClaimTree, signer: &Signer) -> Verified<DataItem> {
    let (proof, item, target) = (Bytes::new(), Bytes::new(), Bytes::new());
    let push = Carried { proof, item, target, certificates: Vec::new(), assignment: Bytes::new() };
    let shown = Answer {
        leaf: tree.path(0).unwrap(),
        previous: None,
        push,
        sent: Bytes::new(),
        revealed: Bytes::new(),
        set: Bytes::new(),
        set_assignment: Bytes::new(),
        between: Vec::new(),
    };
    let data = URL_SAFE_NO_PAD.encode(Opening { tree, shown }.encode()).into();
    Draft { data, ..Draft::default() }.sign(signer).unwrap()
}

impl Story {
    pub async fn new() -> Self {
        let (shared, source) = (in_memory(key(9)), source());
        let (id, market) = (source.id(), source.market().unwrap());
        let set = OfferSet::build(&market, 1, TIME, MESSENGERS.map(offer).collect());
        let set = draft(NETWORK, id, 1, &set).sign(&scheduler()).unwrap();
        let assignment = Assignment::from_item(&assigned(id, 255, set.id(), TIME)).unwrap();
        let window = Window::read(&market, &assignment, &set).unwrap();
        let message = Draft { target: Some(id), ..Draft::default() }.sign(&key(8)).unwrap();
        let log = [slot(id, 255, &set, None), slot(id, SENT.slot, &message, None), outbox(id)];
        shared.store.write(log.concat()).await.unwrap();
        Self { shared, source: Arc::new(source), window }
    }

    fn place(&self, index: u32) -> Source {
        Source { process: self.source.id(), position: SENT, index }
    }

    /// The messenger of this rank for an entry.
    pub fn ranked(&self, index: u32, rank: usize) -> Signer {
        let order = self.window.order(&self.place(index).push_id(NETWORK), DATA.len() as u64);
        MESSENGERS.map(key).find(|key| key.address() == order[rank].messenger()).unwrap()
    }

    /// The rank of a messenger.
    pub fn rank(&self, index: u32, messenger: &Signer) -> usize {
        (0..MESSENGERS.len()).find(|rank| self.ranked(index, *rank).address() == messenger.address()).unwrap()
    }

    /// The Process item that a messenger makes of an entry.
    pub fn child(&self, index: u32, carrier: &Signer) -> Verified<DataItem> {
        self.child_with(index, carrier, DATA)
    }

    /// The same with other data.
    pub fn child_with(&self, index: u32, carrier: &Signer, data: &'static [u8]) -> Verified<DataItem> {
        let dispatch = Dispatch {
            source: self.place(index),
            entry: entry(vec![module()]),
            module: self.source.module(),
            scheduler: self.source.scheduler(),
        };
        let draft = dispatch.process(Id([7; 32])).unwrap();
        Draft { data: Bytes::from_static(data), ..draft }.sign(carrier).unwrap()
    }

    /// What the scheduler of a child signs for its slot 0, in the turn of a rank and so many milliseconds after.
    pub fn first_slot(&self, child: &Verified<DataItem>, rank: usize, after: u64) -> Verified<DataItem> {
        assigned(child.id(), 0, child.id(), TIME + rank as u64 * TURN_MS + after)
    }

    /// The source hears what a spawn of it became.
    pub async fn hear(&self, index: u32, child: &Verified<DataItem>, first: &Verified<DataItem>) {
        let header = Verified::<Header>::of(child).to_bytes();
        let told = wire::Child { header, assignment: first.raw().clone() };
        let proof = wire::OriginProof { child: Some(told), ..wire::OriginProof::default() };
        let proof = Draft { data: proof.encode_to_vec().into(), ..Draft::default() }.sign(&key(8)).unwrap();
        let news = Draft { target: Some(self.source.id()), ..Draft::default() }.sign(&key(7)).unwrap();
        let seen = seen::push_key(&spawned_push_id(&self.place(index).push_id(NETWORK)));
        let mut writes = slot(self.source.id(), NEWS, &news, Some(&proof));
        writes.push(Write::Seen { process: self.source.id(), key: seen, position: Position::slot(NEWS) });
        self.shared.store.write(writes).await.unwrap();
    }

    /// A process is known here.
    pub fn meet(&self, process: &Verified<DataItem>) {
        self.shared.directory.remember(Arc::new(accepted(process.clone())));
    }

    /// Its slot 0 is.
    pub async fn show(&self, process: &Verified<DataItem>, first: &Verified<DataItem>) {
        self.meet(process);
        self.shared.store.write(slot_of(process.id(), 0, first, process, None)).await.unwrap();
    }

    /// What a messenger claims that carried an entry, at its price.
    pub fn paid(&self, index: u32, messenger: &Signer, child: Id, accepted: Id) -> Paid {
        let push = self.place(index).push_id(NETWORK);
        let (_, offer) = self.window.rank(&push, DATA.len() as u64, &messenger.address()).unwrap();
        let amount = price(offer.offer().terms(), DATA.len() as u64);
        Paid { position: SENT, index, target: child, target_slot: 0, accepted, amount }
    }

    /// A claim as it is before it was looked at.
    pub async fn doubt(&self, messenger: &Signer, pushes: Vec<Paid>) -> Doubt {
        let (messenger, source) = (messenger.address(), self.source.id());
        let tree = ClaimTree::new(messenger, source, 1, pushes).unwrap();
        let claim = claim_of(tree, &key(8));
        let write = Write::Item { id: claim.id(), raw: claim.raw().clone() };
        self.shared.store.write(vec![write]).await.unwrap();
        let opened = Opened { messenger, source, window: 1, item: claim.id(), until_ms: u64::MAX };
        let mut doubts = Doubts::default();
        doubts.hear((LEDGER, Position::slot(1)), OfOthers::Opened(opened), 0, 5);
        doubts.take(&LEDGER, 0).remove(0)
    }

    /// What is made of a claim.
    pub async fn judged(&self, doubt: &Doubt) -> Verdict {
        verdict(&self.shared, &self.source, doubt).await.unwrap()
    }

    /// What is made of a claim of one entry.
    pub async fn verdict(&self, messenger: &Signer, paid: Paid) -> Verdict {
        self.judged(&self.doubt(messenger, vec![paid]).await).await
    }

    /// Why a claim of one entry is challenged.
    pub async fn why(&self, messenger: &Signer, paid: Paid) -> String {
        match self.verdict(messenger, paid).await {
            Verdict::False(0, why) => why,
            other => format!("{other:?}"),
        }
    }
}
