//! A language model in a process of real nodes: its file is an item of the log, read under `/data/`,
//! and what it says is the state's, so every node says the same.

use std::process::Command;

use weft_protocol::Tag;
use weft_testnet::aos::eval;
use weft_testnet::{Open, Trouble};
use weft_tests::skip::skip;

use crate::drive::agree;
use crate::guest::Guest;
use crate::rig::{Rig, assert_holds};

/// The model of the interop suite, which holds what it says to the reference: its weights come from
/// this seed.
const SEED: u32 = 4_904;
const TOKENS: u32 = 8;

/// The model's file, or none with the skip noted under this test's name.
fn model(test: &str) -> Option<Vec<u8>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/lib/gguf.mjs");
    let code = format!("import {{ model }} from 'file://{script}'; process.stdout.write(model({SEED}))");
    match Command::new("node").args(["--input-type=module", "--eval", &code]).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
        Err(error) => {
            skip(test, &format!("no Node to make a model with: {error}")).unwrap();
            None
        }
    }
}

#[tokio::test]
async fn a_language_model_says_the_same_on_every_node() -> Result<(), Trouble> {
    const NAME: &str = "llama::a_language_model_says_the_same_on_every_node";
    let Some((guest, model)) = Guest::llama(NAME).zip(model(NAME)) else { return Ok(()) };
    let rig = Rig::pair(guest).await;
    let (town, mut open) = (rig.town(), Open::new("llama"));
    // It begins with 1.2 GiB, of which it touches little.
    let speaker = rig.spawn("speaker", 0, &[0, 1], &[Tag::new("Memory-Limit", "4-gb")]).await?;
    let bytes = model.len();
    open.that("the model", "some hundred kilobytes", bytes, (100_000..1_000_000).contains(&bytes));
    let kept = town.submit(&rig.user.message(speaker.id, "Model", Vec::new(), model)?).await?;
    let load = format!("Llama = require('llama') return Llama.load('/data/{}')", kept.id);
    let said = eval(&town, &speaker, &load, &mut open).await?;
    open.equal("loading the model", "0", said.as_str());
    let run = format!("Llama.set_prompt('the tea is') return Llama.run({TOKENS})");
    let first = eval(&town, &speaker, &run, &mut open).await?;
    open.that("what it says", "some text", &first, !first.is_empty());
    let other = run.replace("the tea is", "once upon");
    let other = eval(&town, &speaker, &other, &mut open).await?;
    open.that("what it says to another prompt", "another text", &other, other != first);
    let last = town.send(&speaker, "Eval", Vec::new(), "return Llama.next()").await?;
    agree(&town, &speaker, last.slot, &mut open).await?;
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}
