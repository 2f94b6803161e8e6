//! Certificate: from the files of a listener to the configuration of its TLS, or to one line that says what is wrong.
//!
//! Duty: read certificates, key, authorities and revocations; check that they belong together. Must not: keep a key longer than
//! the configuration does, or print one. Neighbours: `Setup` holds the result; `runtime` makes an exit code of an error.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::{Identity, Tls};

/// What is spoken inside, if the client asks (IANA's name of MQTT).
const ALPN: &[u8] = b"mqtt";
/// The same for a WebSocket.
const ALPN_WEB: &[u8] = b"http/1.1";

/// Why a listener cannot speak TLS, in one line with the file and the remedy.
#[derive(Debug)]
pub(crate) struct TlsError {
    /// Whether a file could not be opened or read; else what it holds is wrong.
    pub(crate) is_missing: bool,
    text: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn unreadable(what: &str, path: &Path, error: &io::Error) -> TlsError {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file; check the path",
        io::ErrorKind::PermissionDenied => "the broker's user may not read it; check owner and mode",
        _ => "check the path",
    };
    TlsError { is_missing: true, text: format!("cannot read {what} {}: {error}: {remedy}", path.display()) }
}

fn bad(what: &str, path: &Path, why: impl fmt::Display) -> TlsError {
    TlsError { is_missing: false, text: format!("{what} {}: {why}", path.display()) }
}

/// The configuration of a listener's TLS. `is_web`: whether HTTP is spoken inside.
///
/// # Errors
/// A file cannot be read, or what it holds cannot be used.
pub(super) fn load(tls: &Tls, is_web: bool) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates("the certificate", &tls.certificate)?;
    let key = private_key(&tls.key)?;
    let versions: &[_] = if tls.is_tls13_only { &[&rustls::version::TLS13] } else { rustls::ALL_VERSIONS };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions).map_err(|error| bad("TLS of", &tls.certificate, error))?;
    let builder = match verifier(tls, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let why = format!(
                "it does not belong to the certificate {}; give the two that were made together",
                tls.certificate.display()
            );
            bad("the key", &tls.key, why)
        }
        error => {
            bad("the certificate", &tls.certificate, format!("{error}; `openssl x509 -text -in` shows what it is"))
        }
    })?;
    config.alpn_protocols = if is_web { vec![ALPN_WEB.to_vec(), ALPN.to_vec()] } else { vec![ALPN.to_vec()] };
    // Who was here before needs no new signature. The secret of the tickets dies with this configuration.
    if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(Arc::new(config))
}

/// The configuration of a web server's TLS, for clients without certificates.
///
/// # Errors
/// As [`load`].
pub(crate) fn web_server_tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let tls = Tls {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        client_authority: None,
        revoked: None,
        requires_certificate: false,
        identity: Identity::None,
        is_tls13_only: false,
    };
    let mut config = ServerConfig::clone(&*load(&tls, true)?);
    config.alpn_protocols = vec![ALPN_WEB.to_vec()];
    Ok(Arc::new(config))
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(bad(what, path, "no certificate in it; a PEM file with -----BEGIN CERTIFICATE----- is wanted"))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(bad(what, path, pem_fault(&error))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const WHAT: &str = "the key";
    let pem = read(WHAT, path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let has = |word: &[u8]| pem.windows(word.len()).any(|part| part == word);
        if has(b"ENCRYPTED") {
            return bad(WHAT, path, "it is encrypted; `openssl pkey -in FILE -out FILE2` takes the passphrase off");
        }
        match error {
            pem::Error::NoItemsFound => {
                bad(WHAT, path, "no private key in it; a PEM file with -----BEGIN PRIVATE KEY----- is wanted")
            }
            error => bad(WHAT, path, pem_fault(&error)),
        }
    })
}

/// Never with bytes of the file: it may be a key.
fn pem_fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "its -----END line is missing: it is cut off; write it again, then rename it into place"
        }
        _ => "it is damaged; a PEM file is wanted",
    }
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| unreadable(what, path, &error))
}

/// What asks clients for a certificate, if they need one.
fn verifier(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    const WHAT: &str = "the authority of clients";
    if !tls.requires_certificate {
        return Ok(None);
    }
    let Some(path) = &tls.client_authority else {
        return Err(bad(
            "the certificate",
            &tls.certificate,
            "clients need one too, but no authority (CA) is named for theirs",
        ));
    };
    let mut roots = RootCertStore::empty();
    for file in files(path).map_err(|error| unreadable(WHAT, path, &error))? {
        let found = certificates(WHAT, &file);
        // A directory may hold other files as well.
        let found = if file == *path { found? } else { found.unwrap_or_default() };
        for certificate in found {
            roots.add(certificate).map_err(|error| bad(WHAT, &file, error))?;
        }
    }
    if roots.is_empty() {
        return Err(bad(WHAT, path, "no certificate in this directory; PEM files are wanted"));
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if let Some(path) = &tls.revoked {
        const WHAT: &str = "the list of revoked certificates";
        let pem = read(WHAT, path)?;
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
        let lists = lists.map_err(|error| bad(WHAT, path, pem_fault(&error)))?;
        if lists.is_empty() {
            return Err(bad(WHAT, path, "no list in it; a PEM file with -----BEGIN X509 CRL----- is wanted"));
        }
        builder = builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
        return builder.build().map(Some).map_err(|error| bad(WHAT, path, error));
    }
    builder.build().map(Some).map_err(|error| bad(WHAT, path, error))
}

/// The files of a directory in order of name, or the file itself.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
