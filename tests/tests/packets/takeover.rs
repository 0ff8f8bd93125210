//! Just after a takeover, what belongs to nothing is not guessed at: the peer may still tell whose it is.

use std::net::SocketAddr;
use std::time::Duration;

use mb_lb_common::Reason;
use mb_lb_ctl::config::Scheduler;
use mb_lb_ctl::dataplane::{Applied, Leases};
use mb_lb_ctl::peer::{FlowChange, FlowKind};
use mb_lb_ctl::vrrp::clock::clock;

use crate::frame::{ACK, FIN, Frame, RST, SYN, client, vip};
use crate::rig::{DROP, Family, Rig};

const PORT: u16 = 25;
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_packet_that_overtakes_the_peers_word_is_not_guessed_at() {
    for family in Family::BOTH {
        let mut rig = Rig::new();
        rig.service(PORT, Scheduler::Leastconn, &[(0, 1), (1, 1), (2, 1)]);
        rig.apply();
        let mut sync = rig.plane.flow_sync().expect("the maps are there");
        let leases = Leases::open(rig.plane.pins()).expect("the map is there");
        leases
            .await_peer(clock() + HOUR)
            .expect("the kernel takes it");
        let packet = |port: u16, flags| Frame::new(family, port, PORT, flags).seq(1001).bytes();

        for flags in [ACK, ACK | FIN, RST] {
            let ran = rig.send(&packet(1, flags));
            assert_eq!((ran.reason, ran.action), (Reason::AwaitsPeer, DROP));
        }
        // Whoever is new is served, and whoever is known.
        assert_eq!(rig.send(&packet(2, SYN)).reason, Reason::Scheduled);
        let ack = Frame::new(family, 2, PORT, ACK).seq(1002).bytes();
        assert_eq!(rig.send(&ack).reason, Reason::Promoted);
        assert_eq!(rig.send(&ack).reason, Reason::Established);
        // The peer tells of each of the servers in turn: the client comes again and reaches that one.
        for (port, server) in [(11, 0), (12, 1), (13, 2)] {
            assert_eq!(rig.send(&packet(port, ACK)).reason, Reason::AwaitsPeer);
            let opened = FlowChange {
                kind: FlowKind::Open,
                client: SocketAddr::new(client(family, 10), port),
                vip: SocketAddr::new(vip(family), PORT),
                server: [10, 77, 0, server].into(),
                idle_ms: 0,
                age_ms: 0,
            };
            let applied = sync.apply(&opened, Duration::ZERO, true).expect("maps");
            assert!(matches!(applied, Applied::Done), "{applied:?}");
            assert_eq!(rig.server_of(&packet(port, ACK)), u32::from(server));
            rig.settle();
        }
        // Nobody has told of this one, and the time is over.
        leases.await_peer(clock()).expect("the kernel takes it");
        assert_eq!(rig.send(&packet(1, ACK)).reason, Reason::Recovered);
    }
}
