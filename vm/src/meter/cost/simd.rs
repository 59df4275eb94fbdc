//! Gas of the 128-bit instructions, which the reference's table does not know: its parser cannot
//! read a module that has one, so nothing has to agree with it.
//!
//! | group | gas | why |
//! |---|---|---|
//! | `v128.const` | 1 | a constant, as in the table |
//! | loads, stores, with splat, zero, extension or lane | 120 | a memory access, as in the table |
//! | most others: lanes, comparisons, logic, sums, products | 90 | one or two machine instructions |
//! | those that x86-64 makes of several | 270 | byte shifts, `i64x2.mul`, `popcnt`, float minimum and maximum, conversions of unsigned and of floats, rounding |
//! | `div`, `sqrt` | 900 | two divisions of four lanes, at ten times a product |
//!
//! A lane costs less than it would alone, and no group costs less than it takes on a CPU with SSE4.1
//! only. Relaxed SIMD has no price: it is refused, for its results differ between machines.

use wasmparser::Operator;

const CONST: u64 = 1;
const ACCESS: u64 = 120;
const VECTOR: u64 = 90;
const SEVERAL: u64 = 3 * VECTOR;
const DIVIDE: u64 = 10 * VECTOR;

/// The cost of an instruction on vectors; none if it is another one.
pub(super) fn of(op: &Operator<'_>) -> Option<u64> {
    access(op).or_else(|| several(op)).or_else(|| is_vector(op).then_some(VECTOR))
}

fn access(op: &Operator<'_>) -> Option<u64> {
    use Operator as O;
    Some(match op {
        O::V128Const { .. } => CONST,
        O::V128Load { .. } | O::V128Store { .. } => ACCESS,
        O::V128Load8x8S { .. } | O::V128Load8x8U { .. } | O::V128Load16x4S { .. } => ACCESS,
        O::V128Load16x4U { .. } | O::V128Load32x2S { .. } | O::V128Load32x2U { .. } => ACCESS,
        O::V128Load8Splat { .. } | O::V128Load16Splat { .. } | O::V128Load32Splat { .. } => ACCESS,
        O::V128Load64Splat { .. } | O::V128Load32Zero { .. } | O::V128Load64Zero { .. } => ACCESS,
        O::V128Load8Lane { .. } | O::V128Load16Lane { .. } | O::V128Load32Lane { .. } => ACCESS,
        O::V128Load64Lane { .. } | O::V128Store8Lane { .. } | O::V128Store16Lane { .. } => ACCESS,
        O::V128Store32Lane { .. } | O::V128Store64Lane { .. } => ACCESS,
        _ => return None,
    })
}

fn several(op: &Operator<'_>) -> Option<u64> {
    use Operator as O;
    Some(match op {
        O::F32x4Div | O::F32x4Sqrt | O::F64x2Div | O::F64x2Sqrt => DIVIDE,
        O::I8x16Shl | O::I8x16ShrS | O::I8x16ShrU | O::I64x2ShrS => SEVERAL,
        O::I64x2Mul | O::I8x16Popcnt | O::I64x2Abs => SEVERAL,
        O::F32x4Min | O::F32x4Max | O::F64x2Min | O::F64x2Max => SEVERAL,
        O::F32x4Ceil | O::F32x4Floor | O::F32x4Trunc | O::F32x4Nearest => SEVERAL,
        O::F64x2Ceil | O::F64x2Floor | O::F64x2Trunc | O::F64x2Nearest => SEVERAL,
        O::I32x4TruncSatF32x4S | O::I32x4TruncSatF32x4U => SEVERAL,
        O::I32x4TruncSatF64x2SZero | O::I32x4TruncSatF64x2UZero => SEVERAL,
        O::F32x4ConvertI32x4U | O::F64x2ConvertLowI32x4U => SEVERAL,
        _ => return None,
    })
}

/// Whether the parser counts an instruction among those on vectors.
fn is_vector(op: &Operator<'_>) -> bool {
    macro_rules! names {
        ($( @$proposal:ident $op:ident $({ $($argument:ident: $type:ty),* })? => $visit:ident ($($arity:tt)*) )*) => {
            match op {
                $( Operator::$op { .. } => true, )*
                _ => false,
            }
        };
    }
    wasmparser::for_each_visit_simd_operator!(names)
}
