//! How large a query is, told from its text before anything reads it. Pure.
//!
//! What a query can cost grows with the fields that it names, how deep they are nested, and fragments
//! would multiply them; the queries of today's clients are far below these limits.

/// Bytes of the text: the longest that clients send has fifteen hundred.
pub(super) const BYTES_MAX: usize = 8 * 1024;
/// Words in it, fields and names of arguments among them: that one has a hundred.
const WORDS_MAX: usize = 400;
/// Brackets inside of each other: it has seven.
const DEPTH_MAX: usize = 24;
/// How a fragment is spread: one spread may double what is read, and today's clients use none.
const SPREAD: &str = "...";

/// The number of words in a query, unless it has too much of something.
///
/// # Errors
/// What that is.
pub(super) fn words(query: &str) -> Result<usize, &'static str> {
    if query.len() > BYTES_MAX {
        return Err("the query has more than 8192 bytes");
    }
    if query.contains(SPREAD) {
        return Err("fragment spreads are not supported");
    }
    let (mut words, mut depth, mut in_word) = (0, 0_usize, false);
    for byte in query.bytes() {
        let is_letter = byte.is_ascii_alphanumeric() || byte == b'_';
        words += usize::from(is_letter && !in_word);
        in_word = is_letter;
        match byte {
            // Also those in texts and comments: what only looks like too much is refused as well.
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err("the query nests deeper than 24 brackets");
        }
    }
    if words > WORDS_MAX { Err("the query has more than 400 words") } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_small_and_bombs_are_not() {
        let asked = "query GetSchedulerLocation ($owner: String!) { transactions (owners: [$owner] tags: [ { name: \
                     \"Type\", values: [\"Scheduler-Location\"] } ] # newest\n sort: HEIGHT_DESC first: 1 ) { edges \
                     { node { tags { name value } } } } }";
        assert_eq!(words(asked), Ok(23));
        let deep = "{a".repeat(DEPTH_MAX + 1);
        let is = |query: &str, told: &str| words(query).is_err_and(|why| why.contains(told));
        assert!(is(&deep, "deeper"));
        let wide = format!("{{{}}}", "a:info ".repeat(WORDS_MAX));
        assert!(is(&wide, "words"));
        assert!(is("{...f}", "fragment spreads"));
        assert!(is(&" ".repeat(BYTES_MAX + 1), "bytes"));
        // Closing what was never opened gains nothing.
        assert!(is(&format!("{}{deep}", "}".repeat(100)), "deeper"));
    }
}
