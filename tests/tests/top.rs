//! `mb-lb-ctl top` on a terminal: what it shows, what its keys do, and what is left of it when it ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::cli::top::Screen;
use mb_lb_ctl::snapshot::AdminState;
use mb_lb_tests::cluster::{SOON, Service};
use mb_lb_tests::{Cluster, try_wait_until};

const DOWN: &[u8] = b"\x1b[B";
const F9: &[u8] = b"\x1b[20~";
const ENTER: &[u8] = b"\r";
const ESCAPE: &[u8] = b"\x1b";

/// A terminal on the director with a shell that runs one program, its keyboard, and what is on its screen.
struct Terminal {
    shell: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<vt100::Parser>>,
    directory: PathBuf,
}

impl Terminal {
    fn start(cluster: &Cluster, program: &str) -> Result<Self> {
        let machine = cluster.director.machine();
        let directory = machine.directory().to_owned();
        // What the terminal is set to before and after; the program's exit code, with its process id from within.
        let run = format!(
            "cd {}; stty rows 24 cols 80; tty >tty; stty -g >before; sh -c 'echo $$ >pid; exec {program}'; \
             echo $? >code; stty -g >after; echo the shell again",
            directory.display()
        );
        let mut shell = machine
            .command("script")
            .args(["-qfec", &run, "/dev/null"])
            .envs(cluster.director.environment())
            .env("TERM", "xterm")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let keys = shell.stdin.take().context("its keyboard")?;
        let mut output = shell.stdout.take().context("its screen")?;
        let screen = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                let mut shown = shown.lock().expect("no reader panics");
                shown.process(&bytes[..read]);
            }
        });
        Ok(Self {
            shell,
            keys,
            screen,
            directory,
        })
    }

    fn top(cluster: &Cluster, options: &str) -> Result<Self> {
        let program = cluster.director.program().display();
        Self::start(cluster, &format!("{program} top {options}"))
    }

    fn seen<T>(&self, of: impl Fn(&vt100::Screen) -> T) -> T {
        of(self.screen.lock().expect("no reader panics").screen())
    }

    fn contents(&self) -> String {
        self.seen(vt100::Screen::contents)
    }

    fn press(&mut self, key: &[u8]) -> Result<()> {
        self.keys.write_all(key)?;
        Ok(self.keys.flush()?)
    }

    fn wait_for(&self, words: &[&str]) -> Result<()> {
        try_wait_until(&format!("{words:?} on the screen"), SOON, || {
            let contents = self.contents();
            for word in words {
                ensure!(contents.contains(word), "{contents}");
            }
            Ok(())
        })
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.directory.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Waits for the end of the program; the terminal has to be as it was before. Gives its exit code.
    fn end(&mut self) -> Result<String> {
        try_wait_until("the shell to end", SOON, || {
            self.shell.try_wait()?.context("it runs")
        })?;
        self.wait_for(&["the shell again"])?;
        ensure!(self.read("before")? == self.read("after")?, "stty differs");
        let (alternate, hidden) = self.seen(|s| (s.alternate_screen(), s.hide_cursor()));
        ensure!(!alternate && !hidden, "{}", self.contents());
        self.read("code")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn cluster(name: &str, admin: &str) -> Result<Cluster> {
    Cluster::start(name, 2, |lab| {
        format!("{admin}\n{}", Service::smtp(lab, &[10, 20]).toml())
    })
}

fn wait_state(cluster: &Cluster, server: &str, state: AdminState) -> Result<String> {
    try_wait_until(&format!("{server} to be {state:?}"), SOON, || {
        let found = cluster.server(server)?;
        ensure!(found.admin == state, "{:?}", found.admin);
        Ok(found.admin_reason)
    })
}

#[test]
fn keys_drain_a_server_and_make_it_ready_and_the_terminal_is_as_before() -> Result<()> {
    let cluster = cluster("top", "")?;
    let mut top = Terminal::top(&cluster, "")?;
    top.wait_for(&["all well", "smtp", "2/2 up", "mb1", "mb2", "q quit"])?;
    assert!(top.seen(vt100::Screen::alternate_screen));

    top.press(DOWN)?;
    top.press(b"d")?;
    top.wait_for(&["Drain smtp/mb2?", "may end in peace"])?;
    top.press(b"kernel upgrade")?;
    top.wait_for(&["reason: kernel upgrade_"])?;
    assert_eq!(cluster.server("smtp/mb2")?.admin, AdminState::Ready);
    top.press(ENTER)?;
    let reason = wait_state(&cluster, "smtp/mb2", AdminState::Drain)?;
    assert_eq!(reason, "kernel upgrade");
    top.wait_for(&["1/2 up", "drain", "kernel upgrade"])?;

    top.press(F9)?;
    top.wait_for(&["Make ready smtp/mb2?"])?;
    top.press(ENTER)?;
    wait_state(&cluster, "smtp/mb2", AdminState::Ready)?;
    top.wait_for(&["2/2 up"])?;
    top.press(b"++")?;
    top.wait_for(&["Weight of smtp/mb2 20 -> 22?"])?;
    top.press(ENTER)?;
    try_wait_until("the weight", SOON, || {
        let weight = cluster.server("smtp/mb2")?.weight;
        ensure!(weight == 22, "{weight}");
        Ok(())
    })?;
    // The daemon's answer comes after what it did, and would cover what the next key says.
    try_wait_until("the answer", SOON, || {
        let contents = top.contents();
        let open = ["Weight of", "asked the daemon"];
        ensure!(
            !open.iter().any(|words| contents.contains(words)),
            "{contents}"
        );
        Ok(())
    })?;

    // What is asked for and not confirmed is not done.
    top.press(b"m")?;
    top.wait_for(&["Take out for maintenance smtp/mb2?"])?;
    top.press(ESCAPE)?;
    top.wait_for(&["nothing was changed"])?;
    assert_eq!(cluster.server("smtp/mb2")?.admin, AdminState::Ready);

    // Another size.
    let tty = top.read("tty")?;
    top.screen
        .lock()
        .expect("no reader panics")
        .screen_mut()
        .set_size(40, 120);
    let machine = cluster.director.machine();
    machine.run("stty", &["-F", &tty, "rows", "40", "cols", "120"])?;
    try_wait_until("the last line to be the fortieth", SOON, || {
        let last = top.seen(|screen| screen.contents_between(39, 0, 39, 120));
        ensure!(last.contains("nothing was changed"), "{}", top.contents());
        Ok(())
    })?;
    top.press(b"e")?;
    top.wait_for(&["events, newest first", "weight", "smtp/mb2"])?;
    top.press(b"q")?;
    assert_eq!(top.end()?, "0");
    Ok(())
}

#[test]
fn killed_it_leaves_the_terminal_as_it_was_and_the_daemons_end_does_not_end_it() -> Result<()> {
    let mut cluster = cluster("topkill", "")?;
    let mut top = Terminal::top(&cluster, "--interval 100ms")?;
    top.wait_for(&["2/2 up"])?;
    cluster.director.stop()?;
    top.wait_for(&["no answer; below is what was so", "mb1"])?;
    cluster.director.run()?;
    top.wait_for(&["new/s"])?;
    let pid = top.read("pid")?;
    cluster.director.machine().run("kill", &["-TERM", &pid])?;
    // As the shell has it: 128 and the signal's number.
    assert_eq!(top.end()?, "143");
    Ok(())
}

#[test]
fn a_panic_is_told_on_a_terminal_as_it_was() -> Result<()> {
    let cluster = cluster("toppanic", "")?;
    let this = std::env::current_exe()?;
    let program = format!(
        "env RUST_BACKTRACE=0 {} --ignored --exact --nocapture panics_on_the_screen",
        this.display()
    );
    let mut top = Terminal::start(&cluster, &program)?;
    assert_eq!(top.end()?, "101");
    let contents = top.contents();
    assert!(contents.contains("on purpose"), "{contents}");
    Ok(())
}

/// Run by `a_panic_is_told_on_a_terminal_as_it_was`, in a process of its own and on a terminal of its own.
#[test]
#[ignore = "panics, and needs a terminal"]
fn panics_on_the_screen() {
    let mut screen = Screen::enter().expect("a terminal");
    screen.draw(|_| panic!("on purpose")).expect("a panic");
}

#[test]
fn read_only_refuses_and_so_does_a_socket_for_looking_only() -> Result<()> {
    for (name, admin, options) in [
        ("toplook", "", "--read-only"),
        ("toplevel", "socket_level = \"operator\"\n", ""),
    ] {
        let cluster = cluster(name, admin)?;
        let mut top = Terminal::top(&cluster, options)?;
        top.wait_for(&["read-only", "2/2 up"])?;
        for key in [&b"d"[..], b"m", b"+"] {
            top.press(key)?;
            top.wait_for(&["nothing is changed from here"])?;
            top.press(ENTER)?;
            top.wait_for(&["q quit"])?;
        }
        top.press(b"q")?;
        assert_eq!(top.end()?, "0", "{name}");
        let server = cluster.server("smtp/mb1")?;
        assert_eq!((server.admin, server.weight), (AdminState::Ready, 10));
    }
    Ok(())
}

#[test]
fn without_a_terminal_it_says_what_to_use() -> Result<()> {
    let cluster = cluster("topless", "")?;
    let answer = cluster.director.ctl(&["top"])?;
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(answer.stderr.contains("needs a terminal"), "{answer:?}");
    assert!(answer.stderr.contains("list servers --watch"), "{answer:?}");
    Ok(())
}

/// As bash asks when a key is pressed.
#[test]
fn a_shell_completes_names_of_the_running_daemon() -> Result<()> {
    let cluster = cluster("complete", "")?;
    let machine = cluster.director.machine();
    let program = cluster.director.program();
    let directory = program.parent().context("a directory")?;
    let line = |words: &str| {
        format!(
            "PATH={}:$PATH; source <(mb-lb-ctl completions bash); COMP_TYPE=9; COMP_WORDS=({words} ''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); $(complete -p mb-lb-ctl | grep -o '_clap_complete[^ ]*') mb-lb-ctl; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            directory.display()
        )
    };
    let complete = |words: &str| -> Result<String> {
        let output = machine
            .command("bash")
            .args(["-c", &line(words)])
            .envs(cluster.director.environment())
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let servers = complete("mb-lb-ctl drain")?;
    assert_eq!(servers.lines().next(), Some("smtp/mb1"), "{servers}");
    assert!(servers.contains("\nsmtp/mb2\n"), "{servers}");
    let services = complete("mb-lb-ctl list servers")?;
    assert_eq!(services.lines().next(), Some("smtp"), "{services}");
    let elsewhere = complete("mb-lb-ctl --socket /nowhere drain")?;
    assert!(!elsewhere.contains("smtp"), "{elsewhere}");
    assert!(complete("mb-lb-ctl")?.contains("completions"));
    Ok(())
}
