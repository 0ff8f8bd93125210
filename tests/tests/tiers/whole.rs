//! The whole deployment: two directors, three mail nodes, a Galera cluster, Redis with Sentinels, NFS; and its document,
//! walked through step by step. Mail, web, database and sessions go on at every step at which they can.

mod deployment;
mod users;

use anyhow::{Result, ensure};
use mb_lb_tests::Traffic;
use nix::sys::signal::Signal;

use deployment::Deployment;
use users::{Sessions, Web, Writes};

#[test]
fn the_whole_deployment_step_by_step() -> Result<()> {
    let mut all = Deployment::start("whole")?;
    all.wait_well(0)?;

    // What the deployment's status script asks: the balancer, each node's health, the cluster's size, the master.
    let status = all.directors[0].expect(&["status"])?;
    for word in [
        "ACTIVE",
        "smtp_backend",
        "https_backend",
        "writer mb4, 3 of 3",
        "named by 3 of 3 Sentinels",
        "quarantine",
    ] {
        ensure!(status.contains(word), "no {word:?} in\n{status}");
    }
    ensure!(!status.contains("DOWN"), "{status}");
    // And each of them by itself.
    for (name, word) in [
        ("mailborder_cluster", "mb6"),
        ("mailborder-master", "sentinel"),
        ("quarantine", "nfs"),
    ] {
        let described = all.directors[0].expect(&["describe", name])?;
        ensure!(described.contains(word), "no {word:?} in\n{described}");
    }

    // "Load Testing": ab, siege, and a loop of mails.
    all.load()?;

    // Sessions are shared: what one node has written, another one reads.
    let mut sessions = Sessions::open(&all)?;
    sessions.expect_shared()?;
    // And a browser stays with its node.
    all.expect_sticky()?;

    let mut mail = Traffic::start(all.lab.client(), all.lab.smtp4());
    let web = Web::start(&all);
    let writes = Writes::start(&all);

    // "Planned Node Maintenance", with the old commands.
    all.old_command("set server smtp_backend/mb2 state maint")?;
    all.old_command("set server https_backend/mb2 state maint")?;
    all.wait_usable("smtp_backend", "mb2", false)?;
    all.wait_drained("mb2")?;
    all.stop_node(1)?;
    mail.expect_more(200)?;
    web.expect_more(20)?;
    all.start_node(1)?;
    all.old_command("set server smtp_backend/mb2 state ready")?;
    all.old_command("set server https_backend/mb2 state ready")?;
    all.wait_usable("smtp_backend", "mb2", true)?;
    all.wait_usable("https_backend", "mb2", true)?;

    // And with ours.
    all.directors[0].expect(&["drain", "mb3", "--all", "--wait", "1m"])?;
    all.stop_node(2)?;
    mail.expect_more(200)?;
    web.expect_more(20)?;
    all.start_node(2)?;
    all.directors[0].expect(&["ready", "mb3", "--all", "--wait", "1m"])?;

    // A database node for maintenance: the writer moves at once, and its pools connect anew.
    all.directors[0].expect(&["maint", "mailborder_cluster/mb4", "--reason", "upgrade"])?;
    all.wait_clients_at("mailborder_cluster", "mb5")?;
    all.galera.stop(0)?;
    writes.expect_more(10)?;
    all.galera.spawn(0)?;
    all.galera.wait_whole()?;
    all.directors[0].expect(&["ready", "mailborder_cluster/mb4"])?;
    mail.expect_more(200)?;

    // "Unplanned Node Failure": one machine of every kind. A mail node that refuses takes no message with it.
    mail.finish()?;
    all.kill_node(0)?;
    all.wait_usable("smtp_backend", "mb1", false)?;
    all.wait_usable("https_backend", "mb1", false)?;
    let mut mail = Traffic::start(all.lab.client(), all.lab.smtp4());
    mail.expect_more(200)?;
    web.expect_more(20)?;
    all.start_node(0)?;
    all.wait_usable("smtp_backend", "mb1", true)?;

    // The filter of a node fails: mail avoids it, and its web interface is used on.
    all.set_member(1, "mb-milter", "failed")?;
    all.wait_usable("smtp_backend", "mb2", false)?;
    ensure!(all.usable("https_backend", "mb2")?);
    mail.expect_more(200)?;
    all.set_member(1, "mb-milter", "ok")?;
    all.wait_usable("smtp_backend", "mb2", true)?;

    // The database that has the clients.
    all.galera.kill(1)?;
    all.wait_clients_elsewhere("mailborder_cluster", "mb5")?;
    writes.expect_more(10)?;
    all.galera.spawn(1)?;
    all.galera.wait_whole()?;

    // The master of the sessions.
    let master = all.redis_master()?;
    all.redis.kill(master)?;
    all.wait_other_master(master)?;
    sessions.expect_shared()?;
    all.redis.start_server(master)?;
    all.redis.wait_whole()?;

    // The active director, with its machine: open sessions, and what was chosen, go on at the other one.
    let writer = all.chosen(0, "mailborder_cluster")?;
    all.lab.set_port("lb1", false)?;
    all.wait_active(1)?;
    all.wait_tier(1, "mailborder_cluster", "ok")?;
    all.wait_tier(1, "mailborder-master", "ok")?;
    ensure!(
        all.chosen(1, "mailborder_cluster")? == writer,
        "the writer has moved"
    );
    mail.expect_more(200)?;
    web.expect_more(20)?;
    writes.expect_more(10)?;
    sessions.expect_shared()?;
    all.lab.set_port("lb1", true)?;
    all.wait_active(0)?;
    all.wait_well(0)?;
    ensure!(
        all.chosen(0, "mailborder_cluster")? == writer,
        "the writer has moved"
    );
    mail.expect_more(200)?;
    mail.finish()?;

    // The storage freezes: no mail is taken that could not be kept, and the controller goes on.
    all.nfs.signal(Signal::SIGSTOP)?;
    all.wait_tier(0, "quarantine", "failed")?;
    all.expect_mail_refused("421 4.3.2")?;
    web.expect_more(20)?;
    all.nfs.signal(Signal::SIGCONT)?;
    all.wait_tier(0, "quarantine", "ok")?;
    all.wait_usable("smtp_backend", "mb1", true)?;
    let mut mail = Traffic::start(all.lab.client(), all.lab.smtp4());
    mail.expect_more(200)?;
    mail.finish()?;

    all.expect_all_written(writes)?;
    let seen = web.finish()?;
    ensure!(seen.refused == 0, "{seen:?}");
    all.wait_well(0)
}
