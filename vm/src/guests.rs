//! Built-in guests, with their sources beside them in `guests/`.

/// A counter and a relay in the plain format; what it answers is written in `guests/counter.wat`.
pub const COUNTER: &[u8] = include_bytes!("../guests/counter.wasm");

/// Lua with the public interface of aos, in the plain format. It is built from `guests/lua/`, whose
/// page says how, and whose licences stand in `guests/lua.wasm.LICENSES`.
pub const LUA: &[u8] = include_bytes!("../guests/lua.wasm");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    /// `guests/lua/build` makes it; `tests/run lua-guest` builds it again where the tools are.
    #[test]
    fn the_lua_guest_is_small_and_asks_for_items_alone() {
        use weft_protocol::crypto::guest::sha256;

        let hash: String = sha256(super::LUA).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(include_str!("../guests/lua.wasm.sha256"), format!("{hash}  lua.wasm\n"));
        assert!(super::LUA.len() < 400 * 1024, "{} bytes", super::LUA.len());
        let parsed = wasmparser::Parser::new(0).parse_all(super::LUA);
        let mut imports = Vec::new();
        for payload in parsed {
            if let wasmparser::Payload::ImportSection(section) = payload.unwrap() {
                imports.extend(section.into_imports().map(|import| import.unwrap().name));
            }
        }
        assert_eq!(imports, ["read_item"]);
    }

    /// `WEFT_WRITE_GUESTS=1` writes the file again after a change of its source.
    #[test]
    fn the_counter_is_what_its_source_gives() {
        let source = include_str!("../guests/counter.wat");
        let built = wat::parse_str(source).unwrap();
        if std::env::var_os("WEFT_WRITE_GUESTS").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/guests/counter.wasm"), &built).unwrap();
        }
        assert!(built == super::COUNTER, "guests/counter.wasm is not what counter.wat gives");
    }
}
