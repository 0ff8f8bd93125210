//! `[storage.NAME]`

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::{Draft, INTERVAL, TIMEOUT, duration, missing, number, word};
use crate::config::diagnostic::{Code, Finding, Reporter, quote};
use crate::config::fields::{Field, Fields, Words};
use crate::config::values::{self, Fault};
use crate::config::{NfsVersion, Storage, StorageKind, TakesOut, address, schema};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Nfs,
    Glusterfs,
    Mount,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Nfs => "nfs",
            Self::Glusterfs => "glusterfs",
            Self::Mount => "mount",
        }
    }
}

const TYPES: Words<Type> = Words {
    known: &[
        ("nfs", Type::Nfs),
        ("glusterfs", Type::Glusterfs),
        ("mount", Type::Mount),
    ],
    later: &[],
    foreign: &[
        ("nfs3", "nfs"),
        ("nfs4", "nfs"),
        ("gluster", "glusterfs"),
        ("fuse.glusterfs", "glusterfs"),
        ("local", "mount"),
        ("path", "mount"),
    ],
};

const VERSION: Words<NfsVersion> = Words {
    known: &[
        ("any", NfsVersion::Any),
        ("3", NfsVersion::V3),
        ("4", NfsVersion::V4),
    ],
    later: &[],
    foreign: &[("v3", "3"), ("v4", "4"), ("4.1", "4"), ("4.2", "4")],
};

const HEAL: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(86_400);
const LATENCY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
const MOST_SERVERS: usize = 32;

pub(super) fn storage(
    name: &str,
    field: &Field<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<Draft<Storage>> {
    let table = field.table("a table", reporter)?;
    let fields = Fields::open(&schema::STORAGE, field.path.clone(), table, reporter);
    let missing = |key: &str, example: &str| missing("storage", name, field, key, example);
    let given = fields.get("type");
    if given.is_none() {
        reporter.push(missing(
            "type",
            "type = \"nfs\", \"glusterfs\" or \"mount\"",
        ));
    }
    let kind = given.and_then(|field| field.word(&TYPES, reporter));
    if let Some(kind) = kind {
        refuse_foreign(kind, &fields, reporter);
    }
    let mount = fields
        .get("mount")
        .map(|field| field.parsed("the path of a directory", directory, reporter));
    let kind = match kind {
        Some(Type::Nfs) => nfs(&fields, &missing, reporter),
        Some(Type::Glusterfs) => glusterfs(&fields, &missing, reporter),
        Some(Type::Mount) | None => {
            if kind.is_some() && mount.is_none() {
                reporter.push(missing(
                    "mount",
                    "mount = \"/var/spool/mailborder/quarantine\"",
                ));
            }
            StorageKind::Mount
        }
    };
    let mount: Option<PathBuf> = mount.flatten();
    let write_probe = fields.get("write_probe");
    if let (Some(field), None) = (&write_probe, fields.get("mount")) {
        let help =
            "add mount = \"/PATH\"; without one, an NFS export is tried by export_probe = true";
        field.no_effect("without `mount`", help, reporter);
    }
    let write_probe = write_probe.and_then(|field| field.boolean(reporter));
    let min_free = fields.get("min_free").and_then(|field| {
        let percent = field.parsed("a share such as \"10%\"", values::percent, reporter)?;
        if percent == 100 {
            let fault = Fault::new(Code::OutOfRange, "is `100%`, allowed are 0% to 99%");
            field.refuse(fault, reporter);
            return None;
        }
        Some(percent)
    });
    let (takes_out, takes_out_spans) = match fields.get("takes_out") {
        Some(field) => takes_out(&field, reporter),
        None => (Vec::new(), Vec::new()),
    };
    let seconds = Duration::from_secs;
    Some(Draft {
        tier: Storage {
            name: name.to_owned(),
            kind,
            mount,
            write_probe: write_probe.unwrap_or(true),
            interval: duration(&fields, "interval", INTERVAL, seconds(5), reporter),
            timeout: duration(&fields, "timeout", TIMEOUT, seconds(2), reporter),
            rise: number(&fields, "rise", 1..=255, 2, reporter),
            fall: number(&fields, "fall", 1..=255, 2, reporter),
            min_free: min_free.unwrap_or(5),
            max_latency: duration(
                &fields,
                "max_latency",
                LATENCY,
                Duration::from_millis(250),
                reporter,
            ),
            takes_out,
        },
        name: field.key_span.clone(),
        listen: Vec::new(),
        servers: Vec::new(),
        takes_out: takes_out_spans,
        complete: true,
    })
}

/// Keys of another type.
fn refuse_foreign(kind: Type, fields: &Fields<'_>, reporter: &mut Reporter<'_>) {
    let owned: [(Type, &[&'static str]); 2] = [
        (Type::Nfs, &["server", "export", "version", "export_probe"]),
        (
            Type::Glusterfs,
            &["servers", "volume", "heal_command", "heal_interval"],
        ),
    ];
    let beside = format!("with type = \"{}\"", kind.name());
    for (owner, keys) in owned {
        if owner == kind {
            continue;
        }
        for field in keys.iter().filter_map(|key| fields.get(key)) {
            let help = match (kind, field.path.rsplit('.').next()) {
                (Type::Glusterfs, Some("server")) => {
                    "write servers = [\"ADDRESS\", ...]".to_owned()
                }
                (Type::Nfs, Some("servers")) => "write server = \"ADDRESS\"".to_owned(),
                _ => format!("it belongs to type = \"{}\"; remove it", owner.name()),
            };
            field.no_effect(&beside, &help, reporter);
        }
    }
    if kind == Type::Mount
        && let Some(field) = fields.get("port")
    {
        field.no_effect(&beside, "nobody is connected to; remove it", reporter);
    }
}

fn nfs(
    fields: &Fields<'_>,
    missing: &dyn Fn(&str, &str) -> Finding,
    reporter: &mut Reporter<'_>,
) -> StorageKind {
    if fields.get("server").is_none() {
        reporter.push(missing("server", "server = \"192.168.1.130\""));
    }
    let server = fields.get("server").and_then(|field| {
        field.parsed(
            "an address such as \"192.168.1.130\"",
            address::relayed,
            reporter,
        )
    });
    let version = match fields.get("version") {
        Some(field) => version(&field, reporter),
        None => None,
    };
    let export = fields
        .get("export")
        .map(|field| field.parsed("the path of an export", directory, reporter));
    let export_probe = fields.get("export_probe");
    if let (Some(field), None) = (&export_probe, &export) {
        field.no_effect(
            "without `export`",
            "add export = \"/PATH\", or remove it",
            reporter,
        );
    }
    let export_probe = export_probe.map(|field| (field.boolean(reporter) == Some(true), field));
    if let (Some((true, field)), Some(NfsVersion::V4)) = (&export_probe, version) {
        let help = "it speaks NFSv3; remove it, and have the export mounted here instead";
        field.no_effect("with version = \"4\"", help, reporter);
    }
    StorageKind::Nfs {
        server: server.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        export: export.flatten().map(|path| path.display().to_string()),
        port: number(fields, "port", 1..=65535, 2049, reporter),
        version: version.unwrap_or(NfsVersion::Any),
        export_probe: export_probe.is_some_and(|(on, _)| on),
    }
}

fn version(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<NfsVersion> {
    if let DeValue::Integer(number) = field.value {
        let finding = field.wrong_type("\"any\", \"3\" or \"4\"");
        reporter.push(finding.help(format!("write \"{number}\"")));
        return None;
    }
    field.word(&VERSION, reporter)
}

fn glusterfs(
    fields: &Fields<'_>,
    missing: &dyn Fn(&str, &str) -> Finding,
    reporter: &mut Reporter<'_>,
) -> StorageKind {
    for (key, example) in [
        ("servers", "servers = [\"192.168.1.130\", ...]"),
        ("volume", "volume = \"mailborder-quarantine\""),
    ] {
        if fields.get(key).is_none() {
            reporter.push(missing(key, example));
        }
    }
    let servers = match fields.get("servers") {
        Some(field) => servers(&field, reporter),
        None => Vec::new(),
    };
    let volume = fields
        .get("volume")
        .and_then(|field| field.parsed("the name of a volume", word, reporter));
    let heal_command = fields.get("heal_command").and_then(|field| {
        field.parsed(
            "a command such as \"/usr/sbin/gluster ...\"",
            command,
            reporter,
        )
    });
    if let (Some(field), None) = (fields.get("heal_interval"), fields.get("heal_command")) {
        field.no_effect("without `heal_command`", "add one, or remove it", reporter);
    }
    StorageKind::Glusterfs {
        servers,
        volume: volume.unwrap_or_default(),
        port: number(fields, "port", 1..=65535, 24007, reporter),
        heal_command: heal_command.unwrap_or_default(),
        heal_interval: duration(
            fields,
            "heal_interval",
            HEAL,
            Duration::from_secs(60),
            reporter,
        ),
    }
}

fn servers(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Vec<IpAddr> {
    let one = "an address such as \"192.168.1.130\"";
    let expected = format!("{one}, or a list of them");
    let mut servers = Vec::new();
    for element in field.elements(&expected, "add \"ADDRESS\"", reporter) {
        let Some(address) = element.parsed(one, address::relayed, reporter) else {
            continue;
        };
        if servers.contains(&address) {
            let phrase = format!("has `{address}` twice");
            reporter.push(element.finding(Code::DuplicateAddress, &phrase));
            continue;
        }
        servers.push(address);
        if servers.len() == MOST_SERVERS + 1 {
            let phrase = format!("has more than {MOST_SERVERS} addresses");
            reporter.push(element.finding(Code::TooMany, &phrase));
        }
    }
    servers
}

/// An absolute path other than the root, with or without a slash at its end.
fn directory(text: &str) -> Result<PathBuf, Fault> {
    match text.trim_end_matches('/') {
        "" if text.starts_with('/') => {
            let phrase = "is the root of the file system".to_owned();
            Err(Fault::new(Code::BadPath, phrase))
        }
        trimmed => values::file(trimmed),
    }
}

/// Words with spaces between; no shell reads them.
fn command(text: &str) -> Result<Vec<String>, Fault> {
    let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    match words.first() {
        None => Err(Fault::new(Code::Empty, "is empty")),
        Some(program) => values::file(program).map(|_| words),
    }
}

fn takes_out(field: &Field<'_>, reporter: &mut Reporter<'_>) -> (Vec<TakesOut>, Vec<Range<usize>>) {
    let one = "a service such as \"smtp_backend\", or one of its servers, \"smtp_backend/mb1\"";
    let expected = format!("{one}, or a list of them");
    let elements = field.elements(&expected, "remove the key", reporter);
    let read = |element: &Field<'_>| {
        let out = element.parsed(one, out, reporter)?;
        Some((out, element.span.clone()))
    };
    elements.iter().filter_map(read).unzip()
}

fn out(text: &str) -> Result<TakesOut, Fault> {
    let (service, server) = match text.split_once('/') {
        Some((service, server)) => (service, Some(server)),
        None => (text, None),
    };
    let fault = |_| {
        let phrase = format!("is neither SERVICE nor SERVICE/SERVER: {}", quote(text));
        Fault::new(Code::BadName, phrase)
    };
    values::name(service).map_err(fault)?;
    server.map_or(Ok(()), values::name).map_err(fault)?;
    Ok(TakesOut {
        service: service.to_owned(),
        server: server.map(str::to_owned),
    })
}
