//! The formats of the reference, which are generations of emscripten:
//! `wasm64-unknown-emscripten-draft_2024_02_15` and `wasm32-unknown-emscripten4` of today's aos, the
//! same two `-metering`, and the older `wasm32-unknown-emscripten`, `-emscripten2` and `-emscripten3`.
//!
//! The host behaves as the reference's loader does, with these differences, each the same on every
//! machine: the time zone is UTC; the clock counter starts anew with each message; the files are
//! an empty tree; the drive knows `/data/<id>` alone, and asking it unwinds the guest only where its
//! gas is counted; no command is ever run; a program's own name is `thisProgram`; arguments that do
//! not fit the guest's stack trap instead of overwriting its data.
//!
//! Modules that were metered when they were published call `metering.usegas` themselves; what they
//! count is their `GasUsed`, and their limit.

use wasmtime::{Caller, FuncType, Linker, Module, Val};

use super::Format;
use crate::error::ModuleError;
use crate::host::args::{Args, give, takes_numbers};
use crate::host::{Guest, HostState, Stop, asyncify, files, invoke, weave};
use crate::meter::cost::PAGE_GAS;

mod early;
mod entry;
mod names;
mod time;

pub(crate) use entry::Entry;
pub(crate) use names::names;

const INVOKE_PREFIX: &str = "invoke_";
/// Import module and name by which a module counts its own gas.
const OWN_GAS: (&str, &str) = ("metering", "usegas");
const PAGE: u64 = 65_536;
/// Emscripten grows a heap by at most this much beyond what was asked for.
const OVERGROWTH_MAX: u64 = 100_663_296;

type HostFunction = fn(&mut Guest<'_>, Args<'_>, Format) -> Result<i64, wasmtime::Error>;

/// The host function behind an import, or `None` if the format does not offer it.
fn function(format: Format, module: &str, name: &str) -> Option<HostFunction> {
    if (module, name) == OWN_GAS {
        let usegas: HostFunction = |guest, args, _| Ok(use_own_gas(guest, args)?);
        // The reference refuses to meter a module twice.
        return (!format.is_metered()).then_some(usegas);
    }
    // The first format has one module for all of them.
    let wasi_name = ["fd_", "environ_", "proc_"].iter().any(|prefix| name.starts_with(prefix));
    let known = match module {
        "a" => format == Format::Emscripten1,
        "env" => format != Format::Emscripten1 && !wasi_name,
        "wasi_snapshot_preview1" => format != Format::Emscripten1 && wasi_name,
        _ => false,
    };
    if !known {
        return None;
    }
    let early = match format {
        Format::Emscripten1 => early::first(name).or_else(|| early::second(name)),
        Format::Emscripten2 => early::second(name),
        _ => None,
    };
    let early = early.or_else(|| match format {
        Format::Emscripten1 | Format::Emscripten2 | Format::Emscripten3 => early::third(name),
        _ => None,
    });
    early
        .or_else(|| memory_and_time(name))
        .or_else(|| system(name))
        .or_else(|| end(name))
        .or_else(|| wasi(name))
}

/// Counts what the module says that it used, and stops it at its limit.
fn use_own_gas(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let amount = args.signed(0)?;
    let state = guest.0.data_mut();
    state.cells.own_gas = state.cells.own_gas.saturating_add(amount);
    let within = state.cells.own_gas <= i64::try_from(state.own_gas_limit).unwrap_or(i64::MAX);
    if within { Ok(0) } else { Err(Stop::OutOfGas) }
}

fn memory_and_time(name: &str) -> Option<HostFunction> {
    Some(match name {
        "_emscripten_memcpy_js" => copy,
        "emscripten_resize_heap" => resize_heap,
        "emscripten_get_heap_max" => |_, _, format| Ok(heap_max(format) as i64),
        "emscripten_date_now" | "emscripten_get_now" => |guest, _, _| Ok(guest.cells().tick() as i64),
        "_emscripten_get_now_is_monotonic" => |_, _, _| Ok(1),
        "_gmtime_js" => time::gmtime,
        "_localtime_js" => time::localtime,
        "_mktime_js" => time::mktime,
        "_tzset_js" => time::tzset,
        "strftime" | "strftime_l" => time::format_time,
        "metering_gasUsed" => |guest, _, _| Ok(guest.gas_used()),
        _ => return None,
    })
}

fn system(name: &str) -> Option<HostFunction> {
    Some(match name {
        "__syscall_fcntl64" => |guest, args, format| Ok(files::fcntl(guest, args, format)?),
        "__syscall_ioctl" => |guest, args, format| Ok(files::ioctl(guest, args, format.is_64())?),
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
        "__asyncjs__weavedrive_open" => {
            |guest, args, format| asyncify::sleep(guest, args, format, weave::open)
        }
        "__asyncjs__weavedrive_read" => {
            |guest, args, format| asyncify::sleep(guest, args, format, weave::read)
        }
        "__asyncjs__weavedrive_close" => {
            |guest, args, format| asyncify::sleep(guest, args, format, weave::close)
        }
        "emscripten_err" => |_, _, _| Ok(0),
        _ => return None,
    })
}

fn end(name: &str) -> Option<HostFunction> {
    Some(match name {
        "_emscripten_throw_longjmp" => |_, _, _| Err(Stop::LongJump.into()),
        "_abort_js" => |_, _, _| Err(Stop::Abort("abort").into()),
        "exit" => |_, _, _| Err(Stop::Exit.into()),
        "__assert_fail" => |_, _, _| Err(Stop::Abort("an assertion failed").into()),
        "__cxa_throw" => |_, _, _| Err(Stop::Abort("a C++ exception").into()),
        _ => return None,
    })
}

fn wasi(name: &str) -> Option<HostFunction> {
    Some(match name {
        "fd_close" => |guest, args, _| Ok(files::fd_close(guest, args)?),
        "fd_read" => |guest, args, format| Ok(files::fd_read(guest, args, format.is_64())?),
        "fd_write" => |guest, args, format| Ok(files::fd_write(guest, args, format.is_64())?),
        "fd_seek" => |guest, args, _| Ok(files::fd_seek(guest, args)?),
        "fd_sync" => |guest, args, _| Ok(files::fd_sync(guest, args)?),
        "fd_fdstat_get" => |guest, args, _| Ok(files::fd_fdstat_get(guest, args)?),
        "environ_sizes_get" => |guest, args, format| {
            guest.set_word(args.word(0)?, format.is_64(), 0)?;
            guest.set_word(args.word(1)?, format.is_64(), 0)?;
            Ok(0)
        },
        "environ_get" => |_, _, _| Ok(0),
        "proc_exit" => |_, _, _| Err(Stop::Exit.into()),
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
    let mut dyn_calls = Vec::new();
    for import in module.imports() {
        let unknown = || ModuleError::UnknownImport {
            module: import.module().to_owned(),
            name: import.name().to_owned(),
            format: format.name(),
        };
        let ty = import.ty().func().filter(|ty| takes_numbers(ty)).cloned().ok_or_else(unknown)?;
        let name = match import.module() {
            "a" if format == Format::Emscripten1 => names::of_letter(import.name()).ok_or_else(unknown)?,
            _ => import.name(),
        };
        let defined = match name.strip_prefix(INVOKE_PREFIX) {
            Some(signature) if matches!(import.module(), "env" | "a") => {
                let slot = dyn_calls.len();
                dyn_calls.push(format!("dynCall_{signature}"));
                let given: Vec<_> = ty.results().collect();
                linker.func_new(import.module(), import.name(), ty, move |caller, arguments, results| {
                    invoke::call(&mut Guest(caller), slot, Args(arguments), &given, results)
                })
            }
            // The clock of the second format is no number.
            _ if format == Format::Emscripten2 && name == "emscripten_get_now" => {
                let is_f64 =
                    ty.params().len() == 0 && ty.results().len() == 1 && ty.results().all(|ty| ty.is_f64());
                if !is_f64 {
                    return Err(unknown());
                }
                linker.func_new(import.module(), import.name(), ty, |caller, _, results| {
                    Guest(caller).charge(0)?;
                    results.fill(Val::F64(f64::NAN.to_bits()));
                    Ok(())
                })
            }
            _ => {
                let host = function(format, import.module(), name).ok_or_else(unknown)?;
                define(linker, import.module(), import.name(), ty, host, format)
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
    format: Format,
) -> wasmtime::Result<&'l mut Linker<HostState>> {
    let given: Vec<_> = ty.results().collect();
    linker.func_new(module, name, ty, move |caller: Caller<'_, HostState>, arguments, results| {
        let mut guest = Guest(caller);
        guest.charge(0)?;
        let value = host(&mut guest, Args(arguments), format)?;
        give(results, &given, value);
        Ok(())
    })
}

/// JavaScript's `copyWithin`: what lies outside of memory is left out. The pass puts an
/// instruction in the place of most calls; this answers those through the table.
fn copy(guest: &mut Guest<'_>, args: Args<'_>, _: Format) -> Result<i64, wasmtime::Error> {
    let all = guest.memory_bytes()?;
    let (to, from) = (args.word(0)?.min(all), args.word(1)?.min(all));
    let count = args.word(2)?.min(all - from).min(all - to);
    guest.charge(count)?;
    let memory = guest.bytes_mut(0, all)?;
    // All three are at most the memory's length, so they fit a usize.
    memory.copy_within(from as usize..(from + count) as usize, to as usize);
    Ok(0)
}

const fn heap_max(format: Format) -> u64 {
    match format {
        Format::Emscripten1 | Format::Emscripten2 => 524_288_000,
        Format::Emscripten64 | Format::Metered64 => 17_179_869_184,
        _ => 4_294_901_760,
    }
}

/// Emscripten's `_emscripten_resize_heap`; its floating point decides the memory's size, which is
/// part of the state.
fn resize_heap(guest: &mut Guest<'_>, args: Args<'_>, format: Format) -> Result<i64, wasmtime::Error> {
    let (asked, max) = (args.word(0)?, heap_max(format));
    let old = guest.memory_bytes()?;
    // Only the first loader does not insist that there is something to do.
    if asked <= old && format != Format::Emscripten1 {
        return Err(Stop::Abort("asked for memory that is there").into());
    }
    if asked > max {
        return Ok(0);
    }
    for cut in [1.0, 2.0, 4.0] {
        let overgrown = (old as f64 * (1.0 + 0.2 / cut)).min((asked + OVERGROWTH_MAX) as f64);
        let wanted = (asked as f64).max(overgrown);
        let aligned = wanted + (PAGE as f64 - wanted % PAGE as f64) % PAGE as f64;
        let new = aligned.min(max as f64);
        if new < old as f64 {
            continue;
        }
        let pages = ((new - old as f64 + (PAGE - 1) as f64) / PAGE as f64) as u64;
        guest.charge_gas(PAGE_GAS.saturating_mul(pages))?;
        if guest.grow(pages)? {
            return Ok(1);
        }
    }
    Ok(0)
}
