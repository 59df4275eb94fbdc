//! What the log leaves out: one warning of a library that tells an operator of nothing.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Leaves out that Kademlia cannot fill its table while nobody is connected: a lone node is told so by
/// the library at every start, and by us when it matters.
pub(super) struct Quiet;

const TARGET: &str = "libp2p_kad::behaviour";
const MESSAGE: &str = "Failed to trigger bootstrap";

impl<S: Subscriber> Layer<S> for Quiet {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        if about.target() != TARGET || *about.level() != Level::WARN {
            return true;
        }
        let mut is_it = IsIt(false);
        event.record(&mut is_it);
        !is_it.0
    }
}

/// Whether the message is the one.
struct IsIt(bool);

impl Visit for IsIt {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 |= field.name() == "message" && format!("{value:?}").starts_with(MESSAGE);
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
    fn one_warning_is_left_out_and_no_other() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish().with(Quiet);
        tracing::subscriber::with_default(log, || {
            tracing::warn!(target: TARGET, "{MESSAGE}: No known peers.");
            tracing::warn!(target: TARGET, "another");
            tracing::error!(target: TARGET, "{MESSAGE}: error");
            tracing::warn!("{MESSAGE}: of ours");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains("No known peers"), "{text}");
    }
}
