//! What a request asks for, by its method, path and query. Pure.
//!
//! All units stand on one port, as their paths do not collide. Where `/ID` could be an item or a log,
//! the parameters of a page decide, or a first segment that names the unit: `/su`, `/cu`, `/mu`,
//! `/gateway`. Repeated slashes count as one: clients join addresses with one too many.

use axum::http::{Method, StatusCode};
use weft_protocol::Id;

use super::hyperbeam;
use super::params::{self, Params};
use super::problem::Problem;
use crate::control::api::ResultOf;
use crate::legacy::messages::Span;
use crate::reads::ResultsQuery;
use crate::results::Sort;

/// Characters of a path that an error repeats.
const SHOWN_CHARS_MAX: usize = 100;
/// The word with which a page is asked for up to this moment.
const NOW: &str = "now";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Who answers here.
    Root,
    /// Whether it does.
    Health,
    /// A signed item for its scheduler.
    Submit,
    /// A slot for an existing item.
    Assign { process: Id, item: Id, base_layer: bool, exclude: Vec<String> },
    /// Let time pass in a process, or no more.
    Monitor { process: Id, on: bool },
    /// The result of a message, an assignment or a slot.
    Result { process: Id, of: ResultOf },
    /// A page of results, also of crons alone.
    Results { process: Id, query: ResultsQuery },
    /// What a message would come to.
    DryRun { process: Id, to: Option<Id> },
    /// What happens in a process, as it happens, from a slot on; from the newest if absent.
    Events { process: Id, from: Option<u64> },
    /// The memory of a process after a slot.
    State { process: Id, to: Option<Id> },
    /// A page of the log.
    Page { process: Id, span: Span, limit: Option<usize> },
    /// One message, or else a page where the id is that of the process.
    Message { process: Id, id: Option<Id> },
    /// The process itself.
    Process { process: Id },
    /// The time of this node.
    Timestamp,
    /// A GraphQL query.
    GraphQl,
    /// What HyperBEAM answers.
    HyperBeam(hyperbeam::Ask),
    /// The data of an item.
    Data { id: Id },
    /// An item as a transaction.
    Tx { id: Id },
    /// Where it stands.
    TxStatus { id: Id },
    /// Its data in base64url.
    TxData { id: Id },
    /// The weave's state.
    Info,
    /// Its height.
    Height,
    /// A block of it; the newest if absent.
    Block { height: Option<u64> },
}

/// Which unit the first segment names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Any,
    Scheduler,
    Gateway,
}

impl Route {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it, or that nothing is there.
    pub(super) fn of(method: &Method, path: &str, params: &Params) -> Result<Self, Problem> {
        let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let unit = match segments.first() {
            Some(&"su") => Unit::Scheduler,
            Some(&"gateway") => Unit::Gateway,
            _ => Unit::Any,
        };
        if unit != Unit::Any || matches!(segments.first(), Some(&("mu" | "cu"))) {
            segments.remove(0);
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if let Some(ask) = hyperbeam::ask(&segments, method) {
            return ask.map(Self::HyperBeam);
        }
        match (segments.as_slice(), method) {
            (["graphql"], &Method::GET | &Method::HEAD | &Method::POST) => Ok(Self::GraphQl),
            ([], &Method::POST) => submit(params),
            (["dry-run"], &Method::POST) => {
                Ok(Self::DryRun { process: params.need_id("process-id")?, to: params.id("to")? })
            }
            (["monitor", process], &Method::POST | &Method::DELETE) => {
                Ok(Self::Monitor { process: params::id("process", process)?, on: *method == Method::POST })
            }
            (["graphql" | "dry-run"] | ["monitor", _], _) => Err(wrong_method(method)),
            (segments, _) if is_read => read(segments, unit, params).unwrap_or_else(|| Err(nothing(path))),
            (segments, _) if read(segments, unit, params).is_some() => Err(wrong_method(method)),
            _ => Err(nothing(path)),
        }
    }
}

fn nothing(path: &str) -> Problem {
    let path: String = path.chars().take(SHOWN_CHARS_MAX).collect();
    Problem::unknown(format!("there is nothing at {path}"))
}

fn wrong_method(method: &Method) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed here"))
}

fn submit(params: &Params) -> Result<Route, Problem> {
    match (params.id("process-id")?, params.id("assign")?) {
        (None, None) => Ok(Route::Submit),
        (Some(process), Some(item)) => {
            let exclude = params.get("exclude").unwrap_or_default().split(',');
            let exclude = exclude.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
            let base_layer = params.has("base-layer");
            Ok(Route::Assign { process, item, base_layer, exclude: exclude.collect() })
        }
        _ => Err(Problem::invalid(
            "You must set both process-id and assign to send an assignment, not just one",
        )),
    }
}

/// What is read at this path; none if nothing is there.
fn read(segments: &[&str], unit: Unit, params: &Params) -> Option<Result<Route, Problem>> {
    Some(match segments {
        [] => Ok(Route::Root),
        ["health"] => Ok(Route::Health),
        ["timestamp"] => Ok(Route::Timestamp),
        ["info"] => Ok(Route::Info),
        ["height"] => Ok(Route::Height),
        ["block", "current"] => Ok(Route::Block { height: None }),
        ["block", "height", height] => match height.parse() {
            Ok(height) => Ok(Route::Block { height: Some(height) }),
            Err(_) => return None,
        },
        ["result", of] => result(of, params),
        ["results", process] => results(process, params, false),
        ["cron", process] => results(process, params, true),
        ["state", process] => params::id("process", process)
            .and_then(|process| Ok(Route::State { process, to: params.id("to")? })),
        ["events", process] => params::id("process", process)
            .and_then(|process| Ok(Route::Events { process, from: first_after(params)? })),
        ["processes", process] => params::id("process", process).map(|process| Route::Process { process }),
        ["raw", id] => params::id("id", id).map(|id| Route::Data { id }),
        ["tx", id] => params::id("id", id).map(|id| Route::Tx { id }),
        ["tx", id, "status"] => params::id("id", id).map(|id| Route::TxStatus { id }),
        ["tx", id, "data"] => params::id("id", id).map(|id| Route::TxData { id }),
        [process, "latest"] => {
            params::id("process", process).map(|process| Route::Message { process, id: None })
        }
        [text] => {
            let id: Id = text.parse().ok()?;
            one(id, unit, params)
        }
        _ => return None,
    })
}

/// An id alone: a log or a message of the scheduler, or an item of the gateway.
fn one(id: Id, unit: Unit, params: &Params) -> Result<Route, Problem> {
    let of_page = ["process-id", "from", "to", "limit", "from-nonce", "to-nonce"];
    let is_page = of_page.iter().any(|name| params.has(name));
    if unit == Unit::Gateway || (unit == Unit::Any && !is_page) {
        return Ok(Route::Data { id });
    }
    match params.id("process-id")? {
        Some(process) if process != id => Ok(Route::Message { process, id: Some(id) }),
        _ => Ok(Route::Page { process: id, span: span(params)?, limit: params.number("limit")? }),
    }
}

/// The slot from which on events are asked for: those after `from-nonce`, as in pages.
fn first_after(params: &Params) -> Result<Option<u64>, Problem> {
    let after = params.number::<i128>("from-nonce")?;
    Ok(after.map(|after| u64::try_from(after.saturating_add(1).max(0)).unwrap_or(u64::MAX)))
}

fn span(params: &Params) -> Result<Span, Problem> {
    if !params.has("from-nonce") && !params.has("to-nonce") {
        return Ok(Span::Times { from: params.number("from")?, to: params.number("to")? });
    }
    // -1 stands before the process itself.
    let from = params.number::<i128>("from-nonce")?.map(u64::try_from).and_then(Result::ok);
    Ok(Span::Nonces { from, to: params.number("to-nonce")? })
}

fn result(of: &str, params: &Params) -> Result<Route, Problem> {
    let process = params.need_id("process-id")?;
    Ok(Route::Result { process, of: params::position(of)? })
}

fn results(process: &str, params: &Params, crons: bool) -> Result<Route, Problem> {
    let process = params::id("process", process)?;
    let sort = match params.get("sort").map(str::to_ascii_uppercase).as_deref() {
        None | Some("ASC") => Sort::Asc,
        Some("DESC") => Sort::Desc,
        Some(_) => return Err(Problem::invalid("`sort` is neither ASC nor DESC")),
    };
    let to = params.get("to").map(str::to_owned);
    let is_now = crons && to.is_none() || to.as_deref() == Some(NOW);
    let query = ResultsQuery {
        from: params.get("from").map(str::to_owned),
        to: to.filter(|to| to != NOW),
        limit: params.number("limit")?,
        sort,
        crons,
        now_ms: is_now.then_some(super::NOW_MS),
    };
    Ok(Route::Results { process, query })
}

#[cfg(test)]
mod tests;
