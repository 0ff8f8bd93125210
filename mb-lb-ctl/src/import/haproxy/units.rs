//! Frontends and backends put together: each backend that a frontend leads to becomes a service or a proxy of its name.

use std::collections::BTreeMap;

use super::bind::{Bind, binds};
use super::guard::{guarded, meant};
use super::sections::{Config, Section, Statement};
use super::stats;
use super::view::{View, bury};
use crate::import::Import;
use crate::import::report::{At, Verdict};

/// Where clients come in.
#[derive(Clone, Debug)]
pub(super) struct Front<'c> {
    pub view: View<'c>,
    pub binds: Vec<Bind>,
    /// Lines that lead to the backend.
    pub leads: Vec<At>,
}

/// What becomes one service or proxy.
#[derive(Clone, Debug)]
pub(super) struct Unit<'c> {
    pub back: View<'c>,
    /// Frontends that lead there. Of a `listen` it is the section itself.
    pub fronts: Vec<Front<'c>>,
    /// Frontends in clear that only send clients to HTTPS, with the line that does.
    pub redirects: Vec<(View<'c>, Vec<Bind>, &'c Statement)>,
    pub http: bool,
}

impl<'c> Unit<'c> {
    /// Each of them once.
    pub fn sections(&self) -> Vec<&'c Section> {
        let fronts = self.fronts.iter().map(|front| front.view.section);
        let redirects = self.redirects.iter().map(|(view, ..)| view.section);
        let mut sections: Vec<&Section> = Vec::new();
        for section in fronts.chain(redirects).chain([self.back.section]) {
            if !sections.iter().any(|known| known.at == section.at) {
                sections.push(section);
            }
        }
        sections
    }

    /// First lines of its sections.
    pub fn titles(&self) -> Vec<At> {
        let sections = self.sections();
        sections.iter().map(|section| section.at).collect()
    }

    pub fn binds(&self) -> impl Iterator<Item = &Bind> {
        self.fronts.iter().flat_map(|front| &front.binds)
    }

    /// Lines that lead to the backend.
    pub fn leads(&self) -> impl Iterator<Item = At> {
        self.fronts.iter().flat_map(|front| &front.leads).copied()
    }

    /// Takes frontends out that clients cannot come in by, unless none is left.
    fn prune(&mut self, import: &mut Import<'_>) {
        let http = self.http;
        let usable =
            |front: &Front<'_>| front.binds.iter().any(|bind| bind.unusable(http).is_none());
        if !self.fronts.iter().any(usable) {
            return;
        }
        for front in self.fronts.extract_if(.., |front| !usable(front)) {
            for bind in &front.binds {
                let why = bind.unusable(http).unwrap_or_default();
                import.ledger.say(bind.at[0], Verdict::Unsupported, why);
            }
            let note = "none of its addresses can be listened on";
            front
                .view
                .section
                .otherwise(Verdict::Unsupported, note, &mut import.ledger);
        }
    }

    /// Views in which to look for what frontends say; the last word is the backend's where that says it too.
    pub fn views(&self) -> impl Iterator<Item = &View<'c>> {
        self.fronts
            .iter()
            .map(|front| &front.view)
            .chain([&self.back])
    }
}

pub(super) fn units<'c>(config: &'c Config, import: &mut Import<'_>) -> Vec<Unit<'c>> {
    let mut units: Vec<Unit<'c>> = Vec::new();
    let mut redirects = Vec::new();
    let mut conditional: BTreeMap<&str, ()> = BTreeMap::new();
    for section in config
        .sections
        .iter()
        .filter(|s| s.is_front() || s.is_back())
    {
        let view = View::new(config, section);
        if let Some(line) = view.disabled() {
            let note = format!("HAProxy does not serve it, as line {} says", line.at.line);
            section.otherwise(Verdict::Dead, &note, &mut import.ledger);
            continue;
        }
        bury(&view, &mut import.ledger);
        if !section.is_front() || stats::is_page(&view) {
            continue;
        }
        for rule in view
            .all("use_backend")
            .iter()
            .filter(|rule| rule.words.len() > 2)
        {
            conditional.extend(rule.word(1).map(|name| (name, ())));
        }
        let mut binds = binds(config, &view, import);
        // Of a `listen` the whole is left out, as a backend with such rules is.
        if let Some(why) = guarded(config, &view, &mut import.ledger) {
            for bind in &mut binds {
                bind.refused.get_or_insert_with(|| why.clone());
            }
        }
        conditional_redirects(&view, import);
        let Some((target, leads)) = target(config, &view, import) else {
            match redirect(&view) {
                Some(line) => redirects.push((view, binds, line)),
                None => {
                    let note = "it leads to no servers: there is no default_backend that could be imported";
                    section.otherwise(Verdict::Unsupported, note, &mut import.ledger);
                }
            }
            continue;
        };
        if View::new(config, target).disabled().is_some() {
            let note = format!(
                "`{}` is disabled: HAProxy closes every connection",
                target.name
            );
            section.otherwise(Verdict::Dead, &note, &mut import.ledger);
            continue;
        }
        let http = view.http;
        match units
            .iter_mut()
            .find(|unit| unit.back.section.at == target.at)
        {
            Some(unit) => unit.fronts.push(Front { view, binds, leads }),
            None => units.push(Unit {
                back: View::new(config, target),
                fronts: vec![Front { view, binds, leads }],
                redirects: Vec::new(),
                http,
            }),
        }
    }
    for unit in &mut units {
        unit.prune(import);
    }
    attach(redirects, &mut units, import);
    for section in config.sections.iter().filter(|section| section.is_back()) {
        if units.iter().any(|unit| unit.back.section.at == section.at)
            || section.is_front()
            || View::new(config, section).disabled().is_some()
        {
            continue;
        }
        let (verdict, note) = match conditional.contains_key(section.name.as_str()) {
            true => (
                Verdict::Unsupported,
                "only conditions lead here: a [service.NAME] or [proxy.NAME] has one set of servers. Give it an address or port of its own",
            ),
            false => (Verdict::Dead, "no frontend leads here"),
        };
        section.otherwise(verdict, note, &mut import.ledger);
    }
    units
}

/// Where clients are sent without a condition, and the lines that say so.
fn target<'c>(
    config: &'c Config,
    view: &View<'c>,
    import: &mut Import<'_>,
) -> Option<(&'c Section, Vec<At>)> {
    let always = view
        .all("use_backend")
        .into_iter()
        .find(|rule| rule.words.len() == 2);
    let lead = always.or_else(|| view.last("default_backend"));
    let Some(lead) = lead else {
        let own = view.section.is_back() && !view.all("server").is_empty();
        return own.then_some((view.section, Vec::new()));
    };
    let name = lead.word(1).unwrap_or_default();
    let found = config.backend(name);
    if found.is_none() {
        let note = format!("there is no backend `{name}`");
        import.ledger.say(lead.at, Verdict::Unsupported, note);
    }
    if view.section.is_back() {
        for server in view.all("server") {
            let note = format!(
                "line {} has precedence: HAProxy never uses this server",
                lead.at.line
            );
            import.ledger.say(server.at, Verdict::Dead, note);
        }
    }
    found.map(|section| (section, vec![lead.at]))
}

/// The first `redirect scheme https` that all clients in clear follow.
pub(super) fn redirect<'c>(view: &View<'c>) -> Option<&'c Statement> {
    let mut all = redirects(view).into_iter();
    all.find(|line| is_for_all(view, line))
}

/// All of either form.
fn redirects<'c>(view: &View<'c>) -> Vec<&'c Statement> {
    let mut both = view.all("redirect");
    both.extend(view.all("http-request"));
    both.retain(|line| {
        let mut three = line.words.windows(3);
        three.any(|three| three == ["redirect", "scheme", "https"])
    });
    both
}

/// No condition, or that the client does not speak TLS.
fn is_for_all(view: &View<'_>, line: &Statement) -> bool {
    let start = line
        .words
        .iter()
        .position(|word| word == "if" || word == "unless");
    let Some(start) = start else {
        return true;
    };
    let words: Vec<&str> = line.words[start + 1..].iter().map(String::as_str).collect();
    // `!{ ssl_fc }`, in whichever way its blanks stand.
    let text = words.join(" ").replace("! ", "!");
    let (term, negated) = match text.strip_prefix('!') {
        Some(term) => (term, true),
        None => (text.as_str(), false),
    };
    let tls = match term {
        "{ ssl_fc }" => true,
        name => meant(view, name) == ["ssl_fc"] && plain_acl(view, name),
    };
    tls && negated == (line.words[start] == "if")
}

/// An `acl` of a name and a fetch only.
fn plain_acl(view: &View<'_>, name: &str) -> bool {
    let lines = view.all("acl").into_iter();
    let mut lines = lines.filter(|line| line.word(1) == Some(name));
    lines.all(|line| line.words.len() == 3)
}

fn conditional_redirects(view: &View<'_>, import: &mut Import<'_>) {
    for line in redirects(view) {
        if !is_for_all(view, line) {
            let note = "redirect_http sends all clients in clear to HTTPS, and this line only some: there are no conditions";
            import.ledger.say(line.at, Verdict::Unsupported, note);
        }
    }
}

/// A frontend that redirects belongs to the proxy that clients come to then.
fn attach<'c>(
    redirects: Vec<(View<'c>, Vec<Bind>, &'c Statement)>,
    units: &mut [Unit<'c>],
    import: &mut Import<'_>,
) {
    let tls = |unit: &&mut Unit<'_>| unit.http && unit.binds().any(|bind| bind.tls);
    for redirect in redirects {
        let mut found: Vec<_> = units.iter_mut().filter(tls).collect();
        match found.as_mut_slice() {
            [one] => one.redirects.push(redirect),
            _ => {
                let note = "it is not clear which proxy it belongs to: write redirect_http = \"VIP:80\" there";
                redirect
                    .0
                    .section
                    .otherwise(Verdict::Unsupported, note, &mut import.ledger);
            }
        }
    }
}
