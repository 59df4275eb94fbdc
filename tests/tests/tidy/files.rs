//! Which files are source, and how long one may be.

use super::Breach;
use super::source::Source;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// From here on a file needs an entry in [`LONG_FILES`].
pub(crate) const LINES_SOFT_MAX: usize = 500;

/// No file is longer.
pub(crate) const LINES_HARD_MAX: usize = 800;

/// Files over the soft limit, each with the reason it is not split.
pub(crate) const LONG_FILES: &[(&str, &str)] =
    &[("protocol/proto/weft.proto", "what peers say to each other is read as one page")];

/// Folders that hold no source of ours.
const SKIPPED_FOLDERS: [&str; 3] = ["target", "node_modules", "vectors"];

/// Endings of text that is source and not Rust.
const PLAIN_ENDINGS: [&str; 7] = [".proto", ".toml", ".wat", ".mjs", ".sh", ".ci/run", "tests/run"];

/// Every source file below `root`, in the order of their paths.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let is_source = |path: &str| path.ends_with(".rs") || PLAIN_ENDINGS.iter().any(|end| path.ends_with(end));
    let read = |(path, text): (String, String)| {
        if path.ends_with(".rs") { Source::rust(&path, &text) } else { Source::plain(&path, &text) }
    };
    texts(root, &is_source).into_iter().map(read).collect()
}

/// Every page for people below `root`, by its path: what it says.
pub(crate) fn pages(root: &Path) -> BTreeMap<String, String> {
    texts(root, &|path| path.ends_with(".md"))
}

/// The files below `root` whose path is one of these, with what they say.
fn texts(root: &Path, is_wanted: &dyn Fn(&str) -> bool) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(root, root, is_wanted, &mut found);
    found
}

fn walk(root: &Path, folder: &Path, is_wanted: &dyn Fn(&str) -> bool, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            // Hidden ones are those of tools, cargo's own among them, but for the one that CI calls.
            let is_hidden = name.starts_with('.') && name != ".ci";
            if !is_hidden && !SKIPPED_FOLDERS.contains(&name.as_str()) {
                walk(root, &path, is_wanted, found);
            }
            continue;
        }
        let relative = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        if is_wanted(&relative) {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{relative}: {error}"));
            found.insert(relative, text);
        }
    }
}

/// Files stay short enough to be read in one sitting.
pub(crate) fn length(source: &Source) -> Option<Breach> {
    let lines = source.text.lines().count();
    let listed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    let what = if lines > LINES_HARD_MAX {
        format!("{lines} lines, and no file has more than {LINES_HARD_MAX}: split it by subject")
    } else if lines > LINES_SOFT_MAX && !listed {
        format!("{lines} lines: split it by subject, or list it in LONG_FILES with a reason")
    } else {
        return None;
    };
    Some(Breach { law: "length", path: source.path.clone(), line: lines, what })
}

#[cfg(test)]
mod tests {
    use super::super::broken;

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(broken("vm/src/a.rs", &"fn a() {}\n".repeat(501)), ["length"]);
        assert_eq!(broken("vm/src/a.rs", &"fn a() {}\n".repeat(801)), ["length"]);
        assert!(broken("vm/src/a.rs", &"fn a() {}\n".repeat(500)).is_empty());
    }
}
