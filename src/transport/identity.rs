//! Identity: who a client is by its certificate.
//!
//! Duty: the common name, or the whole subject as RFC 2253 writes it. Must not: judge the certificate; that was done. Neighbours:
//! `tls` has the certificate, the shard gets the name.

use std::fmt::Write;

use x509_parser::oid_registry::{Oid, OidRegistry};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::config::Identity;

/// The user of a certificate in DER; `None` if nothing is wanted, or it has no such name.
pub(super) fn user_of(certificate: &[u8], identity: Identity) -> Option<Box<str>> {
    if identity == Identity::None {
        return None;
    }
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let user = match identity {
        Identity::None => return None,
        Identity::CommonName => subject.iter_common_name().next()?.as_str().ok()?.to_owned(),
        Identity::Subject => written(subject),
    };
    is_good(&user).then(|| user.into())
}

/// Whether it can be the name of a user: one that ends at a zero byte for others would be another one.
pub(super) fn is_good(user: &str) -> bool {
    !user.is_empty() && !user.contains('\0')
}

/// The last part first, as openssl's `-nameopt RFC2253`.
fn written(subject: &X509Name<'_>) -> String {
    let registry = OidRegistry::default().with_x509();
    let parts: Vec<String> = subject
        .iter_rdn()
        .map(|part| part.iter().map(|attribute| attribute_text(attribute, &registry)).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute_text(attribute: &AttributeTypeAndValue<'_>, registry: &OidRegistry<'_>) -> String {
    let mut text = short_name(attribute.attr_type(), registry) + "=";
    let value = attribute.as_str().unwrap_or_default();
    let last = value.chars().count().saturating_sub(1);
    for (at, letter) in value.chars().enumerate() {
        let is_edge_space = letter == ' ' && (at == 0 || at == last);
        if is_edge_space || matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';') || (letter == '#' && at == 0) {
            text.push('\\');
            text.push(letter);
        } else if letter.is_control() || !letter.is_ascii() {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                // Writing to a string does not fail.
                let _ = write!(text, "\\{byte:02X}");
            }
        } else {
            text.push(letter);
        }
    }
    text
}

/// RFC 2253, section 2.3, and what openssl adds to it; else the number.
fn short_name(oid: &Oid<'_>, registry: &OidRegistry<'_>) -> String {
    let number = oid.to_id_string();
    let known = match number.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return registry.get(oid).map_or(number, |entry| entry.sn().to_owned()),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(parts: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        parts.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), *value));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_user_is_the_common_name_or_the_subject_written_last_part_first() {
        let parts = [(DnType::CountryName, "DE"), (DnType::OrganizationName, "A, B+C"), (DnType::CommonName, "anna")];
        let certificate = certificate(&parts);
        assert_eq!(user_of(&certificate, Identity::CommonName).as_deref(), Some("anna"));
        assert_eq!(user_of(&certificate, Identity::Subject).as_deref(), Some("CN=anna,O=A\\, B\\+C,C=DE"));
        assert_eq!(user_of(&certificate, Identity::None), None);
    }

    #[test]
    fn who_has_no_common_name_or_one_that_could_be_taken_for_another_has_no_user() {
        assert_eq!(user_of(&certificate(&[(DnType::CountryName, "DE")]), Identity::CommonName), None);
        assert_eq!(user_of(&certificate(&[(DnType::CommonName, "root\0x")]), Identity::CommonName), None);
        assert_eq!(user_of(b"no certificate", Identity::CommonName), None);
    }
}
