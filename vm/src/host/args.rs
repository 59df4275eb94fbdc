//! Arguments and results of host functions, whose widths the import itself declares.

use wasmtime::{FuncType, Val, ValType};

use super::Stop;

/// The arguments of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Args<'a>(pub(crate) &'a [Val]);

impl Args<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// An address or length; 32-bit ones are unsigned.
    pub(crate) fn word(&self, index: usize) -> Result<u64, Stop> {
        match self.0.get(index) {
            Some(Val::I32(value)) => Ok(u64::from(*value as u32)),
            Some(Val::I64(value)) => Ok(*value as u64),
            _ => Err(Stop::Abort("a host call with arguments of another type")),
        }
    }

    pub(crate) fn i32(&self, index: usize) -> Result<i32, Stop> {
        Ok(self.word(index)? as i32)
    }

    /// A number with its sign, of either width.
    pub(crate) fn signed(&self, index: usize) -> Result<i64, Stop> {
        match self.0.get(index) {
            Some(Val::I32(value)) => Ok(i64::from(*value)),
            _ => Ok(self.word(index)? as i64),
        }
    }

    /// A 64-bit number, given whole or as two halves; `halves` says which.
    pub(crate) fn i64(&self, index: usize, halves: bool) -> Result<i64, Stop> {
        let low = self.word(index)?;
        if !halves {
            return Ok(low as i64);
        }
        let high = self.word(index + 1)?;
        Ok(((high << 32) | (low & 0xffff_ffff)) as i64)
    }
}

/// Whether a function passes nothing but numbers, and gives at most one: all that host functions do.
pub(crate) fn takes_numbers(ty: &FuncType) -> bool {
    let is_number = |ty: ValType| matches!(ty, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64);
    ty.results().len() <= 1 && ty.params().chain(ty.results()).all(is_number)
}

/// Writes the one result of a call, if it has one, in the type that the import declares.
pub(crate) fn give(results: &mut [Val], types: &[ValType], value: i64) {
    if let (Some(result), Some(ty)) = (results.first_mut(), types.first()) {
        *result = match ty {
            ValType::I32 => Val::I32(value as i32),
            ValType::I64 => Val::I64(value),
            ValType::F32 => Val::F32((value as f32).to_bits()),
            ValType::F64 => Val::F64((value as f64).to_bits()),
            _ => return,
        };
    }
}
