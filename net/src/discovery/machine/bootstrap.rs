//! When to dial the bootstrap peers: at once, and again, ever less often, while they are away.

use std::collections::BTreeMap;

use weft_protocol::{Effects, Machine, Now};

use crate::limits::{REDIAL_MS_MAX, REDIAL_MS_MIN, STABLE_MS};

/// A dial that reports nothing for this long has failed.
const DIAL_MS_MAX: u64 = 60_000;

/// What the machine hears of. `P` names a peer; peers that are not on the list are ignored.
#[derive(Debug)]
pub(crate) enum Input<P> {
    Up(P),
    Down(P),
    DialFailed(P),
    /// Nobody is connected: pauses end.
    Alone,
    Tick,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Away { dial_at: Now },
    Dialling { since: Now },
    Up { since: Now },
}

/// The bootstrap peers. Asks to dial one by naming it.
#[derive(Debug)]
pub(crate) struct Bootstrap<P> {
    peers: BTreeMap<P, (State, u32)>,
}

impl<P: Ord + Copy> Bootstrap<P> {
    pub(crate) fn new(peers: impl IntoIterator<Item = P>) -> Self {
        let away = (State::Away { dial_at: Now(0) }, 0);
        Self { peers: peers.into_iter().map(|peer| (peer, away)).collect() }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }
}

/// One more failure: the pause doubles.
fn pause(failures: &mut u32, now: Now) -> State {
    let pause = REDIAL_MS_MIN.saturating_mul(1 << (*failures).min(16)).min(REDIAL_MS_MAX);
    *failures = failures.saturating_add(1);
    State::Away { dial_at: now.plus_ms(pause) }
}

impl<P: Ord + Copy> Machine for Bootstrap<P> {
    type Input = Input<P>;
    type Effect = P;

    fn handle(&mut self, input: Input<P>, now: Now, effects: &mut Effects<P>) {
        match input {
            Input::Up(peer) => {
                if let Some((state, _)) = self.peers.get_mut(&peer) {
                    *state = State::Up { since: now };
                }
            }
            Input::Down(peer) => {
                if let Some((state, failures)) = self.peers.get_mut(&peer) {
                    // A peer that takes the connection and closes it at once (it is full, or of
                    // another network) must not be dialled in a circle.
                    if let State::Up { since } = state
                        && now >= since.plus_ms(STABLE_MS)
                    {
                        *failures = 0;
                    }
                    *state = pause(failures, now);
                }
            }
            Input::DialFailed(peer) => {
                if let Some((state @ State::Dialling { .. }, failures)) = self.peers.get_mut(&peer) {
                    *state = pause(failures, now);
                }
            }
            Input::Alone => {
                for (state, _) in self.peers.values_mut() {
                    if let State::Away { dial_at } = state {
                        *dial_at = now;
                    }
                }
            }
            Input::Tick => {
                for (peer, (state, failures)) in &mut self.peers {
                    match *state {
                        State::Away { dial_at } if dial_at <= now => {
                            *state = State::Dialling { since: now };
                            effects.push(*peer);
                        }
                        State::Dialling { since } if since.plus_ms(DIAL_MS_MAX) <= now => {
                            *state = pause(failures, now);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [u8; 0] = [];

    fn run(machine: &mut Bootstrap<u8>, input: Input<u8>, now: u64) -> Vec<u8> {
        let mut effects = Effects::new();
        machine.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    #[test]
    fn all_are_dialled_at_once_and_again_after_growing_pauses() {
        let mut machine = Bootstrap::new([1, 2]);
        assert_eq!(run(&mut machine, Input::Tick, 0), [1, 2]);
        assert_eq!(run(&mut machine, Input::Tick, 1), NOTHING);
        run(&mut machine, Input::Up(2), 5);
        let mut now = 10;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            run(&mut machine, Input::DialFailed(1), now);
            assert_eq!(run(&mut machine, Input::Tick, now + pause * 1000 - 1), NOTHING);
            now += pause * 1000;
            assert_eq!(run(&mut machine, Input::Tick, now), [1]);
        }
    }

    #[test]
    fn a_lost_peer_is_dialled_again_sooner_after_a_long_connection() {
        let mut machine = Bootstrap::new([1]);
        run(&mut machine, Input::Tick, 0);
        // Accepted and dropped three times: the pause grows as if the dials had failed.
        for (up, next) in [(0, 1_000), (1_000, 3_000), (3_000, 7_000)] {
            run(&mut machine, Input::Up(1), up);
            run(&mut machine, Input::Down(1), up);
            assert_eq!(run(&mut machine, Input::Tick, next - 1), NOTHING);
            assert_eq!(run(&mut machine, Input::Tick, next), [1]);
        }
        run(&mut machine, Input::Up(1), 7_000);
        run(&mut machine, Input::Down(1), 7_000 + STABLE_MS);
        assert_eq!(run(&mut machine, Input::Tick, 8_000 + STABLE_MS), [1]);
    }

    #[test]
    fn a_node_alone_dials_without_waiting() {
        let mut machine = Bootstrap::new([1]);
        for _ in 0..6 {
            run(&mut machine, Input::Tick, 0);
            run(&mut machine, Input::DialFailed(1), 0);
            run(&mut machine, Input::Alone, 0);
        }
        assert_eq!(run(&mut machine, Input::Tick, 0), [1]);
    }

    #[test]
    fn a_dial_without_an_outcome_counts_as_failed_and_strangers_change_nothing() {
        let mut machine = Bootstrap::new([1]);
        run(&mut machine, Input::Tick, 0);
        assert_eq!(run(&mut machine, Input::Tick, DIAL_MS_MAX), NOTHING);
        assert_eq!(run(&mut machine, Input::Tick, DIAL_MS_MAX + REDIAL_MS_MIN), [1]);
        run(&mut machine, Input::Up(9), 0);
        run(&mut machine, Input::Down(9), 0);
        assert_eq!(machine.peers.len(), 1);
    }
}
