//! Requests over connections that stay open, by `h2load` in the client's namespace.

use anyhow::{Result, ensure};

use super::rig::{COOKIE, Front, Rig, Side};

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Http1,
    /// 16 streams to a connection.
    Http2,
}

impl Speech {
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Http1 => &["--h1", "-c", "32"],
            Self::Http2 => &["-m", "16", "-c", "8"],
        }
    }
}

/// Each has to be answered with 2xx.
pub fn send(
    rig: &Rig<'_>,
    side: Side,
    front: Front,
    speech: Speech,
    path: &str,
    requests: u32,
) -> Result<()> {
    let url = format!("{}://{}{path}", front.scheme(), rig.address(side, front));
    let (count, cookie) = (requests.to_string(), format!("cookie: {COOKIE}"));
    let mut arguments = vec!["-n", &count, "-H", &cookie];
    arguments.extend(speech.arguments());
    arguments.push(&url);
    let text = rig.lab.client().run("h2load", &arguments)?;
    let all = format!("{requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout");
    ensure!(text.contains(&all), "{} at {url}: {text}", side.name());
    let codes = format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx");
    ensure!(text.contains(&codes), "{} at {url}: {text}", side.name());
    Ok(())
}
