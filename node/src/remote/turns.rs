//! Turns for what takes much memory for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weft_protocol::Id;

use crate::metrics::{Level, Metrics};

/// Answers of peers that are read at once: each may take a hundred megabytes meanwhile.
const ANSWER_TURNS_MAX: usize = 4;
/// Things that gateways are asked for at once; one more waits. Each may take the bytes of a batch.
const GATEWAY_TURNS_MAX: usize = 4;
/// Looks for the message of a slot that is not here at once. Each asks up to eight peers, whose answers may have the bytes of the
/// largest message each.
const SLOT_TURNS_MAX: usize = 4;
/// Those of one process: where its peers are silent a turn is held for long, and others have theirs meanwhile.
const SLOT_TURNS_EACH: usize = 1;
/// How long one more waits for its turn.
const SLOT_WAIT: Duration = Duration::from_secs(3);
/// Processes of which it is remembered how many looks there are; beyond that those with none are forgotten.
const PROCESSES_KEPT_MAX: usize = 1_024;

/// All turns.
#[derive(Debug)]
pub struct Turns {
    /// To read what peers answer to questions of clients.
    pub answers: Arc<Semaphore>,
    /// To ask gateways of the weave.
    pub gateways: Arc<Semaphore>,
    /// To ask peers for one slot of a log that is not here.
    pub slots: SlotTurns,
}

impl Turns {
    /// All of them free; the metrics show those of gateways.
    pub fn new(metrics: &Metrics) -> Self {
        let gateways = Arc::new(Semaphore::new(GATEWAY_TURNS_MAX));
        metrics.watch(Level::permits("weave", "gateway_reads", &gateways, GATEWAY_TURNS_MAX));
        let answers = Arc::new(Semaphore::new(ANSWER_TURNS_MAX));
        Self { answers, gateways, slots: SlotTurns::default() }
    }
}

/// Turns to look for a slot, few of each process.
#[derive(Debug)]
pub struct SlotTurns {
    all: Arc<Semaphore>,
    by_process: Mutex<BTreeMap<Id, Arc<Semaphore>>>,
}

/// A turn, free again when it is dropped.
#[derive(Debug)]
pub struct SlotTurn {
    _of_process: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for SlotTurns {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(SLOT_TURNS_MAX)), by_process: Mutex::default() }
    }
}

impl SlotTurns {
    /// A turn, as soon as those before had theirs; none where that takes too long. Safe to cancel.
    pub async fn take(&self, process: Id) -> Option<SlotTurn> {
        let of_process = {
            let mut all = self.by_process.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= PROCESSES_KEPT_MAX {
                // Who waits for a turn, or has one, holds its semaphore.
                all.retain(|_, turns| Arc::strong_count(turns) > 1);
            }
            let turns = all.entry(process).or_insert_with(|| Arc::new(Semaphore::new(SLOT_TURNS_EACH)));
            Arc::clone(turns)
        };
        let taking = async {
            // First: who waits for others of its process keeps no turn from those of another.
            let of_process = of_process.acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(SlotTurn { _of_process: of_process, _of_all: of_all })
        };
        tokio::time::timeout(SLOT_WAIT, taking).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::time::Instant;

    use super::*;

    const fn id(number: u8) -> Id {
        Id([number; 32])
    }

    #[tokio::test(start_paused = true)]
    async fn looks_for_slots_of_one_process_hold_up_none_for_those_of_another() {
        let turns = SlotTurns::default();
        let first = turns.take(id(0)).await.unwrap();
        let began = Instant::now();
        let (again, other) = tokio::join!(turns.take(id(0)), turns.take(id(1)));
        assert!(again.is_none(), "its peers are silent");
        assert_eq!((began.elapsed(), turns.all.available_permits()), (SLOT_WAIT, SLOT_TURNS_MAX - 2));
        drop((first, other));
        let mut all = Vec::new();
        for number in 0..SLOT_TURNS_MAX {
            all.push(turns.take(id(u8::try_from(number).unwrap())).await.unwrap());
        }
        assert!(turns.take(id(9)).await.is_none(), "as many as may be are under way");
        let (last, ()) = tokio::join!(turns.take(id(9)), async { drop(all.pop()) });
        assert!(last.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn processes_without_a_look_are_forgotten() {
        let turns = SlotTurns::default();
        let held = turns.take(id(255)).await.unwrap();
        for number in 0..2 * PROCESSES_KEPT_MAX {
            let mut process = [0; 32];
            process[..8].copy_from_slice(&number.to_be_bytes());
            turns.take(Id(process)).await.unwrap();
            assert!(turns.by_process.lock().unwrap().len() <= PROCESSES_KEPT_MAX);
        }
        assert!(turns.take(id(255)).await.is_none(), "its turn is taken");
        drop(held);
    }
}
