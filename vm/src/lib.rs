//! The guest side of Weft: compiles modules, guards them, evaluates messages, rolls back.
//!
//! Owns wasmtime. Bytes in, bytes out: no async, no network, no clock, no disk beyond its compile
//! cache, and none of the protocol's rules (what an outcome is, what may be pushed, what a slot
//! holds). What one message does depends on five things only: the module, the memory before it, the
//! message text, the environment text, and the items it may read. Everything else that a guest could see (globals,
//! clock, descriptors, tables) is reset before each message or refused when the module is
//! compiled.
//!
//! A failure of the guest is data: [`Outcome::Trapped`] with a constant text per kind. A failure
//! of the host is a [`HostFault`] and never becomes an outcome.
//!
//! Inputs: module bytes and their [`Format`], [`Limits`], message and environment JSON.
//! Outputs: the module's own result bytes, gas, and [`MemoryImage`]s.
//!
//! Invariants: no wasmtime type is public, and nothing here reads the time or a random number.
//!
//! [`Engine`] compiles a [`Module`], which is instantiated as an [`Instance`] (or restored from a [`MemoryImage`]); the
//! instance evaluates messages one after the other:
//!
//! ```
//! use weft_vm::{Engine, EngineConfig, Format, Limits, Outcome, guests};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let module = Engine::new(EngineConfig::default())?.compile(guests::COUNTER, Format::Plain)?;
//! let mut counter = module.instantiate(Limits { gas: 1_000_000_000, memory_bytes: 1 << 30 })?;
//!
//! let message = br#"{"Id":"m","Data":"","Tags":[{"name":"Action","value":"Increment"}]}"#;
//! let evaluation = counter.evaluate(message, br#"{"Process":{"Id":"p"}}"#)?;
//! let Outcome::Returned(result) = evaluation.outcome else { panic!("the counter does not trap") };
//! assert!(String::from_utf8(result)?.contains(r#""Output":"1""#));
//! counter.keep()?; // `roll_back` would undo the message instead.
//! # Ok(())
//! # }
//! ```

mod cache;
mod capacity;
mod compiler;
mod engine;
mod error;
mod format;
pub mod guests;
mod host;
mod image;
mod instance;
mod interrupt;
pub mod limits;
mod live;
mod meter;
mod module;
mod outcome;
mod pace;
mod thread;
mod weave;

pub use capacity::instances_max;
pub use compiler::{Compiler, compile_alone};
pub use engine::{Engine, EngineConfig, Guard};
pub use error::{HostFault, ModuleError, UnsupportedFormat, VmError};
pub use format::Format;
pub use image::{LEAF_BYTES, MemoryImage, PAGE_BYTES};
pub use instance::Instance;
pub use interrupt::Interrupt;
pub use module::Module;
pub use outcome::{Evaluation, Limits, Outcome, Trap};
pub use thread::spawn_guest_thread;
pub use weave::{NoWeave, Opened, Weave};
