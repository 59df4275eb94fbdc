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
    /// How long an answer that is not sure, whoever gave it, waits for one that is; others are asked meanwhile.
    pub until_sure: Duration,
}

/// The first answer, and whose it is; that of `best`, if it is among those asked, before others that are not
/// `sure` whoever gave them, and none of those before a sure one that comes soon. `nothing` is told who has none, and why if it said so in time. Safe to cancel.
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
        let waits = held.is_none() || Instant::now() < began + pace.until_sure;
        while waits
            && asked.len() < pace.beside
            && (asked.is_empty() || Instant::now() >= next_at)
            && let Some(peer) = left.next()
        {
            let answer = tokio::time::timeout(pace.each, ask(peer));
            asked.push(async move { (peer, answer.await) });
            next_at = Instant::now() + pace.stagger;
        }
        let may_begin = waits && asked.len() < pace.beside && left.peek().is_some();
        let grace = if best.is_some() { pace.grace.max(pace.until_sure) } else { pace.until_sure };
        let told_at = held.is_some().then_some(began + grace);
        let wake = told_at.into_iter().chain(may_begin.then_some(next_at)).min();
        let answered = async {
            match wake {
                Some(at) => tokio::time::timeout_at(at, asked.next()).await.ok(),
                None => Some(asked.next().await),
            }
        };
        match answered.await {
            Some(Some((peer, answer))) => {
                let knows_best = best == Some(peer);
                if knows_best {
                    best = None;
                }
                match answer {
                    Ok(Ok(answer)) if sure(&answer) => return Some((peer, answer)),
                    // The one who knows best knows it better than whoever was quicker.
                    Ok(Ok(answer)) if knows_best => held = Some((peer, answer)),
                    Ok(Ok(answer)) => held = held.or(Some((peer, answer))),
                    Ok(Err(error)) => nothing(peer, Some(error)),
                    Err(_) => nothing(peer, None),
                }
                next_at = Instant::now();
                let grace = if best.is_some() { pace.grace.max(pace.until_sure) } else { pace.until_sure };
                if held.is_some() && began.elapsed() >= grace {
                    return held;
                }
            }
            // Nobody is asked any more, and nobody is left.
            Some(None) => return held,
            None if told_at.is_some_and(|at| at <= Instant::now()) => return held,
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
        until_sure: Duration::ZERO,
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
    #[tokio::test(start_paused = true)]
    async fn who_is_sure_comes_before_who_knows_best_if_it_is_soon() {
        let pace = Pace { stagger: Duration::ZERO, until_sure: Duration::from_millis(500), ..PACE };
        // After how many milliseconds each answers, and whether it is sure.
        let asked = |script: &'static [(u64, bool)]| async move {
            let peers: Vec<Peer> = (0..script.len()).map(|number| peer(number as u8)).collect();
            let began = Instant::now();
            let ask = |of: Peer| async move {
                let at = (0..script.len()).find(|number| peer(*number as u8) == of).unwrap();
                // tidy-allow(sleep): a peer takes its time, on a clock that does not wait.
                tokio::time::sleep(Duration::from_millis(script[at].0)).await;
                Ok::<_, ()>(script[at].1)
            };
            let found = first(peers, Some(peer(0)), pace, ask, |sure| *sure, |_, _| ()).await;
            let at = found.map(|(of, _)| (0..script.len()).find(|number| peer(*number as u8) == of).unwrap());
            (at, began.elapsed().as_millis())
        };
        assert_eq!(asked(&[(5, false), (300, true)]).await, (Some(1), 300));
        assert_eq!(asked(&[(5, false), (700, true)]).await, (Some(0), 500), "that is not soon");
        assert_eq!(asked(&[(5, false), (6, false)]).await, (Some(0), 6), "nobody is left who could be");
        assert_eq!(asked(&[(5, false), (6, false), (7, false), (8, true)]).await, (Some(3), 13));
        assert_eq!(asked(&[(900, false), (5, false), (800, true)]).await, (Some(2), 800));
    }
}
