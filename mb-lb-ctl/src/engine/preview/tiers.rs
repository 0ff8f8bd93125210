//! Changes of `[galera.NAME]`, `[sentinel.NAME]` and `[storage.NAME]`.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::span;
use crate::config::{Config, Galera, Secret, Sentinel, Storage};

pub(super) fn changes(old: &Config, new: &Config, lines: &mut Vec<String>) {
    let name = |galera: &Galera| galera.name.clone();
    let secrets = |galera: &Galera| vec![("password", galera.password.clone())];
    section("galera", &old.galeras, &new.galeras, name, secrets, lines);
    let name = |sentinel: &Sentinel| sentinel.name.clone();
    let secrets = |sentinel: &Sentinel| {
        vec![
            ("password", sentinel.password.clone()),
            ("sentinel_password", sentinel.sentinel_password.clone()),
        ]
    };
    section(
        "sentinel",
        &old.sentinels,
        &new.sentinels,
        name,
        secrets,
        lines,
    );
    let name = |storage: &Storage| storage.name.clone();
    section(
        "storage",
        &old.storages,
        &new.storages,
        name,
        |_| Vec::new(),
        lines,
    );
}

type Secrets = Vec<(&'static str, Option<Secret>)>;

fn section<T: Serialize + PartialEq>(
    kind: &str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> String,
    secrets: impl Fn(&T) -> Secrets,
    lines: &mut Vec<String>,
) {
    for tier in old {
        if !new.iter().any(|other| name(other) == name(tier)) {
            let clients = match kind {
                "storage" => "",
                _ => " (its connections are reset)",
            };
            lines.push(format!("- {kind} {}{clients}", name(tier)));
        }
    }
    for tier in new {
        let Some(known) = old.iter().find(|other| name(other) == name(tier)) else {
            lines.push(format!("+ {kind} {}", name(tier)));
            continue;
        };
        let target = format!("{kind} {}", name(tier));
        for ((key, before), (_, after)) in secrets(known).into_iter().zip(secrets(tier)) {
            if before != after {
                lines.push(format!("~ {target} {key} changed"));
            }
        }
        let values = |tier: &T| serde_json::to_value(tier).unwrap_or_default();
        differences(&target, &values(known), &values(tier), lines);
    }
}

/// One line for each key whose value is another one, down to single values.
fn differences(path: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(a), Value::Object(b)) if duration(old).is_none() && a.len() == b.len() => {
            for (key, before) in a {
                // Its own line has been written.
                if key.ends_with("password") {
                    continue;
                }
                let after = b.get(key).unwrap_or(&Value::Null);
                differences(&format!("{path} {key}"), before, after, lines);
            }
        }
        (Value::Array(a), Value::Array(b)) if named(a) && named(b) => {
            let find = |list: &[Value], name: &Value| {
                list.iter().find(|item| item["name"] == *name).cloned()
            };
            for item in a.iter().filter(|item| find(b, &item["name"]).is_none()) {
                lines.push(format!("- {path} {}", show(&item["name"])));
            }
            for item in b {
                let path = format!("{path} {}", show(&item["name"]));
                match find(a, &item["name"]) {
                    Some(before) => differences(&path, &before, item, lines),
                    None => lines.push(format!("+ {path} {}", show(&item["address"]))),
                }
            }
        }
        _ => lines.push(format!("~ {path} {} -> {}", show(old), show(new))),
    }
}

fn named(list: &[Value]) -> bool {
    list.iter().all(|item| item.get("name").is_some())
}

fn duration(value: &Value) -> Option<Duration> {
    let seconds = value.get("secs")?.as_u64()?;
    let nanos = u32::try_from(value.get("nanos")?.as_u64()?).ok()?;
    Some(Duration::new(seconds, nanos))
}

fn show(value: &Value) -> String {
    if let Some(duration) = duration(value) {
        return span(duration);
    }
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(show).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key} {}", show(value)))
                .collect();
            pairs.join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, parse};
    use crate::engine::changes;

    fn config(more: &str) -> Config {
        let parsed = parse(more, "lb1");
        parsed
            .config
            .unwrap_or_else(|| panic!("{:?}", parsed.diagnostics))
    }

    #[test]
    fn each_change_has_a_line() {
        let old = config(
            "[galera.db]\nlisten = \"192.0.2.100:3306\"\nuser = \"m\"\npassword = \"correct\"\n\
             servers = { a = \"192.0.2.1:3306\", b = \"192.0.2.2:3306\", c = \"192.0.2.3:3306\" }\n\
             [storage.q]\ntype = \"nfs\"\nserver = \"192.0.2.9\"\n[storage.gone]\ntype = \"mount\"\nmount = \"/q\"\n",
        );
        let new = config(
            "[galera.db]\nlisten = [\"192.0.2.100:3306\", \"192.0.2.100:3307\"]\nuser = \"m\"\npassword = \"horse\"\n\
             interval = \"2s\"\nmode = \"any\"\n\
             servers = { a = { address = \"192.0.2.1:3306\", priority = 110 }, b = \"192.0.2.4:3306\", d = \"192.0.2.5:3306\" }\n\
             [storage.q]\ntype = \"nfs\"\nserver = \"192.0.2.10\"\n\
             [sentinel.s]\nlisten = \"192.0.2.100:6379\"\n\
             sentinels = [\"192.0.2.1:26379\", \"192.0.2.2:26379\", \"192.0.2.3:26379\"]\n",
        );
        insta::assert_snapshot!(changes(&old, &new).join("\n"));
        assert!(changes(&new, &new).is_empty());
    }
}
