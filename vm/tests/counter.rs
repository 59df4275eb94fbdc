//! The built-in guest through the public API: what it answers, and that a failed message leaves
//! no trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, Module, Outcome, Trap, VmError, guests};

const LIMITS: Limits = Limits { gas: 5_000_000_000, memory_bytes: 1 << 30 };
const ENV: &[u8] = br#"{"Process":{"Id":"p"}}"#;

fn module() -> Module {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    engine.compile(guests::COUNTER, Format::Plain).unwrap()
}

fn message(action: &str) -> String {
    format!(
        r#"{{"Id":"m","Data":"","Tags":[{{"name":"X","value":"y"}},{{"name":"Action","value":"{action}"}}]}}"#
    )
}

fn returned(instance: &mut Instance, message: &str) -> String {
    match instance.evaluate(message.as_bytes(), ENV).unwrap().outcome {
        Outcome::Returned(text) => String::from_utf8(text).unwrap(),
        Outcome::Trapped(trap) => panic!("{trap} for {message}"),
    }
}

/// The Output of a message that is kept.
fn output(instance: &mut Instance, action: &str) -> String {
    let text = returned(instance, &message(action));
    instance.keep().unwrap();
    let (_, rest) = text.split_once(r#""Output":""#).expect("an Output");
    rest.split_once('"').unwrap().0.to_owned()
}

#[test]
fn it_counts_and_answers() {
    let mut instance = module().instantiate(LIMITS).unwrap();
    assert_eq!(
        returned(&mut instance, &message("Increment")),
        r#"{"ok":true,"response":{"Output":"1","Messages":[],"Spawns":[],"Assignments":[]}}"#
    );
    instance.keep().unwrap();
    for expected in 2..=12 {
        assert_eq!(output(&mut instance, "Increment"), expected.to_string());
    }
    assert_eq!(output(&mut instance, "Anything"), "12");
    let without_tags = returned(&mut instance, r#"{"Data":"{\"name\":\"Action\",\"value\":\"Increment\"}"}"#);
    assert!(without_tags.contains(r#""Output":"12""#), "{without_tags}");
    instance.roll_back().unwrap();
}

#[test]
fn it_relays_to_the_process_it_is_told() {
    let mut instance = module().instantiate(LIMITS).unwrap();
    let to = "b".repeat(43);
    for number in 1..=2 {
        let text = returned(
            &mut instance,
            &format!(r#"{{"Tags":[{{"name":"Action","value":"Relay"}},{{"name":"To","value":"{to}"}}]}}"#),
        );
        instance.keep().unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"ok":true,"response":{{"Output":"0","Messages":[{{"Target":"{to}","Data":"","Anchor":"{number:032}","Tags":[{{"name":"Action","value":"Increment"}}]}}],"Spawns":[],"Assignments":[]}}}}"#
            )
        );
    }
}

#[test]
fn it_spawns_what_it_is_told_and_greets_what_came_of_it() {
    let mut instance = module().instantiate(LIMITS).unwrap();
    let spawn = r#"{"Tags":[{"name":"Child-Action","value":"Spawn"},{"name":"Action","value":"Spawn"},
        {"name":"Module","value":"M"},{"name":"Compute","value":"A,B"},{"name":"Compute-Quorum","value":"2"}]}"#;
    let text = returned(&mut instance, spawn);
    instance.keep().unwrap();
    let tags = r#"[{"name":"Module","value":"M"},{"name":"Compute","value":"A,B"},{"name":"Compute-Quorum","value":"2"},{"name":"Action","value":"Spawn"},{"name":"App-Name","value":"counter"}]"#;
    assert_eq!(
        text,
        format!(
            r#"{{"ok":true,"response":{{"Output":"0","Messages":[],"Spawns":[{{"Data":"","Anchor":"{:032}","Tags":{tags}}}],"Assignments":[]}}}}"#,
            1
        )
    );
    let spawned = r#"{"Tags":[{"name":"Process","value":"child"},{"name":"Action","value":"Spawned"}]}"#;
    let text = returned(&mut instance, spawned);
    instance.keep().unwrap();
    assert!(text.contains(r#""Messages":[{"Target":"child","Data":"","#), "{text}");

    // A child begins with its parent, and may have children at once.
    let parent = r#"{"name":"Type","value":"Process"},{"name":"From-Process","value":"parent"}"#;
    for (action, spawns) in [("", false), (r#"{"name":"Action","value":"Spawn"},"#, true)] {
        let text = returned(&mut instance, &format!(r#"{{"Tags":[{action}{parent}]}}"#));
        instance.keep().unwrap();
        assert!(text.contains(r#""Target":"parent""#), "{text}");
        assert_eq!(text.contains(r#""Spawns":[{"#), spawns, "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    }
}

#[test]
fn failing_leaves_no_trace() {
    let mut instance = module().instantiate(LIMITS).unwrap();
    output(&mut instance, "Increment");
    let before = instance.memory_image().unwrap();
    let text = returned(&mut instance, &message("Fail"));
    assert_eq!(text, r#"{"ok":false,"response":"counter: failed as asked"}"#);
    instance.roll_back().unwrap();
    assert!(instance.memory_image().unwrap() == before);

    let evaluation = instance.evaluate(message("Loop").as_bytes(), ENV).unwrap();
    assert_eq!(evaluation.outcome, Outcome::Trapped(Trap::OutOfGas));
    assert_eq!(evaluation.gas, LIMITS.gas);
    instance.roll_back().unwrap();
    assert!(instance.memory_image().unwrap() == before);
    assert_eq!(output(&mut instance, "Increment"), "2");
}

#[test]
fn rolling_back_replays_what_was_kept() {
    // More messages than one snapshot covers, with a failure at odd places.
    let mut instance = module().instantiate(LIMITS).unwrap();
    let mut other = module().instantiate(LIMITS).unwrap();
    for number in 1..=600u32 {
        assert_eq!(output(&mut instance, "Increment"), number.to_string());
        assert_eq!(output(&mut other, "Increment"), number.to_string());
        if number % 97 == 0 {
            returned(&mut instance, &message("Fail"));
            instance.roll_back().unwrap();
        }
    }
    assert!(instance.memory_image().unwrap() == other.memory_image().unwrap());
}

#[test]
fn a_restored_instance_goes_on_like_the_first() {
    let module = module();
    let mut live = module.instantiate(LIMITS).unwrap();
    let large = format!(r#"{{"Data":"{}"}}"#, "x".repeat(300_000));
    returned(&mut live, &large);
    live.keep().unwrap();
    output(&mut live, "Increment");
    let image = live.memory_image().unwrap();
    assert!(image.byte_len() > 65_536, "the large message grew the memory");
    let mut restored = module.restore(&image, LIMITS).unwrap();
    for expected in ["2", "3"] {
        assert_eq!(output(&mut live, "Increment"), expected);
        assert_eq!(output(&mut restored, "Increment"), expected);
    }
    assert!(live.memory_image().unwrap() == restored.memory_image().unwrap());
}

#[test]
fn settling_is_exactly_once() {
    let mut instance = module().instantiate(LIMITS).unwrap();
    assert!(instance.keep().is_err());
    assert!(instance.roll_back().is_err());
    instance.evaluate(message("Increment").as_bytes(), ENV).unwrap();
    assert!(instance.evaluate(b"{}", ENV).is_err());
    assert!(instance.memory_image().is_err());
    instance.keep().unwrap();
    assert!(instance.keep().is_err());
    instance.evaluate(message("Loop").as_bytes(), ENV).unwrap();
    assert!(instance.keep().is_err(), "a message that trapped cannot be kept");
    instance.roll_back().unwrap();
    assert_eq!(output(&mut instance, "Anything"), "1");
}

#[test]
fn memory_limits_are_refusals() {
    let module = module();
    let limits = Limits { memory_bytes: 65_535, ..LIMITS };
    assert!(matches!(
        module.instantiate(limits),
        Err(VmError::MemoryLimit { initial: 65_536, limit: 65_535 })
    ));
    let image = module.instantiate(LIMITS).unwrap().memory_image().unwrap();
    assert!(matches!(module.restore(&image, limits), Err(VmError::MemoryLimit { .. })));
    let small = weft_vm::MemoryImage::from_leaves::<&[u8]>(0, []).unwrap();
    assert!(matches!(module.restore(&small, LIMITS), Err(VmError::ImageMismatch { .. })));

    // A message that does not fit: the guest gives up.
    let mut instance = module.instantiate(Limits { memory_bytes: 65_536, ..LIMITS }).unwrap();
    let large = format!(r#"{{"Data":"{}"}}"#, "x".repeat(100_000));
    let evaluation = instance.evaluate(large.as_bytes(), ENV).unwrap();
    assert_eq!(evaluation.outcome, Outcome::Trapped(Trap::OutOfMemory));
    instance.roll_back().unwrap();
    assert_eq!(output(&mut instance, "Increment"), "1");
}

#[test]
fn formats_are_known_by_name() {
    for name in Format::NAMES {
        assert_eq!(Format::parse(name).unwrap().name(), name);
    }
    let text = Format::parse("wasm32-unknown-emscripten5").unwrap_err().to_string();
    assert!(text.contains("\"wasm32-unknown-emscripten5\"") && text.contains("wasm32-weft-plain"), "{text}");
}
