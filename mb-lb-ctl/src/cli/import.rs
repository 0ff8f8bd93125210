//! `import`: files of other programs in, a configuration and a report out. What is made of them is `crate::import`.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::args::{ForwardMethod, Import, TextOrJson};
use crate::cli::config_source::read;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, json as document, say};
use crate::config::Forward;
use crate::import::{Error, Imported, Input, Options, Report, Verdict, import};
use crate::snapshot::JSON_VERSION;

pub fn run(args: &Import) -> Result<Exit, Failure> {
    if let Some(path) = args.output.as_deref().filter(|_| !args.force) {
        refuse_existing(path)?;
    }
    let files: Vec<(String, String)> = args
        .files
        .iter()
        .map(|path| Ok((name_of(path, &args.files), source(path)?)))
        .collect::<Result<_, Failure>>()?;
    let inputs: Vec<Input<'_>> = files
        .iter()
        .map(|(name, text)| Input { name, text })
        .collect();
    let options = Options {
        forward: match args.forward {
            ForwardMethod::Dsr => Forward::Dsr,
            ForwardMethod::Proxy => Forward::Proxy,
        },
        vips: args.vip.clone(),
        tier_vip: args.tier_vip,
        name: args.name.clone().unwrap_or_else(host_name),
    };
    let imported = import(&inputs, &options).map_err(failure)?;
    tell(args, &imported)
}

/// By its last part, or by all of it where two have the same.
fn name_of(path: &Path, all: &[PathBuf]) -> String {
    let same = all
        .iter()
        .filter(|other| other.file_name() == path.file_name());
    match path.file_name() {
        Some(name) if same.count() == 1 => name.to_string_lossy().into_owned(),
        _ => path.display().to_string(),
    }
}

fn source(path: &Path) -> Result<String, Failure> {
    read(path).map_err(|failure| match failure.next.contains("--config") {
        true => failure.next("name the files that are to be imported"),
        false => failure,
    })
}

fn failure(error: Error) -> Failure {
    let next = match &error {
        Error::UnknownKind { .. } => "name haproxy.cfg, keepalived.conf or mailborder.conf",
        Error::Syntax { .. } => "correct the line; the program that it is for refuses it as well",
        Error::Fault { .. } => {
            "import the files one by one to see whose it is, and report it with that file"
        }
    };
    let exit = match &error {
        Error::Fault { .. } => Exit::Failed,
        _ => Exit::ConfigErrors,
    };
    Failure::new(exit, format!("nothing was imported: {error}")).next(next)
}

fn tell(args: &Import, imported: &Imported) -> Result<Exit, Failure> {
    let report = &imported.report;
    if let (Some(path), Some(config)) = (&args.output, &imported.config) {
        write(path, config, args.force)?;
        let has_password = ["auth_pass = ", "password = ", "dynamic_key = "]
            .iter()
            .any(|key| config.contains(key));
        let secret = if has_password {
            ", passwords in it"
        } else {
            ""
        };
        say(&format!(
            "{} is written{secret}; only its owner can read it",
            path.display()
        ));
    }
    match (args.report, &imported.config) {
        (Some(TextOrJson::Text), _) => emit(&report.text())?,
        (Some(TextOrJson::Json), config) => emit(&machine(report, config.as_deref())?)?,
        (None, config) => {
            if let Some(config) = config.as_ref().filter(|_| args.output.is_none()) {
                emit(config)?;
            }
            narrate(report);
        }
    }
    if imported.config.is_none() {
        let next = if args.report.is_some() {
            "see the report"
        } else {
            "mb-lb-ctl import ... --report"
        };
        let why = "nothing was written: no service of these files can be served by mb-lb";
        return Err(Failure::failed(why).next(next));
    }
    let unsupported = report.count(Verdict::Unsupported) > 0;
    Ok(match args.strict && unsupported {
        true => Exit::ConfigWarnings,
        false => Exit::Ok,
    })
}

/// What needs a look, in few words.
fn narrate(report: &Report) {
    say(narration(report).trim_end());
}

fn narration(report: &Report) -> String {
    let mut text = report.lines(&[Verdict::Unsupported, Verdict::Dead]);
    text.push_str(&report.approximations());
    text.push_str(&report.sum());
    text.push('\n');
    for notice in &report.notices {
        text.push_str(&format!("note: {notice}\n"));
    }
    if !report.setups.is_empty() {
        text.push_str(
            "servers need a set-up for dsr, which --report shows; --forward proxy needs none\n",
        );
    }
    text
}

fn machine(report: &Report, config: Option<&str>) -> Result<String, Failure> {
    let counts = Verdict::ALL.iter().map(|verdict| {
        let key = verdict.name().replace(' ', "_");
        (key, json!(report.count(*verdict)))
    });
    let counts: serde_json::Map<_, _> = counts.collect();
    document(&json!({
        "version": JSON_VERSION,
        "imported": config.is_some(),
        "counts": counts,
        "report": report,
    }))
}

fn refuse_existing(path: &Path) -> Result<(), Failure> {
    // What cannot be looked at, cannot be written either, and that is said then.
    if !path.exists() {
        return Ok(());
    }
    let shown = path.display();
    Err(Failure::new(
        Exit::Refused,
        format!("{shown} exists already; it was not changed"),
    )
    .next("name another file, or say --force"))
}

/// All of it or nothing, and readable for the owner only from its first moment on.
fn write(path: &Path, config: &str, replace: bool) -> Result<(), Failure> {
    let shown = path.display();
    let failed = |error: std::io::Error| Failure::failed(format!("cannot write {shown}: {error}"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new.{}", std::process::id()));
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    let put = match replace {
        true => |new: &Path, path: &Path| fs::rename(new, path),
        // Fails where somebody else has made the file meanwhile.
        false => {
            |new: &Path, path: &Path| fs::hard_link(new, path).and_then(|()| fs::remove_file(new))
        }
    };
    let written = file
        .write_all(config.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| put(&new, path));
    written.map_err(|error| {
        // It has passwords in it.
        let _ = fs::remove_file(&new);
        failed(error)
    })
}

fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const HAPROXY: &str = "frontend f\n    bind 192.0.2.100:25\n    compression algo gzip\n    acl a src 192.0.2.1\n    default_backend b\n\
                           backend b\n    server a 192.0.2.1:25 check\n";

    fn args(files: &[&Path]) -> Import {
        Import {
            files: files.iter().map(|path| (*path).to_owned()).collect(),
            output: None,
            force: false,
            report: Some(TextOrJson::Json),
            forward: ForwardMethod::Dsr,
            vip: Vec::new(),
            tier_vip: None,
            name: Some("lb1".to_owned()),
            strict: false,
        }
    }

    #[test]
    fn a_file_is_written_once_for_its_owner_and_replaced_only_by_force() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (
            dir.path().join("haproxy.cfg"),
            dir.path().join("mb-lb.toml"),
        );
        fs::write(&from, HAPROXY).expect("written");
        let mut args = args(&[&from]);
        args.output = Some(to.clone());
        assert_eq!(run(&args), Ok(Exit::Ok));
        let text = fs::read_to_string(&to).expect("written");
        assert!(text.contains("[service.b]"), "{text}");
        let mode = fs::metadata(&to).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&to, "mine\n").expect("written");
        let refused = run(&args).expect_err("it exists");
        assert_eq!(refused.exit, Exit::Refused);
        assert_eq!(fs::read_to_string(&to).expect("there"), "mine\n");
        args.force = true;
        assert_eq!(run(&args), Ok(Exit::Ok));
        assert_eq!(fs::read_to_string(&to).expect("there"), text);
        // Nothing is left beside them.
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 2);
    }

    #[test]
    fn how_it_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let good = file("good.cfg", HAPROXY);
        let mut strict = args(&[&good]);
        strict.strict = true;
        assert_eq!(run(&strict), Ok(Exit::ConfigWarnings));
        for (path, exit, says) in [
            (
                file("none.cfg", "backend b\n"),
                Exit::Failed,
                "nothing was written",
            ),
            (
                file("quote.cfg", "global\n  log \"\n"),
                Exit::ConfigErrors,
                "quote.cfg:2: a quote",
            ),
            (
                file("other.cfg", "server {}\n"),
                Exit::ConfigErrors,
                "other.cfg is no configuration",
            ),
            (
                dir.path().join("gone.cfg"),
                Exit::ConfigErrors,
                "there is no such file",
            ),
        ] {
            let failure = run(&args(&[&path])).expect_err("an error");
            assert_eq!(failure.exit, exit, "{failure:?}");
            assert!(failure.message.contains(says), "{failure:?}");
            assert!(!failure.next.contains("--config"), "{failure:?}");
        }
    }

    #[test]
    fn without_a_report_all_is_said_that_needs_a_look() {
        let text = "listen mail\n mode tcp\n bind 192.0.2.100:25\n option allbackups\n server a:1 192.0.2.1 check\n server b 192.0.2.2 check slowstart 5s\n server c 192.0.2.3 check\n\
                    listen web\n mode http\n bind 192.0.2.100:443 ssl crt /a.pem verify required ca-file /b.pem\n server a 192.0.2.1:80\n";
        let input = Input {
            name: "h.cfg",
            text,
        };
        let imported = import(&[input], &Options::default()).expect("imported");
        let why = "`verify required`: clients are not asked for certificates here, so whoever has none would come in: have the servers ask for them, behind a [service.NAME]";
        let expected = format!(
            "h.cfg:8: unsupported: listen web\n\
             h.cfg:9: unsupported: mode http\n\
             \x20 `web` has no address to listen on: {why}\n\
             h.cfg:10: unsupported: bind 192.0.2.100:443 ssl crt /a.pem verify required ca-fi...\n\
             \x20 {why}\n\
             h.cfg:11: unsupported: server a 192.0.2.1:80\n\
             \x20 `web` has no address to listen on: {why}\n\
             h.cfg:5, 7: approximated: all servers of it start as slowly as `b`\n\
             h.cfg:5: approximated: `a:1` is `a_1` here, and scripts have to say so: names have letters, digits, `_`, `.` and `-`\n\
             11 lines: 4 mapped, 2 approximated, 1 not needed, 0 dead, 4 unsupported\n\
             note: h.cfg:10: access control that mb-lb does not have; what it guards is left out: {why}\n\
             servers need a set-up for dsr, which --report shows; --forward proxy needs none\n"
        );
        assert_eq!(narration(&imported.report), expected);
    }

    #[test]
    fn files_of_one_name_keep_their_paths() {
        let all = ["/a/x.cfg", "/b/x.cfg", "/b/y.cfg"].map(PathBuf::from);
        let names = all.iter().map(|path| name_of(path, &all));
        assert_eq!(names.collect::<Vec<_>>(), ["/a/x.cfg", "/b/x.cfg", "y.cfg"]);
    }
}
