//! The compiler and its settings. Every setting that could change a result is fixed here.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::Cache;
use crate::compiler::{Apart, Compiler};
use crate::error::{HostFault, ModuleError, VmError};
use crate::format::Format;
use crate::interrupt::Interrupt;
use crate::limits::{CACHE_BYTES_MAX, EXCEPTION_HEAP_BYTES, MODULE_BYTES_MAX, WASM_STACK_BYTES};
use crate::meter::{self, Metered, Policy};
use crate::module::Module;

/// Whether guests are guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guard {
    /// Gas and depth are counted.
    #[default]
    On,
    /// The module runs as it is, without any limit on time: only to measure what the guard costs.
    Off,
}

/// How an engine is set up. Nothing in it changes what a message gives that is not interrupted.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Folder of compiled modules, made if it is missing. It must belong to this node alone:
    /// what lies there is run. Without one every module is compiled anew.
    pub cache_dir: Option<PathBuf>,
    /// Bytes that the folder may take; the oldest modules go for a new one.
    pub cache_bytes: u64,
    /// Who compiles what the cache does not have: for modules of strangers. Without one it is done here, however
    /// much time and memory that takes.
    pub compiler: Option<Compiler>,
    /// Leave this alone outside of benchmarks.
    pub guard: Guard,
    /// Leave this alone outside of benchmarks: without it nothing is remembered for rolling back,
    /// and rolling back fails.
    pub roll_back: bool,
    /// Whether messages can be ended by an [`Interrupt`]: for those that no log holds.
    pub interruptible: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cache_dir: None,
            cache_bytes: CACHE_BYTES_MAX,
            compiler: None,
            guard: Guard::On,
            roll_back: true,
            interruptible: false,
        }
    }
}

/// Compiles modules. Cheap to clone; all clones share one compiler and one cache.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wasmtime: wasmtime::Engine,
    cache: Option<Cache>,
    compiler: Option<Apart>,
    guard: Guard,
    roll_back: bool,
    interruptible: bool,
}

impl Engine {
    /// Starts the compiler and opens the cache folder.
    pub fn new(config: EngineConfig) -> Result<Self, VmError> {
        let wasmtime = wasmtime::Engine::new(&settings(config.interruptible))
            .map_err(|error| VmError::Engine(format!("{error:#}")))?;
        let (guard, roll_back, interruptible) = (config.guard, config.roll_back, config.interruptible);
        let cache = config.cache_dir.map(|folder| Cache::open(folder, config.cache_bytes, &wasmtime));
        let cache = cache.transpose()?;
        let compiler = config.compiler.map(Apart::new);
        Ok(Self(Arc::new(Shared { wasmtime, cache, compiler, guard, roll_back, interruptible })))
    }

    /// Validates, guards and compiles a module, or refuses it with a reason that names the cause.
    ///
    /// Takes about a third of a second per megabyte unless the cache has it; call it where that
    /// may block.
    pub fn compile(&self, wasm: &[u8], format: Format) -> Result<Module, ModuleError> {
        let kept = self.kept(wasm, format)?;
        if let Some(module) = self.open(kept.as_ref(), format)? {
            return Ok(module);
        }
        let Metered { wasm: guarded, data } = self.instrument(wasm, format)?;
        let code = self.code(&guarded)?;
        if let Some((cache, key)) = &kept {
            cache.store(key, &code, &data);
        }
        Module::new(self.clone(), format, code, data)
    }

    /// The module as [`compile`](Self::compile) gives it, if the cache has it: in milliseconds.
    pub fn compiled(&self, wasm: &[u8], format: Format) -> Result<Option<Module>, ModuleError> {
        self.open(self.kept(wasm, format)?.as_ref(), format)
    }

    /// Where the cache keeps a module, if there is one.
    fn kept(&self, wasm: &[u8], format: Format) -> Result<Option<(&Cache, String)>, ModuleError> {
        if wasm.len() > MODULE_BYTES_MAX {
            return Err(ModuleError::TooLarge { bytes: wasm.len(), max: MODULE_BYTES_MAX });
        }
        Ok(self.0.cache.as_ref().map(|cache| (cache, cache.key(wasm, format, self.0.guard))))
    }

    fn open(&self, kept: Option<&(&Cache, String)>, format: Format) -> Result<Option<Module>, ModuleError> {
        let loaded = kept.and_then(|(cache, key)| cache.load(key, &self.0.wasmtime));
        loaded.map(|(code, data)| Module::new(self.clone(), format, code, data)).transpose()
    }

    /// Compiles a guarded module.
    fn code(&self, guarded: &[u8]) -> Result<wasmtime::Module, ModuleError> {
        let Shared { wasmtime, compiler, interruptible, .. } = &*self.0;
        let Some(compiler) = compiler else {
            return wasmtime::Module::new(wasmtime, guarded)
                .map_err(|error| ModuleError::Invalid(format!("{error:#}")));
        };
        let artefact = compiler.compile(guarded, *interruptible)?;
        // SAFETY: this program made it, and nobody else came to it: it came through a pipe.
        unsafe { wasmtime::Module::deserialize(wasmtime, &artefact) }
            .map_err(|error| HostFault::Runtime(format!("what was compiled: {error:#}")).into())
    }

    /// Validates and guards a module without compiling it: what the compiler would be given.
    #[doc(hidden)]
    pub fn guarded(&self, wasm: &[u8], format: Format) -> Result<Vec<u8>, ModuleError> {
        let guarded = self.instrument(wasm, format)?.wasm;
        // The pass validated what it was given; what it made must be valid too.
        wasmtime::Module::validate(&self.0.wasmtime, &guarded)
            .map_err(|error| HostFault::Runtime(format!("the guarded module: {error:#}")))?;
        Ok(guarded)
    }

    fn instrument(&self, wasm: &[u8], format: Format) -> Result<Metered, ModuleError> {
        let policy = Policy {
            memory64: format.is_64(),
            copy_import: format.copy_import(),
            guard: self.0.guard == Guard::On,
            merge: true,
            count: format.is_metered(),
            exceptions: format == Format::Plain,
            lower: true,
            uncalled: format.uncalled_exports(),
            memory_export: format.memory_export(),
        };
        meter::instrument(wasm, &policy)
    }

    /// Ends what a [`Compiler`] compiles, and has it compile nothing more: before this program ends.
    pub fn end_compiling(&self) {
        if let Some(compiler) = &self.0.compiler {
            compiler.end();
        }
    }

    /// What ends messages that heed it.
    pub fn interrupt(&self) -> Interrupt {
        Interrupt::new(&self.0.wasmtime)
    }

    pub(crate) fn is_interruptible(&self) -> bool {
        self.0.interruptible
    }

    pub(crate) fn rolls_back(&self) -> bool {
        self.0.roll_back
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.wasmtime
    }
}

pub(crate) fn settings(interruptible: bool) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        .cranelift_opt_level(wasmtime::OptLevel::Speed)
        // Results must not depend on the CPU: each makes other NaNs.
        .cranelift_nan_canonicalization(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(true)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_exceptions(true)
        // What a guest throws lies on a collected heap of the engine. It never grows, so that no
        // result depends on when it was last collected: the pass lets one exception live at a time.
        .gc_heap_initial_size(EXCEPTION_HEAP_BYTES)
        .gc_heap_reservation(EXCEPTION_HEAP_BYTES)
        .gc_heap_reservation_for_growth(0)
        .gc_heap_guard_size(0)
        .gc_heap_may_move(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        // Guests return from setjmp by host errors: a backtrace for each would cost ten times
        // the jump.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        // For debuggers alone: they are read and hashed with the code.
        .native_unwind_info(cfg!(windows))
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        // Not used, but must not be less.
        .async_stack_size(WASM_STACK_BYTES)
        .consume_fuel(false)
        .epoch_interruption(interruptible)
        .parallel_compilation(true);
    config
}
