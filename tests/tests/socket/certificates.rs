//! Certificates by the socket: acme.sh's words, what comes into files, and what is served.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::nginx::make_certificate;
use mb_lb_tests::try_wait_until;

use crate::rig::SOON;
use crate::{Rig, ask};

/// Of the certificate that the proxy shows to who asks for `name`.
fn served(rig: &Rig, name: &str) -> Result<String> {
    let script = format!(
        "openssl s_client -connect {}:443 -servername {name} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
        rig.lab.vip4()
    );
    rig.lab.client().run("sh", &["-c", &script])
}

fn fingerprint(rig: &Rig, file: &Path) -> Result<String> {
    let file = file.to_str().context("a path in UTF-8")?;
    let arguments = ["x509", "-noout", "-fingerprint", "-sha256", "-in", file];
    rig.lab.client().run("openssl", &arguments)
}

/// A new one, which nobody has seen.
fn another(rig: &Rig, name: &str) -> Result<(std::path::PathBuf, String)> {
    let path = rig.directory().join(format!("{name}.new"));
    make_certificate(rig.director.machine(), &path, name)?;
    let pem = fs::read_to_string(&path)?;
    Ok((path, pem))
}

fn set(rig: &Rig, path: &Path, pem: &str) -> Result<String> {
    let text = format!("set ssl cert {} <<\n{}\n\n", path.display(), pem.trim_end());
    ask(&rig.director.socket(), text)
}

#[test]
fn a_committed_certificate_is_served_and_outlives_a_restart() -> Result<()> {
    let mut rig = Rig::start("sockcert")?;
    let site = rig.site();
    let shown = site.display().to_string();
    fs::set_permissions(&site, fs::Permissions::from_mode(0o640))?;
    let (new, pem) = another(&rig, "mail.example.com")?;
    let (old, wanted) = (fingerprint(&rig, &site)?, fingerprint(&rig, &new)?);
    ensure!(served(&rig, "mail.example.com")? == old);

    // What is no good reaches no file.
    let (_, other) = another(&rig, "a.example.com")?;
    let (chain, key) = (
        pem.split("-----BEGIN PRIVATE").next().context("a chain")?,
        other,
    );
    let key = &key[key.find("-----BEGIN PRIVATE").context("a key")?..];
    ensure!(set(&rig, &site, "garbage")?.ends_with(&format!(
        "Can't load the payload\nCan't update {shown}!\n\n"
    )));
    ensure!(set(&rig, &site, key)?.starts_with("unable to load certificate from file"));
    ensure!(
        set(&rig, &site, &format!("{chain}{key}"))?
            == format!("Transaction created for certificate {shown}!\n\n")
    );
    let refused = rig.ours(&format!("commit ssl cert {shown}"))?;
    ensure!(
        refused
            == format!(
                "inconsistencies between private key and certificate loaded '{shown}'.\nCan't commit {shown}!\n\n"
            ),
        "{refused}"
    );
    ensure!(
        set(&rig, &site, chain)? == format!("Transaction updated for certificate {shown}!\n\n")
    );
    let refused = rig.ours(&format!("commit ssl cert {shown}"))?;
    ensure!(
        refused.starts_with(
            "The transaction must contain at least a certificate and a private key!\n"
        ),
        "{refused}"
    );
    ensure!(fingerprint(&rig, &site)? == old);

    ensure!(set(&rig, &site, &pem)?.starts_with("Transaction updated"));
    let pending = rig.ours(&format!("show ssl cert *{shown}"))?;
    ensure!(pending.contains("\nStatus: Unused\n"), "{pending}");
    // When it is said to be done, it is in force.
    let done = rig.ours(&format!("commit ssl cert {shown}"))?;
    ensure!(
        done == format!("Committing {shown}.\nSuccess!\n\n"),
        "{done}"
    );
    ensure!(served(&rig, "mail.example.com")? == wanted);
    ensure!(fs::metadata(&site)?.mode() & 0o7777 == 0o640);
    ensure!(fs::read_to_string(&site)?.trim_end() == pem.trim_end());
    rig.director.stop()?;
    rig.director.run()?;
    try_wait_until("the new certificate after a restart", SOON, || {
        let now = served(&rig, "mail.example.com")?;
        ensure!(now == wanted, "{now}");
        Ok(())
    })
}

#[test]
fn both_describe_a_certificate_alike() -> Result<()> {
    let rig = Rig::start("sockdesc")?;
    // A chain of two, with another kind of key, several names, and a name of many parts. Of names, HAProxy shows those of hosts.
    let script = "set -e; cd \"$0\"; \
         openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj '/C=DE/O=Example CA/CN=root' 2>/dev/null; \
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout leaf.key -out leaf.csr \
           -subj '/C=DE/ST=Bayern/L=Fuerth/O=Example/OU=Mail/CN=mx.example.org' 2>/dev/null; \
         printf 'subjectAltName=DNS:mx.example.org,DNS:*.example.org\\n' > ext; \
         openssl x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -days 30 -out leaf.crt -extfile ext 2>/dev/null; \
         cat leaf.crt ca.crt leaf.key > chain.new";
    let directory = rig.directory().to_str().context("UTF-8")?.to_owned();
    rig.director
        .machine()
        .run("sh", &["-c", script, &directory])?;
    let pem = fs::read_to_string(rig.directory().join("chain.new"))?;
    let site = rig.site();
    let text = format!("set ssl cert {} <<\n{}\n\n", site.display(), pem.trim_end());
    let commit = format!("commit ssl cert {}\n", site.display());
    for socket in [rig.director.socket(), rig.haproxy()] {
        ensure!(ask(&socket, &text)?.starts_with("Transaction created"));
        ensure!(ask(&socket, &commit)?.ends_with("Success!\n\n"));
    }
    let show = format!("show ssl cert {}", site.display());
    let (ours, theirs) = (rig.ours(&show)?, rig.theirs(&show)?);
    ensure!(ours == theirs, "ours:\n{ours}theirs:\n{theirs}");
    Ok(())
}

/// Exactly what acme.sh's hook for HAProxy does with a socket, without the part that makes the file.
const HOOK: &str = r#"
set -e
pem="$1"; path="$2"; socket="UNIX:$3"
if echo 'show ssl cert' | socat "$socket" - | grep -q "^$pem$"; then
    echo known
else
    echo new
    echo 'show ssl crt-list' | socat "$socket" - | grep -q "^$path$"
    echo "new ssl cert $pem" | socat "$socket" - | grep -q 'New empty'
    new=1
fi
echo -e "set ssl cert $pem <<\n$(cat "$4")\n" | socat "$socket" - | grep -q 'Transaction created'
echo "commit ssl cert $pem" | socat "$socket" - | grep -q '^Success!$'
if [ "$new" = 1 ]; then
    echo "add ssl crt-list $path $pem" | socat "$socket" - | grep -q 'Success!'
fi
echo done
"#;

fn hook(rig: &Rig, pem: &Path, source: &Path) -> Result<String> {
    let output = rig
        .director
        .machine()
        .command("bash")
        .args(["-c", HOOK, "hook"])
        .args([pem, &rig.certificates(), &rig.director.socket(), source])
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        output.status.success(),
        "{}: {output:?}",
        rig.ours("show ssl cert")?
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn the_words_of_acme_sh_renew_and_add() -> Result<()> {
    let rig = Rig::start("sockacme")?;
    let known = rig.certificates().join("a.pem");
    let (renewed, _) = another(&rig, "a.example.com")?;
    ensure!(hook(&rig, &known, &renewed)? == "known\ndone\n");
    ensure!(served(&rig, "a.example.com")? == fingerprint(&rig, &renewed)?);

    let (new, _) = another(&rig, "b.example.com")?;
    let target = rig.certificates().join("b.pem");
    ensure!(hook(&rig, &target, &new)? == "new\ndone\n");
    ensure!(served(&rig, "b.example.com")? == fingerprint(&rig, &new)?);
    ensure!(fs::metadata(&target)?.mode() & 0o7777 == 0o600);

    // It writes the file itself before, which is then served at any moment.
    for number in 0..6 {
        let name = format!("c{number}.example.com");
        let (source, pem) = another(&rig, &name)?;
        let target = rig.certificates().join(format!("c{number}.pem"));
        fs::write(&target, pem)?;
        hook(&rig, &target, &source)?;
        ensure!(served(&rig, &name)? == fingerprint(&rig, &source)?);
    }
    let all = rig.ours(&format!(
        "show ssl crt-list {}",
        rig.certificates().display()
    ))?;
    ensure!(all.lines().count() == 10, "{all}");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_written_is_said_to_be() -> Result<()> {
    let rig = Rig::start("sockro")?;
    let site = rig.site();
    let (_, pem) = another(&rig, "mail.example.com")?;
    let old = fs::read(&site)?;
    ensure!(set(&rig, &site, &pem)?.starts_with("Transaction created"));
    let change = |flag| {
        let path = rig.directory().to_str().context("UTF-8")?;
        rig.director.machine().run("chattr", &[flag, path])
    };
    change("+i").or_else(|_| lock(&rig, true))?;
    let refused = rig.ours(&format!("commit ssl cert {}", site.display()));
    change("-i").or_else(|_| lock(&rig, false))?;
    let refused = refused?;
    ensure!(
        refused.starts_with(&format!("Cannot write {}: ", site.display())),
        "{refused}"
    );
    ensure!(
        refused.ends_with(&format!("Can't commit {}!\n\n", site.display())),
        "{refused}"
    );
    ensure!(fs::read(&site)? == old);
    // The transaction is still there.
    ensure!(
        rig.ours(&format!("commit ssl cert {}", site.display()))?
            .ends_with("Success!\n\n")
    );
    Ok(())
}

/// Where the file system knows no immutable directories: a directory stands where the new file is to be made.
fn lock(rig: &Rig, locked: bool) -> Result<String> {
    let pid = rig.director.status()?.pid;
    let path = rig.directory().join(format!(".site.pem.mb-lb-{pid}"));
    match locked {
        true => fs::create_dir(path)?,
        false => fs::remove_dir(path)?,
    }
    Ok(String::new())
}
