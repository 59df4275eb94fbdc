//! Evaluates messages with a module alone:
//!
//! `cargo run -p weft-vm --example evaluate -- MODULE.wasm MODULE-FORMAT ENV.json < MESSAGES.jsonl`
//!
//! Prints what the module returned for each line, or `{"trap":".."}`. A message that trapped is
//! rolled back, and so is one whose result has `"ok":false`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{self, BufRead};

use weft_vm::{Engine, EngineConfig, Format, Limits, Outcome, spawn_guest_thread};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let work = || run().map_err(|error| error.to_string());
    match spawn_guest_thread("evaluate", work)?.join() {
        Ok(result) => Ok(result?),
        Err(_) => Err("the evaluation panicked".into()),
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, format, environment] = arguments.as_slice() else {
        return Err("usage: evaluate MODULE.wasm MODULE-FORMAT ENV.json < MESSAGES.jsonl".into());
    };
    let environment = std::fs::read(environment)?;
    let engine = Engine::new(EngineConfig::default())?;
    let module = engine.compile(&std::fs::read(module)?, Format::parse(format)?)?;
    let mut instance = module.instantiate(Limits { gas: 9_000_000_000_000, memory_bytes: 1 << 30 })?;
    for line in io::stdin().lock().lines() {
        let evaluation = instance.evaluate(line?.as_bytes(), environment.trim_ascii())?;
        match evaluation.outcome {
            Outcome::Returned(text) => {
                println!("{}", String::from_utf8_lossy(&text));
                if text.starts_with(br#"{"ok":false"#) { instance.roll_back()? } else { instance.keep()? }
            }
            Outcome::Trapped(trap) => {
                println!(r#"{{"trap":"{trap}"}}"#);
                instance.roll_back()?;
            }
        }
    }
    Ok(())
}
