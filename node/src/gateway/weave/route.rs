//! What is asked of the weave, by method and path. Pure.

use axum::http::{Method, StatusCode};
use weft_protocol::{Hash, Id};

use super::super::params;
use super::super::problem::Problem;

/// Characters of a path that an error repeats.
const SHOWN_CHARS_MAX: usize = 100;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// The state of the weave.
    Info,
    /// Its height.
    Height,
    /// What a transaction names to be a new one.
    Anchor,
    /// What storing so many bytes costs.
    Price(u64),
    /// A block.
    Block(BlockName),
    /// A batch in the form of a transaction.
    Tx(Id),
    /// In which block it is.
    Status(Id),
    /// Where its bytes are.
    Offset(Id),
    /// The bytes of a batch, or the data of an item.
    Data(Id),
    /// The chunk that holds this byte.
    Chunk(u64),
    /// What a wallet has.
    Balance,
    /// Take a transaction.
    PostTx,
    /// Take a chunk of one.
    PostChunk,
    /// A GraphQL query.
    GraphQl,
}

/// Which block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BlockName {
    Newest,
    Height(u64),
    Hash(Hash),
}

impl Ask {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it, or that nothing is there.
    pub(super) fn of(method: &Method, path: &str) -> Result<Self, Problem> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        match segments.as_slice() {
            ["graphql"] if is_read || *method == Method::POST => return Ok(Self::GraphQl),
            ["tx"] if *method == Method::POST => return Ok(Self::PostTx),
            ["chunk"] if *method == Method::POST => return Ok(Self::PostChunk),
            _ if !is_read => {
                let text = format!("{method} is not allowed here");
                return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, text));
            }
            _ => {}
        }
        let id = |text: &str| params::id("id", text);
        match segments.as_slice() {
            ["info"] => Ok(Self::Info),
            ["height"] => Ok(Self::Height),
            ["tx_anchor"] => Ok(Self::Anchor),
            ["price", bytes] => number("bytes", bytes).map(Self::Price),
            ["price", bytes, target] => id(target).and(number("bytes", bytes)).map(Self::Price),
            ["wallet", of, "balance"] => id(of).map(|_| Self::Balance),
            ["block", "current"] => Ok(Self::Block(BlockName::Newest)),
            ["block", "height", height] => {
                number("height", height).map(|at| Self::Block(BlockName::Height(at)))
            }
            ["block", "hash", hash] => id(hash).map(|of| Self::Block(BlockName::Hash(Hash(of.0)))),
            ["tx", of] => id(of).map(Self::Tx),
            ["tx", of, "status"] => id(of).map(Self::Status),
            ["tx", of, "offset"] => id(of).map(Self::Offset),
            ["chunk", offset] => number("offset", offset).map(Self::Chunk),
            ["raw", of] => id(of).map(Self::Data),
            [of] if of.parse::<Id>().is_ok() => id(of).map(Self::Data),
            _ => {
                let path: String = path.chars().take(SHOWN_CHARS_MAX).collect();
                Err(Problem::unknown(format!("there is nothing at {path}")))
            }
        }
    }
}

/// Digits alone.
fn number(name: &str, text: &str) -> Result<u64, Problem> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok());
    number.ok_or_else(|| Problem::invalid(format!("`{name}` is expected to be a whole number")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn paths_are_those_of_a_node_and_its_gateway() {
        let id = Id([7; 32]);
        let get = |path: &str| Ask::of(&Method::GET, path).map_err(|problem| problem.status.as_u16());
        let hash = BlockName::Hash(Hash(id.0));
        for (path, ask) in [
            ("/info".to_owned(), Ask::Info),
            ("/height".to_owned(), Ask::Height),
            ("/tx_anchor".to_owned(), Ask::Anchor),
            ("/price/12".to_owned(), Ask::Price(12)),
            (format!("/price/12/{id}"), Ask::Price(12)),
            (format!("/wallet/{id}/balance"), Ask::Balance),
            ("/block/current".to_owned(), Ask::Block(BlockName::Newest)),
            ("/block/height/3".to_owned(), Ask::Block(BlockName::Height(3))),
            (format!("/block/hash/{id}"), Ask::Block(hash)),
            (format!("/tx/{id}"), Ask::Tx(id)),
            (format!("/tx/{id}/status"), Ask::Status(id)),
            (format!("/tx/{id}/offset"), Ask::Offset(id)),
            (format!("//raw/{id}"), Ask::Data(id)),
            (format!("/{id}"), Ask::Data(id)),
            ("/chunk/1".to_owned(), Ask::Chunk(1)),
            ("/graphql".to_owned(), Ask::GraphQl),
        ] {
            assert_eq!(get(&path), Ok(ask), "{path}");
        }
        for (path, status) in [
            ("/chunk/-1", 400),
            ("/chunk/+1", 400),
            ("/chunk/99999999999999999999", 400),
            ("/price/x", 400),
            ("/price/1/x", 400),
            ("/tx/x", 400),
            ("/block/height/x", 400),
            ("/peers", 404),
            ("/", 404),
        ] {
            assert_eq!(get(path), Err(status), "{path}");
        }
        for path in ["/block", "/tx/x", "/info"] {
            assert_eq!(Ask::of(&Method::POST, path).unwrap_err().status.as_u16(), 405, "{path}");
        }
        assert_eq!(Ask::of(&Method::POST, "/tx").unwrap(), Ask::PostTx);
        assert_eq!(Ask::of(&Method::POST, "/chunk").unwrap(), Ask::PostChunk);
        assert_eq!(Ask::of(&Method::POST, "/graphql").unwrap(), Ask::GraphQl);
    }
}
