//! Who reads the flow table has the thread do it that brings changes into the kernel as well.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use anyhow::{Result, ensure};
use mb_lb_tests::{Halted, try_wait_until};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::{Page, SOON};

const REFUSED: &str = "others read the flow table already; try again when they are done";

/// Whether something can be read.
fn is_answered(stream: &UnixStream) -> Result<bool> {
    let mut poll = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    Ok(nix::poll::poll(&mut poll, PollTimeout::ZERO)? > 0)
}

fn rest(mut stream: UnixStream) -> Result<String> {
    stream.set_read_timeout(Some(SOON))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn four_readers_wait_and_others_are_told_to_come_again() -> Result<()> {
    let mut page = Page::start("webread")?;
    let sessions = page.cluster.open(6)?;
    let socket = page.director().socket();
    let ask = || -> Result<UnixStream> {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(b"show sess\n")?;
        stream.shutdown(Shutdown::Write)?;
        Ok(stream)
    };
    for _ in 0..2 {
        let halted = Halted::thread(page.cluster.director.running()?, "dataplane")?;
        let mut waiting = (0..9).map(|_| ask()).collect::<Result<Vec<_>>>()?;
        // Nobody is served: who is answered is refused.
        let mut refused = 0;
        try_wait_until("five to be answered", SOON, || {
            for at in (0..waiting.len()).rev() {
                if is_answered(&waiting[at])? {
                    let answer = rest(waiting.swap_remove(at))?;
                    assert_eq!(answer, format!("{REFUSED}\n\n"));
                    refused += 1;
                }
            }
            ensure!(refused == 5, "{refused} are");
            Ok(())
        })?;
        let answer = page.get("/api/v1/flows")?;
        ensure!(
            answer.status == 503 && answer.body.contains(REFUSED),
            "{answer:?}"
        );
        let answer = page.director().ctl(&["list", "flows"])?;
        ensure!(
            answer.code == 1 && answer.stderr.contains(REFUSED),
            "{answer:?}"
        );
        // What needs nothing of it is answered as ever.
        page.director().expect(&["list", "servers"])?;
        drop(halted);
        ensure!(waiting.len() == 4, "{}", waiting.len());
        for stream in waiting {
            let list = rest(stream)?;
            ensure!(list.lines().count() == 6 + 1, "{list}");
        }
        // And whoever comes again is served.
        ensure!(page.director().flows()?.len() == 6);
        ensure!(page.get("/api/v1/flows")?.status == 200);
    }
    for session in sessions {
        session.quit()?;
    }
    Ok(())
}
