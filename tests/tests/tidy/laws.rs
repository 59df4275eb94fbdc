//! The laws for one file at a time.

use super::source::{Source, Token, closing};
use super::{Breach, edge, files};

/// What a law finds in one file: the line, and what stands there.
type Findings = Vec<(usize, String)>;

/// A named law.
struct Law {
    name: &'static str,
    find: fn(&Source) -> Findings,
}

const LAWS: &[Law] = &[
    Law { name: "third-party", find: third_party },
    Law { name: "edge", find: edge::leaks },
    Law { name: "unbounded", find: queue_without_limit },
    Law { name: "clock-or-chance", find: clock_or_chance },
    Law { name: "pure-machine", find: pure_machine },
    Law { name: "hash-order", find: hash_order },
    Law { name: "unfinished", find: unfinished },
    Law { name: "todo-without-issue", find: todo_without_issue },
    Law { name: "ascii", find: ascii },
    Law { name: "sleep", find: sleeping_test },
    Law { name: "detached-task", find: detached_task },
    Law { name: "string-error", find: string_error },
];

/// Every breach in a file that is not excused.
pub(crate) fn check(source: &Source) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = LAWS
        .iter()
        .flat_map(|law| (law.find)(source).into_iter().map(move |(line, what)| (law.name, line, what)))
        .filter(|(law, line, _)| !source.allows(law, *line))
        .map(|(law, line, what)| Breach { law, path: source.path.clone(), line, what })
        .collect();
    breaches.extend(files::length(source));
    breaches
}

/// Excuses in a file that excuse nothing, or name no law.
pub(crate) fn unused_allows(source: &Source) -> Vec<Breach> {
    let findings: Vec<(&str, usize)> = LAWS
        .iter()
        .flat_map(|law| (law.find)(source).into_iter().map(move |(line, _)| (law.name, line)))
        .collect();
    let mut stale = Vec::new();
    for (line, text) in source.comments.iter().filter(|_| !source.path.starts_with("tests/tests/tidy/")) {
        let Some((name, _)) = text.split_once("tidy-allow(").and_then(|(_, rest)| rest.split_once(')'))
        else {
            continue;
        };
        if !findings.iter().any(|(law, at)| *law == name && (*at == *line || *at == *line + 1)) {
            let what = format!("tidy-allow({name}) excuses nothing: remove it");
            stale.push(Breach { law: "unused-allow", path: source.path.clone(), line: *line, what });
        }
    }
    stale
}

/// The crates whose names appear in one of ours only.
pub(crate) const GUARDED: &[(&str, &[&str])] = &[
    ("net", &["libp2p", "libp2p_swarm_test", "libp2p_stream"]),
    ("storage", &["redb", "arweave_rs"]),
    ("vm", &["wasmtime", "wasmparser", "wasm_encoder"]),
];

/// Third-party types stop at the edge of the one crate that wraps them.
fn third_party(source: &Source) -> Findings {
    let mut found = Vec::new();
    for (home, names) in GUARDED {
        if source.path.starts_with(&format!("{home}/")) {
            continue;
        }
        for name in *names {
            let whole =
                [["use", name, ";"], ["use", name, "as"]].into_iter().flat_map(|path| source.find(&path));
            let uses = source.find(&[name, "::"]).into_iter().chain(whole);
            found.extend(uses.map(|token| (token.line, format!("`{name}` belongs to {home}/ alone"))));
        }
    }
    found
}

/// Every queue has a limit.
fn queue_without_limit(source: &Source) -> Findings {
    let why = "every channel has a named capacity";
    let mut found =
        ban(source, &["unbounded_channel", "UnboundedSender", "UnboundedReceiver"], |_| true, why);
    let calls = source.find(&["mpsc", "::", "unbounded"]).into_iter().map(|token| token.line);
    found.extend(calls.map(|line| (line, format!("`unbounded`: {why}"))));
    found
}

/// Whether a file holds a pure machine.
fn is_machine(source: &Source) -> bool {
    source.path.ends_with("/machine.rs") || source.path.contains("/machine/")
}

/// Rules take time and randomness as inputs.
fn clock_or_chance(source: &Source) -> Findings {
    if !is_machine(source) && !source.path.starts_with("protocol/src/") {
        return Vec::new();
    }
    let why = "time and randomness come in as inputs";
    let mut found =
        ban(source, &["Instant", "SystemTime", "OsRng", "SysRng", "ThreadRng", "thread_rng"], live, why);
    for path in [["rand", "::"], ["getrandom", "::"], ["fastrand", "::"], ["Utc", "::"]] {
        let uses = source.find(&path).into_iter().filter(|token| live(token));
        found.extend(uses.map(|token| (token.line, format!("`{}`: {why}", token.text))));
    }
    found
}

/// Machines neither wait nor reach outside, and count in integers.
fn pure_machine(source: &Source) -> Findings {
    if !is_machine(source) {
        return Vec::new();
    }
    let words = ["async", "await", "tokio", "f32", "f64", "unsafe", "println", "tracing", "Mutex", "RwLock"];
    let mut found = ban(source, &words, live, "a machine only turns inputs into outputs");
    for module in ["fs", "net", "thread", "env", "process"] {
        let uses = source.find(&["std", "::", module]).into_iter().filter(|token| live(token));
        found.extend(uses.map(|token| (token.line, format!("`std::{module}` in a machine"))));
    }
    found
}

/// What decides, hashes or orders never meets an order that differs from run to run.
fn hash_order(source: &Source) -> Findings {
    if !is_machine(source) && !source.path.starts_with("protocol/src/") {
        return Vec::new();
    }
    ban(source, &["HashMap", "HashSet"], live, "its order differs from run to run: use a BTree")
}

/// Nothing unfinished is committed.
fn unfinished(source: &Source) -> Findings {
    let mut found = Vec::new();
    for name in ["todo", "unimplemented", "dbg"] {
        found.extend(source.find(&[name, "!"]).into_iter().map(|token| (token.line, format!("`{name}!`"))));
    }
    found
}

/// A note of work left names the issue that will do it: `TODO(#12)`.
fn todo_without_issue(source: &Source) -> Findings {
    let mut found = Vec::new();
    if source.path.starts_with("tests/tests/tidy/") {
        return found;
    }
    for (line, text) in &source.comments {
        for word in ["TODO", "FIXME", "XXX", "HACK"] {
            for (at, _) in text.match_indices(word) {
                let before = text[..at].chars().next_back();
                let rest = &text[at + word.len()..];
                let is_word = !before.is_some_and(char::is_alphanumeric)
                    && !rest.chars().next().is_some_and(char::is_alphanumeric);
                let has_issue = rest
                    .strip_prefix("(#")
                    .is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()));
                if is_word && !has_issue {
                    found.push((*line, format!("write `{word}(#ISSUE)`, or do it")));
                }
            }
        }
    }
    found
}

/// Source is ASCII: what cannot be typed cannot be searched.
fn ascii(source: &Source) -> Findings {
    let lines = source.text.lines().enumerate();
    lines
        .filter_map(|(at, line)| {
            line.chars().find(|c| !c.is_ascii()).map(|c| (at + 1, format!("U+{:04X}", c as u32)))
        })
        .collect()
}

/// Tests wait for a sign, never for a while.
fn sleeping_test(source: &Source) -> Findings {
    source
        .find(&["sleep", "("])
        .into_iter()
        .filter(|token| token.test && !source.path.starts_with("tests/tests/tidy/"))
        .map(|token| (token.line, "a test waits for an event, never for a while".to_owned()))
        .collect()
}

/// Somebody keeps every task's handle and joins it.
fn detached_task(source: &Source) -> Findings {
    let mut found = Vec::new();
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| live(token)) {
        let is_spawn = matches!(token.text.as_str(), "spawn" | "spawn_blocking" | "spawn_local");
        if !is_spawn || source.tokens.get(at + 1).is_none_or(|next| next.text != "(") {
            continue;
        }
        let start = path_start(&source.tokens, at);
        let owner = &source.tokens[start].text;
        let before = start.checked_sub(1).map_or("{", |at| source.tokens[at].text.as_str());
        let after = closing(&source.tokens, at + 1, "(", ")");
        let is_statement = source.tokens.get(after).is_some_and(|token| token.text == ";");
        let dropped = matches!(before, ";" | "{" | "}")
            || (before == "=" && start >= 2 && source.tokens[start - 2].text == "_");
        if matches!(owner.as_str(), "tokio" | "std" | "thread" | "task" | "spawn") && dropped && is_statement
        {
            found.push((token.line, "keep the handle of every task, and join it".to_owned()));
        }
    }
    found
}

/// Where the path that ends at `at` begins.
fn path_start(tokens: &[Token], at: usize) -> usize {
    let mut start = at;
    while start >= 2 && tokens[start - 1].text == "::" {
        start -= 2;
    }
    start
}

/// Errors that leave a module are types that answer whose fault it is, never a text.
fn string_error(source: &Source) -> Findings {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| live(token)) {
        if token.text != "Result" || tokens.get(at + 1).is_none_or(|next| next.text != "<") {
            continue;
        }
        let end = closing(tokens, at + 1, "<", ">");
        let tail: Vec<&str> = tokens[at..end].iter().rev().take(3).map(|token| token.text.as_str()).collect();
        if tail == [">", "String", ","] && is_of_public_function(tokens, at) {
            found.push((token.line, "an error is a type, never a text".to_owned()));
        }
    }
    found.extend(ban(source, &["anyhow", "eyre"], live, "a library's errors are types"));
    found
}

/// Whether the return type at `at` is that of a `pub fn`.
fn is_of_public_function(tokens: &[Token], at: usize) -> bool {
    let start = tokens[..at].iter().rposition(|token| matches!(token.text.as_str(), "fn" | ";" | "{" | "}"));
    let Some(start) = start.filter(|start| tokens[*start].text == "fn") else {
        return false;
    };
    let mut words = tokens[..start].iter().rev().map(|token| token.text.as_str());
    words.find(|word| !matches!(*word, "async" | "const" | "unsafe")) == Some("pub")
}

/// Code that is not for tests alone.
fn live(token: &Token) -> bool {
    !token.test
}

/// The places where one of `words` stands in code that `counts`.
fn ban(source: &Source, words: &[&str], counts: fn(&Token) -> bool, why: &str) -> Findings {
    let hits = source.tokens.iter().filter(|token| counts(token) && words.contains(&token.text.as_str()));
    hits.map(|token| (token.line, format!("`{}`: {why}", token.text))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::broken;
    use super::*;

    #[track_caller]
    fn breaks(path: &str, text: &str, law: &'static str) {
        assert_eq!(broken(path, text), [law], "{text}");
    }

    #[track_caller]
    fn keeps(path: &str, text: &str) {
        assert!(broken(path, text).is_empty(), "{:?}: {text}", broken(path, text));
    }

    #[test]
    fn a_foreign_type_outside_its_crate_is_found() {
        breaks("node/src/a.rs", "fn a(p: libp2p::PeerId) {}", "third-party");
        breaks("vm/src/a.rs", "use redb::Database;", "third-party");
        breaks("storage/src/a.rs", "type A = wasmtime::Engine;", "third-party");
        breaks("tests/src/a.rs", "use arweave_rs;", "third-party");
        keeps("net/src/a.rs", "fn a(p: libp2p::PeerId) {}");
        keeps("node/src/a.rs", "// libp2p::PeerId stays out\nlet a = \"redb::Database\";");
    }

    #[test]
    fn a_queue_without_a_limit_is_found() {
        breaks("node/src/a.rs", "let (a, b) = mpsc::unbounded_channel();", "unbounded");
        breaks("tests/src/a.rs", "let (a, b) = futures::channel::mpsc::unbounded();", "unbounded");
        keeps("node/src/a.rs", "let (a, b) = mpsc::channel(QUEUE);");
    }

    #[test]
    fn a_clock_or_chance_in_the_rules_is_found() {
        breaks("node/src/scheduler/machine.rs", "let a = Instant::now();", "clock-or-chance");
        breaks("protocol/src/a.rs", "let a = std::time::SystemTime::now();", "clock-or-chance");
        breaks("protocol/src/a.rs", "let a = rand::rng();", "clock-or-chance");
        keeps("node/src/scheduler/task.rs", "let a = Instant::now();");
        keeps("protocol/src/a.rs", "#[cfg(test)] mod tests { use rand::Rng; }");
    }

    #[test]
    fn a_machine_that_waits_or_reaches_outside_is_found() {
        breaks("node/src/sync/machine.rs", "async fn a() {}", "pure-machine");
        breaks("node/src/sync/machine.rs", "let a = b.await;", "pure-machine");
        breaks("node/src/sync/machine.rs", "let a: f64 = 1.0;", "pure-machine");
        breaks("node/src/sync/machine/parts.rs", "std::fs::read(a)", "pure-machine");
        keeps("node/src/sync/task.rs", "async fn a() { std::fs::read(a) }");
    }

    #[test]
    fn an_order_by_chance_is_found() {
        breaks("node/src/sync/machine.rs", "let a = HashMap::new();", "hash-order");
        breaks("protocol/src/a.rs", "let a: HashSet<Id> = b;", "hash-order");
        keeps("protocol/src/a.rs", "let a = BTreeMap::new();");
        keeps(
            "protocol/src/a.rs",
            "// tidy-allow(hash-order): looked up, never iterated\nlet a = HashMap::new();",
        );
    }

    #[test]
    fn unfinished_work_is_found() {
        breaks("vm/src/a.rs", "fn a() { todo!() }", "unfinished");
        breaks("vm/src/a.rs", "fn a() { unimplemented!(\"b\") }", "unfinished");
        breaks("tests/src/a.rs", "fn a() { dbg!(1); }", "unfinished");
        breaks("vm/src/a.rs", "// TODO: later", "todo-without-issue");
        breaks("vm/src/a.wat", ";; FIXME(soon)", "todo-without-issue");
        keeps("vm/src/a.rs", "// TODO(#12): the second half\nfn todo() {}");
    }

    #[test]
    fn a_sign_outside_ascii_is_found() {
        breaks("vm/src/a.rs", "// caf\u{e9}", "ascii");
        breaks("protocol/proto/a.proto", "// \u{2014}", "ascii");
        keeps("vm/src/a.rs", "let a = \"\\u{e9}\";");
    }

    #[test]
    fn a_sleeping_test_is_found() {
        breaks("vm/src/a.rs", "#[cfg(test)] mod tests { fn a() { std::thread::sleep(b); } }", "sleep");
        breaks("tests/tests/a.rs", "async fn a() { tokio::time::sleep(b).await; }", "sleep");
        keeps("node/src/a.rs", "async fn a() { tokio::time::sleep(b).await; }");
        keeps("tests/tests/a.rs", "// tidy-allow(sleep): polls another process, with a deadline\nsleep(b);");
    }

    #[test]
    fn a_task_nobody_joins_is_found() {
        breaks("node/src/a.rs", "fn a() { tokio::spawn(b()); }", "detached-task");
        breaks("node/src/a.rs", "fn a() { let _ = std::thread::spawn(|| b()); }", "detached-task");
        keeps(
            "node/src/a.rs",
            "fn a() { let b = tokio::spawn(c()); tasks.spawn(d()); e(tokio::spawn(f())); }",
        );
    }

    #[test]
    fn a_text_as_error_is_found() {
        breaks("net/src/a.rs", "pub fn a() -> Result<Vec<u8>, String> { b }", "string-error");
        breaks("net/src/a.rs", "pub async fn a(b: u8) -> Result<(), String> { b }", "string-error");
        breaks("net/src/a.rs", "use anyhow::Context;", "string-error");
        keeps("net/src/a.rs", "pub fn a() -> Result<String, Error> { b }");
        keeps("net/src/a.rs", "fn a() -> Result<u8, String> { b }");
    }

    #[test]
    fn an_excuse_for_nothing_is_found() {
        let stale = |text: &str| unused_allows(&Source::rust("vm/src/a.rs", text)).len();
        assert_eq!(stale("// tidy-allow(unbounded): there was one here once\nlet a = 1;"), 1);
        assert_eq!(stale("// tidy-allow(no-such-law): whatever it may be\nlet a = 1;"), 1);
        assert_eq!(stale("// tidy-allow(unbounded): the library has only this\nmpsc::unbounded();"), 0);
    }
}
