//! The text of one level, as a node keeps it.
//!
//! Duty: keep short levels inside the node, because nearly all levels are short and an allocation each would double the
//! memory of a million filters. Must not: be shown outside the tree. Neighbours: `tree`.

/// Longest level kept without an allocation, bytes; makes the type as large as a `Vec`, 24 bytes.
const INLINE_BYTES_MAX: usize = 22;

/// The bytes of one level. Bytes and not `str`, because levels are only compared and hashed.
#[derive(Debug)]
pub(super) enum LevelText {
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Boxed(Box<[u8]>),
}

impl LevelText {
    pub(super) const EMPTY: Self = Self::Inline { len: 0, bytes: [0; INLINE_BYTES_MAX] };

    pub(super) fn new(text: &[u8]) -> Self {
        match u8::try_from(text.len()) {
            Ok(len) if text.len() <= INLINE_BYTES_MAX => {
                let mut bytes = [0; INLINE_BYTES_MAX];
                bytes[..text.len()].copy_from_slice(text);
                Self::Inline { len, bytes }
            }
            _ => Self::Boxed(text.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Boxed(bytes) => bytes,
        }
    }
}

/// The first level of a text, and what follows its slash if there is one.
pub(super) fn split_level(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == b'/') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_comes_back_as_it_was_kept_whatever_its_length() {
        for len in 0..300 {
            let text = vec![b'x'; len];
            assert_eq!(LevelText::new(&text).as_bytes(), text);
        }
        assert_eq!(size_of::<LevelText>(), 24);
    }

    #[test]
    fn empty_levels_are_levels() {
        assert_eq!(split_level(b""), (&b""[..], None));
        assert_eq!(split_level(b"/"), (&b""[..], Some(&b""[..])));
        assert_eq!(split_level(b"a//b"), (&b"a"[..], Some(&b"/b"[..])));
    }
}
