//! What is used of the budgets of this role, for the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fetches::FETCHES_MAX;
use crate::compute::machine::{COMMITTING_MAX, Compute};
use crate::compute::residency::Residency;
use crate::metrics::Level;
use crate::shared::Shared;

/// One cell a budget.
pub(super) struct Cells {
    memory: Arc<AtomicU64>,
    instances: Arc<AtomicU64>,
    commits: Arc<AtomicU64>,
    fetches: Arc<AtomicU64>,
    others_gas: Option<Arc<AtomicU64>>,
}

impl Cells {
    /// Cells that the metrics show.
    pub(super) fn watch(shared: &Shared, instances: usize) -> Self {
        let cell = |name, limit| {
            let (level, cell) = Level::cell("compute", name, limit);
            shared.metrics.watch(level);
            cell
        };
        Self {
            memory: cell("memory_bytes", shared.config.memory_budget_bytes),
            instances: cell("instances", instances as u64),
            commits: cell("commits", COMMITTING_MAX as u64),
            fetches: cell("fetches", FETCHES_MAX as u64),
            others_gas: shared.config.others_gas.map(|limit| cell("others_gas", limit)),
        }
    }

    /// Notes what is used now.
    pub(super) fn write(&self, residency: &Residency, commits: usize, fetches: usize, machine: &Compute) {
        self.memory.store(residency.total_bytes(), Ordering::Relaxed);
        self.instances.store(residency.len() as u64, Ordering::Relaxed);
        self.commits.store(commits as u64, Ordering::Relaxed);
        self.fetches.store(fetches as u64, Ordering::Relaxed);
        if let (Some(cell), Some(used)) = (&self.others_gas, machine.gas_used()) {
            cell.store(used, Ordering::Relaxed);
        }
    }
}
