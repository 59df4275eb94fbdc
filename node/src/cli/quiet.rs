//! What the log leaves out: lines of libraries that tell an operator of nothing, or that any peer can have written
//! as often as it likes.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Leaves out the lines of [`LEFT_OUT`].
pub(super) struct Quiet;

/// Who writes a line, at which level, and how it begins.
const LEFT_OUT: [(&str, Level, &str); 4] = [
    // Kademlia cannot fill its table while nobody is connected: a lone node is told so by the library at every start,
    // and by us when it matters.
    ("libp2p_kad::behaviour", Level::WARN, "Failed to trigger bootstrap"),
    // A line for each message of a peer that says it is on too many topics.
    ("libp2p_gossipsub::behaviour", Level::ERROR, "Subscription filter error"),
    // One for each announcement to a peer that takes none: it is counted, and disconnected.
    ("libp2p_gossipsub::behaviour", Level::WARN, "Send Queue full"),
    // One for each time that a peer asks too early to be in a mesh: it loses score.
    ("libp2p_gossipsub::behaviour", Level::WARN, "[Penalty] Peer attempted graft within backoff time"),
];

impl<S: Subscriber> Layer<S> for Quiet {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        let of_these =
            |(target, level, _): &&(&str, Level, &str)| about.target() == *target && about.level() == level;
        let mut left_out = LEFT_OUT.iter().filter(of_these).peekable();
        if left_out.peek().is_none() {
            return true;
        }
        let mut message = Message::default();
        event.record(&mut message);
        !left_out.any(|(_, _, begins)| message.0.starts_with(begins))
    }
}

/// What a line says.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn these_lines_are_left_out_and_no_other() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish().with(Quiet);
        tracing::subscriber::with_default(log, || {
            tracing::warn!(target: "libp2p_kad::behaviour", "Failed to trigger bootstrap: No known peers.");
            tracing::warn!(target: "libp2p_kad::behaviour", "another");
            tracing::error!(target: "libp2p_kad::behaviour", "Failed to trigger bootstrap: error");
            tracing::warn!("Failed to trigger bootstrap: of ours");
            tracing::error!(target: "libp2p_gossipsub::behaviour", peer = 1, "Subscription filter error: No known peers");
            tracing::warn!(target: "libp2p_gossipsub::behaviour", rpc = 1, "Send Queue full. No known peers.");
            tracing::warn!(target: "libp2p_gossipsub::behaviour", "of gossip");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains("No known peers"), "{text}");
    }
}
