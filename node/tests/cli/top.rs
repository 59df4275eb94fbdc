//! `weft top` on a terminal, which it gives back however it ends.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::json;

use super::node::{until, until_is};

/// How long anything may take.
const WAIT: Duration = Duration::from_secs(60);
/// What takes the screen, and what gives it back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// The program, killed when the test ends before it.
struct Top(Child);

impl Drop for Top {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Top {
    /// What it ended with.
    fn ended(&mut self) -> Option<i32> {
        let status = until("it ends", || self.0.try_wait().unwrap().ok_or("it runs".to_owned()));
        status.code()
    }
}

/// Both ends of a terminal: a person's, and a program's.
pub(super) fn terminal() -> (File, File) {
    let (mut person, mut program) = (0, 0);
    let (name, modes, size) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: it writes two descriptors, and no name, modes or size are asked for.
    let made = unsafe { libc::openpty(&mut person, &mut program, name, modes, size) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both were just made, and nobody else has them.
    unsafe { (File::from_raw_fd(person), File::from_raw_fd(program)) }
}

/// Whether the terminal shows what is typed and gives it line by line.
pub(super) fn is_cooked(terminal: &File) -> bool {
    // SAFETY: all bits of it are numbers.
    let mut modes: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and there is room for what is written.
    assert_eq!(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &mut modes) }, 0);
    modes.c_lflag & (libc::ICANON | libc::ECHO) == libc::ICANON | libc::ECHO
}

/// What the terminal is shown, until it is closed.
pub(super) fn shown(person: &File) -> Receiver<Vec<u8>> {
    let mut person = person.try_clone().unwrap();
    let (sender, shown) = sync_channel(1_024);
    std::thread::spawn(move || {
        let mut bytes = [0; 4_096];
        // It fails once nobody has the other end.
        while let Ok(count) = person.read(&mut bytes) {
            if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    shown
}

/// Reads on until a text was shown.
pub(super) fn read_until(shown: &Receiver<Vec<u8>>, seen: &mut String, text: &str) {
    let deadline = Instant::now() + WAIT;
    while !seen.contains(text) {
        let left = deadline.saturating_duration_since(Instant::now());
        let bytes = shown.recv_timeout(left).unwrap_or_else(|_| panic!("no {text:?} in {seen:?}"));
        seen.push_str(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_signal_gives_the_terminal_back() {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        let folder = tempfile::tempdir().unwrap();
        let (person, program) = terminal();
        assert!(is_cooked(&program));
        let end = || Stdio::from(program.try_clone().unwrap());
        // It shows that no node is there, and goes on looking.
        let mut top = Top(Command::new(env!("CARGO_BIN_EXE_weft"))
            .arg("top")
            .env_clear()
            .env("WEFT_DATA_DIR", folder.path())
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(Stdio::null())
            .spawn()
            .unwrap());
        let (shown, mut seen) = (shown(&person), String::new());
        read_until(&shown, &mut seen, "no node is running");
        assert!(seen.contains(ENTER) && !seen.contains(LEAVE), "{seen:?}");
        until_is("keys are read", &json!(false), || json!(is_cooked(&program)));
        // SAFETY: it is our child, and was not waited for yet.
        assert_eq!(unsafe { libc::kill(top.0.id().cast_signed(), signal) }, 0);
        read_until(&shown, &mut seen, LEAVE);
        assert_eq!(top.ended(), Some(0), "signal {signal}");
        assert!(is_cooked(&program), "signal {signal} leaves the terminal raw");
    }
}
