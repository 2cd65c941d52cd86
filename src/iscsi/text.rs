//! `key=value` text of login and Text PDUs (RFC 7143 section 6.1), within bounds.
//!
//! Text is a list of `key=value` pairs, each ended by a NUL. A list may be cut anywhere and go on
//! in the next PDU (the C bit): [`Incoming`] puts it together, [`Outgoing`] cuts it.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::error::TextError;
use crate::base::limits::{LOGIN_KEYS_MAX, LOGIN_TEXT_BYTES_MAX};
use serde::{Deserialize, Serialize};

const KEY_BYTES_MAX: usize = 63;

/// The pairs of a complete list, in order.
///
/// # Errors
/// On the first pair that is malformed, or on more than [`LOGIN_KEYS_MAX`] of them.
pub fn parse(text: &[u8]) -> Result<Vec<(&str, &str)>, TextError> {
    let mut pairs = Vec::new();
    if text.last().is_some_and(|&byte| byte != 0) {
        return Err(TextError::Unterminated);
    }
    for piece in text
        .split(|&byte| byte == 0)
        .filter(|piece| !piece.is_empty())
    {
        if pairs.len() >= LOGIN_KEYS_MAX {
            return Err(TextError::TooManyKeys {
                limit: LOGIN_KEYS_MAX,
            });
        }
        pairs.push(parse_pair(piece)?);
    }
    Ok(pairs)
}

fn parse_pair(piece: &[u8]) -> Result<(&str, &str), TextError> {
    let piece = std::str::from_utf8(piece).map_err(|_| TextError::Value)?;
    let (key, value) = piece.split_once('=').ok_or(TextError::NoSeparator)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-+@_#".contains(&byte);
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(allowed) {
        return Err(TextError::KeyName);
    }
    if value.chars().any(char::is_control) {
        return Err(TextError::Value);
    }
    Ok((key, value))
}

/// The values of a list, without the empty ones.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').filter(|item| !item.is_empty())
}

/// A number: decimal or hexadecimal (RFC 7143 section 6.1).
#[must_use]
pub fn number(value: &str) -> Option<u32> {
    match value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"))
    {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        None if value.bytes().all(|b| b.is_ascii_digit()) => value.parse().ok(),
        _ => None,
    }
}

/// Text that arrives in pieces.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Incoming {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    total: usize,
}

impl Incoming {
    /// Takes the data segment of one PDU in.
    ///
    /// # Errors
    /// When the negotiation has sent more than [`LOGIN_TEXT_BYTES_MAX`] bytes.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), TextError> {
        self.total = self.total.saturating_add(piece.len());
        if self.total > LOGIN_TEXT_BYTES_MAX {
            return Err(TextError::TooLong {
                limit: LOGIN_TEXT_BYTES_MAX,
            });
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// What has come together since the last call; the total goes on counting.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// Text that leaves in pieces.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outgoing {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// Appends a pair. Control characters in `value` leave as `%XX`, so that no value can pass
    /// for a further pair.
    pub fn push(&mut self, key: &str, value: &str) {
        debug_assert!(
            key.len() <= KEY_BYTES_MAX,
            "keys are the standard's or were parsed"
        );
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.push(b'=');
        for character in value.chars() {
            let mut utf8 = [0; 4];
            let encoded = character.encode_utf8(&mut utf8).as_bytes();
            if character.is_control() {
                encoded.iter().for_each(|byte| self.escape(*byte));
            } else {
                self.bytes.extend_from_slice(encoded);
            }
        }
        self.bytes.push(0);
    }

    fn escape(&mut self, byte: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        self.bytes
            .extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
    }

    /// Bytes that have not left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Whether everything has left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next piece, of at most `limit` bytes; it counts as sent.
    pub fn next_piece(&mut self, limit: usize) -> Vec<u8> {
        let end = self.sent.saturating_add(limit).min(self.bytes.len());
        let piece = self.bytes.get(self.sent..end).unwrap_or_default().to_vec();
        self.sent = end;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_come_in_order_and_padding_is_skipped() {
        let pairs = parse(b"InitiatorName=iqn.a\0SessionType=Normal\0\0\0").unwrap();
        assert_eq!(
            pairs,
            [("InitiatorName", "iqn.a"), ("SessionType", "Normal")]
        );
        assert_eq!(parse(b"K=a=b\0").unwrap(), [("K", "a=b")]);
        assert!(parse(b"").unwrap().is_empty());
    }

    #[test]
    fn each_malformation_has_its_error() {
        assert_eq!(parse(b"NoEquals\0"), Err(TextError::NoSeparator));
        assert_eq!(parse(b"A=b"), Err(TextError::Unterminated));
        assert_eq!(parse(b"=b\0"), Err(TextError::KeyName));
        assert_eq!(parse(b"A B=b\0"), Err(TextError::KeyName));
        assert_eq!(parse(b"A=\x01\0"), Err(TextError::Value));
        assert_eq!(parse(b"A=\xff\0"), Err(TextError::Value));
        let long = [b"K".repeat(64), b"=v\0".to_vec()].concat();
        assert_eq!(parse(&long), Err(TextError::KeyName));
        let many = b"A=b\0".repeat(LOGIN_KEYS_MAX + 1);
        assert_eq!(
            parse(&many),
            Err(TextError::TooManyKeys {
                limit: LOGIN_KEYS_MAX
            })
        );
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("8192"), Some(8192));
        assert_eq!(number("0x2000"), Some(8192));
        for bad in ["", "-1", "+1", "0x", "0x+1", "4294967296", "1 "] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_negotiation_cannot_send_without_end() {
        let mut incoming = Incoming::default();
        incoming.push(&vec![b'a'; LOGIN_TEXT_BYTES_MAX]).unwrap();
        let _ = incoming.take();
        assert!(incoming.push(b"a").is_err());
    }

    #[test]
    fn no_value_can_pass_for_another_pair() {
        let mut outgoing = Outgoing::default();
        outgoing.push("TargetName", "iqn.x\0TargetAddress=evil\n");
        let text = outgoing.next_piece(usize::MAX);
        assert_eq!(
            parse(&text).unwrap(),
            [("TargetName", "iqn.x%00TargetAddress=evil%0A")]
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(pairs) = parse(&text) {
                prop_assert!(pairs.len() <= LOGIN_KEYS_MAX);
            }
        }

        #[test]
        fn pieces_make_up_the_whole(
            values in prop::collection::vec("[ -~]{0,40}", 0..20),
            limit in 1usize..64,
        ) {
            let mut outgoing = Outgoing::default();
            let mut incoming = Incoming::default();
            values.iter().for_each(|value| outgoing.push("Key", value));
            while !outgoing.is_empty() {
                incoming.push(&outgoing.next_piece(limit)).unwrap();
            }
            let text = incoming.take();
            let parsed: Vec<&str> = parse(&text).unwrap().into_iter().map(|p| p.1).collect();
            prop_assert_eq!(parsed, values);
        }
    }
}
