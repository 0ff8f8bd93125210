//! One connection that is up, until it ends.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use snow::StatelessTransportState;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::frame::{CHUNK, Deframer, Joiner};
use super::handshake::{Established, seal};
use super::link::{Incoming, Shared, Timing, Why};
use super::message::{Message, wipe};
use super::queue::Queued;
use super::stats::{Counters, RefusedReason, add};

/// Queued messages are put into one write up to this size, in bytes.
const BATCH: usize = 256 << 10;

/// Moves messages both ways, and says why it could not go on. What `end` says is why it must not.
pub(super) async fn run(
    established: Established<TcpStream>,
    queue: mpsc::Receiver<Queued>,
    incoming: &mpsc::Sender<Incoming>,
    shared: &Shared,
    timing: Timing,
    end: oneshot::Receiver<Why>,
) -> Why {
    let Established {
        mut stream,
        noise,
        nonces: (sent, received),
        hello: _,
    } = established;
    let counters = &shared.counters;
    let pings = Pings::default();
    let closing = Notify::new();
    let (mut from, to) = stream.split();
    let why = {
        let reader = Reader {
            noise: &noise,
            nonce: received,
            counters,
            pings: &pings,
            silence: timing.silence,
        };
        let writer = Writer {
            noise: &noise,
            nonce: sent,
            counters,
            pings: &pings,
            timing,
        };
        let mut write = pin!(writer.run(to, queue, &closing));
        let why = tokio::select! {
            why = reader.run(&mut from, incoming) => why,
            why = &mut write => why,
            why = end => why.unwrap_or(Why::Stopped),
        };
        if why == Why::Stopped {
            closing.notify_one();
            // One that takes nothing any more loses what is queued.
            let _ = timeout(timing.drain, write).await;
        }
        why
    };
    if why == Why::Stopped {
        // To close with bytes unread is to reset, which can overtake what was sent last.
        let _ = timeout(timing.drain, async {
            let mut rest = [0; 4096];
            let ended = stream.shutdown().await;
            while ended.is_ok() && stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
        })
        .await;
    }
    if let Why::Refused(reason) = why {
        counters.refuse(reason);
    }
    why
}

/// What reader and writer tell each other.
struct Pings {
    start: Instant,
    /// The peer sent a ping.
    asked: Notify,
    /// Microseconds since `start` at which one was sent that has no answer yet; 0: none.
    sent: AtomicU64,
}

impl Default for Pings {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            asked: Notify::new(),
            sent: AtomicU64::new(0),
        }
    }
}

impl Pings {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    fn ping(&self) {
        self.sent.store(self.now(), Ordering::Relaxed);
    }

    fn pong(&self, counters: &Counters) {
        let sent = self.sent.swap(0, Ordering::Relaxed);
        if sent > 0 {
            let took = self.now().saturating_sub(sent).max(1);
            counters.round_trip_us.store(took, Ordering::Relaxed);
        }
    }
}

struct Reader<'c> {
    noise: &'c StatelessTransportState,
    nonce: u64,
    counters: &'c Counters,
    pings: &'c Pings,
    silence: Duration,
}

impl Reader<'_> {
    async fn run(
        mut self,
        stream: &mut (impl AsyncRead + Unpin),
        incoming: &mpsc::Sender<Incoming>,
    ) -> Why {
        let mut deframer = Deframer::default();
        let mut joiner = Joiner::default();
        let mut content = vec![0; CHUNK + 1];
        loop {
            loop {
                let message = match self.message(&mut deframer, &mut joiner, &mut content) {
                    Ok(Some(message)) => message,
                    Ok(None) => break,
                    Err(reason) => return Why::Refused(reason),
                };
                // The time that this takes is not the peer's silence.
                if incoming.send(Incoming::Message(message)).await.is_err() {
                    return Why::Stopped;
                }
            }
            match timeout(self.silence, stream.read(deframer.space())).await {
                Err(_) => return Why::Silent,
                Ok(Ok(0)) => return Why::Closed,
                Ok(Ok(bytes)) => {
                    add(&self.counters.bytes_received, bytes as u64);
                    deframer.filled(bytes);
                }
                Ok(Err(error)) => return Why::Io(error.to_string()),
            }
        }
    }

    /// The next that has come whole and is for the user.
    fn message(
        &mut self,
        deframer: &mut Deframer,
        joiner: &mut Joiner,
        content: &mut [u8],
    ) -> Result<Option<Message>, RefusedReason> {
        while let Some(frame) = deframer.frame()? {
            let length = self
                .noise
                .read_message(self.nonce, frame, content)
                .map_err(|_| RefusedReason::Tampered)?;
            self.nonce += 1;
            let joined = joiner.push(&content[..length]);
            wipe(&mut content[..length]);
            let Some(mut bytes) = joined? else {
                continue;
            };
            add(&self.counters.messages_received, 1);
            let message = Message::decode(&bytes);
            wipe(&mut bytes);
            match message {
                Ok(Message::Ping) => self.pings.asked.notify_one(),
                Ok(Message::Pong) => self.pings.pong(self.counters),
                Ok(Message::Hello(_)) | Err(_) => return Err(RefusedReason::BadMessage),
                Ok(message) => return Ok(Some(message)),
            }
        }
        Ok(None)
    }
}

struct Writer<'c> {
    noise: &'c StatelessTransportState,
    nonce: u64,
    counters: &'c Counters,
    pings: &'c Pings,
    timing: Timing,
}

impl Writer<'_> {
    async fn run(
        mut self,
        mut stream: impl AsyncWrite + Unpin,
        mut queue: mpsc::Receiver<Queued>,
        closing: &Notify,
    ) -> Why {
        let mut wire = Vec::new();
        // Their room is given back when they are sent.
        let mut held = Vec::new();
        loop {
            tokio::select! {
                queued = queue.recv() => match queued {
                    Some(queued) => {
                        self.seal(&queued.bytes, &mut wire);
                        held.push(queued);
                    }
                    None => return Why::Stopped,
                },
                () = self.pings.asked.notified() => self.say(&Message::Pong, &mut wire),
                () = sleep(self.timing.ping) => {
                    self.pings.ping();
                    self.say(&Message::Ping, &mut wire);
                }
                // What was queued before that comes first, then there is nothing more.
                () = closing.notified() => queue.close(),
            }
            while wire.len() < BATCH
                && let Ok(queued) = queue.try_recv()
            {
                self.seal(&queued.bytes, &mut wire);
                held.push(queued);
            }
            if let Err(why) = self.write(&mut stream, &wire).await {
                return why;
            }
            held.clear();
            wire.clear();
            // A long message is rare.
            wire.shrink_to(2 * BATCH);
        }
    }

    fn say(&mut self, message: &Message, wire: &mut Vec<u8>) {
        let bytes = message.encode().expect("it is one byte");
        self.seal(&bytes, wire);
    }

    fn seal(&mut self, message: &[u8], wire: &mut Vec<u8>) {
        seal(self.noise, &mut self.nonce, message, wire);
        add(&self.counters.messages_sent, 1);
    }

    async fn write(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        mut wire: &[u8],
    ) -> Result<(), Why> {
        while !wire.is_empty() {
            match timeout(self.timing.stuck, stream.write(wire)).await {
                Err(_) => return Err(Why::Stuck),
                Ok(Ok(0)) => return Err(Why::Closed),
                Ok(Ok(bytes)) => {
                    add(&self.counters.bytes_sent, bytes as u64);
                    wire = &wire[bytes..];
                }
                Ok(Err(error)) => return Err(Why::Io(error.to_string())),
            }
        }
        Ok(())
    }
}
