//! The lab that stays up, behind `cargo xtask lab`.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use mb_lb_tests::{Director, Lab, Sink};

#[derive(Parser)]
#[command(name = "mb-lb-lab", about = "A lab network that stays up")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make the network and start its mail servers
    Up,
    /// Stop everything in the network and remove it
    Down,
    /// Run a command in a machine
    Exec {
        /// client, lb1, mb1, mb2 or mb3
        machine: String,
        /// What to run there, with its arguments
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
    /// Machines, addresses, and what runs where
    Status,
    /// Hold a lab for as long as this program runs; prints its directory
    Hold,
}

fn main() -> ExitCode {
    match run(Arguments::parse().what) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<ExitCode> {
    match what {
        What::Up => up()?,
        What::Down => down()?,
        What::Exec { machine, command } => exec(&machine, &command)?,
        What::Status => return status(),
        What::Hold => hold()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up() -> Result<()> {
    if let Some(lab) = running()? {
        eprintln!("lab: it is up already");
        explain(&lab);
        return Ok(());
    }
    eprintln!("lab: making the network");
    let lab = Lab::new("lab")?;
    eprintln!("lab: starting the mail servers");
    let sinks = lab
        .servers()
        .iter()
        .map(Sink::start)
        .collect::<Result<Vec<_>>>()?;
    Director::new(&lab, "lb1")?.write_config(&sample_config(&lab))?;
    for sink in sinks {
        sink.release();
    }
    let directory = lab.detach()?;
    let file = state_file()?;
    write_state(&file, &directory).with_context(|| {
        format!(
            "cannot write {}; remove the lab's namespaces with `ip netns delete`",
            file.display()
        )
    })?;
    let lab = Lab::attach(&directory)?;
    explain(&lab);
    Ok(())
}

fn down() -> Result<()> {
    match running()? {
        Some(lab) => {
            let names = lab.names().join(", ");
            let directory = lab.dir();
            lab.down()?;
            eprintln!(
                "lab: stopped all that ran on {names}; namespaces and {} are gone",
                directory.display()
            );
        }
        None => eprintln!("lab: it is not up"),
    }
    match fs::remove_file(state_file()?) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context("cannot remove the lab's state file")
        }
        _ => Ok(()),
    }
}

/// Becomes the command, so that its exit code and its terminal are the caller's.
fn exec(machine: &str, command: &[OsString]) -> Result<()> {
    let lab = need_running()?;
    let Some(machine) = lab.find(machine) else {
        bail!(
            "no machine {machine:?}; there are {}",
            lab.names().join(", ")
        );
    };
    let [program, arguments @ ..] = command else {
        bail!("no command to run on {}", machine.name());
    };
    let mut command = machine.command(program);
    command.args(arguments);
    if machine.name().starts_with("lb") {
        let director = Director::new(&lab, machine.name())?;
        command.envs(director.environment());
        // `lab exec lb1 mb-lb-ctl status` is what one types.
        if program == "mb-lb-ctl" {
            command = machine.command(director.program());
            command.args(arguments).envs(director.environment());
        }
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {} on {}", program.display(), machine.name()))
}

fn status() -> Result<ExitCode> {
    let Some(lab) = running()? else {
        println!("The lab is down; `cargo xtask lab up` makes it.");
        return Ok(ExitCode::SUCCESS);
    };
    println!(
        "The lab is up; VIP {} and {}; files in {}",
        lab.vip4(),
        lab.vip6(),
        lab.dir().display()
    );
    for name in lab.names() {
        let machine = lab.machine(name);
        let pids = machine.run("ip", &["netns", "pids", machine.namespace()])?;
        let mut programs: Vec<_> = pids
            .lines()
            .filter_map(|pid| fs::read_to_string(format!("/proc/{}/comm", pid.trim())).ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| name != "ip")
            .collect();
        programs.dedup();
        println!(
            "{name:8}{:14}{:12}{}",
            machine.ipv4(),
            machine.ipv6(),
            programs.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn hold() -> Result<()> {
    let lab = Lab::new("hold")?;
    let _sinks = lab
        .servers()
        .iter()
        .map(Sink::start)
        .collect::<Result<Vec<_>>>()?;
    println!("{}", lab.dir().display());
    loop {
        std::thread::park();
    }
}

fn explain(lab: &Lab) {
    println!(
        "client {}, lb1 with the VIP {}, and {} with smtp-sink on port 25 are up.

the configuration           {}
start the director          cargo xtask lab exec lb1 mb-lb-ctl run
look at it                  cargo xtask lab exec lb1 mb-lb-ctl status
send mail through the VIP   cargo xtask lab exec client smtp-source -c -m 100 -s 10 {}
stop and remove it all      cargo xtask lab down",
        lab.client().ipv4(),
        lab.vip4(),
        lab.servers()
            .iter()
            .map(|server| server.name())
            .collect::<Vec<_>>()
            .join(", "),
        lab.machine("lb1").directory().join("mb-lb.toml").display(),
        lab.smtp4(),
    );
}

fn sample_config(lab: &Lab) -> String {
    let mut config = format!(
        "[service.smtp_backend]\n\
         listen = [\"{}\", \"{}\"]\n\
         check = {{ type = \"smtp\" }}\n\n\
         [service.smtp_backend.servers]\n",
        lab.smtp4(),
        lab.smtp6()
    );
    for (server, weight) in lab.servers().iter().zip([10, 10, 5]) {
        config += &format!(
            "{} = {{ address = \"{}\", weight = {weight} }}\n",
            server.name(),
            server.ipv4()
        );
    }
    config
}

fn need_running() -> Result<Lab> {
    running()?.context("the lab is down: run `cargo xtask lab up`")
}

/// `None`: there is no lab, or it went with a reboot.
fn running() -> Result<Option<Lab>> {
    let file = state_file()?;
    let directory = match fs::read_to_string(&file) {
        Ok(text) => PathBuf::from(text.trim()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", file.display()));
        }
    };
    if !directory.exists() {
        return Ok(None);
    }
    Lab::attach(&directory)
        .map(Some)
        .context("what is left of the lab is not whole: run `cargo xtask lab down`")
}

/// Holds the path of the lab's directory.
fn state_file() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the crate lies in the workspace")?;
    Ok(root.join("target/lab"))
}

fn write_state(file: &Path, directory: &Path) -> std::io::Result<()> {
    fs::write(file, format!("{}\n", directory.display()))
}
