//! Host functions of the first three formats, where they differ from today's.
//!
//! In the first, files and descriptors hardly exist and every system call says that it worked. The
//! first two have no clock and return a date as 32 bits.

use super::{HostFunction, copy, time};
use crate::host::args::Args;
use crate::host::{Guest, Stop, call_word, files};

/// What the environment holds in the first three formats. The reference puts the path of its own
/// program last, which differs from host to host.
const ENVIRONMENT: [&str; 7] = [
    "USER=web_user",
    "LOGNAME=web_user",
    "PATH=/",
    "PWD=/",
    "HOME=/home/web_user",
    "LANG=C.UTF-8",
    "_=thisProgram",
];
/// What descriptors answer in the first format: not implemented, and no seeking.
const NO_FILES: i64 = files::ENOSYS;
const NO_SEEKING: i64 = 70;

/// Of the first format alone.
pub(super) fn first(name: &str) -> Option<HostFunction> {
    Some(match name {
        "__syscall_dup3" | "__syscall_fcntl64" | "__syscall_ioctl" | "__syscall_lstat64"
        | "__syscall_openat" | "__syscall_renameat" | "__syscall_rmdir" | "__syscall_unlinkat" => {
            |_, _, _| Ok(0)
        }
        "fd_close" | "fd_read" => |_, _, _| Ok(NO_FILES),
        "fd_seek" => |_, _, _| Ok(NO_SEEKING),
        "fd_write" => |guest, args, _| Ok(files::fd_write_unopened(guest, args)?),
        _ => return None,
    })
}

/// Of the first and the second.
pub(super) fn second(name: &str) -> Option<HostFunction> {
    Some(match name {
        "_emscripten_date_now" => |_, _, _| Ok(0),
        "emscripten_memcpy_big" => copy,
        "_gmtime_js" => time::gmtime_early,
        "_localtime_js" => time::localtime_early,
        "_mktime_js" => time::mktime_early,
        "_tzset_js" => time::tzset_early,
        "getTempRet0" => |guest, _, _| Ok(i64::from(guest.cells().temp_ret)),
        "setTempRet0" => |guest, args, _| {
            guest.cells().temp_ret = args.i32(0)?;
            Ok(0)
        },
        "system" => |guest, args, _| system(guest, args),
        "__syscall_ioctl" => |guest, args, _| Ok(files::ioctl_early(guest, args)?),
        "fd_read" => |guest, args, _| Ok(files::fd_read_early(guest, args)?),
        "fd_fdstat_get" => |guest, args, _| Ok(files::fd_fdstat_get_early(guest, args)?),
        "_dlinit" => |_, _, _| Ok(0),
        "_dlopen_js" | "_dlsym_js" => |_, _, _| Err(Stop::Abort("dynamic linking").into()),
        _ => return None,
    })
}

/// Of the first three.
pub(super) fn third(name: &str) -> Option<HostFunction> {
    Some(match name {
        "emscripten_memcpy_js" => copy,
        "abort" => |_, _, _| Err(Stop::Abort("abort").into()),
        "_mmap_js" => |guest, args, _| Ok(files::mmap(guest, args)?),
        "environ_sizes_get" => |guest, args, _| {
            let bytes: usize = ENVIRONMENT.iter().map(|text| text.len() + 1).sum();
            guest.set_word(args.word(0)?, false, ENVIRONMENT.len() as u64)?;
            guest.set_word(args.word(1)?, false, bytes as u64)?;
            Ok(0)
        },
        "environ_get" => |guest, args, _| {
            let (mut slot, mut at) = (args.word(0)?, args.word(1)?);
            for text in ENVIRONMENT {
                guest.set_word(slot, false, at)?;
                guest.write(at, text.as_bytes())?;
                guest.write(at.saturating_add(text.len() as u64), &[0])?;
                slot = slot.saturating_add(4);
                at = at.saturating_add(text.len() as u64 + 1);
            }
            Ok(0)
        },
        _ => return None,
    })
}

/// No command is ever run: there is no shell, or the guest's `errno` says that there is none.
fn system(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, wasmtime::Error> {
    if args.word(0)? == 0 {
        return Ok(0);
    }
    let location = guest.handles()?.errno_location.ok_or(Stop::Abort("a command without errno"))?;
    let at = call_word(&mut guest.0, location, &[])?;
    guest.write(at, &(files::ENOSYS as i32).to_le_bytes())?;
    Ok(-1)
}
