//! What the pass does to one function: the analysis plans it, and the emitter writes it.

use std::ops::Range;

use wasmparser::ValType;

use super::lower::{Access, Whole};

/// Width of the operand that says how much memory an instruction touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    I32,
    I64,
}

/// One change of a function's code.
#[derive(Debug)]
pub(super) struct Edit {
    /// Where, as an offset in the module; the code before it is copied first.
    pub(super) at: usize,
    /// How many bytes of the original are left out.
    pub(super) skip: usize,
    /// Labels open there, the function's own included.
    pub(super) labels: u32,
    pub(super) kind: EditKind,
}

#[derive(Debug)]
pub(super) enum EditKind {
    /// Take `gas`, or give it back if it is negative; at a loop head also stop if too much is gone.
    Charge { gas: i64, check: bool },
    /// A `br_if` that gives back `refund` when it is taken; `value` goes with it.
    Leave { depth: u32, refund: i64, value: Option<ValType> },
    /// Before the `end` of an `if` without `else`: give back `refund` when it was not taken.
    Skipped { refund: i64 },
    /// Charge by the page before `memory.grow`.
    Pages(Width),
    /// Charge by the byte before an instruction whose top operand is a length.
    Bytes(Width),
    /// Put `memory.copy` in the place of a call of the import that does the same.
    Copy(Width),
    /// A `return`, which has to pass the epilogue.
    Return,
    /// Count a segment of the reference.
    Count { gas: u64 },
    /// Where a caught exception goes on: the frames that it left are no longer live.
    Caught,
    /// The same load or store of a 32-bit memory.
    Access(Access),
    /// The same of a 32-bit memory.
    Whole(Whole),
    /// A zero.
    Zero,
    /// Nothing.
    Nothing,
    /// The beginning of a block whose type has these bytes.
    Block(Range<usize>),
    /// No edit any more: what it was for never runs.
    Gone,
}

/// What the emitter has to know about one function.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) edits: Vec<Edit>,
    /// Offset in the module of the first instruction.
    pub(super) code_start: usize,
    /// What one live frame adds to the depth, in bytes.
    pub(super) frame_bytes: u64,
    /// It calls something, so its own frame counts for others.
    pub(super) calls: bool,
    /// It catches exceptions, so it has to know its own depth.
    pub(super) catches: bool,
    /// Parameters and locals.
    pub(super) locals: u32,
    /// How many `br` and `br_if` there are.
    pub(super) branches: u64,
    /// The memory is lowered to 32 bits, and so many addresses are compared.
    pub(super) lowered: Option<u64>,
}
