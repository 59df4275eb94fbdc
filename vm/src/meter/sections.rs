//! Reads a module section by section and writes it again with counters, exports and new code.

use std::ops::Range;

use wasm_encoder::{BlockType, Encode, ValType};
use wasmparser::{
    CompositeInnerType, DataKind, ExternalKind, FuncToValidate, FuncValidatorAllocations, FunctionBody,
    Operator, Parser, Payload, TypeRef, ValidPayload, Validator, ValidatorResources, WasmFeatures,
    WasmModuleResources,
};

use super::analyse::{self, Facts};
use super::emit::{self, Counters, Locals, NewTypes};
use super::fold::{Idle, Survey};
use super::lower;
use super::nesting::Work;
use super::plan::Width;
use super::refuse::invalid;
use super::{Metered, Policy, RESERVED_PREFIX};
use crate::error::ModuleError;
use crate::limits::{
    FUNCTION_BYTES_MAX, FUNCTIONS_MAX, MUTABLE_GLOBALS_MAX, RESULTS_MAX, TABLE_ELEMENTS_MAX,
};

mod write;

/// Section ids in the order in which a module must have them.
const ORDER: [u8; 13] = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];
const TYPES: u8 = 1;
const MEMORIES: u8 = 5;
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;
const DATA: u8 = 11;

/// What a module may use. Everything else is refused by the validator, which names it.
pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::FLOATS
        | WasmFeatures::MEMORY64
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::GC_TYPES
        | WasmFeatures::EXCEPTIONS
}

/// Reads, validates, refuses, rewrites.
pub(super) fn rewrite(wasm: &[u8], policy: &Policy) -> Result<Metered, ModuleError> {
    let mut module = Reading::new(policy);
    let mut validator = Validator::new_with_features(features());
    let mut parser = Parser::new(0);
    // Some encodings are read differently: the parser must know the same features.
    parser.set_features(features());
    let mut functions = Vec::new();
    for payload in parser.parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        module.read(&payload, policy)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? {
            functions.push((function, body));
        }
    }
    if !module.has_memory {
        return Err(ModuleError::Unsupported("no memory".to_owned()));
    }
    // The places of the count are planned apart, and would stay where the code is left out.
    if policy.guard && !policy.count {
        let survey = std::mem::take(&mut module.survey);
        let bodies = functions.iter().map(|(function, body)| (function.index, body));
        // What cannot be read is refused when it is validated.
        module.idle = survey.idle(bodies).unwrap_or_default();
    }
    let lowered = module.lowered && module.code(wasm, &functions, policy, true)?;
    if !lowered {
        module.lowered = false;
        module.code(wasm, &functions, policy, false)?;
    }
    Ok(Metered { wasm: module.write(wasm, policy)?, data: merge(module.data) })
}

/// Holds functions and blocks to what the compiler bears. What cannot be read is the validator's.
fn types(section: &wasmparser::TypeSectionReader<'_>) -> Result<(), ModuleError> {
    for group in section.clone().into_iter().map_while(Result::ok) {
        for ty in group.types() {
            if let CompositeInnerType::Func(ty) = &ty.composite_type.inner
                && ty.results().len() > RESULTS_MAX
            {
                let results = ty.results().len();
                return unsupported(format!("a function type of {results} results (at most {RESULTS_MAX})"));
            }
        }
    }
    Ok(())
}

/// Exceptions are numbers, and few: the engine keeps one of them at a time in a small heap.
fn may_be_thrown(ty: &wasmparser::FuncType) -> bool {
    ty.params().len() <= RESULTS_MAX
        && !ty.params().iter().any(|ty| matches!(ty, wasmparser::ValType::Ref(_)))
}

/// Whether a function takes what `memory.copy` takes. Any other import of its name stays a call.
fn copies(resources: &ValidatorResources, function: u32, memory64: bool) -> bool {
    let word = if memory64 { wasmparser::ValType::I64 } else { wasmparser::ValType::I32 };
    let ty = resources.type_index_of_function(function).and_then(|ty| resources.sub_type_at(ty));
    matches!(
        ty.map(|ty| &ty.composite_type.inner),
        Some(CompositeInnerType::Func(ty)) if ty.params() == [word; 3] && ty.results().is_empty()
    )
}

fn unsupported<T>(what: impl Into<String>) -> Result<T, ModuleError> {
    Err(ModuleError::Unsupported(what.into()))
}

const fn width(memory64: bool) -> Width {
    if memory64 { Width::I64 } else { Width::I32 }
}

/// What is gathered while reading.
#[derive(Debug)]
struct Reading {
    facts: Facts,
    sections: Vec<(u8, Range<usize>)>,
    types: NewTypes,
    imported_functions: u32,
    globals: u32,
    mutable_globals: Vec<u32>,
    has_memory: bool,
    /// The memory becomes one of 32 bits.
    lowered: bool,
    /// Of each type, whether an exception may carry what it takes.
    thrown: Vec<bool>,
    data: Vec<Range<u64>>,
    code: Vec<u8>,
    survey: Survey,
    idle: Idle,
}

impl Reading {
    fn new(policy: &Policy) -> Self {
        Self {
            facts: Facts {
                memory_width: width(policy.memory64),
                copy_import: None,
                merge: policy.merge,
                count: policy.guard && policy.count,
                lower: false,
            },
            sections: Vec::new(),
            types: NewTypes::default(),
            imported_functions: 0,
            globals: 0,
            mutable_globals: Vec::new(),
            has_memory: false,
            lowered: false,
            thrown: Vec::new(),
            data: Vec::new(),
            code: Vec::new(),
            survey: Survey::default(),
            idle: Idle::default(),
        }
    }

    fn read(&mut self, payload: &Payload<'_>, policy: &Policy) -> Result<(), ModuleError> {
        if let Some((id, range)) = payload.as_section()
            && ORDER.contains(&id)
        {
            self.sections.push((id, range));
        }
        match payload {
            Payload::TypeSection(section) => {
                self.types = NewTypes::behind(section.count());
                // What is no plain function type is refused by the validator.
                self.thrown = section
                    .clone()
                    .into_iter_err_on_gc_types()
                    .map_while(Result::ok)
                    .map(|ty| may_be_thrown(&ty))
                    .collect();
                return types(section);
            }
            Payload::FunctionSection(section) if section.count() > FUNCTIONS_MAX => {
                return unsupported(format!("{} functions (at most {FUNCTIONS_MAX})", section.count()));
            }
            Payload::CodeSectionEntry(body) if body.range().len() > FUNCTION_BYTES_MAX => {
                let bytes = body.range().len();
                return unsupported(format!("a function of {bytes} bytes (at most {FUNCTION_BYTES_MAX})"));
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    self.import(&import.map_err(invalid)?, policy)?;
                }
            }
            Payload::TableSection(section) => {
                let mut elements = 0u64;
                for table in section.clone() {
                    let table = table.map_err(invalid)?;
                    self.survey.table(&table).map_err(invalid)?;
                    elements = elements.saturating_add(table.ty.initial);
                }
                if elements > TABLE_ELEMENTS_MAX {
                    return unsupported(format!("{elements} table elements (at most {TABLE_ELEMENTS_MAX})"));
                }
            }
            Payload::MemorySection(section) => self.memories(section, policy)?,
            Payload::TagSection(section) => self.tags(section, policy)?,
            Payload::GlobalSection(section) => self.globals(section)?,
            Payload::ExportSection(section) => self.exports(section, policy)?,
            Payload::ElementSection(section) => {
                for element in section.clone() {
                    self.survey.element(&element.map_err(invalid)?).map_err(invalid)?;
                }
            }
            Payload::StartSection { .. } => return unsupported("a start section"),
            Payload::DataSection(section) => {
                for data in section.clone() {
                    self.data_segment(&data.map_err(invalid)?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn tags(&self, section: &wasmparser::TagSectionReader<'_>, policy: &Policy) -> Result<(), ModuleError> {
        if !policy.exceptions {
            return unsupported("exception tags, which only the plain format may have");
        }
        for tag in section.clone() {
            let ty = tag.map_err(invalid)?.func_type_idx;
            if self.thrown.get(ty as usize) != Some(&true) {
                return unsupported(format!(
                    "an exception tag that takes a reference or more than {RESULTS_MAX} numbers"
                ));
            }
        }
        Ok(())
    }

    fn import(&mut self, import: &wasmparser::Import<'_>, policy: &Policy) -> Result<(), ModuleError> {
        let what = match import.ty {
            TypeRef::Func(_) => {
                if policy.copy_import == Some((import.module, import.name)) {
                    self.facts.copy_import = Some(self.imported_functions);
                }
                self.imported_functions += 1;
                return Ok(());
            }
            TypeRef::Memory(_) => "memory",
            TypeRef::Table(_) => "table",
            TypeRef::Global(_) => "global",
            _ => "thing other than a function",
        };
        unsupported(format!("an imported {what} ({}.{})", import.module, import.name))
    }

    fn memories(
        &mut self,
        section: &wasmparser::MemorySectionReader<'_>,
        policy: &Policy,
    ) -> Result<(), ModuleError> {
        if section.count() > 1 {
            return unsupported("a second memory");
        }
        for memory in section.clone() {
            let memory = memory.map_err(invalid)?;
            if memory.shared {
                return unsupported("a shared memory (threads)");
            }
            if memory.memory64 != policy.memory64 {
                return unsupported(if memory.memory64 {
                    "a 64-bit memory, and its format has 32-bit memory"
                } else {
                    "a 32-bit memory, and its format has 64-bit memory"
                });
            }
            self.has_memory = true;
            self.lowered = policy.guard && policy.lower && lower::fits(&memory);
        }
        Ok(())
    }

    fn globals(&mut self, section: &wasmparser::GlobalSectionReader<'_>) -> Result<(), ModuleError> {
        for global in section.clone() {
            let global = global.map_err(invalid)?;
            self.survey.global(self.globals, &global).map_err(invalid)?;
            if global.ty.mutable {
                if matches!(global.ty.content_type, wasmparser::ValType::Ref(_)) {
                    return unsupported("a mutable global that holds a reference");
                }
                if self.mutable_globals.len() == MUTABLE_GLOBALS_MAX {
                    return unsupported(format!("more than {MUTABLE_GLOBALS_MAX} mutable globals"));
                }
                self.mutable_globals.push(self.globals);
            }
            self.globals += 1;
        }
        Ok(())
    }

    fn exports(
        &mut self,
        section: &wasmparser::ExportSectionReader<'_>,
        policy: &Policy,
    ) -> Result<(), ModuleError> {
        for export in section.clone() {
            let export = export.map_err(invalid)?;
            if export.name.starts_with(RESERVED_PREFIX) {
                return unsupported(format!("the export {:?}, a reserved name", export.name));
            }
            if export.kind == ExternalKind::Memory && export.name != policy.memory_export {
                return unsupported(format!(
                    "a memory exported under another name than {}",
                    policy.memory_export
                ));
            }
            self.survey.export(&export, policy.uncalled);
        }
        Ok(())
    }

    fn data_segment(&mut self, data: &wasmparser::Data<'_>) -> Result<(), ModuleError> {
        let DataKind::Active { offset_expr, .. } = &data.kind else { return Ok(()) };
        let start = match offset_expr.get_operators_reader().read().map_err(invalid)? {
            Operator::I32Const { value } => u64::from(value as u32),
            Operator::I64Const { value } => value as u64,
            _ => return unsupported("a data segment whose offset is not a constant"),
        };
        if offset_expr.get_operators_reader().into_iter().count() != 2 {
            return unsupported("a data segment whose offset is not a constant");
        }
        self.data.push(start..start.saturating_add(data.data.len() as u64));
        Ok(())
    }

    /// Reads and writes all functions. False if they are not to be lowered: then once more without.
    fn code(
        &mut self,
        wasm: &[u8],
        functions: &[(FuncToValidate<ValidatorResources>, FunctionBody<'_>)],
        policy: &Policy,
        lower: bool,
    ) -> Result<bool, ModuleError> {
        self.facts.lower = lower;
        self.types = NewTypes::behind(self.types.first());
        self.code.clear();
        (functions.len() as u32).encode(&mut self.code);
        let counters = Counters { gas: self.globals, depth: self.globals + 1, used: self.globals + 2 };
        let mut allocations = FuncValidatorAllocations::default();
        let (mut work, mut lowered_work) = (Work::default(), Work::default());
        for (FuncToValidate { resources, index, ty, features }, body) in functions {
            let (resources, index, ty, features) = (resources.clone(), *index, *ty, *features);
            let function = FuncToValidate { resources, index, ty, features };
            let mut validator = function.into_validator(allocations);
            let resources = validator.resources();
            self.facts.copy_import =
                self.facts.copy_import.filter(|import| copies(resources, *import, policy.memory64));
            let plan = analyse::function(body, &mut validator, self.facts, &self.idle, policy.guard)?;
            work.add(plan.branches)?;
            work.declare(plan.locals)?;
            // What is compared leaves its block as a branch does.
            if plan.lowered.is_some_and(|checks| lowered_work.add(plan.branches + checks).is_err())
                || lower && plan.locals > lower::LOCALS_MAX
            {
                return Ok(false);
            }
            if policy.guard {
                let results = self.results(validator.resources(), ty)?;
                let locals = locals(wasm, body, plan.code_start)?;
                let range = body.range();
                let bytes =
                    emit::function(wasm, range.end, &plan, results, counters, &locals, &mut self.types)?;
                if lower && bytes.len() > lower::FUNCTION_BYTES_MAX {
                    return Ok(false);
                }
                bytes.encode(&mut self.code);
            } else {
                body.as_bytes().encode(&mut self.code);
            }
            allocations = validator.into_allocations();
        }
        Ok(true)
    }

    /// The type of a block that gives what the function gives.
    fn results(&mut self, resources: &ValidatorResources, ty: u32) -> Result<BlockType, ModuleError> {
        let ty = resources.sub_type_at(ty).map(|ty| &ty.composite_type.inner);
        let Some(CompositeInnerType::Func(ty)) = ty else {
            return Err(ModuleError::Invalid("a function without a function type".to_owned()));
        };
        let results: Option<Vec<ValType>> = ty.results().iter().map(|ty| value_type(*ty)).collect();
        match results {
            Some(results) => Ok(self.types.block(&[], &results)),
            None => unsupported("a function result of an unknown reference type"),
        }
    }
}

fn locals<'a>(wasm: &'a [u8], body: &FunctionBody<'_>, code_start: usize) -> Result<Locals<'a>, ModuleError> {
    let reader = body.get_locals_reader().map_err(invalid)?;
    let start = reader.original_position();
    Ok(Locals { groups: reader.get_count(), declarations: wasm.get(start..code_start).unwrap_or_default() })
}

/// The same type in the words of the encoder; `None` for references of later proposals.
pub(super) fn value_type(ty: wasmparser::ValType) -> Option<ValType> {
    use wasmparser::ValType as V;
    Some(match ty {
        V::I32 => ValType::I32,
        V::I64 => ValType::I64,
        V::F32 => ValType::F32,
        V::F64 => ValType::F64,
        V::V128 => ValType::V128,
        V::Ref(reference) if reference.is_func_ref() => ValType::FUNCREF,
        V::Ref(reference) if reference.is_extern_ref() => ValType::EXTERNREF,
        V::Ref(_) => return None,
    })
}

/// Bytes between two data segments that are not worth telling them apart: a page of most machines.
const GAP_BYTES: u64 = 4096;

/// Sorted and joined, so that no byte is in two ranges; what lies between near ones is zero and counts too.
fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            _ => merged.push(range),
        }
    }
    merged
}
