//! Processes that a role has still to take up.
//!
//! After a start there may be thousands. They are taken up a few at a time, between other work, so
//! that a node is up at once whatever lies on its disk. What there is news of is taken up at once.

use std::collections::VecDeque;

use weft_protocol::Id;

/// Processes taken up in one turn: a few milliseconds of reading.
const PAGE: usize = 64;

/// The processes that are left, first come first served.
#[derive(Debug, Default)]
pub struct Backlog(VecDeque<Id>);

impl Backlog {
    /// These are left.
    pub fn new(processes: Vec<Id>) -> Self {
        Self(processes.into())
    }

    /// All these are left now, and whatever was left before is among them.
    pub fn refill(&mut self, processes: Vec<Id>) {
        self.0 = processes.into();
    }

    /// Waits for the turn of the next few, and takes them out. Waits for ever if none are left.
    ///
    /// Safe to cancel: they are taken out after the last wait.
    pub async fn turn(&mut self) -> Vec<Id> {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        // Others have their turn first.
        tokio::task::yield_now().await;
        self.page()
    }

    /// Takes out the next few at once.
    pub fn page(&mut self) -> Vec<Id> {
        self.0.drain(..PAGE.min(self.0.len())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_are_taken_once_and_in_order() {
        let all: Vec<Id> = (0..200).map(|number| Id([number; 32])).collect();
        let mut backlog = Backlog::new(all.clone());
        let mut taken = Vec::new();
        while taken.len() < all.len() {
            let page = backlog.turn().await;
            assert!((1..=PAGE).contains(&page.len()));
            taken.extend(page);
        }
        assert_eq!(taken, all);
        backlog.refill(all);
        assert_eq!(backlog.turn().await.first(), Some(&Id([0; 32])));
    }
}
