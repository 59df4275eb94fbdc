//! How much a test does.

/// Whether the counts that releases are held to are asked for (`WEFT_FULL=1`), or those that the ordinary run has time for.
pub fn is_full() -> bool {
    std::env::var("WEFT_FULL").is_ok_and(|value| value == "1")
}
