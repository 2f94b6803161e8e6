//! Password files as Mosquitto writes them: one `user:hash` in each line, and one form of hash that it does not know, for SCRAM.
//!
//! Duty: read them and say every mistake, check one password in a time that tells nothing, make the hash of a new one. Must not:
//! run on a shard (a check costs up to tens of milliseconds). Neighbours: `runtime/verifier` checks, `cli/passwd` writes, `scram`
//! takes the keys.

use std::collections::HashMap;
use std::fmt;

use argon2::Argon2;
use base64ct::{Base64, Base64Unpadded, Encoding};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::{Mistake, numbered, scram};

/// Bytes of a hash that is made; of one that is read, those that SHA-512 has.
const HASH_BYTES: usize = 64;
/// Bytes of the salt that a new hash is made with, or of a part of it.
pub const SALT_BYTES: usize = 64;
/// Bytes of a salt of `$6$` and `$7$`: Mosquitto 2.0 takes no other.
const SHORT_SALT_BYTES: usize = 12;
/// Rounds of PBKDF2 for a new password, as Mosquitto 2.1 has them.
const ITERATIONS: u32 = 1000;
/// Rounds of PBKDF2 for a new entry for SCRAM: the fewest that RFC 7677 recommends, as small devices compute them.
const SCRAM_ITERATIONS: u32 = 4096;
/// Bytes of the salt of a new entry for SCRAM.
const SCRAM_SALT_BYTES: usize = 16;
/// Parameters of Argon2id for a new password, as Mosquitto 2.1 has them: KiB of memory, passes, lanes.
const ARGON2: (u32, u32, u32) = (47_104, 1, 1);
/// Most memory that a hash may ask for, KiB, and most passes: more is a mistake, as it would stop all logins.
const ARGON2_MEMORY_KIB_MAX: u32 = 1 << 20;
const ARGON2_PASSES_MAX: u32 = 1000;
/// Most rounds of PBKDF2 that a hash may ask for.
const ITERATIONS_MAX: u32 = 100_000_000;

/// How a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `$argon2id$`: the default of Mosquitto 2.1.
    Argon2id,
    /// `$7$`: the default of Mosquitto 2.0.
    Pbkdf2,
    /// `$6$`: one SHA-512, as Mosquitto 1.6 and older.
    Sha512,
    /// `$scram-sha-256$`: the keys of SCRAM (RFC 5802), which Mosquitto does not know.
    ScramSha256,
}

impl Scheme {
    /// The words for the schemes on the command line; the first is the default.
    pub const WORDS: [(&str, Self); 4] = [
        ("argon2id", Self::Argon2id),
        ("sha512-pbkdf2", Self::Pbkdf2),
        ("sha512", Self::Sha512),
        ("scram-sha-256", Self::ScramSha256),
    ];
}

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    method: Method,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Method {
    Argon2id {
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
    Pbkdf2 {
        iterations: u32,
    },
    Sha512,
    /// The hash is StoredKey and ServerKey, one behind the other.
    ScramSha256 {
        iterations: u32,
    },
}

impl fmt::Debug for Hash {
    /// Not the hash: it would end in a log.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Hash({:?})", self.method)
    }
}

impl Hash {
    /// Hashes a new password. `salt`: random bytes, never used before.
    pub fn of(password: &[u8], scheme: Scheme, salt: [u8; SALT_BYTES]) -> Self {
        let method = match scheme {
            Scheme::Argon2id => Method::Argon2id { memory_kib: ARGON2.0, passes: ARGON2.1, lanes: ARGON2.2 },
            Scheme::Pbkdf2 => Method::Pbkdf2 { iterations: ITERATIONS },
            Scheme::Sha512 => Method::Sha512,
            Scheme::ScramSha256 => Method::ScramSha256 { iterations: SCRAM_ITERATIONS },
        };
        let salt = match scheme {
            Scheme::Argon2id => &salt[..],
            Scheme::ScramSha256 => &salt[..SCRAM_SALT_BYTES],
            Scheme::Pbkdf2 | Scheme::Sha512 => &salt[..SHORT_SALT_BYTES],
        };
        let mut made = Self { method, salt: salt.to_vec(), hash: vec![0; HASH_BYTES] };
        made.hash = made.compute(password);
        made
    }

    /// Reads what stands behind the colon.
    ///
    /// # Errors
    /// Words that say what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('$').collect();
        match parts[..] {
            ["", "6", salt, hash] => Self::sha512(Method::Sha512, salt, hash),
            ["", "7", iterations, salt, hash] => {
                let iterations = number(iterations, "iterations", ITERATIONS_MAX)?;
                Self::sha512(Method::Pbkdf2 { iterations }, salt, hash)
            }
            ["", "scram-sha-256", iterations, salt, stored_key, server_key] => {
                let iterations = number(iterations, "iterations", ITERATIONS_MAX)?;
                Self::scram(iterations, salt, [stored_key, server_key])
            }
            ["", "scram-sha-256", ..] => Err("not $scram-sha-256$ITERATIONS$SALT$STOREDKEY$SERVERKEY".into()),
            ["", "argon2id", "v=19", parameters, salt, hash] => Self::argon2id(parameters, salt, hash),
            ["", "argon2id", ..] => Err("not $argon2id$v=19$m=MEMORY,t=PASSES,p=LANES$SALT$HASH".into()),
            _ => {
                let known = "$6$, $7$, $argon2id$ and $scram-sha-256$ are known";
                Err(format!("no hash of a password; {known} (ringmq passwd -U hashes plain text)"))
            }
        }
    }

    fn sha512(method: Method, salt: &str, hash: &str) -> Result<Self, String> {
        let salt = Base64::decode_vec(salt).map_err(|_| "the salt is not base64")?;
        let hash = Base64::decode_vec(hash).map_err(|_| "the hash is not base64")?;
        if salt.is_empty() || hash.len() != HASH_BYTES {
            return Err(format!("the salt is empty, or the hash has not {HASH_BYTES} bytes"));
        }
        Ok(Self { method, salt, hash })
    }

    fn scram(iterations: u32, salt: &str, keys: [&str; 2]) -> Result<Self, String> {
        let salt = Base64::decode_vec(salt).map_err(|_| "the salt is not base64")?;
        let mut hash = Vec::with_capacity(HASH_BYTES);
        for key in keys {
            let key = Base64::decode_vec(key).map_err(|_| "a key is not base64")?;
            if key.len() != scram::KEY_BYTES {
                return Err(format!("a key has not {} bytes", scram::KEY_BYTES));
            }
            hash.extend(key);
        }
        if salt.is_empty() || salt.len() > SALT_BYTES {
            return Err(format!("the salt has not 1 to {SALT_BYTES} bytes"));
        }
        Ok(Self { method: Method::ScramSha256 { iterations }, salt, hash })
    }

    fn argon2id(parameters: &str, salt: &str, hash: &str) -> Result<Self, String> {
        let parts: Vec<&str> = parameters.split(',').collect();
        let value = |at: usize, key: &str| {
            let text = parts.get(at).and_then(|part| part.strip_prefix(key)).and_then(|rest| rest.strip_prefix('='));
            text.ok_or_else(|| format!("no {key}= where it belongs, behind v=19"))
        };
        let method = Method::Argon2id {
            memory_kib: number(value(0, "m")?, "m", ARGON2_MEMORY_KIB_MAX)?,
            passes: number(value(1, "t")?, "t", ARGON2_PASSES_MAX)?,
            lanes: number(value(2, "p")?, "p", 0x00ff_ffff)?,
        };
        let salt = Base64Unpadded::decode_vec(salt).map_err(|_| "the salt is not base64 without padding")?;
        let hash = Base64Unpadded::decode_vec(hash).map_err(|_| "the hash is not base64 without padding")?;
        let found = Self { method, salt, hash };
        if parts.len() != 3 || found.argon2().is_none() || found.salt.len() < argon2::MIN_SALT_LEN {
            return Err("parameters, salt or hash are not those of Argon2id".into());
        }
        Ok(found)
    }

    fn argon2(&self) -> Option<Argon2<'static>> {
        let Method::Argon2id { memory_kib, passes, lanes } = self.method else { return None };
        let params = argon2::Params::new(memory_kib, passes, lanes, Some(self.hash.len())).ok()?;
        Some(Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params))
    }

    /// What `password` would be kept as. Empty if it cannot be computed.
    fn compute(&self, password: &[u8]) -> Vec<u8> {
        match self.method {
            Method::Sha512 => Sha512::new().chain_update(password).chain_update(&self.salt).finalize().to_vec(),
            Method::Pbkdf2 { iterations } => {
                let mut hash = vec![0; HASH_BYTES];
                pbkdf2_hmac::<Sha512>(password, &self.salt, iterations, &mut hash);
                hash
            }
            Method::ScramSha256 { iterations } => scram::keys_of(password, &self.salt, iterations).concat(),
            Method::Argon2id { .. } => {
                let mut hash = vec![0; self.hash.len()];
                let hashed = self.argon2().map(|argon2| argon2.hash_password_into(password, &self.salt, &mut hash));
                if matches!(hashed, Some(Ok(()))) { hash } else { Vec::new() }
            }
        }
    }

    /// Whether this is kept of `password`. Takes as long for a wrong one as for the right one.
    pub fn is_of(&self, password: &[u8]) -> bool {
        let computed = self.compute(password);
        computed.len() == self.hash.len() && bool::from(computed.ct_eq(&self.hash))
    }

    /// How much work a check is, to compare with others.
    fn work(&self) -> u64 {
        match self.method {
            Method::Sha512 => 1,
            Method::Pbkdf2 { iterations } | Method::ScramSha256 { iterations } => u64::from(iterations) * 4,
            Method::Argon2id { memory_kib, passes, .. } => u64::from(memory_kib) * u64::from(passes) * 4,
        }
    }

    /// What SCRAM needs of it; `None` if it is of another form.
    pub(super) fn keys(&self) -> Option<scram::Keys<'_>> {
        let Method::ScramSha256 { iterations } = self.method else { return None };
        let (stored_key, server_key) = self.hash.split_first_chunk()?;
        Some(scram::Keys { iterations, salt: &self.salt, stored_key, server_key: server_key.try_into().ok()? })
    }

    /// The same with another salt, that nobody's password has.
    pub(super) fn salted(&self, salt: impl FnOnce(usize) -> Vec<u8>) -> Self {
        Self { method: self.method.clone(), salt: salt(self.salt.len()), hash: vec![0; self.hash.len()] }
    }

    /// Whether it is kept as one would be made now.
    fn resembles(&self, other: &Self) -> bool {
        self.method == other.method && self.salt.len() == other.salt.len() && self.hash.len() == other.hash.len()
    }
}

impl fmt::Display for Hash {
    /// As it stands in a file.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let padded = |bytes: &[u8]| Base64::encode_string(bytes);
        let unpadded = |bytes: &[u8]| Base64Unpadded::encode_string(bytes);
        match self.method {
            Method::Sha512 => write!(out, "$6${}${}", padded(&self.salt), padded(&self.hash)),
            Method::Pbkdf2 { iterations } => {
                write!(out, "$7${iterations}${}${}", padded(&self.salt), padded(&self.hash))
            }
            Method::Argon2id { memory_kib, passes, lanes } => {
                let (salt, hash) = (unpadded(&self.salt), unpadded(&self.hash));
                write!(out, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
            }
            Method::ScramSha256 { iterations } => {
                let (stored_key, server_key) = self.hash.split_at(scram::KEY_BYTES);
                let keys = format!("{}${}", padded(stored_key), padded(server_key));
                write!(out, "$scram-sha-256${iterations}${}${keys}", padded(&self.salt))
            }
        }
    }
}

fn number(text: &str, name: &str, max: u32) -> Result<u32, String> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = if is_decimal { text.parse().ok() } else { None };
    value.filter(|value| (1..=max).contains(value)).ok_or_else(|| format!("{name} is no number from 1 to {max}"))
}

/// The users of a password file.
#[derive(Clone, Debug)]
pub struct Passwords {
    users: HashMap<Box<str>, Hash>,
    /// What is checked for a user that does not exist: it costs as much as for most that do.
    dummy: Hash,
    /// As what a user without keys for SCRAM is shown; `None` if nobody has any.
    scram_dummy: Option<Hash>,
}

impl Passwords {
    /// Reads a password file. Empty lines, and those that begin with `#`, say nothing.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut users = HashMap::new();
        let mut mistakes = Vec::new();
        for (line, text) in numbered(text).filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
            match parse_line(text) {
                Ok((user, _)) if users.contains_key(user) => {
                    mistakes.push(Mistake { line, what: format!("user '{user}' stands here a second time") });
                }
                Ok((user, hash)) => drop(users.insert(Box::from(user), hash)),
                Err(what) => mistakes.push(Mistake { line, what }),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let dummy = dummy_like(users.values());
        let for_scram = users.values().filter(|hash| hash.keys().is_some());
        let scram_dummy = for_scram.clone().next().is_some().then(|| dummy_like(for_scram));
        Ok(Self { users, dummy, scram_dummy })
    }

    /// Whether there is such a user.
    pub fn has(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The line's part behind the colon, to tell one version of an entry from another.
    pub fn entry(&self, user: &str) -> Option<&Hash> {
        self.users.get(user)
    }

    /// A hash with the parameters of most that SCRAM can use; `None` if it can use none.
    pub fn scram_dummy(&self) -> Option<&Hash> {
        self.scram_dummy.as_ref()
    }

    /// Whether the user exists and has this password. For one that does not exist, a password is checked all the same, so that
    /// the time does not tell (case A29).
    pub fn verify(&self, user: &str, password: &[u8]) -> bool {
        match self.users.get(user) {
            Some(hash) => hash.is_of(password),
            None => {
                std::hint::black_box(self.dummy.is_of(password));
                false
            }
        }
    }
}

fn parse_line(text: &str) -> Result<(&str, Hash), String> {
    let (user, hash) = text.split_once(':').ok_or("not user:hash")?;
    let user = user.trim();
    if user.is_empty() {
        return Err("no user name before the colon".into());
    }
    let hash = Hash::parse(hash.trim()).map_err(|what| format!("user '{user}': {what}"))?;
    Ok((user, hash))
}

/// A hash of no password, that takes as long to check as the kind that most users have; of equally many, the slowest.
fn dummy_like<'a>(hashes: impl Iterator<Item = &'a Hash> + Clone) -> Hash {
    let mut kinds: Vec<(&Hash, usize)> = Vec::new();
    for hash in hashes {
        match kinds.iter_mut().find(|(kind, _)| kind.resembles(hash)) {
            Some((_, count)) => *count += 1,
            None => kinds.push((hash, 1)),
        }
    }
    let most = kinds.into_iter().max_by_key(|(kind, count)| (*count, kind.work())).map(|(kind, _)| kind.clone());
    let none = Hash { method: Method::Pbkdf2 { iterations: ITERATIONS }, salt: vec![0; 12], hash: vec![0; HASH_BYTES] };
    let mut dummy = most.unwrap_or(none);
    dummy.hash.fill(0);
    dummy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by mosquitto_passwd 2.0.11, password `secret`.
    const PBKDF2: &str = "$7$101$JJkslZpt3+mBOtVz$jAQmnbbJaNDKYQHCNpjilDyHW4nVNDyXpkm0kbyFcvVouAyLkjkwgEAMcFZxGGT9yTpnswaPoao50f4dUE77bA==";
    const SHA512: &str =
        "$6$RYp77yG4aC5JD2f7$nxOQDbMVr+R91W9lPU8Kq3HD86W3/JVSew2KQIDOBBJ9d3EwuVOKs67pkYTI/RvH9vv/QToPGFBrQ2B29h+aRg==";

    fn mistakes(text: &str) -> Vec<(u32, String)> {
        let found = Passwords::parse(text).expect_err("mistakes");
        found.into_iter().map(|mistake| (mistake.line, mistake.what)).collect()
    }

    #[test]
    fn files_of_mosquitto_passwd_are_read_and_their_passwords_accepted() {
        let text = format!("# users\nalice:{PBKDF2}\r\n\nbob:{SHA512}  \n");
        let passwords = Passwords::parse(&text).expect("as mosquitto_passwd made it");
        assert_eq!((passwords.len(), passwords.is_empty()), (2, false));
        for user in ["alice", "bob"] {
            assert!(passwords.has(user) && passwords.verify(user, b"secret"), "{user}");
            for wrong in [&b"secreT"[..], b"", b"secret ", b"secret\x01"] {
                assert!(!passwords.verify(user, wrong), "{user} {wrong:?}");
            }
        }
        assert!(!passwords.has("carol") && !passwords.verify("carol", b"secret"));
    }

    /// Every scheme, through the text that stands in the file.
    #[test]
    fn what_is_made_is_read_and_accepted() {
        for (word, scheme) in Scheme::WORDS {
            let salt: [u8; SALT_BYTES] = std::array::from_fn(|index| index as u8 ^ 0x5a);
            let made = Hash::of(b"p\xc3\xa4ss", scheme, salt);
            let read = Hash::parse(&made.to_string()).unwrap_or_else(|what| panic!("{word}: {what}"));
            assert_eq!(read.to_string(), made.to_string());
            assert!(read.is_of(b"p\xc3\xa4ss") && !read.is_of(b"pass"), "{word}");
            assert_ne!(Hash::of(b"p\xc3\xa4ss", scheme, [1; SALT_BYTES]).hash, made.hash, "{word}: the salt counts");
            assert!(!format!("{made:?}").contains(&Base64::encode_string(&made.hash)), "{word}: a hash in a log");
        }
    }

    /// The reference program of Argon2: `echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32 -e`.
    #[test]
    fn argon2id_is_that_of_others() {
        let known = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = Hash::parse(known).expect("a PHC string");
        assert!(hash.is_of(b"password") && !hash.is_of(b"Password"));
    }

    /// The salt and password of the example in RFC 7677.
    #[test]
    fn an_entry_for_scram_is_checked_with_a_plain_password_too() {
        let keys = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let entry = format!("$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==${keys}");
        let hash = Hash::parse(&entry).expect("our form");
        assert!(hash.is_of(b"pencil") && !hash.is_of(b"Pencil"));
        assert_eq!(hash.to_string(), entry);
        let wrong = |from: &str, to: &str| Hash::parse(&entry.replacen(from, to, 1)).expect_err("a mistake");
        for (from, to, words) in [
            ("$4096", "$0", "iterations is no number"),
            ("$4096", "", "ITERATIONS$SALT"),
            ("W22ZaJ0SNY7soEsUEjb6gQ==", "", "1 to 64 bytes"),
            ("W22Z", "W2!Z", "the salt is not base64"),
            ("WG5d", "WG!d", "a key is not base64"),
            ("WG5d", "", "a key has not 32 bytes"),
        ] {
            assert!(wrong(from, to).contains(words), "{from} {to}");
        }
    }

    #[test]
    fn every_mistake_is_said_with_its_line() {
        let short = "$6$c2FsdA==$c2hvcnQ=";
        let text = format!(
            "good:{SHA512}\nno colon\n:{SHA512}\nplain:secret\ngood:{PBKDF2}\nzero:{}\nshort:{short}\nbad:$6$!$AAAA\n\
             odd:$argon2id$v=19$m=1,t=1$c29tZXNhbHQ$AAAA\nold:$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$AAAA",
            PBKDF2.replace("$101$", "$0$")
        );
        let found = mistakes(&text);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8, 9, 10]);
        for ((_, what), words) in found.iter().zip([
            "not user:hash",
            "no user name",
            "ringmq passwd -U",
            "a second time",
            "iterations is no number",
            "64 bytes",
            "salt is not base64",
            "no p=",
            "$argon2id$v=19",
        ]) {
            assert!(what.contains(words), "{what:?} does not say {words:?}");
        }
        assert!(!found.iter().any(|(_, what)| what.contains("secret")), "a password in a log");
    }

    #[test]
    fn numbers_are_plain_and_within_bounds() {
        for (text, is_read) in
            [("1", true), ("10", true), ("11", false), ("0", false), ("", false), ("+1", false), ("1x", false)]
        {
            assert_eq!(number(text, "n", 10).is_ok(), is_read, "{text:?}");
        }
    }

    /// Case A29: an unknown user costs what most known ones do, in the same steps.
    #[test]
    fn who_does_not_exist_costs_as_much_as_most_who_do() {
        let parse = |text: &str| Passwords::parse(text).expect("good").dummy;
        let two = format!("a:{SHA512}\nb:{PBKDF2}");
        assert_eq!(parse(&two).method, Method::Pbkdf2 { iterations: 101 }, "of as many, the slower");
        let three = format!("{two}\nc:{SHA512}");
        let dummy = parse(&three);
        assert_eq!((dummy.method.clone(), dummy.salt.len()), (Method::Sha512, 12));
        assert_eq!(parse("").method, Method::Pbkdf2 { iterations: ITERATIONS });
        let argon2 = Hash::of(b"", Scheme::Argon2id, [0; SALT_BYTES]);
        let text = format!("a:{PBKDF2}\nb:{argon2}");
        assert_eq!(parse(&text).method, argon2.method, "of as many, the slower");
    }
}
