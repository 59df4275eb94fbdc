//! What is looked at when somebody asks: levels, the network, the store, the operating system.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use weft_protocol::process::RULES;
use weft_storage::{COMMIT_BOUNDS_US, CommitTimes, Roles};

use super::levels::{Kind, Reading};
use crate::room::{self, RoomInfo};
use crate::shared::Shared;

/// Whether something is done.
type Does = fn(&Roles) -> bool;

/// What duties are called, and which flag each is.
const DUTIES: [(&str, Does); 7] = [
    ("schedule", |roles| roles.schedules),
    ("compute", |roles| roles.computes),
    ("messenger", |roles| roles.messenges),
    ("watch", |roles| roles.watches),
    ("cron", |roles| roles.keeps_time),
    ("pinned", |roles| roles.pinned),
    ("on_demand", |roles| roles.on_demand),
];

type Labels = Vec<(&'static str, String)>;

/// One name with its values.
#[derive(Debug)]
struct Family {
    name: String,
    help: &'static str,
    kind: MetricType,
    unit: Option<Unit>,
    values: Vec<(Labels, f64)>,
}

impl Family {
    fn new(name: impl Into<String>, kind: MetricType, help: &'static str) -> Self {
        Self { name: name.into(), help, kind, unit: None, values: Vec::new() }
    }

    fn one(name: impl Into<String>, kind: MetricType, help: &'static str, value: f64) -> Self {
        Self { values: vec![(Vec::new(), value)], ..Self::new(name, kind, help) }
    }

    fn unit(self, unit: Unit) -> Self {
        Self { unit: Some(unit), ..self }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(&self.name, self.help, self.unit.as_ref(), self.kind)?;
        for (labels, value) in &self.values {
            if labels.is_empty() {
                match self.kind {
                    MetricType::Counter => metric.encode_counter::<NoLabelSet, _, f64>(value, None)?,
                    _ => metric.encode_gauge(value)?,
                }
                continue;
            }
            if matches!(self.kind, MetricType::Info) {
                metric.encode_info(labels)?;
                continue;
            }
            let mut metric = metric.encode_family(labels)?;
            match self.kind {
                MetricType::Counter => metric.encode_counter::<NoLabelSet, _, f64>(value, None)?,
                _ => metric.encode_gauge(value)?,
            }
        }
        Ok(())
    }
}

/// A node at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    families: Vec<Family>,
    commit_times: CommitTimes,
}

impl Snapshot {
    pub(super) async fn take(shared: &Shared) -> Self {
        let stats = shared.store.stats();
        let mut families = of_levels(&shared.metrics.levels.read(), shared);
        families.extend(of_processes(shared));
        families.extend(of_network(shared));
        let counted =
            |name: &str, help, value: u64| Family::one(name, MetricType::Counter, help, value as f64);
        families.push(counted("store_requests", "Requests to the store.", stats.requests));
        families.push(counted("store_refused", "Requests refused by the store.", stats.refused));
        families.push(counted("store_commits", "Commits of the store.", stats.commits));
        let written = counted("store_written", "Bytes written to the store, keys included.", stats.bytes);
        families.push(written.unit(Unit::Bytes));
        families.push(of_files(shared).await);
        families.extend(of_disk(&room::info(shared)));
        let uptime = shared.started.elapsed().as_secs_f64();
        let uptime = Family::one("uptime", MetricType::Gauge, "Time since the node started.", uptime);
        families.push(uptime.unit(Unit::Seconds));
        let build = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("rules", RULES.to_string()),
            ("network", shared.config.network.clone()),
        ];
        let mut info = Family::new("node", MetricType::Info, "Version, rules and network of this node.");
        info.values.push((build, 1.0));
        families.push(info);
        Self { families, commit_times: stats.commit_times }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.families {
            family.encode(&mut encoder)?;
        }
        let CommitTimes { sum_us, buckets } = self.commit_times;
        let seconds = |us: u64| Duration::from_micros(us).as_secs_f64();
        let bounds = COMMIT_BOUNDS_US.into_iter().map(seconds).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(buckets).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let help = "Time of one commit of the store.";
        let mut metric =
            encoder.encode_descriptor("commit", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(seconds(sum_us), count, &buckets, None)
    }
}

fn of_levels(readings: &[Reading], shared: &Shared) -> Vec<Family> {
    let gauge = |name: &str, help| Family::new(name, MetricType::Gauge, help);
    let mut families = [
        gauge("queue_length", "How much is in a queue."),
        gauge("queue_limit", "How much a queue may hold."),
        gauge("budget_used", "How much of a budget is used."),
        gauge("budget_limit", "How large a budget is."),
    ];
    let mut put = |kind, role: &str, name: &str, used: u64, limit: u64| {
        let (at, label) = match kind {
            Kind::Queue => (0, "queue"),
            Kind::Budget => (2, "budget"),
        };
        let labels = vec![("role", role.to_owned()), (label, name.to_owned())];
        families[at].values.push((labels.clone(), used as f64));
        families[at + 1].values.push((labels, limit as f64));
    };
    for reading in readings {
        put(reading.kind, reading.role, reading.name, reading.used, reading.limit);
    }
    for level in shared.net.levels() {
        put(Kind::Queue, "network", level.name, level.used, level.limit);
    }
    families.into()
}

fn of_processes(shared: &Shared) -> [Family; 3] {
    let mut duties =
        Family::new("processes", MetricType::Gauge, "Processes, by what this node does for them.");
    for (name, has) in DUTIES {
        let count = shared.directory.count(has);
        duties.values.push((vec![("duty", name.to_owned())], count as f64));
    }
    let one = |name, help, count: usize| Family::one(name, MetricType::Gauge, help, count as f64);
    let stopped = "Processes that were stopped here by an error.";
    let waiting = "Processes that wait here for a module, an item or gas.";
    [
        duties,
        one("stopped_processes", stopped, shared.directory.stopped()),
        one("waiting_processes", waiting, shared.directory.waiting()),
    ]
}

fn of_network(shared: &Shared) -> Vec<Family> {
    let peers = shared.net.peers_count() as f64;
    let mut families = vec![Family::one("peers", MetricType::Gauge, "Connected peers.", peers)];
    let mut events = Family::new("network_events", MetricType::Counter, "Events in the network layer.");
    for (name, value) in shared.net.metrics().each() {
        events.values.push((vec![("event", name.to_owned())], value as f64));
    }
    families.push(events);
    families
}

fn of_disk(room: &RoomInfo) -> Vec<Family> {
    let bytes = |name: &str, help, value: u64| {
        Family::one(name, MetricType::Gauge, help, value as f64).unit(Unit::Bytes)
    };
    vec![
        bytes("disk_used", "Disk space that the data folder takes.", room.used_bytes),
        bytes("disk_free", "Free space on its file system.", room.free_bytes),
        bytes(
            "disk_budget",
            "Disk space that the data folder may take; 0 for no limit.",
            room.budget_bytes.unwrap_or(0),
        ),
        Family::one("disk_full", MetricType::Gauge, "Whether no new work is taken.", room.is_full.into()),
        bytes(
            "store_reusable",
            "Free space inside the store; 0 until it was counted.",
            room.reusable_bytes.unwrap_or(0),
        ),
    ]
}

async fn of_files(shared: &Shared) -> Family {
    let mut family = Family::new("file", MetricType::Gauge, "Size of a file.").unit(Unit::Bytes);
    for (label, name) in [("store", "store.redb"), ("weave", "weave.redb")] {
        // A file that cannot be looked at is left out: whoever needs it says why.
        if let Ok(found) = tokio::fs::metadata(shared.config.data_dir.join(name)).await {
            family.values.push((vec![("file", label.to_owned())], found.len() as f64));
        }
    }
    family
}

/// What Linux says of this operating system process, under the names that all exporters use.
#[derive(Debug)]
pub(super) struct OsProcess(Vec<Family>);

/// Ticks in a second of the times in `/proc`: a constant of the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

impl OsProcess {
    pub(super) fn read() -> Self {
        let gauge = |name: &str, help, value| Family::one(name, MetricType::Gauge, help, value);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let mut families = Vec::new();
        if let Some(bytes) = resident_bytes(&status) {
            let family = gauge("process_resident_memory", "Memory in use.", bytes as f64);
            families.push(family.unit(Unit::Bytes));
        }
        if let Some(ticks) = cpu_ticks(&stat) {
            let seconds = ticks as f64 / TICKS_PER_SECOND;
            let family = Family::one("process_cpu", MetricType::Counter, "Processor time used.", seconds);
            families.push(family.unit(Unit::Seconds));
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            families.push(gauge("process_open_fds", "Open file descriptors.", open.count() as f64));
        }
        Self(families)
    }
}

impl Collector for OsProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

/// `VmRSS` of `/proc/self/status`.
pub(super) fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// User and system time of `/proc/self/stat`: fields 14 and 15, counted after the name, which may
/// hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_read() {
        let status = "Name:\tweft\nVmRSS:\t  123456 kB\nThreads:\t7\n";
        assert_eq!(resident_bytes(status), Some(123_456 * 1024));
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 17 5 0 0 20 0 1 0 100 200 300";
        assert_eq!(cpu_ticks(stat), Some(22));
        assert_eq!((resident_bytes("x"), cpu_ticks("x")), (None, None));
    }
}
