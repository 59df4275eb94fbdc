//! How large a query is, told from its text before anything reads it. Pure.
//!
//! What a query can cost grows with the fields that it names, how deep they are nested and how often
//! fragments are spread; the queries of today's clients are far below these limits.

/// Bytes of the text: the longest that clients send has fifteen hundred.
pub(super) const BYTES_MAX: usize = 8 * 1024;
/// Words in it, fields and names of arguments among them: that one has a hundred.
const WORDS_MAX: usize = 400;
/// Brackets inside of each other: it has seven.
const DEPTH_MAX: usize = 24;
/// Places where fragments are spread: each may double what is read.
const SPREADS_MAX: usize = 8;

/// Says what is too much of a query.
pub(super) fn excess(query: &str) -> Option<&'static str> {
    if query.len() > BYTES_MAX {
        return Some("the query has more than 8192 bytes");
    }
    let (mut words, mut depth, mut spreads) = (0, 0_usize, 0);
    let mut in_word = false;
    for (at, byte) in query.bytes().enumerate() {
        let is_letter = byte.is_ascii_alphanumeric() || byte == b'_';
        words += usize::from(is_letter && !in_word);
        in_word = is_letter;
        match byte {
            // Also those in texts and comments: what only looks like too much is refused as well.
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            b'.' => spreads += usize::from(query.as_bytes()[at..].starts_with(b"...")),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Some("the query nests deeper than 24 brackets");
        }
    }
    if words > WORDS_MAX {
        return Some("the query has more than 400 words");
    }
    (spreads > SPREADS_MAX).then_some("the query spreads fragments more than 8 times")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_small_and_bombs_are_not() {
        let asked = "query GetSchedulerLocation ($owner: String!) { transactions (owners: [$owner] tags: [ { name: \
                     \"Type\", values: [\"Scheduler-Location\"] } ] # newest\n sort: HEIGHT_DESC first: 1 ) { edges \
                     { node { tags { name value } } } } }";
        assert_eq!(excess(asked), None);
        let deep = "{a".repeat(DEPTH_MAX + 1);
        assert!(excess(&deep).is_some_and(|why| why.contains("deeper")));
        let wide = format!("{{{}}}", "a:info ".repeat(WORDS_MAX));
        assert!(excess(&wide).is_some_and(|why| why.contains("words")));
        let spread = format!("{{{}}}", "...f ".repeat(SPREADS_MAX + 1));
        assert!(excess(&spread).is_some_and(|why| why.contains("fragments")));
        assert!(excess(&" ".repeat(BYTES_MAX + 1)).is_some());
        // Closing what was never opened gains nothing.
        assert!(excess(&format!("{}{deep}", "}".repeat(100))).is_some());
    }
}
