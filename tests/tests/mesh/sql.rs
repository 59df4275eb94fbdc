//! SQL in a process of real nodes: the database is memory of the guest, so it is kept, rolled back
//! and restored as every state is.

use weft_protocol::Tag;
use weft_testnet::{Actor, Open, Town, Trouble, aos};

use crate::guest::Guest;
use crate::rig::{Rig, assert_holds};
use crate::scenario::is_sound;

/// The node that is killed: the other one knows where to find the first again, and not it.
const SCHEDULER: usize = 1;
/// Opens a database in memory, with a function that gives the rows of a query as text.
const OPEN: &str = "SQL = require('lsqlite3') DB = SQL.open_memory() \
    function Rows(sql) local out = {} \
      for row in DB:nrows(sql) do out[#out + 1] = row.id .. '=' .. row.balance end \
      return table.concat(out, ' ') end \
    assert(DB:exec('CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER CHECK (balance >= 0))') == 0) \
    assert(DB:exec(\"INSERT INTO account VALUES ('alice', 1000), ('bob', 50)\") == 0) \
    return 'open'";
/// Moves what is there, then what is not: the message fails, and nothing of it may stay.
const OVERDRAW: &str = "assert(DB:exec(\"UPDATE account SET balance = balance - 1000 WHERE id = 'alice'\") == 0) \
    assert(DB:exec(\"UPDATE account SET balance = balance - 1000 WHERE id = 'bob'\") == 0, DB:errmsg())";
const PAY: &str = "return tostring(DB:exec(\"BEGIN; UPDATE account SET balance = balance - 30 WHERE id = 'alice'; \
    UPDATE account SET balance = balance + 30 WHERE id = 'bob'; COMMIT\"))";

async fn accounts(town: &Town<'_>, database: &Actor, open: &mut Open) -> Result<String, Trouble> {
    aos::eval(town, database, "return Rows('SELECT * FROM account ORDER BY id')", open).await
}

#[tokio::test]
async fn a_database_is_rolled_back_and_outlives_its_node() -> Result<(), Trouble> {
    let Some(guest) = Guest::sqlite("sql::a_database_is_rolled_back_and_outlives_its_node") else {
        return Ok(());
    };
    let mut rig = Rig::pair(guest).await;
    let mut open = Open::new("sql");
    let memory = [Tag::new("Memory-Limit", "1-gb")];
    let database = rig.spawn("database", SCHEDULER, &[SCHEDULER, 0], &memory).await?;
    let town = rig.town();
    let said = aos::eval(&town, &database, OPEN, &mut open).await?;
    open.equal("the database", "open", said.as_str());
    let failing = town.send(&database, "Eval", Vec::new(), OVERDRAW).await?;
    let failed = town.result(&database, SCHEDULER, failing.slot).await?;
    let text = failed.result["Error"].to_string();
    open.that(
        "the error",
        "the constraint",
        &text,
        failed.code == 1 && text.contains("CHECK constraint failed"),
    );
    let said = accounts(&town, &database, &mut open).await?;
    open.equal("accounts after a failure", "alice=1000 bob=50", said.as_str());
    let said = aos::eval(&town, &database, PAY, &mut open).await?;
    open.equal("the transaction", "0", said.as_str());

    rig.fleet.kill(SCHEDULER).await;
    rig.fleet.start_again(SCHEDULER).unwrap();
    rig.fleet.all_up().await.unwrap();
    let town = rig.town();
    let said = accounts(&town, &database, &mut open).await?;
    open.equal("accounts after a restart", "alice=970 bob=80", said.as_str());
    is_sound(&town, &database, &[SCHEDULER, 0], &mut open).await?;
    assert_holds(open);
    rig.end(&[SCHEDULER]).await;
    Ok(())
}
