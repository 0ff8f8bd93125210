//! The page in Chromium: on a desk, on a phone, in the dark; with script and without.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use mb_lb_ctl::snapshot::AdminState;
use mb_lb_tests::{Process, try_wait_until};
use serde_json::{Value, json};

use super::{PASSWORD, Page, SOON};

/// Chromium, and the script that drives it.
struct Browser {
    driver: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _chromium: Process,
    pictures: PathBuf,
}

impl Browser {
    fn start(page: &Page) -> Result<Self> {
        let client = page.cluster.lab.client();
        let profile = client.directory().join("chromium");
        let mut chromium = client.command("chromium");
        chromium
            .env("HOME", client.directory())
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args(["--disable-dev-shm-usage", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args([
                "--remote-debugging-port=0",
                "--remote-allow-origins=*",
                "about:blank",
            ]);
        let chromium = client.spawn("chromium", &mut chromium)?;
        let script = client.directory().join("browse.py");
        fs::write(&script, include_str!("scripts/browse.py"))?;
        let mut driver = client
            .command("/usr/bin/python3")
            .arg(script)
            .arg(profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start python3")?;
        let to = driver.stdin.take().context("it was piped")?;
        let from = BufReader::new(driver.stdout.take().context("it was piped")?);
        // Where they can be looked at afterwards.
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let pictures = target.join("page");
        fs::create_dir_all(&pictures)?;
        Ok(Self {
            driver,
            to,
            from,
            _chromium: chromium,
            pictures,
        })
    }

    fn tell(&mut self, order: &Value) -> Result<Value> {
        writeln!(self.to, "{order}").context("the driver does not read")?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let answer: Value =
            serde_json::from_str(&line).with_context(|| format!("{order}: {line:?}"))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{order}: {error}"),
            None => Ok(answer["value"].clone()),
        }
    }

    fn show(&mut self, width: u32, height: u32, scheme: &str, script: bool) -> Result<()> {
        let mobile = width < 600;
        self.tell(&json!({
            "do": "show", "width": width, "height": height, "mobile": mobile, "scheme": scheme, "script": script,
        }))?;
        Ok(())
    }

    fn open(&mut self, url: &str) -> Result<()> {
        self.tell(&json!({"do": "open", "url": url})).map(drop)
    }

    fn evaluate(&mut self, expression: &str) -> Result<Value> {
        self.tell(&json!({"do": "evaluate", "expression": expression}))
    }

    fn until(&mut self, expression: &str) -> Result<()> {
        self.tell(&json!({"do": "until", "expression": expression}))
            .map(drop)
    }

    fn picture(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.pictures.join(format!("{name}.png"));
        self.tell(&json!({"do": "picture", "path": path}))?;
        Ok(path)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended.
        let _killed = self.driver.kill();
        let _ended = self.driver.wait();
    }
}

/// The address with the password in it, as it is typed once; Chromium remembers it.
fn with_password(page: &Page) -> String {
    let password = PASSWORD
        .replace(' ', "%20")
        .replace('ä', "%C3%A4")
        .replace(':', "%3A");
    format!("http://admin:{password}@{}/stats", page.host())
}

/// A service beside that of mail, with fewer servers than it should have, one of them unlike in the file.
const RELAY: &str = r#"
[service.relay]
listen = "10.77.0.100:2525"
forward = "proxy"
check = { type = "tcp", port = 25 }
min_up = 2
servers = { mb1 = "10.77.0.101", mb2 = "10.77.0.102" }

[service.old]
listen = "10.77.0.100:26"
forward = "proxy"
check = { type = "none" }
servers = { mb1 = "10.77.0.101" }
"#;

#[test]
fn the_page_can_be_read_on_a_desk_and_on_a_phone_by_day_and_by_night() -> Result<()> {
    let page = Page::start("weblook")?;
    let director = page.director();
    let text = super::configuration(&page.cluster.lab, 8404);
    director.write_config(&format!("{text}{RELAY}"))?;
    director.expect(&["reload"])?;
    director.expect(&["drain", "smtp/mb2", "--reason", "kernel upgrade"])?;
    director.expect(&["weight", "smtp/mb3", "7"])?;
    for line in [
        "set maxconn server relay/mb1 100",
        "disable health relay/mb1",
        "disable frontend old",
    ] {
        let answer = director.admin(line)?;
        ensure!(answer.trim().is_empty(), "{line}: {answer}");
    }
    for name in ["relay/mb1", "relay/mb2"] {
        page.cluster
            .wait_server(name, SOON, |server| server.usable)?;
    }
    let too_few = ["maint", "relay/mb2", "--force", "--reason", "disk"];
    director.expect(&too_few)?;
    page.cluster
        .wait_server("relay/mb2", SOON, |server| !server.usable)?;
    let mut browser = Browser::start(&page)?;
    for (name, width, height, scheme) in [
        ("desk", 1280, 900, "light"),
        ("dark", 1280, 900, "dark"),
        ("phone", 390, 844, "light"),
        ("phone-dark", 390, 844, "dark"),
    ] {
        browser.show(width, height, scheme, true)?;
        browser.open(&with_password(&page))?;
        let overflow = browser.evaluate("document.documentElement.scrollWidth - innerWidth")?;
        assert!(
            overflow.as_i64().is_some_and(|more| more <= 0),
            "{name} is too wide: {overflow}"
        );
        let contrast = browser.evaluate(include_str!("scripts/contrast.js"))?;
        assert_eq!(contrast, json!([]), "{name}: text that is hard to read");
        let path = browser.picture(name)?;
        let picture = fs::read(&path)?;
        let number = |at: usize| {
            u32::from_be_bytes([
                picture[at],
                picture[at + 1],
                picture[at + 2],
                picture[at + 3],
            ])
        };
        assert_eq!(&picture[1..4], b"PNG");
        // Without the bar for scrolling.
        assert!(
            number(16) >= width - 20 && number(20) >= height / 2,
            "{name}: {}",
            path.display()
        );
    }
    let text = browser.evaluate("document.body.innerText")?;
    let text = text.as_str().context("text")?;
    for words in [
        "TOO FEW min_up is 2",
        "its check rests; at most 100 connections (file: no cap), by root",
        "BY HAND takes no new clients: root disabled it",
        "7 (file 10)",
    ] {
        ensure!(text.contains(words), "no {words:?} in {text}");
    }
    // Headings of columns and rows are such, every field has a label, and ids are unique.
    let faults = browser.evaluate(
        "[...document.querySelectorAll('th:not([scope]), input:not([type=hidden])')]\
         .filter((e) => e.tagName === 'TH' || !e.labels.length).map((e) => e.outerHTML)\
         .concat([...document.querySelectorAll('[id]')].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i))",
    )?;
    assert_eq!(faults, json!([]));
    assert_eq!(browser.tell(&json!({"do": "complaints"}))?, json!([]));
    Ok(())
}

/// It renews itself without loading anew; a form that is open is left alone; focus and place stay.
#[test]
fn with_script_the_page_is_kept_up_to_date() -> Result<()> {
    let page = Page::start("webscript")?;
    let mut browser = Browser::start(&page)?;
    browser.show(1280, 500, "light", true)?;
    browser.open(&with_password(&page))?;
    browser.evaluate(
        "window.marked = true; document.getElementById('metrics').focus(); scrollTo(0, 100)",
    )?;
    page.director()
        .expect(&["drain", "smtp/mb3", "--reason", "seen by the page"])?;
    browser.until("document.getElementById('live').textContent.includes('seen by the page')")?;
    assert_eq!(
        browser.evaluate("window.marked")?,
        json!(true),
        "it was loaded anew"
    );
    assert_eq!(
        browser.evaluate("document.activeElement.id")?,
        json!("metrics")
    );
    assert_eq!(browser.evaluate("scrollY")?, json!(100));

    // By keyboard alone: open the form, say why, press the button.
    browser.evaluate("document.getElementById('change-smtp-mb2-summary').focus()")?;
    let enter = json!({"do": "key", "key": {"key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13}});
    browser.tell(&enter)?;
    browser.until("document.getElementById('change-smtp-mb2').open")?;
    browser.picture("form")?;
    browser.evaluate(
        "document.querySelector('#change-smtp-mb2 input[type=text]').value = 'by the keyboard'; \
         document.querySelector('#change-smtp-mb2 button[value=maint]').focus()",
    )?;
    browser.tell(&enter)?;
    browser
        .until("location.pathname === '/stats;st=DONE' && document.readyState === 'complete'")?;
    let server = page.cluster.server("smtp/mb2")?;
    assert_eq!(
        (
            server.admin,
            server.admin_by.as_str(),
            server.admin_reason.as_str()
        ),
        (AdminState::Maint, "admin (page)", "by the keyboard")
    );
    let shown = browser.evaluate("document.querySelector('[role=status]').textContent")?;
    assert_eq!(shown, json!("DONE Done."));

    // The director goes, and the page says that it is old.
    assert_eq!(browser.tell(&json!({"do": "complaints"}))?, json!([]));
    let mut page = page;
    page.cluster.director.kill()?;
    browser.until("!document.getElementById('stale').hidden")?;
    page.cluster.director.run()?;
    browser.until("document.getElementById('stale').hidden")?;
    Ok(())
}

#[test]
fn without_script_the_page_loads_itself_anew() -> Result<()> {
    let page = Page::start("webplain")?;
    let mut browser = Browser::start(&page)?;
    browser.show(1280, 900, "light", false)?;
    browser.open(&with_password(&page))?;
    page.director()
        .expect(&["drain", "smtp/mb1", "--reason", "no script"])?;
    browser.until("document.body.textContent.includes('no script')")?;
    // The form works as well.
    browser.evaluate(
        "document.getElementById('change-smtp-mb1').open = true; \
         document.querySelector('#change-smtp-mb1 button[value=ready]').click()",
    )?;
    try_wait_until("mb1 to be ready", SOON, || {
        let server = page.cluster.server("smtp/mb1")?;
        ensure!(server.admin == AdminState::Ready, "{:?}", server.admin);
        Ok(())
    })
}
