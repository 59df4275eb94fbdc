//! A gateway in one run: what it was asked, and what it was good for.

use serde_json::Value;

use super::ask::{self, Listed};
use super::gateway::{Gateway, shown};

/// Faults that are told one by one; the rest are counted.
const FAULTS_SHOWN_MAX: usize = 16;

/// A gateway, and what it was good for.
pub(super) struct Asked {
    pub(super) gateway: Gateway,
    /// Slots of which it gave the assignment.
    pub(super) slots: u64,
    /// What was wrong with it, the first times.
    pub(super) faults: Vec<String>,
    pub(super) faults_count: u64,
    /// The newest assignment that it listed at the beginning.
    pub(super) newest: Option<Listed>,
}

impl Asked {
    pub(super) fn of(gateway: Gateway) -> Self {
        Self { gateway, slots: 0, faults: Vec::new(), faults_count: 0, newest: None }
    }

    /// What it lists; none where it lists nothing, which is noted.
    pub(super) async fn query(&mut self, question: &Value) -> Option<Vec<Listed>> {
        match self.gateway.query(question).await.map(ask::read) {
            Ok(Some(listed)) => Some(listed),
            Ok(None) => {
                self.fault("its answer to a query is no list of transactions");
                None
            }
            Err(error) => {
                self.fault(error);
                None
            }
        }
    }

    /// Notes what was wrong.
    pub(super) fn fault(&mut self, text: impl ToString) {
        self.faults_count += 1;
        if self.faults.len() < FAULTS_SHOWN_MAX {
            self.faults.push(shown(&text.to_string()));
        }
    }
}
