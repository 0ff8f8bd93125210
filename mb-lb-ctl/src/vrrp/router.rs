//! The task of one virtual router: the machine with its sockets, its addresses and its announcements.
//!
//! ```text
//!   adverts (raw sockets) ------.
//!   address changes (netlink) --+--> task: machine --> adverts, addresses (netlink), announcements (packet socket)
//!   claims (guardian) ----------+                 \--> Report (mpsc): what happened
//!   link changes (watch) -------+                  \-> RouterView (watch): what is
//!   Command (mpsc) -------------'
//! ```
//!
//! What was received is looked at before the deadline: after a freeze, news come first. The task can be cancelled at any
//! point: the addresses then end with their lease.
//!
//! The machine's clock is [`clock`], which also runs while the host sleeps: a peer takes over meanwhile.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::Instance;
use super::clock::clock;
use super::judge::{Rejection, Rejections, judge};
use super::machine::{self, Action, Cause, Heard, Machine, Role, Settings, Version};
use super::packet::{Advert, Kind};
use super::resume::{Resume, resumes};
use super::socket::{Received, Sockets};
use super::view::RouterView;
use crate::dataplane::Leases;
use crate::net::{
    self, AddressBook, AddressChange, AddressChanges, Announcer, Claim, Guardian, Interface, Vip,
};

/// How often an interface that is missing or has no address is looked at again.
/// For so long after a takeover the program waits for the other director's word of flows that it does not know. Not longer
/// than a client waits before it sends a packet again (Linux: 200 ms), so that each loses one packet at most.
const PEERS_WORD: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Claims that may wait; the guardian drops and counts what is more.
const CLAIMS: usize = 64;
/// Adverts that are read before anything else is looked at: more than wait in a socket of the kernel's usual size after
/// a freeze. Whoever floods the link does not stop ours.
const IN_A_ROW: u32 = 512;

/// What the router is told.
#[derive(Debug)]
pub enum Command {
    /// Effective priority, 1 to 255, and what else keeps the addresses away from this director.
    Policy {
        priority: u8,
        fault: Option<String>,
        may_preempt: bool,
        /// The peer says by another way that it is active.
        withheld: bool,
    },
    /// Hand over. `aside`: leave a weaker peer alone afterwards.
    Resign { why: String, aside: bool },
    /// Take the addresses at once, if they can be had: the peer has asked for it by another way, or the sync group goes
    /// together.
    TakeOver { why: String },
    /// Give the addresses up at once: the sync group goes together, or two were active and this is the one to go.
    StepDown { why: String },
    /// Hand over, and end. Answered when that is done.
    Leave {
        why: String,
        done: oneshot::Sender<Left>,
    },
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// A peer was heard.
    HandedOver,
    /// The time of the hand-over went by, and nobody was heard.
    NobodyCame,
    /// It was not active, or something came in between.
    Otherwise,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Turned {
        from: Role,
        to: Role,
        cause: Cause,
        /// For a take-over: since the last advert of another director.
        silent: Option<Duration>,
    },
    /// A hand-over came to nothing.
    Stayed,
    /// Another director, or whoever it is, says that it has an address that is ours.
    Claimed { address: IpAddr, mac: [u8; 6] },
    /// Somebody took an address away; it is back.
    Restored(IpAddr),
    /// The first advert of its kind since the last good one.
    Rejected {
        rejection: Rejection,
        source: IpAddr,
    },
    /// The kernel refused something; it is tried again.
    Trouble(String),
}

/// Runs one virtual router until it is told to leave, or `commands` ends. In `Fault` until the first
/// [`Command::Policy`]. `resume` is what is known of an earlier process; `view` begins with [`RouterView::new`], and its
/// readers are woken when more than a count or a time of it has changed. `leases` may come later, with the XDP program.
///
/// # Errors
/// Netlink cannot be opened, or has ended.
pub async fn run(
    instance: Instance,
    resume: Option<Resume>,
    leases: Arc<OnceLock<Leases>>,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Sender<Report>,
    view: watch::Sender<RouterView>,
) -> Result<(), net::Error> {
    let (links, _link_task) = net::watch_interfaces(vec![instance.interface.clone()]).await?;
    let book = AddressBook::open()?;
    let changes = book.watch()?;
    let (claim_sender, claims) = mpsc::channel(CLAIMS);
    let router = Router {
        machine: None,
        attached: None,
        broken: false,
        rejections: Rejections::default(),
        told: BTreeSet::new(),
        heard: None,
        policy: Err("not told yet".to_owned()),
        link: Ok(()),
        priority: instance.priority,
        may_preempt: true,
        withheld: false,
        left: Left::Otherwise,
        start: clock(),
        since: clock(),
        resume,
        view,
        book,
        reports,
        claim_sender,
        leases,
        instance,
    };
    router.live(commands, links, changes, claims).await
}

/// What belongs to an interface as it is now.
struct Attached {
    interface: Interface,
    source: IpAddr,
    sockets: Sockets,
    announcer: Announcer,
    /// Ends when it is dropped.
    _guardian: Guardian,
}

struct Router {
    instance: Instance,
    /// `None` until the interface was there once.
    machine: Option<Machine>,
    attached: Option<Attached>,
    /// The sockets have failed: they are opened anew.
    broken: bool,
    rejections: Rejections,
    /// Rejections that were reported since the last good advert.
    told: BTreeSet<Rejection>,
    /// The last good advert, and when it came; `None` where this one has become active since.
    heard: Option<(Heard, Duration)>,
    /// The fault that the controller sees.
    policy: Result<(), String>,
    /// The fault of the interface.
    link: Result<(), String>,
    priority: u8,
    may_preempt: bool,
    withheld: bool,
    /// What the last change of role was.
    left: Left,
    start: Duration,
    /// When the role began.
    since: Duration,
    resume: Option<Resume>,
    view: watch::Sender<RouterView>,
    book: AddressBook,
    reports: mpsc::Sender<Report>,
    claim_sender: mpsc::Sender<Claim>,
    /// Empty: there is no XDP program (yet).
    leases: Arc<OnceLock<Leases>>,
}

type Links = watch::Receiver<std::collections::BTreeMap<String, Interface>>;

impl Router {
    async fn live(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut links: Links,
        mut changes: AddressChanges,
        mut claims: mpsc::Receiver<Claim>,
    ) -> Result<(), net::Error> {
        let mut leaving: Option<oneshot::Sender<Left>> = None;
        let mut look_at = Instant::now();
        let mut in_a_row = 0;
        loop {
            self.publish();
            let has_left = self
                .machine
                .as_ref()
                .is_none_or(|machine| machine.role() == Role::Init);
            if has_left && let Some(done) = leaving.take() {
                // Whoever asked may have gone.
                let _told = done.send(self.left);
                return Ok(());
            }
            let deadline = self.machine.as_ref().and_then(Machine::next_deadline);
            let due_in = deadline.map(|at| at.saturating_sub(clock()));
            tokio::select! {
                biased;
                received = receive(self.attached.as_ref().filter(|_| !self.broken)), if in_a_row < IN_A_ROW => match received {
                    Ok(received) => {
                        in_a_row += 1;
                        self.on_packet(&received).await;
                        continue;
                    }
                    // The interface has gone down, or away: the links tell.
                    Err(error) => {
                        tracing::debug!(%error, "adverts are not received");
                        self.broken = true;
                        look_at = Instant::now() + LOOK_AGAIN;
                    }
                },
                change = changes.next() => if self.on_address(change?).await {
                    look_at = Instant::now();
                },
                Some(claim) = claims.recv() => self.on_claim(&claim).await,
                changed = links.changed() => {
                    if changed.is_err() {
                        return Err(net::Error::Ended);
                    }
                    look_at = Instant::now();
                }
                () = sleep_until(look_at) => {
                    let link = links.borrow_and_update().get(&self.instance.interface).cloned();
                    look_at = self.look(link).await;
                }
                command = commands.recv() => match command {
                    None => return Ok(()),
                    Some(Command::Policy { priority, fault, may_preempt, withheld }) => {
                        (self.priority, self.may_preempt) = (priority, may_preempt);
                        self.withheld = withheld;
                        self.policy = fault.map_or(Ok(()), Err);
                        look_at = Instant::now();
                    }
                    Some(Command::Resign { why, aside }) => {
                        self.step(|machine, now| machine.resign(&why, aside, now)).await;
                    }
                    Some(Command::TakeOver { why }) => {
                        self.step(|machine, now| machine.take_over(&why, now)).await;
                    }
                    Some(Command::StepDown { why }) => {
                        self.step(|machine, now| machine.step_down(&why, now)).await;
                    }
                    Some(Command::Leave { why, done }) => {
                        leaving = Some(done);
                        self.step(|machine, now| machine.leave(&why, now)).await;
                    }
                },
                () = wait(due_in) => self.step(Machine::on_deadline).await,
                () = std::future::ready(()), if in_a_row >= IN_A_ROW => {}
            }
            in_a_row = 0;
        }
    }

    fn role(&self) -> Role {
        self.machine.as_ref().map_or(Role::Fault, Machine::role)
    }

    fn publish(&self) {
        let view = RouterView {
            role: self.role(),
            since: self.since,
            priority: self
                .machine
                .as_ref()
                .map_or(self.priority, Machine::priority),
            source: self.attached.as_ref().map(|attached| attached.source),
            master: self
                .heard
                .filter(|(heard, _)| self.role() != Role::Active && heard.priority != 0),
            rejections: self.rejections.all().collect(),
            is_leaving: self.machine.as_ref().is_some_and(Machine::is_leaving),
            stands_aside: self.machine.as_ref().is_some_and(Machine::stands_aside),
            fault: self.link.clone().err(),
        };
        self.view.send_if_modified(|old| {
            let is_news = old.differs(&view);
            *old = view;
            is_news
        });
    }

    /// One turn of the machine, and what follows from it.
    async fn step(&mut self, turn: impl FnOnce(&mut Machine, Duration) -> Vec<Action>) {
        let Some(machine) = &mut self.machine else {
            return;
        };
        let actions = turn(machine, clock());
        self.perform(actions).await;
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        let takes_over = |action: &Action| matches!(action, Action::Turned { from, to, .. } if *to == Role::Active && from != to);
        // Before any client can find this director.
        if actions.iter().any(takes_over) {
            self.await_peer();
        }
        for action in actions {
            match action {
                Action::Advertise { priority } => self.advertise(priority),
                Action::Hold => self.hold().await,
                Action::Announce { times } => self.announce(times),
                Action::Release => self.release().await,
                Action::Stayed => self.report(Report::Stayed),
                Action::Turned { from, to, cause } => {
                    self.left = match (from, to, &cause) {
                        (Role::Active, Role::Init, Cause::HandedOver { .. }) => Left::HandedOver,
                        (Role::Active, Role::Init, Cause::Left) => Left::NobodyCame,
                        _ => Left::Otherwise,
                    };
                    let now = clock();
                    self.since = now;
                    let heard = self.heard.take_if(|_| to == Role::Active);
                    let silent = heard.map(|(_, at)| now.saturating_sub(at));
                    self.report(Report::Turned {
                        from,
                        to,
                        cause,
                        silent,
                    });
                }
            }
        }
    }

    /// A reader that does not keep up misses reports, not the election.
    fn report(&self, report: Report) {
        if self.reports.try_send(report).is_err() {
            tracing::warn!("a report of VRRP was lost: nobody reads them");
        }
    }

    fn advertise(&self, priority: u8) {
        let Some(attached) = &self.attached else {
            return;
        };
        let advert = Advert {
            kind: self.instance.kind,
            vrid: self.instance.vrid,
            priority,
            interval: self.instance.interval,
            addresses: self
                .instance
                .addresses
                .iter()
                .map(|&(address, _)| address)
                .collect(),
        };
        // Before it is sent: this process may stand still afterwards.
        let sent_at = clock();
        // A last word is often said because the link is gone.
        if let Err(error) = attached.sockets.send(&advert, self.instance.coverage)
            && priority != 0
        {
            self.report(Report::Trouble(format!("advert not sent: {error}")));
        }
        // Who gives way says a last word too.
        if priority != 0 && self.role() == Role::Active {
            self.grant(sent_at + machine::peers_wait(self.instance.interval));
        }
    }

    /// What the other director knew last may still be on its way.
    fn await_peer(&self) {
        let Some(leases) = self.leases.get() else {
            return;
        };
        if let Err(error) = leases.await_peer(clock() + PEERS_WORD) {
            self.report(Report::Trouble(format!("waiting for flows: {error}")));
        }
    }

    /// The XDP program lets this director be found until then. The kernel's lifetimes of addresses are whole seconds: with
    /// fast adverts a peer takes over sooner.
    fn grant(&self, until: Duration) {
        let Some(leases) = self.leases.get() else {
            return;
        };
        for vip in self.vips() {
            let granted = match self.instance.lease {
                true => leases.grant(vip.address, vip.ifindex, until),
                false => leases.forget(vip.address, vip.ifindex),
            };
            if let Err(error) = granted {
                self.report(Report::Trouble(format!(
                    "lease of {}: {error}",
                    vip.address
                )));
            }
        }
    }

    fn vips(&self) -> Vec<Vip> {
        let Some(attached) = &self.attached else {
            return Vec::new();
        };
        let ifindex = attached.interface.index;
        let vip = |&(address, prefix): &(IpAddr, u8)| Vip {
            address,
            prefix,
            ifindex,
        };
        self.instance.addresses.iter().map(vip).collect()
    }

    async fn hold(&mut self) {
        let lifetime = self
            .instance
            .lease
            .then(|| machine::lease(self.instance.interval));
        for vip in self.vips() {
            if let Err(error) = self.book.hold(&vip, lifetime).await {
                self.report(Report::Trouble(error.to_string()));
            }
        }
        // No advert says so during a hand-over, and the addresses stay until the peer is heard.
        if let Some(until) = self.machine.as_ref().and_then(Machine::leaving_until) {
            self.grant(until);
        }
    }

    async fn release(&mut self) {
        // From now on nobody is sent here, however long the kernel takes.
        if self.instance.lease {
            self.grant(clock());
        }
        for vip in self.vips() {
            if let Err(error) = self.book.release(&vip).await {
                self.report(Report::Trouble(error.to_string()));
                continue;
            }
            if let Some(leases) = self.leases.get()
                && let Err(error) = leases.forget(vip.address, vip.ifindex)
            {
                self.report(Report::Trouble(format!(
                    "lease of {}: {error}",
                    vip.address
                )));
            }
        }
    }

    fn announce(&self, times: u8) {
        let Some(attached) = &self.attached else {
            return;
        };
        for _ in 0..times {
            for &(address, _) in &self.instance.addresses {
                if let Err(error) = attached.announcer.announce(address, attached.interface.mac) {
                    self.report(Report::Trouble(format!("{address} not announced: {error}")));
                }
            }
        }
    }

    async fn on_packet(&mut self, received: &Received) {
        let Some(own) = self.attached.as_ref().map(|attached| attached.source) else {
            return;
        };
        let Some(judgement) = judge(
            &self.instance,
            own,
            &received.message,
            received.ends,
            received.ttl,
        ) else {
            return;
        };
        let (now, source) = (clock(), received.ends.source);
        if let Some(rejection) = judgement.rejection {
            self.rejections.count(rejection, source, now);
            if self.told.insert(rejection) {
                self.report(Report::Rejected { rejection, source });
            }
        } else {
            self.told.clear();
        }
        if let Some(heard) = judgement.heard {
            self.step(|machine, now| machine.on_advert(&heard, now))
                .await;
            self.heard = Some((heard, now));
        }
    }

    /// Whoever took an address of the active director away, is contradicted. True: an address of the director's own has
    /// changed, and adverts may have to come from another one.
    async fn on_address(&mut self, change: AddressChange) -> bool {
        // A lease that has run out while this process was frozen is nobody's doing.
        self.step(Machine::wake).await;
        let vips = self.vips();
        let is_active = self.role() == Role::Active;
        match change {
            AddressChange::Added(vip) => return !vips.contains(&vip),
            AddressChange::Removed(vip) if !vips.contains(&vip) => return true,
            AddressChange::Removed(vip) if is_active => {
                // The news may be of an earlier role.
                let held = self.book.list().await.unwrap_or_default();
                if !held.iter().any(|held| held.vip == vip) {
                    self.hold().await;
                    self.announce(1);
                    self.report(Report::Restored(vip.address));
                }
            }
            AddressChange::Removed(_) => {}
            AddressChange::Resync => {
                if is_active {
                    self.hold().await;
                }
                return true;
            }
        }
        false
    }

    async fn on_claim(&mut self, claim: &Claim) {
        self.step(Machine::on_claim).await;
        let is_leaving = self.machine.as_ref().is_some_and(Machine::is_leaving);
        if self.role() == Role::Active && !is_leaving {
            self.report(Report::Claimed {
                address: claim.address,
                mac: claim.mac,
            });
        }
    }

    /// Looks at the interface and the policy again; when to do so next.
    async fn look(&mut self, link: Option<Interface>) -> Instant {
        let link = self.attach(link).await;
        self.link.clone_from(&link);
        let far = Instant::now() + Duration::from_secs(3600);
        let next = if link.is_ok() {
            far
        } else {
            Instant::now() + LOOK_AGAIN
        };
        if self.machine.is_none() && self.attached.is_some() && self.policy.is_ok() && link.is_ok()
        {
            self.begin().await;
        }
        let fault = link.and(self.policy.clone()).err();
        let (priority, may_preempt, withheld) = (self.priority, self.may_preempt, self.withheld);
        let source = self.attached.as_ref().map(|attached| attached.source);
        self.step(|machine, now| {
            if let Some(source) = source {
                machine.set_source(source);
            }
            machine.set_may_preempt(may_preempt);
            machine.set_withheld(withheld);
            let mut actions = machine.set_priority(priority, now);
            actions.extend(machine.set_fault(fault.as_deref(), now));
            actions
        })
        .await;
        next
    }

    /// Sockets for the interface as it is now, or why there can be none.
    async fn attach(&mut self, link: Option<Interface>) -> Result<(), String> {
        let name = self.instance.interface.clone();
        let link = link.ok_or_else(|| format!("there is no interface {name}"))?;
        if !link.up {
            return Err(format!("{name} is down"));
        }
        let source = self.source(&link).await?;
        let same = |attached: &Attached| {
            attached.interface.index == link.index
                && attached.interface.mac == link.mac
                && attached.source == source
        };
        if !self.broken && self.attached.as_ref().is_some_and(same) {
            return Ok(());
        }
        let failed = |error: std::io::Error| format!("no VRRP on {name}: {error}");
        let sockets = Sockets::open(&name, link.index, source, &self.instance.unicast_peers)
            .map_err(failed)?;
        let announcer = Announcer::open(link.index).map_err(failed)?;
        let (guardian, _task) =
            Guardian::open(link.index, self.claim_sender.clone()).map_err(failed)?;
        let addresses = self.instance.addresses.iter().map(|&(address, _)| address);
        guardian.set(link.mac, addresses.collect());
        self.attached = Some(Attached {
            interface: link,
            source,
            sockets,
            announcer,
            _guardian: guardian,
        });
        self.broken = false;
        Ok(())
    }

    /// Where adverts come from: what the configuration says, else the interface's first own address.
    async fn source(&self, link: &Interface) -> Result<IpAddr, String> {
        let held = self.book.list().await.map_err(|error| error.to_string())?;
        let is_vip = |address| {
            self.instance
                .addresses
                .iter()
                .any(|&(vip, _)| vip == address)
        };
        let is_ipv6 = self.instance.is_ipv6();
        let fits = |address: IpAddr| match address {
            IpAddr::V4(_) => !is_ipv6,
            IpAddr::V6(v6) => is_ipv6 && v6.is_unicast_link_local(),
        };
        let mut own = held
            .iter()
            .filter(|held| held.vip.ifindex == link.index && !held.tagged)
            .map(|held| held.vip.address)
            .filter(|&address| !is_vip(address));
        let found = match self.instance.source {
            Some(wanted) => own.find(|&address| address == wanted),
            None => own.find(|&address| fits(address)),
        };
        found.ok_or_else(|| {
            let wanted = match (self.instance.source, is_ipv6) {
                (Some(address), _) => address.to_string(),
                (None, false) => "IPv4 address".to_owned(),
                (None, true) => "link-local IPv6 address".to_owned(),
            };
            format!("{} has no {wanted} to send adverts from", link.name)
        })
    }

    /// The first time that all is there. What an earlier process left may be its role.
    async fn begin(&mut self) {
        let settings = Settings {
            version: match self.instance.kind {
                Kind::V2(_) => Version::V2,
                Kind::V3 => Version::V3,
            },
            interval: self.instance.interval,
            preempt: self.instance.preempt,
            preempt_delay: self.instance.preempt_delay,
            source: match &self.attached {
                Some(attached) => attached.source,
                None => return,
            },
        };
        let vips = self.vips();
        let held = self.book.list().await.unwrap_or_default();
        let left: Vec<_> = held
            .into_iter()
            .filter(|held| vips.contains(&held.vip))
            .collect();
        let waited = clock().saturating_sub(self.start);
        let earlier = self.resume.take().map(|earlier| Resume {
            ago: earlier.ago + waited,
            ..earlier
        });
        let resume = resumes(&self.instance, earlier, &left);
        if !resume && !left.is_empty() {
            self.release().await;
        }
        let mut machine = Machine::new(settings, self.priority);
        machine.set_may_preempt(self.may_preempt);
        self.machine = Some(machine);
        if resume {
            self.step(Machine::resume).await;
        } else {
            self.step(Machine::start).await;
        }
    }
}

async fn receive(attached: Option<&Attached>) -> std::io::Result<Received> {
    match attached {
        Some(attached) => attached.sockets.receive().await,
        None => std::future::pending().await,
    }
}

async fn wait(due_in: Option<Duration>) {
    match due_in {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}
