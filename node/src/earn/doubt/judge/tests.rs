//! Claims of spawns, as a node judges them that computes the source and knows nobody.

use std::collections::BTreeSet;

use weft_protocol::Id;
use weft_protocol::market::Paid;

use super::Verdict;
use crate::earn::doubt::story::{NOTHING, OTHER_SPAWN, SPAWN, Story, UNBORN};
use crate::shared::testing::process_item;

#[tokio::test]
async fn a_spawn_of_which_the_source_knows_the_child_is_judged_by_its_own_log() {
    let story = Story::new().await;
    let (first, third) = (story.ranked(SPAWN, 0), story.ranked(SPAWN, 2));
    let child = story.child(SPAWN, &first);
    let opening = story.first_slot(&child, 0, 0);
    story.hear(SPAWN, &child, &opening).await;
    let paid = story.paid(SPAWN, &first, child.id(), opening.id());
    assert_eq!(story.verdict(&first, paid).await, Verdict::Right);
    let why = async |paid: Paid| story.why(&first, paid).await;
    assert!(why(Paid { amount: paid.amount + 1, ..paid }).await.contains("for a push of"));
    assert!(why(Paid { accepted: Id([6; 32]), ..paid }).await.contains("another's"));
    assert!(why(Paid { target_slot: 1, ..paid }).await.contains("another's"));
    // Another claims the same child, or one of its own that has no slot.
    let others = story.paid(SPAWN, &third, child.id(), opening.id());
    assert!(story.why(&third, others).await.contains("carried it"));
    let own = story.child(SPAWN, &third);
    let made_up = story.paid(SPAWN, &third, own.id(), Id([6; 32]));
    assert!(story.why(&third, made_up).await.contains(&format!("became {}", child.id())));
    story.meet(&own);
    assert!(story.why(&third, made_up).await.contains("became"), "no scheduler took what it made");
    // Were there a second child, as no honest scheduler makes it, its carrier is owed as well.
    let second = story.first_slot(&own, 2, 0);
    story.show(&own, &second).await;
    let twin = story.paid(SPAWN, &third, own.id(), second.id());
    assert_eq!(story.verdict(&third, twin).await, Verdict::Right);
}

#[tokio::test]
async fn a_child_that_nobody_shows_is_waited_for_and_then_judged_by_its_first_slot() {
    let story = Story::new().await;
    let (first, third) = (story.ranked(SPAWN, 0), story.ranked(SPAWN, 2));
    let child = story.child(SPAWN, &first);
    let opening = story.first_slot(&child, 0, 0);
    let paid = story.paid(SPAWN, &first, child.id(), opening.id());
    let unread = Verdict::Unread(1, BTreeSet::from([0]));
    assert_eq!(story.verdict(&first, paid).await, unread);
    story.meet(&child);
    assert_eq!(story.verdict(&first, paid).await, unread, "its scheduler may have signed that receipt");
    let others = story.paid(SPAWN, &third, child.id(), opening.id());
    assert!(story.why(&third, others).await.contains("carried it"), "whoever signed it did");
    story.show(&child, &opening).await;
    assert_eq!(story.verdict(&first, paid).await, Verdict::Right);
    assert!(story.why(&first, Paid { accepted: Id([6; 32]), ..paid }).await.contains("another's"));
    // One that came before its turn.
    let early = story.child(SPAWN, &third);
    let opening = story.first_slot(&early, 1, 1_999);
    story.show(&early, &opening).await;
    let paid = story.paid(SPAWN, &third, early.id(), opening.id());
    assert!(story.why(&third, paid).await.contains("before its turn"));
}

#[tokio::test]
async fn only_a_process_that_the_source_asked_for_there_is_paid() {
    let story = Story::new().await;
    let first = story.ranked(SPAWN, 0);
    let named = async |index, process: Id| {
        let paid = story.paid(index, &first, process, Id([6; 32]));
        story.why(&first, paid).await
    };
    // One of its own, and what the source asked for elsewhere.
    let strange = process_item(&first, first.address());
    story.meet(&strange);
    assert!(named(SPAWN, strange.id()).await.contains("another process"));
    let other = story.child(OTHER_SPAWN, &first);
    story.meet(&other);
    assert!(named(SPAWN, other.id()).await.contains("another process"));
    assert!(named(OTHER_SPAWN, other.id()).await.contains("Unread"));
    // As long as what it asked for, and not the same.
    let altered = story.child_with(SPAWN, &first, b"return 'CHILD'");
    story.meet(&altered);
    assert!(named(SPAWN, altered.id()).await.contains("another process"));
    // Whatever that is called.
    assert!(named(UNBORN, other.id()).await.contains("no scheduler takes"));
    assert!(named(NOTHING, other.id()).await.contains("no such push"));
}

#[tokio::test]
async fn only_what_was_not_shown_is_looked_for_again() {
    let story = Story::new().await;
    let messenger = story.ranked(OTHER_SPAWN, 0);
    let mut pushes = Vec::new();
    let mut openings = Vec::new();
    for index in [SPAWN, OTHER_SPAWN] {
        let child = story.child(index, &messenger);
        let opening = story.first_slot(&child, story.rank(index, &messenger), 0);
        pushes.push(story.paid(index, &messenger, child.id(), opening.id()));
        openings.push((child, opening));
    }
    let mut doubt = story.doubt(&messenger, pushes).await;
    let both = BTreeSet::from([0, 1]);
    assert_eq!(story.judged(&doubt).await, Verdict::Unread(2, both.clone()));
    (doubt.looked, doubt.unread) = (2, both);
    let (child, opening) = &openings[0];
    story.hear(SPAWN, child, opening).await;
    let other = BTreeSet::from([1]);
    assert_eq!(story.judged(&doubt).await, Verdict::Unread(2, other.clone()));
    doubt.unread = other;
    let (child, opening) = &openings[1];
    story.show(child, opening).await;
    assert_eq!(story.judged(&doubt).await, Verdict::Right);
}
