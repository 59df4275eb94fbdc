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

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use weft_protocol::{Id, Tag};

use super::args::Wait;
use super::exit::{CliError, Exit};
use super::process::{self, DATA_BYTES_MAX, Sent, human_outcome};
use super::screen::{Colour, pairs};
use super::talk::{ask, ask_within};
use super::{Context, compose, state};
use crate::control::api::{DryRunBody, DryRunInfo, ProcessDetail, ProcessInfo, Request, ResultInfo};
use crate::control::client::ANSWER_WAIT;
use crate::dry_run::WAIT_MAX;

use bundle::Bundle;
use command::Command;
use editor::{Editor, Typed};
use feed::{Feed, Happening};

/// How long a prompt waits for what the process has: its program answers, and may be slow.
const LOOK_WAIT: Duration = Duration::from_secs(2);
/// Bytes of a name that is offered: what is longer is quicker to copy.
const NAME_BYTES_MAX: usize = 64;
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
    let (prompt, own) = (String::new(), BTreeSet::new());
    let mut session = Session {
        process: of.process,
        wait,
        context,
        prompt,
        own,
        dry: false,
        reads: true,
        knows_owner: false,
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
    // Nothing else goes on here, so reading may block.
    let mut lines = std::io::stdin().lock();
    loop {
        let unread = |error: std::io::Error| CliError::input(format!("standard input: {error}"));
        let is_last = lines.read_line(&mut piece).map_err(unread)? == 0;
        if piece.len() as u64 > DATA_BYTES_MAX {
            return Err(CliError::input(format!("a piece of more than {DATA_BYTES_MAX} bytes")));
        }
        if lua::says_nothing(&piece) {
            piece.clear();
        }
        let is_whole = command::is_command(&piece) || lua::is_whole(&piece);
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
        }
    }
}

async fn at_terminal(session: &mut Session<'_>) -> Result<(), CliError> {
    let (context, data_dir) = (session.context, session.context.data_dir()?);
    if tokio::time::timeout(LOOK_WAIT, session.greet()).await.is_err() {
        session.reads = false;
    }
    let mut editor = Editor::start(&data_dir)?;
    let mut feed = Feed::start(data_dir, session.process);
    loop {
        if let Some(names) = session.look().await? {
            editor.offer(names);
        }
        while let Some(happening) = feed.ready() {
            if let Some(text) = session.told(&happening) {
                context.screen.raw(format!("{text}\n").as_bytes())?;
            }
        }
        editor.ask(session.shown_prompt());
        let typed = loop {
            tokio::select! {
                typed = editor.typed() => break typed,
                happening = feed.next() => {
                    if let Some(text) = session.told(&happening) {
                        editor.print_above(text);
                    }
                }
            }
        };
        let piece = match typed {
            Typed::Piece(piece) => piece,
            Typed::Nothing => continue,
            Typed::End => break,
            Typed::Broken(why) => return Err(CliError::fault(format!("the terminal cannot be read: {why}"))),
        };
        let obeyed = tokio::select! {
            obeyed = session.obey(&piece) => obeyed,
            _ = tokio::signal::ctrl_c() => {
                context.screen.remark("not waited for; what was sent stays sent");
                continue;
            }
        };
        match obeyed {
            Ok(Step::Left) => break,
            Ok(Step::Done(_)) => {}
            Err(error) if error.is_unread() => break,
            Err(error) => context.screen.error(&error),
        }
    }
    editor.end();
    Ok(())
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
    /// Whether the process shows its state here.
    reads: bool,
    /// Whether it is known whose process it is.
    knows_owner: bool,
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
            let mut info = self.try_out("Eval", Some(&bundle.text)).await?;
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
        // What was not waited for to the end is shown when it comes.
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
        let head = format!("slot {}: code {}", result.position, result.code);
        let by = if result.computed_here { "computed here" } else { "a peer's word" };
        human_outcome(&result.result, &head, Some(result.gas), by, self.context.screen)
    }

    /// Evaluates a message of this key without sending it.
    async fn try_out(&self, action: &str, data: Option<&str>) -> Result<DryRunInfo, CliError> {
        let message = DryRunBody {
            owner: self.context.signer()?.address().to_string(),
            data: data.map(str::to_owned),
            tags: vec![Tag::new("Action", action)],
            ..DryRunBody::default()
        };
        let request = Request::DryRun { process: self.process, message, slot: None };
        ask_within(self.context, "evaluating", &request, WAIT_MAX + ANSWER_WAIT).await
    }

    /// Says what one may have to know, and asks the process for its prompt.
    async fn greet(&mut self) {
        let screen = self.context.screen;
        screen.remark("`.help` shows what there is beside Lua; Ctrl-D leaves");
        // A node that does not compute it cannot say.
        match self.try_out("Eval", Some("")).await {
            Ok(info) => self.learn(&info.result),
            Err(_) => self.reads = false,
        }
    }

    /// Says whose process it is if that is not this key, once the node knows: one that it has not heard of
    /// is looked for meanwhile.
    async fn tell_owner(&mut self) -> Result<(), CliError> {
        if self.knows_owner {
            return Ok(());
        }
        let key = self.context.signer()?.address().to_string();
        let request = Request::Process { process: self.process, state_root: false };
        let Ok(detail) = ask::<ProcessDetail>(self.context, "looking it up", &request).await else {
            return Ok(());
        };
        self.knows_owner = true;
        if detail.owner != key {
            let owner = detail.owner;
            let text =
                format!("its owner is {owner}: to it, what this key types is a message like any other");
            self.context.screen.remark(&self.context.screen.paint(Colour::Yellow, &text));
        }
        Ok(())
    }

    /// Takes over the prompt of a result.
    fn learn(&mut self, result: &Value) {
        let prompt =
            ["/Output/prompt", "/Output/data/prompt"].iter().find_map(|at| result.pointer(at)?.as_str());
        if let Some(prompt) = prompt {
            // What stands in front of the cursor has one line.
            self.prompt = self.context.screen.foreign(prompt).replace('\n', " ");
        }
    }

    fn shown_prompt(&self) -> String {
        let short: String = self.process.to_string().chars().take(8).collect();
        let prompt = if self.prompt.is_empty() { format!("{short}> ") } else { self.prompt.clone() };
        if self.dry { format!("(dry run) {prompt}") } else { prompt }
    }

    /// The names of what the process keeps, where this node computes it and it shows them.
    async fn names(&mut self) -> Vec<String> {
        if !self.reads {
            return Vec::new();
        }
        let read = self.try_out(state::READ, None).await.ok();
        let text = read.as_ref().and_then(|info| info.result.pointer("/Output/data")?.as_str());
        let value: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
        let globals = value.as_ref().and_then(|value| value.get("globals")?.as_object());
        self.reads = globals.is_some();
        globals.into_iter().flatten().map(|(name, _)| name).filter(|name| is_name(name)).cloned().collect()
    }

    /// What there is to know before the next piece: whose process it is, and what it keeps. None if that takes
    /// too long, or the person does not want to wait; it is not asked again then.
    async fn look(&mut self) -> Result<Option<Vec<String>>, CliError> {
        let known = async {
            self.tell_owner().await?;
            Ok(self.names().await)
        };
        let known = tokio::select! {
            known = tokio::time::timeout(LOOK_WAIT, known) => known.ok(),
            _ = tokio::signal::ctrl_c() => None,
        };
        if known.is_none() {
            (self.reads, self.knows_owner) = (false, true);
        }
        known.transpose()
    }

    /// A happening for people, unless it is of something typed here, which was shown.
    fn told(&self, happening: &Happening) -> Option<String> {
        if let Happening::Slot(slot) = happening
            && self.own.contains(&slot.0.slot)
        {
            return None;
        }
        Some(feed::human(happening, self.context.screen))
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

/// Whether a name can be typed in Lua. A process may have any text for one, which is put into the line.
fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = name.bytes().next();
    name.len() <= NAME_BYTES_MAX
        && first.is_some_and(|first| is_part(first) && !first.is_ascii_digit())
        && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_offers_names_alone() {
        for name in ["Balances", "_x", "a1"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for hostile in
            ["", "1a", "a b", "A\x1b[2J", "A\nos.exit()", "A()", "A-b", "\u{e4}", "A\u{202e}", &long]
        {
            assert!(!is_name(hostile), "{hostile:?}");
        }
    }
}
