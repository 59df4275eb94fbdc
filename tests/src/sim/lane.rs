//! One role of a node: its machine, what it hears and what it asked for.

use std::collections::VecDeque;

use weft_protocol::{Effects, Machine, Now};

/// A machine with its queues. As in the node's tasks, nothing is heard while the task waits.
#[derive(Debug)]
pub struct Lane<M: Machine> {
    /// The real machine.
    pub machine: M,
    inbox: VecDeque<M::Input>,
    effects: VecDeque<M::Effect>,
    /// The task awaits the disk.
    pub waits: bool,
}

impl<M: Machine> Lane<M> {
    /// A lane that heard nothing yet.
    pub const fn new(machine: M) -> Self {
        Self { machine, inbox: VecDeque::new(), effects: VecDeque::new(), waits: false }
    }

    /// Puts an input behind those that wait.
    pub fn hear(&mut self, input: M::Input) {
        self.inbox.push_back(input);
    }

    /// Hands an input to the machine at once, as tasks do with the end of their own writes.
    pub fn handle(&mut self, input: M::Input, now: Now) {
        let mut effects = Effects::new();
        self.machine.handle(input, now, &mut effects);
        self.effects.extend(effects.drain());
    }

    /// The next effect to perform; inputs are handled until there is one.
    pub fn next(&mut self, now: Now) -> Option<M::Effect> {
        if self.waits {
            return None;
        }
        loop {
            if let Some(effect) = self.effects.pop_front() {
                return Some(effect);
            }
            let input = self.inbox.pop_front()?;
            self.handle(input, now);
        }
    }
}
