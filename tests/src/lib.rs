//! What the tests of the whole of Weft share. The tests themselves are in `tests/tests`.
//!
//! [`sim`] is the simulator: the machines of many nodes in one thread, in virtual time, by a seed. [`fuzz`] has the targets
//! that take bytes from outside, [`lone`] a process without a node, [`embedded`] has what benches share that run nodes in
//! their own program, [`counting`] an allocator that counts, [`stop_at`] kills messengers at a step of a push, [`full`] says
//! how much a test does, and [`skip`] notes what a machine cannot run.

pub mod counting;
pub mod embedded;
pub mod full;
pub mod fuzz;
pub mod lone;
pub mod sim;
pub mod skip;
pub mod stop_at;
