//! What the tour and the tests of the mesh ask of the nodes.

use std::time::Duration;

use serde::de::DeserializeOwned;
use weft_node::control::api::{
    CarryRequest, FailureCode, ItemInfo, ModuleInfo, ProcessDetail, ProcessInfo, Request, ResultInfo,
    ResultOf, SlotInfo, Submitted,
};
use weft_node::control::client::{ANSWER_WAIT, ClientError};
use weft_protocol::data_item::ItemError;
use weft_protocol::{Address, DataItem, Id, Tag, Verified};

use crate::check::{Open, millis};
use crate::error::AskError;
use crate::fleet::Fleet;
use crate::node::Node;
use crate::user::{NewProcess, User, encoded};
use crate::wait::{Look, WaitError, until};

/// How long the nodes may take for anything that goes through several of them.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a result may take: the first one of a module waits for its compilation on each node.
const RESULT_WAIT: Duration = Duration::from_secs(240);
/// How long a node may take to compile a module.
const COMPILE_WAIT: Duration = Duration::from_secs(120);
/// Slots looked at.
const SLOTS_MAX: u32 = 1_000;

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// A node gave no answer, or not the right one.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Something did not come.
    #[error(transparent)]
    Wait(#[from] WaitError<AskError>),
    /// An item could not be signed.
    #[error("an item: {0}")]
    Item(#[from] ItemError),
}

impl Trouble {
    /// Whether a node says that what it was given is not right.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Ask(AskError { source: ClientError::Failed(failure), .. }) => {
                failure.code == FailureCode::Invalid
            }
            Self::Ask(_) | Self::Wait(_) | Self::Item(_) => false,
        }
    }
}

/// A process to be spawned, and who does what for it.
#[derive(Debug, Clone, Copy)]
pub struct Cast<'a> {
    /// Its name for people.
    pub name: &'a str,
    /// Its module.
    pub module: Id,
    /// The node that gives its slots.
    pub scheduler: usize,
    /// The nodes whose word on it counts; the scheduler's alone if empty.
    pub attestors: &'a [usize],
    /// How many of them must agree.
    pub quorum: usize,
    /// The nodes that compute it, the scheduler first if it does.
    pub computing: &'a [usize],
    /// Tags beside those that every process has.
    pub tags: &'a [Tag],
}

/// A process of the tour.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Its name for people.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// Its Process item.
    pub item: Verified<DataItem>,
    /// The node that gives its slots.
    pub scheduler: usize,
    /// The nodes that compute it, the scheduler first if it does.
    pub computing: Vec<usize>,
    /// Whose word on it counts.
    pub attestors: Vec<Address>,
    /// How many of them must agree.
    pub quorum: usize,
}

impl Actor {
    /// Its nodes for a person.
    pub fn node_list(&self) -> String {
        self.computing.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// A node that computes it and does not schedule it.
    pub fn witness(&self) -> usize {
        self.computing.last().copied().unwrap_or(self.scheduler)
    }
}

/// The nodes and the user.
#[derive(Debug, Clone, Copy)]
pub struct Town<'a> {
    /// The nodes.
    pub fleet: &'a Fleet,
    /// Who owns the processes.
    pub user: &'a User,
    /// The node that the user hands items to.
    pub sender: usize,
}

impl Town<'_> {
    /// Trouble for a person: if a node is dead, that is what it is about.
    pub fn explain(&self, trouble: Trouble) -> String {
        self.fleet.dead().map_or_else(|| trouble.to_string(), |dead| format!("{trouble}; {dead}"))
    }

    fn node(&self, index: usize) -> &Node {
        self.fleet.node(index)
    }

    /// Asks until it works out: a scheduler that is busy says when to come back, and what was just
    /// announced on the mesh takes a moment to be found.
    ///
    /// # Errors
    /// Any other failure, and that it never worked out.
    pub async fn insist<T: DeserializeOwned>(
        &self,
        node: usize,
        what: &'static str,
        request: &Request,
    ) -> Result<T, Trouble> {
        let look = async || match self.node(node).ask(what, request).await {
            Ok(answer) => Ok(Look::There(answer)),
            Err(error) => match &error.source {
                ClientError::Failed(failure)
                    if matches!(
                        failure.code,
                        FailureCode::Busy | FailureCode::Unknown | FailureCode::Pending
                    ) =>
                {
                    Ok(Look::NotYet(failure.text.clone()))
                }
                _ => Err(error),
            },
        };
        Ok(until(format!("{what} of node {node}"), PATIENCE, look).await?)
    }

    /// Publishes a module on the first node, in the first of the formats that it is of. If it is
    /// of none, the refusal of the first says why.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn publish(&self, wasm: &[u8], format: &str, others: &[&str]) -> Result<ModuleInfo, Trouble> {
        let refusal = match self.publish_as(wasm, format).await {
            Err(trouble) if trouble.is_refusal() => trouble,
            other => return other,
        };
        for format in others {
            match self.publish_as(wasm, format).await {
                Err(trouble) if trouble.is_refusal() => {}
                other => return other,
            }
        }
        Err(refusal)
    }

    async fn publish_as(&self, wasm: &[u8], format: &str) -> Result<ModuleInfo, Trouble> {
        let item = self.user.module(wasm.to_vec(), format)?;
        let request = Request::PutModule { item: encoded(&item) };
        Ok(self.node(0).ask_within("to take a module", &request, COMPILE_WAIT).await?)
    }

    /// Spawns a process on its scheduler, from the sending node.
    ///
    /// # Errors
    /// Why there is no process.
    pub async fn spawn(&self, cast: Cast<'_>, open: &mut Open) -> Result<Actor, Trouble> {
        let Cast { name, module, scheduler, quorum, .. } = cast;
        let address = |node: usize| self.node(node).ready().address;
        let attestors: Vec<Address> = cast.attestors.iter().map(|node| address(*node)).collect();
        let item = self.user.process(NewProcess {
            name,
            module,
            scheduler: address(scheduler),
            attestors: (attestors.clone(), quorum),
            tags: cast.tags.to_vec(),
        })?;
        let submitted = self.submit(&item).await?;
        open.equal(format!("the slot of process {name}"), &0, &submitted.slot);
        open.equal(format!("the id of process {name}"), &item.id(), &submitted.process);
        let attestors = if attestors.is_empty() { vec![address(scheduler)] } else { attestors };
        let computing = cast.computing.to_vec();
        Ok(Actor { name: name.to_owned(), id: item.id(), item, scheduler, computing, attestors, quorum })
    }

    /// Spawns two processes of a module as the tour has them: the first two nodes schedule them; the
    /// first names its attestors, the second trusts its scheduler, as plain ao does.
    ///
    /// # Errors
    /// Why there is one less.
    pub async fn spawn_two(
        &self,
        names: [&str; 2],
        module: Id,
        tags: &[Tag],
        open: &mut Open,
    ) -> Result<[Actor; 2], Trouble> {
        let plan = self.fleet.plan();
        let (attestors, quorum) = plan.attestors();
        let [first, second] =
            [0, 1].map(|node| std::iter::once(node).chain(plan.hosts(node)).collect::<Vec<usize>>());
        let [one, two] = names;
        let attestors = &attestors;
        let one = Cast { name: one, module, scheduler: 0, attestors, quorum, computing: &first, tags };
        let two = Cast { name: two, scheduler: 1, attestors: &[], quorum: 1, computing: &second, ..one };
        Ok([self.spawn(one, open).await?, self.spawn(two, open).await?])
    }

    /// Has the other nodes compute a process and, those that do so, carry what it sends.
    ///
    /// # Errors
    /// The first node that does not.
    pub async fn host(&self, actor: &Actor, open: &mut Open) -> Result<(), Trouble> {
        for node in actor.computing.iter().copied().filter(|node| *node != actor.scheduler) {
            self.host_on(actor, node, self.fleet.plan().carries(node), open).await?;
        }
        let info = self.detail(actor, actor.scheduler, false).await?;
        open.equal(format!("the quorum of {}", actor.name), &actor.quorum, &info.quorum);
        open.same(
            format!("the attestors of {}", actor.name),
            &sorted(&actor.attestors),
            &sorted(&info.attestors),
        );
        Ok(())
    }

    /// Has one node compute a process, and carry what it sends.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn host_on(
        &self,
        actor: &Actor,
        node: usize,
        messenger: bool,
        open: &mut Open,
    ) -> Result<(), Trouble> {
        let request = Request::Host { process: actor.id, compute: true, messenger, evaluate: None };
        let info: ProcessInfo = self.insist(node, "to host a process", &request).await?;
        let seen = info.duties.join(" ");
        let does = |wanted| info.duties.iter().any(|duty| duty == wanted);
        let holds = does("compute") && (!messenger || does("messenger"));
        let expected = if messenger { "compute messenger" } else { "compute" };
        open.that(format!("duties of node {node} for {}", actor.name), expected, seen, holds);
        Ok(())
    }

    /// Has one node carry what a process sends from now on, without computing it.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn carry_on(&self, actor: &Actor, node: usize, open: &mut Open) -> Result<(), Trouble> {
        let request = Request::Carry(CarryRequest::Begin { process: actor.id, all: false });
        let info: ProcessInfo = self.insist(node, "to carry for a process", &request).await?;
        let (what, duties) = (format!("duties of node {node} for {}", actor.name), info.duties.join(" "));
        open.equal(what, "carry watch", duties.as_str());
        Ok(())
    }

    /// Hands an item to the sending node, which takes it to its scheduler.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn submit(&self, item: &Verified<DataItem>) -> Result<Submitted, Trouble> {
        let request = Request::Submit { item: encoded(item) };
        self.insist(self.sender, "to take an item to its scheduler", &request).await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(
        &self,
        actor: &Actor,
        action: &str,
        tags: Vec<Tag>,
        data: &str,
    ) -> Result<Submitted, Trouble> {
        self.submit(&self.user.message(actor.id, action, tags, data)?).await
    }

    /// The result of a slot as a node tells it, when there is one.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn result(&self, actor: &Actor, node: usize, slot: u64) -> Result<ResultInfo, AskError> {
        let of = ResultOf::Slot(slot);
        let request = Request::Result { process: actor.id, of, wait_ms: millis(RESULT_WAIT) };
        self.node(node).ask_within("a result", &request, RESULT_WAIT + ANSWER_WAIT).await
    }

    /// A process as a node has it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn detail(
        &self,
        actor: &Actor,
        node: usize,
        state_root: bool,
    ) -> Result<ProcessDetail, AskError> {
        self.node(node).ask("a process", &Request::Process { process: actor.id, state_root }).await
    }

    /// The slots of a process as a node has them.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn slots(&self, actor: &Actor, node: usize, from: u64) -> Result<Vec<SlotInfo>, AskError> {
        let request = Request::Slots { process: actor.id, from, limit: SLOTS_MAX };
        self.node(node).ask("slots", &request).await
    }

    /// An item as a node has it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn item(&self, node: usize, id: Id) -> Result<ItemInfo, AskError> {
        self.node(node).ask("an item", &Request::Item { id }).await
    }

    /// Anything else of a node.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        node: usize,
        what: &'static str,
        request: &Request,
        wait: Duration,
    ) -> Result<T, AskError> {
        self.node(node).ask_within(what, request, wait).await
    }

    /// Waits until a process of `to` has a slot of a message that `from` sent with this action, at
    /// `first` or later, and checks who brought it. Answers the slot and the node that did.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn pushed(
        &self,
        from: &Actor,
        to: &Actor,
        action: &str,
        first: u64,
        open: &mut Open,
    ) -> Result<(SlotInfo, Option<usize>), Trouble> {
        let source = from.id.to_string();
        let what = format!("a slot of {} with {action} from {}", to.name, from.name);
        let look = async || {
            let slots = self.slots(to, to.scheduler, first).await?;
            let seen = format!("{} other slots from {first} on", slots.len());
            let is_push = |slot: &SlotInfo| {
                slot.from.as_deref() == Some(&source) && slot.action.as_deref() == Some(action)
            };
            Ok(slots.into_iter().find(is_push).map_or(Look::NotYet(seen), Look::There))
        };
        let slot = until(what, PATIENCE, look).await?;
        open.that(
            "the pushed message",
            "carries an origin proof",
            if slot.pushed { "carries one" } else { "has none" },
            slot.pushed,
        );
        let item = self.item(to.scheduler, slot.item).await?;
        let carrier = self.fleet.of_address(&item.owner);
        let carries = carrier.is_some_and(|node| self.fleet.plan().carries(node));
        let seen = carrier.map_or_else(|| item.owner.clone(), |node| format!("node {node}"));
        open.that("who carried it", "a node with the messenger role", seen, carries);
        Ok((slot, carrier))
    }
}

/// A set of addresses, in an order of its own.
fn sorted(addresses: &[Address]) -> Vec<Address> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted
}
