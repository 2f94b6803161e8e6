//! Token: a secret text that opens the admin room.
//!
//! Duty: what a file of it must look like; comparing in a time that says nothing of it. Must not: keep its text. Neighbours: `runtime`
//! reads the file, `admin` compares.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Shortest token, bytes: one that nobody guesses.
const BYTES_MIN: usize = 16;
/// Longest token, bytes.
const BYTES_MAX: usize = 1024;

/// A token's digest.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// Reads a file: one line.
    ///
    /// # Errors
    /// What a token must be, if it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let token = text.trim_end_matches(['\r', '\n']);
        let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token || !(BYTES_MIN..=BYTES_MAX).contains(&token.len()) {
            let remedy = "one line is wanted, such as `openssl rand -hex 32` prints";
            return Err(format!("no token: {BYTES_MIN} to {BYTES_MAX} visible ASCII letters; {remedy}"));
        }
        Ok(Self(digest_of(token.as_bytes())))
    }

    /// Whether these are the bytes of the token. The time it takes depends on `bytes` alone.
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.0.ct_eq(&digest_of(bytes)).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Token")
    }
}

fn digest_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_of_visible_letters_and_is_itself_alone() {
        let token = Token::parse("0123456789abcdef\r\n").expect("16 letters");
        assert!(token.is(b"0123456789abcdef"));
        for other in [&b"0123456789abcdeF"[..], b"0123456789abcde", b"0123456789abcdef\n", b""] {
            assert!(!token.is(other), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "Token", "a log has nothing of it");
        for bad in ["", "0123456789abcde", "0123456789 abcdef", "0123456789abcdef\n0123456789abcdef", "0123456789abcdé"]
        {
            assert!(Token::parse(bad).is_err_and(|text| text.contains("openssl rand")), "{bad}");
        }
        assert!(Token::parse(&"x".repeat(BYTES_MAX + 1)).is_err());
    }
}
