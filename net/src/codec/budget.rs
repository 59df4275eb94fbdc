//! What large bodies may take of the memory: each connection or peer has a share of what there is for all.
//!
//! An answer of ours takes what it needs at once. What others send takes of its connection's share what it announces, and
//! of all what has come and one piece more: whoever announces much and sends nothing holds up itself alone. Where nothing
//! is left of all, bodies that go on are read to their ends in a few lanes beside it, so that many that are half
//! read do not wait for each other for ever.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::invalid;
use crate::limits::{ANSWER_SHARE_SURE_KIB, BODY_BUDGET_KIB, BODY_LANES};

/// Memory taken for a large body, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    _of_connection: OwnedSemaphorePermit,
    of_all: Option<OwnedSemaphorePermit>,
    lane: Option<Lane>,
    /// How far the body is on its way, if it is an answer.
    pub(crate) way: Arc<Way>,
}

/// A place where a body is read to its end, and its connection's turn to be in one.
#[derive(Debug)]
struct Lane {
    _turn: OwnedSemaphorePermit,
    _lane: OwnedSemaphorePermit,
}

impl Taken {
    fn of(connection: OwnedSemaphorePermit, all: Option<OwnedSemaphorePermit>) -> Self {
        Self { _of_connection: connection, of_all: all, lane: None, way: Arc::default() }
    }

    /// Whether it is read in a lane: others wait for that.
    pub(super) const fn is_last(&self) -> bool {
        self.lane.is_some()
    }
}

/// How far an answer is on its way.
#[derive(Debug, Default)]
pub(crate) struct Way {
    bytes: AtomicU64,
    cut: CancellationToken,
}

impl Way {
    /// Bytes that its peer took.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// It took so many more.
    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends it: the rest is not written.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until it is ended so.
    pub(super) async fn is_cut(&self) {
        self.cut.cancelled().await;
    }
}

/// Why there is no memory for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The peer has as much on its way as it may have now.
    OfItsOwn,
    /// The peer has little, and others have all there is.
    OfAll,
}

/// What large bodies of one direction may take: of one connection or peer, and of all.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub(super) connection: Arc<Semaphore>,
    pub(super) all: Arc<Semaphore>,
    /// Beside all.
    pub(super) lanes: Arc<Semaphore>,
    /// One body of a connection is in a lane at a time.
    turn: Arc<Semaphore>,
}

impl Budget {
    /// That of all, of which nobody has a share yet.
    pub(crate) fn of_all() -> Self {
        Self {
            connection: Arc::new(Semaphore::new(0)),
            all: Arc::new(Semaphore::new(BODY_BUDGET_KIB)),
            lanes: Arc::new(Semaphore::new(BODY_LANES)),
            turn: Arc::new(Semaphore::new(0)),
        }
    }

    /// The share of a new connection or peer, of so many KiB.
    pub(crate) fn share(&self, kib: usize) -> Self {
        Self {
            connection: Arc::new(Semaphore::new(kib)),
            all: Arc::clone(&self.all),
            lanes: Arc::clone(&self.lanes),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// What is taken of all, in bytes.
    pub(crate) fn taken_bytes(&self) -> u64 {
        (BODY_BUDGET_KIB.saturating_sub(self.all.available_permits()) * 1024) as u64
    }

    /// Whether anything is taken of a share of so many KiB.
    pub(crate) fn is_in_use(&self, share_kib: usize) -> bool {
        self.connection.available_permits() < share_kib
    }

    /// Takes memory for so many bytes out of a share of so many KiB, if it is there now. Beyond what is sure
    /// it is there only while half of all is free: a few that read nothing leave room for the others.
    pub(crate) fn try_take(&self, bytes: usize, share_kib: usize) -> Result<Taken, NoRoom> {
        let kib = bytes.div_ceil(1024);
        let taken_kib = share_kib.saturating_sub(self.connection.available_permits());
        let is_sure = taken_kib + kib <= ANSWER_SHARE_SURE_KIB;
        if !is_sure && self.all.available_permits() < BODY_BUDGET_KIB / 2 {
            return Err(NoRoom::OfItsOwn);
        }
        let kib = u32::try_from(kib).map_err(|_| NoRoom::OfItsOwn)?;
        let connection = Arc::clone(&self.connection).try_acquire_many_owned(kib);
        let connection = connection.map_err(|_| NoRoom::OfItsOwn)?;
        let all = Arc::clone(&self.all).try_acquire_many_owned(kib).map_err(|_| NoRoom::OfAll)?;
        Ok(Taken::of(connection, Some(all)))
    }

    /// Waits until its connection has room for a body of so many bytes, of which none has come.
    pub(super) async fn begin(&self, bytes: usize) -> io::Result<Taken> {
        let kib = u32::try_from(bytes.div_ceil(1024)).map_err(invalid)?;
        let connection = Arc::clone(&self.connection).acquire_many_owned(kib).await.map_err(invalid)?;
        Ok(Taken::of(connection, None))
    }

    /// Waits until there is room for so many bytes of a body, or a lane for all the rest of it.
    pub(super) async fn grow(&self, taken: &mut Taken, bytes: usize) -> io::Result<()> {
        if taken.is_last() {
            return Ok(());
        }
        let held = taken.of_all.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(bytes.div_ceil(1024).saturating_sub(held)).map_err(invalid)?;
        let lane = async {
            let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(invalid)?;
            let lane = Arc::clone(&self.lanes).acquire_owned().await.map_err(invalid)?;
            Ok::<_, io::Error>(Lane { _turn: turn, _lane: lane })
        };
        tokio::select! {
            biased;
            room = Arc::clone(&self.all).acquire_many_owned(more) => {
                let room = room.map_err(invalid)?;
                match &mut taken.of_all {
                    Some(held) => held.merge(room),
                    None => taken.of_all = Some(room),
                }
            }
            lane = lane => taken.lane = Some(lane?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::limits::ANSWER_SHARE_KIB;

    #[test]
    fn those_that_read_nothing_leave_room_for_the_others() {
        const EIGHT_MIB: usize = 8 * 1024 * 1024;
        let all = Budget::of_all();
        let take = |share: &Budget| share.try_take(EIGHT_MIB, ANSWER_SHARE_KIB);
        let greedy: Vec<Vec<Taken>> = (0..8)
            .map(|_| {
                let share = all.share(ANSWER_SHARE_KIB);
                std::iter::from_fn(|| take(&share).ok()).collect()
            })
            .collect();
        let answers: Vec<usize> = greedy.iter().map(Vec::len).collect();
        // Six fit in a share. From half on each has one.
        assert_eq!(answers, [6, 6, 5, 1, 1, 1, 1, 1]);
        let more: Vec<Taken> = std::iter::from_fn(|| take(&all.share(ANSWER_SHARE_KIB)).ok()).collect();
        assert_eq!(more.len(), 10, "all but those is there for the others");
        assert_eq!(take(&all.share(ANSWER_SHARE_KIB)).unwrap_err(), NoRoom::OfAll);
        drop((greedy, more));
        assert_eq!(all.all.available_permits(), BODY_BUDGET_KIB);
        let share = all.share(ANSWER_SHARE_KIB);
        let _answers: Vec<Taken> = std::iter::from_fn(|| take(&share).ok()).collect();
        assert_eq!(take(&share).unwrap_err(), NoRoom::OfItsOwn);
    }
}
