//! A town of three honest nodes, and what hostile peers do to it. After each deed the honest nodes have held no
//! more memory than they may, still deliver to each other, think well of each other, and are rid of the
//! attacker. What takes a whole node to tell (lying ranges, stale heads, false slots) is in `node/tests/wire`.
//!
//! All are in one program, which does one deed at a time: its memory is what is measured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod attacker;
mod deeds;
#[path = "../../../tests/src/full.rs"]
mod full;
#[path = "../it/raw.rs"]
mod raw;
#[path = "../it/support.rs"]
#[allow(dead_code)] // The other program needs all of it.
mod support;
mod town;
