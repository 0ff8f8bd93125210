//! What may be written on the command line. Help texts, parser, completions and manual pages come from here.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cli::completions as names;
use crate::cli::exit::Exit;
use crate::cli::format::parse_duration;
use crate::command::native::{parse_server, parse_weight};
use crate::engine::{self, ServerRef};

const EXAMPLES: &str = "\
Examples:
  mb-lb-ctl status
  mb-lb-ctl drain smtp_backend/mb2 --wait 5m --reason \"kernel upgrade\"
  mb-lb-ctl diff && echo \"nothing to reload\"";

fn after_help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for code in Exit::ALL {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {:>2}  {}", u8::from(code), code.means());
    }
    text + "\n" + EXAMPLES
}

/// Steers mail connections in the kernel; this is its daemon and its command line.
#[derive(Debug, Parser)]
#[command(name = "mb-lb-ctl", version, after_help = after_help(), max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: /etc/mb-lb/mb-lb.toml]
    #[arg(long, global = true, value_name = "FILE", env = "MB_LB_CONFIG")]
    pub config: Option<PathBuf>,
    /// Admin socket of the daemon [default: admin.socket of the configuration, or /run/mb-lb/admin.sock]
    #[arg(long, global = true, value_name = "PATH", env = "MB_LB_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Where the program and its maps are pinned
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MB_LB_BPF_ROOT",
        default_value = "/sys/fs/bpf/mb-lb"
    )]
    pub bpf_root: PathBuf,
    /// Where admin states and weights are kept across restarts
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MB_LB_STATE_DIR",
        default_value = "/var/lib/mb-lb"
    )]
    pub state_dir: PathBuf,
    /// Colours; auto honours NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground (systemd does this)
    #[command(
        after_help = "Examples:\n  mb-lb-ctl run\n  mb-lb-ctl run --config ./mb-lb.toml --socket ./admin.sock\n  mb-lb-ctl run --config new.toml --shadow    # beside HAProxy: only compare health"
    )]
    Run(Run),
    /// Check a configuration: syntax, references, and as root facts of this machine
    #[command(
        after_help = "Examples:\n  mb-lb-ctl check\n  mb-lb-ctl check new.toml --strict\n  mb-lb-ctl check -o json"
    )]
    Check(Check),
    /// Write a configuration from those of HAProxy and keepalived, and say what became of each line
    #[command(
        after_help = "Examples:\n  mb-lb-ctl import /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf --report\n  mb-lb-ctl import haproxy.cfg keepalived.conf mailborder.conf -o mb-lb.toml && mb-lb-ctl check mb-lb.toml\n  mb-lb-ctl import haproxy.cfg keepalived.conf --forward proxy -o mb-lb.toml    # touches no server\n  mb-lb-ctl import haproxy.cfg --vip 192.168.1.100 --report=json | jq .counts"
    )]
    Import(Import),
    /// Show what a reload would change; exit code 9 when it would change something
    #[command(after_help = "Examples:\n  mb-lb-ctl diff\n  mb-lb-ctl diff new.toml")]
    Diff(Diff),
    /// Put the configuration file in force, all of it or nothing
    #[command(after_help = "Examples:\n  mb-lb-ctl reload\n  mb-lb-ctl check && mb-lb-ctl reload")]
    Reload,
    /// One screen: what is so, why, and what to do next; exit code 10 when degraded
    #[command(
        after_help = "Examples:\n  mb-lb-ctl status\n  mb-lb-ctl status -o json | jq .alarms"
    )]
    Status(Status),
    /// List services, servers, flows, VIPs, checks, syncs or tiers
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  mb-lb-ctl list servers -o wide\n  mb-lb-ctl list flows smtp_backend --limit 20\n  mb-lb-ctl list checks --watch\n  mb-lb-ctl list servers -o csv > servers.csv"
    )]
    List(List),
    /// All about one server, or one tier: settings, health, events, what the kernel holds
    #[command(
        after_help = "Examples:\n  mb-lb-ctl describe smtp_backend/mb1\n  mb-lb-ctl describe smtp_backend/mb1 -o json\n  mb-lb-ctl describe mailborder_cluster    # a [galera], [sentinel] or [storage]"
    )]
    Describe(Describe),
    /// No new flows for a server; those that are go on
    #[command(
        after_help = "Examples:\n  mb-lb-ctl drain smtp_backend/mb2 --reason \"kernel upgrade\"\n  mb-lb-ctl drain smtp_backend/mb2 --wait 5m && ssh mb2 reboot\n  mb-lb-ctl drain smtp_backend/mb2 --force    # below min_up"
    )]
    Drain(Drain),
    /// Take a server out: no new flows, no checks; its flows are treated as on_down says
    #[command(
        after_help = "Examples:\n  mb-lb-ctl maint smtp_backend/mb2 --reason \"disk is failing\"\n  mb-lb-ctl drain smtp_backend/mb2 --wait 5m && mb-lb-ctl maint smtp_backend/mb2\n  mb-lb-ctl maint mb2 --all --reason \"new disk\""
    )]
    Maint(Maint),
    /// Undo drain or maint
    #[command(
        after_help = "Examples:\n  mb-lb-ctl ready smtp_backend/mb2\n  mb-lb-ctl ready smtp_backend/mb2 --wait 30s    # until it takes new flows\n  mb-lb-ctl ready mb2 --all"
    )]
    Ready(Ready),
    /// Set a server's weight; it holds across restarts until it is set again
    #[command(
        after_help = "Examples:\n  mb-lb-ctl weight smtp_backend/mb3 5\n  mb-lb-ctl weight smtp_backend/mb3 50%\n  mb-lb-ctl weight smtp_backend/mb3 0    # no new flows"
    )]
    Weight(Weight),
    /// Give the virtual IPs up politely, and wait until the peer is active
    #[command(
        after_help = "Examples:\n  mb-lb-ctl failover\n  mb-lb-ctl failover VI_1    # this VRRP instance only\n  mb-lb-ctl failover && apt-get upgrade"
    )]
    Failover(Failover),
    /// Compare the configuration with the other director's, or give it ours
    #[command(
        after_help = "Examples:\n  mb-lb-ctl peer diff\n  mb-lb-ctl reload && mb-lb-ctl peer push"
    )]
    Peer(Peer),
    /// Bring the targets of a config_sync in step now
    #[command(
        after_help = "Examples:\n  mb-lb-ctl sync etc\n  mb-lb-ctl sync etc --wait 1m && echo \"all in step\""
    )]
    Sync(Sync),
    /// Show changes of state, and follow them
    #[command(
        after_help = "Examples:\n  mb-lb-ctl events -n 20\n  mb-lb-ctl events -f\n  mb-lb-ctl events -f -o json | jq -r .text"
    )]
    Events(Events),
    /// Services and servers as they change, on the whole terminal, with keys to drain and weight them
    #[command(
        after_help = "Examples:\n  mb-lb-ctl top\n  mb-lb-ctl top --read-only    # for the screen on the wall\n  mb-lb-ctl top --interval 5s"
    )]
    Top(Top),
    /// Make a key for the link between two directors
    #[command(
        after_help = "Examples:\n  mb-lb-ctl peer-key -o /etc/mb-lb/peer.key\n  scp -p /etc/mb-lb/peer.key lb2:/etc/mb-lb/peer.key    # the other director needs the same\n  mb-lb-ctl peer-key    # to stdout, for a tool that keeps secrets"
    )]
    PeerKey(PeerKey),
    /// Look for what is wrong with this director, its network and its servers, and say what to do; exit code 10 when there is a problem
    #[command(
        after_help = "Examples:\n  mb-lb-ctl doctor\n  mb-lb-ctl doctor --server mb2\n  mb-lb-ctl doctor -o json | jq '.findings[] | select(.level == \"problem\")'"
    )]
    Doctor(Doctor),
    /// What the XDP program would do with a packet, and why; nothing is sent and nothing is changed
    #[command(
        after_help = "Examples:\n  mb-lb-ctl trace 203.0.113.9:40000 192.168.1.100:25    # where would this client go?\n  mb-lb-ctl trace 203.0.113.9:51234 192.168.1.100:25 --flags ack    # and the packets of a session?\n  mb-lb-ctl trace '[2001:db8::9]:40000' '[2001:db8::100]:25' -o json"
    )]
    Trace(Trace),
    /// Print what a server needs for dsr, as lines of shell to run there
    #[command(
        after_help = "Examples:\n  mb-lb-ctl server-setup smtp_backend/mb1\n  mb-lb-ctl server-setup smtp_backend/mb1 | ssh root@mb1 sh\n  mb-lb-ctl server-setup smtp_backend/mb1 --undo"
    )]
    ServerSetup(ServerSetup),
    /// Take the data plane out of the kernel: program, maps and flows
    #[command(
        after_help = "Examples:\n  systemctl stop mb-lb && mb-lb-ctl detach\n  mb-lb-ctl detach --force    # although the daemon runs; its flows are lost"
    )]
    Detach(Detach),
    /// What a shell needs to complete commands and the names of services and servers
    #[command(
        after_help = "Examples:\n  source <(mb-lb-ctl completions bash)    # for this shell; the Debian package has it for all\n  mb-lb-ctl completions zsh > /usr/local/share/zsh/site-functions/_mb-lb-ctl\n  mb-lb-ctl completions fish > ~/.config/fish/completions/mb-lb-ctl.fish"
    )]
    Completions(Completions),
    /// The manual page, or all of them
    #[command(
        after_help = "Examples:\n  mb-lb-ctl man | man -l -\n  mb-lb-ctl man --dir /usr/local/share/man/man8"
    )]
    Man(Man),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TextOrJson {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct Run {
    /// Attach, listen and announce nothing: run the checks, and print where HAProxy sees servers otherwise
    #[arg(long)]
    pub shadow: bool,
    /// HAProxy's `stats socket`
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/run/haproxy/admin.sock",
        requires = "shadow"
    )]
    pub haproxy_socket: PathBuf,
}

#[derive(Debug, Args)]
pub struct Check {
    /// File to check [default: the configuration file]
    pub file: Option<PathBuf>,
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: TextOrJson,
    /// Exit with 4 when there are warnings
    #[arg(long)]
    pub strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForwardMethod {
    /// Servers answer clients themselves, and have to be prepared for it
    Dsr,
    /// In user mode, as HAProxy does it: no server is touched
    Proxy,
}

#[derive(Debug, Args)]
pub struct Import {
    /// haproxy.cfg, keepalived.conf, mailborder.conf, in any order; what each is shows in its text
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write the configuration to this file, readable for its owner only [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file of --output
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Show what became of each line, and the servers' set-up; without --output instead of the configuration
    #[arg(
        long,
        value_name = "FORM",
        num_args = 0..=1,
        default_missing_value = "text",
        require_equals = true
    )]
    pub report: Option<TextOrJson>,
    /// How services reach their servers
    #[arg(long, value_name = "METHOD", default_value = "dsr")]
    pub forward: ForwardMethod,
    /// What `bind *` means, besides the addresses in keepalived.conf; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub vip: Vec<IpAddr>,
    /// Where databases and session stores of mailborder.conf are listened for [default: the VIP]
    #[arg(long, value_name = "ADDRESS")]
    pub tier_vip: Option<IpAddr>,
    /// Name of this director, for lines such as `@lb1` in keepalived.conf [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Exit with 4 when a line is unsupported
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// File to compare with what is in force [default: the file that a reload would read]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Status {
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: TextOrJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    Services,
    Servers,
    Flows,
    Vips,
    Checks,
    Syncs,
    Tiers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Table,
    Wide,
    Json,
    Csv,
}

#[derive(Debug, Args)]
pub struct List {
    pub what: What,
    /// Only of this service, config_sync or tier
    #[arg(add = names::listed())]
    pub service: Option<String>,
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: Form,
    /// Show again every so many seconds, until interrupted
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", require_equals = true,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub watch: Option<u64>,
    /// At most so many flows
    #[arg(long, value_name = "N", default_value_t = crate::command::native::DEFAULT_FLOWS)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct Describe {
    #[arg(value_name = "SERVICE/SERVER or TIER", value_parser = server, add = names::described())]
    pub server: ServerRef,
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: TextOrJson,
}

#[derive(Debug, Args)]
pub struct Trace {
    /// Where the packet comes from
    #[arg(value_name = "CLIENT:PORT")]
    pub client: std::net::SocketAddr,
    /// Where it goes
    #[arg(value_name = "VIP:PORT")]
    pub vip: std::net::SocketAddr,
    /// TCP flags of the packet
    #[arg(long, value_name = "FLAGS", default_value = "syn")]
    pub flags: Flags,
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: TextOrJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flags {
    /// A new connection
    Syn,
    /// A packet of a connection
    Ack,
    /// The client closes
    Fin,
    /// The client resets
    Rst,
}

#[derive(Debug, Args)]
pub struct Drain {
    #[arg(value_name = "SERVICE/SERVER", value_parser = server, add = names::servers())]
    pub server: ServerRef,
    /// Every server of this name, whatever its service or proxy: SERVER is enough then
    #[arg(long)]
    pub all: bool,
    /// Wait until no flow is left, at most so long: 30s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Why; shown in status and events until undone
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
    /// Although fewer servers than the service's min_up would be left for new clients
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Maint {
    #[arg(value_name = "SERVICE/SERVER", value_parser = server, add = names::servers())]
    pub server: ServerRef,
    /// Every server of this name, whatever its service or proxy: SERVER is enough then
    #[arg(long)]
    pub all: bool,
    /// Wait until its flows have ended or were reset, as on_down says, at most so long: 30s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Why; shown in status and events until undone
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
    /// Although fewer servers than the service's min_up would be left for new clients
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Ready {
    #[arg(value_name = "SERVICE/SERVER", value_parser = server, add = names::servers())]
    pub server: ServerRef,
    /// Every server of this name, whatever its service or proxy: SERVER is enough then
    #[arg(long)]
    pub all: bool,
    /// Wait until it takes new flows, at most so long: 30s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Why; shown in events
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct Weight {
    #[arg(value_name = "SERVICE/SERVER", value_parser = server, add = names::servers())]
    pub server: ServerRef,
    /// 0 to 256, or percent of the weight in the file: 50%; 0 takes no new flow
    #[arg(value_name = "N", value_parser = weight)]
    pub weight: engine::Weight,
}

#[derive(Debug, Args)]
pub struct Failover {
    /// VRRP instance [default: all that are active here]
    #[arg(add = names::instances())]
    pub instance: Option<String>,
}

#[derive(Debug, Args)]
pub struct Peer {
    #[command(subcommand)]
    pub what: PeerCommand,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum PeerCommand {
    /// Show how the peer's configuration file differs; exit code 9 where it does
    #[command(after_help = "Examples:\n  mb-lb-ctl peer diff || mb-lb-ctl peer push")]
    Diff,
    /// Send our configuration file: the peer checks it, keeps what is its own, and puts it in force
    #[command(after_help = "Examples:\n  mb-lb-ctl check && mb-lb-ctl peer push")]
    Push,
}

#[derive(Debug, Args)]
pub struct Sync {
    /// Of a [config_sync.NAME]
    #[arg(add = names::syncs())]
    pub name: String,
    /// Wait until all targets have had a run, at most so long: 30s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Events {
    /// Go on showing events as they happen
    #[arg(short, long)]
    pub follow: bool,
    /// So many of the last
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 20)]
    pub lines: usize,
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: TextOrJson,
}

#[derive(Debug, Args)]
pub struct Top {
    /// Change nothing, whatever is pressed
    #[arg(long)]
    pub read_only: bool,
    /// Ask the daemon so often: 500ms, 1s, 5s
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "1s")]
    pub interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
}

#[derive(Debug, Args)]
pub struct Completions {
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write the pages of all commands to this directory [default: the main page, to stdout]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PeerKey {
    /// Write it to this file, which must not exist, readable for its owner only [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Doctor {
    /// Only what has to do with this server: SERVICE/SERVER, or SERVER in all its services
    #[arg(long, value_name = "SERVER", value_parser = server)]
    pub server: Option<ServerRef>,
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: TextOrJson,
}

#[derive(Debug, Args)]
pub struct ServerSetup {
    #[arg(value_name = "SERVICE/SERVER", value_parser = server)]
    pub server: ServerRef,
    /// Print what takes it back, but for what the server's other services need
    #[arg(long)]
    pub undo: bool,
}

#[derive(Debug, Args)]
pub struct Detach {
    /// Although the daemon runs
    #[arg(long)]
    pub force: bool,
    /// Name every pin that was removed
    #[arg(short, long)]
    pub verbose: bool,
}

/// More often than this shows nothing new: rates are of whole seconds.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        interval if interval < LEAST_INTERVAL => Err("at least 100ms".to_owned()),
        interval => Ok(interval),
    }
}

fn weight(text: &str) -> Result<engine::Weight, &'static str> {
    parse_weight(text)
}

/// A server; with an empty service where only its own name is given, which the daemon's answer is needed to judge.
fn server(text: &str) -> Result<ServerRef, &'static str> {
    match text {
        bare if !bare.is_empty() && !bare.contains('/') => Ok(ServerRef {
            service: String::new(),
            server: bare.to_owned(),
        }),
        full => parse_server(full),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together_and_every_command_has_examples() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut left: Vec<_> = command.get_subcommands().collect();
        while let Some(sub) = left.pop() {
            let help = sub.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|help| help.starts_with("Examples:\n  ")),
                "{}",
                sub.get_name()
            );
            left.extend(sub.get_subcommands());
        }
    }
}
