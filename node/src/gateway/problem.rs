//! Why a request is not answered, as clients of today's units read it: a status, and JSON with `error`.
//!
//! They parse every body as JSON whatever the status says, so there is no answer in any other form.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::control::api::{Failure, FailureCode};

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) text: String,
    /// Come back after so many milliseconds.
    retry_ms: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_ms: None }
    }

    /// The request is wrong.
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// There is no such thing.
    pub(super) fn unknown(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// This node failed.
    pub(super) fn fault(error: impl fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    /// Too much at once.
    pub(super) fn busy(text: impl Into<String>, retry_ms: u64) -> Self {
        Self { retry_ms: Some(retry_ms), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    /// After how long to come back, if it says so.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry_ms.map(Duration::from_millis)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = match failure.code {
            FailureCode::Invalid => StatusCode::BAD_REQUEST,
            FailureCode::Unknown => StatusCode::NOT_FOUND,
            FailureCode::Gone => StatusCode::GONE,
            FailureCode::Refused => StatusCode::FORBIDDEN,
            FailureCode::Busy | FailureCode::Full => StatusCode::SERVICE_UNAVAILABLE,
            FailureCode::TimedOut | FailureCode::Pending => StatusCode::GATEWAY_TIMEOUT,
            FailureCode::Fault => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, text: failure.text, retry_ms: failure.retry_ms }
    }
}

#[derive(Serialize)]
struct Told<'a> {
    error: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &Told { error: &self.text });
        if let Some(ms) = self.retry_ms {
            let seconds = ms.div_ceil(1_000).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => with_type(status, "application/json", Body::from(text)),
        // What is answered has no keys but texts, and no numbers but finite ones.
        Err(_) => with_type(
            StatusCode::INTERNAL_SERVER_ERROR,
            "application/json",
            Body::from(r#"{"error":"the answer has no JSON"}"#),
        ),
    }
}

/// An answer of any kind.
pub(super) fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn every_failure_is_json_with_a_status_of_its_own() {
        use FailureCode::{Busy, Fault, Full, Gone, Invalid, Refused, TimedOut, Unknown};
        let expected = [
            (Invalid, 400),
            (Unknown, 404),
            (Gone, 410),
            (Refused, 403),
            (Busy, 503),
            (Full, 503),
            (TimedOut, 504),
            (Fault, 500),
        ];
        for (code, status) in expected {
            let response = Problem::from(Failure::new(code, "why \"not\"")).into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
            assert!(!response.headers().contains_key(header::RETRY_AFTER));
            let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
            assert_eq!(body, r#"{"error":"why \"not\""}"#);
        }
        let busy = Problem::from(Failure::new(Busy, "x").retry_in(1_500)).into_response();
        assert_eq!(busy.headers()[header::RETRY_AFTER], "2");
    }
}
