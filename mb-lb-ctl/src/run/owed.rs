//! Answers that wait until the kernel has what was asked for: whoever is told that it is done may look at once.

use std::collections::VecDeque;

/// Gives an answer, with what the kernel refused.
pub type Answer = Box<dyn FnOnce(Option<&str>) + Send>;

/// What is on its way to the kernel, and the answers that wait for it.
#[derive(Default)]
pub struct Owed {
    plans_sent: u64,
    plans_done: u64,
    /// What the kernel refused of the last plan.
    refused: Option<String>,
    attaches_sent: u64,
    attaches_done: u64,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    attaches: u64,
    plans: u64,
    answer: Answer,
}

impl Owed {
    /// A plan goes to the kernel.
    pub const fn plan_sent(&mut self) {
        self.plans_sent += 1;
    }

    /// The oldest plan under way is done, but for what was refused.
    pub fn plan_done(&mut self, refused: Option<&str>) {
        self.plans_done += 1;
        self.refused = refused.map(str::to_owned);
    }

    /// Interfaces are to be attached to; the number comes back with what became of it.
    pub const fn attach_sent(&mut self) -> u64 {
        self.attaches_sent += 1;
        self.attaches_sent
    }

    /// So far it has come with the interfaces, and the plan that follows from them is sent. It belongs to what was asked
    /// for.
    pub fn attach_done(&mut self, number: u64) {
        let before = self.attaches_done;
        self.attaches_done = before.max(number);
        for waiting in &mut self.waiting {
            if waiting.attaches > before {
                waiting.plans = waiting.plans.max(self.plans_sent);
            }
        }
    }

    /// Keeps an answer until the kernel has all that was sent by now.
    pub fn push(&mut self, answer: Answer) {
        self.waiting.push_back(Waiting {
            attaches: self.attaches_sent,
            plans: self.plans_sent,
            answer,
        });
    }

    /// There is an answer to be given.
    pub fn is_due(&self) -> bool {
        let due = |waiting: &Waiting| {
            waiting.plans <= self.plans_done && waiting.attaches <= self.attaches_done
        };
        self.waiting.front().is_some_and(due)
    }

    /// Gives the answers that are due, in their order.
    pub fn give(&mut self) {
        while self.is_due() {
            if let Some(waiting) = self.waiting.pop_front() {
                (waiting.answer)(self.refused.as_deref());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn owe(owed: &mut Owed) -> mpsc::Receiver<Option<String>> {
        let (sender, answers) = mpsc::channel();
        owed.push(Box::new(move |refused| {
            sender
                .send(refused.map(str::to_owned))
                .expect("the test listens");
        }));
        owed.give();
        answers
    }

    #[test]
    fn with_nothing_under_way_the_answer_comes_at_once() {
        let mut owed = Owed::default();
        assert_eq!(owe(&mut owed).try_recv(), Ok(None));
    }

    #[test]
    fn an_answer_waits_for_the_plans_before_it_and_for_no_later_one() {
        let mut owed = Owed::default();
        owed.plan_sent();
        owed.plan_sent();
        let answer = owe(&mut owed);
        owed.plan_sent();
        owed.plan_done(None);
        owed.give();
        assert!(answer.try_recv().is_err());
        owed.plan_done(Some("no memory"));
        assert!(owed.is_due());
        owed.give();
        assert_eq!(answer.try_recv(), Ok(Some("no memory".to_owned())));
    }

    #[test]
    fn an_answer_waits_for_the_interfaces_and_the_plan_that_follows_from_them() {
        let mut owed = Owed::default();
        let number = owed.attach_sent();
        let answer = owe(&mut owed);
        // The plan is sent in the turn that hears of the interfaces.
        owed.plan_sent();
        owed.attach_done(number);
        owed.give();
        assert!(answer.try_recv().is_err());
        owed.plan_done(None);
        owed.give();
        assert_eq!(answer.try_recv(), Ok(None));
        // Interfaces that nobody asked for now hold nothing up.
        owed.plan_sent();
        let answer = owe(&mut owed);
        owed.plan_sent();
        owed.attach_done(number);
        owed.plan_done(None);
        owed.give();
        assert_eq!(answer.try_recv(), Ok(None));
    }
}
