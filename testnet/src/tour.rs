//! The tour: what a newcomer is shown, and what CI checks. Every step is real work of the nodes,
//! asked for over their control sockets and judged by what they answer.

pub(crate) mod anchor;
mod aos;
pub(crate) mod compare;
mod counter;

use weft_node::control::api::BatchInfo;
use weft_protocol::{Id, Tag};

use crate::aos::Aos;
use crate::check::{Open, Step};
use crate::fleet::Fleet;
use crate::report::{ActorReport, ModuleReport};
use crate::screen::Screen;
use crate::town::{Actor, Town, Trouble};
use crate::user::User;

/// What the tour found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) steps: Vec<Step>,
    pub(crate) modules: Vec<ModuleReport>,
    pub(crate) processes: Vec<ActorReport>,
    pub(crate) batches: Vec<BatchInfo>,
    pub(crate) aos_skipped: Option<String>,
}

/// Runs the tour. It ends early when a step cannot be done.
pub(crate) async fn run(fleet: &Fleet, user: &User, aos: &Aos, screen: Screen) -> Found {
    let town = Town { fleet, user, sender: fleet.plan().sender() };
    let mut tour = Tour { town, screen, found: Found::default() };
    if counter::tour(&mut tour).await.is_some() && aos::lua(&mut tour).await.is_some() {
        match aos {
            Aos::There { name, wasm } => {
                // Nothing is left to do if it stopped: the step that could not be done says why.
                let _ = aos::tour(&mut tour, name, wasm).await;
            }
            Aos::Skipped(why) => {
                screen.line(&format!("skip  aos       {why}"));
                tour.found.aos_skipped = Some(why.clone());
            }
        }
    }
    tour.found
}

struct Tour<'a> {
    town: Town<'a>,
    screen: Screen,
    found: Found,
}

impl<'a> Tour<'a> {
    /// Does one step: `work` notes what it expects and answers what to tell a person. None when it
    /// could not be done, and then the tour is over.
    async fn step<T>(
        &mut self,
        name: &'static str,
        doing: &str,
        work: impl AsyncFnOnce(&Town<'a>, &mut Open) -> Result<(T, String), Trouble>,
    ) -> Option<T> {
        let mut open = Open::new(name);
        let busy = self.screen.spinner(doing);
        let (found, said) = match work(&self.town, &mut open).await {
            Ok((found, said)) => (Some(found), said),
            Err(trouble) => {
                open.broke(self.town.explain(trouble));
                (None, format!("stopped while {doing}"))
            }
        };
        drop(busy);
        let step = open.close(said);
        self.screen.step(&step);
        self.found.steps.push(step);
        found
    }

    /// Compares a process on all that compute it, and shows it.
    async fn compare(&mut self, actor: &Actor) -> Option<()> {
        let doing = format!("waiting until every node has computed {}", actor.name);
        let report =
            self.step("compare", &doing, async |town, open| compare::compare(town, actor, open).await);
        let report = report.await?;
        compare::show(&self.town, &report, &self.found.processes, self.screen);
        self.found.processes.push(report);
        Some(())
    }

    /// Replays a process on a node that does not schedule it.
    async fn verify(&mut self, actor: &Actor) -> Option<()> {
        let report = self.found.processes.iter().find(|report| report.process == actor.id).cloned()?;
        let doing = format!("replaying {} from slot 0", actor.name);
        self.step("verify", &doing, async |town, open| compare::verify(town, actor, &report, open).await)
            .await
    }

    /// Publishes a module on the first node.
    async fn module(&mut self, name: &str, wasm: &[u8], format: &str, others: &[&str]) -> Option<Id> {
        let work = async |town: &Town<'a>, open: &mut Open| {
            let module = town.publish(wasm, format, others).await?;
            open.equal("the module's size", &wasm.len(), &module.bytes);
            let said = format!("{name}: {} KB, {}, on node 0", wasm.len() / 1024, module.format);
            Ok((module, said))
        };
        let module = self.step("module", "publishing the module", work).await?;
        let (id, format, bytes) = (module.module, module.format, module.bytes);
        self.found.modules.push(ModuleReport { name: name.to_owned(), module: id, format, bytes });
        Some(id)
    }

    /// Spawns two processes of a module, scheduled by the first two nodes, and has others compute
    /// them and carry their messages. The first names its attestors, the second trusts its
    /// scheduler, as plain ao does.
    async fn actors(&mut self, module: Id, names: [&'static str; 2], tags: &[Tag]) -> Option<[Actor; 2]> {
        let spawn = async |town: &Town<'a>, open: &mut Open| {
            let [first, second] = town.spawn_two(names, module, tags, open).await?;
            let (attestors, quorum) = town.fleet.plan().attestors();
            let said = format!(
                "{} on node 0 ({quorum} of {} must attest), {} on node 1 (its scheduler attests)",
                names[0],
                attestors.len(),
                names[1]
            );
            Ok(([first, second], said))
        };
        let actors = self.step("spawn", "spawning two processes", spawn).await?;
        let host = async |town: &Town<'a>, open: &mut Open| {
            for actor in &actors {
                town.host(actor, open).await?;
            }
            let said =
                actors.each_ref().map(|actor| format!("{} on nodes {}", actor.name, actor.node_list()));
            Ok(((), format!("computed: {}", said.join(", "))))
        };
        self.step("host", "asking other nodes to compute and carry", host).await?;
        Some(actors)
    }
}

/// So many things, in words.
fn counted(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    // Whatever does not fit is many.
    match count.try_into() {
        Ok(1) => format!("1 {one}"),
        Ok(count) => format!("{count} {many}"),
        Err(_) => many.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1_u32, "batch", "batches"), "1 batch");
        assert_eq!(counted(0_usize, "batch", "batches"), "0 batches");
    }
}
