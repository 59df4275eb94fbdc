//! How deep the constructs of a function may nest, and how many branches there may be: the time that
//! compiling takes grows with the square of either, so that a module within its limit of bytes could
//! keep a node busy for hours.

use wasmparser::Operator;

use crate::error::ModuleError;
use crate::limits::{BRANCH_WORK_MAX, NESTED_LOOPS_MAX, NESTED_MAX};

/// The constructs that are open, which of them are loops, and the branches so far.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    open: Vec<bool>,
    loops: usize,
    /// `br` and `br_if`; the compiler takes a `br_table` in one step.
    pub(super) branches: u64,
}

/// What the branches of all functions take the compiler together.
#[derive(Debug, Default)]
pub(super) struct BranchWork(u64);

impl BranchWork {
    /// Adds a function with so many branches.
    pub(super) fn add(&mut self, branches: u64) -> Result<(), ModuleError> {
        self.0 = self.0.saturating_add(branches.saturating_mul(branches));
        if self.0 > BRANCH_WORK_MAX {
            let what = "functions with so many branches (the squares of their numbers add up to more than";
            return Err(ModuleError::Unsupported(format!("{what} {BRANCH_WORK_MAX})")));
        }
        Ok(())
    }
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
            Operator::Br { .. } | Operator::BrIf { .. } => self.branches += 1,
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
