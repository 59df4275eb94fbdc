#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use weft_protocol::assignment::Excluded;
use weft_protocol::market::{Entry, Market};
use weft_protocol::seen::SeenKeys;
use weft_protocol::{DataItem, Draft, Tag, Verified};

use super::*;

mod checks;
mod sets;

const NETWORK: Network = Network(7);
/// Block boundaries lie at whole multiples of this.
const START: u64 = 120_000_000;

fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

fn item(target: Option<Id>, tags: &[(&str, &str)], data: &'static str) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    Draft { target, anchor: None, tags, data: Bytes::from_static(data.as_bytes()) }.sign(&key(1)).unwrap()
}

/// A scheduler and what its disk says of the logs.
struct Run {
    scheduler: Scheduler,
    tickets: Ticket,
    /// The end of the logs that are on disk before the scheduler hears of them.
    ends: BTreeMap<Id, (Head, Option<Schedule>)>,
    /// Whether more may have been signed than is on disk.
    cautious: bool,
    /// In hard mode, the market of the logs and who offers.
    market: Option<Market>,
    offers: Vec<Entry>,
    /// Slots on their way to disk.
    unsaved: Vec<NewSlot>,
    seen: BTreeMap<(Id, Hash), Stored>,
    children: BTreeMap<Hash, (Id, Stored)>,
}

impl Run {
    fn new() -> Self {
        let scheduler = Scheduler::new(key(2), NETWORK);
        let (ends, unsaved, cautious) = (BTreeMap::new(), Vec::new(), false);
        Self {
            scheduler,
            tickets: 0,
            ends,
            cautious,
            market: None,
            offers: Vec::new(),
            unsaved,
            seen: BTreeMap::new(),
            children: BTreeMap::new(),
        }
    }

    /// Everything that is asked of the disk is answered at once, as the task does; the rest is
    /// returned.
    fn handle(&mut self, input: Input, ms: u64) -> Vec<Effect> {
        let mut is_failure = false;
        match &input {
            Input::Persisted { process, slot } => self.land(*process, *slot),
            Input::PersistFailed { process, .. } => {
                is_failure = true;
                self.unsaved.retain(|slot| slot.process != *process);
            }
            _ => {}
        }
        let asked = self.hear(input, ms);
        self.perform(asked, is_failure, ms)
    }

    /// Hands over what came at once, and only then asks the disk.
    fn group(&mut self, inputs: Vec<Input>, ms: u64) -> Vec<Effect> {
        let asked = inputs.into_iter().flat_map(|input| self.hear(input, ms)).collect();
        self.perform(asked, false, ms)
    }

    fn perform(&mut self, asked: Vec<Effect>, is_failure: bool, ms: u64) -> Vec<Effect> {
        let mut left = Vec::new();
        let mut asked = std::collections::VecDeque::from(asked);
        while let Some(effect) = asked.pop_front() {
            match effect {
                Effect::Look(look) => {
                    let found = self.find(&look.submission);
                    asked.extend(self.hear(Input::Looked { look, found }, ms));
                }
                // After a failed write the disk is silent until a test speaks for it.
                Effect::Reload { process } if !is_failure => {
                    let (head, schedule) = self.ends.get(&process).cloned().unzip();
                    let (schedule, cautious) = (schedule.flatten(), self.cautious);
                    let (market, offers) = (self.market, self.offers.clone());
                    let recovered = Recovered { process, head, schedule, market, offers, cautious };
                    asked.extend(self.hear(Input::Recover(Box::new(recovered)), ms));
                }
                effect => left.push(effect),
            }
        }
        left
    }

    /// Hands over one input and nothing else.
    fn hear(&mut self, input: Input, ms: u64) -> Vec<Effect> {
        let mut effects = Effects::new();
        let process = match &input {
            Input::Looked { look, .. } => Some(look.submission.process),
            Input::Now { process, .. } => Some(*process),
            _ => None,
        };
        if let Some(process) = process.filter(|process| self.scheduler.wants_offers(process)) {
            let offers = self.offers.clone();
            self.scheduler.handle(Input::Offers { process, offers }, Now(START + ms), &mut effects);
        }
        self.scheduler.handle(input, Now(START + ms), &mut effects);
        let effects: Vec<Effect> = effects.drain().collect();
        for effect in &effects {
            if let Effect::Persist(slot) = effect {
                self.unsaved.push((**slot).clone());
            }
        }
        effects
    }

    /// Puts the slots of a log up to this one on disk.
    fn land(&mut self, process: Id, slot: u64) {
        let landed: Vec<NewSlot> =
            self.unsaved.extract_if(.., |new| new.process == process && new.head.slot <= slot).collect();
        for new in landed {
            let stored = Stored { slot: new.head.slot, assignment: new.head.assignment };
            self.seen.extend(new.keys.iter().map(|key| ((process, *key), stored)));
            self.children.extend(new.spawn.map(|spawn| (spawn, (process, stored))));
        }
    }

    fn find(&self, submission: &Submission) -> Found {
        let stored = |key| self.seen.get(&(submission.process, key)).map(|stored| (key, *stored));
        Found {
            keys: submission.keys.all().filter_map(stored).collect(),
            child: submission.spawn.and_then(|spawn| self.children.get(&spawn).copied()),
        }
    }

    fn submit(&mut self, item: Verified<DataItem>, ms: u64) -> Vec<Effect> {
        self.tickets += 1;
        let process = item.target().unwrap_or(item.id());
        let submission = Box::new(Submission::plain(process, item));
        self.handle(Input::Submit { ticket: self.tickets, submission }, ms)
    }

    fn now(&mut self, process: Id, ms: u64) -> Vec<Effect> {
        self.tickets += 1;
        self.handle(Input::Now { ticket: self.tickets, process }, ms)
    }

    /// A process with a tick every two seconds and its slot 0 on disk, at `START`.
    fn ticking(&mut self) -> Id {
        let item = item(None, &[("Cron-Interval", "2-seconds")], "process");
        let process = item.id();
        assert!(matches!(&self.submit(item, 0)[..], [Effect::Persist(_)]));
        self.handle(Input::Persisted { process, slot: 0 }, 1);
        process
    }
}

/// The slot that is to be stored, and nothing else.
fn stored(effects: &[Effect]) -> &NewSlot {
    match effects {
        [Effect::Persist(slot)] => slot,
        other => panic!("{other:?}"),
    }
}

fn answers(effects: &[Effect]) -> Vec<(Ticket, Answer)> {
    let answer = |effect: &Effect| match effect {
        Effect::Reply { ticket, answer } => Some((*ticket, answer.clone())),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

/// The slots and whether they were there before, by ticket.
fn slots(effects: &[Effect]) -> Vec<(Ticket, u64, bool)> {
    let slot = |(ticket, answer)| match answer {
        Answer::Assigned { slot, duplicate, .. } => (ticket, slot, duplicate),
        other => panic!("{other:?}"),
    };
    answers(effects).into_iter().map(slot).collect()
}

#[test]
fn a_reader_gets_a_mark_where_a_tick_is_due_and_once_it_is_durable() {
    let mut run = Run::new();
    let process = run.ticking();
    // Nothing is due: the newest slot, at once.
    assert_eq!(slots(&run.now(process, 1_900)), [(2, 0, true)]);
    let effects = run.now(process, 2_100);
    let mark = stored(&effects);
    assert!(mark::is_mark(&mark.item, process, key(2).address()));
    assert_eq!((mark.head.slot, mark.head.time.timestamp), (1, START + 2_100));
    // Who asks meanwhile waits for the same slot.
    assert!(run.now(process, 2_200).is_empty());
    let effects = run.handle(Input::Persisted { process, slot: 1 }, 2_300);
    assert_eq!(slots(&effects), [(3, 1, false), (4, 1, true)]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Publish(_))));
}

#[test]
fn there_is_at_most_one_mark_a_second() {
    let mut run = Run::new();
    let process = run.ticking();
    let mut marks = Vec::new();
    for ms in (0..20_000).step_by(70) {
        for effect in run.now(process, ms) {
            if let Effect::Persist(slot) = effect {
                let NewSlot { head, .. } = *slot;
                marks.push(head.time.timestamp);
                run.handle(Input::Persisted { process, slot: head.slot }, ms);
            }
        }
    }
    assert_eq!(marks.len(), 9, "{marks:?}");
    assert!(marks.windows(2).all(|two| two[0] / 1_000 < two[1] / 1_000), "{marks:?}");
}

#[test]
fn no_mark_without_crons_or_a_log_or_a_disk() {
    let mut run = Run::new();
    assert_eq!(answers(&run.now(Id([9; 32]), 0)), [(1, Answer::UnknownProcess)]);
    let plain = item(None, &[], "plain");
    let process = plain.id();
    run.submit(plain, 0);
    run.handle(Input::Persisted { process, slot: 0 }, 1);
    assert_eq!(slots(&run.now(process, 500_000)), [(3, 0, true)]);

    let process = run.ticking();
    run.submit(item(Some(process), &[], "lost"), 100);
    run.handle(Input::PersistFailed { process, answer: Answer::Fault("full".to_owned()) }, 101);
    let (ticket, answer) = answers(&run.now(process, 9_000)).remove(0);
    assert_eq!((ticket, answer), (6, Answer::Busy { retry_ms: BUSY_RETRY_MS }));
}

#[test]
fn a_log_that_is_read_again_still_has_its_crons() {
    let mut run = Run::new();
    let process = run.ticking();
    let head = run.scheduler.durable_head(&process);
    let crons = cron::parse(&[Tag::new("Cron-Interval", "2-seconds")]).unwrap();
    let origin = head.unwrap().time;
    let mut run = Run::new();
    run.ends.insert(process, (head.unwrap(), Schedule::new(&crons, origin)));
    assert_eq!(stored(&run.now(process, 10_000)).head.slot, 1);
}

#[test]
fn nothing_is_signed_in_a_log_that_may_have_lost_its_end() {
    let mut run = Run::new();
    let process = run.ticking();
    let head = run.scheduler.durable_head(&process).unwrap();
    let crons = cron::parse(&[Tag::new("Cron-Interval", "2-seconds")]).unwrap();
    let known = item(Some(process), &[], "known");
    let mut run = Run::new();
    run.cautious = true;
    run.ends.insert(process, (head, Schedule::new(&crons, head.time)));
    for key in SeenKeys::of_item(known.id()).all() {
        run.seen.insert((process, key), Stored { slot: 0, assignment: head.assignment });
    }
    let new = item(Some(process), &[], "new");
    assert_eq!(answers(&run.submit(new.clone(), 10_001)), [(1, Answer::Cautious)]);
    assert_eq!(answers(&run.now(process, 20_000)), [(2, Answer::Cautious)]);
    // What has a slot keeps it.
    assert_eq!(slots(&run.submit(known, 20_001)), [(3, 0, true)]);
    // No log is begun either: it might have been, before.
    assert_eq!(answers(&run.submit(item(None, &[], "process"), 20_002)), [(4, Answer::Cautious)]);
    assert_eq!(answers(&child(&mut run, Hash([7; 32]), "child", 20_003).1), [(5, Answer::Cautious)]);
    // It is read again for whoever asks next.
    run.cautious = false;
    assert_eq!(stored(&run.submit(new, 10_005)).head.slot, 1);
}

#[test]
fn all_who_come_at_once_to_a_log_under_caution_are_answered() {
    let mut run = Run::new();
    let process = run.ticking();
    let head = run.scheduler.durable_head(&process).unwrap();
    let crons = cron::parse(&[Tag::new("Cron-Interval", "2-seconds")]).unwrap();
    let mut run = Run::new();
    run.cautious = true;
    run.ends.insert(process, (head, Schedule::new(&crons, head.time)));
    let submit = |ticket, item: Verified<DataItem>| {
        let submission = Submission::plain(item.target().unwrap_or(item.id()), item);
        Input::Submit { ticket, submission: Box::new(submission) }
    };
    let asks = |process: Id| {
        let texts = ["a", "b", "c", "d", "e"];
        let submits = (1..).zip(texts).map(|(ticket, text)| submit(ticket, item(Some(process), &[], text)));
        let nows = (6..8).map(|ticket| Input::Now { ticket, process });
        submits.chain(nows).collect::<Vec<_>>()
    };
    let cautious = |tickets: std::ops::Range<Ticket>| -> Vec<_> {
        tickets.map(|ticket| (ticket, Answer::Cautious)).collect()
    };
    // Twice: the log is read again for the second group.
    for ms in [10_000, 20_000] {
        let mut told = answers(&run.group(asks(process), ms));
        told.sort_by_key(|(ticket, _)| *ticket);
        assert_eq!(told, cautious(1..8));
    }
    // So is everybody who brings a process that may have been there before.
    let own = item(None, &[], "process");
    let again = (1..6).map(|ticket| submit(ticket, own.clone())).collect();
    assert_eq!(answers(&run.group(again, 30_000)), cautious(1..6));
    assert!(!run.scheduler.logs.contains_key(&own.id()));
}

/// A Process item that this spawn asked for, signed by one carrier or another.
fn child(run: &mut Run, spawn: Hash, data: &'static str, ms: u64) -> (Id, Vec<Effect>) {
    run.tickets += 1;
    let item = item(None, &[("Type", "Process")], data);
    let process = item.id();
    let submission = Box::new(Submission { spawn: Some(spawn), ..Submission::plain(process, item) });
    (process, run.handle(Input::Submit { ticket: run.tickets, submission }, ms))
}

#[test]
fn a_spawn_has_one_child_whoever_carries_it() {
    let mut run = Run::new();
    let spawn = Hash([7; 32]);
    let (first, effects) = child(&mut run, spawn, "first", 0);
    let assignment = stored(&effects).head.assignment;
    let signed = stored(&effects).assignment.raw().clone();
    // The second carrier waits for the first one's slot 0 and is answered with it.
    let (second, effects) = child(&mut run, spawn, "second", 1);
    assert!(second != first && effects.is_empty(), "{effects:?}");
    let effects = run.handle(Input::Persisted { process: first, slot: 0 }, 2);
    let answer =
        |duplicate, signed| Answer::Assigned { process: first, slot: 0, assignment, signed, duplicate };
    let new = [(1, answer(false, Some(signed.clone()))), (2, answer(true, Some(signed)))];
    assert_eq!(answers(&effects), new);
    // What is on disk is read from there.
    assert_eq!(answers(&child(&mut run, spawn, "third", 3).1), [(3, answer(true, None))]);
    // Another spawn has another child, and the one that was refused has no log.
    let (other, effects) = child(&mut run, Hash([8; 32]), "other", 4);
    assert_eq!(stored(&effects).process, other);
    assert_eq!(answers(&run.now(second, 5)), [(5, Answer::UnknownProcess)]);

    // However many sign it once more, also after a restart, they leave nothing behind.
    run.handle(Input::Persisted { process: other, slot: 0 }, 6);
    run.scheduler = Scheduler::new(key(2), NETWORK);
    for number in 0..50 {
        let data: &'static str = ["a", "b", "c", "d", "e"][number % 5];
        let (_, effects) = child(&mut run, spawn, data, 7);
        assert!(
            matches!(answers(&effects)[..], [(_, Answer::Assigned { duplicate: true, .. })]),
            "{effects:?}"
        );
    }
    assert!(run.scheduler.logs.is_empty(), "{:?}", run.scheduler.logs);
}

#[test]
fn a_child_whose_slot_0_was_lost_leaves_its_place_to_the_next() {
    let mut run = Run::new();
    let spawn = Hash([7; 32]);
    let (first, _) = child(&mut run, spawn, "first", 0);
    run.handle(Input::PersistFailed { process: first, answer: Answer::Fault("full".to_owned()) }, 1);
    // Until the disk was read again nobody knows whether it is there.
    let effects = child(&mut run, spawn, "second", 2).1;
    assert_eq!(answers(&effects), [(2, Answer::Busy { retry_ms: BUSY_RETRY_MS })]);
    run.handle(recovered(first, None), 3);
    let (second, effects) = child(&mut run, spawn, "second", 4);
    assert_eq!(stored(&effects).process, second);

    // One whose write failed and that is on disk after all keeps its place, after a restart too.
    let mut run = Run::new();
    let (first, effects) = child(&mut run, spawn, "first", 0);
    let head = stored(&effects).head;
    run.land(first, 0);
    run.handle(Input::PersistFailed { process: first, answer: Answer::Fault("full".to_owned()) }, 1);
    run.handle(recovered(first, Some(head)), 2);
    let is_first = |effects: &[Effect]| {
        let answers = answers(effects);
        matches!(answers[..], [(_, Answer::Assigned { process, slot: 0, duplicate: true, .. })] if process == first)
    };
    assert!(is_first(&child(&mut run, spawn, "second", 3).1));
    run.scheduler = Scheduler::new(key(2), NETWORK);
    assert!(is_first(&child(&mut run, spawn, "second", 4).1));
}

fn recovered(process: Id, head: Option<Head>) -> Input {
    let (market, offers) = (None, Vec::new());
    Input::Recover(Box::new(Recovered { process, head, schedule: None, market, offers, cautious: false }))
}

#[test]
fn what_was_read_before_a_commit_is_read_again_after_it() {
    let mut run = Run::new();
    let process = run.ticking();
    let message = item(Some(process), &[], "once");
    let look = |effects: Vec<Effect>| match &effects[..] {
        [Effect::Look(look)] => look.clone(),
        other => panic!("{other:?}"),
    };
    let submit = |ticket| {
        let submission = Box::new(Submission::plain(process, message.clone()));
        Input::Submit { ticket, submission }
    };
    let first = look(run.hear(submit(50), 10));
    let second = look(run.hear(submit(51), 11));
    // The disk is read for both; then the first gets its slot, and that is committed.
    let (nothing, stale) = (run.find(&first.submission), run.find(&second.submission));
    assert_eq!(stored(&run.handle(Input::Looked { look: first, found: nothing }, 12)).head.slot, 1);
    run.handle(Input::Persisted { process, slot: 1 }, 13);
    let effects = run.handle(Input::Looked { look: second, found: stale }, 14);
    assert_eq!(slots(&effects), [(51, 1, true)]);
}

#[test]
fn asks_wait_until_their_log_is_read_and_are_told_if_it_cannot_be() {
    let mut run = Run::new();
    let process = run.ticking();
    let head = run.scheduler.durable_head(&process);
    run.scheduler = Scheduler::new(key(2), NETWORK);
    let asks = |run: &mut Run| {
        let message = item(Some(process), &[], "a message");
        let submission = Box::new(Submission::plain(process, message));
        let asked = run.hear(Input::Now { ticket: 20, process }, 5);
        assert!(matches!(asked[..], [Effect::Reload { process: asked }] if asked == process));
        assert!(run.hear(Input::Submit { ticket: 21, submission }, 6).is_empty());
    };
    asks(&mut run);
    let effects = run.handle(Input::Unreadable { process, why: "worn out".to_owned() }, 7);
    let fault = |ticket| (ticket, Answer::Fault("worn out".to_owned()));
    assert_eq!(answers(&effects), [fault(20), fault(21)]);
    // It is read again when it is asked for again.
    asks(&mut run);
    let effects = run.handle(recovered(process, head), 8);
    assert_eq!(slots(&effects[..1]), [(20, 0, true)]);
    assert_eq!(stored(&effects[1..]).head.slot, 1);
}

#[test]
fn a_log_that_is_no_log_takes_no_memory() {
    let mut run = Run::new();
    for seed in 0..100 {
        assert_eq!(answers(&run.now(Id([seed; 32]), 0)).len(), 1);
        run.submit(item(Some(Id([seed; 32])), &[], "to nobody"), 0);
    }
    assert!(run.scheduler.logs.is_empty());
}

/// An item that is assigned to a process whomever it is for.
fn assigned(process: Id, item: &Verified<DataItem>, excludes: Vec<Excluded>) -> Input {
    let submission =
        Box::new(Submission { assigned: Some(excludes), ..Submission::plain(process, item.clone()) });
    Input::Submit { ticket: 90, submission }
}

#[test]
fn an_existing_item_gets_one_slot_and_says_what_is_hidden() {
    let mut run = Run::new();
    let process = run.ticking();
    let other = item(Some(Id([5; 32])), &[], "for somebody else");
    let hidden = vec![Excluded::Data, Excluded::Tags];
    let effects = run.handle(assigned(process, &other, hidden.clone()), 10);
    let slot = stored(&effects);
    let named = weft_protocol::assignment::Assignment::from_item(&slot.assignment).unwrap();
    assert_eq!((named.process, named.message, named.excludes), (process, Some(other.id()), hidden));
    assert!(run.handle(assigned(process, &other, Vec::new()), 11).is_empty());
    let effects = run.handle(Input::Persisted { process, slot: 1 }, 12);
    assert_eq!(slots(&effects), [(90, 1, false), (90, 1, true)]);
}

#[test]
fn a_process_item_that_is_assigned_opens_no_log() {
    let mut run = Run::new();
    let own = item(None, &[], "process");
    let effects = run.handle(assigned(own.id(), &own, Vec::new()), 0);
    assert_eq!(answers(&effects), [(90, Answer::UnknownProcess)]);
    let process = run.ticking();
    let ticking = item(None, &[("Cron-Interval", "2-seconds")], "process");
    assert_eq!(slots(&run.handle(assigned(process, &ticking, Vec::new()), 5)), [(90, 0, true)]);
}
