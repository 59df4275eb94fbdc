//! The tour with Lua processes, of our own runtime and of the real aos: a handler, a message between
//! two nodes, its answer.

use weft_node::builtin;
use weft_node::control::api::{ModuleInfo, Request};
use weft_protocol::{Id, Tag};

use super::Tour;
use crate::aos::{FOREIGN_AUTHORITY, FORMAT, OTHER_FORMATS, eval};
use crate::check::Open;
use crate::town::{Actor, Town, Trouble};

/// What the second process does with a Ping.
const HANDLER: &str = "Pings = 0; \
    Handlers.add('ping', 'Ping', function(m) Pings = Pings + 1; \
    m.reply({Action = 'Pong', Data = 'pong ' .. Pings .. ' to ' .. m.Data}) end); return 'ready'";
/// What the first one has got in the end.
const LAST: &str =
    "return Inbox[#Inbox].Action .. ': ' .. Inbox[#Inbox].Data .. ' from ' .. Inbox[#Inbox].From";

/// Runs it with aos; none when it stopped on the way.
pub(super) async fn tour(tour: &mut Tour<'_>, name: &str, wasm: &[u8]) -> Option<()> {
    let module = tour.module(name, wasm, FORMAT, &OTHER_FORMATS).await?;
    converse(tour, module, ["aos-a", "aos-b"]).await
}

/// Runs it with the Lua that every node has; none when it stopped on the way.
pub(super) async fn lua(tour: &mut Tour<'_>) -> Option<()> {
    let work = async |town: &Town<'_>, open: &mut Open| {
        let lua = async |node: usize| -> Result<Option<ModuleInfo>, Trouble> {
            let all: Vec<ModuleInfo> =
                town.fleet.node(node).ask("for its modules", &Request::Modules).await?;
            Ok(all.into_iter().find(|module| module.name.as_deref() == Some(builtin::LUA)))
        };
        let (here, there) = (lua(0).await?, lua(1).await?);
        open.that("the built-in Lua", "there", here.is_some(), here.is_some());
        let ids = [here.as_ref(), there.as_ref()].map(|module| module.map(|module| module.module));
        open.same("the id of the built-in Lua on two nodes", &ids[0], &ids[1]);
        let bytes = here.map_or(0, |module| module.bytes);
        Ok((ids[0], format!("lua: {} KB, on every node", bytes / 1024)))
    };
    let module = tour.step("module", "looking for the built-in Lua", work).await??;
    converse(tour, module, ["lua-a", "lua-b"]).await
}

async fn converse(tour: &mut Tour<'_>, module: Id, names: [&'static str; 2]) -> Option<()> {
    let tags = [Tag::new("Authority", FOREIGN_AUTHORITY)];
    let [a, b] = tour.actors(module, names, &tags).await?;
    tour.step("eval", "defining a handler", async |town, open| define(town, &b, open).await).await?;
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
