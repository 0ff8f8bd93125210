//! How long after the client a standby knows of a session: from the end of `connect` to the count in its kernel, and from
//! `close` to the count's going down.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData};
use mb_lb_common::{LAYOUT_VERSION, maps};
use mb_lb_tests::Pair;

use crate::report::{Report, Row, Spread};

const GROUP: &str = "flow sync: until the standby knows";
const LIMIT: Duration = Duration::from_millis(20);
const SESSIONS: usize = 200;
/// Indices that three servers can have.
const SERVERS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_micros(100);

/// Counts in a director's kernel.
struct Counts(Array<MapData, [u8; 64]>);

impl Counts {
    fn open(pair: &Pair, at: usize) -> Result<Self> {
        let mut path = PathBuf::from(pair.directors[at].bpf_root());
        path.push(format!("v{LAYOUT_VERSION}"));
        path.push(maps::COUNTS);
        let pin = MapData::from_pin(&path).with_context(|| path.display().to_string())?;
        Ok(Self(Array::try_from(Map::Array(pin))?))
    }

    /// Of all servers.
    fn sum(&self) -> Result<i64> {
        let mut sum = 0;
        for index in 0..SERVERS {
            let value = self.0.get(&index, 0)?;
            let (active, _) = value.split_at(8);
            sum += i64::from_ne_bytes(active.try_into()?);
        }
        Ok(sum)
    }

    /// How long it takes until there are so many.
    fn wait(&self, wanted: i64, from: Instant) -> Result<Duration> {
        loop {
            let sum = self.sum()?;
            let passed = from.elapsed();
            if sum == wanted {
                return Ok(passed);
            }
            if passed > PATIENCE {
                bail!("the standby counts {sum} sessions, not {wanted}");
            }
            sleep(LOOK);
        }
    }
}

pub fn measure(report: &mut Report, pair: &Pair, to: SocketAddr) -> Result<()> {
    let standby = Counts::open(pair, 1)?;
    let before = standby.sum()?;
    let client = pair.lab.client();
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    for _ in 0..SESSIONS {
        let mut stream = client.enter(|| TcpStream::connect(to))?;
        opened.push(standby.wait(before + 1, Instant::now())?);
        // The greeting: what is not read would make a RST of the end.
        let _length = stream.read(&mut [0; 512])?;
        let from = Instant::now();
        drop(stream);
        closed.push(standby.wait(before, from)?);
    }
    for (what, times) in [("session opened", opened), ("session closed", closed)] {
        let milliseconds = times.iter().map(|time| time.as_secs_f64() * 1e3);
        let late = times.iter().filter(|time| **time > LIMIT).count();
        report.add(Row {
            group: GROUP,
            what: what.to_owned(),
            unit: "ms",
            spread: Spread::of(milliseconds),
            limit: Some(LIMIT.as_secs_f64() * 1e3),
            note: match late {
                0 => String::new(),
                _ => format!("{late} of {SESSIONS} later than that"),
            },
        });
    }
    Ok(())
}
