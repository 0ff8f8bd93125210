//! The commands of the documents, with where each is run and what it says there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::lines;

/// How a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Once, to its end.
    Once,
    /// It changes nothing, or was refused: again until it says so. Right after a change the other director, or a check,
    /// may not know of it yet.
    Until,
    /// On a terminal, where somebody types this when it has said so.
    Typed(&'static str),
}

/// One command, on one machine.
#[derive(Debug)]
pub struct Run {
    pub on: &'static str,
    /// Lines of shell that make it so as the document has it there.
    pub before: &'static str,
    /// As the document has it.
    pub command: &'static str,
    pub how: How,
    pub code: i32,
    /// In what it prints.
    pub says: &'static str,
}

const fn run(
    on: &'static str,
    before: &'static str,
    command: &'static str,
    how: How,
    code: i32,
    says: &'static str,
) -> Run {
    Run {
        on,
        before,
        command,
        how,
        code,
        says,
    }
}

impl Run {
    /// With names in place of what stands for a name.
    pub fn typed(&self) -> String {
        NAMES
            .iter()
            .fold(self.command.to_owned(), |command, (stands, name)| {
                command.replace(stands, name)
            })
    }
}

/// What stands for something in a document, and what it is here. The longer ones first.
const NAMES: [(&str, &str); 9] = [
    ("SERVICE/SERVER", "smtp_backend/mb1"),
    ("sync NAME", "sync mailborder"),
    ("SERVICE", "smtp_backend"),
    ("WHY", "disk"),
    ("ADDRESS", "192.168.1.100"),
    (" VIP", " 192.168.1.100"),
    ("OTHER", "lb2"),
    ("mb-lb_NEW", "mb-lb_0.1.0-1_amd64"),
    ("new.pem", "/root/new.pem"),
];

use How::{Once, Typed, Until};

const CTRL_C: How = Typed("\x03");

/// The package is there, and nothing of it.
#[rustfmt::skip]
pub const INSTALLED: &[Run] = &[
    run("lb1", "", "apt install ./target/dist/mb-lb_0.1.0-1_amd64.deb", Once, 0, "not started: /etc/mb-lb/mb-lb.toml is the example"),
    run("lb2", "", "apt install ./target/dist/mb-lb_0.1.0-1_amd64.deb", Once, 0, "not started: /etc/mb-lb/mb-lb.toml is the example"),
];

/// What a mail server needs.
#[rustfmt::skip]
pub const SERVERS: &[Run] = &[
    run("mb1", "", "ip address add 192.168.1.100/32 dev lo", Once, 0, ""),
    run("mb1", "", "sysctl -w net.ipv4.conf.all.arp_ignore=1", Once, 0, "arp_ignore = 1"),
    run("mb1", "", "sysctl -w net.ipv4.conf.all.arp_announce=2", Once, 0, "arp_announce = 2"),
    run("mb1", "", "ip address add 2001:db8::100/128 dev lo nodad preferred_lft 0", Once, 0, ""),
    run("mb1", "", "ip address show lo", Once, 0, "inet 192.168.1.100/32"),
    run("mb1", "", "ip address show dev lo", Once, 0, "inet6 2001:db8::100/128 scope global nodad deprecated"),
    run("mb1", "", "ss -tln", Once, 0, ":25"),
    run("mb1", "", "ss -tln 'sport = :25'", Once, 0, ":25"),
    run("mb1", "", "grep -r 192.168.1.100 /etc", Once, 1, ""),
    run("mb1", "useradd --system mysql; mkdir /var/lib/mysql; touch /var/lib/mysql/ibdata1", "mv /var/lib/mysql /var/lib/mysql.lost", Once, 0, ""),
    run("mb1", "", "install -d -o mysql -g mysql /var/lib/mysql", Once, 0, ""),
    run("mb2", "", "ip address add 192.168.1.100/32 dev lo", Once, 0, ""),
    run("mb2", "", "sysctl -w net.ipv4.conf.all.arp_ignore=1", Once, 0, ""),
    run("mb3", "", "ip address add 192.168.1.100/32 dev lo", Once, 0, ""),
    run("mb3", "", "sysctl -w net.ipv4.conf.all.arp_ignore=1", Once, 0, ""),
];

/// Before there is a daemon, with HAProxy at work.
#[rustfmt::skip]
pub const BEFORE: &[Run] = &[
    run("lb1", "", "mb-lb-ctl peer-key -o /etc/mb-lb/peer.key", Once, 0, "has a new key"),
    run("lb1", "", "scp -p /etc/mb-lb/peer.key lb2:/etc/mb-lb/peer.key", Once, 0, ""),
    run("lb1", "", "scp -p /etc/mb-lb/peer.key OTHER:/etc/mb-lb/peer.key", Once, 0, ""),
    run("lb2", "", "sha256sum /etc/mb-lb/peer.key", Once, 0, "/etc/mb-lb/peer.key"),
    run("lb1", "", "mb-lb-ctl import /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf --report", Once, 0, "0 dead"),
    run("lb1", "", "mb-lb-ctl import /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf -o /etc/mb-lb/new.toml", Once, 0, "is written"),
    run("lb1", "", "mb-lb-ctl check /etc/mb-lb/new.toml", Once, 0, "0 errors"),
    run("lb1", "cp /etc/mb-lb/new.toml .", "mb-lb-ctl run --config new.toml --shadow", CTRL_C, 0, "shadow: nothing is attached, announced or listened on; health is compared with /run/haproxy/admin.sock every 2 s"),
    run("lb1", "cp /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf .", "mb-lb-ctl import haproxy.cfg keepalived.conf", Once, 0, "[service.smtp_backend]"),
    run("lb1", "", "mb-lb-ctl import haproxy.cfg keepalived.conf -o mb-lb.toml", Once, 0, "only its owner can read it"),
    run("lb1", "cp /etc/mb-lb/new.toml /etc/mb-lb/mb-lb.toml", "mb-lb-ctl server-setup SERVICE/SERVER", Once, 0, "192.168.1.101"),
    run("lb1", "", "mb-lb-ctl run --shadow", CTRL_C, 0, "shadow: nothing is attached"),
    run("lb1", "", "mb-lb-ctl man --dir /usr/local/share/man/man8", Once, 0, "manual pages written"),
    run("lb1", "", "systemctl is-active haproxy keepalived", Once, 0, "active\ninactive"),
    run("lb1", "", "mb-lb-ctl detach", Once, 0, "nothing"),
];

/// With both at work, lb1 active.
#[rustfmt::skip]
pub const AT_WORK: &[Run] = &[
    run("lb1", "", "mb-lb-ctl check", Once, 0, "/etc/mb-lb/mb-lb.toml: 0 errors, 0 warnings"),
    run("lb1", "", "systemctl enable --now mb-lb", Once, 0, ""),
    run("lb2", "", "systemctl enable --now mb-lb", Once, 0, ""),
    run("lb1", "", "mb-lb-ctl status", Until, 0, "ACTIVE"),
    run("lb1", "", "mb-lb-ctl status", Until, 0, "in sync"),
    run("lb1", "", "systemctl status mb-lb", Until, 0, "3 of 3 servers up"),
    run("lb1", "", "man mb-lb-ctl", Once, 0, "mb-lb-ctl"),
    run("lb1", "", "man mb-lb-ctl-drain", Once, 0, "mb-lb-ctl drain"),
    run("lb1", "", "journalctl -u mb-lb", Once, 0, "mb-lb"),
    run("lb1", "", "journalctl -u mb-lb -n 100", Once, 0, "mb-lb"),
    run("lb1", "", "systemctl reload mb-lb", Once, 0, ""),
    run("lb1", "", "systemctl restart mb-lb", Once, 0, ""),
    run("lb1", "", "mb-lb-ctl status", Until, 0, "ACTIVE"),
    run("lb1", "", "systemctl is-active --quiet mb-lb", Once, 0, ""),
    run("lb1", "", "ss -tn", Until, 0, "192.168.1.11:8405"),
    run("lb1", "", "mb-lb-ctl completions bash", Once, 0, "mb-lb-ctl"),
    run("lb1", "", "systemctl list-timers", Once, 0, "NEXT"),
    run("lb1", "printf '[Service]\\nType=oneshot\\nExecStart=touch /run/told\\n' > /etc/systemd/system/failover-told.service; systemctl daemon-reload", "systemctl start --no-block failover-told.service", Once, 0, ""),
    run("lb1", "timeout 60 sh -c 'until [ -e /run/told ]; do sleep 0.1; done'", "ethtool -K eth0 lro off", Once, 0, ""),
    run("lb1", "", "ip -brief address show dev eth0", Once, 0, "192.168.1.100/32"),
    run("lb2", "", "tcpdump -ni eth0 vrrp", CTRL_C, 0, "192.168.1.10 > 224.0.0.18: VRRPv2, Advertisement, vrid 51, prio 101"),
    run("lb1", "nft add table inet filter; nft add chain inet filter input '{ type filter hook input priority 0; }'", "nft add rule inet filter input ip saddr 192.168.1.11 tcp dport 8405 accept", Once, 0, ""),
    run("client", "exec 3<> /dev/tcp/192.168.1.100/25", "ip neigh show VIP", Once, 0, "192.168.1.100 dev eth0 lladdr"),
    // One runs already.
    run("lb1", "", "mb-lb-ctl run", Until, 8, "not started: another mb-lb-ctl run has"),
    run("lb1", "", "mb-lb-ctl list servers", Until, 0, "smtp_backend/mb3"),
    run("lb1", "", "mb-lb-ctl list servers SERVICE", Until, 0, "smtp_backend/mb3"),
    run("lb1", "", "mb-lb-ctl list checks", Until, 0, "220 mb1 ESMTP"),
    run("lb1", "", "mb-lb-ctl list checks SERVICE", Until, 0, "220 mb1 ESMTP"),
    run("lb1", "", "mb-lb-ctl list flows", Until, 0, "CLIENT"),
    run("lb1", "", "mb-lb-ctl list flows --limit 1", Until, 0, "CLIENT"),
    run("lb1", "", "mb-lb-ctl list syncs", Until, 0, "SYNC"),
    run("lb1", "", "mb-lb-ctl describe smtp_backend/mb1", Until, 0, "history"),
    run("lb1", "", "mb-lb-ctl describe SERVICE/SERVER", Until, 0, "history"),
    run("lb1", "", "mb-lb-ctl trace 203.0.113.9:40000 192.168.1.100:25", Until, 0, "to smtp_backend/mb"),
    // This example is of another network.
    run("lb1", "", "mb-lb-ctl trace 203.0.113.9:40000 10.77.0.100:25", Until, 0, "none listens there"),
    run("lb1", "", "mb-lb-ctl drain smtp_backend/mb1 --reason \"kernel upgrade\" --wait 20s", Once, 0, "no flow left"),
    run("lb1", "", "mb-lb-ctl ready smtp_backend/mb1", Once, 0, "drain -> ready"),
    run("lb1", "", "mb-lb-ctl drain SERVICE/SERVER --force", Once, 0, "ready -> drain"),
    run("lb1", "", "mb-lb-ctl ready SERVICE/SERVER", Once, 0, "drain -> ready"),
    run("lb1", "", "mb-lb-ctl drain mb2 --all", Once, 0, "smtp_backend/mb2: ready -> drain"),
    run("lb1", "", "mb-lb-ctl maint SERVICE/SERVER --reason WHY", Once, 0, "ready -> maint by root: disk"),
    run("lb1", "mb-lb-ctl ready smtp_backend/mb1; mb-lb-ctl ready smtp_backend/mb2", "mb-lb-ctl maint smtp_backend/mb2 --reason disk", Once, 0, "Undo: mb-lb-ctl ready smtp_backend/mb2"),
    run("lb1", "", "mb-lb-ctl status", Until, 0, "Next: mb-lb-ctl ready smtp_backend/mb2"),
    run("lb1", "", "mb-lb-ctl ready smtp_backend/mb2", Once, 0, "maint -> ready"),
    run("lb1", "", "mb-lb-ctl weight smtp_backend/mb3 7", Once, 0, "weight 5 -> 7 by root"),
    run("lb1", "", "mb-lb-ctl weight smtp_backend/mb3 5", Once, 0, "weight 7 -> 5"),
    run("lb1", "", "echo \"set server smtp_backend/mb2 state maint\" | socat stdio /run/mb-lb/admin.sock", Once, 0, ""),
    run("lb1", "mb-lb-ctl ready smtp_backend/mb2 | grep -q 'maint -> ready'; mb-lb-ctl weight smtp_backend/mb3 7", "echo \"get weight smtp_backend/mb3\" | socat stdio /run/mb-lb/admin.sock", Once, 0, "7 (initial 5)"),
    run("lb1", "mb-lb-ctl weight smtp_backend/mb3 5", "mb-lb-ctl events", Until, 0, "weight 7 -> 5 by root"),
    run("lb1", "", "mb-lb-ctl events -n 50", Until, 0, "weight 7 -> 5 by root"),
    run("lb1", "", "mb-lb-ctl events -f", CTRL_C, 130, "weight 7 -> 5 by root"),
    run("lb1", "", "mb-lb-ctl top", Typed("q"), 0, "smtp_backend"),
    run("lb1", "", "mb-lb-ctl doctor", Until, 0, "0 problems"),
    run("lb1", "sed -i 's/weight = 5/weight = 8/' /etc/mb-lb/mb-lb.toml", "mb-lb-ctl diff", Until, 9, "~ smtp_backend/mb3 weight 5 -> 8"),
    run("lb1", "", "mb-lb-ctl reload", Once, 0, "reloaded; this has changed:"),
    run("lb1", "", "mb-lb-ctl status", Until, 10, "configurations differ"),
    run("lb2", "", "mb-lb-ctl peer diff", Until, 9, "smtp_backend/mb3 weight"),
    run("lb1", "", "mb-lb-ctl peer push", Once, 0, "the peer has taken the configuration and put it in force"),
    run("lb1", "", "mb-lb-ctl peer diff", Until, 0, "both directors have the same configuration"),
    run("lb2", "", "mb-lb-ctl failover", Until, 8, "VI_1 is backup here"),
    run("lb1", "", "mb-lb-ctl failover", Once, 0, "192.168.1.11 is active (after "),
    run("lb2", "", "mb-lb-ctl failover", Once, 0, "192.168.1.10 is active (after "),
];

/// With the sections of the manual for `config_sync`, a page and a proxy in lb1's file, and no sshd on mb2.
#[rustfmt::skip]
pub const MORE: &[Run] = &[
    run("lb1", "", "ssh-keygen -t ed25519 -N \"\" -f /etc/mb-lb/id_ed25519", Once, 0, "has been saved in /etc/mb-lb/id_ed25519"),
    run("lb1", "ssh mb1 'cat >> /root/.ssh/authorized_keys' < /etc/mb-lb/id_ed25519.pub", "ssh-keyscan 192.168.1.101 192.168.1.102 >> /etc/mb-lb/known_hosts", Once, 0, ""),
    run("lb1", "ssh mb2 'systemctl stop ssh ssh.socket'; cat /root/more.toml >> /etc/mb-lb/mb-lb.toml", "mb-lb-ctl reload", Once, 0, "reloaded"),
    run("lb1", "", "mb-lb-ctl sync mailborder --wait 1m", Once, 1, "mailborder/192.168.1.101: in step"),
    run("lb1", "", "mb-lb-ctl sync NAME", Once, 0, "config_sync mailborder: its targets are brought in step now"),
    run("lb1", "ssh mb1 cat /etc/mailborder/local.cf | grep -qx synced", "curl -u admin --data 's=mb2&action=drain&b=smtp_backend&reason=new kernel' http://192.168.1.10:8404/stats", Typed("secret\n"), 0, "password"),
    run("lb1", "", "mb-lb-ctl status", Until, 10, "new kernel"),
    run("lb1", "", "{ echo \"set ssl cert /etc/mb-lb/certs/mail.pem <<\"; cat new.pem; echo; } | socat stdio /run/mb-lb/admin.sock", Once, 0, "Transaction created for certificate /etc/mb-lb/certs/mail.pem!"),
    run("lb1", "", "echo \"commit ssl cert /etc/mb-lb/certs/mail.pem\" | socat stdio /run/mb-lb/admin.sock", Once, 0, "Success!"),
    // What root can read, and the service cannot.
    run("lb1", "chown daemon /etc/mb-lb/certs/mail.pem; chmod 600 /etc/mb-lb/certs/mail.pem", "mb-lb-ctl check", Once, 0, "the service could not read /etc/mb-lb/certs/mail.pem"),
    // The service gives no file away, unless it may.
    run("lb1", "chown daemon:root /etc/mb-lb/certs/mail.pem; chmod 640 /etc/mb-lb/certs/mail.pem; { echo 'set ssl cert /etc/mb-lb/certs/mail.pem <<'; cat /root/next.pem; echo; } | socat stdio /run/mb-lb/admin.sock", "echo \"commit ssl cert /etc/mb-lb/certs/mail.pem\" | socat stdio /run/mb-lb/admin.sock", Once, 0, "the service may not give files away"),
    run("lb1", "mkdir -p /etc/systemd/system/mb-lb.service.d; printf '[Service]\nCapabilityBoundingSet=CAP_CHOWN\nSystemCallFilter=@chown\n' > /etc/systemd/system/mb-lb.service.d/chown.conf; systemctl daemon-reload", "systemctl restart mb-lb", Once, 0, ""),
    run("lb1", "timeout 60 sh -c \"until { echo 'set ssl cert /etc/mb-lb/certs/mail.pem <<'; cat /root/next.pem; echo; } | socat stdio /run/mb-lb/admin.sock | grep -q Transaction; do sleep 0.1; done\"", "echo \"commit ssl cert /etc/mb-lb/certs/mail.pem\" | socat stdio /run/mb-lb/admin.sock", Once, 0, "Success!"),
    run("lb1", "cmp /root/next.pem /etc/mb-lb/certs/mail.pem; stat -c %U:%G:%a /etc/mb-lb/certs/mail.pem | grep -qx daemon:root:640", "systemctl edit mb-lb", Typed(""), 0, ""),
    run("lb1", "mkdir -p /var/spool/mailborder/quarantine; systemctl cat mb-lb | grep -q '^ReadWritePaths=-/var/spool/mailborder/quarantine$'", "install -d -m 700 -o root /var/spool/mailborder/quarantine/.mb-lb-probe", Once, 0, ""),
    run("lb1", "", "apt install -o Dpkg::Options::=--force-confold ./mb-lb_NEW.deb", Once, 0, ""),
];

/// And mb2 answers ARP for the VIP, as in the example of the doctor.
#[rustfmt::skip]
pub const AT_LAST: &[Run] = &[
    run("lb1", "dpkg -s mb-lb | grep -qx 'Version: 0.1.0-2'; grep -q config_sync.mailborder /etc/mb-lb/mb-lb.toml", "mb-lb-ctl doctor --server mb2", Until, 10, "smtp_backend/mb2 answers ARP for 192.168.1.100"),
    run("lb1", "", "mb-lb-ctl detach", Until, 8, "is running; nothing was detached"),
    run("lb1", "", "mb-lb-ctl detach --force", Once, 0, "XDP program removed from eth0"),
    run("lb1", "", "systemctl stop mb-lb", Once, 0, ""),
    run("lb1", "", "ip link set dev eth0 xdp off", Once, 0, ""),
    run("lb1", "", "systemctl start mb-lb", Once, 0, ""),
    // Back to HAProxy.
    run("lb1", "", "systemctl disable --now mb-lb", Once, 0, ""),
    run("lb2", "", "systemctl stop mb-lb && mb-lb-ctl detach", Once, 0, ""),
    run("lb1", "mb-lb-ctl detach", "systemctl enable --now haproxy keepalived", Once, 0, ""),
    run("lb1", "", "systemctl is-active haproxy keepalived", Once, 0, "active\nactive"),
    run("lb1", "", "apt purge haproxy keepalived", Typed("y\n"), 0, "Do you want to continue?"),
];

/// On lb2, which loses the package: built from source, with no systemd.
#[rustfmt::skip]
pub const BY_HAND: &[Run] = &[
    run("lb2", "apt purge -y mb-lb", "install -m 755 target/release/mb-lb-ctl /usr/local/sbin/", Once, 0, ""),
    run("lb2", "", "mkdir -p /etc/mb-lb", Once, 0, ""),
    run("lb2", "cp packaging/mb-lb.toml /etc/mb-lb/; mkdir -p /run/mb-lb /var/lib/mb-lb", "mb-lb-ctl check", Once, 0, "0 errors"),
    run("lb2", "", "sysctl -p packaging/mb-lb.sysctl.conf", Once, 0, "net."),
    run("lb2", "umount /sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf", Once, 0, ""),
    run("lb2", "", "mb-lb-ctl run", CTRL_C, 0, "in force"),
    run("lb2", "mb-lb-ctl detach", "ip address add ADDRESS/32 dev eth0", Once, 0, ""),
    run("lb2", "ip address del 192.168.1.100/32 dev eth0", "ip address add 192.168.1.100/32 dev eth0", Once, 0, ""),
];

pub const PHASES: [&[Run]; 7] = [INSTALLED, SERVERS, BEFORE, AT_WORK, MORE, AT_LAST, BY_HAND];

/// What another test runs: the file, and what stands in it.
type Elsewhere = (&'static str, &'static str, &'static str);

/// As it is written.
#[rustfmt::skip]
const AS_WRITTEN: &[Elsewhere] = &[
    ("cargo xtask test", ".ci/run", "cargo xtask test"),
    ("mb-lb-ctl server-setup smtp_backend/mb1 | ssh root@192.168.1.101 sh", "tests/tests/migration/table.rs", "\"mb-lb-ctl server-setup smtp_backend/mb1 | ssh root@192.168.1.101 sh\", Once"),
    ("source <(mb-lb-ctl completions bash)", "tests/tests/top.rs", "source <(mb-lb-ctl completions bash)"),
    ("openssl x509 -noout -fingerprint -sha256", "tests/tests/socket/certificates.rs", "| openssl x509 -noout -fingerprint -sha256"),
    ("systemd-analyze security mb-lb", "tests/tests/package.rs", "systemd-analyze"),
];

/// The like of it: other names and addresses, or the program that xtask would start.
#[rustfmt::skip]
const ALIKE: &[Elsewhere] = &[
    ("cargo xtask dist", "xtask/src/test.rs", "crate::dist::package(root)?"),
    ("cargo build --release -p mb-lb-ctl", "xtask/src/test.rs", "\"build\",\n        \"--release\""),
    ("cargo xtask demo", "tests/tests/demo.rs", "CARGO_BIN_EXE_mb-lb-demo"),
    ("cargo xtask lab up", "tests/tests/lab.rs", "CARGO_BIN_EXE_mb-lb-lab"),
    ("mb-lb-ctl server-setup smtp/mb2", "tests/tests/commands/table.rs", "\"mb-lb-ctl server-setup SERVICE/SERVER\", Once"),
    // A key is pressed.
    ("mb-lb-ctl drain smtp_backend/<Tab>", "tests/tests/top.rs", "complete(\"mb-lb-ctl drain\")"),
    ("promtool test rules", "tests/tests/web/shipped.rs", "\"test\", \"rules\""),
    // The controller runs it, in the tests of `config_sync`.
    ("rsync --archive --omit-dir-times --delay-updates", "mb-lb-ctl/src/config_sync/command.rs", "\"--omit-dir-times\""),
    // Where there are databases.
    ("CREATE USER 'mb_monitor'@'192.168.1.%' IDENTIFIED BY '...';", "tests/src/galera.rs", "CREATE USER {name}@'%' IDENTIFIED BY '{password}'"),
    ("mariadbd --wsrep-recover", "tests/src/galera.rs", "\"--wsrep-recover\""),
    ("mb-lb-ctl maint mailborder-master/192.168.1.121", "tests/tests/tiers/sentinel.rs", "&[\"maint\", \"redis/mb1\"]"),
    ("redis-cli -p 26379 SENTINEL FAILOVER mailborder-master", "tests/tests/tiers/sentinel.rs", "&[\"SENTINEL\", \"FAILOVER\", MASTER]"),
    ("mb-lb-ctl describe NAME", "tests/tests/tiers/whole.rs", "expect(&[\"describe\", name])"),
    ("mb-lb-ctl describe TIER", "tests/tests/tiers/whole.rs", "expect(&[\"describe\", name])"),
    ("mb-lb-ctl maint NAME/NODE", "tests/tests/tiers/whole.rs", "\"maint\", \"mailborder_cluster/mb4\""),
];

/// What no test runs, and why.
#[rustfmt::skip]
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo xtask bench", "it compares with rivals for longer than all tests take"),
    ("galera_recovery", "Debian's script around mariadbd --wsrep-recover, for its unit; the lab's servers have none"),
    ("galera_new_cluster", "a script around Debian's unit; the lab's servers have none"),
    ("mariadb-dump", "named as what it is known for"),
    ("mariadb-admin flush-hosts", "what MariaDB itself says to the host that it blocks"),
];

#[test]
fn every_command_of_the_documents_is_run_or_has_its_reason() -> Result<()> {
    let runs = PHASES.iter().copied().flatten();
    let here: BTreeSet<&str> = runs.map(|run| run.command).collect();
    let elsewhere = AS_WRITTEN.iter().chain(ALIKE).map(|(command, ..)| *command);
    let elsewhere: BTreeSet<&str> = elsewhere
        .chain(NOT_RUN.iter().map(|(command, _)| *command))
        .collect();
    // And those of our own in what is printed.
    let printed = lines::all()?.into_iter().filter(|found| found.in_block);
    let found: Vec<_> = lines::shell()?.into_iter().chain(printed).collect();
    let documented: BTreeSet<&str> = found.iter().map(|found| found.command.as_str()).collect();
    let is_known = |found: &lines::Found| {
        let command = found.command.as_str();
        // Running text may name a program, or a command of one, without its arguments.
        let is_name = !found.in_block && command.split(' ').count() <= 2;
        let mut known = here.iter().chain(&elsewhere);
        let goes_on = |known: &&str| {
            let rest = known.strip_prefix(command);
            rest.is_some_and(|rest| rest.starts_with(' '))
        };
        // In a block it may be a part of a pipeline, which is found as a whole too.
        here.contains(command)
            || elsewhere.contains(command)
            || is_name && known.any(goes_on)
            || here
                .iter()
                .chain(&elsewhere)
                .any(|known| known.contains(&format!("{command} | ")))
    };
    let missing: Vec<String> = found
        .iter()
        .filter(|found| !is_known(found) && !lines::is_walked(found))
        .map(|found| format!("{}: {}", found.at, found.command))
        .collect();
    ensure!(missing.is_empty(), "run by no test: {missing:#?}");
    let known: BTreeSet<&str> = here.union(&elsewhere).copied().collect();
    let gone: Vec<_> = known.difference(&documented).collect();
    ensure!(gone.is_empty(), "in no document: {gone:#?}");
    let unknown = lines::unknown()?;
    ensure!(unknown.is_empty(), "what are these lines? {unknown:#?}");
    Ok(())
}

#[test]
fn what_is_said_to_be_run_elsewhere_is_there() -> Result<()> {
    for (command, file, needle) in AS_WRITTEN.iter().chain(ALIKE) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(text.contains(needle), "{command}: no {needle:?} in {file}");
    }
    Ok(())
}
