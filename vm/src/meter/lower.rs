//! Lowers a 64-bit memory that never has 4 GiB to a 32-bit one, for speed alone: the compiler guards
//! each access of a 64-bit memory against speculation, and needs no check at all of a 32-bit address.
//!
//! An address is compared with itself cut to 32 bits. Where they differ, no memory of so few pages has
//! it, and the guest traps as it would have; else the short one is the same. Cut addresses stay within
//! what is reserved for the memory, also where the processor runs ahead of the comparison.
//!
//! - Offsets that no memory has trap at once. Amounts of `memory.grow` are cut to one that is refused.
//! - Of `memory.copy` and its like each operand that says where or how much is compared.
//! - What was compared is known until its local or global may be set, or the construct ends that it was
//!   compared in.
//!
//! Gas, depth and refusals are those of the module as it was: it is read before it is lowered.
//! A module that has no declared maximum below 4 GiB stays as it is, and so does one of so many accesses
//! that their comparisons would take the compiler too long.

use wasm_encoder::Encode;
use wasmparser::{
    BinaryReader, BinaryReaderError, DataKind, DataSectionReader, FuncValidator, MemArg, MemorySectionReader,
    Operator, ValType, WasmModuleResources,
};

use super::plan::EditKind;

/// Pages of the largest memory that is lowered: no length or address within it needs 33 bits.
const PAGES_MAX: u64 = 65_535;
/// Locals of a function that is lowered: what the validator allows less those that the pass may add.
pub(super) const LOCALS_MAX: u32 = 50_000 - 32;
/// Bytes of a function after the pass, of which the compiler takes 7,654,321.
pub(super) const FUNCTION_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Variables of which it is remembered that they are short addresses.
const KNOWN_MAX: usize = 8;

/// Whether a memory of this type is lowered.
pub(super) fn fits(memory: &wasmparser::MemoryType) -> bool {
    memory.memory64 && memory.page_size_log2.is_none() && memory.maximum.is_some_and(|max| max <= PAGES_MAX)
}

/// The section of memories, each of 32 bits.
pub(super) fn memories(content: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let section = MemorySectionReader::new(BinaryReader::new(content, 0))?;
    let mut out = Vec::new();
    section.count().encode(&mut out);
    for memory in section {
        let memory = memory?;
        let memory = wasm_encoder::MemoryType {
            minimum: memory.initial,
            maximum: memory.maximum,
            memory64: false,
            shared: false,
            page_size_log2: None,
        };
        memory.encode(&mut out);
    }
    Ok(out)
}

/// The section of data segments, whose offsets are constants. One past all memories stays past them.
pub(super) fn data(content: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let section = DataSectionReader::new(BinaryReader::new(content, 0))?;
    let mut out = Vec::with_capacity(content.len());
    section.count().encode(&mut out);
    for segment in section {
        let segment = segment?;
        let DataKind::Active { offset_expr, .. } = &segment.kind else {
            out.extend_from_slice(content.get(segment.range).unwrap_or_default());
            continue;
        };
        let offset = match offset_expr.get_operators_reader().read()? {
            Operator::I64Const { value } => u32::try_from(value).unwrap_or(u32::MAX),
            _ => u32::MAX,
        };
        out.push(0);
        wasm_encoder::ConstExpr::i32_const(offset as i32).encode(&mut out);
        segment.data.encode(&mut out);
    }
    Ok(out)
}

/// Where an address comes from that has to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// It is short.
    None,
    /// This local holds it.
    Local(u32),
    /// The operand alone.
    Operand,
}

/// A load or store.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) check: Check,
    /// The operand on top of the address.
    pub(super) above: Option<ValType>,
    pub(super) memarg: MemArg,
}

/// An instruction on the memory as a whole.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whole {
    Size,
    Grow,
    Copy,
    Fill,
    Init(u32),
}

/// What is known of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Other,
    /// Below 2^32.
    Short,
    /// The value that this variable had at this step.
    Held(Variable, u32),
}

/// A local or a global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Local(u32),
    Global(u32),
}

/// A variable that was a short address at a step, and still is unless it was set later.
#[derive(Debug, Clone, Copy)]
struct Fact {
    variable: Variable,
    step: u32,
}

/// The newest facts that hold at one place.
#[derive(Debug, Clone, Copy)]
struct Known {
    facts: [Option<Fact>; KNOWN_MAX],
    next: usize,
}

impl Known {
    const NOTHING: Self = Self { facts: [None; KNOWN_MAX], next: 0 };

    fn add(&mut self, fact: Fact) {
        if let Some(place) = self.facts.get_mut(self.next % KNOWN_MAX) {
            *place = Some(fact);
        }
        self.next = (self.next + 1) % KNOWN_MAX;
    }
}

/// Follows the operands of one function.
#[derive(Debug)]
pub(super) struct Addresses {
    step: u32,
    origins: Vec<Origin>,
    known: Known,
    /// For each open construct what was known before it, and whether it is a loop.
    around: Vec<(bool, Known)>,
    /// The step at which each local was last set.
    set: Vec<u32>,
    /// The step at which any global was last set, or something called that may have.
    globals_set: u32,
    /// How many addresses are compared.
    pub(super) checks: u64,
}

impl Addresses {
    pub(super) fn new(locals: u32) -> Self {
        Self {
            step: 0,
            origins: Vec::new(),
            known: Known::NOTHING,
            around: Vec::new(),
            set: vec![0; locals as usize],
            globals_set: 0,
            checks: 0,
        }
    }

    /// Reads the next operator: what it becomes, given the operands before it. `below` is how many of them
    /// the construct around it began with: in dead code it may ask for more than it has.
    pub(super) fn lower(&mut self, op: &Operator<'_>, below: usize) -> Option<EditKind> {
        self.step += 1;
        let whole = match op {
            Operator::MemorySize { .. } => Whole::Size,
            Operator::MemoryGrow { .. } => Whole::Grow,
            Operator::MemoryCopy { .. } => Whole::Copy,
            Operator::MemoryFill { .. } => Whole::Fill,
            Operator::MemoryInit { data_index, .. } => Whole::Init(*data_index),
            _ => {
                let (memarg, above) = access(op)?;
                let check = self.check(usize::from(above.is_some()), below);
                let outside = memarg.offset > u64::from(u32::MAX);
                self.checks += u64::from(check != Check::None) + u64::from(outside);
                return Some(EditKind::Access(Access { check, above, memarg }));
            }
        };
        self.checks += u64::from(matches!(whole, Whole::Copy | Whole::Fill | Whole::Init(_)));
        Some(EditKind::Whole(whole))
    }

    /// How to compare the address that lies under so many operands.
    fn check(&mut self, under: usize, below: usize) -> Check {
        let place = self.origins.len().checked_sub(1 + under).filter(|place| *place >= below);
        match place.and_then(|place| self.origins.get(place)) {
            Some(Origin::Short) => Check::None,
            Some(Origin::Held(variable, read)) if self.is_unset_since(*variable, *read) => {
                let variable = *variable;
                let mut facts = self.known.facts.iter().flatten().filter(|fact| fact.variable == variable);
                if facts.any(|fact| self.is_unset_since(variable, fact.step)) {
                    return Check::None;
                }
                self.known.add(Fact { variable, step: self.step });
                match variable {
                    Variable::Local(local) => Check::Local(local),
                    Variable::Global(_) => Check::Operand,
                }
            }
            _ => Check::Operand,
        }
    }

    /// Steps are counted as the code is written. Between two places of which every way to the second
    /// passes the first, in the same turn of the same loops, that is all that may have been run: loops
    /// begin with nothing known, and an operand is used in the turn that it was made in.
    fn is_unset_since(&self, variable: Variable, step: u32) -> bool {
        match variable {
            Variable::Local(local) => self.set.get(local as usize).is_some_and(|set| *set <= step),
            Variable::Global(_) => self.globals_set <= step,
        }
    }

    /// Follows the operator to what it leaves. `below` is how many operands the construct around it
    /// began with, and `pushed` how many of those now there are new.
    pub(super) fn follow<R: WasmModuleResources>(
        &mut self,
        op: &Operator<'_>,
        below: usize,
        pushed: Option<u32>,
        validator: &FuncValidator<R>,
    ) {
        let height = validator.operand_stack_height() as usize;
        let kept = match op {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => {
                let is_loop = matches!(op, Operator::Loop { .. });
                self.around.push((is_loop, self.known));
                if is_loop {
                    // What comes back to its head may have set what it likes.
                    self.known = Known::NOTHING;
                }
                floor(validator)
            }
            Operator::Else => {
                if let Some((_, known)) = self.around.last() {
                    self.known = *known;
                }
                below
            }
            Operator::End => {
                // Nothing goes to the end of a loop but what comes out of it.
                if let Some((false, known)) = self.around.pop() {
                    self.known = known;
                }
                below
            }
            _ => height.saturating_sub(pushed.map_or(height, |pushed| pushed as usize)),
        };
        self.origins.truncate(kept);
        self.origins.resize(height, Origin::Other);
        match op {
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                if let Some(set) = self.set.get_mut(*local_index as usize) {
                    *set = self.step;
                }
            }
            Operator::GlobalSet { .. } | Operator::Call { .. } | Operator::CallIndirect { .. } => {
                self.globals_set = self.step;
            }
            _ => {}
        }
        if let (Some(origin), Some(top)) = (origin(op, self.step), self.origins.last_mut()) {
            *top = origin;
        }
    }
}

/// How many operands lie below the innermost construct.
pub(super) fn floor<R: WasmModuleResources>(validator: &FuncValidator<R>) -> usize {
    validator.get_control_frame(0).map_or(0, |frame| frame.height)
}

/// What is known of the one value that an operator leaves.
fn origin(op: &Operator<'_>, step: u32) -> Option<Origin> {
    use Operator as O;
    Some(match op {
        O::LocalGet { local_index } | O::LocalTee { local_index } => {
            Origin::Held(Variable::Local(*local_index), step)
        }
        O::GlobalGet { global_index } => Origin::Held(Variable::Global(*global_index), step),
        O::I64Const { value } if u32::try_from(*value).is_ok() => Origin::Short,
        O::I64ExtendI32U | O::I64Load8U { .. } | O::I64Load16U { .. } | O::I64Load32U { .. } => Origin::Short,
        _ => return None,
    })
}

/// The place of a load or store, and the operand that lies on its address.
fn access(op: &Operator<'_>) -> Option<(MemArg, Option<ValType>)> {
    scalar(op).or_else(|| vector(op))
}

fn scalar(op: &Operator<'_>) -> Option<(MemArg, Option<ValType>)> {
    use Operator as O;
    let (memarg, above) = match op {
        O::I32Load { memarg }
        | O::I64Load { memarg }
        | O::F32Load { memarg }
        | O::F64Load { memarg }
        | O::I32Load8S { memarg }
        | O::I32Load8U { memarg }
        | O::I32Load16S { memarg }
        | O::I32Load16U { memarg }
        | O::I64Load8S { memarg }
        | O::I64Load8U { memarg }
        | O::I64Load16S { memarg }
        | O::I64Load16U { memarg }
        | O::I64Load32S { memarg }
        | O::I64Load32U { memarg } => (memarg, None),
        O::I32Store { memarg } | O::I32Store8 { memarg } | O::I32Store16 { memarg } => {
            (memarg, Some(ValType::I32))
        }
        O::I64Store { memarg }
        | O::I64Store8 { memarg }
        | O::I64Store16 { memarg }
        | O::I64Store32 { memarg } => (memarg, Some(ValType::I64)),
        O::F32Store { memarg } => (memarg, Some(ValType::F32)),
        O::F64Store { memarg } => (memarg, Some(ValType::F64)),
        _ => return None,
    };
    Some((*memarg, above))
}

fn vector(op: &Operator<'_>) -> Option<(MemArg, Option<ValType>)> {
    use Operator as O;
    let (memarg, above) = match op {
        O::V128Load { memarg }
        | O::V128Load8x8S { memarg }
        | O::V128Load8x8U { memarg }
        | O::V128Load16x4S { memarg }
        | O::V128Load16x4U { memarg }
        | O::V128Load32x2S { memarg }
        | O::V128Load32x2U { memarg }
        | O::V128Load8Splat { memarg }
        | O::V128Load16Splat { memarg }
        | O::V128Load32Splat { memarg }
        | O::V128Load64Splat { memarg }
        | O::V128Load32Zero { memarg }
        | O::V128Load64Zero { memarg } => (memarg, None),
        O::V128Store { memarg }
        | O::V128Load8Lane { memarg, .. }
        | O::V128Load16Lane { memarg, .. }
        | O::V128Load32Lane { memarg, .. }
        | O::V128Load64Lane { memarg, .. }
        | O::V128Store8Lane { memarg, .. }
        | O::V128Store16Lane { memarg, .. }
        | O::V128Store32Lane { memarg, .. }
        | O::V128Store64Lane { memarg, .. } => (memarg, Some(ValType::V128)),
        _ => return None,
    };
    Some((*memarg, above))
}
