//! Compiles the wire schema with protox, so that no protoc binary is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/weft.proto", "proto/state.proto", "proto/market.proto", "proto/base_layer.proto"];
    let set = protox::compile(files, ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(set)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
