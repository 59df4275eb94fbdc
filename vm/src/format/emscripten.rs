//! The two emscripten formats of today's aos: `wasm64-unknown-emscripten-draft_2024_02_15` and
//! `wasm32-unknown-emscripten4`.
//!
//! The host behaves as the reference's loader does, with these differences, each the same on every
//! machine: the time zone is UTC; the clock counter starts anew with each message; the files are
//! an empty tree; the drive knows `/data/<id>` alone, and asking it does not unwind the guest; no
//! command is ever run; arguments that do not fit the guest's stack trap instead of overwriting its
//! data.

use wasmtime::{Caller, Func, FuncType, Instance, Linker, Module, Store, Val};

use super::Format;
use crate::error::ModuleError;
use crate::host::args::{Args, give, takes_numbers};
use crate::host::calendar::{self, Broken};
use crate::host::strftime::{self, Zone};
use crate::host::{Guest, HostState, Stop, files, invoke, weave};
use crate::live::{Export, Exports};
use crate::meter::cost::PAGE_GAS;

const INVOKE_PREFIX: &str = "invoke_";
const PAGE: u64 = 65_536;
/// Emscripten grows a heap by at most this much beyond what was asked for.
const OVERGROWTH_MAX: u64 = 100_663_296;
/// Bytes of a format or a zone name that `strftime` reads.
const PATTERN_BYTES_MAX: usize = 4096;
/// What the reference writes below the stack and at address 0 before anything runs.
const COOKIES: [u32; 3] = [34_821_223, 2_310_721_022, 1_668_509_029];

type HostFunction = fn(&mut Guest<'_>, Args<'_>, bool) -> Result<i64, wasmtime::Error>;

/// The host function behind an import, or `None` if the formats do not offer it.
fn function(module: &str, name: &str) -> Option<HostFunction> {
    match module {
        "env" => memory_and_time(name).or_else(|| system(name)).or_else(|| end(name)),
        "wasi_snapshot_preview1" => wasi(name),
        _ => None,
    }
}

fn memory_and_time(name: &str) -> Option<HostFunction> {
    Some(match name {
        "_emscripten_memcpy_js" => copy,
        "emscripten_resize_heap" => resize_heap,
        "emscripten_get_heap_max" => |_, _, is_64| Ok(heap_max(is_64) as i64),
        "emscripten_date_now" | "emscripten_get_now" => |guest, _, _| Ok(guest.cells().tick() as i64),
        "_emscripten_get_now_is_monotonic" => |_, _, _| Ok(1),
        "_gmtime_js" => |guest, args, is_64| broken_down(guest, args, is_64, false),
        "_localtime_js" => |guest, args, is_64| broken_down(guest, args, is_64, true),
        "_mktime_js" => mktime,
        "_tzset_js" => tzset,
        "strftime" | "strftime_l" => format_time,
        "metering_gasUsed" => |_, _, _| Ok(0),
        _ => return None,
    })
}

fn system(name: &str) -> Option<HostFunction> {
    Some(match name {
        "__syscall_fcntl64" => |guest, args, is_64| Ok(files::fcntl(guest, args, is_64)?),
        "__syscall_ioctl" => |guest, args, is_64| Ok(files::ioctl(guest, args, is_64)?),
        "__syscall_dup3" => |guest, args, _| Ok(files::dup3(guest, args)?),
        "__syscall_getcwd" => |guest, args, _| Ok(files::getcwd(guest, args)?),
        "__syscall_fstat64" | "__syscall_ftruncate64" | "__syscall_fchmod" | "__syscall_fchown32" => {
            |guest, args, _| Ok(files::on_descriptor(guest, args)?)
        }
        "__syscall_openat"
        | "__syscall_unlinkat"
        | "__syscall_rmdir"
        | "__syscall_renameat"
        | "__syscall_readlinkat"
        | "__syscall_stat64"
        | "__syscall_lstat64"
        | "__syscall_newfstatat"
        | "__syscall_faccessat"
        | "__syscall_mkdirat"
        | "__syscall_chmod"
        | "__syscall_utimensat" => |_, _, _| Ok(-files::ENOENT),
        "_munmap_js" => |_, _, _| Ok(0),
        "_emscripten_system" => |_, args, _| Ok(if args.word(0)? == 0 { 0 } else { -files::ENOSYS }),
        "__asyncjs__weavedrive_open" => |guest, args, _| Ok(weave::open(guest, args)?),
        "__asyncjs__weavedrive_read" => |guest, args, _| Ok(weave::read(guest, args)?),
        "__asyncjs__weavedrive_close" => |guest, args, _| Ok(weave::close(guest, args)?),
        "emscripten_err" => |_, _, _| Ok(0),
        _ => return None,
    })
}

fn end(name: &str) -> Option<HostFunction> {
    Some(match name {
        "_emscripten_throw_longjmp" => |_, _, _| Err(Stop::LongJump.into()),
        "_abort_js" => |_, _, _| Err(Stop::Abort("abort").into()),
        "exit" => |_, _, _| Err(Stop::Abort("exit").into()),
        "__assert_fail" => |_, _, _| Err(Stop::Abort("an assertion failed").into()),
        "__cxa_throw" => |_, _, _| Err(Stop::Abort("a C++ exception").into()),
        _ => return None,
    })
}

fn wasi(name: &str) -> Option<HostFunction> {
    Some(match name {
        "fd_close" => |guest, args, _| Ok(files::fd_close(guest, args)?),
        "fd_read" => |guest, args, is_64| Ok(files::fd_read(guest, args, is_64)?),
        "fd_write" => |guest, args, is_64| Ok(files::fd_write(guest, args, is_64)?),
        "fd_seek" => |guest, args, _| Ok(files::fd_seek(guest, args)?),
        "fd_sync" => |guest, args, _| Ok(files::fd_sync(guest, args)?),
        "fd_fdstat_get" => |guest, args, _| Ok(files::fd_fdstat_get(guest, args)?),
        "environ_sizes_get" => |guest, args, is_64| {
            guest.set_word(args.word(0)?, is_64, 0)?;
            guest.set_word(args.word(1)?, is_64, 0)?;
            Ok(0)
        },
        "environ_get" => |_, _, _| Ok(0),
        "proc_exit" => |_, _, _| Err(Stop::Abort("exit").into()),
        _ => return None,
    })
}

/// Offers a module its imports, or refuses it by the name of the first unknown one. Gives the
/// exports that its `invoke_*` imports call, in their order.
pub(crate) fn link(
    linker: &mut Linker<HostState>,
    module: &Module,
    format: Format,
) -> Result<Vec<String>, ModuleError> {
    let is_64 = format.is_64();
    let mut dyn_calls = Vec::new();
    for import in module.imports() {
        let unknown = || ModuleError::UnknownImport {
            module: import.module().to_owned(),
            name: import.name().to_owned(),
            format: format.name(),
        };
        let ty = import.ty().func().filter(|ty| takes_numbers(ty)).cloned().ok_or_else(unknown)?;
        let defined = match import.name().strip_prefix(INVOKE_PREFIX) {
            Some(signature) if import.module() == "env" => {
                let slot = dyn_calls.len();
                dyn_calls.push(format!("dynCall_{signature}"));
                let given: Vec<_> = ty.results().collect();
                linker.func_new(import.module(), import.name(), ty, move |caller, arguments, results| {
                    invoke::call(&mut Guest(caller), slot, Args(arguments), results, &given)
                })
            }
            _ => {
                let host = function(import.module(), import.name()).ok_or_else(unknown)?;
                define(linker, import.module(), import.name(), ty, host, is_64)
            }
        };
        // The same import twice with two types: nobody compiles to that.
        defined.map_err(|error| ModuleError::Invalid(format!("{error:#}")))?;
    }
    Ok(dyn_calls)
}

fn define<'l>(
    linker: &'l mut Linker<HostState>,
    module: &str,
    name: &str,
    ty: FuncType,
    host: HostFunction,
    is_64: bool,
) -> wasmtime::Result<&'l mut Linker<HostState>> {
    let given: Vec<_> = ty.results().collect();
    linker.func_new(module, name, ty, move |caller: Caller<'_, HostState>, arguments, results| {
        let mut guest = Guest(caller);
        guest.charge(0)?;
        let value = host(&mut guest, Args(arguments), is_64)?;
        give(results, &given, value);
        Ok(())
    })
}

/// JavaScript's `copyWithin`: what lies outside of memory is left out. The pass puts an
/// instruction in the place of most calls; this answers those through the table.
fn copy(guest: &mut Guest<'_>, args: Args<'_>, _: bool) -> Result<i64, wasmtime::Error> {
    let all = guest.memory_bytes()?;
    let (to, from) = (args.word(0)?.min(all), args.word(1)?.min(all));
    let count = args.word(2)?.min(all - from).min(all - to);
    guest.charge(count)?;
    let memory = guest.bytes_mut(0, all)?;
    // All three are at most the memory's length, so they fit a usize.
    memory.copy_within(from as usize..(from + count) as usize, to as usize);
    Ok(0)
}

const fn heap_max(is_64: bool) -> u64 {
    if is_64 { 17_179_869_184 } else { 4_294_901_760 }
}

/// Emscripten's `_emscripten_resize_heap`; its floating point decides the memory's size, which is
/// part of the state.
fn resize_heap(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, wasmtime::Error> {
    let (asked, max) = (args.word(0)?, heap_max(is_64));
    let old = guest.memory_bytes()?;
    if asked <= old || asked > max {
        return Ok(0);
    }
    for cut in [1.0, 2.0, 4.0] {
        let overgrown = (old as f64 * (1.0 + 0.2 / cut)).min((asked + OVERGROWTH_MAX) as f64);
        let wanted = (asked as f64).max(overgrown);
        let aligned = wanted + (PAGE as f64 - wanted % PAGE as f64) % PAGE as f64;
        let new = aligned.min(max as f64);
        let pages = ((new - old as f64 + (PAGE - 1) as f64) / PAGE as f64) as u64;
        guest.charge_gas(PAGE_GAS.saturating_mul(pages))?;
        if guest.grow(pages)? {
            return Ok(1);
        }
    }
    Ok(0)
}

fn broken_down(
    guest: &mut Guest<'_>,
    args: Args<'_>,
    is_64: bool,
    local: bool,
) -> Result<i64, wasmtime::Error> {
    let halves = args.len() == 3;
    let time = calendar::from_seconds(args.i64(0, halves)?);
    let at = args.word(if halves { 2 } else { 1 })?;
    write_broken(guest, at, &time)?;
    if local {
        // Not summer time, and no seconds east of UTC.
        guest.write(at.saturating_add(32), &[0; 4])?;
        let offset = if is_64 { 40 } else { 36 };
        guest.set_word(at.saturating_add(offset), is_64, 0)?;
    }
    Ok(0)
}

fn write_broken(guest: &mut Guest<'_>, at: u64, time: &Broken) -> Result<(), Stop> {
    let fields = [time.sec, time.min, time.hour, time.mday, time.mon, time.year, time.wday, time.yday];
    for (index, field) in (0u64..).zip(fields) {
        guest.write(at.saturating_add(4 * index), &field.to_le_bytes())?;
    }
    Ok(())
}

fn read_broken(guest: &Guest<'_>, at: u64) -> Result<Broken, Stop> {
    let field = |index: u64| guest.i32_at(at.saturating_add(4 * index));
    Ok(Broken {
        sec: field(0)?,
        min: field(1)?,
        hour: field(2)?,
        mday: field(3)?,
        mon: field(4)?,
        year: field(5)?,
        wday: field(6)?,
        yday: field(7)?,
    })
}

fn mktime(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, wasmtime::Error> {
    let at = args.word(0)?;
    let seconds = calendar::to_seconds(&read_broken(guest, at)?);
    if guest.i32_at(at.saturating_add(32))? < 0 {
        guest.write(at.saturating_add(32), &[0; 4])?;
    }
    let time = seconds.map_or_else(Broken::default, calendar::from_seconds);
    write_broken(guest, at, &time)?;
    let value = seconds.unwrap_or(-1);
    if !is_64 && let Some(set_temp_ret) = guest.handles()?.set_temp_ret {
        set_temp_ret.call(&mut guest.0, &[Val::I32((value >> 32) as i32)], &mut [])?;
    }
    Ok(value)
}

fn tzset(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, wasmtime::Error> {
    guest.set_word(args.word(0)?, is_64, 0)?;
    guest.write(args.word(1)?, &[0; 4])?;
    guest.write(args.word(2)?, b"UTC\0")?;
    guest.write(args.word(3)?, b"UTC\0")?;
    Ok(0)
}

fn format_time(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, wasmtime::Error> {
    let (to, max, at) = (args.word(0)?, args.word(1)?, args.word(3)?);
    let pattern = guest.text(args.word(2)?, PATTERN_BYTES_MAX)?;
    guest.charge(pattern.len() as u64 * 16)?;
    let (offset, name) = if is_64 { (40, 48) } else { (36, 40) };
    let offset_seconds = if is_64 {
        guest.word_at(at.saturating_add(offset), true)? as i64
    } else {
        i64::from(guest.i32_at(at.saturating_add(offset))?)
    };
    let name = match guest.word_at(at.saturating_add(name), is_64)? {
        0 => String::new(),
        address => guest.text(address, PATTERN_BYTES_MAX)?,
    };
    let time = read_broken(guest, at)?;
    let mut text = strftime::format(&pattern, &time, &Zone { offset_seconds, name })?.into_bytes();
    text.push(0);
    if text.len() as u64 > max {
        return Ok(0);
    }
    guest.write(to, &text)?;
    Ok(text.len() as i64 - 1)
}

/// The entry points of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    handle: Export,
    stack_save: Export,
    stack_alloc: Export,
    stack_restore: Export,
    stack_end: Option<Export>,
    stack_init: Option<Func>,
    constructors: Option<Func>,
}

impl Entry {
    pub(crate) fn find(exports: &mut Exports<'_>) -> Result<Self, ModuleError> {
        Ok(Self {
            handle: exports.function(&["handle"], "handle(message, environment) -> text", 2, 1)?,
            stack_save: exports.function(
                &["emscripten_stack_get_current", "stackSave"],
                "emscripten_stack_get_current() -> address",
                0,
                1,
            )?,
            stack_alloc: exports.function(
                &["_emscripten_stack_alloc", "stackAlloc"],
                "_emscripten_stack_alloc(bytes) -> address",
                1,
                1,
            )?,
            stack_restore: exports.function(
                &["_emscripten_stack_restore", "stackRestore"],
                "_emscripten_stack_restore(address)",
                1,
                0,
            )?,
            stack_end: exports.optional("emscripten_stack_get_end", 0, 1),
            stack_init: exports.initialiser("emscripten_stack_init")?,
            constructors: exports.initialiser("__wasm_call_ctors")?,
        })
    }

    /// Runs the module's own initialisation: stack, cookies, constructors. `main` is not called,
    /// as in the reference.
    pub(crate) fn start(
        &self,
        store: &mut Store<HostState>,
        instance: &Instance,
    ) -> Result<(), wasmtime::Error> {
        if let Some(init) = self.stack_init {
            init.call(&mut *store, &[], &mut [])?;
        }
        if let Some(end) = &self.stack_end {
            let end = match end.call(store, &[])? {
                0 => 4,
                end => end,
            };
            let memory = instance.get_memory(&mut *store, "memory").ok_or(Stop::Abort("no memory"))?;
            let [below, above, zero] = COOKIES.map(u32::to_le_bytes);
            for (address, cookie) in [(end, below), (end.saturating_add(4), above), (0, zero)] {
                let address = usize::try_from(address).unwrap_or(usize::MAX);
                memory
                    .write(&mut *store, address, &cookie)
                    .map_err(|_| Stop::Abort("a stack outside of memory"))?;
            }
        }
        if let Some(constructors) = self.constructors {
            constructors.call(&mut *store, &[], &mut [])?;
        }
        Ok(())
    }

    /// Hands a message to the guest on its own stack and gives the address of its answer.
    pub(crate) fn handle(
        &self,
        store: &mut Store<HostState>,
        memory: wasmtime::Memory,
        message: &[u8],
        environment: &[u8],
    ) -> Result<Vec<u8>, wasmtime::Error> {
        let stack = self.stack_save.call(store, &[])?;
        let message = self.place(store, memory, message)?;
        let environment = self.place(store, memory, environment)?;
        let answer = self.handle.call(store, &[message, environment])?;
        let text = crate::host::c_text(memory.data(&*store), answer, crate::limits::RESULT_BYTES_MAX)
            .ok_or(Stop::MalformedResult)?
            .to_vec();
        self.stack_restore.call(store, &[stack])?;
        Ok(text)
    }

    fn place(
        &self,
        store: &mut Store<HostState>,
        memory: wasmtime::Memory,
        text: &[u8],
    ) -> Result<u64, wasmtime::Error> {
        const FULL: Stop = Stop::Abort("the arguments do not fit the guest's stack");
        let least = match &self.stack_end {
            // Above the two cookies.
            Some(end) => end.call(store, &[])?.saturating_add(8),
            None => 0,
        };
        let before = self.stack_save.call(store, &[])?;
        let address = self.stack_alloc.call(store, &[text.len() as u64 + 1])?;
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
