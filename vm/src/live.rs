//! One wasmtime store with its instance: what is thrown away when a message fails.

use std::sync::Arc;

use wasmtime::{Func, FuncType, Global, Instance, Memory, Store, Val};

use crate::error::{HostFault, ModuleError, VmError};
use crate::format::{Format, emscripten, plain};
use crate::host::{Cells, GuestHandles, HostState, Stop, asyncify, used};
use crate::image::{MemoryImage, resident_bytes};
use crate::interrupt::{self, Interrupt};
use crate::limits::INITIALISE_GAS;
use crate::meter::{DEPTH_EXPORT, DEPTH_OVER, DEPTH_START, GAS_EXPORT, GLOBAL_EXPORT, USED_EXPORT, depth_of};
use crate::module::{Initial, Template};
use crate::outcome::{Evaluation, Outcome, Trap};
use crate::weave::Weave;

/// What one message may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// Gas that the guard allows.
    pub(crate) gas: u64,
    /// What a module that counts its own gas may count up to.
    pub(crate) own_gas: u64,
}

/// A store whose guest is initialised or restored.
#[derive(Debug)]
pub(crate) struct Live {
    store: Store<HostState>,
    entry: Entry,
    memory: Memory,
    gas: Option<Global>,
    depth: Option<Global>,
    /// Every mutable global of the guest, with its value before each message.
    globals: Vec<(Global, Val)>,
    /// The depth counter before each message.
    depth_start: i64,
}

#[derive(Debug)]
enum Entry {
    Emscripten(emscripten::Entry),
    Plain(plain::Entry),
}

/// An exported function called with addresses and lengths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Export {
    function: Func,
    is_64: bool,
    results: usize,
}

impl Export {
    /// Calls it. A function without a result gives 0; a 32-bit result is unsigned.
    pub(crate) fn call(
        &self,
        store: &mut Store<HostState>,
        arguments: &[u64],
    ) -> Result<u64, wasmtime::Error> {
        let mut values = [Val::I32(0); 4];
        for (value, argument) in values.iter_mut().zip(arguments) {
            *value = if self.is_64 { Val::I64(*argument as i64) } else { Val::I32(*argument as i32) };
        }
        let mut result = [Val::I32(0)];
        self.function.call(
            store,
            values.get(..arguments.len()).unwrap_or_default(),
            result.get_mut(..self.results).unwrap_or_default(),
        )?;
        Ok(match result {
            [Val::I64(value)] => value as u64,
            [Val::I32(value)] => u64::from(value as u32),
            _ => 0,
        })
    }
}

/// Looks up exports and refuses by name the module that lacks one.
pub(crate) struct Exports<'a> {
    store: &'a mut Store<HostState>,
    instance: Instance,
    format: Format,
}

impl Exports<'_> {
    /// A function under one of `names` whose parameters are all addresses of the format's width.
    pub(crate) fn function(
        &mut self,
        names: &[&'static str],
        expected: &'static str,
        parameters: usize,
        results: usize,
    ) -> Result<Export, ModuleError> {
        let found = names.iter().find_map(|name| self.optional(name, parameters, results));
        found.ok_or_else(|| self.missing(names.first().copied().unwrap_or_default(), expected))
    }

    pub(crate) fn optional(&mut self, name: &str, parameters: usize, results: usize) -> Option<Export> {
        let function = self.instance.get_func(&mut *self.store, name)?;
        let ty = function.ty(&*self.store);
        let is_64 = self.format.is_64();
        let fits = ty.params().len() == parameters
            && ty.results().len() == results
            && ty.params().all(|ty| if is_64 { ty.is_i64() } else { ty.is_i32() })
            && ty.results().all(|ty| ty.is_i64() || ty.is_i32());
        fits.then_some(Export { function, is_64, results })
    }

    /// A function without parameters and results that initialises the module, if there is one.
    pub(crate) fn initialiser(&mut self, name: &'static str) -> Result<Option<Func>, ModuleError> {
        let Some(function) = self.instance.get_func(&mut *self.store, name) else { return Ok(None) };
        if !has_type(&function.ty(&*self.store), 0, 0) {
            return Err(self.missing(name, "a function without parameters and results"));
        }
        Ok(Some(function))
    }

    /// A function of whole numbers that may give one, if there is one of this name.
    pub(crate) fn called(
        &mut self,
        name: &'static str,
        expected: &'static str,
        parameters: usize,
    ) -> Result<Option<Func>, ModuleError> {
        let Some(function) = self.instance.get_func(&mut *self.store, name) else { return Ok(None) };
        let ty = function.ty(&*self.store);
        if !has_type(&ty, parameters, 0) && !has_type(&ty, parameters, 1) {
            return Err(self.missing(name, expected));
        }
        Ok(Some(function))
    }

    fn missing(&self, name: &'static str, expected: &'static str) -> ModuleError {
        ModuleError::MissingExport { name, expected, format: self.format.name() }
    }
}

/// Whether a function takes so many whole numbers and gives so many.
fn has_type(ty: &FuncType, parameters: usize, results: usize) -> bool {
    ty.params().len() == parameters
        && ty.results().len() == results
        && ty.params().chain(ty.results()).all(|ty| ty.is_i64() || ty.is_i32())
}

impl Live {
    /// Instantiates a module and runs its own initialisation.
    pub(crate) fn fresh(template: &Template, memory_bytes: u64) -> Result<Self, VmError> {
        let (mut live, instance) = Self::instantiate(template, memory_bytes)?;
        live.refill(INITIALISE_GAS)?;
        let started = match &live.entry {
            Entry::Emscripten(entry) => entry.start(&mut live.store, &instance),
            Entry::Plain(_) => Ok(()),
        };
        // What it did without the memory it wanted says nothing about it.
        if let Some(initial) = live.store.data().limiter.over_limit {
            return Err(VmError::MemoryLimit { initial, limit: memory_bytes });
        }
        if let Err(error) = started {
            return Err(ModuleError::Initialise(live.kind_of(&error)?).into());
        }
        if live.gas_left() < 0 {
            return Err(ModuleError::Initialise(Trap::OutOfGas).into());
        }
        for (global, value) in &mut live.globals {
            *value = global.get(&mut live.store);
        }
        Ok(live)
    }

    /// Instantiates a module with a memory that it had before. Nothing of the guest runs: the
    /// globals get the values that initialisation gives.
    pub(crate) fn restored(
        template: &Template,
        initial: &Initial,
        image: &MemoryImage,
        memory_bytes: u64,
    ) -> Result<Self, VmError> {
        let (mut live, _) = Self::instantiate(template, memory_bytes)?;
        let more = image.byte_len().saturating_sub(live.memory.data_size(&live.store) as u64);
        live.memory
            .grow(&mut live.store, more / crate::LEAF_BYTES as u64)
            .map_err(|error| HostFault::Runtime(format!("a memory image does not fit: {error:#}")))?;
        image.write_to(live.memory.data_mut(&mut live.store), template.data());
        for ((_, value), initial) in live.globals.iter_mut().zip(initial.globals()) {
            *value = *initial;
        }
        Ok(live)
    }

    fn instantiate(template: &Template, memory_bytes: u64) -> Result<(Self, Instance), VmError> {
        if template.least_bytes() > memory_bytes {
            return Err(VmError::MemoryLimit { initial: template.least_bytes(), limit: memory_bytes });
        }
        let mut store = Store::new(template.engine().wasmtime(), HostState::default());
        store.limiter(|state| &mut state.limiter);
        if template.engine().is_interruptible() {
            interrupt::watch(&mut store);
        }
        let instance =
            template.pre().instantiate(&mut store).map_err(|error| match error.downcast_ref() {
                // A data or element segment outside of its memory or table.
                Some(wasmtime::Trap::MemoryOutOfBounds | wasmtime::Trap::TableOutOfBounds) => {
                    ModuleError::Initialise(Trap::Trap)
                }
                _ => ModuleError::Host(HostFault::Runtime(format!("{error:#}"))),
            })?;
        store.data_mut().limiter.govern(memory_bytes);
        let mut exports = Exports { store: &mut store, instance, format: template.format() };
        let entry = match template.format() {
            Format::Plain => Entry::Plain(plain::Entry::find(&mut exports)?),
            format => Entry::Emscripten(emscripten::Entry::find(&mut exports, format)?),
        };
        let name = emscripten::names(template.format()).memory;
        let memory = instance.get_memory(&mut store, name);
        let memory = memory.ok_or(ModuleError::MissingExport {
            name,
            expected: "the memory",
            format: template.format().name(),
        })?;
        let gas = instance.get_global(&mut store, GAS_EXPORT);
        let depth = instance.get_global(&mut store, DEPTH_EXPORT);
        store.data_mut().guest = Some(Self::handles(template, &mut store, instance, memory));
        let names: Vec<Global> = instance
            .exports(&mut store)
            .filter(|export| export.name().starts_with(GLOBAL_EXPORT))
            .filter_map(wasmtime::Export::into_global)
            .collect();
        let globals = names.into_iter().map(|global| (global, global.get(&mut store))).collect();
        Ok((Self { store, entry, memory, gas, depth, globals, depth_start: DEPTH_START }, instance))
    }

    fn handles(
        template: &Template,
        store: &mut Store<HostState>,
        instance: Instance,
        memory: Memory,
    ) -> GuestHandles {
        let format = template.format();
        let names = emscripten::names(format);
        // An export of another type is none: what calls it then fails by name.
        let mut function = |names: &[&str], parameters: usize, results: usize| {
            names.iter().find_map(|name| {
                let function = instance.get_func(&mut *store, name)?;
                has_type(&function.ty(&mut *store), parameters, results).then_some(function)
            })
        };
        let stack_save = function(names.stack_save, 0, 1);
        let stack_restore = function(names.stack_restore, 1, 0);
        let set_threw = function(&[names.set_threw], 2, 0);
        let set_temp_ret = function(names.set_temp_ret, 1, 0);
        let malloc = function(&[names.malloc], 1, 1);
        let errno_location = function(&[names.errno_location], 0, 1);
        // The first three formats call through the table, whatever they export. Types are looked at
        // in each call, which gives arguments of its own.
        let through_exports =
            !matches!(format, Format::Emscripten1 | Format::Emscripten2 | Format::Emscripten3);
        let mut function = |name: &String| instance.get_func(&mut *store, name).filter(|_| through_exports);
        let dyn_calls = template.dyn_calls().iter().map(&mut function).collect();
        GuestHandles {
            memory,
            gas: instance.get_global(&mut *store, GAS_EXPORT),
            depth: instance.get_global(&mut *store, DEPTH_EXPORT),
            used: instance.get_global(&mut *store, USED_EXPORT),
            table: instance.get_table(&mut *store, names.table),
            stack_save,
            stack_restore,
            set_threw,
            set_temp_ret,
            malloc,
            errno_location,
            asyncify: format.unwinds().then(|| asyncify::Exports::find(&mut *store, &instance)).flatten(),
            dyn_calls,
        }
    }

    /// Evaluates one message. Afterwards the memory is in doubt unless it returned.
    pub(crate) fn evaluate(
        &mut self,
        message: &[u8],
        environment: &[u8],
        Allowance { gas, own_gas }: Allowance,
        weave: &Arc<dyn Weave>,
    ) -> Result<Evaluation, HostFault> {
        let state = self.store.data_mut();
        state.weave = Arc::clone(weave);
        state.own_gas_limit = own_gas;
        let is_ended = state.interrupt.as_ref().is_some_and(Interrupt::is_ended);
        self.reset(gas)?;
        if is_ended {
            return Err(HostFault::Interrupted);
        }
        let ended = match &self.entry {
            Entry::Emscripten(entry) => entry.handle(&mut self.store, self.memory, message, environment),
            Entry::Plain(entry) => entry.handle(&mut self.store, self.memory, message, environment),
        };
        let outcome = match ended {
            Ok(_) if self.gas_left() < 0 => Outcome::Trapped(Trap::OutOfGas),
            Ok(text) => Outcome::Returned(text),
            Err(error) => Outcome::Trapped(self.kind_of(&error)?),
        };
        let gas = self.gas_spent(gas);
        let gas_used = used(&mut self.store).unwrap_or(self.store.data().cells.own_gas);
        Ok(Evaluation { outcome, gas, gas_used: u64::try_from(gas_used).unwrap_or(0) })
    }

    /// Lets its messages be ended.
    pub(crate) fn heed(&mut self, interrupt: Interrupt) {
        self.store.data_mut().interrupt = Some(interrupt);
    }

    /// Everything but the memory to what it is before each message.
    fn reset(&mut self, gas: u64) -> Result<(), HostFault> {
        for (global, value) in &self.globals {
            global
                .set(&mut self.store, *value)
                .map_err(|error| HostFault::Runtime(format!("a global cannot be reset: {error:#}")))?;
        }
        let state = self.store.data_mut();
        state.cells = Cells::default();
        state.limiter.refused = false;
        self.refill(gas)
    }

    fn refill(&mut self, gas: u64) -> Result<(), HostFault> {
        let gas = i64::try_from(gas).unwrap_or(i64::MAX);
        let used = self.store.data().guest.as_ref().and_then(|guest| guest.used);
        for (counter, value) in [(self.gas, gas), (self.depth, self.depth_start), (used, 0)] {
            if let Some(counter) = counter {
                counter
                    .set(&mut self.store, Val::I64(value))
                    .map_err(|error| HostFault::Runtime(format!("a counter cannot be set: {error:#}")))?;
            }
        }
        Ok(())
    }

    /// What the newest message used of so much gas, also where a host fault ended it.
    pub(crate) fn gas_spent(&mut self, given: u64) -> u64 {
        if self.gas.is_some() { given.saturating_sub(self.gas_left().max(0) as u64) } else { 0 }
    }

    fn gas_left(&mut self) -> i64 {
        self.gas.and_then(|gas| gas.get(&mut self.store).i64()).unwrap_or(0)
    }

    /// Whose fault an ended call is, and how the guest failed if it is the guest's.
    fn kind_of(&mut self, error: &wasmtime::Error) -> Result<Trap, HostFault> {
        let mut trap = Trap::Trap;
        if let Some(stop) = error.downcast_ref::<Stop>() {
            match stop {
                Stop::HostMemory(detail) => return Err(HostFault::Runtime(detail.clone())),
                Stop::ItemNotHere { id, why } => {
                    return Err(HostFault::ItemNotHere { id: id.clone(), why: why.clone() });
                }
                Stop::Interrupted => return Err(HostFault::Interrupted),
                Stop::MalformedResult => trap = Trap::MalformedResult,
                Stop::OutOfGas => trap = Trap::OutOfGas,
                Stop::LongJump | Stop::Abort(_) | Stop::Exit | Stop::Depth => {}
            }
        } else {
            of_the_guest(error)?;
        }
        tracing::debug!(%error, "a guest failed");
        let depth = self.depth.and_then(|depth| depth.get(&mut self.store).i64()).unwrap_or(DEPTH_START);
        Ok(if self.gas_left() < 0 {
            Trap::OutOfGas
        } else if depth & DEPTH_OVER != 0 {
            Trap::Depth
        } else if trap == Trap::Trap && self.store.data().limiter.refused {
            Trap::OutOfMemory
        } else {
            trap
        })
    }

    /// Begins each message as if so much depth were in use already.
    pub(crate) fn reserve_depth(&mut self, bytes: u64, frames: u64) {
        self.depth_start = DEPTH_START + depth_of(bytes, frames);
    }

    /// The memory as it is, sharing what did not change since `before`.
    pub(crate) fn image(&self, template: &Template, before: Option<&MemoryImage>) -> MemoryImage {
        MemoryImage::capture(self.memory.data(&self.store), template.data(), before)
    }

    /// Bytes of the machine's memory that the guest's takes up.
    pub(crate) fn resident_bytes(&self) -> u64 {
        resident_bytes(self.memory.data(&self.store))
    }

    /// The values of the globals before each message.
    pub(crate) fn initial_globals(&self) -> Vec<Val> {
        self.globals.iter().map(|(_, value)| *value).collect()
    }
}

/// Sorts out errors that are not the guest's doing.
fn of_the_guest(error: &wasmtime::Error) -> Result<(), HostFault> {
    use wasmtime::Trap as T;
    if error.is::<wasmtime::ThrownException>() {
        return Ok(());
    }
    match error.downcast_ref::<T>() {
        Some(
            T::MemoryOutOfBounds
            | T::TableOutOfBounds
            | T::IndirectCallToNull
            | T::BadSignature
            | T::IntegerOverflow
            | T::IntegerDivisionByZero
            | T::BadConversionToInteger
            | T::UnreachableCodeReached
            | T::NullReference,
        ) => Ok(()),
        Some(T::StackOverflow) => Err(HostFault::NativeStack),
        _ => Err(HostFault::Runtime(format!("{error:#}"))),
    }
}
