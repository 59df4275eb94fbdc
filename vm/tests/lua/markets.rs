//! The examples of `testnet/examples` in which people pay: who gets what, to the last unit.

use serde_json::{Value, json};

use crate::process::tag;
use crate::town::{Town, mint, tags_of};

const TOKEN: &str = include_str!("../../../testnet/examples/token.lua");
pub(crate) const ORDERBOOK: &str = include_str!("../../../testnet/examples/orderbook.lua");
pub(crate) const STABLECOIN: &str = include_str!("../../../testnet/examples/stablecoin.lua");
pub(crate) const VOTING: &str = include_str!("../../../testnet/examples/voting.lua");
pub(crate) const ASSET: &str = include_str!("../../../testnet/examples/asset.lua");

/// Pays a process in tokens, with what is wanted for it; what wallets are told.
pub(crate) fn pay(
    town: &mut Town,
    from: &str,
    token: &str,
    to: &str,
    quantity: &str,
    wish: &[(&str, &str)],
) -> Vec<Value> {
    let tags = [("Action", "Transfer"), ("Recipient", to), ("Quantity", quantity)];
    town.send(from, token, &[&tags, wish].concat(), "")
}

/// Sends one message to a process, and gives the action or the error of what its sender is told.
pub(crate) fn ask(town: &mut Town, from: &str, to: &str, tags: &[(&str, &str)]) -> String {
    let mail = town.send(from, to, tags, "");
    let told = mail.iter().find(|one| one["Target"] == from && one["From"] == to);
    let said = told.and_then(|one| tag(one, "Error").or_else(|| tag(one, "Action")));
    said.unwrap_or("nothing").to_owned()
}

fn traders(book: &str, tags: &[(&str, &str)], program: &str) -> Town {
    let mut town = payers();
    town.spawn(book, tags, program);
    town
}

/// Two tokens, and three people with a million of each.
pub(crate) fn payers() -> Town {
    let mut town = Town::default();
    town.now = 1_700_000_000_000;
    for token in ["TOKENA", "TOKENB"] {
        town.spawn(token, &[], TOKEN);
        for who in ["ALICE", "BOB", "CAROL"] {
            mint(&mut town, token, who, "1000000");
        }
    }
    town
}

fn order(town: &mut Town, from: &str, token: &str, quantity: &str, price: &str) {
    pay(town, from, token, "BOOK", quantity, &[("X-Action", "Order"), ("X-Price", price)]);
}

/// What somebody has of both tokens, beside a million each.
pub(crate) fn holds(town: &mut Town, who: &str) -> (i128, i128) {
    let mut of = |token| i128::try_from(town.balance(token, who)).unwrap() - 1_000_000;
    (of("TOKENA"), of("TOKENB"))
}

#[test]
fn orders_are_filled_by_price_and_then_by_age() {
    let mut town = traders("BOOK", &[("Token-A", "TOKENA"), ("Token-B", "TOKENB")], ORDERBOOK);
    order(&mut town, "ALICE", "TOKENA", "100", "12");
    order(&mut town, "BOB", "TOKENA", "100", "10");
    order(&mut town, "ALICE", "TOKENA", "100", "10");
    assert_eq!(
        town.view("BOOK", "book", &[]),
        json!({"ask": {"price": "10", "left": "100"}, "bid": "none", "orders": 3})
    );
    // 100 of Bob's and 50 of Alice's at 10, though Carol would pay 11: 3 of the money is too little for one more.
    order(&mut town, "CAROL", "TOKENB", "1503", "11");
    assert_eq!(holds(&mut town, "CAROL"), (150, -1500));
    assert_eq!(holds(&mut town, "BOB"), (-100, 1000));
    assert_eq!(holds(&mut town, "ALICE"), (-200, 500));
    // She takes the rest up to 11, and what is left of the money stands for 40 at 11.
    order(&mut town, "CAROL", "TOKENB", "940", "11");
    assert_eq!(holds(&mut town, "CAROL"), (200, -2440));
    assert_eq!(
        town.view("BOOK", "book", &[]),
        json!({"ask": {"price": "12", "left": "100"}, "bid": {"price": "11", "left": "40"}, "orders": 2})
    );
    // Who sells for less gets what the order that stood there pays.
    order(&mut town, "BOB", "TOKENA", "60", "9");
    assert_eq!(holds(&mut town, "BOB"), (-160, 1440));
    assert_eq!(holds(&mut town, "CAROL"), (240, -2440));
    assert_eq!(town.view("BOOK", "book.ask", &[]), json!({"price": "9", "left": "20"}));
    // Everything that the book holds belongs to orders.
    assert_eq!((town.balance("TOKENA", "BOOK"), town.balance("TOKENB", "BOOK")), (120, 0));
}

#[test]
fn only_its_owner_cancels_an_order_and_nothing_else_is_taken() {
    let mut town = traders("BOOK", &[("Token-A", "TOKENA"), ("Token-B", "TOKENB")], ORDERBOOK);
    order(&mut town, "ALICE", "TOKENB", "1000", "10");
    let cancel = [("Action", "Cancel"), ("Order", "1")];
    assert_eq!(ask(&mut town, "BOB", "BOOK", &cancel), "Cancel-Error");
    ask(&mut town, "ALICE", "BOOK", &cancel);
    assert_eq!(ask(&mut town, "ALICE", "BOOK", &cancel), "Cancel-Error");
    for price in ["0", "-3", "x", "", "1.5", "999999999999999999999999999999999999999"] {
        order(&mut town, "ALICE", "TOKENB", "1000", price);
        order(&mut town, "ALICE", "TOKENA", "1000", price);
    }
    pay(&mut town, "ALICE", "TOKENA", "BOOK", "5", &[]);
    assert_eq!(holds(&mut town, "ALICE"), (0, 0));
    assert_eq!(town.view("BOOK", "book.orders", &[]), json!(0));
    // A notice that no token sent is no payment, whatever it says of itself.
    let forged = [("Action", "Credit-Notice"), ("From", "TOKENA"), ("Quantity", "9"), ("Sender", "THIEF")];
    town.send("THIEF", "BOOK", &[&forged[..], &[("X-Action", "Order"), ("X-Price", "1")]].concat(), "");
    assert_eq!(town.view("BOOK", "book.orders", &[]), json!(0));
}

#[test]
fn a_full_book_keeps_the_better_orders_and_gives_the_others_back() {
    let mut town = traders("BOOK", &[("Token-A", "TOKENA"), ("Token-B", "TOKENB")], ORDERBOOK);
    for _ in 0..200 {
        order(&mut town, "ALICE", "TOKENA", "1", "10");
    }
    // One that is no better comes back; one that is puts out the youngest of the worst.
    order(&mut town, "BOB", "TOKENA", "7", "10");
    assert_eq!((holds(&mut town, "BOB"), holds(&mut town, "ALICE")), ((0, 0), (-200, 0)));
    order(&mut town, "BOB", "TOKENA", "1", "9");
    assert_eq!((holds(&mut town, "BOB"), holds(&mut town, "ALICE")), ((-1, 0), (-199, 0)));
    assert_eq!(town.view("BOOK", "book.orders", &[]), json!(200));
    assert_eq!(ask(&mut town, "ALICE", "BOOK", &[("Action", "Cancel"), ("Order", "200")]), "Cancel-Error");
    // One order takes all of them, in one message.
    order(&mut town, "CAROL", "TOKENB", "1999", "10");
    assert_eq!((holds(&mut town, "CAROL"), holds(&mut town, "ALICE")), ((200, -1999), (-199, 1990)));
    assert_eq!(holds(&mut town, "BOB"), (-1, 9));
    assert_eq!(town.view("BOOK", "book.orders", &[]), json!(0));
    // The other side too: what stood for 3 at 5 each gives 15 back, and what was too little for one more is back at once.
    for _ in 0..200 {
        order(&mut town, "ALICE", "TOKENB", "15", "5");
    }
    order(&mut town, "BOB", "TOKENB", "15", "5");
    assert_eq!((holds(&mut town, "BOB"), holds(&mut town, "ALICE")), ((-1, 9), (-199, -1010)));
    order(&mut town, "BOB", "TOKENB", "15", "6");
    assert_eq!((holds(&mut town, "BOB"), holds(&mut town, "ALICE")), ((-1, -3), (-199, -995)));
    assert_eq!((town.balance("TOKENA", "BOOK"), town.balance("TOKENB", "BOOK")), (0, 199 * 15 + 12));
}

/// A town with a coin, an oracle that says what a unit of TOKENA is worth, and a vault of Alice's.
fn coin() -> Town {
    let tags = [("Collateral", "TOKENA"), ("Oracle", "SEER"), ("Cron-Interval", "1-minute")];
    let mut town = traders("COIN", &tags, STABLECOIN);
    worth(&mut town, "2000");
    pay(&mut town, "ALICE", "TOKENA", "COIN", "3000", &[("X-Action", "Deposit")]);
    town
}

fn worth(town: &mut Town, price: &str) {
    let at = town.now.to_string();
    town.send("SEER", "COIN", &[("Action", "Price"), ("Price", price), ("At", &at)], "");
}

/// A tick of the clock; whom it tells what, beside the oracle.
fn tick(town: &mut Town) -> Vec<String> {
    town.now += 60_000;
    let tick = json!({"From": "OWNER", "Owner": "OWNER", "Data": "", "Tags": tags_of(&[("Action", "Cron")]),
        "Cron": true});
    town.way.push_back(("COIN".to_owned(), tick));
    let mail = town.send("NOBODY", "COIN", &[("Action", "Balance")], "");
    let told =
        |one: &Value| format!("{} {}", one["Target"].as_str().unwrap(), tag(one, "Action").unwrap_or("-"));
    let all: Vec<String> = mail.iter().map(told).filter(|told| told != "NOBODY -").collect();
    assert!(all.contains(&"SEER Get-Price".to_owned()), "{all:?}");
    all.into_iter().filter(|told| told != "SEER Get-Price").collect()
}

#[test]
fn coins_are_drawn_against_enough_collateral_at_a_fresh_price() {
    let mut town = coin();
    let draw = |town: &mut Town, quantity: &str| {
        ask(town, "ALICE", "COIN", &[("Action", "Draw"), ("Quantity", quantity)])
    };
    // 3000 of 2.000 are worth 6000: 4000 are two thirds of it.
    assert_eq!(draw(&mut town, "4001"), "the collateral is worth too little");
    assert_eq!(draw(&mut town, "4000"), "Drawn");
    assert_eq!(draw(&mut town, "1"), "the collateral is worth too little");
    for quantity in ["0", "-5", "x"] {
        assert_eq!(draw(&mut town, quantity), "there is no vault, or no Quantity");
    }
    let take = |town: &mut Town, quantity: &str| {
        ask(town, "ALICE", "COIN", &[("Action", "Withdraw"), ("Quantity", quantity)])
    };
    assert_eq!(take(&mut town, "1"), "what is left would be worth too little");
    worth(&mut town, "4000");
    assert_eq!(take(&mut town, "2500"), "leave nothing, or a whole deposit");
    assert_eq!(take(&mut town, "1000"), "nothing");
    assert_eq!(town.balance("TOKENA", "ALICE"), 998_000);
    // Ten minutes later nobody knows what it is worth.
    town.now += 600_001;
    assert_eq!(draw(&mut town, "1"), "the price is too old");
    assert_eq!(take(&mut town, "1000"), "the price is too old");
    // A price that was on its way too long does not help, nor does one by somebody else.
    town.send("SEER", "COIN", &[("Action", "Price"), ("Price", "9000"), ("At", "1700000000000")], "");
    let now = town.now.to_string();
    town.send("THIEF", "COIN", &[("Action", "Price"), ("Price", "9000"), ("At", &now), ("From", "SEER")], "");
    assert_eq!(draw(&mut town, "1"), "the price is too old");
    // Who owes nothing needs no price.
    assert_eq!(ask(&mut town, "ALICE", "COIN", &[("Action", "Repay"), ("Quantity", "4000")]), "Repaid");
    assert_eq!(take(&mut town, "2000"), "nothing");
    assert_eq!(town.balance("TOKENA", "ALICE"), 1_000_000);
    assert_eq!(
        town.view("COIN", "coin", &[]),
        json!({"supply": "0", "vaults": 0, "called": 0, "price": "9000"})
    );
}

#[test]
fn a_vault_that_is_worth_too_little_is_called_and_sold() {
    let mut town = coin();
    ask(&mut town, "ALICE", "COIN", &[("Action", "Draw"), ("Quantity", "4000")]);
    let give = [("Action", "Transfer"), ("Recipient", "BOB"), ("Quantity", "4000")];
    assert_eq!(ask(&mut town, "ALICE", "COIN", &give), "Debit-Notice");
    let buy = |town: &mut Town, who: &str, quantity: &str| {
        ask(town, who, "COIN", &[("Action", "Buy"), ("Vault", "ALICE"), ("Quantity", quantity)])
    };
    assert_eq!(tick(&mut town), [""; 0]);
    assert_eq!(buy(&mut town, "BOB", "1000"), "it is not for sale");
    // 3000 of 1.600 are 4800: 120 percent. It is called by the clock, once, and not by whoever is first.
    worth(&mut town, "1600");
    assert_eq!(buy(&mut town, "BOB", "1000"), "it is not for sale");
    assert_eq!(tick(&mut town), ["ALICE Called"]);
    assert_eq!(tick(&mut town), [""; 0]);
    assert_eq!(buy(&mut town, "BOB", "4001"), "that is more than the debt or the balance");
    assert_eq!(buy(&mut town, "CAROL", "1"), "that is more than the debt or the balance");
    // 1000 coins buy 1100 worth of collateral: 687.
    assert_eq!(buy(&mut town, "BOB", "1000"), "nothing");
    assert_eq!(town.balance("TOKENA", "BOB"), 1_000_687);
    // Now it is worth 3700 for 3000. The price comes back, and it is for sale no more.
    worth(&mut town, "1700");
    assert_eq!(buy(&mut town, "BOB", "1000"), "it is not for sale");
    assert_eq!(tick(&mut town), [""; 0]);
    // Below the debt itself each coin buys its part.
    worth(&mut town, "1000");
    assert_eq!(tick(&mut town), ["ALICE Called"]);
    assert_eq!(buy(&mut town, "BOB", "3000"), "nothing");
    assert_eq!(town.balance("TOKENA", "BOB"), 1_003_000);
    assert_eq!(
        town.view("COIN", "coin", &[]),
        json!({"supply": "0", "vaults": 0, "called": 0, "price": "1000"})
    );
    // Nothing is decided by a price that is too old.
    pay(&mut town, "ALICE", "TOKENA", "COIN", "3000", &[("X-Action", "Deposit")]);
    ask(&mut town, "ALICE", "COIN", &[("Action", "Draw"), ("Quantity", "2000")]);
    worth(&mut town, "1");
    town.now += 600_000;
    assert_eq!(tick(&mut town), [""; 0]);
}

#[test]
fn deposits_that_make_no_vault_come_back() {
    let mut town = coin();
    pay(&mut town, "BOB", "TOKENA", "COIN", "999", &[("X-Action", "Deposit")]);
    pay(&mut town, "BOB", "TOKENA", "COIN", "5000", &[]);
    assert_eq!(town.balance("TOKENA", "BOB"), 1_000_000);
    let forged = [("Action", "Credit-Notice"), ("From", "TOKENA"), ("Sender", "THIEF"), ("Quantity", "9000")];
    town.send("THIEF", "COIN", &[&forged[..], &[("X-Action", "Deposit")]].concat(), "");
    assert_eq!(town.view("COIN", "coin.vaults", &[]), json!(1));
    // What is owned already may grow by little.
    pay(&mut town, "ALICE", "TOKENA", "COIN", "1", &[("X-Action", "Deposit")]);
    assert_eq!(town.view("COIN", "Vaults.ALICE.collateral", &[]), json!("3001"));
}

#[test]
fn tokens_vote_and_come_back_when_the_poll_is_over() {
    let mut town = traders("POLLS", &[("Token", "TOKENA")], VOTING);
    let open = [("Action", "Open"), ("Seconds", "600"), ("Quorum", "100"), ("Subject", "TREASURY")];
    assert_eq!(ask(&mut town, "BOB", "POLLS", &open), "nothing");
    assert_eq!(ask(&mut town, "BOB", "POLLS", &[&open[..], &[("From", "OWNER")]].concat()), "nothing");
    assert_eq!(ask(&mut town, "OWNER", "POLLS", &open), "Opened");
    let vote = |town: &mut Town, who: &str, poll: &str, choice: &str, quantity: &str| {
        let wish = [("X-Action", "Vote"), ("X-Poll", poll), ("X-Choice", choice)];
        pay(town, who, "TOKENA", "POLLS", quantity, &wish);
    };
    vote(&mut town, "ALICE", "1", "yes", "60");
    vote(&mut town, "ALICE", "1", "yes", "1");
    vote(&mut town, "BOB", "1", "no", "50");
    for (poll, choice) in [("2", "yes"), ("1", "perhaps"), ("x", "no")] {
        vote(&mut town, "CAROL", poll, choice, "500");
    }
    assert_eq!(town.balance("TOKENA", "CAROL"), 1_000_000);
    let close = [("Action", "Close"), ("Poll", "1")];
    assert_eq!(ask(&mut town, "BOB", "POLLS", &close), "it is not over");
    town.now += 600_000;
    vote(&mut town, "CAROL", "1", "no", "500");
    assert_eq!(town.balance("TOKENA", "CAROL"), 1_000_000);
    let mail = town.send("CAROL", "POLLS", &close, "");
    let result = mail.iter().find(|one| one["Target"] == "TREASURY").unwrap();
    assert_eq!(
        (tag(result, "State"), tag(result, "Yes"), tag(result, "No")),
        (Some("carried"), Some("61"), Some("50"))
    );
    for who in ["ALICE", "BOB"] {
        assert_eq!(town.balance("TOKENA", who), 1_000_000);
    }
    // Told once, and nothing is paid twice.
    let again = town.send("CAROL", "POLLS", &close, "");
    assert!(again.iter().all(|one| one["Target"] == "CAROL"), "{again:?}");
    assert_eq!(town.balance("TOKENA", "POLLS"), 0);
    // Too few voters: no quorum, and everybody gets his own back.
    ask(&mut town, "OWNER", "POLLS", &open);
    vote(&mut town, "ALICE", "2", "yes", "99");
    town.now += 600_000;
    ask(&mut town, "BOB", "POLLS", &[("Action", "Close"), ("Poll", "2")]);
    assert_eq!(town.view("POLLS", "polls.2.state", &[]), json!("no quorum"));
    assert_eq!(town.balance("TOKENA", "ALICE"), 1_000_000);
}

#[test]
fn many_voters_are_paid_by_and_by() {
    let mut town = traders("POLLS", &[("Token", "TOKENA")], VOTING);
    ask(&mut town, "OWNER", "POLLS", &[("Action", "Open"), ("Seconds", "600")]);
    for voter in 0..250 {
        let who = format!("VOTER{voter}");
        mint(&mut town, "TOKENA", &who, "2");
        let wish = [("X-Action", "Vote"), ("X-Poll", "1"), ("X-Choice", "no")];
        pay(&mut town, &who, "TOKENA", "POLLS", "2", &wish);
    }
    town.now += 600_000;
    let close = [("Action", "Close"), ("Poll", "1")];
    let waiting = |mail: Vec<Value>| {
        let told = mail.iter().find(|one| one["Target"] == "X").unwrap();
        tag(told, "Waiting").unwrap().to_owned()
    };
    assert_eq!(waiting(town.send("X", "POLLS", &close, "")), "50");
    assert_eq!(waiting(town.send("X", "POLLS", &close, "")), "0");
    assert_eq!((town.balance("TOKENA", "POLLS"), town.balance("TOKENA", "VOTER249")), (0, 2));
}

/// The fee is a number, however it is written.
fn asset() -> Town {
    let tags = [
        ("Token", "TOKENA"),
        ("Title", "A Song"),
        ("Royalty", "100"),
        ("Fee", "050"),
        ("Creator", "COMPOSER 70"),
        ("Creator", "POET 30"),
    ];
    traders("ASSET", &tags, ASSET)
}

#[test]
fn of_each_sale_the_creators_get_their_royalty() {
    let mut town = asset();
    let offer = |town: &mut Town, who: &str, quantity: &str, price: &str| {
        ask(town, who, "ASSET", &[("Action", "Offer"), ("Quantity", quantity), ("Price", price)])
    };
    for (quantity, price) in [("101", "5"), ("0", "5"), ("-1", "5"), ("1.5", "5"), ("10", "0")] {
        assert!(
            offer(&mut town, "OWNER", quantity, price).starts_with("not so many shares"),
            "{quantity} for {price}"
        );
    }
    assert_eq!(offer(&mut town, "BOB", "1", "5"), "not so many shares, or no price");
    assert_eq!(offer(&mut town, "OWNER", "40", "1005"), "Offered");
    assert_eq!(offer(&mut town, "OWNER", "61", "5"), "not so many shares, or no price");
    let buy = |town: &mut Town, who: &str, offer: &str, quantity: &str| {
        pay(town, who, "TOKENA", "ASSET", quantity, &[("X-Action", "Buy"), ("X-Offer", offer)]);
    };
    buy(&mut town, "ALICE", "1", "1004");
    buy(&mut town, "ALICE", "2", "1005");
    assert_eq!(holds(&mut town, "ALICE").0, 0);
    buy(&mut town, "ALICE", "1", "1005");
    buy(&mut town, "BOB", "1", "1005");
    assert_eq!((holds(&mut town, "ALICE").0, holds(&mut town, "BOB").0), (-1005, 0));
    let paid = ["OWNER", "COMPOSER", "POET", "ASSET"].map(|who| town.balance("TOKENA", who));
    assert_eq!(paid, [905, 70, 30, 0]);
    assert_eq!(town.view("ASSET", "asset.shares", &[]), json!({"ALICE": 40, "OWNER": 60}));
    // What is offered can be taken back, by its seller.
    offer(&mut town, "ALICE", "40", "7");
    let back = [("Action", "Take-Back"), ("Offer", "2")];
    assert_eq!(ask(&mut town, "BOB", "ASSET", &back), "not yours");
    assert_eq!(ask(&mut town, "ALICE", "ASSET", &back), "Taken-Back");
    let give = [("Action", "Transfer"), ("Recipient", "BOB"), ("Quantity", "15")];
    assert_eq!(ask(&mut town, "ALICE", "ASSET", &give), "Debit-Notice");
    assert_eq!(town.view("ASSET", "asset.shares", &[]), json!({"ALICE": 25, "BOB": 15, "OWNER": 60}));
}

#[test]
fn all_who_hold_shares_are_paid_by_licences() {
    let mut town = asset();
    let give = [("Action", "Transfer"), ("Recipient", "BOB"), ("Quantity", "33")];
    ask(&mut town, "OWNER", "ASSET", &give);
    // What is on offer is still its seller's.
    ask(&mut town, "OWNER", "ASSET", &[("Action", "Offer"), ("Quantity", "67"), ("Price", "9")]);
    let license = |town: &mut Town, quantity: &str| {
        pay(town, "CAROL", "TOKENA", "ASSET", quantity, &[("X-Action", "License")])
    };
    license(&mut town, "49");
    assert_eq!(holds(&mut town, "CAROL").0, 0);
    let told = license(&mut town, "50");
    assert!(told.iter().any(|one| one["Target"] == "CAROL" && tag(one, "Action") == Some("Licensed")));
    let paid = ["BOB", "OWNER", "ASSET"].map(|who| town.balance("TOKENA", who));
    assert_eq!(paid, [1_000_017, 33, 0]);
    assert_eq!(town.view("ASSET", "asset.licences", &[]), json!({"CAROL": 1}));
}
