//! Built-in guests, with their sources beside them in `guests/`.

/// A counter and a relay in the plain format; what it answers is written in `guests/counter.wat`.
pub const COUNTER: &[u8] = include_bytes!("../guests/counter.wasm");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
