//! Record: what a broker keeps, in words that any broker and any program understands.
//!
//! Duty: sessions, subscriptions, messages and retained messages as values, and each of them as a line of JSON. Must not: know files of
//! a broker or the store. Neighbours: `mosquitto` makes records of its file, `keeping` turns them into those of the store and back.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};

use crate::wire::{Properties, Property, QoS, RetainHandling, SubscriptionOptions};

/// One thing that is kept. A session comes before what belongs to it.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Record {
    /// A session.
    Session(Session),
    /// What a session wants.
    Subscription(Subscription),
    /// What a session is to get, in its order.
    Queued(Queued),
    /// The packet id of a QoS 2 message that a client has sent, between PUBLISH and PUBREL.
    Received(Received),
    /// A retained message.
    Retained(Retained),
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    /// Client id.
    pub(crate) client: String,
    /// User name of its last CONNECT, if there was one and it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Whether that name was proved, so that the session is that user's alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) is_user_proven: bool,
    /// Whether a certificate has proved it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) is_certified: bool,
    /// Which listener of its configuration the client came by last, counted from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) listener: u16,
    /// Session Expiry Interval, seconds; 4294967295 for never.
    pub(crate) expiry_secs: u32,
    /// When it ends, milliseconds since 1970; none while its client is connected, or if it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ends_at_ms: Option<u64>,
    /// Its will, while it may be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) will: Option<Will>,
}

/// A will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Will {
    /// The message to publish.
    pub(crate) message: Message,
    /// Lifetime of the message from its publication, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expiry_secs: Option<u32>,
    /// Will Delay Interval, seconds.
    #[serde(default, skip_serializing_if = "is_zero_secs")]
    pub(crate) delay_secs: u32,
    /// When it is published, milliseconds since 1970; none while the client is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due_at_ms: Option<u64>,
}

/// What a session wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscription {
    /// Client id.
    pub(crate) client: String,
    /// Topic filter, or `$share/GROUP/FILTER`.
    pub(crate) filter: String,
    /// Maximum QoS: 0, 1 or 2.
    pub(crate) qos: u8,
    /// No Local.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) no_local: bool,
    /// Retain As Published.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) retain_as_published: bool,
    /// Retain Handling: 0, 1 or 2.
    #[serde(default, skip_serializing_if = "is_zero_byte")]
    pub(crate) retain_handling: u8,
    /// Subscription Identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u32>,
}

/// How far a message is on its way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It was not sent, or nobody knows whether it was.
    Queued,
    /// It was sent, and neither PUBACK nor PUBREC came.
    Sent,
    /// The client has it, by QoS 2, and PUBCOMP did not come.
    Released,
}

/// What a session is to get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queued {
    /// Client id.
    pub(crate) client: String,
    /// How far it is.
    pub(crate) state: State,
    /// The packet id that it was sent with, or will be; none: the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) packet_id: Option<u16>,
    /// QoS that it is sent with.
    pub(crate) qos: u8,
    /// RETAIN flag that it is sent with.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) retain: bool,
    /// Subscription Identifiers that it is sent with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) subscription_ids: Vec<u32>,
    /// The message; none if it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<Arc<Message>>,
}

/// A packet id of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Received {
    /// Client id.
    pub(crate) client: String,
    /// The packet id.
    pub(crate) packet_id: u16,
}

/// A retained message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retained {
    /// The message.
    pub(crate) message: Arc<Message>,
    /// Who published it, to ask again for the right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
}

/// Who published a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// Client id.
    pub(crate) client: String,
    /// User name, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Which of the rules of its configuration held for it, counted from 0.
    #[serde(default, skip_serializing_if = "is_zero_rules")]
    pub(crate) rules: usize,
}

/// An application message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    /// Topic name.
    pub(crate) topic: String,
    /// QoS that its publisher chose.
    pub(crate) qos: u8,
    /// RETAIN flag of its publisher.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) retain: bool,
    /// Payload.
    pub(crate) payload: Blob,
    /// When it ends, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at_ms: Option<u64>,
    /// What a 5.0 publisher said of it.
    #[serde(default, skip_serializing_if = "Said::is_empty")]
    pub(crate) properties: Said,
}

/// Properties that are forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// Payload Format Indicator: 0 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload_format: Option<u8>,
    /// Content Type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    /// Response Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_topic: Option<String>,
    /// Correlation Data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) correlation_data: Option<Blob>,
    /// User Properties, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) user: Vec<(String, String)>,
}

/// Bytes; a text is written as one, so that people can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub(crate) struct Blob(pub(crate) Vec<u8>);

/// How bytes are written: `{"text": "..."}` or `{"base64": "..."}`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Text(String),
    Base64(String),
}

impl From<Blob> for Form {
    fn from(Blob(bytes): Blob) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Base64(BASE64_STANDARD.encode(error.as_bytes())), Self::Text)
    }
}

impl TryFrom<Form> for Blob {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        match form {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Base64(text) => {
                BASE64_STANDARD.decode(text).map(Self).map_err(|error| format!("this is no base64: {error}"))
            }
        }
    }
}

impl Record {
    /// A line of JSON, without its end.
    ///
    /// # Errors
    /// None that a record could cause.
    pub(crate) fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The record of a line.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub(crate) fn of_line(line: &str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|error| error.to_string())
    }
}

impl Subscription {
    /// The options, as a SUBSCRIBE has them.
    ///
    /// # Errors
    /// A number that cannot be.
    pub(crate) fn options(&self) -> Result<SubscriptionOptions, String> {
        let retain_handling = match self.retain_handling {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            other => return Err(format!("retain_handling {other}: 0, 1 or 2 is wanted")),
        };
        Ok(SubscriptionOptions {
            qos: qos(self.qos)?,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling,
        })
    }
}

/// A QoS by its number.
///
/// # Errors
/// There is none.
pub(crate) fn qos(number: u8) -> Result<QoS, String> {
    QoS::from_bits(number).ok_or_else(|| format!("qos {number}: 0, 1 or 2 is wanted"))
}

impl Said {
    /// Those of an encoded block without its length; what is not forwarded is left out. `None`: not all of it is properties.
    pub(crate) fn of_raw(raw: &[u8]) -> Option<Self> {
        let (mut said, mut read) = (Self::default(), Vec::new());
        for property in (Properties { raw }).iter() {
            property.encode(&mut read);
            match property {
                Property::PayloadFormatIndicator(form) => said.payload_format = Some(form),
                Property::ContentType(text) => said.content_type = Some(text.to_owned()),
                Property::ResponseTopic(topic) => said.response_topic = Some(topic.to_owned()),
                Property::CorrelationData(data) => said.correlation_data = Some(Blob(data.to_vec())),
                Property::UserProperty(name, value) => said.user.push((name.to_owned(), value.to_owned())),
                _ => {}
            }
        }
        (read.len() == raw.len()).then_some(said)
    }

    /// The encoded block, without its length.
    ///
    /// # Errors
    /// A string that is longer than a packet has it, a format that cannot be.
    pub(crate) fn to_raw(&self) -> Result<Vec<u8>, String> {
        let mut raw = Vec::new();
        let texts = [&self.content_type, &self.response_topic].into_iter().flatten();
        let pairs = self.user.iter().flat_map(|(name, value)| [name, value]);
        let lengths = texts.chain(pairs).map(String::len);
        let mut lengths = lengths.chain(self.correlation_data.iter().map(|data| data.0.len()));
        if lengths.any(|len| len > usize::from(u16::MAX)) {
            return Err("a property has more than 65535 bytes".into());
        }
        match self.payload_format {
            Some(form @ 0..=1) => Property::PayloadFormatIndicator(form).encode(&mut raw),
            Some(form) => return Err(format!("payload_format {form}: 0 or 1 is wanted")),
            None => {}
        }
        if let Some(text) = &self.content_type {
            Property::ContentType(text).encode(&mut raw);
        }
        if let Some(topic) = &self.response_topic {
            Property::ResponseTopic(topic).encode(&mut raw);
        }
        if let Some(Blob(data)) = &self.correlation_data {
            Property::CorrelationData(data).encode(&mut raw);
        }
        for (name, value) in &self.user {
            Property::UserProperty(name, value).encode(&mut raw);
        }
        Ok(raw)
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// What serde asks for with a reference.
fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u16) -> bool {
    *value == 0
}

fn is_zero_byte(value: &u8) -> bool {
    *value == 0
}

fn is_zero_secs(value: &u32) -> bool {
    *value == 0
}

fn is_zero_rules(value: &usize) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Arc<Message> {
        let properties = Said {
            payload_format: Some(0),
            content_type: Some("text/plain".into()),
            response_topic: Some("r".into()),
            correlation_data: Some(Blob(vec![0, 0xFF])),
            user: vec![("k".into(), "v".into()), ("k".into(), "".into())],
        };
        let payload = Blob(vec![0xFF, 0, b'"', b'\n']);
        Arc::new(Message { topic: "a/b".into(), qos: 2, retain: true, payload, expires_at_ms: Some(5), properties })
    }

    fn records() -> Vec<Record> {
        let client = || "c \"1\"".to_owned();
        let will = Will { message: (*message()).clone(), expiry_secs: Some(3), delay_secs: 4, due_at_ms: Some(9) };
        let session = Session {
            client: client(),
            user: Some("ü".into()),
            is_user_proven: true,
            is_certified: true,
            listener: 2,
            expiry_secs: u32::MAX,
            ends_at_ms: Some(7),
            will: Some(will),
        };
        let subscription = Subscription {
            client: client(),
            filter: "$share/g/a/+".into(),
            qos: 1,
            no_local: false,
            retain_as_published: true,
            retain_handling: 2,
            id: Some(7),
        };
        let queued = Queued {
            client: client(),
            state: State::Sent,
            packet_id: Some(9),
            qos: 1,
            retain: true,
            subscription_ids: vec![7, 8],
            message: Some(message()),
        };
        let released = Queued { state: State::Released, message: None, subscription_ids: vec![], ..queued.clone() };
        let source = Some(Source { client: client(), user: None, rules: 1 });
        vec![
            Record::Session(session),
            Record::Session(Session { client: client(), expiry_secs: 5, ..Session::default() }),
            Record::Subscription(subscription),
            Record::Queued(queued),
            Record::Queued(released),
            Record::Received(Received { client: client(), packet_id: 3 }),
            Record::Retained(Retained { message: message(), source }),
        ]
    }

    #[test]
    fn records_are_read_as_they_are_written_one_on_a_line() {
        for record in records() {
            let line = record.to_line().unwrap();
            assert!(!line.contains('\n') && line.starts_with("{\"kind\":\""), "{line}");
            assert_eq!(Record::of_line(&line).unwrap(), record, "{line}");
        }
    }

    /// Programs are written for these words.
    #[test]
    fn what_is_not_said_is_left_out_and_text_stays_readable() {
        let message = Message { topic: "t".into(), payload: Blob(b"21.5".to_vec()), ..Message::default() };
        let record = Record::Retained(Retained { message: Arc::new(message), source: None });
        let line = r#"{"kind":"retained","message":{"topic":"t","qos":0,"payload":{"text":"21.5"}}}"#;
        assert_eq!(record.to_line().unwrap(), line);
        let bytes = Form::from(Blob(vec![0xFF]));
        assert_eq!(serde_json::to_string(&bytes).unwrap(), r#"{"base64":"/w=="}"#);
        let session = Session { client: "c".into(), expiry_secs: 60, ..Session::default() };
        let line = r#"{"kind":"session","client":"c","expiry_secs":60}"#;
        assert_eq!(Record::Session(session).to_line().unwrap(), line);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (line, words) in [
            ("", "EOF"),
            ("{\"kind\":\"thing\"}", "unknown variant `thing`, expected one of `session`, `subscription`"),
            ("{\"kind\":\"received\",\"client\":\"c\"}", "missing field `packet_id`"),
            ("{\"kind\":\"received\",\"client\":\"c\",\"packet_id\":1,\"id\":2}", "unknown field `id`"),
            ("{\"kind\":\"received\",\"client\":\"c\",\"packet_id\":70000}", "70000"),
            (
                "{\"kind\":\"retained\",\"message\":{\"topic\":\"t\",\"qos\":0,\"payload\":{\"base64\":\"?\"}}}",
                "no base64",
            ),
        ] {
            let text = Record::of_line(line).unwrap_err();
            assert!(text.contains(words), "{line}: {text}");
        }
        assert!(qos(3).unwrap_err().contains("0, 1 or 2"));
    }

    #[test]
    fn properties_are_those_of_the_packet() {
        let said = message().properties.clone();
        let raw = said.to_raw().unwrap();
        assert_eq!(Said::of_raw(&raw), Some(said));
        assert_eq!(Said::of_raw(&raw[..raw.len() - 1]), None, "cut off");
        assert_eq!(Said::of_raw(&[0x02, 0, 0, 0, 9]), Some(Said::default()), "what is not forwarded is left out");
        let long = Said { content_type: Some("x".repeat(65_536)), ..Said::default() };
        assert!(long.to_raw().is_err() && Said { payload_format: Some(2), ..Said::default() }.to_raw().is_err());
    }
}
