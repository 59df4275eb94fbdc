//! The Lua guest, driven as the node drives it: what programs see, what people see of them, and what
//! hostile ones can do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod beside_aos;
mod crypto;
mod determinism;
mod examples;
#[path = "../../../tests/src/full.rs"]
mod full;
mod hostile;
mod markets;
mod numbers;
mod predictions;
mod process;
mod reading;
#[path = "../../../tests/src/skip.rs"]
mod skip;
mod started;
mod town;
