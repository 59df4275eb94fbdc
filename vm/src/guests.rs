//! Built-in guests, with their sources beside them in `guests/`.

/// A counter and a relay in the plain format; what it answers is written in `guests/counter.wat`.
pub const COUNTER: &[u8] = include_bytes!("../guests/counter.wasm");

/// Lua with the public interface of aos, in the plain format. It is built from `guests/lua/`, whose
/// page says how, and whose licences stand in `guests/lua.wasm.LICENSES`.
pub const LUA: &[u8] = include_bytes!("../guests/lua.wasm");

/// The ledger of the messenger market, in the plain format. It is built from `guests/ledger/`, and its
/// licences stand in `guests/ledger.wasm.LICENSES`.
pub const LEDGER: &[u8] = include_bytes!("../guests/ledger.wasm");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    /// What a guest imports, after its bytes were compared with their hash. `tests/run` builds it
    /// again where the tools are.
    fn imports(wasm: &[u8], name: &str, committed: &str) -> Vec<String> {
        use weft_protocol::crypto::guest::sha256;

        let hash: String = sha256(wasm).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(committed, format!("{hash}  {name}\n"));
        let mut imports = Vec::new();
        for payload in wasmparser::Parser::new(0).parse_all(wasm) {
            if let wasmparser::Payload::ImportSection(section) = payload.unwrap() {
                imports.extend(section.into_imports().map(|import| import.unwrap().name.to_owned()));
            }
        }
        imports
    }

    #[test]
    fn the_lua_guest_is_small_and_asks_for_items_alone() {
        let hash = include_str!("../guests/lua.wasm.sha256");
        assert_eq!(imports(super::LUA, "lua.wasm", hash), ["read_item"]);
        assert!(super::LUA.len() < 400 * 1024, "{} bytes", super::LUA.len());
    }

    /// It carries no hash and no signature scheme of its own: the host has those of the rules.
    #[test]
    fn the_ledger_is_small_and_asks_for_hashes_and_checks_alone() {
        let hash = include_str!("../guests/ledger.wasm.sha256");
        let mut imports = imports(super::LEDGER, "ledger.wasm", hash);
        imports.sort();
        let offered = [
            "blake3",
            "ed25519_verify",
            "keccak256",
            "rsa_pss_verify",
            "secp256k1_recover",
            "sha256",
            "sha384",
        ];
        assert_eq!(imports, offered);
        assert!(super::LEDGER.len() < 700 * 1024, "{} bytes", super::LEDGER.len());
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
