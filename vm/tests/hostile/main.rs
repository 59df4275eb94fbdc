//! Modules that mean harm. Each is a line of a table: what it is, and what it must come to. All of
//! them are run in the same way (`suite.rs`), which holds every one of them to the same promises:
//!
//! - time: no more gas than its limit, and no native code without gas;
//! - memory: no more linear memory than its limit, and no more of the host's own than [`HELD_MAX`];
//! - blame: a constant outcome or a refusal by name, and the host's fault only where the native stack ends before
//!   the depth (`depth.rs`);
//! - no trace: rolled back byte for byte, and the same again the second time;
//! - neighbours: an honest process on the same engine goes on from where it was.
// Tables are long; the functions that hold them do nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

#[path = "../../../tests/src/counting.rs"]
mod counting;
#[path = "../emscripten/mod.rs"]
mod emscripten;

mod calls;
mod depth;
mod doors;
mod exceptions;
mod results;
mod running;
mod stack;
mod suite;
