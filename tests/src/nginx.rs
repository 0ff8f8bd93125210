//! Debian's nginx on a server: HTTPS that says who it is.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::machine::Machine;
use crate::process::Process;
use crate::wait::try_wait_until;

const START: Duration = Duration::from_secs(20);

/// HTTPS on port 443 with a certificate of its own. `/` and all that is not below answer with the machine's name; `/health`
/// with the health page of a mail node, which [`Nginx::set_health`] writes; `/own` sets a SERVERID of its own; `/etag` has
/// a validator; `/session` gives out a session; `/upload` takes all of a body before it answers; `/pages/` is what [`Nginx::publish`] wrote; `/ws` is a WebSocket of whoever
/// listens at port 9000 of its own machine; `/trailer` has one. Port 8443 speaks HTTP/2 too.
/// `/small` (100 bytes) and `/64k` are for load, and not in the log.
#[derive(Debug)]
pub struct Nginx {
    machine: Machine,
    process: Process,
}

impl Nginx {
    /// Returns when it listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(machine: &Machine) -> Result<Self> {
        let dir = Self::dir(machine);
        fs::create_dir_all(dir.join("www/pages"))?;
        make_certificate(machine, &dir.join("server.pem"), machine.name())?;
        let name = machine.name();
        let at = dir.display();
        fs::write(dir.join("www/big"), "x".repeat(2_000_000))?;
        fs::write(dir.join("www/64k"), "x".repeat(65_536))?;
        let small = "x".repeat(100);
        let config = format!(
            "worker_processes 1;\ndaemon off;\nmaster_process off;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\n\
             events {{ worker_connections 4096; }}\nhttp {{\n access_log {at}/access.log;\n client_max_body_size 0;\n\
             client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi; \
             uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n keepalive_requests 1000000;\n\
             server {{\n  listen 443 ssl;\n  listen 8443 ssl http2;\n  listen 80;\n  ssl_certificate {at}/server.pem;\n  ssl_certificate_key {at}/server.pem;\n\
             root {at}/www;\n  add_header X-Server {name} always;\n\
             location / {{ return 200 \"{name}\\n\"; }}\n\
             location = /seen {{ return 200 \"$http_cookie|$http_x_forwarded_for|$http_x_forwarded_proto|$http_host\\n\"; }}\n\
             location = /health {{ default_type application/json; try_files /health.json =503; }}\n\
             location = /own {{ add_header X-Server {name}; add_header Set-Cookie \"SERVERID=own; path=/\"; return 200 \"{name}\\n\"; }}\n\
             location = /etag {{ add_header X-Server {name}; add_header ETag '\"a\"'; return 200 \"{name}\\n\"; }}\n\
             location = /private {{ add_header X-Server {name}; add_header Cache-Control private; return 200 \"{name}\\n\"; }}\n\
             location = /age {{ add_header X-Server {name}; add_header Cache-Control max-age=60; return 200 \"{name}\\n\"; }}\n\
             location = /session {{ add_header X-Server {name}; add_header Set-Cookie \"SESSION=$request_id; path=/; HttpOnly\"; return 200 \"{name}\\n\"; }}\n\
             location = /trailer {{ add_trailer X-Sum abc; return 200 \"{name}\\n\"; }}\n\
             location /pages/ {{ default_type text/html; }}\n\
             location = /upload {{ proxy_pass http://127.0.0.1:80/; }}\n\
             location = /ws {{ proxy_pass http://127.0.0.1:9000; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
             proxy_set_header Connection upgrade; }}\n\
             location = /small {{ access_log off; return 200 \"{small}\"; }}\n\
             location = /64k {{ access_log off; }}\n\
             location = /big {{ limit_rate 0; }}\n }}\n}}\n"
        );
        let path = dir.join("nginx.conf");
        fs::write(&path, config)?;
        let process = Self::spawn(machine)?;
        let nginx = Self {
            machine: machine.clone(),
            process,
        };
        nginx.set_health("ok", "ok")?;
        nginx.wait_listening()?;
        Ok(nginx)
    }

    fn dir(machine: &Machine) -> PathBuf {
        machine.directory().join("nginx")
    }

    fn spawn(machine: &Machine) -> Result<Process> {
        let mut command = machine.command("nginx");
        command.arg("-c").arg(Self::dir(machine).join("nginx.conf"));
        machine.spawn("nginx", &mut command)
    }

    fn wait_listening(&self) -> Result<()> {
        try_wait_until(&format!("nginx on {}", self.machine.name()), START, || {
            let listed = self.machine.run("ss", &["-Hltn", "sport = :443"])?;
            ensure!(!listed.trim().is_empty(), "{}", self.process.tail());
            Ok(())
        })
    }

    /// What its health page says of all and of the database.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_health(&self, status: &str, database: &str) -> Result<()> {
        self.set_page(&format!(
            "{{\"status\": \"{status}\", \"checks\": {{\"database\": \"{database}\", \"redis\": \"ok\"}}}}\n"
        ))
    }

    /// All of its health page.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_page(&self, text: &str) -> Result<()> {
        let dir = Self::dir(&self.machine).join("www");
        // At once, so that nobody reads half of it.
        fs::write(dir.join("health.new"), text)?;
        fs::rename(dir.join("health.new"), dir.join("health.json")).context("health.json")
    }

    /// A page below `/pages/`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&self, name: &str, text: &str) -> Result<()> {
        let path = Self::dir(&self.machine).join("www/pages").join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The page is gone: 503.
    ///
    /// # Errors
    /// It was gone.
    pub fn lose_health(&self) -> Result<()> {
        fs::remove_file(Self::dir(&self.machine).join("www/health.json")).context("health.json")
    }

    /// # Errors
    /// It has ended by itself.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// As [`Nginx::start`].
    pub fn again(&mut self) -> Result<()> {
        self.process = Self::spawn(&self.machine)?;
        self.wait_listening()
    }

    /// Lines of requests that it has served, checks among them.
    ///
    /// # Errors
    /// There is no log.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(Self::dir(&self.machine).join("access.log")).context("access.log")
    }
}

const P256: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A self-signed certificate with its key (ECDSA P-256), in one PEM file as HAProxy wants it.
///
/// # Errors
/// `openssl` refuses.
pub fn make_certificate(machine: &Machine, path: &std::path::Path, name: &str) -> Result<()> {
    make_certificate_with(machine, path, name, &P256, 30)
}

/// As [`make_certificate`], for so many days from now.
///
/// # Errors
/// `openssl` refuses.
pub fn make_certificate_for(
    machine: &Machine,
    path: &std::path::Path,
    name: &str,
    days: u32,
) -> Result<()> {
    make_certificate_with(machine, path, name, &P256, days)
}

/// As [`make_certificate_for`]; `key_kind` are the arguments after `-newkey` of `openssl req`.
///
/// # Errors
/// `openssl` refuses.
pub fn make_certificate_with(
    machine: &Machine,
    path: &std::path::Path,
    name: &str,
    key_kind: &[&str],
    days: u32,
) -> Result<()> {
    let directory = path.parent().context("a directory")?;
    fs::create_dir_all(directory)?;
    let (key, chain) = (
        path.with_extension("key.tmp"),
        path.with_extension("crt.tmp"),
    );
    let text = |path: &std::path::Path| path.display().to_string();
    let subject = format!("/CN={name}");
    let names = format!("subjectAltName=DNS:{name}");
    let (key_text, chain_text, days) = (text(&key), text(&chain), days.to_string());
    let mut arguments = vec!["req", "-x509", "-nodes", "-days", &days, "-subj", &subject];
    arguments.extend(["-addext", &names, "-keyout", &key_text, "-out", &chain_text]);
    arguments.push("-newkey");
    arguments.extend(key_kind);
    machine.run("openssl", &arguments)?;
    let whole = fs::read_to_string(&chain)? + &fs::read_to_string(&key)?;
    let new = path.with_extension("new.tmp");
    fs::write(&new, whole)?;
    fs::rename(&new, path)?;
    fs::remove_file(key)?;
    fs::remove_file(chain).context("the parts")
}
