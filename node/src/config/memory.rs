//! How much memory this machine has for guests.

use std::path::Path;

/// What is taken where the system does not say how much there is.
const UNKNOWN: u64 = 4 << 30;
/// No less than this, however small the machine: one process of the default size.
const LEAST: u64 = 256 << 20;
/// Shown and written in whole units.
const UNIT: u64 = 1 << 20;

/// Resident memory beyond which no connection is opened any more: seven eighths of what there is. What
/// lies above is left to guests, which have a budget, and to the system.
pub fn for_connections() -> Option<usize> {
    total().and_then(|total| usize::try_from(total / 8 * 7).ok())
}

/// Half of the memory of the machine, or of the control group that this OS process is in.
pub(super) fn budget() -> u64 {
    let Some(total) = total() else { return UNKNOWN };
    (total / 2 / UNIT * UNIT).max(LEAST)
}

fn total() -> Option<u64> {
    let group = read_number(Path::new("/sys/fs/cgroup/memory.max"));
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_meminfo(&text));
    [group, machine].into_iter().flatten().min()
}

fn read_number(path: &Path) -> Option<u64> {
    // The word `max` stands for no limit.
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_what_linux_says() {
        let text = "MemTotal:       24615932 kB\nMemFree:         1234 kB\n";
        assert_eq!(of_meminfo(text), Some(24_615_932 * 1024));
        assert_eq!(of_meminfo("MemFree: 1 kB"), None);
        assert_eq!(of_meminfo("MemTotal: much"), None);
    }

    #[test]
    fn the_budget_is_whole_megabytes_and_never_nothing() {
        assert!(budget() >= LEAST);
        assert_eq!(budget() % UNIT, 0);
    }
}
