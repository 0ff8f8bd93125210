//! Clients that send too much, too slowly, or do not read: they hurt themselves only.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Result, ensure};
use mb_lb_ctl::admin::MAX_CONNECTIONS;
use mb_lb_tests::{Director, Lab, Topology, try_wait_until};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::ask;
use crate::rig::SOON;

/// A controller with a thousand servers, which nobody checks.
fn thousand(lab: &Lab) -> Result<Director> {
    let mut config = format!(
        "[service.many]\nlisten = [\"{}:25\"]\ncheck = {{ type = \"none\" }}\n[service.many.servers]\n",
        lab.vip4()
    );
    for number in 0..1000 {
        let (high, low) = (number / 250 + 200, number % 250 + 1);
        config += &format!("s{number} = \"10.77.{high}.{low}\"\n");
    }
    Director::start(lab, "lb1", &config)
}

fn lab(name: &str) -> Result<Lab> {
    Lab::with(
        name,
        Topology {
            directors: 1,
            servers: 1,
        },
    )
}

/// Whether the other end is closed; nothing is read.
fn is_left(stream: &UnixStream) -> Result<bool> {
    let mut poll = [PollFd::new(stream.as_fd(), PollFlags::POLLHUP)];
    nix::poll::poll(&mut poll, PollTimeout::ZERO)?;
    let seen = poll[0].revents().unwrap_or(PollFlags::empty());
    Ok(seen.contains(PollFlags::POLLHUP))
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// What comes until the other side closes, whether it has read all that was sent or not.
fn rest(mut stream: UnixStream) -> Result<String> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn what_is_too_much_is_refused_in_words() -> Result<()> {
    let lab = lab("sockbig")?;
    let director = thousand(&lab)?;
    let socket = director.socket();
    let cases: [(String, &str); 5] = [
        (
            format!("get weight {}\n", "x".repeat(16 * 1024)),
            "Line too long: at most 16384 bytes are read. Nothing of it was done.\n\n",
        ),
        (
            format!("show stat {}\n", vec!["x"; 63].join(" ")),
            "Too many words: 65, at most 64 are allowed.\n\n",
        ),
        (
            format!("set ssl cert x <<{}\n", "P".repeat(65)),
            "The pattern that ends the payload is longer than 64 bytes.\n",
        ),
        (
            format!(
                "set ssl cert x <<\n{}\n\n",
                "line\n".repeat(220_000).trim_end()
            ),
            "Payload too long: at most 1048576 bytes are read. Nothing of it was done.\n\n",
        ),
        // What is cut off is not done.
        ("set server many/s1 state maint".to_owned(), ""),
    ];
    for (sent, expected) in cases {
        let mut stream = connect(&socket)?;
        // A refusal may come before all was sent.
        let _ = stream.write_all(sent.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let answer = rest(stream)?;
        ensure!(answer == expected, "{answer:?}");
    }
    ensure!(ask(&socket, "get weight many/s1\n")? == "1 (initial 1)\n\n");
    ensure!(director.status()?.services[0].servers[1].admin == Default::default());
    Ok(())
}

#[test]
fn who_writes_a_byte_at_a_time_is_served_and_holds_nobody_up() -> Result<()> {
    let lab = lab("sockslow")?;
    let director = thousand(&lab)?;
    let socket = director.socket();
    let mut slow = connect(&socket)?;
    for byte in b"show cli level\n" {
        slow.write_all(&[*byte])?;
        // Others are served between its bytes.
        ensure!(ask(&socket, "show cli level\n")? == "admin\n\n");
    }
    ensure!(rest(slow)? == "admin\n\n");
    Ok(())
}

#[test]
fn who_does_not_read_is_left_and_holds_nobody_up() -> Result<()> {
    let lab = lab("sockdeaf")?;
    let director = thousand(&lab)?;
    let socket = director.socket();
    let whole = ask(&socket, "show stat\n")?;
    ensure!(
        whole.lines().count() == 1 + 1 + 1000 + 1 + 1,
        "{}",
        whole.lines().count()
    );
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(&socket)?;
        stream.write_all(b"show stat;show stat;show stat json;show stat typed\n")?;
        deaf.push(stream);
    }
    for _ in 0..20 {
        ensure!(ask(&socket, "show cli level\n")? == "admin\n\n");
    }
    // No place is left for others, until those who do not read are left.
    for _ in deaf.len()..MAX_CONNECTIONS {
        let mut stream = connect(&socket)?;
        stream.write_all(b"show stat json;show stat json\n")?;
        deaf.push(stream);
    }
    try_wait_until("the deaf to be left", SOON, || {
        let answer = ask(&socket, "show cli level\n")?;
        ensure!(answer == "admin\n\n", "{answer}");
        Ok(())
    })?;
    // What its socket held is all that it gets.
    let first = &deaf[0];
    try_wait_until("the first of them to be left", SOON, || {
        ensure!(is_left(first)?, "not yet");
        Ok(())
    })?;
    let answer = rest(deaf.swap_remove(0))?;
    ensure!(answer.len() < 4 * whole.len(), "{} bytes", answer.len());
    ensure!(director.status()?.services[0].servers.len() == 1000);
    Ok(())
}

/// A thread that is user `nobody` in the group of the socket, and stays so.
fn as_nobody<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // The C library would change all threads of this process.
            // SAFETY: plain numbers; what is changed is the calling thread's own.
            let done = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
            ensure!(done == 0, "{}", std::io::Error::last_os_error());
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Opens connections, and waits for each to be served: it has a prompt then.
fn served(socket: &Path, many: usize) -> Result<Vec<UnixStream>> {
    let mut open = Vec::new();
    for at in 0..many {
        let mut stream = connect(socket)?;
        stream.write_all(b"prompt;set timeout cli 1h\n")?;
        let mut answer = [0; 6];
        stream.read_exact(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer == "\n> \n> ", "{at}: {answer:?}");
        open.push(stream);
    }
    Ok(open)
}

#[test]
fn eight_places_are_roots_whoever_has_all_others() -> Result<()> {
    let lab = lab("sockroot")?;
    let director = thousand(&lab)?;
    let socket = director.socket();
    let mut way = director.machine().directory().to_owned();
    while way.starts_with(lab.dir()) {
        fs::set_permissions(&way, fs::Permissions::from_mode(0o755))?;
        way.pop();
    }
    let full =
        "Too many connections to the admin socket: 64 are open. Close one and try again.\n\n";
    let mut others = as_nobody(|| served(&socket, 64))?;
    ensure!(as_nobody(|| rest(connect(&socket)?))? == full);
    let own = served(&socket, 8)?;
    ensure!(rest(connect(&socket)?)? == full);
    // The operator's tools work although nobody else is served.
    drop(own);
    try_wait_until("root to be served again", SOON, || {
        director.expect(&["list", "services"])
    })?;
    ensure!(as_nobody(|| rest(connect(&socket)?))? == full);
    // Who gives a place back has it for the next one.
    others.pop();
    try_wait_until("a place", SOON, || as_nobody(|| served(&socket, 1)))?;
    Ok(())
}
