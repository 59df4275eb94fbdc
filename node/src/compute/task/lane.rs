//! One line of modules that are compiled.

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use weft_vm::HostFault;

use crate::compute::hosted::HostError;

/// Who has a turn. A compiler takes all cores and much memory, and looking whether a module is compiled reads all of it: at
/// most one compiler and one look at a time.
pub(super) struct Lane {
    compiler: Semaphore,
    look: Semaphore,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { compiler: Semaphore::new(1), look: Semaphore::new(1) }
    }

    /// Gives nobody a turn any more.
    pub(super) fn close(&self) {
        self.compiler.close();
        self.look.close();
    }

    /// Compiles a module when it is its turn; one that was compiled since it was asked for need not wait for that. None if
    /// the lane is closed before.
    pub(super) async fn compile(
        &self,
        is_compiled: impl FnOnce() -> Result<bool, HostError> + Send + 'static,
        compile: impl FnOnce() -> Result<(), HostError> + Send + 'static,
    ) -> Option<Result<(), HostError>> {
        if self.is_taken() {
            let _look = self.look.acquire().await.ok()?;
            // Whoever looked before may have taken long.
            if self.is_taken() {
                match ended(spawn_blocking(is_compiled).await) {
                    Ok(true) => return Some(Ok(())),
                    Ok(false) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
        }
        let _turn = self.compiler.acquire().await.ok()?;
        Some(ended(spawn_blocking(compile).await))
    }

    fn is_taken(&self) -> bool {
        self.compiler.available_permits() == 0
    }
}

/// A module over which this program panics does so again.
fn ended<T>(joined: Result<Result<T, HostError>, JoinError>) -> Result<T, HostError> {
    joined.unwrap_or_else(|error| Err(HostError::Engine(HostFault::Uncompilable(error.to_string()))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    /// Longer than any of this takes.
    const WAIT: Duration = Duration::from_secs(60);

    /// How many are at something now, and the most that ever were.
    #[derive(Debug, Clone, Default)]
    struct AtOnce(Arc<[AtomicUsize; 2]>);

    impl AtOnce {
        /// Does something that lasts until it is told what came of it.
        fn until<T>(&self, told: &Receiver<T>) -> T {
            let now = self.0[0].fetch_add(1, Ordering::SeqCst) + 1;
            self.0[1].fetch_max(now, Ordering::SeqCst);
            let came = told.recv().unwrap();
            self.0[0].fetch_sub(1, Ordering::SeqCst);
            came
        }

        fn now(&self) -> usize {
            self.0[0].load(Ordering::SeqCst)
        }

        fn most(&self) -> usize {
            self.0[1].load(Ordering::SeqCst)
        }
    }

    /// A lane, and who is at work in it.
    #[derive(Clone)]
    struct Works {
        lane: Arc<Lane>,
        looks: AtOnce,
        compilers: AtOnce,
    }

    /// A module that is wanted: it is told what a look found, and what the compiler says.
    struct Wanted {
        look: Sender<bool>,
        compiler: Sender<()>,
        came: JoinHandle<Option<Result<(), HostError>>>,
    }

    impl Works {
        fn new() -> Self {
            Self { lane: Arc::new(Lane::new()), looks: AtOnce::default(), compilers: AtOnce::default() }
        }

        fn want(&self) -> Wanted {
            let ((look, looked), (compiler, compiled)) = (channel(), channel());
            let Self { lane, looks, compilers } = self.clone();
            let came = tokio::spawn(async move {
                let compile = move || {
                    compilers.until(&compiled);
                    Ok(())
                };
                lane.compile(move || Ok(looks.until(&looked)), compile).await
            });
            Wanted { look, compiler, came }
        }

        async fn until(&self, is_so: impl Fn(&Self) -> bool) {
            let soon = async {
                while !is_so(self) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(WAIT, soon).await.unwrap();
        }
    }

    #[tokio::test]
    async fn one_compiler_and_one_look_are_at_work_at_a_time() {
        let works = Works::new();
        let first = works.want();
        works.until(|works| works.compilers.now() == 1).await;
        let others: Vec<Wanted> = (0..20).map(|_| works.want()).collect();
        for (number, other) in others.iter().enumerate() {
            works.until(|works| works.looks.now() >= 1).await;
            other.look.send(number % 2 == 0).unwrap();
            other.compiler.send(()).unwrap();
            if number % 2 == 0 {
                works.until(|_| other.came.is_finished()).await;
            }
        }
        assert_eq!((works.looks.most(), works.compilers.now()), (1, 1), "those that lack one wait for it");
        first.compiler.send(()).unwrap();
        for one in others.into_iter().chain([first]) {
            assert!(matches!(one.came.await.unwrap(), Some(Ok(()))));
        }
        assert_eq!((works.looks.most(), works.compilers.most()), (1, 1));
    }

    #[tokio::test]
    async fn nobody_looks_where_the_compiler_is_free() {
        let works = Works::new();
        let one = works.want();
        drop(one.look);
        one.compiler.send(()).unwrap();
        assert!(matches!(one.came.await.unwrap(), Some(Ok(()))));
        assert_eq!((works.looks.most(), works.compilers.most()), (0, 1));
    }

    #[tokio::test]
    async fn nobody_looks_who_waited_for_a_look_until_the_compiler_was_free() {
        let works = Works::new();
        let (first, second, third) = (works.want(), works.want(), works.want());
        works.until(|works| works.compilers.now() == 1 && works.looks.now() == 1).await;
        first.compiler.send(()).unwrap();
        works.until(|works| works.compilers.now() == 0 && !works.lane.is_taken()).await;
        second.look.send(true).unwrap();
        drop(third.look);
        third.compiler.send(()).unwrap();
        for one in [first.came, second.came, third.came] {
            assert!(matches!(timeout(WAIT, one).await.unwrap().unwrap(), Some(Ok(()))));
        }
        assert_eq!((works.looks.most(), works.compilers.most()), (1, 1));
    }

    #[tokio::test]
    async fn a_closed_lane_ends_what_is_at_work_and_begins_nothing() {
        let works = Works::new();
        let (first, waits) = (works.want(), works.want());
        works.until(|works| works.compilers.now() == 1 && works.looks.now() == 1).await;
        works.lane.close();
        waits.look.send(false).unwrap();
        // A compiler that begins all the same fails.
        drop(waits.compiler);
        first.compiler.send(()).unwrap();
        assert!(matches!(first.came.await.unwrap(), Some(Ok(()))));
        assert!(waits.came.await.unwrap().is_none());
        let late = works.want();
        drop((late.look, late.compiler));
        assert!(late.came.await.unwrap().is_none());
        assert_eq!(works.compilers.most(), 1);
    }

    #[tokio::test]
    async fn what_panics_is_a_fault_of_the_module() {
        let lane = Lane::new();
        let compiled = lane.compile(|| Ok(false), || panic!("a compiler's")).await;
        assert!(matches!(compiled, Some(Err(HostError::Engine(HostFault::Uncompilable(_))))));
        assert!(!lane.is_taken());
    }
}
