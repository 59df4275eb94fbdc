//! Ending a message from another thread.
//!
//! When a message ends so depends on this machine's time, so it has no outcome: only what no log
//! holds is evaluated on an engine that allows it. Such an engine's code looks at a counter in every
//! loop and function, which takes a few per cent; all others have none of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::{Store, UpdateDeadline};

use crate::host::{HostState, Stop};

/// Ends the messages of the instances that heed it. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Interrupt {
    ended: Arc<AtomicBool>,
    engine: wasmtime::Engine,
}

impl Interrupt {
    /// One that has not ended anything yet. Also has the guests look again that were to end and
    /// missed it.
    pub(crate) fn new(engine: &wasmtime::Engine) -> Self {
        engine.increment_epoch();
        Self { ended: Arc::default(), engine: engine.clone() }
    }

    /// Ends what heeds it, from now on, with [`HostFault::Interrupted`](crate::HostFault::Interrupted).
    ///
    /// A guest that looks in this very moment may see neither: it has read that nothing ended, and waits
    /// for the next move of the counter from where that is by then. So whoever must be sure calls this
    /// again until the guest has returned.
    pub fn end(&self) {
        // Before the counter moves, so that a guest that looks because it moved sees this too.
        self.ended.store(true, Ordering::SeqCst);
        self.engine.increment_epoch();
    }

    /// Whether [`end`](Self::end) was called.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// Has a store's guest ask at every move of the counter whether it is to end.
pub(crate) fn watch(store: &mut Store<HostState>) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        let interrupt = store.data().interrupt.as_ref();
        if interrupt.is_some_and(Interrupt::is_ended) {
            return Err(Stop::Interrupted.into());
        }
        Ok(UpdateDeadline::Continue(1))
    });
}
