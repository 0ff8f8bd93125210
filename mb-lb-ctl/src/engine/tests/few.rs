//! `min_up`: an alarm, and a guard before commands that would leave fewer; of services in the kernel, of those in user mode, and
//! of proxies.

use super::*;

fn bench() -> Bench {
    Bench::up(&three("min_up = 2"))
}

fn set(
    bench: &mut Bench,
    server: &str,
    state: AdminState,
    guarded: bool,
) -> Result<String, Refusal> {
    bench.change(Change::Admin {
        server: target(server),
        state,
        reason: String::new(),
        guarded,
    })
}

fn alarms(bench: &Bench) -> Vec<String> {
    let alarms = bench.snapshot().alarms;
    alarms.into_iter().map(|alarm| alarm.text).collect()
}

#[test]
fn what_would_leave_fewer_is_refused_and_changes_nothing() {
    let mut bench = bench();
    let done = set(&mut bench, "mb1", AdminState::Drain, true).expect("two are left");
    assert!(done.starts_with("smtp/mb1: ready -> drain"), "{done}");
    let refused = set(&mut bench, "mb2", AdminState::Maint, true).expect_err("one would be left");
    assert_eq!(
        refused.to_string(),
        "smtp would have 1 of 3 servers for new clients, and min_up is 2"
    );
    assert_eq!(
        bench.snapshot().services[0].servers[1].admin,
        AdminState::Ready
    );
    assert_eq!(bench.pool(), [(2, 2560), (3, 1280)]);
    // One that takes nobody is not missed, and nobody is kept from coming back.
    set(&mut bench, "mb1", AdminState::Maint, true).expect("it takes nobody already");
    set(&mut bench, "mb1", AdminState::Ready, true).expect("always");
}

#[test]
fn it_can_be_forced_and_then_it_is_an_alarm() {
    let mut bench = bench();
    assert_eq!(alarms(&bench), Vec::<String>::new());
    set(&mut bench, "mb1", AdminState::Drain, false).expect("two are left");
    assert_eq!(alarms(&bench), Vec::<String>::new());
    set(&mut bench, "mb2", AdminState::Drain, false).expect("nobody asks");
    assert_eq!(
        alarms(&bench),
        ["smtp has 1 of 3 servers for new clients, and min_up is 2"]
    );
    // None at all is worse, and said once.
    set(&mut bench, "mb3", AdminState::Drain, false).expect("nobody asks");
    let left = alarms(&bench);
    assert!(
        left[0].starts_with("smtp has no server for new connections"),
        "{left:?}"
    );
    assert_eq!(left.len(), 1);
}

#[test]
fn servers_that_checks_took_out_count_as_well() {
    let mut bench = bench();
    for _ in 0..3 {
        bench.check("mb3", Outcome::Failure);
    }
    let refused = set(&mut bench, "mb1", AdminState::Drain, true).expect_err("one would be left");
    assert!(
        matches!(refused, Refusal::TooFewLeft { left: 1, .. }),
        "{refused}"
    );
    // What is down already may be taken out.
    set(&mut bench, "mb3", AdminState::Maint, true).expect("it takes nobody");
    // A weight of 0 takes nobody either.
    let weight = |bench: &mut Bench, weight| {
        bench.change(Change::Weight {
            server: target("mb2"),
            weight: Weight::Absolute(weight),
        })
    };
    weight(&mut bench, 0).expect("it is not guarded");
    assert_eq!(
        alarms(&bench),
        ["smtp has 1 of 3 servers for new clients, and min_up is 2"]
    );
    // And so the guard must not count it, nor miss it.
    let mut bench = self::bench();
    weight(&mut bench, 0).expect("it is not guarded");
    let refused = set(&mut bench, "mb1", AdminState::Drain, true).expect_err("one would be left");
    assert!(
        matches!(refused, Refusal::TooFewLeft { left: 1, .. }),
        "{refused}"
    );
    set(&mut bench, "mb2", AdminState::Drain, true).expect("it takes nobody");
}

/// Neither has a record in the kernel, and the same holds for both.
#[test]
fn proxies_and_services_in_user_mode_have_the_guard_and_the_alarm_too() {
    let of_proxy = |last: u8| format!("\"192.0.2.{last}:25\"");
    let of_service = |last: u8| format!("{{ address = \"192.0.2.{last}\", port = 25 }}");
    type Server = dyn Fn(u8) -> String;
    let kinds: [(&str, &str, &Server); 2] = [
        ("a proxy", "[proxy.smtp]", &of_proxy),
        (
            "a service",
            "[service.smtp]\nforward = \"proxy\"",
            &of_service,
        ),
    ];
    for (name, head, server) in kinds {
        let config = parse(&format!(
            "{head}\nlisten = \"192.0.2.100:25\"\ncheck = {{ type = \"tcp\" }}\nmin_up = 2\n\
             servers = {{ mb1 = {}, mb2 = {}, mb3 = {} }}\n",
            server(1),
            server(2),
            server(3)
        ));
        let mut bench = Bench::up(&config);
        assert_eq!(alarms(&bench), Vec::<String>::new(), "{name}");
        set(&mut bench, "mb1", AdminState::Drain, true).expect(name);
        for state in [AdminState::Drain, AdminState::Maint] {
            let refused = set(&mut bench, "mb2", state, true).expect_err(name);
            let says = "smtp would have 1 of 3 servers for new clients, and min_up is 2";
            assert_eq!(refused.to_string(), says, "{name}");
        }
        set(&mut bench, "mb2", AdminState::Drain, false).expect(name);
        let says = "smtp has 1 of 3 servers for new clients, and min_up is 2";
        assert_eq!(alarms(&bench), [says], "{name}");
        set(&mut bench, "mb1", AdminState::Ready, true).expect(name);
        assert_eq!(alarms(&bench), Vec::<String>::new(), "{name}");
    }
}

/// Metrics and `describe` have it from there.
#[test]
fn the_snapshot_has_what_the_file_says() {
    for (extra, shown) in [("", 0), ("min_up = 1", 1), ("min_up = 3", 3)] {
        let bench = Bench::up(&three(extra));
        assert_eq!(bench.snapshot().services[0].min_up, shown, "{extra}");
    }
}

#[test]
fn without_min_up_the_last_one_may_go() {
    let mut bench = Bench::up(&three(""));
    for server in ["mb1", "mb2", "mb3"] {
        set(&mut bench, server, AdminState::Drain, true).expect("nothing is guarded");
    }
}
