//! The pass that guards a module before it is compiled.
//!
//! It counts gas and call depth in new globals and traps by itself, without a host call:
//!
//! - **Gas** counts down from the limit. The code is split into segments exactly as the
//!   reference's metering does (after `memory.grow`, `end`, `br`, `br_if`, `br_table`, `if`,
//!   `else`, `return`, `loop`), each costs the sum of its opcodes ([`cost`]) plus 91. Segments that
//!   always run together are charged together, at the first. Only function entries and loop heads
//!   compare the counter with zero: between two of them the code is finite, and the host compares
//!   once more at the end of the message. So a message is out of gas exactly when it used more
//!   than its limit, whatever else it did after that.
//! - **Depth** packs two counters in one i64: live frames in bits 0 to 15, depth in units of
//!   8 bytes above. Both start so that passing the limit sets one bit each ([`DEPTH_OVER`]).
//! - Bulk memory and `memory.grow` are charged by byte and page before they run.
//! - A throw has a price, and so has each frame that it leaves, which the catch takes from the depth, and
//!   each handler that it may look at on its way, which is paid where its `try_table` is entered.
//!   Exceptions never become values: none outlives its message, and at most one is alive at a time.
//! - For the `-metering` formats a third global counts up what the reference would ([`count`]).
//! - A 64-bit memory becomes one of 32 bits where that cannot be told ([`lower`]).
//! - What asks for a global that never changes is left out ([`fold`]).
//! - Every mutable global is exported, for the host to reset before each message.
//!
//! Nothing is renumbered: new globals, locals, types and exports come last, and what is
//! not changed is copied byte by byte. So the pass costs about as much as validation.

use std::ops::Range;

use crate::error::ModuleError;
use crate::limits::{DEPTH_BYTES_MAX, DEPTH_FRAMES_MAX, SLOT_BYTES};

mod analyse;
pub(crate) mod cost;
mod count;
mod emit;
mod fold;
mod likely;
mod lower;
mod nesting;
mod operands;
mod plan;
mod refuse;
mod sections;
#[cfg(test)]
mod tests;

/// Changes whenever the pass gives other bytes for a module: part of the compile cache's key.
pub(crate) const PASS_VERSION: u32 = 14;

/// Prefix of the exports that the pass adds; a module that has its own is refused.
pub(crate) const RESERVED_PREFIX: &str = "weft.";
/// Export of the gas counter: what is left, negative once it is out.
pub(crate) const GAS_EXPORT: &str = "weft.gas";
/// Export of the depth counter.
pub(crate) const DEPTH_EXPORT: &str = "weft.depth";
/// Export of the count that the reference would come to; only where [`Policy::count`] is set.
pub(crate) const USED_EXPORT: &str = "weft.used";
/// Exports of the module's own mutable globals begin so; the global's index follows.
pub(crate) const GLOBAL_EXPORT: &str = "weft.global.";

const FRAME_BITS: u32 = 16;
const FRAME_FLAG: i64 = 1 << (FRAME_BITS - 1);
const UNIT_FLAG: i64 = 1 << 20;

/// The depth counter when no frame is live.
pub(crate) const DEPTH_START: i64 = ((UNIT_FLAG - 1 - (DEPTH_BYTES_MAX / SLOT_BYTES) as i64) << FRAME_BITS)
    | (FRAME_FLAG - 1 - DEPTH_FRAMES_MAX as i64);
/// The bits that are set once one of the two limits is passed.
pub(crate) const DEPTH_OVER: i64 = (UNIT_FLAG << FRAME_BITS) | FRAME_FLAG;

/// What a call of `bytes` depth and `frames` frames adds to the depth counter.
pub(crate) const fn depth_of(bytes: u64, frames: u64) -> i64 {
    ((bytes / SLOT_BYTES) << FRAME_BITS) as i64 | frames as i64
}

/// What the pass is asked to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Addresses are 64 bits wide.
    pub(crate) memory64: bool,
    /// An import to be replaced by `memory.copy`.
    pub(crate) copy_import: Option<(&'static str, &'static str)>,
    /// Count gas and depth. Off only to measure what they cost.
    pub(crate) guard: bool,
    /// Charge segments together that always run together. Off, each is charged by itself, as the
    /// reference does; the sum is the same unless the guest jumps or traps in between.
    pub(crate) merge: bool,
    /// Also count up as the reference's metering does, for `GasUsed`; see [`count`].
    pub(crate) count: bool,
    /// The module may throw. Off where the host calls the guest from within a call of the guest.
    pub(crate) exceptions: bool,
    /// Lower a 64-bit memory that stays below 4 GiB to a 32-bit one; see [`lower`]. Only with the guard.
    pub(crate) lower: bool,
    /// Exports that the host never calls: what only they set never changes; see [`fold`]. Only with the guard, and
    /// without the count.
    pub(crate) uncalled: &'static [&'static str],
    /// The only name under which the memory may be exported.
    pub(crate) memory_export: &'static str,
}

/// A guarded module.
#[derive(Debug)]
pub(crate) struct Metered {
    /// The module to compile.
    pub(crate) wasm: Vec<u8>,
    /// Where its data segments lie in memory; sorted, not overlapping.
    pub(crate) data: Vec<Range<u64>>,
}

/// Validates, refuses by name what is not evaluated, and guards the rest.
pub(crate) fn instrument(wasm: &[u8], policy: &Policy) -> Result<Metered, ModuleError> {
    sections::rewrite(wasm, policy)
}
