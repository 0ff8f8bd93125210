//! An NFS server: whether its programs answer, what it exports, and whether a file can be written there.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::nfs3::{self, Decoded, Handle};
use super::rpc::{Failure, Procedure};
use super::seen::{Kind, Part, Role, Seen, Trouble};
use super::wire::{Connection, Problem};
use crate::config::{NfsVersion, StorageKind};

const PORTMAPPER_PORT: u16 = 111;
/// Where probe files are, in the export and on mounts: listing it does not mean listing all that is stored.
pub(super) const PROBES: &str = ".mb-lb-probe";
/// A page: what a probe file holds.
pub(super) const PROBE_SIZE: usize = 4096;
/// Probe files of this director that were left behind so long ago are removed, in seconds.
pub(super) const STALE: u32 = 3600;
/// So many in a round.
const MOST_SWEPT: usize = 16;

/// All that can be asked of an NFS server, at once.
pub(super) async fn ask(kind: &StorageKind, limit: Duration) -> Vec<Part> {
    let StorageKind::Nfs {
        server,
        export,
        port,
        version,
        export_probe,
    } = kind
    else {
        return Vec::new();
    };
    let at = |port| SocketAddr::new(*server, port);
    let part = |role, name: &str, address: String| {
        let name = name.to_owned();
        move |(seen, took)| Part {
            role,
            name,
            address,
            seen,
            took,
        }
    };
    let who = nfs_name(at(*port));
    let nfs = timed(limit, &who, versions(at(*port), *version));
    let mountd = async {
        match version {
            NfsVersion::V4 => None,
            NfsVersion::V3 | NfsVersion::Any => {
                Some(timed(limit, &mountd_name(*server), mountd_exports(*server)).await)
            }
        }
    };
    let probe = async {
        let (true, Some(export)) = (*export_probe, export) else {
            return None;
        };
        let work = write_probe(*server, *port, export);
        Some(timed(limit, &format!("the export {export}"), work).await)
    };
    let (nfs, mountd, probe) = tokio::join!(nfs, mountd, probe);

    let four = nfs.0.as_ref().is_ok_and(|versions| versions.contains(&4));
    let mut parts = Vec::new();
    let seen = nfs.0.map(|versions| Seen::Answers(answers(&versions)));
    parts.push(part(Role::Nfs, "nfs", at(*port).to_string())((seen, nfs.1)));
    let mut listed = None;
    if let Some((exports, took)) = mountd {
        let seen = match exports {
            Ok(exports) => {
                listed = export
                    .as_deref()
                    .map(|export| (in_list(export, exports), took));
                Ok(Seen::Answers("answers".to_owned()))
            }
            Err(trouble) if *version == NfsVersion::Any && four => Ok(Seen::NotNeeded(format!(
                "{}; version 4 does without",
                trouble.text
            ))),
            Err(trouble) => Err(trouble),
        };
        parts.push(part(Role::Mountd, "mountd", server.to_string())((
            seen, took,
        )));
    }
    if let Some((seen, took)) = probe.or(listed) {
        let name = export.as_deref().unwrap_or_default();
        parts.push(part(Role::Export, name, format!("{server}:{name}"))((
            seen, took,
        )));
    }
    parts
}

/// What came of it within the limit, and what it took.
pub(super) async fn timed<T>(
    limit: Duration,
    who: &str,
    work: impl Future<Output = Result<T, Trouble>>,
) -> (Result<T, Trouble>, Duration) {
    let begun = Instant::now();
    let seen = timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("{who} does not answer within {limit:?}");
        Err(Trouble::new(Kind::NotAnswering, text))
    });
    (seen, begun.elapsed())
}

fn nfs_name(at: SocketAddr) -> String {
    format!("nfs at {at}")
}

fn mountd_name(server: IpAddr) -> String {
    format!("mountd at {server}")
}

fn answers(versions: &[u32]) -> String {
    match versions {
        [3, 4] => "answers, versions 3 and 4".to_owned(),
        [one] => format!("answers, version {one}"),
        _ => "answers".to_owned(),
    }
}

/// The versions that answer, of those that are wanted: all of them, or with `Any` one at least.
async fn versions(at: SocketAddr, version: NfsVersion) -> Result<Vec<u32>, Trouble> {
    let who = nfs_name(at);
    let wanted: &[u32] = match version {
        NfsVersion::V3 => &[3],
        NfsVersion::V4 => &[4],
        NfsVersion::Any => &[3, 4],
    };
    let trouble = |problem: Problem| problem.trouble(&who);
    let mut connection = Connection::open(at).await.map_err(|e| trouble(e.into()))?;
    let mut answered = Vec::new();
    let mut refused = None;
    for &version in wanted {
        match connection.null(nfs3::NFS, version).await {
            Ok(()) => answered.push(version),
            Err(Problem::Rpc(failure @ (Failure::Versions { .. } | Failure::NoProgram))) => {
                refused = Some(failure);
            }
            Err(problem) => return Err(trouble(problem)),
        }
    }
    match (answered.is_empty(), refused) {
        (true, Some(failure)) => Err(trouble(Problem::Rpc(failure))),
        _ => Ok(answered),
    }
}

/// The port of mountd, which wants to be asked for.
async fn mountd_port(server: IpAddr) -> Result<u16, Trouble> {
    let at = SocketAddr::new(server, PORTMAPPER_PORT);
    let who = format!("the portmapper at {at}");
    let trouble = |problem: Problem| problem.trouble(&who);
    let mut connection = Connection::open(at).await.map_err(|e| trouble(e.into()))?;
    let question = nfs3::getport(nfs3::MOUNTD.0, nfs3::MOUNTD.1);
    let answer = connection
        .call(nfs3::GETPORT, &question)
        .await
        .map_err(trouble)?;
    match nfs3::port(&answer) {
        None => Err(Problem::Rpc(Failure::Garbage).trouble(&who)),
        Some(0) => Err(Trouble::new(
            Kind::NotRegistered,
            format!("{who} knows of no mountd of version 3 over TCP"),
        )),
        Some(port) => Ok(port),
    }
}

/// Asks mountd for nothing, and then for its exports, as it sends them.
async fn mountd_exports(server: IpAddr) -> Result<Result<Vec<u8>, Trouble>, Trouble> {
    let at = SocketAddr::new(server, mountd_port(server).await?);
    let who = format!("mountd at {at}");
    let trouble = |problem: Problem| problem.trouble(&who);
    let mut connection = Connection::open(at).await.map_err(|e| trouble(e.into()))?;
    connection
        .null(nfs3::MOUNTD.0, nfs3::MOUNTD.1)
        .await
        .map_err(trouble)?;
    Ok(connection.call(nfs3::EXPORT, &[]).await.map_err(trouble))
}

fn in_list(export: &str, answer: Result<Vec<u8>, Trouble>) -> Result<Seen, Trouble> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) => return Ok(Seen::Unknown(trouble.text)),
    };
    match nfs3::exports(&answer) {
        None => Ok(Seen::Unknown("the list of exports is garbled".to_owned())),
        Some(exports) if nfs3::is_exported(export, &exports) => {
            Ok(Seen::Answers("is exported".to_owned()))
        }
        Some(exports) => Err(Trouble::new(
            Kind::ExportGone,
            format!(
                "{export} is not among the {} exports of the server",
                exports.len()
            ),
        )),
    }
}

/// Writes a file, reads it back and removes it.
async fn write_probe(server: IpAddr, port: u16, export: &str) -> Result<Seen, Trouble> {
    let mountd_at = SocketAddr::new(server, mountd_port(server).await?);
    let mut mountd = Asker::open(mountd_at, "mountd").await?;
    let answer = mountd.raw(nfs3::MNT, &nfs3::path(export)).await?;
    let root = nfs3::mounted(&answer)
        .ok_or_else(|| mountd.garbage())?
        .map_err(|status| nfs3::mount_trouble(status, export))?;
    let mut nfs = Asker::open(SocketAddr::new(server, port), "nfs").await?;
    let (space, _) = nfs
        .ask(nfs3::FSSTAT, &nfs3::of(&root), "FSSTAT", |answer| {
            nfs3::space(answer).map(|space| space.map(|space| (space, ())))
        })
        .await?;
    let directory = probes(&mut nfs, &root).await?;
    let host = super::child::host_name();
    let name = format!("{host}.{}", std::process::id());
    let when = write_and_read(&mut nfs, &directory, &name).await?;
    if let Some(when) = when {
        sweep(&mut nfs, &directory, &host, when).await?;
    }
    // Servers keep a list of who has mounted what, for people to read. No harm if it is not up to date.
    let _ = mountd.raw(nfs3::UMNT, &nfs3::path(export)).await;
    Ok(Seen::Works {
        space,
        wrote: true,
        note: String::new(),
    })
}

/// The directory for probe files.
async fn probes(nfs: &mut Asker, root: &Handle) -> Result<Handle, Trouble> {
    let look = nfs3::entry(root, PROBES);
    let answer = nfs.raw(nfs3::LOOKUP, &look).await?;
    match nfs3::looked_up(&answer).ok_or_else(|| nfs.garbage())? {
        Ok((handle, _)) => return Ok(handle),
        Err(nfs3::STATUS_NOENT) => {}
        Err(status) => return Err(nfs3::trouble(status, &format!("LOOKUP {PROBES}"))),
    }
    let answer = nfs
        .raw(nfs3::MKDIR, &nfs3::make_directory(root, PROBES))
        .await?;
    match nfs3::created(&answer).ok_or_else(|| nfs.garbage())? {
        Ok(Some(handle)) => return Ok(handle),
        // The other director was faster.
        Ok(None) | Err(nfs3::STATUS_EXIST) => {}
        Err(status) => return Err(nfs3::trouble(status, &format!("MKDIR {PROBES}"))),
    }
    let found = nfs
        .ask(nfs3::LOOKUP, &look, "LOOKUP", nfs3::looked_up)
        .await?;
    Ok(found.0)
}

/// When it was written, by the server's clock.
async fn write_and_read(
    nfs: &mut Asker,
    directory: &Handle,
    name: &str,
) -> Result<Option<u32>, Trouble> {
    let remove = nfs3::entry(directory, name);
    let question = nfs3::create(directory, name);
    let mut answer = nfs.raw(nfs3::CREATE, &question).await?;
    if nfs3::created(&answer) == Some(Err(nfs3::STATUS_EXIST)) {
        // Of a round that was cut short.
        nfs.ask(nfs3::REMOVE, &remove, "REMOVE", nfs3::removed)
            .await?;
        answer = nfs.raw(nfs3::CREATE, &question).await?;
    }
    let created = nfs3::created(&answer)
        .ok_or_else(|| nfs.garbage())?
        .map_err(|status| nfs3::trouble(status, "CREATE"))?;
    let file = match created {
        Some(file) => file,
        None => {
            nfs.ask(nfs3::LOOKUP, &remove, "LOOKUP", nfs3::looked_up)
                .await?
                .0
        }
    };
    let contents = contents();
    let outcome = fill(nfs, &file, &contents).await;
    let removed = nfs
        .ask(nfs3::REMOVE, &remove, "REMOVE", nfs3::removed)
        .await;
    let when = outcome?;
    removed?;
    Ok(when)
}

async fn fill(nfs: &mut Asker, file: &Handle, contents: &[u8]) -> Result<Option<u32>, Trouble> {
    let (count, when) = nfs
        .ask(
            nfs3::WRITE,
            &nfs3::write(file, contents),
            "WRITE",
            nfs3::written,
        )
        .await?;
    let size = u32::try_from(contents.len()).unwrap_or(u32::MAX);
    if count != size {
        return Err(Trouble::new(
            Kind::IoError,
            format!("WRITE: {count} of {size} bytes were taken"),
        ));
    }
    let answer = nfs.raw(nfs3::READ, &nfs3::read(file, size)).await?;
    let back = nfs3::data(&answer, contents.len())
        .ok_or_else(|| nfs.garbage())?
        .map_err(|status| nfs3::trouble(status, "READ"))?;
    match back == contents {
        true => Ok(when),
        false => Err(Trouble::new(
            Kind::IoError,
            "READ: what was read is not what was written",
        )),
    }
}

/// Other contents each time: what is read back is not what an earlier probe wrote.
pub(super) fn contents() -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..))
        .take(PROBE_SIZE)
        .collect()
}

/// Removes what this director left behind long before `now`, both by the server's clock.
async fn sweep(nfs: &mut Asker, directory: &Handle, host: &str, now: u32) -> Result<(), Trouble> {
    let answer = nfs
        .raw(nfs3::READDIR, &nfs3::list(directory, 16 * 1024))
        .await?;
    let names = nfs3::names(&answer)
        .ok_or_else(|| nfs.garbage())?
        .map_err(|status| nfs3::trouble(status, "READDIR"))?;
    let own = names
        .into_iter()
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| is_probe_of(host, name));
    for name in own.take(MOST_SWEPT) {
        let entry = nfs3::entry(directory, name);
        let answer = nfs.raw(nfs3::LOOKUP, &entry).await?;
        if let Some(Ok((_, Some(when)))) = nfs3::looked_up(&answer)
            && now.saturating_sub(when) > STALE
        {
            // Somebody else may have been faster.
            nfs.raw(nfs3::REMOVE, &entry).await?;
        }
    }
    Ok(())
}

/// Whether that is the name of a probe file of that host.
pub(super) fn is_probe_of(host: &str, name: &str) -> bool {
    name.strip_prefix(host)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|rest| {
            let rest = rest.strip_suffix(".done").unwrap_or(rest);
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// A connection that knows who is asked.
struct Asker {
    connection: Connection,
    who: String,
}

impl Asker {
    async fn open(at: SocketAddr, program: &str) -> Result<Self, Trouble> {
        let who = format!("{program} at {at}");
        match Connection::open_as_root(at).await {
            Ok(connection) => Ok(Self { connection, who }),
            Err(error) => Err(Problem::from(error).trouble(&who)),
        }
    }

    fn garbage(&self) -> Trouble {
        Problem::Rpc(Failure::Garbage).trouble(&self.who)
    }

    async fn raw(&mut self, what: Procedure, question: &[u8]) -> Result<Vec<u8>, Trouble> {
        self.connection
            .call(what, question)
            .await
            .map_err(|problem| problem.trouble(&self.who))
    }

    async fn ask<T>(
        &mut self,
        what: Procedure,
        question: &[u8],
        doing: &str,
        decode: impl FnOnce(&[u8]) -> Decoded<T>,
    ) -> Result<T, Trouble> {
        let answer = self.raw(what, question).await?;
        decode(&answer)
            .ok_or_else(|| self.garbage())?
            .map_err(|status| nfs3::trouble(status, doing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_probe_files_are_swept() {
        for (name, expected) in [
            ("lb1.123", true),
            ("lb1.123.done", true),
            ("lb1.", false),
            ("lb1", false),
            ("lb10.123", false),
            ("lb1.x", false),
            ("lb2.123", false),
            ("lb1.example.org.12", false),
        ] {
            assert_eq!(is_probe_of("lb1", name), expected, "{name}");
        }
    }
}
