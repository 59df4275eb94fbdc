//! Compiling in a process of its own.
//!
//! What a compiler takes of time and memory can grow with the square of a function: many values that are held
//! across many branches are enough. A limit that lets honest modules through does not bound that, so the system
//! does: a process that takes too much is ended, and the node goes on without that module.
//!
//! The process is given the guarded module on its standard input, after its length in 8 bytes. Its answer is one byte,
//! [`MADE`] or [`REFUSED`], and after it the artefact or the reason. A failure of the machine has no answer.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

use crate::engine::settings;
use crate::error::{HostFault, ModuleError};
use crate::limits::{COMPILE_BYTES_MAX, COMPILE_SECONDS_MAX};

const MADE: u8 = 0;
const REFUSED: u8 = 1;
/// How a process ends that had not enough memory and could still say so.
const NO_MEMORY: u8 = 3;
/// Threads that compile one module, at most: each takes memory of its own, and whether a module fits should depend little
/// on a machine's cores.
const THREADS_MAX: usize = 8;
/// A process that takes so many times its processor time to get it, or that waits for nothing, is ended too.
const SLOW_MAX: u64 = 3;
/// Variables of the node that are not for its compilers: a backtrace of one without memory waits for ever.
const BACKTRACES: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];
/// Modules that are not tried again in this run, at most.
const GIVEN_UP_MAX: usize = 1_024;

/// Who compiles modules for an engine: a program that hands the arguments after its own to [`compile_alone`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before those of [`compile_alone`].
    pub arguments: Vec<OsString>,
    /// Bytes of memory that it may write to, at most.
    pub memory_bytes: u64,
    /// Seconds of processor time that it may take, on all cores together.
    pub seconds: u64,
}

impl Compiler {
    /// This program, with the limits of [`crate::limits`].
    ///
    /// # Errors
    /// A system that does not tell which program this is.
    pub fn this_program(arguments: Vec<OsString>) -> io::Result<Self> {
        // The program that runs, also where another one has taken its place on disk.
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe()?
        };
        Ok(Self { program, arguments, memory_bytes: COMPILE_BYTES_MAX, seconds: COMPILE_SECONDS_MAX })
    }
}

/// A compiler, and what it was ended over.
#[derive(Debug)]
pub(crate) struct Apart {
    compiler: Compiler,
    /// Hashes of guarded modules that took too much, with what was said of them, oldest first: none is worth another ten
    /// minutes.
    given_up: Mutex<VecDeque<(blake3::Hash, String)>>,
    children: Mutex<Children>,
}

/// The processes that compile.
#[derive(Debug, Default)]
struct Children {
    /// None of them has been waited for: nobody else can have its number.
    running: Vec<Pid>,
    /// No more are started.
    has_ended: bool,
}

impl Apart {
    pub(crate) fn new(compiler: Compiler) -> Self {
        Self { compiler, given_up: Mutex::default(), children: Mutex::default() }
    }

    /// Fails for a module that took too much in this run.
    fn look(&self, name: &blake3::Hash) -> Result<(), HostFault> {
        let given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        match given_up.iter().find(|(known, _)| known == name) {
            Some((_, why)) => Err(HostFault::Uncompilable(why.clone())),
            None => Ok(()),
        }
    }

    /// The artefact of a guarded module.
    pub(crate) fn compile(&self, guarded: &[u8], interruptible: bool) -> Result<Vec<u8>, ModuleError> {
        let name = blake3::hash(guarded);
        self.look(&name)?;
        let mut child = self.start(interruptible)?;
        let answer = answered(&mut child, guarded);
        // It ends with its output, or when nobody reads that any more.
        self.children().running.retain(|pid| *pid != Pid::from_child(&child));
        let ended = child.wait().map_err(|error| self.failed(&error))?;
        match answer {
            Ok((MADE, artefact)) if ended.success() => Ok(artefact),
            Ok((REFUSED, why)) if ended.success() => {
                Err(ModuleError::Invalid(String::from_utf8_lossy(&why).into_owned()))
            }
            _ if took_too_much(ended) => {
                let Compiler { memory_bytes, seconds, .. } = self.compiler;
                let gib = memory_bytes as f64 / f64::from(1 << 30);
                let why = format!(
                    "it takes more than {gib:.1} GiB of memory or {seconds} s of processor time ({ended}); it is not tried \
                     again before the node is started again"
                );
                self.give_up(name, why.clone());
                Err(HostFault::Uncompilable(why).into())
            }
            _ => Err(HostFault::Compiler(format!("the process that compiled it failed ({ended})")).into()),
        }
    }

    /// Ends what is compiled, and compiles nothing more.
    pub(crate) fn end(&self) {
        let mut children = self.children();
        children.has_ended = true;
        for child in &children.running {
            // One that has just ended by itself is as well.
            let _ = kill_process(*child, Signal::KILL);
        }
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, name: blake3::Hash, why: String) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.push_back((name, why));
        if given_up.len() > GIVEN_UP_MAX {
            given_up.pop_front();
        }
    }

    fn failed(&self, error: &io::Error) -> HostFault {
        HostFault::Runtime(format!("{} as compiler: {error}", self.compiler.program.display()))
    }

    fn start(&self, interruptible: bool) -> Result<Child, HostFault> {
        let Compiler { program, arguments, memory_bytes, seconds } = &self.compiler;
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX));
        let mut command = Command::new(program);
        for name in BACKTRACES {
            command.env_remove(name);
        }
        command
            .env("RAYON_NUM_THREADS", threads.to_string())
            .args(arguments)
            .args([memory_bytes.to_string(), seconds.to_string(), u8::from(interruptible).to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is for the node, which stops in its own way.
            .process_group(0);
        let mut children = self.children();
        if children.has_ended {
            return Err(HostFault::Compiler("this program is ending".to_owned()));
        }
        let child = command.spawn().map_err(|error| self.failed(&error))?;
        children.running.push(Pid::from_child(&child));
        Ok(child)
    }
}

/// What a process answers that is given this module.
fn answered(child: &mut Child, guarded: &[u8]) -> io::Result<(u8, Vec<u8>)> {
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (mut input, mut output) = input.zip(output).ok_or(io::ErrorKind::BrokenPipe)?;
    thread::scope(|scope| {
        // Whoever ends before it has read everything says why by how it ends.
        let hand_over = move || {
            let bytes = (guarded.len() as u64).to_be_bytes();
            input.write_all(&bytes).and_then(|()| input.write_all(guarded))
        };
        thread::Builder::new().name("weft-compiler".to_owned()).spawn_scoped(scope, hand_over)?;
        let (mut kind, mut answer) = ([0], Vec::new());
        output.read_exact(&mut kind)?;
        output.read_to_end(&mut answer)?;
        Ok((kind[0], answer))
    })
}

/// Whether the same module would end the same way again.
fn took_too_much(ended: ExitStatus) -> bool {
    let by = [Signal::ABORT, Signal::XCPU].map(|signal| Some(signal.as_raw()));
    by.contains(&ended.signal()) || ended.code() == Some(NO_MEMORY.into())
}

/// The work of a [`Compiler`]'s process: bounds itself, compiles the guarded module on standard input, and answers
/// on standard output. `arguments` are those after the program's own.
pub fn compile_alone(arguments: &[OsString]) -> ExitCode {
    let number = |index: usize| arguments.get(index)?.to_str()?.parse::<u64>().ok();
    let (Some(memory_bytes), Some(seconds), Some(interruptible)) = (number(0), number(1), number(2)) else {
        return ExitCode::FAILURE;
    };
    match bound(memory_bytes, seconds).and_then(|()| answer(interruptible == 1)) {
        Ok(code) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(interruptible: bool) -> io::Result<ExitCode> {
    let (mut bytes, mut guarded) = ([0; 8], Vec::new());
    let mut input = io::stdin().lock();
    input.read_exact(&mut bytes)?;
    input.read_to_end(&mut guarded)?;
    if guarded.len() as u64 != u64::from_be_bytes(bytes) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let engine = wasmtime::Engine::new(&settings(interruptible)).map_err(io::Error::other)?;
    let (kind, answer) = match engine.precompile_module(&guarded) {
        Ok(artefact) => (MADE, artefact),
        Err(error) if error.is::<wasmtime::error::OutOfMemory>() => return Ok(NO_MEMORY.into()),
        Err(error) => (REFUSED, format!("{error:#}").into_bytes()),
    };
    let mut output = io::stdout().lock();
    output.write_all(&[kind])?;
    output.write_all(&answer)?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Bounds this process: memory that it may write to, processor time and all time, no core file, and no longer life than
/// who waits for it.
fn bound(memory_bytes: u64, seconds: u64) -> io::Result<()> {
    let limit = |resource, current: u64, maximum: u64| {
        // Who started this program may have set less.
        let most = getrlimit(resource).maximum.map_or(maximum, |most| most.min(maximum));
        setrlimit(resource, Rlimit { current: Some(current.min(most)), maximum: Some(most) })
    };
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    limit(Resource::Core, 0, 0)?;
    // First a signal that says so.
    limit(Resource::Cpu, seconds, seconds.saturating_add(5))?;
    let watch = move || {
        thread::sleep(Duration::from_secs(seconds.saturating_mul(SLOW_MAX)));
        let _ = kill_process(getpid(), Signal::XCPU);
    };
    thread::Builder::new().spawn(watch)?;
    Ok(limit(Resource::Data, memory_bytes, memory_bytes)?)
}
