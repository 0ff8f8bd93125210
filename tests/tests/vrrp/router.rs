//! A router of ours on a thread of the test, so that the test sees its reports as they are.

use std::net::IpAddr;
use std::sync::mpsc as blocking;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::vrrp::Instance;
use mb_lb_ctl::vrrp::judge::Rejection;
use mb_lb_ctl::vrrp::machine::{Cause, Role};
use mb_lb_ctl::vrrp::resume::Resume;
use mb_lb_ctl::vrrp::router::{self, Command, Report};
use mb_lb_ctl::vrrp::view::RouterView;
use mb_lb_tests::machine::Machine;
use mb_lb_tests::try_wait_until;
use tokio::sync::{mpsc, oneshot, watch};

use crate::SOON;

pub struct Router {
    commands: mpsc::Sender<Command>,
    reports: blocking::Receiver<Report>,
    view: watch::Receiver<RouterView>,
    crash: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    pub fn start(machine: &Machine, instance: &Instance) -> Result<Self> {
        Self::start_after(machine, instance, None)
    }

    pub fn start_after(
        machine: &Machine,
        instance: &Instance,
        resume: Option<Resume>,
    ) -> Result<Self> {
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
                        ended = router::run(instance, resume, Default::default(), command_queue, reports, publish) => {
                            ended.expect("netlink lives");
                        }
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

    pub fn tell(&self, command: Command) -> Result<()> {
        self.commands
            .blocking_send(command)
            .context("the router has ended")
    }

    pub fn resign(&self) -> Result<()> {
        self.tell(Command::Resign {
            why: "rehearsal".to_owned(),
            aside: true,
        })
    }

    /// Waits for a report.
    pub fn wait<T>(&self, what: &str, wanted: impl Fn(&Report) -> Option<T>) -> Result<T> {
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

    /// Waits for the next change of its role, which must be to this one, and tells why it changed.
    pub fn wait_role(&self, role: Role) -> Result<Cause> {
        let (to, cause) = self.wait(role.name(), |report| match report {
            Report::Turned { to, cause, .. } => Some((*to, cause.clone())),
            _ => None,
        })?;
        ensure!(to == role, "it is {} instead: {cause}", to.name());
        Ok(cause)
    }

    /// Waits until it has this role, whatever it had before.
    pub fn wait_role_any(&self, role: Role) -> Result<()> {
        self.wait_view(role.name(), |view| view.role == role)?;
        Ok(())
    }

    /// Waits until somebody else says that it has this address, and tells where that is.
    pub fn wait_claim(&self, wanted: IpAddr) -> Result<[u8; 6]> {
        self.wait("the claim", |report| match report {
            Report::Claimed { address, mac } if *address == wanted => Some(*mac),
            _ => None,
        })
    }

    /// What was reported so far was expected.
    pub fn forget_reports(&self) {
        while self.reports.try_recv().is_ok() {}
    }

    /// No change of role was reported that was not waited for.
    pub fn expect_no_turn(&self) -> Result<()> {
        while let Ok(report) = self.reports.try_recv() {
            ensure!(!matches!(report, Report::Turned { .. }), "{report:?}");
        }
        Ok(())
    }

    /// Waits until an advert was found wanting in this way.
    pub fn wait_rejection(&self, wanted: Rejection) -> Result<()> {
        self.wait(wanted.name(), |report| match report {
            Report::Rejected { rejection, .. } if *rejection == wanted => Some(()),
            _ => None,
        })
    }

    /// Waits until its view is as wanted.
    pub fn wait_view(
        &self,
        what: &str,
        wanted: impl Fn(&RouterView) -> bool,
    ) -> Result<RouterView> {
        try_wait_until(what, SOON, || {
            let view = self.view.borrow().clone();
            ensure!(wanted(&view), "{view:?}");
            Ok(view)
        })
    }

    /// Ends as a process does that is killed: nothing is said, nothing is taken away.
    pub fn crash(mut self) {
        // It has ended already where this fails.
        let _crashed = self.crash.take().map(|crash| crash.send(()));
        self.join();
    }

    /// Ends politely.
    pub fn leave(mut self) -> Result<()> {
        let left = self.begin_to_leave()?;
        left.blocking_recv()
            .context("the router ended without a word")?;
        self.join();
        Ok(())
    }

    /// Says that it is to end; answered when it has.
    pub fn begin_to_leave(&self) -> Result<oneshot::Receiver<bool>> {
        let (done, left) = oneshot::channel();
        let why = "stopping".to_owned();
        self.tell(Command::Leave { why, done })?;
        Ok(left)
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the router does not panic");
        }
    }
}

pub fn policy(priority: u8) -> Command {
    Command::Policy {
        priority,
        fault: None,
        may_preempt: true,
        withheld: false,
    }
}
