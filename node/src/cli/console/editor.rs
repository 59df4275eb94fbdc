//! Typing at a terminal: lines with history and completion, of which those that belong together are one
//! piece, while others print above them.
//!
//! Reading blocks, so it has a thread; so has printing beside it, which waits for the reader. Both end when
//! the editor is dropped and the person has left the line.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use console::strip_ansi_codes;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor as Lines, ExternalPrinter as _, Helper};
use tokio::sync::mpsc;

use super::super::exit::CliError;
use super::{command, lua};

/// The file in the data folder in which the history stays.
const HISTORY_NAME: &str = "console-history";
/// Pieces that it keeps.
const HISTORY_MAX: usize = 1_000;
/// Texts that wait to be printed above the line; further ones are dropped, for the log has them all.
const ABOVE_MAX: usize = 1_024;
/// Names of the process that are offered.
const NAMES_MAX: usize = 10_000;

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
        lines.set_helper(Some(Help { files: FilenameCompleter::new(), names: Arc::clone(&names) }));
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
        Ok(Self { prompts: Some(prompts), typed, above, names, reader: Some(reader) })
    }

    /// Lets the person type the next piece.
    pub(super) fn ask(&self, prompt: String) {
        if let Some(prompts) = &self.prompts {
            // The reader that is gone says so in `typed`.
            let _ = prompts.try_send(prompt);
        }
    }

    /// What was typed. Safe to cancel.
    pub(super) async fn typed(&mut self) -> Typed {
        self.typed.recv().await.unwrap_or(Typed::End)
    }

    /// Prints above the line that is being typed.
    pub(super) fn print_above(&self, text: String) {
        // What there is no room for stands in the log.
        let _ = self.above.try_send(text + "\n");
    }

    /// Offers these names from now on.
    pub(super) fn offer(&self, mut names: Vec<String>) {
        names.truncate(NAMES_MAX);
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Gives the terminal back; the history is on disk then.
    pub(super) fn end(mut self) {
        self.prompts = None;
        if let Some(reader) = self.reader.take() {
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
                let _ = lines.add_history_entry(piece.as_str());
                let _ = lines.append_history(history);
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
    files: FilenameCompleter,
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
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..at).unwrap_or_default();
        if before.starts_with(".load ") {
            return self.files.complete(line, at, context);
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

/// The word that is being typed, and where it begins.
fn last_word(before: &str) -> (usize, &str) {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let word = before.rsplit(|letter| !is_part(letter)).next().unwrap_or_default();
    (before.len() - word.len(), word)
}
