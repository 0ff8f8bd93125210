//! `http`, `user` and `password` of `[admin]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::fields::{Field, Fields};
use super::values::{self, Fault};
use super::{AdminHttp, Login, Secret};

/// What was read, with the place of the address.
pub(super) struct Draft {
    pub http: AdminHttp,
    listen: Range<usize>,
}

/// `None` where there is no page, or its address was refused.
pub(super) fn http(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<Draft> {
    let user = fields.get("user");
    let text = fields.get("password");
    let file = fields.get("password_file");
    let Some(field) = fields.get("http") else {
        for key in [user, text, file].into_iter().flatten() {
            let help = "add http = \"127.0.0.1:8404\" for the page, or remove the key";
            let finding = key.finding(Code::NoEffect, "has no effect without `http`");
            reporter.push(finding.help(help));
        }
        return None;
    };
    if let (Some(text), Some(file)) = (&text, &file) {
        reporter.push(file.second(text, "password"));
    }
    let is_open = text.is_none() && file.is_none();
    match (&user, text.as_ref().or(file.as_ref())) {
        (None, Some(password)) => {
            let finding = password.finding(Code::MissingKey, "is of nobody");
            reporter.push(finding.help("add user = \"admin\""));
        }
        (Some(user), None) => {
            let finding = user.finding(Code::MissingKey, "has no password");
            reporter.push(finding.help("add password_file = \"/etc/mb-lb/stats.password\""));
        }
        _ => {}
    }
    let login = login(user, text, file, reporter);
    let expected = "an address and port in quotes";
    let listen = field.parsed(expected, listen, reporter)?;
    if is_open && !listen.ip().is_loopback() {
        let phrase = "shows everything to whoever reaches it: there is no password";
        let finding = field.finding(Code::OpenPage, phrase);
        reporter.push(finding.help(
            "add `user` and `password_file`, or write \"127.0.0.1:8404\" and reach it through ssh -L",
        ));
    }
    Some(Draft {
        http: AdminHttp { listen, login },
        listen: field.span,
    })
}

fn login(
    user: Option<Field<'_>>,
    text: Option<Field<'_>>,
    file: Option<Field<'_>>,
    reporter: &mut Reporter<'_>,
) -> Option<Login> {
    let user = user.and_then(|field| field.parsed("a name in quotes", name, reporter));
    let file =
        file.and_then(|field| field.parsed("the path of a file", values::secret_file, reporter));
    let text = text.and_then(|field| field.parsed("a password in quotes", password, reporter));
    Some(Login {
        user: user?,
        password: text.map(Secret::Text).or(file.map(Secret::File))?,
    })
}

fn listen(text: &str) -> Result<SocketAddr, Fault> {
    let fault = |phrase: String| Fault::new(Code::BadAddress, phrase);
    let shape = "write address and port: \"127.0.0.1:8404\", or \"0.0.0.0:8404\" for all addresses of this machine";
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            Err(fault(format!("has port 0: {}", quote(text))).help("ports are 1 to 65535"))
        }
        Ok(address) if address.ip().is_multicast() => {
            Err(fault(format!("is a multicast address: {}", quote(text))).help(shape))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(fault(format!("is not an address and port: {}", quote(text))).help(shape)),
    }
}

fn name(text: &str) -> Result<String, Fault> {
    let fault = |phrase: String| Err(Fault::new(Code::BadName, phrase));
    if text.is_empty() || text.len() > 64 {
        return fault(format!("has {} bytes, a user's name 1 to 64", text.len()));
    }
    if text.contains(':') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let phrase = "has a colon, a space or a control character";
        return fault(format!("{phrase}: {}", quote(text)));
    }
    Ok(text.to_owned())
}

/// The value never gets into a message.
fn password(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(
            Fault::new(Code::Empty, "is empty").help("remove `user` and the password for none")
        );
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::new(Code::BadText, "has a control character"));
    }
    Ok(text.to_owned())
}

/// What services, proxies and tiers listen on is theirs.
pub(super) fn crosscheck(
    draft: &Draft,
    listens: &BTreeMap<SocketAddr, Range<usize>>,
    reporter: &mut Reporter<'_>,
) {
    if let Some(first) = listens.get(&draft.http.listen) {
        let message = format!(
            "`admin.http` is listened on already: `{}`",
            draft.http.listen
        );
        reporter.push(
            Finding::new(Code::DuplicateListen, draft.listen.clone(), message)
                .related(first.clone(), "first here")
                .help("give the page another port, such as 8404"),
        );
    }
}
