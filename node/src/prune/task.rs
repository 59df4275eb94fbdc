//! Pruning by itself, now and then; and what was begun to be forgotten and broken off.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{PruneReport, Pruning};
use crate::hosting;
use crate::shared::SharedRef;

/// How often it is looked whether something may go: rows wait for nobody.
const PERIOD: Duration = Duration::from_secs(60);

/// Prunes every process as the configuration says.
pub struct PruneTask {
    shared: SharedRef,
}

impl PruneTask {
    /// The loop.
    pub const fn new(shared: SharedRef) -> Self {
        Self { shared }
    }

    /// Runs until the node stops.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                // Where room runs out nobody waits for the next turn.
                () = self.shared.room.scarce.notified() => {}
            }
            let (shared, stop) = (SharedRef::clone(&self.shared), stop.clone());
            // It ends within a commit of the stop, so shutting down does not wait for all of it.
            let work = move || {
                hosting::finish_forgetting(&shared, &|| go_on(&stop));
                if let Some(kept) = shared.config.results_kept {
                    prune_all(&shared, kept, &stop);
                }
            };
            let pruned = tokio::task::spawn_blocking(work).await;
            if let Err(error) = pruned {
                tracing::error!(%error, "pruning ended early");
            }
        }
    }
}

fn go_on(stop: &CancellationToken) -> ControlFlow<()> {
    if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn prune_all(shared: &SharedRef, kept: u64, stop: &CancellationToken) {
    let pruning = Pruning { store: &shared.store, weave: shared.anchored_on(), kept, dry_run: false };
    for process in shared.directory.ids(|_| true) {
        match pruning.run(process, &mut |_, _| go_on(stop)) {
            Ok(PruneReport { positions: 0, .. }) => {}
            Ok(PruneReport { to, positions, bytes, .. }) => {
                tracing::info!(%process, to, positions, bytes, "results were pruned");
            }
            Err(error) => tracing::error!(%process, %error, "results were not pruned"),
        }
        if stop.is_cancelled() {
            return;
        }
    }
}
