//! The shape that every pure role machine shares.
//!
//! Time comes in with each input, effects go out; a machine never waits, reads a clock or does
//! IO. The node's tasks and the simulator drive the same machines.

/// The current time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

impl Now {
    /// This time plus `ms` milliseconds.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The effects that one `handle` call asks for, in order.
#[derive(Debug)]
pub struct Effects<T>(Vec<T>);

impl<T> Effects<T> {
    /// No effects yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Asks for one more effect, after those already asked for.
    pub fn push(&mut self, effect: T) {
        self.0.push(effect);
    }

    /// Asks for these effects, after those already asked for.
    pub fn extend(&mut self, effects: impl IntoIterator<Item = T>) {
        self.0.extend(effects);
    }

    /// Takes the effects out, leaving none.
    pub fn drain(&mut self) -> std::vec::Drain<'_, T> {
        self.0.drain(..)
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A role's rules: inputs in, effects out.
pub trait Machine {
    /// What the machine hears of: requests, finished effects, timers that fired.
    type Input;
    /// What the machine asks for: persist, sign, send, set a timer.
    type Effect;

    /// Takes one input and appends the effects it calls for.
    fn handle(&mut self, input: Self::Input, now: Now, effects: &mut Effects<Self::Effect>);
}
