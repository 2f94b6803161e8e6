//! Sampled: messages that their publishers trace (W3C Trace Context in the user properties `traceparent` and `tracestate`).
//!
//! Duty: know such a message, and show what became of it to the tap that wants them. Must not: cost anything where nobody wants them but
//! a look at a flag, or change what happens: user properties are passed on unaltered [MQTT-3.3.2-17]. Neighbours: `publish` asks, `tap`
//! hands out, `admin` exports.

use super::counters::Counters;
use super::receive::Source;
use super::tap::{Shown, Tapped};
use super::{Outbox, Shard};
use crate::wire::{Properties, Publish};

/// Where a message stands in the trace of its publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not 0.
    pub trace_id: u128,
    /// The publisher's part of it; not 0.
    pub parent_id: u64,
    /// What its vendors want to know again, as it came; may be empty.
    pub state: Box<str>,
}

impl TraceContext {
    /// The context of a message whose publisher has sampled it: a valid `traceparent` with that flag.
    pub fn of(publish: &Publish<'_>) -> Option<Self> {
        let properties = Properties { raw: publish.properties.raw };
        let value_of = |wanted| properties.user_properties().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let (trace_id, parent_id) = read_parent(value_of("traceparent")?)?;
        Some(Self { trace_id, parent_id, state: value_of("tracestate").unwrap_or_default().into() })
    }
}

/// Trace and parent of `version-trace-parent-flags` (W3C Trace Context, section 3.2), if the flags say that it is sampled. A later version
/// may say more behind them.
fn read_parent(text: &str) -> Option<(u128, u64)> {
    let mut parts = text.split('-');
    let mut number = |digits: usize| {
        let part = parts.next()?;
        let is_hex = part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u128::from_str_radix(part, 16).ok().filter(|_| is_hex)
    };
    let (version, trace_id, parent_id, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
    let is_known = version != 0xff && (version > 0 || parts.next().is_none());
    let is_sampled = flags & 1 == 1 && trace_id != 0 && parent_id != 0;
    (is_known && is_sampled).then_some((trace_id, parent_id as u64))
}

/// A message on its way through the shard whose publisher traces it, and what was counted before.
#[derive(Debug)]
pub(super) struct Sample {
    context: TraceContext,
    before: Counters,
}

impl Shard {
    /// What is to be shown of a PUBLISH afterwards, if it is sampled and somebody wants to know.
    #[inline]
    pub(super) fn sample(&self, publish: &Publish<'_>) -> Option<Sample> {
        if self.taps.sampled.is_none() || publish.properties.user_properties == 0 {
            return None;
        }
        TraceContext::of(publish).map(|context| Sample { context, before: self.counters })
    }

    /// Shows what became of a sampled PUBLISH: what was counted meanwhile as refused or dropped, or why its connection was closed.
    pub(super) fn show_sampled(
        &mut self,
        source: Source<'_>,
        publish: &Publish<'_>,
        Sample { context, before }: Sample,
        closed_because: Option<&'static str>,
        outbox: &mut Outbox,
    ) {
        let Some(tap) = self.taps.sampled.filter(|_| self.taps.admits(publish.topic.len() + context.state.len()))
        else {
            return;
        };
        let rose = before.troubles().zip(self.counters.troubles()).filter(|(before, after)| before.times < after.times);
        let troubles = closed_because.into_iter().chain(rose.map(|(_, trouble)| trouble.name)).collect();
        let topic = match publish.topic {
            "" => self.resolve_alias(source, publish).ok().flatten().as_deref().unwrap_or_default().into(),
            topic => topic.into(),
        };
        let client_id =
            self.sessions.get(source.session.slot).map(|session| session.client_id.clone()).unwrap_or_default();
        let (qos, payload_bytes) = (publish.qos, publish.payload.len());
        let what = Shown::Sampled { context, topic, qos, payload_bytes, troubles };
        outbox.tapped.push(Tapped { tap, client_id, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn the_context_of_a_sampled_message_is_read() {
        let read = |version: &str, flags: &str| read_parent(&format!("{version}-{TRACE}-b7ad6b7169203331-{flags}"));
        let wanted = Some((0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331));
        assert_eq!((read("00", "01"), read("00", "03"), read("cc", "01-what-comes")), (wanted, wanted, wanted));
    }

    #[test]
    fn what_is_not_sampled_or_not_valid_is_no_context() {
        let parent = "b7ad6b7169203331";
        let bad = [
            format!("00-{TRACE}-{parent}-00"),
            format!("00-{TRACE}-{parent}"),
            format!("00-{TRACE}-{parent}-01-more"),
            format!("ff-{TRACE}-{parent}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-00000000000000000000000000000000-{parent}-01"),
            format!("00-{}-{parent}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}0-{parent}-01"),
            format!("00-+{}-{parent}-01", &TRACE[1..]),
            String::new(),
        ];
        for text in bad {
            assert_eq!(read_parent(&text), None, "{text}");
        }
    }
}
