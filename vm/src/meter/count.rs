//! Counts a function as the reference's metering does, for the `GasUsed` of the `-metering` formats.
//!
//! The reference puts a call before each segment of the code that adds the whole segment's price.
//! So a segment counts in full when it is entered, also when a jump out of a call inside it leaves
//! the rest undone; nothing may be charged together here. This counter decides nothing: the limit
//! is the guard's.

use wasmparser::Operator;

use super::cost::{self, SEGMENT_GAS};
use super::plan::{Edit, EditKind};

/// The segments of one function.
#[derive(Debug)]
pub(super) struct Segments {
    counts: Vec<Edit>,
    /// Where the segment at hand begins, as an offset in the module.
    start: usize,
    gas: u64,
}

impl Segments {
    pub(super) const fn new(code_start: usize) -> Self {
        Self { counts: Vec::new(), start: code_start, gas: 0 }
    }

    /// Reads the next operator, which ends at `after`.
    pub(super) fn read(&mut self, op: &Operator<'_>, after: usize) {
        use Operator as O;
        self.gas += cost::in_reference(op);
        if !matches!(
            op,
            O::MemoryGrow { .. }
                | O::End
                | O::Br { .. }
                | O::BrTable { .. }
                | O::BrIf { .. }
                | O::If { .. }
                | O::Else
                | O::Return
                | O::Loop { .. }
        ) {
            return;
        }
        if self.gas > 0 {
            let kind = EditKind::Count { gas: self.gas + SEGMENT_GAS };
            self.counts.push(Edit { at: self.start, skip: 0, labels: 0, kind });
        }
        (self.start, self.gas) = (after, 0);
    }

    /// The counts and the guard's edits in the order of their places, counts first.
    pub(super) fn merge(mut self, edits: Vec<Edit>) -> Vec<Edit> {
        self.counts.extend(edits);
        self.counts.sort_by_key(|edit| edit.at);
        self.counts
    }
}
