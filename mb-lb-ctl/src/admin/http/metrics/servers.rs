//! Services and their servers; proxies.

use super::exposition::{families, one_hot};
use super::{Exposition, bit, timestamp};
use crate::cli::list::health_word;
use crate::command::native::state_word;
use crate::snapshot::{
    AdminState, CheckView, ClientsView, RelayedView, ServerView, ServiceView, Snapshot,
};

families! {
    SERVICE = Gauge "mb_lb_service_info" ["service", "layer", "forward", "scheduler"]
        "1 for each service and proxy; layer 4 or 7, forward method, scheduler.";
    SERVERS = Gauge "mb_lb_service_servers" ["service"]
        "Servers of the service.";
    USABLE_SERVERS = Gauge "mb_lb_service_usable_servers" ["service"]
        "Servers of the service that take new flows.";
    MIN_UP = Gauge "mb_lb_service_min_up" ["service"]
        "min_up, where there is one: with fewer usable servers there is an alarm.";
    DOWNS = Counter "mb_lb_service_downs_total" ["service"]
        "How often no server of the service was usable.";
    DISABLED = Gauge "mb_lb_service_disabled" ["service"]
        "1 where an operator has the service take no new client.";
    ADMIN = Gauge "mb_lb_server_admin_state" ["service", "server", "state"]
        "1 for what the operator wants of the server: ready, drain or maint; 0 for the others.";
    HEALTH = Gauge "mb_lb_server_health" ["service", "server", "state"]
        "1 for what checks see of the server: up, down or unknown; 0 for the others.";
    USABLE = Gauge "mb_lb_server_usable" ["service", "server"]
        "1 where the server takes new flows.";
    WEIGHT = Gauge "mb_lb_server_weight" ["service", "server"]
        "Weight as set now.";
    CONFIGURED = Gauge "mb_lb_server_configured_weight" ["service", "server"]
        "Weight as the file has it.";
    SETTING = Gauge "mb_lb_server_setting_info" ["service", "server", "by", "what"]
        "1 for each thing that an operator or an agent wants otherwise than the file: by is operator or agent, what is drain, maint, weight, max_connections, down, ...";
    SHARE = Gauge "mb_lb_server_slow_start_ratio" ["service", "server"]
        "Part of its weight that the server has got by slow start; 1 where there is none.";
    ACTIVE = Gauge "mb_lb_server_flows" ["service", "server"]
        "Flows in a counted state; with a proxy, requests under way.";
    PENDING = Gauge "mb_lb_server_pending_flows" ["service", "server"]
        "Half-open flows; with a proxy, requests that wait for a place.";
    MOST = Gauge "mb_lb_server_max_connections" ["service", "server"]
        "max_connections, where there is one.";
    RATE = Gauge "mb_lb_server_new_flows_per_second" ["service", "server"]
        "New flows in the last whole second.";
    OPENED = Counter "mb_lb_server_new_flows_total" ["service", "server"]
        "Flows that were opened.";
    CLOSED = Counter "mb_lb_server_closed_flows_total" ["service", "server"]
        "Flows that were closed by their ends.";
    EXPIRED = Counter "mb_lb_server_expired_flows_total" ["service", "server"]
        "Flows that ended because they were silent for too long.";
    REFUSED = Counter "mb_lb_server_refused_flows_total" ["service", "server"]
        "Choices that passed over the server because it was at max_connections.";
    PACKETS = Counter "mb_lb_server_packets_total" ["service", "server"]
        "Packets that were sent to the server.";
    BYTES = Counter "mb_lb_server_bytes_total" ["service", "server"]
        "Bytes that were sent to the server; with dsr and forward = proxy only those, replies do not count.";
    DRIFT = Gauge "mb_lb_server_drift_flows" ["service", "server"]
        "By how much audits found the count of flows off, in all; it is 0.";
    DOWNTIME = Counter "mb_lb_server_downtime_seconds_total" ["service", "server"]
        "Seconds spent down since the controller started.";
    CHANGED = Gauge "mb_lb_server_last_change_timestamp_seconds" ["service", "server"]
        "When admin state or health last changed, in Unix time.";
    CHECKED = Gauge "mb_lb_check_last_result" ["service", "server", "code"]
        "1; the code of the last check, in HAProxy's words: L4OK, L7STS, ...";
    CHECK_TIME = Gauge "mb_lb_check_duration_seconds" ["service", "server"]
        "How long the last check took.";
    CHECK_EXPIRY = Gauge "mb_lb_check_certificate_expiry_timestamp_seconds" ["service", "server"]
        "When the certificate expires that the server last showed to its check, in Unix time.";
    CHECK_FAILURES = Counter "mb_lb_check_failures_total" ["service", "server"]
        "Checks that failed while the server was up.";
    CHECK_FALLS = Counter "mb_lb_check_falls_total" ["service", "server"]
        "How often the server went down.";
    RESPONSES = Counter "mb_lb_proxy_responses_total" ["service", "server", "class"]
        "Responses of servers of proxies, by class of their status: 1xx to 5xx.";
    CONNECT_ERRORS = Counter "mb_lb_proxy_connect_errors_total" ["service", "server"]
        "Connections to servers that could not be made.";
    RESPONSE_ERRORS = Counter "mb_lb_proxy_response_errors_total" ["service", "server"]
        "Responses that ended too early or were none.";
    RETRIES = Counter "mb_lb_proxy_retries_total" ["service", "server"]
        "Requests that were sent to the server again.";
    REDISPATCHES = Counter "mb_lb_proxy_redispatches_total" ["service", "server"]
        "Requests that went to another server than they were meant for.";
    OPEN = Gauge "mb_lb_proxy_client_connections" ["service"]
        "Connections of clients that are open, of proxies and services in user mode.";
    CONNECTIONS = Counter "mb_lb_proxy_client_connections_total" ["service"]
        "Connections of clients.";
    REQUESTS = Counter "mb_lb_proxy_requests_total" ["service"]
        "Requests of clients.";
    HANDSHAKES = Counter "mb_lb_proxy_tls_handshakes_total" ["service", "result"]
        "TLS handshakes with clients: full, resumed or failed.";
    REFUSALS = Counter "mb_lb_proxy_refused_total" ["service", "reason"]
        "Connections and requests that were refused, by the word that the access log has.";
    UNLOGGED = Counter "mb_lb_proxy_access_log_dropped_total" ["service"]
        "Lines of the access log that were dropped.";
    EXPIRY = Gauge "mb_lb_certificate_expiry_timestamp_seconds" ["service", "file", "name"]
        "When a certificate of a proxy expires, in Unix time; name is the first one that it is for.";
}

const ADMIN_STATES: &[&str] = &["ready", "drain", "maint"];
const HEALTH_STATES: &[&str] = &["up", "down", "unknown"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const RESULTS: [&str; 3] = ["full", "resumed", "failed"];

pub(super) fn write(snapshot: &Snapshot, text: &mut Exposition) {
    let services = || snapshot.services.iter();
    let layers: Vec<_> = services()
        .map(|service| service.layer.to_string())
        .collect();
    text.family(
        &SERVICE,
        services().zip(&layers).map(|(service, layer)| {
            let words = [
                &*service.name,
                layer,
                &*service.forward,
                &*service.scheduler,
            ];
            (words, 1)
        }),
    );
    let of_service = |of: fn(&ServiceView) -> u64| {
        services().map(move |service| ([&*service.name], of(service)))
    };
    text.family(&SERVERS, of_service(|service| service.servers.len() as u64));
    let usable = |service: &ServiceView| {
        let servers = service.servers.iter();
        servers.filter(|server| server.usable).count() as u64
    };
    text.family(&USABLE_SERVERS, of_service(usable));
    let wanted = services().filter(|service| service.min_up > 0);
    text.family(
        &MIN_UP,
        wanted.map(|service| ([&*service.name], u64::from(service.min_up))),
    );
    text.family(&DOWNS, of_service(|service| service.downs));
    text.family(
        &DISABLED,
        of_service(|service| bit(service.paused_by.is_some()).into()),
    );

    let servers = || {
        services().flat_map(|service| {
            let servers = service.servers.iter();
            servers.map(move |server| ([&*service.name, &*server.name], server))
        })
    };
    text.family(
        &ADMIN,
        servers().flat_map(|([service, name], server)| {
            one_hot(ADMIN_STATES, state_word(server.admin))
                .map(move |(state, is)| ([service, name, state], is))
        }),
    );
    text.family(
        &HEALTH,
        servers().flat_map(|([service, name], server)| {
            one_hot(HEALTH_STATES, health_word(server.health))
                .map(move |(state, is)| ([service, name, state], is))
        }),
    );
    let share = servers().map(|(names, server)| (names, f64::from(server.ramp_percent) / 100.0));
    let count =
        |of: fn(&ServerView) -> u64| servers().map(move |(names, server)| (names, of(server)));
    text.family(&USABLE, count(|server| bit(server.usable).into()));
    text.family(&WEIGHT, count(|server| server.weight.into()));
    text.family(&CONFIGURED, count(|server| server.initial_weight.into()));
    text.family(
        &SETTING,
        servers().flat_map(|([service, name], server)| {
            settings(server)
                .into_iter()
                .map(move |(by, what)| ([service, name, by, what], 1))
        }),
    );
    text.family(&SHARE, share);
    text.family(
        &ACTIVE,
        servers().map(|(names, server)| (names, server.active)),
    );
    text.family(&PENDING, count(|server| server.pending));
    text.family(
        &MOST,
        servers().filter_map(|(names, server)| Some((names, server.max_connections?))),
    );
    text.family(&RATE, count(|server| server.rate));
    text.family(&OPENED, count(|server| server.opened));
    text.family(&CLOSED, count(|server| server.closed));
    text.family(&EXPIRED, count(|server| server.expired));
    text.family(&REFUSED, count(|server| server.refused));
    text.family(&PACKETS, count(|server| server.packets));
    text.family(&BYTES, count(|server| server.bytes));
    text.family(
        &DRIFT,
        servers().map(|(names, server)| (names, server.drift)),
    );
    text.family(&DOWNTIME, count(|server| server.downtime));
    text.family(
        &CHANGED,
        servers().map(|(names, server)| (names, timestamp(snapshot, server.since))),
    );
    let checked = || servers().filter_map(|(names, server)| Some((names, server.check.as_ref()?)));
    text.family(
        &CHECKED,
        checked().map(|([service, name], check)| ([service, name, &*check.code], 1)),
    );
    let check = |of: fn(&CheckView) -> u64| checked().map(move |(names, check)| (names, of(check)));
    text.family(
        &CHECK_TIME,
        checked().map(|(names, check)| (names, check.duration_ms as f64 / 1000.0)),
    );
    text.family(
        &CHECK_EXPIRY,
        checked().filter_map(|(names, check)| Some((names, check.certificate_not_after?))),
    );
    text.family(&CHECK_FAILURES, check(|check| check.failures));
    text.family(&CHECK_FALLS, check(|check| check.falls));
}

/// What is not as the file has it: who wants that, and what it is.
fn settings(server: &ServerView) -> Vec<(&str, &str)> {
    const OPERATOR: &str = "operator";
    const AGENT: &str = "agent";
    let mut settings = Vec::new();
    let mut add = |by, what, is: bool| settings.extend(is.then_some((by, what)));
    add(
        OPERATOR,
        state_word(server.admin),
        server.admin != AdminState::Ready,
    );
    if let Some(agent) = &server.agent {
        add(
            AGENT,
            state_word(agent.admin),
            agent.admin != AdminState::Ready,
        );
        add(AGENT, "weight", agent.weight.is_some());
        add(AGENT, "max_connections", agent.max_connections.is_some());
        add(AGENT, "down", !agent.up);
    }
    // With the agent's it cannot be told from the weight that is in force.
    let asks = server
        .agent
        .as_ref()
        .is_some_and(|agent| agent.weight.is_some());
    add(
        OPERATOR,
        "weight",
        !asks && server.weight != server.initial_weight,
    );
    for what in server.by_hand.iter().flat_map(|hand| &hand.what) {
        add(OPERATOR, what, true);
    }
    settings
}

/// What only proxies and services in user mode have.
pub(super) fn proxies(snapshot: &Snapshot, text: &mut Exposition) {
    let services = || snapshot.services.iter();
    let relayed = || {
        services().flat_map(|service| {
            let servers = service.servers.iter();
            servers.filter_map(move |server| {
                Some((
                    service,
                    [&*service.name, &*server.name],
                    server.relayed.as_ref()?,
                ))
            })
        })
    };
    text.family(
        &RESPONSES,
        relayed()
            .filter(|(service, ..)| service.layer == 7)
            .flat_map(|(_, [service, server], relayed)| {
                let classes = CLASSES.into_iter().zip(relayed.statuses);
                classes.map(move |(class, count)| ([service, server, class], count))
            }),
    );
    let count = |of: fn(&RelayedView) -> u64| {
        relayed().map(move |(_, names, relayed)| (names, of(relayed)))
    };
    text.family(&CONNECT_ERRORS, count(|relayed| relayed.connect_errors));
    text.family(&RESPONSE_ERRORS, count(|relayed| relayed.response_errors));
    text.family(&RETRIES, count(|relayed| relayed.retries));
    text.family(&REDISPATCHES, count(|relayed| relayed.redispatches));
    let clients =
        || services().filter_map(|service| Some((&*service.name, service.clients.as_ref()?)));
    let count = |of: fn(&ClientsView) -> u64| {
        clients().map(move |(service, clients)| ([service], of(clients)))
    };
    text.family(&OPEN, count(|clients| clients.open));
    text.family(&CONNECTIONS, count(|clients| clients.connections));
    text.family(&REQUESTS, count(|clients| clients.requests));
    text.family(
        &HANDSHAKES,
        clients().flat_map(|(service, clients)| {
            let results = RESULTS.into_iter().zip(clients.handshakes);
            results.map(move |(result, count)| ([service, result], count))
        }),
    );
    text.family(
        &REFUSALS,
        clients().flat_map(|(service, clients)| {
            let refused = clients.refused.iter();
            refused.map(move |(reason, count)| ([service, &**reason], count))
        }),
    );
    text.family(&UNLOGGED, count(|clients| clients.unlogged));
    text.family(
        &EXPIRY,
        services().flat_map(|service| {
            service.certificates.iter().map(|certificate| {
                let name = certificate.names.first().map_or("", |name| name);
                (
                    [&*service.name, &*certificate.file, name],
                    certificate.not_after,
                )
            })
        }),
    );
}
