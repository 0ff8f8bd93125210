//! A virtual router of ours against Debian's keepalived, on one segment.

use std::fs;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::mpsc as blocking;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::vrrp::Instance;
use mb_lb_ctl::vrrp::judge::Rejection;
use mb_lb_ctl::vrrp::machine::{Cause, Role};
use mb_lb_ctl::vrrp::packet::{Auth, Coverage, Kind};
use mb_lb_ctl::vrrp::resume::Resume;
use mb_lb_ctl::vrrp::router::{self, Command, Report};
use mb_lb_ctl::vrrp::view::RouterView;
use mb_lb_tests::lab::{Lab, Topology};
use mb_lb_tests::machine::Machine;
use mb_lb_tests::process::Process;
use mb_lb_tests::try_wait_until;
use nix::sys::signal::Signal;
use tokio::sync::{mpsc, oneshot, watch};

/// For an election, and a machine that has other things to do.
const SOON: Duration = Duration::from_secs(30);
const VIP4: &str = "10.77.0.200";
const VIP6: &str = "fe80::200";
const PASSWORD: &str = "secure_password";

fn lab(name: &str) -> Result<Lab> {
    Lab::with(
        name,
        Topology {
            directors: 2,
            servers: 1,
        },
    )
}

fn v2(priority: u8) -> Instance {
    Instance {
        name: "VI_1".to_owned(),
        interface: "eth0".to_owned(),
        vrid: NonZeroU8::new(51).expect("not 0"),
        priority,
        kind: Kind::V2(Auth::password(PASSWORD)),
        interval: Duration::from_secs(1),
        addresses: vec![(VIP4.parse().expect("an address"), 32)],
        preempt: true,
        preempt_delay: Duration::ZERO,
        unicast_peers: Vec::new(),
        source: None,
        coverage: Coverage::PseudoHeader,
        lease: true,
        sync_group: None,
    }
}

/// A router on a machine, on a thread of its own.
struct Router {
    commands: mpsc::Sender<Command>,
    reports: blocking::Receiver<Report>,
    view: watch::Receiver<RouterView>,
    crash: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    fn start(machine: &Machine, instance: &Instance) -> Result<Self> {
        Self::start_after(machine, instance, None)
    }

    fn start_after(machine: &Machine, instance: &Instance, resume: Option<Resume>) -> Result<Self> {
        let (commands, command_queue) = mpsc::channel(8);
        let (reports, mut report_queue) = mpsc::channel(256);
        let (publish, view) = watch::channel(RouterView::new(instance));
        let (crash, crashed) = oneshot::channel::<()>();
        let (told, seen) = blocking::channel();
        let (machine, instance) = (machine.clone(), instance.clone());
        commands.try_send(policy(instance.priority))?;
        let thread = std::thread::spawn(move || {
            machine.enter(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    let follow = async {
                        while let Some(report) = report_queue.recv().await {
                            println!("{report:?}");
                            // The test may have seen enough.
                            let _seen = told.send(report);
                        }
                    };
                    tokio::select! {
                        ended = router::run(instance, resume, command_queue, reports, publish) => ended.expect("netlink lives"),
                        () = follow => {}
                        _ = crashed => {}
                    }
                });
            });
        });
        Ok(Self {
            commands,
            reports: seen,
            view,
            crash: Some(crash),
            thread: Some(thread),
        })
    }

    fn tell(&self, command: Command) -> Result<()> {
        self.commands
            .blocking_send(command)
            .context("the router has ended")
    }

    /// Waits for a report.
    fn wait<T>(&self, what: &str, wanted: impl Fn(&Report) -> Option<T>) -> Result<T> {
        let mut seen = Vec::new();
        loop {
            let report = self
                .reports
                .recv_timeout(SOON)
                .with_context(|| format!("waited for {what}; reported were {seen:?}"))?;
            if let Some(found) = wanted(&report) {
                return Ok(found);
            }
            seen.push(report);
        }
    }

    /// Waits until it has this role, and tells why it has.
    fn wait_role(&self, role: Role) -> Result<Cause> {
        self.wait(role.name(), |report| match report {
            Report::Turned { to, cause, .. } if *to == role => Some(cause.clone()),
            _ => None,
        })
    }

    /// Waits until its view is as wanted.
    fn wait_view(&self, what: &str, wanted: impl Fn(&RouterView) -> bool) -> Result<RouterView> {
        try_wait_until(what, SOON, || {
            let view = self.view.borrow().clone();
            ensure!(wanted(&view), "{view:?}");
            Ok(view)
        })
    }

    /// Ends as a process does that is killed: nothing is said, nothing is taken away.
    fn crash(mut self) {
        // It has ended already where this fails.
        let _crashed = self.crash.take().map(|crash| crash.send(()));
        self.join();
    }

    /// Ends politely.
    fn leave(mut self) -> Result<()> {
        let (done, left) = oneshot::channel();
        let why = "stopping".to_owned();
        self.tell(Command::Leave { why, done })?;
        left.blocking_recv()
            .context("the router ended without a word")?;
        self.join();
        Ok(())
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the router does not panic");
        }
    }
}

fn policy(priority: u8) -> Command {
    Command::Policy {
        priority,
        fault: None,
        may_preempt: true,
        withheld: false,
    }
}

/// A keepalived on a machine.
struct Keepalived {
    process: Process,
    pid_file: std::path::PathBuf,
}

impl Keepalived {
    fn start(machine: &Machine, settings: &str) -> Result<Self> {
        let directory = machine.directory();
        let config = directory.join("keepalived.conf");
        let pid_file = directory.join("vrrp.pid");
        fs::write(
            &config,
            format!(
                "global_defs {{\n router_id {}\n}}\nvrrp_instance VI_1 {{\n interface eth0\n virtual_router_id 51\n{settings}\n}}\n",
                machine.name()
            ),
        )?;
        let mut command = machine.command("keepalived");
        command
            .args(["-n", "-l", "-D", "-G", "-P", "-R", "-f"])
            .arg(&config);
        command.arg("-p").arg(directory.join("keepalived.pid"));
        command.arg("-r").arg(&pid_file);
        Ok(Self {
            process: machine.spawn("keepalived", &mut command)?,
            pid_file,
        })
    }

    fn v2(machine: &Machine, priority: u8) -> Result<Self> {
        Self::v2_with(machine, priority, PASSWORD)
    }

    fn v2_with(machine: &Machine, priority: u8, password: &str) -> Result<Self> {
        Self::start(
            machine,
            &format!(
                " version 2\n priority {priority}\n advert_int 1\n authentication {{\n  auth_type PASS\n  auth_pass {password}\n }}\n \
                 virtual_ipaddress {{\n  {VIP4}/32 dev eth0\n }}"
            ),
        )
    }

    /// SIGTERM: it says priority 0.
    fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(SOON)?;
        Ok(())
    }

    /// The process that speaks VRRP first: the other one would have it stop politely.
    fn crash(&mut self) -> Result<()> {
        let pid: i32 = fs::read_to_string(&self.pid_file)?.trim().parse()?;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )?;
        self.process.kill()
    }
}

fn holds(machine: &Machine, address: &str) -> Result<bool> {
    let told = machine.run("ip", &["-o", "address", "show", "dev", "eth0"])?;
    Ok(told.contains(&format!(" {address}/")))
}

/// Waits until `lb1` and `lb2` hold the address, or do not.
fn wait_holders(lab: &Lab, expected: [bool; 2]) -> Result<()> {
    wait_holders_of(lab, VIP4, expected)
}

fn wait_holders_of(lab: &Lab, address: &str, expected: [bool; 2]) -> Result<()> {
    try_wait_until(&format!("{address} held by {expected:?}"), SOON, || {
        let holders = [
            holds(lab.machine("lb1"), address)?,
            holds(lab.machine("lb2"), address)?,
        ];
        ensure!(holders == expected, "{holders:?}");
        Ok(())
    })
}

#[test]
fn stronger_preempts_keepalived_and_hands_over_to_it() -> Result<()> {
    let lab = lab("preempt")?;
    let _other = Keepalived::v2(lab.machine("lb2"), 100)?;
    wait_holders(&lab, [false, true])?;
    let ours = Router::start(lab.machine("lb1"), &v2(101))?;
    let cause = ours.wait_role(Role::Active)?;
    assert!(
        matches!(cause, Cause::Weaker { priority: 100, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, [true, false])?;
    ours.tell(Command::Resign {
        why: "rehearsal".to_owned(),
    })?;
    let cause = ours.wait_role(Role::Backup)?;
    assert!(matches!(cause, Cause::HandedOver { .. }), "{cause:?}");
    wait_holders(&lab, [false, true])?;
    // It stands aside until the other one goes.
    ours.leave()?;
    wait_holders(&lab, [false, true])
}

#[test]
fn weaker_waits_and_takes_over_when_keepalived_stops_or_dies() -> Result<()> {
    let lab = lab("weaker")?;
    let mut other = Keepalived::v2(lab.machine("lb2"), 150)?;
    wait_holders(&lab, [false, true])?;
    let ours = Router::start(lab.machine("lb1"), &v2(100))?;
    assert_eq!(ours.wait_role(Role::Backup)?, Cause::Started);
    other.stop()?;
    let cause = ours.wait_role(Role::Active)?;
    assert!(matches!(cause, Cause::PeerLeft(_)), "{cause:?}");
    wait_holders(&lab, [true, false])?;

    let mut other = Keepalived::v2(lab.machine("lb2"), 150)?;
    let cause = ours.wait_role(Role::Backup)?;
    assert!(
        matches!(cause, Cause::Stronger { priority: 150, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, [false, true])?;
    other.crash()?;
    let cause = ours.wait_role(Role::Active)?;
    assert!(matches!(cause, Cause::Silence(_)), "{cause:?}");
    // What a keepalived leaves when it dies is there for ever; ours is not.
    wait_holders(&lab, [true, true])?;
    ours.crash();
    wait_holders(&lab, [false, true])
}

#[test]
fn crash_leaves_no_second_owner_and_a_restart_in_time_gives_nothing_away() -> Result<()> {
    let lab = lab("crash")?;
    let ours = Router::start(lab.machine("lb1"), &v2(101))?;
    ours.wait_role(Role::Active)?;
    let _other = Keepalived::v2(lab.machine("lb2"), 100)?;
    // It has heard us: another would have taken over by now.
    ours.crash();
    let ours = Router::start(lab.machine("lb1"), &v2(101))?;
    assert_eq!(ours.wait_role(Role::Active)?, Cause::Resumed);
    assert!(!holds(lab.machine("lb2"), VIP4)?);
    // Nobody starts it again: the address goes by itself, before keepalived has it.
    ours.crash();
    try_wait_until("the address to move", SOON, || {
        let holders = [
            holds(lab.machine("lb1"), VIP4)?,
            holds(lab.machine("lb2"), VIP4)?,
        ];
        assert_ne!(holders, [true, true], "two owners");
        ensure!(holders == [false, true], "{holders:?}");
        Ok(())
    })
}

#[test]
fn told_by_others_it_takes_over_and_steps_down_and_shows_what_it_does() -> Result<()> {
    let lab = lab("told")?;
    let other = lab.machine("lb2");
    let _other = Keepalived::v2(other, 150)?;
    wait_holders(&lab, [false, true])?;
    let ours = Router::start(lab.machine("lb1"), &v2(100))?;
    let view = ours.wait_view("the active director", |view| view.master.is_some())?;
    let (heard, _) = view.master.context("it was heard")?;
    assert_eq!((heard.source, heard.priority), (other.ipv4().into(), 150));
    assert_eq!(view.role, Role::Backup);
    assert_eq!(view.priority, 100);
    assert_eq!(view.source, Some(lab.machine("lb1").ipv4().into()));
    assert_eq!(view.rejections, []);
    let why = || "the sync group goes together".to_owned();
    ours.tell(Command::TakeOver { why: why() })?;
    assert_eq!(ours.wait_role(Role::Active)?, Cause::Told(why()));
    // The stronger one says at once that it is there.
    let cause = ours.wait_role(Role::Backup)?;
    assert!(
        matches!(cause, Cause::Stronger { priority: 150, .. }),
        "{cause:?}"
    );
    // As strong as that, it keeps them, until it is told to go.
    ours.tell(policy(200))?;
    ours.wait_role(Role::Active)?;
    wait_holders(&lab, [true, false])?;
    let view = ours.wait_view("its own role", |view| view.role == Role::Active)?;
    assert_eq!((view.master, view.priority), (None, 200));
    ours.tell(Command::StepDown { why: why() })?;
    assert_eq!(ours.wait_role(Role::Backup)?, Cause::Told(why()));
    // Else it would preempt.
    ours.tell(policy(100))?;
    wait_holders(&lab, [false, true])?;
    ours.leave()
}

/// Adverts so fast that the lease does not tell whether a peer has taken over.
#[test]
fn fast_adverts_resume_on_the_word_of_the_earlier_process() -> Result<()> {
    let lab = lab("resume")?;
    let lb1 = lab.machine("lb1");
    let fast = Instance {
        kind: Kind::V3,
        interval: Duration::from_millis(900),
        ..v2(101)
    };
    let ours = Router::start(lb1, &fast)?;
    ours.wait_role(Role::Active)?;
    ours.crash();
    let earlier = Resume {
        ago: Duration::ZERO,
    };
    let ours = Router::start_after(lb1, &fast, Some(earlier))?;
    assert_eq!(ours.wait_role(Role::Active)?, Cause::Resumed);
    ours.crash();
    // It says nothing, or it was too long ago: what is left is taken away, and the peers are listened to.
    let long_ago = Resume {
        ago: fast.interval * 2,
    };
    for earlier in [None, Some(long_ago)] {
        let ours = Router::start_after(lb1, &fast, earlier)?;
        assert_eq!(ours.wait_role(Role::Backup)?, Cause::Started);
        ours.wait_role(Role::Active)?;
        ours.crash();
    }
    Ok(())
}

#[test]
fn address_that_is_taken_away_or_claimed_is_defended() -> Result<()> {
    let lab = lab("defend")?;
    let lb1 = lab.machine("lb1");
    let ours = Router::start(lb1, &v2(101))?;
    ours.wait_role(Role::Active)?;
    lb1.run(
        "ip",
        &["address", "del", &format!("{VIP4}/32"), "dev", "eth0"],
    )?;
    let vip: IpAddr = VIP4.parse()?;
    ours.wait("the address to be put back", |report| {
        (*report == Report::Restored(vip)).then_some(())
    })?;
    assert!(holds(lb1, VIP4)?);
    // Somebody else has it too.
    let lb2 = lab.machine("lb2");
    lb2.add_addresses("eth0", [(vip, 32)])?;
    lb2.run("arping", &["-U", "-c", "1", "-I", "eth0", VIP4])?;
    let mac = ours.wait("the claim", |report| match report {
        Report::Claimed { address, mac } if *address == vip => Some(*mac),
        _ => None,
    })?;
    assert_eq!(mac, lb2.mac());
    ours.leave()?;
    assert!(!holds(lb1, VIP4)?);
    Ok(())
}

#[test]
fn wrong_password_is_named() -> Result<()> {
    let lab = lab("password")?;
    let _other = Keepalived::v2_with(lab.machine("lb2"), 100, "different")?;
    wait_holders(&lab, [false, true])?;
    let ours = Router::start(lab.machine("lb1"), &v2(101))?;
    let source = ours.wait("the rejection", |report| match report {
        Report::Rejected { rejection, source } if *rejection == Rejection::Password => {
            Some(*source)
        }
        _ => None,
    })?;
    assert_eq!(source, IpAddr::from(lab.machine("lb2").ipv4()));
    // Told once, counted each time.
    let view = ours.wait_view("a second one", |view| {
        view.rejections
            .iter()
            .any(|rejected| rejected.rejection == Rejection::Password && rejected.count >= 2)
    })?;
    assert_eq!(view.rejections[0].source, source);
    assert_eq!(view.master, None);
    Ok(())
}

#[test]
fn link_that_goes_down_is_a_fault() -> Result<()> {
    let lab = lab("link")?;
    let lb1 = lab.machine("lb1");
    let ours = Router::start(lb1, &v2(101))?;
    ours.wait_role(Role::Active)?;
    lb1.set_link(false)?;
    assert_eq!(
        ours.wait_role(Role::Fault)?,
        Cause::Fault("eth0 is down".to_owned())
    );
    wait_holders(&lab, [false, false])?;
    lb1.set_link(true)?;
    assert_eq!(ours.wait_role(Role::Backup)?, Cause::Recovered);
    ours.wait_role(Role::Active)?;
    wait_holders(&lab, [true, false])
}

#[test]
fn version_3_with_keepalived_over_ipv4_in_tenths_of_a_second() -> Result<()> {
    let lab = lab("v3")?;
    let mut other = Keepalived::start(
        lab.machine("lb2"),
        &format!(
            " version 3\n priority 150\n advert_int 0.2\n virtual_ipaddress {{\n  {VIP4}/32 dev eth0\n }}"
        ),
    )?;
    wait_holders(&lab, [false, true])?;
    let instance = Instance {
        kind: Kind::V3,
        interval: Duration::from_millis(200),
        ..v2(100)
    };
    let ours = Router::start(lab.machine("lb1"), &instance)?;
    ours.wait_role(Role::Backup)?;
    other.stop()?;
    ours.wait_role(Role::Active)?;
    wait_holders(&lab, [true, false])?;
    let _other = Keepalived::start(
        lab.machine("lb2"),
        &format!(
            " version 3\n priority 90\n advert_int 0.2\n virtual_ipaddress {{\n  {VIP4}/32 dev eth0\n }}"
        ),
    )?;
    // It hears us and waits; then it is given the address.
    ours.tell(Command::Resign {
        why: "rehearsal".to_owned(),
    })?;
    ours.wait_role(Role::Backup)?;
    wait_holders(&lab, [false, true])
}

#[test]
fn version_3_with_keepalived_over_ipv6() -> Result<()> {
    let lab = lab("v3six")?;
    let settings = |priority| {
        format!(
            " version 3\n priority {priority}\n advert_int 1\n virtual_ipaddress {{\n  {VIP6}/64 dev eth0\n }}"
        )
    };
    let mut other = Keepalived::start(lab.machine("lb2"), &settings(150))?;
    wait_holders_of(&lab, VIP6, [false, true])?;
    let instance = Instance {
        kind: Kind::V3,
        addresses: vec![(VIP6.parse()?, 64)],
        ..v2(100)
    };
    let ours = Router::start(lab.machine("lb1"), &instance)?;
    ours.wait_role(Role::Backup)?;
    other.stop()?;
    ours.wait_role(Role::Active)?;
    wait_holders_of(&lab, VIP6, [true, false])?;
    let _other = Keepalived::start(lab.machine("lb2"), &settings(200))?;
    let cause = ours.wait_role(Role::Backup)?;
    assert!(
        matches!(cause, Cause::Stronger { priority: 200, .. }),
        "{cause:?}"
    );
    wait_holders_of(&lab, VIP6, [false, true])
}

#[test]
fn unicast_peers_elect_too() -> Result<()> {
    let lab = lab("unicast")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let settings = format!(
        " version 2\n priority 150\n advert_int 1\n unicast_src_ip {}\n unicast_peer {{\n  {}\n }}\n \
         virtual_ipaddress {{\n  {VIP4}/32 dev eth0\n }}",
        lb2.ipv4(),
        lb1.ipv4()
    );
    let mut other = Keepalived::start(lb2, &settings)?;
    wait_holders(&lab, [false, true])?;
    let instance = Instance {
        kind: Kind::V2(Auth::None),
        unicast_peers: vec![lb2.ipv4().into()],
        ..v2(100)
    };
    let ours = Router::start(lb1, &instance)?;
    ours.wait_role(Role::Backup)?;
    other.stop()?;
    let cause = ours.wait_role(Role::Active)?;
    assert!(matches!(cause, Cause::PeerLeft(_)), "{cause:?}");
    let _other = Keepalived::start(lb2, &settings)?;
    ours.wait_role(Role::Backup)?;
    wait_holders(&lab, [false, true])
}

#[test]
fn tshark_finds_nothing_wrong_with_our_adverts() -> Result<()> {
    let lab = lab("tshark")?;
    let lb2 = lab.machine("lb2");
    let capture = lb2.directory().join("adverts.pcapng");
    let mut command = lb2.command("tshark");
    command
        .args([
            "-i",
            "eth0",
            "-f",
            "ip proto 112 or ip6 proto 112",
            "-c",
            "6",
            "-w",
        ])
        .arg(&capture);
    let mut tshark = lb2.spawn("tshark", &mut command)?;
    try_wait_until("tshark to listen", SOON, || {
        ensure!(
            tshark.errors()?.contains("Capturing on"),
            "{}",
            tshark.tail()
        );
        Ok(())
    })?;
    let six = Instance {
        kind: Kind::V3,
        vrid: NonZeroU8::new(52).context("not 0")?,
        addresses: vec![(VIP6.parse()?, 64), ("fd77::200".parse()?, 64)],
        ..v2(101)
    };
    let three = Instance {
        kind: Kind::V3,
        vrid: NonZeroU8::new(53).context("not 0")?,
        addresses: vec![("10.77.0.201".parse()?, 32)],
        ..v2(101)
    };
    let routers = [&v2(101), &six, &three]
        .into_iter()
        .map(|instance| Router::start(lab.machine("lb1"), instance))
        .collect::<Result<Vec<_>>>()?;
    for router in &routers {
        router.wait_role(Role::Active)?;
    }
    tshark.wait(SOON)?;
    let read = |filter: &str| {
        lb2.run(
            "tshark",
            &[
                "-r",
                &capture.display().to_string(),
                "-Y",
                filter,
                "-T",
                "fields",
                "-e",
                "vrrp.virt_rtr_id",
            ],
        )
    };
    let all = read("vrrp")?;
    assert_eq!(all.lines().count(), 6, "{all}");
    for vrid in ["51", "52", "53"] {
        assert!(all.lines().any(|line| line == vrid), "{all}");
    }
    assert_eq!(
        read("_ws.malformed or vrrp.checksum.status == 0 or _ws.expert.severity >= 6291456")?,
        ""
    );
    Ok(())
}
