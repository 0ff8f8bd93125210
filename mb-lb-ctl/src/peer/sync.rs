//! Flow sync: between the kernel's flows and the link to the peer, on a thread of its own.
//!
//! ```text
//!   ring buffer of flows --> sending task --> Outgoing (bounded) --.
//!   walk over the table ---'       ^                               +-- link --> peer
//!                               replies                            |
//!   kernel's table <-- receiving task <-- Incoming <---------------'
//!                            |
//!                            '--> Event::Peer (engine)
//! ```
//!
//! Sending waits for the peer and receiving never does, so two directors that both send all they have cannot block each
//! other. While the sending task waits, changes gather in the kernel's ring buffer; when that is full, they are counted as
//! lost, and all flows are sent anew. Packets wait for nobody.
//!
//! A snapshot is sent when a connection begins, when changes were lost, when the VIPs here change, and every
//! [`refresh`]: what one side has missed for whatever reason lasts no longer. Order matters in one way only: a batch of
//! the table that was read is sent before any change that is younger.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use super::link::{self, Incoming, Link};
use super::message::{FlowChange, FlowKind, Hello, Message};
use super::queue::{NotSent, Outgoing};
use super::stats::Stats;
use crate::dataplane::{Applied, FlowSync, Removed, Seen, Walk};
use crate::engine::Event;

/// Changes in one message.
const CHANGES: usize = 4096;
/// What may wait for the sending task. What is more is dropped: all of it is said again.
const REPLIES: usize = 256;
/// Bytes that may wait in the link before more of a snapshot is read: what the engine says must not wait behind them.
const QUEUED: u64 = 256 * 1024;
/// Messages of the engine that may wait.
const MESSAGES: usize = 64;
/// A snapshot that the peer could not place as a whole is sent again after so long: it may only just have started.
const SEND_AGAIN: Duration = Duration::from_secs(1);
/// Between two reports to the engine.
const REPORT: Duration = Duration::from_secs(1);

/// A snapshot is sent so often, and the flows in it live so much longer on the other side (and half as long again) than
/// their clients' last packets allow.
pub fn refresh(established: Duration) -> Duration {
    (established / 4).clamp(Duration::from_secs(1), Duration::from_secs(225))
}

/// The VIPs of services that are on this director.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub vips: BTreeSet<IpAddr>,
    /// No flow of theirs is missing here, as far as is known.
    pub complete: bool,
}

/// What flow sync has done since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    pub connected: bool,
    /// A snapshot of the peer's flows was taken in on this connection.
    pub in_sync: bool,
    /// Changes and flows of snapshots that were sent.
    pub sent: u64,
    pub snapshots_sent: u64,
    pub received: u64,
    pub snapshots_received: u64,
    /// Received ones that changed the table.
    pub applied: u64,
    /// Flows that the last snapshot removed, because the peer has them no more.
    pub removed: u64,
    /// Flows of the last snapshot, and those opened since, that have no place here.
    pub missing: u64,
    /// Received ones that name a service or server which is not in this configuration.
    pub unplaced: u64,
    /// Received ones that found the table full.
    pub full: u64,
    /// Changes that found the ring buffer full.
    pub lost: u64,
    /// Flows of the last snapshot that the peer could not place.
    pub peer_unplaced: u64,
    /// What the kernel refused, of what came in and of what goes out.
    pub error: Option<String>,
    pub send_error: Option<String>,
    pub link: Stats,
}

/// What happens on the link, for the engine.
#[derive(Clone, Debug)]
pub enum PeerEvent {
    Connected {
        hello: Hello,
    },
    Disconnected {
        why: String,
    },
    /// Somebody was not let in, or nobody is there to connect to; told when it begins.
    Trouble(String),
    /// All but what flow sync itself deals with.
    Message(Box<Message>),
    Report(Box<SyncReport>),
}

/// Handle of the thread. Dropping it ends the thread.
pub struct Peering {
    messages: mpsc::Sender<Message>,
    carried: watch::Sender<Carried>,
    thread: std::thread::JoinHandle<()>,
}

impl Peering {
    /// Sends a message, unless the peer is not there or takes nothing in: all of them are said again.
    pub fn send(&self, message: Message) {
        // Full or ended: the next one will do.
        let _queued = self.messages.try_send(message);
    }

    /// The VIPs that are on this director now.
    pub fn carry(&self, vips: Carried) {
        self.carried.send_if_modified(|carried| {
            *carried != vips && {
                *carried = vips;
                true
            }
        });
    }

    /// Ends the thread, and returns when its port and the ring buffer are free. Blocks for less than a second.
    pub fn end(self) {
        drop(self.messages);
        if self.thread.join().is_err() {
            tracing::error!("the thread of flow sync panicked");
        }
    }
}

/// Starts the link and the thread that keeps flows in step. `established` is how long a silent flow lives.
///
/// # Errors
/// No thread can be had.
pub fn spawn(
    settings: link::Settings,
    hello: Hello,
    flows: FlowSync,
    established: Duration,
    events: mpsc::Sender<Event>,
) -> io::Result<Peering> {
    let (messages, queue) = mpsc::channel(MESSAGES);
    let (carried, carries) = watch::channel(Carried::default());
    let thread = std::thread::Builder::new()
        .name("peer".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(%error, "no flow sync");
                    return;
                }
            };
            LocalSet::new().block_on(&runtime, async {
                let (_hello, introduction) = watch::channel(hello);
                let (link, incoming) = link::spawn(settings, introduction);
                let fd = flows.events_fd();
                let shared = Rc::new(Shared {
                    flows: RefCell::new(flows),
                    fd,
                    report: RefCell::new(SyncReport::default()),
                    carries,
                    apart: RefCell::new(BTreeSet::new()),
                    link: link.clone(),
                    refresh: refresh(established),
                });
                live(&shared, &link, incoming, queue, &events).await;
                link.stop().await;
            });
        })?;
    Ok(Peering {
        messages,
        carried,
        thread,
    })
}

/// What the two tasks share. Never borrowed across an await.
struct Shared {
    flows: RefCell<FlowSync>,
    fd: RawFd,
    report: RefCell<SyncReport>,
    carries: watch::Receiver<Carried>,
    /// VIPs that were carried while there was no connection. The peer may carry them now, and lack the flows of that time.
    apart: RefCell<BTreeSet<IpAddr>>,
    link: Link,
    refresh: Duration,
}

impl Shared {
    fn carried(&self) -> BTreeSet<IpAddr> {
        self.carries.borrow().vips.clone()
    }

    fn listen(&self, wanted: bool) {
        if let Err(error) = self.flows.borrow_mut().listen(wanted) {
            self.failed("the kernel's flows are not listened to", &error);
        }
    }

    fn send_failed(&self, error: &dyn std::fmt::Display) {
        let text = format!("flows are not told to the peer: {error}");
        tracing::error!("{text}");
        self.report.borrow_mut().send_error = Some(text);
    }

    fn failed(&self, what: &str, error: &io::Error) {
        let text = format!("{what}: {error}");
        tracing::error!("{text}");
        self.report.borrow_mut().error = Some(text);
    }
}

/// A connection, as the receiving task has it.
struct Connection {
    sending: JoinHandle<()>,
    replies: mpsc::Sender<Reply>,
    /// The peer was last told that something has no place here.
    complained: Option<Instant>,
    snapshot: Option<Snapshot>,
}

/// What the receiving task has for the sending one.
enum Reply {
    Message(Message),
    /// The last snapshot did not make the two tables equal.
    Again,
    /// It did.
    Done,
}

/// A snapshot that is coming in.
struct Snapshot {
    number: u64,
    vips: BTreeSet<IpAddr>,
    seen: Seen,
    flows: u64,
    unplaced: u64,
}

async fn live(
    shared: &Rc<Shared>,
    link: &Link,
    mut incoming: mpsc::Receiver<Incoming>,
    mut messages: mpsc::Receiver<Message>,
    events: &mpsc::Sender<Event>,
) {
    let mut connection: Option<Connection> = None;
    let mut carries = shared.carries.clone();
    let mut tick = tokio::time::interval(REPORT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            arrived = incoming.recv() => {
                let Some(arrived) = arrived else { return };
                for event in on_incoming(shared, &mut connection, arrived).await {
                    if events.send(Event::Peer(event)).await.is_err() {
                        return;
                    }
                }
            }
            message = messages.recv() => match message {
                None => break,
                Some(message) => {
                    if let Some(connection) = &connection {
                        // A connection that has just ended is told of by the link.
                        let _queued = connection.replies.try_send(Reply::Message(message));
                    }
                }
            },
            changed = carries.changed() => {
                if changed.is_err() {
                    break;
                }
                if connection.is_none() {
                    let vips = carries.borrow_and_update().vips.clone();
                    shared.apart.borrow_mut().extend(vips);
                }
            }
            _ = tick.tick() => {
                shared.report.borrow_mut().link = link.stats();
                let report = report(shared, connection.is_some());
                if events.send(Event::Peer(report)).await.is_err() {
                    return;
                }
            }
        }
    }
    if let Some(connection) = connection {
        connection.sending.abort();
    }
    shared.listen(false);
}

fn report(shared: &Shared, connected: bool) -> PeerEvent {
    let mut report = shared.report.borrow_mut();
    report.connected = connected;
    PeerEvent::Report(Box::new(report.clone()))
}

async fn on_incoming(
    shared: &Rc<Shared>,
    connection: &mut Option<Connection>,
    arrived: Incoming,
) -> Vec<PeerEvent> {
    match arrived {
        Incoming::Connected {
            hello, outgoing, ..
        } => {
            end(shared, connection);
            let (replies, queue) = mpsc::channel(REPLIES);
            shared.flows.borrow_mut().forget_servers();
            shared.listen(true);
            *connection = Some(Connection {
                sending: tokio::task::spawn_local(send(Rc::clone(shared), outgoing, queue)),
                replies,
                complained: None,
                snapshot: None,
            });
            vec![PeerEvent::Connected { hello }, report(shared, true)]
        }
        Incoming::Disconnected { why } => {
            end(shared, connection);
            shared.listen(false);
            let why = why.to_string();
            vec![PeerEvent::Disconnected { why }, report(shared, false)]
        }
        Incoming::Refused { from, reason } => {
            vec![PeerEvent::Trouble(format!(
                "{} was refused: {reason}",
                from.ip()
            ))]
        }
        Incoming::NotListening { error } => {
            vec![PeerEvent::Trouble(format!(
                "the peer cannot connect to us: {error}"
            ))]
        }
        Incoming::Unreachable { error } => {
            vec![PeerEvent::Trouble(format!(
                "the peer cannot be reached: {error}"
            ))]
        }
        Incoming::Message(message) => match connection {
            Some(connection) => on_message(shared, connection, message).await,
            None => Vec::new(),
        },
    }
}

fn end(shared: &Shared, connection: &mut Option<Connection>) {
    if let Some(connection) = connection.take() {
        connection.sending.abort();
        shared.apart.borrow_mut().extend(shared.carried());
    }
    let mut report = shared.report.borrow_mut();
    (report.in_sync, report.missing, report.send_error) = (false, 0, None);
}

async fn on_message(
    shared: &Shared,
    connection: &mut Connection,
    message: Message,
) -> Vec<PeerEvent> {
    match message {
        Message::Flows(changes) => {
            for change in &changes {
                if let (Some(snapshot), FlowKind::Open) = (&mut connection.snapshot, change.kind) {
                    shared.flows.borrow().note(&mut snapshot.seen, change);
                }
                let is_open = change.kind == FlowKind::Open;
                if is_open && has_no_place(apply(shared, change)) {
                    shared.report.borrow_mut().missing += 1;
                    complain(connection);
                } else if !is_open {
                    apply(shared, change);
                }
            }
            Vec::new()
        }
        Message::SnapshotBegin { number, vips } => {
            // Of what is carried here, this director knows best.
            let carried = shared.carried();
            shared.flows.borrow_mut().forget_servers();
            connection.snapshot = Some(Snapshot {
                number,
                vips: vips
                    .into_iter()
                    .filter(|vip| !carried.contains(vip))
                    .collect(),
                seen: Seen::default(),
                flows: 0,
                unplaced: 0,
            });
            Vec::new()
        }
        Message::SnapshotFlows { number, flows } => {
            let Some(snapshot) = connection
                .snapshot
                .as_mut()
                .filter(|snapshot| snapshot.number == number)
            else {
                return Vec::new();
            };
            let carried = shared.carried();
            for flow in &flows {
                snapshot.flows += 1;
                let vip = flow.vip.ip();
                if carried.contains(&vip) {
                    // From the time when the two were apart, or late: what is not known here is added.
                    apply(shared, flow);
                    continue;
                }
                if !snapshot.vips.contains(&vip) {
                    continue;
                }
                shared.flows.borrow().note(&mut snapshot.seen, flow);
                if has_no_place(apply(shared, flow)) {
                    snapshot.unplaced += 1;
                }
            }
            let room = shared.flows.borrow().room().unwrap_or_default();
            if snapshot.seen.len() as u64 > 2 * room {
                // More than there can be: it is not worth the memory.
                connection.snapshot = None;
            }
            Vec::new()
        }
        Message::SnapshotEnd {
            number,
            flows,
            complete,
        } => {
            let snapshot = connection.snapshot.take();
            let Some(snapshot) =
                snapshot.filter(|snapshot| snapshot.number == number && snapshot.flows == flows)
            else {
                return Vec::new();
            };
            let mut removed = Removed::default();
            let mut walk = Walk::default();
            while complete && !snapshot.vips.is_empty() && !walk.done() {
                // What has come here meanwhile stays.
                let carried = shared.carried();
                let vips: BTreeSet<_> = snapshot.vips.difference(&carried).copied().collect();
                let step =
                    shared
                        .flows
                        .borrow_mut()
                        .remove_others(&mut walk, &vips, &snapshot.seen);
                match step {
                    Ok(step) => {
                        removed.removed += step.removed;
                        removed.kept += step.kept;
                    }
                    Err(error) => {
                        shared.failed("the flow table cannot be read", &error);
                        return Vec::new();
                    }
                }
                // The link is on this thread, and its pings must not wait for a large table.
                tokio::task::yield_now().await;
            }
            {
                let mut report = shared.report.borrow_mut();
                report.removed = removed.removed;
                report.snapshots_received += 1;
                report.missing = snapshot.unplaced;
                report.in_sync = true;
                report.error = None;
            }
            let kept = removed.kept;
            // The sending task has ended only if the connection has.
            let _queued = connection
                .replies
                .try_send(Reply::Message(Message::SnapshotDone {
                    number,
                    unplaced: snapshot.unplaced,
                    kept,
                }));
            vec![report(shared, true)]
        }
        Message::SnapshotDone { unplaced, kept, .. } => {
            shared.report.borrow_mut().peer_unplaced = unplaced;
            if unplaced > 0 || kept > 0 {
                let _queued = connection.replies.try_send(Reply::Again);
            } else {
                let _queued = connection.replies.try_send(Reply::Done);
            }
            Vec::new()
        }
        other => vec![PeerEvent::Message(Box::new(other))],
    }
}

/// `None` is an error of the kernel's.
const fn has_no_place(applied: Option<Applied>) -> bool {
    matches!(
        applied,
        None | Some(Applied::Unplaced | Applied::Full | Applied::Busy)
    )
}

/// Has the peer send all again: its new flow may find its place by then.
fn complain(connection: &mut Connection) {
    let lately = |at: Instant| at.elapsed() < SEND_AGAIN;
    if connection.complained.is_some_and(lately) {
        return;
    }
    connection.complained = Some(Instant::now());
    let _queued = connection
        .replies
        .try_send(Reply::Message(Message::SnapshotDone {
            number: 0,
            unplaced: 1,
            kept: 0,
        }));
}

fn apply(shared: &Shared, change: &FlowChange) -> Option<Applied> {
    let slack = shared.refresh + shared.refresh / 2;
    let carried = shared.carries.borrow().vips.contains(&change.vip.ip());
    let applied = shared.flows.borrow_mut().apply(change, slack, carried);
    let mut report = shared.report.borrow_mut();
    report.received += 1;
    match applied {
        Ok(applied) => {
            match applied {
                Applied::Done => report.applied += 1,
                Applied::Unplaced => report.unplaced += 1,
                Applied::Full => report.full += 1,
                Applied::Unchanged | Applied::Busy => {}
            }
            Some(applied)
        }
        Err(error) => {
            drop(report);
            shared.failed("a flow of the peer's is not in the table", &error);
            None
        }
    }
}

/// The ring buffer's descriptor, which the shared [`FlowSync`] keeps open.
struct Borrowed(RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// The sending task of one connection; ends with it.
async fn send(shared: Rc<Shared>, outgoing: Outgoing, mut replies: mpsc::Receiver<Reply>) {
    // SAFETY: `shared` keeps the ring buffer open as long as this task lives.
    let ring = unsafe { AsyncFd::register_with_interest(Borrowed(shared.fd), Interest::READABLE) };
    let ring = match ring {
        Ok(ring) => ring,
        Err(error) => {
            return shared.send_failed(&error.into_parts().1);
        }
    };
    let lost = shared.flows.borrow().lost().unwrap_or_default();
    let mut sender = Sender {
        lost,
        carries: shared.carries.clone(),
        shared,
        outgoing,
        number: 0,
        again: SEND_AGAIN,
        walk: None,
        due: Instant::now(),
    };
    // An error is the end of the connection, of which the link tells.
    let _ended = sender.live(&ring, &mut replies).await;
}

struct Sender {
    shared: Rc<Shared>,
    outgoing: Outgoing,
    carries: watch::Receiver<Carried>,
    /// Until the next snapshot, where the last was not enough.
    again: Duration,
    /// As far as it was answered by a snapshot.
    lost: u64,
    /// Of the last snapshot.
    number: u64,
    walk: Option<(Walk, Carried, u64)>,
    /// When the next snapshot begins.
    due: Instant,
}

impl Sender {
    async fn live(
        &mut self,
        ring: &AsyncFd<Borrowed>,
        replies: &mut mpsc::Receiver<Reply>,
    ) -> Result<(), NotSent> {
        loop {
            while let Ok(reply) = replies.try_recv() {
                self.reply(reply).await?;
            }
            let mut idle = self.send_changes().await?;
            self.look_for_losses();
            let is_due = self.carries.has_changed().is_ok_and(|changed| changed)
                || Instant::now() >= self.due;
            // One that is under way is brought to its end first: under constant losses none would ever end.
            if is_due && self.walk.is_none() {
                self.begin().await?;
            }
            if self.walk.is_some() {
                if self.shared.link.stats().queued > QUEUED {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                } else {
                    self.step().await?;
                }
                idle = false;
            }
            if !idle {
                // The receiving task is on the same thread.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                ready = ring.readable() => match ready {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(error) => {
                        self.shared.send_failed(&error);
                        tokio::time::sleep(SEND_AGAIN).await;
                    }
                },
                reply = replies.recv() => match reply {
                    Some(reply) => self.reply(reply).await?,
                    None => return Ok(()),
                },
                changed = self.carries.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.due = Instant::now();
                }
                () = sleep_until(self.due) => {}
            }
        }
    }

    async fn reply(&mut self, reply: Reply) -> Result<(), NotSent> {
        match reply {
            Reply::Message(message) => match self.outgoing.send(message).await {
                Err(error @ NotSent::TooLarge) => {
                    self.shared.send_failed(&error);
                    Ok(())
                }
                sent => sent,
            },
            Reply::Again => {
                self.due = self.due.min(Instant::now() + self.again);
                // What has no place now may have none for hours.
                self.again = (self.again * 2).min(self.shared.refresh);
                Ok(())
            }
            Reply::Done => {
                self.again = SEND_AGAIN;
                Ok(())
            }
        }
    }

    /// Whether there was nothing.
    async fn send_changes(&mut self) -> Result<bool, NotSent> {
        let carried = self.shared.carried();
        let changes = self
            .shared
            .flows
            .borrow_mut()
            .changes(CHANGES, |vip| carried.contains(&vip));
        let changes = match changes {
            Ok(changes) => changes,
            Err(error) => {
                self.shared.send_failed(&error);
                Vec::new()
            }
        };
        if changes.is_empty() {
            return Ok(true);
        }
        self.shared.report.borrow_mut().sent += changes.len() as u64;
        self.outgoing.send(Message::Flows(changes)).await?;
        Ok(false)
    }

    fn look_for_losses(&mut self) {
        let lost = self.shared.flows.borrow().lost();
        if let Ok(lost) = lost
            && lost != self.lost
        {
            self.shared.report.borrow_mut().lost += lost.wrapping_sub(self.lost);
            self.lost = lost;
            self.due = Instant::now();
        }
    }

    /// A new snapshot, instead of one that is under way.
    async fn begin(&mut self) -> Result<(), NotSent> {
        let mut carried = self.carries.borrow_and_update().clone();
        let apart = std::mem::take(&mut *self.shared.apart.borrow_mut());
        if !apart.is_subset(&carried.vips) {
            carried.vips.extend(apart);
            carried.complete = false;
        }
        self.shared.flows.borrow_mut().forget_servers();
        self.number += 1;
        self.due = Instant::now() + self.shared.refresh;
        let begin = Message::SnapshotBegin {
            number: self.number,
            vips: carried.vips.iter().copied().collect(),
        };
        self.walk = Some((Walk::default(), carried, 0));
        self.outgoing.send(begin).await
    }

    async fn step(&mut self) -> Result<(), NotSent> {
        let Some((walk, carried, sent)) = &mut self.walk else {
            return Ok(());
        };
        let batch = self.shared.flows.borrow_mut().walk(walk, &carried.vips);
        let flows = match batch {
            Ok(flows) => flows,
            Err(error) => {
                self.walk = None;
                self.due = Instant::now() + SEND_AGAIN;
                self.shared.send_failed(&error);
                return Ok(());
            }
        };
        *sent += flows.len() as u64;
        let (done, sent) = (walk.done(), *sent);
        let complete = carried.complete && walk.unresolved == 0;
        let number = self.number;
        if !flows.is_empty() {
            self.shared.report.borrow_mut().sent += flows.len() as u64;
            let message = Message::SnapshotFlows { number, flows };
            self.outgoing.send(message).await?;
        }
        if done {
            self.walk = None;
            self.shared.report.borrow_mut().snapshots_sent += 1;
            let end = Message::SnapshotEnd {
                number,
                flows: sent,
                complete,
            };
            self.outgoing.send(end).await?;
        }
        Ok(())
    }
}
