use super::*;

type Book16 = Book<u16, u16>;

fn run(book: &mut Book16, input: Input<u16, u16>, now: u64) -> Vec<Effect<u16>> {
    let mut effects = Effects::new();
    book.handle(input, Now(now), &mut effects);
    effects.drain().collect()
}

fn met(peer: u16, dialled: bool) -> Input<u16, u16> {
    Input::Met { peer, addresses: vec![peer], dialled }
}

fn dials(effects: Vec<Effect<u16>>) -> Vec<u16> {
    let dial = |effect| if let Effect::Dial(peer) = effect { Some(peer) } else { None };
    effects.into_iter().filter_map(dial).collect()
}

#[test]
fn after_a_start_anchors_come_first_then_who_failed_least_and_was_met_last() {
    let entry = |met, failures, anchor| Entry::remembered(vec![0], Some(Now(met)), failures, anchor);
    let written = [
        (1, entry(10, 0, false)),
        (2, entry(20, 0, false)),
        (3, entry(5, 3, true)),
        (4, entry(30, 1, false)),
    ];
    let mut book = Book::new(written);
    assert_eq!(dials(run(&mut book, Input::Tick, 100)), [3, 2, 1, 4]);
    assert_eq!(run(&mut book, Input::Tick, 101), []);
}

#[test]
fn no_more_are_dialled_than_wanted_and_one_that_went_is_dialled_after_a_rest() {
    let mut book = Book::new([]);
    for peer in 0..PEERS_WANTED as u16 {
        run(&mut book, met(peer, true), 0);
    }
    run(&mut book, Input::Heard { peer: 99, addresses: vec![1] }, 0);
    assert_eq!(run(&mut book, Input::Tick, 0), []);
    run(&mut book, Input::Gone(0), 1);
    assert_eq!(run(&mut book, Input::Tick, 1), [Effect::Dial(99)]);
    run(&mut book, Input::Failed(99), 2);
    assert_eq!(run(&mut book, Input::Tick, BOOK_REST_MS_MIN), []);
    assert_eq!(run(&mut book, Input::Tick, 1 + BOOK_REST_MS_MIN), [Effect::Dial(0)]);
}

#[test]
fn those_that_chose_this_node_do_not_count_among_those_that_it_chose() {
    let mut book = Book::new([]);
    for peer in 0..PEERS_WANTED as u16 * 4 {
        run(&mut book, met(peer, false), 0);
    }
    for peer in 100..100 + PEERS_WANTED as u16 {
        run(&mut book, Input::Heard { peer, addresses: vec![1] }, 0);
    }
    let mut dialled = dials(run(&mut book, Input::Tick, 0));
    dialled.extend(dials(run(&mut book, Input::Tick, 250)));
    assert_eq!(dialled.len(), PEERS_WANTED);
}

#[test]
fn a_neighbour_that_was_heard_of_once_is_tried_again_at_all_its_addresses() {
    let mut book = Book::new([]);
    run(&mut book, Input::Heard { peer: 5, addresses: vec![1] }, 0);
    run(&mut book, Input::Heard { peer: 5, addresses: vec![2, 1] }, 0);
    assert_eq!(book.addresses(&5), [2, 1]);
    assert_eq!(run(&mut book, Input::Tick, 0), [Effect::Dial(5)]);
    run(&mut book, Input::Failed(5), 1);
    run(&mut book, met(7, true), 1);
    assert_eq!(run(&mut book, Input::Tick, BOOK_REST_MS_MIN), []);
    assert_eq!(run(&mut book, Input::Tick, 1 + BOOK_REST_MS_MIN), [Effect::Dial(5)]);
    assert_eq!(book.written(Now(9_999)).count(), 1, "only who was met is written down");
}

#[test]
fn a_node_with_enough_peers_feels_for_those_not_met_for_long() {
    let entry = |met| Entry::remembered(vec![0], Some(Now(met)), 0, false);
    let mut book = Book::new([(101, entry(20)), (102, entry(10))]);
    for peer in 0..PEERS_WANTED as u16 {
        run(&mut book, met(peer, true), 30);
    }
    assert_eq!(run(&mut book, Input::Tick, 30), []);
    assert_eq!(run(&mut book, Input::Tick, 29 + FEELER_MS), []);
    assert_eq!(run(&mut book, Input::Tick, 30 + FEELER_MS), [Effect::Dial(102)]);
    run(&mut book, Input::Failed(102), 30 + FEELER_MS);
    assert_eq!(run(&mut book, Input::Tick, 30 + FEELER_MS * 2), [Effect::Dial(102)]);
    assert_eq!(run(&mut book, Input::Tick, 30 + FEELER_MS * 3), [Effect::Dial(101)]);
}

#[test]
fn those_that_went_are_felt_for_and_where_one_is_back_the_others_are_dialled_at_once() {
    let mut book = Book::new([]);
    for peer in 0..20 {
        run(&mut book, met(peer, peer >= 10), 0);
    }
    // One went long before the others, of another cause; and one was let go.
    let _ = [Input::Gone(9), Input::Gone(8), Input::LetGo(8)].map(|input| run(&mut book, input, 0));
    for peer in 0..6 {
        run(&mut book, Input::Gone(peer), PARTED_MS * 3);
    }
    // Ten of its own choice are here, so it needs none of them.
    let mut now = PARTED_MS * 3;
    let mut felt = Vec::new();
    for _ in 0..7 {
        felt.extend(dials(run(&mut book, Input::Tick, now)));
        felt.last().into_iter().for_each(|peer| drop(run(&mut book, Input::Failed(*peer), now)));
        assert_eq!(run(&mut book, Input::Tick, now + LOST_FEELER_MS - 1), []);
        now += LOST_FEELER_MS;
    }
    now -= 1;
    assert_eq!(felt, [9, 0, 1, 2, 3, 4, 5], "each in its turn, whatever rest it has");
    run(&mut book, met(3, false), now);
    let at_once = [dials(run(&mut book, Input::Tick, now)), dials(run(&mut book, Input::Tick, now))];
    assert_eq!(at_once, [vec![0, 1, 2, 4], vec![5]]);
    for peer in [0, 1, 2, 4, 5] {
        run(&mut book, Input::Failed(peer), now);
    }
    assert_eq!(run(&mut book, Input::Tick, now), [], "they were not, and are felt for again");
    assert_eq!(dials(run(&mut book, Input::Tick, now + LOST_FEELER_MS)).len(), 1);
    // After a while no more than any others.
    dials(run(&mut book, Input::Tick, now + LOST_MS));
    assert_eq!(run(&mut book, Input::Tick, now + LOST_MS + LOST_FEELER_MS), []);
}

#[test]
fn a_peer_that_fails_rests_ever_longer_and_a_dial_without_an_outcome_has_failed() {
    let mut book = Book::new([(1, Entry::remembered(vec![1], Some(Now(0)), 0, false))]);
    let mut now = 0;
    for failures in 0..12 {
        assert_eq!(dials(run(&mut book, Input::Tick, now)), [1], "{failures}");
        now += BOOK_DIAL_MS_MAX;
        let rest = (BOOK_REST_MS_MIN << failures).min(BOOK_REST_MS_MAX);
        // Alone, everybody is tried anew: somebody is there in this test.
        run(&mut book, met(7, false), now);
        assert_eq!(run(&mut book, Input::Tick, now), []);
        assert_eq!(run(&mut book, Input::Tick, now + rest - 1), []);
        now += rest;
    }
}

#[test]
fn a_node_alone_for_a_minute_tries_everything_anew() {
    let mut book = Book::new([(1, Entry::remembered(vec![1], Some(Now(0)), 9, false))]);
    assert_eq!(run(&mut book, Input::Tick, 0), [Effect::Dial(1)]);
    run(&mut book, Input::Failed(1), 5);
    assert_eq!(run(&mut book, Input::Tick, ALONE_MS - 1), []);
    assert_eq!(run(&mut book, Input::Tick, ALONE_MS), [Effect::Alone { again: false }, Effect::Dial(1)]);
    run(&mut book, Input::Failed(1), ALONE_MS);
    assert_eq!(run(&mut book, Input::Tick, ALONE_MS * 2), [Effect::Alone { again: true }, Effect::Dial(1)]);
    run(&mut book, met(1, true), ALONE_MS * 2);
    assert_eq!(run(&mut book, Input::Tick, ALONE_MS * 9), []);
    // Another parting is another alarm.
    run(&mut book, Input::Gone(1), ALONE_MS * 9);
    run(&mut book, Input::Tick, ALONE_MS * 9);
    assert!(run(&mut book, Input::Tick, ALONE_MS * 10).contains(&Effect::Alone { again: false }));
}

#[test]
fn the_oldest_connections_that_this_node_dialled_are_the_next_anchors() {
    let mut book = Book::new([]);
    for peer in 0..20 {
        run(&mut book, met(peer, peer % 2 == 1), u64::from(peer));
    }
    run(&mut book, Input::Heard { peer: 99, addresses: vec![1] }, 20);
    let written: Vec<_> = book.written(Now(50)).collect();
    assert_eq!(written.len(), 20, "hearsay is not written down");
    assert!(written.iter().all(|(_, entry)| entry.met == Some(Now(50))));
    let anchors: Vec<u16> = written.iter().filter(|(_, entry)| entry.anchor).map(|(peer, _)| *peer).collect();
    assert_eq!(anchors, [1, 3, 5, 7, 9, 11, 13, 15]);
}

#[test]
fn the_book_is_bounded_and_hearsay_pushes_out_nobody_who_was_met() {
    let mut book = Book::new([]);
    for peer in 0..BOOK_PEERS_MAX as u16 {
        run(&mut book, met(peer, true), u64::from(peer));
        run(&mut book, Input::Gone(peer), u64::from(peer));
    }
    run(&mut book, Input::Heard { peer: 60_000, addresses: vec![1] }, 0);
    assert_eq!((book.len(), book.addresses(&60_000).len()), (BOOK_PEERS_MAX, 0));
    run(&mut book, met(60_001, true), 9_999);
    assert_eq!((book.len(), book.addresses(&60_001).len()), (BOOK_PEERS_MAX, 1));
    assert!(book.addresses(&0).is_empty(), "the one met longest ago made room");
    run(&mut book, Input::Foreign(60_001), 0);
    assert!(book.addresses(&60_001).is_empty());
}

#[test]
fn strangers_that_come_and_go_leave_room_among_the_lost_for_those_that_this_node_chose() {
    let mut book = Book::new([]);
    for peer in 0..LOST_MAX as u16 * 3 {
        run(&mut book, met(peer, false), 0);
        run(&mut book, Input::Gone(peer), 1);
    }
    assert_eq!(book.lost.len(), LOST_MAX / 2);
    for peer in 1_000..1_000 + LOST_MAX as u16 * 2 {
        run(&mut book, met(peer, true), 2);
        run(&mut book, Input::Gone(peer), 3);
    }
    let chosen = book.lost.values().filter(|lost| lost.dialled).count();
    assert_eq!((book.lost.len(), chosen), (LOST_MAX, LOST_MAX), "whom it chose comes before strangers");
    run(&mut book, met(5_000, false), 4);
    run(&mut book, Input::Gone(5_000), 5);
    assert!(!book.lost.contains_key(&5_000));
}
