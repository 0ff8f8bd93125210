use super::*;

fn page(name: &str) -> String {
    let pages = pages();
    let (_, page) = pages
        .into_iter()
        .find(|(found, _)| found == name)
        .unwrap_or_else(|| panic!("no page {name}"));
    page
}

#[test]
fn there_is_a_page_for_each_command_and_the_main_one_comes_first() {
    let names: Vec<_> = pages().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[0], "mb-lb-ctl.8");
    for sub in Cli::command().get_subcommands() {
        let name = format!("mb-lb-ctl-{}.8", sub.get_name());
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    assert!(names.contains(&"mb-lb-ctl-peer-diff.8".to_owned()));
    assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
}

#[test]
fn the_main_page_says_what_no_help_text_says() {
    let page = page("mb-lb-ctl.8");
    assert!(page.contains(".TH MB-LB-CTL 8"), "{page}");
    for (signal, text) in SIGNALS {
        assert!(page.contains(signal), "{signal}");
        let begin = text.split(['-', '.']).next().expect("a first word");
        assert!(page.contains(begin), "{begin}");
    }
    for (file, _) in FILES {
        let escaped = file.replace('-', "\\-");
        assert!(page.contains(&escaped), "{escaped}");
    }
    for heading in [
        "NAME",
        "SYNOPSIS",
        "\"EXIT CODES\"",
        "EXAMPLES",
        "\"SEE ALSO\"",
    ] {
        assert!(
            page.contains(&format!(".SH {heading}")),
            "{heading}: {page}"
        );
    }
}

#[test]
fn a_page_of_a_command() {
    insta::assert_snapshot!(page("mb-lb-ctl-drain.8"));
}
