//! A scenario that is played to its end, and what its report says.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::launched::Launched;

/// How long a scenario may take: the longest, several times over.
pub(crate) const RUN_WAIT: Duration = Duration::from_secs(1_800);

/// A run that is over. The folder of a red one is kept: it goes with this, unless the test fails.
pub(crate) struct Played {
    code: Option<i32>,
    report: Value,
    pub(crate) errors: String,
}

impl Drop for Played {
    fn drop(&mut self) {
        if self.report["kept"] == true && !std::thread::panicking() {
            std::fs::remove_dir_all(self.dir()).unwrap();
        }
    }
}

impl Played {
    /// What a run said until its end.
    pub(crate) fn of(scenario: &str, ended: Output) -> Self {
        let Output { status, stdout, stderr } = ended;
        let errors = String::from_utf8_lossy(&stderr).into_owned();
        let text = String::from_utf8_lossy(&stdout);
        let last = text.lines().last().unwrap_or_else(|| panic!("{scenario}: no report: {errors}"));
        Self { code: status.code(), report: serde_json::from_str(last).unwrap(), errors }
    }

    /// Where its nodes had their folders.
    pub(crate) fn dir(&self) -> PathBuf {
        PathBuf::from(self.report["dir"].as_str().unwrap())
    }

    /// Why it was not played, if it was not.
    pub(crate) fn skipped(&self) -> Option<&str> {
        let why = self.report["skipped"].as_str();
        assert!(why.is_none() || self.code == Some(77), "{}", self.errors);
        why
    }

    fn steps(&self) -> &[Value] {
        self.report["steps"].as_array().unwrap()
    }

    /// The checks that do not hold, and of which step each is.
    fn broken(&self) -> impl Iterator<Item = (&str, &Value)> {
        let checks = self.steps().iter().flat_map(|step| {
            step["checks"].as_array().unwrap().iter().map(|check| (step["name"].as_str().unwrap(), check))
        });
        checks.filter(|(_, check)| check["holds"] == false)
    }

    /// All that is missed: the step, and what was expected of it.
    pub(crate) fn missed(&self) -> Vec<(&str, &str)> {
        self.broken().map(|(step, check)| (step, check["what"].as_str().unwrap())).collect()
    }

    /// What is missed of one step.
    pub(crate) fn missed_of(&self, step: &str) -> Vec<&str> {
        self.missed().into_iter().filter(|(of, _)| *of == step).map(|(_, what)| what).collect()
    }

    /// For all that is missed: the step, and what was seen instead.
    pub(crate) fn seen(&self) -> Vec<(&str, &str)> {
        self.broken().map(|(step, check)| (step, check["seen"].as_str().unwrap())).collect()
    }

    /// Sees that all was as expected, that there was something to expect of each step, and that nothing is left.
    pub(crate) fn assert_green(&self) {
        let broken: Vec<(&str, &Value)> = self.broken().collect();
        assert_eq!(self.code, Some(0), "{}\n{broken:#?}", self.errors);
        assert!(broken.is_empty(), "{broken:#?}");
        assert_eq!(self.report["ok"], true);
        for name in
            ["peers", "spawn", "steps", "settle", "replies", "slots", "pushes", "compare", "expect", "stop"]
        {
            let step = self.steps().iter().find(|step| step["name"] == name);
            let step = step.unwrap_or_else(|| panic!("no step {name}: {}", self.report));
            assert!(!step["checks"].as_array().unwrap().is_empty(), "step {name} expects nothing");
        }
        assert!(!self.dir().exists(), "the folder is still there");
    }

    /// Sees that something was missed, and that its cause can be looked for.
    pub(crate) fn assert_red(&self) {
        assert_eq!(self.code, Some(1), "{}\n{}", self.errors, self.report);
        assert!(self.dir().exists(), "what went wrong can be looked at");
    }

    /// Sees that each push that was sent was evaluated.
    pub(crate) fn assert_all_evaluated(&self) {
        let figures = &self.report["figures"];
        assert_eq!(figures["pushes"], figures["pushes-evaluated"], "{figures}");
    }
}

/// Plays a scenario that is shipped, or that is in a file.
pub(crate) fn play(scenario: &str, args: &[&str]) -> Played {
    let all = [&["run", scenario, "--json"], args].concat();
    Played::of(scenario, Launched::run(&all, RUN_WAIT))
}

/// Plays a scenario of a test.
pub(crate) fn play_text(name: &str, text: &str) -> Played {
    let dir = tempfile::tempdir().unwrap();
    play(&written(dir.path(), name, text), &[])
}

/// Plays a scenario that expects what does not come about.
pub(crate) fn play_red(name: &str, text: &str) -> Played {
    let played = play_text(name, text);
    played.assert_red();
    played
}

/// A scenario as a file.
pub(crate) fn written(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
