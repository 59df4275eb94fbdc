//! Ways to find who has a log, taken beside each other.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use weft_net::{Key, Peer};
use weft_protocol::{Address, Id};

use crate::lobby;
use crate::shared::Shared;

/// How much longer than all others the scheduler of a process is looked for: one that is gone takes ten seconds.
const GRACE: Duration = Duration::from_secs(2);
/// How much longer others are looked for once somebody is found who may have a log.
const OTHERS_WAIT: Duration = Duration::from_secs(2);

/// What one of two comes to, and the other if it comes soon after it.
pub async fn together<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, Option<B>) {
    tokio::pin!(one, other);
    tokio::select! {
        a = &mut one => (a, tokio::time::timeout(GRACE, other).await.ok()),
        b = &mut other => (one.await, Some(b)),
    }
}

/// All lookups at once: whom the first names that finds anybody, and whom the others do soon after it, as anybody
/// may have himself named. That of an address may take ten seconds where it is of a peer that is gone, and
/// nobody waits for it alone.
pub async fn looked_up(shared: &Shared, process: Id, scheduler: Option<Address>) -> Vec<Peer> {
    let by_process = async { shared.net.providers(Key::Process(process)).await.unwrap_or_default() };
    let by_scheduler = async {
        match scheduler {
            Some(address) => shared.net.providers(Key::Address(address)).await.unwrap_or_default(),
            None => Vec::new(),
        }
    };
    let by_lobby = lobby::named_anywhere(shared, process);
    let ways: [BoxFuture<'_, Vec<Peer>>; 3] = [by_lobby.boxed(), by_process.boxed(), by_scheduler.boxed()];
    let mut found = ways.into_iter().collect::<FuturesUnordered<_>>();
    let mut all = Vec::new();
    while all.is_empty() {
        let Some(peers) = found.next().await else { return all };
        all.extend(peers);
    }
    let over = tokio::time::sleep(OTHERS_WAIT);
    tokio::pin!(over);
    loop {
        tokio::select! {
            more = found.next() => match more {
                Some(peers) => all.extend(peers),
                None => return all,
            },
            () = &mut over => return all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_keeps_nobody_waiting() {
        let gone = std::future::pending::<u8>();
        let began = tokio::time::Instant::now();
        assert_eq!(together(async { 1 }, gone).await, (1, None));
        assert_eq!(began.elapsed(), GRACE);
        assert_eq!(together(async { 1 }, async { 2 }).await, (1, Some(2)));
    }
}
