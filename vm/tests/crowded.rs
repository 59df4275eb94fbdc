//! A host that has no room for another thread. In a process of its own, for the limit is of all of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use weft_vm::{Engine, EngineConfig, Format, HostFault, Limits, guests};

const LIMITS: Limits = Limits { gas: 10_000_000, memory_bytes: 1 << 24 };
const INCREMENT: &[u8] = br#"{"Tags":[{"name":"Action","value":"Increment"}]}"#;
/// What is left for everything but a thread's stack of 128 MiB.
const ROOM_BYTES: u64 = 8 << 20;

/// Lets this process map so much and no more; what it was allowed before.
fn allow(bytes: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a whole `rlimit` of this stack.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &raw mut limit), 0);
        let before = std::mem::replace(&mut limit.rlim_cur, bytes.min(limit.rlim_max));
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const limit), 0);
        before
    }
}

fn mapped() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_message_that_no_thread_could_be_started_for_spends_nothing() {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let mut instance = engine.compile(guests::COUNTER, Format::Plain).unwrap().instantiate(LIMITS).unwrap();
    instance.evaluate(INCREMENT, b"{}").unwrap();
    instance.keep().unwrap();
    let spent = instance.gas_spent();
    assert!(spent > 0);
    let before = allow(mapped() + ROOM_BYTES);
    let ended = instance.evaluate(INCREMENT, b"{}");
    let none = instance.gas_spent();
    allow(before);
    assert!(matches!(ended, Err(HostFault::Thread(_))), "{ended:?}");
    assert_eq!(none, 0);
    // It goes on from where it was.
    instance.roll_back().unwrap();
    instance.evaluate(INCREMENT, b"{}").unwrap();
    assert_eq!(instance.gas_spent(), spent);
}
