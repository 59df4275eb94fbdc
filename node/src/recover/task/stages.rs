//! Asking, verifying and writing beside each other, and what each took.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::super::machine::Want;
use super::super::reading::{Group, Reading};
use super::super::sink::Sink;
use super::super::{RecoverError, Stages};
use super::Run;
use crate::portable::PortableError;

/// A group that a thread verifies, and how long that took.
type Verifying = JoinHandle<(Reading, Group, Duration)>;

/// What the stages of a run took so far.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub(super) asking: Duration,
    pub(super) checking: Duration,
    pub(super) storing: Duration,
    /// From the beginning until all slots were on disk.
    pub(super) until_here: Duration,
}

impl Spent {
    /// As it is reported.
    pub(super) fn told(&self, threads: usize) -> Stages {
        Stages {
            asking_ms: milliseconds(self.asking),
            checking_ms: milliseconds(self.checking),
            threads: threads as u64,
            storing_ms: milliseconds(self.storing),
            here_ms: milliseconds(self.until_here),
        }
    }
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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

    /// Begins to verify what comes next.
    pub(super) fn ahead(&mut self) -> Result<Verifying, RecoverError> {
        let mut reading = self.reading.take().ok_or(PortableError::Stopped)?;
        Ok(tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let group = reading.group();
            (reading, group, began.elapsed())
        }))
    }

    /// What was verified meanwhile.
    pub(super) async fn verified(&mut self, ahead: Verifying) -> Result<Group, RecoverError> {
        let (reading, group, took) = ahead.await.map_err(|_| PortableError::Stopped)?;
        self.reading = Some(reading);
        self.spent.checking += took;
        Ok(group)
    }

    /// Has the pool hold a thing; whether anybody gave it.
    pub(super) async fn bring(&mut self, want: Want) -> Result<bool, RecoverError> {
        let (began, checked) = (Instant::now(), self.spent.checking);
        let brought = self.search_for(want).await;
        self.spent.asking += began.elapsed().saturating_sub(self.spent.checking - checked);
        brought
    }

    /// Waits until what the sink was given is on disk.
    pub(super) async fn settle(&mut self) -> Result<(), RecoverError> {
        let began = Instant::now();
        self.sink.settle(self.given).await?;
        self.spent.storing += began.elapsed();
        self.here = self.given.map_or(0, |link| link.slot + 1);
        Ok(())
    }

    /// Asks whoever gave the last bundle for the next one, if by anybody's word there are more of so many slots: it
    /// comes while that one is verified. What others ask for is not read ahead: that takes the memory of a bundle.
    pub(super) fn ask_ahead(&mut self, total: u64) -> Result<(), RecoverError> {
        if self.allowance.is_some() {
            return Ok(());
        }
        let (process, gateway) = (self.process, self.search.likeliest());
        let reading = self.reading()?;
        let next = reading.pool.end().filter(|next| *next < total);
        if let (Some(next), Some(scheduler)) = (next, reading.scheduler())
            && let Some(asked) = self.gateways.get_mut(gateway)
        {
            asked.ask_ahead(process, scheduler, next);
        }
        Ok(())
    }
}
