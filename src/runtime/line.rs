//! Line: a line of the log before it is written.
//!
//! Duty: its kind, its words, and what of it a program wants to have by itself; the JSON of all that. Must not: word anything, write
//! anything. Neighbours: `phrase` words events, `journal` writes.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{LogType, quoted};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// What kind it is of.
    pub(super) kind: LogType,
    /// Its words.
    pub(super) text: String,
    /// What a program wants to have by itself.
    pub(super) facts: Facts,
}

/// What is known of the client that a line is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its client id.
    pub(super) client: Option<String>,
    /// Its user name.
    pub(super) user: Option<String>,
    /// Its address.
    pub(super) address: Option<String>,
    /// The shard that serves it.
    pub(super) shard: Option<u16>,
    /// Why it happened.
    pub(super) reason: Option<String>,
}

impl Line {
    /// The line as a JSON object.
    pub(super) fn json(&self, now: SystemTime) -> String {
        let time = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (secs, millis) = (time.as_secs(), time.subsec_millis());
        let mut json = format!("{{\"time\": {secs}.{millis:03}");
        let Facts { client, user, address, shard, reason } = &self.facts;
        let mut put = |name: &str, value: String| json.push_str(&format!(", \"{name}\": {value}"));
        put("level", quoted(self.kind.word()));
        put("text", quoted(&self.text));
        for (name, value) in [("client", client), ("user", user), ("address", address), ("reason", reason)] {
            if let Some(value) = value {
                put(name, quoted(value));
            }
        }
        if let Some(shard) = shard {
            put("shard", shard.to_string());
        }
        json.push('}');
        json
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Case O01: nothing that a client says can end a value.
    #[test]
    fn a_line_is_an_object_with_the_fields_that_are_known() {
        let facts = Facts { client: Some("a\"b\\c\n".into()), shard: Some(3), ..Facts::default() };
        let line = Line { kind: LogType::Notice, text: "hello".into(), facts };
        let json = line.json(UNIX_EPOCH + Duration::from_millis(12_034));
        let expected = r#"{"time": 12.034, "level": "notice", "text": "hello", "client": "a\"b\\c\u000A", "shard": 3}"#;
        assert_eq!(json, expected);
    }
}
