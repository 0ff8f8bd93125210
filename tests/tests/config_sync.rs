//! `config_sync` with the real rsync, git and sshd: what arrives, what is reloaded, and what is said of what fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{SyncState, SyncTargetView, SyncView};
use mb_lb_tests::cluster::{SOON, Service};
use mb_lb_tests::sshd::Key;
use mb_lb_tests::{Director, Lab, Machine, Sshd, Topology, try_wait_until};
use nix::sys::signal::Signal;

/// A lab with a key, a source, and what the targets have reloaded.
struct Rig {
    lab: Lab,
    director: Director,
    key: Key,
    sshds: BTreeMap<String, Sshd>,
}

impl Rig {
    /// Every server runs sshd, but those in `without`.
    fn new(name: &str, directors: u8, servers: u8, without: &[&str]) -> Result<Self> {
        let topology = Topology { directors, servers };
        let lab = Lab::with(name, topology)?;
        let key = Key::make(&lab, &lab.dir().join("id_ed25519"))?;
        let mut sshds = BTreeMap::new();
        for server in lab.servers() {
            if !without.contains(&server.name()) {
                let sshd = Sshd::start(&lab, server, &[&key])?;
                sshds.insert(server.name().to_owned(), sshd);
            }
        }
        let last = lab.directors().last().context("a lab has a director")?;
        let director = Director::new(&lab, last.name())?;
        fs::create_dir(lab.dir().join("source"))?;
        let rig = Self {
            lab,
            director,
            key,
            sshds,
        };
        let known = rig
            .sshds
            .iter()
            .map(|(name, sshd)| sshd.known_as(&rig.host(name)))
            .collect::<Result<String>>()?;
        fs::write(rig.known_hosts(), known)?;
        Ok(rig)
    }

    fn host(&self, machine: &str) -> String {
        self.lab.machine(machine).ipv4().to_string()
    }

    fn source(&self) -> PathBuf {
        self.lab.dir().join("source")
    }

    fn known_hosts(&self) -> PathBuf {
        self.lab.dir().join("known_hosts")
    }

    /// Where the files of a machine are; each has its own.
    fn etc(&self, machine: &str) -> PathBuf {
        self.lab.machine(machine).directory().join("etc")
    }

    fn reloads(&self) -> PathBuf {
        self.lab.dir().join("reloads")
    }

    /// A command that leaves a line that says on which machine it ran.
    fn reload(&self) -> String {
        format!("echo $SSH_CONNECTION >> {}", self.reloads().display())
    }

    /// How often each of the machines has reloaded.
    fn reloaded(&self, machines: &[&str]) -> Result<Vec<usize>> {
        let text = match fs::read_to_string(self.reloads()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let count = |machine: &&str| {
            let host = self.host(machine);
            let there = |line: &&str| line.split(' ').nth(2) == Some(host.as_str());
            text.lines().filter(there).count()
        };
        Ok(machines.iter().map(count).collect())
    }

    fn targets(&self, machines: &[&str]) -> String {
        let one = |machine: &&str| {
            let path = self.etc(machine);
            format!("\"{}:{}\"", self.host(machine), path.display())
        };
        format!(
            "[{}]",
            machines.iter().map(one).collect::<Vec<_>>().join(", ")
        )
    }

    /// The whole file, with a section `etc` that holds `keys`.
    fn config(&self, keys: &str) -> String {
        let service = Service::smtp(&self.lab, &[10]).check("{ type = \"none\" }");
        format!(
            "{}\n[config_sync.etc]\nidentity_file = {:?}\nknown_hosts = {:?}\n{keys}\n",
            service.toml(),
            self.key.private,
            self.known_hosts()
        )
    }

    fn view(&self) -> Result<SyncView> {
        let mut syncs = self.director.status()?.syncs;
        ensure!(syncs.len() == 1, "{syncs:?}");
        Ok(syncs.remove(0))
    }

    fn target(&self, machine: &str) -> Result<SyncTargetView> {
        let host = self.host(machine);
        let view = self.view()?;
        let mut targets = view.targets.into_iter();
        targets
            .find(|target| target.host == host)
            .with_context(|| format!("no target {host}"))
    }

    fn wait_for(
        &self,
        what: &str,
        machine: &str,
        is: impl Fn(&SyncTargetView) -> bool,
    ) -> Result<SyncTargetView> {
        try_wait_until(&format!("{machine} {what}"), SOON, || {
            let target = self.target(machine)?;
            ensure!(is(&target), "{target:#?}");
            Ok(target)
        })
    }

    fn wait_in_step(&self, machine: &str) -> Result<SyncTargetView> {
        self.wait_for("to be in step", machine, |target| {
            target.state == SyncState::InStep && !target.running
        })
    }

    /// Has one more run made of every target, and waits for its end.
    fn sync(&self) -> Result<()> {
        self.director
            .expect(&["sync", "etc", "--wait", "60s"])
            .map(drop)
    }

    fn wait_for_file(&self, machine: &str, name: &str, content: Option<&str>) -> Result<()> {
        let path = self.etc(machine).join(name);
        let what = format!("{name} of {machine} to be {content:?}");
        try_wait_until(&what, SOON, || {
            let found = read(&path)?;
            ensure!(found.as_deref() == content, "{found:?}");
            Ok(())
        })
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(read?)),
    }
}

#[test]
fn files_arrive_and_every_change_is_reloaded_once() -> Result<()> {
    let all = ["mb1", "mb2", "mb3"];
    let mut rig = Rig::new("sync", 1, 3, &[])?;
    let source = rig.source();
    fs::create_dir(source.join("sub"))?;
    fs::write(source.join("main.cf"), "one")?;
    fs::write(source.join("sub/map"), "map")?;
    fs::write(source.join("x.bak"), "private")?;
    // Only a change or an order has anything run here.
    rig.director.write_config(&rig.config(&format!(
        "source = {source:?}\ntargets = {}\ninterval = \"24h\"\nexclude = \"*.bak\"\ndelete = true\nreload = {:?}\n",
        rig.targets(&all),
        rig.reload()
    )))?;
    rig.director.run()?;
    for machine in all {
        let target = rig.wait_in_step(machine)?;
        rig.wait_for_file(machine, "main.cf", Some("one"))?;
        rig.wait_for_file(machine, "sub/map", Some("map"))?;
        assert!(target.last_success_ms.is_some());
        assert!(target.files.contains(&"+ main.cf".to_owned()), "{target:?}");
        assert!(!rig.etc(machine).join("x.bak").exists());
    }
    assert_eq!(rig.reloaded(&all)?, [1, 1, 1]);

    // Nothing has changed: nothing is reloaded.
    rig.sync()?;
    assert_eq!(rig.reloaded(&all)?, [1, 1, 1]);

    // A change is seen, and what differed is shown.
    fs::write(source.join("main.cf"), "number two")?;
    fs::remove_file(source.join("sub/map"))?;
    for machine in all {
        rig.wait_for_file(machine, "main.cf", Some("number two"))?;
        rig.wait_for_file(machine, "sub/map", None)?;
        let expected = ["~ main.cf", "- sub/map"].map(str::to_owned);
        let target = rig.wait_for("to show the change", machine, |target| {
            expected.iter().all(|file| target.files.contains(file)) && !target.running
        })?;
        assert_eq!(target.changed, 2, "{target:?}");
    }
    rig.sync()?;
    assert_eq!(rig.reloaded(&all)?, [2, 2, 2]);

    // What is excluded is no change for anybody.
    fs::write(source.join("x.bak"), "more")?;
    rig.sync()?;
    assert_eq!(rig.reloaded(&all)?, [2, 2, 2]);

    let events = rig.director.expect(&["events", "-n", "100"])?;
    let host = rig.host("mb2");
    let told = |text: &str| {
        let line = events.lines().find(|line| line.contains(text));
        line.is_some_and(|line| line.contains(&format!("etc/{host}")))
            || events
                .lines()
                .filter(|line| line.contains(&host))
                .any(|line| line.contains(text))
    };
    assert!(told("2 files: "), "{events}");
    assert!(told("; reloaded"), "{events}");
    let mine = events
        .lines()
        .filter(|line| line.contains(&format!("etc/{host}")));
    assert_eq!(
        mine.count(),
        2,
        "an event for each change, and no other: {events}"
    );
    let status = rig.director.ctl(&["status"])?.stdout;
    assert!(status.contains("config_sync etc   rsync from"), "{status}");
    assert!(status.contains("3/3 in step"), "{status}");
    for form in ["table", "wide", "csv", "json"] {
        let list = rig.director.expect(&["list", "syncs", "etc", "-o", form])?;
        assert!(
            list.contains(&host) && list.contains("~ main.cf"),
            "{form}: {list}"
        );
    }

    // It is known over a restart when a target was last in step.
    let before = rig.target("mb1")?.last_success_ms;
    rig.director.restart()?;
    let target = rig.wait_in_step("mb1")?;
    assert!(before.is_some() && target.last_success_ms >= before);
    assert_eq!(rig.reloaded(&all)?, [2, 2, 2]);

    // A source that is not mounted any more must not empty the targets.
    fs::rename(&source, source.with_extension("away"))?;
    fs::create_dir(&source)?;
    try_wait_until("the empty source to be told", SOON, || {
        let view = rig.view()?;
        ensure!(view.source_error.is_some(), "{view:?}");
        Ok(())
    })?;
    let answer = rig.director.ctl(&["sync", "etc", "--wait", "60s"])?;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(
        answer.stdout.ends_with("is empty: nothing is sent\n"),
        "{answer:?}"
    );
    rig.wait_for_file("mb1", "main.cf", Some("number two"))?;
    let alarms = rig.director.status()?.alarms;
    let told = alarms
        .iter()
        .filter(|alarm| alarm.text.contains("is empty"));
    assert_eq!(told.count(), 1, "one for all targets: {alarms:?}");
    fs::remove_dir(&source)?;
    fs::rename(source.with_extension("away"), &source)?;
    try_wait_until("the source to be back", SOON, || {
        let view = rig.view()?;
        ensure!(view.source_error.is_none(), "{view:?}");
        Ok(())
    })?;

    let answer = rig.director.ctl(&["sync", "ect"])?;
    assert_eq!(answer.code, 6);
    assert!(answer.stderr.contains("did you mean etc?"), "{answer:?}");
    Ok(())
}

/// `mount` for a directory of its own that is on a file system like that.
fn on_tmpfs(directory: &Path, options: &str, then: &str) -> Result<String> {
    fs::create_dir_all(directory)?;
    let path = directory.display();
    Ok(format!(
        "mount -t tmpfs -o {options} tmpfs {path} && {}",
        then.replace("DIRECTORY", &path.to_string())
    ))
}

#[test]
fn every_target_fails_for_its_own_reason_and_the_others_go_on() -> Result<()> {
    let (down, changed, unknown) = ("mb2", "mb3", "mb4");
    let (full, read_only, refused) = ("mb5", "mb6", "mb7");
    let (bad_reload, hung) = ("mb8", "mb9");
    let mut rig = Rig::new("reasons", 1, 9, &[down, full, read_only, refused])?;
    let source = rig.source();
    fs::write(source.join("main.cf"), vec![b'x'; 256 * 1024])?;

    let known = fs::read_to_string(rig.known_hosts())?;
    let mut known: Vec<_> = known
        .lines()
        .filter(|line| !line.starts_with(&format!("{} ", rig.host(unknown))))
        .map(str::to_owned)
        .collect();
    let other = rig.sshds["mb1"].known_as(&rig.host(changed))?;
    known.retain(|line| !line.starts_with(&format!("{} ", rig.host(changed))));
    known.push(other.trim().to_owned());
    let full_dir = on_tmpfs(&rig.etc(full), "size=64k", "true")?;
    let read_only_dir = on_tmpfs(
        &rig.etc(read_only),
        "size=1m",
        "mount -o remount,ro DIRECTORY",
    )?;
    for (name, keys, prepare) in [
        (full, true, full_dir.as_str()),
        (read_only, true, &read_only_dir),
        (refused, false, "true"),
    ] {
        let key = &rig.key;
        let keys = if keys { vec![key] } else { Vec::new() };
        let sshd = Sshd::start_with(&rig.lab, rig.lab.machine(name), &keys, prepare)?;
        known.push(sshd.known_as(&rig.host(name))?.trim().to_owned());
        rig.sshds.insert(name.to_owned(), sshd);
    }
    fs::write(rig.known_hosts(), known.join("\n") + "\n")?;
    rig.sshds[hung].process.signal(Signal::SIGSTOP)?;

    let permit = rig.lab.dir().join("permit");
    let all: Vec<_> = (1..=9).map(|number| format!("mb{number}")).collect();
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let reload = format!(
        "case \"$SSH_CONNECTION\" in *\" {} \"*) test -e {} || {{ echo no such unit >&2; exit 5; }};; esac; {}",
        rig.host(bad_reload),
        permit.display(),
        rig.reload()
    );
    rig.director.write_config(&rig.config(&format!(
        "source = {source:?}\ntargets = {}\ntimeout = \"8s\"\nreload = {reload:?}\n",
        rig.targets(&all)
    )))?;
    rig.director.run()?;
    for (machine, kind, words) in [
        (down, "unreachable", "Connection refused"),
        (changed, "changed_host_key", "another host key"),
        (unknown, "unknown_host_key", "not known"),
        (full, "no_space", "No space left"),
        (read_only, "read_only", "Read-only file system"),
        (refused, "login_refused", "Permission denied"),
        (bad_reload, "reload", "ended with 5: no such unit"),
        (hung, "timed_out", "not done within 8s"),
    ] {
        let is = |target: &SyncTargetView| target.error_kind.as_deref() == Some(kind);
        let target = rig.wait_for(&format!("to fail: {kind}"), machine, is)?;
        let why = target.error.unwrap_or_default();
        assert!(why.contains(words), "{machine}: {why}");
        assert_eq!(target.state, SyncState::Failed);
        assert_eq!(target.last_success_ms, None);
        let label = format!("config_sync etc to {} fails: {why}", target.target);
        let alarms = rig.director.status()?.alarms;
        let alarm = alarms.iter().find(|alarm| alarm.text == label);
        let alarm = alarm.with_context(|| format!("no {label} in {alarms:?}"))?;
        assert_eq!(Some(&alarm.next), target.next.as_ref());
        assert!(!alarm.next.is_empty());
    }
    rig.wait_in_step("mb1")?;
    assert_eq!(rig.reloaded(&["mb1", bad_reload])?, [1, 0]);
    assert!(rig.target(bad_reload)?.reload_owed);
    let status = rig.director.ctl(&["status"])?;
    assert_eq!(status.code, 10);
    assert!(status.stdout.contains("1/9 in step"), "{}", status.stdout);
    assert!(
        status.stdout.contains("FAILS  never in step"),
        "{}",
        status.stdout
    );
    // A host key that nobody has vouched for is not learnt.
    let now = fs::read_to_string(rig.known_hosts())?;
    assert_eq!(now, known.join("\n") + "\n");

    // Each is cured, and heals.
    fs::write(&permit, "")?;
    rig.sshds[hung].process.signal(Signal::SIGCONT)?;
    let sshd = Sshd::start(&rig.lab, rig.lab.machine(down), &[&rig.key])?;
    known.push(sshd.known_as(&rig.host(down))?.trim().to_owned());
    known.push(
        rig.sshds[unknown]
            .known_as(&rig.host(unknown))?
            .trim()
            .to_owned(),
    );
    rig.sshds.insert(down.to_owned(), sshd);
    fs::write(rig.known_hosts(), known.join("\n") + "\n")?;
    rig.director.expect(&["sync", "etc"])?;
    for machine in [down, unknown, bad_reload, hung] {
        rig.wait_in_step(machine)?;
    }
    // The reload was owed, although nothing differed any more.
    assert_eq!(
        rig.reloaded(&["mb1", down, unknown, bad_reload, hung])?,
        [1; 5]
    );
    let events = rig.director.expect(&["events", "-n", "1000"])?;
    let told = |machine: &str, text: &str| {
        let subject = format!("etc/{}", rig.host(machine));
        events
            .lines()
            .any(|line| line.contains(&subject) && line.contains(text))
    };
    assert!(told(bad_reload, "a reload was owed; reloaded"), "{events}");
    assert!(told(down, "works again"), "{events}");
    Ok(())
}

/// `git` in a directory.
fn git(machine: &Machine, directory: &Path, arguments: &[&str]) -> Result<String> {
    let directory = directory.to_str().context("a path that is not UTF-8")?;
    let mut all = vec![
        "-C",
        directory,
        "-c",
        "user.name=lab",
        "-c",
        "user.email=lab@lab",
    ];
    all.extend_from_slice(arguments);
    Ok(machine.run("git", &all)?.trim().to_owned())
}

fn commit(machine: &Machine, directory: &Path, name: &str, content: &str) -> Result<String> {
    fs::write(directory.join(name), content)?;
    git(machine, directory, &["add", "--all"])?;
    git(machine, directory, &["commit", "--quiet", "-m", name])?;
    git(machine, directory, &["rev-parse", "HEAD"])
}

fn clone(machine: &Machine, from: &Path, to: &Path) -> Result<()> {
    let text = |path: &Path| path.display().to_string();
    let arguments = ["clone", "--quiet", &text(from), &text(to)];
    machine.run("git", &arguments).map(drop)
}

#[test]
fn git_brings_targets_forward_and_tells_of_those_that_diverged() -> Result<()> {
    let all = ["mb1", "mb2", "mb3"];
    let mut rig = Rig::new("git", 1, 3, &[])?;
    let source = rig.source();
    let here = rig.lab.machine("lb1").clone();
    git(&here, &source, &["init", "--quiet", "-b", "main"])?;
    commit(&here, &source, "main.cf", "one")?;
    // mb3 begins with nothing at all.
    for machine in ["mb1", "mb2"] {
        clone(&here, &source, &rig.etc(machine))?;
    }
    fs::create_dir(rig.etc("mb3"))?;
    git(&here, &rig.etc("mb3"), &["init", "--quiet", "-b", "main"])?;
    rig.director.write_config(&rig.config(&format!(
        "method = \"git\"\nbranch = \"main\"\nsource = {source:?}\ntargets = {}\ninterval = \"24h\"\nreload = {:?}\n",
        rig.targets(&all),
        rig.reload()
    )))?;
    rig.director.run()?;
    for machine in all {
        rig.wait_in_step(machine)?;
    }
    rig.wait_for_file("mb3", "main.cf", Some("one"))?;
    assert_eq!(rig.reloaded(&all)?, [0, 0, 1], "two had it all already");

    // One has a commit of its own from now on.
    let own = commit(&here, &rig.etc("mb2"), "own", "x")?;
    let new = commit(&here, &source, "main.cf", "two")?;
    let target = rig.wait_for("to have the commit", "mb1", |target| {
        target
            .commits
            .as_deref()
            .is_some_and(|text| text.starts_with("1 commit "))
            && !target.running
    })?;
    assert_eq!(target.files, ["~ main.cf"]);
    assert_eq!(git(&here, &rig.etc("mb1"), &["rev-parse", "HEAD"])?, new);
    rig.wait_for_file("mb1", "main.cf", Some("two"))?;
    let target = rig.wait_for("to be told as diverged", "mb2", |target| {
        target.error_kind.as_deref() == Some("diverged")
    })?;
    assert_eq!(
        target.error.as_deref(),
        Some("diverged: commits that only the target has: 1, that it lacks: 1")
    );
    assert_eq!(git(&here, &rig.etc("mb2"), &["rev-parse", "HEAD"])?, own);
    rig.wait_for_file("mb3", "main.cf", Some("two"))?;
    let in_step = |target: &SyncTargetView| target.state == SyncState::InStep && !target.running;
    rig.wait_for("to be done", "mb3", in_step)?;
    assert_eq!(rig.reloaded(&all)?, [1, 0, 2]);

    // A file that was changed by hand is not overwritten.
    fs::write(rig.etc("mb1").join("main.cf"), "by hand")?;
    commit(&here, &source, "main.cf", "three")?;
    rig.wait_for("to be told as changed by hand", "mb1", |target| {
        target.error_kind.as_deref() == Some("local_changes")
    })?;
    rig.wait_for_file("mb1", "main.cf", Some("by hand"))?;

    // Without a source, targets fetch by themselves.
    git(&here, &rig.etc("mb1"), &["checkout", "--quiet", "main.cf"])?;
    let bare = rig.lab.dir().join("bare.git");
    let text = bare.display().to_string();
    let from = source.display().to_string();
    here.run("git", &["clone", "--quiet", "--bare", &from, &text])?;
    git(
        &here,
        &rig.etc("mb1"),
        &["remote", "set-url", "origin", &text],
    )?;
    rig.director.write_config(&rig.config(&format!(
        "method = \"git\"\ntargets = {}\ninterval = \"24h\"\nreload = {:?}\n",
        rig.targets(&["mb1"]),
        rig.reload()
    )))?;
    rig.director.expect(&["reload"])?;
    rig.wait_for_file("mb1", "main.cf", Some("three"))?;
    rig.wait_in_step("mb1")?;
    rig.sync()?;
    assert_eq!(rig.reloaded(&["mb1"])?, [2]);
    git(&here, &rig.etc("mb1"), &["checkout", "--quiet", "--detach"])?;
    let answer = rig.director.ctl(&["sync", "etc", "--wait", "60s"])?;
    assert_eq!(answer.code, 1);
    assert!(
        answer.stdout.contains("no branch is checked out"),
        "{answer:?}"
    );
    Ok(())
}

#[test]
fn only_the_active_director_does_it() -> Result<()> {
    let mut rig = Rig::new("standby", 2, 1, &[])?;
    let source = rig.source();
    fs::write(source.join("main.cf"), "one")?;
    rig.director.write_config(&rig.config(&format!(
        "source = {source:?}\ntargets = {}\ninterval = \"1s\"\nreload = {:?}\n",
        rig.targets(&["mb1"]),
        rig.reload()
    )))?;
    rig.director.run()?;
    let vip = rig.lab.vip4();
    let lacks = format!("the VIP {vip} is not on this director");
    let standby = |what: &str| {
        try_wait_until(what, SOON, || {
            let status = rig.director.status()?;
            ensure!(
                status
                    .alarms
                    .iter()
                    .any(|alarm| alarm.text.starts_with(&lacks)),
                "{:?}",
                status.alarms
            );
            Ok(())
        })?;
        rig.wait_for("to be another's matter", "mb1", |target| {
            target.state == SyncState::Standby && !target.running && target.next_run.is_none()
        })
    };
    let before = standby("the VIP to be missing")?;
    assert_eq!(before.runs, 0);
    let answer = rig.director.ctl(&["sync", "etc"])?;
    assert_eq!(answer.code, 8, "{answer:?}");
    assert!(answer.stderr.contains("not the active one"), "{answer:?}");
    let status = rig.director.ctl(&["status"])?.stdout;
    assert!(status.contains("on the active director"), "{status}");
    fs::write(source.join("main.cf"), "two")?;
    assert!(!rig.etc("mb1").exists());

    // It takes over.
    let machine = rig.director.machine();
    machine.add_addresses("eth0", [(vip.into(), 32)])?;
    rig.wait_for_file("mb1", "main.cf", Some("two"))?;
    rig.wait_in_step("mb1")?;
    assert_eq!(rig.reloaded(&["mb1"])?, [1]);

    // And hands over.
    machine.run(
        "ip",
        &["address", "del", &format!("{vip}/32"), "dev", "eth0"],
    )?;
    let after = standby("the VIP to be gone again")?;
    fs::write(source.join("main.cf"), "three")?;
    assert_eq!(rig.director.ctl(&["sync", "etc"])?.code, 8);
    assert_eq!(rig.target("mb1")?.runs, after.runs);
    rig.wait_for_file("mb1", "main.cf", Some("two"))?;

    machine.add_addresses("eth0", [(vip.into(), 32)])?;
    rig.wait_for_file("mb1", "main.cf", Some("three"))?;
    rig.wait_in_step("mb1")?;
    assert_eq!(rig.reloaded(&["mb1"])?, [2]);
    Ok(())
}
