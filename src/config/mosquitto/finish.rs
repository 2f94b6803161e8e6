//! Finish: from what a file has said to a `Config`.
//!
//! Duty: defaults that depend on other options, one listener per address, one `Security` for those who share it. Must not: read
//! lines. Neighbours: `draft` gathered it.

use super::draft::{Draft, Family, Persistence, Rights, Station, TlsDraft};
use crate::config::access::Words;
use crate::config::address::addresses_of;
use crate::config::{
    Access, Config, Identity, ListenAddress, Listener, LogDestination, LogForm, LogType, Mistake, MosquittoFile,
    Network, PORT, Place, ProxiedTls, Security, Store, Timestamp, Tls, Transport,
};

/// Options of who may reach a listener.
const ACCESS: Words = Words {
    proxy: "enable_proxy_protocol",
    proxies: "proxy_trusted",
    allow: "allow_address",
    deny: "deny_address",
    proxied_tls: "'proxy_protocol_v2_require_tls'",
};

/// Completes `draft`. Where the file has no listener the broker is for this machine only and listens on `ports`, unless
/// `has_binds`: then whoever asks for more names the addresses.
pub(super) fn finish(mut draft: Draft, ports: &[u16], has_binds: bool, mistakes: &mut Vec<Mistake>) -> Config {
    set_queue(&mut draft);
    set_logging(&mut draft);
    draft.config.store = store_of(&draft.persistence);
    let mut stations = std::mem::take(&mut draft.stations);
    let default = stations.remove(0);
    let is_local = stations.is_empty() && !default.is_touched && default.port.is_none() && default.host.is_none();
    let mut config = std::mem::replace(&mut draft.config, Config::of_cpus(Vec::new()));
    config.listeners.clear();
    config.securities.clear();
    if is_local || has_binds {
        let security = security_of(&draft, &default, is_local && !has_binds);
        config.securities.push(security);
        let generated_id_prefix = rights_of(&draft, &default).id_prefix.clone();
        let local = ports.iter().flat_map(|port| Listener::loopbacks(*port));
        config.listeners =
            local.map(|plain| Listener { generated_id_prefix: generated_id_prefix.clone(), ..plain }).collect();
        return config;
    }
    if default.is_touched || default.port.is_some() || default.host.is_some() {
        stations.push(default);
    }
    for station in &stations {
        let security = security_of(&draft, station, false);
        let index = config.securities.iter().position(|known| *known == security);
        let index = index.unwrap_or_else(|| {
            config.securities.push(security);
            config.securities.len() - 1
        });
        let mut say = |text: String| mistakes.push(mistake(station, text));
        let Some(tls) = tls_of(&station.tls, &mut config.warnings, station, &mut say) else { continue };
        match addresses(station) {
            Ok(addresses) => {
                let plain = Listener { tls, security: index, ..plain_of(&draft, station) };
                let listeners = listeners_of(plain, addresses, station, &mut config.warnings);
                listeners.first().and_then(|listener| ACCESS.mistake_of(listener)).into_iter().for_each(&mut say);
                config.listeners.extend(listeners);
            }
            Err(text) => say(text),
        }
    }
    config
}

fn mistake(station: &Station, text: String) -> Mistake {
    let text = format!("Error: {text}");
    match &station.place {
        Some(place) => Mistake::at(place, text),
        None => Mistake { place: None, text, exit_code: 3 },
    }
}

/// A file that speaks of queues gets Mosquitto's bounds of queues, above which publishers do not wait; another one ours.
fn set_queue(draft: &mut Draft) {
    if draft.queued_messages.is_none() && draft.queued_bytes.is_none() {
        return;
    }
    let bound = |value: i64| usize::try_from(value).ok().filter(|value| *value > 0).unwrap_or(usize::MAX);
    draft.config.limits.queued_messages_max = bound(draft.queued_messages.unwrap_or(1000));
    draft.config.limits.backpressure_ms_max = 0;
    draft.config.limits.queued_bytes_max = bound(draft.queued_bytes.unwrap_or(0));
}

fn set_logging(draft: &mut Draft) {
    let is_notice = draft.logs_any(&["notice"]).unwrap_or(true);
    let subscriptions = draft.logs_any(&["subscribe", "unsubscribe"]).unwrap_or(false);
    let types =
        LogType::ALL.into_iter().filter(|kind| draft.logs_any(&[kind.word()]).unwrap_or(*kind <= LogType::Information));
    let types = types.collect();
    let destinations = draft.log_destinations();
    let facility = draft.log_facility.map(|number| format!("local{number}"));
    let logging = &mut draft.config.logging;
    logging.tells_connections &= is_notice;
    logging.tells_subscriptions = subscriptions;
    logging.types = types;
    logging.form = LogForm::Mosquitto;
    logging.destinations = destinations.unwrap_or_else(|| vec![LogDestination::Stderr]);
    for destination in &mut logging.destinations {
        if let (LogDestination::Syslog(name), Some(facility)) = (destination, &facility) {
            name.clone_from(facility);
        }
    }
    logging.timestamp = match (draft.has_timestamp, draft.timestamp_format.take()) {
        (false, _) => Timestamp::None,
        (true, None) => Timestamp::EpochSeconds,
        (true, Some(format)) => Timestamp::Format(format),
    };
}

fn rights_of<'a>(draft: &'a Draft, station: &'a Station) -> &'a Rights {
    if draft.is_per_listener { &station.rights } else { &draft.rights }
}

fn id_prefix(draft: &Draft, station: &Station) -> Option<String> {
    station.listener.generated_id_prefix.clone().or_else(|| rights_of(draft, station).id_prefix.clone())
}

fn security_of(draft: &Draft, station: &Station, is_local: bool) -> Security {
    let rights = rights_of(draft, station);
    Security {
        allow_anonymous: station.anonymous.or(rights.anonymous).unwrap_or(is_local),
        client_id_prefix: draft.client_id_prefix.clone(),
        checks_retain_source: draft.checks_retain_source,
        ..rights.rest.clone()
    }
}

/// The store, and Mosquitto's file beside it.
fn store_of(persistence: &Persistence) -> Option<Store> {
    let Persistence { is_on, folder, file, has_file, every, counts_changes } = persistence;
    let (every_secs, every_changes) = if *counts_changes { (0, *every) } else { (*every, 0) };
    let mosquitto = MosquittoFile { path: folder.join(file), every_secs, every_changes };
    is_on.then(|| Store { mosquitto: has_file.then_some(mosquitto), ..Store::beside(folder, file) })
}

/// A listener without address and TLS.
fn plain_of(draft: &Draft, station: &Station) -> Listener {
    let tls = &station.tls;
    let ends_at_proxy = is_tls_of_proxy(station);
    Listener {
        transport: transport_of(station),
        generated_id_prefix: id_prefix(draft, station),
        proxied_tls: ProxiedTls {
            requires_certificate: ends_at_proxy && tls.requires_certificate,
            names_user: ends_at_proxy && tls.common_name,
            ..station.listener.proxied_tls
        },
        ..station.listener.clone()
    }
}

/// Whether what is asked of certificates is asked of the proxy, where TLS ends.
fn is_tls_of_proxy(station: &Station) -> bool {
    let tls = &station.tls;
    station.listener.proxy_protocol == Some(2) && tls.certificate.is_none() && tls.key.is_none()
}

/// The same listener at each address.
fn listeners_of(
    plain: Listener,
    addresses: Vec<(ListenAddress, bool)>,
    station: &Station,
    warnings: &mut Vec<String>,
) -> Vec<Listener> {
    let is_unix = matches!(addresses[..], [(ListenAddress::Unix(_), _), ..]);
    let plain = Listener { access: access_of(&plain, is_unix, station, warnings), ..plain };
    let at = |(address, is_optional)| Listener { address, is_optional, ..plain.clone() };
    addresses.into_iter().map(at).collect()
}

/// Mosquitto believes whoever sends a PROXY header; so do we, unless the file names the proxies.
fn access_of(listener: &Listener, is_unix: bool, station: &Station, warnings: &mut Vec<String>) -> Access {
    let mut access = listener.access.clone();
    if listener.proxy_protocol.is_some() && access.proxies.is_empty() && !is_unix {
        access.proxies = Network::all();
        let place = station.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        let asked = listener.proxied_tls;
        let what = if asked.requires_certificate || asked.names_user { ", also as to certificates" } else { "" };
        warnings.push(format!(
            "{place}Warning: 'enable_proxy_protocol' believes everybody who can connect{what}: name the proxies, such as \
             'proxy_trusted 10.0.0.0/8'"
        ));
    }
    access
}

fn transport_of(station: &Station) -> Transport {
    if station.is_websocket { Transport::WebSocket { origins: station.origins.clone() } } else { Transport::Mqtt }
}

/// `None` if something is wrong.
fn tls_of(
    draft: &TlsDraft,
    warnings: &mut Vec<String>,
    station: &Station,
    say: &mut dyn FnMut(String),
) -> Option<Option<Tls>> {
    let (certificate, key) = match (&draft.certificate, &draft.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (None, None) if is_tls_of_proxy(station) && draft.subject => {
            say("The 'use_subject_as_username' option cannot be had where TLS ends at a proxy, which tells the common name only; \
                 write use_identity_as_username"
                .into());
            return None;
        }
        (None, None) if draft.requires_certificate && !is_tls_of_proxy(station) => {
            say("The 'require_certificate' option requires certfile and keyfile; nothing is encrypted without them"
                .into());
            return None;
        }
        (None, None) => {
            let has_authority = draft.authority_file.is_some() || draft.authority_folder.is_some();
            if has_authority || draft.revoked.is_some() || draft.is_tls13_only {
                let place = station.place.as_ref().map(Place::to_string).unwrap_or_default();
                warnings.push(format!(
                    "{place}: Warning: the listener has no certfile and keyfile: what it sends and takes is not encrypted"
                ));
            }
            return Some(None);
        }
        _ => {
            say("Both certfile and keyfile must be given for a listener with TLS".into());
            return None;
        }
    };
    if draft.authority_file.is_some() && draft.authority_folder.is_some() {
        say("Only one of cafile and capath can be given for a listener; put all certificates into one of them".into());
        return None;
    }
    Some(Some(Tls {
        certificate,
        key,
        client_authority: draft.authority_file.clone().or_else(|| draft.authority_folder.clone()),
        revoked: draft.revoked.clone(),
        requires_certificate: draft.requires_certificate,
        identity: match (draft.common_name, draft.subject) {
            (_, true) => Identity::Subject,
            (true, false) => Identity::CommonName,
            (false, false) => Identity::None,
        },
        is_tls13_only: draft.is_tls13_only,
    }))
}

/// The addresses of a listener, and whether the machine may lack them.
fn addresses(station: &Station) -> Result<Vec<(ListenAddress, bool)>, String> {
    let port = station.port.unwrap_or(PORT);
    let Some(host) = &station.host else {
        let any = |name: &str| addresses_of(name, port).map(|found| ListenAddress::Tcp(found[0]));
        return Ok(match station.family {
            Some(Family::V4) => vec![(any("0.0.0.0")?, false)],
            Some(Family::V6) => vec![(any("::")?, false)],
            None => vec![(any("0.0.0.0")?, false), (any("::")?, true)],
        });
    };
    // Mosquitto takes any name for a path after port 0; an IP address is nobody's path, and a free port is of use in tests.
    if port == 0 && host.parse::<std::net::IpAddr>().is_err() {
        return Ok(vec![(ListenAddress::Unix(host.into()), false)]);
    }
    let is_wanted = |address: &std::net::SocketAddr| match station.family {
        None => true,
        Some(family) => address.is_ipv4() == (family == Family::V4),
    };
    let found = addresses_of(host, port).map_err(|text| format!("Unable to listen on {text}"))?;
    let mut wanted: Vec<_> = found.into_iter().filter(is_wanted).map(|it| (ListenAddress::Tcp(it), false)).collect();
    wanted.dedup();
    if wanted.is_empty() { Err(format!("{host} has no address of the socket_domain")) } else { Ok(wanted) }
}
