//! The `weft` program for tests that start nodes of their own: a test's own executable cannot be one,
//! because its arguments are the test runner's.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_testnet::main(std::env::args_os())
}
