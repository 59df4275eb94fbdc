//! Which rogues there are, and what is counted of each.

use serde::Deserialize;

/// Somebody who is no honest peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rogue {
    /// An attestor of every process, who signs other outcomes than there are.
    LyingComputer,
    /// The key of a scheduler signs every slot of one process a second time.
    EquivocatingScheduler,
    /// Messengers who offer to carry everything, and carry nothing.
    WithholdingMessenger,
    /// A messenger who hands schedulers what no process sent.
    ForgingMessenger,
    /// Messengers who offer to carry everything, more of them without end.
    OfferFlooder,
    /// A peer who sends as much as it can of what nobody wants.
    Flooder,
    /// A messenger who offers to carry everything, and carries it when the turns of all others are over.
    DelayingMessenger,
    /// A messenger who carries the later ones of what a process sends to another before the earlier ones.
    ReorderingMessenger,
    /// A messenger who changes what processes sent, and what others carried, under proofs that are true.
    AlteringMessenger,
    /// A messenger who carries in its turn, and claims that twice, and what others carried.
    DoubleClaimingMessenger,
}

impl Rogue {
    /// Whether it carries what processes send, and offers or signs that with a messenger's key of its own.
    pub(crate) const fn carries(self) -> bool {
        match self {
            Self::DelayingMessenger
            | Self::ReorderingMessenger
            | Self::AlteringMessenger
            | Self::DoubleClaimingMessenger => true,
            Self::LyingComputer
            | Self::EquivocatingScheduler
            | Self::WithholdingMessenger
            | Self::ForgingMessenger
            | Self::OfferFlooder
            | Self::Flooder => false,
        }
    }

    /// The figures that it counts while it is at it.
    pub(crate) const fn counts(self) -> &'static [&'static str] {
        match self {
            Self::LyingComputer => &["lies"],
            Self::EquivocatingScheduler => &["second-slots"],
            Self::WithholdingMessenger => &["offers-not-kept"],
            Self::ForgingMessenger => &["forgeries", "forgeries-taken"],
            Self::OfferFlooder => &["names-made-up"],
            Self::Flooder => &["thrown"],
            Self::DelayingMessenger => &["delayed", "delayed-taken"],
            Self::ReorderingMessenger => &["swapped"],
            Self::AlteringMessenger => &["alterations", "alterations-taken", "wraps", "wraps-taken"],
            Self::DoubleClaimingMessenger => {
                &["claims-paid", "double-claims", "double-claims-taken", "claims-challenged", "bonds-lost"]
            }
        }
    }
}
