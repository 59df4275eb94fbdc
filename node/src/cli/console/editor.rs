//! Typing at a terminal: lines with history and completion, of which those that belong together are one
//! piece, while others print above them.
//!
//! Reading blocks, so it has a thread; so has printing beside it, which waits for the reader. Both end when
//! the editor is dropped and the person has left the line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use console::strip_ansi_codes;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor as Lines, ExternalPrinter as _, Helper};
use tokio::sync::mpsc;

use super::super::exit::CliError;
use super::super::screen::Screen;
use super::{command, lua};

/// The file in the data folder in which the history stays.
const HISTORY_NAME: &str = "console-history";
/// Pieces that it keeps.
const HISTORY_MAX: usize = 1_000;
/// Bytes of a piece that it keeps: a longer one is pasted again sooner than found in it.
const HISTORY_PIECE_BYTES_MAX: usize = 16 * 1024;
/// Texts that wait to be printed above the line; further ones are dropped, for the log has them all.
const ABOVE_MAX: usize = 1_024;
/// Files that are offered.
const FILES_MAX: usize = 1_000;
/// What ends the ways of the editor with a terminal: pasted text is marked no more, and the cursor is seen.
const AS_IT_WAS: &[u8] = b"\x1b[?2004l\x1b[?25h\n";

/// What the person did.
#[derive(Debug)]
pub(super) enum Typed {
    /// A whole piece.
    Piece(String),
    /// Left the line as it was.
    Nothing,
    /// Wants to go.
    End,
    /// The terminal cannot be read.
    Broken(String),
}

/// A terminal that is typed at.
pub(super) struct Editor {
    prompts: Option<SyncSender<String>>,
    typed: mpsc::Receiver<Typed>,
    above: SyncSender<String>,
    names: Names,
    reader: Option<JoinHandle<()>>,
    /// How the terminal was before.
    before: Option<Termios>,
    /// Whether the person is at a prompt.
    is_asking: bool,
}

/// What the process has, for completion.
type Names = Arc<Mutex<Vec<String>>>;

impl Editor {
    /// Takes the terminal, with the history of this data folder.
    ///
    /// # Errors
    /// A terminal that cannot be used.
    pub(super) fn start(data_dir: &Path) -> Result<Self, CliError> {
        let fault =
            |error: &dyn std::fmt::Display| CliError::fault(format!("the terminal cannot be used: {error}"));
        let config = Config::builder().max_history_size(HISTORY_MAX).map_err(|error| fault(&error))?.build();
        let mut lines: Lines<Help, FileHistory> =
            Lines::with_config(config).map_err(|error| fault(&error))?;
        let names = Names::default();
        lines.set_helper(Some(Help { names: Arc::clone(&names) }));
        // What cannot say how it is needs nothing back.
        let before = tcgetattr(std::io::stdin()).ok();
        let history = data_dir.join(HISTORY_NAME);
        // There is none before the first time.
        let _ = lines.load_history(&history);
        let mut printer = lines.create_external_printer().map_err(|error| fault(&error))?;
        let (above, texts) = sync_channel::<String>(ABOVE_MAX);
        let (prompts, asked) = sync_channel(1);
        let (told, typed) = mpsc::channel(1);
        let thread = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(work).map_err(|error| fault(&error))
        };
        // It ends when nobody has anything to print any more, or the terminal is gone.
        thread(
            "weft-console-print",
            Box::new(move || while texts.recv().is_ok_and(|text| printer.print(text).is_ok()) {}),
        )?;
        let reader = thread("weft-console", Box::new(move || read(lines, &history, &asked, &told)))?;
        let prompts = Some(prompts);
        Ok(Self { prompts, typed, above, names, reader: Some(reader), before, is_asking: false })
    }

    /// Lets the person type the next piece.
    pub(super) fn ask(&mut self, prompt: String) {
        if let Some(prompts) = &self.prompts {
            // The reader that is gone says so in `typed`.
            let _ = prompts.try_send(prompt);
            self.is_asking = true;
        }
    }

    /// What was typed. Safe to cancel.
    pub(super) async fn typed(&mut self) -> Typed {
        let typed = self.typed.recv().await.unwrap_or(Typed::End);
        self.is_asking = false;
        typed
    }

    /// Prints above the line that is being typed.
    pub(super) fn print_above(&self, text: String) {
        // What there is no room for stands in the log.
        let _ = self.above.try_send(text + "\n");
    }

    /// Offers these names from now on.
    pub(super) fn offer(&self, names: Vec<String>) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Gives the terminal back; the history is on disk then.
    pub(super) fn end(mut self) {
        self.prompts = None;
        if self.is_asking {
            // The reader sits in a read, and the program ends without it.
            if let Some(before) = &self.before {
                // A terminal that is gone needs nothing any more.
                let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
                let _ = std::io::stdout().lock().write_all(AS_IT_WAS);
                let _ = std::io::stdout().lock().flush();
            }
        } else if let Some(reader) = self.reader.take() {
            // A thread that panicked has said so.
            let _ = reader.join();
        }
    }
}

fn read(
    mut lines: Lines<Help, FileHistory>,
    history: &PathBuf,
    asked: &Receiver<String>,
    told: &mpsc::Sender<Typed>,
) {
    while let Ok(prompt) = asked.recv() {
        let plain = strip_ansi_codes(&prompt).into_owned();
        let typed = match lines.readline(&(plain, prompt)) {
            Ok(piece) if piece.trim().is_empty() => Typed::Nothing,
            Ok(piece) => {
                // What cannot be remembered can be typed again.
                if piece.len() <= HISTORY_PIECE_BYTES_MAX {
                    let _ = lines.add_history_entry(piece.as_str());
                    let _ = lines.append_history(history);
                }
                Typed::Piece(piece)
            }
            Err(ReadlineError::Interrupted) => Typed::Nothing,
            Err(ReadlineError::Eof) => Typed::End,
            Err(error) => Typed::Broken(error.to_string()),
        };
        if told.blocking_send(typed).is_err() {
            return;
        }
    }
}

/// Completion, and where a piece ends.
struct Help {
    names: Names,
}

impl Helper for Help {}

impl Highlighter for Help {}

impl Hinter for Help {
    type Hint = String;
}

impl Validator for Help {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input();
        let is_whole = command::is_command(input) || lua::is_whole(input);
        Ok(if is_whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Help {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..at).unwrap_or_default();
        if let Some(begun) = before.strip_prefix(".load ") {
            let begun = begun.trim_start();
            return Ok((before.len() - begun.len(), files(begun)));
        }
        let (from, word) = last_word(before);
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<&str> = command::words(before);
        found.extend(names.iter().map(String::as_str));
        found.retain(|name| !word.is_empty() && name.starts_with(word));
        found.sort_unstable();
        found.dedup();
        let pair = |name: &str| Pair { display: name.to_owned(), replacement: name.to_owned() };
        Ok((from, found.into_iter().map(pair).collect()))
    }
}

/// The files whose names begin so, as `.load` takes them: as they are, to the end of the line.
fn files(begun: &str) -> Vec<Pair> {
    let name_from = begun.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, begin) = begun.split_at(name_from);
    let Ok(entries) = std::fs::read_dir(if folder.is_empty() { "." } else { folder }) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_meant = name.starts_with(begin) && (begin.starts_with('.') || !name.starts_with('.'));
            // It is put into the line, which a name may not rewrite.
            let is_plain = Screen::is_plain(&name) && name.trim() == name;
            let end = if entry.path().is_dir() { "/" } else { "" };
            (is_meant && is_plain).then(|| name + end)
        })
        .take(FILES_MAX)
        .collect();
    found.sort_unstable();
    found.into_iter().map(|name| Pair { replacement: format!("{folder}{name}"), display: name }).collect()
}

/// The word that is being typed, and where it begins.
fn last_word(before: &str) -> (usize, &str) {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let word = before.rsplit(|letter| !is_part(letter)).next().unwrap_or_default();
    (before.len() - word.len(), word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn files_are_offered_as_load_takes_them() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["my app.lua", "my$.lua", ".hidden.lua", "other.lua", "my\x1b[2J.lua"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("mine")).unwrap();
        let root = folder.path().to_str().unwrap();
        let offered = |begun: &str| -> Vec<String> {
            files(&format!("{root}/{begun}")).into_iter().map(|pair| pair.replacement).collect()
        };
        assert_eq!(offered("my"), ["my app.lua", "my$.lua"].map(|name| format!("{root}/{name}")));
        assert_eq!(offered("my a"), [format!("{root}/my app.lua")]);
        assert_eq!(offered("mi"), [format!("{root}/mine/")]);
        assert_eq!(offered(".h"), [format!("{root}/.hidden.lua")]);
        assert_eq!(offered("").len(), 4);
        assert!(files(&format!("{root}/none/")).is_empty());
        // What is offered is what is read.
        let line = format!(".load {root}/my app.lua");
        let read = command::Command::parse(&line).unwrap();
        assert_eq!(read, Some(command::Command::Load(folder.path().join("my app.lua"))));
    }
}
