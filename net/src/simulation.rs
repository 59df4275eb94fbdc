//! The machines of many nodes in one thread and in virtual time: what is lost, late, broken and killed is drawn
//! from a seed, and the same seed gives the same run.

mod dice;
mod discovery;
mod town;
