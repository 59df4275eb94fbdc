//! What a handler takes from its peer, made once.
//!
//! Whenever a connection is woken, by one frame of gossip say, the swarm asks its handlers by which names they take
//! streams, and each makes anew all that it would take one with: with a dozen protocols that costs as much as the
//! frame. An offer is made once and shown again, until a stream was taken with it or the handler may want others.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{self, Either};
use libp2p::core::upgrade::{InboundUpgrade, UpgradeInfo};
use libp2p::swarm::Stream;
use libp2p::swarm::handler::{InboundUpgradeSend, UpgradeInfoSend};

/// What a handler takes a stream with, shared by those who only look at its names.
pub(crate) struct Offer<U> {
    made: Arc<Made<U>>,
}

struct Made<U> {
    names: Arc<[Arc<str>]>,
    /// None when a stream was taken with it.
    upgrade: Mutex<Option<U>>,
}

impl<U> Clone for Offer<U> {
    fn clone(&self) -> Self {
        Self { made: Arc::clone(&self.made) }
    }
}

impl<U> fmt::Debug for Offer<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("names", &self.made.names).finish_non_exhaustive()
    }
}

impl<U: UpgradeInfoSend> Offer<U> {
    pub(crate) fn of(upgrade: U) -> Self {
        let names = upgrade.protocol_info().map(|name| Arc::from(name.as_ref())).collect();
        Self { made: Arc::new(Made { names, upgrade: Mutex::new(Some(upgrade)) }) }
    }

    /// Whether it may be shown again: a stream that is being negotiated has the other one, and takes what is in it.
    pub(crate) fn is_free(&self) -> bool {
        Arc::strong_count(&self.made) == 1
            && self.made.upgrade.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// The names of an offer, one after the other.
pub(crate) struct Names {
    names: Arc<[Arc<str>]>,
    next: usize,
}

impl Iterator for Names {
    type Item = Arc<str>;

    fn next(&mut self) -> Option<Arc<str>> {
        let name = self.names.get(self.next)?;
        self.next += 1;
        Some(Arc::clone(name))
    }
}

impl<U: UpgradeInfoSend> UpgradeInfo for Offer<U> {
    type Info = Arc<str>;
    type InfoIter = Names;

    fn protocol_info(&self) -> Names {
        Names { names: Arc::clone(&self.made.names), next: 0 }
    }
}

impl<U: InboundUpgradeSend> InboundUpgrade<Stream> for Offer<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = Either<U::Future, future::Pending<Result<U::Output, U::Error>>>;

    fn upgrade_inbound(self, stream: Stream, name: Arc<str>) -> Self::Future {
        let upgrade = self.made.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
        let upgraded = upgrade.and_then(|upgrade| {
            let info = upgrade.protocol_info().find(|info| info.as_ref() == &*name)?;
            Some(upgrade.upgrade_inbound(stream, info))
        });
        // Only what is free is shown, and the name is one of its own; the swarm would give up a stream that hangs.
        upgraded.map_or_else(|| Either::Right(future::pending()), Either::Left)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::upgrade::{ReadyUpgrade, SelectUpgrade};

    use super::*;

    type Two = SelectUpgrade<ReadyUpgrade<&'static str>, ReadyUpgrade<String>>;

    fn offer() -> Offer<Two> {
        Offer::of(SelectUpgrade::new(ReadyUpgrade::new("/one"), ReadyUpgrade::new("/two".into())))
    }

    #[test]
    fn an_offer_has_the_names_of_what_it_was_made_of() {
        let names: Vec<_> = UpgradeInfo::protocol_info(&offer()).collect();
        let expected: [Arc<str>; 2] = ["/one".into(), "/two".into()];
        assert_eq!(names, expected);
    }

    #[test]
    fn it_is_shown_again_when_nobody_negotiates_with_it() {
        let offer = offer();
        assert!(offer.is_free());
        let negotiated = offer.clone();
        assert!(!offer.is_free(), "two streams would be taken with one");
        drop(negotiated);
        assert!(offer.is_free());
        offer.made.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert!(!offer.is_free(), "a stream was taken with it");
    }
}
