//! A word for every statement that services and proxies have not taken up.

use super::sections::{Config, Kind, Section, Statement};
use super::units::Unit;
use crate::import::Import;
use crate::import::report::Verdict;

use Verdict::{Approximated, NotNeeded, Unsupported};

type Row = (&'static str, Verdict, &'static str);

/// `global`. What is not here is not known.
const GLOBAL: [Row; 53] = [
    ("log", NotNeeded, LOG),
    ("log-tag", NotNeeded, LOG),
    ("log-send-hostname", NotNeeded, LOG),
    ("chroot", NotNeeded, UNIT),
    ("user", NotNeeded, UNIT),
    ("uid", NotNeeded, UNIT),
    ("group", NotNeeded, UNIT),
    ("gid", NotNeeded, UNIT),
    ("daemon", NotNeeded, UNIT),
    ("master-worker", NotNeeded, UNIT),
    ("pidfile", NotNeeded, UNIT),
    ("ulimit-n", NotNeeded, UNIT),
    ("unix-bind", NotNeeded, UNIT),
    ("node", NotNeeded, "director.name says it"),
    ("description", NotNeeded, "nothing shows it"),
    ("nbproc", NotNeeded, THREADS),
    ("nbthread", NotNeeded, THREADS),
    ("cpu-map", NotNeeded, THREADS),
    ("thread-groups", NotNeeded, THREADS),
    ("thread-group", NotNeeded, THREADS),
    ("noepoll", NotNeeded, THREADS),
    ("nokqueue", NotNeeded, THREADS),
    ("nopoll", NotNeeded, THREADS),
    ("nosplice", NotNeeded, THREADS),
    ("noreuseport", NotNeeded, THREADS),
    ("busy-polling", NotNeeded, THREADS),
    (
        "maxconnrate",
        Unsupported,
        "rates are not limited for the whole machine",
    ),
    (
        "maxsessrate",
        Unsupported,
        "rates are not limited for the whole machine",
    ),
    ("maxsslconn", NotNeeded, "limits are those of each proxy"),
    (
        "maxsslrate",
        Unsupported,
        "rates are not limited for the whole machine",
    ),
    ("maxpipes", NotNeeded, THREADS),
    (
        "spread-checks",
        NotNeeded,
        "checks vary by a tenth of their interval",
    ),
    (
        "max-spread-checks",
        NotNeeded,
        "checks vary by a tenth of their interval",
    ),
    ("server-state-base", NotNeeded, STATE),
    ("server-state-file", NotNeeded, STATE),
    (
        "hard-stop-after",
        NotNeeded,
        "open sessions of services in the kernel outlive a restart; those in user mode have 5 seconds",
    ),
    ("grace", NotNeeded, "a reload ends nothing"),
    (
        "stats timeout",
        NotNeeded,
        "the admin socket has limits of its own",
    ),
    (
        "stats maxconn",
        NotNeeded,
        "the admin socket has limits of its own",
    ),
    ("stats bind-process", NotNeeded, THREADS),
    ("ssl-default-bind-ciphers", NotNeeded, CIPHERS),
    ("ssl-default-bind-ciphersuites", NotNeeded, CIPHERS),
    ("ssl-default-bind-curves", NotNeeded, CIPHERS),
    (
        "ssl-default-bind-options",
        NotNeeded,
        "TLS 1.2 is the least; tickets are made by the directors and shared",
    ),
    ("ssl-default-server-ciphers", NotNeeded, CIPHERS),
    ("ssl-default-server-ciphersuites", NotNeeded, CIPHERS),
    (
        "ssl-default-server-options",
        NotNeeded,
        "TLS 1.2 is the least",
    ),
    ("ssl-dh-param-file", NotNeeded, CIPHERS),
    (
        "ssl-server-verify",
        Approximated,
        "each server says it: tls = { verify = ... }",
    ),
    ("ca-base", NotNeeded, "paths are absolute in the result"),
    ("crt-base", NotNeeded, "paths are absolute in the result"),
    (
        "external-check",
        NotNeeded,
        "a check of type exec runs a program without leave",
    ),
    (
        "insecure-fork-wanted",
        NotNeeded,
        "a check of type exec runs a program without leave",
    ),
];

const LOG: &str = "mb-lb logs to standard output, which systemd gives to the journal";
const UNIT: &str = "the systemd unit of mb-lb says it";
const THREADS: &str = "packets are the kernel's affair, and user mode has a thread for each CPU";
const STATE: &str = "states and weights are kept in the state directory of mb-lb";
const CIPHERS: &str = "ciphers cannot be chosen; all that can be agreed on have forward secrecy";
const RULES: &str = "there are no rules on requests and responses: have the servers do it";
const ACL: &str = "there are no conditions: what they decide has to be done by the servers, or by services of their own";
const GUARD: &str = "there are no stick tables; limits.requests_per_source and limits.connections_per_source of a proxy limit sources";
const PAGES: &str = "error pages are mb-lb's own";
const KEEPALIVE: &str = "connections are kept and reused wherever that is safe";

/// Sections with servers or clients.
const PROXIES: [Row; 105] = [
    ("log", NotNeeded, LOG),
    ("no log", NotNeeded, LOG),
    ("log-tag", NotNeeded, LOG),
    (
        "option tcplog",
        NotNeeded,
        "`mb-lb-ctl list flows` shows sessions, `mb-lb-ctl events` changes; connections are not logged one by one",
    ),
    ("option dontlognull", NotNeeded, "only requests are logged"),
    (
        "option dontlog-normal",
        Approximated,
        "all requests are logged, or none",
    ),
    (
        "option logasap",
        NotNeeded,
        "a request is logged when it has ended",
    ),
    ("option log-separate-errors", NotNeeded, LOG),
    (
        "option log-health-checks",
        NotNeeded,
        "changes of health are logged always",
    ),
    ("option httplog", NotNeeded, "access_log of a proxy"),
    ("option httpslog", NotNeeded, "access_log of a proxy"),
    (
        "log-format",
        Approximated,
        "the access log is that of `option httplog`, or JSON",
    ),
    (
        "log-format-sd",
        Approximated,
        "the access log is that of `option httplog`, or JSON",
    ),
    ("error-log-format", NotNeeded, LOG),
    ("unique-id-format", Unsupported, RULES),
    ("unique-id-header", Unsupported, RULES),
    ("capture", Unsupported, "nothing is captured for the log"),
    (
        "declare capture",
        Unsupported,
        "nothing is captured for the log",
    ),
    ("description", NotNeeded, "nothing shows it"),
    ("id", NotNeeded, "numbers are given by mb-lb"),
    ("enabled", NotNeeded, "it is"),
    (
        "disabled",
        NotNeeded,
        "what it holds for in the end is left out",
    ),
    ("backlog", NotNeeded, THREADS),
    ("bind-process", NotNeeded, THREADS),
    (
        "maxconn",
        NotNeeded,
        "director.max_flows has room for sessions; server.max_connections limits those of a server",
    ),
    (
        "fullconn",
        Unsupported,
        "limits of servers do not move with load",
    ),
    (
        "rate-limit",
        Unsupported,
        "limits.requests_per_source of a proxy limits single sources",
    ),
    ("option clitcpka", NotNeeded, TCP),
    ("option srvtcpka", NotNeeded, TCP),
    ("option tcpka", NotNeeded, TCP),
    ("clitcpka-cnt", NotNeeded, TCP),
    ("clitcpka-idle", NotNeeded, TCP),
    ("clitcpka-intvl", NotNeeded, TCP),
    ("srvtcpka-cnt", NotNeeded, TCP),
    ("srvtcpka-idle", NotNeeded, TCP),
    ("srvtcpka-intvl", NotNeeded, TCP),
    ("option tcp-smart-accept", NotNeeded, TCP),
    ("option tcp-smart-connect", NotNeeded, TCP),
    ("option nolinger", NotNeeded, TCP),
    (
        "option splice-auto",
        NotNeeded,
        "long transfers are spliced",
    ),
    (
        "option splice-request",
        NotNeeded,
        "long transfers are spliced",
    ),
    (
        "option splice-response",
        NotNeeded,
        "long transfers are spliced",
    ),
    ("option independent-streams", NotNeeded, TCP),
    (
        "option contstats",
        NotNeeded,
        "counts are always up to date",
    ),
    (
        "option socket-stats",
        NotNeeded,
        "counts are those of services",
    ),
    (
        "option abortonclose",
        NotNeeded,
        "a request whose client has gone is given up",
    ),
    (
        "option redispatch",
        NotNeeded,
        "a flow goes to a server that is up",
    ),
    ("retries", NotNeeded, "clients try again themselves"),
    (
        "retry-on",
        Unsupported,
        "a request is tried again only where that is safe",
    ),
    (
        "option persist",
        Unsupported,
        "a server that is down gets nobody",
    ),
    (
        "option allbackups",
        NotNeeded,
        "all backups are used while no other server can be",
    ),
    ("option prefer-last-server", NotNeeded, KEEPALIVE),
    ("option http-keep-alive", NotNeeded, KEEPALIVE),
    ("option http-server-close", NotNeeded, KEEPALIVE),
    ("option httpclose", NotNeeded, KEEPALIVE),
    ("option forceclose", NotNeeded, KEEPALIVE),
    ("option http-pretend-keepalive", NotNeeded, KEEPALIVE),
    ("option http-tunnel", NotNeeded, KEEPALIVE),
    ("option idle-close-on-response", NotNeeded, KEEPALIVE),
    (
        "option http-no-delay",
        NotNeeded,
        "what has come is passed on",
    ),
    (
        "option http-buffer-request",
        NotNeeded,
        "timeouts.request ends requests that do not come",
    ),
    (
        "option http-ignore-probes",
        NotNeeded,
        "connections without a request are closed without a word",
    ),
    (
        "option http-use-htx",
        NotNeeded,
        "it is how HAProxy works inside",
    ),
    (
        "option http-use-proxy-header",
        NotNeeded,
        "it is of old browsers",
    ),
    (
        "option disable-h2-upgrade",
        NotNeeded,
        "HTTP/2 is agreed on in TLS, or spoken from the start",
    ),
    (
        "option h1-case-adjust-bogus-client",
        Unsupported,
        "names of fields go out in small letters to HTTP/2, and as they came to HTTP/1.1",
    ),
    (
        "option h1-case-adjust-bogus-server",
        Unsupported,
        "names of fields go out in small letters to HTTP/2, and as they came to HTTP/1.1",
    ),
    (
        "option accept-invalid-http-request",
        Unsupported,
        "what is not HTTP is refused",
    ),
    (
        "option accept-invalid-http-response",
        Unsupported,
        "what is not HTTP is refused",
    ),
    (
        "option http-restrict-req-hdr-names",
        NotNeeded,
        "names of fields that are none are refused",
    ),
    (
        "option originalto",
        Unsupported,
        "there is no X-Original-To",
    ),
    (
        "option forwardfor",
        NotNeeded,
        "X-Forwarded-For, -Proto and -Host of a proxy are always set",
    ),
    (
        "option checkcache",
        NotNeeded,
        "`nocache` of the cookie marks what must not be shared",
    ),
    (
        "option transparent",
        Unsupported,
        "HAProxy goes to where the client wanted to go; mb-lb needs addresses",
    ),
    (
        "option http_proxy",
        Unsupported,
        "HAProxy goes to where the client wanted to go; mb-lb needs addresses",
    ),
    (
        "transparent",
        Unsupported,
        "HAProxy goes to where the client wanted to go; mb-lb needs addresses",
    ),
    (
        "source",
        Approximated,
        "with dsr servers see the clients; in user mode the address is the route's",
    ),
    (
        "http-reuse",
        NotNeeded,
        "connections to servers are shared by requests that are complete",
    ),
    ("max-keep-alive-queue", NotNeeded, KEEPALIVE),
    ("http-send-name-header", Unsupported, RULES),
    (
        "compression",
        Unsupported,
        "nothing is compressed: have the servers do it",
    ),
    ("filter", Unsupported, "there are no filters"),
    ("acl", Unsupported, ACL),
    ("use_backend", Unsupported, ACL),
    ("use-server", Unsupported, ACL),
    (
        "use-fcgi-app",
        Unsupported,
        "servers speak HTTP, not FastCGI",
    ),
    ("force-persist", Unsupported, ACL),
    ("ignore-persist", Unsupported, ACL),
    (
        "redirect",
        Unsupported,
        "only `redirect scheme https` is there, as redirect_http",
    ),
    ("http-request", Unsupported, RULES),
    ("http-response", Unsupported, RULES),
    ("http-after-response", Unsupported, RULES),
    ("tcp-request", Unsupported, GUARD),
    ("tcp-response", Unsupported, GUARD),
    (
        "stick",
        Unsupported,
        "scheduler = \"source\" keeps a client with its server, and so does the cookie of a proxy",
    ),
    ("stick-table", Unsupported, GUARD),
    (
        "persist rdp-cookie",
        Unsupported,
        "scheduler = \"source\" keeps a client with its server",
    ),
    ("errorfile", Unsupported, PAGES),
    ("errorfiles", Unsupported, PAGES),
    ("errorloc", Unsupported, PAGES),
    ("http-error", Unsupported, PAGES),
    (
        "monitor",
        Unsupported,
        "`mb-lb-ctl status` tells how the director is: exit code 10 where it is degraded",
    ),
    (
        "monitor-uri",
        Unsupported,
        "`mb-lb-ctl status` tells how the director is: exit code 10 where it is degraded",
    ),
    (
        "email-alert",
        Unsupported,
        "no mail is sent; `notify` of [vrrp.NAME] and `mb-lb-ctl events` tell of changes",
    ),
    ("load-server-state-from-file", NotNeeded, STATE),
];

const TCP: &str = "the kernel's own defaults do; dsr has clients and servers speak to each other";

/// What services and proxies take up where they can have it. Left over, nothing of the result needs it.
const TAKEN: [&str; 27] = [
    "mode",
    "bind",
    "balance",
    "hash-type",
    "cookie",
    "dynamic-cookie-key",
    "default_backend",
    "default-server",
    "server",
    "option tcp-check",
    "option httpchk",
    "option smtpchk",
    "option mysql-check",
    "option redis-check",
    "option pgsql-check",
    "option ldap-check",
    "option ssl-hello-chk",
    "option spop-check",
    "option external-check",
    "tcp-check",
    "http-check",
    "external-check",
    "timeout",
    "stats",
    "maxconn",
    "retries",
    "option redispatch",
];

/// Gives a verdict to what has none.
pub(super) fn rest(config: &Config, units: &[Unit<'_>], import: &mut Import<'_>) {
    let imported = |section: &Section| {
        let mut all = units.iter().flat_map(Unit::sections);
        all.any(|known| known.at == section.at)
    };
    for section in &config.sections {
        if !import.ledger.is_open(section.at)
            || matches!(section.kind, Kind::Global | Kind::Defaults)
        {
            for statement in &section.statements {
                if import.ledger.is_open(statement.at) {
                    let (verdict, note) = word(section, statement, imported(section));
                    // A section that could not be imported has its own reason.
                    import.ledger.say(statement.at, verdict, note);
                }
            }
        }
    }
}

fn word(section: &Section, statement: &Statement, imported: bool) -> (Verdict, &'static str) {
    if let Kind::Other(why) = section.kind {
        return (Unsupported, why);
    }
    let rows: &[Row] = match section.kind {
        Kind::Global => &GLOBAL,
        _ => &PROXIES,
    };
    if statement.negated {
        return (NotNeeded, "takes back what an earlier line says");
    }
    let tuned = section.kind == Kind::Global && statement.words[0].starts_with("tune.");
    if tuned {
        return (NotNeeded, "it tunes HAProxy's own memory and threads");
    }
    let longest = rows
        .iter()
        .filter(|(key, ..)| statement.is(key))
        .max_by_key(|(key, ..)| key.len());
    let taken = section.kind != Kind::Global && TAKEN.iter().any(|key| statement.is(key));
    match longest {
        Some((_, verdict, note)) if !taken || imported => (*verdict, note),
        _ if taken && section.kind == Kind::Defaults => (
            NotNeeded,
            "no service or proxy of the result has use for it",
        ),
        _ if taken => (Unsupported, "the import has nothing to make of it here"),
        _ => (Unsupported, "not known to the import"),
    }
}
