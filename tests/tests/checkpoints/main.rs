//! Checkpoints: a process that comes back from one is the process that wrote it, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use weft_node::compute::hosted::Hosted;
use weft_protocol::Hash;
use weft_storage::{StoreError, Write};
use weft_tests::lone::{Kind, Lone};

mod damaged;
mod differential;
mod parts;

/// A counter that a clock counts too, and that has little gas.
const COUNTER: Kind<'static> = Kind {
    tags: &[("Compute-Limit", "10000000"), ("Cron-Interval", "7-seconds"), ("Cron-Tag-Action", "Increment")],
    ..Kind::COUNTER
};

fn root(hosted: &mut Hosted) -> Hash {
    hosted.summary().unwrap().unwrap().root()
}

/// The writes of a checkpoint, all parts of it.
fn checkpoint(live: &mut Hosted) -> Vec<Vec<Write>> {
    let mut parts = Vec::new();
    let mut put = |part| {
        parts.push(part);
        Ok::<(), StoreError>(())
    };
    let last = live.checkpoint(&mut put).unwrap().unwrap().writes;
    parts.push(last);
    parts
}

fn write_checkpoint(lone: &Lone, live: &mut Hosted) {
    for part in checkpoint(live) {
        lone.store.write_blocking(part).unwrap();
    }
}
