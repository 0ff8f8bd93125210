//! `show info` and `show version`: HAProxy's keys, filled where mb-lb has something true to say.

use std::fmt::Write as _;

use crate::snapshot::{AdminState, Snapshot};

/// Tools decide by this which dialect they may speak; it is the one that the socket follows.
const DIALECT: &str = "2.6.0";
/// Of this version of mb-lb.
const RELEASE_DATE: &str = "2026/11/23";

/// HAProxy's version whose dialect is spoken, then mb-lb's own.
pub fn version(snapshot: &Snapshot) -> String {
    format!("{DIALECT}-mb-lb-{}", snapshot.build)
}

/// `Key: value` lines, or with number, tags and type.
pub fn render(snapshot: &Snapshot, typed: bool, now_ms: u64) -> String {
    let servers = || {
        snapshot
            .services
            .iter()
            .flat_map(|service| &service.servers)
    };
    let checks = servers()
        .filter(|server| server.check.is_some() && server.admin != AdminState::Maint)
        .count();
    let rate: u64 = servers().map(|server| server.rate).sum();
    let rows: Vec<(u32, &str, &str, &str, String)> = vec![
        (0, "Name", "POS", "str", "mb-lb".to_owned()),
        (1, "Version", "POS", "str", version(snapshot)),
        (2, "Release_date", "POS", "str", RELEASE_DATE.to_owned()),
        (4, "Nbproc", "CGS", "u32", "1".to_owned()),
        (5, "Process_num", "KGP", "u32", "1".to_owned()),
        (6, "Pid", "SGP", "u32", snapshot.pid.to_string()),
        (7, "Uptime", "MDP", "str", uptime(snapshot.uptime)),
        (8, "Uptime_sec", "MDP", "u32", snapshot.uptime.to_string()),
        // Room for flows, per address family.
        (
            15,
            "Maxconn",
            "CLP",
            "u32",
            snapshot.dataplane.max_flows.to_string(),
        ),
        (
            17,
            "CurrConns",
            "MGP",
            "u32",
            snapshot.dataplane.active.to_string(),
        ),
        (
            18,
            "CumConns",
            "MCP",
            "u32",
            servers()
                .map(|server| server.opened)
                .sum::<u64>()
                .to_string(),
        ),
        // Nothing is spliced: packets never reach user space.
        (23, "Maxpipes", "CLP", "u32", "0".to_owned()),
        (24, "PipesUsed", "MGP", "u32", "0".to_owned()),
        (25, "PipesFree", "MGP", "u32", "0".to_owned()),
        (26, "ConnRate", "MRP", "u32", rate.to_string()),
        (29, "SessRate", "MRP", "u32", rate.to_string()),
        // Checks under way: the tasks that an operator would count.
        (47, "Tasks", "MGP", "u32", checks.to_string()),
        (48, "Run_queue", "MGP", "u32", "0".to_owned()),
        (50, "node", "COS", "str", snapshot.director.clone()),
        (52, "Stopping", "MGP", "u32", "0".to_owned()),
        (
            55,
            "Listeners",
            "MGP",
            "u32",
            snapshot
                .services
                .iter()
                .map(|service| service.listen.len())
                .sum::<usize>()
                .to_string(),
        ),
        (
            70,
            "Start_time_sec",
            "MDP",
            "u32",
            (now_ms / 1000).saturating_sub(snapshot.uptime).to_string(),
        ),
    ];
    let mut text = String::new();
    for (position, key, tags, kind, value) in rows {
        // Writing into a String cannot fail.
        let _ = if typed {
            writeln!(text, "{position}.{key}.1:{tags}:{kind}:{value}")
        } else {
            writeln!(text, "{key}: {value}")
        };
    }
    text
}

/// As HAProxy writes it: `0d 0h02m00s`.
pub fn uptime(seconds: u64) -> String {
    format!(
        "{}d {}h{:02}m{:02}s",
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `23/Nov/2026:12:17:37.358`, in UTC.
pub fn log_date(now_ms: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day) = civil_date(now_ms / 86_400_000);
    let second = now_ms / 1000;
    format!(
        "{day:02}/{}/{year:04}:{:02}:{:02}:{:02}.{:03}",
        MONTHS[month as usize - 1],
        second / 3600 % 24,
        second / 60 % 60,
        second % 60,
        now_ms % 1000
    )
}

/// `2026-11-23`, of Unix seconds, in UTC.
pub fn date(seconds: i64) -> String {
    let (year, month, day) = civil_date(u64::try_from(seconds).unwrap_or(0) / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01, proleptic Gregorian.
pub fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March put the leap day last, so lengths of months follow one formula.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_780, (2026, 11, 23)),
            (20_818, (2026, 12, 31)),
            (20_819, (2027, 1, 1)),
        ] {
            assert_eq!(civil_date(days), date, "day {days}");
        }
        assert_eq!(log_date(1_795_436_257_358), "23/Nov/2026:12:17:37.358");
    }

    #[test]
    fn uptime_is_written_as_haproxy_writes_it() {
        assert_eq!(uptime(120), "0d 0h02m00s");
        assert_eq!(uptime(12 * 86_400 + 4 * 3600 + 65), "12d 4h01m05s");
    }
}
