//! What to do next, as a command where there is one.

use super::super::seen::{Kind, Part, Role, Trouble};
use crate::config::{self, StorageKind};

pub(super) fn for_trouble(config: &config::Storage, part: &Part, trouble: &Trouble) -> String {
    if trouble.kind == Kind::ReadOnly && trouble.text.contains("for mb-lb") {
        return format!(
            "`systemctl edit mb-lb`: [Service] ReadWritePaths={}; then `systemctl restart mb-lb`",
            part.name
        );
    }
    match part.role {
        Role::Glusterd => glusterd(config, &part.name, trouble.kind),
        role => for_kind(config, role, trouble.kind),
    }
}

pub(super) fn for_kind(config: &config::Storage, role: Role, kind: Kind) -> String {
    let server = match &config.kind {
        StorageKind::Nfs { server, .. } => server.to_string(),
        StorageKind::Glusterfs { servers, .. } => servers
            .first()
            .map_or_else(String::new, ToString::to_string),
        StorageKind::Mount => "the server".to_owned(),
    };
    let path = match (&config.mount, &config.kind) {
        (Some(mount), _) if role == Role::Mount => mount.display().to_string(),
        (_, StorageKind::Nfs { export, .. }) => export.clone().unwrap_or_default(),
        (Some(mount), _) => mount.display().to_string(),
        (None, _) => String::new(),
    };
    let local = role == Role::Mount;
    match kind {
        Kind::StaleHandle | Kind::StaleMount if local => {
            format!("on this director: umount -l {path} && mount {path}")
        }
        Kind::StaleHandle => format!("on {server}: exportfs -ra; then mount it anew on all clients"),
        Kind::NotMounted => format!("on this director: mount {path}"),
        Kind::WrongMount => format!("on this director: findmnt -T {path}"),
        Kind::ReadOnly if local => format!(
            "on this director: mount -o remount,rw {path}; if that fails, look at the disk of {server} (dmesg)"
        ),
        Kind::ReadOnly => format!("on {server}: exportfs -v, and dmesg for errors of the disk"),
        Kind::Full if local => format!(
            "on this director: df -h {path}; df -i {path}; then remove old mail from the quarantine, or give it more room"
        ),
        Kind::Full => format!("on {server}: df -h {path}; df -i {path}; then make room there"),
        Kind::Quota => format!("on {server}: repquota -a"),
        Kind::Permission if local => format!(
            "make a place for test files that root of this director can write to: install -d -m 700 -o root {path}/.mb-lb-probe"
        ),
        Kind::Permission => format!(
            "on {server}: export {path} to this director with rw,no_root_squash, or with root_squash: install -d -m 700 -o \
             nobody {path}/.mb-lb-probe"
        ),
        Kind::Hung { .. } => format!(
            "look whether {server} is up and can be reached (ping {server}); if it is and this stays: umount -f -l {path} && \
             mount {path}"
        ),
        Kind::IoError if local => {
            format!("on this director: dmesg | tail; ls -ld {path}; then look at the disk of {server}")
        }
        Kind::ExportGone => format!("on {server}: exportfs -v (is {path} there, for this director?); exportfs -ra"),
        Kind::NotRegistered | Kind::NotAnswering | Kind::Refused if role == Role::Mountd => {
            format!("on {server}: systemctl status rpcbind nfs-mountd; rpcinfo -p {server}")
        }
        Kind::WrongVersion => format!("set `version` of [storage.{}], or switch the version on at {server}", config.name),
        Kind::NoQuorum => format!("{}; on all servers: systemctl status glusterd", status(config)),
        Kind::Unreachable => format!("ping {server}; ip route get {server}"),
        Kind::Untested => "journalctl -u mb-lb; is there memory left, and are there processes left (free -m; ulimit -u)?".to_owned(),
        _ => format!("on {server}: systemctl status nfs-server (or nfs-ganesha); dmesg | tail"),
    }
}

fn status(config: &config::Storage) -> String {
    match &config.kind {
        StorageKind::Glusterfs { volume, .. } => {
            format!("on a server: gluster volume heal {volume} info summary")
        }
        _ => "on a server: gluster volume list".to_owned(),
    }
}

fn glusterd(config: &config::Storage, server: &str, kind: Kind) -> String {
    match kind {
        Kind::NoVolume => format!(
            "on {server}: gluster volume info; is `volume` of [storage.{}] right, and is it started?",
            config.name
        ),
        Kind::Unreachable => format!("ping {server}; ip route get {server}"),
        _ => format!("on {server}: systemctl status glusterd; systemctl restart glusterd"),
    }
}

/// `name` is that of a brick, `HOST:PATH`.
pub(super) fn brick(config: &config::Storage, name: &str) -> String {
    let volume = match &config.kind {
        StorageKind::Glusterfs { volume, .. } => volume,
        _ => "VOLUME",
    };
    let host = name.split_once(":/").map_or(name, |(host, _)| host);
    format!("on {host}: systemctl status glusterd; gluster volume start {volume} force")
}

pub(super) fn slow(part: &Part) -> String {
    match part.role {
        Role::Mount => {
            "look at the load of the storage: iostat -x 1 on its servers, and ping them".to_owned()
        }
        _ => format!(
            "look at the load of {}: uptime; iostat -x 1 there",
            part.address
        ),
    }
}
