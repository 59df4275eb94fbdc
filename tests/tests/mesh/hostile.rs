//! Processes that mean harm on a real node, beside an honest one that keeps answering. What each
//! module comes to is told in full by the suite of the engine (`vm/tests/hostile`); here the node
//! is what must hold.

use weft_node::config::Evaluate;
use weft_node::control::api::{ProcessInfo, Request};
use weft_protocol::Tag;
use weft_protocol::outcome::Code;
use weft_testnet::{Actor, AskError, Cast, Look, Open, PATIENCE, Trouble, until};

use crate::guest::Guest;
use crate::rig::{Rig, assert_holds};

/// All is done by the first; a node alone is no network.
const ROLES: [&str; 2] = ["scheduler,compute,messenger", "anchor"];
const PLAIN: &str = "wasm32-weft-plain";
const EMSCRIPTEN: &str = "wasm32-unknown-emscripten4";

/// A plain module with this `handle`, and these parts.
fn plain(parts: &str, handle: &str) -> Vec<u8> {
    let (imports, parts) = parts.split_once("---").unwrap_or(("", parts));
    wat::parse_str(format!(
        "(module {imports} (memory (export \"memory\") 1) {parts}
           (func (export \"alloc\") (param i32) (result i32) (i32.const 1024))
           (func (export \"handle\") (param i32 i32 i32 i32) (result i64) {handle}))"
    ))
    .unwrap()
}

/// A module of today's emscripten whose stack gives this address to whoever asks for room.
fn stack(room: &str, parts: &str) -> Vec<u8> {
    wat::parse_str(format!(
        "(module (memory (export \"memory\") 1 64) {parts}
           (func (export \"stackSave\") (result i32) (i32.const 65536))
           (func (export \"stackRestore\") (param i32))
           (func (export \"stackAlloc\") (param i32) (result i32) {room})
           (func (export \"handle\") (param i32 i32) (result i32) (i32.const 0)))"
    ))
    .unwrap()
}

/// Modules that are taken, and the code that every message to them gets.
fn taken() -> Vec<(&'static str, &'static str, Vec<u8>, Code)> {
    const RECURSE: &str = "(func $r (result i32) (i32.add (i32.const 1) (call $r)))";
    const EAT: &str = "(loop $l (br_if $l (i32.ne (i32.const -1) (memory.grow (i32.const 1)))))
        (memory.fill (i32.const 0) (i32.const 7) (i32.shl (memory.size) (i32.const 16))) (unreachable)";
    const STORM: &str = "(import \"weft\" \"sha256\" (func $f (param i32 i32 i32))) ---";
    vec![
        ("loop", PLAIN, plain("", "(loop $l (br $l)) (i64.const 0)"), Code::OutOfGas),
        ("depth", PLAIN, plain(RECURSE, "(i64.extend_i32_u (call $r))"), Code::Depth),
        ("memory", PLAIN, plain("", EAT), Code::OutOfMemory),
        ("trap", PLAIN, plain("", "(unreachable)"), Code::Trap),
        ("nowhere", PLAIN, plain("", "(i64.const -1)"), Code::Malformed),
        ("no JSON", PLAIN, plain("", "(i64.const 9)"), Code::Malformed),
        (
            "storm",
            PLAIN,
            plain(
                STORM,
                "(loop $l (call $f (i32.const 0) (i32.const 65536) (i32.const 0)) (br $l)) (i64.const 0)",
            ),
            Code::OutOfGas,
        ),
        ("stack", EMSCRIPTEN, stack("(i32.const -1)", ""), Code::Trap),
    ]
}

#[tokio::test]
async fn hostile_processes_harm_nobody_but_themselves() -> Result<(), Trouble> {
    let rig = Rig::start(Guest::Counter, &ROLES, 2_000).await;
    let (town, mut open) = (rig.town(), Open::new("hostile"));
    let honest = rig.spawn("honest", 0, &[0], &[]).await?;
    let mut hostile: Vec<(Actor, Code)> = Vec::new();
    for (name, format, wasm, code) in taken() {
        let module = town.publish(&wasm, format, &[]).await?.module;
        // A floor holds for formats whose limit the reference ignores.
        let tags = [Tag::new("Compute-Limit", "2000000000"), Tag::new("Memory-Limit", "16-mb")];
        let cast =
            Cast { name, module, scheduler: 0, attestors: &[], quorum: 1, computing: &[0], tags: &tags };
        hostile.push((rig.cast(cast).await?, code));
    }
    for round in 1..=3_u64 {
        // All at once, before anybody looks at what became of them.
        let mut sent = Vec::new();
        for (actor, code) in &hostile {
            sent.push((actor, code, town.send(actor, "Harm", Vec::new(), "").await?.slot));
        }
        let asked = town.send(&honest, "Increment", Vec::new(), "").await?;
        let result = town.result(&honest, 0, asked.slot).await?;
        let said = result.result.get("Output").and_then(|output| output.as_str()).unwrap_or_default();
        open.equal("what the honest process counts", round.to_string().as_str(), said);
        for (actor, code, slot) in sent {
            let result = town.result(actor, 0, slot).await?;
            open.equal(format!("the code of slot {slot} of {}", actor.name), &code.number(), &result.code);
            let sends = result.result.get("Messages").and_then(|list| list.as_array()).map_or(0, Vec::len);
            open.equal(format!("what {} sends", actor.name), &0, &sends);
        }
    }
    for (actor, _) in &hostile {
        let info = town.detail(actor, 0, true).await?.info;
        open.same(format!("what stopped {}", actor.name), &(None, None), &(info.fault, info.waits));
    }
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}

#[tokio::test]
async fn modules_that_are_none_are_refused_and_the_node_goes_on() -> Result<(), Trouble> {
    let rig = Rig::start(Guest::Counter, &ROLES, 2_000).await;
    let (town, mut open) = (rig.town(), Open::new("refused"));
    let honest = rig.spawn("honest", 0, &[0], &[]).await?;
    let ctors =
        |body: &str| stack("(i32.const 64)", &format!("(func (export \"__wasm_call_ctors\") {body})"));
    let refused: Vec<(&str, Vec<u8>, &str)> = vec![
        (PLAIN, b"\0asm".to_vec(), "not valid"),
        (PLAIN, plain("(func $s) (start $s)", "(i64.const 0)"), "a start section"),
        (PLAIN, plain("(data (i32.const 65536) \"x\")", "(i64.const 0)"), "initialisation failed: trap"),
        (PLAIN, plain("(import \"weft\" \"clock\" (func)) ---", "(i64.const 0)"), "imports weft.clock"),
        (EMSCRIPTEN, ctors("(loop $l (br $l))"), "initialisation failed: out of gas"),
        (EMSCRIPTEN, ctors("(param i64)"), "lacks the export __wasm_call_ctors"),
        ("wasm128", plain("", "(i64.const 0)"), "wasm128"),
    ];
    for (format, wasm, why) in refused {
        let said =
            town.publish(&wasm, format, &[]).await.map(|info| info.module).map_err(|error| error.to_string());
        let named = said.as_ref().is_err_and(|said| said.contains(why));
        open.that(format!("what is said of {why}"), "a refusal by name", format!("{said:?}"), named);
        let ran = town.send(&honest, "Increment", Vec::new(), "").await?;
        open.equal("that it goes on", &0, &town.result(&honest, 0, ran.slot).await?.code);
    }
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}

/// A function that holds more than the native stack has room for, as deep as it may call itself.
#[tokio::test]
async fn what_a_machine_cannot_hold_stops_there_with_its_reason_and_stops_nobody_else() -> Result<(), Trouble>
{
    let rig = Rig::start(Guest::Counter, &["scheduler,compute,messenger", "compute"], 2_000).await;
    let (town, mut open) = (rig.town(), Open::new("outgrown"));
    let honest = rig.spawn("honest", 0, &[0], &[]).await?;
    let terms: String =
        (0..1_200).map(|k| format!("(i64.mul (local.get 0) (i64.const {})) i64.xor ", 2 * k + 3)).collect();
    let deep = format!(
        "(func $f (param i64) (result i64)
           (i64.const 0) {terms} (call $f (i64.add (local.get 0) (i64.const 1))) {terms} i64.add)"
    );
    // Only a long message calls it.
    let harm = "(if (result i64) (i32.gt_u (local.get 1) (i32.const 8192))
        (then (call $f (i64.extend_i32_u (local.get 0)))) (else (i64.const -1)))";
    let module = town.publish(&plain(&deep, harm), PLAIN, &[]).await?.module;
    let cast =
        Cast { name: "deep", module, scheduler: 0, attestors: &[], quorum: 1, computing: &[0], tags: &[] };
    let deep = rig.cast(cast).await?;
    let before = town.send(&deep, "Before", Vec::new(), "").await?.slot;
    let sent = town.send(&deep, "Harm", Vec::new(), &"harm".repeat(4_096)).await?.slot;
    let said = town.result(&deep, 0, sent).await.map(|result| result.code).map_err(|error| error.to_string());
    let named = said.as_ref().is_err_and(|said| said.contains("native stack"));
    open.that("what is said of its message", "why it is stopped", format!("{said:?}"), named);
    let info = town.detail(&deep, 0, true).await?.info;
    open.that("that it is not tried again", "a fault", format!("{info:?}"), info.fault.is_some());
    // Whoever asks for what is done already is not told that nothing is wrong.
    town.host_on(&deep, 0, true, &mut open).await?;
    let again = town.detail(&deep, 0, true).await?.info;
    open.same("what stopped it", &info.fault, &again.fault);
    // Elsewhere all are there, and due at once, when the first is evaluated: those before it keep their outcomes.
    let request =
        Request::Host { process: deep.id, compute: true, messenger: false, evaluate: Some(Evaluate::Lazy) };
    let _: ProcessInfo = town.insist(1, "to host a process", &request).await?;
    let look = async || match town.detail(&deep, 1, false).await?.info.head {
        Some(head) if head == sent => Ok(Look::There(())),
        head => Ok::<_, AskError>(Look::NotYet(format!("{head:?}"))),
    };
    until("its log", PATIENCE, look).await?;
    let said = town.result(&deep, 1, sent).await.map(|result| result.code).map_err(|error| error.to_string());
    let named = said.as_ref().is_err_and(|said| said.contains("native stack"));
    open.that("what is said there", "why it is stopped", format!("{said:?}"), named);
    let result = town.result(&deep, 1, before).await?;
    open.equal("the message before it", &Code::Malformed.number(), &result.code);
    open.equal("that it was computed there", &true, &result.computed_here);
    let ran = town.send(&honest, "Increment", Vec::new(), "").await?;
    open.equal("that the other goes on", &0, &town.result(&honest, 0, ran.slot).await?.code);
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}
