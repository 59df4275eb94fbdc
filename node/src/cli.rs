//! The command line: `weft`.
//!
//! Commands that need a node talk to it over the socket in its data folder; the rest work on
//! files alone. Whatever is signed is signed here, with the key in the data folder: the node is
//! given raw items. Answers go to standard output, everything else to standard error, and each
//! ending has its exit code.

mod anchor;
mod args;
mod backup;
mod bundle;
mod carry;
mod checkpoint;
mod completions;
mod compose;
mod configure;
mod console;
mod disk;
mod dry_run;
mod eval;
mod exit;
mod files;
mod fold;
mod inspect;
mod item;
mod key;
mod market;
mod messages;
mod module;
mod net;
mod network;
mod pending;
mod process;
mod quiet;
mod repair;
mod results;
mod screen;
mod state;
mod status;
mod talk;
mod top;
mod tx;
mod up;
mod watch;

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;
use weft_protocol::crypto::Signer;

use crate::config::Inputs;
use crate::control::client::Client;
use crate::keyring;

use args::{Cli, Command, Global, ItemCommand, ModuleCommand};
use exit::{CliError, Exit};
use net::NetCommand;
use screen::Screen;
use talk::online;

/// Not a command for people: a node starts its own program with this as first argument to compile a module in a process of
/// its own. A program that runs [`run`] for some of its arguments has to do so for this one.
pub const COMPILE: &str = "compile-guarded-module";

/// Runs one command line, `args` with the program's name first, and says how the process ends.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let [_, first, limits @ ..] = &*args
        && first == COMPILE
    {
        return weft_vm::compile_alone(limits);
    }
    let cli = args::command().try_get_matches_from(&args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => return misread(&error, &args).into(),
    };
    let screen = Screen::new(&cli.global);
    let context = Context { global: cli.global, screen };
    if screen.is_json() {
        // The default hook writes lines that are no JSON.
        std::panic::set_hook(Box::new(move |panic| {
            screen.error(&CliError::fault(format!("a bug: {panic}")));
        }));
    }
    // The panic itself was reported by the hook; what is left is to end with the right code.
    let run = std::panic::catch_unwind(AssertUnwindSafe(|| dispatch(cli.command, context)));
    match run.unwrap_or_else(|_| Err(CliError::fault(""))) {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !error.text.is_empty() {
                screen.error(&error);
            }
            error.exit.into()
        }
    }
}

/// Help and version are answers; anything else that clap says is an error in the arguments.
fn misread(error: &clap::Error, args: &[OsString]) -> Exit {
    let is_json = args.iter().any(|arg| arg == "--json");
    match error.kind() {
        ErrorKind::DisplayVersion => {
            // Nobody can be told that standard output is closed.
            let _ = error.print();
            Exit::Ok
        }
        ErrorKind::DisplayHelp => {
            screen::help(&error.render(), std::io::stdout());
            Exit::Ok
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !is_json => {
            screen::help(&error.render(), std::io::stderr());
            Exit::Input
        }
        _ if is_json => {
            let screen = Screen::new(&Global { data_dir: None, json: true, quiet: false });
            let text = error.to_string();
            screen.error(&CliError::input(text.trim().trim_start_matches("error: ")));
            Exit::Input
        }
        _ => {
            let _ = error.print();
            Exit::Input
        }
    }
}

/// What every command needs.
struct Context {
    global: Global,
    screen: Screen,
}

impl Context {
    fn inputs(&self) -> Inputs {
        Inputs::from_process(self.global.data_dir.clone())
    }

    fn data_dir(&self) -> Result<PathBuf, CliError> {
        Ok(self.inputs().data_dir()?.0)
    }

    /// The key that this folder's node signs with.
    fn signer(&self) -> Result<Signer, CliError> {
        Ok(keyring::load(&self.data_dir()?)?.signer)
    }

    async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::connect(&self.data_dir()?).await?)
    }
}

fn dispatch(command: Command, context: Context) -> Result<Exit, CliError> {
    let (context, screen) = (&context, context.screen);
    match command {
        Command::Up(up) => up::run(&up, context),
        Command::Key { command } => key::run(command, context),
        Command::Config { command } => configure::run(command, context),
        Command::Completions { shell } => completions::run(shell),
        Command::Man => completions::man(),
        Command::Repair(of) => repair::run(&of, context),
        Command::Item(ItemCommand::Verify { file }) => item::verify(&file, screen),
        Command::Item(ItemCommand::Sign { key, target, anchor, output, data, tags }) => {
            item::sign(item::Signing { key, target, anchor, output, data, tags }, context)
        }
        Command::Bundle(command) => bundle::run(command, screen),
        Command::Eval(of) => {
            up::forget_backtraces();
            eval::run(of, screen)
        }
        Command::Tx(command) => tx::run(command, screen),
        Command::Module(ModuleCommand::Add { file, format, memory_limit, compute_limit, tags }) => {
            let new = module::New { file, format, memory_limit, compute_limit, tags: tags.tags };
            online(module::add(new, context))
        }
        Command::Module(ModuleCommand::List) => online(module::list(context)),
        Command::Spawn(spawn) => online(process::spawn(spawn, context)),
        Command::Send(send) => online(process::send(send, context)),
        Command::Console(of) => online(console::run(of, context)),
        Command::Assign(assign) => online(process::assign(assign, context)),
        Command::Result(of) => online(process::result(of, context)),
        Command::Messages(of) => online(messages::run(of, context)),
        Command::Results(of) => online(results::run(*of, context)),
        Command::State(of) => online(state::run(of, context)),
        Command::DryRun(of) => online(dry_run::run(*of, context)),
        Command::Host(host) => online(process::host(host, context)),
        Command::Unhost(unhost) => online(process::unhost(unhost, context)),
        Command::Carry(command) => online(carry::run(command, context)),
        Command::Cron(cron) => online(process::cron(cron, context)),
        Command::Pin(pin) => online(process::pin(pin, context)),
        Command::Status => online(status::status(context)),
        Command::Processes => online(status::processes(context)),
        Command::Pending { process } => online(pending::list(process, context)),
        Command::Peers => online(net::peers(context)),
        Command::Providers { process } => online(net::providers(process, context)),
        Command::Net(NetCommand::Doctor) => online(net::doctor(context)),
        Command::Market { command } => online(market::run(command, context)),
        Command::Network(command) => network::run(command, context),
        Command::Top(args) => online(top::run(args, context)),
        Command::Metrics => online(status::metrics(context)),
        Command::Anchor { command } => online(anchor::run(command, context)),
        Command::Weave => online(status::weave(context)),
        Command::Inspect(of) => online(inspect::inspect(of, context)),
        Command::Checkpoint(of) => online(checkpoint::run(of, context)),
        Command::Backup { folder, with_key } => online(backup::backup(&folder, with_key, context)),
        Command::Restore { folder } => backup::restore(&folder, context),
        Command::Export(of) => online(disk::export(of, context)),
        Command::Import { file } => online(disk::import(&file, context)),
        Command::Recover(of) => online(disk::recover(of, context)),
        Command::Prune(of) => online(disk::prune(of, context)),
        Command::Stop => online(status::stop(context)),
        Command::Watch(of) => online(watch::watch(of, context)),
        Command::Verify(of) => online(watch::verify(of, context)),
    }
}
