//! Threads with a native stack large enough for any guest within the depth limit.
//!
//! `evaluate` runs in place on such a thread and otherwise borrows one for the call, so that a
//! caller cannot get it wrong, only slower (about 30 us).

use std::cell::Cell;
use std::io;
use std::thread::{self, JoinHandle};

use crate::error::HostFault;
use crate::limits::GUEST_STACK_BYTES;

thread_local! {
    static IS_GUEST_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread on which guests are evaluated in place. A compute pool is made of these.
pub fn spawn_guest_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).stack_size(GUEST_STACK_BYTES).spawn(move || {
        IS_GUEST_THREAD.set(true);
        work()
    })
}

/// Runs `work` on a guest thread: this one if it is one, else one that lives as long as the call.
pub(crate) fn on_guest_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, HostFault> {
    if IS_GUEST_THREAD.get() {
        return Ok(work());
    }
    thread::scope(|scope| {
        let borrowed = thread::Builder::new()
            .name("weft-guest".to_owned())
            .stack_size(GUEST_STACK_BYTES)
            .spawn_scoped(scope, || {
                IS_GUEST_THREAD.set(true);
                work()
            })
            .map_err(HostFault::Thread)?;
        match borrowed.join() {
            Ok(value) => Ok(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
