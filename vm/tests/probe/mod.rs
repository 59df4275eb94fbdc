//! The guests of `probe.wat`, one for each generation of the formats, and what they are asked.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use weft_vm::Format;

const TEMPLATE: &str = include_str!("probe.wat");
const IMPORTS: &str = include_str!("imports.json");

/// The generations by their names in `imports.json`, with their bytes.
pub const PROBES: [(&str, &[u8]); 5] = [
    ("emscripten1", include_bytes!("emscripten1.wasm")),
    ("emscripten2", include_bytes!("emscripten2.wasm")),
    ("emscripten3", include_bytes!("emscripten3.wasm")),
    ("emscripten4", include_bytes!("emscripten4.wasm")),
    ("emscripten64", include_bytes!("emscripten64.wasm")),
];

/// The probe of a format; none for our own.
pub fn of(format: Format) -> Option<(&'static str, &'static [u8])> {
    let name = match format {
        Format::Emscripten1 => "emscripten1",
        Format::Emscripten2 => "emscripten2",
        Format::Emscripten3 => "emscripten3",
        Format::Emscripten32 | Format::Metered32 => "emscripten4",
        Format::Emscripten64 | Format::Metered64 => "emscripten64",
        Format::Plain => return None,
    };
    PROBES.into_iter().find(|(known, _)| *known == name)
}

/// A message whose program is this; `NAME()` stands for a call of a host function.
pub fn message(probe: &str, program: &str) -> String {
    let mut words = String::new();
    for word in program.split_inclusive(' ') {
        match word.trim_end().strip_suffix("()") {
            Some(name) => words.push_str(&format!("{:x} C ", index(probe, name))),
            None => words.push_str(word),
        }
    }
    format!("{{\"Id\":\"m\",\"Data\":\"{words}\",\"Tags\":[]}}")
}

/// The messages of the tour through a probe.
pub fn tour(probe: &str) -> Vec<String> {
    let cases: Vec<serde_json::Value> = serde_json::from_str(include_str!("tour.json")).unwrap();
    let known = imports(probe);
    let has = |name: &str| known.iter().any(|import| import.key == name);
    let fits = |case: &&serde_json::Value| {
        let program = case["program"].as_str().unwrap();
        let calls = program.split(' ').filter_map(|word| word.strip_suffix("()"));
        let probes = case.get("probes").and_then(serde_json::Value::as_array);
        probes.is_none_or(|probes| probes.iter().any(|name| name == probe)) && calls.into_iter().all(has)
    };
    cases.iter().filter(fits).map(|case| message(probe, case["program"].as_str().unwrap())).collect()
}

fn index(probe: &str, name: &str) -> usize {
    let imports = imports(probe);
    imports.iter().position(|import| import.key == name).unwrap_or_else(|| panic!("{probe} has no {name}"))
}

struct Import {
    key: String,
    module: String,
    name: String,
    takes: String,
    gives: String,
}

fn imports(probe: &str) -> Vec<Import> {
    let all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(IMPORTS).unwrap();
    let imports = all[probe].as_object().unwrap();
    let import = |(key, parts): (&String, &serde_json::Value)| {
        let part = |at: usize| parts[at].as_str().unwrap().to_owned();
        Import { key: key.clone(), module: part(0), name: part(1), takes: part(2), gives: part(3) }
    };
    imports.iter().map(import).collect()
}

/// The source of a probe.
pub fn source(probe: &str) -> String {
    let is_64 = probe == "emscripten64";
    let word = if is_64 { "i64" } else { "i32" };
    let imports = imports(probe);
    let ty = |letter: char| match letter {
        'p' => word,
        'j' => "i64",
        'f' => "f64",
        _ => "i32",
    };
    let mut declared = String::new();
    let mut calls = String::new();
    for (at, Import { key, module, name, takes, gives }) in imports.iter().enumerate() {
        let list = |letters: &str| letters.chars().map(ty).collect::<Vec<_>>().join(" ");
        let (takes_types, gives_types) = (list(takes), list(gives));
        declared.push_str(&format!(
            "(import \"{module}\" \"{name}\" (func ${key} (param {takes_types}) (result {gives_types})))\n  "
        ));
        calls.push_str(&call(at, key, takes, gives, is_64));
    }
    let has = |key: &str| imports.iter().any(|import| import.key == key);
    let mut values: HashMap<String, String> = HashMap::new();
    let mut set = |name: &str, value: String| {
        values.insert(name.to_owned(), value);
    };
    set("imports", declared);
    set("calls", calls);
    set("w", word.to_owned());
    set("index", if is_64 { "i64".to_owned() } else { String::new() });
    set("output", (8192 + 76).to_string());
    let narrow = |value: &str| if is_64 { format!("(i32.wrap_i64 {value})") } else { value.to_owned() };
    let wide = |value: &str| if is_64 { format!("(i64.extend_i32_u {value})") } else { value.to_owned() };
    set("local 0", wide("(local.get 0)"));
    set("local 1", wide("(local.get 1)"));
    set("word", if is_64 { "8" } else { "4" }.to_owned());
    set("argument 0", narrow("(local.get 0)"));
    set("argument 1", narrow("(local.get 1)"));
    set("message", narrow("(local.get 0)"));
    set("size", narrow("(local.get 0)"));
    set("given", wide("(local.get 1)"));
    set("pages", narrow("(memory.size)"));
    set("invoked", format!("(param {word} {word})"));
    set("throw", if has("throw") { "(call $throw)" } else { "(unreachable)" }.to_owned());
    set("exit", "(call $exit (i32.const 7))".to_owned());
    names(probe, &mut set);
    let mut text = TEMPLATE.to_owned();
    for (name, value) in &values {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    // What a value brought in.
    text.replace("{{w}}", word)
}

fn call(at: usize, key: &str, takes: &str, gives: &str, is_64: bool) -> String {
    let mut text = format!("(if (i32.eq (local.get $which) (i32.const {at})) (then ");
    let mut letters: Vec<char> = takes.chars().collect();
    letters.reverse();
    let mut arguments = Vec::new();
    let locals = ["$a", "$b", "$c", "$d", "$e", "$f", "$g", "$h"];
    for (letter, local) in letters.iter().zip(locals) {
        text.push_str(&format!("(local.set {local} (call $pop)) "));
        arguments.push(match letter {
            'p' if is_64 => format!("(i64.extend_i32_u (local.get {local}))"),
            'j' => format!("(i64.extend_i32_s (local.get {local}))"),
            _ => format!("(local.get {local})"),
        });
    }
    arguments.reverse();
    let called = format!("(call ${key} {})", arguments.join(" "));
    text.push_str(&match gives {
        "" => called,
        "j" => format!("(call $push64 {called})"),
        "f" => format!("(call $push_float {called})"),
        "p" if is_64 => format!("(call $push (i32.wrap_i64 {called}))"),
        _ => format!("(call $push {called})"),
    });
    text.push_str(" (return)))\n    ");
    text
}

/// The names of the exports, and those that only some generations have.
fn names(probe: &str, set: &mut impl FnMut(&str, String)) {
    let today = ["memory", "__indirect_function_table", "handle", "__wasm_call_ctors", "main", "malloc"];
    let today =
        [&today[..], &["__errno_location", "setThrew", "stackSave", "stackRestore", "stackAlloc"]].concat();
    let newest = "emscripten_stack_get_current _emscripten_stack_restore _emscripten_stack_alloc";
    let exports: Vec<&str> = match probe {
        "emscripten1" => "E I G F H J K L M N O".split(' ').collect(),
        "emscripten2" | "emscripten3" => today,
        _ => today[..8].iter().copied().chain(newest.split(' ')).collect(),
    };
    let keys = "memory table handle constructors main malloc errno threw save restore alloc";
    for (key, export) in keys.split(' ').zip(exports) {
        set(key, export.to_owned());
    }
    let stack = "(func (export \"emscripten_stack_init\") (global.set $sp ({{w}}.const 65536)))
  (func (export \"emscripten_stack_get_end\") (result {{w}}) ({{w}}.const 256))";
    // A count of the flushes, which only loading makes.
    let flush = "(func (export \"fflush\") (param i32) (result i32)
    (call $put (i32.const 2044) (i32.add (call $load (i32.const 2044)) (i32.const 1))) (i32.const 0))";
    let temp = |name: &str| {
        format!("(func (export \"{name}\") (param i32) (call $put (i32.const 2016) (local.get 0)))")
    };
    set(
        "rest",
        match probe {
            "emscripten1" => String::new(),
            "emscripten2" => format!("{stack} {flush}"),
            "emscripten3" => format!("{stack} {flush} {}", temp("setTempRet0")),
            "emscripten4" => format!("{stack} {}", temp("_emscripten_tempret_set")),
            _ => stack.to_owned(),
        },
    );
    // That it was called stands in memory.
    let name = if probe == "emscripten64" { "dynCall_vjj" } else { "dynCall_vii" };
    let dyncall = format!(
        "(func (export \"{name}\") (param i32 {{{{w}}}} {{{{w}}}})
    (call $put (i32.const 2020) (i32.add (call $load (i32.const 2020)) (i32.const 1)))
    (call_indirect (param {{{{w}}}} {{{{w}}}}) (local.get 1) (local.get 2) (local.get 0)))"
    );
    set("dyncall", if probe == "emscripten1" { String::new() } else { dyncall });
}
