//! How many instances one OS process can hold.
//!
//! Each reserves address space for its memory (4 GiB and guards) and some mappings. The system
//! limits both: 128 TiB of addresses hold some 30,000 instances, and the mappings of a process are
//! counted (`vm.max_map_count`, 65,530 unless somebody raised it).

/// Mappings of one instance: memory with its guards and copy-on-write image, table, snapshot. The
/// counter and aos have 3, `lua` 4; held against the test below.
const MAPPINGS_PER_INSTANCE: usize = 5;
/// Mappings left to everything else: threads, the store, compiled modules.
const MAPPINGS_OTHER: usize = 8_192;
/// Mappings of an OS process where the system does not say.
const MAPPINGS_DEFAULT: usize = 65_530;
/// Instances that fit in the addresses of a process with room to spare.
const INSTANCES_MAX: usize = 12_288;
/// Fewer are never held, whatever the system says: then mapping fails and is tried again later.
const INSTANCES_MIN: usize = 64;

/// How many instances should be held at once on this system.
pub fn instances_max() -> usize {
    let mappings = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    let mappings = mappings.and_then(|text| text.trim().parse().ok()).unwrap_or(MAPPINGS_DEFAULT);
    (mappings.saturating_sub(MAPPINGS_OTHER) / MAPPINGS_PER_INSTANCE).clamp(INSTANCES_MIN, INSTANCES_MAX)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Engine, EngineConfig, Format, Limits, guests};

    fn mappings() -> usize {
        std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
    }

    #[test]
    fn an_instance_takes_no_more_mappings_than_are_reckoned() {
        const COUNT: usize = 64;
        let engine = Engine::new(EngineConfig::default()).unwrap();
        let limits = Limits { gas: 1_000_000_000, memory_bytes: 64 << 20 };
        for guest in [guests::COUNTER, guests::LUA] {
            let module = engine.compile(guest, Format::Plain).unwrap();
            let before = mappings();
            let mut held = Vec::new();
            for _ in 0..COUNT {
                let mut instance = module.instantiate(limits).unwrap();
                instance.evaluate(b"{}", b"{}").unwrap();
                instance.roll_back().unwrap();
                held.push(instance);
            }
            let each = mappings().saturating_sub(before) / COUNT;
            assert!(each <= MAPPINGS_PER_INSTANCE, "an instance takes {each} mappings");
        }
        assert!((INSTANCES_MIN..=INSTANCES_MAX).contains(&instances_max()));
    }
}
