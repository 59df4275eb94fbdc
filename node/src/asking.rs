//! Asking several peers one thing, some beside each other, until one answers. Whoever is silent keeps nobody
//! from being asked, and who is only quick is not believed before the one who knows best had his time.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use weft_net::Peer;

/// How peers are asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// So many beside each other.
    pub beside: usize,
    /// The next begins when those before were silent for so long, or at once when one of them has nothing.
    pub stagger: Duration,
    /// How long each may take.
    pub each: Duration,
    /// How long the answers of others wait for the one who knows best.
    pub grace: Duration,
}

/// The first answer, and whose it is; that of `best`, if it is among those asked, before others that are not
/// `sure` whoever gave them. `nothing` is told who has none, and why if it said so in time. Safe to cancel.
pub async fn first<T, E, F: Future<Output = Result<T, E>>>(
    peers: Vec<Peer>,
    best: Option<Peer>,
    pace: Pace,
    ask: impl Fn(Peer) -> F,
    sure: impl Fn(&T) -> bool,
    mut nothing: impl FnMut(Peer, Option<E>),
) -> Option<(Peer, T)> {
    let mut best = best.filter(|best| peers.contains(best));
    let (mut left, mut asked) = (peers.into_iter().peekable(), FuturesUnordered::new());
    let began = Instant::now();
    let (mut next_at, mut held) = (began, None);
    loop {
        while held.is_none()
            && asked.len() < pace.beside
            && (asked.is_empty() || Instant::now() >= next_at)
            && let Some(peer) = left.next()
        {
            let answer = tokio::time::timeout(pace.each, ask(peer));
            asked.push(async move { (peer, answer.await) });
            next_at = Instant::now() + pace.stagger;
        }
        let may_begin = held.is_none() && asked.len() < pace.beside && left.peek().is_some();
        let wake = if held.is_some() { Some(began + pace.grace) } else { may_begin.then_some(next_at) };
        let answered = async {
            match wake {
                Some(at) => tokio::time::timeout_at(at, asked.next()).await.ok(),
                None => Some(asked.next().await),
            }
        };
        match answered.await {
            Some(Some((peer, answer))) => {
                if best == Some(peer) {
                    best = None;
                }
                match answer {
                    Ok(Ok(answer)) if best.is_none() || began.elapsed() >= pace.grace || sure(&answer) => {
                        return Some((peer, answer));
                    }
                    Ok(Ok(answer)) => held = held.or(Some((peer, answer))),
                    Ok(Err(error)) => nothing(peer, Some(error)),
                    Err(_) => nothing(peer, None),
                }
                next_at = Instant::now();
                if best.is_none() && held.is_some() {
                    return held;
                }
            }
            // Nobody is asked any more, and nobody is left.
            Some(None) => return held,
            None if held.is_some() => return held,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::shared::testing::peer;

    const PACE: Pace = Pace {
        beside: 3,
        stagger: Duration::from_secs(1),
        each: Duration::from_secs(10),
        grace: Duration::from_secs(2),
    };

    /// What peers 0, 1, .. do: after how many milliseconds they answer, and whether they have it. Gives who was
    /// first, when, who had nothing, and how many were asked.
    async fn run(best: Option<u8>, does: &[(u64, bool)]) -> (Option<u8>, u64, usize, usize) {
        let peers: Vec<Peer> = (0..does.len()).map(|number| peer(number as u8)).collect();
        let script: BTreeMap<Peer, (u64, bool)> = peers.iter().copied().zip(does.iter().copied()).collect();
        let (began, asked, mut nothing) = (Instant::now(), Mutex::new(0), 0);
        let ask = |peer| {
            *asked.lock().unwrap() += 1;
            let (after, has) = script[&peer];
            async move {
                // tidy-allow(sleep): a peer takes its time, on a clock that does not wait.
                tokio::time::sleep(Duration::from_millis(after)).await;
                if has { Ok(()) } else { Err(()) }
            }
        };
        let found =
            first(peers.clone(), best.map(peer), PACE, ask, |()| false, |_, _: Option<()>| nothing += 1)
                .await;
        let found = found.map(|(peer, ())| peers.iter().position(|at| *at == peer).unwrap() as u8);
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap();
        let asked = *asked.lock().unwrap();
        (found, elapsed, nothing, asked)
    }

    const NEVER: u64 = 3_600_000;

    #[tokio::test(start_paused = true)]
    async fn the_silent_hold_up_nobody() {
        assert_eq!(run(None, &[]).await, (None, 0, 0, 0));
        assert_eq!(run(None, &[(5, true), (0, true)]).await, (Some(0), 5, 0, 1), "one is enough");
        // Whoever has nothing makes room at once, and who is silent after a moment.
        assert_eq!(run(None, &[(5, false), (5, true)]).await, (Some(1), 10, 1, 2));
        assert_eq!(run(None, &[(NEVER, true), (5, true)]).await, (Some(1), 1_005, 0, 2));
        // One that is slow is heard meanwhile.
        assert_eq!(run(None, &[(1_500, true), (NEVER, true)]).await, (Some(0), 1_500, 0, 2));
        // As many as may be are silent: the next begins when the first of them had its time.
        let silent = (NEVER, true);
        assert_eq!(run(None, &[silent, silent, silent, (5, true)]).await, (Some(3), 10_005, 1, 4));
        assert_eq!(run(None, &[(5, false), silent]).await, (None, 10_005, 2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_only_quick_waits_for_who_knows_best() {
        assert_eq!(run(Some(0), &[(1_200, true), (1, true)]).await, (Some(0), 1_200, 0, 2));
        // Whoever has nothing, or no answer in time, is waited for no longer.
        assert_eq!(run(Some(0), &[(1_200, false), (1, true)]).await, (Some(1), 1_200, 1, 2));
        assert_eq!(run(Some(0), &[(NEVER, true), (1, true)]).await, (Some(1), 2_000, 0, 2));
        assert_eq!(run(Some(0), &[(NEVER, true), (4_000, true)]).await, (Some(1), 5_000, 0, 2));
        // The first of the others is told, and nobody else asked meanwhile.
        assert_eq!(run(Some(0), &[(NEVER, true), (5, true), (1, true)]).await, (Some(1), 2_000, 0, 2));
        assert_eq!(run(Some(9), &[(5, true)]).await, (Some(0), 5, 0, 1), "it is not among them");
    }
}
