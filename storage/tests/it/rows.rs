//! Rows made from one small number, so that tests read as what they check.

use weft_protocol::{Address, Hash, Id, Network, Position};
use weft_storage::{OutboxKey, OutboxRow, OutboxState, OutcomeRow, SlotRow, StoreConfig};

pub fn id(seed: u8) -> Id {
    Id([seed; 32])
}

pub fn hash(seed: u8) -> Hash {
    Hash([seed; 32])
}

pub fn address(seed: u8) -> Address {
    Address([seed; 32])
}

pub fn config() -> StoreConfig {
    StoreConfig { cache_bytes: 4 * 1024 * 1024, ..StoreConfig::new(Network(1), address(1)) }
}

pub fn slot_row(seed: u8) -> SlotRow {
    SlotRow {
        epoch: 0,
        assignment_id: id(seed),
        assignment: vec![seed; 300].into(),
        item: id(seed ^ 0x80),
        proof: seed.is_multiple_of(2).then(|| id(seed ^ 0x40)),
        chain: hash(seed),
        timestamp: 1_700_000_000_000 + u64::from(seed),
        block_height: u64::from(seed),
    }
}

pub fn outcome_row(seed: u8) -> OutcomeRow {
    OutcomeRow {
        item: (seed != 0).then(|| id(seed)),
        code: seed % 9,
        core: vec![seed; 69].into(),
        outcome: hash(seed),
        running: hash(seed ^ 0xff),
        outbox_root: hash(seed ^ 0x0f),
        outbox_count: u32::from(seed),
        duplicate_of: seed.is_multiple_of(3).then(|| Position::slot(u64::from(seed))),
        skipped: u64::from(seed),
        gas: 1_000 * u64::from(seed),
        result: format!(r#"{{"Output":{seed}}}"#).into(),
        state_root: seed.is_multiple_of(4).then(|| hash(seed)),
        elapsed_us: 12,
    }
}

pub fn outbox_key(process: u8, slot: u64, index: u32) -> OutboxKey {
    OutboxKey { process: id(process), position: Position::slot(slot), index }
}

pub fn outbox_row(seed: u8) -> OutboxRow {
    OutboxRow {
        kind: seed % 3,
        entry: vec![seed; 40].into(),
        root: Some(id(seed)),
        state: OutboxState::Pending,
        attempts: 0,
        next_try_ms: u64::from(seed),
    }
}
