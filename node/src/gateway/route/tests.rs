#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::gateway::params::of;

const A: Id = Id([1; 32]);
const B: Id = Id([2; 32]);

fn get(path: &str, query: &str) -> Result<Route, Problem> {
    Route::of(&Method::GET, path, &of(query))
}

fn status(method: &Method, path: &str, query: &str) -> u16 {
    Route::of(method, path, &of(query)).unwrap_err().status.as_u16()
}

#[test]
fn what_aoconnect_asks_is_understood() {
    let of_process = format!("process-id={A}");
    assert_eq!(Route::of(&Method::POST, "/", &of("")).unwrap(), Route::Submit);
    let assign = format!("{of_process}&assign={B}&exclude=Data,Tags");
    let excluded = vec!["Data".to_owned(), "Tags".to_owned()];
    let expected = Route::Assign { process: A, item: B, base_layer: false, exclude: excluded };
    assert_eq!(Route::of(&Method::POST, "/", &of(&assign)).unwrap(), expected);
    let base = format!("{of_process}&assign={B}&base-layer");
    let expected = Route::Assign { process: A, item: B, base_layer: true, exclude: Vec::new() };
    assert_eq!(Route::of(&Method::POST, "/", &of(&base)).unwrap(), expected);
    let of_item = Route::Result { process: A, of: ResultOf::Item(B) };
    assert_eq!(get(&format!("/result/{B}"), &of_process).unwrap(), of_item);
    let of_slot = Route::Result { process: A, of: ResultOf::Slot(12) };
    assert_eq!(get("/result/12", &of_process).unwrap(), of_slot);
    let dry = Route::DryRun { process: A, to: None };
    assert_eq!(Route::of(&Method::POST, "/dry-run", &of(&of_process)).unwrap(), dry);
    let monitor = |on| Route::Monitor { process: A, on };
    let path = format!("/monitor/{A}");
    assert_eq!(Route::of(&Method::POST, &path, &of("")).unwrap(), monitor(true));
    assert_eq!(Route::of(&Method::DELETE, &path, &of("")).unwrap(), monitor(false));
    assert_eq!(Route::of(&Method::POST, "/graphql", &of("")).unwrap(), Route::GraphQl);
}

#[test]
fn pages_of_results_are_asked_for_with_all_their_words() {
    let Route::Results { process, query } =
        get(&format!("/results/{A}"), "from=abc&to=5&sort=desc&limit=7").unwrap()
    else {
        panic!("no page of results");
    };
    assert_eq!(process, A);
    assert_eq!((query.from.as_deref(), query.to.as_deref()), (Some("abc"), Some("5")));
    assert_eq!((query.limit, query.sort, query.crons, query.now_ms), (Some(7), Sort::Desc, false, None));
    let now = |path: String, query: &str| match get(&path, query).unwrap() {
        Route::Results { query, .. } => (query.to, query.now_ms.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(now(format!("/results/{A}"), "to=now"), (None, true));
    assert_eq!(now(format!("/cron/{A}"), ""), (None, true));
    assert_eq!(now(format!("/cron/{A}"), "to=9"), (Some("9".to_owned()), false));
    assert_eq!(status(&Method::GET, &format!("/results/{A}"), "sort=UP"), 400);
    assert_eq!(status(&Method::GET, &format!("/results/{A}"), "limit=many"), 400);
}

#[test]
fn an_id_alone_is_an_item_and_with_the_words_of_a_page_a_log() {
    let path = format!("/{A}");
    assert_eq!(get(&path, "").unwrap(), Route::Data { id: A });
    let times = |from, to| Span::Times { from, to };
    let page = |span, limit| Route::Page { process: A, span, limit };
    assert_eq!(get(&path, "from=&to=&limit=").unwrap(), page(times(None, None), None));
    assert_eq!(get(&path, &format!("process-id={A}")).unwrap(), page(times(None, None), None));
    assert_eq!(get(&path, "from=5&limit=3").unwrap(), page(times(Some(5), None), Some(3)));
    let nonces = |from, to| Span::Nonces { from, to };
    assert_eq!(get(&path, "from-nonce=-1&limit=1").unwrap(), page(nonces(None, None), Some(1)));
    assert_eq!(get(&path, "from-nonce=0&to-nonce=4").unwrap(), page(nonces(Some(0), Some(4)), None));
    let one = Route::Message { process: B, id: Some(A) };
    assert_eq!(get(&path, &format!("process-id={B}")).unwrap(), one);
    // The first segment says which is meant.
    assert_eq!(get(&format!("/su/{A}"), "").unwrap(), page(times(None, None), None));
    assert_eq!(get(&format!("/gateway/{A}"), "from=1").unwrap(), Route::Data { id: A });
    assert_eq!(get(&format!("/{A}/latest"), "").unwrap(), Route::Message { process: A, id: None });
}

#[test]
fn events_begin_after_a_nonce_as_pages_do() {
    let from = |query: &str| {
        get(&format!("/events/{A}"), query).map(|route| match route {
            Route::Events { process: A, from } => from,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(from("").unwrap(), None);
    assert_eq!(from("from-nonce=-1").unwrap(), Some(0));
    assert_eq!(from("from-nonce=4").unwrap(), Some(5));
    assert_eq!(from(&format!("from-nonce={}", u64::MAX)).unwrap(), Some(u64::MAX));
    assert!(from("from-nonce=x").is_err());
}

#[test]
fn slashes_too_many_do_no_harm() {
    let path = format!("//raw///{A}/");
    assert_eq!(get(&path, "").unwrap(), Route::Data { id: A });
    assert_eq!(Route::of(&Method::POST, "//graphql", &of("")).unwrap(), Route::GraphQl);
    let of_process = of(&format!("process-id={A}"));
    assert!(Route::of(&Method::GET, &format!("//cu//result/{B}"), &of_process).is_ok());
    assert_eq!(get("/gateway/", "").unwrap(), Route::Root);
}

#[test]
fn what_is_not_there_and_what_is_wrong_have_their_own_status() {
    for path in ["/nothing", "/../etc/passwd", "/%2e%2e/x", "/result", "/raw/a/b", "/block/height/x", "/."] {
        assert_eq!(status(&Method::GET, path, ""), 404, "{path}");
    }
    for path in ["/raw/short", "/tx/short", "/results/short", "/processes/short", "/state/short"] {
        assert_eq!(status(&Method::GET, path, ""), 400, "{path}");
    }
    assert_eq!(status(&Method::GET, &format!("/result/{B}"), ""), 400);
    assert_eq!(status(&Method::POST, "/dry-run", ""), 400);
    assert_eq!(status(&Method::GET, "/dry-run", ""), 405);
    assert_eq!(status(&Method::POST, &format!("/results/{A}"), ""), 405);
    assert_eq!(status(&Method::PUT, "/", ""), 405);
    assert_eq!(status(&Method::POST, "/nothing", ""), 404);
    let half = Route::of(&Method::POST, "/", &of(&format!("assign={A}"))).unwrap_err();
    assert!(half.text.starts_with("You must set both process-id and assign"), "{}", half.text);
    let long = format!("/{}", "x".repeat(100_000));
    assert!(get(&long, "").unwrap_err().text.len() < 200);
}
