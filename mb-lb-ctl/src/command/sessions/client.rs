//! Connections of clients of proxies and of services in user mode.

use super::{protocol, time};
use crate::command::{find_service, info, proxy_id};
use crate::proxy::OpenSession;
use crate::snapshot::Snapshot;

/// HAProxy's word where nothing is under way at any server.
const NONE: &str = "<none>";

/// One line of the list. Nothing ends it at a time that is known before.
pub fn line(session: &OpenSession) -> String {
    format!(
        "{:#x}: proto={} src={} fe={} be={} srv={} ts=00 age={} exp= rc=0 c_exp= dst={} st=established\n",
        session.id,
        protocol(session.client),
        session.client,
        session.proxy,
        session.proxy,
        session.server.as_ref().map_or(NONE, |(name, _)| name),
        time(session.age.as_secs()),
        session.local,
    )
}

/// All that is known of one.
pub fn describe(session: &OpenSession, snapshot: &Snapshot, now_ms: u64) -> String {
    let name = &session.proxy;
    let service = find_service(snapshot, name).map(|at| &snapshot.services[at]);
    let number = service.map_or(0, proxy_id);
    let mode = match service {
        Some(service) if service.layer == 7 => "http",
        _ => "tcp",
    };
    let age = session.age.as_secs();
    let opened = now_ms.saturating_sub(age.saturating_mul(1000));
    let server = session.server.as_ref();
    let known = service.zip(server).and_then(|(service, (server, _))| {
        let mut servers = service.servers.iter();
        servers.find(|known| known.name == *server)
    });
    format!(
        "{:#x}: [{}] proto={} source={}\n  \
         frontend={name} (id={number} mode={mode}) addr={}\n  \
         backend={name} (id={number} mode={mode})\n  \
         server={} (id={}) addr={}\n  \
         state=established age={}\n",
        session.id,
        info::log_date(opened),
        protocol(session.client),
        session.client,
        session.local,
        server.map_or(NONE, |(name, _)| name),
        known.map_or(0, |known| known.position),
        server.map_or_else(|| "?".to_owned(), |(_, address)| address.to_string()),
        time(age),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::snapshot::ServiceView;

    #[test]
    fn a_connection_is_a_line_and_can_be_described() {
        let mut session = OpenSession {
            id: 0x5621_226b_ca20,
            proxy: "web".to_owned(),
            client: "[2001:db8::7]:40000".parse().expect("an address"),
            local: "[2001:db8::100]:443".parse().expect("an address"),
            age: Duration::from_secs(61),
            server: None,
        };
        assert_eq!(
            line(&session),
            "0x5621226bca20: proto=tcpv6 src=[2001:db8::7]:40000 fe=web be=web srv=<none> ts=00 age=1m1s exp= rc=0 c_exp= \
             dst=[2001:db8::100]:443 st=established\n"
        );
        let at = "192.0.2.1:80".parse().expect("an address");
        session.server = Some(("mb1".to_owned(), at));
        assert!(line(&session).contains(" srv=mb1 "));
        let snapshot = Snapshot {
            services: vec![ServiceView {
                name: "web".to_owned(),
                layer: 7,
                ..ServiceView::default()
            }],
            ..Snapshot::default()
        };
        let described = describe(&session, &snapshot, 61_000);
        let lines: Vec<_> = described.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  frontend=web (id=2 mode=http) addr=[2001:db8::100]:443",
                "  backend=web (id=2 mode=http)",
                "  server=mb1 (id=0) addr=192.0.2.1:80",
                "  state=established age=1m1s",
            ]
        );
    }
}
