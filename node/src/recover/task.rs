//! One run: asks gateways, has what comes verified, and hands it to the node.

mod beside;
mod fetch;
mod hinted;
mod inclusion;
mod newest;
mod stages;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use weft_protocol::evidence::Evidence;
use weft_protocol::{Address, Effects, Hash, Id, Machine as _, Verified};

use super::ask::Listed;
use super::asked::{Asked, Holder};
use super::gateway::Gateway;
use super::machine::{Effect, Input, Instead, Search, Want};
use super::pool;
use super::reading::{Group, Reading};
use super::scratch::Scratch;
use super::sink::Sink;
use super::{GATEWAYS_MAX, GatewayReport, ModuleState, RecoverError, RecoverReport};
use crate::follower::FollowerHandle;
use crate::log;
use crate::portable::{Allowance, Apply, PortableError};
use crate::shared::{Shared, SharedRef};
use crate::threads;
use hinted::Hints;
use inclusion::{Fetched, Inclusion};
use stages::{Bringing, Spent, Storing, milliseconds};

/// Other things that could not be proven, told one by one.
const UNPROVEN_SHOWN_MAX: usize = 64;

/// Hears how many of how many slots are here, and says whether to go on.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) -> ControlFlow<()> + Send);

/// Reads a process from gateways into this node.
///
/// # Errors
/// Why nothing of it came, or what this node does not take. Slots that nobody gives are no error: the report
/// names them.
pub async fn recover(
    shared: &SharedRef,
    follower: &FollowerHandle,
    process: Id,
    from: &[String],
    progress: Progress<'_>,
) -> Result<RecoverReport, RecoverError> {
    recover_as(shared, follower, process, (from, &mut Asking::default()), progress).await
}

/// For whom a process is read, and as what.
#[derive(Default)]
pub(super) struct Asking {
    /// Somebody else asked for it: where it is new here it takes a place of those of others.
    pub(super) for_others: bool,
    /// Nobody sees the report: no bundle is looked for in a block.
    pub(super) unreported: bool,
    /// What may come of it.
    pub(super) allowance: Option<Arc<Allowance>>,
    /// Who must schedule it.
    pub(super) scheduler: Option<Address>,
    /// The gateways that were asked no more in the end.
    pub(super) given_up: BTreeSet<String>,
}

/// [`recover`] for somebody.
///
/// # Errors
/// As [`recover`]; and that somebody else schedules it, or that it is longer than it may be.
pub(super) async fn recover_as(
    shared: &SharedRef,
    follower: &FollowerHandle,
    process: Id,
    (from, asking): (&[String], &mut Asking),
    progress: Progress<'_>,
) -> Result<RecoverReport, RecoverError> {
    let holders = gateways(from)?;
    let (for_others, allowance) = (asking.for_others, asking.allowance.clone());
    // What others ask for takes one core, and no more memory than it must.
    let threads = if allowance.is_some() { 1 } else { threads::cores() };
    let mut apply = Apply { for_others, allowance, ..Apply::new(shared, follower, process) };
    let mut reading = Reading::new(process, shared.terms.clone(), threads);
    begin(shared, &mut apply, &mut reading)?;
    let mut run = Run::new(shared, process, holders, &mut apply, reading);
    (run.expected, run.allowance, run.unreported) =
        (asking.scheduler, asking.allowance.clone(), asking.unreported);
    let names: Vec<String> = run.gateways.iter().map(|asked| asked.name().to_owned()).collect();
    let report = run.whole(progress).await;
    let given_up = names.into_iter().enumerate().filter(|(number, _)| run.search.has_given_up(*number));
    asking.given_up = given_up.map(|(_, name)| name).collect();
    report
}

/// Reads a process from gateways, or from the weave of this node if none is named, into a store of its own.
///
/// # Errors
/// As [`recover`].
pub(crate) async fn read_into(
    shared: &SharedRef,
    scratch: &mut Scratch,
    process: Id,
    from: &[String],
    progress: Progress<'_>,
) -> Result<RecoverReport, RecoverError> {
    let holders = match from {
        [] => vec![Holder::Here(shared.weave.clone())],
        from => gateways(from)?,
    };
    let reading = Reading::new(process, shared.terms.clone(), threads::cores());
    let mut report = Run::new(shared, process, holders, scratch, reading).whole(progress).await?;
    report.unproven.append(&mut scratch.contradictions);
    report.unproven.truncate(UNPROVEN_SHOWN_MAX);
    Ok(report)
}

/// The gateways of these addresses, each once.
pub(super) fn gateways(from: &[String]) -> Result<Vec<Holder>, RecoverError> {
    let mut addresses: Vec<&String> = Vec::new();
    for address in from {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() || addresses.len() > GATEWAYS_MAX {
        return Err(RecoverError::Gateways(addresses.len()));
    }
    let holder = |address: &String| Ok(Holder::Gateway(Box::new(Gateway::new(address)?)));
    addresses.into_iter().map(holder).collect()
}

/// Goes on from what is here of the process.
fn begin(shared: &Shared, apply: &mut Apply<'_>, reading: &mut Reading) -> Result<(), RecoverError> {
    let process = apply.process;
    let Some(known) = shared.directory.get(&process) else { return Ok(()) };
    let reader = shared.store.read().map_err(PortableError::from)?;
    let link = log::read_link(&reader, &process).map_err(PortableError::from)?;
    let Some(link) = link else { return Ok(()) };
    let cautious = reader.caution_of(&process).map_err(PortableError::from)?.is_some();
    if known.process.scheduler() == shared.address && !cautious {
        return Err(PortableError::Own { process }.into());
    }
    apply.had = link.slot + 1;
    apply.known = Some(Arc::clone(&known.process));
    reading.go_on_from(known.process, link).map_err(|why| RecoverError::Refused { process, why })
}

struct Run<'a, S> {
    shared: &'a SharedRef,
    process: Id,
    search: Search,
    gateways: Vec<Asked>,
    effects: Effects<Effect>,
    /// Away while a thread verifies.
    reading: Option<Reading>,
    /// Away while it takes what was verified.
    storing: Option<Storing<'a, S>>,
    spent: Spent,
    /// What the gateway that is asked listed.
    listed: Vec<Listed>,
    /// Bundles that were read whole, and items that were read as they were signed.
    read: BTreeSet<Id>,
    /// Where its scheduler says that slots lie.
    hints: Hints,
    /// Who must schedule the process, if that is known.
    expected: Option<Address>,
    /// What may come of it, if that is bounded.
    allowance: Option<Arc<Allowance>>,
    /// Nobody sees what it reports.
    unreported: bool,
    bundles: u64,
    /// Those of them that are to be looked for in blocks.
    fetched: Vec<Fetched>,
    bundles_proven: u64,
    least_confirmations: Option<u64>,
    /// Of how many bundles whoever gave them said how deep they are.
    told: u64,
    unproven: Vec<String>,
    began: Instant,
}

impl<'a, S: Sink> Run<'a, S> {
    fn new(
        shared: &'a SharedRef,
        process: Id,
        holders: Vec<Holder>,
        sink: &'a mut S,
        reading: Reading,
    ) -> Self {
        Self {
            shared,
            process,
            search: Search::new(holders.len()),
            gateways: holders.into_iter().map(Asked::of).collect(),
            effects: Effects::new(),
            storing: Some(Storing::new(sink, reading.link)),
            reading: Some(reading),
            spent: Spent::default(),
            listed: Vec::new(),
            read: BTreeSet::new(),
            hints: Hints::new(shared.placements.of(&process)),
            expected: None,
            allowance: None,
            unreported: false,
            bundles: 0,
            fetched: Vec::new(),
            bundles_proven: 0,
            least_confirmations: None,
            told: 0,
            unproven: Vec::new(),
            began: Instant::now(),
        }
    }

    async fn whole(&mut self, progress: Progress<'_>) -> Result<RecoverReport, RecoverError> {
        self.read_all(&mut *progress).await?;
        self.spent.until_here = self.began.elapsed();
        self.read_beside(&mut *progress).await?;
        let inclusion =
            if self.unreported { Inclusion::default() } else { self.show_inclusion(progress).await? };
        self.report(inclusion).await
    }

    fn reading(&mut self) -> Result<&mut Reading, RecoverError> {
        self.reading.as_mut().ok_or(RecoverError::Portable(PortableError::Stopped))
    }

    fn storing(&mut self) -> Result<&mut Storing<'a, S>, RecoverError> {
        self.storing.as_mut().ok_or(RecoverError::Portable(PortableError::Stopped))
    }

    /// Takes slot after slot, until one is missing.
    async fn read_all(&mut self, progress: Progress<'_>) -> Result<(), RecoverError> {
        let process = self.process;
        if self.reading()?.scheduler().is_none() {
            let met = match self.bring(Want::Item(process)).await? {
                true => self.reading()?.meet(),
                false => None,
            };
            let unknown = || RecoverError::Unknown { process, why: self.all_faults() };
            met.ok_or_else(unknown)?.map_err(|why| RecoverError::Refused { process, why })?;
        }
        let scheduler = self.reading()?.scheduler();
        if self.expected.is_some() && scheduler != self.expected {
            return Err(RecoverError::Foreign { process });
        }
        let total = self.ask_newest().await?;
        self.check_length().await?;
        let mut bringing = Bringing::new(total);
        let mut group = self.away(Reading::group).await?;
        loop {
            let next = group.link.map_or(0, |link| link.slot + 1);
            let after = self.take(group, &mut bringing).await?;
            if progress(self.storing()?.here, total.max(next)).is_break() {
                return Err(PortableError::Stopped.into());
            }
            match after {
                Some(after) => group = after,
                None => break,
            }
        }
        self.storing()?.settle().await?;
        let here = self.storing()?.here;
        if progress(here, total.max(here)).is_break() {
            return Err(PortableError::Stopped.into());
        }
        if self.reading()?.next_slot() == 0 {
            return Err(RecoverError::Unknown { process, why: self.all_faults() });
        }
        self.find_module().await
    }

    /// Notes who gave the slots of a group, what in it was false, and whom it convicts.
    fn note_group(&mut self, group: &mut Group) {
        for gateway in group.givers.drain(..) {
            if let Some(asked) = self.gateways.get_mut(gateway) {
                asked.slots += 1;
            }
        }
        // Strangers can put much that is false into one bundle that a gateway gives as it is.
        let mut liars = BTreeSet::new();
        for (pool::Place { gateway, is_proven, .. }, why) in group.lies.drain(..) {
            self.fault(gateway, why);
            if liars.insert((gateway, is_proven)) {
                let instead = if is_proven { Instead::Junk } else { Instead::Lie };
                self.handle(Input::Lacked { gateway, instead });
            }
        }
        for (gateway, why) in group.junk.drain(..) {
            self.fault(gateway, why);
        }
        for (ours, other) in group.rivals.drain(..) {
            self.note(format!(
                "the scheduler signed two assignments of one slot: {} and {}",
                ours.id(),
                other.id()
            ));
            if let Some(evidence) = Evidence::of_assignments(&ours, &other, self.shared.network) {
                self.shared.witness.found(self.process, evidence);
            }
        }
        group.evidence.drain(..).for_each(|evidence| self.convicted(evidence));
    }

    /// Evidence came from a weave: it is told, and kept as all evidence is.
    fn convicted(&mut self, evidence: Verified<Evidence>) {
        self.note(evidence.to_string());
        self.shared.witness.found(self.process, evidence);
    }

    async fn find_module(&mut self) -> Result<(), RecoverError> {
        let Some(module) = self.reading()?.wants_module() else { return Ok(()) };
        if self.storing()?.sink.has(&module)? {
            self.reading()?.has_module_here();
        } else if self.bring(Want::Item(module)).await? {
            let mut group = self.away(Reading::group).await?;
            self.note_group(&mut group);
            let storing = self.storing()?;
            storing.take(group.parts, group.link).await?;
            storing.settle().await?;
        }
        Ok(())
    }

    /// As [`Self::bring`].
    async fn search_for(&mut self, want: Want) -> Result<bool, RecoverError> {
        self.handle(Input::Want(want));
        loop {
            let effects: Vec<Effect> = self.effects.drain().collect();
            if effects.is_empty() {
                return Ok(false);
            }
            for effect in effects {
                match effect {
                    Effect::Found => return Ok(true),
                    Effect::Nobody { .. } => return Ok(false),
                    Effect::GiveUp { .. } => {}
                    Effect::List { gateway, want } => {
                        let input = self.list(gateway, want).await?;
                        self.handle(input);
                    }
                    Effect::Fetch { gateway, source } => {
                        let input = self.fetch(gateway, source, want).await?;
                        self.handle(input);
                    }
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.search.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    fn fault(&mut self, gateway: usize, text: impl ToString) {
        if let Some(asked) = self.gateways.get_mut(gateway) {
            asked.fault(text);
        }
    }

    fn note(&mut self, text: String) {
        if self.unproven.len() < UNPROVEN_SHOWN_MAX && !self.unproven.contains(&text) {
            self.unproven.push(text);
        }
    }

    fn all_faults(&self) -> String {
        let told = self.gateways.iter().map(|asked| {
            let why = asked.faults.last().map_or("it has nothing of it", String::as_str);
            format!("{}: {why}", asked.name())
        });
        told.collect::<Vec<_>>().join("; ")
    }

    async fn report(&mut self, inclusion: Inclusion) -> Result<RecoverReport, RecoverError> {
        let next = self.reading()?.next_slot();
        let ends_here = self.gateways.iter().any(|asked| {
            let newest = asked.newest.as_ref().and_then(Listed::slot);
            asked.answered && newest.is_some_and(|slot| slot.checked_add(1) == Some(next))
        });
        let missing = self.missing().await?;
        let reading = self.reading()?;
        let (slots, link, wants_module) = (reading.next_slot(), reading.link, reading.wants_module());
        let threads = reading.threads;
        let storing = self.storing()?;
        let (tally, stored) = (storing.sink.tally(), storing.spent);
        let module = match (tally.module, wants_module) {
            (true, _) => ModuleState::Recovered,
            (false, None) => ModuleState::Here,
            (false, Some(_)) => ModuleState::Missing,
        };
        let search = &self.search;
        let gateways =
            std::mem::take(&mut self.gateways).into_iter().enumerate().map(|(number, asked)| GatewayReport {
                gateway: asked.name().to_owned(),
                slots: asked.slots,
                requests: asked.holder.traffic().0,
                bytes: asked.holder.traffic().1,
                faults: asked.faults,
                faults_count: asked.faults_count,
                given_up: search.has_given_up(number),
            });
        Ok(RecoverReport {
            process: self.process,
            slots,
            new_slots: slots.saturating_sub(tally.had),
            hash_chain: link.map_or(Hash::ZERO, |link| link.hash_chain),
            module,
            attestations: tally.attestations,
            bundles: self.bundles,
            bundles_proven: self.bundles_proven,
            bundles_in_blocks: inclusion.shown,
            not_in_blocks: inclusion.why_not,
            least_confirmations: self.least_confirmations.filter(|_| self.told == self.bundles_proven),
            gateways: gateways.collect(),
            missing,
            ends_here,
            unproven: std::mem::take(&mut self.unproven),
            elapsed_ms: milliseconds(self.began.elapsed()),
            stages: self.spent.told(threads, stored),
        })
    }
}

#[cfg(test)]
mod pipeline_tests;
#[cfg(test)]
mod tests;
