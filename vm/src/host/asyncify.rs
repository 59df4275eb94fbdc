//! The unwinding that the reference's loader does where a guest asks for something that takes time.
//!
//! A host answers at once here, so nothing has to be unwound. But the guest's own code does the
//! unwinding and winding up again, and where its gas is counted that counts. So in the `-metering`
//! formats the host does as the loader does: it allocates a stack in the guest, tells the guest to
//! unwind, lets `handle` return, tells it to wind up, calls `handle` again, and answers when the same
//! call comes once more.

use wasmtime::{AsContextMut, Func, Instance};

use super::args::Args;
use super::{Guest, HostState, Stop, call_word};
use crate::format::Format;

/// Bytes of the stack into which a guest is unwound, as the loader has it.
const STACK_BYTES: u64 = 41_943_040;

/// The exports that begin and end it.
pub(crate) const EXPORTS: [&str; 4] =
    ["asyncify_start_unwind", "asyncify_stop_unwind", "asyncify_start_rewind", "asyncify_stop_rewind"];

/// What the guest offers for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exports {
    malloc: Func,
    free: Func,
    start_unwind: Func,
    stop_unwind: Func,
    start_rewind: Func,
    stop_rewind: Func,
}

impl Exports {
    /// All of them, or none: a module that was built without answers are given at once.
    pub(crate) fn find(mut store: impl AsContextMut, instance: &Instance) -> Option<Self> {
        let mut function = |name| instance.get_func(&mut store, name);
        let [start_unwind, stop_unwind, start_rewind, stop_rewind] = EXPORTS;
        Some(Self {
            malloc: function("malloc")?,
            free: function("free")?,
            start_unwind: function(start_unwind)?,
            stop_unwind: function(stop_unwind)?,
            start_rewind: function(start_rewind)?,
            stop_rewind: function(stop_rewind)?,
        })
    }
}

/// Where a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    #[default]
    Running,
    /// On its way out to `handle`, with the stack at `data`; `answer` is for when it is back.
    Unwinding { data: u64, answer: i64 },
    /// On its way in to the call that is answered.
    Rewinding { data: u64, answer: i64 },
}

/// Answers a call that takes time in the reference.
pub(crate) fn sleep(
    guest: &mut Guest<'_>,
    args: Args<'_>,
    format: Format,
    work: impl FnOnce(&mut Guest<'_>, Args<'_>) -> Result<i64, Stop>,
) -> Result<i64, wasmtime::Error> {
    let Some(exports) = guest.handles()?.asyncify else { return Ok(work(guest, args)?) };
    match guest.cells().asyncify {
        State::Running => {
            let answer = work(guest, args)?;
            let is_64 = format.is_64();
            let word = if is_64 { 8 } else { 4 };
            let stack = 3 * word;
            let data = call_word(&mut guest.0, exports.malloc, &[stack + STACK_BYTES])?;
            if data == 0 {
                return Err(Stop::Abort("no memory to unwind into").into());
            }
            let stack = data.saturating_add(stack);
            guest.set_word(data, is_64, stack)?;
            guest.set_word(data.saturating_add(word), is_64, stack.saturating_add(STACK_BYTES))?;
            // The number of the export to call again: `handle` is the only one.
            guest.write(data.saturating_add(2 * word), &[0; 4])?;
            guest.cells().asyncify = State::Unwinding { data, answer };
            call_word(&mut guest.0, exports.start_unwind, &[data])?;
            Ok(0)
        }
        State::Rewinding { data, answer } => {
            guest.cells().asyncify = State::Running;
            call_word(&mut guest.0, exports.stop_rewind, &[])?;
            call_word(&mut guest.0, exports.free, &[data])?;
            Ok(answer)
        }
        State::Unwinding { .. } => Err(Stop::Abort("a second wait while unwinding").into()),
    }
}

/// When the guest came out of `handle` because it waits: whether to call `handle` again.
pub(crate) fn wakes(store: &mut wasmtime::Store<HostState>) -> Result<bool, wasmtime::Error> {
    let State::Unwinding { data, answer } = store.data().cells.asyncify else { return Ok(false) };
    let exports = store.data().guest.as_ref().and_then(|guest| guest.asyncify);
    let exports = exports.ok_or(Stop::Abort("a wait without asyncify"))?;
    call_word(&mut *store, exports.stop_unwind, &[])?;
    store.data_mut().cells.asyncify = State::Rewinding { data, answer };
    call_word(&mut *store, exports.start_rewind, &[data])?;
    Ok(true)
}
