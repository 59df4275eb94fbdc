use super::*;

fn id(number: u16) -> Id {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    Id(bytes)
}

fn run(direct: &mut Direct<u8>, input: Input<u8>, now: u64) -> Vec<Effect<u8>> {
    let mut effects = Effects::new();
    direct.handle(input, Now(now), &mut effects);
    effects.drain().collect()
}

fn found(number: u16, others: &[u8]) -> Input<u8> {
    Input::Found { process: id(number), scheduler: None, others: others.to_vec() }
}

fn quiet(question: u64) -> Input<u8> {
    Input::Answered { question, heads: Some(Vec::new()) }
}

fn ask(question: u64, peer: u8, numbers: &[u16]) -> Effect<u8> {
    let processes = numbers.iter().map(|number| (id(*number), None)).collect();
    Effect::Ask { question, peer, processes }
}

fn finds(effects: Vec<Effect<u8>>) -> Vec<Id> {
    let find = |effect| if let Effect::Find(process) = effect { Some(process) } else { None };
    effects.into_iter().filter_map(find).collect()
}

#[test]
fn a_process_is_looked_up_asked_about_and_asked_about_again() {
    let mut direct = Direct::default();
    assert_eq!(run(&mut direct, Input::Add(id(1)), 0), [Effect::Find(id(1))]);
    assert_eq!(run(&mut direct, Input::Add(id(1)), 0), []);
    assert_eq!(run(&mut direct, found(1, &[7, 8]), 1), [ask(1, 7, &[1])]);
    assert_eq!(run(&mut direct, Input::Tick, 2), []);
    assert_eq!(run(&mut direct, quiet(1), 3), [ask(2, 7, &[1])]);
    // One that cannot be asked is left, and others are looked for after a while.
    assert_eq!(run(&mut direct, Input::Answered { question: 2, heads: None }, 4), []);
    assert_eq!(run(&mut direct, Input::Tick, 3 + SEARCH_MS), []);
    assert_eq!(run(&mut direct, Input::Tick, 4 + SEARCH_MS), [Effect::Find(id(1))]);
    run(&mut direct, Input::Remove(id(1)), 9_999);
    assert_eq!(run(&mut direct, found(1, &[8]), 9_999), []);
    assert_eq!((direct.processes.len(), direct.searches, direct.due.len()), (0, 0, 0));
}

#[test]
fn what_comes_while_a_question_is_open_gets_one_of_its_own_and_then_they_are_one() {
    let mut direct = Direct::default();
    let mut asked = Vec::new();
    for number in 0..4 {
        run(&mut direct, Input::Add(id(number)), 0);
        asked.extend(run(&mut direct, found(number, &[7]), 0));
    }
    // The first, the second, and no third question.
    assert_eq!(asked.len(), 2);
    // Those that were not asked about yet come first.
    assert_eq!(run(&mut direct, quiet(1), 1), [ask(3, 7, &[2, 3, 0])]);
}

#[test]
fn many_processes_are_few_questions_and_searches_are_bounded() {
    let mut direct = Direct::default();
    let count = WATCHED_MAX as u16 + 50;
    let mut searches = 0;
    let mut queue: Vec<Id> = Vec::new();
    for number in 0..count {
        queue.extend(finds(run(&mut direct, Input::Add(id(number)), 0)));
    }
    assert_eq!(queue.len(), SEARCHES_MAX);
    while let Some(process) = queue.pop() {
        searches += 1;
        // A place that is free again is taken at once.
        let input = Input::Found { process, scheduler: None, others: vec![7] };
        queue.extend(finds(run(&mut direct, input, 0)));
    }
    assert_eq!(searches, count);
    assert_eq!(direct.questions.len(), OPEN_PER_PEER_MAX);
    let sizes: Vec<_> = direct.questions.values().map(|(_, processes)| processes.len()).collect();
    assert!(sizes.iter().all(|size| *size <= WATCHED_MAX), "{sizes:?}");
}

/// Forty that nobody has are searched for again and again, ten seconds each; the one that somebody has
/// comes last by its id.
#[test]
fn those_that_nobody_has_do_not_keep_the_others_waiting() {
    let mut direct = Direct::default();
    let mut ends: BTreeMap<u64, Vec<Id>> = BTreeMap::new();
    let wanted = id(9_999);
    let mut asked_at = None;
    let mut peerless = 0;
    for now in (0..120_000).step_by(500) {
        let mut effects = Vec::new();
        if now == 0 {
            let all = (0..40).map(id).chain([wanted]);
            effects.extend(all.flat_map(|process| run(&mut direct, Input::Add(process), 0)));
        }
        for process in ends.remove(&now).unwrap_or_default() {
            let others = if process == wanted { vec![7] } else { Vec::new() };
            effects.extend(run(&mut direct, Input::Found { process, scheduler: None, others }, now));
        }
        effects.extend(run(&mut direct, Input::Tick, now));
        for effect in effects {
            match effect {
                Effect::Find(process) => {
                    peerless += usize::from(process != wanted);
                    ends.entry(now + 10_000).or_default().push(process);
                }
                Effect::Ask { .. } => asked_at = asked_at.or(Some(now)),
            }
        }
    }
    // The third round of searches has a place for it.
    assert!(asked_at.is_some_and(|at| at <= 30_000), "{asked_at:?}");
    assert!(peerless >= 120, "{peerless}: the others have their turns too");
}

#[test]
fn a_peer_that_is_asked_anyway_is_taken_before_another_and_the_scheduler_before_both() {
    let mut direct = Direct::default();
    run(&mut direct, Input::Add(id(1)), 0);
    run(&mut direct, found(1, &[7]), 0);
    run(&mut direct, Input::Add(id(2)), 0);
    assert_eq!(run(&mut direct, found(2, &[8, 7]), 0), [ask(2, 7, &[2])]);
    run(&mut direct, Input::Add(id(3)), 0);
    let input = Input::Found { process: id(3), scheduler: Some(9), others: vec![8, 7] };
    assert_eq!(run(&mut direct, input, 0), [ask(3, 9, &[3])]);
}

#[test]
fn a_peer_that_brought_nothing_makes_way_for_another_and_one_that_did_stays() {
    let mut direct = Direct::default();
    run(&mut direct, Input::Add(id(1)), 0);
    run(&mut direct, found(1, &[7, 8]), 0);
    // A question that is open when the time is over is waited for.
    assert_eq!(run(&mut direct, Input::Tick, BETTER_MS), []);
    assert_eq!(run(&mut direct, quiet(1), BETTER_MS), [Effect::Find(id(1))]);
    assert_eq!(run(&mut direct, found(1, &[7, 8]), BETTER_MS), [ask(2, 8, &[1])]);
    let news = Input::Answered { question: 2, heads: Some(vec![(id(1), 4)]) };
    let again = Effect::Ask { question: 3, peer: 8, processes: vec![(id(1), Some(4))] };
    assert_eq!(run(&mut direct, news, BETTER_MS + 1), [again]);
    assert_eq!(run(&mut direct, quiet(3), 2 * BETTER_MS), [Effect::Find(id(1))]);
    assert_eq!(run(&mut direct, found(1, &[8, 7]), 2 * BETTER_MS), [ask(4, 8, &[1])]);
    // Without another it is asked again, and so is a scheduler that could not be asked for a while.
    run(&mut direct, Input::Answered { question: 4, heads: None }, 2 * BETTER_MS);
    run(&mut direct, Input::Tick, 3 * BETTER_MS);
    assert_eq!(run(&mut direct, found(1, &[8]), 3 * BETTER_MS), [ask(5, 8, &[1])]);
}

/// A log to which nothing is added is no fault of its scheduler.
#[test]
fn the_scheduler_of_a_quiet_log_is_kept_and_one_that_cannot_be_asked_makes_way_once() {
    let mut direct = Direct::default();
    let both = || Input::Found { process: id(1), scheduler: Some(9), others: vec![7] };
    run(&mut direct, Input::Add(id(1)), 0);
    assert_eq!(run(&mut direct, both(), 0), [ask(1, 9, &[1])]);
    for round in 1..4 {
        let now = round * CHANGE_MS;
        assert_eq!(run(&mut direct, quiet(round), now), [Effect::Find(id(1))]);
        assert_eq!(run(&mut direct, both(), now), [ask(round + 1, 9, &[1])]);
    }
    run(&mut direct, Input::Answered { question: 4, heads: None }, 4 * CHANGE_MS);
    assert_eq!(run(&mut direct, Input::Tick, 5 * CHANGE_MS), [Effect::Find(id(1))]);
    assert_eq!(run(&mut direct, both(), 5 * CHANGE_MS), [ask(5, 7, &[1])]);
    assert_eq!(run(&mut direct, quiet(5), 6 * CHANGE_MS), [Effect::Find(id(1))]);
    assert_eq!(run(&mut direct, both(), 6 * CHANGE_MS), [ask(6, 9, &[1])]);
}

#[test]
fn whoever_is_at_hand_is_asked_at_once_and_the_scheduler_once_it_is_found() {
    let mut direct = Direct::default();
    run(&mut direct, Input::Add(id(1)), 0);
    assert_eq!(run(&mut direct, found(1, &[7]), 0), [ask(1, 7, &[1])]);
    assert_eq!(run(&mut direct, quiet(1), BETTER_MS), [Effect::Find(id(1))]);
    let both = Input::Found { process: id(1), scheduler: Some(9), others: vec![7] };
    assert_eq!(run(&mut direct, both, BETTER_MS), [ask(2, 9, &[1])]);
    // Nobody knows more: it is kept for longer.
    assert_eq!(run(&mut direct, quiet(2), 2 * BETTER_MS), [ask(3, 9, &[1])]);
    assert_eq!(run(&mut direct, quiet(3), BETTER_MS + CHANGE_MS), [Effect::Find(id(1))]);
}

#[test]
fn what_was_told_is_not_asked_for_again() {
    let mut direct = Direct::default();
    run(&mut direct, Input::Add(id(1)), 0);
    run(&mut direct, found(1, &[7]), 0);
    let told = |question, slot| Input::Answered { question, heads: Some(vec![(id(1), slot), (id(2), 9)]) };
    let asks = |question, slot| Effect::Ask { question, peer: 7, processes: vec![(id(1), Some(slot))] };
    assert_eq!(run(&mut direct, told(1, 5), 1), [asks(2, 5)]);
    assert_eq!(run(&mut direct, told(2, 3), 2), [asks(3, 5)]);
    assert_eq!(run(&mut direct, quiet(3), 3), [asks(4, 5)]);
}

/// An answer to a question of before says nothing of a process that is asked about anew.
#[test]
fn an_answer_closes_its_own_question_alone() {
    let mut direct = Direct::default();
    run(&mut direct, Input::Add(id(1)), 0);
    run(&mut direct, found(1, &[7]), 0);
    run(&mut direct, Input::Remove(id(1)), 1);
    run(&mut direct, Input::Add(id(1)), 1);
    assert_eq!(run(&mut direct, found(1, &[7]), 1), [ask(2, 7, &[1])]);
    assert_eq!(run(&mut direct, Input::Answered { question: 1, heads: None }, 2), []);
    assert_eq!(run(&mut direct, quiet(2), 3), [ask(3, 7, &[1])]);
}
