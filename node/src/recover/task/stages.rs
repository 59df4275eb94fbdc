//! Asking, verifying and writing beside each other, and what each took.

use std::time::{Duration, Instant};

use weft_protocol::record::Link;

use super::super::machine::Want;
use super::super::reading::{Group, Reading};
use super::super::sink::Sink;
use super::super::{RecoverError, Stages};
use super::Run;
use crate::portable::{Part, PortableError};

/// Things that are brought for one slot: it has three parts, and each may be brought again when there was no room for it.
const BROUGHT_MAX: u32 = 24;

/// What the stages of a run took so far, but for the disk.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub(super) asking: Duration,
    pub(super) checking: Duration,
    /// From the beginning until all slots were on disk.
    pub(super) until_here: Duration,
}

impl Spent {
    /// As it is reported, with what was waited for the disk.
    pub(super) fn told(&self, threads: usize, storing: Duration) -> Stages {
        Stages {
            asking_ms: milliseconds(self.asking),
            checking_ms: milliseconds(self.checking),
            threads: threads as u64,
            storing_ms: milliseconds(storing),
            here_ms: milliseconds(self.until_here),
        }
    }
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The way of what verifies to the disk.
pub(super) struct Storing<'a, S> {
    pub(super) sink: &'a mut S,
    /// The last slot that the sink was given.
    given: Option<Link>,
    /// Slots that are on disk, as far as that was waited for.
    pub(super) here: u64,
    /// How long it was waited for.
    pub(super) spent: Duration,
}

impl<'a, S: Sink> Storing<'a, S> {
    /// Goes on after this slot.
    pub(super) const fn new(sink: &'a mut S, given: Option<Link>) -> Self {
        Self { sink, given, here: 0, spent: Duration::ZERO }
    }

    /// Hands over the parts of a group, of which this is the last slot of all so far, once the group before it is on
    /// disk: with the one that is verified meanwhile three are in memory.
    pub(super) async fn take(&mut self, parts: Vec<Part>, link: Option<Link>) -> Result<(), RecoverError> {
        self.settle().await?;
        let began = Instant::now();
        self.sink.parts(parts).await?;
        self.spent += began.elapsed();
        self.given = link;
        Ok(())
    }

    /// Waits until what the sink was given is on disk.
    pub(super) async fn settle(&mut self) -> Result<(), RecoverError> {
        let began = Instant::now();
        self.sink.settle(self.given).await?;
        self.spent += began.elapsed();
        self.here = self.given.map_or(0, |link| link.slot + 1);
        Ok(())
    }
}

/// How far a log goes by the words of gateways, and what was brought for its next slot.
#[derive(Debug)]
pub(super) struct Bringing {
    pub(super) total: u64,
    slot: u64,
    times: u32,
}

impl Bringing {
    pub(super) const fn new(total: u64) -> Self {
        Self { total, slot: 0, times: 0 }
    }

    /// Counts one more thing for this slot; whether it is one too many.
    const fn is_vain(&mut self, slot: u64) -> bool {
        self.times = if self.slot == slot { self.times + 1 } else { 1 };
        self.slot = slot;
        self.times > BROUGHT_MAX
    }
}

impl<S: Sink> Run<'_, S> {
    /// Verifies away from the tasks.
    pub(super) async fn away<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reading) -> T + Send + 'static,
    ) -> Result<T, RecoverError> {
        let stopped = || RecoverError::Portable(PortableError::Stopped);
        let mut reading = self.reading.take().ok_or_else(stopped)?;
        let done = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let done = work(&mut reading);
            (reading, done, began.elapsed())
        });
        let (reading, done, took) = done.await.map_err(|_| stopped())?;
        self.reading = Some(reading);
        self.spent.checking += took;
        Ok(done)
    }

    /// Hands a group over to the disk, and meanwhile has the next one brought and verified; none where the log ends.
    pub(super) async fn take(
        &mut self,
        mut group: Group,
        bringing: &mut Bringing,
    ) -> Result<Option<Group>, RecoverError> {
        self.note_group(&mut group);
        let Group { parts, link, wants, refused, .. } = group;
        let mut storing = self.storing.take().ok_or(PortableError::Stopped)?;
        let next = link.map_or(0, |link| link.slot + 1);
        let done = tokio::try_join!(storing.take(parts, link), self.after(next, (wants, refused), bringing));
        self.storing = Some(storing);
        done.map(|((), group)| group)
    }

    /// The group from a slot on, of which this is missing, or why there is none.
    async fn after(
        &mut self,
        next: u64,
        (wants, refused): (Option<Want>, Option<String>),
        bringing: &mut Bringing,
    ) -> Result<Option<Group>, RecoverError> {
        if let Some(why) = refused {
            if next == 0 {
                return Err(RecoverError::Refused { process: self.process, why });
            }
            self.note(why);
            return Ok(None);
        }
        if let Some(want) = wants {
            if bringing.is_vain(next) {
                self.note(format!("the parts of slot {next} do not come together"));
                return Ok(None);
            }
            if !self.bring(want).await? {
                return Ok(None);
            }
            self.ask_ahead(bringing.total)?;
        }
        self.away(Reading::group).await.map(Some)
    }

    /// Has the pool hold a thing; whether anybody gave it.
    pub(super) async fn bring(&mut self, want: Want) -> Result<bool, RecoverError> {
        let (began, checked) = (Instant::now(), self.spent.checking);
        let brought = self.search_for(want).await;
        self.spent.asking += began.elapsed().saturating_sub(self.spent.checking - checked);
        brought
    }

    /// Asks whoever gave the last bundle for the next one, if by anybody's word there are more of so many slots: it
    /// comes while that one is verified. What others ask for is not read ahead: that takes the memory of one more bundle.
    pub(super) fn ask_ahead(&mut self, total: u64) -> Result<(), RecoverError> {
        if self.allowance.is_some() {
            return Ok(());
        }
        let (process, gateway) = (self.process, self.search.likeliest());
        let reading = self.reading()?;
        let (next, scheduler) = (reading.pool.end().filter(|next| *next < total), reading.scheduler());
        // Where it is said to lie it is asked for without a list.
        let next = next.filter(|next| self.hints.untried(gateway, *next).is_none());
        if let (Some(next), Some(scheduler)) = (next, scheduler)
            && let Some(asked) = self.gateways.get_mut(gateway)
        {
            asked.ask_ahead(process, scheduler, next);
        }
        Ok(())
    }
}
