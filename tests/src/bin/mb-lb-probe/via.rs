//! Checks through the VIP, over the loopback interface.
//!
//! A check connects to a server's own address. Here the server is this machine as well, and listens at the VIP alone: its own
//! address refuses the connection, unless the two programs at the traffic control hooks exchange the addresses, on the way out
//! and on the way back.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use aya_obj::generated::{TC_H_CLSACT, TC_H_MIN_EGRESS, TC_H_MIN_INGRESS};
use mb_lb_common::VIA_MARK;
use mb_lb_ctl::dataplane::{Dataplane, detach_vias};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use socket2::{Domain, Socket, Type};

use crate::frame::vip;
use crate::rig::{Family, IFINDEX, Rig};
use crate::{SOON, netlink, programs_are_verified};

const OUT: &str = "mb_lb_via_out";
const BACK: &str = "mb_lb_via_in";
/// No service is there, so the XDP program has nothing to do with it.
const PORT: u16 = 2525;
const GREETING: &str = "220 mail.example ESMTP\r\n";

/// # Panics
/// At whatever is not as it should be.
pub fn checks_work(plane: &mut Dataplane) {
    netlink::set_up(IFINDEX).unwrap_or_else(|error| panic!("{error:#}"));
    let servers = Family::BOTH.map(Server::new);
    assert_eq!(attached(), [0, 0]);
    reached(&servers, false);

    set(plane, true);
    programs_are_verified(&[BACK, OUT]);
    assert_eq!(attached(), [1, 1]);
    reached(&servers, true);
    println!("checks go through the VIP");

    set(plane, true);
    assert_eq!(attached(), [1, 1], "set again");
    set(plane, false);
    assert_eq!(attached(), [0, 0], "taken away");
    reached(&servers, false);
    set(plane, true);
    assert_eq!(attached(), [1, 1], "there again");
    reached(&servers, true);
    let none = plane.set_vias(&[], &[lo()]);
    assert_eq!((none, attached()), (Ok(()), [0, 0]), "no VIP");

    a_process_is_killed();
    let left = if has_tcx() { [0, 0] } else { [1, 1] };
    assert_eq!(attached(), left, "after a process that was killed");
    set(plane, true);
    assert_eq!(attached(), [1, 1], "after the next process");
    reached(&servers, true);
    detach_vias("lo");
    // There is nothing to be left with links, which end with their process.
    let left = if has_tcx() { [1, 1] } else { [0, 0] };
    assert_eq!(attached(), left, "after a detach");
    println!("filters come and go");
}

fn lo() -> (String, u32) {
    ("lo".to_owned(), IFINDEX)
}

#[track_caller]
fn set(plane: &mut Dataplane, on_lo: bool) {
    let interfaces: &[_] = if on_lo { &[lo()] } else { &[] };
    let set = plane.set_vias(&Family::BOTH.map(vip), interfaces);
    assert_eq!(set, Ok(()));
}

/// Without it the programs are filters of a queueing discipline.
fn has_tcx() -> bool {
    KernelVersion::current().expect("it has one") >= KernelVersion::new(6, 6, 0)
}

/// How many times each is attached, as the kernel says.
fn attached() -> [usize; 2] {
    [
        (OUT, TcAttachType::Egress, TC_H_MIN_EGRESS),
        (BACK, TcAttachType::Ingress, TC_H_MIN_INGRESS),
    ]
    .map(|(name, hook, minor)| {
        if has_tcx() {
            let (_, programs) = SchedClassifier::query_tcx("lo", hook).expect("a list of programs");
            let is_it = |name_of: Option<&str>| name_of == Some(name);
            return programs
                .iter()
                .filter(|program| is_it(program.name_as_str()))
                .count();
        }
        let parent = (TC_H_CLSACT & 0xffff_0000) | minor;
        netlink::filters(IFINDEX, parent, name).unwrap_or_else(|error| panic!("{error:#}"))
    })
}

/// Does with programs of its own what the controller does, and has no time to take them away.
fn a_process_is_killed() {
    // SAFETY: this process has one thread.
    match unsafe { fork() }.expect("a process") {
        ForkResult::Child => {
            let mut rig = Rig::new();
            set(&mut rig.plane, true);
            raise(Signal::SIGKILL).expect("its end");
        }
        ForkResult::Parent { child } => {
            let ended = waitpid(child, None);
            assert_eq!(
                ended,
                Ok(WaitStatus::Signaled(child, Signal::SIGKILL, false))
            );
        }
    }
}

/// Behind the VIP of a family.
struct Server {
    own: IpAddr,
    listener: TcpListener,
    mark: u32,
}

impl Server {
    fn new(family: Family) -> Self {
        let (own, index) = match family {
            Family::V4 => (Ipv4Addr::LOCALHOST.into(), 0),
            Family::V6 => (Ipv6Addr::LOCALHOST.into(), 1),
        };
        netlink::add_address(IFINDEX, vip(family)).unwrap_or_else(|error| panic!("{error:#}"));
        let listener = TcpListener::bind((vip(family), PORT)).expect("the VIP is there");
        let mark = VIA_MARK | index;
        Self {
            own,
            listener,
            mark,
        }
    }

    /// What the server says to one that connects to its own address.
    fn greets(&self, mark: u32) -> Result<String> {
        let own = SocketAddr::new(self.own, PORT);
        let socket = Socket::new(Domain::for_address(own), Type::STREAM, None)?;
        socket.set_mark(mark)?;
        socket
            .connect_timeout(&own.into(), SOON)
            .context("connect")?;
        let mut client = TcpStream::from(socket);
        client.set_read_timeout(Some(SOON))?;
        let (mut accepted, _) = self.listener.accept()?;
        accepted.write_all(GREETING.as_bytes())?;
        drop(accepted);
        let mut said = String::new();
        client.read_to_string(&mut said).context("read")?;
        Ok(said)
    }
}

/// Whether checks get to the servers; connections of others never do.
#[track_caller]
fn reached(servers: &[Server], expected: bool) {
    for server in servers {
        let own = server.own;
        let check = server.greets(server.mark);
        match (check, expected) {
            (Ok(said), true) => assert_eq!(said, GREETING, "{own}"),
            (Err(error), false) => is_refusal(&error),
            (check, _) => panic!("a check of {own}: {check:?}"),
        }
        is_refusal(&server.greets(0).expect_err("not a check's"));
    }
}

#[track_caller]
fn is_refusal(error: &anyhow::Error) {
    let why = error
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind);
    assert_eq!(
        why,
        Some(std::io::ErrorKind::ConnectionRefused),
        "{error:#}"
    );
}
