//! What the documents point at exists.

use super::{Breach, files, hold, root};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Links of `text` that lead nowhere: to a missing file, or to a heading that is not there.
fn dead_links(root: &Path, path: &str, text: &str) -> Vec<Breach> {
    let folder = root.join(path).parent().map(Path::to_owned).unwrap_or_default();
    let mut dead = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let linked = folder.join(file);
        let page = if file.is_empty() { Some(text.to_owned()) } else { fs::read_to_string(&linked).ok() };
        let exists = file.is_empty() || linked.exists();
        let has_heading =
            heading.is_empty() || page.is_some_and(|page| anchors(&page).iter().any(|a| a == heading));
        if !exists || !has_heading {
            let what = format!("`{target}` leads nowhere");
            dead.push(Breach { law: "dead-link", path: path.to_owned(), line, what });
        }
    }
    dead
}

/// The targets of the inline links outside code blocks, with their lines.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let parts = if in_code { Vec::new() } else { line.split("](").skip(1).collect::<Vec<_>>() };
        found.extend(parts.iter().filter_map(|part| Some((at + 1, part.split_once(')')?.0))));
    }
    found
}

/// The anchors that a page's headings have when it is shown.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// How sources name a section of the rules.
const CITED: [&str; 3] = ["rules.md 6.", "RULES.md 6.", "rules 6."];

/// The sections of the rules that `text` cites and `rules` does not have, with their lines.
fn unwritten(rules: &str, text: &str) -> Vec<(usize, String)> {
    let titles = rules.lines().filter_map(|line| line.strip_prefix("## 6.")?.split_once(' '));
    let written: BTreeSet<&str> = titles.map(|(number, _)| number).collect();
    let mut missing = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for rest in CITED.iter().flat_map(|name| line.split(name).skip(1)) {
            let number = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            if !written.contains(number) {
                missing.push((at + 1, format!("6.{number}")));
            }
        }
    }
    missing
}

#[test]
fn every_rule_that_is_cited_is_written() {
    let root = root();
    let rules = fs::read_to_string(root.join("protocol/RULES.md")).unwrap();
    let mut breaches = Vec::new();
    for source in files::sources(&root).iter().filter(|source| !source.path.ends_with("tidy/docs.rs")) {
        for (line, section) in unwritten(&rules, &source.text) {
            let what = format!("protocol/RULES.md has no section {section}");
            breaches.push(Breach { law: "unwritten-rule", path: source.path.clone(), line, what });
        }
    }
    hold(&breaches);
}

#[test]
fn a_rule_that_is_not_written_is_found() {
    let rules = "# Rules\n## 6.1 One\ntext\n## 6.12 Twelve\n";
    assert_eq!(unwritten(rules, "a\n// rules.md 6.2, rules 6.1"), [(2, "6.2".to_owned())]);
    assert!(unwritten(rules, "// RULES.md 6.1 and rules 6.12").is_empty());
}

#[test]
fn every_link_leads_somewhere() {
    let root = root();
    let pages = files::pages(&root);
    assert!(pages.contains_key("README.md") && pages.contains_key("testnet/README.md"), "{:?}", pages.keys());
    let breaches: Vec<Breach> = pages.iter().flat_map(|(path, text)| dead_links(&root, path, text)).collect();
    hold(&breaches);
}

#[test]
fn a_dead_link_is_found() {
    let dead = |text: &str| dead_links(&root(), "README.md", text).len();
    assert_eq!(dead("see [the map](NO_SUCH_FILE.md)"), 1);
    assert_eq!(dead("# Map\n[a](#map) [b](#no-such-heading)"), 1);
    assert_eq!(dead("[a](protocol/src/lib.rs) [b](https://example.org/x)\n```\n[c](nowhere)\n```"), 0);
}
