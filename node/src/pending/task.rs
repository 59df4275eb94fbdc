//! Performs what the rules of waiting messages want: offers to this node's scheduler, questions to peers, work for
//! postage, and what is said on topics.

mod errands;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_net::Peer;
use weft_protocol::postage::Postage;
use weft_protocol::{Effects, Id, Machine as _};
use weft_storage::{StoreError, Write};

use self::errands::Done;
use super::machine::asks::{self, Asks};
use super::machine::letters::{self, End, Letter, Letters, Tried};
use super::machine::{Effect, Input};
use super::{Body, Command, NoLetter, PendingInbox, Shown, mining};
use crate::error::NodeError;
use crate::metrics::Level;
use crate::news::News;
use crate::shared::SharedRef;
use crate::submit::Submitter;
use crate::supervisor::joined;

/// How often time passes.
const TICK: Duration = Duration::from_millis(500);
/// What starts the name of the setting that holds a letter; the id of its item follows.
const SETTING: &str = "letter/";

/// The loop.
pub struct PendingTask {
    shared: SharedRef,
    submitter: Submitter,
    inbox: mpsc::Receiver<Command>,
    asks: Asks<Peer>,
    letters: Letters,
    /// Logs that grew since time last passed, of which something waits.
    grown: BTreeSet<Id>,
    errands: JoinSet<Done>,
}

impl PendingTask {
    /// The loop, with the letters that are on disk.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef, submitter: Submitter, inbox: PendingInbox) -> Result<Self, NodeError> {
        // Metrics are a part of what is watched here: they must not keep it alive.
        let weak = Arc::downgrade(&shared);
        shared
            .metrics
            .watch(Level::budget("pending", "messages", move || Some(weak.upgrade()?.pending.held())));
        let mut task = Self {
            shared,
            submitter,
            inbox: inbox.0,
            asks: Asks::default(),
            letters: Letters::default(),
            grown: BTreeSet::new(),
            errands: JoinSet::new(),
        };
        for (item, letter) in task.on_disk()? {
            task.run_letters_at_start(letters::Input::Recover(item, letter));
        }
        Ok(task)
    }

    fn on_disk(&self) -> Result<Vec<(Id, Letter)>, StoreError> {
        let reader = self.shared.store.read()?;
        let mut letters = Vec::new();
        for name in reader.setting_names(SETTING)? {
            let item = name.strip_prefix(SETTING).and_then(|id| id.parse().ok());
            let letter = reader.setting(&name)?.and_then(|value| serde_json::from_slice(&value).ok());
            letters.extend(item.zip(letter));
        }
        Ok(letters)
    }

    /// Nothing is asked for before the loop runs.
    fn run_letters_at_start(&mut self, input: letters::Input) {
        self.letters.handle(input, self.shared.clock.now(), &mut Effects::new());
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(command) = self.inbox.recv() => self.command(command).await,
                Some(done) = self.errands.join_next() => {
                    if let Some(done) = joined(done) {
                        self.done(done).await;
                    }
                }
                heard = news.recv() => match heard {
                    Ok(news) => self.news(&news),
                    Err(RecvError::Lagged(_)) => self.grown.extend(self.of_interest()),
                    Err(RecvError::Closed) => break,
                },
                _ = tick.tick() => self.tick().await,
            }
        }
        self.errands.shutdown().await;
    }

    /// The processes of which something waits, or is sent.
    fn of_interest(&self) -> Vec<Id> {
        let mut all: Vec<Id> = self.shared.pending.pools().processes().collect();
        all.extend(self.letters.processes());
        all
    }

    fn news(&mut self, news: &News) {
        match news {
            News::Grew { process, .. } => {
                self.shared.pending.signers.grew(process);
                let waits = self.shared.pending.held_of(process) > 0;
                if waits || self.letters.processes().any(|of| of == *process) {
                    self.grown.insert(*process);
                }
            }
            News::Hosted { process } if self.shared.directory.roles(process).is_none() => {
                self.run_pools(Input::Drop(*process));
            }
            _ => {}
        }
    }

    async fn tick(&mut self) {
        for process in std::mem::take(&mut self.grown) {
            if let Err(error) = self.take_out(process).await {
                tracing::error!(%process, %error, "whether messages have their slots cannot be read");
            }
        }
        self.run_pools(Input::Tick);
        self.run_asks(asks::Input::Tick);
        self.run_letters(letters::Input::Tick).await;
    }

    /// Lets go what has its slot by now.
    async fn take_out(&mut self, process: Id) -> Result<(), StoreError> {
        let reader = self.shared.store.read()?;
        let held = self.shared.pending.waiting(Some(process), usize::MAX, self.shared.clock.now());
        for (_, waiting) in held {
            if reader.slot_of_item(&process, &waiting.item)?.is_some() {
                self.run_pools(Input::Assigned { process, item: waiting.item });
            }
        }
        let mut slots = Vec::new();
        for item in self.letters.items_of(&process) {
            slots.extend(reader.slot_of_item(&process, &item)?.map(|slot| (item, slot)));
        }
        drop(reader);
        for (item, slot) in slots {
            self.run_letters(letters::Input::Tried(item, Tried::Slot(slot))).await;
        }
        Ok(())
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Shared { process, peer } => {
                let roles = self.shared.directory.roles(&process);
                let is_mine = roles.is_some_and(|roles| roles.schedules);
                self.run_asks(asks::Input::Shared { process, peer, is_mine });
            }
            Command::Gone(peer) => self.run_asks(asks::Input::Gone(peer)),
            Command::Send(item, letter, why, reply) => {
                let sent = self.send(item, letter, why).await;
                // Who asked may have gone; the message is sent all the same.
                let _ = reply.send(sent);
            }
            Command::Show(reply) => {
                let _ = reply.send(self.letters.shown());
            }
        }
    }

    /// Begins to send a message, once it is on disk.
    async fn send(&mut self, item: Id, letter: Letter, why: String) -> Result<Shown, NoLetter> {
        let mut effects = Effects::new();
        self.letters.handle(letters::Input::Send(item, letter, why), self.shared.clock.now(), &mut effects);
        for effect in effects.drain().collect::<Vec<_>>() {
            if let letters::Effect::Keep(item, letter) = &effect {
                if let Err(error) = self.shared.store.write(vec![keep(item, letter)]).await {
                    self.run_letters(letters::Input::Unkept(*item)).await;
                    return Err(error.into());
                }
            } else {
                self.perform(effect).await;
            }
        }
        let on_way = |shown: &Shown| shown.item == item && shown.end.is_none();
        self.letters.shown().into_iter().find(on_way).ok_or(NoLetter::TooMany)
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Offered { process, item, is_settled } => {
                self.run_pools(Input::Offered { process, item, is_settled });
            }
            Done::Asked(peer, answered) => self.run_asks(match answered {
                Some(count) => asks::Input::Answered(peer, count),
                None => asks::Input::Silent(peer),
            }),
            Done::Mined { item, nonce } => self.run_letters(letters::Input::Mined { item, nonce }).await,
            Done::Said { item, is_heard } => self.run_letters(letters::Input::Said { item, is_heard }).await,
            Done::Tried(item, tried) => self.run_letters(letters::Input::Tried(item, tried)).await,
        }
    }

    fn run_pools(&mut self, input: Input) {
        for Effect::Offer { process, item, body } in self.shared.pending.run(input, self.shared.clock.now()) {
            let submitter = self.submitter.clone();
            self.errands.spawn(errands::offer(submitter, process, item, body));
        }
    }

    fn run_asks(&mut self, input: asks::Input<Peer>) {
        let mut effects = Effects::new();
        self.asks.handle(input, self.shared.clock.now(), &mut effects);
        for asks::Effect::Ask(peer, processes) in effects.drain() {
            self.errands.spawn(errands::ask(SharedRef::clone(&self.shared), peer, processes));
        }
    }

    async fn run_letters(&mut self, input: letters::Input) {
        let mut effects = Effects::new();
        self.letters.handle(input, self.shared.clock.now(), &mut effects);
        let effects: Vec<letters::Effect> = effects.drain().collect();
        for effect in effects {
            self.perform(effect).await;
        }
    }

    async fn perform(&mut self, effect: letters::Effect) {
        match effect {
            letters::Effect::Keep(item, letter) => {
                self.write(item, keep(&item, &letter)).await;
            }
            letters::Effect::Mine { item, process, bits, start } => {
                let postage = Postage::new(self.shared.network, process, item);
                self.errands.spawn(async move {
                    Done::Mined { item, nonce: mining::mine(postage, bits, start).await }
                });
            }
            letters::Effect::Say(item, letter) => {
                self.errands.spawn(errands::say(SharedRef::clone(&self.shared), item, letter));
            }
            letters::Effect::Try(item, letter) => {
                self.errands.spawn(errands::submit(self.submitter.clone(), item, letter));
            }
            letters::Effect::Over(item, letter, end) => {
                self.write(item, Write::DropSetting { name: setting(&item) }).await;
                self.tell_end(item, &letter, &end);
            }
        }
    }

    /// That the disk does not take it costs no more than that a restart forgets the message.
    async fn write(&self, item: Id, write: Write) {
        if let Err(error) = self.shared.store.write(vec![write]).await {
            tracing::warn!(%item, %error, "how far a message is on its way was not written down");
        }
    }

    fn tell_end(&self, item: Id, letter: &Letter, end: &End) {
        let process = letter.process;
        match end {
            End::Slot(slot) => tracing::info!(%item, %process, slot, "a message that waited has its slot"),
            End::GivenUp(why) => {
                tracing::warn!(%item, %process, why, "a message is sent no more; it may still get a slot");
                let text = format!("message {item} of this node is sent no more: {why}");
                self.shared.news.tell(News::Alarm { process, text });
            }
        }
    }
}

/// Puts a letter on disk.
fn keep(item: &Id, letter: &Letter) -> Write {
    let value = serde_json::to_vec(letter).unwrap_or_default();
    Write::Setting { name: setting(item), value: Bytes::from(value) }
}

fn setting(item: &Id) -> String {
    format!("{SETTING}{item}")
}

/// The body of a letter that has its nonce.
fn body(letter: &Letter) -> Option<Arc<Body>> {
    use base64::Engine as _;
    let item = base64::engine::general_purpose::STANDARD.decode(&letter.item).ok()?;
    Some(Arc::new(Body { item: item.into(), proof: Bytes::new(), nonce: letter.nonce? }))
}

#[cfg(test)]
mod tests;
