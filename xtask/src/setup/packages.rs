//! Debian packages, installed where one of their files is missing.
//!
//! Some bring daemons (postfix, haproxy) of which only tools are wanted. While dpkg works, a `policy-rc.d` denies
//! starting them, and afterwards they are taken out of the boot.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::progress::{quietly, step};

/// What the packages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The network with its mail servers.
    Lab,
    /// The lab tests.
    Test,
    /// The benchmark.
    Bench,
    /// The Debian package.
    Dist,
}

struct Package {
    name: &'static str,
    /// Programs by their name; a path is of a file that is none.
    binaries: &'static [&'static str],
    /// Daemons that it would start.
    services: &'static [&'static str],
}

const IPROUTE2: Package = Package {
    name: "iproute2",
    binaries: &["ip", "ss"],
    services: &[],
};
const ETHTOOL: Package = Package {
    name: "ethtool",
    binaries: &["ethtool"],
    services: &[],
};
const POSTFIX: Package = Package {
    name: "postfix",
    binaries: &["smtp-sink", "smtp-source"],
    services: &["postfix"],
};
const BPFTOOL: Package = Package {
    name: "bpftool",
    binaries: &["bpftool"],
    services: &[],
};
const SOCAT: Package = Package {
    name: "socat",
    binaries: &["socat"],
    services: &[],
};
const TSHARK: Package = Package {
    name: "tshark",
    binaries: &["tshark"],
    services: &[],
};
const ARPING: Package = Package {
    name: "iputils-arping",
    binaries: &["arping"],
    services: &[],
};
const KEEPALIVED: Package = Package {
    name: "keepalived",
    binaries: &["keepalived"],
    services: &["keepalived"],
};
const FRR: Package = Package {
    name: "frr",
    binaries: &["vtysh"],
    services: &["frr"],
};
const HAPROXY: Package = Package {
    name: "haproxy",
    binaries: &["haproxy"],
    services: &["haproxy"],
};
const NGINX: Package = Package {
    name: "nginx-light",
    binaries: &["nginx"],
    services: &["nginx"],
};
const CURL: Package = Package {
    name: "curl",
    binaries: &["curl"],
    services: &[],
};
const H2LOAD: Package = Package {
    name: "nghttp2-client",
    binaries: &["h2load"],
    services: &[],
};
const AB: Package = Package {
    name: "apache2-utils",
    binaries: &["ab"],
    services: &[],
};
const OPENSSL: Package = Package {
    name: "openssl",
    binaries: &["openssl"],
    services: &[],
};
const SIEGE: Package = Package {
    name: "siege",
    binaries: &["siege"],
    services: &[],
};
const SLOWHTTPTEST: Package = Package {
    name: "slowhttptest",
    binaries: &["slowhttptest"],
    services: &[],
};
const TESTSSL: Package = Package {
    name: "testssl.sh",
    binaries: &["testssl"],
    services: &[],
};
const CHROMIUM: Package = Package {
    name: "chromium",
    binaries: &["chromium"],
    services: &[],
};
const PROMETHEUS: Package = Package {
    name: "prometheus",
    binaries: &["promtool"],
    services: &["prometheus"],
};
const HAPROXY_EXPORTER: Package = Package {
    name: "prometheus-haproxy-exporter",
    binaries: &["prometheus-haproxy-exporter"],
    services: &["prometheus-haproxy-exporter"],
};
const PYTHON_H2: Package = Package {
    name: "python3-h2",
    binaries: &["/usr/lib/python3/dist-packages/h2/__init__.py"],
    services: &[],
};
const PYTHON_WEBSOCKETS: Package = Package {
    name: "python3-websockets",
    binaries: &["/usr/lib/python3/dist-packages/websockets/__init__.py"],
    services: &[],
};
const NFTABLES: Package = Package {
    name: "nftables",
    binaries: &["nft"],
    services: &[],
};

/// What `config_sync` runs, and what it logs in to.
const RSYNC: Package = Package {
    name: "rsync",
    binaries: &["rsync"],
    services: &["rsync"],
};
const GIT: Package = Package {
    name: "git",
    binaries: &["git"],
    services: &[],
};
const SSH: Package = Package {
    name: "openssh-client",
    binaries: &["ssh", "ssh-keygen"],
    services: &[],
};
const SSHD: Package = Package {
    name: "openssh-server",
    binaries: &["sshd"],
    services: &["ssh"],
};
const REDIS: Package = Package {
    name: "redis-server",
    binaries: &["redis-server"],
    services: &["redis-server"],
};
const REDIS_SENTINEL: Package = Package {
    name: "redis-sentinel",
    binaries: &["redis-sentinel"],
    services: &["redis-sentinel"],
};
const REDIS_TOOLS: Package = Package {
    name: "redis-tools",
    binaries: &["redis-cli"],
    services: &[],
};
const MARIADB: Package = Package {
    name: "mariadb-server",
    binaries: &["mariadbd", "mariadb", "mariadb-install-db"],
    services: &["mariadb"],
};
const GALERA: Package = Package {
    name: "galera-4",
    binaries: &["/usr/lib/galera/libgalera_smm.so"],
    services: &[],
};

/// Tools that were made for HAProxy's socket.
const HATOP: Package = Package {
    name: "hatop",
    binaries: &["hatop"],
    services: &[],
};
const MONITORING_PLUGINS: Package = Package {
    name: "monitoring-plugins-contrib",
    binaries: &["/usr/lib/nagios/plugins/check_haproxy_stats"],
    services: &[],
};
const ANSIBLE: Package = Package {
    name: "ansible",
    binaries: &["ansible"],
    services: &[],
};
const PYTHON_VENV: Package = Package {
    name: "python3-venv",
    binaries: &["/usr/share/doc/python3-venv/copyright"],
    services: &[],
};
/// Gives hatop a terminal.
const BSDUTILS: Package = Package {
    name: "bsdutils",
    binaries: &["script"],
    services: &[],
};
const MMDEBSTRAP: Package = Package {
    name: "mmdebstrap",
    binaries: &["mmdebstrap"],
    services: &[],
};
const BINUTILS: Package = Package {
    name: "binutils",
    binaries: &["strip"],
    services: &[],
};
const DPKG_DEV: Package = Package {
    name: "dpkg-dev",
    binaries: &["dpkg-shlibdeps"],
    services: &[],
};

/// Storage for tests: servers of NFS and GlusterFS.
const GANESHA: Package = Package {
    name: "nfs-ganesha",
    binaries: &["ganesha.nfsd"],
    services: &["nfs-ganesha"],
};
const GANESHA_VFS: Package = Package {
    name: "nfs-ganesha-vfs",
    binaries: &["/usr/share/doc/nfs-ganesha-vfs/copyright"],
    services: &[],
};
const RPCBIND: Package = Package {
    name: "rpcbind",
    binaries: &["rpcbind"],
    services: &["rpcbind"],
};
const GLUSTER: Package = Package {
    name: "glusterfs-server",
    binaries: &["glusterd"],
    services: &["glusterd"],
};
const GLUSTER_CLIENT: Package = Package {
    name: "glusterfs-client",
    binaries: &["glusterfs"],
    services: &[],
};
const FUSE: Package = Package {
    name: "fuse3",
    binaries: &["fusermount3"],
    services: &[],
};

#[cfg(target_arch = "x86_64")]
const QEMU: Package = Package {
    name: "qemu-system-x86",
    binaries: &["qemu-system-x86_64"],
    services: &[],
};

impl Purpose {
    const fn packages(self) -> &'static [Package] {
        match self {
            Self::Lab => &[IPROUTE2, ETHTOOL, POSTFIX],
            Self::Test => &[
                IPROUTE2,
                ETHTOOL,
                POSTFIX,
                SOCAT,
                BPFTOOL,
                TSHARK,
                KEEPALIVED,
                FRR,
                NFTABLES,
                ARPING,
                RSYNC,
                GIT,
                SSH,
                SSHD,
                NGINX,
                CURL,
                H2LOAD,
                AB,
                OPENSSL,
                SIEGE,
                SLOWHTTPTEST,
                TESTSSL,
                CHROMIUM,
                PROMETHEUS,
                HAPROXY_EXPORTER,
                PYTHON_H2,
                PYTHON_WEBSOCKETS,
                HAPROXY,
                HATOP,
                MONITORING_PLUGINS,
                ANSIBLE,
                PYTHON_VENV,
                BSDUTILS,
                REDIS,
                REDIS_SENTINEL,
                REDIS_TOOLS,
                MARIADB,
                GALERA,
                MMDEBSTRAP,
                BINUTILS,
                DPKG_DEV,
                GANESHA,
                GANESHA_VFS,
                RPCBIND,
                GLUSTER,
                GLUSTER_CLIENT,
                FUSE,
                #[cfg(target_arch = "x86_64")]
                QEMU,
            ],
            Self::Dist => &[BINUTILS, DPKG_DEV],
            Self::Bench => &[
                IPROUTE2, ETHTOOL, POSTFIX, HAPROXY, NFTABLES, KEEPALIVED, NGINX, H2LOAD, OPENSSL,
            ],
        }
    }
}

/// Installs what is missing for `purpose`.
///
/// # Errors
/// Something is missing and we are not root, this is no Debian or Ubuntu, or apt-get fails.
pub fn packages(purpose: Purpose) -> Result<()> {
    let missing: Vec<_> = purpose
        .packages()
        .iter()
        .filter(|package| !package.binaries.iter().all(|binary| is_there(binary)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    let list = names.join(" ");
    if !nix::unistd::geteuid().is_root() {
        bail!("missing Debian packages: run `sudo apt-get install --no-install-recommends {list}`");
    }
    if !in_path("apt-get") {
        let binaries: Vec<_> = missing
            .iter()
            .flat_map(|package| package.binaries)
            .copied()
            .collect();
        bail!(
            "no apt-get here: install what holds {} and run this again",
            binaries.join(", ")
        );
    }
    step(&format!("setup: Debian packages {list}"), || {
        install(&names, &list)
    })?;
    for service in missing.iter().flat_map(|package| package.services) {
        let mut disable = match Path::new("/etc/init.d").join(service).exists() {
            true => Command::new("update-rc.d"),
            // Known to systemd alone; without it, nobody starts them.
            false if in_path("systemctl") => Command::new("systemctl"),
            false => continue,
        };
        match disable.get_program() == "systemctl" {
            true => disable.args(["disable", service]),
            false => disable.args([service, "disable"]),
        };
        quietly(
            &mut disable,
            &format!("run `systemctl disable --now {service}`: only its tools are wanted"),
        )?;
    }
    if let Some(binary) = missing
        .iter()
        .flat_map(|package| package.binaries)
        .find(|binary| !is_there(binary))
    {
        bail!(
            "{list} installed, but `{binary}` is still not there or not in PATH: add /usr/sbin and /sbin to it"
        );
    }
    Ok(())
}

fn install(names: &[&str], list: &str) -> Result<()> {
    let denial = ServiceDenial::new()?;
    // A preseed that nobody asks about is harmless; without it postfix would write a configuration.
    let mut preseed = Command::new("sh");
    preseed.args([
        "-c",
        "echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections",
    ]);
    quietly(&mut preseed, "is the package debconf installed?")?;
    let next = format!("run `apt-get update && apt-get install {list}` by hand to see why");
    if quietly(&mut apt(names), &next).is_err() {
        eprintln!("setup: asking again with fresh package lists");
        quietly(Command::new("apt-get").args(["update", "-q"]), &next)?;
        quietly(&mut apt(names), &next)?;
    }
    denial.lift()
}

fn apt(names: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(names);
    command
}

fn is_there(binary: &str) -> bool {
    match binary.starts_with('/') {
        true => Path::new(binary).is_file(),
        false => in_path(binary),
    }
}

fn in_path(binary: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path).any(|directory| {
            fs::metadata(directory.join(binary))
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
    })
}

/// A `policy-rc.d` that denies every start (Debian Policy, "invoke-rc.d"), for as long as this process lives:
/// one that is left behind by a kill denies nothing.
struct ServiceDenial {
    file: Option<PathBuf>,
}

impl ServiceDenial {
    const MARK: &str = "# written by mb-lb's cargo xtask setup";

    fn new() -> Result<Self> {
        let path = Path::new("/usr/sbin/policy-rc.d");
        if path.exists() && !fs::read_to_string(path).is_ok_and(|text| text.contains(Self::MARK)) {
            // Containers have one of their own, which denies as well; it is not ours to replace.
            return Ok(Self { file: None });
        }
        let pid = std::process::id();
        let script = format!(
            "#!/bin/sh\n{}\n[ -d /proc/{pid} ] && exit 101\nexit 0\n",
            Self::MARK
        );
        fs::write(path, script).with_context(|| format!("cannot write {}", path.display()))?;
        let denial = Self {
            file: Some(path.to_owned()),
        };
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", path.display()))?;
        Ok(denial)
    }

    fn lift(mut self) -> Result<()> {
        match self.file.take() {
            Some(path) => fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}: remove it by hand", path.display())),
            None => Ok(()),
        }
    }
}

impl Drop for ServiceDenial {
    fn drop(&mut self) {
        if let Some(path) = self.file.take()
            && let Err(error) = fs::remove_file(&path)
        {
            eprintln!(
                "setup: cannot remove {}: {error}; remove it by hand",
                path.display()
            );
        }
    }
}
