//! What a guest can ask of its host, and what the host keeps for it during one message.
//!
//! Everything in [`HostState`] is fresh for each message, so that a message's result does not
//! depend on which instance evaluated it.

use std::sync::Arc;

use wasmtime::{AsContextMut, Caller, Func, Global, Memory, Table, Val, ValType};

use crate::interrupt::Interrupt;
use crate::limits::SLOT_BYTES;
use crate::meter::cost::{BYTE_GAS, HOST_CALL_GAS};
use crate::meter::{DEPTH_OVER, depth_of};
use crate::weave::{NoWeave, Weave};

pub(crate) mod args;
pub(crate) mod asyncify;
pub(crate) mod calendar;
pub(crate) mod files;
pub(crate) mod invoke;
pub(crate) mod strftime;
pub(crate) mod weave;

/// Where the counter that modules take for a clock starts, as in the reference's loader.
const CLOCK_START: u64 = 10_000;

/// Why a call into the guest ended early. Private to this crate, so nothing else can be taken
/// for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The guest jumps back to a `setjmp`; `invoke_*` catches it.
    #[error("longjmp")]
    LongJump,
    /// The guest gave up, or passed something to the host that makes no sense.
    #[error("{0}")]
    Abort(&'static str),
    /// The guest left its program.
    #[error("exit")]
    Exit,
    /// A host call used more gas than was left, or the guest itself counted more than its limit.
    #[error("out of gas in a host call")]
    OutOfGas,
    /// A host call went deeper than is allowed.
    #[error("too deep in a host call")]
    Depth,
    /// What the guest returned leads to no text within the limit.
    #[error("malformed result")]
    MalformedResult,
    /// Somebody ended the message.
    #[error("interrupted")]
    Interrupted,
    /// Memory could not be had though the rules allow it.
    #[error("the host has no memory: {0}")]
    HostMemory(String),
    /// An item that the guest may read is not here.
    #[error("the item {id} is not here: {why}")]
    ItemNotHere { id: String, why: String },
}

/// One store's data.
#[derive(Debug)]
pub(crate) struct HostState {
    pub(crate) guest: Option<GuestHandles>,
    pub(crate) limiter: Limiter,
    pub(crate) cells: Cells,
    /// What the message at hand may read.
    pub(crate) weave: Arc<dyn Weave>,
    /// What a module that counts its own gas may count up to.
    pub(crate) own_gas_limit: u64,
    /// What ends its messages, if something may.
    pub(crate) interrupt: Option<Interrupt>,
}

impl Default for HostState {
    fn default() -> Self {
        Self {
            guest: None,
            limiter: Limiter::default(),
            cells: Cells::default(),
            weave: Arc::new(NoWeave),
            own_gas_limit: u64::MAX,
            interrupt: None,
        }
    }
}

/// What the host calls in the guest. Set once, right after instantiation.
#[derive(Debug)]
pub(crate) struct GuestHandles {
    pub(crate) memory: Memory,
    pub(crate) gas: Option<Global>,
    pub(crate) depth: Option<Global>,
    /// The reference's count of gas, where it counts.
    pub(crate) used: Option<Global>,
    pub(crate) table: Option<Table>,
    pub(crate) stack_save: Option<Func>,
    pub(crate) stack_restore: Option<Func>,
    pub(crate) set_threw: Option<Func>,
    pub(crate) set_temp_ret: Option<Func>,
    pub(crate) malloc: Option<Func>,
    pub(crate) errno_location: Option<Func>,
    /// Where asking the drive unwinds the guest.
    pub(crate) asyncify: Option<asyncify::Exports>,
    /// For each `invoke_*` import, in their order, the export that makes the same call.
    pub(crate) dyn_calls: Vec<Option<Func>>,
}

/// The host's own state that a guest can observe.
#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) clock: u64,
    pub(crate) files: files::Descriptors,
    /// The upper half of the last 64-bit result, in the first two formats.
    pub(crate) temp_ret: i32,
    /// What a module that counts its own gas has counted.
    pub(crate) own_gas: i64,
    pub(crate) asyncify: asyncify::State,
}

impl Default for Cells {
    fn default() -> Self {
        Self {
            clock: CLOCK_START,
            files: files::Descriptors::default(),
            temp_ret: 0,
            own_gas: 0,
            asyncify: asyncify::State::default(),
        }
    }
}

impl Cells {
    /// The counter's value; each reading moves it.
    pub(crate) fn tick(&mut self) -> u64 {
        let now = self.clock;
        self.clock += 1;
        now
    }
}

/// Grants memory by rule, never by what this machine has.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// The process's limit. None while the instance is made: what that takes was compared with it
    /// before, and the engine's own heap for exceptions does not count.
    memory_bytes: Option<u64>,
    /// A growth was refused during this message.
    pub(crate) refused: bool,
    /// The first size that the limit alone refused.
    pub(crate) over_limit: Option<u64>,
}

impl Limiter {
    /// From now on memory grows as the process's limit says.
    pub(crate) fn govern(&mut self, memory_bytes: u64) {
        self.memory_bytes = Some(memory_bytes);
    }
}

impl wasmtime::ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        let granted = allowed && self.memory_bytes.is_none_or(|most| desired as u64 <= most);
        self.refused |= !granted;
        if allowed && !granted {
            self.over_limit.get_or_insert(desired as u64);
        }
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // The growth was granted, so the failure is this machine's and must not reach the guest.
        Err(Stop::HostMemory(format!("{error:#}")).into())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Only at instantiation: the pass refuses `table.grow` and large tables.
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

/// A guest seen from one of its host functions.
pub(crate) struct Guest<'a>(pub(crate) Caller<'a, HostState>);

impl Guest<'_> {
    pub(crate) fn handles(&self) -> Result<&GuestHandles, Stop> {
        self.0.data().guest.as_ref().ok_or(Stop::Abort("a host call before the guest is set up"))
    }

    pub(crate) fn cells(&mut self) -> &mut Cells {
        &mut self.0.data_mut().cells
    }

    /// Takes the price of a host call that touches `bytes` bytes.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), Stop> {
        let price = HOST_CALL_GAS.saturating_add(BYTE_GAS.saturating_mul(bytes));
        self.charge_gas(price)
    }

    /// Takes gas.
    pub(crate) fn charge_gas(&mut self, gas: u64) -> Result<(), Stop> {
        let Some(counter) = self.handles()?.gas else { return Ok(()) };
        let left = counter.get(&mut self.0).i64().unwrap_or(0);
        let left = left.saturating_sub_unsigned(gas);
        set_global(&mut self.0, counter, left)?;
        if left < 0 { Err(Stop::OutOfGas) } else { Ok(()) }
    }

    /// What the reference, or the module itself, has counted of this message.
    pub(crate) fn gas_used(&mut self) -> i64 {
        used(&mut self.0).unwrap_or(self.0.data().cells.own_gas)
    }

    /// The bytes of a range of memory.
    pub(crate) fn bytes(&self, address: u64, length: u64) -> Result<&[u8], Stop> {
        let memory = self.handles()?.memory;
        part(memory.data(&self.0), address, length).ok_or(OUTSIDE)
    }

    /// The bytes of a range of memory, to be written.
    pub(crate) fn bytes_mut(&mut self, address: u64, length: u64) -> Result<&mut [u8], Stop> {
        let memory = self.handles()?.memory;
        let range = range(address, length).ok_or(OUTSIDE)?;
        memory.data_mut(&mut self.0).get_mut(range).ok_or(OUTSIDE)
    }

    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Stop> {
        self.bytes_mut(address, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn i32_at(&self, address: u64) -> Result<i32, Stop> {
        let bytes = self.bytes(address, 4)?;
        bytes.try_into().map(i32::from_le_bytes).map_err(|_| OUTSIDE)
    }

    /// A pointer or length of 4 or 8 bytes.
    pub(crate) fn word_at(&self, address: u64, is_64: bool) -> Result<u64, Stop> {
        if !is_64 {
            return Ok(u64::from(self.i32_at(address)? as u32));
        }
        let bytes = self.bytes(address, 8)?;
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| OUTSIDE)
    }

    pub(crate) fn set_word(&mut self, address: u64, is_64: bool, value: u64) -> Result<(), Stop> {
        if is_64 {
            self.write(address, &value.to_le_bytes())
        } else {
            self.write(address, &(value as u32).to_le_bytes())
        }
    }

    /// The text at an address, up to its zero byte, as lossy UTF-8.
    pub(crate) fn text(&self, address: u64, max: usize) -> Result<String, Stop> {
        let memory = self.handles()?.memory;
        let text = c_text(memory.data(&self.0), address, max).ok_or(OUTSIDE)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    pub(crate) fn memory_bytes(&self) -> Result<u64, Stop> {
        Ok(self.handles()?.memory.data_size(&self.0) as u64)
    }

    /// Grows the memory by whole pages; false when the rules refuse it.
    pub(crate) fn grow(&mut self, pages: u64) -> Result<bool, wasmtime::Error> {
        let memory = self.handles()?.memory;
        match memory.grow(&mut self.0, pages) {
            Ok(_) => Ok(true),
            Err(error) if error.is::<Stop>() => Err(error),
            Err(_) => {
                self.0.data_mut().limiter.refused = true;
                Ok(false)
            }
        }
    }
}

const OUTSIDE: Stop = Stop::Abort("a host call with an address outside of memory");

pub(crate) fn range(address: u64, length: u64) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(address).ok()?;
    Some(start..start.checked_add(usize::try_from(length).ok()?)?)
}

/// A range of a memory.
pub(crate) fn part(memory: &[u8], address: u64, length: u64) -> Option<&[u8]> {
    memory.get(range(address, length)?)
}

/// The bytes at an address up to a zero byte, which must come within `max`.
pub(crate) fn c_text(memory: &[u8], address: u64, max: usize) -> Option<&[u8]> {
    let rest = memory.get(usize::try_from(address).ok()?..)?;
    let window = rest.get(..rest.len().min(max.saturating_add(1)))?;
    let length = window.iter().position(|byte| *byte == 0)?;
    window.get(..length)
}

/// Sets an i64 counter.
pub(crate) fn set_global(store: impl AsContextMut, global: Global, value: i64) -> Result<(), Stop> {
    global.set(store, Val::I64(value)).map_err(|_| Stop::Abort("a counter of another type"))
}

/// The reference's count, where it counts.
pub(crate) fn used(mut store: impl AsContextMut<Data = HostState>) -> Option<i64> {
    let used = store.as_context().data().guest.as_ref()?.used?;
    used.get(&mut store).i64()
}

/// Puts the count back to what it was; nothing where there is none.
pub(crate) fn set_used(
    mut store: impl AsContextMut<Data = HostState>,
    count: Option<i64>,
) -> Result<(), Stop> {
    let used = store.as_context().data().guest.as_ref().and_then(|guest| guest.used);
    match (used, count) {
        (Some(used), Some(count)) => set_global(&mut store, used, count),
        _ => Ok(()),
    }
}

/// Calls a function of the guest with whole numbers in the widths that it declares, and gives its
/// result, if it has one. One that takes or gives something else ends the guest.
pub(crate) fn call_word(
    mut store: impl AsContextMut,
    function: Func,
    arguments: &[u64],
) -> Result<u64, wasmtime::Error> {
    let ty = function.ty(&store);
    let values: Option<Vec<Val>> = ty
        .params()
        .zip(arguments)
        .map(|(ty, argument)| match ty {
            ValType::I32 => Some(Val::I32(*argument as i32)),
            ValType::I64 => Some(Val::I64(*argument as i64)),
            _ => None,
        })
        .collect();
    let values = values.filter(|_| ty.params().len() == arguments.len() && ty.results().len() <= 1);
    let values = values.ok_or(Stop::Abort("an export of another type"))?;
    let mut results = [Val::I32(0)];
    let given = results.get_mut(..ty.results().len()).unwrap_or_default();
    function.call(&mut store, &values, given)?;
    Ok(match results {
        [Val::I64(value)] => value as u64,
        [Val::I32(value)] => u64::from(value as u32),
        _ => 0,
    })
}

/// Adds the depth of one call that re-enters the guest; gives the counter from before it.
pub(crate) fn enter(guest: &mut Guest<'_>, bytes: u64) -> Result<Option<(Global, i64)>, Stop> {
    debug_assert!(bytes.is_multiple_of(SLOT_BYTES));
    let Some(depth) = guest.handles()?.depth else { return Ok(None) };
    let before = depth.get(&mut guest.0).i64().unwrap_or(0);
    let now = before + depth_of(bytes, 0);
    if now & DEPTH_OVER != 0 {
        set_global(&mut guest.0, depth, DEPTH_OVER)?;
        return Err(Stop::Depth);
    }
    set_global(&mut guest.0, depth, now)?;
    Ok(Some((depth, before)))
}
