//! Gas per opcode: the table of the reference's metering (`defaultCostTable.json`), and beside it
//! what that table leaves at zero.
//!
//! The reference names opcodes without their type, so one number holds for i32, i64, f32 and f64,
//! and gives zero to every name it does not list. Here those have a price too (float comparisons
//! and divisions, conversions, SIMD), because an opcode that costs nothing can be put a million
//! times between two charges.

use wasmparser::Operator;

mod simd;

/// Added to each segment with a cost: what the reference's own counting call costs (1 + 90).
pub(crate) const SEGMENT_GAS: u64 = 91;
/// Each byte that `memory.copy`, `memory.fill` or `memory.init` touches, or a host call: an eighth
/// of a load and a store.
pub(crate) const BYTE_GAS: u64 = 30;
/// Each 64 KiB page that `memory.grow` asks for: the time it takes to touch it, at the 10^12 gas
/// that aos uses in a second.
pub(crate) const PAGE_GAS: u64 = 4_000_000;
/// Each call of a host function, beside what the call instruction costs: about its time.
pub(crate) const HOST_CALL_GAS: u64 = 50_000;

const ACCESS: u64 = 120;
const CONST: u64 = 1;
const SIMPLE: u64 = 45;
const SHIFT: u64 = 67;
const ROTATE: u64 = 90;
const DIVIDE: u64 = 36_000;
const BRANCH: u64 = 90;
/// Float comparisons and conversions, references, and whatever a later proposal adds.
const OTHER: u64 = 90;
/// About the time of a throw that is caught one frame up.
const THROW: u64 = 2_000_000;
/// Of each frame that a throw leaves: about the time to walk over it. Charged where it is caught.
pub(crate) const UNWIND_GAS: u64 = 100_000;
/// Of each handler of a `try_table`: about the time that a throw takes to look at it. Charged where the
/// construct is entered, for a throw looks at each of its handlers at most once before it is left.
pub(crate) const HANDLER_GAS: u64 = 20_000;

/// The cost of one opcode to the guard.
pub(crate) fn of(op: &Operator<'_>) -> u64 {
    let itself = listed(op).or_else(|| unlisted(op)).or_else(|| simd::of(op)).unwrap_or_else(|| other(op));
    match op {
        Operator::TryTable { try_table } => itself + HANDLER_GAS * try_table.catches.len() as u64,
        _ => itself,
    }
}

/// The cost of one opcode in the reference's table; zero where it has none.
pub(crate) fn in_reference(op: &Operator<'_>) -> u64 {
    listed(op).unwrap_or(0)
}

fn listed(op: &Operator<'_>) -> Option<u64> {
    control(op).or_else(|| integer(op)).or_else(|| float(op))
}

fn control(op: &Operator<'_>) -> Option<u64> {
    use Operator as O;
    Some(match op {
        O::Nop | O::Unreachable | O::Block { .. } | O::Loop { .. } | O::If { .. } | O::TryTable { .. } => 1,
        O::Throw { .. } => THROW,
        O::End => 0,
        O::Br { .. } | O::BrIf { .. } | O::Else | O::Return | O::Call { .. } => BRANCH,
        O::BrTable { .. } | O::Drop | O::Select | O::TypedSelect { .. } => 120,
        O::CallIndirect { .. } => 10_000,
        O::LocalGet { .. }
        | O::LocalSet { .. }
        | O::LocalTee { .. }
        | O::GlobalGet { .. }
        | O::GlobalSet { .. } => ACCESS,
        O::I32Const { .. } | O::I64Const { .. } | O::F32Const { .. } | O::F64Const { .. } => CONST,
        O::MemoryGrow { .. } => 10_000,
        O::MemorySize { .. } => 100,
        _ => return None,
    })
}

fn integer(op: &Operator<'_>) -> Option<u64> {
    use Operator as O;
    Some(match op {
        O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU => DIVIDE,
        O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => DIVIDE,
        O::I32Shl | O::I32ShrS | O::I32ShrU | O::I64Shl | O::I64ShrS | O::I64ShrU => SHIFT,
        O::I32Rotl | O::I32Rotr | O::I64Rotl | O::I64Rotr => ROTATE,
        O::I32Add | O::I32Sub | O::I32Mul | O::I32And | O::I32Or | O::I32Xor => SIMPLE,
        O::I64Add | O::I64Sub | O::I64Mul | O::I64And | O::I64Or | O::I64Xor => SIMPLE,
        O::I32Eqz | O::I32Eq | O::I32Ne | O::I32LtS | O::I32LtU | O::I32GtS => SIMPLE,
        O::I32GtU | O::I32LeS | O::I32LeU | O::I32GeS | O::I32GeU => SIMPLE,
        O::I64Eqz | O::I64Eq | O::I64Ne | O::I64LtS | O::I64LtU | O::I64GtS => SIMPLE,
        O::I64GtU | O::I64LeS | O::I64LeU | O::I64GeS | O::I64GeU => SIMPLE,
        O::I32Clz | O::I32Ctz | O::I32Popcnt | O::I64Clz | O::I64Ctz | O::I64Popcnt => SIMPLE,
        O::I32Load { .. } | O::I64Load { .. } | O::I32Store { .. } | O::I64Store { .. } => ACCESS,
        O::I32Load8S { .. } | O::I32Load8U { .. } | O::I32Load16S { .. } | O::I32Load16U { .. } => ACCESS,
        O::I64Load8S { .. } | O::I64Load8U { .. } | O::I64Load16S { .. } | O::I64Load16U { .. } => ACCESS,
        O::I64Load32S { .. } | O::I64Load32U { .. } | O::I32Store8 { .. } | O::I32Store16 { .. } => ACCESS,
        O::I64Store8 { .. } | O::I64Store16 { .. } | O::I64Store32 { .. } => ACCESS,
        _ => return None,
    })
}

fn float(op: &Operator<'_>) -> Option<u64> {
    use Operator as O;
    Some(match op {
        O::F32Load { .. } | O::F64Load { .. } | O::F32Store { .. } | O::F64Store { .. } => ACCESS,
        O::F32Add | O::F32Sub | O::F32Mul | O::F64Add | O::F64Sub | O::F64Mul => SIMPLE,
        O::F32Eq | O::F32Ne | O::F64Eq | O::F64Ne => SIMPLE,
        _ => return None,
    })
}

/// Numbers that the reference's table leaves out.
fn unlisted(op: &Operator<'_>) -> Option<u64> {
    use Operator as O;
    Some(match op {
        O::I32WrapI64 | O::I64ExtendI32S | O::I64ExtendI32U => SIMPLE,
        O::I32Extend8S | O::I32Extend16S | O::I64Extend8S | O::I64Extend16S | O::I64Extend32S => SIMPLE,
        O::F32Div | O::F32Sqrt | O::F64Div | O::F64Sqrt => 10 * SIMPLE,
        _ => return None,
    })
}

/// Opcodes that the reference's table does not know at all; none may be free.
fn other(op: &Operator<'_>) -> u64 {
    match op {
        Operator::RefNull { .. } => CONST,
        Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } => 10_000,
        _ => OTHER,
    }
}
