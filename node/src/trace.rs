//! One span for each message, whichever role has it in hand.
//!
//! Roles pass messages through the disk and through peers, so a span cannot travel with them.
//! Instead whoever works on one enters a span of the same name and field: what is logged of a message
//! is found by the short form of its id, on every node. Of a push the span is that of the message
//! that sent it, and inside that the one of the pushed item.

use tracing::Span;
use weft_protocol::Id;

/// Characters of an id that tell messages apart for a person.
const SHORT_CHARS: usize = 8;

/// The beginning of an id, for lines that show many.
pub fn short(id: &Id) -> String {
    let mut text = id.to_string();
    text.truncate(SHORT_CHARS);
    text
}

/// The span of a message.
pub fn message(item: &Id) -> Span {
    let span = tracing::info_span!("message", id = tracing::field::Empty);
    // A name costs something to write: only where somebody reads it.
    if !span.is_disabled() {
        span.record("id", short(item));
    }
    span
}
