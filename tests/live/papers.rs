//! Papers: certificates for tests, of an authority, the broker and clients.
//!
//! Duty: make them, and what a client needs to trust them. Must not: open a socket. Neighbours: `listeners`, `room` and `look` use TLS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::folder::Folder;

/// A folder with `ca.pem`, and a `.pem` and a `.key` of each name.
pub(crate) struct Papers {
    folder: Folder,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Papers {
    /// Papers of the broker.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of tests");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let papers = Self { folder: Folder::new(), authority };
        papers.folder.write("ca.pem", &papers.authority.pem());
        papers.issue("broker");
        papers
    }

    /// Makes new papers for a name.
    pub(crate) fn issue(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.folder.write(&format!("{name}.pem"), &certificate.pem());
        self.folder.write(&format!("{name}.key"), &key.serialize_pem());
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }

    /// The certificate of a name.
    pub(crate) fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap()
    }

    /// How a client trusts the authority.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// The broker's options for its papers, with `more`.
    pub(crate) fn options(&self, more: &[&str]) -> Vec<String> {
        let (cert, key) = (self.path("broker.pem"), self.path("broker.key"));
        ["--tls-cert", &cert, "--tls-key", &key].iter().chain(more).map(ToString::to_string).collect()
    }
}
