//! Passwd: `ringmq passwd`, which makes and changes password files as mosquitto_passwd does.
//!
//! Duty: its command line, asking for a password, writing a file as a whole or not at all. Must not: know how a password is
//! hashed. Neighbours: `auth::password` hashes; `main` runs it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

use crate::auth::Scheme;
use crate::auth::password::{Hash, SALT_BYTES};
use crate::auth::scram;
use crate::runtime::Failure;

/// Exit code: a password that was not written the same twice, as mosquitto_passwd has it.
const EXIT_MISTYPED: u8 = 2;

/// Mode of a file that is made: passwords are nobody else's.
const NEW_MODE: u32 = 0o600;

/// Make and change password files, as mosquitto_passwd does
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq passwd", disable_version_flag = true)]
pub struct Order {
    /// Make a new file; one that is there is overwritten. `-` writes to standard output
    #[arg(short = 'c', conflicts_with_all = ["delete", "upgrade"])]
    create: bool,

    /// Take the password from the command line, where others may see it
    #[arg(short = 'b', conflicts_with_all = ["delete", "upgrade"])]
    batch: bool,

    /// Delete the user
    #[arg(short = 'D', conflicts_with = "upgrade")]
    delete: bool,

    /// Hash the plain passwords of a file; what is hashed already stays
    #[arg(short = 'U')]
    upgrade: bool,

    /// How to hash; Mosquitto 2.0 knows sha512-pbkdf2 and sha512, no Mosquitto knows scram-sha-256
    #[arg(short = 'H', value_name = "SCHEME", default_value = "argon2id")]
    scheme: SchemeWord,

    /// The file
    #[arg(value_name = "PASSWORDFILE")]
    file: PathBuf,

    /// The user
    user: Option<String>,

    /// The password, with -b
    password: Option<String>,
}

/// A scheme by its word.
#[derive(Clone, Copy, Debug)]
struct SchemeWord(Scheme);

impl ValueEnum for SchemeWord {
    fn value_variants<'a>() -> &'a [Self] {
        const { &[Self(Scheme::WORDS[0].1), Self(Scheme::WORDS[1].1), Self(Scheme::WORDS[2].1), Self(Scheme::WORDS[3].1)] }
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let word = Scheme::WORDS.iter().find(|(_, scheme)| *scheme == self.0).map(|(word, _)| *word);
        word.map(clap::builder::PossibleValue::new)
    }
}

/// Does it.
///
/// # Errors
/// A file that cannot be read or written, a user that is not there, a name that cannot be one: exit code 1.
pub fn run(order: &Order) -> Result<(), Failure> {
    let text = if order.create { String::new() } else { read(&order.file)? };
    if order.upgrade {
        if order.user.is_some() {
            return Err(Failure::usage("passwd -U takes a file and nothing else"));
        }
        return write(&order.file, &upgraded(&text, order.scheme.0)?);
    }
    let Some(user) = &order.user else { return Err(Failure::usage("passwd: no user name")) };
    check_user(user)?;
    if order.delete {
        let Some(left) = without(&text, user) else {
            return Err(Failure::usage(format!("passwd: user {user} is not in {}", order.file.display())));
        };
        return write(&order.file, &left);
    }
    let password = match (&order.password, order.batch) {
        (Some(password), true) => password.clone(),
        (None, true) => return Err(Failure::usage("passwd -b: no password behind the user name")),
        (Some(_), false) => return Err(Failure::usage("passwd: a password on the command line needs -b")),
        (None, false) => ask()?,
    };
    let text = with(&text, user, &hash(password.as_bytes(), order.scheme.0)?);
    if order.create && order.file.as_os_str() == "-" {
        return io::stdout().write_all(text.as_bytes()).map_err(|error| failed("standard output", &error));
    }
    write(&order.file, &text)
}

fn check_user(user: &str) -> Result<(), Failure> {
    let wrong = |what: &str| Err(Failure::usage(format!("passwd: {what}")));
    match user {
        "" => wrong("the user name is empty"),
        name if name.contains(':') => wrong("a user name must not contain ':'"),
        name if name.contains(char::is_control) || name.trim() != name => {
            wrong("a user name must not contain control characters, or begin or end with a blank")
        }
        name if name.starts_with('#') => wrong("a user name must not begin with '#': its line would say nothing"),
        name if name.len() > usize::from(u16::MAX) => wrong("a user name has 65,535 bytes at most"),
        _ => Ok(()),
    }
}

fn hash(password: &[u8], scheme: Scheme) -> Result<Hash, Failure> {
    if scheme == Scheme::ScramSha256 && !scram::is_preparable(password) {
        return Err(Failure::usage("passwd: for SCRAM a password is text without control characters, and not empty"));
    }
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt)
        .map_err(|error| Failure::system(format!("the system gives no random numbers: {error}")))?;
    Ok(Hash::of(password, scheme, salt))
}

/// The user of a line, if it has one.
fn user_of(line: &str) -> Option<&str> {
    let is_comment = line.starts_with('#');
    line.split_once(':').filter(|_| !is_comment).map(|(user, _)| user.trim())
}

/// The text with a user's line replaced or added; all other lines stay.
fn with(text: &str, user: &str, hash: &Hash) -> String {
    let new = format!("{user}:{hash}");
    let mut is_written = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        if user_of(line) != Some(user) {
            lines.push(line);
        } else if !std::mem::replace(&mut is_written, true) {
            lines.push(&new);
        }
    }
    if !is_written {
        lines.push(&new);
    }
    lines.join("\n") + "\n"
}

/// The text without a user's line; `None` if there is none.
fn without(text: &str, user: &str) -> Option<String> {
    let left: Vec<&str> = text.lines().filter(|line| user_of(line) != Some(user)).collect();
    (left.len() < text.lines().count()).then(|| left.iter().map(|line| format!("{line}\n")).collect())
}

/// The text with plain passwords hashed.
fn upgraded(text: &str, scheme: Scheme) -> Result<String, Failure> {
    let mut new = String::new();
    for line in text.lines() {
        match user_of(line).and_then(|user| Some((user, line.split_once(':')?.1))) {
            Some((user, plain)) if Hash::parse(plain.trim()).is_err() => {
                new += &format!("{user}:{}\n", hash(plain.trim_end_matches('\r').as_bytes(), scheme)?);
            }
            _ => new += &format!("{line}\n"),
        }
    }
    Ok(new)
}

/// Asks for a password, twice.
fn ask() -> Result<String, Failure> {
    let read = |prompt: &str| {
        if io::stdin().is_terminal() {
            return rpassword::prompt_password(prompt);
        }
        eprint!("{prompt}");
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        eprintln!();
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    let read = |prompt: &str| read(prompt).map_err(|error| failed("the password", &error));
    let password = read("Password: ")?;
    if password.is_empty() {
        return Err(Failure::usage("passwd: the password is empty"));
    }
    if read("Reenter password: ")? != password {
        return Err(Failure { exit_code: EXIT_MISTYPED, text: "passwd: the passwords are not the same".into() });
    }
    Ok(password)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let remedy = if error.kind() == io::ErrorKind::NotFound { "; -c makes it" } else { "" };
        Failure::usage(format!("passwd: cannot read {}: {error}{remedy}", path.display()))
    })
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("passwd: {what}: {error}"))
}

/// Writes a file so that everybody sees the old one or the new one: beside it, made safe, and then put in its place. Owner
/// and mode stay.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let told = |error: io::Error| failed(&format!("cannot write {}", path.display()), &error);
    // Behind a symbolic link: the link stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = fs::metadata(&path).ok();
    let name = path.file_name().ok_or_else(|| Failure::usage(format!("passwd: {} is no file", path.display())))?;
    let beside = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = write_beside(&beside, text, old.as_ref()).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map_err(told)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(told)
}

fn write_beside(beside: &Path, text: &str, old: Option<&fs::Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(NEW_MODE).open(beside)?;
    file.write_all(text.as_bytes())?;
    if let Some(old) = old {
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        // Only root may give files away; for others it is theirs already, or stays so.
        let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Passwords;

    fn made(password: &str) -> Hash {
        Hash::of(password.as_bytes(), Scheme::Sha512, [3; SALT_BYTES])
    }

    #[test]
    fn one_line_changes_and_all_others_stay() {
        let text = format!("# users\nalice:{0}\nbob:{0}\nalice:{0}\n", made("x"));
        let new = with(&text, "alice", &made("new"));
        assert_eq!(new, format!("# users\nalice:{}\nbob:{}\n", made("new"), made("x")));
        assert_eq!(with("", "carol", &made("x")), format!("carol:{}\n", made("x")));
        assert_eq!(without(&text, "alice"), Some(format!("# users\nbob:{}\n", made("x"))));
        assert_eq!(without(&text, "nobody"), None);
        assert_eq!(without("# a:b\n", "# a"), None, "a comment is no user");
    }

    #[test]
    fn plain_passwords_are_hashed_and_hashes_stay() {
        let text = format!("# users\nalice:pl:ain\r\nbob:{}\n\n", made("x"));
        let new = upgraded(&text, Scheme::Pbkdf2).unwrap();
        let passwords = Passwords::parse(&new).unwrap();
        assert!(passwords.verify("alice", b"pl:ain") && passwords.verify("bob", b"x"), "{new}");
        assert_eq!(upgraded(&new, Scheme::Pbkdf2).unwrap(), new);
    }

    #[test]
    fn some_names_cannot_be_users() {
        for name in ["", "a:b", " a", "a ", "a\nb", "#a", &"x".repeat(65_536)] {
            assert_eq!(check_user(name).unwrap_err().exit_code, 1, "{name:?}");
        }
        assert!(check_user("a b").is_ok() && check_user("\u{e4}").is_ok());
    }
}
