//! The node's tasks: none is detached, and one that ends before the node ends it.

use std::collections::BTreeMap;
use std::future::Future;

use tokio::task::{Id, JoinError, JoinSet};

use crate::error::NodeError;

/// Tasks with names.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<()>,
    names: BTreeMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a task that runs until the node stops.
    pub fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits until a task ends and says which; for ever when there is none. While the node runs,
    /// that is a fault: half a node must not go on as if it were whole.
    ///
    /// Safe to cancel.
    pub async fn first_end(&mut self) -> NodeError {
        match self.running.join_next_with_id().await {
            Some(ended) => self.fault(&ended),
            None => std::future::pending().await,
        }
    }

    /// Waits until every task has ended.
    pub async fn join(&mut self) {
        while let Some(ended) = self.running.join_next_with_id().await {
            if ended.is_err() {
                tracing::error!("{}", self.fault(&ended));
            }
        }
    }

    fn fault(&self, ended: &Result<(Id, ()), JoinError>) -> NodeError {
        let (id, how) = match ended {
            Ok((id, ())) => (*id, "by itself"),
            Err(error) => (error.id(), "in a panic"),
        };
        NodeError::Task { task: self.names.get(&id).copied().unwrap_or("task"), how }
    }
}

/// What a piece of work of a task came to; nothing if it was stopped. Its panic goes on in the task,
/// and so ends the node: what waits for the work would wait for ever.
pub fn joined<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_ends_first_is_named() {
        let mut tasks = Tasks::default();
        tasks.start("patient one", std::future::pending());
        tasks.start("short one", async {});
        assert!(tasks.first_end().await.to_string().starts_with("the short one ended by itself;"));
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        // A dropped sender is an error here, and unwrapping it is the panic.
        #[allow(clippy::unwrap_used)]
        tasks.start("clumsy one", async { wait.await.unwrap() });
        drop(go);
        assert!(tasks.first_end().await.to_string().starts_with("the clumsy one ended in a panic;"));
    }

    #[tokio::test]
    async fn a_panic_at_work_ends_its_task() {
        let mut tasks = Tasks::default();
        tasks.start("busy one", async {
            let mut work = JoinSet::new();
            work.spawn(async { 7 });
            assert_eq!(work.join_next().await.and_then(joined), Some(7));
            work.spawn(std::future::pending::<i32>()).abort();
            assert_eq!(work.join_next().await.and_then(joined), None);
            #[allow(clippy::unwrap_used)]
            work.spawn(async { "x".parse().unwrap() });
            work.join_next().await.and_then(joined);
            std::future::pending::<()>().await;
        });
        assert!(tasks.first_end().await.to_string().starts_with("the busy one ended in a panic;"));
    }
}
