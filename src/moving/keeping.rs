//! Keeping: records of any broker into those of the store, and back.
//!
//! Duty: check what a record says, number sessions and messages, give packet ids their places; leave out what has ended. Must not: touch a
//! disk. Neighbours: `record` has the one form, `store::record` the other.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::record::{
    Blob, Message, Queued, Received, Record, Retained, Said, Session, Source, State, Subscription, Will, qos,
};
use crate::id::Millis;
use crate::limits::Limits;
use crate::message::{self, MessageView};
use crate::store::record::{self as stored, LastWill, Manner, Wall, key_of, queue_key, received_key, subscription_key};
use crate::store::{Changes, Space, Stored, StoredState};
use crate::topic::{SubscriptionFilter, TopicLimits, TopicName};

/// Packet ids that a session has; which one a message has follows from its place in the queue.
const PACKET_IDS: u64 = u16::MAX as u64;

/// How much was kept, and left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Sessions.
    pub(crate) sessions: usize,
    /// Subscriptions.
    pub(crate) subscriptions: usize,
    /// Messages that wait for clients, or are on their way to them.
    pub(crate) queued: usize,
    /// Retained messages.
    pub(crate) retained: usize,
    /// Records of sessions and messages that have ended.
    pub(crate) ended: usize,
    /// Records that are damaged.
    pub(crate) damaged: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, subscriptions, queued, retained, ended, damaged } = self;
        write!(
            formatter,
            "{sessions} sessions, {subscriptions} subscriptions, {queued} waiting and {retained} retained messages"
        )?;
        for (count, what) in [(ended, "that have ended"), (damaged, "that are damaged")] {
            if *count > 0 {
                write!(formatter, ", without {count} records {what}")?;
            }
        }
        Ok(())
    }
}

/// Changes in one piece, bytes; a record more may be in it.
const COMMIT_BYTES: usize = 4 << 20;

/// Changes in pieces, made of records.
#[derive(Debug)]
pub(crate) struct Kept {
    keeping: Keeping,
    commits: Vec<Changes>,
    open: Changes,
}

impl Kept {
    /// `wall`: now, milliseconds since 1970.
    pub(crate) fn new(wall: u64) -> Self {
        Self { keeping: Keeping::new(wall), commits: Vec::new(), open: Changes::default() }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// What it says and cannot be.
    pub(crate) fn put(&mut self, record: &Record) -> Result<(), String> {
        self.keeping.put(record, &mut self.open)?;
        if self.open.bytes() >= COMMIT_BYTES {
            self.commits.push(std::mem::take(&mut self.open));
        }
        Ok(())
    }

    /// What is to be written, and how much there is of what.
    pub(crate) fn finish(mut self) -> (Vec<Changes>, Tally) {
        self.commits.push(self.open);
        (self.commits, self.keeping.tally())
    }
}

/// Turns records into changes of a store that has none yet.
#[derive(Debug)]
pub(super) struct Keeping {
    time: (Millis, Wall),
    limits: TopicLimits,
    /// By client id; `None`: that session has ended.
    sessions: HashMap<String, Option<Place>>,
    numbered: u64,
    /// Messages that several queues refer to, by where they stand; each is held so that no other one can stand there.
    shared: HashMap<*const Message, (Arc<Message>, u64)>,
    tally: Tally,
}

/// A session in the store.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: u64,
    last_sequence: u64,
}

impl Keeping {
    /// `wall`: now, milliseconds since 1970.
    pub(super) fn new(wall: u64) -> Self {
        let limits = TopicLimits::from(&Limits::default());
        Self {
            time: (Millis(0), Wall(wall)),
            limits,
            sessions: HashMap::new(),
            numbered: 0,
            shared: HashMap::new(),
            tally: Tally::default(),
        }
    }

    /// How much there was so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Adds what a record says to `changes`.
    ///
    /// # Errors
    /// What it says and cannot be.
    pub(super) fn put(&mut self, record: &Record, changes: &mut Changes) -> Result<(), String> {
        match record {
            Record::Session(session) => self.session(session, changes),
            Record::Subscription(subscription) => self.subscription(subscription, changes),
            Record::Queued(queued) => self.queued(queued, changes),
            Record::Received(received) => self.received(received, changes),
            Record::Retained(retained) => self.retained(retained, changes),
        }
    }

    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    /// The moment; `None` if it has passed.
    fn moment(&self, at: u64) -> Option<Millis> {
        at.checked_sub(self.time.1.0).filter(|left| *left > 0).map(Millis)
    }

    /// The session's place; `None` if it has ended.
    fn place(&mut self, client: &str) -> Result<Option<&mut Place>, String> {
        let place =
            self.sessions.get_mut(client).ok_or_else(|| format!("no session of client '{client}' before it"))?;
        self.tally.ended += usize::from(place.is_none());
        Ok(place.as_mut())
    }

    fn session(&mut self, session: &Session, changes: &mut Changes) -> Result<(), String> {
        check_string(&session.client, "client")?;
        check_string(session.user.as_deref().unwrap_or_default(), "user")?;
        if session.client.is_empty() || self.sessions.contains_key(&session.client) {
            let what = if session.client.is_empty() { "without client id" } else { "that was there already" };
            return Err(format!("a session {what}: '{}'", session.client));
        }
        let ends_at = session.ends_at_ms.map(|at| self.moment(at));
        if ends_at == Some(None) || session.expiry_secs == 0 {
            self.sessions.insert(session.client.clone(), None);
            self.tally.ended += 1;
            return Ok(());
        }
        let will = session.will.as_ref().map(|will| self.will_message(will)).transpose()?;
        let last_will = session.will.as_ref().zip(will.as_ref()).map(|(will, message)| LastWill {
            message,
            expiry_secs: will.expiry_secs,
            delay_secs: will.delay_secs,
            // One that is overdue is due.
            due_at: will.due_at_ms.map(|at| self.moment(at).unwrap_or(Millis(0))),
        });
        let kept = stored::Session {
            // Any may have been sent.
            sent_through: None,
            last_sequence: 0,
            client_id: &session.client,
            user_name: session.user.as_deref(),
            is_user_proven: session.is_user_proven,
            is_certified: session.is_certified,
            listener: session.listener,
            expiry_secs: session.expiry_secs,
            ends_at: ends_at.flatten(),
            last_will,
        };
        let number = self.number();
        let time = self.time;
        changes.put_with(Space::Session, &key_of(number), |out| stored::put_session(number, &kept, time, out));
        self.sessions.insert(session.client.clone(), Some(Place { number, last_sequence: 0 }));
        self.tally.sessions += 1;
        Ok(())
    }

    fn will_message(&self, will: &Will) -> Result<message::Message, String> {
        let raw = will.message.properties.to_raw()?;
        Ok(message::Message::new(&self.view(&will.message, &raw, None)?))
    }

    fn subscription(&mut self, subscription: &Subscription, changes: &mut Changes) -> Result<(), String> {
        let filter = &subscription.filter;
        SubscriptionFilter::new(filter, self.limits).map_err(|error| format!("filter '{filter}': {error}"))?;
        let options = subscription.options()?;
        let Some(place) = self.place(&subscription.client)? else { return Ok(()) };
        let key = subscription_key(place.number, filter);
        let kept = stored::Subscription { filter, options, subscription_id: subscription.id };
        changes.put_with(Space::Subscription, &key, |out| stored::put_subscription(&key, &kept, out));
        self.tally.subscriptions += 1;
        Ok(())
    }

    fn received(&mut self, received: &Received, changes: &mut Changes) -> Result<(), String> {
        if received.packet_id == 0 {
            return Err("packet_id 0: 1 to 65535 is wanted".into());
        }
        let Some(place) = self.place(&received.client)? else { return Ok(()) };
        let key = received_key(place.number, received.packet_id);
        changes.put_with(Space::Received, &key, |out| stored::put_received(&key, out));
        Ok(())
    }

    fn queued(&mut self, queued: &Queued, changes: &mut Changes) -> Result<(), String> {
        let qos = qos(queued.qos)?;
        let message = match (&queued.message, queued.state) {
            (_, State::Released) => None,
            (None, _) => return Err("a message in a queue is wanted; only a released one has none".into()),
            (Some(message), _) => Some(message),
        };
        let end = message.and_then(|message| message.expires_at_ms).map(|at| self.moment(at));
        let raw = message.map(|message| message.properties.to_raw()).transpose()?.unwrap_or_default();
        let view = message.map(|message| self.view(message, &raw, end.flatten())).transpose()?;
        let Some(place) = self.place(&queued.client)? else { return Ok(()) };
        if end == Some(None) {
            self.tally.ended += 1;
            return Ok(());
        }
        place.last_sequence = sequence(place.last_sequence, queued.packet_id)?;
        let key = queue_key(place.number, place.last_sequence);
        let time = self.time;
        let manner = Manner { qos, retain: queued.retain, subscription_ids: &queued.subscription_ids };
        match (message, &view) {
            (Some(message), Some(view)) if Arc::strong_count(message) > 1 => {
                let number = self.shared_number(message, view, changes);
                changes.put_with(Space::Queue, &key, |out| stored::put_reference(&key, manner, number, out));
            }
            (_, Some(view)) => {
                changes.put_with(Space::Queue, &key, |out| stored::put_queued(&key, manner, view, time, out));
            }
            (_, None) => changes.put_with(Space::Queue, &key, |out| stored::put_released(&key, out)),
        }
        self.tally.queued += 1;
        Ok(())
    }

    /// The number of a message that several queues have; it is written the first time.
    fn shared_number(&mut self, message: &Arc<Message>, view: &MessageView<'_>, changes: &mut Changes) -> u64 {
        if let Some((_, number)) = self.shared.get(&Arc::as_ptr(message)) {
            return *number;
        }
        let number = self.number();
        let time = self.time;
        changes.put_with(Space::Message, &key_of(number), |out| stored::put_shared_message(number, view, time, out));
        self.shared.insert(Arc::as_ptr(message), (Arc::clone(message), number));
        number
    }

    fn retained(&mut self, retained: &Retained, changes: &mut Changes) -> Result<(), String> {
        let message = &retained.message;
        if message.payload.0.is_empty() {
            return Err(format!("topic '{}': an empty message is not retained, it ends what is", message.topic));
        }
        let end = message.expires_at_ms.map(|at| self.moment(at));
        let raw = message.properties.to_raw()?;
        let view = MessageView { retain: true, ..self.view(message, &raw, end.flatten())? };
        if end == Some(None) {
            self.tally.ended += 1;
            return Ok(());
        }
        let source = retained.source.as_ref().map(|source| message::Source {
            rules: source.rules,
            user: source.user.as_deref().map(Box::from),
            client_id: source.client.as_str().into(),
        });
        for text in retained.source.iter().flat_map(|source| [Some(&source.client), source.user.as_ref()]).flatten() {
            check_string(text, "source")?;
        }
        let time = self.time;
        let write = |out: &mut Vec<u8>| stored::put_retained(&view, source.as_ref(), time, out);
        changes.put_with(Space::Retained, view.topic.as_bytes(), write);
        self.tally.retained += 1;
        Ok(())
    }

    /// A message, once it is known that it can be one.
    fn view<'a>(
        &self,
        message: &'a Message,
        raw: &'a [u8],
        expires_at: Option<Millis>,
    ) -> Result<MessageView<'a>, String> {
        let topic = &message.topic;
        TopicName::new(topic, self.limits).map_err(|error| format!("topic '{topic}': {error}"))?;
        Ok(MessageView {
            topic,
            properties: raw,
            payload: &message.payload.0,
            shared_payload: None,
            qos: qos(message.qos)?,
            retain: message.retain,
            expires_at,
            publisher: None,
        })
    }
}

fn check_string(text: &str, what: &str) -> Result<(), String> {
    let is_one = text.len() <= usize::from(u16::MAX) && !text.contains('\0');
    if is_one { Ok(()) } else { Err(format!("{what}: at most 65535 bytes without NUL are wanted")) }
}

/// The first place behind `last` that has that packet id.
fn sequence(last: u64, packet_id: Option<u16>) -> Result<u64, String> {
    let next = last + 1;
    match packet_id {
        None => Ok(next),
        Some(0) => Err("packet_id 0: 1 to 65535 is wanted".into()),
        Some(id) => Ok(next + (u64::from(id) + PACKET_IDS - next % PACKET_IDS) % PACKET_IDS),
    }
}

/// The packet id of what has that place.
pub(super) fn packet_id(sequence: u64) -> u16 {
    (sequence.saturating_sub(1) % PACKET_IDS) as u16 + 1
}

/// What a store held, as records: each session before what belongs to it, then what is retained. `wall`: the clock at [`Millis`] 0.
pub(crate) fn records(held: &Stored, wall: Wall) -> impl Iterator<Item = Record> {
    let sessions = held.sessions.iter().flat_map(move |state| session_records(state, wall));
    sessions.chain(held.retained.iter().map(move |message| {
        let source = message.source().map(|source| Source {
            client: source.client_id.to_string(),
            user: source.user.as_deref().map(str::to_owned),
            rules: source.rules,
        });
        Record::Retained(Retained { message: Arc::new(message_of(message, wall)), source })
    }))
}

fn session_records(state: &StoredState, wall: Wall) -> impl Iterator<Item = Record> {
    let session = &state.session;
    let will = session.last_will.as_ref().map(|will| Will {
        message: message_of(&will.message, wall),
        expiry_secs: will.expiry_secs,
        delay_secs: will.delay_secs,
        due_at_ms: will.due_at.map(|at| wall.at(at)),
    });
    let client = || state.session.client_id.to_string();
    let record = Record::Session(Session {
        client: client(),
        user: session.user_name.as_deref().map(str::to_owned),
        is_user_proven: session.is_user_proven,
        is_certified: session.is_certified,
        listener: session.listener,
        expiry_secs: session.expiry_secs,
        ends_at_ms: session.ends_at.map(|at| wall.at(at)),
        will,
    });
    let subscriptions = state.subscriptions.iter().map(move |(filter, options, id)| {
        Record::Subscription(Subscription {
            client: client(),
            filter: filter.to_string(),
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: options.retain_handling as u8,
            id: *id,
        })
    });
    let received = state.received.iter().map(move |id| Record::Received(Received { client: client(), packet_id: *id }));
    let queue = state.queue.iter().map(move |(sequence, queued)| {
        let message = match &queued.what {
            stored::What::Message(message) => Some(Arc::new(message_of(message, wall))),
            stored::What::Shared(_) | stored::What::Released => None,
        };
        Record::Queued(Queued {
            client: client(),
            state: if message.is_some() { State::Queued } else { State::Released },
            packet_id: Some(packet_id(*sequence)),
            qos: queued.qos as u8,
            retain: queued.retain,
            subscription_ids: queued.subscription_ids.clone(),
            message,
        })
    });
    std::iter::once(record).chain(subscriptions).chain(received).chain(queue)
}

fn message_of(message: &message::Message, wall: Wall) -> Message {
    let view = message.view();
    Message {
        topic: view.topic.to_owned(),
        qos: view.qos as u8,
        retain: view.retain,
        payload: Blob(view.payload.to_vec()),
        expires_at_ms: view.expires_at.map(|at| wall.at(at)),
        properties: Said::of_raw(view.properties).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Reading;

    const NOW: u64 = 1_000_000;

    /// What a store holds that was given these lines, as lines.
    fn kept(lines: &[&str]) -> (Vec<String>, Tally) {
        let (mut keeping, mut changes) = (Keeping::new(NOW), Changes::default());
        for line in lines {
            keeping.put(&Record::of_line(line).unwrap(), &mut changes).unwrap();
        }
        (lines_of(&changes), keeping.tally())
    }

    fn lines_of(changes: &Changes) -> Vec<String> {
        let mut reading = Reading::new((Millis(0), Wall(NOW)), Box::new(|payload| payload));
        for space in Reading::ORDER {
            let mut records: Vec<_> = changes.iter().filter(|change| change.space == space).collect();
            records.sort_by_key(|change| change.key);
            records.iter().for_each(|change| reading.take(space, change.key, change.value.unwrap()));
        }
        let held = reading.finish();
        assert!(held.damaged.is_empty() && held.cleanup.is_empty(), "{held:?}");
        records(&held, Wall(NOW)).map(|record| record.to_line().unwrap()).collect()
    }

    fn refusal(lines: &[&str]) -> String {
        let (mut keeping, mut changes) = (Keeping::new(NOW), Changes::default());
        let put = |line: &&str| keeping.put(&Record::of_line(line).unwrap(), &mut changes).err();
        lines.iter().find_map(put).unwrap()
    }

    #[test]
    fn what_was_exported_is_imported_as_it_was() {
        let lines = [
            concat!(
                r#"{"kind":"session","client":"a","user":"ann","is_user_proven":true,"listener":1"#,
                r#","expiry_secs":60,"ends_at_ms":1000500,"will":{"message":{"topic":"w","qos":1"#,
                r#","payload":{"text":"gone"}},"delay_secs":5,"due_at_ms":1000400}}"#
            ),
            concat!(
                r#"{"kind":"subscription","client":"a","filter":"$share/g/a/+","qos":1"#,
                r#","retain_as_published":true,"retain_handling":2,"id":9}"#
            ),
            r#"{"kind":"received","client":"a","packet_id":77}"#,
            r#"{"kind":"queued","client":"a","state":"released","packet_id":65535,"qos":2}"#,
            concat!(
                r#"{"kind":"queued","client":"a","state":"queued","packet_id":1,"qos":1,"retain":true"#,
                r#","subscription_ids":[3,4],"message":{"topic":"a/b","qos":2,"payload":{"base64":"/w=="}"#,
                r#","expires_at_ms":1000007,"properties":{"content_type":"x","user":[["k","v"]]}}}"#
            ),
            r#"{"kind":"session","client":"b","expiry_secs":4294967295}"#,
            concat!(
                r#"{"kind":"retained","message":{"topic":"r","qos":0,"retain":true,"payload":{"text":"on"}}"#,
                r#","source":{"client":"a","user":"ann","rules":1}}"#
            ),
        ];
        let (again, tally) = kept(&lines);
        assert_eq!(again, lines);
        assert_eq!(tally, Tally { sessions: 2, subscriptions: 1, queued: 2, retained: 1, ..Tally::default() });
    }

    /// [MQTT-4.4.0-1]: a message is sent again with its original packet id, which follows from its place.
    #[test]
    fn packet_ids_stay_and_places_rise() {
        let mut last = 0;
        for id in [Some(7), None, Some(9), Some(3), Some(65_535), None, Some(65_535)] {
            let next = sequence(last, id).unwrap();
            assert!(next > last && id.is_none_or(|id| packet_id(next) == id), "{id:?}: {last} {next}");
            last = next;
        }
        assert_eq!(
            (sequence(0, Some(1)), sequence(0, None), packet_id(65_535), packet_id(65_536)),
            (Ok(1), Ok(1), 65_535, 1)
        );
    }

    #[test]
    fn what_has_ended_is_left_out_with_all_that_is_its() {
        let (lines, tally) = kept(&[
            r#"{"kind":"session","client":"a","expiry_secs":60,"ends_at_ms":1000000}"#,
            r#"{"kind":"subscription","client":"a","filter":"x","qos":1}"#,
            r#"{"kind":"session","client":"b","expiry_secs":0}"#,
            r#"{"kind":"received","client":"b","packet_id":1}"#,
            r#"{"kind":"session","client":"c","expiry_secs":9}"#,
            concat!(
                r#"{"kind":"queued","client":"c","state":"queued","qos":1,"message":{"topic":"t","qos":1"#,
                r#","payload":{"text":""},"expires_at_ms":999}}"#
            ),
            r#"{"kind":"retained","message":{"topic":"r","qos":0,"payload":{"text":"on"},"expires_at_ms":999}}"#,
        ]);
        assert_eq!(lines, [r#"{"kind":"session","client":"c","expiry_secs":9}"#]);
        assert_eq!(tally, Tally { sessions: 1, ended: 6, ..Tally::default() });
    }

    #[test]
    fn a_message_of_many_is_written_once() {
        let message = Arc::new(Message { topic: "t".into(), payload: Blob(vec![7; 1000]), ..Message::default() });
        let (mut keeping, mut changes) = (Keeping::new(NOW), Changes::default());
        for number in 0..20 {
            let session = Session { client: number.to_string(), expiry_secs: 9, ..Session::default() };
            let queued = Queued {
                client: number.to_string(),
                state: State::Queued,
                packet_id: None,
                qos: 1,
                retain: false,
                subscription_ids: vec![],
                message: Some(Arc::clone(&message)),
            };
            keeping.put(&Record::Session(session), &mut changes).unwrap();
            keeping.put(&Record::Queued(queued), &mut changes).unwrap();
        }
        assert_eq!(changes.iter().filter(|change| change.space == Space::Message).count(), 1);
        assert!(changes.bytes() < 4000, "{}", changes.bytes());
        assert_eq!(lines_of(&changes).iter().filter(|line| line.contains("\"topic\":\"t\"")).count(), 20);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let session = r#"{"kind":"session","client":"a","expiry_secs":60}"#;
        for (lines, words) in [
            (&[r#"{"kind":"received","client":"a","packet_id":1}"#][..], "no session of client 'a'"),
            (&[session, session], "that was there already: 'a'"),
            (&[r#"{"kind":"session","client":"","expiry_secs":60}"#], "without client id"),
            (&[session, r#"{"kind":"received","client":"a","packet_id":0}"#], "packet_id 0"),
            (
                &[session, r#"{"kind":"subscription","client":"a","filter":"a/#/b","qos":1}"#],
                "filter 'a/#/b': misplaced",
            ),
            (&[session, r#"{"kind":"subscription","client":"a","filter":"a","qos":3}"#], "qos 3"),
            (
                &[session, r#"{"kind":"subscription","client":"a","filter":"a","qos":1,"retain_handling":3}"#],
                "retain_handling 3",
            ),
            (&[session, r#"{"kind":"queued","client":"a","state":"sent","qos":1}"#], "only a released one has none"),
            (&[r#"{"kind":"retained","message":{"topic":"a","qos":0,"payload":{"text":""}}}"#], "an empty message"),
            (
                &[r#"{"kind":"retained","message":{"topic":"a/+","qos":0,"payload":{"text":"x"}}}"#],
                "topic 'a/+': wildcard",
            ),
        ] {
            let text = refusal(lines);
            assert!(text.contains(words), "{text}");
        }
    }
}
