//! A program of several files as one piece of Lua, and where its lines come from.
//!
//! What a file requires is looked for beside it, then beside the first file; what is in neither place comes
//! with the process. Each file is run once, those first that others need. A name stands for one file in all of
//! the program, as the process knows modules by their names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::super::exit::CliError;
use super::super::files;
use super::super::process::DATA_BYTES_MAX;
use super::lua;

/// Files of one program: a circle of files that require each other is found long before.
const FILES_MAX: usize = 1_000;

/// A program to be typed in, and whose lines it has.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    /// The piece of Lua.
    pub(super) text: String,
    places: Vec<Place>,
}

/// Lines of the piece that are lines of a file.
#[derive(Debug)]
struct Place {
    file: String,
    /// The line of the piece in which the file's first one stands, counted from 1.
    from: usize,
    lines: usize,
}

/// Reads a file and what it requires.
pub(super) fn load(path: &Path) -> Result<Bundle, CliError> {
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut reading = Reading {
        root,
        done: Vec::new(),
        names: BTreeMap::new(),
        open: Vec::new(),
        bundle: Bundle::default(),
    };
    let text = reading.take(path)?;
    reading.bundle.add(&files::shown(path), &text)?;
    Ok(reading.bundle)
}

impl Bundle {
    /// A piece as it was typed, whose lines are its own.
    pub(super) fn typed(piece: &str) -> Self {
        Self { text: piece.trim_end().to_owned(), places: Vec::new() }
    }

    /// A piece that is one file.
    pub(super) fn of(name: &str, text: &str) -> Result<Self, CliError> {
        let mut bundle = Self::default();
        bundle.add(name, text)?;
        Ok(bundle)
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), CliError> {
        let from = self.text.matches('\n').count() + 1;
        self.places.push(Place { file: file.to_owned(), from, lines: text.lines().count() });
        self.text.push_str(text);
        if self.text.len() as u64 > DATA_BYTES_MAX {
            return Err(CliError::input(format!("{file}: the program has more than {DATA_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    /// Names of files and their lines for those of the piece, which runtimes call `eval` and aos
    /// `[string "aos"]`.
    pub(super) fn name_lines(&self, text: &str) -> String {
        if self.places.is_empty() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        // Where each name stands next, so that one which is rare is not searched for again and again.
        let mut next = NAMES.map(|name| text.find(name));
        let mut from = 0;
        while let Some((at, which)) =
            next.iter().enumerate().filter_map(|(which, at)| Some(((*at)?, which))).min()
        {
            let name = NAMES[which];
            let (before, behind) = (text.get(from..at).unwrap_or_default(), at + name.len());
            let after = text.get(behind..).unwrap_or_default();
            out.push_str(before);
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let line: Option<usize> = after.get(..digits).and_then(|line| line.parse().ok());
            match line.filter(|_| !ends_in_word(before)).and_then(|line| self.place(line)) {
                Some((file, line)) => {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "{file}:{line}");
                    from = behind + digits;
                }
                None => {
                    out.push_str(name);
                    from = behind;
                }
            }
            next[which] = text.get(from..).and_then(|rest| rest.find(name)).map(|at| from + at);
        }
        out + text.get(from..).unwrap_or_default()
    }

    fn place(&self, line: usize) -> Option<(&str, usize)> {
        // They stand in the order of their lines.
        let place =
            self.places.get(self.places.partition_point(|place| place.from <= line).checked_sub(1)?)?;
        (line < place.from + place.lines).then_some((&place.file, line - place.from + 1))
    }
}

/// Whether what follows is part of a longer word. A colour ends in a letter and is none.
fn ends_in_word(text: &str) -> bool {
    let is_colour = text
        .rsplit_once("\x1b[")
        .and_then(|(_, colour)| colour.strip_suffix('m'))
        .is_some_and(|codes| codes.chars().all(|code| code.is_ascii_digit() || code == ';'));
    !is_colour && text.ends_with(|last: char| last.is_alphanumeric() || last == '_')
}

/// What a runtime calls a piece that was typed in.
const NAMES: [&str; 2] = ["eval:", "[string \"aos\"]:"];

struct Reading {
    root: PathBuf,
    /// The files that were read, each with the first name that it was required by.
    done: Vec<(PathBuf, String)>,
    /// The file that each name stands for.
    names: BTreeMap<String, PathBuf>,
    /// The files whose requirements are being read, the first one first.
    open: Vec<PathBuf>,
    bundle: Bundle,
}

impl Reading {
    /// The text of a file, once what it requires is in the bundle.
    fn take(&mut self, path: &Path) -> Result<String, CliError> {
        let bytes = files::read(path, DATA_BYTES_MAX)?;
        let name = files::shown(path);
        let text = String::from_utf8(bytes).map_err(|_| CliError::input(format!("{name} is not text")))?;
        if self.done.len() + self.open.len() >= FILES_MAX {
            return Err(CliError::input(format!("a program has at most {FILES_MAX} files")));
        }
        self.open.push(path.to_owned());
        for required in lua::required(&text) {
            let Some(found) = self.find(path, required) else { continue };
            if self.open.contains(&found) {
                return Err(CliError::input(format!(
                    "{name} and {} require each other",
                    files::shown(&found)
                )));
            }
            self.names_one(required, &found)?;
            match self.done.iter().find(|(path, _)| *path == found) {
                None => {
                    let module = self.take(&found)?;
                    self.add_module(required, &found, &module)?;
                    self.done.push((found, required.to_owned()));
                }
                Some((_, first)) if first != required => {
                    let alias = format!("package.loaded[\"{required}\"] = package.loaded[\"{first}\"]\n");
                    self.bundle.text.push_str(&alias);
                }
                Some(_) => {}
            }
        }
        self.open.pop();
        Ok(text)
    }

    /// Refuses a name that stands for another file: the process has one module of it.
    fn names_one(&mut self, name: &str, found: &Path) -> Result<(), CliError> {
        let first = self.names.entry(name.to_owned()).or_insert_with(|| found.to_owned());
        if first != found {
            let (first, found) = (files::shown(first), files::shown(found));
            return Err(CliError::input(format!(
                "\"{name}\" is required as {first} and as {found}, but can be only one of them: rename one"
            )));
        }
        Ok(())
    }

    /// The file that a name stands for, if there is one.
    fn find(&self, from: &Path, name: &str) -> Option<PathBuf> {
        // It leaves no folder: a name is words with dots between them, and one in front where aos has its own.
        let words: Vec<&str> = name.strip_prefix('.').unwrap_or(name).split('.').collect();
        if words.iter().any(|word| word.is_empty() || word.contains(['/', '\\', '"', '\n'])) {
            return None;
        }
        let file = format!("{}.lua", words.join("/"));
        let beside = from.parent().unwrap_or(Path::new("")).join(&file);
        [beside, self.root.join(file)].into_iter().find(|path| path.is_file())
    }

    fn add_module(&mut self, name: &str, path: &Path, text: &str) -> Result<(), CliError> {
        // In a function of its own, as its locals are; what gives nothing is remembered as `true`.
        self.bundle.text.push_str("do local module = (function(...)\n");
        self.bundle.add(&files::shown(path), text)?;
        let end =
            format!("\nend)(\"{name}\") package.loaded[\"{name}\"] = module == nil and true or module end\n");
        self.bundle.text.push_str(&end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn files(all: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in all {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn what_a_file_requires_comes_before_it_and_once() {
        let folder = files(&[
            (
                "main.lua",
                "local a = require('lib.a') require('lib.b')\nlocal json = require \"json\"\nerror('x')",
            ),
            ("lib/a.lua", "local b = require('b')\nreturn b -- a"),
            ("lib/b.lua", "return 2"),
            ("b.lua", "return 3"),
        ]);
        let main = folder.path().join("main.lua");
        let bundle = load(&main).unwrap();
        let at = |text: &str| bundle.text.find(text).unwrap();
        assert!(at("return 2") < at("return b -- a") && at("return b -- a") < at("error('x')"));
        assert!(bundle.text.contains("package.loaded[\"lib.b\"] = package.loaded[\"b\"]"));
        assert!(!bundle.text.contains("return 3") && bundle.text.matches("return 2").count() == 1);
        let line = |text: &str| bundle.text.lines().position(|line| line.contains(text)).unwrap() + 1;
        let name = |file: &str| files::shown(&folder.path().join(file));
        for (text, file, number) in [("error('x')", "main.lua", 3), ("return b", "lib/a.lua", 2)] {
            for runtime in NAMES {
                let told = bundle.name_lines(&format!("oh: {runtime}{}: x", line(text)));
                assert_eq!(told, format!("oh: {}:{number}: x", name(file)));
                let told = bundle.name_lines(&format!("\x1b[0m{runtime}{}", line(text)));
                assert_eq!(told, format!("\x1b[0m{}:{number}", name(file)));
            }
        }
        assert_eq!(bundle.name_lines("medieval:2 eval:999 eval:"), "medieval:2 eval:999 eval:");
    }

    #[test]
    fn a_circle_and_what_is_no_file_are_told() {
        let folder = files(&[
            ("a.lua", "require('b')"),
            ("b.lua", "require 'a'"),
            ("c.lua", "require('../a')"),
            ("d.lua", "-- local d = require('d')\nreturn \"require('d')\""),
        ]);
        let error = load(&folder.path().join("a.lua")).unwrap_err();
        assert!(error.text.contains("require each other"), "{}", error.text);
        assert!(load(&folder.path().join("none.lua")).unwrap_err().text.contains("none.lua"));
        assert_eq!(load(&folder.path().join("c.lua")).unwrap().text, "require('../a')");
        // Only code requires.
        assert!(load(&folder.path().join("d.lua")).is_ok());
    }

    #[test]
    fn a_name_stands_for_one_file() {
        let folder = files(&[
            ("main.lua", "local a = require('util') local b = require('lib.x')"),
            ("util.lua", "return 1"),
            ("lib/x.lua", "return require('util')"),
            ("lib/util.lua", "return 2"),
            (
                "late.lua",
                "local b = require('lib.util') local b = require('lib.x') local a = require('util')",
            ),
        ]);
        for first in ["main.lua", "late.lua"] {
            let error = load(&folder.path().join(first)).unwrap_err().text;
            let name = |file: &str| files::shown(&folder.path().join(file));
            assert!(error.contains(&name("util.lua")) && error.contains(&name("lib/util.lua")), "{error}");
        }
    }

    #[test]
    fn a_long_text_is_read_once() {
        let bundle = Bundle::of("a.lua", "error('oh')").unwrap();
        let long = "eval: ".repeat(1 << 20);
        let began = std::time::Instant::now();
        assert_eq!(bundle.name_lines(&format!("{long}eval:1: oh")), format!("{long}a.lua:1: oh"));
        // Reading on to the end at each of them takes hours.
        assert!(began.elapsed() < std::time::Duration::from_secs(60));
    }
}
