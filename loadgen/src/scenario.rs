//! A scenario as its file states it. The shipped ones are embedded; a path to another file works as well.
//! Must not check across fields; `plan` does. Neighbours: `cli` names one, `plan` resolves it.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The shipped files, in the order of `list`.
const SHIPPED: [(&str, &str); 18] = [
    ("stream", include_str!("../scenarios/stream.toml")),
    ("fanin", include_str!("../scenarios/fanin.toml")),
    ("fanin-deep", include_str!("../scenarios/fanin-deep.toml")),
    ("fanout", include_str!("../scenarios/fanout.toml")),
    ("fanout-deep", include_str!("../scenarios/fanout-deep.toml")),
    ("fanout-paced", include_str!("../scenarios/fanout-paced.toml")),
    ("pairs", include_str!("../scenarios/pairs.toml")),
    ("pairs-deep", include_str!("../scenarios/pairs-deep.toml")),
    ("latency", include_str!("../scenarios/latency.toml")),
    ("big", include_str!("../scenarios/big.toml")),
    ("wild", include_str!("../scenarios/wild.toml")),
    ("shared", include_str!("../scenarios/shared.toml")),
    ("shared-deep", include_str!("../scenarios/shared-deep.toml")),
    ("slow", include_str!("../scenarios/slow.toml")),
    ("fleet", include_str!("../scenarios/fleet.toml")),
    ("connect", include_str!("../scenarios/connect.toml")),
    ("retain", include_str!("../scenarios/retain.toml")),
    ("offline", include_str!("../scenarios/offline.toml")),
];

/// What `window` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowPer {
    /// Messages outstanding of each publisher.
    Publisher,
    /// Messages outstanding of all publishers together.
    Total,
}

/// A run whose phases follow each other, each as long as it takes; all other runs have one window of a set length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Staged {
    /// Retained messages are stored, replayed to one subscriber, and removed.
    Retain,
    /// Messages are stored in the session of a subscriber who is away, and drained when it is back.
    Offline,
}

/// One scenario file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name, as given on the command line.
    pub name: String,
    /// One line for `list`.
    pub about: String,
    /// Clients that publish, each on topics of its own.
    #[serde(default)]
    pub publishers: u32,
    /// Clients that subscribe, each with one filter.
    #[serde(default)]
    pub subscribers: u32,
    /// Clients that only hold a connection.
    #[serde(default)]
    pub connections: u32,
    /// Makes it a staged run, for which `rate`, `warmup` and `duration` have no meaning.
    #[serde(default)]
    pub stage: Option<Staged>,
    /// Messages that a staged run stores.
    #[serde(default)]
    pub messages: u64,
    /// Topics of all publishers together: number t belongs to publisher t % `publishers`, who goes round its own.
    /// 0 is as many as there are devices, or as publishers when there are no devices.
    #[serde(default)]
    pub topics: u32,
    /// Topic names: a [pattern](crate::pattern) of `{run}`, `{publisher}` and `{topic}`.
    /// With `stage = "retain"` the root of the topics.
    #[serde(default)]
    pub topic: String,
    /// Filter of a subscriber: a pattern of `{run}` and `{subscriber}`.
    #[serde(default)]
    pub filter: String,
    /// Several such filters instead: subscriber number s takes pattern s % their number.
    #[serde(default)]
    pub filters: Vec<String>,
    /// Subscribers, the last ones, that stop reading after SUBACK and read on when the publishing is over.
    /// What they miss, and a connection the broker closes, is reported and no fault.
    #[serde(default)]
    pub stalled: u32,
    /// Clients that both publish, each on one topic, and subscribe, each with one filter.
    #[serde(default)]
    pub devices: u32,
    /// Topic a device publishes on: a pattern of `{run}` and `{device}`.
    #[serde(default)]
    pub device_topic: String,
    /// Filter of a device: a pattern of `{run}` and `{device}`.
    #[serde(default)]
    pub device_filter: String,
    /// Messages published per second by all devices together.
    #[serde(default)]
    pub device_rate: u64,
    /// Devices, in turn, that disconnect and come back to their sessions, per second; needs QoS 1 or 2.
    #[serde(default)]
    pub reconnects_per_sec: u64,
    /// QoS of publishing and subscribing, 0 to 2.
    #[serde(default)]
    pub qos: u8,
    /// Payload, bytes; at least 24.
    #[serde(default = "payload_bytes")]
    pub payload_bytes: usize,
    /// Messages sent and not yet delivered to every subscriber; used when `rate` is 0.
    #[serde(default = "window")]
    pub window: u32,
    /// Whether each publisher has a window or all share one.
    #[serde(default = "window_per")]
    pub window_per: WindowPer,
    /// Messages published per second by all publishers together; 0 sends as fast as the window allows.
    #[serde(default)]
    pub rate: u64,
    /// Time before the measured window.
    #[serde(default = "warmup", deserialize_with = "duration_field", serialize_with = "duration_text")]
    pub warmup: Duration,
    /// The measured window.
    #[serde(default = "duration", deserialize_with = "duration_field", serialize_with = "duration_text")]
    pub duration: Duration,
}

fn payload_bytes() -> usize {
    64
}

fn window() -> u32 {
    1
}

fn window_per() -> WindowPer {
    WindowPer::Publisher
}

fn warmup() -> Duration {
    Duration::from_secs(1)
}

fn duration() -> Duration {
    Duration::from_secs(3)
}

fn duration_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn duration_text<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{}s", duration.as_secs_f64()))
}

/// Reads `500ms`, `3s` or `2m`.
///
/// Errors: any other form, as one sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(format!("'{text}' is no duration such as 500ms, 3s or 2m")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{text}' is no duration such as 500ms, 3s or 2m"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| format!("'{text}' is too long a duration"))
}

impl Scenario {
    /// The shipped scenario of this name, or the file at this path if it ends in `.toml`.
    ///
    /// Errors: no such scenario or file, or a file that is no scenario, in one line.
    pub fn find(name: &str) -> Result<Self, String> {
        if name.ends_with(".toml") {
            let text = std::fs::read_to_string(name).map_err(|error| format!("cannot read {name}: {error}"))?;
            return Self::parse(&text).map_err(|error| format!("{name}: {error}"));
        }
        match SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            Some((_, text)) => Self::parse(text),
            None => {
                let names: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
                Err(format!("no scenario '{name}'; there are {}, or name a .toml file", names.join(", ")))
            }
        }
    }

    /// All shipped scenarios.
    pub fn shipped() -> impl Iterator<Item = Self> {
        // A test parses every embedded file, so none can fail here.
        SHIPPED.iter().map(|(_, text)| Self::parse(text).expect("shipped scenarios are parsed by a test"))
    }

    /// Reads the text of a scenario file.
    ///
    /// Errors: the first thing that is wrong, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_file_is_a_scenario_of_its_name() {
        for (name, text) in SHIPPED {
            assert_eq!(Scenario::parse(text).map(|scenario| scenario.name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let error = Scenario::parse("name = 'a'\nabout = 'b'\nwindows = 3").expect_err("no such field");
        assert!(error.contains("windows"), "{error}");
    }

    #[test]
    fn an_unknown_scenario_is_answered_with_the_known_ones() {
        let error = Scenario::find("nope").expect_err("no such scenario");
        assert!(error.contains("'nope'") && error.contains("fanout"), "{error}");
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["3", "s", "", "3 s", "-1s", "1e3s", "99999999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
