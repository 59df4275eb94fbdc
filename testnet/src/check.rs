//! What is expected and what was seen.

use std::fmt::{Debug, Display};
use std::time::{Duration, Instant};

use serde::Serialize;

/// One expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Of what.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whether they agree.
    pub holds: bool,
}

/// One step of the tour and all that was expected of it.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What is done.
    pub name: &'static str,
    /// What came of it, for a person.
    pub said: String,
    /// Whether everything was as expected.
    pub ok: bool,
    /// How long it took.
    pub ms: u64,
    /// What was expected.
    pub checks: Vec<Check>,
}

/// A step under way.
#[derive(Debug)]
pub struct Open {
    name: &'static str,
    since: Instant,
    checks: Vec<Check>,
}

impl Open {
    /// Begins a step.
    pub fn new(name: &'static str) -> Self {
        Self { name, since: Instant::now(), checks: Vec::new() }
    }

    /// Expects two values to be equal.
    pub fn equal<T: PartialEq + Display + ?Sized>(
        &mut self,
        what: impl Into<String>,
        expected: &T,
        seen: &T,
    ) {
        self.note(what, expected.to_string(), seen.to_string(), expected == seen);
    }

    /// Expects two values to be equal that have no form for people.
    pub fn same<T: PartialEq + Debug + ?Sized>(&mut self, what: impl Into<String>, expected: &T, seen: &T) {
        self.note(what, format!("{expected:?}"), format!("{seen:?}"), expected == seen);
    }

    /// Expects something that is no equality.
    pub fn that(
        &mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        seen: impl Display,
        holds: bool,
    ) {
        self.note(what, expected.into(), seen.to_string(), holds);
    }

    /// Takes in what was expected and seen in a part of the step that was open by itself.
    pub fn take(&mut self, part: Self) {
        self.checks.extend(part.checks);
    }

    /// Notes that a step could not go on.
    pub fn broke(&mut self, why: impl Display) {
        self.note(self.name, "to be done".to_owned(), why.to_string(), false);
    }

    fn note(&mut self, what: impl Into<String>, expected: String, seen: String, holds: bool) {
        self.checks.push(Check { what: what.into(), expected, seen, holds });
    }

    /// Ends the step with what to tell a person.
    pub fn close(self, said: impl Into<String>) -> Step {
        let ok = self.checks.iter().all(|check| check.holds);
        let ms = millis(self.since.elapsed());
        Step { name: self.name, said: said.into(), ok, ms, checks: self.checks }
    }
}

/// Whole milliseconds, as JSON can hold them.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_ok_when_every_expectation_holds() {
        let mut step = Open::new("count");
        step.equal("the count", "5", "5");
        step.same("the head", &Some(7), &Some(7));
        step.that("attestors", "at least 2", 3, true);
        let step = step.close("counted");
        assert!(step.ok && step.checks.len() == 3);
        assert_eq!(step.checks[1].expected, "Some(7)");
    }

    #[test]
    fn one_that_does_not_hold_is_told_with_both_values() {
        let mut step = Open::new("count");
        step.equal("the count", "5", "6");
        step.equal("the code", &0, &0);
        let step = step.close("counted");
        assert!(!step.ok);
        let check = Check { what: "the count".into(), expected: "5".into(), seen: "6".into(), holds: false };
        assert_eq!(step.checks[0], check);
    }

    #[test]
    fn what_a_part_of_a_step_saw_counts() {
        let mut part = Open::new("spawn");
        part.equal("the slot", &0, &1);
        let mut step = Open::new("spawn");
        step.equal("the slot", &0, &0);
        step.take(part);
        let step = step.close("");
        assert!(!step.ok && step.checks.len() == 2);
    }

    #[test]
    fn a_step_that_breaks_is_not_ok() {
        let mut step = Open::new("send");
        step.broke("node 2 is gone");
        let step = step.close("");
        assert!(!step.ok);
        assert_eq!(step.checks[0].seen, "node 2 is gone");
    }
}
