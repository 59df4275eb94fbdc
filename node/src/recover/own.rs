//! Every process of one scheduler comes back: `weft recover --all`. Which ones there are is asked of all gateways
//! beside each other; what counts is slot 0, which the scheduler signed.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use weft_protocol::{Address, Id};

use super::ask::Question;
use super::asked::Asked;
use super::gateway::shown;
use super::task::{Progress, gateways, recover};
use super::{RecoverError, RecoverReport};
use crate::follower::FollowerHandle;
use crate::portable::PortableError;
use crate::shared::SharedRef;

/// Processes of one run.
pub const PROCESSES_MAX: usize = 100_000;
/// Those of which it is told why they did not come back; the rest are counted.
const FAILED_SHOWN_MAX: usize = 100;
/// Gateways that fail so often are asked for no more pages.
const FAILURES_MAX: u32 = 3;

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RecoverAllReport {
    /// Whose processes.
    pub scheduler: String,
    /// Processes of which a gateway lists a slot 0 that the scheduler signed.
    pub found: u64,
    /// Those that are here with all slots that there is evidence of.
    pub whole: u64,
    pub slots: u64,
    pub new_slots: u64,
    pub attestations: u64,
    /// Those that are not, and why; the first ones.
    pub failed: Vec<NotRecovered>,
    pub failed_count: u64,
    pub elapsed_ms: u64,
}

/// A process that did not come back whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NotRecovered {
    pub process: Id,
    /// Slots that are here.
    pub slots: u64,
    pub why: String,
}

/// Reads all processes that a key schedules from gateways into this node. `progress` hears how many of how many
/// are done, and says whether to go on.
///
/// # Errors
/// What is wrong with the gateways; what does not come back is in the report.
pub async fn recover_all(
    shared: &SharedRef,
    follower: &FollowerHandle,
    scheduler: Address,
    from: &[String],
    progress: Progress<'_>,
) -> Result<RecoverAllReport, RecoverError> {
    let began = Instant::now();
    let asked = gateways(from)?.into_iter().map(Asked::of);
    let listed = futures::future::join_all(asked.map(|asked| opened(asked, scheduler))).await;
    let mut all = BTreeSet::new();
    let mut silent = Vec::new();
    for (processes, why) in listed {
        all.extend(processes);
        silent.extend(why);
    }
    let mut report = RecoverAllReport {
        scheduler: scheduler.to_string(),
        found: all.len() as u64,
        ..RecoverAllReport::default()
    };
    if all.is_empty() && silent.len() == from.len() {
        return Err(RecoverError::Silent(silent.join("; ")));
    }
    for (done, process) in (0..).zip(all) {
        if progress(done, report.found).is_break() {
            return Err(PortableError::Stopped.into());
        }
        // A client that went away is heard between two processes, and within a long one.
        let mut stopped = false;
        let mut within = |_, _| {
            stopped = progress(done, report.found).is_break();
            if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let recovered = recover(shared, follower, process, from, &mut within).await;
        if stopped {
            return Err(PortableError::Stopped.into());
        }
        report.add(process, recovered);
    }
    // The last word, whoever hears it.
    let _ = progress(report.found, report.found);
    report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

impl RecoverAllReport {
    fn add(&mut self, process: Id, recovered: Result<RecoverReport, RecoverError>) {
        let (slots, why) = match recovered {
            Ok(report) => {
                self.slots += report.slots;
                self.new_slots += report.new_slots;
                self.attestations += report.attestations;
                (report.slots, (!report.is_whole()).then(|| incomplete(&report)))
            }
            // It was never lost.
            Err(RecoverError::Portable(PortableError::Own { .. })) => (0, None),
            Err(error) => (0, Some(error.to_string())),
        };
        let Some(why) = why else {
            self.whole += 1;
            return;
        };
        self.failed_count += 1;
        if self.failed.len() < FAILED_SHOWN_MAX {
            self.failed.push(NotRecovered { process, slots, why: shown(&why) });
        }
    }
}

fn incomplete(report: &RecoverReport) -> String {
    match report.missing {
        Some(missing) => format!("nobody gives slots {} to {}", missing.from, missing.to),
        None => "no gateway agrees that this is all".to_owned(),
    }
}

/// The processes of which a gateway lists slot 0, and why it lists no more.
async fn opened(mut asked: Asked, scheduler: Address) -> (BTreeSet<Id>, Option<String>) {
    let (mut all, mut after, mut failures) = (BTreeSet::new(), None, 0);
    loop {
        let question = Question::Openings { scheduler, after: after.clone() };
        let Some(listed) = asked.query(&question).await else {
            failures += 1;
            if failures >= FAILURES_MAX {
                return (all, Some(format!("{}: {}", asked.name(), asked.faults.join(", "))));
            }
            continue;
        };
        let next = listed.last().and_then(|last| last.cursor.clone());
        let before = all.len();
        all.extend(listed.iter().filter_map(super::ask::Listed::process));
        // A list that goes on and names nothing new has no end.
        if next.is_none() || next == after || all.len() == before || all.len() >= PROCESSES_MAX {
            return (all, None);
        }
        after = next;
    }
}
