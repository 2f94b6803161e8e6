//! Tokens: the keys that JSON Web Tokens are signed with (RFC 7519), and the check of one in the place of a password.
//!
//! Duty: read the key files of a realm and say what is wrong with them; say of one token whose it is, what it allows and until
//! when, or why it is not taken. Must not: read a clock, or keep or tell a token. Neighbours: `policy_files` loads, `verifier` asks.
//!
//! A key knows by which algorithms it may be used; what the token's header says only chooses among the keys. So no token is
//! verified with a public key as a secret, or not at all.

use std::fmt;
use std::fs;
use std::path::Path;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::failure::Failure;
use crate::auth::{Grants, JudgeId, Warrant};
use crate::config::Tokens;
use crate::id::Millis;

/// Bits of the shortest RSA key that is taken: a shorter one can be broken.
const RSA_BITS_MIN: usize = 2048;
/// Curves of keys, by object identifier.
const CURVE_P256: &str = "1.2.840.10045.3.1.7";
const CURVE_P384: &str = "1.3.132.0.34";
/// Keys of one realm; more would be tried one after the other.
const KEYS_MAX: usize = 64;

const OF_RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// The keys of a realm, and what is asked of its tokens.
pub(super) struct TokenKeys {
    id: JudgeId,
    keys: Vec<Key>,
    validation: Validation,
    asked: Tokens,
}

/// A key, and what it may be used for.
struct Key {
    /// Its name, if it has one: a token that names another is not tried with it.
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl fmt::Debug for TokenKeys {
    /// Not the keys.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TokenKeys({} of {:?})", self.keys.len(), self.id)
    }
}

impl TokenKeys {
    /// Reads the key files of a realm.
    ///
    /// # Errors
    /// One that cannot be read (exit code 1), or that has no key that can be used (exit code 3).
    pub(super) fn load(tokens: &Tokens) -> Result<Self, Failure> {
        let mut digest = Sha256::new();
        digest.update(format!("{tokens:?}"));
        let mut keys = Vec::new();
        type Parse = fn(&[u8]) -> Result<Vec<Key>, String>;
        let files: [(&str, Option<&Path>, Parse); 3] = [
            ("secret_file", tokens.secret_file.as_deref(), secret),
            ("key_file", tokens.key_file.as_deref(), public_keys),
            ("jwks_file", tokens.jwks_file.as_deref(), key_set),
        ];
        for (option, path, parse) in files {
            let Some(path) = path else { continue };
            let shown = path.display();
            let bytes = fs::read(path)
                .map_err(|error| Failure::usage(format!("token {option} {shown}: cannot be read: {error}")))?;
            let parsed = parse(&bytes).map_err(|what| Failure::config(format!("token {option} {shown}: {what}")))?;
            keys.extend(parsed);
            digest.update(&bytes);
        }
        if keys.len() > KEYS_MAX {
            return Err(Failure::config(format!("token keys: {} keys, at most {KEYS_MAX} are taken", keys.len())));
        }
        let mut id = [0; 8];
        id.copy_from_slice(&digest.finalize()[..8]);
        let validation = validation(tokens);
        Ok(Self { id: JudgeId(u64::from_le_bytes(id)), keys, validation, asked: tokens.clone() })
    }

    pub(super) fn id(&self) -> JudgeId {
        self.id
    }

    /// Whether tokens have rights of their own.
    pub(super) fn gives_rights(&self) -> bool {
        self.asked.gives_rights()
    }

    /// What a token says. `unix_secs`: the time of day; `now`: the same moment to the shards.
    ///
    /// # Errors
    /// Why it is not taken, in words for the client.
    pub(super) fn check(&self, token: &[u8], unix_secs: u64, now: Millis) -> Result<Warrant, &'static str> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| "the token's header or algorithm is not known")?;
        let claims = self.verified(token, &header)?;
        let ends_at = self.time_of(&claims, unix_secs)?;
        let left = ends_at.map(|secs| secs - unix_secs).filter(|_| self.asked.disconnects_expired);
        let user = claims.get(&self.asked.user_claim).and_then(user_name).ok_or("the token names no user")?;
        Ok(Warrant {
            judge: self.id,
            user: Some(user.into()),
            grants: self.gives_rights().then(|| self.grants_of(&claims)).transpose()?,
            expires_at: left.map_or(Millis::NEVER, |secs| now.after_secs(secs)),
        })
    }

    /// The claims of a token that one of the keys has signed, for this audience by this issuer.
    fn verified(&self, token: &[u8], header: &Header) -> Result<Map<String, Value>, &'static str> {
        let may_be = |key: &&Key| {
            let is_named = key.id.is_none() || header.kid.is_none() || key.id == header.kid;
            is_named && key.algorithms.contains(&header.alg)
        };
        let mut what = "no key for the token's algorithm and key id";
        for key in self.keys.iter().filter(may_be) {
            let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => what = "the token's signature is not that of a key here",
                    kind => return Err(words_of(kind)),
                },
            }
        }
        Err(what)
    }

    /// When a token that holds now ends, leeway included, seconds of the time of day.
    fn time_of(&self, claims: &Map<String, Value>, unix_secs: u64) -> Result<Option<u64>, &'static str> {
        let leeway = u64::from(self.asked.leeway_secs);
        let moment = |name: &str, what: &'static str| claims.get(name).map(|it| seconds(it).ok_or(what)).transpose();
        if moment("nbf", "the token's nbf is no time")?.is_some_and(|start| start > unix_secs.saturating_add(leeway)) {
            return Err("the token does not hold yet");
        }
        let Some(end) = moment("exp", "the token's exp is no time")? else {
            return if self.asked.requires_expiry { Err("the token has no exp") } else { Ok(None) };
        };
        let end = end.saturating_add(leeway);
        if end > unix_secs { Ok(Some(end)) } else { Err("the token has expired") }
    }

    fn grants_of(&self, claims: &Map<String, Value>) -> Result<Grants, &'static str> {
        let list = |claim: &Option<String>| match claim.as_ref().and_then(|claim| claims.get(claim)) {
            // What the token does not say, it does not allow.
            None => Ok(Vec::new()),
            Some(value) => filters(value).ok_or("the token's rights are no list of topic filters"),
        };
        Grants::new(list(&self.asked.publish_claim)?, list(&self.asked.subscribe_claim)?)
    }
}

/// A user name as MQTT might have it.
pub(super) fn user_name(value: &Value) -> Option<&str> {
    let name = value.as_str().filter(|name| !name.is_empty() && name.len() <= usize::from(u16::MAX));
    name.filter(|name| !name.contains(char::is_control))
}

/// A JSON list of texts.
pub(super) fn filters(value: &Value) -> Option<Vec<Box<str>>> {
    value.as_array()?.iter().map(|filter| filter.as_str().map(Box::from)).collect()
}

/// A moment as tokens say it, whole seconds.
fn seconds(value: &Value) -> Option<u64> {
    let fraction = || value.as_f64().filter(|secs| (0.0..1e15).contains(secs)).map(|secs| secs as u64);
    value.as_u64().or_else(fraction)
}

/// What is asked of every token; its time is judged by `time_of`.
fn validation(tokens: &Tokens) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    if !tokens.audience.is_empty() {
        validation.set_audience(&tokens.audience);
        validation.required_spec_claims.insert("aud".into());
    }
    if !tokens.issuer.is_empty() {
        validation.set_issuer(&tokens.issuer);
        validation.required_spec_claims.insert("iss".into());
    }
    validation
}

/// Why a token is not taken that a key has signed, or might have.
fn words_of(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        // RFC 7519 section 4.1.3: also where none is configured.
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => "the token has no audience",
        ErrorKind::MissingRequiredClaim(_) => "the token has no issuer",
        ErrorKind::InvalidAlgorithm => "the token's algorithm is not the key's",
        _ => "the token is not understood",
    }
}

/// A key for HMAC: all of the file but a line break at its end.
fn secret(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = text.strip_suffix(b"\r").unwrap_or(text);
    if secret.starts_with(b"-----BEGIN") {
        return Err("is a key in PEM, which is no secret: name it by key_file".into());
    }
    hmac_key(secret, None).map(|key| vec![key])
}

/// RFC 7518 section 3.2: the secret is as long as the hash, or longer.
fn hmac_key(secret: &[u8], id: Option<String>) -> Result<Key, String> {
    let sizes = [(32, Algorithm::HS256), (48, Algorithm::HS384), (64, Algorithm::HS512)];
    let fitting = sizes.iter().filter(|(bytes, _)| secret.len() >= *bytes);
    let algorithms: Vec<_> = fitting.map(|(_, algorithm)| *algorithm).collect();
    if algorithms.is_empty() {
        return Err(format!(
            "the secret has {} bytes; 32 are the fewest for HS256, 48 for HS384, 64 for HS512",
            secret.len()
        ));
    }
    let key = DecodingKey::from_secret(secret).map_err(|error| error.to_string())?;
    Ok(Key { id, algorithms, key })
}

/// Public keys in PEM, one behind the other.
fn public_keys(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let found: Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| format!("no PEM: {error}"))?;
    if found.is_empty() {
        return Err(
            "no public key in PEM (BEGIN PUBLIC KEY); openssl pkey -in KEY -pubout makes one of a private key".into()
        );
    }
    found.iter().map(|der| public_key(der)).collect()
}

fn public_key(der: &[u8]) -> Result<Key, String> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| "a public key that is not understood")?;
    let parameters = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let curve = parameters.map(|oid| oid.to_id_string());
    let bytes = &info.subject_public_key.data;
    let (algorithms, key) = match (info.parsed(), curve.as_deref()) {
        (Ok(PublicKey::RSA(key)), _) if key.key_size() >= RSA_BITS_MIN => {
            (OF_RSA.to_vec(), DecodingKey::from_rsa_der(bytes))
        }
        (Ok(PublicKey::RSA(_)), _) => return Err(format!("an RSA key with less than {RSA_BITS_MIN} bits")),
        (Ok(PublicKey::EC(_)), Some(CURVE_P256)) => (vec![Algorithm::ES256], DecodingKey::from_ec_der(bytes)),
        (Ok(PublicKey::EC(_)), Some(CURVE_P384)) => (vec![Algorithm::ES384], DecodingKey::from_ec_der(bytes)),
        _ if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => {
            (vec![Algorithm::EdDSA], DecodingKey::from_ed_der(bytes))
        }
        _ => return Err("a public key that is none of RSA, EC on P-256 or P-384, Ed25519".into()),
    };
    Ok(Key { id: None, algorithms, key })
}

/// The keys of a JWK Set (RFC 7517) that sign; those of kinds that are not known are left out, as it wants.
fn key_set(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_slice(bytes).map_err(|error| format!("no JWK Set: {error}"))?;
    let signs = |key: &&Jwk| key.common.public_key_use != Some(PublicKeyUse::Encryption);
    let keys: Vec<Key> =
        set.keys.iter().filter(signs).filter_map(|key| set_key(key).transpose()).collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err("no key in it can be used: RSA, EC on P-256 or P-384, Ed25519 and oct are known".into());
    }
    Ok(keys)
}

fn set_key(jwk: &Jwk) -> Result<Option<Key>, String> {
    let id = jwk.common.key_id.clone();
    let named = |what: String| format!("key {:?}: {what}", jwk.common.key_id.as_deref().unwrap_or_default());
    let key = || DecodingKey::from_jwk(jwk).map_err(|error| named(error.to_string()));
    let mut key = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => {
            let key = key()?;
            let secret = key.try_get_as_bytes().map_err(|error| named(error.to_string()))?;
            hmac_key(secret, id).map_err(named)?
        }
        AlgorithmParameters::RSA(parameters) => {
            // Base64: four letters are three bytes.
            if parameters.n.trim_start_matches('A').len() * 6 < RSA_BITS_MIN {
                return Err(named(format!("an RSA key with less than {RSA_BITS_MIN} bits")));
            }
            Key { id, algorithms: OF_RSA.to_vec(), key: key()? }
        }
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => Key { id, algorithms: vec![Algorithm::ES256], key: key()? },
            EllipticCurve::P384 => Key { id, algorithms: vec![Algorithm::ES384], key: key()? },
            _ => return Ok(None),
        },
        AlgorithmParameters::OctetKeyPair(parameters) if parameters.curve == EllipticCurve::Ed25519 => {
            Key { id, algorithms: vec![Algorithm::EdDSA], key: key()? }
        }
        _ => return Ok(None),
    };
    if let Some(algorithm) = jwk.common.key_algorithm {
        let alone = Algorithm::try_from(algorithm).ok();
        key.algorithms.retain(|known| Some(*known) == alone);
    }
    Ok((!key.algorithms.is_empty()).then_some(key))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;

    use super::*;

    const SECRET: &[u8] = &[b'k'; 64];

    fn keys(asked: Tokens) -> TokenKeys {
        let keys = secret(SECRET).expect("long enough");
        TokenKeys { id: JudgeId(1), keys, validation: validation(&asked), asked }
    }

    fn token(claims: &Value) -> String {
        let key = EncodingKey::from_secret(SECRET).expect("not empty");
        jsonwebtoken::encode(&Header::default(), claims, &key).expect("a token")
    }

    /// RFC 7519 sections 4.1.4 and 4.1.5: before `exp`, not before `nbf`, with a leeway; a moment that is none is refused.
    #[test]
    fn a_token_holds_from_its_begin_to_its_end() {
        let exp = |value: Value| serde_json::json!({"sub": "ann", "exp": value});
        let nbf = |value: Value| serde_json::json!({"sub": "ann", "exp": 5000, "nbf": value});
        for (claims, leeway_secs, unix_secs, expires_at) in [
            (exp(1000.into()), 0, 999, Some(Millis(1_007))),
            (exp(1000.into()), 0, 1000, None),
            (exp(1000.into()), 10, 1009, Some(Millis(1_007))),
            (exp(1000.into()), 10, 1010, None),
            (exp(1000.9.into()), 0, 999, Some(Millis(1_007))),
            (exp(u64::MAX.into()), 10, 1000, Some(Millis::NEVER)),
            (exp((-1).into()), 10, 0, None),
            (exp("1000".into()), 10, 1, None),
            (exp(Value::Null), 10, 1, None),
            (nbf(1000.into()), 0, 1000, Some(Millis(4_000_007))),
            (nbf(1000.into()), 0, 999, None),
            (nbf(1000.into()), 10, 990, Some(Millis(4_020_007))),
            (nbf(1000.into()), 10, 989, None),
            (nbf("1".into()), 10, 2000, None),
        ] {
            let keys = keys(Tokens { leeway_secs, ..Tokens::default() });
            let warrant = keys.check(token(&claims).as_bytes(), unix_secs, Millis(7)).ok();
            assert_eq!(warrant.map(|warrant| warrant.expires_at), expires_at, "{claims} {leeway_secs} at {unix_secs}");
        }
    }

    #[test]
    fn an_end_may_be_missing_or_overlooked_where_that_is_said() {
        let endless = token(&serde_json::json!({"sub": "ann"}));
        let ending = token(&serde_json::json!({"sub": "ann", "exp": 1000}));
        let at = |keys: &TokenKeys, token: &str| keys.check(token.as_bytes(), 1, Millis(0)).map(|it| it.expires_at);
        assert!(at(&keys(Tokens::default()), &endless).is_err());
        let lax = keys(Tokens { requires_expiry: false, ..Tokens::default() });
        assert_eq!(at(&lax, &endless), Ok(Millis::NEVER));
        let staying = keys(Tokens { disconnects_expired: false, ..Tokens::default() });
        assert_eq!(at(&staying, &ending), Ok(Millis::NEVER));
        assert!(staying.check(ending.as_bytes(), 2000, Millis(0)).is_err(), "it comes too late in any case");
    }

    #[test]
    fn an_audience_is_asked_for_on_both_sides() {
        let with = |audience: &[&str]| {
            keys(Tokens { audience: audience.iter().map(|it| (*it).to_owned()).collect(), ..Tokens::default() })
        };
        let claims = |aud: Value| token(&serde_json::json!({"sub": "ann", "exp": 1000, "aud": aud}));
        let takes = |keys: &TokenKeys, token: &str| keys.check(token.as_bytes(), 1, Millis(0)).is_ok();
        assert!(takes(&with(&["a", "b"]), &claims("b".into())) && takes(&with(&["a"]), &claims(vec!["x", "a"].into())));
        assert!(!takes(&with(&["a"]), &claims("b".into())) && !takes(&with(&["a"]), &claims(3.into())));
        assert!(!takes(&with(&[]), &claims("b".into())), "it is for somebody else");
    }

    /// The names are the algorithms that each key allows.
    #[test]
    fn a_key_says_what_it_may_be_used_for() {
        let names = |keys: Result<Vec<Key>, String>| {
            keys.map(|keys| keys.iter().map(|key| format!("{:?}", key.algorithms)).collect::<Vec<_>>().join(" "))
        };
        let long = |bytes| names(secret(&vec![b'x'; bytes]));
        assert!(long(31).unwrap_err().contains("31 bytes"));
        assert_eq!((long(32), long(63)), (Ok("[HS256]".into()), Ok("[HS256, HS384]".into())));
        assert_eq!(names(secret(&[&[b'x'; 31][..], b"\r\n"].concat())).ok(), None, "a line break is none of it");
        let k = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s";
        let set =
            |more: &str| names(key_set(format!(r#"{{"keys": [{{"kty": "oct", "k": "{k}"{more}}}]}}"#).as_bytes()));
        assert_eq!(set(""), Ok("[HS256]".into()));
        for (more, words) in [
            (r#", "alg": "HS512""#, "no key in it can be used"),
            (r#", "alg": "RS256""#, "no key in it can be used"),
            (r#", "use": "enc""#, "no key in it can be used"),
        ] {
            assert!(set(more).unwrap_err().contains(words), "{more}");
        }
        let short = r#"{"keys": [{"kty": "RSA", "kid": "x", "n": "AQAB", "e": "AQAB"}]}"#;
        assert!(
            names(key_set(short.as_bytes())).unwrap_err().contains("key \"x\": an RSA key with less than 2048 bits")
        );
        for (pem, words) in [
            ("", "no public key in PEM"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no public key in PEM"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not understood"),
        ] {
            assert!(names(public_keys(pem.as_bytes())).unwrap_err().contains(words), "{pem}");
        }
    }

    /// Case O02.
    #[test]
    fn no_key_is_shown() {
        assert_eq!(format!("{:?}", keys(Tokens::default())), "TokenKeys(1 of JudgeId(1))");
    }
}
