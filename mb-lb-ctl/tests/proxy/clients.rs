//! Clients that an operator counts, and those that he ends.

use crate::{Bench, wait_until};

/// In place of what is configured, at run time.
#[test]
fn no_more_clients_are_served_than_an_operator_says() {
    let mut bench = Bench::new("limits = { connections = 3 }", "");
    // The one that saw that it listens.
    wait_until(|| {
        let web = &bench.proxies.readings()["web"];
        (web.connections, web.open) == (1, 0)
    });
    bench.cap_clients(Some(1));
    let mut first = bench.connect();
    assert_eq!(first.get("/", "").status, 200);
    bench.connect().wait_end();
    wait_until(|| bench.refused("connections") == 1);
    assert_eq!(first.get("/", "").status, 200, "who is there stays");

    // 0: as many as come; `None`: as configured.
    for (most, are_served) in [(Some(0), 5), (None, 2)] {
        bench.cap_clients(most);
        let mut clients: Vec<_> = (0..are_served).map(|_| bench.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/", "").status, 200);
        }
        if most.is_none() {
            bench.connect().wait_end();
            wait_until(|| bench.refused("connections") == 2);
        }
        drop(clients);
        wait_until(|| bench.proxies.readings()["web"].open == 1);
    }
}
