//! What the tests of the whole of Weft share. The tests themselves are in `tests/tests`.

pub mod counting;
pub mod fuzz;
pub mod lone;
pub mod sim;
pub mod skip;
pub mod stop_at;
