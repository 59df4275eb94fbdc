//! Leaves out of a function what asks for a global that never changes, and what never runs for it. All is planned as it
//! would be with it first, so that the charges of what runs stay the same.

use std::mem;
use std::ops::Range;

use wasmparser::{Operator, ValType};

use super::super::fold::Found;
use super::super::plan::{Edit, EditKind};
use super::Analyser;

/// What becomes of an `if`.
#[derive(Debug, Default)]
pub(super) enum Arms {
    /// It stays as it is now.
    #[default]
    Kept,
    /// It became a block of its first arm. The second, if there is one, begins here, with so many edits before it.
    First { second: Option<(usize, usize)> },
    /// Its first arm never runs: it begins with the question here, with so many edits before it. If there is a second, it
    /// becomes a block of that, whose type has these bytes.
    Second { at: usize, edits: usize, ty: Range<usize> },
}

impl Analyser<'_> {
    /// Reads an instruction, and plans to leave it out if it comes to nothing.
    pub(super) fn read_or_fold(
        &mut self,
        op: &Operator<'_>,
        at: usize,
        after: usize,
        label: impl Fn(u32) -> Option<Option<ValType>>,
    ) {
        // What never runs is left out as a whole, so nothing in it has to be.
        let is_end = |depth| depth == self.frames.len() && matches!(op, Operator::Else | Operator::End);
        if self.idle.is_empty() || self.never.is_some_and(|depth| !is_end(depth)) {
            return self.read(op, at, after, label);
        }
        self.never = None;
        let folded = self.fold(op, at, after);
        let edits = self.edits.len();
        self.read(op, at, after, label);
        let Some(arms) = folded else { return self.compute(op, at, after) };
        // What was planned for the instruction itself; what comes after it stays.
        self.forget(edits, after);
        self.pures.clear();
        if let (Operator::If { .. } | Operator::Else, Some(frame)) = (op, self.frames.last_mut()) {
            frame.arms = arms;
            if matches!(frame.arms, Arms::First { second: Some(_) } | Arms::Second { .. }) {
                self.never = Some(self.frames.len());
            }
        }
    }

    /// Plans to leave out what ends before this instruction, or with it: then what becomes of its `if`.
    fn fold(&mut self, op: &Operator<'_>, at: usize, after: usize) -> Option<Arms> {
        match op {
            Operator::If { .. } if self.open.is_some() => {
                let (question, answer) = self.pures.known()?;
                self.cut(question.edits);
                let ty = at + 1..after;
                if answer == 0 {
                    return Some(Arms::Second { at: question.at, edits: question.edits, ty });
                }
                self.replace(question.at, after, EditKind::Block(ty));
                Some(Arms::First { second: None })
            }
            Operator::BrIf { .. } if self.open.is_some() => {
                let (question, answer) = self.pures.known()?;
                if answer != 0 {
                    return None;
                }
                self.cut(question.edits);
                self.replace(question.at, after, EditKind::Nothing);
                Some(Arms::Kept)
            }
            Operator::Else => match mem::take(&mut self.frames.last_mut()?.arms) {
                Arms::Kept => None,
                Arms::First { .. } => Some(Arms::First { second: Some((at, self.edits.len())) }),
                Arms::Second { at: question, edits, ty } => {
                    self.forget(edits, after);
                    self.replace(question, after, EditKind::Block(ty));
                    Some(Arms::Kept)
                }
            },
            Operator::End => match mem::take(&mut self.frames.last_mut()?.arms) {
                Arms::Kept => None,
                Arms::First { second } => {
                    if let Some((otherwise, edits)) = second {
                        self.forget(edits, after);
                        self.replace(otherwise, at, EditKind::Nothing);
                    }
                    Some(Arms::Kept)
                }
                Arms::Second { at: question, edits, .. } => {
                    self.forget(edits, after);
                    self.replace(question, after, EditKind::Nothing);
                    Some(Arms::Kept)
                }
            },
            _ => None,
        }
    }

    /// Follows what is computed.
    fn compute(&mut self, op: &Operator<'_>, at: usize, after: usize) {
        if self.open.is_none() {
            return self.pures.clear();
        }
        match self.pures.read(op, at, self.edits.len(), self.idle) {
            Some(Found::Zero) => self.replace(at, after, EditKind::Zero),
            Some(Found::Nothing(since)) => {
                self.cut(since.edits);
                self.replace(since.at, after, EditKind::Nothing);
            }
            None => {}
        }
    }

    /// Writes something else in the place of some code.
    fn replace(&mut self, from: usize, to: usize, kind: EditKind) {
        self.edit(from, to - from, kind);
    }

    /// Takes back the edits of what was only computed: nobody has their numbers.
    fn cut(&mut self, since: usize) {
        let is_own = |edit: &Edit| matches!(edit.kind, EditKind::Zero | EditKind::Nothing);
        debug_assert!(self.edits.iter().skip(since).all(is_own), "more than computing was planned");
        self.edits.truncate(since);
    }

    /// Forgets the edits that were planned since there were so many, and that are before this place. Others may have their
    /// numbers, which stay.
    fn forget(&mut self, since: usize, before: usize) {
        for edit in self.edits.iter_mut().skip(since).filter(|edit| edit.at < before) {
            edit.kind = EditKind::Gone;
        }
    }
}
