//! Lets protocols sleep until something happens to them.
//!
//! Whatever wakes a connection, one frame of gossip say, the swarm polls the handlers of all its protocols, and each
//! of those its streams and timers; and whatever wakes the swarm, all its protocols. On a busy topic that costs as
//! much as gossip itself. What is in here, which may be many protocols, is polled when what it waits for has woken it,
//! and after each event that it is told of; so it misses nothing that it has asked to be woken for. There are three
//! exceptions. Protocols that look at the clock only when they are polled are roused by the tick. Handlers that ask to
//! be woken only in the poll after the one that says that there is nothing (ping, for a second question) are polled
//! until they say so twice. And what a handler takes from the peer is asked of it when it can have changed
//! (see [`offer`]).

mod handler;
mod offer;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};

use self::handler::DozingHandler;

/// Notes that it was rung, and wakes who sleeps beside it.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    /// A bell that was rung, as the first poll is there to ask to be woken; and what rings it.
    fn rung() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        (Arc::clone(&bell), Waker::from(bell))
    }

    /// Has it heard in the next poll, of which it is certain that it comes.
    fn set(&self) {
        self.rung.store(true, Ordering::SeqCst);
    }

    /// Whether it was rung since the last time.
    fn is_heard(&self, context: &Context<'_>) -> bool {
        // First: whoever rings after the bell was looked at wakes this poll's task.
        self.task.register(context.waker());
        self.rung.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set();
        self.task.wake();
    }
}

/// Protocols that sleep, and whose handlers do.
pub(crate) struct Dozing<B> {
    inner: B,
    bell: Arc<Bell>,
    waker: Waker,
}

impl<B> Dozing<B> {
    /// Has them polled the next time that the swarm is: some look at the clock only then.
    pub(crate) fn rouse(&self) {
        self.bell.set();
    }
}

impl<B> From<B> for Dozing<B> {
    fn from(inner: B) -> Self {
        let (bell, waker) = Bell::rung();
        Self { inner, bell, waker }
    }
}

impl<B> Deref for Dozing<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> DerefMut for Dozing<B> {
    fn deref_mut(&mut self) -> &mut B {
        // Whoever changes something is the task of the swarm, which polls it next.
        self.rouse();
        &mut self.inner
    }
}

impl<B> NetworkBehaviour for Dozing<B>
where
    B: NetworkBehaviour,
    <THandler<B> as ConnectionHandler>::InboundOpenInfo: Clone,
{
    type ConnectionHandler = DozingHandler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.deref_mut().handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let handler =
            self.deref_mut().handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(DozingHandler::new(handler))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.deref_mut().handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.deref_mut();
        let handler = inner.handle_established_outbound_connection(connection, peer, address, role, port)?;
        Ok(DozingHandler::new(handler))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.deref_mut().on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.deref_mut().on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if !self.bell.is_heard(cx) {
            return Poll::Pending;
        }
        let polled = self.inner.poll(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            // There may be more, and they have not asked to be woken.
            self.rouse();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use libp2p::swarm::dummy;

    use super::*;

    /// Says what it was given, and sleeps.
    #[derive(Default)]
    struct Echo {
        polls: usize,
        said: VecDeque<u8>,
        waker: Option<Waker>,
    }

    impl NetworkBehaviour for Echo {
        type ConnectionHandler = dummy::ConnectionHandler;
        type ToSwarm = u8;

        fn handle_established_inbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: &Multiaddr,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn handle_established_outbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: Endpoint,
            _: PortUse,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn on_swarm_event(&mut self, _: FromSwarm) {}

        fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
            match event {}
        }

        fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<u8, Infallible>> {
            self.polls += 1;
            self.waker = Some(cx.waker().clone());
            self.said.pop_front().map_or(Poll::Pending, |said| Poll::Ready(ToSwarm::GenerateEvent(said)))
        }
    }

    /// What it says, and how often it was polled until now.
    fn poll(echo: &mut Dozing<Echo>) -> (Option<u8>, usize) {
        match echo.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ToSwarm::GenerateEvent(said)) => (Some(said), echo.polls),
            _ => (None, echo.polls),
        }
    }

    #[test]
    fn a_protocol_is_polled_when_it_was_woken_or_changed_or_the_clock_ticked() {
        let mut echo = Dozing::from(Echo::default());
        assert_eq!([poll(&mut echo), poll(&mut echo)], [(None, 1), (None, 1)]);
        echo.said.extend([1, 2]);
        assert_eq!([(); 4].map(|()| poll(&mut echo)), [(Some(1), 2), (Some(2), 3), (None, 4), (None, 4)]);
        let waker = echo.inner.waker.clone();
        waker.into_iter().for_each(Waker::wake);
        assert_eq!([poll(&mut echo), poll(&mut echo)], [(None, 5), (None, 5)]);
        echo.rouse();
        assert_eq!([poll(&mut echo), poll(&mut echo)], [(None, 6), (None, 6)]);
        echo.on_swarm_event(FromSwarm::ExternalAddrExpired(libp2p::swarm::ExternalAddrExpired {
            addr: &Multiaddr::empty(),
        }));
        assert_eq!([poll(&mut echo), poll(&mut echo)], [(None, 7), (None, 7)]);
    }
}
