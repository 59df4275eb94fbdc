//! Which way a branch goes that asks for a global's value.
//!
//! aos is built with asyncify: nearly every function asks before and after each call whether the
//! guest is being unwound, and it hardly ever is. Taking each of these questions for a branch would cut
//! the code into twice as many pieces. So the pass charges the way that is always taken with what
//! came before it, and gives the difference back on the other way. The sum is the same on both.

use wasmparser::{BlockType, FrameKind, FuncValidator, Operator, ValType, WasmModuleResources};

/// What matters of one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Global,
    Local,
    Const,
    IsZero,
    IsEqual,
    Or,
    Other,
}

/// The last few instructions of a straight line.
#[derive(Debug)]
pub(super) struct Recent([Step; 6]);

impl Default for Recent {
    fn default() -> Self {
        Self([Step::Other; 6])
    }
}

impl Recent {
    pub(super) fn push(&mut self, op: &Operator<'_>) {
        self.0.rotate_left(1);
        let [.., last] = &mut self.0;
        *last = match op {
            Operator::GlobalGet { .. } => Step::Global,
            Operator::LocalGet { .. } => Step::Local,
            Operator::I32Const { .. } => Step::Const,
            Operator::I32Eqz => Step::IsZero,
            Operator::I32Eq => Step::IsEqual,
            Operator::I32Or => Step::Or,
            _ => Step::Other,
        };
    }

    /// `global == 0`, or that or something else: an `if` on it is taken.
    pub(super) fn is_zero_global(&self) -> bool {
        use Step as S;
        matches!(
            self.0,
            [.., S::Global, S::IsZero]
                | [.., S::Global, S::IsZero, S::Local, S::IsZero, S::Or]
                | [S::Global, S::IsZero, S::Local, S::Const, S::IsEqual, S::Or]
        )
    }

    /// `global == constant`: a `br_if` on it is not taken.
    pub(super) fn is_constant_global(&self) -> bool {
        matches!(self.0, [.., Step::Global, Step::Const, Step::IsEqual])
    }
}

/// The value that a branch to a label takes along. `None` if that is more than one, or not a
/// number: such branches are not guessed.
pub(super) fn label_value<R: WasmModuleResources>(
    validator: &FuncValidator<R>,
    depth: u32,
) -> Option<Option<ValType>> {
    let frame = validator.get_control_frame(depth as usize)?;
    match (frame.block_type, frame.kind) {
        (BlockType::Empty, _) | (BlockType::Type(_), FrameKind::Loop) => Some(None),
        (BlockType::Type(ty), _) if !matches!(ty, ValType::Ref(_)) => Some(Some(ty)),
        _ => None,
    }
}
