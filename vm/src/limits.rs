//! Limits of this crate, each with its reason. Those that a guest can observe are rules: changing
//! one changes results.

/// Bytes of a module: several times the largest known one (`sqlite`, 3.2 MB).
pub const MODULE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Mutable globals of a module: each is reset before every message. Known modules have 1 to 6.
pub const MUTABLE_GLOBALS_MAX: usize = 256;
/// Functions of a module: a million empty ones take the compiler minutes, and gigabytes. `sqlite` has
/// some 3,000.
pub const FUNCTIONS_MAX: u32 = 65_536;
/// Bytes of one function, which is compiled as a whole in up to a hundred times its size. The largest
/// known one, of `llama`, is a third of this.
pub const FUNCTION_BYTES_MAX: usize = 1024 * 1024;
/// Results of a function or block: a call of many takes the compiler a kilobyte for each. Compilers
/// of C give at most one.
pub const RESULTS_MAX: usize = 16;
/// Locals and parameters of all functions together: each takes the compiler some 80 ns, and a few
/// bytes declare fifty thousand. Known modules have under 20,000.
pub const LOCALS_MAX: u64 = 1 << 20;
/// Elements of all tables of a module: each instance holds them. Known modules have under 1,100.
pub const TABLE_ELEMENTS_MAX: u64 = 1 << 20;
/// Constructs open at one place of a function, the function itself not counted: the compiler's time
/// grows with the square of it. A `switch` of C takes one a case.
pub const NESTED_MAX: usize = 4_096;
/// Loops among them, each of which costs the compiler some ten times as much.
pub const NESTED_LOOPS_MAX: usize = 256;
/// Squares of the branches of each function, added up: one of 33,000 branches takes the compiler some
/// ten seconds, and one of 100,000 minutes. `llama` comes to some 60 million, 4,379 in one function.
pub const BRANCH_WORK_MAX: u64 = 1 << 30;
/// Branches of one function that are charged as if they were never taken, times the constructs that
/// each may leave: 16 bytes each while the function is read. Those of `llama` come to 115,918.
pub const GUESSES_MAX: usize = 1 << 20;
/// Bytes of a message's text or of an environment's: a 10 MiB item with every byte escaped.
pub const ARGUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a result text; a longer one is a malformed result.
pub const RESULT_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Bytes of linear memory that any process may have (rules 6.8).
pub const MEMORY_BYTES_MAX: u64 = 16 << 30;
/// Gas for a module's own initialisation, which no process pays for: that of a whole boot of aos
/// (12,000 million), which the `main` of an old module may do, and half as much again. An endless loop
/// uses it up in less than a second.
pub const INITIALISE_GAS: u64 = 20_000_000_000;
/// Bytes of memory that a module may have when it is initialised to look at it, before there is a
/// process with a limit of its own: the default of processes.
pub const INITIALISE_MEMORY_BYTES: u64 = 1 << 30;

/// Bytes that a process which compiles may write to. The largest modules in use take a third of it.
pub const COMPILE_BYTES_MAX: u64 = 2 << 30;
/// Seconds of processor time that a process which compiles may take. The largest modules in use take 40 s here.
pub const COMPILE_SECONDS_MAX: u64 = 600;

/// Depth of one frame before its slots, in bytes (rules 6.8).
pub const FRAME_BYTES: u64 = 64;
/// Depth of one local or operand slot; a v128 counts twice.
pub const SLOT_BYTES: u64 = 8;
/// Depth of all live frames.
pub const DEPTH_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Live frames.
pub const DEPTH_FRAMES_MAX: u64 = 16_384;
/// Depth that a call adds which re-enters the guest through the host.
pub const REENTRY_BYTES: u64 = 4_096;

/// Native stack of a guest thread. Depth runs out first, but where a function holds more than some 7 KiB of what it
/// computed across a call of itself, 16,384 deep: then the host fails.
pub const GUEST_STACK_BYTES: usize = 128 * 1024 * 1024;
/// Of it, what wasm and the host calls between wasm frames may use. A lowered memory may double frames: an
/// address and the short one are two values.
pub const WASM_STACK_BYTES: usize = 120 * 1024 * 1024;

/// Bytes of the engine's heap for exceptions, in each instance of a module that throws. At most one is
/// alive at a time and has under a kilobyte; the rest is what makes collecting rare.
pub const EXCEPTION_HEAP_BYTES: u64 = 64 * 1024;
/// Messages kept since the last snapshot: bounds what a roll-back replays.
pub const KEPT_MESSAGES_MAX: usize = 256;
/// Bytes of the messages kept since the last snapshot.
pub const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Gas of the messages kept since the last snapshot: about a fifth of a second of replay.
pub const KEPT_GAS_MAX: u64 = 200_000_000_000;
/// Gas that takes as long as a snapshot: about 3 ms.
pub const SNAPSHOT_GAS: u64 = 3_000_000_000;
/// Gas that may be replayed between two snapshots before a new one is cheaper: about 2 ms.
pub const REPLAYED_GAS_MAX: u64 = 2_000_000_000;

/// Bytes of the compile cache; the oldest entries go first.
pub const CACHE_BYTES_MAX: u64 = 2 << 30;
