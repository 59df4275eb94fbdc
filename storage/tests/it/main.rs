//! Tests of the store through its public face, one file a subject, one binary.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

mod checkpoints;
mod conflicts;
mod doors;
mod durable;
mod fault_disk;
mod faults;
mod forget;
mod format;
mod found;
#[path = "../../../tests/src/full.rs"]
mod full;
mod injected;
mod intact;
mod migration;
mod model;
mod planted;
mod posted;
mod prune;
mod real;
mod repair;
mod room;
mod rows;
mod weave;
