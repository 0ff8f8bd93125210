//! Sockets that the process before left with the service manager (sd_listen_fds(3)).

use std::env;
use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};

const FIRST: RawFd = 3;

/// Listening TCP sockets among what the manager has passed on. What else it passes is closed.
pub fn sockets() -> Vec<TcpListener> {
    let number = |variable| env::var(variable).ok()?.parse::<i32>().ok();
    let is_ours = number("LISTEN_PID") == i32::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
    (FIRST..FIRST.saturating_add(count))
        .filter_map(|fd| {
            // SAFETY: the manager has given this process the descriptors from 3 on, as many as it says, and this is the only
            // place that takes them.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            // A descriptor that is none would be closed by somebody else's number.
            if let Err(error) = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
                tracing::warn!(%error, "the service manager has passed on what is no descriptor");
                std::mem::forget(fd);
                return None;
            }
            let listens = getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false)
                && getsockopt(&fd, sockopt::SockType) == Ok(SockType::Stream);
            listens.then(|| TcpListener::from(fd))
        })
        .collect()
}
