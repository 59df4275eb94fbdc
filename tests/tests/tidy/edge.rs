//! What a wrapping crate shows: its public signatures name no type of the crate it wraps.

use super::laws::GUARDED;
use super::source::{Source, Token, closing};
use std::collections::BTreeSet;

/// Public items of `net`, `storage` and `vm` that show a type of the crate they wrap.
///
/// `pub` means reachable here: `unreachable_pub` is denied by the lints.
pub(crate) fn leaks(source: &Source) -> Vec<(usize, String)> {
    let Some((_, crates)) = GUARDED.iter().find(|(home, _)| source.path.starts_with(&format!("{home}/src/")))
    else {
        return Vec::new();
    };
    let foreign = foreign_names(&source.tokens, crates);
    let mut found = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        let restricted =
            source.tokens.get(at + 1).is_some_and(|next| next.text == "(" && is_restriction(source, at));
        if token.text != "pub" || token.test || restricted {
            continue;
        }
        let shown = signature(&source.tokens, at);
        if let Some(name) = shown.iter().find(|token| foreign.contains(token.text.as_str())) {
            found.push((name.line, format!("a public item shows `{}` of a wrapped crate", name.text)));
        }
    }
    found
}

/// Whether the bracket after the `pub` at `at` restricts it (`pub(crate)`), and is no tuple.
fn is_restriction(source: &Source, at: usize) -> bool {
    source
        .tokens
        .get(at + 2)
        .is_some_and(|word| matches!(word.text.as_str(), "crate" | "super" | "in" | "self"))
}

/// The wrapped crates' own names and every name imported from them.
fn foreign_names<'a>(tokens: &'a [Token], crates: &[&'a str]) -> BTreeSet<&'a str> {
    let mut names: BTreeSet<&str> = crates.iter().copied().collect();
    for (at, token) in tokens.iter().enumerate() {
        if token.text != "use" || tokens.get(at + 1).is_none_or(|next| !crates.contains(&next.text.as_str()))
        {
            continue;
        }
        let end = tokens[at..]
            .iter()
            .position(|token| token.text == ";")
            .map_or(tokens.len(), |offset| at + offset);
        for (offset, name) in tokens[at..end].iter().enumerate() {
            // The last word of a path is the imported name, or the one after `as`.
            let next = tokens.get(at + offset + 1).map_or("", |token| token.text.as_str());
            let is_name = name.text.starts_with(char::is_uppercase) && next != "::" && next != "as";
            if is_name {
                names.insert(&name.text);
            }
        }
    }
    names
}

/// The part of the public item at `at` that others see.
fn signature(tokens: &[Token], at: usize) -> &[Token] {
    let kind = tokens.get(at + 1).map_or("", |token| token.text.as_str());
    let mut depth = 0_usize;
    for (offset, token) in tokens[at..].iter().enumerate() {
        match token.text.as_str() {
            // The fields of a tuple are private until each says `pub` itself.
            "(" if kind == "struct" => return &tokens[at..at + offset],
            "(" | "[" | "<" => depth += 1,
            ")" | "]" if depth == 0 => return &tokens[at..at + offset],
            ">" if tokens[at + offset - 1].text == "-" => {}
            ")" | "]" | ">" => depth = depth.saturating_sub(1),
            // The variants of a public enum are public; a body is not.
            "{" if kind == "enum" => return &tokens[at..closing(tokens, at + offset, "{", "}")],
            "{" if kind == "use" => {}
            "{" | ";" => return &tokens[at..at + offset],
            "=" if kind != "type" => return &tokens[at..at + offset],
            "," | "}" if depth == 0 && kind != "use" => return &tokens[at..at + offset],
            _ => {}
        }
    }
    &tokens[at..]
}

#[cfg(test)]
mod tests {
    use super::super::broken;

    #[track_caller]
    fn breaks(text: &str) {
        assert_eq!(broken("storage/src/a.rs", text), ["edge"], "{text}");
    }

    #[track_caller]
    fn keeps(text: &str) {
        assert!(broken("storage/src/a.rs", text).is_empty(), "{text}");
    }

    #[test]
    fn a_wrapped_type_in_a_public_signature_is_found() {
        breaks("pub fn a(b: redb::Database) {}");
        breaks("pub fn a() -> Vec<redb::Database> { b }");
        breaks("pub struct A { pub db: redb::Database, c: u8 }");
        breaks("pub enum A { B(#[from] redb::StorageError) }");
        breaks("pub type A = redb::Database;");
        breaks("pub use redb::Database;");
        breaks("use redb::{Database, Error as RedbError};\npub fn a() -> Result<(), RedbError> { b }");
        breaks("pub struct A(pub redb::Database);");
    }

    #[test]
    fn what_stays_inside_is_not_a_leak() {
        keeps("use redb::Database;\npub struct A { db: Database }");
        keeps("pub(crate) fn a(b: redb::Database) {}");
        keeps("pub fn a(b: &[u8]) -> bool { redb::Database::open(b).is_ok() }");
        keeps("use redb::Error as RedbError;\npub enum Error { Disk }");
        keeps("#[cfg(test)] mod tests { pub fn a(b: redb::Database) {} }");
        keeps("pub struct A(redb::Database, pub u8);");
        keeps("pub mod a;\nuse redb::Database;");
    }
}
