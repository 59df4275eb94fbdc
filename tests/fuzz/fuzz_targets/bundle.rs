//! Bundles: the body is shared with the stable smoke test.

#![no_main]

// Each target runs one of the bodies.
#[allow(dead_code)]
#[path = "../../src/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bundle(bytes));
