//! A token on aos, and on the Lua runtime, that many keys move at once: every coin is somewhere, on every node, and a replay
//! agrees.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use weft_protocol::crypto::Signer;
use weft_protocol::{DataItem, Draft, Id, Tag, Verified};
use weft_testnet::{Open, Trouble, aos};

use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};
use crate::scenario::{computes_to, count, is_sound, log, submit_all};

/// Coins of each key in the beginning.
const COINS: u64 = 1_000;
/// A transfer moves at most so many, so that some have not enough.
const MOVED_MAX: u64 = 400;
/// The token. What goes wrong is counted and sent to nobody.
const TOKEN: &str = "Balances = Balances or {} Refused = 0 \
    Handlers.add('mint', function(m) return m.Action == 'Mint' and m.From == Owner end, function(m) \
      for account in m.Data:gmatch('%S+') do Balances[account] = tonumber(m.Quantity) end end) \
    Handlers.add('transfer', 'Transfer', function(m) \
      local quantity = math.tointeger(tonumber(m.Quantity)) \
      assert(quantity and quantity > 0, 'a quantity is a whole number') \
      if (Balances[m.From] or 0) < quantity then Refused = Refused + 1 return end \
      Balances[m.From] = Balances[m.From] - quantity \
      Balances[m.Recipient] = (Balances[m.Recipient] or 0) + quantity end) \
    return 'ready'";

/// A transfer of one key to another.
struct Transfer {
    item: Verified<DataItem>,
    from: usize,
    to: usize,
    quantity: u64,
}

fn transfers(token: Id, keys: &[Signer], number: usize) -> Vec<Transfer> {
    let mut chance = StdRng::seed_from_u64(4904);
    let mut transfer = |number: usize| {
        let (from, to) = (chance.random_range(0..keys.len()), chance.random_range(0..keys.len()));
        let quantity = chance.random_range(1..=MOVED_MAX);
        let tags = [
            ("Data-Protocol", "ao".to_owned()),
            ("Type", "Message".to_owned()),
            ("Action", "Transfer".to_owned()),
            ("Recipient", keys[to].address().to_string()),
            ("Quantity", quantity.to_string()),
            ("Number", number.to_string()),
        ];
        let tags = tags.map(|(name, value)| Tag::new(name, value)).to_vec();
        let item = Draft { target: Some(token), tags, ..Draft::default() }.sign(&keys[from]).unwrap();
        Transfer { item, from, to, quantity }
    };
    (0..number).map(&mut transfer).collect()
}

#[tokio::test]
async fn a_token_on_aos_loses_no_coin() -> Result<(), Trouble> {
    with_aos("token::a_token_on_aos_loses_no_coin", loses_no_coin).await
}

#[tokio::test]
async fn a_token_in_lua_loses_no_coin() -> Result<(), Trouble> {
    loses_no_coin(Guest::Lua).await
}

async fn loses_no_coin(guest: Guest) -> Result<(), Trouble> {
    let (keys, number) = (count(20, 100), count(200, 10_000));
    let rig = Rig::pair(guest).await;
    let (town, mut open) = (rig.town(), Open::new("token"));
    let token = rig.spawn("token", 0, &[0, 1], &[]).await?;
    let said = aos::eval(&town, &token, TOKEN, &mut open).await?;
    open.equal("the token", "ready", said.as_str());
    let keys: Vec<Signer> = (0..keys).map(|key| Signer::from_seed(&[key as u8 + 100; 32])).collect();
    let accounts: Vec<String> = keys.iter().map(|key| key.address().to_string()).collect();
    let minted = vec![Tag::new("Quantity", COINS.to_string())];
    town.send(&token, "Mint", minted, &accounts.join(" ")).await?;

    let transfers = transfers(token.id, &keys, number);
    let items: Vec<_> = transfers.iter().map(|transfer| transfer.item.clone()).collect();
    submit_all(&town, &items).await?;
    // The same, in the order that the scheduler gave them.
    let by_item: BTreeMap<Id, &Transfer> =
        transfers.iter().map(|transfer| (transfer.item.id(), transfer)).collect();
    let (mut balances, mut refused, mut moved) = (vec![COINS; keys.len()], 0, 0);
    let log = log(&town, &token).await?;
    for node in [0, 1] {
        computes_to(&town, &token, node, log.len() as u64 - 1).await?;
    }
    for slot in log {
        let Some(Transfer { from, to, quantity, .. }) = by_item.get(&slot.item) else { continue };
        if balances[*from] < *quantity {
            refused += 1;
            continue;
        }
        balances[*from] -= quantity;
        balances[*to] += quantity;
        moved += 1;
    }
    open.equal("transfers in the log", &number, &(moved + refused));
    open.that("transfers that nobody could pay", "some", refused, refused > 0);

    let said = aos::eval(&town, &token, "return require('json').encode(Balances)", &mut open).await?;
    let shown: BTreeMap<String, u64> = serde_json::from_str(&said).unwrap();
    let expected: BTreeMap<String, u64> = accounts.into_iter().zip(balances).collect();
    assert_eq!(shown, expected);
    open.equal("all coins", &(COINS * keys.len() as u64), &shown.values().sum());
    let said = aos::eval(&town, &token, "return tostring(Refused)", &mut open).await?;
    open.equal("refusals that the token counted", &Value::from(refused).to_string(), &said);
    is_sound(&town, &token, &[0, 1], &mut open).await?;
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}
