//! What the generations of emscripten call the same things.

use crate::format::Format;

/// Names of the exports that the host uses. Where there are several, the first that a module has
/// is taken.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) memory: &'static str,
    pub(crate) table: &'static str,
    pub(crate) constructors: &'static str,
    pub(crate) handle: &'static str,
    /// Called when a module is loaded; today's loader does not call it.
    pub(crate) main: Option<&'static str>,
    pub(crate) malloc: &'static str,
    pub(crate) errno_location: &'static str,
    pub(crate) set_threw: &'static str,
    pub(crate) set_temp_ret: &'static [&'static str],
    pub(crate) stack_save: &'static [&'static str],
    pub(crate) stack_alloc: &'static [&'static str],
    pub(crate) stack_restore: &'static [&'static str],
}

const TODAY: Names = Names {
    memory: "memory",
    table: "__indirect_function_table",
    constructors: "__wasm_call_ctors",
    handle: "handle",
    main: None,
    malloc: "malloc",
    errno_location: "__errno_location",
    set_threw: "setThrew",
    set_temp_ret: &["_emscripten_tempret_set", "setTempRet0"],
    stack_save: &["emscripten_stack_get_current", "stackSave"],
    stack_alloc: &["_emscripten_stack_alloc", "stackAlloc"],
    stack_restore: &["_emscripten_stack_restore", "stackRestore"],
};

const WITH_MAIN: Names = Names { main: Some("main"), ..TODAY };

const LETTERS: Names = Names {
    memory: "E",
    table: "I",
    constructors: "F",
    handle: "G",
    main: Some("H"),
    malloc: "J",
    errno_location: "K",
    set_threw: "L",
    set_temp_ret: &[],
    stack_save: &["M"],
    stack_alloc: &["O"],
    stack_restore: &["N"],
};

/// The names of a format.
pub(crate) const fn names(format: Format) -> &'static Names {
    match format {
        Format::Emscripten1 => &LETTERS,
        Format::Emscripten2 | Format::Emscripten3 => &WITH_MAIN,
        _ => &TODAY,
    }
}

/// The name of an import in the first format, whose names are single letters.
pub(super) fn of_letter(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "a" => "_emscripten_date_now",
        "b" => "setTempRet0",
        "c" => "fd_close",
        "d" => "__syscall_fcntl64",
        "e" => "__syscall_unlinkat",
        "f" => "fd_write",
        "g" => "__syscall_openat",
        "h" => "getTempRet0",
        "i" => "_mktime_js",
        "j" => "_tzset_js",
        "k" => "emscripten_memcpy_big",
        "l" => "exit",
        "m" => "system",
        "n" => "strftime",
        "o" => "fd_seek",
        "p" => "_emscripten_throw_longjmp",
        "q" => "emscripten_resize_heap",
        "r" => "__syscall_lstat64",
        "s" => "__syscall_renameat",
        "t" => "__syscall_rmdir",
        "u" => "environ_get",
        "v" => "environ_sizes_get",
        "w" => "__syscall_dup3",
        "x" => "invoke_vii",
        "y" => "fd_read",
        "z" => "__syscall_ioctl",
        "A" => "_emscripten_get_now_is_monotonic",
        "B" => "_gmtime_js",
        "C" => "_localtime_js",
        "D" => "abort",
        _ => return None,
    })
}
