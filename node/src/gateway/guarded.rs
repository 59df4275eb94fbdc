//! The way of a request past the guard, and of its answer back: the same for every desk.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::body::AnswerShare;
use super::guard::{self, Guard};
use super::problem::{Problem, with_type};

/// Answers a request of somebody who may ask, with what `work` makes within so much time.
pub(super) async fn answered(
    guard: &Guard,
    parts: &Parts,
    wait: Duration,
    work: impl Future<Output = Result<(Response, AnswerShare), Problem>>,
) -> (Response, AnswerShare) {
    let asker = match guard.judge(&parts.uri, &parts.headers) {
        Ok(asker) => asker,
        Err(problem) => return (problem.into_response(), None),
    };
    let answered = if guard::is_preflight(&parts.method) {
        let mut allowed = with_type(StatusCode::NO_CONTENT, "text/plain", Body::empty());
        guard::answer_preflight(allowed.headers_mut());
        Ok((allowed, None))
    } else {
        let late = |_| {
            let text = format!("this was not done in {} s", wait.as_secs());
            Problem::new(StatusCode::GATEWAY_TIMEOUT, text)
        };
        tokio::time::timeout(wait, work).await.map_err(late).flatten()
    };
    let (mut response, share) = answered.unwrap_or_else(|problem| (problem.into_response(), None));
    guard::allow(response.headers_mut(), &asker);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    (response, share)
}
