//! The Lua guest, driven as the node drives it: what programs see, what people see of them, and what
//! hostile ones can do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod beside_aos;
mod crypto;
mod determinism;
mod examples;
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

/// Whether the counts that releases are held to are asked for.
fn is_full() -> bool {
    std::env::var("WEFT_FULL").is_ok_and(|value| value == "1")
}
