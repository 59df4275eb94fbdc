//! How deep the constructs of a function may nest, and how many branches there may be: the time that
//! compiling takes grows with the square of either, so that a module within its limit of bytes could
//! keep a node busy for hours.

use wasmparser::Operator;

use crate::error::ModuleError;
use crate::limits::{BRANCH_WORK_MAX, LOCALS_MAX, NESTED_LOOPS_MAX, NESTED_MAX};

/// What a handler of a `try_table` takes the compiler beside the calls that it covers, in branches.
const HANDLER_BRANCHES: u64 = 3;

/// The constructs that are open, and the branches so far.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    open: Vec<Open>,
    loops: usize,
    /// Handlers of all `try_table` that are open.
    handlers: u64,
    /// Ways out of a block, as the compiler has to follow them: `br` and `br_if`, and for a call that may
    /// throw one to each handler around it. It takes a `br_table` in one step.
    pub(super) branches: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Loop,
    /// Catches with so many handlers; a plain block has none.
    Other(u64),
}

/// What the branches and locals of all functions take the compiler together.
#[derive(Debug, Default)]
pub(super) struct Work {
    branches: u64,
    locals: u64,
}

impl Work {
    /// Adds a function with so many branches.
    pub(super) fn add(&mut self, branches: u64) -> Result<(), ModuleError> {
        self.branches = self.branches.saturating_add(branches.saturating_mul(branches));
        if self.branches > BRANCH_WORK_MAX {
            let what = "functions with so many branches (the squares of their numbers add up to more than";
            return Err(ModuleError::Unsupported(format!("{what} {BRANCH_WORK_MAX})")));
        }
        Ok(())
    }

    /// Adds a function with so many locals.
    pub(super) fn declare(&mut self, locals: u32) -> Result<(), ModuleError> {
        self.locals = self.locals.saturating_add(u64::from(locals));
        if self.locals > LOCALS_MAX {
            return Err(ModuleError::Unsupported(format!("more than {LOCALS_MAX} locals in all functions")));
        }
        Ok(())
    }
}

impl Nesting {
    /// Reads the next operator of the function, which is valid.
    pub(super) fn read(&mut self, op: &Operator<'_>) -> Result<(), ModuleError> {
        use Operator as O;
        match op {
            O::Loop { .. } => {
                self.loops += 1;
                self.open.push(Open::Loop);
            }
            O::Block { .. } | O::If { .. } => self.open.push(Open::Other(0)),
            O::TryTable { try_table } => {
                let handlers = try_table.catches.len() as u64;
                self.handlers += handlers;
                self.branches += handlers * HANDLER_BRANCHES;
                self.open.push(Open::Other(handlers));
            }
            O::Br { .. } | O::BrIf { .. } => self.branches += 1,
            O::Call { .. } | O::CallIndirect { .. } | O::Throw { .. } => self.branches += self.handlers,
            O::End => match self.open.pop() {
                Some(Open::Loop) => self.loops -= 1,
                Some(Open::Other(handlers)) => self.handlers -= handlers,
                // The function's own end closes none.
                None => {}
            },
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
