//! Writes the sections of the guarded module.

use wasm_encoder::{ConstExpr, Encode, GlobalType, ValType};
use wasmparser::BinaryReader;

use super::super::lower;
use super::super::refuse::invalid;
use super::super::{DEPTH_EXPORT, DEPTH_START, GAS_EXPORT, GLOBAL_EXPORT, Policy, USED_EXPORT};
use super::{CODE, DATA, EXPORTS, GLOBALS, MEMORIES, ORDER, Reading, TYPES};
use crate::error::ModuleError;

impl Reading {
    pub(super) fn write(&self, wasm: &[u8], policy: &Policy) -> Result<Vec<u8>, ModuleError> {
        let mut out = wasm.get(..8).unwrap_or_default().to_vec();
        for id in ORDER {
            let range = self.sections.iter().find(|(known, _)| *known == id).map(|(_, range)| range.clone());
            let content = range.and_then(|range| wasm.get(range));
            let extra = match id {
                TYPES => self.types.encoded(),
                GLOBALS if policy.guard => counters(policy.count),
                EXPORTS if policy.guard => self.new_exports(),
                CODE if content.is_some() => {
                    out.push(CODE);
                    self.code.encode(&mut out);
                    continue;
                }
                MEMORIES | DATA if self.lowered => {
                    if let Some(content) = content {
                        out.push(id);
                        let lowered =
                            if id == DATA { lower::data(content) } else { lower::memories(content) };
                        lowered.map_err(invalid)?.encode(&mut out);
                    }
                    continue;
                }
                _ => (0, Vec::new()),
            };
            if content.is_some() || extra.0 > 0 {
                out.push(id);
                extended(content, extra).encode(&mut out);
            }
        }
        Ok(out)
    }

    /// The counters and every mutable global.
    fn new_exports(&self) -> (u32, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut count = 0;
        let mut export = |name: &str, index: u32| {
            name.encode(&mut bytes);
            wasm_encoder::ExportKind::Global.encode(&mut bytes);
            index.encode(&mut bytes);
            count += 1;
        };
        export(GAS_EXPORT, self.globals);
        export(DEPTH_EXPORT, self.globals + 1);
        if self.facts.count {
            export(USED_EXPORT, self.globals + 2);
        }
        for index in &self.mutable_globals {
            export(&format!("{GLOBAL_EXPORT}{index}"), *index);
        }
        (count, bytes)
    }
}

fn counters(count: bool) -> (u32, Vec<u8>) {
    let mut bytes = Vec::new();
    let starts = [0, DEPTH_START, 0];
    let number = if count { 3 } else { 2 };
    for start in starts.into_iter().take(number) {
        GlobalType { val_type: ValType::I64, mutable: true, shared: false }.encode(&mut bytes);
        ConstExpr::i64_const(start).encode(&mut bytes);
    }
    (number as u32, bytes)
}

/// A section's content with more entries at its end.
fn extended(content: Option<&[u8]>, (count, entries): (u32, Vec<u8>)) -> Vec<u8> {
    let mut reader = BinaryReader::new(content.unwrap_or(&[0]), 0);
    // The section was validated, so its count can be read.
    let old = reader.read_var_u32().unwrap_or(0);
    let rest = content.and_then(|content| content.get(reader.original_position()..)).unwrap_or_default();
    if count == 0 {
        return content.unwrap_or_default().to_vec();
    }
    let mut out = Vec::with_capacity(rest.len() + entries.len() + 5);
    (old + count).encode(&mut out);
    out.extend_from_slice(rest);
    out.extend_from_slice(&entries);
    out
}
