//! Where a proxy listens, and what is spoken there.
//!
//! A proxy has its settings for all its addresses. Lines of `bind` that say otherwise than most are left out.

use std::net::SocketAddr;

use crate::import::Import;
use crate::import::block::Block;
use crate::import::haproxy::bind::Bind;
use crate::import::haproxy::sections::{Config, Kind, Statement};
use crate::import::haproxy::units::{Unit, redirect};
use crate::import::report::{At, Verdict};
use crate::import::value::{list, quote};

pub(super) struct Places<'u> {
    binds: Vec<&'u Bind>,
    /// In clear, only to be sent elsewhere, each with the line that does.
    redirecting: Vec<(&'u Bind, &'u Statement)>,
    /// `ssl-min-ver` of `global`.
    version: Option<(String, At)>,
}

/// What all addresses of a proxy have alike.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Settings {
    accept_proxy: bool,
    /// Nothing older than TLS 1.3.
    newest: bool,
}

impl<'u> Places<'u> {
    /// Lines that are of no use have their verdict then.
    ///
    /// # Errors
    /// Why nobody could come in.
    pub fn of(
        config: &Config,
        unit: &'u Unit<'_>,
        import: &mut Import<'_>,
    ) -> Result<Self, String> {
        let mut places = Self {
            binds: Vec::new(),
            redirecting: Vec::new(),
            version: version(config),
        };
        let mut first = None;
        let usable = |bind: &Bind, import: &mut Import<'_>| match &bind.refused {
            Some(why) => {
                import
                    .ledger
                    .say(bind.at[0], Verdict::Unsupported, why.as_str());
                Some(why.clone())
            }
            None => None,
        };
        let tls = unit.binds().any(|bind| bind.tls && bind.refused.is_none());
        for front in &unit.fronts {
            let line = redirect(&front.view);
            for bind in &front.binds {
                if let Some(why) = usable(bind, import) {
                    first.get_or_insert(why);
                } else if bind.tls || !tls {
                    places.binds.push(bind);
                } else if let Some(line) = line {
                    places.redirecting.push((bind, line));
                } else {
                    let note = "a proxy speaks TLS on all its addresses or on none: write a second [proxy.NAME] for HTTP in clear, or redirect_http";
                    import.ledger.say(bind.at[0], Verdict::Unsupported, note);
                }
            }
        }
        for (_, binds, line) in &unit.redirects {
            for bind in binds {
                if usable(bind, import).is_none() {
                    places.redirecting.push((bind, line));
                }
            }
        }
        if places.binds.is_empty() {
            let why = first.unwrap_or_else(|| "it has no `bind`".to_owned());
            return Err(format!(
                "`{}` has no address to listen on: {why}",
                unit.back.section.name
            ));
        }
        places.agree(import);
        Ok(places)
    }

    fn settings(&self, bind: &Bind) -> Settings {
        let general = self.version.as_ref().map(|(version, _)| version);
        let version = bind.min_version.as_ref().or(general);
        Settings {
            accept_proxy: bind.accept_proxy,
            newest: bind.tls && version.is_some_and(|version| version == "TLSv1.3"),
        }
    }

    /// Leaves out what is not as most are, or as the first where there is no majority.
    fn agree(&mut self, import: &mut Import<'_>) {
        let count = |settings: Settings| {
            let all = self.binds.iter();
            all.filter(|bind| self.settings(bind) == settings).count()
        };
        let mut most: Option<(&Bind, usize)> = None;
        for bind in &self.binds {
            let number = count(self.settings(bind));
            if most.is_none_or(|(_, best)| number > best) {
                most = Some((bind, number));
            }
        }
        let Some((model, _)) = most else { return };
        let common = self.settings(model);
        let line = model.at[0].line;
        let mut refuse = |bind: &Bind, what: &str| {
            let note = format!(
                "{what} is not as in line {line}, and a proxy has it for all its addresses: left out. Write a second [proxy.NAME] with the same servers"
            );
            import.ledger.say(bind.at[0], Verdict::Unsupported, note);
        };
        let (mut binds, mut redirecting) = (Vec::new(), Vec::new());
        for bind in &self.binds {
            let own = self.settings(bind);
            if own.accept_proxy != common.accept_proxy {
                refuse(bind, "`accept-proxy`");
            } else if own.newest != common.newest {
                refuse(bind, "`ssl-min-ver`");
            } else {
                binds.push(*bind);
            }
        }
        for (bind, redirect) in &self.redirecting {
            match bind.accept_proxy == common.accept_proxy {
                true => redirecting.push((*bind, *redirect)),
                false => refuse(bind, "`accept-proxy`"),
            }
        }
        (self.binds, self.redirecting) = (binds, redirecting);
    }

    pub fn write(&self, unit: &Unit<'_>, block: &mut Block) {
        let mut at = lines(&self.binds);
        at.extend(unit.leads());
        block.key("listen", list(addresses(&self.binds)), &at);
        self.certificates(block);
        let redirecting: Vec<&Bind> = self.redirecting.iter().map(|(bind, _)| *bind).collect();
        for bind in self.binds.iter().chain(&redirecting) {
            for note in &bind.notes {
                block.claim_all(&bind.at[..1], Verdict::Approximated, note);
            }
        }
        if !redirecting.is_empty() {
            let mut at = lines(&redirecting);
            at.extend(self.redirecting.iter().map(|(_, line)| line.at));
            block.key("redirect_http", list(addresses(&redirecting)), &at);
            for (_, line) in &self.redirecting {
                redirect_options(line, block);
            }
        }
        if self.binds.iter().any(|bind| bind.accept_proxy) {
            let all = self.binds.iter().chain(&redirecting);
            let all: Vec<At> = all.map(|bind| bind.at[0]).collect();
            block.key_because(
                "accept_proxy",
                "[\"0.0.0.0/0\", \"::/0\"]",
                &all,
                "name the networks of what is in front",
            );
        }
    }

    fn certificates(&self, block: &mut Block) {
        let tls: Vec<&Bind> = self.binds.iter().copied().filter(|bind| bind.tls).collect();
        let mut certificates: Vec<&str> = Vec::new();
        for certificate in tls.iter().flat_map(|bind| &bind.certificates) {
            if !certificates.contains(&certificate.as_str()) {
                certificates.push(certificate);
            }
        }
        let own: Vec<At> = tls.iter().map(|bind| bind.at[0]).collect();
        match certificates.as_slice() {
            [] => return,
            [one] => block.key("certificate", quote(one), &own),
            many => block.key("certificate", list(many), &own),
        }
        self.version(&tls, block);
        let note = "clients may speak HTTP/2 too; http2 = false is HTTP/1.1 only";
        block.claim_all(&own, Verdict::Mapped, note);
        if tls
            .iter()
            .any(|bind| bind.certificates != tls[0].certificates)
        {
            let note = "certificates of all addresses of a proxy are one set, of which the name chooses that clients ask for";
            block.claim_all(&own, Verdict::Approximated, note);
        }
    }

    /// `ssl-min-ver` of the lines, which agree, or of `global`.
    fn version(&self, tls: &[&Bind], block: &mut Block) {
        let said = tls
            .iter()
            .filter_map(|bind| Some((bind.min_version.clone()?, bind.at[0])));
        let mut said: Vec<(String, At)> = said.collect();
        if tls.iter().any(|bind| bind.min_version.is_none()) {
            said.extend(self.version.clone());
        }
        let Some((first, _)) = said.first() else {
            return;
        };
        let at: Vec<At> = said.iter().map(|(_, at)| *at).collect();
        let newest = first == "TLSv1.3";
        if newest || first == "TLSv1.2" {
            let version = if newest { "1.3" } else { "1.2" };
            block.key("tls_min_version", quote(version), &at);
        }
        for (version, at) in said {
            if !["TLSv1.2", "TLSv1.3"].contains(&version.as_str()) {
                block.claim(at, Verdict::Approximated, "TLS 1.2 is the least");
            }
        }
    }
}

fn version(config: &Config) -> Option<(String, At)> {
    let globals = config
        .sections
        .iter()
        .filter(|section| section.kind == Kind::Global);
    let mut options = globals.flat_map(|section| &section.statements);
    let line = options.rfind(|line| line.is("ssl-default-bind-options"))?;
    let mut words = line.words.iter().skip_while(|word| *word != "ssl-min-ver");
    Some((words.nth(1)?.clone(), line.at))
}

fn redirect_options(line: &Statement, block: &mut Block) {
    if !line.words.windows(2).any(|two| two == ["code", "301"]) {
        block.claim(line.at, Verdict::Approximated, "the status is 301");
    }
    for option in ["drop-query", "append-slash", "set-cookie", "clear-cookie"] {
        if line.words.iter().any(|word| word == option) {
            let note = format!("`{option}` is not there: path and query stay as they are");
            block.claim(line.at, Verdict::Approximated, note);
        }
    }
}

/// Their lines, and those that give the VIPs.
fn lines(binds: &[&Bind]) -> Vec<At> {
    binds.iter().flat_map(|bind| &bind.at).copied().collect()
}

fn addresses(binds: &[&Bind]) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for address in binds.iter().flat_map(|bind| &bind.addresses) {
        if !all.contains(address) {
            all.push(*address);
        }
    }
    all
}
