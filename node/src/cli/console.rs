//! `weft console`: a terminal for a process.
//!
//! What is typed is Lua, which goes to the process as an Eval of this node's key, over the mesh like any other
//! message; words that begin with a dot are for the console itself. At a terminal others' messages are shown
//! as they come. Anything else that is read is a script: its pieces run one after the other, until one fails.

mod bundle;
mod command;
mod editor;
mod feed;
mod lua;
mod sights;

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use weft_protocol::Id;

use super::args::Wait;
use super::exit::{CliError, Exit};
use super::process::{self, DATA_BYTES_MAX, Sent, human_outcome};
use super::screen::{Colour, pairs};
use super::talk::{ask, ask_within};
use super::up::Signals;
use super::{Context, compose};
use crate::control::api::{DryRunInfo, ProcessInfo, Request, ResultInfo};
use crate::control::client::ANSWER_WAIT;
use crate::dry_run::WAIT_MAX;

use bundle::Bundle;
use command::Command;
use editor::{Editor, Typed};
use feed::{Feed, Told};
use sights::{Sight, Sights};

/// How long the first prompt waits for what the process has for one: its program gives it, and may be slow.
const GREET_WAIT: Duration = Duration::from_secs(2);
/// Bytes of a prompt, with its colours: it stands in front of every line.
const PROMPT_BYTES_MAX: usize = 256;
/// Own slots that are known again when they are heard of: more than can wait to be shown.
const OWN_MAX: usize = 1_024;

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// The process
    #[arg(allow_hyphen_values = true)]
    process: Id,
    /// How long to wait for each result, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

pub(super) async fn run(of: Console, context: &Context) -> Result<Exit, CliError> {
    let wait = Wait { wait: true, timeout: of.timeout };
    let mut session = Session {
        process: of.process,
        wait,
        context,
        prompt: String::new(),
        own: BTreeSet::new(),
        dry: false,
    };
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_terminal && !context.screen.is_json() {
        at_terminal(&mut session).await?;
        return Ok(Exit::Ok);
    }
    script(&mut session).await
}

/// Runs what standard input holds, piece by piece.
async fn script(session: &mut Session<'_>) -> Result<Exit, CliError> {
    let mut piece = String::new();
    let mut reader = lua::Reader::new();
    // Nothing else goes on here, so reading may block.
    let mut lines = std::io::stdin().lock();
    loop {
        let unread = |error: std::io::Error| CliError::input(format!("standard input: {error}"));
        let before = piece.len();
        let room = (DATA_BYTES_MAX + 1).saturating_sub(before as u64);
        let is_last = lines.by_ref().take(room).read_line(&mut piece).map_err(unread)? == 0;
        if piece.len() as u64 > DATA_BYTES_MAX {
            return Err(CliError::input(format!("a piece of more than {DATA_BYTES_MAX} bytes")));
        }
        if lua::says_nothing(&piece) {
            piece.clear();
        }
        // Each line is read once, however long the piece becomes.
        reader.read(piece.get(before..).unwrap_or_default());
        let is_whole = command::is_command(&piece) || reader.is_whole();
        if !piece.is_empty() && (is_whole || is_last) {
            match session.obey(&piece).await? {
                Step::Done(Exit::Ok) => {}
                Step::Done(exit) => return Ok(exit),
                Step::Left => return Ok(Exit::Ok),
            }
        }
        if is_last {
            return Ok(Exit::Ok);
        }
        if is_whole {
            piece.clear();
            reader = lua::Reader::new();
        }
    }
}

async fn at_terminal(session: &mut Session<'_>) -> Result<(), CliError> {
    let (context, data_dir) = (session.context, session.context.data_dir()?);
    let fault = |error: std::io::Error| CliError::fault(format!("no signals can be heard: {error}"));
    let mut signals = Signals::listen().map_err(fault)?;
    context.screen.remark("`.help` lists the commands; Ctrl-D leaves");
    let key = context.signer()?.address().to_string();
    let mut sights = Sights::start(data_dir.clone(), session.process, key);
    tokio::select! {
        sight = sights.next() => session.see(sight, None),
        () = tokio::time::sleep(GREET_WAIT) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    let mut editor = Editor::start(&data_dir)?;
    let mut feed = Feed::start(data_dir, session.process, context.screen);
    let ended = tokio::select! {
        ended = converse(session, &mut editor, &mut feed, &mut sights) => ended,
        () = signals.ended() => Ok(()),
    };
    // Whatever ended it, the terminal is given back.
    editor.end();
    ended
}

/// Takes what is typed, until the person leaves.
async fn converse(
    session: &mut Session<'_>,
    editor: &mut Editor,
    feed: &mut Feed,
    sights: &mut Sights,
) -> Result<(), CliError> {
    let screen = session.context.screen;
    loop {
        while let Some(told) = feed.ready() {
            if !session.knows(&told) {
                screen.raw(format!("{}\n", told.text).as_bytes())?;
            }
        }
        sights.look();
        editor.ask(session.shown_prompt());
        let typed = loop {
            tokio::select! {
                typed = editor.typed() => break typed,
                told = feed.next() => if !session.knows(&told) {
                    editor.print_above(told.text);
                },
                sight = sights.next() => session.see(sight, Some(editor)),
            }
        };
        let piece = match typed {
            Typed::Piece(piece) => piece,
            Typed::Nothing => continue,
            Typed::End => return Ok(()),
            Typed::Broken(why) => return Err(CliError::fault(format!("the terminal cannot be read: {why}"))),
        };
        let obeyed = tokio::select! {
            obeyed = session.obey(&piece) => obeyed,
            _ = tokio::signal::ctrl_c() => {
                screen.remark("no longer waiting; what was sent stays sent");
                continue;
            }
        };
        match obeyed {
            Ok(Step::Left) => return Ok(()),
            Ok(Step::Done(_)) => {}
            Err(error) if error.is_unread() => return Ok(()),
            Err(error) => screen.error(&error),
        }
    }
}

/// What became of a piece.
enum Step {
    /// It ended so.
    Done(Exit),
    /// The person wants to go.
    Left,
}

struct Session<'a> {
    process: Id,
    wait: Wait,
    context: &'a Context,
    /// As the process gave it; empty until it did.
    prompt: String,
    /// Slots of what was typed and shown here, the newest.
    own: BTreeSet<u64>,
    /// Whether what is typed is only tried.
    dry: bool,
}

impl Session<'_> {
    /// Runs a piece, and shows what came of it.
    async fn obey(&mut self, piece: &str) -> Result<Step, CliError> {
        let screen = self.context.screen;
        let exit = match Command::parse(piece)? {
            None => self.eval(&Bundle::typed(piece)).await?,
            Some(Command::Load(path)) => self.eval(&bundle::load(&path)?).await?,
            Some(Command::Blueprint(name, text)) => {
                self.eval(&Bundle::of(&format!("{name}.lua"), text)?).await?
            }
            Some(Command::Blueprints) => self.say(command::blueprints())?,
            Some(Command::Monitor(on)) => {
                let request = Request::Cron { process: self.process, on };
                let info: ProcessInfo = ask(self.context, "writing it down", &request).await?;
                screen.answer(&info, || pairs(&[("duties", info.duties.join(", "))]))?;
                Exit::Ok
            }
            Some(Command::DryRun) => {
                self.dry = !self.dry;
                let now =
                    if self.dry { "is only tried from now on: nothing is kept" } else { "is sent again" };
                self.say(format!("what is typed {now}"))?
            }
            Some(Command::Help) => self.say(command::help())?,
            Some(Command::Exit) => return Ok(Step::Left),
        };
        Ok(Step::Done(exit))
    }

    fn say(&self, text: String) -> Result<Exit, CliError> {
        self.context.screen.answer(&serde_json::json!({ "console": text }), || text.clone())?;
        Ok(Exit::Ok)
    }

    async fn eval(&mut self, bundle: &Bundle) -> Result<Exit, CliError> {
        let screen = self.context.screen;
        if self.dry {
            let mut info = self.try_out(&bundle.text).await?;
            self.learn(&info.result);
            name_lines(&mut info.result, bundle);
            let head = format!("after slot {}: code {}", info.position, info.code);
            screen.answer(&info, || {
                human_outcome(&info.result, &head, Some(info.gas), "nothing is kept", screen)
            })?;
            return Ok(if info.code == 0 { Exit::Ok } else { Exit::No });
        }
        let text = bundle.text.clone().into_bytes();
        let draft = compose::message(self.process, Some("Eval".into()), Vec::new(), None, text)?;
        let submitted = process::submit(&draft, self.context).await?;
        let mut result = process::result_of(&submitted, &self.wait, self.context).await?;
        // What was not waited for to the end is shown as others' is, once it is known.
        self.own.insert(submitted.slot);
        if self.own.len() > OWN_MAX {
            self.own.pop_first();
        }
        self.learn(&result.result);
        name_lines(&mut result.result, bundle);
        let exit = process::exit_of(&result);
        let sent = Sent { submitted, result: Some(result) };
        screen.answer(&sent, || sent.result.as_ref().map(|result| self.human(result)).unwrap_or_default())?;
        Ok(exit)
    }

    fn human(&self, result: &ResultInfo) -> String {
        let head = format!("slot {}: {}", result.position, process::code_text(result.code));
        let by = process::who_says(result);
        human_outcome(&result.result, &head, Some(result.gas), &by, self.context.screen)
    }

    /// Evaluates a piece of this key without sending it.
    async fn try_out(&self, text: &str) -> Result<DryRunInfo, CliError> {
        let key = self.context.signer()?.address().to_string();
        let message = sights::body(key, "Eval", Some(text.to_owned()));
        let request = Request::DryRun { process: self.process, message, slot: None };
        ask_within(self.context, "evaluating", &request, WAIT_MAX + ANSWER_WAIT).await
    }

    /// Takes over what was seen of the process.
    fn see(&mut self, sight: Sight, editor: Option<&Editor>) {
        match (sight, editor) {
            (Sight::Prompt(prompt), _) => prompt.iter().for_each(|prompt| self.take_prompt(prompt)),
            (Sight::Owner(owner), Some(editor)) => {
                let text =
                    format!("its owner is {owner}: it treats what this key types like any other message");
                editor.print_above(self.context.screen.paint(Colour::Yellow, &text));
            }
            (Sight::Names(names), Some(editor)) => editor.offer(names),
            // Nobody has asked for them yet.
            (Sight::Owner(_) | Sight::Names(_), None) => {}
        }
    }

    /// Takes over the prompt of a result.
    fn learn(&mut self, result: &Value) {
        if let Some(prompt) = sights::prompt(result) {
            self.take_prompt(prompt);
        }
    }

    fn take_prompt(&mut self, prompt: &str) {
        let (prompt, _) = feed::cut(prompt, PROMPT_BYTES_MAX);
        // What stands in front of the cursor has one line.
        self.prompt = self.context.screen.foreign(prompt).replace('\n', " ");
    }

    fn shown_prompt(&self) -> String {
        let short: String = self.process.to_string().chars().take(8).collect();
        let prompt = if self.prompt.is_empty() { format!("{short}> ") } else { self.prompt.clone() };
        if self.dry { format!("(dry run) {prompt}") } else { prompt }
    }

    /// Whether it is of something typed here, which was shown.
    fn knows(&self, told: &Told) -> bool {
        told.slot.is_some_and(|slot| self.own.contains(&slot))
    }
}

/// Says of errors and of what was printed in which file the lines are.
fn name_lines(result: &mut Value, bundle: &Bundle) {
    let parts = ["/Error", "/Output", "/Output/data", "/Output/data/output"];
    for part in parts {
        if let Some(Value::String(text)) = result.pointer_mut(part) {
            *text = bundle.name_lines(text);
        }
    }
}
