//! What stands behind the `?` of an address.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use percent_encoding::percent_decode_str;
use weft_protocol::Id;

use super::problem::Problem;
use crate::control::api::ResultOf;

/// Characters of a value that an error repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// Digits of a slot: more are none, and ids have 43 characters.
const SLOT_DIGITS_MAX: usize = 20;

/// The parameters of a request; of one that stands twice, the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    pub(super) fn of(uri: &Uri) -> Result<Self, Problem> {
        let parsed = Query::<BTreeMap<String, String>>::try_from_uri(uri);
        let Query(params) = parsed.map_err(|error| Problem::invalid(format!("the query: {error}")))?;
        Ok(Self(params))
    }

    /// A value; one that is empty is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn id(&self, name: &str) -> Result<Option<Id>, Problem> {
        self.get(name).map(|text| id(name, text)).transpose()
    }

    /// The id that must be there.
    pub(super) fn need_id(&self, name: &str) -> Result<Id, Problem> {
        self.id(name)?.ok_or_else(|| Problem::invalid(format!("the parameter `{name}` is missing")))
    }

    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| {
            let expected = || format!("`{name}` is `{}`; expected a whole number", shown(text));
            text.trim().parse().map_err(|_| Problem::invalid(expected()))
        };
        self.get(name).map(parse).transpose()
    }
}

/// An id as clients write it.
pub(super) fn id(name: &str, text: &str) -> Result<Id, Problem> {
    let expected = || format!("`{name}` is `{}`; expected an id of 43 characters", shown(text));
    text.parse().map_err(|_| Problem::invalid(expected()))
}

/// A slot in figures, or else an id.
pub(super) fn position(text: &str) -> Result<ResultOf, Problem> {
    let is_slot = text.len() <= SLOT_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(slot) if is_slot => Ok(ResultOf::Slot(slot)),
        _ => id("message", text).map(ResultOf::Item),
    }
}

/// A part of a path without its percent signs; as it is where they are none.
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
pub(super) fn of(query: &str) -> Params {
    Params::of(&format!("/?{query}").parse().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn parameters_are_read_as_clients_write_them() {
        let id = Id([1; 32]);
        let params = of(&format!("process-id={id}&base-layer&limit=7&to=&from=1&from=2"));
        assert_eq!(params.id("process-id").unwrap(), Some(id));
        assert!(params.has("base-layer") && !params.has("exclude"));
        assert_eq!((params.get("from"), params.get("to")), (Some("2"), None));
        assert_eq!(params.number::<u64>("limit").unwrap(), Some(7));
        assert_eq!(params.number::<u64>("nothing").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "x".repeat(1_000);
        let error = of(&format!("process-id={long}")).need_id("process-id").unwrap_err();
        assert!(error.text.contains("`process-id` is `xxx") && error.text.len() < 200, "{}", error.text);
        assert!(of("").need_id("process-id").unwrap_err().text.contains("is missing"));
        assert!(of("limit=-1").number::<u64>("limit").is_err());
    }
}
