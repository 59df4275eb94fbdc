//! Writes what touches a lowered memory; see [`lower`](super::super::lower).

use wasm_encoder::{Encode, Instruction, ValType};

use super::super::lower::{Access, Check, Whole};
use super::super::sections::value_type;
use super::{Scratch, Writer};

/// An address that no lowered memory has.
const OUTSIDE: i32 = -1;

impl Writer {
    /// A load or store, of which `original` are the bytes.
    pub(super) fn access(&mut self, original: &[u8], access: &Access, scratch: &Scratch, outside: u32) {
        let above = access.above.and_then(value_type).map(|ty| scratch.value(ty));
        if let Some(above) = above {
            self.put(Instruction::LocalSet(above));
        }
        let compared = match access.check {
            Check::None => None,
            Check::Local(local) => Some(local),
            Check::Operand => {
                let address = scratch.index(ValType::I64);
                self.put(Instruction::LocalTee(address));
                Some(address)
            }
        };
        self.put(Instruction::I32WrapI64);
        if let Some(address) = compared {
            self.compare(address, outside);
        }
        let offset = u32::try_from(access.memarg.offset);
        if offset.is_err() {
            self.put(Instruction::I32Const(1));
            self.put(Instruction::BrIf(outside));
        }
        if let Some(above) = above {
            self.put(Instruction::LocalGet(above));
        }
        // Opcode, alignment and offset, which may be written longer than they are, and for some a lane.
        let opcode = if original.first() == Some(&0xfd) { number_end(original, 1) } else { 1 };
        let lane = number_end(original, number_end(original, opcode));
        self.bytes.extend_from_slice(original.get(..opcode).unwrap_or_default());
        u32::from(access.memarg.align).encode(&mut self.bytes);
        offset.unwrap_or(0).encode(&mut self.bytes);
        self.bytes.extend_from_slice(original.get(lane..).unwrap_or_default());
    }

    /// An instruction on the whole memory.
    pub(super) fn whole(&mut self, whole: Whole, scratch: &Scratch, outside: u32) {
        let [count, from, to, all] = [0, 1, 2, 3].map(|offset| scratch.index(ValType::I64) + offset);
        let narrow = scratch.index(ValType::I32);
        match whole {
            Whole::Size => {
                self.put(Instruction::MemorySize(0));
                self.put(Instruction::I64ExtendI32U);
            }
            Whole::Grow => self.grow(count),
            Whole::Copy => {
                self.put(Instruction::LocalSet(count));
                self.put(Instruction::LocalSet(from));
                self.put(Instruction::LocalSet(to));
                self.compare_all(&[to, from, count], all, outside);
                self.short(to);
                self.short(from);
                self.short(count);
                self.put(Instruction::MemoryCopy { src_mem: 0, dst_mem: 0 });
            }
            Whole::Fill => {
                self.put(Instruction::LocalSet(count));
                self.put(Instruction::LocalSet(narrow));
                self.put(Instruction::LocalSet(to));
                self.compare_all(&[to, count], all, outside);
                self.short(to);
                self.put(Instruction::LocalGet(narrow));
                self.short(count);
                self.put(Instruction::MemoryFill(0));
            }
            Whole::Init(data_index) => {
                self.put(Instruction::LocalSet(narrow));
                self.put(Instruction::LocalSet(narrow + 1));
                self.put(Instruction::LocalSet(to));
                self.compare(to, outside);
                self.short(to);
                self.put(Instruction::LocalGet(narrow + 1));
                self.put(Instruction::LocalGet(narrow));
                self.put(Instruction::MemoryInit { mem: 0, data_index });
            }
        }
    }

    /// Where what is compared goes that no memory has: the trap of an access there.
    pub(super) fn outside(&mut self) {
        self.put(Instruction::I32Const(OUTSIDE));
        let memarg = wasm_encoder::MemArg { offset: 0, align: 0, memory_index: 0 };
        self.put(Instruction::I32Load8U(memarg));
        self.put(Instruction::Drop);
        self.put(Instruction::Unreachable);
    }

    /// Amounts of more than 32 bits become one that is refused, as they are.
    fn grow(&mut self, amount: u32) {
        let most = Instruction::I64Const(i64::from(u32::MAX));
        self.put(Instruction::LocalTee(amount));
        self.put(most.clone());
        self.put(Instruction::LocalGet(amount));
        self.put(most);
        self.put(Instruction::I64LtU);
        self.put(Instruction::Select);
        self.put(Instruction::I32WrapI64);
        self.put(Instruction::MemoryGrow(0));
        // -1 stays -1, and no size is that large.
        self.put(Instruction::I64ExtendI32S);
    }

    /// Leaves for `outside` unless this address is the same when it is cut to 32 bits: the compiler
    /// cuts it once for this and for the access.
    fn compare(&mut self, address: u32, outside: u32) {
        self.short(address);
        self.put(Instruction::I64ExtendI32U);
        self.put(Instruction::LocalGet(address));
        self.put(Instruction::I64Ne);
        self.put(Instruction::BrIf(outside));
    }

    /// The same for several at once: together they have every bit that one of them has.
    fn compare_all(&mut self, locals: &[u32], all: u32, outside: u32) {
        self.put(Instruction::I64Const(0));
        for one in locals {
            self.put(Instruction::LocalGet(*one));
            self.put(Instruction::I64Or);
        }
        self.put(Instruction::LocalSet(all));
        self.compare(all, outside);
    }

    fn short(&mut self, address: u32) {
        self.put(Instruction::LocalGet(address));
        self.put(Instruction::I32WrapI64);
    }
}

/// Where a number of variable length ends that begins there.
fn number_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1
}
