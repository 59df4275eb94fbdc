//! The fuzz targets under libFuzzer: `WEFT_FUZZ_TARGET` names the one that runs.
//!
//! `tests/fuzz/run.sh` builds this with counters in our own code and runs it.

#![no_main]

use std::sync::LazyLock;

use weft_tests::fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("WEFT_FUZZ_TARGET").unwrap_or_default();
    let known = TARGETS.map(|target| target.name).join(", ");
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("WEFT_FUZZ_TARGET is `{name}`; it must be one of {known}"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
