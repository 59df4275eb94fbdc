//! Recovery unasked: a process that is asked for, or that this node works for, and that no peer serves is read from
//! the gateways that the configuration names (`gateways`). Without any nothing happens here.
//!
//! [`machine`] says which process is read next and which has to wait; `task` reads them. What strangers ask for has a
//! limit by the hour, takes one of the places of `spawn_budget` and room of `others_logs`, and is computed on demand if
//! `compute_for` takes it.

pub mod machine;
mod shares;
mod task;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use weft_protocol::Id;

use crate::metrics::{Level, Metrics};

use machine::By;
pub use task::UnaskedTask;

/// Wishes on their way to the loop; more are dropped, and come again with whoever asks again.
const WISHES_MAX: usize = 256;

/// A process that somebody wants.
#[derive(Debug)]
pub struct Wish {
    process: Id,
    by: By,
    /// Hears whether any of it came.
    done: Option<oneshot::Sender<bool>>,
}

/// How others ask for a process that nobody serves.
#[derive(Debug, Clone)]
pub struct Wishes {
    sender: mpsc::Sender<Wish>,
    reading: Arc<Mutex<BTreeSet<Id>>>,
    /// Held while it is changed on disk how much came for strangers.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Wishes {
    /// A handle, and where its task hears.
    pub fn new(metrics: &Metrics) -> (Self, mpsc::Receiver<Wish>) {
        let (sender, inbox) = mpsc::channel(WISHES_MAX);
        metrics.watch(Level::channel("recover", "inbox", &sender));
        (Self { sender, reading: Arc::default(), turn: Arc::default() }, inbox)
    }

    /// Somebody asked for it; nobody waits.
    pub fn asked(&self, process: Id) {
        // Where there is no place now it is asked for again.
        let _ = self.sender.try_send(Wish { process, by: By::Stranger, done: None });
    }

    /// Its operator wants it: waits until it is read, and says whether any of it came.
    pub async fn read(&self, process: Id) -> bool {
        let (done, came) = oneshot::channel();
        let wish = Wish { process, by: By::Operator, done: Some(done) };
        self.sender.try_send(wish).is_ok() && came.await.unwrap_or_default()
    }

    /// What is being read now.
    pub fn reading(&self) -> Vec<Id> {
        self.held().iter().copied().collect()
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<Id>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
