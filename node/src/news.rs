//! Pokes between roles. Data goes through the store; news only says where to look.
//!
//! News may be lost by a slow listener: every listener reads the store again when it lags, so
//! nothing depends on hearing all of it.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use weft_protocol::{Address, Id, Position};

/// News that a slow listener may fall behind by.
const NEWS_MAX: usize = 8_192;

/// Something that is now on disk, or in memory where that is said.
#[derive(Debug, Clone)]
pub enum News {
    /// This node now works for a process, or does more or less for it than before.
    Hosted {
        /// Which.
        process: Id,
    },
    /// A log grew to this slot.
    Grew {
        /// Which log.
        process: Id,
        /// Its newest slot.
        head: u64,
    },
    /// Somebody waits for the outcome of a slot of a process that is evaluated on demand.
    Wanted {
        /// Of which process.
        process: Id,
        /// Which slot.
        slot: u64,
    },
    /// A position was evaluated.
    Computed {
        /// Of which process.
        process: Id,
        /// Which position.
        position: Position,
        /// Whether it has an outbox.
        sends: bool,
    },
    /// Something that a position sent waits to be pushed, though it was not evaluated here just now.
    Unsent {
        /// Of which process.
        process: Id,
        /// Which position.
        position: Position,
    },
    /// An attestation arrived or was made.
    Attested {
        /// Of which process.
        process: Id,
        /// Of which position.
        position: Position,
        /// Whose.
        attestor: Address,
    },
    /// A message waits for a slot of a process, and is held here. It is in memory alone.
    Waits {
        /// Of which process.
        process: Id,
        /// Which message.
        item: Id,
        /// Who signed it.
        signer: Address,
        /// The postage that it paid, in bits.
        bits: u32,
    },
    /// Something a person should look at.
    Alarm {
        /// Of which process.
        process: Id,
        /// What.
        text: String,
    },
}

/// Where news is told and heard.
#[derive(Debug, Clone)]
pub struct Newsroom(broadcast::Sender<News>);

impl Newsroom {
    /// A newsroom without listeners.
    pub fn new() -> Self {
        Self(broadcast::Sender::new(NEWS_MAX))
    }

    /// Tells all listeners; nobody listening is fine.
    pub fn tell(&self, news: News) {
        let _ = self.0.send(news);
    }

    /// Hears all news from now on.
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }
}

impl Default for Newsroom {
    fn default() -> Self {
        Self::new()
    }
}

impl News {
    /// The process that it is of.
    pub const fn process(&self) -> &Id {
        let (Self::Hosted { process }
        | Self::Grew { process, .. }
        | Self::Wanted { process, .. }
        | Self::Computed { process, .. }
        | Self::Unsent { process, .. }
        | Self::Attested { process, .. }
        | Self::Waits { process, .. }
        | Self::Alarm { process, .. }) = self;
        process
    }
}

/// Waits for news of a process, other than that somebody waits for it; news that was missed may have been of it. Safe to
/// cancel.
pub async fn heard_of(news: &mut broadcast::Receiver<News>, process: Id) {
    loop {
        match news.recv().await {
            Ok(News::Wanted { .. }) => {}
            Ok(news) if *news.process() == process => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // The node stops, and nothing more comes.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_waiter_hears_of_its_own_process_alone() {
        let (room, mine, other) = (Newsroom::new(), Id([1; 32]), Id([2; 32]));
        let mut news = room.listen();
        room.tell(News::Grew { process: other, head: 1 });
        room.tell(News::Wanted { process: mine, slot: 1 });
        assert_eq!(heard_of(&mut news, mine).now_or_never(), None);
        room.tell(News::Grew { process: mine, head: 1 });
        assert_eq!(heard_of(&mut news, mine).now_or_never(), Some(()));
        // What was missed may have been of any process.
        for _ in 0..=NEWS_MAX {
            room.tell(News::Hosted { process: other });
        }
        heard_of(&mut news, mine).await;
    }
}
