//! What a node does for processes.

use std::fmt;
use std::str::FromStr;

use super::Config;
use super::given::{Expected, Given};

/// Something a node does for processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Gives slots to the messages of processes that name this node's key.
    Scheduler,
    /// Evaluates processes.
    Compute,
    /// Carries what processes send to the schedulers of their targets.
    Messenger,
    /// Writes logs to the weave.
    Anchor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Scheduler, Self::Compute, Self::Messenger, Self::Anchor];

    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Compute => "compute",
            Self::Messenger => "messenger",
            Self::Anchor => "anchor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(())
    }
}

pub(super) fn set_roles(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let expected = || "a list of scheduler, compute, messenger and anchor".to_owned();
    let list = given.list().ok_or_else(expected)?;
    let roles = list.iter().map(|name| Role::from_str(name)).collect::<Result<_, _>>();
    config.roles = roles.map_err(|()| expected())?;
    Ok(())
}
