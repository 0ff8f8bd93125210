//! What is shipped for Prometheus and Grafana: it is well-formed, it names nothing that is not there, and each alert
//! leads to a section of the runbook.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::admin::http::metrics;
use serde_json::Value;

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

fn promtool(arguments: &[&str]) -> Result<()> {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(root().join("contrib/prometheus"))
        .output()
        .context("cannot start promtool")?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(())
}

/// All words of a text that look like metrics of ours.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("mb_lb_"))
        .collect()
}

fn expect_known(text: &str) {
    let known: BTreeSet<_> = metrics::families().map(|family| family.name).collect();
    let used = metrics_in(text);
    assert!(used.len() > 10, "{used:?}");
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_alert_rules_are_good() -> Result<()> {
    promtool(&["check", "rules", "alerts.yml"])?;
    promtool(&["test", "rules", "alerts.test.yml"])?;
    expect_known(&read("contrib/prometheus/alerts.yml")?);
    expect_known(&read("contrib/prometheus/alerts.test.yml")?);
    Ok(())
}

/// Each alert has a test, and a section in the runbook that its address leads to.
#[test]
fn each_alert_has_its_section_in_the_runbook() -> Result<()> {
    let rules = read("contrib/prometheus/alerts.yml")?;
    let tests = read("contrib/prometheus/alerts.test.yml")?;
    let runbook = read("docs/runbook.md")?;
    let after = |key: &str| {
        let lines = rules
            .lines()
            .filter_map(move |line| line.trim().strip_prefix(key));
        lines
            .map(|value| value.trim().trim_matches('"').to_owned())
            .collect::<Vec<_>>()
    };
    let (alerts, urls) = (after("- alert:"), after("runbook_url:"));
    assert_eq!(alerts.len(), urls.len());
    assert!(alerts.len() >= 14, "{alerts:?}");
    for (alert, url) in alerts.iter().zip(&urls) {
        let anchor = alert.to_lowercase();
        assert_eq!(
            *url,
            format!("file:///usr/share/doc/mb-lb/runbook.md#{anchor}")
        );
        assert!(
            runbook.contains(&format!("\n### {alert}\n")),
            "no section {alert}"
        );
        assert!(tests.contains(alert.as_str()), "no test of {alert}");
    }
    let sections = runbook
        .split("\n## Alerts of Prometheus\n")
        .nth(1)
        .context("the chapter")?;
    let sections: Vec<_> = sections
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    assert_eq!(sections, alerts, "a section for each alert, in their order");
    Ok(())
}

#[test]
fn the_dashboard_names_only_metrics_that_exist() -> Result<()> {
    let text = read("contrib/grafana/mb-lb.json")?;
    expect_known(&text);
    let dashboard: Value = serde_json::from_str(&text)?;
    let variables = dashboard["templating"]["list"]
        .as_array()
        .context("variables")?;
    assert_eq!(variables[0]["type"], "datasource");
    let panels = dashboard["panels"].as_array().context("panels")?;
    let rows: Vec<_> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .filter_map(|panel| panel["title"].as_str())
        .collect();
    assert_eq!(
        rows,
        [
            "Overview",
            "Services",
            "HTTPS proxies",
            "Directors",
            "Tiers and configuration sync"
        ]
    );
    let ids: BTreeSet<_> = panels
        .iter()
        .filter_map(|panel| panel["id"].as_u64())
        .collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    // Prometheus reads each expression; what stands for Grafana's variables is of no interest to it.
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let mut expressions = 0;
    for target in targets {
        let expression = target["expr"].as_str().context("an expression")?;
        let expression = expression.replace("$__rate_interval", "5m");
        rules += &format!(
            "      - record: x:{expressions}\n        expr: {}\n",
            Value::from(expression)
        );
        expressions += 1;
    }
    assert!(expressions > 30, "{expressions}");
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("dashboard.yml");
    fs::write(&file, rules)?;
    promtool(&["check", "rules", &file.to_string_lossy()])
}
