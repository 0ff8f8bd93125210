//! Two CPUs at once on the same connections: who wins a race is left open, the counts are not.

use std::time::Duration;

use mb_lb_ctl::config::Scheduler;
use mb_lb_ctl::dataplane::Dataplane;
use mb_lb_tests::wait_until;

use crate::frame::{ACK, FIN, Frame, PSH, RST, SYN};
use crate::rig::{Family, ROOM, Rig, all_timeouts};

const PORT: u16 = 25;
const SERVERS: [(u32, u32); 3] = [(0, 10), (1, 10), (2, 5)];
const THREADS: u64 = 2;
/// Few connections, so that the threads meet.
const CONNECTIONS: u16 = 12;
const ROUNDS: usize = 10;

/// Segments that all belong to the same few connections, whatever state these are in.
fn hammer(plane: &mut Dataplane, random: &mut fastrand::Rng, packets: usize) {
    for _ in 0..packets {
        let family = Family::BOTH[random.usize(..2)];
        let flags = [SYN, SYN, ACK, ACK, ACK | PSH, FIN | ACK, RST][random.usize(..7)];
        // One of two SYNs, so that one thread's is another connection for the other.
        let isn = random.u32(..2) << 24;
        let seq = if flags == SYN { isn } else { isn + 1 };
        let frame = Frame::new(family, random.u16(1..=CONNECTIONS), PORT, flags).seq(seq);
        plane
            .run_packet(&frame.bytes())
            .expect("the kernel runs it");
    }
}

#[test]
fn races_move_no_count_twice() {
    let packets = crate::rig::packets(100_000) / THREADS as usize / ROUNDS;
    // Expired flows come back as soon as they speak: there must be room for all of them.
    let mut rig = Rig::new();
    rig.service(PORT, Scheduler::Leastconn, &SERVERS);
    rig.timeouts(all_timeouts(Duration::from_millis(20)));
    let root = rig.plane.pins().parent().expect("a root").to_owned();
    let mut others: Vec<_> = (0..THREADS)
        .map(|seed| {
            let plane = Dataplane::open(&root, ROOM).expect("the program loads again");
            assert!(plane.adopted(), "the maps are those of the rig");
            (plane, fastrand::Rng::with_seed(seed))
        })
        .collect();
    for _ in 0..ROUNDS {
        std::thread::scope(|scope| {
            for (plane, random) in &mut others {
                scope.spawn(|| hammer(plane, random, packets));
            }
            // Expiry races with them too.
            for _ in 0..20 {
                rig.tick();
            }
        });
        rig.audit();
    }
    wait_until(
        "all flows to expire",
        Duration::from_secs(20),
        || match rig.tick().flows {
            0 => Ok(()),
            n => Err(format!("{n} flows")),
        },
    );
    for (index, server) in rig.tick().servers {
        assert_eq!(server.active, 0, "server {index}");
        assert_eq!(server.opened, server.closed + server.expired);
        assert!(server.opened > 0, "server {index} had no flow");
    }
}
