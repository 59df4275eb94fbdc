//! The `weft` program: everything is in the library.

fn main() -> std::process::ExitCode {
    weft_node::cli::run(std::env::args_os())
}
