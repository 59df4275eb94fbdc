//! Waits where a ledger's time for challenges runs.

use weft_protocol::process::Process;

/// Seconds in which a claim can be challenged, and each challenge be answered, at a ledger that names no others.
const CHALLENGE_SECONDS: u64 = 86_400;
/// Which part of the time that is left may be waited for at once.
const PARTS: u64 = 4;

/// A wait in milliseconds, cut to a part of what is left until `end_ms`, but not below `least_ms`. Once that is over it is
/// not cut any more: such a time lasts in slots of the ledger as well, and those may take long.
pub const fn within(wait_ms: u64, end_ms: u64, now_ms: u64, least_ms: u64) -> u64 {
    if end_ms <= now_ms {
        return wait_ms;
    }
    let part = (end_ms - now_ms) / PARTS;
    let most = if part < least_ms { least_ms } else { part };
    if wait_ms < most { wait_ms } else { most }
}

/// How long a challenge can be answered at a ledger, in milliseconds, as its Process item says.
pub fn challenge_ms(ledger: &Process) -> u64 {
    let seconds = ledger.item().tag("Challenge-Seconds").and_then(|text| text.parse().ok());
    seconds.unwrap_or(CHALLENGE_SECONDS).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_takes_more_than_a_part_of_what_is_left() {
        assert_eq!(within(300_000, u64::MAX, 5, 5_000), 300_000);
        assert_eq!(within(300_000, 1_000_000, 0, 5_000), 250_000);
        assert_eq!(within(300_000, 12_000, 0, 5_000), 5_000, "the least");
        assert_eq!(within(1_000, 12_000, 0, 5_000), 1_000, "less than that was asked for");
        assert_eq!(within(300_000, 12_000, 12_000, 5_000), 300_000, "it may last in slots");
    }
}
