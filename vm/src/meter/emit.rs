//! Writes one function with its charges.
//!
//! ```text
//! block $outside, only where the memory is lowered and something compared
//! block $over
//!   charge the first segment; add the frame to the depth; br_if $over when one is passed
//!   block $exit (result ..)
//!     the function's own code; a branch to its label now leaves $exit; return becomes br $exit
//!   end
//!   take the frame from the depth
//!   return
//! end
//! mark the depth counter; unreachable
//! end
//! trap as an access outside of memory
//! ```
//!
//! The host tells the reasons apart: gas below zero is out of gas, else the marked counter is
//! depth, else the guest's own trap. A function that calls nothing leaves the depth as it is.

use std::collections::BTreeMap;

use wasm_encoder::{BlockType, Encode, Instruction, ValType};

use super::cost::{BYTE_GAS, PAGE_GAS, UNWIND_GAS};
use super::lower::Whole;
use super::plan::{Edit, EditKind, Plan, Width};
use super::{DEPTH_OVER, FRAME_BITS, depth_of};
use crate::error::HostFault;

mod lowered;

/// More bytes or pages than any memory has; keeps the product of a charge in range.
const AMOUNT_MAX: i64 = 1 << 40;
/// The opcode of `block`, whose type is written as that of `if`.
const BLOCK: u8 = 0x02;

/// Indexes of the counters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    pub(super) gas: u32,
    pub(super) depth: u32,
    /// The reference's count.
    pub(super) used: u32,
}

/// Writes the body of one function, without its length. A plan that contradicts itself is a fault of this program.
pub(super) fn function(
    wasm: &[u8],
    end: usize,
    plan: &Plan,
    results: BlockType,
    counters: Counters,
    locals: &Locals<'_>,
    types: &mut NewTypes,
) -> Result<Vec<u8>, HostFault> {
    let mut out = Writer { bytes: Vec::with_capacity(end - plan.code_start + 256), counters };
    let scratch = Scratch::of(plan);
    locals.write(&scratch, &mut out.bytes);
    let compares = plan.lowered.is_some_and(|checks| checks > 0);
    if compares {
        out.put(Instruction::Block(BlockType::Empty));
    }
    out.put(Instruction::Block(BlockType::Empty));
    let mut edits = plan.edits.iter().peekable();
    let at_entry = |edit: &&Edit| {
        edit.at == plan.code_start && matches!(edit.kind, EditKind::Count { .. } | EditKind::Charge { .. })
    };
    while let Some(entry) = edits.next_if(at_entry) {
        match entry.kind {
            EditKind::Charge { gas, check } => out.charge(gas, check.then_some(0)),
            EditKind::Count { gas } => out.count(gas),
            _ => {}
        }
    }
    out.enter(plan.frame_bytes, plan.calls);
    if plan.catches {
        out.put(Instruction::GlobalGet(counters.depth));
        out.put(Instruction::LocalSet(scratch.depth()));
    }
    out.put(Instruction::Block(results));
    let mut copied = plan.code_start;
    for edit in edits {
        if edit.at < copied {
            return Err(HostFault::Runtime(format!("two edits of the code at {}", edit.at)));
        }
        out.bytes.extend_from_slice(wasm.get(copied..edit.at).unwrap_or_default());
        copied = edit.at + edit.skip;
        out.edit(edit, wasm, plan, &scratch, types);
    }
    out.bytes.extend_from_slice(wasm.get(copied..end).unwrap_or_default());
    if plan.calls {
        out.leave(plan.frame_bytes);
    }
    out.put(Instruction::Return);
    out.put(Instruction::End);
    out.put(Instruction::I64Const(DEPTH_OVER));
    out.put(Instruction::GlobalSet(counters.depth));
    out.put(Instruction::Unreachable);
    if compares {
        out.put(Instruction::End);
        out.outside();
    }
    out.put(Instruction::End);
    Ok(out.bytes)
}

/// Function types that the pass adds behind those of the module.
#[derive(Debug, Default)]
pub(super) struct NewTypes {
    /// How many types the module has.
    first: u32,
    entries: Vec<Vec<u8>>,
    /// The entry of each, so that a module of many types is not searched for each function.
    known: BTreeMap<Vec<u8>, u32>,
}

impl NewTypes {
    /// None yet, for a module of so many types.
    pub(super) fn behind(first: u32) -> Self {
        Self { first, ..Self::default() }
    }

    pub(super) const fn first(&self) -> u32 {
        self.first
    }

    /// The type of a block that takes and gives these.
    pub(super) fn block(&mut self, takes: &[ValType], gives: &[ValType]) -> BlockType {
        match (takes, gives) {
            ([], []) => return BlockType::Empty,
            ([], [one]) => return BlockType::Result(*one),
            _ => {}
        }
        let mut entry = vec![0x60];
        for side in [takes, gives] {
            side.encode(&mut entry);
        }
        let next = self.entries.len() as u32;
        let index = *self.known.entry(entry).or_insert_with_key(|entry| {
            self.entries.push(entry.clone());
            next
        });
        BlockType::FunctionType(self.first + index)
    }

    /// The type of a block that leaves one value as it is.
    fn passing(&mut self, value: Option<wasmparser::ValType>) -> BlockType {
        let value: Vec<ValType> = value.and_then(super::sections::value_type).into_iter().collect();
        self.block(&value, &value)
    }

    /// How many there are, and their bytes.
    pub(super) fn encoded(&self) -> (u32, Vec<u8>) {
        (self.entries.len() as u32, self.entries.concat())
    }
}

/// The local declarations of a function as they were, and how many groups they are.
#[derive(Debug)]
pub(super) struct Locals<'a> {
    pub(super) groups: u32,
    pub(super) declarations: &'a [u8],
}

impl Locals<'_> {
    fn write(&self, scratch: &Scratch, out: &mut Vec<u8>) {
        let groups = scratch.counts.iter().filter(|(_, count)| *count > 0).count() as u32;
        (self.groups + groups).encode(out);
        out.extend_from_slice(self.declarations);
        for (ty, count) in scratch.counts.iter().filter(|(_, count)| *count > 0) {
            count.encode(out);
            ty.encode(out);
        }
    }
}

/// Locals of the pass itself, behind the function's own.
#[derive(Debug)]
struct Scratch {
    first: u32,
    /// How many of each type, in their order.
    counts: [(ValType, u32); 5],
}

impl Scratch {
    /// What [`Writer::copy`] needs.
    const COPY: u32 = 4;

    fn of(plan: &Plan) -> Self {
        use ValType as V;
        let counts = [(V::I32, 0), (V::I64, 0), (V::F32, 0), (V::F64, 0), (V::V128, 0)];
        let mut scratch = Self { first: plan.locals, counts };
        for edit in &plan.edits {
            match &edit.kind {
                EditKind::Pages(width) | EditKind::Bytes(width) => scratch.need(value_of(*width), 1),
                EditKind::Copy(_) => scratch.need(V::I64, Self::COPY),
                EditKind::Whole(Whole::Size) => {}
                EditKind::Whole(whole) => {
                    scratch.need(V::I64, Self::COPY);
                    scratch.need(V::I32, if matches!(whole, Whole::Init(_)) { 2 } else { 1 });
                }
                EditKind::Access(access) => {
                    scratch.need(V::I64, 1);
                    if let Some(ty) = access.above.and_then(super::sections::value_type) {
                        scratch.need(ty, 1 + u32::from(ty == V::I64));
                    }
                }
                EditKind::Charge { .. } | EditKind::Leave { .. } | EditKind::Skipped { .. } => {}
                EditKind::Return | EditKind::Count { .. } | EditKind::Caught => {}
                EditKind::Zero | EditKind::Nothing | EditKind::Block(_) | EditKind::Gone => {}
            }
        }
        for (_, count) in scratch.counts.iter_mut().filter(|(ty, _)| plan.catches && *ty == V::I64) {
            *count += 1;
        }
        scratch
    }

    /// At least so many of this type.
    fn need(&mut self, ty: ValType, least: u32) {
        for (_, count) in self.counts.iter_mut().filter(|(known, _)| *known == ty) {
            *count = least.max(*count);
        }
    }

    /// The last i64 local: the depth while this function runs, if it catches.
    fn depth(&self) -> u32 {
        self.index(ValType::F32) - 1
    }

    /// The first local of this type.
    fn index(&self, ty: ValType) -> u32 {
        let before = self.counts.iter().take_while(|(known, _)| *known != ty);
        self.first + before.map(|(_, count)| count).sum::<u32>()
    }

    /// The first local of this width.
    fn of_width(&self, width: Width) -> u32 {
        self.index(value_of(width))
    }

    /// The local for what is stored, beside that of an address.
    fn value(&self, ty: ValType) -> u32 {
        self.index(ty) + u32::from(ty == ValType::I64)
    }
}

const fn value_of(width: Width) -> ValType {
    match width {
        Width::I32 => ValType::I32,
        Width::I64 => ValType::I64,
    }
}

struct Writer {
    bytes: Vec<u8>,
    counters: Counters,
}

impl Writer {
    fn put(&mut self, instruction: Instruction<'_>) {
        instruction.encode(&mut self.bytes);
    }

    /// Writes what an edit puts in the place of the original.
    fn edit(&mut self, edit: &Edit, wasm: &[u8], plan: &Plan, scratch: &Scratch, types: &mut NewTypes) {
        let original = wasm.get(edit.at..edit.at + edit.skip).unwrap_or_default();
        // The labels of the original, and beside them $over around $exit.
        let over = edit.labels;
        match edit.kind {
            EditKind::Charge { gas, check } => self.charge(gas, check.then_some(over)),
            EditKind::Leave { depth, refund: 0, .. } => self.put(Instruction::BrIf(depth)),
            EditKind::Leave { depth, refund, value } => self.leave_early(depth, refund, types.passing(value)),
            EditKind::Skipped { refund } => {
                self.put(Instruction::Else);
                self.charge(-refund, None);
            }
            EditKind::Pages(width) => self.charge_amount(width, PAGE_GAS, scratch.of_width(width), over),
            EditKind::Bytes(width) => self.charge_amount(width, BYTE_GAS, scratch.of_width(width), over),
            EditKind::Copy(width) => {
                let memory = if plan.lowered.is_some() { Width::I32 } else { width };
                self.copy(width, memory, scratch.index(ValType::I64), over);
            }
            EditKind::Access(ref access) => self.access(original, access, scratch, over + 1),
            EditKind::Whole(whole) => self.whole(whole, scratch, over + 1),
            EditKind::Return => self.put(Instruction::Br(edit.labels - 1)),
            EditKind::Count { gas } => self.count(gas),
            EditKind::Caught => self.land(scratch.depth()),
            EditKind::Zero => self.put(Instruction::I32Const(0)),
            EditKind::Nothing | EditKind::Gone => {}
            EditKind::Block(ref ty) => {
                self.bytes.push(BLOCK);
                self.bytes.extend_from_slice(wasm.get(ty.clone()).unwrap_or_default());
            }
        }
    }

    /// A `br_if` that gives gas back on its way.
    fn leave_early(&mut self, depth: u32, refund: i64, block: BlockType) {
        self.put(Instruction::If(block));
        self.charge(-refund, None);
        self.put(Instruction::Br(depth + 1));
        self.put(Instruction::End);
    }

    /// Takes `gas`; when `over` is given, leaves for that label if none is left.
    fn charge(&mut self, gas: i64, over: Option<u32>) {
        if gas != 0 {
            self.put(Instruction::GlobalGet(self.counters.gas));
            self.put(Instruction::I64Const(gas));
            self.put(Instruction::I64Sub);
            self.put(Instruction::GlobalSet(self.counters.gas));
        }
        if let Some(over) = over {
            self.check_gas(over);
        }
    }

    /// Counts a segment of the reference.
    fn count(&mut self, gas: u64) {
        self.put(Instruction::GlobalGet(self.counters.used));
        self.put(Instruction::I64Const(gas as i64));
        self.put(Instruction::I64Add);
        self.put(Instruction::GlobalSet(self.counters.used));
    }

    fn check_gas(&mut self, over: u32) {
        self.put(Instruction::GlobalGet(self.counters.gas));
        self.put(Instruction::I64Const(0));
        self.put(Instruction::I64LtS);
        self.put(Instruction::BrIf(over));
    }

    /// Charges `each` for every unit of the amount on top of the stack, which stays there.
    fn charge_amount(&mut self, width: Width, each: u64, scratch: u32, over: u32) {
        self.put(Instruction::LocalTee(scratch));
        self.put(Instruction::GlobalGet(self.counters.gas));
        self.put(Instruction::LocalGet(scratch));
        match width {
            Width::I32 => self.put(Instruction::I64ExtendI32U),
            Width::I64 => {
                self.put(Instruction::I64Const(AMOUNT_MAX));
                self.put(Instruction::LocalGet(scratch));
                self.put(Instruction::I64Const(AMOUNT_MAX));
                self.put(Instruction::I64LtU);
                self.put(Instruction::Select);
            }
        }
        self.put(Instruction::I64Const(each as i64));
        self.put(Instruction::I64Mul);
        self.put(Instruction::I64Sub);
        self.put(Instruction::GlobalSet(self.counters.gas));
        self.check_gas(over);
    }

    /// `memory.copy` of what is on the stack (to, from, count), cut short at the end of memory.
    ///
    /// The import is JavaScript's `copyWithin`, which never fails, and aos relies on it: its
    /// allocator copies the new size of a block out of the smaller old one, which may be the
    /// last of the memory.
    ///
    /// `width` is that of the operands, `memory` that of the memory: one is cut where the other is not.
    fn copy(&mut self, width: Width, memory: Width, first: u32, over: u32) {
        let [count, from, to, room] = [0, 1, 2, 3].map(|offset| first + offset);
        for local in [count, from, to] {
            if width == Width::I32 {
                self.put(Instruction::I64ExtendI32U);
            }
            self.put(Instruction::LocalSet(local));
        }
        for address in [from, to] {
            self.shorten(memory, count, address, room);
        }
        self.put(Instruction::GlobalGet(self.counters.gas));
        self.put(Instruction::LocalGet(count));
        self.put(Instruction::I64Const(BYTE_GAS as i64));
        self.put(Instruction::I64Mul);
        self.put(Instruction::I64Sub);
        self.put(Instruction::GlobalSet(self.counters.gas));
        self.check_gas(over);
        self.put(Instruction::LocalGet(count));
        self.put(Instruction::I64Const(0));
        self.put(Instruction::I64Ne);
        self.put(Instruction::If(BlockType::Empty));
        for local in [to, from, count] {
            self.put(Instruction::LocalGet(local));
            if memory == Width::I32 {
                self.put(Instruction::I32WrapI64);
            }
        }
        self.put(Instruction::MemoryCopy { src_mem: 0, dst_mem: 0 });
        self.put(Instruction::End);
    }

    /// `room = memory after address; count = min(count, room)`, all i64.
    fn shorten(&mut self, memory: Width, count: u32, address: u32, room: u32) {
        self.put(Instruction::MemorySize(0));
        if memory == Width::I32 {
            self.put(Instruction::I64ExtendI32U);
        }
        self.put(Instruction::I64Const(16));
        self.put(Instruction::I64Shl);
        self.put(Instruction::LocalTee(room));
        self.put(Instruction::LocalGet(address));
        self.put(Instruction::I64Sub);
        self.put(Instruction::I64Const(0));
        self.put(Instruction::LocalGet(address));
        self.put(Instruction::LocalGet(room));
        self.put(Instruction::I64LtU);
        self.put(Instruction::Select);
        self.put(Instruction::LocalSet(room));
        self.put(Instruction::LocalGet(count));
        self.put(Instruction::LocalGet(room));
        self.put(Instruction::LocalGet(count));
        self.put(Instruction::LocalGet(room));
        self.put(Instruction::I64LtU);
        self.put(Instruction::Select);
        self.put(Instruction::LocalSet(count));
    }

    fn enter(&mut self, frame_bytes: u64, calls: bool) {
        self.put(Instruction::GlobalGet(self.counters.depth));
        self.put(Instruction::I64Const(depth_of(frame_bytes, 1)));
        self.put(Instruction::I64Add);
        if calls {
            self.put(Instruction::GlobalSet(self.counters.depth));
            self.put(Instruction::GlobalGet(self.counters.depth));
        }
        self.put(Instruction::I64Const(DEPTH_OVER));
        self.put(Instruction::I64And);
        self.put(Instruction::I64Const(0));
        self.put(Instruction::I64Ne);
        self.put(Instruction::BrIf(0));
    }

    /// Takes the frames that an exception left from the depth, and charges for each. Where none
    /// was thrown, both are nothing.
    fn land(&mut self, own: u32) {
        self.put(Instruction::GlobalGet(self.counters.gas));
        self.put(Instruction::GlobalGet(self.counters.depth));
        self.put(Instruction::LocalGet(own));
        self.put(Instruction::I64Sub);
        self.put(Instruction::I64Const((1 << FRAME_BITS) - 1));
        self.put(Instruction::I64And);
        self.put(Instruction::I64Const(UNWIND_GAS as i64));
        self.put(Instruction::I64Mul);
        self.put(Instruction::I64Sub);
        self.put(Instruction::GlobalSet(self.counters.gas));
        self.put(Instruction::LocalGet(own));
        self.put(Instruction::GlobalSet(self.counters.depth));
    }

    fn leave(&mut self, frame_bytes: u64) {
        self.put(Instruction::GlobalGet(self.counters.depth));
        self.put(Instruction::I64Const(depth_of(frame_bytes, 1)));
        self.put(Instruction::I64Sub);
        self.put(Instruction::GlobalSet(self.counters.depth));
    }
}
