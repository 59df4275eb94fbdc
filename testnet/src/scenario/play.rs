//! One scenario from its first peer to its last judgement.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use futures::future::{join, try_join_all};
use weft_node::control::api::Request;
use weft_node::control::client::ANSWER_WAIT;
use weft_protocol::{Address, Id, Network};

use super::absences::Absences;
use super::cast;
use super::deeds::{DeedError, Hand, with_late};
use super::file::{Load as Wanted, Scenario, Step as Deed};
use super::hops;
use super::measure::{Figures, Metrics, percentile};
use super::pay;
use super::rogues::{Rogues, liar_address};
use crate::check::{Open, Step};
use crate::crash::evidence::{Final, Sightings};
use crate::crash::load::{self, Field, Load, Mix};
use crate::crash::{judge, nothing, observe, settle, sighted};
use crate::error::TestnetError;
use crate::fleet::{Fleet, Launch};
use crate::guard::Guard;
use crate::node::Door;
use crate::screen::Screen;
use crate::town::{Actor, Town, Trouble};
use crate::user::User;
use crate::visit::resident_kib;

/// Processes that the observer watches on every node that holds them: a node serves 64 connections.
const WATCHED: usize = 8;

/// Items of one client at most: a day of the soak's, of which each reply is kept until the end.
const ITEMS_MAX: usize = 250_000;

/// A scenario under way.
pub(super) struct Play<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) seed: u64,
    pub(super) user: &'a User,
    pub(super) launch: Launch,
    pub(super) screen: Screen,
    pub(super) steps: Vec<Step>,
    pub(super) figures: Figures,
    pub(super) finals: Vec<Final>,
    /// When peers were away.
    absences: Absences,
    /// The process whose slots a rogue signs a second time.
    pub(super) wronged: Option<Id>,
    /// The attestor who lies.
    pub(super) liar: Option<Address>,
    /// Where the processes pay, if they are in hard mode.
    ledger: Option<Actor>,
}

impl<'a> Play<'a> {
    pub(super) fn new(
        (scenario, seed): (&'a Scenario, u64),
        user: &'a User,
        launch: Launch,
        screen: Screen,
    ) -> Self {
        let (steps, figures, finals, absences) = Default::default();
        let (wronged, liar, ledger) = (None, None, None);
        Self { scenario, seed, user, launch, screen, steps, figures, finals, absences, wronged, liar, ledger }
    }

    /// Plays it. A step that cannot be done ends it.
    ///
    /// # Errors
    /// What kept the peers from coming up at all.
    pub(super) async fn all(&mut self, fleet: &mut Fleet, guard: &mut Guard) -> Result<(), TestnetError> {
        self.start(fleet).await?;
        let liar = (self.scenario.processes.get_ref().liars > 0).then(|| liar_address(self.seed));
        self.liar = liar;
        let Some(actors) = self.spawn(fleet, liar).await else { return Ok(()) };
        let doors = fleet.doors();
        let watched: Vec<Id> = actors.iter().take(WATCHED).map(|actor| actor.id).collect();
        let seen = RefCell::new(Sightings::among_liars(liar.into_iter().collect()));
        tokio::select! {
            () = observe::watch(&doors, &watched, &seen) => {}
            ended = self.watched((fleet, guard), &actors, &doors, &seen) => ended?,
        }
        Ok(())
    }

    async fn start(&mut self, fleet: &mut Fleet) -> Result<(), TestnetError> {
        let since = Instant::now();
        let first = self.scenario.first();
        let mut open = Open::new("peers");
        let bar = self.screen.bar("starting nodes", first);
        fleet.start_until(&self.launch, first, |up| bar.set(up)).await?;
        let least = fleet.healthy(|_| ()).await?;
        drop(bar);
        let links = fleet.plan().links(first);
        open.that("connections of each node", format!("at least {links}"), least, least >= links);
        self.figures.insert("up-ms", ms(since));
        self.close(open, format!("{first} peers are up, each connected to {least} or more"));
        Ok(())
    }

    async fn spawn(&mut self, fleet: &Fleet, liar: Option<Address>) -> Option<Vec<Actor>> {
        let town = Town { fleet, user: self.user, sender: 0 };
        let mut open = Open::new("spawn");
        let busy = self.screen.spinner("spawning processes");
        let founded = self.found(&town, liar, &mut open).await;
        drop(busy);
        match founded {
            Ok((actors, ledger)) => {
                self.ledger = ledger;
                let by = self.scenario.processes.get_ref().computed_by;
                self.close(open, format!("{} processes, each computed by {by} peers", actors.len()));
                Some(actors)
            }
            Err(trouble) => {
                open.broke(town.explain(trouble));
                self.close(open, "could not be done".to_owned());
                None
            }
        }
    }

    /// The processes under load, and the ledger where they pay.
    async fn found(
        &self,
        town: &Town<'_>,
        liar: Option<Address>,
        open: &mut Open,
    ) -> Result<(Vec<Actor>, Option<Actor>), Trouble> {
        let ledger = pay::found(town, self.scenario, open).await?;
        let terms = ledger.as_ref().map(|ledger| pay::terms(ledger, self.scenario)).unwrap_or_default();
        let actors = cast::found(town, self.scenario, liar, &terms, open).await?;
        if let Some(ledger) = &ledger {
            pay::fund(town, ledger, &actors, open).await?;
        }
        Ok((actors, ledger))
    }

    async fn watched(
        &mut self,
        (fleet, guard): (&mut Fleet, &mut Guard),
        actors: &[Actor],
        doors: &[Door],
        seen: &RefCell<Sightings>,
    ) -> Result<(), TestnetError> {
        let mut rogues = Rogues::new(self.seed);
        let Some(load) = self.steps_and_load((fleet, guard), actors, doors, &mut rogues).await? else {
            return Ok(());
        };
        rogues.let_go();
        let since = Instant::now();
        let town = Town { fleet, user: self.user, sender: 0 };
        let doors = fleet.doors();
        let peers = fleet.nodes().len();
        let actors = with_late(actors, self.scenario.first(), peers);
        let holders = |actor: &Actor| cast::holders(actor, self.scenario, peers);
        let mut open = Open::new("settle");
        let busy = self.screen.spinner("waiting until all have everything");
        let finals = settle::settle(&town, &doors, &actors, &holders).await;
        drop(busy);
        let finals = match finals {
            Ok(finals) => finals,
            Err(trouble) => {
                open.broke(town.explain(trouble));
                self.close(open, "could not be done".to_owned());
                let mut open = Open::new("slots");
                sighted(&mut open, &seen.borrow());
                self.close(open, "what the peers showed before".to_owned());
                return Ok(());
            }
        };
        self.figures.insert("settle-ms", ms(since));
        open.equal("processes that all have whole", &actors.len(), &finals.len());
        self.close(open, "all have computed everything, and nothing is under way".to_owned());
        self.judge(&load, &finals, &seen.borrow());
        let told = rogues.end(&town).await;
        self.wronged = rogues.victim();
        self.figures.extend(told);
        self.measure(&load, &finals, fleet);
        let network = Network::of_name(&fleet.node(0).ready().network);
        let carriers = cast::carriers(fleet, self.scenario, &actors);
        let away = |carrier: &Address, from: u64, to: u64| {
            let node = fleet.nodes().iter().position(|node| node.ready().address == *carrier);
            node.is_some_and(|node| self.absences.was_away(node, from, to))
        };
        let messengers = rogues.messengers();
        let addresses: Vec<Address> = messengers.iter().map(|(_, address)| *address).collect();
        let mut hops = hops::figures(network, &finals, &carriers, away, &addresses);
        if let Some(ledger) = &self.ledger {
            hops.retain(|figure, _| !hops::RANKED.contains(figure));
            let mut open = Open::new("pay");
            match pay::figures(&town, ledger, &finals, &messengers).await {
                Ok(figures) => hops.extend(figures),
                Err(trouble) => open.broke(town.explain(trouble)),
            }
            self.close(open, "what the logs and the ledger say of who carried".to_owned());
        }
        self.figures.extend(hops);
        self.expect(fleet).await;
        self.finals = finals;
        Ok(())
    }

    /// Does the steps while clients work, takes all faults back, and waits until each item has its
    /// reply.
    async fn steps_and_load(
        &mut self,
        (fleet, guard): (&mut Fleet, &mut Guard),
        actors: &[Actor],
        doors: &[Door],
        rogues: &mut Rogues,
    ) -> Result<Option<Load>, TestnetError> {
        let mut open = Open::new("steps");
        let Wanted { clients, rate, bytes, pushes, failures } = *self.scenario.load.get_ref();
        let processes: Vec<Id> = actors.iter().map(|actor| actor.id).collect();
        let over = Cell::new(false);
        let rest_ms = 2_000 * clients as u64 / u64::from(rate.max(1));
        let mix = Mix { bytes, pushes, failures };
        let (user, items_max) = (self.user, ITEMS_MAX);
        let field = Field { user, processes: &processes, doors, rest_ms, mix, items_max, over: &over };
        let since = Instant::now();
        let launch = self.launch.clone();
        let hand = Hand::new((self.scenario, self.seed), fleet, guard, (self.user, &launch), actors);
        let deeds = async {
            let done = self.deeds(hand, rogues, &mut open).await;
            over.set(true);
            done
        };
        let clients = (0..clients as u64).map(|at| load::client(field, self.seed.wrapping_add(1 + at)));
        let (done, loads) = join(deeds, try_join_all(clients)).await;
        let load = match (done, loads) {
            (Ok((figures, absences)), Ok(loads)) => {
                self.figures.extend(figures);
                self.absences = absences;
                Load::sum(loads)
            }
            (Err(error), _) => {
                open.broke(error);
                self.close(open, "a step could not be done".to_owned());
                return Ok(None);
            }
            (_, Err(error)) => {
                open.broke(error);
                self.close(open, "items cannot be signed".to_owned());
                return Ok(None);
            }
        };
        self.figures.insert("load-ms", ms(since));
        open.same("items without a reply, or refused", &Vec::new(), &load.wrong);
        open.equal("clients that stopped at the most that they may sign", &0, &load.stopped);
        open.that("replies", "more than none", load.given.len(), !load.given.is_empty());
        let steps = self.scenario.steps.len();
        let said = format!("{steps} steps; {} messages, {} replies", load.items, load.given.len());
        self.close(open, said);
        Ok(Some(load))
    }

    async fn deeds(
        &self,
        mut hand: Hand<'_>,
        rogues: &mut Rogues,
        open: &mut Open,
    ) -> Result<(Figures, Absences), DeedError> {
        for step in &self.scenario.steps {
            let step = step.get_ref();
            let busy = self.screen.spinner(&step.to_string());
            match step {
                Deed::Rogue(rogue) => {
                    let town = Town { fleet: hand.fleet, user: self.user, sender: 0 };
                    let processes = (hand.actors, self.ledger.as_ref());
                    rogues.start(*rogue, &town, processes, hand.scenario).await?;
                }
                Deed::Until(until) => rogues.until(until, open).await,
                Deed::Settle(_) => {
                    hand.mend().await?;
                    // The load goes on, so the logs are never whole: what was there before must be.
                    hand.caught_up().await?;
                }
                _ => hand.step(step).await?,
            }
            drop(busy);
        }
        hand.mend().await?;
        Ok((hand.figures, hand.absences))
    }

    /// What holds for every scenario.
    fn judge(&mut self, load: &Load, finals: &[Final], seen: &Sightings) {
        let mut open = Open::new("replies");
        nothing(&mut open, "replies that logs do not bear out", &judge::lost_replies(&load.given, finals));
        self.close(open, format!("{} replies, each of them true in every log", load.given.len()));
        let mut open = Open::new("slots");
        sighted(&mut open, seen);
        nothing(&mut open, "slots that were shown and are gone", &judge::lost_slots(seen, finals));
        nothing(&mut open, "holes and doubles in logs", &judge::unsound_logs(finals));
        if self.liar.is_some() {
            self.figures.insert("convictions", seen.convictions as f64);
        }
        let slots: usize = finals.iter().map(|known| known.log().len()).sum();
        self.close(open, format!("{slots} slots, one for each message; nothing was shown in two ways"));
        let mut open = Open::new("pushes");
        nothing(&mut open, "pushes that went astray", &judge::misled_pushes(finals));
        let pushes: usize = finals.iter().map(|known| known.came.len()).sum();
        self.close(open, format!("{pushes} messages between processes, each in its target exactly once"));
        let mut open = Open::new("compare");
        nothing(&mut open, "differences", &judge::differences(finals));
        self.close(open, "equal logs on all, equal state roots on all that compute".to_owned());
    }

    fn measure(&mut self, load: &Load, finals: &[Final], fleet: &Fleet) {
        let mut waits = load.waits_ms.clone();
        waits.sort_by(f64::total_cmp);
        self.figures.insert("items", load.items as f64);
        self.figures.insert("tries", load.tries as f64);
        self.figures.insert("replies", load.given.len() as f64);
        for (name, hundredth) in [("reply-p50-ms", 50), ("reply-p99-ms", 99)] {
            if let Some(wait) = percentile(&waits, hundredth) {
                self.figures.insert(name, wait);
            }
        }
        self.figures.insert("slots", finals.iter().map(|known| known.log().len()).sum::<usize>() as f64);
        self.figures.insert("pushes", finals.iter().map(|known| known.came.len()).sum::<usize>() as f64);
        let memory = fleet.nodes().iter().filter_map(|node| resident_kib(node.ready().pid)).max();
        if let Some(kib) = memory {
            self.figures.insert("resident-most-mib", kib as f64 / 1024.0);
        }
        let seconds = self.figures.get("load-ms").copied().unwrap_or_default() / 1000.0;
        if seconds > 0.0 {
            self.figures.insert("replies-a-second", load.given.len() as f64 / seconds);
        }
        for figure in ["kills", "restarts", "wipes", "joins"] {
            self.figures.entry(figure).or_default();
        }
    }

    /// What this scenario expects.
    async fn expect(&mut self, fleet: &Fleet) {
        let mut open = Open::new("expect");
        let mut metrics = Vec::new();
        for node in fleet.nodes() {
            match node.ask_within::<String>("its metrics", &Request::Metrics, ANSWER_WAIT).await {
                Ok(text) => metrics.push(Metrics::read(&text)),
                Err(error) => open.broke(error),
            }
        }
        self.figures.extend(hops::stages(&metrics));
        for expect in &self.scenario.expect {
            expect.get_ref().judge(&self.figures, &metrics, &mut open);
        }
        open.equal("peers that tell their metrics", &fleet.nodes().len(), &metrics.len());
        self.close(open, format!("{} expectations", self.scenario.expect.len()));
    }

    fn close(&mut self, open: Open, said: String) {
        let step = open.close(said);
        self.screen.step(&step);
        self.steps.push(step);
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
