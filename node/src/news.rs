//! Pokes between roles. Data goes through the store; news only says where to look.
//!
//! News may be lost by a slow listener: every listener reads the store again when it lags, so
//! nothing depends on hearing all of it.

use tokio::sync::broadcast;
use weft_protocol::{Address, Id, Position};

/// News that a slow listener may fall behind by.
const NEWS_MAX: usize = 8_192;

/// Something that is now on disk.
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
    /// An attestation arrived or was made.
    Attested {
        /// Of which process.
        process: Id,
        /// Of which position.
        position: Position,
        /// Whose.
        attestor: Address,
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
