//! Whom to ask next for what is missing, and whom no more. Pure.
//!
//! One thing is looked for at a time: the assignment of a slot, or an item. A gateway lists where it has it;
//! each place is tried until one gives it. What a gateway gives is judged outside, by its bytes. Whoever gave
//! the last thing is asked first for the next one; who is silent is asked no more after a few times, and so is
//! who gave false bytes a few times: what it costs to be lied to has an end.

use std::collections::VecDeque;
use std::fmt;

use weft_protocol::{Effects, Id, Machine, Now};

/// Times in a row that a gateway may fail.
pub const FAILURES_MAX: u32 = 3;
/// Times that a gateway may give something false.
pub const LIES_MAX: u32 = 8;
/// Times that it may give something false that is in a bundle as it was signed: whoever wrote that is a stranger, and
/// to choose such bundles costs a gateway little.
pub const JUNK_MAX: u32 = 64;
/// Places that are tried of those that a gateway lists for one thing.
pub const PLACES_MAX: usize = 6;

/// The number of a gateway, in the order in which they were named.
pub type Gateway = usize;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The assignment of a slot that continues the log.
    Slot(u64),
    /// An item.
    Item(Id),
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(slot) => write!(f, "the assignment of slot {slot}"),
            Self::Item(id) => write!(f, "item {id}"),
        }
    }
}

/// Where a gateway says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In this bundle.
    Bundle(Id),
    /// By itself, at this place of the list.
    Alone(usize),
    /// In this bundle, which is in the block where it is said to be.
    Perhaps(Id),
}

/// What the search hears.
#[derive(Debug)]
pub enum Input {
    /// Look for this; what was looked for before is not any more.
    Want(Want),
    /// A gateway says where it has it; nowhere, maybe.
    Listed {
        /// Who.
        gateway: Gateway,
        /// Where, the likeliest first.
        sources: Vec<Source>,
    },
    /// The place that was tried had it.
    Had {
        /// Who.
        gateway: Gateway,
    },
    /// It had not, or not what it was said to be.
    Lacked {
        /// Who.
        gateway: Gateway,
        /// What came instead.
        instead: Instead,
    },
    /// Nothing came.
    Failed {
        /// Who.
        gateway: Gateway,
    },
}

/// What came instead of what was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// Nothing, or something else that is what it is said to be.
    Nothing,
    /// Something false, in bytes that are those which their name or their transaction commits to.
    Junk,
    /// Something false.
    Lie,
}

/// What the search asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask a gateway where it has this.
    List {
        /// Whom.
        gateway: Gateway,
        /// What.
        want: Want,
    },
    /// Try a place.
    Fetch {
        /// Whose.
        gateway: Gateway,
        /// Which.
        source: Source,
    },
    /// It is found.
    Found,
    /// Nobody has it.
    Nobody {
        /// What.
        want: Want,
    },
    /// A gateway is asked no more.
    GiveUp {
        /// Which.
        gateway: Gateway,
    },
}

#[derive(Debug, Clone, Copy, Default)]
struct Conduct {
    failures: u32,
    lies: u32,
    junk: u32,
    given_up: bool,
}

/// What is looked for, and where that is.
#[derive(Debug)]
struct Looking {
    want: Want,
    /// Who is asked after the one that is.
    next: VecDeque<Gateway>,
    /// Who is asked.
    at: Gateway,
    /// What is left of its places.
    places: VecDeque<Source>,
}

/// The search.
#[derive(Debug)]
pub struct Search {
    gateways: Vec<Conduct>,
    /// Who gave something last.
    best: Gateway,
    looking: Option<Looking>,
}

impl Search {
    /// A search among so many gateways.
    pub fn new(gateways: usize) -> Self {
        Self { gateways: vec![Conduct::default(); gateways], best: 0, looking: None }
    }

    /// Whether a gateway is asked no more.
    pub fn has_given_up(&self, gateway: Gateway) -> bool {
        self.gateways.get(gateway).is_none_or(|conduct| conduct.given_up)
    }

    /// Who is asked first for the next thing.
    pub const fn likeliest(&self) -> Gateway {
        self.best
    }

    fn begin(&mut self, want: Want, effects: &mut Effects<Effect>) {
        let count = self.gateways.len();
        let order = (0..count).map(|step| (self.best + step) % count);
        let next: VecDeque<_> = order.filter(|gateway| !self.has_given_up(*gateway)).collect();
        self.looking = Some(Looking { want, next, at: 0, places: VecDeque::new() });
        self.go_on(effects);
    }

    /// Tries the next place, or asks the next gateway.
    fn go_on(&mut self, effects: &mut Effects<Effect>) {
        let Some(looking) = &mut self.looking else { return };
        let may = self.gateways.get(looking.at).is_some_and(|conduct| !conduct.given_up);
        if let Some(source) = looking.places.pop_front().filter(|_| may) {
            effects.push(Effect::Fetch { gateway: looking.at, source });
            return;
        }
        looking.places.clear();
        while let Some(gateway) = looking.next.pop_front() {
            if self.gateways.get(gateway).is_some_and(|conduct| !conduct.given_up) {
                looking.at = gateway;
                effects.push(Effect::List { gateway, want: looking.want });
                return;
            }
        }
        effects.push(Effect::Nobody { want: looking.want });
        self.looking = None;
    }

    /// Counts something against a gateway.
    fn count(
        &mut self,
        gateway: Gateway,
        what: impl FnOnce(&mut Conduct) -> &mut u32,
        effects: &mut Effects<Effect>,
    ) {
        let Some(conduct) = self.gateways.get_mut(gateway) else { return };
        *what(conduct) += 1;
        let Conduct { failures, lies, junk, given_up } = *conduct;
        if !given_up && (failures >= FAILURES_MAX || lies >= LIES_MAX || junk >= JUNK_MAX) {
            conduct.given_up = true;
            effects.push(Effect::GiveUp { gateway });
        }
    }
}

impl Machine for Search {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, _now: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Want(want) => self.begin(want, effects),
            Input::Listed { gateway, sources } => {
                if let Some(conduct) = self.gateways.get_mut(gateway) {
                    conduct.failures = 0;
                }
                if let Some(looking) = self.looking.as_mut().filter(|looking| looking.at == gateway) {
                    looking.places = sources.into_iter().take(PLACES_MAX).collect();
                }
                self.go_on(effects);
            }
            Input::Had { gateway } => {
                if let Some(conduct) = self.gateways.get_mut(gateway) {
                    conduct.failures = 0;
                }
                self.best = gateway;
                self.looking = None;
                effects.push(Effect::Found);
            }
            Input::Lacked { gateway, instead } => {
                match instead {
                    Instead::Nothing => {}
                    Instead::Junk => self.count(gateway, |conduct| &mut conduct.junk, effects),
                    Instead::Lie => self.count(gateway, |conduct| &mut conduct.lies, effects),
                }
                self.go_on(effects);
            }
            Input::Failed { gateway } => {
                self.count(gateway, |conduct| &mut conduct.failures, effects);
                self.go_on(effects);
            }
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
