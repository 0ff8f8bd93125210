//! One virtual router in a process of its own, for tests that kill or freeze it. Prints what it reports; SIGTERM has it
//! hand over and end.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use mb_lb_ctl::vrrp::Instance;
use mb_lb_ctl::vrrp::packet::{Auth, Coverage, Kind};
use mb_lb_ctl::vrrp::router::{self, Command};
use mb_lb_ctl::vrrp::view::RouterView;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

#[derive(Parser)]
#[command(name = "mb-lb-router", about = "A virtual router for tests")]
struct Arguments {
    #[arg(long)]
    priority: u8,
    #[arg(long)]
    address: IpAddr,
    /// Leave a weaker active director alone
    #[arg(long)]
    nopreempt: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let instance = Instance {
        name: "VI_1".to_owned(),
        interface: "eth0".to_owned(),
        vrid: NonZeroU8::new(51).context("not 0")?,
        priority: arguments.priority,
        kind: Kind::V2(Auth::None),
        interval: Duration::from_secs(1),
        addresses: vec![(arguments.address, 32)],
        preempt: !arguments.nopreempt,
        preempt_delay: Duration::ZERO,
        unicast_peers: Vec::new(),
        source: None,
        coverage: Coverage::PseudoHeader,
        lease: true,
        sync_group: None,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let (commands, command_queue) = mpsc::channel(8);
    let (reports, mut report_queue) = mpsc::channel(256);
    let (view, _) = watch::channel(RouterView::new(&instance));
    commands.try_send(Command::Policy {
        priority: arguments.priority,
        fault: None,
        may_preempt: true,
        withheld: false,
    })?;
    let leave = async {
        terminate.recv().await;
        let (done, left) = oneshot::channel();
        let why = "SIGTERM".to_owned();
        commands.send(Command::Leave { why, done }).await?;
        left.await.context("it ended without a word")
    };
    let follow = async {
        while let Some(report) = report_queue.recv().await {
            println!("{report:?}");
        }
    };
    let live = async {
        let run = router::run(
            instance,
            None,
            Default::default(),
            command_queue,
            reports,
            view,
        );
        // Both: what was reported last is printed too.
        tokio::join!(run, follow).0.context("netlink")
    };
    tokio::try_join!(live, leave).map(drop)
}
