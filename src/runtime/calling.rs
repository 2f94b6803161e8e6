//! Calling: how web servers are asked that are not ours.
//!
//! Duty: a client with a time for each answer that trusts whom it should. Must not: run on a shard, or know what is asked. Neighbours:
//! `authenticator` asks who may come, the room `admin` brings spans.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

/// Certificates of those who sign web servers', where most systems have them.
pub const AUTHORITY: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Longest time that a connection to a server is kept for the next question.
const IDLE: Duration = Duration::from_secs(5);

/// A client that waits so long for each answer, and trusts over https whom these have signed.
pub fn agent(patience: Duration, authority: Vec<Certificate<'static>>) -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(authority)));
    Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Not one that the environment of the process happens to name.
        .proxy(None)
        .user_agent("ringmq")
        .max_idle_age(IDLE)
        .tls_config(tls.build())
        .build()
        .new_agent()
}

/// The certificates of a file, PEM; `None` if there is none.
pub fn certificates(pem: &[u8]) -> Option<Vec<Certificate<'static>>> {
    let found = parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    (!found.is_empty()).then_some(found)
}
