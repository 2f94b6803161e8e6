//! A packet in the form in which two packets that say the same are equal.

use ringmq::wire::{Packet, Properties, Property, PublishProperties};

/// The packet without its raw property blocks, and the properties that only those hold, sorted by id: a block may come in
/// another order and mean the same, but for user properties among themselves.
pub(crate) fn plain<'a>(packet: &Packet<'a>) -> (Packet<'a>, Vec<Property<'a>>) {
    let mut packet = *packet;
    let mut held = match &mut packet {
        Packet::Connect(connect) => {
            let mut held = take_users(&mut connect.properties);
            if let Some(will) = &mut connect.last_will {
                held.extend(take_forwarded(&mut will.properties));
            }
            held
        }
        Packet::Connack(connack) => take_users(&mut connack.user_properties),
        Packet::Publish(publish) => take_forwarded(&mut publish.properties),
        Packet::Ack(ack) => take_all(&mut ack.properties),
        Packet::Subscribe(subscribe) => take_users(&mut subscribe.properties),
        Packet::Suback(suback) => take_all(&mut suback.properties),
        Packet::Unsubscribe(unsubscribe) => take_all(&mut unsubscribe.properties),
        Packet::Unsuback(unsuback) => take_all(&mut unsuback.properties),
        Packet::Disconnect(disconnect) => take_users(&mut disconnect.properties),
        Packet::Auth(auth) => {
            let mut held: Vec<_> = auth.properties.reason_string().map(Property::ReasonString).into_iter().collect();
            held.extend(take_users(&mut auth.properties));
            held
        }
        Packet::Pingreq | Packet::Pingresp => Vec::new(),
    };
    held.sort_by_key(Property::id);
    (packet, held)
}

fn take_all<'a>(properties: &mut Properties<'a>) -> Vec<Property<'a>> {
    std::mem::take(properties).iter().collect()
}

fn take_users<'a>(properties: &mut Properties<'a>) -> Vec<Property<'a>> {
    let users = std::mem::take(properties);
    users.user_properties().map(|(name, value)| Property::UserProperty(name, value)).collect()
}

fn take_forwarded<'a>(properties: &mut PublishProperties<'a>) -> Vec<Property<'a>> {
    let is_typed = |property: &Property<'_>| {
        use Property::{MessageExpiryInterval, TopicAlias, WillDelayInterval};
        matches!(property, MessageExpiryInterval(_) | TopicAlias(_) | WillDelayInterval(_))
    };
    let held = properties.iter().filter(|property| !is_typed(property)).collect();
    properties.raw = &[];
    properties.forward_raw = true;
    held
}
