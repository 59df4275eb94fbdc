//! How much room the operands of one function take, for the depth of its frames.

use wasmparser::{FuncValidator, ValType, WasmModuleResources};

/// Slots of a local or operand: a v128 counts twice.
pub(super) fn slots_of(ty: ValType) -> u64 {
    if ty == ValType::V128 { 2 } else { 1 }
}

/// Highest operand stack, in slots.
#[derive(Debug, Default)]
pub(super) struct Operands {
    /// Slots up to and with each operand.
    sums: Vec<u64>,
    pub(super) max: u64,
}

impl Operands {
    /// Follows one instruction that left `pushed` new operands on top.
    pub(super) fn update<R: WasmModuleResources>(&mut self, validator: &FuncValidator<R>, pushed: u32) {
        let height = validator.operand_stack_height() as usize;
        let kept = height.saturating_sub(pushed as usize).min(self.sums.len());
        self.sums.truncate(kept);
        for index in kept..height {
            let ty = validator.get_operand_type(height - 1 - index).flatten();
            let below = self.sums.last().copied().unwrap_or(0);
            self.sums.push(below + ty.map_or(1, slots_of));
        }
        self.max = self.max.max(self.sums.last().copied().unwrap_or(0));
    }
}
