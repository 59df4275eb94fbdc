//! `weft eval`: a module alone, without a node.
//!
//! Every line of the messages goes to the module as it stands, with the environment as it stands
//! beside it; one line comes out for each. Memory is kept or rolled back as a node would.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use weft_protocol::Position;
use weft_protocol::module::{parse_compute_limit, parse_memory_limit};
use weft_protocol::outcome::{Code, Outcome};
use weft_vm::{
    Engine, EngineConfig, Format, Instance, Limits, ModuleError, Opened, VmError, Weave, spawn_guest_thread,
};

use super::exit::{CliError, Exit};
use super::files;
use super::module::wasm;
use super::screen::{Screen, Sign};
use crate::compute::code_of;

/// Bytes of a message or environment: no item can make a longer one.
const ARGUMENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of an item that a module may read: a model of four thousand million parameters.
const OFFER_BYTES_MAX: u64 = 4 << 30;

#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// The .wasm file
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// Its Module-Format
    #[arg(long, value_name = "MODULE-FORMAT")]
    format: String,
    /// A file with the environment, passed to the module unchanged
    #[arg(long, value_name = "FILE")]
    env: PathBuf,
    /// A file of messages, one JSON value per line, passed to the module unchanged; `-` reads standard input
    messages: PathBuf,
    /// Gas limit of one message
    #[arg(long, default_value = "9000000000000", value_name = "GAS")]
    compute_limit: String,
    /// Memory limit of the module, such as 500-mb
    #[arg(long, default_value = "1-gb", value_name = "SIZE")]
    memory_limit: String,
    /// An item that the module may read as /data/ID; may repeat
    #[arg(long = "data", value_name = "ID=FILE", value_parser = offer)]
    offers: Vec<Offer>,
    /// For every message print time, gas and the reference's GasUsed on standard error; at the end,
    /// the size of the memory and the root of its tree
    #[arg(long)]
    stats: bool,
}

/// An item by its id, and the file with its data.
#[derive(Debug, Clone)]
struct Offer {
    id: String,
    file: PathBuf,
}

fn offer(text: &str) -> Result<Offer, String> {
    match text.split_once('=') {
        Some((id, file)) if !id.is_empty() && !file.is_empty() => {
            Ok(Offer { id: id.to_owned(), file: file.into() })
        }
        _ => Err("not ID=FILE".to_owned()),
    }
}

/// The data of items, by their ids.
#[derive(Debug)]
struct Offered(BTreeMap<String, Arc<[u8]>>);

impl Weave for Offered {
    fn open(&self, id: &str) -> Opened {
        self.0.get(id).map_or(Opened::NotFound, |data| Opened::Item(Arc::clone(data)))
    }
}

/// What one message came to.
struct Done {
    line: Vec<u8>,
    code: Code,
    gas: u64,
    gas_used: u64,
    took: Duration,
}

pub(super) fn run(eval: Eval, screen: Screen) -> Result<Exit, CliError> {
    let format =
        Format::parse(&eval.format).map_err(|error| CliError::input(format!("--format: {error}")))?;
    let refused = |error: weft_protocol::process::Refusal| CliError::input(error.to_string());
    let limits = Limits {
        gas: parse_compute_limit(&eval.compute_limit).map_err(refused)?,
        memory_bytes: parse_memory_limit(&eval.memory_limit).map_err(refused)?,
    };
    let wasm = wasm(&eval.module)?;
    let env = files::read(&eval.env, ARGUMENT_BYTES_MAX)?;
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&env) {
        let name = files::shown(&eval.env);
        return Err(CliError::input(format!("--env: {name} is not JSON: {error}")));
    }
    let mut offered = BTreeMap::new();
    for Offer { id, file } in &eval.offers {
        offered.insert(id.clone(), files::read(file, OFFER_BYTES_MAX)?.into());
    }
    let messages = open(&eval.messages)?;
    let started = Instant::now();
    let mut instance = screen.busy("compiling the module", || start(&wasm, format, limits, &eval.module))?;
    if eval.stats {
        say(screen, &json!({ "start_us": micros(started.elapsed()) }), || {
            format!("compiled and initialised in {:.1} ms", millis(started.elapsed()))
        });
    }
    instance.offer(Arc::new(Offered(offered)));
    // All of it on one guest thread: borrowing one for each message costs a tenth of a message.
    let evaluating = spawn_guest_thread("weft-eval", move || {
        screen.busy_with_many(|sign| evaluate_all(instance, &env, messages, &eval, screen, sign))
    });
    let evaluating = evaluating.map_err(|error| CliError::fault(format!("no thread to run on: {error}")))?;
    evaluating.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, CliError> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path);
    let file = file.map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
    Ok(Box::new(BufReader::new(file)))
}

fn start(wasm: &[u8], format: Format, limits: Limits, path: &Path) -> Result<Instance, CliError> {
    let engine = Engine::new(EngineConfig::default()).map_err(|error| CliError::fault(error.to_string()))?;
    let name = files::shown(path);
    let module = engine.compile(wasm, format).map_err(|error| match error {
        ModuleError::Host(fault) => CliError::fault(fault.to_string()),
        refused => CliError::input(format!("{name}: {refused}")),
    })?;
    module.instantiate(limits).map_err(|error| match error {
        VmError::MemoryLimit { .. } => CliError::input(format!("--memory-limit: {error}")),
        other => CliError::fault(other.to_string()),
    })
}

fn evaluate_all(
    mut instance: Instance,
    env: &[u8],
    mut messages: impl BufRead,
    eval: &Eval,
    screen: Screen,
    sign: &Sign,
) -> Result<Exit, CliError> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let name = files::shown(&eval.messages);
        let mut limited = (&mut messages).take(ARGUMENT_BYTES_MAX + 1);
        let read = limited.read_until(b'\n', &mut line);
        if read.map_err(|error| CliError::input(format!("cannot read {name}: {error}")))? == 0 {
            break;
        }
        if line.len() as u64 > ARGUMENT_BYTES_MAX {
            let text = format!("{name}, line {number}: more than {ARGUMENT_BYTES_MAX} bytes");
            return Err(CliError::input(text));
        }
        let message = line.strip_suffix(b"\n").unwrap_or(&line);
        if message.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let what = || format!("evaluating line {number}");
        let done = sign.during(what, || evaluate(&mut instance, message, env, number))?;
        screen.raw(&done.line)?;
        if eval.stats {
            tell(screen, number, &done);
        }
    }
    if eval.stats {
        tell_memory(screen, &mut instance)?;
    }
    Ok(Exit::Ok)
}

fn evaluate(instance: &mut Instance, message: &[u8], env: &[u8], number: u64) -> Result<Done, CliError> {
    let fault = |error: weft_vm::HostFault| CliError::fault(format!("line {number}: {error}"));
    let started = Instant::now();
    let evaluation = instance.evaluate(message, env).map_err(fault)?;
    let (mut line, code) = match evaluation.outcome {
        weft_vm::Outcome::Returned(bytes) => {
            // The root only names outbox entries; it has no part in what is kept.
            let code = Outcome::of_result(Position::slot(number), &bytes, None).code;
            (one_line(bytes), code)
        }
        weft_vm::Outcome::Trapped(trap) => {
            let code = code_of(trap);
            let text = code.text().unwrap_or_else(|| trap.text());
            (json!({ "trap": text }).to_string().into_bytes(), code)
        }
    };
    if code.keeps_memory() { instance.keep() } else { instance.roll_back() }.map_err(fault)?;
    line.push(b'\n');
    let (gas, gas_used) = (evaluation.gas, evaluation.gas_used);
    Ok(Done { line, code, gas, gas_used, took: started.elapsed() })
}

/// What a module returned, as one line: in JSON a line break can only stand where a space can.
fn one_line(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in &mut bytes {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    bytes
}

fn tell(screen: Screen, number: u64, done: &Done) {
    let Done { code, gas, gas_used, took, .. } = done;
    let stats = json!({
        "line": number,
        "us": micros(*took),
        "gas": gas,
        "gas_used": gas_used,
        "code": code.number(),
    });
    say(screen, &stats, || {
        let took = millis(*took);
        format!("line {number}: {took:.3} ms, gas {gas}, GasUsed {gas_used}, code {}", code.number())
    });
}

/// What a state root commits to of a memory (RULES.md 6.7).
fn tell_memory(screen: Screen, instance: &mut Instance) -> Result<(), CliError> {
    let image = instance.memory_image().map_err(|error| CliError::fault(error.to_string()))?;
    let (bytes, root) = (image.byte_len(), image.root().to_string());
    say(screen, &json!({ "memory_bytes": bytes, "memory_root": root }), || {
        format!("{bytes} bytes of memory, root {root}")
    });
    Ok(())
}

/// Statistics go to standard error, as a line of JSON or of text.
fn say(screen: Screen, stats: &serde_json::Value, human: impl FnOnce() -> String) {
    let text = if screen.is_json() { stats.to_string() } else { human() };
    // There is nowhere to report that standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
