//! Checkpoints as a Compute Unit of the reference makes them: bytes of zlib, tags in its order, signed by arbundles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use weft_node::legacy::checkpoint::{Claims, MEMORY_BYTES_MAX, MemoryError, unpack};
use weft_protocol::DataItem;

use super::{det, lines};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointVector {
    name: String,
    raw: String,
    id: String,
    process: String,
    module: String,
    slot: u64,
    epoch: u64,
    timestamp: u64,
    block_height: u64,
    cron: Option<String>,
    assignment: Option<String>,
    hash_chain: Option<String>,
    sha256: String,
    memory_bytes: usize,
    /// Where `set_bytes` of `det` begin; the rest of the memory is zeros.
    set_at: usize,
    set_bytes: usize,
}

#[test]
fn checkpoints_are_unpacked_to_the_memory_that_was_packed() {
    for vector in lines::<CheckpointVector>("checkpoints.jsonl") {
        let name = &vector.name;
        let item = DataItem::verify_bytes(STANDARD.decode(&vector.raw).unwrap()).unwrap();
        assert_eq!(item.id().to_string(), vector.id, "{name}");
        let claims = Claims::read(item.tags()).unwrap();
        let expected = Claims {
            process: vector.process.parse().unwrap(),
            module: vector.module.parse().unwrap(),
            slot: vector.slot,
            epoch: vector.epoch,
            timestamp: vector.timestamp,
            block_height: vector.block_height,
            cron: vector.cron,
            assignment: vector.assignment.map(|id| id.parse().unwrap()),
            hash_chain: vector.hash_chain.map(|chain| chain.parse().unwrap()),
            sha256: vector.sha256.clone(),
        };
        assert_eq!(claims, expected, "{name}");
        let mut memory = vec![0; vector.memory_bytes];
        memory[vector.set_at..][..vector.set_bytes].copy_from_slice(&det(vector.set_bytes));
        let mut back = Vec::new();
        let unpacked = unpack(&item.data(), MEMORY_BYTES_MAX, |_, page| {
            back.extend_from_slice(page);
            Ok::<(), MemoryError>(())
        });
        let unpacked = unpacked.unwrap();
        assert_eq!((unpacked.bytes, unpacked.sha256), (vector.memory_bytes as u64, vector.sha256), "{name}");
        assert!(back == memory, "{name}");
    }
}
