//! The little of `ip` and `tc` that the virtual machine needs, which has neither: rtnetlink(7), as bytes.

use std::io::{self, Read as _};
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of a `nlmsghdr`.
const HEADER: usize = 16;
/// A dump's parts fit into it: the kernel sends at most 32 KiB in one.
const ROOM: usize = 64 * 1024;

/// Sets an interface up.
pub fn set_up(ifindex: u32) -> Result<()> {
    let up = libc::IFF_UP as u32;
    // ifinfomsg: family, type, index, flags, and which of them are meant.
    let mut body = vec![0; 4];
    body.extend([ifindex, up, up].map(u32::to_ne_bytes).concat());
    ask(libc::RTM_NEWLINK, libc::NLM_F_ACK, &body).context("set an interface up")?;
    Ok(())
}

/// Gives an interface an address of its own, without a network.
pub fn add_address(ifindex: u32, address: IpAddr) -> Result<()> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let length = octets.len() as u8;
    // Nothing can be bound to an address that the kernel still asks others about.
    let at_once = libc::IFA_F_NODAD as u8;
    // ifaddrmsg: family, prefix, flags, scope, index; then one attribute.
    let mut body = vec![family as u8, length * 8, at_once, 0];
    body.extend(ifindex.to_ne_bytes());
    body.extend(
        [u16::from(length) + 4, libc::IFA_LOCAL]
            .map(u16::to_ne_bytes)
            .concat(),
    );
    body.extend(octets);
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    ask(libc::RTM_NEWADDR, flags, &body).with_context(|| format!("add {address}"))?;
    Ok(())
}

/// How many filters there are at `parent` that call themselves `name`.
pub fn filters(ifindex: u32, parent: u32, name: &str) -> Result<usize> {
    // tcmsg: family, index, handle, parent, protocol and priority.
    let mut body = vec![0; 4];
    body.extend([ifindex, 0, parent, 0].map(u32::to_ne_bytes).concat());
    let messages = ask(libc::RTM_GETTFILTER, libc::NLM_F_DUMP, &body).context("list filters")?;
    // TCA_BPF_NAME is in the filter's options; nothing else there ends like that.
    let name = [name.as_bytes(), b"\0"].concat();
    let has_name = |message: &&Vec<u8>| message.windows(name.len()).any(|bytes| bytes == name);
    Ok(messages.iter().filter(has_name).count())
}

/// The messages that the kernel answers with, but for the last, which says that it is the last.
fn ask(kind: u16, flags: i32, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(libc::NETLINK_ROUTE)),
    )?;
    let length = u32::try_from(HEADER + body.len())?;
    let flags = u16::try_from(flags | libc::NLM_F_REQUEST)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend([kind, flags].map(u16::to_ne_bytes).concat());
    // A number of ours, and the kernel as the other side.
    request.extend([1, 0].map(u32::to_ne_bytes).concat());
    request.extend(body);
    socket.send(&request)?;
    let mut messages = Vec::new();
    let mut buffer = vec![0; ROOM];
    loop {
        let length = (&socket).read(&mut buffer)?;
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let message = rest
                .first_chunk()
                .map(|length| u32::from_ne_bytes(*length) as usize)
                .and_then(|length| rest.get(..length))
                .filter(|message| message.len() >= HEADER + 4)
                .context("a message that is cut off")?;
            match i32::from(u16::from_ne_bytes([message[4], message[5]])) {
                libc::NLMSG_DONE => return Ok(messages),
                libc::NLMSG_ERROR => {
                    let code = [16, 17, 18, 19].map(|at| message[at]);
                    let code = i32::from_ne_bytes(code);
                    ensure!(code == 0, io::Error::from_raw_os_error(-code));
                    return Ok(messages);
                }
                _ => messages.push(message.to_vec()),
            }
            rest = &rest[message.len().next_multiple_of(4).min(rest.len())..];
        }
    }
}
