//! Items that stand in one log and get a slot in another: because a process asks for it, and
//! because a user does.

use serde_json::Value;
use weft_node::control::api::{Request, SlotInfo, Submitted, Trust};
use weft_protocol::{Id, Tag};
use weft_testnet::aos::eval;
use weft_testnet::{Actor, AskError, Look, Open, PATIENCE, Town, Trouble, until};

use crate::guest::Guest;
use crate::rig::{Rig, assert_holds};

/// What a process writes down of each Note, and that it takes what is not for it.
const NOTES: &str = "Notes = {} ao.addAssignable('any', function() return true end) \
    Handlers.add('note', 'Note', function(m) \
      table.insert(Notes, table.concat({m.Target, m.From, tostring(m.Data)}, ' ')) end) \
    return 'ready'";

async fn assign(
    town: &Town<'_>,
    node: usize,
    to: &Actor,
    item: Id,
    exclude: &[&str],
) -> Result<Submitted, Trouble> {
    let exclude = exclude.iter().map(|field| (*field).to_owned()).collect();
    let request = Request::Assign { process: to.id, item, base_layer: false, exclude };
    town.insist(node, "to ask for a slot", &request).await
}

/// Waits until an item stands in a log.
async fn stands(town: &Town<'_>, item: Id, to: &Actor) -> Result<SlotInfo, Trouble> {
    let what = format!("a slot of {item} in {}", to.name);
    let look = async || {
        let slots = town.slots(to, to.scheduler, 1).await?;
        let seen = format!("{} other slots", slots.len());
        let found = slots.into_iter().find(|slot| slot.item == item);
        Ok::<_, AskError>(found.map_or(Look::NotYet(seen), Look::There))
    };
    Ok(until(what, PATIENCE, look).await?)
}

#[tokio::test]
async fn aos_assigns_messages_of_others_to_other_processes() -> Result<(), Trouble> {
    let Some(guest) = Guest::aos("assign::aos_assigns_messages_of_others_to_other_processes") else {
        return Ok(());
    };
    let rig = Rig::pair(guest).await;
    let (town, mut open) = (rig.town(), Open::new("assign"));
    let a = rig.spawn("a", 0, &[0], &[]).await?;
    let b = rig.spawn("b", 1, &[1], &[]).await?;
    let c = rig.spawn("c", 0, &[0], &[]).await?;
    for actor in [&b, &c] {
        let said = eval(&town, actor, NOTES, &mut open).await?;
        open.equal("the notes", "ready", said.as_str());
    }
    let first = town.send(&a, "Note", Vec::new(), "one").await?;
    let second = town.send(&a, "Note", Vec::new(), "two").await?;
    let code = format!(
        "Assign({{Processes = {{'{b}'}}, Message = '{}'}}) \
         Assign({{Processes = {{'{b}', '{c}'}}, Message = '{}', Exclude = {{'Data', 'Nothing'}}}}) \
         return 'asked'",
        first.id,
        second.id,
        b = b.id,
        c = c.id,
    );
    let said = eval(&town, &a, &code, &mut open).await?;
    open.that("the asking", "asked", &said, said.ends_with("asked"));
    let mut last = 0;
    for (item, to) in [(first.id, &b), (second.id, &b), (second.id, &c)] {
        let slot = stands(&town, item, to).await?;
        open.same("that it proves no process", &false, &slot.pushed);
        last = slot.slot;
        town.result(to, to.scheduler, slot.slot).await?;
    }
    rig.settled(&a, 0, 2).await?;
    // It sees to whom the item was written, by whom, and not what was excluded.
    let user = rig.user.address();
    let notes = "return table.concat(Notes, '\\n')";
    let mut seen: Vec<_> = eval(&town, &b, notes, &mut open).await?.lines().map(str::to_owned).collect();
    seen.sort();
    let expected = [format!("{} {user} nil", a.id), format!("{} {user} one", a.id)];
    open.same("what b saw", &expected[..], &seen[..]);
    let seen = eval(&town, &c, notes, &mut open).await?;
    open.equal("what c saw", format!("{} {user} nil", a.id).as_str(), seen.as_str());
    // Whoever asks again, for whatever fields, is answered with the slot there is.
    let again = assign(&town, 1, &c, second.id, &[]).await?;
    open.same("the slot of a second asking", &(last, true), &(again.slot, again.duplicate));
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}

#[tokio::test]
async fn the_counter_counts_what_is_assigned_to_it_once() -> Result<(), Trouble> {
    let rig = Rig::pair(Guest::Counter).await;
    let (town, mut open) = (rig.town(), Open::new("assign"));
    let a = rig.spawn("a", 0, &[0], &[]).await?;
    let b = rig.spawn("b", 1, &[1], &[]).await?;
    let c = rig.spawn("c", 0, &[0], &[]).await?;

    // The user's node holds the item, the scheduler does not.
    let sent = town.send(&a, "Increment", Vec::new(), "").await?;
    let given = assign(&town, 0, &b, sent.id, &["Anchor"]).await?;
    open.same("that it is new", &false, &given.duplicate);
    let again = assign(&town, 1, &b, sent.id, &[]).await?;
    open.same("the second asking", &(given.slot, true), &(again.slot, again.duplicate));
    rig.guest.ran(&town, &b, 1, &mut open).await?;

    // A pushed item keeps its origin in every log: its proof goes with it, here from a peer.
    let before = town.slots(&b, 1, 0).await?.len() as u64;
    rig.guest.ask(&town, &a, &b, "", &mut open).await?;
    let (pushed, _) = town.pushed(&a, &b, "Increment", before, &mut open).await?;
    let given = assign(&town, 0, &c, pushed.item, &[]).await?;
    let slots = town.slots(&c, 0, given.slot).await?;
    let (from, trust) = (slots[0].from.clone(), slots[0].trust);
    open.same("whom it is from", &(Some(a.id.to_string()), Some(Trust::Proof)), &(from, trust));
    rig.guest.ran(&town, &c, 1, &mut open).await?;

    // The process's own item stands at slot 0, and there is no item of no id.
    let own = assign(&town, 0, &c, c.id, &[]).await?;
    open.same("its own item", &(0, true), &(own.slot, own.duplicate));
    let nobody = Request::Assign { process: c.id, item: Id([7; 32]), base_layer: false, exclude: Vec::new() };
    let refused = town.ask::<Value>(0, "to ask for a slot", &nobody, PATIENCE).await.unwrap_err().to_string();
    let named = format!("item {}", Id([7; 32]));
    open.that("why an item of no id has no slot", "its id", &refused, refused.contains(&named));
    let odd = Request::Assign {
        process: c.id,
        item: sent.id,
        base_layer: false,
        exclude: vec!["Owner".to_owned()],
    };
    let refused = town.ask::<Value>(0, "to ask for a slot", &odd, PATIENCE).await.unwrap_err().to_string();
    open.that("why Owner is not hidden", "its name", &refused, refused.contains("`Owner`"));
    let slots = town.slots(&c, 0, 0).await?.len();
    let sent = town.send(&c, "Count", vec![Tag::new("Last", "1")], "").await?;
    open.equal("slots that nothing of this took", &(slots as u64), &sent.slot);
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}
