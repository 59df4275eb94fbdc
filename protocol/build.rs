//! Compiles the wire schema with protox, so that no protoc binary is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let set =
        protox::compile(["proto/weft.proto", "proto/market.proto", "proto/base_layer.proto"], ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(set)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
