//! Checks that go through the VIP.

use super::*;

fn through_vip() -> Config {
    parse(
        "[service.smtp]\nlisten = [\"192.0.2.100:25\", \"192.0.2.101:25\"]\ncheck = { type = \"tcp\", via = \"vip\" }\n\
         [service.smtp.servers]\nmb1 = \"192.0.2.1\"\nmb2 = \"192.0.2.2\"\nmb3 = \"192.0.2.3\"\n\
         [service.web]\nlisten = \"192.0.2.100:80\"\ncheck = { type = \"tcp\" }\n\
         [service.web.servers]\nmb1 = \"192.0.2.1\"\n",
    )
}

fn vip() -> IpAddr {
    [192, 0, 2, 100].into()
}

fn marks(bench: &Bench) -> Vec<(String, Option<ThroughVip>)> {
    let tasks = bench.checks.iter();
    tasks
        .map(|task| {
            (
                format!("{}/{}", task.server.service, task.server.server),
                task.via,
            )
        })
        .collect()
}

#[test]
fn a_check_waits_until_the_kernel_is_ready_for_it() {
    let config = through_vip();
    let mut bench = Bench::new(&Adopted::default(), SavedState::default(), &config);
    bench.handle(Event::Config(Box::new(config.clone())));
    let actions = bench.attach();
    let asked = actions.iter().find_map(|action| match action {
        Action::Vias { vips, interfaces } => Some((vips.clone(), interfaces.clone())),
        _ => None,
    });
    assert_eq!(asked, Some((vec![vip()], vec![("eth0".to_owned(), ETH0)])));
    assert_eq!(marks(&bench), [("web/mb1".to_owned(), None)]);

    bench.handle(Event::Vias {
        vips: vec![vip()],
        error: None,
    });
    let mark = mb_lb_common::VIA_MARK;
    let through = |name: &str| (name.to_owned(), Some(ThroughVip { vip: vip(), mark }));
    assert_eq!(
        marks(&bench),
        [
            through("smtp/mb1"),
            through("smtp/mb2"),
            through("smtp/mb3"),
            ("web/mb1".to_owned(), None)
        ]
    );
    let again = bench.handle(Event::Deadline);
    assert!(
        !again
            .iter()
            .any(|action| matches!(action, Action::Vias { .. })),
        "asked once"
    );
}

#[test]
fn where_the_kernel_cannot_the_servers_own_addresses_are_checked_and_that_is_said() {
    let mut bench = Bench::started(&through_vip());
    let error = Some("no cls_bpf".to_owned());
    bench.handle(Event::Vias {
        vips: vec![vip()],
        error,
    });
    assert!(marks(&bench).iter().all(|(_, via)| via.is_none()));
    assert_eq!(marks(&bench).len(), 4);
    let alarms = bench.snapshot().alarms;
    let said = alarms
        .iter()
        .find(|alarm| alarm.text.contains("through the VIP"));
    let said = said.expect("it is an alarm");
    assert!(said.text.ends_with("no cls_bpf"), "{said:?}");
    assert_eq!(
        bench
            .records
            .iter()
            .filter(|event| event.kind == "via-failed")
            .count(),
        1
    );
}

#[test]
fn a_vip_that_comes_later_moves_no_mark() {
    let mut bench = Bench::started(&through_vip());
    bench.handle(Event::Vias {
        vips: vec![vip()],
        error: None,
    });
    let other: IpAddr = [192, 0, 2, 50].into();
    let text = "[service.early]\nlisten = \"192.0.2.50:25\"\ncheck = { type = \"tcp\", via = \"vip\" }\n\
                [service.early.servers]\nmb1 = \"192.0.2.1\"\n\
                [service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = { type = \"tcp\", via = \"vip\" }\n\
                [service.smtp.servers]\nmb1 = \"192.0.2.1\"\n";
    let actions = bench.handle(Event::Config(Box::new(parse(text))));
    let asked = actions.iter().find_map(|action| match action {
        Action::Vias { vips, .. } => Some(vips.clone()),
        _ => None,
    });
    assert_eq!(asked, Some(vec![vip(), other]));
    let mark = mb_lb_common::VIA_MARK;
    let smtp = ("smtp/mb1".to_owned(), Some(ThroughVip { vip: vip(), mark }));
    let waiting = marks(&bench);
    assert_eq!(waiting, std::slice::from_ref(&smtp), "the other one waits");
    bench.handle(Event::Vias {
        vips: vec![vip(), other],
        error: None,
    });
    let early = (
        "early/mb1".to_owned(),
        Some(ThroughVip {
            vip: other,
            mark: mark | 1,
        }),
    );
    assert_eq!(marks(&bench), [early, smtp]);
}

#[test]
fn a_check_that_an_operator_sends_elsewhere_goes_there() {
    let mut bench = Bench::started(&through_vip());
    bench.handle(Event::Vias {
        vips: vec![vip()],
        error: None,
    });
    let setting = Setting::CheckAddress(Some([192, 0, 2, 77].into()));
    bench
        .change(Change::Set {
            server: target("mb1"),
            setting,
        })
        .expect("it is checked");
    let (_, via) = &marks(&bench)[0];
    assert_eq!(*via, None);
}
