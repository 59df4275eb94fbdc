//! One node: its roles, its disk, and how it hears of the world.

use rand::RngExt as _;
use rand::rngs::StdRng;
use weft_node::anchor::machine::Input as Anchored;
use weft_node::compute::machine::Input as Computed;
use weft_node::cron::machine::Input as Kept;
use weft_node::follower::machine::Input as Followed;
use weft_node::market::machine::Input as Offered;
use weft_node::messenger::machine::{Input as Carried, PushOutcome};
use weft_node::scheduler::machine::Ticket;
use weft_node::witness::judge::machine::Input as Weighed;
use weft_protocol::crypto::Signer;
use weft_protocol::{Address, DataItem, Effects, Id, Machine as _, Now};

use super::checker::Checker;
use super::disk::{Disk, Fate, Write};
use super::network::{Answer, Ask, Faults, Message};
use super::roles::{Done, Roles, Rpc, Waits, head_of};
use super::town::Town;
use super::world::{Mutation, Weave};

/// Milliseconds since the Unix epoch when a run starts: a block of the clock weave ends soon.
const START_MS: u64 = 1_800_000_000_000 - 7_000;
/// The slowest commit, in milliseconds.
const COMMIT_MS_MAX: u64 = 15;
/// How long a request may take, in milliseconds.
const REQUEST_MS_MAX: u64 = 2_000;

/// What a node asks of the world.
#[allow(clippy::large_enum_variant)]
pub enum Out {
    /// Send this.
    Send(usize, Message),
    /// A commit ends then.
    Commit(u64),
    /// This request is given up then, unless it was answered.
    Timeout(u64, u64),
}

/// The world as one node sees it for a moment.
pub struct Ctx<'a, 't> {
    /// Milliseconds since the start.
    pub time: u64,
    /// All chance comes from here.
    pub rng: &'a mut StdRng,
    /// What everybody knows.
    pub town: &'a Town<'t>,
    /// The weave.
    pub weave: &'a mut Weave,
    /// Who watches.
    pub checker: &'a mut Checker,
    /// What can go wrong now.
    pub faults: Faults,
    /// How far one node's clock is ahead of that of the node before it, in milliseconds.
    pub skew_ms: u64,
    /// How the harness breaks a rule, to see that it is noticed.
    pub mutation: Mutation,
    /// What the node asks of the world.
    pub out: Vec<Out>,
}

/// A node's clock, so many milliseconds after the start, when each is so far ahead of the one before.
pub const fn clock(time: u64, node: usize, skew_ms: u64) -> Now {
    Now(START_MS + time + node as u64 * skew_ms)
}

impl Ctx<'_, '_> {
    /// The time on a node's clock.
    pub const fn now(&self, node: usize) -> Now {
        clock(self.time, node, self.skew_ms)
    }

    /// Sends a message.
    pub fn send(&mut self, to: usize, message: Message) {
        self.checker.leaves(self.town, &message);
        self.out.push(Out::Send(to, message));
    }
}

/// A node.
pub struct Node {
    /// Its number.
    pub at: usize,
    /// Its key.
    pub key: Signer,
    /// Its address.
    pub address: Address,
    /// How often it stopped.
    pub life: u64,
    /// Whether it runs.
    pub is_up: bool,
    /// Its disk.
    pub disk: Disk,
    /// Entries that it took up to carry them turns late.
    pub delayed: usize,
    /// Runs after some of whose slots the host failed.
    pub broken_off: usize,
    /// Runs, in all of its lives.
    pub(super) runs: u64,
    pub(super) roles: Roles,
    requests: Ticket,
}

impl Node {
    /// A node that was never started.
    pub fn new(at: usize, key: Signer) -> Self {
        let (address, roles) = (key.address(), Roles::new(&key));
        Self {
            at,
            key,
            address,
            life: 0,
            is_up: false,
            disk: Disk::default(),
            delayed: 0,
            broken_off: 0,
            runs: 0,
            roles,
            requests: 0,
        }
    }

    /// Starts with what is on disk, as the tasks do.
    pub fn start(&mut self, ctx: &mut Ctx<'_, '_>) {
        self.roles = Roles::new(&self.key);
        self.is_up = true;
        for process in self.hosted(ctx.town) {
            self.take_up_process(ctx, process);
        }
        self.take_up(ctx, None);
        self.remember_evidence(ctx);
    }

    /// Stops at once; `landed` says that the oldest commit made it to disk.
    pub fn crash(&mut self, landed: bool) {
        self.is_up = false;
        self.life += 1;
        self.roles = Roles::new(&self.key);
        self.disk.crash(landed);
    }

    /// Does one thing: performs one effect or starts one commit. False when nothing is left.
    pub fn turn(&mut self, ctx: &mut Ctx<'_, '_>) -> bool {
        self.is_up
            && (self.schedule(ctx)
                || self.follow(ctx)
                || self.compute(ctx)
                || self.carry(ctx)
                || self.keep_time(ctx)
                || self.witness(ctx)
                || self.judge(ctx)
                || self.anchoring(ctx))
    }

    /// Time passed.
    pub fn tick(&mut self, ctx: &mut Ctx<'_, '_>) {
        self.repeat_offer(ctx);
        self.ask_for_children(ctx);
        self.roles.follower.hear(Followed::Tick);
        self.roles.messenger.hear(Carried::Tick);
        self.roles.compute.hear(Computed::Tick);
        self.roles.timekeeper.hear(Kept::Tick);
        self.roles.anchor.hear(Anchored::Tick);
        self.roles.judge.hear(Weighed::Tick);
        // It throws out what has ended; this node's own offer is made elsewhere.
        self.roles.market.handle(Offered::Tick, ctx.now(self.at), &mut Effects::new());
    }

    /// Another node stopped.
    pub fn lost(&mut self, peer: usize) {
        self.roles.follower.hear(Followed::SourceLost { peer });
    }

    /// Hands a commit to the disk.
    pub(super) fn write(&mut self, ctx: &mut Ctx<'_, '_>, writes: Vec<Write>, done: Done) {
        let cost = ctx.rng.random_range(1..=COMMIT_MS_MAX);
        ctx.out.push(Out::Commit(self.disk.write(writes, done, ctx.time, cost)));
    }

    /// The oldest commit ends.
    pub fn committed(&mut self, ctx: &mut Ctx<'_, '_>, fate: Fate) {
        let Some((done, result)) = self.disk.end(fate) else { return };
        match done {
            Done::Nothing => {}
            Done::Scheduled(heads) => self.scheduled(ctx, heads, result),
            Done::Followed(heads) => self.followed(ctx, heads, result),
            Done::Saved(effect) => self.saved(*effect, result),
            Done::Adopted(child) => self.adopted(ctx, child, result),
            Done::Ran(ran) => self.ran(ctx, *ran, result),
            Done::Attested(said) => {
                self.roles.compute.waits = false;
                if result.is_ok() {
                    self.say_attested(ctx, &said);
                }
            }
            Done::Kept(said) => self.kept(ctx, &said, result),
            Done::Witnessed(name) => self.witnessed(ctx, name, result),
            Done::Built(process, root) => self.built(ctx, (process, root), result),
            Done::Handed(process, to, data_root) => {
                let input = match result {
                    Ok(()) => Anchored::Submitted { process, to, data_root },
                    Err(_) => Anchored::Failed { process },
                };
                self.anchor_ended(ctx, input);
            }
            Done::Confirmed(process, to) => {
                let input = match result {
                    Ok(()) => Anchored::Confirmed { process, to },
                    Err(_) => Anchored::Failed { process },
                };
                self.anchor_ended(ctx, input);
            }
        }
    }

    /// Tells the other roles that a log grew.
    pub(super) fn grew(&mut self, ctx: &Ctx<'_, '_>, process: Id, head: u64) {
        self.roles.compute.hear(Computed::Grew { process, head });
        self.keep_time_of(ctx, process);
        if ctx.town.scheduler(&process) == Some(self.at) {
            self.roles.anchor.hear(Anchored::Grew { process, head });
        }
    }

    /// Sends a message to every other node.
    pub(super) fn gossip(&self, ctx: &mut Ctx<'_, '_>, message: &Message) {
        for to in (0..ctx.town.keys.len()).filter(|to| *to != self.at) {
            let liar = ctx.town.liar.filter(|liar| liar.node == self.at);
            let lie = liar.and_then(|liar| liar.twist(to, &self.key, message));
            ctx.send(to, lie.unwrap_or_else(|| message.clone()));
        }
    }

    /// Sends a request.
    pub(super) fn ask(&mut self, ctx: &mut Ctx<'_, '_>, to: usize, ask: Ask, rpc: Rpc) {
        self.requests += 1;
        self.roles.rpcs.insert(self.requests, rpc);
        ctx.out.push(Out::Timeout(ctx.time + REQUEST_MS_MAX, self.requests));
        ctx.send(to, Message::Ask(self.requests, ask));
    }

    /// A request got no answer.
    pub fn timeout(&mut self, request: u64) {
        match self.roles.rpcs.remove(&request) {
            Some(Rpc::Range(process, peer, ..)) => {
                self.roles.follower.hear(Followed::RangeEnded { process, peer, useful: false });
            }
            Some(Rpc::Push(pushing, _)) => {
                let outcome = PushOutcome::Unreachable("no answer".to_owned());
                self.roles.messenger.hear(Carried::Pushed { push_id: pushing.entry.push_id, outcome });
            }
            Some(Rpc::Adopt(child)) => self.adoption_failed(child),
            Some(Rpc::Now(process)) => self.kept_time(process, false),
            Some(Rpc::Head(..) | Rpc::Attestations | Rpc::Tried { .. }) | None => {}
        }
    }

    /// Takes a message from the network.
    pub fn hear(&mut self, ctx: &mut Ctx<'_, '_>, from: usize, message: Message) {
        match message {
            Message::Slot(record) => self.hear_slot(ctx, &record),
            Message::Attestation(said) => self.hear_attestation(ctx, &said),
            Message::Offer(offer) => self.hear_offer(ctx, from, &offer),
            Message::Receipt(source, receipt) => self.hear_receipt(ctx, source, &receipt),
            Message::Evidence(process, evidence) => self.hear_evidence(ctx, process, *evidence),
            Message::Ask(number, Ask::Submit(item, proof)) => {
                self.submit(ctx, Waits::Peer(from, number), &item, &proof);
            }
            Message::Ask(number, Ask::Now(process)) => {
                self.look(ctx, Waits::Reader(from, number), process);
            }
            Message::Ask(number, ask) => {
                if let Some(answer) = self.answer(&ask) {
                    ctx.send(from, Message::Answer(number, answer));
                }
            }
            Message::Answer(number, answer) => self.answered(ctx, number, answer),
        }
    }

    fn answer(&self, ask: &Ask) -> Option<Answer> {
        let rows = &self.disk.rows;
        Some(match ask {
            Ask::Head(process) => Answer::Head(rows.head(process).map(head_of)),
            Ask::Range(process, from, to) => {
                let slots = rows.slots.get(process).into_iter().flat_map(|slots| slots.range(from..=to));
                Answer::Range(slots.map(|(_, record)| record.to_wire()).collect())
            }
            Ask::Attestations(process, position) => {
                let said = rows.attestations.get(&(*process, *position)).into_iter().flatten();
                Answer::Attestations(said.map(|(_, said)| said.to_wire()).collect())
            }
            Ask::Submit(..) | Ask::Now(..) => return None,
        })
    }

    fn answered(&mut self, ctx: &mut Ctx<'_, '_>, number: u64, answer: Answer) {
        // The request may be of a life before, or answered already.
        let Some(rpc) = self.roles.rpcs.remove(&number) else { return };
        match (rpc, answer) {
            (Rpc::Head(process, peer), Answer::Head(Some(head))) => self.hear_head(ctx, process, peer, &head),
            (Rpc::Range(process, peer, from, to), Answer::Range(slots)) => {
                self.hear_range(ctx, (process, peer, from, to), &slots);
            }
            (Rpc::Now(process), Answer::Head(head)) => self.kept_time(process, head.is_some()),
            (Rpc::Attestations, Answer::Attestations(said)) => {
                said.iter().for_each(|said| self.hear_attestation(ctx, said));
            }
            (Rpc::Tried { is_false }, Answer::Submit(became)) => ctx.checker.tried(is_false, &became),
            (Rpc::Adopt(child), Answer::Range(slots)) => self.hear_child(ctx, child, &slots),
            (Rpc::Push(pushing, item), Answer::Submit(Ok(assigned))) => {
                let signed = DataItem::verify_bytes(assigned.signed.clone()).ok();
                if signed.is_some_and(|signed| Some(signed.owner()) == pushing.scheduler(ctx.town)) {
                    self.pushed(ctx, &pushing, &assigned, item);
                } else {
                    self.roles.rpcs.insert(number, Rpc::Push(pushing, item));
                    self.timeout(number);
                }
            }
            (Rpc::Push(pushing, _), Answer::Submit(Err(why))) => {
                let outcome = super::roles::outcome_of(why);
                self.roles.messenger.hear(Carried::Pushed { push_id: pushing.entry.push_id, outcome });
            }
            _ => {}
        }
    }
}
