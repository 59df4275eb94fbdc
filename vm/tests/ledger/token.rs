//! The token interface, deposits and withdrawals.

use super::guest::ledger::Account;
use super::guest::ledger::limits::{ACCOUNTS_MAX, FORWARDED_MAX, least_of_account};
use super::world::{LEDGER, ONE, OWNER, TOKEN, World, has, name, one_of, value};

#[test]
fn a_transfer_tells_both_and_passes_x_tags_on() {
    let mut world = World::funded();
    world.fund(1, 10);
    let to = name(2);
    let tags = [
        ("Recipient", &*to),
        ("Quantity", "4"),
        ("X-Order", "7"),
        ("X-Reference", "no"),
        ("Reference", "r"),
        ("Other", "o"),
    ];
    let sends = world.ask(1, "Transfer", &tags).unwrap();
    assert!(has(&sends, "Credit-Notice", 2) && has(&sends, "Debit-Notice", 1));
    for send in &sends {
        assert_eq!((value(send, "Quantity"), value(send, "X-Order"), value(send, "Other")), ("4", "7", ""));
    }
    // The answer to the question `r` of the sender; nobody else's answer can be forged with it.
    assert_eq!((value(&sends[0], "X-Reference"), value(&sends[1], "X-Reference")), ("", "r"));
    assert_eq!((value(&sends[0], "Sender"), value(&sends[1], "Recipient")), (&*name(1), &*to));
    assert_eq!((world.balance(1), world.balance(2)), (6, 4));
    assert_eq!(world.ask(1, "Transfer", &[("Recipient", &to), ("Quantity", "1"), ("Cast", "1")]), Ok(vec![]));
    assert_eq!((world.balance(1), world.balance(2)), (5, 5));
}

#[test]
fn what_is_no_transfer_is_refused() {
    let mut world = World::funded();
    world.fund(1, 10);
    let (to, many) = (name(2), "x".repeat(2_000));
    let over = (u128::MAX).to_string() + "0";
    for (recipient, quantity, part) in [
        (&*to, "11", "balance is 10"),
        (&to, "0", "Quantity"),
        (&to, "-1", "Quantity"),
        (&to, "+1", "Quantity"),
        (&to, "1.0", "Quantity"),
        (&to, "", "Quantity"),
        (&to, &over, "Quantity"),
        (&to, "340282366920938463463374607431768211456", "Quantity"),
        ("", "1", "not an address"),
        (&to[1..], "1", "not an address"),
        ("0x7e5f4552091a69125d5dfcb7b8c2659029395bdf", "1", "not an address"),
        ("0x+E5F4552091A69125d5DfCb7b8C2659029395Bdf", "1", "not an address"),
    ] {
        let error =
            world.ask(1, "Transfer", &[("Recipient", recipient), ("Quantity", quantity)]).unwrap_err();
        assert!(error.contains(part), "{recipient} {quantity}: {error}");
    }
    assert!(world.ask(1, "Transfer", &[("Quantity", "1")]).unwrap_err().contains("`Recipient` is missing"));
    assert!(
        world
            .ask(3, "Transfer", &[("Recipient", &to), ("Quantity", "1")])
            .unwrap_err()
            .contains("balance is 0")
    );
    let long = [("Recipient", &*to), ("Quantity", "1"), ("X-A", &many), ("X-B", &many)];
    assert!(world.ask(1, "Transfer", &long).unwrap_err().contains("X-"));
    let mut tags = vec![("Recipient", &*to), ("Quantity", "1")];
    tags.extend(std::iter::repeat_n(("X-A", "1"), FORWARDED_MAX + 1));
    assert!(world.ask(1, "Transfer", &tags).unwrap_err().contains("X-"));
    assert!(
        world.send("somebody", "Transfer", &[("Recipient", &to), ("Quantity", "1")], "")[0]
            .data
            .contains("From")
    );
    assert_eq!(world.balance(1), 10);
}

#[test]
fn an_ethereum_account_has_one_spelling() {
    let text = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
    let account: Account = text.parse().unwrap();
    assert_eq!(account.to_string(), text);
    assert!(text.to_lowercase().parse::<Account>().is_err());
    let mut world = World::funded();
    world.fund(1, 10);
    world.ask(1, "Transfer", &[("Recipient", text), ("Quantity", "4")]).unwrap();
    let sends = world.send(text, "Balance", &[], "");
    assert_eq!((value(&sends[0], "Balance"), &*sends[0].data), ("4", "4"));
    assert!(world.send(text, "Bond", &[("Quantity", "4")], "")[0].data.contains("messenger"));
}

#[test]
fn only_the_token_deposits_and_only_what_it_says() {
    let mut world = World::funded();
    let somebody = name(1);
    let notice = [("Sender", &*somebody), ("Quantity", "5")];
    // Another process's notice, and one of the owner, and of the ledger itself.
    for from in [2, OWNER, LEDGER] {
        assert_eq!(world.ask(from, "Credit-Notice", &notice), Ok(vec![]));
    }
    assert_eq!(world.balance(1), 0);
    world.fund(1, 5);
    assert_eq!(world.balance(1), 5);
    assert_eq!(world.ask(TOKEN, "Credit-Notice", &[("Sender", &somebody)]), Ok(vec![]));
    assert_eq!(world.ask(TOKEN, "Credit-Notice", &[("Sender", &somebody), ("Quantity", "many")]), Ok(vec![]));
    assert!(world.ask(OWNER, "Mint", &[("Quantity", "5")]).unwrap_err().contains("funded by a token"));
}

#[test]
fn what_cannot_be_booked_goes_back() {
    let mut world = World::funded();
    let (somebody, all, beyond) = (name(1), u128::MAX.to_string(), "9".repeat(60));
    world.fund(1, 1);
    for (sender, quantity) in [("nobody", "5"), (&*somebody, &*all), (&somebody, &beyond)] {
        let sends = world.ask(TOKEN, "Credit-Notice", &[("Sender", sender), ("Quantity", quantity)]).unwrap();
        assert!(has(&sends, "Transfer", TOKEN), "{sender} {quantity}: {sends:?}");
        assert_eq!((value(&sends[0], "Recipient"), value(&sends[0], "Quantity")), (sender, quantity));
    }
    // An escrow that is none.
    let tags = [("Sender", &*somebody), ("Quantity", "5"), ("X-Escrow", "x")];
    assert!(has(&world.ask(TOKEN, "Credit-Notice", &tags).unwrap(), "Transfer", TOKEN));
    let source = name(50);
    let tags = [("Sender", &*somebody), ("Quantity", "5"), ("X-Escrow", &*source)];
    assert!(
        has(&world.ask(TOKEN, "Credit-Notice", &tags).unwrap(), "Transfer", TOKEN),
        "too little to begin one"
    );
    assert_eq!(world.ledger.sums().deposited, 1);
}

#[test]
fn a_withdrawal_is_a_transfer_of_the_token() {
    let mut world = World::funded();
    world.fund(1, 10);
    let sends = world.ask(1, "Withdraw", &[("Quantity", "4"), ("X-Why", "bread")]).unwrap();
    assert!(has(&sends, "Transfer", TOKEN));
    let [transfer, _] = &sends[..] else { panic!("{sends:?}") };
    assert_eq!((value(transfer, "Recipient"), value(transfer, "Quantity")), (&*name(1), "4"));
    assert_eq!(value(transfer, "X-Why"), "bread");
    let other = name(9);
    let sends = world.ask(1, "Withdraw", &[("Quantity", "1"), ("Recipient", &other)]).unwrap();
    assert_eq!(value(&sends[0], "Recipient"), other);
    for to in [LEDGER, TOKEN] {
        let to = name(to);
        assert!(world.ask(1, "Withdraw", &[("Quantity", "1"), ("Recipient", &to)]).is_err());
    }
    assert!(world.ask(1, "Withdraw", &[("Quantity", "6")]).unwrap_err().contains("balance is 5"));
    assert_eq!(world.balance(1), 5);
    let mut alone = World::of(&[]);
    assert!(alone.ask(1, "Withdraw", &[("Quantity", "1")]).unwrap_err().contains("no token"));
}

#[test]
fn only_the_owner_mints_and_nothing_overflows() {
    let mut world = World::of(&[]);
    assert!(world.ask(1, "Mint", &[("Quantity", "5")]).unwrap_err().contains("owner"));
    let (all, to) = (u128::MAX.to_string(), name(1));
    world.ask(OWNER, "Mint", &[("Quantity", &all), ("Recipient", &to)]).unwrap();
    assert!(world.ask(OWNER, "Mint", &[("Quantity", "1")]).unwrap_err().contains("more was deposited"));
    world.ask(1, "Transfer", &[("Recipient", &name(2)), ("Quantity", &(u128::MAX - 1).to_string())]).unwrap();
    world.ask(1, "Transfer", &[("Recipient", &name(2)), ("Quantity", "1")]).unwrap();
    assert_eq!((world.balance(1), world.balance(2)), (0, u128::MAX));
    // A notice is no deposit where there is no token, whoever's it is.
    let (sender, owner) = (name(3), name(OWNER));
    assert!(world.send(&owner, "Credit-Notice", &[("Sender", &sender), ("Quantity", "1")], "").is_empty());
}

#[test]
fn what_is_unknown_is_not_answered() {
    let mut world = World::funded();
    for action in ["Debit-Notice", "Transfer-Error", "Balance-Response", "transfer", "Eval", ""] {
        assert_eq!(world.ask(1, action, &[]), Ok(vec![]), "{action}");
    }
    // Not even what a ledger says itself, so that two of them do not talk for ever.
    let said: Vec<String> =
        ["Info", "Balance", "Balances", "Audit", "Bonds", "Claims", "Settle", "Bond-Of", "Mint"]
            .into_iter()
            .map(|action| value(world.send(&name(1), action, &[], "").last().unwrap(), "Action").to_owned())
            .collect();
    for action in said {
        assert!(world.send(&name(1), &action, &[], "").is_empty(), "{action}");
    }
}

#[test]
fn balances_come_in_pages() {
    let mut world = World::of(&[]);
    for at in 0..1_500_u32 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&at.to_be_bytes());
        let to = weft_protocol::Id(bytes).to_string();
        world.ask(OWNER, "Mint", &[("Quantity", "3"), ("Recipient", &to)]).unwrap();
    }
    let page = |world: &mut World, tags: &[(&str, &str)]| {
        let sends = world.ask(1, "Balances", tags).unwrap();
        let json: serde_json::Value = serde_json::from_str(&sends[0].data).unwrap();
        (json.as_object().unwrap().len(), value(&sends[0], "From-Account").to_owned())
    };
    let (first, next) = page(&mut world, &[]);
    assert_eq!(first, 1_000);
    assert_eq!(page(&mut world, &[("From-Account", &next)]), (500, String::new()));
}

/// The attack: small transfers to made-up addresses fill the table of accounts. The first sixteenth is for anybody; then
/// an account begins with something, and more and more, and a little money does not open one after the other. Those
/// who have an account are not touched, and what is owed is paid.
#[test]
fn full_accounts_refuse_strangers_alone() {
    let mut world = World::funded();
    let total: u128 = (0..ACCOUNTS_MAX).map(|taken| least_of_account(taken).max(1)).sum();
    // A thousand tokens, and nobody spends them twice.
    assert!(total > 1_000 * ONE, "{total}");
    world.fund(1, total + 100 * ONE);
    let send = |world: &mut World, from: &str, to: usize, quantity: u128| {
        let tags = [("Recipient", &*one_of(to)), ("Quantity", &*quantity.to_string())];
        world.quiet(from, "Transfer", &tags, "")
    };
    let rich = name(1);
    for at in 1..ACCOUNTS_MAX {
        let least = least_of_account(at);
        if at % (ACCOUNTS_MAX / 16) == 0 {
            let less = send(&mut world, &rich, at, least - 1);
            assert!(less.contains(&format!("begins with {least} at least")), "{at}: {less}");
            // The money of the last one does not go on but for a little: all of it does, or enough stays.
            let last = least_of_account(at - 1).max(1);
            if at > ACCOUNTS_MAX / 16 {
                assert!(send(&mut world, &one_of(at - 1), 3, last - 1).contains("send all that there is"));
            }
            assert_eq!(
                send(&mut world, &one_of(at - 1), at, last.max(least)),
                match last < least {
                    true => format!("the balance is {last}; {least} are needed"),
                    false => String::new(),
                }
            );
        }
        assert_eq!(send(&mut world, &rich, at, least.max(1)), "", "{at}");
    }
    let full = send(&mut world, &rich, ACCOUNTS_MAX, 10 * ONE);
    assert!(full.contains("accounts have a balance"), "{full}");
    let stranger = one_of(ACCOUNTS_MAX);
    let sends = world.ask(TOKEN, "Credit-Notice", &[("Sender", &stranger), ("Quantity", "7")]).unwrap();
    assert!(has(&sends, "Transfer", TOKEN), "a deposit that has no room goes back");
    assert_eq!(send(&mut world, &rich, 5, 1), "", "an account that is there");
    world.fund(1, 1);
    // A balance that ends makes room, for one that begins with enough.
    assert_eq!(world.quiet(&one_of(9), "Withdraw", &[("Quantity", "1")], ""), "");
    let least = least_of_account(ACCOUNTS_MAX - 1);
    assert!(send(&mut world, &rich, ACCOUNTS_MAX, least - 1).contains("begins with"));
    assert_eq!(send(&mut world, &rich, ACCOUNTS_MAX, least), "");
    assert!(world.ledger.sums().conserve());
}
