//! Prediction markets of `testnet/examples`: a house, and the markets that it spawns.

use std::sync::Arc;

use serde_json::json;
use weft_vm::{Opened, Weave};

use crate::markets::{ask, holds, pay, payers};
use crate::process::{Process, tag};
use crate::town::Town;

pub(crate) const PREDICTIONS: &str = include_str!("../../../testnet/examples/predictions.lua");

/// A house that boots from its data, and a market that it spawned.
fn market() -> (Town, String) {
    let mut town = payers();
    town.spawn("HOUSE", &[], PREDICTIONS);
    let market = open(&mut town);
    (town, market)
}

/// Has the house open a market; nobody but its owner can.
fn open(town: &mut Town) -> String {
    let tags = [("Action", "Open"), ("Token", "TOKENA"), ("Judge", "JUDGE"), ("Seconds", "3600")];
    assert!(town.send("BOB", "HOUSE", &tags, "mine?").is_empty());
    let mail = town.send("OWNER", "HOUSE", &tags, "will it rain?");
    let market = tag(&mail[0], "Market").unwrap().to_owned();
    let known = town.view("HOUSE", &format!("markets.{market}"), &[]);
    assert_eq!((&known["question"], &known["state"]), (&json!("will it rain?"), &json!("open")));
    market
}

fn bet(town: &mut Town, market: &str, who: &str, side: &str, quantity: &str) {
    pay(town, who, "TOKENA", market, quantity, &[("X-Action", "Bet"), ("X-Side", side)]);
}

fn claim(town: &mut Town, market: &str, who: &str) -> String {
    ask(town, who, market, &[("Action", "Claim")])
}

#[test]
fn a_market_pays_those_who_were_right() {
    let (mut town, market) = market();
    bet(&mut town, &market, "ALICE", "yes", "100");
    bet(&mut town, &market, "ALICE", "no", "10");
    bet(&mut town, &market, "BOB", "yes", "200");
    bet(&mut town, &market, "CAROL", "no", "590");
    bet(&mut town, &market, "CAROL", "perhaps", "7");
    let judge = [("Action", "Judge"), ("Side", "yes")];
    assert!(ask(&mut town, "JUDGE", &market, &judge).starts_with("it is not closed"));
    assert_eq!(claim(&mut town, &market, "ALICE"), "it is not settled");
    town.now += 3_600_000;
    bet(&mut town, &market, "BOB", "yes", "9000");
    assert_eq!(ask(&mut town, "THIEF", &market, &[&judge[..], &[("From", "JUDGE")]].concat()), "nothing");
    assert!(
        ask(&mut town, "JUDGE", &market, &[("Action", "Judge"), ("Side", "both")])
            .starts_with("it is not closed")
    );
    ask(&mut town, "JUDGE", &market, &judge);
    assert!(
        ask(&mut town, "JUDGE", &market, &[("Action", "Judge"), ("Side", "no")])
            .starts_with("it is not closed")
    );
    assert_eq!(town.view("HOUSE", &format!("markets.{market}.state"), &[]), json!("yes"));
    for who in ["ALICE", "BOB", "CAROL", "ALICE", "THIEF"] {
        assert_eq!(claim(&mut town, &market, who), "Claimed");
    }
    // 900 in all; the 300 of those who were right count three times.
    assert_eq!(holds(&mut town, "ALICE").0, 190);
    assert_eq!(holds(&mut town, "BOB").0, 400);
    assert_eq!(holds(&mut town, "CAROL").0, -590);
    assert_eq!(town.balance("TOKENA", &market), 0);
}

/// As many bets as a market keeps; then only those who have one may add to it.
#[test]
fn a_market_keeps_so_many_bets_and_pays_the_rest_back() {
    let (mut town, market) = market();
    // The rest of the 10,000: nobody has so many wallets in a test.
    town.send("HOUSE", &market, &[("Action", "Eval")], "Bettors = 9999");
    bet(&mut town, &market, "ALICE", "yes", "100");
    bet(&mut town, &market, "BOB", "yes", "100");
    bet(&mut town, &market, "ALICE", "no", "100");
    bet(&mut town, &market, "ALICE", "yes", "11");
    assert_eq!((holds(&mut town, "ALICE").0, holds(&mut town, "BOB").0), (-111, 0));
    assert_eq!(town.view(&market, "market.yes", &[]), json!("111"));
}

#[test]
fn a_market_that_nobody_settles_gives_everything_back() {
    for judged in [true, false] {
        let (mut town, market) = market();
        bet(&mut town, &market, "ALICE", "yes", "100");
        bet(&mut town, &market, "BOB", "yes", "11");
        town.now += 3_600_000;
        if judged {
            // Nobody was right.
            ask(&mut town, "JUDGE", &market, &[("Action", "Judge"), ("Side", "no")]);
        } else {
            town.now += 7 * 24 * 3_600_000 - 1;
            assert_eq!(claim(&mut town, &market, "ALICE"), "it is not settled");
            town.now += 1;
        }
        for who in ["ALICE", "BOB"] {
            assert_eq!(claim(&mut town, &market, who), "Claimed");
            assert_eq!(holds(&mut town, who).0, 0);
        }
        assert_eq!(town.view("HOUSE", &format!("markets.{market}.state"), &[]), json!("void"));
    }
}

/// The program, under an id.
#[derive(Debug)]
struct Program;

impl Weave for Program {
    fn open(&self, id: &str) -> Opened {
        match id {
            "PROGRAM" => Opened::Item(PREDICTIONS.as_bytes().into()),
            _ => Opened::NotFound,
        }
    }
}

/// Its markets boot from the same item: the data of such a house is no program.
#[test]
fn a_house_that_boots_from_an_item_opens_markets_that_do() {
    let mut town = payers();
    town.items = Some(Arc::new(Program));
    town.spawn_from("PROGRAM", "HOUSE", &[], "no program");
    let market = open(&mut town);
    bet(&mut town, &market, "ALICE", "yes", "100");
    assert_eq!(holds(&mut town, "ALICE").0, -100);
    assert_eq!(town.view(&market, "market.yes", &[]), json!("100"));
    // One that was typed in has nothing that its markets could boot from.
    assert!(Process::spawn().eval(PREDICTIONS).contains("it needs the tag On-Boot"));
}
