//! One search for the first slot of a process: looks and asks as the rules say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use weft_net::{Key, Peer, RequestError};
use weft_protocol::lobby::Shard;
use weft_protocol::process::Process;
use weft_protocol::record::{SlotRecord, VerifiedRecord};
use weft_protocol::{Effects, Id, Machine as _};

use super::super::HostingError;
use super::machine::{Effect, Input, Search, Source};
use crate::lobby::{self, Pointer};
use crate::remote::{self, RemoteError};
use crate::shared::Shared;

/// How long a peer has for the first slot of a process: a large item on a slow line, and no more, as those
/// after it may have it at hand.
const OPENING_WAIT: Duration = Duration::from_secs(10);
/// Peers of which it is noted where they are to be dialled.
const ADDRESSES_KEPT_MAX: usize = 512;
/// How often time passes for a search.
const TICK: Duration = Duration::from_millis(50);

/// A process, and its first slot.
pub type Opening = (Arc<Process>, VerifiedRecord);

/// The first slot of a process from whoever has it.
///
/// # Errors
/// When nobody serves it.
pub async fn fetch_opening(shared: &Shared, process: Id) -> Result<Opening, HostingError> {
    let began = Instant::now();
    remote::first_peer(shared).await;
    let search = Search::new(shared.net.peer(), shared.clock.now());
    let mut looking = Looking {
        shared,
        process,
        search,
        named: SelectAll::new(),
        addresses: BTreeMap::new(),
        asked: FuturesUnordered::new(),
        last: None,
    };
    let found = looking.run().await;
    if found.is_ok() {
        shared.metrics.find_times.add(began.elapsed());
    }
    found
}

/// What one way comes to: peers, or that there are no more.
type Found = (Source, Option<Vec<Pointer>>);

type Answer = (Peer, Result<Opening, HostingError>);

/// A search under way.
struct Looking<'a> {
    shared: &'a Shared,
    process: Id,
    search: Search<Peer>,
    named: SelectAll<BoxStream<'a, Found>>,
    /// Where those are to be dialled that others name.
    addresses: BTreeMap<Peer, Vec<Bytes>>,
    asked: FuturesUnordered<BoxFuture<'a, Answer>>,
    last: Option<HostingError>,
}

impl<'a> Looking<'a> {
    async fn run(&mut self) -> Result<Opening, HostingError> {
        let mut tick = tokio::time::interval(TICK);
        loop {
            let input = tokio::select! {
                Some((source, found)) = self.named.next() => self.found(source, found),
                Some((peer, answer)) = self.asked.next() => match answer {
                    Ok(found) => {
                        self.shared.lobby.served(peer, self.shared.clock.now());
                        return Ok(found);
                    }
                    Err(error) => self.failed(peer, error),
                },
                _ = tick.tick() => Input::Tick,
            };
            let mut effects = Effects::new();
            self.search.handle(input, self.shared.clock.now(), &mut effects);
            for effect in effects.drain() {
                match effect {
                    Effect::Look(source) => {
                        let ended = stream::once(async move { (source, None) });
                        let found = look(self.shared, self.process, source);
                        let found = found.map(move |found| (source, Some(found)));
                        self.named.push(found.chain(ended).boxed());
                    }
                    Effect::Ask(peer) => {
                        let addresses = self.addresses.remove(&peer).unwrap_or_default();
                        self.asked.push(ask(self.shared, peer, addresses, self.process).boxed());
                    }
                    Effect::Over => {
                        return Err(self.last.take().unwrap_or_else(|| super::nobody(self.process)));
                    }
                }
            }
        }
    }

    fn found(&mut self, source: Source, found: Option<Vec<Pointer>>) -> Input<Peer> {
        let Some(found) = found else { return Input::Ended(source) };
        for Pointer { peer, addresses, .. } in &found {
            if !addresses.is_empty() && self.addresses.len() < ADDRESSES_KEPT_MAX {
                self.addresses.entry(*peer).or_insert_with(|| addresses.clone());
            }
        }
        let is_heard = found.first().is_some_and(|first| first.is_hearsay);
        let peers = found.into_iter().map(|pointer| pointer.peer).collect();
        if is_heard { Input::Heard(source, peers) } else { Input::Named(source, peers) }
    }

    fn failed(&mut self, peer: Peer, error: HostingError) -> Input<Peer> {
        if matches!(&error, HostingError::Remote(error) if error.is_absence()) {
            self.shared.lobby.broke(peer, self.process, self.shared.clock.now());
        }
        // That somebody lied says more than that others know nothing.
        if !matches!(self.last, Some(HostingError::False { .. })) {
            self.last = Some(error);
        }
        Input::Failed(peer)
    }
}

/// The peers that are found in one way, as they are found.
fn look(shared: &Shared, process: Id, source: Source) -> BoxStream<'_, Vec<Pointer>> {
    let known = |peers: Vec<Peer>| -> Vec<Pointer> { peers.into_iter().map(Pointer::known).collect() };
    match source {
        Source::Topic => {
            let peers = async move { shared.net.subscribers(process).await.unwrap_or_default() };
            stream::once(peers).map(known).boxed()
        }
        Source::Lobby => stream::once(async move { lobby::named(shared, process) }).boxed(),
        Source::Peers => {
            let whom = lobby::to_ask(shared, Shard::of(&process));
            stream::once(whom).flat_map(move |whom| lobby::say(shared, process, whom)).boxed()
        }
        Source::Records => {
            let peers = async move { shared.net.providers(Key::Process(process)).await.unwrap_or_default() };
            stream::once(peers).map(known).boxed()
        }
        Source::Shard => {
            let key = Key::Lobby(Shard::of(&process));
            let whom = async move { shared.net.providers(key).await.unwrap_or_default() };
            stream::once(whom).flat_map(move |whom| lobby::say(shared, process, whom)).boxed()
        }
        // Each is a way of its own: none stands behind another.
        Source::Everyone => {
            let all = stream::once(remote::everyone(shared)).flat_map(stream::iter);
            all.map(move |peer| known(vec![peer])).boxed()
        }
    }
}

async fn ask(shared: &Shared, peer: Peer, addresses: Vec<Bytes>, process: Id) -> Answer {
    if !addresses.is_empty() {
        // Whether it is there shows when it is asked.
        let _ = shared.net.introduce(peer, addresses).await;
    }
    let answer = tokio::time::timeout(OPENING_WAIT, opening_of(shared, peer, process)).await;
    let late = |_| Err(RemoteError::Request { peer, error: RequestError::Timeout }.into());
    (peer, answer.unwrap_or_else(late))
}

/// The first slot of a process from this peer.
async fn opening_of(shared: &Shared, peer: Peer, process: Id) -> Result<Opening, HostingError> {
    let mut slots = remote::range(shared, peer, process, 0, 0).await?;
    let falsely = |why: String| HostingError::False { peer, why };
    let mut record = slots.pop().ok_or_else(|| falsely("it is empty".to_owned()))?;
    // The item is kept; all that came around it would be with it.
    record.item = Bytes::copy_from_slice(&record.item);
    let terms = shared.terms.clone();
    let open = move || SlotRecord::from_wire(&record).and_then(|record| record.open(&terms));
    let opened = tokio::task::spawn_blocking(open).await;
    let opened = opened.map_err(|error| falsely(error.to_string()))?;
    let (found, record) = opened.map_err(|error| falsely(error.to_string()))?;
    if found.id() != process {
        return Err(falsely("it is another process".to_owned()));
    }
    Ok((Arc::new(found), record))
}
