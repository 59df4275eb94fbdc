//! A token and its holders on different nodes: every transfer and every notice of it is carried by messengers that neither
//! has heard of and that race each other, and each is counted once.

use std::time::{SystemTime, UNIX_EPOCH};

use weft_node::control::api::{CarryRequest, Request, SubscriptionInfo};
use weft_protocol::crypto::Signer;
use weft_protocol::subscription::{Said, Statement};
use weft_protocol::{Network, Tag};
use weft_testnet::aos::{self, FOREIGN_AUTHORITY};
use weft_testnet::{Actor, Look, Open, PATIENCE, Trouble, encoded, until};

use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};
use crate::scenario::count;

/// The token's node and those of its two holders, which carry nothing, and two messengers that compute nothing.
const ROLES: [&str; 5] =
    ["scheduler,compute", "scheduler,compute", "scheduler,compute", "messenger", "messenger"];
const MESSENGERS: [usize; 2] = [3, 4];
/// The shortest turn, so that both push at nearly the same time.
const RACE_MS: u64 = 50;
/// Coins of the first holder in the beginning.
const COINS: u64 = 100_000;
/// How long a payer asks for.
const HOUR_MS: u64 = 60 * 60 * 1_000;

/// The token: it tells both sides of each transfer.
fn token(first: &Actor) -> String {
    format!(
        "Balances = {{['{}'] = {COINS}}} \
         Handlers.add('transfer', 'Transfer', function(m) \
           local quantity = math.tointeger(tonumber(m.Quantity)) \
           assert(quantity and quantity > 0 and (Balances[m.From] or 0) >= quantity, 'not so many') \
           Balances[m.From] = Balances[m.From] - quantity \
           Balances[m.Recipient] = (Balances[m.Recipient] or 0) + quantity \
           Send({{Target = m.From, Action = 'Debit-Notice', Recipient = m.Recipient, Quantity = m.Quantity}}) \
           Send({{Target = m.Recipient, Action = 'Credit-Notice', Sender = m.From, Quantity = m.Quantity}}) \
         end) \
         return 'ready'",
        first.id
    )
}

/// A holder: it believes what its token says and nobody else.
fn holder(token: &Actor) -> String {
    format!(
        "Token, Coins, Notices, Doubted = '{}', 0, 0, 0 \
         local function hear(sign) return function(m) \
           if m.From ~= Token then Doubted = Doubted + 1 return end \
           Coins = Coins + sign * math.tointeger(tonumber(m.Quantity)) \
           Notices = Notices + 1 \
         end end \
         Handlers.add('credit', 'Credit-Notice', hear(1)) \
         Handlers.add('debit', 'Debit-Notice', hear(-1)) \
         return 'ready'",
        token.id
    )
}

/// So many transfers, of 1, 2, 3 and so on.
fn pay(to: &Actor, times: usize) -> String {
    format!(
        "for quantity = 1, {times} do \
           Send({{Target = Token, Action = 'Transfer', Recipient = '{}', Quantity = tostring(quantity)}}) \
         end return 'sent'",
        to.id
    )
}

#[tokio::test]
async fn notices_of_a_token_on_aos_are_carried_and_each_counts_once() -> Result<(), Trouble> {
    with_aos("notices::notices_of_a_token_on_aos_are_carried_and_each_counts_once", notices).await
}

#[tokio::test]
async fn notices_of_a_token_in_lua_are_carried_and_each_counts_once() -> Result<(), Trouble> {
    notices(Guest::Lua).await
}

async fn notices(guest: Guest) -> Result<(), Trouble> {
    let open_to_all = MESSENGERS.map(|node| (node, "carry_for = \"anyone\"\n"));
    let rig = Rig::start_with(guest, &ROLES, RACE_MS, &open_to_all).await;
    let (town, mut open) = (rig.town(), Open::new("notices"));
    // All three trust a key that signs nothing here, as today's clients have them do.
    let foreign = [Tag::new("Authority", FOREIGN_AUTHORITY)];
    let bank = rig.spawn("token", 0, &[0], &foreign).await?;
    let a = rig.spawn("a", 1, &[1], &foreign).await?;
    let b = rig.spawn("b", 2, &[2], &foreign).await?;
    for (actor, code) in [(&bank, token(&a)), (&a, holder(&bank)), (&b, holder(&bank))] {
        let said = aos::eval(&town, actor, &code, &mut open).await?;
        open.equal("what the definition returns", "ready", said.as_str());
    }
    // For two of them the operators of the messengers decided; for the third somebody asked.
    for node in MESSENGERS {
        town.carry_on(&bank, node, &mut open).await?;
        town.carry_on(&a, node, &mut open).await?;
        subscribe(&rig, &b, node).await?;
    }
    for actor in [&bank, &a, &b] {
        rig.all_offer(actor, &MESSENGERS, 0).await?;
    }

    let (there, back) = (count(10, 200), count(4, 80));
    let sum = |times: usize| (times * (times + 1) / 2) as u64;
    aos::eval(&town, &a, &pay(&b, there), &mut open).await?;
    heard(&rig, &b, there, &mut open).await?;
    aos::eval(&town, &b, &pay(&a, back), &mut open).await?;
    let notices = there + back;
    heard(&rig, &a, notices, &mut open).await?;
    heard(&rig, &b, notices, &mut open).await?;
    // A stranger who claims to be the token is heard as himself.
    let claim =
        [("From-Process", bank.id.to_string()), ("Sender", a.id.to_string()), ("Quantity", "9".into())];
    let claim = claim.map(|(name, value)| Tag::new(name, value)).to_vec();
    let false_notice = town.send(&b, "Credit-Notice", claim, "").await?;
    town.result(&b, 2, false_notice.slot).await?;

    let moved = sum(there) - sum(back);
    let says = async |actor: &Actor, code: &str, open: &mut Open| aos::eval(&town, actor, code, open).await;
    let of_a = says(&a, "return Notices .. ' ' .. Coins .. ' ' .. Doubted", &mut open).await?;
    open.equal("what the first holder was told", format!("{notices} -{moved} 0").as_str(), of_a.as_str());
    let of_b = says(&b, "return Notices .. ' ' .. Coins .. ' ' .. Doubted", &mut open).await?;
    open.equal("what the second was told", format!("{notices} {moved} 1").as_str(), of_b.as_str());
    let code = format!("return Balances['{}'] .. ' ' .. Balances['{}']", a.id, b.id);
    let balances = says(&bank, &code, &mut open).await?;
    open.equal("the balances", format!("{} {moved}", COINS - moved).as_str(), balances.as_str());

    for (from, to, pushes) in
        [(&a, &bank, there), (&b, &bank, back), (&bank, &a, notices), (&bank, &b, notices)]
    {
        let stored = rig.pushes(from, to).await?;
        open.equal(format!("slots of {} from {}", to.name, from.name), &pushes, &stored.len());
        let carriers = MESSENGERS.map(|node| rig.fleet.node(node).ready().address.to_string());
        let theirs =
            stored.iter().filter(|slot| slot.carrier.as_ref().is_some_and(|by| carriers.contains(by)));
        open.equal("of these, carried by messengers", &pushes, &theirs.count());
    }
    for node in MESSENGERS {
        rig.settled(&bank, node, 2 * notices).await?;
        for actor in [&bank, &a, &b] {
            let computed = town.detail(actor, node, false).await?.info.computed;
            open.same(format!("what node {node} computed of {}", actor.name), &None, &computed);
        }
    }
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}

/// Somebody who is neither the owner nor the operator asks a messenger to carry for a process, at the node of that.
async fn subscribe(rig: &Rig, actor: &Actor, node: usize) -> Result<(), Trouble> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let until = u64::try_from(now.as_millis()).unwrap() + HOUR_MS;
    let messenger = rig.fleet.node(node).ready().address;
    let statement = Statement { process: actor.id, messenger, number: 1, said: Said::Until(until) };
    let network = Network::of_name(&rig.fleet.node(0).ready().network);
    let item = statement.draft(network).sign(&Signer::from_seed(&[88; 32])).unwrap();
    let request = Request::Carry(CarryRequest::Subscribe { item: encoded(&item) });
    let taken: SubscriptionInfo =
        rig.town().insist(actor.scheduler, "to pass a subscription on", &request).await?;
    assert!(taken.holds, "{taken:?}");
    Ok(())
}

/// Waits until a holder has heard so many notices.
async fn heard(rig: &Rig, actor: &Actor, wanted: usize, open: &mut Open) -> Result<(), Trouble> {
    let town = rig.town();
    let what = format!("{} to hear {wanted} notices", actor.name);
    let wanted_slots = async || {
        let slots = town.slots(actor, actor.scheduler, 0).await?;
        let notices =
            slots.iter().filter(|slot| slot.action.as_deref().is_some_and(|of| of.ends_with("-Notice")));
        let seen = notices.count();
        Ok::<_, weft_testnet::AskError>(if seen >= wanted {
            Look::There(())
        } else {
            Look::NotYet(seen.to_string())
        })
    };
    until(what, PATIENCE, wanted_slots).await?;
    let said = aos::eval(&town, actor, "return tostring(Notices)", open).await?;
    open.equal(format!("notices that {} heard", actor.name), wanted.to_string().as_str(), said.as_str());
    Ok(())
}
