//! The few routes of HyperBEAM that aoconnect's mainnet mode and aos 2 use, over the same engine: items are
//! ANS-104, slots are nonces, devices are not looked at.
//!
//! What is asked comes as a signed item too; where it only reads, the signature is not needed and not read.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use weft_protocol::owner::owner_text;
use weft_protocol::{DataItem, Id, Tag};

use super::body::BODY_BYTES_MAX;
use super::desk::Desk;
use super::messenger::Taken;
use super::params;
use super::problem::{self, Problem, with_type};
use crate::control::api::ResultOf;
use crate::dry_run::DryRunBody;
use crate::legacy::messages::{Message, Span};
use crate::reads::Read;

/// What a path calls the device of processes.
const DEVICE: &str = "~process@1.0";
/// Where the state is only looked at.
const EXECUTION: &str = "as=execution";
/// Who asks where nobody says so.
const NOBODY: &str = "1234";
/// The assignment's tag with its slot.
const NONCE: &str = "Nonce";

/// What is asked of HyperBEAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// The address of this node.
    Address,
    /// A signed item for its scheduler.
    Push,
    /// What a slot or a message came to.
    Compute { process: Id, of: ResultOf },
    /// The newest slot.
    Current { process: Id },
    /// What a message with these tags would come to.
    DryRun { process: Id, tags: Vec<(String, String)> },
}

/// Reads a path of HyperBEAM; none if it is none.
pub(super) fn ask(segments: &[&str], method: &Method) -> Option<Result<Ask, Problem>> {
    let process = |segment: &str| params::id("process", segment.strip_suffix(DEVICE).unwrap_or(segment));
    let is_post = *method == Method::POST;
    Some(match segments {
        ["~meta@1.0", "info", "address"] => Ok(Ask::Address),
        ["push"] if is_post => Ok(Ask::Push),
        [of, "push"] if is_post => process(of).map(|_| Ask::Push),
        [of, "slot", "current"] => process(of).map(|process| Ask::Current { process }),
        [of, "compute", results] => {
            let of_what = results.strip_prefix("results=")?;
            process(of).and_then(|process| Ok(Ask::Compute { process, of: params::position(of_what)? }))
        }
        [of, EXECUTION, compute] if compute.split('&').next() == Some("compute") => {
            // The client joins names and values as they are: they end at the next `&`.
            let tags = compute.split('&').skip(1).filter_map(|tag| tag.split_once('='));
            let tags = tags.map(|(name, value)| (params::decoded(name), params::decoded(value))).collect();
            process(of).map(|process| Ask::DryRun { process, tags })
        }
        _ => return None,
    })
}

impl Desk {
    /// Answers what is asked of HyperBEAM.
    pub(super) async fn hyperbeam(&self, ask: Ask, body: Body) -> Result<Response, Problem> {
        match ask {
            Ask::Address => Ok(text(self.shared.address.to_string())),
            Ask::Push => self.push(body).await,
            Ask::Compute { process, of } => {
                // What was sent with it says nothing more; whoever waits has sent all of it.
                drop(self.bodies.read(body, BODY_BYTES_MAX).await?);
                let info = self.wait_for_result(process, of).await?;
                Ok(raw(info.get("result")))
            }
            Ask::Current { process } => {
                drop(self.bodies.read(body, BODY_BYTES_MAX).await?);
                self.current(process).await
            }
            Ask::DryRun { process, tags } => self.dry_run_of(process, tags, body).await,
        }
    }

    async fn push(&self, body: Body) -> Result<Response, Problem> {
        let Taken { item, process, slot, is_process } = self.take(body).await?;
        let process = process.to_string();
        let mut response =
            problem::json(StatusCode::OK, &json!({ "process": process, "slot": slot, "id": item }));
        let headers = response.headers_mut();
        headers.insert("slot", HeaderValue::from(slot));
        if is_process && let Ok(process) = HeaderValue::from_str(&process) {
            headers.insert("process", process);
        }
        Ok(response)
    }

    async fn current(&self, process: Id) -> Result<Response, Problem> {
        self.find(process).await?;
        let newest = match self.read(process, Read::Message { id: None }).await {
            Ok(newest) => serde_json::from_value::<Message>(newest).map_err(Problem::fault)?,
            Err(problem) if problem.status == StatusCode::NOT_FOUND => {
                // There may be only the process itself, or nobody who was reached has the log.
                let span = Span::Nonces { from: None, to: Some(0) };
                let first = self.read(process, Read::Messages { span, limit: Some(1) }).await;
                let is_there = first.is_ok_and(|first| {
                    first.get("edges").and_then(Value::as_array).is_some_and(|edges| !edges.is_empty())
                });
                return if is_there { Ok(text("0".to_owned())) } else { Err(problem) };
            }
            Err(problem) => return Err(problem),
        };
        let nonce = newest.assignment.tags.iter().find(|tag| tag.name == NONCE);
        Ok(text(nonce.map_or("0", |tag| tag.value.as_str()).to_owned()))
    }

    async fn dry_run_of(
        &self,
        process: Id,
        tags: Vec<(String, String)>,
        body: Body,
    ) -> Result<Response, Problem> {
        let body = self.bodies.read(body, BODY_BYTES_MAX).await?;
        let item = DataItem::parse(body.bytes.clone()).ok().map(|item| item.claims().clone());
        let data = item.as_ref().map(|item| String::from_utf8_lossy(&item.data()).into_owned());
        let mut all: BTreeMap<String, String> = tags.into_iter().collect();
        for (name, value) in [("Data-Protocol", "ao"), ("Type", "Message"), ("Variant", "ao.N.1")] {
            all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let message = DryRunBody {
            // Anybody may be named in a dry run: it changes nothing.
            owner: item.as_ref().map_or_else(|| NOBODY.to_owned(), owner_text),
            target: Some(process.to_string()),
            data,
            tags: all.into_iter().map(|(name, value)| Tag { name, value }).collect(),
            ..DryRunBody::default()
        };
        let info = self.try_out(process, message, None).await?;
        Ok(raw(info.get("result")))
    }
}

fn text(text: String) -> Response {
    with_type(StatusCode::OK, "text/plain; charset=utf-8", Body::from(text))
}

fn raw(result: Option<&Value>) -> Response {
    problem::json(StatusCode::OK, &json!({ "raw": result.unwrap_or(&Value::Null) }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn post(path: &str) -> Option<Ask> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        ask(&segments, &Method::POST).map(Result::unwrap)
    }

    #[test]
    fn what_the_mainnet_mode_asks_is_understood() {
        let process = Id([5; 32]);
        assert_eq!(post("/~meta@1.0/info/address"), Some(Ask::Address));
        assert_eq!(post("/push"), Some(Ask::Push));
        assert_eq!(post(&format!("/{process}~process@1.0/push")), Some(Ask::Push));
        let of_slot = Ask::Compute { process, of: ResultOf::Slot(7) };
        assert_eq!(post(&format!("/{process}~process@1.0/compute/results=7")), Some(of_slot.clone()));
        assert_eq!(post(&format!("/{process}/compute/results=7")), Some(of_slot));
        assert_eq!(post(&format!("/{process}/slot/current")), Some(Ask::Current { process }));
        let tags = [("Action", "In fo"), ("X", "a=b")].map(|(name, value)| (name.into(), value.into()));
        let dry = Ask::DryRun { process, tags: tags.into() };
        assert_eq!(
            post(&format!("/{process}~process@1.0/as=execution/compute&Action=In%20fo&X=a=b")),
            Some(dry)
        );
        assert_eq!(post(&format!("/{process}~process@1.0/now")), None);
        assert_eq!(post("/"), None);
        let short = ask(&["short~process@1.0", "push"], &Method::POST);
        assert_eq!(short.unwrap().unwrap_err().status, StatusCode::BAD_REQUEST);
        assert!(ask(&["push"], &Method::GET).is_none());
    }
}
