//! How deep the constructs of a function may nest: the time that compiling takes grows with the
//! square of it, so that a module within its limit of bytes could keep a node busy for hours.

use wasmparser::Operator;

use crate::error::ModuleError;
use crate::limits::{NESTED_LOOPS_MAX, NESTED_MAX};

/// The constructs that are open, and which of them are loops.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    open: Vec<bool>,
    loops: usize,
}

impl Nesting {
    /// Reads the next operator of the function, which is valid.
    pub(super) fn read(&mut self, op: &Operator<'_>) -> Result<(), ModuleError> {
        match op {
            Operator::Loop { .. } => {
                self.loops += 1;
                self.open.push(true);
            }
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => self.open.push(false),
            // The function's own end closes none.
            Operator::End => self.loops -= usize::from(self.open.pop() == Some(true)),
            _ => {}
        }
        let too_deep = |what: &str, max| {
            Err(ModuleError::Unsupported(format!("more than {max} nested {what} in one function")))
        };
        if self.loops > NESTED_LOOPS_MAX {
            return too_deep("loops", NESTED_LOOPS_MAX);
        }
        if self.open.len() > NESTED_MAX {
            return too_deep("blocks", NESTED_MAX);
        }
        Ok(())
    }
}
