//! Every process of one scheduler comes back: `weft recover --all`. Which ones there are is asked of all gateways
//! beside each other; what counts is slot 0, which the scheduler signed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weft_protocol::{Address, Id};

use super::ask::{Listed, Question};
use super::asked::Asked;
use super::gateway::shown;
use super::task::{Asking, Progress, gateways, recover_as};
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
/// Processes one after the other at which a gateway is given up; then it is asked for none of the rest.
const GIVEN_UP_MAX: u32 = 3;
/// Processes that a gateway may list and that are not the key's or nowhere, beyond as many as came; what else only
/// such gateways list is not looked for.
const VAIN_MAX: u64 = 64;

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RecoverAllReport {
    /// Whose processes.
    pub scheduler: String,
    /// Processes of which a gateway lists a slot 0 of the scheduler; those that turn out to be another's are not
    /// counted.
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
    let asked: Vec<Asked> = gateways(from)?.into_iter().map(Asked::of).collect();
    let mut conduct: Vec<Conduct> = asked.iter().map(|asked| Conduct::of(asked.name())).collect();
    let listed = futures::future::join_all(asked.into_iter().map(|asked| opened(asked, scheduler))).await;
    let mut all: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
    let mut silent = Vec::new();
    for (gateway, (processes, why)) in listed.into_iter().enumerate() {
        processes.into_iter().for_each(|process| all.entry(process).or_default().push(gateway));
        silent.extend(why);
    }
    let mut report = RecoverAllReport {
        scheduler: scheduler.to_string(),
        found: all.len() as u64,
        ..RecoverAllReport::default()
    };
    if all.is_empty() && silent.len() == conduct.len() {
        return Err(RecoverError::Silent(silent.join("; ")));
    }
    let total = report.found;
    for (done, (process, listed_by)) in (0..).zip(all) {
        if progress(done, total).is_break() {
            return Err(PortableError::Stopped.into());
        }
        if listed_by.iter().all(|gateway| conduct.get(*gateway).is_some_and(Conduct::is_vain)) {
            report.add(process, Err(RecoverError::Unknown { process, why: VAIN.to_owned() }));
            continue;
        }
        // A client that went away is heard between two processes, and within a long one.
        let mut stopped = false;
        let mut within = |_, _| {
            stopped = progress(done, total).is_break();
            if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let from = still_asked(&conduct);
        let mut asking = Asking { scheduler: Some(scheduler), ..Asking::default() };
        let recovered = recover_as(shared, follower, process, (&from, &mut asking), &mut within).await;
        if stopped {
            return Err(PortableError::Stopped.into());
        }
        let is_vain = matches!(recovered, Err(RecoverError::Unknown { .. } | RecoverError::Foreign { .. }));
        for (gateway, conduct) in conduct.iter_mut().enumerate() {
            if from.contains(&conduct.address) {
                conduct.note(asking.given_up.contains(&conduct.address));
            }
            if listed_by.contains(&gateway) {
                *(if is_vain { &mut conduct.vain } else { &mut conduct.came }) += 1;
            }
        }
        report.add(process, recovered);
    }
    // The last word, whoever hears it.
    let _ = progress(total, total);
    report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Why a process was not looked for.
const VAIN: &str = "only gateways that list many processes that exist nowhere list it";

/// How a gateway was, of all processes so far.
#[derive(Debug)]
struct Conduct {
    address: String,
    /// Processes one after the other at which it was given up.
    given_up: u32,
    /// Processes that it listed and that came.
    came: u64,
    /// And that did not, or are another's.
    vain: u64,
}

impl Conduct {
    fn of(address: &str) -> Self {
        Self { address: address.to_owned(), given_up: 0, came: 0, vain: 0 }
    }

    const fn note(&mut self, was_given_up: bool) {
        self.given_up = if was_given_up { self.given_up + 1 } else { 0 };
    }

    const fn is_vain(&self) -> bool {
        self.vain >= VAIN_MAX.saturating_add(self.came)
    }
}

/// Whom to ask for the next one: those that were not given up again and again; all, where that is nobody.
fn still_asked(conduct: &[Conduct]) -> Vec<String> {
    let kept = conduct.iter().filter(|one| one.given_up < GIVEN_UP_MAX);
    let kept: Vec<String> = kept.map(|one| one.address.clone()).collect();
    match kept.is_empty() {
        true => conduct.iter().map(|one| one.address.clone()).collect(),
        false => kept,
    }
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
            // What a gateway lists under a key need not be the key's.
            Err(RecoverError::Foreign { .. }) => {
                self.found = self.found.saturating_sub(1);
                return;
            }
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
        let of_key = listed.iter().filter(|one| is_of(one, scheduler));
        all.extend(of_key.filter_map(Listed::process));
        // A list that goes on and names nothing new has no end.
        if next.is_none() || next == after || all.len() == before || all.len() >= PROCESSES_MAX {
            return (all, None);
        }
        after = next;
    }
}

/// Whether an assignment may be of this key, by what is listed of it: fields that are not all that was signed say
/// nothing.
fn is_of(listed: &Listed, scheduler: Address) -> bool {
    let signed = (listed.data_bytes == 0).then(|| listed.with_data(Bytes::new())).flatten();
    signed.is_none_or(|item| item.owner() == scheduler)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_given_up_again_and_again_is_asked_no_more_while_there_are_others() {
        let mut all = ["a", "b"].map(Conduct::of);
        for _ in 0..GIVEN_UP_MAX {
            assert_eq!(still_asked(&all), ["a", "b"]);
            all[0].note(true);
        }
        assert_eq!(still_asked(&all), ["b"]);
        // What failed in between counts anew once it answered.
        all[0].note(false);
        assert_eq!(still_asked(&all), ["a", "b"]);
        all.iter_mut().for_each(|one| (0..GIVEN_UP_MAX).for_each(|_| one.note(true)));
        assert_eq!(still_asked(&all), ["a", "b"], "nobody else is left");
    }

    #[test]
    fn who_lists_what_is_nowhere_is_believed_as_often_as_he_was_right_and_some_times_more() {
        let mut one = Conduct::of("a");
        (one.vain, one.came) = (VAIN_MAX, 1);
        assert!(!one.is_vain());
        one.vain += 1;
        assert!(one.is_vain());
    }
}
