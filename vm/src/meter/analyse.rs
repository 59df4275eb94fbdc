//! Reads one function and decides what to charge where.

use wasmparser::{
    Catch, FuncValidator, FunctionBody, Operator, OperatorsReader, ValType, WasmModuleResources,
};

use super::cost::{self, SEGMENT_GAS};
use super::count::Segments;
use super::fold::{Idle, Pures};
use super::likely::{Recent, label_value};
use super::lower::{self, Addresses};
use super::nesting::Nesting;
use super::operands::{Operands, slots_of};
use super::plan::{Edit, EditKind, Plan, Width};
use super::refuse::{self, invalid};
use crate::error::ModuleError;
use crate::limits::{FRAME_BYTES, GUESSES_MAX, SLOT_BYTES};

mod folding;

use folding::Arms;

/// What the analysis needs to know about the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) memory_width: Width,
    /// Function index of the import that copies memory.
    pub(super) copy_import: Option<u32>,
    /// Charge segments together that always run together.
    pub(super) merge: bool,
    /// Count as the reference does, too.
    pub(super) count: bool,
    /// Lower the memory to 32 bits.
    pub(super) lower: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Loop,
    If,
    Else,
}

#[derive(Debug)]
struct Frame {
    kind: Kind,
    /// The charge that was open when the construct was entered; `None` in dead code.
    open: Option<usize>,
    /// Outermost label that a live branch inside goes to.
    reaches: usize,
    /// A live branch goes to its end.
    branched: bool,
    /// Whether the `then` arm reached its end.
    then_live: bool,
    /// For an `if` that is charged with what came before it: the charge when it was entered.
    likely: Option<Reading>,
    /// An exception goes to its end (or head).
    caught: bool,
    /// Branches to the end (or head) of this construct whose refund is known at its end.
    leaving: Vec<Leaving>,
    /// For an `if`: what becomes of it.
    arms: Arms,
}

/// What a charge had come to at some place.
#[derive(Debug, Clone, Copy)]
struct Reading {
    edit: usize,
    gas: i64,
}

/// A branch that is charged as if it were never taken.
#[derive(Debug)]
struct Leaving {
    edit: usize,
    /// The charges that pay for code which the branch skips.
    paid: Vec<Reading>,
}

struct Analyser<'a> {
    edits: Vec<Edit>,
    frames: Vec<Frame>,
    /// The charge that pays for the code being read; `None` in dead code.
    open: Option<usize>,
    /// Cost of the reference's current segment.
    segment: u64,
    facts: Facts,
    calls: bool,
    catches: bool,
    recent: Recent,
    /// Constructs that the guesses so far lie in, each guess counted by itself.
    guessed: usize,
    idle: &'a Idle,
    pures: Pures,
    /// How many frames there are inside the outermost arm that never runs, if that is being read.
    never: Option<usize>,
}

/// Validates one function and plans its edits.
pub(super) fn function<R: WasmModuleResources>(
    body: &FunctionBody<'_>,
    validator: &mut FuncValidator<R>,
    facts: Facts,
    idle: &Idle,
    guard: bool,
) -> Result<Plan, ModuleError> {
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader).map_err(invalid)?;
    let mut operators = OperatorsReader::new(reader);
    let code_start = operators.original_position();
    let mut operands = Operands::default();
    let mut nesting = Nesting::default();
    let mut analyser = Analyser::new(code_start, facts, idle);
    let mut segments = Segments::new(code_start);
    let mut addresses = facts.lower.then(|| Addresses::new(validator.len_locals()));
    while !operators.eof() {
        let at = operators.original_position();
        let op = operators.read().map_err(invalid)?;
        refuse::instruction(&op)?;
        let after = operators.original_position();
        let pushed = op.operator_arity(validator).map(|(_, pushed)| pushed);
        let below = lower::floor(validator);
        validator.op(at, &op).map_err(invalid)?;
        nesting.read(&op)?;
        operands.update(validator, pushed.unwrap_or(0));
        let lowered = addresses.as_mut().and_then(|addresses| {
            let lowered = addresses.lower(&op, below);
            addresses.follow(&op, below, pushed, validator);
            lowered
        });
        if guard {
            let label = |depth: u32| label_value(validator, depth);
            analyser.read_or_fold(&op, at, after, label);
        }
        if let Some(lowered) = lowered {
            // Also in dead code, which is validated again.
            analyser.edit(at, after - at, lowered);
        }
        if facts.count {
            segments.read(&op, after);
        }
    }
    operators.finish().map_err(invalid)?;
    let locals = validator.len_locals();
    let slots: u64 = (0..locals).map(|index| validator.get_local_type(index).map_or(1, slots_of)).sum();
    let catches = analyser.catches;
    let (edits, calls) = analyser.finish();
    Ok(Plan {
        edits: segments.merge(edits),
        code_start,
        frame_bytes: FRAME_BYTES + SLOT_BYTES * (slots + operands.max),
        calls,
        catches,
        locals,
        branches: nesting.branches,
        lowered: addresses.map(|addresses| addresses.checks),
    })
}

impl<'a> Analyser<'a> {
    fn new(code_start: usize, facts: Facts, idle: &'a Idle) -> Self {
        let mut analyser = Self {
            edits: Vec::new(),
            frames: Vec::new(),
            open: None,
            segment: 0,
            facts,
            calls: false,
            catches: false,
            recent: Recent::default(),
            guessed: 0,
            idle,
            pures: Pures::default(),
            never: None,
        };
        analyser.push(Kind::Block);
        analyser.open_charge(code_start, false);
        analyser
    }

    /// The edits in order, and whether the function calls anything.
    fn finish(mut self) -> (Vec<Edit>, bool) {
        if let Some(Edit { kind: EditKind::Charge { check, .. }, .. }) = self.edits.first_mut() {
            // A function without calls cannot recurse: its loops check, and its caller did.
            *check = self.calls;
        }
        let is_nothing = |kind: &EditKind| {
            matches!(
                kind,
                EditKind::Charge { gas: 0, check: false } | EditKind::Skipped { refund: 0 } | EditKind::Gone
            )
        };
        let catches = self.catches;
        self.edits
            .retain(|edit| !is_nothing(&edit.kind) && (catches || !matches!(edit.kind, EditKind::Caught)));
        (self.edits, self.calls)
    }

    fn edit(&mut self, at: usize, skip: usize, kind: EditKind) {
        let labels = self.frames.len() as u32;
        self.edits.push(Edit { at, skip, labels, kind });
    }

    fn open_charge(&mut self, at: usize, check: bool) {
        self.open = Some(self.edits.len());
        self.edit(at, 0, EditKind::Charge { gas: 0, check });
    }

    fn charge(&mut self, amount: u64) {
        let Some(open) = self.open else { return };
        if let Some(Edit { kind: EditKind::Charge { gas, .. }, .. }) = self.edits.get_mut(open) {
            *gas += amount as i64;
        }
    }

    /// What a charge has come to.
    fn reading(&self, edit: usize) -> Reading {
        match self.edits.get(edit) {
            Some(Edit { kind: EditKind::Charge { gas, .. }, .. }) => Reading { edit, gas: *gas },
            _ => Reading { edit, gas: 0 },
        }
    }

    /// What was added to a charge since then.
    fn since(&self, reading: Reading) -> i64 {
        self.reading(reading.edit).gas - reading.gas
    }

    /// Ends the reference's segment, which may lie inside one of ours.
    fn end_segment(&mut self) {
        if self.segment > 0 {
            self.charge(SEGMENT_GAS);
        }
        self.segment = 0;
    }

    fn push(&mut self, kind: Kind) {
        let open = self.open;
        self.frames.push(Frame {
            kind,
            open,
            reaches: usize::MAX,
            branched: false,
            then_live: false,
            likely: None,
            caught: false,
            leaving: Vec::new(),
            arms: Arms::Kept,
        });
    }

    /// Notes a live branch to the label that is `depth` labels out.
    fn branch(&mut self, depth: u32) {
        let target = self.frames.len().saturating_sub(1 + depth as usize);
        if let Some(frame) = self.frames.get_mut(target)
            && frame.kind != Kind::Loop
        {
            frame.branched = true;
        }
        if let Some(top) = self.frames.last_mut() {
            top.reaches = top.reaches.min(target);
        }
    }

    fn read(
        &mut self,
        op: &Operator<'_>,
        at: usize,
        after: usize,
        label: impl Fn(u32) -> Option<Option<ValType>>,
    ) {
        if self.open.is_some() {
            let cost = cost::of(op);
            self.segment += cost;
            self.charge(cost);
            self.memory(op, at, after);
        }
        match op {
            Operator::Block { .. } => self.push(Kind::Block),
            Operator::Loop { .. } => {
                self.end_segment();
                self.push(Kind::Loop);
                if self.open.is_some() {
                    // A catch further down may come here.
                    self.edit(after, 0, EditKind::Caught);
                    self.open_charge(after, true);
                }
            }
            Operator::If { .. } => {
                self.end_segment();
                self.push(Kind::If);
                self.read_if(after);
            }
            Operator::Else => self.read_else(after),
            Operator::TryTable { try_table } => self.read_try(&try_table.catches, after),
            Operator::End => self.read_end(at, after),
            Operator::BrIf { relative_depth } if self.open.is_some() => {
                self.end_segment();
                match label(*relative_depth) {
                    Some(value) if self.may_guess(*relative_depth) => {
                        self.leave(*relative_depth, at, after, value);
                    }
                    _ => {
                        self.branch(*relative_depth);
                        self.open_charge(after, false);
                    }
                }
            }
            _ => self.jump(op, at, after),
        }
        self.recent.push(op);
    }

    /// A catch is a branch out of the construct that any call inside may take.
    fn read_try(&mut self, catches: &[Catch], after: usize) {
        self.push(Kind::Block);
        if self.open.is_none() {
            return;
        }
        self.catches = true;
        // Its own depth is only known where its frame counts.
        self.calls = true;
        for catch in catches {
            let (Catch::One { label, .. }
            | Catch::OneRef { label, .. }
            | Catch::All { label }
            | Catch::AllRef { label }) = *catch;
            // Labels count from outside of the construct.
            self.branch(label + 1);
            let target = self.frames.len().saturating_sub(2 + label as usize);
            if let Some(frame) = self.frames.get_mut(target) {
                frame.caught = true;
            }
        }
        self.end_segment();
        self.open_charge(after, false);
    }

    fn read_if(&mut self, after: usize) {
        let Some(open) = self.open else { return };
        if self.facts.merge && self.recent.is_zero_global() {
            let reading = self.reading(open);
            if let Some(frame) = self.frames.last_mut() {
                frame.likely = Some(reading);
            }
        } else {
            self.open_charge(after, false);
        }
    }

    /// Whether a `br_if` is charged as if it were never taken. A guess remembers something of every
    /// construct that it may leave, and the two multiply: past the limit branches are charged as others.
    fn may_guess(&mut self, depth: u32) -> bool {
        if !self.facts.merge || !self.recent.is_constant_global() {
            return false;
        }
        self.guessed = self.guessed.saturating_add(depth as usize + 1);
        self.guessed <= GUESSES_MAX
    }

    /// A branch that goes on being charged as if it were never taken. What it skips until the
    /// end of its label is given back when it is: by the open charge, and by those that are
    /// taken up again at the ends in between.
    fn leave(&mut self, depth: u32, at: usize, after: usize, value: Option<ValType>) {
        let target = self.frames.len().saturating_sub(1 + depth as usize);
        let mut charges: Vec<usize> =
            self.frames.iter().skip(target + 1).filter_map(|frame| frame.open).chain(self.open).collect();
        charges.sort_unstable();
        charges.dedup();
        let paid = charges.into_iter().map(|edit| self.reading(edit)).collect();
        let edit = self.edits.len();
        self.edit(at, after - at, EditKind::Leave { depth, refund: 0, value });
        if let Some(frame) = self.frames.get_mut(target) {
            frame.branched |= frame.kind != Kind::Loop;
            frame.leaving.push(Leaving { edit, paid });
        }
    }

    fn memory(&mut self, op: &Operator<'_>, at: usize, after: usize) {
        let width = self.facts.memory_width;
        match op {
            Operator::MemoryGrow { .. } => {
                self.edit(at, 0, EditKind::Pages(width));
                self.end_segment();
                if !self.facts.merge {
                    self.open_charge(after, false);
                }
            }
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } => {
                self.edit(at, 0, EditKind::Bytes(width));
            }
            Operator::MemoryInit { .. } => self.edit(at, 0, EditKind::Bytes(Width::I32)),
            Operator::Call { function_index } if Some(*function_index) == self.facts.copy_import => {
                self.edit(at, after - at, EditKind::Copy(width));
            }
            Operator::Call { .. } | Operator::CallIndirect { .. } => self.calls = true,
            _ => {}
        }
    }

    /// Instructions that leave the straight line.
    fn jump(&mut self, op: &Operator<'_>, at: usize, after: usize) {
        if self.open.is_none() {
            return;
        }
        match op {
            Operator::Br { relative_depth } => self.branch(*relative_depth),
            Operator::BrTable { targets } => {
                self.branch(targets.default());
                for target in targets.targets().flatten() {
                    self.branch(target);
                }
            }
            Operator::Return => {
                self.edit(at, after - at, EditKind::Return);
                self.branch(self.frames.len() as u32 - 1);
            }
            Operator::Unreachable | Operator::Throw { .. } => {}
            _ => return,
        }
        self.end_segment();
        self.open = None;
    }

    fn read_else(&mut self, after: usize) {
        self.end_segment();
        let live = self.open.is_some();
        let Some(frame) = self.frames.last_mut() else { return };
        frame.kind = Kind::Else;
        frame.then_live = live;
        let likely = frame.likely.take();
        if frame.open.is_some() {
            self.open_charge(after, false);
            self.give_back(likely.map_or(0, |likely| self.since(likely)));
        }
    }

    /// Lowers the open charge.
    fn give_back(&mut self, amount: i64) {
        let Some(open) = self.open else { return };
        if let Some(Edit { kind: EditKind::Charge { gas, .. }, .. }) = self.edits.get_mut(open) {
            *gas -= amount;
        }
    }

    /// Now that the charges inside a construct are final, settles the guesses made there.
    fn settle(&mut self, frame: &Frame, at: usize) {
        for leaving in &frame.leaving {
            let back: i64 = leaving.paid.iter().map(|reading| self.since(*reading)).sum();
            if let Some(Edit { kind: EditKind::Leave { refund, .. }, .. }) = self.edits.get_mut(leaving.edit)
            {
                *refund = back;
            }
        }
        if let Some(likely) = frame.likely {
            let refund = self.since(likely);
            self.edit(at, 0, EditKind::Skipped { refund });
        }
    }

    fn read_end(&mut self, at: usize, after: usize) {
        self.end_segment();
        let falls_through = self.open.is_some();
        let Some(frame) = self.frames.pop() else { return };
        self.settle(&frame, at);
        if frame.caught && frame.kind != Kind::Loop {
            self.edit(after, 0, EditKind::Caught);
        }
        let depth = self.frames.len();
        if let Some(outer) = self.frames.last_mut() {
            outer.reaches = outer.reaches.min(frame.reaches);
        }
        let live = frame.open.is_some()
            && match frame.kind {
                Kind::Block => falls_through || frame.branched,
                Kind::Loop => falls_through,
                Kind::If => true,
                Kind::Else => falls_through || frame.then_live || frame.branched,
            };
        if !live {
            self.open = None;
        } else if frame.reaches < depth || !self.facts.merge {
            // Some paths leave past this end, so what follows is not always run.
            self.open_charge(after, false);
        } else {
            self.open = frame.open;
        }
    }
}
