//! Tokens in the password of CONNECT, made by `token.py`.

use std::fs;

use ringmq::wire::{ProtocolVersion, ReasonCode};

use super::{answer, as_user, output, refused, serve};
use crate::folder::Folder;
use crate::program::{ended, ringmq};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/judges/token.py");
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";
const CLAIMS: &str = r#"{"sub": "alice", "exp": 60, "pub": ["dev/%c/#"], "sub_to": ["home/%u/#"]}"#;
const WRONG: ReasonCode = ReasonCode::BadUserNameOrPassword;

fn token(algorithm: &str, key: &str, claims: &str) -> String {
    output("python3", &[SCRIPT, algorithm, key, claims])
}

fn token_of(algorithm: &str, key: &str, claims: &str, key_id: &str) -> String {
    output("python3", &[SCRIPT, algorithm, key, claims, key_id])
}

/// A private key and its public one.
fn key_pair(folder: &Folder, name: &str, options: &[&str]) -> (String, String) {
    let (private, public) = (folder.path(&format!("{name}.key")), folder.path(&format!("{name}.pem")));
    output("openssl", &[&["genpkey", "-quiet", "-out", &private], options].concat());
    output("openssl", &["pkey", "-in", &private, "-pubout", "-out", &public]);
    (private, public)
}

fn rsa(folder: &Folder, name: &str) -> (String, String) {
    key_pair(folder, name, &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
}

fn curve(folder: &Folder, name: &str, curve: &str) -> (String, String) {
    let option = format!("ec_paramgen_curve:{curve}");
    key_pair(folder, name, &["-algorithm", "EC", "-pkeyopt", &option])
}

/// Case A26: who has a good token is in, by any version; with a wrong one, an old one or none, nobody.
#[test]
fn a_good_token_lets_its_user_in_and_no_other_does() {
    let folder = Folder::new();
    let secret = folder.write("secret", SECRET);
    let other = folder.write("other", &SECRET.replace('0', "x"));
    let short = folder.write("short", "too short\n");
    let lines = format!(
        "[security.token]\nsecret_file = \"{secret}\"\naudience = [\"mqtt\"]\nissuer = [\"us\", \"them\"]\nleeway_secs = 0\n\
         publish_claim = \"pub\"\nsubscribe_claim = \"sub_to\"\n"
    );
    let mut broker = serve(&folder, &lines);
    let claims = |more: &str| format!(r#"{{"sub": "alice", "aud": "mqtt", "iss": "us", {more}}}"#);
    let good = claims(r#""exp": 60, "nbf": -5, "pub": ["dev/%c/#"]"#);
    for algorithm in ["HS256", "HS384", "HS512"] {
        let token = token(algorithm, &secret, &good);
        for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
            assert_eq!(answer(&broker, &as_user(version, "ann", "anybody", &token)), 0, "{algorithm} {version:?}");
        }
    }
    for wrong in [
        r#"{"sub": "alice", "aud": "mqtt", "iss": "us"}"#,
        r#"{"sub": "alice", "aud": "mqtt", "iss": "others", "exp": 60}"#,
        r#"{"sub": "alice", "aud": "http", "iss": "us", "exp": 60}"#,
        r#"{"sub": "alice", "iss": "us", "exp": 60}"#,
        r#"{"sub": "alice", "aud": "mqtt", "exp": 60}"#,
        r#"{"sub": "", "aud": "mqtt", "iss": "us", "exp": 60}"#,
        r#"{"aud": "mqtt", "iss": "us", "exp": 60}"#,
        &claims(r#""exp": -1"#),
        &claims(r#""exp": "later""#),
        &claims(r#""exp": 60, "nbf": 30"#),
        &claims(r#""exp": 60, "nbf": {}"#),
        &claims(r#""exp": 60, "pub": "dev/#""#),
        &claims(r#""exp": 60, "pub": ["dev/#/x"]"#),
    ] {
        refused(&broker, "alice", &token("HS256", &secret, wrong), WRONG);
    }
    refused(&broker, "alice", &token("HS256", &other, &good), WRONG);
    refused(&broker, "alice", &token("none", &secret, &good), WRONG);
    refused(&broker, "alice", "no token", WRONG);
    let mut cut = token("HS256", &secret, &good);
    cut.pop();
    refused(&broker, "alice", &cut, WRONG);
    broker.line_with(&["the token has expired"]);
    broker.line_with(&["the token is of another issuer"]);
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("refused_tokens"), 16);
    let log = broker.log.lock().unwrap().join("\n");
    assert!(!log.contains("eyJ") && !log.contains(SECRET.trim()), "case O02: {log}");
    let text = folder.write("short.toml", &format!("[security.token]\nsecret_file = \"{short}\"\n"));
    let (code, _, said) = ended(&mut ringmq(&["check", "--config", &text]));
    assert!(code == Some(3) && said.contains("32 are the fewest"), "{said}");
}

/// The key says what it may be used for: a public key is no secret, and a key of one kind verifies no other.
#[test]
fn public_keys_verify_what_their_private_ones_have_signed() {
    let folder = Folder::new();
    let (rsa_key, rsa_pem) = rsa(&folder, "rsa");
    let (other_key, _) = rsa(&folder, "other");
    let (p256_key, p256_pem) = curve(&folder, "p256", "P-256");
    let (p384_key, p384_pem) = curve(&folder, "p384", "P-384");
    let all: String = [&rsa_pem, &p256_pem, &p384_pem].iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let keys = folder.write("all.pem", &all);
    let broker = serve(&folder, &format!("[security.token]\nkey_file = \"{keys}\"\n"));
    let v5 = ProtocolVersion::V5;
    for (algorithm, key) in [
        ("RS256", &rsa_key),
        ("RS384", &rsa_key),
        ("RS512", &rsa_key),
        ("PS256", &rsa_key),
        ("ES256", &p256_key),
        ("ES384", &p384_key),
    ] {
        let token = token(algorithm, key, CLAIMS);
        assert_eq!(answer(&broker, &as_user(v5, "ann", "alice", &token)), 0, "{algorithm}");
    }
    refused(&broker, "alice", &token("RS256", &other_key, CLAIMS), WRONG);
    // The public key as a secret.
    for file in [&keys, &rsa_pem, &p256_pem] {
        refused(&broker, "alice", &token("HS256:PEM", file, CLAIMS), WRONG);
    }
    refused(&broker, "alice", &token("none", &keys, CLAIMS), WRONG);
    let config = folder.write("mistake.toml", &format!("[security.token]\nsecret_file = \"{rsa_pem}\"\n"));
    let (_, _, said) = ended(&mut ringmq(&["check", "--config", &config]));
    assert!(said.contains("name it by key_file"), "{said}");
}

/// `ringmq why` needs no key, and says what it cannot know.
#[test]
fn why_says_that_a_token_would_decide() {
    let folder = Folder::new();
    let acl = folder.write("acl", "user alice\ntopic read a/#\n");
    let lines = format!("[security]\nacl_file = \"{acl}\"\n[security.token]\nsecret_file = \"/no/such/file\"\n");
    for (more, is_said) in [("publish_claim = \"pub\"\n", true), ("", false)] {
        let config = folder.write("why.toml", &format!("{lines}{more}"));
        let question = ["why", "--config", &config, "--user", "alice", "receive", "a/b"];
        let said = output(env!("CARGO_BIN_EXE_ringmq"), &question);
        assert!(said.contains("acl:2") && said.contains("without a token") == is_said, "{said}");
    }
}

/// A set of keys: each by its name, of its kind; another set holds as soon as it is written.
#[test]
fn a_set_of_keys_is_followed() {
    let folder = Folder::new();
    let secret = folder.write("secret", SECRET);
    let set = |name: &str, more: &str| {
        let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg";
        format!(r#"{{"keys": [{{"kty": "oct", "kid": "{name}", "k": "{key}"{more}}}, {{"kty": "new", "kid": "x"}}]}}"#)
    };
    let jwks = folder.write("jwks.json", &set("one", ""));
    let broker = serve(&folder, &format!("[security.token]\njwks_file = \"{jwks}\"\n"));
    let v5 = ProtocolVersion::V5;
    let in_by = |algorithm: &str, key_id: &str| {
        let token = token_of(algorithm, &secret, CLAIMS, key_id);
        answer(&broker, &as_user(v5, "ann", "alice", &token)) == 0
    };
    assert!(in_by("HS256", "one") && in_by("HS512", "one") && !in_by("HS256", "two"));
    let token = token("HS256", &secret, CLAIMS);
    let mut stays = broker.join(&as_user(v5, "cat", "alice", &token));
    stays.expect_alive();
    folder.write("jwks.json", &set("two", r#", "alg": "HS384""#));
    broker.line_with(&["Files were written and are used"]);
    let end = stays.expect_end();
    assert_eq!((end[0], end[2]), (0xe0, ReasonCode::NotAuthorized as u8), "its keys have gone");
    assert!(in_by("HS384", "two") && !in_by("HS256", "two") && !in_by("HS384", "one"));
    folder.write("jwks.json", "{}");
    broker.line_with(&["Files were written that cannot be used", "no JWK Set"]);
    assert!(in_by("HS384", "two"));
}

/// The rights of a token, and its end: told to 5.0 (0x87), and counted.
#[test]
fn a_token_has_rights_and_an_end() {
    let folder = Folder::new();
    let secret = folder.write("secret", SECRET);
    let lines = format!(
        "[security.token]\nsecret_file = \"{secret}\"\nleeway_secs = 0\npublish_claim = \"pub\"\nsubscribe_claim = \"sub_to\"\n"
    );
    let mut broker = serve(&folder, &lines);
    let v5 = ProtocolVersion::V5;
    let soon = CLAIMS.replace("60", "2");
    let token = token("HS256", &secret, &soon);
    let mut client = broker.join(&as_user(v5, "ann", "whoever", &token));
    client.send(crate::packets::subscribe(1).to("home/bob/#", ringmq::wire::QoS::AtMostOnce));
    assert_eq!(client.hear().last(), Some(&(ReasonCode::NotAuthorized as u8)));
    client.publish("dev/other/x", ringmq::wire::QoS::AtLeastOnce, 1, b"x");
    assert_eq!(client.hear()[4], ReasonCode::NotAuthorized as u8);
    client.publish("dev/ann/x", ringmq::wire::QoS::AtLeastOnce, 2, b"x");
    assert_eq!(client.hear()[..4], [0x40, 3, 0, 2]);
    let end = client.expect_end();
    assert_eq!((end[0], end[2]), (0xe0, ReasonCode::NotAuthorized as u8));
    broker.line_with(&["the token has expired"]);
    refused(&broker, "alice", &token, WRONG);
    assert_eq!(broker.stop(), Some(0));
    assert_eq!((broker.counted("closed_expired"), broker.counted("refused_tokens")), (1, 1));
}
