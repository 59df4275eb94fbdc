//! The `weft` program for tests that start nodes of their own: a test's own executable cannot be one,
//! because its arguments are the test runner's.
//!
//! A node of it ends, or has another one end, exactly where a test wants: see [`weft_tests::stop_at`].

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_tests::stop_at::obey();
    weft_testnet::main(std::env::args_os())
}
