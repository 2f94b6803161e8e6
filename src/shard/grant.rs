//! What of a CONNECT is refused, and what is granted: functions of the packet, the rules and the limits.
//!
//! Duty: names, checks, and the figures of CONNACK. Must not: know sessions or connections. Neighbours: `connect` asks.

use super::connect::Fault;
use crate::auth::scram::{self, ClientFirst};
use crate::auth::{Access, Asked, Entrance, Rules, Terms};
use crate::limits::Limits;
use crate::session::{Account, Budget};
use crate::topic::{TopicLimits, TopicName};
use crate::wire::{self, Connack, Connect, Frame, ProtocolVersion, ReasonCode};

/// What a client is granted; whether its session was there is not known yet.
pub(super) fn grant<'a>(connect: &Connect<'a>, has_generated_id: bool, terms: &Terms, limits: &Limits) -> Connack<'a> {
    let topic_alias_max = terms.topic_alias_max.unwrap_or(limits.topic_alias_max);
    let expiry_secs = granted_expiry_secs(connect, limits);
    let keep_alive_secs = granted_keep_alive_secs(connect, limits);
    let is_v5 = connect.version == ProtocolVersion::V5;
    Connack {
        session_expiry_secs: connect.session_expiry_secs.is_some_and(|secs| secs != expiry_secs).then_some(expiry_secs),
        receive_maximum: Some(limits.receive_maximum),
        maximum_packet_size: Some(limits.packet_bytes_max),
        assigned_client_id: has_generated_id.then_some(connect.client_id),
        topic_alias_maximum: (topic_alias_max > 0).then_some(topic_alias_max),
        server_keep_alive: (is_v5 && keep_alive_secs != connect.keep_alive_secs).then_some(keep_alive_secs),
        ..Connack::default()
    }
}

/// In which dialect and within how many bytes to refuse a CONNECT that does not parse; `None` if without a word.
pub(super) fn audience_of(frame: &Frame<'_>) -> Option<(ProtocolVersion, usize)> {
    let version = Connect::dialect(frame)?;
    let bytes_max = if version == ProtocolVersion::V5 { Connect::size_to_refuse_within(frame) } else { None };
    Some((version, bytes_max.map_or(usize::MAX, |bytes| bytes as usize)))
}

/// The client's Maximum Packet Size, bytes.
pub(super) fn packet_bytes_max(connect: &Connect<'_>) -> usize {
    connect.maximum_packet_size.map_or(usize::MAX, |bytes| bytes as usize)
}

pub(super) fn is_within(connack: &Connack<'_>, connect: &Connect<'_>) -> bool {
    let bytes_max = packet_bytes_max(connect);
    if bytes_max == usize::MAX {
        return true;
    }
    let mut out = Vec::new();
    connack.encode(connect.version, &mut out);
    out.len() <= bytes_max
}

/// Session Expiry Interval as asked for and allowed; 3.x knows only "now" and "never" (section 3.1.2.4).
pub(super) fn granted_expiry_secs(connect: &Connect<'_>, limits: &Limits) -> u32 {
    let asked = match connect.version {
        ProtocolVersion::V5 => connect.session_expiry_secs.unwrap_or(0),
        ProtocolVersion::V31 | ProtocolVersion::V311 if connect.clean_start => 0,
        ProtocolVersion::V31 | ProtocolVersion::V311 => u32::MAX,
    };
    asked.min(limits.session_expiry_secs_max)
}

pub(super) fn granted_keep_alive_secs(connect: &Connect<'_>, limits: &Limits) -> u16 {
    let is_bounded = connect.version == ProtocolVersion::V5 && limits.keep_alive_secs_max > 0;
    match connect.keep_alive_secs {
        0 if is_bounded => limits.keep_alive_secs_max,
        secs if is_bounded => secs.min(limits.keep_alive_secs_max),
        secs => secs,
    }
}

/// What a will costs while it waits, bytes.
pub(super) fn will_cost(will: &wire::LastWill<'_>) -> usize {
    256 + will.topic.len() + will.properties.raw.len() + will.payload.len()
}

/// An account that a will is charged to, until it is published or forgotten.
pub(super) fn charged(budget: &Budget, will: &wire::LastWill<'_>) -> Account {
    let mut account = budget.open();
    account.charge(will_cost(will));
    account
}

/// The first message of SCRAM in a CONNECT that has one, where it is offered.
pub(super) fn client_first<'a>(connect: &Connect<'a>, rules: &Rules) -> Result<Option<ClientFirst<'a>>, Fault> {
    if connect.authentication_method != Some(scram::METHOD) || !rules.offers_scram() {
        return Ok(None);
    }
    let data = connect.authentication_data.ok_or((ReasonCode::NotAuthorized, "no SCRAM message in CONNECT"))?;
    ClientFirst::parse(data).map(Some).map_err(|what| (ReasonCode::NotAuthorized, what))
}

/// Gives a CONNECT the names that hold: a certificate's before a token's, and that before its own, that of SCRAM beside no other,
/// and the user name as client id where that is so.
pub(super) fn name<'a>(
    connect: &mut Connect<'a>,
    terms: &Terms,
    certified: Option<&'a str>,
    warranted: Option<&'a str>,
    by_scram: Option<&'a str>,
) -> Result<(), Fault> {
    if terms.uses_user_name_as_client_id && warranted.is_some() && warranted != connect.user_name {
        // The shard was chosen by the name in CONNECT.
        return Err((
            ReasonCode::NotAuthorized,
            "a token of another user than CONNECT names, whose name is the client id",
        ));
    }
    let user_name = certified.or(warranted).or(connect.user_name);
    if by_scram.is_some() && user_name.is_some() && by_scram != user_name {
        return Err((ReasonCode::NotAuthorized, "the user name of SCRAM is not that of CONNECT or certificate"));
    }
    connect.user_name = user_name.or(by_scram);
    if !terms.uses_user_name_as_client_id {
        return Ok(());
    }
    let name = connect.user_name.filter(|name| !name.is_empty());
    let what = "no user name, which becomes the client id here";
    connect.client_id = name.ok_or((ReasonCode::BadUserNameOrPassword, what))?;
    Ok(())
}

/// What the rules and terms of a listener refuse.
pub(super) fn check_rules(connect: &Connect<'_>, entrance: Entrance<'_>, limits: &Limits) -> Result<(), Fault> {
    let Entrance { policy, terms, rules, .. } = entrance;
    if connect.authentication_method.is_some_and(|method| method != scram::METHOD || !rules.offers_scram()) {
        // [MQTT-4.12.0-1]
        return Err((ReasonCode::BadAuthenticationMethod, "an authentication method that is not offered here"));
    }
    let keep_alive_secs_max = limits.keep_alive_secs_max;
    let is_too_long = connect.keep_alive_secs == 0 || connect.keep_alive_secs > keep_alive_secs_max;
    let must_be_short = policy.refuses_long_keep_alive && keep_alive_secs_max > 0;
    if must_be_short && is_too_long && connect.version < ProtocolVersion::V5 {
        // 5.0 is told of a shorter one; 3.x has no word for it but this, as with Mosquitto.
        return Err((ReasonCode::ClientIdentifierNotValid, "a keep alive above max_keepalive, or none"));
    }
    if !terms.versions.is_empty() && !terms.versions.contains(&connect.version) {
        return Err((ReasonCode::UnsupportedProtocolVersion, "a protocol version that this listener does not accept"));
    }
    if connect.client_id.is_empty() && !rules.allow_empty_client_id {
        return Err((ReasonCode::ClientIdentifierNotValid, "an empty client id, where that is not allowed"));
    }
    let prefix = rules.client_id_prefix.as_deref().filter(|_| !connect.client_id.is_empty());
    if prefix.is_some_and(|prefix| !connect.client_id.starts_with(prefix)) {
        return Err((ReasonCode::NotAuthorized, "the client id does not begin as it must here"));
    }
    let Some(will) = &connect.last_will else { return Ok(()) };
    if will.qos > terms.maximum_qos {
        // [MQTT-3.2.2-12]
        return Err((ReasonCode::QoSNotSupported, "a will with a QoS above the Maximum QoS of the listener"));
    }
    if will.retain && !policy.retain_available {
        // [MQTT-3.2.2-13]
        return Err((ReasonCode::RetainNotSupported, "a retained will where retain_available is false"));
    }
    Ok(())
}

/// Whether the client may publish its will (case A13).
pub(super) fn check_will(connect: &Connect<'_>, asked: Asked<'_>, rules: &Rules) -> Result<(), Fault> {
    let Some(will) = &connect.last_will else { return Ok(()) };
    if rules.decide(Access::Publish, asked, will.topic).is_allowed {
        return Ok(());
    }
    Err((ReasonCode::NotAuthorized, "the client may not publish its will"))
}

/// What a CONNECT that parses may still be refused for.
pub(super) fn check(connect: &Connect<'_>, limits: &Limits) -> Result<(), Fault> {
    if connect.client_id.len() > limits.client_id_bytes_max {
        return Err((ReasonCode::ClientIdentifierNotValid, "client id longer than client_id_bytes_max"));
    }
    // [MQTT-3.1.3-8] of 3.1.1: without an id there is no state to come back to; 3.1 wants an id always.
    let may_be_empty = match connect.version {
        ProtocolVersion::V31 => false,
        ProtocolVersion::V311 => connect.clean_start,
        ProtocolVersion::V5 => true,
    };
    if connect.client_id.is_empty() && !may_be_empty {
        return Err((ReasonCode::ClientIdentifierNotValid, "an empty client id"));
    }
    if connect.user_properties as usize > limits.user_properties_max {
        return Err((ReasonCode::QuotaExceeded, "more user properties than user_properties_max"));
    }
    let Some(will) = &connect.last_will else { return Ok(()) };
    let topic = TopicName::new(will.topic, TopicLimits::from(limits));
    let topic = topic.map_err(|_| (ReasonCode::TopicNameInvalid, "the will's topic name is not valid"))?;
    if topic.is_dollar() {
        return Err((ReasonCode::TopicNameInvalid, "the will's topic name begins with $"));
    }
    if let Some(response_topic) = will.properties.response_topic {
        // [MQTT-3.3.2-14], as of any message.
        TopicName::new(response_topic, TopicLimits::from(limits))
            .map_err(|_| (ReasonCode::ProtocolError, "the will's response topic is not a topic name"))?;
    }
    if will.properties.user_properties as usize > limits.user_properties_max {
        return Err((ReasonCode::QuotaExceeded, "more user properties in the will than user_properties_max"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::QoS;
    use crate::wire::publish::PublishProperties;

    fn limits() -> Limits {
        Limits { keep_alive_secs_max: 60, user_properties_max: 3, ..Limits::default() }
    }

    fn connect(version: ProtocolVersion, keep_alive_secs: u16) -> Connect<'static> {
        Connect { keep_alive_secs, ..Connect::new(version, "bob") }
    }

    fn will() -> wire::LastWill<'static> {
        let properties = PublishProperties { raw: &[1, 1], ..PublishProperties::EMPTY };
        wire::LastWill {
            topic: "abc",
            payload: b"12345",
            qos: QoS::AtMostOnce,
            retain: false,
            delay_secs: 0,
            properties,
        }
    }

    /// Section 3.2.2.3.14: only 5.0 can be told another Keep Alive, so that others keep theirs.
    #[test]
    fn keep_alive_is_bounded_where_the_client_can_be_told() {
        let granted = |version, secs| granted_keep_alive_secs(&connect(version, secs), &limits());
        assert_eq!([0, 59, 60, 61].map(|secs| granted(ProtocolVersion::V5, secs)), [60, 59, 60, 60]);
        assert_eq!([0, 59, 61].map(|secs| granted(ProtocolVersion::V311, secs)), [0, 59, 61]);
        let unlimited = Limits { keep_alive_secs_max: 0, ..limits() };
        assert_eq!(granted_keep_alive_secs(&connect(ProtocolVersion::V5, 61), &unlimited), 61);
    }

    #[test]
    fn a_will_costs_what_it_holds() {
        assert_eq!(will_cost(&will()), 256 + 3 + 2 + 5);
    }

    /// Case R06: user properties are bounded in CONNECT and in the will.
    #[test]
    fn user_properties_are_counted_apart_in_connect_and_will() {
        for (own, of_will, is_refused) in [(3, 3, false), (4, 0, true), (5, 0, true), (0, 4, true), (0, 5, true)] {
            let properties = PublishProperties { user_properties: of_will, ..will().properties };
            let last_will = Some(wire::LastWill { properties, ..will() });
            let connect = Connect { user_properties: own, last_will, ..connect(ProtocolVersion::V5, 0) };
            let reason = check(&connect, &limits()).err().map(|(reason, _)| reason);
            assert_eq!(reason, is_refused.then_some(ReasonCode::QuotaExceeded), "{own} and {of_will}");
        }
    }
}
