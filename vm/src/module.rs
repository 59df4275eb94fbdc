//! A compiled module, ready to be instantiated or restored any number of times.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use wasmtime::{InstancePre, Linker, Val};

use crate::engine::Engine;
use crate::error::{HostFault, ModuleError, VmError};
use crate::format::{Format, emscripten, plain};
use crate::host::HostState;
use crate::image::MemoryImage;
use crate::instance::Instance;
use crate::limits::{INITIALISE_MEMORY_BYTES, MEMORY_BYTES_MAX};
use crate::live::Live;
use crate::outcome::Limits;
use crate::thread::on_guest_thread;

/// A compiled module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Module(Arc<Prepared>);

#[derive(Debug)]
struct Prepared {
    template: Template,
    /// Set by the first initialisation that had memory enough.
    initial: OnceLock<Initial>,
}

/// What every instance of a module is made from.
pub(crate) struct Template {
    engine: Engine,
    format: Format,
    pre: InstancePre<HostState>,
    data: Vec<Range<u64>>,
    dyn_calls: Vec<String>,
    /// Bytes of memory before anything runs.
    least_bytes: u64,
}

/// A module's state after its own initialisation, the same for every instance.
#[derive(Debug)]
pub(crate) struct Initial {
    image: MemoryImage,
    globals: Vec<Val>,
}

impl Initial {
    pub(crate) fn globals(&self) -> &[Val] {
        &self.globals
    }
}

impl Template {
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn pre(&self) -> &InstancePre<HostState> {
        &self.pre
    }

    /// Bytes of memory that it begins with, before its own initialisation.
    pub(crate) fn least_bytes(&self) -> u64 {
        self.least_bytes
    }

    /// Where the data segments lie in memory.
    pub(crate) fn data(&self) -> &[Range<u64>] {
        &self.data
    }

    /// The exports that the module's `invoke_*` imports call.
    pub(crate) fn dyn_calls(&self) -> &[String] {
        &self.dyn_calls
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Module {
    /// Links the imports and runs the initialisation once, to know what every instance begins with.
    ///
    /// A module that needs more memory for it than most processes have is initialised when there
    /// is an instance to pay for it: whoever hands in a module alone must not fill this machine.
    pub(crate) fn new(
        engine: Engine,
        format: Format,
        code: wasmtime::Module,
        data: Vec<Range<u64>>,
    ) -> Result<Self, ModuleError> {
        let mut linker = Linker::new(engine.wasmtime());
        let dyn_calls = match format {
            Format::Plain => plain::link(&mut linker, &code)?,
            format => emscripten::link(&mut linker, &code, format)?,
        };
        // Every import is known by name; what is left to go wrong is its type.
        let pre =
            linker.instantiate_pre(&code).map_err(|error| ModuleError::Invalid(format!("{error:#}")))?;
        let least_bytes = least_bytes(&code);
        if least_bytes > MEMORY_BYTES_MAX {
            return Err(ModuleError::Unsupported(format!(
                "{least_bytes} bytes of initial memory (at most {MEMORY_BYTES_MAX})"
            )));
        }
        let template = Template { engine, format, pre, data, dyn_calls, least_bytes };
        let module = Self(Arc::new(Prepared { template, initial: OnceLock::new() }));
        match module.initial(INITIALISE_MEMORY_BYTES) {
            Ok(_) | Err(VmError::MemoryLimit { .. }) => Ok(module),
            Err(VmError::Module(refusal)) => Err(refusal),
            Err(VmError::Host(fault)) => Err(fault.into()),
            Err(other) => Err(HostFault::Runtime(other.to_string()).into()),
        }
    }

    /// What every instance begins with. It is the same whatever the limit: an initialisation that
    /// was refused memory by its limit does not count.
    fn initial(&self, memory_bytes: u64) -> Result<&Initial, VmError> {
        if let Some(initial) = self.0.initial.get() {
            return Ok(initial);
        }
        let template = self.template();
        let initial = on_guest_thread(|| {
            let live = Live::fresh(template, memory_bytes)?;
            Ok::<_, VmError>(Initial { image: live.image(template, None), globals: live.initial_globals() })
        })??;
        Ok(self.0.initial.get_or_init(|| initial))
    }

    /// A new instance, initialised, with nothing evaluated yet.
    pub fn instantiate(&self, limits: Limits) -> Result<Instance, VmError> {
        let image = self.initial(limits.memory_bytes)?.image.clone();
        fits(limits, &image)?;
        let live = on_guest_thread(|| Live::fresh(self.template(), limits.memory_bytes))?;
        Ok(Instance::new(self.clone(), limits, live.map_err(host)?, image))
    }

    /// An instance with the memory of another one of the same module.
    pub fn restore(&self, image: &MemoryImage, limits: Limits) -> Result<Instance, VmError> {
        let initial = &self.initial(limits.memory_bytes)?.image;
        if image.byte_len() < initial.byte_len() {
            return Err(VmError::ImageMismatch { image: image.byte_len(), initial: initial.byte_len() });
        }
        fits(limits, image)?;
        let live = self.live(image, limits)?;
        Ok(Instance::new(self.clone(), limits, live, image.sharing(initial)))
    }

    /// Bytes that an image of an instance holds beside those that all instances begin with.
    pub(crate) fn bytes_beside_initial(&self, image: &MemoryImage) -> usize {
        self.0
            .initial
            .get()
            .map_or_else(|| image.stored_bytes(), |initial| image.bytes_beside(&initial.image))
    }

    /// The format it was compiled for.
    pub fn format(&self) -> Format {
        self.0.template.format
    }

    /// Bytes of the machine's memory that it takes up, whatever the number of its instances: its
    /// code, and the memory that they begin with.
    pub fn resident_bytes(&self) -> u64 {
        let initial = self.0.initial.get().map_or(0, |initial| initial.image.stored_bytes() as u64);
        let code = self.0.template.pre.module().image_range();
        (code.end.addr() - code.start.addr()) as u64 + initial
    }

    pub(crate) fn live(&self, image: &MemoryImage, limits: Limits) -> Result<Live, HostFault> {
        let initial = self.initial(limits.memory_bytes).map_err(host)?;
        Live::restored(&self.0.template, initial, image, limits.memory_bytes).map_err(host)
    }

    pub(crate) fn template(&self) -> &Template {
        &self.0.template
    }
}

fn fits(limits: Limits, image: &MemoryImage) -> Result<(), VmError> {
    if limits.memory_bytes < image.byte_len() {
        return Err(VmError::MemoryLimit { initial: image.byte_len(), limit: limits.memory_bytes });
    }
    Ok(())
}

/// Bytes of the memory that a module exports, before anything runs.
fn least_bytes(code: &wasmtime::Module) -> u64 {
    let memories = code.exports().filter_map(|export| export.ty().memory().cloned());
    let bytes = memories.map(|memory| memory.minimum().saturating_mul(memory.page_size()));
    bytes.max().unwrap_or(0)
}

/// A module was initialised before, so failing now is this machine's doing.
fn host(error: VmError) -> HostFault {
    match error {
        VmError::Host(fault) => fault,
        other => HostFault::Runtime(format!("a module that was initialised before: {other}")),
    }
}
