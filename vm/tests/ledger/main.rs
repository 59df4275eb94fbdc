//! The ledger guest of `guests/ledger`: its rules natively, step by step and at random, and the
//! built module in the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../guests/ledger/src/lib.rs"]
mod guest;

/// The story of the tests of the rules: processes, logs, claims and answers.
#[allow(dead_code, reason = "those tests use more of it")]
#[path = "../../../protocol/tests/between/fixture.rs"]
mod fixture;
#[allow(dead_code, reason = "as above")]
#[path = "../../../protocol/tests/between/market/fixture.rs"]
mod market;

mod chance;
mod claims;
#[path = "../../../tests/src/full.rs"]
mod full;
mod liars;
mod module;
mod stakes;
mod token;
mod world;
