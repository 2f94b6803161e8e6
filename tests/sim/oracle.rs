//! What the clients have said and heard, as an outside observer writes it down.
//!
//! Duty: number all that happens, remember messages, sessions and subscriptions. Must not: look inside a shard. Neighbours:
//! `lifecycle` (sessions, wills), `delivery` (each message that arrives), `verdict` (what must have arrived) check on it.

use std::collections::BTreeMap;

use ringmq::id::Millis;
use ringmq::limits::QueueFull;
use ringmq::topic::{SubscriptionFilter, TopicName};
use ringmq::wire::{QoS, SubscriptionOptions};

use crate::plan::Plan;
use crate::trace::Trace;

/// A point in the order of all that clients do and see.
pub(crate) type Moment = u64;

/// A message that a client has published.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) publisher: usize,
    /// The publisher's session.
    pub(crate) session: usize,
    pub(crate) line: usize,
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) is_empty: bool,
    /// Topic and payload.
    pub(crate) size_bytes: usize,
    pub(crate) expiry_secs: Option<u32>,
    pub(crate) expires_at: Option<Millis>,
    pub(crate) sent_at: Moment,
    pub(crate) resends: u32,
    /// PUBACK, or PUBREC.
    pub(crate) acked_at: Option<Moment>,
    /// Of the first acknowledgement.
    pub(crate) reason: u8,
}

impl Published {
    pub(crate) fn is_accepted(&self) -> bool {
        self.acked_at.is_some() && self.reason < 0x80
    }
}

/// A session of the broker, from its making to its end.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: usize,
    pub(crate) expiry_secs: u32,
    /// The line that it is connected by.
    pub(crate) line: Option<usize>,
    pub(crate) lines: Vec<usize>,
    pub(crate) ends_at: Option<Millis>,
    pub(crate) is_ended: bool,
    /// The client has thrown its side of the state away: it cannot know what it has seen.
    pub(crate) is_forgotten: bool,
    /// It may be that it ended and began anew: nothing must have arrived.
    pub(crate) is_loose: bool,
    /// Least Maximum Packet Size of its connections, bytes.
    pub(crate) packet_bytes_max: usize,
    /// A will that waits: line and end of the delay.
    pub(crate) will: Option<(usize, Millis)>,
    pub(crate) subscriptions: Vec<Subscribed>,
    pub(crate) got: BTreeMap<u32, Got>,
    /// First deliveries per publisher, topic and both QoS: the newest so far.
    pub(crate) newest: BTreeMap<(usize, String, QoS, QoS), u32>,
    /// Retained topics per delivered QoS: the latest sending of what was seen.
    pub(crate) newest_retained: BTreeMap<(String, QoS), Moment>,
}

/// A subscription of a session.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) filter: String,
    pub(crate) options: SubscriptionOptions,
    /// While a change of it is not answered, the lower and the higher.
    pub(crate) qos_min: QoS,
    pub(crate) qos_max: QoS,
    pub(crate) sent_at: Moment,
    pub(crate) confirmed_at: Option<Moment>,
    /// The line on which it was last confirmed, and since when on that line.
    pub(crate) line: usize,
    pub(crate) line_since: Moment,
    pub(crate) unsubscribe_sent_at: Option<Moment>,
    pub(crate) unsubscribed_at: Option<Moment>,
}

/// Copies of one message at one session.
#[derive(Debug, Default)]
pub(crate) struct Got {
    /// Without DUP.
    pub(crate) fresh: u32,
    /// With DUP.
    pub(crate) repeated: u32,
    /// What the application saw.
    pub(crate) taken: u32,
}

impl Subscribed {
    pub(crate) fn matches(&self, topic: &str) -> bool {
        SubscriptionFilter::trusted(&self.filter).filter().matches(TopicName::trusted(topic))
    }

    /// Confirmed before that moment, and nobody has asked for its end before the other.
    pub(crate) fn holds(&self, from: Moment, to: Moment) -> bool {
        self.confirmed_at.is_some_and(|at| at < from) && self.unsubscribe_sent_at.is_none_or(|at| at > to)
    }
}

/// Everything that was seen.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) moment: Moment,
    pub(crate) published: Vec<Published>,
    pub(crate) sessions: Vec<Session>,
    /// The living session of each client.
    pub(crate) current: Vec<Option<usize>>,
    /// Of which clients CONNACK may say either, as their last session ended in a crash.
    pub(crate) is_presence_unclear: Vec<bool>,
    /// Acknowledged since the world last looked.
    pub(crate) fresh_acks: Vec<u32>,
    /// Wills that arrived at the watcher, by line.
    pub(crate) wills: BTreeMap<usize, u32>,
    /// Copies that each shared topic's messages made, over all sessions.
    pub(crate) shared: BTreeMap<u32, Vec<usize>>,
    pub(crate) deliveries: u64,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
    /// The policy that rejects is in force, with small queues: a 3.x publisher may be closed for want of a word for it.
    pub(crate) rejects: bool,
    pub(crate) connect_timeout_millis: u64,
}

/// How often each check had something to say: a check that never fires proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checks {
    pub(crate) delivered_qos1: u64,
    pub(crate) delivered_qos0: u64,
    pub(crate) order: u64,
    pub(crate) retained_replays: u64,
    pub(crate) exactly_once: u64,
    pub(crate) wills: u64,
    pub(crate) takeovers: u64,
    pub(crate) resumed: u64,
    pub(crate) round_robin: u64,
    pub(crate) barriers: u64,
    pub(crate) stored: u64,
    pub(crate) drops: u64,
    pub(crate) resends: u64,
    /// Connections that ended in the middle of a packet.
    pub(crate) torn: u64,
    /// Half-open connections that keep alive ended.
    pub(crate) silent: u64,
    /// Connections refused because there were too many.
    pub(crate) crowded: u64,
    /// Messages left out because they were too large for their receiver.
    pub(crate) too_large: u64,
    /// Messages that ended on their way.
    pub(crate) expired: u64,
    /// Acknowledgements that waited for a long queue.
    pub(crate) withheld: u64,
    /// Queues that were long for too long.
    pub(crate) stuck: u64,
    /// Times that the power failed.
    pub(crate) crashes: u64,
    /// Sessions that ended by themselves.
    pub(crate) sessions_expired: u64,
    /// Tables that were compared with the model at the end.
    pub(crate) tables: u64,
}

impl Oracle {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            moment: 0,
            published: Vec::new(),
            sessions: Vec::new(),
            current: Vec::new(),
            is_presence_unclear: Vec::new(),
            fresh_acks: Vec::new(),
            wills: BTreeMap::new(),
            shared: BTreeMap::new(),
            deliveries: 0,
            checks: Checks::default(),
            trace: Trace::new(plan.seed),
            rejects: plan.is_tight && plan.limits.queue_full == QueueFull::Reject,
            connect_timeout_millis: plan.limits.connect_timeout_ms,
        }
    }

    pub(crate) fn tick(&mut self) -> Moment {
        self.moment += 1;
        self.moment
    }

    /// A message is sent for the first time; returns its number, which its payload carries.
    pub(crate) fn publish(&mut self, mut published: Published) -> u32 {
        published.sent_at = self.tick();
        self.published.push(published);
        u32::try_from(self.published.len() - 1).expect("few")
    }

    pub(crate) fn next_number(&self) -> u32 {
        u32::try_from(self.published.len()).expect("few")
    }

    pub(crate) fn acknowledge(&mut self, number: u32, reason: u8) {
        let moment = self.tick();
        let published = &mut self.published[number as usize];
        if published.acked_at.is_none() {
            published.acked_at = Some(moment);
            published.reason = reason;
            self.fresh_acks.push(number);
        }
    }

    /// SUBSCRIBE leaves the client.
    pub(crate) fn subscribe(&mut self, session: usize, line: usize, filter: &str, options: SubscriptionOptions) {
        let sent_at = self.tick();
        let known = self.sessions[session]
            .subscriptions
            .iter_mut()
            .find(|known| known.filter == filter && known.unsubscribe_sent_at.is_none());
        if let Some(known) = known {
            known.qos_min = known.qos_min.min(options.qos);
            known.qos_max = known.qos_max.max(options.qos);
            known.options.retain_as_published |= options.retain_as_published;
            return;
        }
        self.sessions[session].subscriptions.push(Subscribed {
            filter: filter.to_owned(),
            options,
            qos_min: options.qos,
            qos_max: options.qos,
            sent_at,
            confirmed_at: None,
            line,
            line_since: 0,
            unsubscribe_sent_at: None,
            unsubscribed_at: None,
        });
    }

    /// SUBACK has come for what was sent by then.
    pub(crate) fn confirm(&mut self, session: usize, line: usize, filter: &str, sent_by: Moment) {
        let moment = self.tick();
        let open = self.sessions[session]
            .subscriptions
            .iter_mut()
            .find(|known| known.filter == filter && known.unsubscribe_sent_at.is_none() && known.sent_at <= sent_by);
        if let Some(known) = open.filter(|known| known.confirmed_at.is_none() || known.line != line) {
            known.confirmed_at = Some(known.confirmed_at.unwrap_or(moment));
            known.line = line;
            known.line_since = moment;
        }
    }

    /// UNSUBSCRIBE leaves the client.
    pub(crate) fn unsubscribe(&mut self, session: usize, filter: &str) -> Moment {
        let moment = self.tick();
        for known in &mut self.sessions[session].subscriptions {
            if known.filter == filter && known.unsubscribe_sent_at.is_none() {
                known.unsubscribe_sent_at = Some(moment);
            }
        }
        moment
    }

    /// UNSUBACK has come for what was sent then.
    pub(crate) fn unsubscribed(&mut self, session: usize, filter: &str, sent_by: Moment) {
        let moment = self.tick();
        for known in &mut self.sessions[session].subscriptions {
            let is_meant = known.unsubscribe_sent_at.is_some_and(|at| at <= sent_by);
            if known.filter == filter && is_meant && known.unsubscribed_at.is_none() {
                known.unsubscribed_at = Some(moment);
            }
        }
    }
}

impl Checks {
    fn fields(&mut self) -> [(&'static str, &mut u64); 23] {
        [
            ("delivered_qos1", &mut self.delivered_qos1),
            ("delivered_qos0", &mut self.delivered_qos0),
            ("order", &mut self.order),
            ("retained_replays", &mut self.retained_replays),
            ("exactly_once", &mut self.exactly_once),
            ("wills", &mut self.wills),
            ("takeovers", &mut self.takeovers),
            ("resumed", &mut self.resumed),
            ("round_robin", &mut self.round_robin),
            ("barriers", &mut self.barriers),
            ("stored", &mut self.stored),
            ("drops", &mut self.drops),
            ("resends", &mut self.resends),
            ("torn", &mut self.torn),
            ("silent", &mut self.silent),
            ("crowded", &mut self.crowded),
            ("too_large", &mut self.too_large),
            ("expired", &mut self.expired),
            ("withheld", &mut self.withheld),
            ("stuck", &mut self.stuck),
            ("crashes", &mut self.crashes),
            ("sessions_expired", &mut self.sessions_expired),
            ("tables", &mut self.tables),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum), (_, more)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }

    /// A check that never fires proves nothing.
    pub(crate) fn assert_all_fired(&mut self) {
        for (name, count) in self.fields() {
            assert!(*count > 0, "the check {name} never had anything to check");
        }
    }
}
