//! The `weft-testnet` program: everything is in the library.

fn main() -> std::process::ExitCode {
    weft_testnet::main(std::env::args_os())
}
