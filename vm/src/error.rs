//! What can go wrong, by whose fault: the module's ([`ModuleError`]), the limits asked for
//! ([`VmError`]), or this host's ([`HostFault`], never an outcome).

use std::io;

/// A module format that this build does not evaluate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("module format {name:?} is not supported; this build evaluates {}", crate::Format::NAMES.join(", "))]
pub struct UnsupportedFormat {
    /// The format as it was given.
    pub name: String,
}

/// Why a module is refused. Every node refuses it for the same reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// Longer than a module may be.
    #[error("the module has {bytes} bytes; at most {max} are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not a valid module of the features that are evaluated; the text names the feature or fault.
    #[error("the module is not valid here: {0}")]
    Invalid(String),
    /// It has something whose state would not survive a restored memory, or that is not evaluated.
    #[error("the module has {0}, which is not supported")]
    Unsupported(String),
    /// It imports a function that its format does not offer.
    #[error("the module imports {module}.{name}, which the format {format} does not offer")]
    UnknownImport {
        /// Import module.
        module: String,
        /// Import name.
        name: String,
        /// The module's format.
        format: &'static str,
    },
    /// It lacks an export that its format needs, or the export has another type.
    #[error("the module lacks the export {name} ({expected}) that the format {format} needs")]
    MissingExport {
        /// Name of the export.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
        /// The module's format.
        format: &'static str,
    },
    /// Its own initialisation failed.
    #[error("the module's initialisation failed: {0}")]
    Initialise(crate::Trap),
    /// This host failed; the module may be good.
    #[error(transparent)]
    Host(#[from] HostFault),
}

impl From<ModuleError> for VmError {
    fn from(error: ModuleError) -> Self {
        match error {
            ModuleError::Host(fault) => Self::Host(fault),
            refusal => Self::Module(refusal),
        }
    }
}

/// Why an engine or an instance could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// The memory limit does not cover the module's initial memory (a refusal, alike everywhere).
    #[error("the memory limit of {limit} bytes does not cover the module's initial {initial} bytes")]
    MemoryLimit {
        /// Bytes after initialisation, or of the image.
        initial: u64,
        /// The limit given.
        limit: u64,
    },
    /// The module is refused.
    #[error(transparent)]
    Module(ModuleError),
    /// A memory image that cannot belong to this module.
    #[error("the image of {image} bytes does not fit the module, whose memory has at least {initial} bytes")]
    ImageMismatch {
        /// Bytes of the image.
        image: u64,
        /// Bytes after initialisation.
        initial: u64,
    },
    /// The folder of the compile cache cannot be used.
    #[error("the compile cache folder {folder}: {source}")]
    CacheFolder {
        /// The folder.
        folder: String,
        /// What the system said.
        source: io::Error,
    },
    /// The compiler does not work on this machine.
    #[error("the compiler cannot be started: {0}")]
    Engine(String),
    /// This host failed.
    #[error(transparent)]
    Host(#[from] HostFault),
}

/// This host failed. It says nothing about the guest; the caller retries or stops evaluating.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostFault {
    /// wasmtime or the system refused something that does not depend on the guest.
    #[error("the host failed: {0}")]
    Runtime(String),
    /// The native stack ran out before the depth limit.
    #[error("the native stack ran out before the call depth did")]
    NativeStack,
    /// The process that compiles failed.
    #[error("the module was not compiled on this machine: {0}")]
    Compiler(String),
    /// Compiling fails on this machine, by what it takes, and would again; others may have more.
    #[error("the module is not compiled on this machine: {0}")]
    Uncompilable(String),
    /// No guest thread could be started.
    #[error("no guest thread could be started: {0}")]
    Thread(io::Error),
    /// A message or environment longer than any item can make it.
    #[error("an argument of {bytes} bytes; at most {max} are allowed")]
    ArgumentTooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An item that the message may read is not on this machine; evaluate again when it is.
    #[error("the item {id} is not here: {why}")]
    ItemNotHere {
        /// Its id, as the guest asked for it.
        id: String,
        /// Why not.
        why: String,
    },
    /// Somebody ended the message with an [`Interrupt`](crate::Interrupt).
    #[error("the message was interrupted")]
    Interrupted,
    /// `evaluate` was called again before `keep` or `roll_back`, or they without `evaluate`.
    #[error("{0}")]
    Misuse(&'static str),
    /// A replayed message did not do what it did the first time: this machine is not deterministic.
    #[error("replaying kept message {index} gave another result: {detail}")]
    ReplayDiverged {
        /// Which of the kept messages.
        index: usize,
        /// What differed.
        detail: String,
    },
}
