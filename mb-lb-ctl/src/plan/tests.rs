use super::*;
use crate::config::Scheduler;
use crate::schedule::Candidate;
use mb_lb_common::{SERVER_ACCEPT, SERVER_PRESENT};
use proptest::prelude::*;

fn server(generation: u32, last: u8) -> Server {
    Server {
        link: Server::link([2, 0, 0, 0, 0, last], SERVER_PRESENT | SERVER_ACCEPT),
        generation,
        ifindex: 2,
        max_connections: 0,
        service: 0,
        address: mapped(IpAddr::from([10, 0, 0, last])),
        name_hash: u64::from(last),
        reserved: [0; 16],
    }
}

fn key(last: u8) -> ServiceKey {
    service_key(SocketAddr::from(([192, 0, 2, last], 25)))
}

fn desired() -> impl Strategy<Value = Desired> {
    (
        prop::collection::btree_map(1u32..5, any::<[u8; 6]>(), 0..4),
        prop::collection::btree_map(1u8..8, 0u32..4, 0..6),
        prop::collection::btree_map(
            0u32..4,
            (0u32..2, prop::collection::btree_set(0u32..20, 0..20)),
            0..4,
        ),
        prop::collection::btree_map(0u32..20, (0u32..3, any::<u8>()), 0..20),
    )
        .prop_map(|(ports, listens, services, servers)| Desired {
            ports,
            listens: listens
                .into_iter()
                .map(|(last, id)| (key(last), Service { id, name_hash: id }))
                .collect(),
            services: services
                .into_iter()
                .map(|(id, (flags, members))| {
                    let candidates = members
                        .into_iter()
                        .map(|server| Candidate {
                            server,
                            weight: 256,
                            max_connections: 0,
                            identity: u64::from(server),
                        })
                        .collect();
                    let pool = PoolSpec {
                        scheduler: Scheduler::Leastconn,
                        configured: 0,
                        candidates,
                    };
                    (id, DesiredService { flags, pool })
                })
                .collect(),
            servers: servers
                .into_iter()
                .map(|(index, (generation, last))| (index, server(generation, last)))
                .collect(),
            timeouts: FlowTimeouts::default(),
        })
}

proptest! {
    /// Applying a plan reaches what was desired, and then there is nothing left to do.
    #[test]
    fn a_plan_reaches_its_goal(from in desired(), to in desired()) {
        let from = from.image(&mut TableCache::default());
        let to = to.image(&mut TableCache::default());
        let mut actual = from.clone();
        for op in diff(&from, &to) {
            apply(&mut actual, &op);
        }
        prop_assert_eq!(&actual, &to);
        prop_assert_eq!(diff(&actual, &to), vec![]);
    }

    /// At no moment does a pool name a server that takes no new flows.
    #[test]
    fn who_is_in_a_pool_takes_flows(
        from in desired(),
        to in desired(),
        idle_before in prop::collection::btree_set(0u32..20, 0..10),
        idle_after in prop::collection::btree_set(0u32..20, 0..10),
    ) {
        let consistent = |mut desired: Desired, idle: &std::collections::BTreeSet<u32>| {
            for index in idle {
                if let Some(server) = desired.servers.get_mut(index) {
                    server.link = Server::link(Server::mac_of(server.link), SERVER_PRESENT);
                }
            }
            let accepts = |index: u32| desired.servers.contains_key(&index) && !idle.contains(&index);
            for service in desired.services.values_mut() {
                service.pool.candidates.retain(|candidate| accepts(candidate.server));
            }
            desired.image(&mut TableCache::default())
        };
        let mut actual = consistent(from, &idle_before);
        let to = consistent(to, &idle_after);
        for op in diff(&actual, &to) {
            apply(&mut actual, &op);
            let pooled = actual.services.values().flat_map(|service| &service.tables.small);
            for entry in pooled {
                let flags = actual.servers.get(&entry.server).map_or(0, |server| Server::flags_of(server.link));
                prop_assert!(flags & SERVER_ACCEPT != 0, "after «{op}»: #{}", entry.server);
            }
        }
    }

    /// Add before you point, unpoint before you remove.
    #[test]
    fn nothing_points_at_nothing(from in desired(), to in desired()) {
        let from = from.image(&mut TableCache::default());
        let to = to.image(&mut TableCache::default());
        let rank = |op: &Op| match op {
            Op::SetPort { .. } => 0,
            Op::ResetCounts { index } | Op::SetServer { index, .. } => {
                let link = to.servers.get(index).map_or(0, |server| server.link);
                if Server::flags_of(link) & SERVER_ACCEPT != 0 { 1 } else { 6 }
            }
            Op::SwapPool { .. } | Op::SetFlags { .. } => 2,
            Op::SetListen { .. } => 3,
            Op::RemoveListen { .. } => 4,
            Op::ClearService { .. } => 5,
            Op::ClearServer { .. } => 7,
            Op::ClearPort { .. } => 8,
        };
        let ranks: Vec<_> = diff(&from, &to).iter().map(rank).collect();
        prop_assert!(ranks.is_sorted(), "{ranks:?}");
    }
}

#[test]
fn counts_start_anew_only_with_a_new_generation() {
    let mut one = Desired::default();
    one.servers.insert(3, server(1, 7));
    let image = |d: &Desired| d.image(&mut TableCache::default());
    let first = diff(&Image::default(), &image(&one));
    assert_eq!(first[0], Op::ResetCounts { index: 3 });
    let mut moved = one.clone();
    moved.servers.insert(3, server(1, 8));
    assert_eq!(diff(&image(&one), &image(&moved)).len(), 1);
    let mut reused = one.clone();
    reused.servers.insert(3, server(2, 9));
    assert_eq!(
        diff(&image(&one), &image(&reused))[0],
        Op::ResetCounts { index: 3 }
    );
}

#[test]
fn a_listen_address_survives_its_key() {
    for text in ["192.0.2.1:25", "[2001:db8::1]:2525"] {
        let listen: SocketAddr = text.parse().expect("an address");
        assert_eq!(listen_of(&service_key(listen)), listen);
    }
}
