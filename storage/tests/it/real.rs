//! A store as a node leaves it: a real log, signed and linked, with what was computed of it.

use std::path::Path;

use bytes::Bytes;
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::crypto::Signer;
use weft_protocol::outcome::Running;
use weft_protocol::process::Terms;
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{DataItem, Draft, Hash, Id, Network, Position, Tag, Verified, hash_chain, seen};
use weft_storage::{
    OutboxKey, OutboxState, OutcomeRow, ProcessRow, Roles, SlotRow, Store, StoreConfig, Write,
};

use crate::rows::{outbox_row, outcome_row};

pub const NETWORK: Network = Network(7);

pub fn signer() -> Signer {
    Signer::from_seed(&[5; 32])
}

pub fn config() -> StoreConfig {
    StoreConfig { cache_bytes: 4 * 1024 * 1024, ..StoreConfig::new(NETWORK, signer().address()) }
}

pub fn terms() -> Terms {
    Terms { network: NETWORK, weave: Weave::Clock }
}

fn sign(target: Option<Id>, tags: &[(&str, &str)], data: Bytes) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { target, anchor: None, tags, data }.sign(&signer()).unwrap()
}

/// A log with all that belongs to it.
pub struct Log {
    pub process: Id,
    pub requests: Vec<Vec<Write>>,
}

/// A process of this node's own with so many slots, and so many bytes in each message.
pub fn log(name: &str, slots: u64, bytes: usize) -> Log {
    let address = signer().address().to_string();
    let tags = [
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Scheduler", &*address),
        ("Module", &*address),
        ("Name", name),
    ];
    let opening = sign(None, &tags, "".into());
    let process = opening.id();
    let row = ProcessRow {
        module: signer().address().to_string().parse().unwrap(),
        roles: Roles { schedules: true, computes: true, ..Roles::default() },
    };
    let mut requests = vec![vec![Write::Process { process, row }]];
    let (mut head, mut running): (Option<(Id, Hash)>, _) = (None, Running::before(process));
    for slot in 0..slots {
        let item = if slot == 0 {
            opening.clone()
        } else {
            let data = vec![slot as u8; bytes].into();
            sign(Some(process), &[("Data-Protocol", "ao"), ("Type", "Message")], data)
        };
        let chain = head.map_or_else(|| hash_chain::first(process), |(id, link)| hash_chain::next(id, link));
        let time =
            TimePoint { timestamp: 1_700_000_000_000 + slot, height: (1_700_000_000_000 + slot) / 120_000 };
        let draft = AssignmentDraft {
            network: NETWORK,
            process,
            epoch: 0,
            slot,
            hash_chain: chain,
            time,
            message: (slot > 0).then_some(item.id()),
            excludes: Vec::new(),
        };
        let assignment = draft.draft().sign(&signer()).unwrap();
        head = Some((assignment.id(), chain));
        let row = SlotRow {
            epoch: 0,
            assignment_id: assignment.id(),
            assignment: assignment.raw().clone(),
            item: item.id(),
            proof: None,
            chain,
            timestamp: time.timestamp,
            block_height: time.height,
        };
        let position = Position::slot(slot);
        let outcome = Hash([slot as u8; 32]);
        running = running.then(&outcome);
        requests.push(vec![
            Write::Item { id: item.id(), raw: item.raw().clone() },
            Write::Slot { process, slot, row },
            Write::Seen { process, key: seen::item_key(item.id()), position },
        ]);
        let row =
            OutcomeRow { item: Some(item.id()), outcome, running: running.0, ..outcome_row(slot as u8) };
        let key = OutboxKey { process, position, index: 0 };
        let mut computed = vec![
            Write::Outcome { process, position, row },
            Write::Outbox { key, row: outbox_row(slot as u8) },
        ];
        if slot.is_multiple_of(2) {
            let state = OutboxState::Settled { receipt: "receipt".into() };
            computed.push(Write::OutboxState { key, state, attempts: 1, next_try_ms: 3 });
        }
        requests.push(computed);
    }
    Log { process, requests }
}

/// Writes a log of each name to a new file and closes it.
pub fn fill(path: &Path, names: &[&str], slots: u64, bytes: usize) -> Vec<Id> {
    let store = Store::open(path, &config()).unwrap();
    let logs: Vec<Log> = names.iter().map(|name| log(name, slots, bytes)).collect();
    for log in &logs {
        for request in &log.requests {
            store.write_blocking(request.clone()).unwrap();
        }
    }
    logs.into_iter().map(|log| log.process).collect()
}
