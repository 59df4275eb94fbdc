use weft_protocol::Now;
use weft_protocol::time::{Ahead, TimeError, TimePoint, View, Weave, ahead, check, next};

fn at(timestamp: u64, height: u64) -> TimePoint {
    TimePoint { timestamp, height }
}

fn named() -> Weave {
    Weave::parse("arweave").unwrap()
}

#[test]
fn the_clock_weave_needs_no_view() {
    assert_eq!(next(&Weave::Clock, Now(360_001), None, None), at(360_001, 3));
    assert_eq!(check(&Weave::Clock, None, at(360_001, 3)), Ok(()));
    assert_eq!(check(&Weave::Clock, None, at(360_001, 2)), Err(TimeError::Clock(2, 3)));
}

#[test]
fn neither_time_nor_height_goes_back() {
    let last = at(1_000, 50);
    assert_eq!(next(&named(), Now(900), Some(View { height: 49, seen: Now(0) }), Some(last)), last);
    assert_eq!(next(&named(), Now(900), None, Some(last)), last);
    assert_eq!(check(&named(), Some(last), last), Ok(()));
    assert_eq!(check(&named(), Some(last), at(999, 50)), Err(TimeError::Timestamp(999, 1_000)));
    assert_eq!(check(&named(), Some(last), at(1_000, 49)), Err(TimeError::Height(49, 50)));
}

#[test]
fn what_is_ahead_waits() {
    let now = Now(1_000_000);
    assert_eq!(ahead(&Weave::Clock, at(1_010_000, 8), now, None), Ahead::No);
    assert_eq!(ahead(&Weave::Clock, at(1_010_001, 8), now, None), Ahead::Until(Now(1_000_001)));
    let view = |seen| Some(View { height: 100, seen: Now(seen) });
    assert_eq!(ahead(&named(), at(0, 103), now, view(1_000_000)), Ahead::No);
    assert_eq!(ahead(&named(), at(0, 104), now, view(1_000_000)), Ahead::Height(101));
    // A stale view and no view bound nothing, and the clock weave is bound by its timestamp.
    assert_eq!(ahead(&named(), at(0, 104), now, view(400_000)), Ahead::No);
    assert_eq!(ahead(&named(), at(0, 104), now, None), Ahead::No);
    assert_eq!(ahead(&Weave::Clock, at(0, 104), now, view(1_000_000)), Ahead::No);
}

#[test]
fn weaves_have_plain_names() {
    assert_eq!(Weave::parse("clock"), Some(Weave::Clock));
    assert_eq!(Weave::parse("local:x").unwrap().to_string(), "local:x");
    for name in ["", "two words", "\u{e9}", &"x".repeat(65)] {
        assert_eq!(Weave::parse(name), None, "{name}");
    }
}
