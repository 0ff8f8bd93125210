//! Several results in one turn.

use super::*;

impl Bench {
    fn results(&mut self, results: &[(u8, Outcome)]) -> Vec<Action> {
        let of = |(last, outcome): &(u8, Outcome)| {
            let address = IpAddr::from([192, 0, 2, *last]);
            self.checked(&format!("mb{last}"), address, *outcome)
        };
        let events: Vec<_> = results.iter().map(of).collect();
        self.engine.handle_all(events, self.now)
    }
}

fn told(actions: &[Action]) -> Vec<String> {
    let told = actions.iter().filter_map(|action| match action {
        Action::Record(event) => Some(format!("{} {}", event.subject, event.kind)),
        _ => None,
    });
    told.collect()
}

fn plans(actions: &[Action]) -> Vec<&Desired> {
    let plans = actions.iter().filter_map(|action| match action {
        Action::Apply(desired) => Some(&**desired),
        _ => None,
    });
    plans.collect()
}

#[test]
fn servers_that_come_up_together_are_one_plan_for_the_kernel() {
    let mut bench = Bench::started(&three(""));
    let all = [1, 2, 3].map(|last| (last, Outcome::Success));
    let actions = bench.results(&all);
    let words = [
        "smtp/mb1 up",
        "smtp service-up",
        "smtp/mb2 up",
        "smtp/mb3 up",
    ];
    assert_eq!(told(&actions), words);
    let [plan] = plans(&actions)[..] else {
        panic!("{actions:?}");
    };
    let pools = plan.services.values().map(|s| s.pool.candidates.len());
    assert_eq!(pools.collect::<Vec<_>>(), [3]);
}

#[test]
fn results_of_one_server_count_in_their_order() {
    let mut bench = Bench::up(&three(""));
    let fall = [Outcome::Failure; 3].map(|failure| (2, failure));
    let mut results = fall.to_vec();
    results.push((1, Outcome::Failure));
    let actions = bench.results(&results);
    assert_eq!(told(&actions), ["smtp/mb2 down"]);
    assert_eq!(plans(&actions).len(), 1);
    // The one failure of the other is known.
    let failures = |server: usize| {
        let snapshot = bench.snapshot();
        let check = snapshot.services[0].servers[server].check.clone();
        check.expect("it has one").failures
    };
    assert_eq!((failures(0), failures(1), failures(2)), (1, 3, 0));
}

#[test]
fn results_that_change_nothing_send_nothing() {
    let mut bench = Bench::up(&three(""));
    let all = [1, 2, 3].map(|last| (last, Outcome::Success));
    let actions = bench.results(&all);
    assert!(actions.is_empty(), "{actions:?}");
}
