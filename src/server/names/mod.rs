//! Where trunks are: their peers' names, looked up by a thread of its own as often as DNS says.
//!
//! No call waits for a name: the engine is told of addresses, and works with those that it knows.

mod book;
mod locate;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cooee_model::moment::Moment;
use cooee_signalling::call::peers::Place;
use cooee_signalling::leg::dialog::Local;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::plan::{Peer, Plan};
use cooee_signalling::switch::input::Input;
use cooee_telemetry::Telemetry;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::book::{Book, News};
use self::locate::{Found, Reach, directory, locate};
use crate::clock;
use crate::error::Error;
use crate::inbox::Inbox;
use crate::streams::tls::Hosts;

/// How long the start of a node waits for its first names. Calls of before a crash wait too.
const START: Duration = Duration::from_secs(1);

/// Orders that wait.
const ORDERS: usize = 16;

/// Whom the look-ups serve.
pub(crate) struct Readers {
    /// The engine.
    pub(crate) inbox: Inbox,
    /// Whom peers by TLS must prove to be.
    pub(crate) hosts: Hosts,
    /// Look-ups are counted here.
    pub(crate) telemetry: Arc<Telemetry>,
}

/// The addresses of each trunk of a plan, by its place.
type Answer = oneshot::Sender<Vec<Vec<Place>>>;

/// Since when an answer that each trunk rests on is past its time, by the trunk's name.
type Overdue = Vec<(String, Option<Moment>)>;

enum Order {
    /// Looks the names of a plan up that may come into force, by these nameservers from now on.
    Look(Arc<Plan>, Vec<SocketAddr>, Answer),
    /// Works for this plan from now on.
    Serve(Arc<Plan>),
}

/// The thread that looks names up; it ends with this.
pub(crate) struct Names {
    orders: mpsc::Sender<Order>,
    overdue: Arc<Mutex<Overdue>>,
    unreachable: Arc<AtomicBool>,
}

impl Names {
    /// Starts to look up, and waits a while for the first answers.
    pub(crate) fn start(
        plan: &Arc<Plan>,
        nameservers: &[SocketAddr],
        locals: &[Local],
        readers: Readers,
    ) -> Result<Self, Error> {
        let (orders, taken) = mpsc::channel(ORDERS);
        let (overdue, unreachable) = (Arc::default(), Arc::default());
        let desk = Desk {
            plan: Arc::clone(plan),
            nameservers: nameservers.to_vec(),
            reach: Reach::of(locals),
            book: Book::default(),
            tasks: JoinSet::new(),
            asked: None,
            readers,
            overdue: Arc::clone(&overdue),
            unreachable: Arc::clone(&unreachable),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ready, first) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("names".to_owned()).spawn(move || {
            runtime.block_on(desk.work(taken, ready));
        })?;
        // Calls may come before names are known: they are refused meanwhile.
        let _ = first.recv_timeout(START);
        Ok(Self { orders, overdue, unreachable })
    }

    /// The addresses of each trunk of a plan that is to come into force: all names are looked up,
    /// which takes some seconds at most.
    pub(crate) fn look(&self, plan: &Arc<Plan>, nameservers: &[SocketAddr]) -> Vec<Vec<Place>> {
        let (answer, found) = oneshot::channel();
        let order = Order::Look(Arc::clone(plan), nameservers.to_vec(), answer);
        let sent = self.orders.try_send(order).is_ok();
        found.blocking_recv().ok().filter(|_| sent).unwrap_or_default()
    }

    /// This plan is in force now.
    pub(crate) fn serve(&self, plan: &Arc<Plan>) {
        let _ = self.orders.try_send(Order::Serve(Arc::clone(plan)));
    }

    /// Set while calls can be sent to no trunk.
    pub(crate) fn unreachable(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.unreachable)
    }

    /// For how long the names of each trunk rest on an answer that is past its time; 0: on none.
    pub(crate) fn overdue(&self, now: Moment) -> Vec<(String, u64)> {
        let overdue = self.overdue.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |since: &Option<Moment>| since.map_or(0, |since| now.since(since).as_secs());
        overdue.iter().map(|(trunk, since)| (trunk.clone(), age(since))).collect()
    }
}

struct Desk {
    plan: Arc<Plan>,
    nameservers: Vec<SocketAddr>,
    reach: Reach,
    book: Book,
    tasks: JoinSet<(Peer, Result<Found, String>)>,
    asked: Option<(Arc<Plan>, Answer)>,
    readers: Readers,
    overdue: Arc<Mutex<Overdue>>,
    unreachable: Arc<AtomicBool>,
}

impl Desk {
    async fn work(mut self, mut orders: mpsc::Receiver<Order>, ready: std::sync::mpsc::Sender<()>) {
        let mut ready = Some(ready);
        self.publish();
        self.begin(&Arc::clone(&self.plan), false);
        loop {
            if self.book.is_settled(&self.plan) {
                drop(ready.take());
            }
            self.answer();
            let wait = self.book.wait(clock::now()).unwrap_or(locate::TTL.1);
            tokio::select! {
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Look(plan, nameservers, answer)) => {
                        self.nameservers = nameservers;
                        self.begin(&plan, true);
                        self.asked = Some((plan, answer));
                    }
                    Some(Order::Serve(plan)) => {
                        self.plan = plan;
                        self.book.keep(&self.plan);
                        (0..self.plan.trunks.len()).for_each(|trunk| self.tell(trunk));
                        self.publish();
                    }
                },
                Some(done) = self.tasks.join_next() => {
                    match done {
                        Ok((peer, found)) => self.found(&peer, found),
                        Err(_) => self.book.give_up(clock::now()),
                    }
                }
                () = sleep(wait) => self.begin(&Arc::clone(&self.plan), false),
            }
        }
    }

    /// Begins what is due. The files of the system are read each time: they may have changed.
    fn begin(&mut self, plan: &Plan, all: bool) {
        let due = self.book.due(plan, clock::now(), all);
        if due.is_empty() {
            return;
        }
        let directory = directory(&self.nameservers);
        for peer in due {
            match &directory {
                Ok(directory) => {
                    let search = locate(directory.clone(), self.reach.clone(), peer.clone());
                    self.tasks.spawn(async move { (peer, search.await) });
                }
                Err(error) => self.found(&peer, Err(error.to_string())),
            }
        }
    }

    fn found(&mut self, peer: &Peer, found: Result<Found, String>) {
        let count = match &found {
            Ok(found) if found.lacking.is_none() => &self.readers.telemetry.names.found,
            _ => &self.readers.telemetry.names.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let news = self.book.note(clock::now(), peer, found);
        // Before the engine may call there: its certificate is judged by this name.
        for place in self.book.of(peer).iter().filter(|p| p.transport == Transport::Tls) {
            self.readers.hosts.learn(&place.host, place.address);
        }
        let is_literal = peer.host.parse::<std::net::IpAddr>().is_ok();
        let places =
            self.book.of(peer).iter().map(|p| format!("{}:{}", p.transport.name(), p.address));
        let places = places.collect::<Vec<_>>().join(" ");
        match news {
            News::Moved if !is_literal => {
                tracing::info!(name = peer.host, places, "a name leads to")
            }
            News::Failing(why) => {
                tracing::warn!(name = peer.host, why, kept = places, "a name cannot be looked up");
            }
            _ => {}
        }
        for trunk in 0..self.plan.trunks.len() {
            let of_it =
                self.plan.trunks.get(trunk).is_some_and(|t| book::peers(t).any(|p| p == peer));
            if of_it {
                self.tell(trunk);
            }
        }
        self.publish();
    }

    /// Tells the engine where a trunk is. Nothing is said where nothing is known. What was said
    /// before is said again: the addresses in use stay believed as sources.
    fn tell(&self, trunk: usize) {
        let Some(settings) = self.plan.trunks.get(trunk) else { return };
        let peers = self.book.places(settings);
        if !peers.is_empty() {
            let revision = self.plan.revision;
            self.readers.inbox.push(Input::Peers { revision, trunk, peers });
        }
    }

    /// Tells the shell how the names of the plan in force stand.
    fn publish(&self) {
        let mut called =
            self.plan.trunks.iter().filter(|t| book::peers(t).next().is_some()).peekable();
        let wanted = called.peek().is_some();
        let found = called.any(|trunk| !self.book.places(trunk).is_empty());
        self.unreachable.store(wanted && !found, Ordering::Relaxed);
        let overdue =
            |t: &cooee_signalling::profile::plan::Trunk| (t.name.clone(), self.book.overdue(t));
        let overdue = self.plan.trunks.iter().map(overdue).collect();
        *self.overdue.lock().unwrap_or_else(PoisonError::into_inner) = overdue;
    }

    /// Answers who asked for a plan's addresses, when they are there.
    fn answer(&mut self) {
        if let Some((plan, answer)) = self.asked.take_if(|(plan, _)| self.book.is_settled(plan)) {
            let _ = answer.send(plan.trunks.iter().map(|t| self.book.places(t)).collect());
        }
    }
}
