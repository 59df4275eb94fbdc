//! Loading a module and handing it a message.

use wasmtime::{Func, Instance, Memory, Store};

use super::names::names;
use crate::error::ModuleError;
use crate::format::Format;
use crate::host::{HostState, Stop, asyncify, call_word};
use crate::live::{Export, Exports};

/// What the reference writes below the stack and at address 0 before anything runs.
const COOKIES: [u32; 3] = [34_821_223, 2_310_721_022, 1_668_509_029];
/// The name by which a module knows itself. The reference gives the path of its own program.
const PROGRAM: &[u8] = b"thisProgram";

/// The entry points of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    format: Format,
    handle: Export,
    stack_save: Export,
    stack_alloc: Export,
    stack_restore: Export,
    stack_end: Option<Export>,
    stack_init: Option<Func>,
    constructors: Option<Func>,
    main: Option<Func>,
    flush: Option<Func>,
}

impl Entry {
    pub(crate) fn find(exports: &mut Exports<'_>, format: Format) -> Result<Self, ModuleError> {
        let names = names(format);
        Ok(Self {
            format,
            handle: exports.function(&[names.handle], "handle(message, environment) -> text", 2, 1)?,
            stack_save: exports.function(names.stack_save, "stackSave() -> address", 0, 1)?,
            stack_alloc: exports.function(names.stack_alloc, "stackAlloc(bytes) -> address", 1, 1)?,
            stack_restore: exports.function(names.stack_restore, "stackRestore(address)", 1, 0)?,
            stack_end: exports.optional("emscripten_stack_get_end", 0, 1),
            stack_init: exports.initialiser("emscripten_stack_init")?,
            constructors: exports.initialiser(names.constructors)?,
            main: match names.main {
                Some(main) => exports.called(main, "main(count, arguments) -> status", 2)?,
                None => None,
            },
            // The loaders of the second and third look for output that was not flushed.
            flush: match format {
                Format::Emscripten2 | Format::Emscripten3 => {
                    exports.called("fflush", "fflush(stream) -> status", 1)?
                }
                _ => None,
            },
        })
    }

    /// Runs the module's own initialisation: stack, cookies, constructors, and in the first three
    /// formats `main`.
    pub(crate) fn start(
        &self,
        store: &mut Store<HostState>,
        instance: &Instance,
    ) -> Result<(), wasmtime::Error> {
        let names = names(self.format);
        if let Some(init) = self.stack_init {
            call_word(&mut *store, init, &[])?;
        }
        let memory = instance.get_memory(&mut *store, names.memory).ok_or(Stop::Abort("no memory"))?;
        if let Some(end) = &self.stack_end {
            let end = match end.call(store, &[])? {
                0 => 4,
                end => end,
            };
            let [below, above, zero] = COOKIES.map(u32::to_le_bytes);
            for (address, cookie) in [(end, below), (end.saturating_add(4), above), (0, zero)] {
                write(store, memory, address, &cookie)?;
            }
        }
        if let Some(constructors) = self.constructors {
            call_word(&mut *store, constructors, &[])?;
        }
        self.main(store, memory)
    }

    /// Calls `main` as the loader of the format does: only that of the second gives it arguments.
    /// What it returns is not looked at, and leaving the program is no failure.
    fn main(&self, store: &mut Store<HostState>, memory: Memory) -> Result<(), wasmtime::Error> {
        let Some(main) = self.main else { return Ok(()) };
        let mut arguments = [0, 0];
        if self.format == Format::Emscripten2 {
            let list = self.stack_alloc.call(store, &[8])?;
            let program = self.stack_alloc.call(store, &[PROGRAM.len() as u64 + 1])?;
            write(store, memory, program, PROGRAM)?;
            write(store, memory, program.saturating_add(PROGRAM.len() as u64), &[0])?;
            write(store, memory, list, &(program as u32).to_le_bytes())?;
            write(store, memory, list.saturating_add(4), &[0; 4])?;
            arguments = [1, list];
        }
        match call_word(&mut *store, main, &arguments) {
            Err(error) if matches!(error.downcast_ref(), Some(Stop::Exit)) => {}
            ended => {
                ended?;
            }
        }
        if let Some(flush) = self.flush {
            call_word(&mut *store, flush, &[0])?;
        }
        Ok(())
    }

    /// Hands a message to the guest on its own stack and gives the text of its answer.
    pub(crate) fn handle(
        &self,
        store: &mut Store<HostState>,
        memory: Memory,
        message: &[u8],
        environment: &[u8],
    ) -> Result<Vec<u8>, wasmtime::Error> {
        let stack = self.stack_save.call(store, &[])?;
        let message = self.place(store, memory, message)?;
        let environment = self.place(store, memory, environment)?;
        let mut answer = self.handle.call(store, &[message, environment])?;
        while asyncify::wakes(store)? {
            answer = self.handle.call(store, &[message, environment])?;
        }
        let text = crate::host::c_text(memory.data(&*store), answer, crate::limits::RESULT_BYTES_MAX)
            .ok_or(Stop::MalformedResult)?
            .to_vec();
        self.stack_restore.call(store, &[stack])?;
        Ok(text)
    }

    fn place(
        &self,
        store: &mut Store<HostState>,
        memory: Memory,
        text: &[u8],
    ) -> Result<u64, wasmtime::Error> {
        const FULL: Stop = Stop::Abort("the arguments do not fit the guest's stack");
        // The reference looks at neither, so they are not counted.
        let counted = crate::host::used(&mut *store);
        let least = match &self.stack_end {
            // Above the two cookies.
            Some(end) => end.call(store, &[])?.saturating_add(8),
            None => 0,
        };
        let before = self.stack_save.call(store, &[])?;
        crate::host::set_used(&mut *store, counted)?;
        let bytes = match self.format {
            // These reckon with four bytes for each unit of UTF-16.
            Format::Emscripten1 | Format::Emscripten2 => {
                String::from_utf8_lossy(text).encode_utf16().count() as u64 * 4 + 1
            }
            _ => text.len() as u64 + 1,
        };
        let address = self.stack_alloc.call(store, &[bytes])?;
        if address < least || address > before {
            return Err(FULL.into());
        }
        let room = crate::host::range(address, text.len() as u64 + 1);
        let room = room.and_then(|room| memory.data_mut(&mut *store).get_mut(room)).ok_or(FULL)?;
        let (body, end) = room.split_at_mut(text.len());
        body.copy_from_slice(text);
        end.fill(0);
        Ok(address)
    }
}

fn write(store: &mut Store<HostState>, memory: Memory, address: u64, bytes: &[u8]) -> Result<(), Stop> {
    let address = usize::try_from(address).unwrap_or(usize::MAX);
    memory.write(&mut *store, address, bytes).map_err(|_| Stop::Abort("a stack outside of memory"))
}
