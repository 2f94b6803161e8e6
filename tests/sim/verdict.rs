//! What must have arrived, judged when the world is at rest and every session that lives is connected.
//!
//! Duty: no loss of what was acknowledged, no loss of QoS 0 without a counter, honest reason codes, wills. Must not: act.
//! Neighbours: `finale` calls; `oracle` remembers.

use ringmq::limits::QueueFull;
use ringmq::wire::{ProtocolVersion, QoS, ReasonCode};

use crate::delivery::is_shared;
use crate::line::WillFate;
use crate::oracle::{Oracle, Published, Session};
use crate::world::World;

impl World {
    /// Everything that must have arrived by now.
    pub(crate) fn judge_deliveries(&mut self) {
        let mut missing = 0;
        for number in 0..self.oracle.published.len() {
            missing += self.judge_acknowledged(number);
            missing += self.judge_shared(number);
            self.judge_qos0(number);
        }
        let drops = self.drops();
        let dropped = drops.of_acknowledged();
        assert!(missing <= dropped, "{missing} acknowledged messages are missing, the counters know of {dropped}");
        assert!(self.plan.is_tight || drops.queue_full == 0, "drops although every queue has room");
        self.oracle.checks.too_large += drops.too_large;
        self.oracle.checks.expired += drops.expired;
        self.oracle.checks.drops += missing;
        for counters in self.nodes.iter().map(|node| *node.shard.counters()) {
            self.oracle.checks.withheld += counters.acks_withheld;
            self.oracle.checks.stuck += counters.sessions_stuck;
        }
    }

    /// A message that was acknowledged is at every session that wanted it with QoS 1 or 2 all the while.
    fn judge_acknowledged(&mut self, number: usize) -> u64 {
        let oracle = &self.oracle;
        let published = &oracle.published[number];
        let is_judged = published.qos != QoS::AtMostOnce && !published.is_empty && published.expires_at.is_none();
        let Some(acked_at) = published.acked_at.filter(|_| is_judged && !is_shared(&published.topic)) else { return 0 };
        let version = self.clients[published.publisher].nature.version;
        let mut missing = 0;
        let mut fired = 0;
        for (index, session) in oracle.sessions.iter().enumerate().filter(|(_, session)| session.is_judged()) {
            if !wants(session, index, published, acked_at) {
                continue;
            }
            fired += 1;
            let taken = session.got.get(&(number as u32)).map_or(0, |got| got.taken);
            let wants_qos2 = published.qos == QoS::ExactlyOnce && keeps_qos2(session, &published.topic);
            assert!(
                taken <= 1 || !wants_qos2 || published.retain || session.is_forgotten,
                "QoS 2 message {number} was taken {taken} times"
            );
            if version == ProtocolVersion::V5 {
                self.judge_reason(number, index, taken);
            }
            if taken > 0 || published.reason >= 0x80 {
                continue;
            }
            assert!(
                self.plan.is_tight,
                "loss: message {number} was acknowledged and never reached session {index}, client {}: {published:?}, {:?}",
                session.client, session.subscriptions
            );
            if self.plan.traces {
                eprintln!("message {number} is missing at session {index}: {published:?}, {:?}", session.subscriptions);
            }
            missing += 1;
        }
        self.oracle.checks.delivered_qos1 += fired;
        missing
    }

    /// The reason of PUBACK or PUBREC is true (0x10, 0x97, and success with the policy that rejects).
    fn judge_reason(&self, number: usize, session: usize, taken: u32) {
        let oracle = &self.oracle;
        let published = &oracle.published[number];
        assert_ne!(
            published.reason,
            ReasonCode::NoMatchingSubscribers as u8,
            "message {number}: session {session} subscribes, the publisher was told that nobody does"
        );
        let is_sure = published.resends == 0 && !published.retain;
        assert!(
            published.reason != ReasonCode::QuotaExceeded as u8 || taken == 0 || !is_sure,
            "message {number} reached session {session} and was refused to the publisher"
        );
        let rejects = self.plan.limits.queue_full == QueueFull::Reject;
        let is_only_one = oracle.sessions.iter().enumerate().all(|(other, record)| {
            other == session || !record.subscriptions.iter().any(|known| known.matches(&published.topic))
        });
        assert!(
            !(rejects && is_only_one && is_sure && published.reason == 0) || taken > 0,
            "message {number}: success, although the only subscriber refused it"
        );
    }

    /// One member of a shared subscription has the message, if none of them ever ended.
    fn judge_shared(&mut self, number: usize) -> u64 {
        let oracle = &self.oracle;
        let published = &oracle.published[number];
        let is_judged = published.qos != QoS::AtMostOnce && published.expires_at.is_none();
        if !is_judged || !is_shared(&published.topic) || !published.is_accepted() {
            return 0;
        }
        let acked_at = published.acked_at.expect("accepted");
        let members: Vec<(usize, &Session)> = oracle
            .sessions
            .iter()
            .enumerate()
            .filter(|(_, session)| session.subscriptions.iter().any(|known| known.matches(&published.topic)))
            .collect();
        let is_stable = members.iter().all(|(_, session)| {
            let mut records = session.subscriptions.iter().filter(|known| known.matches(&published.topic));
            let is_sure = session.is_judged() && session.has_room_for(published);
            is_sure && records.all(|known| known.qos_min != QoS::AtMostOnce)
        });
        let has_member = members.iter().any(|(index, session)| wants(session, *index, published, acked_at));
        if !is_stable || !has_member || members.iter().any(|(_, session)| session.got.contains_key(&(number as u32))) {
            return 0;
        }
        assert!(self.plan.is_tight, "loss: no member of the shared subscription got message {number}: {published:?}");
        1
    }

    /// What was sent while a session was connected and subscribed arrived whatever the QoS, if no reader was slow: SUBACK
    /// means subscribed on every shard (case X02).
    fn judge_qos0(&mut self, number: usize) {
        if self.plan.is_tight || self.drops().slow_reader > 0 {
            return;
        }
        let oracle = &self.oracle;
        let published = &oracle.published[number];
        let cause = self.lines[published.line].cause;
        let is_processed = cause.is_none() || cause == Some(ringmq::shard::Cause::ClientDisconnected);
        let is_judged = is_processed && !published.is_empty && published.expires_at.is_none();
        if !is_judged || is_shared(&published.topic) {
            return;
        }
        let mut fired = 0;
        for (index, session) in
            oracle.sessions.iter().enumerate().filter(|(_, session)| session.line.is_some() && session.is_judged())
        {
            let mut wishes = session.subscriptions.iter().filter(|known| {
                Some(known.line) == session.line
                    && known.line_since < published.sent_at
                    && known.unsubscribe_sent_at.is_none()
                    && known.matches(&published.topic)
            });
            let is_own = published.session == index;
            let is_wanted = wishes.any(|known| !(is_own && known.options.no_local));
            if is_wanted && session.has_room_for(published) {
                fired += 1;
                assert!(
                    session.got.contains_key(&(number as u32)),
                    "session {index} was subscribed on every shard, and message {number} did not come: {published:?}"
                );
            }
        }
        self.oracle.checks.delivered_qos0 += fired;
    }

    /// What is acknowledged and wanted by sessions that outlive their connections is safe in the stores of their shards.
    pub(crate) fn check_stored(&mut self, number: u32) {
        if !self.plan.keeps {
            return;
        }
        let published = &self.oracle.published[number as usize];
        // Of QoS 2 on several shards each part is safe when its operation is, whatever its ticket waits for: a crash shows it.
        let is_operation = published.qos == QoS::ExactlyOnce && self.plan.shards > 1;
        let is_judged = published.reason == 0 && published.expires_at.is_none() && published.resends == 0;
        let is_judged = is_judged && !is_operation;
        let Some(acked_at) = published.acked_at.filter(|_| is_judged && !self.plan.is_tight) else { return };
        let is_safe_on = |shard: usize| self.store.safe_until(shard) >= published.sent_at;
        let shard_of = |session: &Session| {
            let name = &self.clients[session.client].nature.name;
            ringmq::shard::owner_of(name, self.plan.seed, self.plan.shards).index()
        };
        let matching = self.oracle.sessions.iter().enumerate().filter(|(_, session)| {
            session.is_judged() && session.subscriptions.iter().any(|known| known.matches(&published.topic))
        });
        let wanting = matching.filter(|(index, session)| wants(session, *index, published, acked_at));
        let wanting: Vec<&Session> = wanting.map(|(_, session)| session).collect();
        let is_kept = |session: &Session| {
            let lines = session.lines.iter().map(|line| self.lines[*line].asked.expiry_secs);
            let has_expired = session.ends_at.is_some_and(|at| at <= self.now);
            !has_expired && session.expiry_secs > 0 && lines.min().is_some_and(|secs| secs > 0)
        };
        if is_shared(&published.topic) {
            // Whoever took it was one of all that ever asked.
            let mut asked = self
                .oracle
                .sessions
                .iter()
                .filter(|session| session.subscriptions.iter().any(|known| known.matches(&published.topic)));
            let is_sure = asked.clone().all(|session| {
                let mut records = session.subscriptions.iter().filter(|known| known.matches(&published.topic));
                is_kept(session) && records.all(|known| known.qos_min != QoS::AtMostOnce)
            });
            let is_safe = !is_sure || wanting.is_empty() || asked.any(|session| is_safe_on(shard_of(session)));
            assert!(is_safe, "shared message {number} was acknowledged before any store had it: {published:?}");
            self.oracle.checks.stored += u64::from(is_sure && !wanting.is_empty());
            return;
        }
        let kept: Vec<&Session> = wanting.into_iter().filter(|session| is_kept(session)).collect();
        for session in &kept {
            assert!(
                is_safe_on(shard_of(session)),
                "message {number} was acknowledged before the store had it for client {}: {published:?}",
                session.client
            );
        }
        self.oracle.checks.stored += kept.len() as u64;
    }

    /// Each will was published once or never, as its connection ended.
    pub(crate) fn judge_wills(&mut self) {
        for (index, line) in self.lines.iter().enumerate() {
            let count = self.oracle.wills.get(&index).copied().unwrap_or(0);
            let is_due = line.will == WillFate::Due;
            if line.will == WillFate::Unclear {
                continue;
            }
            assert!(count <= u32::from(is_due), "a will of line {index} that was not due: {line:?}");
            assert!(
                self.plan.is_tight || count == u32::from(is_due),
                "the will of line {index} was not published: {line:?}"
            );
            self.oracle.checks.wills += u64::from(count);
        }
    }
}

impl Session {
    /// Whether a message is surely within its Maximum Packet Size, whatever it is sent with.
    fn has_room_for(&self, published: &Published) -> bool {
        const OTHERS_BYTES_MAX: usize = 40;
        published.size_bytes + OTHERS_BYTES_MAX <= self.packet_bytes_max
    }

    fn is_judged(&self) -> bool {
        !self.is_ended && !self.is_loose
    }
}

fn wants(session: &Session, index: usize, published: &Published, acked_at: u64) -> bool {
    let is_own = published.session == index;
    session.has_room_for(published)
        && session.subscriptions.iter().any(|known| {
            known.matches(&published.topic)
                && known.qos_min != QoS::AtMostOnce
                && known.holds(published.sent_at, acked_at)
                && !(is_own && known.options.no_local)
        })
}

fn keeps_qos2(session: &Session, topic: &str) -> bool {
    let mut matching = session.subscriptions.iter().filter(|known| known.matches(topic));
    matching.all(|known| known.qos_min == QoS::ExactlyOnce)
}

impl Oracle {
    /// What the retained message of a topic may be: numbers, and whether there may be none. A message that every session
    /// refused (0x97) is retained all the same, but does not prove the end of the one before.
    pub(crate) fn retained_candidates(&self, topic: &str) -> (Vec<u32>, bool) {
        let writes: Vec<(usize, &Published)> = self
            .published
            .iter()
            .enumerate()
            .filter(|(_, published)| published.retain && published.topic == topic)
            .collect();
        let is_over = |old: &Published, number: usize| {
            writes.iter().any(|(newer, write)| {
                let is_later = old.acked_at.is_some_and(|at| at < write.sent_at)
                    || (old.line == write.line && number < *newer && old.qos == write.qos);
                write.is_accepted() && is_later && old.resends == 0
            })
        };
        let left: Vec<_> = writes.iter().filter(|(number, write)| !is_over(write, *number)).collect();
        let may_be_none = left.iter().any(|(_, write)| write.is_empty || write.expires_at.is_some())
            || !writes.iter().any(|(_, write)| write.is_accepted());
        let numbers = left.iter().filter(|(_, write)| !write.is_empty).map(|(number, _)| *number as u32).collect();
        (numbers, may_be_none)
    }
}
