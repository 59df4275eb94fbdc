//! What an evaluation gives back.

/// What one process may use (rules 6.8). A pure fact of the log, never of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Gas of one message; counted anew for each.
    pub gas: u64,
    /// Bytes of linear memory, the initial pages included.
    pub memory_bytes: u64,
}

/// Result of one message. The memory is in doubt until `keep` or `roll_back` is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// What the guest did.
    pub outcome: Outcome,
    /// Gas used, never more than the limit.
    pub gas: u64,
    /// `GasUsed` as the reference has it: what it counts in a `-metering` format, or what a module
    /// that was metered when it was published counts itself; else 0.
    pub gas_used: u64,
}

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The guest returned these bytes. Whether they are a result is for the caller to judge.
    Returned(Vec<u8>),
    /// The guest failed; the memory must be rolled back.
    Trapped(Trap),
}

/// How a guest failed. The texts are constants, so that they are the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trap {
    /// A wasm trap, an abort, an exit, or a host function called with arguments outside memory.
    Trap,
    /// The gas limit was passed.
    OutOfGas,
    /// It gave up after memory was refused by its limit.
    OutOfMemory,
    /// Too many or too large live frames.
    Depth,
    /// The returned pointer does not lead to a text within the limit.
    MalformedResult,
}

impl Trap {
    /// The constant text of this kind.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::OutOfGas => "out of gas",
            Self::OutOfMemory => "out of memory",
            Self::Depth => "call depth exceeded",
            Self::MalformedResult => "malformed result",
        }
    }
}

impl std::fmt::Display for Trap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}
