//! The launcher as a child of a test, which waits for no pipe without end.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// How long a launcher may take to come up, and to end once it was told to.
const WAIT: Duration = Duration::from_secs(180);

/// A launcher that runs, killed with its test. Its nodes end with it.
pub struct Launched {
    child: Child,
}

impl Drop for Launched {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has a thread read from the program.
fn reading<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, done) = sync_channel(1);
    std::thread::spawn(move || {
        // Nobody waits any more where it took too long.
        let _ = sender.send(read());
    });
    done
}

/// Waits for what a thread reads.
fn in_time<T>(what: &str, wait: Duration, done: &Receiver<T>) -> T {
    done.recv_timeout(wait).unwrap_or_else(|error| panic!("waited {wait:?} for {what}: {error}"))
}

fn rest(mut out: BufReader<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes).unwrap();
    bytes
}

/// One that runs by itself, and all that it says until its end.
pub struct Underway {
    launched: Launched,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Underway {
    /// Starts one.
    pub fn begin(args: &[&str], set: &[(&str, &OsStr)]) -> Self {
        Self::of(Launched::command(args, set))
    }

    /// Starts one by a command that becomes it.
    pub fn of(command: Command) -> Self {
        let (mut launched, out) = Launched::spawn(command);
        let err = BufReader::new(launched.child.stderr.take().unwrap());
        // Both at once, or it stands still where one of the pipes is full.
        let stderr = reading(move || rest(err));
        let stdout = reading(move || rest(out));
        Self { launched, stdout, stderr }
    }

    /// Its process id.
    #[allow(dead_code)]
    pub fn id(&self) -> u32 {
        self.launched.id()
    }

    /// Whether it has ended.
    #[allow(dead_code)]
    pub fn has_ended(&mut self) -> bool {
        self.launched.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended.
    pub fn output(mut self, wait: Duration) -> Output {
        let stdout = in_time("its end", wait, &self.stdout);
        let status = self.launched.ended();
        // What it started may hold the pipe after it has ended.
        let stderr = in_time("the end of what it says of errors", WAIT, &self.stderr);
        Output { status, stdout, stderr }
    }
}

impl Launched {
    fn command(args: &[&str], set: &[(&str, &OsStr)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft-testnet"));
        command.args(args).envs(set.iter().copied());
        command
    }

    fn spawn(mut command: Command) -> (Self, BufReader<ChildStdout>) {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        (Self { child }, out)
    }

    /// Runs it to its end.
    #[allow(dead_code)]
    pub fn run(args: &[&str], wait: Duration) -> Output {
        Self::run_with(args, &[], wait)
    }

    /// Runs it to its end, with some variables set.
    pub fn run_with(args: &[&str], set: &[(&str, &OsStr)], wait: Duration) -> Output {
        Underway::begin(args, set).output(wait)
    }

    /// Starts one that stays up; what it says first.
    #[allow(dead_code)]
    pub fn up(args: &[&str]) -> (Self, String) {
        Self::up_with(args, &[])
    }

    /// Starts one that stays up, with some variables set; what it says first.
    #[allow(dead_code)]
    pub fn up_with(args: &[&str], set: &[(&str, &OsStr)]) -> (Self, String) {
        let (mut launched, mut out) = Self::spawn(Self::command(args, set));
        let mut err = launched.child.stderr.take().unwrap();
        // Read to the end, or it stands still one day.
        std::thread::spawn(move || std::io::copy(&mut err, &mut std::io::sink()));
        let line = reading(move || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line
        });
        (launched, in_time("its first line", WAIT, &line))
    }

    /// Its process id.
    #[allow(dead_code)]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it.
    #[allow(dead_code)]
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = std::time::Instant::now() + WAIT;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None => assert!(std::time::Instant::now() < deadline, "it does not end"),
            }
            // tidy-allow(sleep): polls a child, with a deadline
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
