//! One virtual router's state machine (RFC 9568 section 6.4, RFC 3768 section 6.4), with keepalived's fault state and
//! preemption delay, and with three things of its own: a planned hand-over keeps serving until the peer is heard, a
//! director that was frozen listens before it speaks, and an earlier process's role can be resumed.
//!
//! Pure: the time comes in as an argument (since any fixed moment, monotonic), what is to be done goes out.
//!
//! ```text
//!              start             deadline, take_over              resign, leave
//!   Init ---------------> Backup -----------------> Active ---------------------> Active, handing over
//!     ^  \--- resume ------^ | ^ <------------------ | ^  ^---- nobody was heard -----/  |
//!     |                    | v |   stronger advert,  | |                                 |
//!     |                    Fault   frozen            | |                                 |
//!     |                      ^------ fault ----------/ |  (resume, priority 255)         |
//!     '------------- leave: a peer was heard, or nobody in time -------------------------'
//! ```

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A priority that no tracking changes: the addresses are the director's own (RFC 9568 section 5.2.4).
pub const OWNER: u8 = 255;

/// Adverts that may be missed before the active director counts as gone (RFC 9568 section 6.1).
const MISSED: u32 = 3;
/// The end of a hand-over is said so often, so far apart, for a lost one must not matter. Each starts the peer's
/// Skew_Time anew, so the next comes only after the longest Skew_Time there is.
const LAST_WORDS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(20)];
/// Gratuitous announcements after a take-over: so long after the first burst.
const BURSTS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// Announcements in a burst.
const BURST: u8 = 5;
/// One announcement again and again. A director that gives way without being heard, because the partition between the two
/// ends with an advert of this one, tells nobody; then switches and clients believe it for no longer than this.
const REFRESH: Duration = Duration::from_millis(1500);
/// Answers to a weaker active director are announced this often at most.
const REBUKE: Duration = Duration::from_secs(1);
/// While another one believes to have the addresses, one announcement so often: it gives way unheard, when it hears this
/// director at last, and then the link still believes it.
const INSIST: Duration = Duration::from_millis(500);
/// The lease of the addresses is renewed with an advert, this often at most.
const RENEW: Duration = Duration::from_millis(500);

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Not taking part.
    Init,
    Backup,
    /// Has the addresses.
    Active,
    /// Cannot have them.
    Fault,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup => "backup",
            Self::Active => "active",
            Self::Fault => "fault",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    V2,
    V3,
}

impl Version {
    /// 2 or 3.
    pub const fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// What the configuration says of a virtual router, as far as the machine cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub version: Version,
    /// Own Advertisement_Interval.
    pub interval: Duration,
    pub preempt: bool,
    /// A weaker active director is left in peace for so long after it was first heard.
    pub preempt_delay: Duration,
    /// Address that own adverts come from: of two with the same priority, the higher one wins.
    pub source: IpAddr,
}

/// What an advert that was found good says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub source: IpAddr,
    pub priority: u8,
    pub interval: Duration,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Advertise {
        priority: u8,
    },
    /// Put the addresses on, or renew their lease.
    Hold,
    /// Tell the link where the addresses are, so many times.
    Announce {
        times: u8,
    },
    Release,
    /// For the journal, the hooks and the status.
    Turned {
        from: Role,
        to: Role,
        cause: Cause,
    },
    /// A hand-over came to nothing: the addresses stay here.
    Stayed,
}

/// Why a role changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    Started,
    /// An earlier process of this director was active a moment ago.
    Resumed,
    Owner,
    /// No advert for so long.
    Silence(Duration),
    /// The active director said that it goes.
    PeerLeft(IpAddr),
    /// Preemption: the active director is weaker.
    Weaker {
        source: IpAddr,
        priority: u8,
    },
    Stronger {
        source: IpAddr,
        priority: u8,
    },
    /// A hand-over: the peer was heard.
    HandedOver {
        to: IpAddr,
        why: String,
    },
    /// This process did not run for so long.
    Frozen(Duration),
    Fault(String),
    Recovered,
    /// Told by the peer, or by another virtual router of the same sync group.
    Told(String),
    /// The process ends.
    Left,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Resumed => f.write_str("the earlier process was active"),
            Self::Owner => f.write_str("priority 255: the addresses are this director's own"),
            Self::Silence(time) => write!(f, "no advert for {:.3} s", time.as_secs_f64()),
            Self::PeerLeft(source) => write!(f, "{source} gave the addresses up (priority 0)"),
            Self::Weaker { source, priority } => {
                write!(f, "{source} has the lower priority {priority}")
            }
            Self::Stronger { source, priority } => {
                write!(f, "{source} is active with priority {priority}")
            }
            Self::HandedOver { to, why } => write!(f, "handed over to {to}: {why}"),
            Self::Frozen(time) => write!(
                f,
                "this process did not run for {:.3} s: listening first",
                time.as_secs_f64()
            ),
            Self::Fault(why) | Self::Told(why) => f.write_str(why),
            Self::Recovered => f.write_str("the fault is gone"),
            Self::Left => f.write_str("stopped"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Init,
    Fault,
    Backup(Backup),
    Active(Active),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Backup {
    /// Master_Down_Timer.
    down_at: Duration,
    /// Who was heard last, and when this director began to listen.
    heard: Option<(Heard, Duration)>,
    since: Duration,
    /// When a weaker active director was first heard.
    weaker_since: Option<Duration>,
    /// The addresses were handed over on purpose: a weaker peer keeps them.
    aside: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Active {
    /// Adver_Timer.
    advert_at: Duration,
    renewed_at: Duration,
    announce_at: Duration,
    /// The next of [`BURSTS`], as its index.
    burst: usize,
    since: Duration,
    rebuked_at: Option<Duration>,
    /// Until then, another one may believe to have the addresses.
    rival_until: Duration,
    leaving: Option<Leaving>,
}

/// A hand-over under way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaving {
    why: String,
    /// Next time that priority 0 is sent.
    word_at: Duration,
    words: usize,
    /// Nobody will come any more.
    until: Duration,
    /// The process ends afterwards.
    for_good: bool,
    /// See [`Backup::aside`].
    aside: bool,
}

/// One virtual router.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    /// Effective, after tracking.
    priority: u8,
    /// Active_Adver_Interval: that of the active director in version 3.
    active_interval: Duration,
    /// False: a weaker active director is left alone, because this one is not ready to replace it.
    may_preempt: bool,
    /// The peer says by another way that it is active: silence is no reason to take over.
    withheld: bool,
    state: State,
}

impl Machine {
    /// `priority` is 1 to 255.
    pub fn new(settings: Settings, priority: u8) -> Self {
        Self {
            active_interval: settings.interval,
            settings,
            priority,
            may_preempt: true,
            withheld: false,
            state: State::Init,
        }
    }

    pub const fn role(&self) -> Role {
        match self.state {
            State::Init => Role::Init,
            State::Fault => Role::Fault,
            State::Backup(_) => Role::Backup,
            State::Active(_) => Role::Active,
        }
    }

    pub const fn priority(&self) -> u8 {
        self.priority
    }

    /// A hand-over is under way.
    pub const fn is_leaving(&self) -> bool {
        matches!(
            &self.state,
            State::Active(Active {
                leaving: Some(_),
                ..
            })
        )
    }

    /// A hand-over is under way after which the process ends, whatever comes in between.
    const fn is_ending(&self) -> bool {
        matches!(
            &self.state,
            State::Active(Active {
                leaving: Some(Leaving { for_good: true, .. }),
                ..
            })
        )
    }

    /// It has handed over on purpose and leaves a weaker peer alone.
    pub const fn stands_aside(&self) -> bool {
        matches!(&self.state, State::Backup(Backup { aside: true, .. }))
    }

    /// When [`Machine::on_deadline`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Init | State::Fault => None,
            State::Backup(backup) => Some(backup.down_at),
            State::Active(active) => {
                let next = active.advert_at.min(active.announce_at);
                Some(match &active.leaving {
                    Some(leaving) => active.renew_at().min(leaving.word_at).min(leaving.until),
                    None => next,
                })
            }
        }
    }

    /// Skew_Time: the stronger a director, the sooner it takes over.
    fn skew(&self) -> Duration {
        let unit = match self.settings.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.active_interval,
        };
        unit * (256 - u32::from(self.priority)) / 256
    }

    /// Active_Down_Interval (Master_Down_Interval of version 2).
    pub fn down_interval(&self) -> Duration {
        self.active_interval * MISSED + self.skew()
    }

    /// Version 3 goes by the active director's interval. In version 2 both must have the same; where they have not, the
    /// longer one keeps the two from taking over from each other all the time.
    fn adopt_interval(&mut self, heard: Duration) {
        self.active_interval = match self.settings.version {
            Version::V2 => heard.max(self.settings.interval),
            Version::V3 => heard,
        };
    }

    /// Begins to take part.
    pub fn start(&mut self, now: Duration) -> Vec<Action> {
        if self.role() != Role::Init {
            return Vec::new();
        }
        if self.priority == OWNER && self.may_preempt {
            return self.become_active(now, Cause::Owner);
        }
        self.become_backup(now, Cause::Started, self.down_interval())
    }

    /// Begins as the active one, because an earlier process of this director was it until a moment ago. The caller has
    /// made sure that no peer can have taken over since.
    pub fn resume(&mut self, now: Duration) -> Vec<Action> {
        if self.role() != Role::Init {
            return Vec::new();
        }
        self.become_active(now, Cause::Resumed)
    }

    fn become_active(&mut self, now: Duration, cause: Cause) -> Vec<Action> {
        let from = self.role();
        self.active_interval = self.settings.interval;
        self.state = State::Active(Active {
            advert_at: now + self.settings.interval,
            renewed_at: now,
            announce_at: now + BURSTS[0],
            burst: 0,
            since: now,
            rebuked_at: None,
            rival_until: now,
            leaving: None,
        });
        vec![
            // First: the other one must stop before the link is told of this one.
            Action::Advertise {
                priority: self.priority,
            },
            Action::Hold,
            Action::Announce { times: BURST },
            Action::Turned {
                from,
                to: Role::Active,
                cause,
            },
        ]
    }

    /// Whatever it was; an active one has released the addresses before.
    fn become_backup(&mut self, now: Duration, cause: Cause, down_in: Duration) -> Vec<Action> {
        let from = self.role();
        self.state = State::Backup(Backup {
            down_at: now + down_in,
            heard: None,
            since: now,
            weaker_since: None,
            aside: false,
        });
        let mut actions = Vec::new();
        if from == Role::Active {
            actions.push(Action::Release);
        }
        actions.push(Action::Turned {
            from,
            to: Role::Backup,
            cause,
        });
        actions
    }

    /// To be called before anything else that the world tells: an active director that did not run for so long that a
    /// peer may have taken over goes back to listening.
    pub fn wake(&mut self, now: Duration) -> Vec<Action> {
        let interval = self.settings.interval;
        let State::Active(active) = &self.state else {
            return Vec::new();
        };
        match active.silent_for(now, interval) {
            // Who asserts now makes two of it.
            Some(frozen) => self.become_backup(now, Cause::Frozen(frozen), interval + self.skew()),
            None => Vec::new(),
        }
    }

    /// An advert of this virtual router that was found good, from another director.
    pub fn on_advert(&mut self, heard: &Heard, now: Duration) -> Vec<Action> {
        // First: the advert may be of who has taken over meanwhile, and is weaker.
        let mut actions = self.wake(now);
        match &self.state {
            State::Init | State::Fault => {}
            State::Backup(_) => self.backup_heard(heard, now),
            State::Active(active) if active.leaving.is_some() => {
                actions.extend(self.leaving_heard(heard, now));
            }
            State::Active(_) => actions.extend(self.active_heard(heard, now)),
        }
        actions
    }

    /// Another host says on the link that it has one of the addresses.
    pub fn on_claim(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = self.wake(now);
        let interval = self.settings.interval;
        if let State::Active(active) = &mut self.state
            // During a hand-over the peer is right.
            && active.leaving.is_none()
        {
            active.insist(now, interval);
            actions.push(Action::Announce { times: 1 });
        }
        actions
    }

    fn backup_heard(&mut self, heard: &Heard, now: Duration) {
        let may_preempt = self.settings.preempt && self.may_preempt;
        let (delay, skew) = (self.settings.preempt_delay, self.skew());
        let State::Backup(backup) = &mut self.state else {
            return;
        };
        backup.heard = Some((*heard, now));
        if heard.priority == 0 {
            // Not later than it was: of several last words, the first counts.
            backup.down_at = backup.down_at.min(now + skew);
            return;
        }
        if heard.priority >= self.priority {
            backup.weaker_since = None;
        } else if may_preempt && !backup.aside {
            let since = *backup.weaker_since.get_or_insert(now);
            if now.saturating_sub(since) >= delay {
                // Not accepted: the timer runs on, and then this director takes over.
                return;
            }
        }
        self.adopt_interval(heard.interval);
        let down_at = now + self.down_interval();
        if let State::Backup(backup) = &mut self.state {
            backup.down_at = down_at;
        }
    }

    fn active_heard(&mut self, heard: &Heard, now: Duration) -> Vec<Action> {
        let is_stronger = heard.priority > self.priority
            || (heard.priority == self.priority && heard.source > self.settings.source);
        let mut actions = Vec::new();
        if heard.priority != 0 && is_stronger {
            self.adopt_interval(heard.interval);
            let cause = Cause::Stronger {
                source: heard.source,
                priority: heard.priority,
            };
            actions = self.become_backup(now, cause, self.down_interval());
            // It may not have heard of this one, as after a partition; then it does not know either that the link
            // believes this one, and nobody tells the link better. Not priority 0: a third one would take over.
            actions.push(Action::Advertise {
                priority: self.priority,
            });
            if let State::Backup(backup) = &mut self.state {
                backup.heard = Some((*heard, now));
            }
            return actions;
        }
        // RFC 9568 section 6.4.3: who is weaker, or goes, is answered at once.
        actions.push(Action::Advertise {
            priority: self.priority,
        });
        let interval = self.settings.interval;
        if let State::Active(active) = &mut self.state {
            active.advert_at = now + interval;
            let rebuked = active
                .rebuked_at
                .is_some_and(|at| now.saturating_sub(at) < REBUKE);
            if heard.priority != 0 {
                active.insist(now, interval);
            }
            if heard.priority != 0 && !rebuked {
                // The link may believe the other one: after a partition nobody else would tell it better.
                active.rebuked_at = Some(now);
                actions.push(Action::Announce { times: BURST });
            }
        }
        actions
    }

    fn leaving_heard(&mut self, heard: &Heard, now: Duration) -> Vec<Action> {
        let State::Active(Active {
            leaving: Some(leaving),
            ..
        }) = &self.state
        else {
            return Vec::new();
        };
        if heard.priority == 0 {
            return Vec::new();
        }
        let aside = leaving.aside;
        let cause = Cause::HandedOver {
            to: heard.source,
            why: leaving.why.clone(),
        };
        if leaving.for_good {
            return self.end(cause);
        }
        self.adopt_interval(heard.interval);
        let actions = self.become_backup(now, cause, self.down_interval());
        if let State::Backup(backup) = &mut self.state {
            backup.heard = Some((*heard, now));
            backup.aside = aside;
        }
        actions
    }

    fn end(&mut self, cause: Cause) -> Vec<Action> {
        let from = self.role();
        self.state = State::Init;
        let mut actions = Vec::new();
        if from == Role::Active {
            actions.push(Action::Release);
        }
        actions.push(Action::Turned {
            from,
            to: Role::Init,
            cause,
        });
        actions
    }

    /// The time of [`Machine::next_deadline`] has come. What was received meanwhile is to be given in first: it may be
    /// news from after a freeze.
    pub fn on_deadline(&mut self, now: Duration) -> Vec<Action> {
        let actions = self.wake(now);
        if !actions.is_empty() {
            return actions;
        }
        let again_at = now + self.down_interval();
        match &mut self.state {
            State::Backup(backup)
                if now >= backup.down_at && self.withheld && !backup.is_vacant() =>
            {
                backup.down_at = again_at;
                Vec::new()
            }
            State::Backup(backup) if now >= backup.down_at => {
                let cause = self.cause_of_take_over(now);
                self.become_active(now, cause)
            }
            State::Init | State::Fault | State::Backup(_) => Vec::new(),
            State::Active(_) => self.active_deadline(now),
        }
    }

    fn cause_of_take_over(&self, now: Duration) -> Cause {
        let State::Backup(backup) = &self.state else {
            return Cause::Started;
        };
        match backup.heard {
            Some((heard, _)) if heard.priority == 0 => Cause::PeerLeft(heard.source),
            Some((heard, at)) if now.saturating_sub(at) < self.down_interval() => Cause::Weaker {
                source: heard.source,
                priority: heard.priority,
            },
            Some((_, at)) => Cause::Silence(now.saturating_sub(at)),
            None => Cause::Silence(now.saturating_sub(backup.since)),
        }
    }

    fn active_deadline(&mut self, now: Duration) -> Vec<Action> {
        let (interval, priority) = (self.settings.interval, self.priority);
        let State::Active(active) = &mut self.state else {
            return Vec::new();
        };
        let mut actions = Vec::new();
        if let Some(leaving) = &mut active.leaving {
            if now >= leaving.until {
                return self.nobody_came(now);
            }
            if now >= leaving.word_at {
                actions.push(Action::Advertise { priority: 0 });
                leaving.word_at = match LAST_WORDS.get(leaving.words) {
                    Some(&next) => now + next,
                    None => now + longest_skew(&self.settings),
                };
                leaving.words += 1;
                active.advert_at = now + interval;
            }
            if now >= active.renew_at() {
                actions.push(Action::Hold);
                active.renewed_at = now;
                active.advert_at = active.advert_at.max(now);
            }
            return actions;
        }
        if now >= active.advert_at {
            actions.push(Action::Advertise { priority });
            // From the deadline, not from now: being late must not add up. A freeze was dealt with above.
            active.advert_at = (active.advert_at + interval).max(now);
            if now.saturating_sub(active.renewed_at) >= RENEW {
                actions.push(Action::Hold);
                active.renewed_at = now;
            }
        }
        actions.extend(active.announce(now));
        actions
    }

    /// The time of a hand-over is up.
    fn nobody_came(&mut self, now: Duration) -> Vec<Action> {
        let State::Active(active) = &mut self.state else {
            return Vec::new();
        };
        if active
            .leaving
            .take()
            .is_some_and(|leaving| leaving.for_good)
        {
            return self.end(Cause::Left);
        }
        active.advert_at = now + self.settings.interval;
        active.renewed_at = now;
        vec![
            Action::Advertise {
                priority: self.priority,
            },
            Action::Hold,
            Action::Stayed,
        ]
    }

    /// Hands over: says priority 0, and goes on serving until a peer is heard. If none is, it stays active, and says so
    /// by [`Action::Stayed`]. With `aside`, a weaker peer keeps the addresses afterwards.
    pub fn resign(&mut self, why: &str, aside: bool, now: Duration) -> Vec<Action> {
        self.hand_over(why, false, aside, now)
    }

    /// As [`Machine::resign`], and ends in [`Role::Init`] whether a peer was heard or not: the process ends.
    pub fn leave(&mut self, why: &str, now: Duration) -> Vec<Action> {
        let mut actions = self.wake(now);
        actions.extend(match self.role() {
            Role::Init => Vec::new(),
            Role::Backup | Role::Fault => self.end(Cause::Left),
            Role::Active => self.hand_over(why, true, false, now),
        });
        actions
    }

    fn hand_over(&mut self, why: &str, for_good: bool, aside: bool, now: Duration) -> Vec<Action> {
        let until = now + longest_skew(&self.settings) * 2 + Duration::from_secs(1);
        let woken = self.wake(now);
        let State::Active(active) = &mut self.state else {
            return woken;
        };
        if let Some(leaving) = &mut active.leaving {
            leaving.for_good |= for_good;
            leaving.aside |= aside;
            return Vec::new();
        }
        active.leaving = Some(Leaving {
            why: why.to_owned(),
            word_at: now + LAST_WORDS[0],
            words: 1,
            until,
            for_good,
            aside,
        });
        active.advert_at = now + self.settings.interval;
        active.renewed_at = now;
        vec![Action::Advertise { priority: 0 }, Action::Hold]
    }

    /// Takes over at once: the active director has asked for it by another way, or the sync group goes together.
    pub fn take_over(&mut self, why: &str, now: Duration) -> Vec<Action> {
        match self.role() {
            Role::Backup => self.become_active(now, Cause::Told(why.to_owned())),
            Role::Init | Role::Active | Role::Fault => Vec::new(),
        }
    }

    /// Gives way at once, with a last word: the sync group goes together, or two were active and this is the one to go.
    pub fn step_down(&mut self, why: &str, now: Duration) -> Vec<Action> {
        if self.role() != Role::Active {
            return Vec::new();
        }
        let mut actions = vec![Action::Advertise { priority: 0 }];
        let cause = Cause::Told(why.to_owned());
        actions.extend(if self.is_ending() {
            self.end(cause)
        } else {
            self.become_backup(now, cause, self.down_interval())
        });
        actions
    }

    /// What makes it impossible to have the addresses; `None`: nothing (any more).
    pub fn set_fault(&mut self, fault: Option<&str>, now: Duration) -> Vec<Action> {
        match (fault, self.role()) {
            (None, Role::Fault) => {
                self.active_interval = self.settings.interval;
                self.become_backup(now, Cause::Recovered, self.down_interval())
            }
            (Some(why), Role::Active) if self.is_ending() => {
                let mut actions = vec![Action::Advertise { priority: 0 }];
                actions.extend(self.end(Cause::Fault(why.to_owned())));
                actions
            }
            (Some(why), Role::Backup | Role::Active) => {
                let from = self.role();
                self.state = State::Fault;
                let mut actions = Vec::new();
                if from == Role::Active {
                    actions.push(Action::Advertise { priority: 0 });
                    actions.push(Action::Release);
                }
                actions.push(Action::Turned {
                    from,
                    to: Role::Fault,
                    cause: Cause::Fault(why.to_owned()),
                });
                actions
            }
            (None, _) | (Some(_), Role::Init | Role::Fault) => Vec::new(),
        }
    }

    /// Effective priority, 1 to 255. An active director tells it at once.
    pub fn set_priority(&mut self, priority: u8, now: Duration) -> Vec<Action> {
        let woken = self.wake(now);
        let changed = std::mem::replace(&mut self.priority, priority) != priority;
        let State::Active(active) = &mut self.state else {
            return woken;
        };
        if !changed || active.leaving.is_some() {
            return Vec::new();
        }
        active.advert_at = now + self.settings.interval;
        vec![Action::Advertise { priority }]
    }

    /// False: a weaker active director is left alone. One that is gone is replaced all the same.
    pub const fn set_may_preempt(&mut self, may: bool) {
        self.may_preempt = may;
    }

    /// True: the peer says by another way that it is active, and this director gave way to it once already. Its adverts are
    /// lost, so silence is no reason to take over; that it goes is one, if that is heard.
    pub const fn set_withheld(&mut self, withheld: bool) {
        self.withheld = withheld;
    }

    /// Own adverts come from another address now.
    pub const fn set_source(&mut self, source: IpAddr) {
        self.settings.source = source;
    }

    /// Other settings, with the role kept.
    pub fn set_settings(&mut self, settings: Settings, now: Duration) {
        let same = self.settings.interval == settings.interval;
        self.settings = settings;
        if same {
            return;
        }
        self.active_interval = self.settings.interval;
        let down_at = now + self.down_interval();
        match &mut self.state {
            State::Backup(backup) => backup.down_at = down_at,
            State::Active(active) => active.advert_at = now,
            State::Init | State::Fault => {}
        }
    }
}

impl Backup {
    /// Who was active has said that it goes.
    fn is_vacant(&self) -> bool {
        self.heard.is_some_and(|(heard, _)| heard.priority == 0)
    }
}

impl Active {
    fn renew_at(&self) -> Duration {
        self.renewed_at + Duration::from_secs(1)
    }

    /// How long nothing was done although it was due, where that is so long that a peer may have taken over. Of a
    /// hand-over for good it does not matter: the addresses go in any case.
    fn silent_for(&self, now: Duration, interval: Duration) -> Option<Duration> {
        let due = match &self.leaving {
            None => self.advert_at,
            Some(leaving) if leaving.for_good => return None,
            Some(leaving) => leaving.until,
        };
        let late = now.saturating_sub(due);
        (late >= interval * (MISSED - 1)).then_some(late + interval)
    }

    /// Another one that believes to have the addresses was heard.
    fn insist(&mut self, now: Duration, interval: Duration) {
        self.rival_until = now + interval * 2 + Duration::from_secs(1);
        self.announce_at = self.announce_at.min(now + INSIST);
    }

    /// What is to be announced, if it is time.
    fn announce(&mut self, now: Duration) -> Option<Action> {
        if now < self.announce_at {
            return None;
        }
        let burst = BURSTS.get(self.burst).map(|&after| self.since + after);
        let is_burst = burst.is_some_and(|at| now >= at);
        self.burst += usize::from(is_burst);
        let refresh = now + REFRESH;
        let next = match BURSTS.get(self.burst) {
            Some(&after) => refresh.min(self.since + after),
            None => refresh,
        };
        self.announce_at = if now < self.rival_until {
            next.min(now + INSIST)
        } else {
            next
        };
        self.announce_at = self.announce_at.max(now);
        Some(Action::Announce {
            times: if is_burst { BURST } else { 1 },
        })
    }
}

/// Skew_Time of the weakest peer that there can be.
fn longest_skew(settings: &Settings) -> Duration {
    match settings.version {
        Version::V2 => Duration::from_secs(1),
        Version::V3 => settings.interval,
    }
}

/// The strongest peer that there can be takes over after so long without an advert.
pub fn peers_wait(interval: Duration) -> Duration {
    interval * MISSED
}

/// For how long the kernel may keep addresses that nobody renews: less than [`peers_wait`], with 0.3 s for the kernel to
/// notice, in whole seconds; but never so short that a renewal could be late.
pub fn lease(interval: Duration) -> Duration {
    let limit = peers_wait(interval).saturating_sub(Duration::from_millis(300));
    Duration::from_secs(limit.as_secs().max(2))
}

#[cfg(test)]
mod tests;
