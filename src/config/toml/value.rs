//! Value: how each kind of value is written in TOML.
//!
//! Duty: one reading and one writing of a value, the inverse of each other; what was wanted instead of a wrong one. Must not:
//! know keys. Neighbours: `key` names the values.

use std::path::PathBuf;

use ::toml::de::DeValue;

use crate::config::address::addresses_of;
use crate::config::store::{check_filter, level_words};
use crate::config::{
    AdminAddress, Identity, ListenAddress, LogDestination, LogForm, LogType, Network, PORT, Timestamp,
};
use crate::store::Level;
use crate::wire::{ProtocolVersion, QoS};

/// A value of a key.
pub(super) trait Value: Sized {
    /// # Errors
    /// What is wanted there.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;

    /// The text that is read as this value; `None` if the key does not stand there at all then.
    fn write(&self) -> Option<String>;
}

/// A whole number between two.
///
/// # Errors
/// What is wanted there.
pub(super) fn number(value: &DeValue<'_>, min: u64, max: u64) -> Result<u64, String> {
    let digits = value.as_integer().and_then(|it| u64::from_str_radix(it.as_str(), it.radix()).ok());
    digits
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("a number from {min} to {max} is wanted"))
}

/// Text with its quotation marks, as TOML has it, and JSON.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            _ if letter.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| "a text in quotation marks is wanted".to_owned())
}

impl Value for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "true or false is wanted".into())
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl Value for $kind {
            fn read(value: &DeValue<'_>) -> Result<Self, String> {
                number(value, 0, <$kind>::MAX as u64).map(|number| number as Self)
            }

            fn write(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

numbers!(u8, u16, u32, usize);

impl Value for String {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value).map(str::to_owned)
    }

    fn write(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Value for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value).map(Self::from)
    }

    fn write(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl<T: Value> Value for Option<T> {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        T::read(value).map(Some)
    }

    fn write(&self) -> Option<String> {
        self.as_ref().and_then(T::write)
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let items = value.as_array().ok_or("a list in square brackets is wanted")?;
        items.iter().map(|item| T::read(item.get_ref())).collect()
    }

    fn write(&self) -> Option<String> {
        let items: Vec<_> = self.iter().filter_map(T::write).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

impl Value for QoS {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let bits = number(value, 0, 2)?;
        u8::try_from(bits).ok().and_then(Self::from_bits).ok_or_else(|| "0, 1 or 2 is wanted".into())
    }

    fn write(&self) -> Option<String> {
        Some((*self as u8).to_string())
    }
}

/// A value that is one of a few words.
macro_rules! words {
    ($kind:ty, $($word:literal = $value:path),*) => {
        impl Value for $kind {
            fn read(value: &DeValue<'_>) -> Result<Self, String> {
                match text(value)? {
                    $($word => Ok($value),)*
                    _ => Err(concat!("one of", $(" ", $word,)* " is wanted").into()),
                }
            }

            fn write(&self) -> Option<String> {
                Some(quoted(match self { $($value => $word,)* }))
            }
        }
    };
}

words!(ProtocolVersion, "3.1" = Self::V31, "3.1.1" = Self::V311, "5.0" = Self::V5);
words!(Identity, "none" = Self::None, "common-name" = Self::CommonName, "subject" = Self::Subject);

words!(LogForm, "plain" = Self::Plain, "mosquitto" = Self::Mosquitto, "json" = Self::Json);

impl Value for Level {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::of_name(text(value)?).ok_or_else(|| format!("one of {} is wanted as level", level_words()))
    }

    fn write(&self) -> Option<String> {
        Some(quoted(self.name()))
    }
}

/// The level of the topics that a filter matches.
impl Value for (Box<str>, Level) {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "{ filter = \"FILTER\", level = \"LEVEL\" } is wanted";
        let table = value.as_table().filter(|table| table.len() == 2).ok_or(wanted)?;
        let filter = text(table.get("filter").ok_or(wanted)?.get_ref())?;
        check_filter(filter)?;
        Ok((filter.into(), Level::read(table.get("level").ok_or(wanted)?.get_ref())?))
    }

    fn write(&self) -> Option<String> {
        Some(format!("{{ filter = {}, level = {} }}", quoted(&self.0), quoted(self.1.name())))
    }
}

impl Value for LogType {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let word = text(value)?;
        Self::ALL
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or_else(|| format!("one of {} is wanted", Self::ALL.map(Self::word).join(" ")))
    }

    fn write(&self) -> Option<String> {
        Some(quoted(self.word()))
    }
}

impl Value for ListenAddress {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let name = text(value)?;
        if let Some(path) = name.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let found = addresses_of(name, PORT)?;
        match found[..] {
            [address] => Ok(Self::Tcp(address)),
            _ => Err(format!("{name} has several addresses: write a listener for each of {found:?}")),
        }
    }

    fn write(&self) -> Option<String> {
        Some(match self {
            Self::Tcp(address) => quoted(&address.to_string()),
            Self::Unix(path) => quoted(&format!("unix:{}", path.display())),
        })
    }
}

impl Value for Network {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value)?.parse()
    }

    fn write(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Value for AdminAddress {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::parse(text(value)?)
    }

    fn write(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Value for LogDestination {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Ok(match text(value)?.split_once(':').unwrap_or((text(value)?, "")) {
            ("stderr", "") => Self::Stderr,
            ("stdout", "") => Self::Stdout,
            ("topic", "") => Self::Topic,
            ("syslog", "") => Self::Syslog("daemon".into()),
            ("syslog", facility) => Self::Syslog(facility.to_owned()),
            ("file", path) if !path.is_empty() => Self::File(path.into()),
            _ => return Err("stderr, stdout, topic, syslog:FACILITY or file:PATH is wanted".into()),
        })
    }

    fn write(&self) -> Option<String> {
        Some(match self {
            Self::Stderr => quoted("stderr"),
            Self::Stdout => quoted("stdout"),
            Self::Topic => quoted("topic"),
            Self::Syslog(facility) => quoted(&format!("syslog:{facility}")),
            Self::File(path) => quoted(&format!("file:{}", path.display())),
        })
    }
}

impl Value for Timestamp {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Ok(match text(value)? {
            "none" => Self::None,
            "epoch" => Self::EpochSeconds,
            format => Self::Format(format.to_owned()),
        })
    }

    fn write(&self) -> Option<String> {
        Some(match self {
            Self::None => quoted("none"),
            Self::EpochSeconds => quoted("epoch"),
            Self::Format(format) => quoted(format),
        })
    }
}
