//! What a node says of itself: its variables.

use std::collections::{BTreeMap, BTreeSet};

use super::Trouble;

/// Asked for by name: a server has hundreds.
pub(super) const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready','wsrep_connected',\
    'wsrep_cluster_status','wsrep_cluster_size','wsrep_cluster_conf_id','wsrep_cluster_state_uuid','wsrep_local_state',\
    'wsrep_local_state_comment','wsrep_last_committed','wsrep_local_recv_queue','wsrep_flow_control_paused_ns',\
    'wsrep_desync_count','wsrep_incoming_addresses')";
pub(super) const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('wsrep_on','wsrep_desync',\
    'wsrep_reject_queries','wsrep_sst_donor_rejects_queries','wsrep_sst_method','read_only','pxc_maint_mode')";

const NIL: &str = "00000000-0000-0000-0000-000000000000";
/// A view of more than that is none: Galera clusters have at most some dozens.
const MEMBERS: usize = 256;
/// Of what is shown and compared as text.
const TEXT: usize = 256;

/// The variables of one node that say what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `wsrep_on`
    pub on: bool,
    pub ready: bool,
    pub connected: bool,
    /// `Primary`, `non-Primary`, `Disconnected`.
    pub cluster_status: String,
    pub size: u32,
    /// The largest number there is in a component that is not primary.
    pub conf_id: u64,
    pub state_uuid: String,
    /// 0 to 4: initialized, joining, donor or desynced, joined, synced.
    pub local_state: u32,
    pub comment: String,
    pub last_committed: Option<u64>,
    pub receive_queue: u64,
    /// Since the server started.
    pub paused_ns: Option<u64>,
    /// The variable, or a count above 0: a lock or a state transfer of this moment.
    pub desync: bool,
    pub rejects: bool,
    pub donor_rejects: bool,
    pub sst_method: String,
    pub read_only: bool,
    /// `pxc_maint_mode` of Percona, where it is not `DISABLED`.
    pub maintenance: bool,
    /// `wsrep_incoming_addresses`: where the members take clients, as they themselves say; those that take none (arbitrators)
    /// are left out.
    pub members: BTreeSet<String>,
}

impl Status {
    pub fn primary(&self) -> bool {
        self.cluster_status.eq_ignore_ascii_case("primary")
    }

    /// Of a cluster that was made of nodes that did not know what they had.
    pub fn undefined(&self) -> bool {
        self.state_uuid == NIL
    }
}

/// Pairs of name and value, in any order; other names are ignored.
///
/// # Errors
/// There is no Galera, or a value is missing or makes no sense.
pub fn parse(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Status, Trouble> {
    let values = Values(
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect(),
    );
    if !values.0.contains_key("wsrep_on") || !values.0.contains_key("wsrep_cluster_status") {
        return Err(Trouble::NoGalera);
    }
    let on = values.is_on("wsrep_on")?;
    let cluster_status = short(values.text("wsrep_cluster_status")?);
    let primary = on && cluster_status.eq_ignore_ascii_case("primary");
    // A node outside of a primary component may leave out or empty what has no meaning there.
    let number = |name| match primary {
        true => values.number(name),
        false => Ok(values.number(name).unwrap_or_default()),
    };
    let switch = |name| match primary {
        true => values.is_on(name),
        false => Ok(values.is_on(name).unwrap_or_default()),
    };
    let optional = |name: &'static str| match values.0.contains_key(name) {
        true => number(name).map(Some),
        false => Ok(None),
    };
    let text = |name| match primary {
        true => values.text(name).map(short),
        false => Ok(values.text(name).map(short).unwrap_or_default()),
    };
    let size = number("wsrep_cluster_size")?;
    let local_state = number("wsrep_local_state")?;
    Ok(Status {
        on,
        ready: switch("wsrep_ready")?,
        connected: switch("wsrep_connected")?,
        size: narrow("wsrep_cluster_size", size)?,
        conf_id: number("wsrep_cluster_conf_id")?,
        state_uuid: uuid(&text("wsrep_cluster_state_uuid")?, primary)?,
        local_state: narrow("wsrep_local_state", local_state)?,
        comment: values
            .text("wsrep_local_state_comment")
            .map(short)
            .unwrap_or_default(),
        last_committed: optional("wsrep_last_committed")?,
        receive_queue: optional("wsrep_local_recv_queue")?.unwrap_or_default(),
        paused_ns: optional("wsrep_flow_control_paused_ns")?,
        desync: switch("wsrep_desync")? || optional("wsrep_desync_count")?.unwrap_or_default() > 0,
        rejects: !text("wsrep_reject_queries")?.eq_ignore_ascii_case("none"),
        donor_rejects: values
            .is_on("wsrep_sst_donor_rejects_queries")
            .unwrap_or_default(),
        sst_method: values
            .text("wsrep_sst_method")
            .map(short)
            .unwrap_or_default(),
        read_only: read_only(&values, primary)?,
        maintenance: values
            .text("pxc_maint_mode")
            .is_ok_and(|mode| !mode.eq_ignore_ascii_case("disabled")),
        members: members(&text_of_members(&values, primary)?)?,
        cluster_status,
    })
}

struct Values(BTreeMap<String, String>);

impl Values {
    fn text(&self, name: &'static str) -> Result<&str, Trouble> {
        let value = self.0.get(name).map(|value| value.trim());
        value.ok_or_else(|| malformed(name, "it is missing"))
    }

    fn is_on(&self, name: &'static str) -> Result<bool, Trouble> {
        match self.text(name)? {
            "1" => Ok(true),
            "0" => Ok(false),
            text if text.eq_ignore_ascii_case("on") => Ok(true),
            text if text.eq_ignore_ascii_case("off") => Ok(false),
            text => Err(malformed(name, text)),
        }
    }

    fn number(&self, name: &'static str) -> Result<u64, Trouble> {
        let text = self.text(name)?;
        text.parse().map_err(|_| malformed(name, text))
    }
}

/// Newer servers know more than one way to be read-only, and one to write.
fn read_only(values: &Values, primary: bool) -> Result<bool, Trouble> {
    match values.text("read_only") {
        Ok(text) => Ok(!text.eq_ignore_ascii_case("off") && text != "0"),
        Err(trouble) if primary => Err(trouble),
        Err(_) => Ok(false),
    }
}

fn text_of_members(values: &Values, primary: bool) -> Result<String, Trouble> {
    match values.text("wsrep_incoming_addresses") {
        Ok(text) => Ok(text.to_owned()),
        Err(trouble) if primary => Err(trouble),
        Err(_) => Ok(String::new()),
    }
}

fn members(text: &str) -> Result<BTreeSet<String>, Trouble> {
    let all = text
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty());
    if all.clone().count() > MEMBERS {
        return Err(malformed("wsrep_incoming_addresses", text));
    }
    Ok(all.map(short).collect())
}

fn uuid(text: &str, primary: bool) -> Result<String, Trouble> {
    let dashes = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let is_one = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match dashes(at) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        });
    match is_one || !primary {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(malformed("wsrep_cluster_state_uuid", text)),
    }
}

fn narrow(name: &'static str, number: u64) -> Result<u32, Trouble> {
    u32::try_from(number).map_err(|_| malformed(name, &number.to_string()))
}

fn malformed(name: &'static str, value: &str) -> Trouble {
    Trouble::Malformed {
        name,
        value: short(value),
    }
}

/// Text of a server, fit to be shown: of bounded length and without control characters.
pub(super) fn short(text: &str) -> String {
    let shown = text.chars().take(TEXT);
    shown
        .map(|letter| match letter.is_control() {
            true => ' ',
            false => letter,
        })
        .collect()
}

#[cfg(test)]
pub(in crate::tiers::galera) mod tests;
