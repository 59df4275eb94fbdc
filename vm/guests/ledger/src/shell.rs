//! The exports of the plain format. Statics last from message to message, for they lie in linear
//! memory, and so does the heap that they point to.

use std::cell::UnsafeCell;

use super::evaluate;
use super::ledger::Ledger;

/// What lasts, and the last result, which is read after `handle` returned.
struct State(UnsafeCell<(Ledger, String)>);

// SAFETY: a guest has one thread.
unsafe impl Sync for State {}

static STATE: State = State(UnsafeCell::new((Ledger::new(), String::new())));

/// Room for a text of the host; `handle` gives it back.
#[unsafe(no_mangle)]
extern "C" fn alloc(length: usize) -> *mut u8 {
    Box::into_raw(vec![0_u8; length].into_boxed_slice()).cast()
}

/// # Safety
/// The texts lie where [`alloc`] gave room for exactly their lengths.
#[unsafe(no_mangle)]
unsafe extern "C" fn handle(
    message: *mut u8,
    message_length: usize,
    environment: *mut u8,
    environment_length: usize,
) -> u64 {
    let text = |from, length| {
        // SAFETY: as the host promises, each is a box that `alloc` made and nobody else has.
        unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(from, length)) }
    };
    let (message, environment): (Box<[u8]>, Box<[u8]>) =
        (text(message, message_length), text(environment, environment_length));
    // SAFETY: there is one message at a time, and the reference ends with it.
    let (ledger, result) = unsafe { &mut *STATE.0.get() };
    *result = evaluate(ledger, &message, &environment);
    (result.as_ptr() as u64) << 32 | result.len() as u64
}
