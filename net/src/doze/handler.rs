//! The part of it that each connection has.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use libp2p::swarm::handler::{
    ConnectionEvent, FullyNegotiatedInbound, InboundUpgradeSend, ListenUpgradeError, OutboundUpgradeSend,
};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol};

use super::Bell;
use super::offer::Offer;

type Taken<H> = SubstreamProtocol<
    Offer<<H as ConnectionHandler>::InboundProtocol>,
    <H as ConnectionHandler>::InboundOpenInfo,
>;

/// A handler that is polled when its bell was rung.
pub(crate) struct DozingHandler<H: ConnectionHandler> {
    inner: H,
    bell: Arc<Bell>,
    waker: Waker,
    /// What it takes from the peer, if that cannot have changed since it was asked.
    taken: RefCell<Option<Taken<H>>>,
}

impl<H: ConnectionHandler> DozingHandler<H> {
    pub(super) fn new(inner: H) -> Self {
        let (bell, waker) = Bell::rung();
        Self { inner, bell, waker, taken: RefCell::default() }
    }

    /// Has it polled the next time: the connection polls its handlers after whatever it tells them.
    fn rouse(&mut self) {
        *self.taken.get_mut() = None;
        self.bell.set();
    }
}

/// The event as the handler knows it.
fn known<U: InboundUpgradeSend, OP: OutboundUpgradeSend, II, OI>(
    event: ConnectionEvent<'_, Offer<U>, OP, II, OI>,
) -> Option<ConnectionEvent<'_, U, OP, II, OI>> {
    use ConnectionEvent as E;
    Some(match event {
        E::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info }) => {
            E::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info })
        }
        E::ListenUpgradeError(ListenUpgradeError { info, error }) => {
            E::ListenUpgradeError(ListenUpgradeError { info, error })
        }
        E::FullyNegotiatedOutbound(opened) => E::FullyNegotiatedOutbound(opened),
        E::AddressChange(change) => E::AddressChange(change),
        E::DialUpgradeError(error) => E::DialUpgradeError(error),
        E::LocalProtocolsChange(change) => E::LocalProtocolsChange(change),
        E::RemoteProtocolsChange(change) => E::RemoteProtocolsChange(change),
        // The type is open, and has no others.
        _ => return None,
    })
}

impl<H> ConnectionHandler for DozingHandler<H>
where
    H: ConnectionHandler,
    H::InboundOpenInfo: Clone,
{
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = Offer<H::InboundProtocol>;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> Taken<H> {
        let mut taken = self.taken.borrow_mut();
        match taken.as_ref() {
            Some(taken) if taken.upgrade().is_free() => taken.clone(),
            _ => taken.insert(self.inner.listen_protocol().map_upgrade(Offer::of)).clone(),
        }
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if !self.bell.is_heard(cx) {
            return Poll::Pending;
        }
        *self.taken.get_mut() = None;
        let context = &mut Context::from_waker(&self.waker);
        let polled = match self.inner.poll(context) {
            Poll::Pending => self.inner.poll(context),
            polled @ Poll::Ready(_) => polled,
        };
        if polled.is_ready() {
            // There may be more, and it has not asked to be woken.
            self.rouse();
        }
        polled
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.rouse();
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        self.rouse();
        if let Some(event) = known(event) {
            self.inner.on_connection_event(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use libp2p::core::upgrade::DeniedUpgrade;

    use super::*;

    /// Says what it was given, and sleeps.
    #[derive(Default)]
    struct Echo {
        polls: usize,
        said: VecDeque<u8>,
        waker: Option<Waker>,
        /// Whether it wakes itself while it is polled.
        restless: bool,
        /// Whether it asks to be woken only in the poll after the first.
        late: bool,
        /// How often it was asked what it takes.
        asked: AtomicUsize,
    }

    impl ConnectionHandler for Echo {
        type FromBehaviour = u8;
        type ToBehaviour = u8;
        type InboundProtocol = DeniedUpgrade;
        type OutboundProtocol = DeniedUpgrade;
        type InboundOpenInfo = ();
        type OutboundOpenInfo = ();

        fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade, ()> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            SubstreamProtocol::new(DeniedUpgrade, ())
        }

        fn on_behaviour_event(&mut self, event: u8) {
            self.said.push_back(event);
        }

        fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), u8>> {
            self.polls += 1;
            if self.restless {
                cx.waker().wake_by_ref();
            }
            if !self.late || self.polls > 1 {
                self.waker = Some(cx.waker().clone());
            }
            self.said
                .pop_front()
                .map_or(Poll::Pending, |said| Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(said)))
        }

        fn on_connection_event(&mut self, _: ConnectionEvent<'_, DeniedUpgrade, DeniedUpgrade, (), ()>) {}
    }

    /// A connection's task that counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Task {
        fn woken(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn poll(handler: &mut DozingHandler<Echo>, task: &Arc<Task>) -> Option<u8> {
        match handler.poll(&mut Context::from_waker(&Waker::from(Arc::clone(task)))) {
            Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(said)) => Some(said),
            _ => None,
        }
    }

    #[test]
    fn a_handler_that_nothing_happens_to_is_polled_no_more() {
        let (mut handler, task) = (DozingHandler::new(Echo::default()), Arc::new(Task::default()));
        for _ in 0..10 {
            assert_eq!(poll(&mut handler, &task), None);
        }
        assert_eq!((handler.inner.polls, task.woken()), (2, 0));
    }

    /// As ping answers: it makes what it waits for next, and looks at it in the poll after.
    #[test]
    fn what_a_handler_waits_for_next_is_looked_at() {
        let (mut handler, task) = (DozingHandler::new(Echo::default()), Arc::new(Task::default()));
        handler.inner.late = true;
        assert_eq!(poll(&mut handler, &task), None);
        let waker = handler.inner.waker.clone();
        waker.into_iter().for_each(Waker::wake);
        assert_eq!(task.woken(), 1);
    }

    #[test]
    fn what_it_takes_is_asked_again_only_after_something_happened() {
        let mut handler = DozingHandler::new(Echo::default());
        let task = Arc::new(Task::default());
        assert_eq!(poll(&mut handler, &task), None);
        let asked = |handler: &DozingHandler<Echo>| handler.inner.asked.load(Ordering::SeqCst);
        for _ in 0..10 {
            drop(handler.listen_protocol());
            assert_eq!(poll(&mut handler, &task), None);
        }
        assert_eq!(asked(&handler), 1);
        // Two streams that are negotiated at once have each their own.
        let held = (handler.listen_protocol(), handler.listen_protocol());
        assert_eq!(asked(&handler), 2);
        drop(held);
        handler.on_behaviour_event(1);
        drop(handler.listen_protocol());
        assert_eq!(asked(&handler), 3);
    }

    #[test]
    fn all_that_it_has_to_say_is_heard_after_one_event() {
        let (mut handler, task) = (DozingHandler::new(Echo::default()), Arc::new(Task::default()));
        assert_eq!(poll(&mut handler, &task), None);
        (1..4).for_each(|number| handler.on_behaviour_event(number));
        let said: Vec<_> = (0..4).map(|_| poll(&mut handler, &task)).collect();
        assert_eq!(said, [Some(1), Some(2), Some(3), None]);
        assert_eq!(handler.inner.polls, 7);
    }

    #[test]
    fn what_wakes_it_wakes_the_task_that_polled_last() {
        let mut handler = DozingHandler::new(Echo::default());
        let (first, second) = (Arc::new(Task::default()), Arc::new(Task::default()));
        assert_eq!(poll(&mut handler, &first), None);
        // It sleeps, and another task has the connection now.
        assert_eq!(poll(&mut handler, &second), None);
        let waker = handler.inner.waker.clone();
        waker.into_iter().for_each(Waker::wake);
        assert_eq!((first.woken(), second.woken()), (0, 1));
        assert_eq!(poll(&mut handler, &second), None);
        assert_eq!(handler.inner.polls, 4);
    }

    #[test]
    fn what_wakes_it_while_it_is_polled_is_not_forgotten() {
        let restless = Echo { restless: true, ..Echo::default() };
        let (mut handler, task) = (DozingHandler::new(restless), Arc::new(Task::default()));
        for polls in 1..5 {
            assert_eq!(poll(&mut handler, &task), None);
            assert_eq!((handler.inner.polls, task.woken()), (2 * polls, polls));
        }
    }
}
