//! Instructions that are not evaluated, by name.

use wasmparser::{Catch, Operator};

use crate::error::ModuleError;

/// Refuses what makes state that a restored memory would not bring back.
pub(super) fn instruction(op: &Operator<'_>) -> Result<(), ModuleError> {
    use Operator as O;
    let what = match op {
        O::TableSet { .. } => "table.set",
        O::TableGrow { .. } => "table.grow",
        O::TableFill { .. } => "table.fill",
        O::TableCopy { .. } => "table.copy",
        O::TableInit { .. } => "table.init",
        O::ElemDrop { .. } => "elem.drop",
        O::DataDrop { .. } => "data.drop",
        O::Try { .. } | O::Catch { .. } | O::CatchAll | O::Delegate { .. } | O::Rethrow { .. } => {
            "legacy exception handling"
        }
        // A guest never holds an exception, so at most one is alive and none outlives a message.
        O::ThrowRef => "throw_ref",
        O::TryTable { try_table }
            if try_table
                .catches
                .iter()
                .any(|catch| matches!(catch, Catch::OneRef { .. } | Catch::AllRef { .. })) =>
        {
            "catch_ref"
        }
        _ => return Ok(()),
    };
    Err(ModuleError::Unsupported(what.to_owned()))
}

/// A module that cannot be read or is not valid.
pub(super) fn invalid(error: wasmparser::BinaryReaderError) -> ModuleError {
    ModuleError::Invalid(error.to_string())
}
