//! Policy files: from the configuration, and the files that it names, to the policy of all shards.
//!
//! Duty: read password and ACL files, say every mistake with file and line. Must not: decide who may do what. Neighbours: `auth`
//! parses; `start` reads them at the start and when told to.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;

use super::authenticator::Authenticator;
use super::failure::{EXIT_CONFIG, Failure};
use super::judges::Judges;
use super::tokens::TokenKeys;
use crate::auth::{Acl, Judge, JudgeId, Mistake, Passwords, Policy, Rules, Terms, Token};
use crate::config::{Admin, Config, Listener, Security};
use crate::transport::web_server_tls;

/// What the shards are told of the listeners of a configuration, with its files as they are now, and who judges besides.
///
/// # Errors
/// A file that cannot be read (exit code 1, case A26), or that has mistakes (exit code 3): all of them.
pub(super) fn load(config: &Config) -> Result<(Policy, Judges), Failure> {
    let mut judges = Judges::default();
    let rules =
        config.securities.iter().map(|security| read_rules(security, &mut judges)).collect::<Result<Vec<_>, _>>()?;
    let listeners = config.listeners.iter().map(terms_of).collect::<Result<Vec<_>, _>>()?;
    let offer = &config.offer;
    let policy = Policy {
        listeners,
        rules,
        retain_available: offer.retains,
        queues_qos0: offer.queues_qos0,
        refuses_long_keep_alive: offer.refuses_long_keep_alive,
        copies_per_subscription: offer.copies_per_subscription,
        payload_bytes_max: offer.payload_bytes_max.map_or(usize::MAX, |bytes| bytes as usize),
        tells_subscriptions: config.logging.tells_subscriptions,
        durability: config.store.as_ref().map_or_else(Vec::new, |store| store.durability.clone()),
    };
    Ok((policy, judges))
}

fn terms_of(listener: &Listener) -> Result<Terms, Failure> {
    if let Some(mount) = listener.mount_point.as_deref().filter(|mount| mount.contains(['+', '#', '\0'])) {
        return Err(Failure {
            exit_code: EXIT_CONFIG,
            text: format!("mount_point {mount}: wildcards are not allowed"),
        });
    }
    Ok(Terms {
        rules: listener.security,
        maximum_qos: listener.maximum_qos,
        topic_alias_max: listener.topic_alias_max,
        topic_alias_out_max: listener.topic_alias_out_max,
        versions: listener.versions.clone(),
        mount_point: listener.mount_point.as_deref().map(Box::from),
        uses_user_name_as_client_id: listener.uses_user_name_as_client_id,
        generated_id_prefix: listener.generated_id_prefix.as_deref().map(Box::from),
    })
}

/// The token of the admin room, if it has one.
///
/// # Errors
/// A file that cannot be read (exit code 1), or that has none (exit code 3).
pub(super) fn load_token(admin: &Admin) -> Result<Option<Token>, Failure> {
    let wrong = |what| vec![Mistake { line: 1, what }];
    let parse = |text: &str| Token::parse(text).map_err(wrong);
    admin.token_file.as_deref().map(|path| read(path, "admin_token_file", parse)).transpose()
}

/// What encrypts the admin room, if it is.
///
/// # Errors
/// A file that cannot be read (exit code 1), or whose content cannot be used (exit code 3).
pub(super) fn load_admin_tls(admin: &Admin) -> Result<Option<Arc<ServerConfig>>, Failure> {
    let Some((certificate, key)) = admin.certificate.as_deref().zip(admin.key.as_deref()) else { return Ok(None) };
    web_server_tls(certificate, key).map(Some).map_err(|error| {
        let text = format!("admin: {error}");
        if error.is_missing { Failure::usage(text) } else { Failure::config(text) }
    })
}

/// The policy of a configuration for questions about rights (`ringmq why`): neither its password files nor its keys are read, as whoever
/// asks seldom may; that there are some is known.
///
/// # Errors
/// A file that cannot be read (exit code 1), or that has mistakes (exit code 3).
pub fn policy_for_questions(config: &Config, is_strict: bool) -> Result<Policy, Failure> {
    let mut known = config.clone();
    for security in &mut known.securities {
        (security.password_file, security.tokens, security.authenticator) = (None, None, None);
        security.refuses_useless_subscriptions |= is_strict;
    }
    let (mut policy, _) = load(&known)?;
    let judge = |gives_rights| Judge { id: JudgeId(0), gives_rights };
    for (rules, security) in policy.rules.iter_mut().zip(&config.securities) {
        rules.tokens = security.tokens.as_ref().map(|tokens| judge(tokens.gives_rights()));
        rules.authenticator = security.authenticator.as_ref().map(|_| judge(true));
    }
    Ok(policy)
}

/// The rules of a configuration, with its files as they are now.
///
/// # Errors
/// A file that cannot be read (exit code 1), or that has mistakes (exit code 3).
fn rules_of(security: &Security) -> Result<Rules, Failure> {
    read_rules(security, &mut Judges::default())
}

/// Reads all files that say who may do what, as a start would (`ringmq check`).
///
/// # Errors
/// A file that cannot be read (exit code 1), or that has mistakes (exit code 3).
pub fn check_files(config: &Config) -> Result<(), Failure> {
    load(config).map(drop)
}

fn read_rules(security: &Security, judges: &mut Judges) -> Result<Rules, Failure> {
    let tokens = security.tokens.as_ref().map(TokenKeys::load).transpose()?.map(Arc::new);
    judges.tokens.extend(tokens.iter().map(|keys| (keys.id(), Arc::clone(keys))));
    let authenticator = security.authenticator.as_ref().map(Authenticator::load).transpose()?.map(Arc::new);
    judges.authenticators.extend(authenticator.iter().map(|server| (server.id(), Arc::clone(server))));
    let passwords = security.password_file.as_deref();
    let passwords = passwords.map(|path| read(path, "password_file", Passwords::parse)).transpose()?;
    let acl = security.acl_file.as_deref().map(|path| read(path, "acl_file", Acl::parse)).transpose()?;
    let acl_name = security.acl_file.as_deref().map_or(String::new(), |path| path.display().to_string());
    Ok(Rules {
        allow_anonymous: security.allow_anonymous,
        passwords: passwords.map(Arc::new),
        tokens: tokens.map(|keys| Judge { id: keys.id(), gives_rights: keys.gives_rights() }),
        authenticator: authenticator.map(|server| Judge { id: server.id(), gives_rights: true }),
        acl: acl.map(Arc::new),
        acl_name: acl_name.into(),
        allow_empty_client_id: security.allow_empty_client_id,
        client_id_prefix: security.client_id_prefix.as_deref().map(Box::from),
        refuses_useless_subscriptions: security.refuses_useless_subscriptions,
        checks_retain_source: security.checks_retain_source,
    })
}

/// Reads one file.
fn read<T>(path: &Path, option: &str, parse: impl Fn(&str) -> Result<T, Vec<Mistake>>) -> Result<T, Failure> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| Failure::usage(format!("{option} {shown}: cannot be read: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure { exit_code: EXIT_CONFIG, text: format!("{option} {shown}: not all of it is UTF-8") })?;
    parse(&text).map_err(|mistakes| {
        let lines: Vec<String> =
            mistakes.iter().map(|Mistake { line, what }| format!("{shown}:{line}: {what}")).collect();
        Failure { exit_code: EXIT_CONFIG, text: format!("{option}: {}", lines.join("; ")) }
    })
}

/// One listener with the rights of an ACL file, for questions about them (`ringmq why`).
///
/// # Errors
/// A file that cannot be read, or that has mistakes.
pub fn policy_of_acl_file(path: &Path, is_strict: bool) -> Result<Policy, Failure> {
    let acl_file = Some(path.to_owned());
    let security = Security { acl_file, refuses_useless_subscriptions: is_strict, ..Security::default() };
    Ok(Policy { rules: vec![rules_of(&security)?], ..Policy::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases A25 and A26: a file that cannot be read, or is wrong, gives no rules at all.
    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name_and_lines() {
        let missing = policy_of_acl_file(Path::new("/no/such/file"), false).expect_err("no file");
        assert_eq!(missing.exit_code, 1);
        assert!(missing.text.contains("acl_file /no/such/file: cannot be read"), "{missing}");
        let path = std::env::temp_dir().join(format!("ringmq-acl-{}", std::process::id()));
        for (bytes, words) in [(&b"topic read a\nthing\nuser\n"[..], ":2: "), (b"\xff\n", "UTF-8")] {
            fs::write(&path, bytes).unwrap();
            let wrong = policy_of_acl_file(&path, false).expect_err("mistakes");
            assert_eq!(wrong.exit_code, EXIT_CONFIG);
            assert!(wrong.text.contains(words) && !wrong.text.contains('\n'), "{wrong}");
        }
        fs::write(&path, "topic read a\n").unwrap();
        assert!(policy_of_acl_file(&path, true).unwrap().rules[0].refuses_useless_subscriptions);
        let admin = Admin { token_file: Some(path.clone()), ..Admin::USUAL };
        let wrong = load_token(&admin).expect_err("a token has no spaces");
        assert!(wrong.exit_code == EXIT_CONFIG && wrong.text.starts_with("admin_token_file: "), "{wrong}");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        assert!(load_token(&admin).unwrap().is_some_and(|token| token.is(b"0123456789abcdef")));
        fs::remove_file(&path).unwrap();
        assert!(load_token(&admin).expect_err("no file").text.contains("cannot be read"));
        assert!(load_token(&Admin::USUAL).unwrap().is_none());
    }
}
