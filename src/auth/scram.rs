//! One exchange of SCRAM-SHA-256 (RFC 5802, RFC 7677): the client proves that it has the password, the broker that it knows it.
//!
//! Duty: read the client's messages, make ours, check the proof. Must not: know packets, or make random bytes (nonces come in
//! as data). Neighbours: `password` keeps the keys, `shard/exchange` carries the messages.
//!
//! Channel binding is not offered: a client that wants it (`p=`) is refused. Of SASLprep only the ban on control characters
//! holds; all other text is taken as it stands, so a password whose letters have several forms must be in that of NFKC.

use std::borrow::Cow;
use std::fmt;

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::password::{Hash, Passwords};
use crate::limits::SCRAM_MESSAGE_BYTES_MAX;

/// The name of the mechanism.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Bytes of each key.
pub const KEY_BYTES: usize = 32;

/// Bytes of our part of a nonce, before base64.
const NONCE_BYTES: usize = 18;

/// What is wrong with a message, for people.
pub type Wrong = &'static str;

type Key = [u8; KEY_BYTES];

/// What is kept of a user.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) iterations: u32,
    pub(super) salt: &'a [u8],
    pub(super) stored_key: &'a Key,
    pub(super) server_key: &'a Key,
}

/// StoredKey and ServerKey of a password.
pub(super) fn keys_of(password: &[u8], salt: &[u8], iterations: u32) -> [Key; 2] {
    let mut salted = [0; KEY_BYTES];
    pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
    [Sha256::digest(keyed(&salted, &[b"Client Key"])).into(), keyed(&salted, &[b"Server Key"])]
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Whether a password may be one: what is left of SASLprep here.
pub fn is_preparable(password: &[u8]) -> bool {
    str::from_utf8(password).is_ok_and(|text| !text.is_empty() && !text.contains(char::is_control))
}

/// What nobody outside knows and all shards do: nonces, and the salts of users that do not exist, are made with it.
#[derive(Clone)]
pub struct Secret(Key);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

impl Secret {
    /// A secret of random bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Our part of a nonce. `number`: never used before with this secret on this shard.
    pub fn nonce(&self, shard: u16, number: u64) -> String {
        let bytes = keyed(&self.0, &[b"nonce", &shard.to_le_bytes(), &number.to_le_bytes()]);
        Base64::encode_string(&bytes[..NONCE_BYTES])
    }

    /// The salt that a user without one is shown, always the same.
    fn salt(&self, user: &str, bytes: usize) -> Vec<u8> {
        let blocks = (0..bytes.div_ceil(KEY_BYTES))
            .flat_map(|block| keyed(&self.0, &[b"salt", &[block as u8], user.as_bytes()]));
        blocks.take(bytes).collect()
    }
}

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFirst<'a> {
    /// The user that it wants to be.
    pub user: Cow<'a, str>,
    /// What says that there is no channel binding, with its commas.
    gs2_header: &'a str,
    bare: &'a str,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// It is none, or asks for what there is not: channel binding, another identity, extensions.
    pub fn parse(data: &'a [u8]) -> Result<Self, Wrong> {
        let text = message(data)?;
        let (binding, rest) = text.split_once(',').ok_or("no SCRAM message of a client")?;
        let (identity, bare) = rest.split_once(',').ok_or("no SCRAM message of a client")?;
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err("SCRAM with channel binding, which is not offered"),
            _ => return Err("a SCRAM message that does not begin with n, y or p"),
        }
        let mut parts = bare.split(',');
        let user =
            parts.next().and_then(|part| part.strip_prefix("n=")).ok_or("a SCRAM message without a user name")?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or("a SCRAM message without a nonce")?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a SCRAM nonce that is empty or not printable");
        }
        if !identity.is_empty() && identity.strip_prefix("a=") != Some(user) {
            return Err("SCRAM for another identity than that of the user");
        }
        let user = unescaped(user).filter(|user| is_preparable(user.as_bytes()));
        let user = user.ok_or("a SCRAM user name that is empty or ill-formed")?;
        Ok(Self { user, gs2_header: &text[..text.len() - bare.len()], bare, nonce })
    }
}

fn message(data: &[u8]) -> Result<&str, Wrong> {
    if data.len() > SCRAM_MESSAGE_BYTES_MAX {
        return Err("a SCRAM message longer than 4096 bytes");
    }
    str::from_utf8(data).map_err(|_| "a SCRAM message that is not UTF-8")
}

/// A user name with `=2C` and `=3D` read as comma and equals sign; `None` with any other `=`.
fn unescaped(name: &str) -> Option<Cow<'_, str>> {
    if !name.contains('=') {
        return Some(Cow::Borrowed(name));
    }
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = match part.strip_prefix("2C") {
            Some(rest) => (',', rest),
            None => ('=', part.strip_prefix("3D")?),
        };
        plain.push(sign);
        plain.push_str(rest);
    }
    Some(Cow::Owned(plain))
}

/// An exchange that waits for the client's last message.
#[derive(Debug)]
pub struct Exchange {
    user: Box<str>,
    /// The keys, or those of nobody.
    hash: Hash,
    is_known: bool,
    /// What the client must repeat, in base64.
    gs2_header: Box<str>,
    nonce: Box<str>,
    /// Both first messages, as they are signed.
    signed: String,
}

impl Exchange {
    /// Answers the client's first message: the exchange and our first message. A user who does not exist, or whose entry is of
    /// another form, gets an answer that looks like that of one who does, always the same. `nonce`: our part of it.
    ///
    /// # Errors
    /// The file has no entry for SCRAM at all.
    pub fn begin(
        first: &ClientFirst<'_>,
        passwords: &Passwords,
        secret: &Secret,
        nonce: &str,
    ) -> Result<(Self, String), Wrong> {
        let dummy = passwords.scram_dummy().ok_or("no entry of password_file is for SCRAM")?;
        let known = passwords.entry(&first.user).filter(|hash| hash.keys().is_some());
        let is_known = known.is_some();
        // Made for everybody, so that the time does not tell.
        let dummy = dummy.salted(|bytes| secret.salt(&first.user, bytes));
        let hash = known.cloned().unwrap_or(dummy);
        let Keys { iterations, salt, .. } = hash.keys().ok_or("an entry that is not for SCRAM")?;
        let nonce = format!("{}{nonce}", first.nonce);
        let server_first = format!("r={nonce},s={},i={iterations}", Base64::encode_string(salt));
        let signed = format!("{},{server_first}", first.bare);
        let gs2_header = Base64::encode_string(first.gs2_header.as_bytes()).into();
        let user = Box::from(&*first.user);
        Ok((Self { user, hash, is_known, gs2_header, nonce: nonce.into(), signed }, server_first))
    }

    /// Whom it is about.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Bytes that it keeps, about.
    pub fn cost(&self) -> usize {
        512 + self.user.len() + self.gs2_header.len() + self.nonce.len() + self.signed.len()
    }

    /// Checks the client's last message: our last one. `passwords`: as they are now.
    ///
    /// # Errors
    /// It is none, or is not about this exchange, or the proof is not that of the user's password, or the user's entry is another
    /// by now.
    pub fn finish(&self, data: &[u8], passwords: Option<&Passwords>) -> Result<String, Wrong> {
        const WRONG: Wrong = "the proof is not that of the user's password";
        let text = message(data)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or("a SCRAM message without a proof")?;
        let mut parts = without_proof.split(',');
        if parts.next().and_then(|part| part.strip_prefix("c=")) != Some(&self.gs2_header) {
            return Err("a SCRAM message with another header than the first");
        }
        if parts.next().and_then(|part| part.strip_prefix("r=")) != Some(&self.nonce) {
            return Err("a SCRAM message with another nonce");
        }
        let mut proven = [0; KEY_BYTES];
        if !Base64::decode(proof, &mut proven).is_ok_and(|proof| proof.len() == KEY_BYTES) {
            return Err("a SCRAM proof that is not base64 of 32 bytes");
        }
        let Keys { stored_key, server_key, .. } = self.hash.keys().ok_or(WRONG)?;
        let signed: [&[u8]; 3] = [self.signed.as_bytes(), b",", without_proof.as_bytes()];
        for (byte, of_signature) in proven.iter_mut().zip(keyed(stored_key, &signed)) {
            *byte ^= of_signature;
        }
        let is_right = Sha256::digest(proven).ct_eq(stored_key);
        let signature = keyed(server_key, &signed);
        let is_current = passwords.and_then(|passwords| passwords.entry(&self.user)) == Some(&self.hash);
        if !bool::from(is_right) || !self.is_known || !is_current {
            return Err(WRONG);
        }
        Ok(format!("v={}", Base64::encode_string(&signature)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::Scheme;
    use crate::auth::password::SALT_BYTES;

    /// The example of RFC 7677, section 3.
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const OUR_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn secret() -> Secret {
        Secret::new([7; KEY_BYTES])
    }

    fn users_of_the_example() -> Passwords {
        let salt = Base64::decode_vec("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let keys = keys_of(b"pencil", &salt, 4096).map(|key| Base64::encode_string(&key));
        let sha512 = Hash::of(b"x", Scheme::Sha512, [1; SALT_BYTES]);
        let text = format!("user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==${}${}\nold:{sha512}\n", keys[0], keys[1]);
        Passwords::parse(&text).expect("two good lines")
    }

    fn begin(first: &str, passwords: &Passwords) -> (Exchange, String) {
        let first = ClientFirst::parse(first.as_bytes()).expect("a good message");
        Exchange::begin(&first, passwords, &secret(), OUR_NONCE).expect("somebody has keys")
    }

    /// The client's side, by the book.
    fn client_final(password: &[u8], gs2_header: &str, bare: &str, server_first: &str) -> String {
        let mut parts = server_first.split(',').map(|part| &part[2..]);
        let nonce = parts.next().expect("r=");
        let salt = Base64::decode_vec(parts.next().expect("s=")).expect("base64");
        let iterations = parts.next().expect("i=").parse().expect("a number");
        let mut salted = [0; KEY_BYTES];
        pbkdf2_hmac::<Sha256>(password, &salt, iterations, &mut salted);
        let client_key = keyed(&salted, &[b"Client Key"]);
        let without_proof = format!("c={},r={nonce}", Base64::encode_string(gs2_header.as_bytes()));
        let signed = format!("{bare},{server_first},{without_proof}");
        let signature = keyed(&Sha256::digest(client_key), &[signed.as_bytes()]);
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        format!("{without_proof},p={}", Base64::encode_string(&proof))
    }

    #[test]
    fn the_example_of_rfc_7677_comes_out() {
        let passwords = users_of_the_example();
        let (exchange, server_first) = begin(CLIENT_FIRST, &passwords);
        assert_eq!((&*server_first, exchange.user()), (SERVER_FIRST, "user"));
        assert_eq!(exchange.finish(CLIENT_FINAL.as_bytes(), Some(&passwords)).as_deref(), Ok(SERVER_FINAL));
        assert_eq!(client_final(b"pencil", "n,,", &CLIENT_FIRST[3..], SERVER_FIRST), CLIENT_FINAL);
    }

    #[test]
    fn a_last_message_that_is_not_of_this_exchange_is_refused() {
        let passwords = users_of_the_example();
        let (exchange, _) = begin(CLIENT_FIRST, &passwords);
        for (from, to, words) in [
            ("c=biws", "c=eSws", "another header"),
            ("r=rOpr", "r=rOpq", "another nonce"),
            ("$k0,", "$k0,x=1,", "the proof is not"),
            ("p=dHzb", "p=dHzc", "the proof is not"),
            ("VQ=", "VQ", "not base64"),
            ("p=dHzb", "p=", "not base64"),
            (",p=", ",q=", "without a proof"),
            ("c=biws,", "", "another header"),
        ] {
            let changed = CLIENT_FINAL.replacen(from, to, 1);
            let wrong = exchange.finish(changed.as_bytes(), Some(&passwords)).expect_err("it is refused");
            assert!(wrong.contains(words), "{from} to {to}: {wrong}");
        }
        assert!(exchange.finish(b"\xff", Some(&passwords)).is_err() && exchange.finish(b"", Some(&passwords)).is_err());
        assert!(exchange.finish(CLIENT_FINAL.as_bytes(), Some(&passwords)).is_ok());
    }

    /// The file may change between the messages.
    #[test]
    fn who_has_other_keys_by_now_is_refused() {
        let (exchange, _) = begin(CLIENT_FIRST, &users_of_the_example());
        let hash = Hash::of(b"pencil", Scheme::ScramSha256, [3; SALT_BYTES]);
        for text in [String::new(), format!("user:{hash}")] {
            let changed = Passwords::parse(&text).expect("good lines");
            assert!(exchange.finish(CLIENT_FINAL.as_bytes(), Some(&changed)).is_err(), "{text}");
        }
    }

    /// Case A29: names cannot be guessed by asking for them.
    #[test]
    fn who_has_no_keys_is_answered_as_who_has_some() {
        let passwords = users_of_the_example();
        for user in ["old", "nobody"] {
            let first = CLIENT_FIRST.replace("user", user);
            let (exchange, server_first) = begin(&first, &passwords);
            assert_eq!(server_first.len(), SERVER_FIRST.len());
            assert!(server_first.ends_with("==,i=4096") && !server_first.contains("W22ZaJ0S"), "{server_first}");
            assert_eq!(begin(&first, &passwords).1, server_first, "always the same salt");
            let last = client_final(b"x", "n,,", &first[3..], &server_first);
            assert_eq!(
                exchange.finish(last.as_bytes(), Some(&passwords)),
                Err("the proof is not that of the user's password")
            );
        }
        assert_ne!(secret().salt("a", 40), secret().salt("b", 40));
        assert_eq!(secret().salt("a", 40).len(), 40);
        let first = ClientFirst::parse(CLIENT_FIRST.as_bytes()).expect("a good message");
        assert!(Exchange::begin(&first, &Passwords::parse("").expect("empty"), &secret(), "x").is_err());
    }

    #[test]
    fn first_messages_are_read_or_refused() {
        for (text, user) in [
            ("n,,n=user,r=x", "user"),
            ("y,,n=user,r=x,ext=1", "user"),
            ("n,a=user,n=user,r=x", "user"),
            ("n,,n=a=2Cb=3Dc,r=x", "a,b=c"),
        ] {
            assert_eq!(ClientFirst::parse(text.as_bytes()).expect(text).user, user);
        }
        let long = format!("n,,n=user,r={}", "x".repeat(SCRAM_MESSAGE_BYTES_MAX));
        for text in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=,r=x",
            "n,,n=user,r=",
            "n,,n=user,r=\u{e4}",
            "n,,n=a=2cb,r=x",
            "n,,n=a=,r=x",
            "n,,n=a\u{7},r=x",
            "p=tls-unique,,n=user,r=x",
            "x,,n=user,r=x",
            "n,a=root,n=user,r=x",
            "n,,m=1,n=user,r=x",
            &long,
        ] {
            assert!(ClientFirst::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(ClientFirst::parse(b"n,,n=\xff,r=x").is_err());
    }

    #[test]
    fn no_two_nonces_are_the_same_and_all_are_printable() {
        let nonces: std::collections::HashSet<String> =
            (0..2).flat_map(|shard| (0..500).map(move |number| secret().nonce(shard, number))).collect();
        assert_eq!(nonces.len(), 1000);
        assert!(
            nonces
                .iter()
                .all(|nonce| nonce.len() == 24 && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','))
        );
        assert_ne!(secret().nonce(0, 0), Secret::new([8; KEY_BYTES]).nonce(0, 0));
        assert_eq!(format!("{:?}", secret()), "Secret");
    }

    proptest! {
        /// Whatever comes is read or refused.
        #[test]
        fn no_message_panics(data in proptest::collection::vec(any::<u8>(), 0..80), text in "[ny],(a=x)?,n=[a=2C3D]{0,6},r=.{0,8}") {
            let passwords = users_of_the_example();
            let (exchange, _) = begin(CLIENT_FIRST, &passwords);
            let _ = ClientFirst::parse(text.as_bytes());
            let refused = ClientFirst::parse(&data).is_err() & exchange.finish(&data, Some(&passwords)).is_err();
            prop_assert!(refused);
        }

        /// Right passwords and no others, with any name.
        #[test]
        fn only_the_password_of_the_user_is_proven(name in "[a-z,=\u{e4}]{1,8}", password in "[ -~]{1,8}", other in "[ -~]{1,8}") {
            let hash = Hash::of(password.as_bytes(), Scheme::ScramSha256, [5; SALT_BYTES]);
            let user = name.replace('=', "=3D").replace(',', "=2C");
            let passwords = Passwords::parse(&format!("{name}:{hash}")).expect("one good line");
            let bare = format!("n={user},r=abc");
            let (exchange, server_first) = begin(&format!("n,,{bare}"), &passwords);
            for (tried, is_right) in [(&password, true), (&other, other == password)] {
                let last = client_final(tried.as_bytes(), "n,,", &bare, &server_first);
                prop_assert_eq!(exchange.finish(last.as_bytes(), Some(&passwords)).is_ok(), is_right);
            }
        }
    }
}
