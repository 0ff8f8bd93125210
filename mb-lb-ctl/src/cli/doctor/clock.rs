//! Whether the clock is right: certificates, logs and whoever compares those of two directors depend on it.

use super::finding::Finding;

const GROUP: &str = "clock";

/// State and status bits of adjtimex(2), or why they could not be had.
pub fn look() -> Finding {
    // SAFETY: plain integers, for which zero is a value; with `modes` zero nothing is set.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is that of a live structure.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    match state {
        -1 => judge(Err(std::io::Error::last_os_error().to_string())),
        state => judge(Ok((state, timex.status))),
    }
}

fn judge(read: Result<(libc::c_int, libc::c_int), String>) -> Finding {
    match read {
        Err(why) => Finding::not_known(GROUP, &format!("the clock: {why}"), "timedatectl"),
        Ok((state, status)) if state == libc::TIME_ERROR || status & libc::STA_UNSYNC != 0 => {
            Finding::warning(
                GROUP,
                "nobody keeps the clock right: the kernel says that it is not synchronised",
                "certificates seem to expire too early or too late, and the events of the two directors cannot be put in order",
                "apt-get install chrony (a guest that has its time from the host may leave it; timedatectl says what is so)",
            )
        }
        Ok(_) => Finding::ok(GROUP, "the clock is synchronised"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn states() {
        for (read, level) in [
            (Ok((libc::TIME_OK, libc::STA_PLL)), Level::Ok),
            (Ok((libc::TIME_OK, libc::STA_UNSYNC)), Level::Warning),
            (Ok((libc::TIME_ERROR, 0)), Level::Warning),
            (Err("denied".to_owned()), Level::NotKnown),
        ] {
            assert_eq!(judge(read).level, level);
        }
    }
}
