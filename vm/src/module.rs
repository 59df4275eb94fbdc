//! A compiled module, ready to be instantiated or restored any number of times.

use std::ops::Range;
use std::sync::Arc;

use wasmtime::{InstancePre, Linker, Val};

use crate::engine::Engine;
use crate::error::{HostFault, ModuleError, VmError};
use crate::format::{Format, emscripten, plain};
use crate::host::HostState;
use crate::image::MemoryImage;
use crate::instance::Instance;
use crate::limits::MEMORY_BYTES_MAX;
use crate::live::Live;
use crate::outcome::Limits;
use crate::thread::on_guest_thread;

/// A compiled module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Module(Arc<Prepared>);

#[derive(Debug)]
struct Prepared {
    template: Template,
    initial: Initial,
}

/// What every instance of a module is made from.
pub(crate) struct Template {
    engine: Engine,
    format: Format,
    pre: InstancePre<HostState>,
    data: Vec<Range<u64>>,
    dyn_calls: Vec<String>,
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
    pub(crate) fn new(
        engine: Engine,
        format: Format,
        code: wasmtime::Module,
        data: Vec<Range<u64>>,
    ) -> Result<Self, ModuleError> {
        let mut linker = Linker::new(engine.wasmtime());
        let dyn_calls = match format {
            Format::Emscripten64 | Format::Emscripten32 => emscripten::link(&mut linker, &code, format)?,
            Format::Plain => plain::link(&mut linker, &code)?,
        };
        // Every import is known by name; what is left to go wrong is its type.
        let pre =
            linker.instantiate_pre(&code).map_err(|error| ModuleError::Invalid(format!("{error:#}")))?;
        let template = Template { engine, format, pre, data, dyn_calls };
        let initial = on_guest_thread(|| {
            let live = Live::fresh(&template, MEMORY_BYTES_MAX)?;
            Ok::<_, ModuleError>(Initial {
                image: live.image(&template, None),
                globals: live.initial_globals(),
            })
        })??;
        Ok(Self(Arc::new(Prepared { template, initial })))
    }

    /// A new instance, initialised, with nothing evaluated yet.
    pub fn instantiate(&self, limits: Limits) -> Result<Instance, VmError> {
        self.fits(limits, self.initial_image())?;
        let live = on_guest_thread(|| Live::fresh(self.template(), limits.memory_bytes))?.map_err(host)?;
        Ok(Instance::new(self.clone(), limits, live, self.initial_image().clone()))
    }

    /// An instance with the memory of another one of the same module.
    pub fn restore(&self, image: &MemoryImage, limits: Limits) -> Result<Instance, VmError> {
        if image.byte_len() < self.initial_image().byte_len() {
            return Err(VmError::ImageMismatch {
                image: image.byte_len(),
                initial: self.initial_image().byte_len(),
            });
        }
        self.fits(limits, image)?;
        let live = self.live(image, limits)?;
        Ok(Instance::new(self.clone(), limits, live, image.clone()))
    }

    /// The format it was compiled for.
    pub fn format(&self) -> Format {
        self.0.template.format
    }

    /// The memory of an instance that has evaluated nothing.
    pub fn initial_image(&self) -> &MemoryImage {
        &self.0.initial.image
    }

    pub(crate) fn live(&self, image: &MemoryImage, limits: Limits) -> Result<Live, HostFault> {
        Live::restored(&self.0.template, &self.0.initial, image, limits.memory_bytes).map_err(host)
    }

    pub(crate) fn template(&self) -> &Template {
        &self.0.template
    }

    fn fits(&self, limits: Limits, image: &MemoryImage) -> Result<(), VmError> {
        if limits.memory_bytes < image.byte_len() {
            return Err(VmError::MemoryLimit { initial: image.byte_len(), limit: limits.memory_bytes });
        }
        Ok(())
    }
}

/// A module was initialised before, so failing now is this machine's doing.
fn host(error: ModuleError) -> HostFault {
    match error {
        ModuleError::Host(fault) => fault,
        other => HostFault::Runtime(format!("a module that was initialised before: {other}")),
    }
}
