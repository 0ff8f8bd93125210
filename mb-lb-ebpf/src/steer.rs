//! What becomes of a segment: established flow, half-open flow, new flow, or none of them.
//!
//! **The invariant of counting.** `active` of a server moves in two places only: up by one after the insert of an
//! `Established` flow succeeded ([`promote`]), down by one after a compare-and-swap took a flow's word out of a
//! counted state ([`leave`], and its like in `sweep`). The word names the server, so the winner knows whose count
//! it is. Only the CPU that swapped a word to `Dead` removes the element, so a removal never takes a counted flow.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_ktime_get_boot_ns, programs::XdpContext};
use mb_lb_common::{
    EVENT_CLOSED, EVENT_GONE, EVENT_OPENED, EVENT_RESET, Flow, FlowKey4, FlowKey6, FlowState,
    FlowWord, Half, HalfKind, HalfWord, Reason, SERVER_ACCEPT, SERVER_RESET, SERVICE_REPLY_LOCAL,
    Settings,
};

use crate::{
    atomic, events,
    family::{E2BIG, EEXIST, Key},
    maps::{COUNTS, SERVICE_CONFS, SERVICES, SETTINGS, TABLE, TAKEOVER},
    packet::{self, Segment, TCP_FIN, TCP_RST, TCP_SYN},
    pending, rewrite,
    select::{self, Target},
};

/// A RST or FIN is believed when its sequence number is this near to what the client sends next
/// (RFC 5961 section 3 asks receivers for as much).
const BELIEVED_WINDOW: u32 = 1 << 20;

/// Where a segment goes, and why.
///
/// A flat struct instead of an enum: the unused payload of a variant is copied as whatever a register holds, and
/// the verifier forbids that ("R4 !read_ok").
#[derive(Clone, Copy)]
pub struct Step {
    pub action: Action,
    pub reason: Reason,
    /// With [`Action::Forward`] only.
    pub target: Target,
}

#[repr(u32)]
#[derive(Clone, Copy)]
pub enum Action {
    Forward = 1,
    Pass,
    /// Answer with RST.
    Reset,
    Drop,
    /// Not decided here: look further.
    Further,
}

impl Step {
    const FURTHER: Self = Self::without_target(Action::Further, Reason::NoService);

    #[inline(always)]
    const fn forward(reason: Reason, target: Target) -> Self {
        Self {
            action: Action::Forward,
            reason,
            target,
        }
    }
    #[inline(always)]
    const fn pass(reason: Reason) -> Self {
        Self::without_target(Action::Pass, reason)
    }
    #[inline(always)]
    const fn without_target(action: Action, reason: Reason) -> Self {
        Self {
            action,
            reason,
            target: Target {
                server: 0,
                link: 0,
                ifindex: 0,
                generation: 0,
            },
        }
    }
    #[inline(always)]
    const fn is_decided(&self) -> bool {
        !matches!(self.action, Action::Further)
    }
}

#[inline(always)]
fn near(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).wrapping_add(BELIEVED_WINDOW) < 2 * BELIEVED_WINDOW
}

/// A [`Step`] in one register: what a global function can return. The target is looked up again.
mod packed {
    use super::{Action, Reason, Step, select};

    #[inline(always)]
    pub const fn pack(step: &Step) -> u64 {
        step.action as u64 | (step.reason as u64) << 8 | (step.target.server as u64) << 16
    }

    #[inline(always)]
    pub fn unpack(packed: u64) -> Step {
        let reason = Reason::from_index(packed as u32 >> 8 & 0xff);
        match packed as u8 {
            FORWARD => match select::target(packed as u32 >> 16) {
                Some(target) => Step::forward(reason, target),
                None => Step::without_target(Action::Drop, Reason::RewriteFailed),
            },
            PASS => Step::pass(reason),
            RESET => Step::without_target(Action::Reset, reason),
            _ => Step::without_target(Action::Drop, reason),
        }
    }

    const FORWARD: u8 = Action::Forward as u8;
    const PASS: u8 = Action::Pass as u8;
    const RESET: u8 = Action::Reset as u8;
}

/// What happens to segments of one family that hit no flow. Global functions, for the reason given at
/// [`select::mb_lb_choose`]. They parse the frame once more: passing what was parsed would take it through memory,
/// whose contents the verifier then no longer knows, and kernel 6.1 takes no map key from there
/// ("R2 type=mem expected=fp").
///
/// A request for a connection, IPv4.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mb_lb_open4(ctx: *mut xdp_md, now: u64) -> u64 {
    let frame = rewrite::frame(&XdpContext::new(ctx));
    let segment = packet::link(frame).and_then(|link| packet::ipv4(frame, link.l3));
    packed::pack(&match segment {
        Ok(segment) => open(&segment, now),
        Err(reason) => Step::pass(reason),
    })
}

/// A request for a connection, IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mb_lb_open6(ctx: *mut xdp_md, now: u64) -> u64 {
    let frame = rewrite::frame(&XdpContext::new(ctx));
    let segment = packet::link(frame).and_then(|link| packet::ipv6(frame, link.l3));
    packed::pack(&match segment {
        Ok(segment) => open(&segment, now),
        Err(reason) => Step::pass(reason),
    })
}

/// Any other segment, IPv4.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mb_lb_other4(ctx: *mut xdp_md, now: u64) -> u64 {
    let frame = rewrite::frame(&XdpContext::new(ctx));
    let segment = packet::link(frame).and_then(|link| packet::ipv4(frame, link.l3));
    packed::pack(&match segment {
        Ok(segment) => other(&segment, now),
        Err(reason) => Step::pass(reason),
    })
}

/// Any other segment, IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mb_lb_other6(ctx: *mut xdp_md, now: u64) -> u64 {
    let frame = rewrite::frame(&XdpContext::new(ctx));
    let segment = packet::link(frame).and_then(|link| packet::ipv6(frame, link.l3));
    packed::pack(&match segment {
        Ok(segment) => other(&segment, now),
        Err(reason) => Step::pass(reason),
    })
}

/// A family's way to its global functions.
pub trait Family: Key {
    fn open(ctx: &XdpContext, now: u64) -> u64;
    fn other(ctx: &XdpContext, now: u64) -> u64;
}

impl Family for FlowKey4 {
    #[inline(always)]
    fn open(ctx: &XdpContext, now: u64) -> u64 {
        mb_lb_open4(ctx.ctx, now)
    }
    #[inline(always)]
    fn other(ctx: &XdpContext, now: u64) -> u64 {
        mb_lb_other4(ctx.ctx, now)
    }
}

impl Family for FlowKey6 {
    #[inline(always)]
    fn open(ctx: &XdpContext, now: u64) -> u64 {
        mb_lb_open6(ctx.ctx, now)
    }
    #[inline(always)]
    fn other(ctx: &XdpContext, now: u64) -> u64 {
        mb_lb_other6(ctx.ctx, now)
    }
}

/// The whole way of a segment. `now` is in jiffies.
#[inline(always)]
pub fn steer<K: Family>(ctx: &XdpContext, segment: &Segment<K>, now: u64) -> Step {
    if let Some(flow) = segment.key.flow() {
        // SAFETY: a pointer that the map has just given.
        let step = unsafe { established(segment, flow, now) };
        if step.is_decided() {
            return step;
        }
    }
    packed::unpack(if segment.tcp.is_syn() {
        K::open(ctx, now)
    } else {
        K::other(ctx, now)
    })
}

/// A segment that hit the flow table. [`Action::Further`]: the flow was given up, and the segment is to be treated as
/// if it had not been there.
///
/// # Safety
/// `flow` points into the flow table. The element may be reused meanwhile; the nonce in the word makes every
/// compare-and-swap on it fail then.
#[inline(always)]
unsafe fn established<K: Key>(segment: &Segment<K>, flow: *mut Flow, now: u64) -> Step {
    let tcp = &segment.tcp;
    // SAFETY: inside the map value.
    let word = FlowWord(unsafe { atomic::load(&raw const (*flow).word) });
    let state = word.state();
    let server = word.server();
    if let FlowState::Dead = state {
        return Step::FURTHER;
    }
    let Some(target) = select::owner(server, word.generation()) else {
        // Its index was given away, which the controller does only when no flow is left. Belt and braces.
        // SAFETY: the caller's.
        unsafe { give_up(&segment.key, flow, word) };
        if tcp.is_syn() {
            return Step::FURTHER;
        }
        return unless_rst(tcp.has(TCP_RST), Reason::ServerGone);
    };
    if target.has(SERVER_RESET) {
        if tcp.is_syn() {
            // SAFETY: the caller's.
            unsafe { give_up(&segment.key, flow, word) };
            return Step::FURTHER;
        }
        // SAFETY: the caller's.
        unsafe { leave(&segment.key, flow, word, FlowState::Reset) };
        return unless_rst(tcp.has(TCP_RST), Reason::ServerDownReset);
    }
    let forward = |reason| Step::forward(reason, target);
    if !state.is_counted() {
        // Closing or reset. A new connection on the same ports is scheduled at once.
        if tcp.is_syn() {
            // SAFETY: the caller's.
            unsafe { give_up(&segment.key, flow, word) };
            return Step::FURTHER;
        }
        if let FlowState::Closing = state {
            // SAFETY: the caller's.
            unsafe { touch(flow, now) };
        }
        return forward(Reason::Closing);
    }
    if tcp.flags & (TCP_SYN | TCP_FIN | TCP_RST) != 0 {
        // SAFETY: inside the map value; a value torn by a reuse only makes the segment not believed.
        let (expected, synced) = unsafe {
            (
                (&raw const (*flow).client_next).read_volatile(),
                (&raw const (*flow).synced).read_volatile(),
            )
        };
        let believed = near(tcp.seq, expected) || synced == Flow::from_peer(expected);
        if tcp.has(TCP_RST) {
            if !believed {
                return forward(Reason::RstIgnored);
            }
            // SAFETY: the caller's.
            unsafe { leave(&segment.key, flow, word, FlowState::Reset) };
            return forward(Reason::RstSeen);
        }
        if tcp.has(TCP_SYN) {
            // A late duplicate, or a client that forgot its connection: the server knows which, and answers.
            return forward(Reason::SynRetransmitted);
        }
        if believed {
            // SAFETY: the caller's.
            unsafe {
                touch(flow, now);
                leave(&segment.key, flow, word, FlowState::Closing);
            }
            return forward(Reason::FinSeen);
        }
    }
    // SAFETY: the caller's.
    unsafe {
        touch(flow, now);
        expect_next(flow, tcp.next_seq());
    }
    forward(Reason::Established)
}

#[inline(always)]
fn unless_rst(is_rst: bool, reason: Reason) -> Step {
    // A RST is never answered (RFC 9293 section 3.10.7.1).
    if is_rst {
        Step::without_target(Action::Drop, Reason::RstUnplaced)
    } else {
        Step::without_target(Action::Reset, reason)
    }
}

/// Writes only what changed: an idle write would take the cache line from other CPUs.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
pub unsafe fn touch(flow: *mut Flow, now: u64) {
    // SAFETY: inside the map value.
    unsafe {
        let last_seen = &raw mut (*flow).last_seen;
        if last_seen.read_volatile() != now as u32 {
            last_seen.write_volatile(now as u32);
        }
    }
}

/// # Safety
/// As [`touch`].
#[inline(always)]
unsafe fn expect_next(flow: *mut Flow, next: u32) {
    // SAFETY: inside the map value.
    unsafe {
        let client_next = &raw mut (*flow).client_next;
        if client_next.read_volatile() != next {
            client_next.write_volatile(next);
        }
    }
}

/// Takes a flow to an uncounted state, and its server's count down with it if it was counted. Whoever loses the
/// compare-and-swap does nothing: the winner has done it.
///
/// # Safety
/// As [`touch`].
#[inline(always)]
unsafe fn leave<K: Key>(key: &K, flow: *mut Flow, word: FlowWord, to: FlowState) -> bool {
    // SAFETY: the caller's.
    let won = unsafe { leave_quietly(flow, word, to) };
    if won {
        let kind = match to {
            FlowState::Closing => EVENT_CLOSED,
            FlowState::Reset => EVENT_RESET,
            _ => EVENT_GONE,
        };
        events::tell(key, kind, word);
    }
    won
}

/// As [`leave`], and the peer is not told: it knows.
///
/// # Safety
/// As [`touch`].
#[inline(always)]
pub unsafe fn leave_quietly(flow: *mut Flow, word: FlowWord, to: FlowState) -> bool {
    // SAFETY: inside the map value.
    let won =
        unsafe { atomic::compare_and_swap(&raw mut (*flow).word, word.0, word.with_state(to).0) };
    if won && word.state().is_counted() {
        count_down(word);
    }
    won
}

/// A function of its own, for its stack.
#[inline(never)]
fn count_down(word: FlowWord) {
    if let Some(count) = select::count_of(word.server(), word.generation()) {
        // SAFETY: a pointer that the map has just given.
        unsafe {
            atomic::add_i64(&raw mut (*count).active, -1);
            atomic::add_u64(&raw mut (*count).closed, 1);
        }
    }
}

/// Removes a flow.
///
/// # Safety
/// As [`touch`].
#[inline(always)]
unsafe fn give_up<K: Key>(key: &K, flow: *mut Flow, word: FlowWord) {
    // SAFETY: the caller's.
    if unsafe { leave(key, flow, word, FlowState::Dead) } {
        key.remove_flow();
    }
}

/// As [`give_up`], and the peer is not told. Whether this CPU did it.
///
/// # Safety
/// As [`touch`].
#[inline(always)]
pub unsafe fn give_up_quietly<K: Key>(key: &K, flow: *mut Flow, word: FlowWord) -> bool {
    // SAFETY: the caller's.
    let won = unsafe { leave_quietly(flow, word, FlowState::Dead) };
    if won {
        key.remove_flow();
    }
    won
}

/// A SYN without a flow: for a service of ours, or for the kernel.
#[inline(always)]
fn open<K: Key>(segment: &Segment<K>, now: u64) -> Step {
    match Context::new(&segment.key, now) {
        Some(context) => syn(segment, segment.key.half(), &context),
        None => Step::pass(Reason::NoService),
    }
}

/// Any other segment without a flow.
#[inline(always)]
fn other<K: Key>(segment: &Segment<K>, now: u64) -> Step {
    let Some(context) = Context::new(&segment.key, now) else {
        return Step::pass(Reason::NoService);
    };
    let half = segment.key.half();
    if let Some(half) = half {
        // SAFETY: a pointer that the map has just given.
        let step = unsafe { half_open(segment, half, &context) };
        if step.is_decided() {
            return step;
        }
    }
    if awaits_peer() {
        return Step::without_target(Action::Drop, Reason::AwaitsPeer);
    }
    recover(segment, half, &context)
}

/// In the first moments after a takeover, a client's packet may overtake the peer's word of its flow. A guess could be
/// wrong, and would end the session; dropped, the packet is sent again, when the flow is known (RFC 6298: after 200 ms at
/// least, as Linux has it).
#[inline(always)]
fn awaits_peer() -> bool {
    let Some(until) = TAKEOVER.get_ptr(0) else {
        return false;
    };
    // SAFETY: inside the map value, and a helper without arguments (5.8).
    unsafe { until.read_volatile() > bpf_ktime_get_boot_ns() }
}

/// A function of its own, for its stack: "combined stack size" is the sum of what is called in turn.
#[inline(never)]
fn service_of<K: Key>(key: &K) -> u32 {
    match SERVICES.get_ptr(key.service()) {
        // SAFETY: inside the map value; the controller replaces it as a whole.
        Some(service) => unsafe { (*service).id },
        None => NO_SERVICE,
    }
}

const NO_SERVICE: u32 = u32::MAX;

struct Context<'a> {
    request: select::Request,
    reply_local: bool,
    settings: &'a Settings,
    now: u64,
}

impl Context<'_> {
    /// `None`: no service listens there.
    #[inline(always)]
    fn new<K: Key>(key: &K, now: u64) -> Option<Self> {
        let service = service_of(key);
        if service == NO_SERVICE {
            return None;
        }
        let conf = SERVICE_CONFS.get_ptr(service)?;
        // SAFETY: inside the map value; pool and flags are read as one word.
        let conf = unsafe { atomic::load(conf.cast()) };
        let settings = SETTINGS.get_ptr(0)?;
        // SAFETY: inside the map value.
        let settings = unsafe { &*settings };
        Some(Self {
            request: select::Request {
                service,
                pool: conf as u32,
                hash: key.hash(),
                source: key.source_hash(),
                epoch: (now >> (settings.window_shift & 63)) as u32,
                pending_floor: settings.pending_floor,
            },
            reply_local: (conf >> 32) as u32 & SERVICE_REPLY_LOCAL != 0,
            settings,
            now,
        })
    }

    #[inline(always)]
    fn nonce(&self) -> u32 {
        (self.request.hash ^ self.now) as u32
    }

    /// The table refused an insert a moment ago.
    #[inline(always)]
    fn table_is_full(&self) -> bool {
        let Some(table) = TABLE.get_ptr(0) else {
            return false;
        };
        // SAFETY: inside the map value.
        let full_at = unsafe { atomic::load(&raw const (*table).full_at) };
        full_at != 0 && self.now.wrapping_sub(full_at) < self.settings.full_for as u64
    }
}

/// A request for a connection.
#[inline(always)]
fn syn<K: Key>(segment: &Segment<K>, half: Option<*mut Half>, context: &Context) -> Step {
    if let Some(half) = half {
        // SAFETY: a pointer that the map has just given.
        let step = unsafe { syn_again(segment, half, context) };
        if step.is_decided() {
            return step;
        }
    }
    let full = context.table_is_full();
    let choice = if full {
        select::consistent(&context.request)
    } else {
        select::choose(&context.request)
    };
    let Some(server) = choice else {
        return no_server(segment, half, context);
    };
    let Some(target) = select::target(server) else {
        return no_server(segment, half, context);
    };
    if full {
        // Without state, so that the ACK finds the same server by the same hash.
        forget(half);
        return Step::forward(Reason::TableFull, target);
    }
    let mut epoch = pending::UNCOUNTED;
    if let Some(count) = COUNTS.get_ptr_mut(server) {
        // SAFETY: a pointer that the map has just given.
        epoch = unsafe { pending::put_in(count, context.request.epoch) };
    }
    remember(
        &segment.key,
        half,
        HalfWord::new(
            HalfKind::Pending,
            server,
            target.generation,
            context.nonce(),
        ),
        Seen {
            since: context.now as u32,
            epoch,
            isn: segment.tcp.seq,
        },
    );
    Step::forward(Reason::Scheduled, target)
}

/// A SYN that hit the half-open table. [`Action::Further`]: it asks for something new.
///
/// # Safety
/// `half` points into the half-open table.
#[inline(always)]
unsafe fn syn_again<K: Key>(segment: &Segment<K>, half: *mut Half, context: &Context) -> Step {
    // SAFETY: inside the map value.
    let word = HalfWord(unsafe { atomic::load(&raw const (*half).word) });
    if word.kind() as u8 != HalfKind::Pending as u8 {
        return Step::FURTHER;
    }
    // SAFETY: inside the map value.
    let (isn, epoch) = unsafe { ((*half).isn, (*half).epoch) };
    let server = word.server();
    if isn == segment.tcp.seq
        && let Some(target) = select::owner(server, word.generation())
        && target.has(SERVER_ACCEPT)
    {
        // Its window may have aged out; the connection is still being opened.
        if epoch.wrapping_add(1) < context.request.epoch
            && let Some(count) = COUNTS.get_ptr_mut(server)
        {
            // SAFETY: pointers that the maps have given.
            unsafe {
                let epoch = pending::put_in(count, context.request.epoch);
                (&raw mut (*half).epoch).write_volatile(epoch);
            }
        }
        return Step::forward(Reason::SynRetransmitted, target);
    }
    // Another connection on the same ports, or a server that takes nothing new: choose again.
    // SAFETY: the caller's.
    unsafe { take_back(half, word) };
    Step::FURTHER
}

/// Ends a half-open entry, and takes it out of its window if it was in one. Whether this CPU did it.
///
/// # Safety
/// `half` points into the half-open table.
#[inline(always)]
unsafe fn take_back(half: *mut Half, word: HalfWord) -> bool {
    // SAFETY: inside the map value.
    let (won, epoch) = unsafe {
        (
            atomic::compare_and_swap(
                &raw mut (*half).word,
                word.0,
                word.with_kind(HalfKind::Gone).0,
            ),
            (*half).epoch,
        )
    };
    if won
        && word.kind() as u8 == HalfKind::Pending as u8
        && let Some(count) = select::count_of(word.server(), word.generation())
    {
        // SAFETY: a pointer that the map has just given.
        unsafe { pending::take_out(count, epoch) };
    }
    won
}

/// When an entry was made, and for a SYN where it is counted and how it is known again.
#[derive(Clone, Copy)]
pub struct Seen {
    pub since: u32,
    pub epoch: u32,
    pub isn: u32,
}

/// Writes a half-open entry: over the old one where there is one, because an update through the map would make
/// the LRU list evict others.
#[inline(always)]
pub fn remember<K: Key>(key: &K, half: Option<*mut Half>, word: HalfWord, seen: Seen) {
    if let Some(half) = half {
        // SAFETY: inside the map value. The list may have given the element to another connection since it was looked
        // up; its word differs then, and so nothing is written. Between the swap and the last write there are
        // nanoseconds, on a CPU that does nothing else.
        unsafe {
            let old = HalfWord(atomic::load(&raw const (*half).word));
            let gone = old.with_kind(HalfKind::Gone);
            if atomic::compare_and_swap(&raw mut (*half).word, old.0, gone.0) {
                (&raw mut (*half).epoch).write_volatile(seen.epoch);
                (&raw mut (*half).isn).write_volatile(seen.isn);
                (&raw mut (*half).since).write_volatile(seen.since);
                (&raw mut (*half).word).write_volatile(word.0);
                return;
            }
        }
    }
    insert_half(
        key,
        word.0,
        u64::from(seen.epoch) << 32 | u64::from(seen.isn),
        seen.since,
    );
}

/// A function of its own, for its stack.
#[inline(never)]
fn insert_half<K: Key>(key: &K, word: u64, epoch_isn: u64, since: u32) {
    key.insert_half(&Half {
        word,
        epoch: (epoch_isn >> 32) as u32,
        isn: epoch_isn as u32,
        since,
        reserved: [0; 3],
    });
}

#[inline(always)]
fn forget(half: Option<*mut Half>) {
    if let Some(half) = half {
        // SAFETY: inside the map value.
        unsafe {
            let word = HalfWord(atomic::load(&raw const (*half).word));
            take_back(half, word);
        }
    }
}

/// A segment without SYN that hit the half-open table. [`Action::Further`]: the entry says nothing (any more).
///
/// # Safety
/// `half` points into the half-open table.
#[inline(always)]
unsafe fn half_open<K: Key>(segment: &Segment<K>, half: *mut Half, context: &Context) -> Step {
    let tcp = &segment.tcp;
    // SAFETY: inside the map value.
    let word = HalfWord(unsafe { atomic::load(&raw const (*half).word) });
    let kind = word.kind();
    match kind {
        HalfKind::Gone => return Step::FURTHER,
        HalfKind::Local => return Step::pass(Reason::NoServerLocal),
        _ => {}
    }
    let server = word.server();
    let Some(target) = select::owner(server, word.generation()) else {
        // SAFETY: the caller's.
        unsafe { take_back(half, word) };
        return Step::FURTHER;
    };
    if target.has(SERVER_RESET) {
        // SAFETY: the caller's.
        unsafe { take_back(half, word) };
        return unless_rst(tcp.has(TCP_RST), Reason::ServerDownReset);
    }
    let forward = |reason| Step::forward(reason, target);
    if let HalfKind::Pending = kind {
        // SAFETY: inside the map value.
        let isn = unsafe { (&raw const (*half).isn).read_volatile() };
        // What follows a SYN starts one after it (more, if an earlier segment was lost).
        if tcp.seq.wrapping_sub(isn).wrapping_sub(1) >= BELIEVED_WINDOW {
            return forward(if tcp.has(TCP_RST) {
                Reason::RstIgnored
            } else {
                Reason::Handshake
            });
        }
    }
    if tcp.has(TCP_RST) {
        if let HalfKind::Remembered = kind {
            return forward(Reason::Remembered);
        }
        // SAFETY: the caller's.
        unsafe { take_back(half, word) };
        return forward(Reason::RstSeen);
    }
    match kind {
        HalfKind::Pending => {}
        HalfKind::Recovered => {
            // SAFETY: inside the map value.
            let since = unsafe { (&raw const (*half).since).read_volatile() };
            // A wrong guess is answered by RST from the server, and the client falls silent. Who still speaks
            // after a second has found the right one.
            if (context.now as u32).wrapping_sub(since) < context.settings.recover_after {
                return forward(Reason::Recovered);
            }
        }
        _ => return forward(Reason::Remembered),
    }
    // SAFETY: the caller's.
    let reason = unsafe { promote(segment, half, word, &target, context) };
    forward(reason)
}

const FLOW_RESERVED: usize = 4;

/// Makes a half-open entry an established flow, and counts it.
///
/// # Safety
/// `half` points into the half-open table.
#[inline(never)]
unsafe fn promote<K: Key>(
    segment: &Segment<K>,
    half: *mut Half,
    word: HalfWord,
    target: &Target,
    context: &Context,
) -> Reason {
    let server = word.server();
    let flow_word = FlowWord::new(
        FlowState::Established,
        server,
        target.generation,
        context.nonce(),
    );
    let mut flow = MaybeUninit::<Flow>::uninit();
    // SAFETY: writes every byte of it. Word by word, because the compiler makes a call to `memset` of a struct
    // expression, and the call's stack is one too many for kernel 6.1 ("combined stack size of 4 calls").
    let flow = unsafe {
        let p = flow.as_mut_ptr();
        (&raw mut (*p).word).write_volatile(flow_word.0);
        (&raw mut (*p).last_seen).write_volatile(context.now as u32);
        (&raw mut (*p).client_next).write_volatile(segment.tcp.next_seq());
        (&raw mut (*p).created).write_volatile(context.now);
        (&raw mut (*p).synced).write_volatile(0);
        for i in 0..FLOW_RESERVED {
            (&raw mut (*p).reserved)
                .cast::<u64>()
                .add(i)
                .write_volatile(0);
        }
        flow.assume_init_ref()
    };
    match segment.key.insert_flow(flow) {
        Ok(()) => {
            // Out of the window first: for a moment the flow is in neither count, never in both.
            // SAFETY: the caller's.
            unsafe { take_back(half, word) };
            if let Some(count) = COUNTS.get_ptr_mut(server) {
                // SAFETY: inside the map value.
                unsafe {
                    atomic::add_i64(&raw mut (*count).active, 1);
                    atomic::add_u64(&raw mut (*count).opened, 1);
                }
            }
            segment.key.remove_half();
            events::tell(&segment.key, EVENT_OPENED, flow_word);
            if segment.tcp.has(TCP_FIN) {
                if let Some(flow) = segment.key.flow() {
                    // SAFETY: a pointer that the map has just given; the nonce guards against its reuse.
                    unsafe { leave(&segment.key, flow, flow_word, FlowState::Closing) };
                }
                return Reason::FinSeen;
            }
            Reason::Promoted
        }
        // Another CPU has just promoted it.
        Err(EEXIST) => Reason::Established,
        Err(E2BIG) => {
            note_full(context.now);
            Reason::TableFull
        }
        // The bucket is busy (-EBUSY): the next packet tries again.
        Err(_) => Reason::Handshake,
    }
}

/// Counts that the flow table is full, and when.
#[inline(always)]
fn note_full(now: u64) {
    let Some(table) = TABLE.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: inside the map value.
    unsafe {
        atomic::add_u64(&raw mut (*table).full_total, 1);
        (&raw mut (*table).full_at).write_volatile(now);
    }
}

/// A segment of a connection that nobody knows: state was lost, or it never was.
#[inline(always)]
fn recover<K: Key>(segment: &Segment<K>, half: Option<*mut Half>, context: &Context) -> Step {
    let is_rst = segment.tcp.has(TCP_RST);
    let Some(server) = select::consistent(&context.request) else {
        if is_rst {
            return Step::without_target(Action::Drop, Reason::RstUnplaced);
        }
        return no_server(segment, half, context);
    };
    let Some(target) = select::target(server) else {
        return unless_rst(is_rst, Reason::ServerGone);
    };
    let step = Step::forward(Reason::Recovered, target);
    if is_rst || context.table_is_full() {
        return step;
    }
    remember(
        &segment.key,
        half,
        HalfWord::new(
            HalfKind::Recovered,
            server,
            target.generation,
            context.nonce(),
        ),
        Seen {
            since: context.now as u32,
            epoch: pending::UNCOUNTED,
            isn: 0,
        },
    );
    step
}

/// No server can take the connection: the director says so itself.
#[inline(always)]
fn no_server<K: Key>(segment: &Segment<K>, half: Option<*mut Half>, context: &Context) -> Step {
    if !context.reply_local || !segment.tcp.is_syn() {
        return unless_rst(segment.tcp.has(TCP_RST), Reason::NoServerReset);
    }
    // The rest of this connection is for the director's own TCP stack, even when a server comes back meanwhile.
    remember(
        &segment.key,
        half,
        HalfWord::new(HalfKind::Local, 0, 0, context.nonce()),
        Seen {
            since: context.now as u32,
            epoch: pending::UNCOUNTED,
            isn: segment.tcp.seq,
        },
    );
    Step::pass(Reason::NoServerLocal)
}
