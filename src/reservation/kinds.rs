//! The small values of the standard: reservation types, keys, the SCOPE and TYPE byte.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A persistent reservation type (SPC-4 section 6.15.3.4). The codes in between are obsolete or reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ReservationType {
    /// One writer, anyone reads.
    WriteExclusive = 1,
    /// One holder, no one else reads or writes.
    ExclusiveAccess = 3,
    /// Registrants write, anyone reads; one of them holds the reservation.
    WriteExclusiveRegistrantsOnly = 5,
    /// Registrants read and write; one of them holds the reservation.
    ExclusiveAccessRegistrantsOnly = 6,
    /// Registrants write, anyone reads; every registrant is a holder.
    WriteExclusiveAllRegistrants = 7,
    /// Registrants read and write; every registrant is a holder.
    ExclusiveAccessAllRegistrants = 8,
}

impl ReservationType {
    /// All six, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether every registrant has access, but one holds the reservation.
    #[must_use]
    pub const fn is_registrants_only(self) -> bool {
        matches!(
            self,
            Self::WriteExclusiveRegistrantsOnly | Self::ExclusiveAccessRegistrantsOnly
        )
    }

    /// Whether every registrant holds the reservation.
    #[must_use]
    pub const fn is_all_registrants(self) -> bool {
        matches!(
            self,
            Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants
        )
    }

    /// Whether registrants share access, as holders or beside one.
    #[must_use]
    pub const fn is_shared_by_registrants(self) -> bool {
        self.is_registrants_only() || self.is_all_registrants()
    }
}

/// A code that names no reservation type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:#x} is not a persistent reservation type: expected 1, 3, 5, 6, 7 or 8")]
pub struct UnknownType(pub u8);

impl TryFrom<u8> for ReservationType {
    type Error = UnknownType;

    fn try_from(code: u8) -> Result<Self, UnknownType> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.code() == code)
            .ok_or(UnknownType(code))
    }
}

/// The names that cluster software and the service use.
impl fmt::Display for ReservationType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::WriteExclusive => "write exclusive",
            Self::ExclusiveAccess => "exclusive access",
            Self::WriteExclusiveRegistrantsOnly => "write exclusive, registrants only",
            Self::ExclusiveAccessRegistrantsOnly => "exclusive access, registrants only",
            Self::WriteExclusiveAllRegistrants => "write exclusive, all registrants",
            Self::ExclusiveAccessAllRegistrants => "exclusive access, all registrants",
        })
    }
}

/// A reservation key: eight bytes of the initiator's choice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Key(pub u64);

impl Key {
    /// The key that means "none": to register it is to unregister.
    pub const NONE: Self = Self(0);

    /// Whether this is [`Key::NONE`].
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The key as text, if all of its eight bytes are printable ASCII; some clusters choose such keys.
    #[must_use]
    pub fn text(self) -> Option<String> {
        let bytes = self.0.to_be_bytes();
        let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        bytes
            .iter()
            .all(printable)
            .then(|| bytes.iter().copied().map(char::from).collect())
    }
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a key such as 0x123abc: 0x and 1 to 16 hexadecimal digits")]
pub struct NotAKey;

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let digits = text.strip_prefix("0x").ok_or(NotAKey)?;
        // `from_str_radix` would take a sign, too.
        if digits.len() > 16 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotAKey);
        }
        u64::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|_| NotAKey)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#x}", self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({self})")
    }
}

/// Byte 2 of the CDB as it came: scope in the upper half, type in the lower.
///
/// Kept raw where the command's meaning decides whether the field is looked at all: a PREEMPT that
/// takes no reservation ignores it, a RELEASE compares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScopeAndType(pub u8);

impl ScopeAndType {
    /// The byte of a reservation of the whole logical unit, the only scope there is.
    #[must_use]
    pub const fn of(kind: ReservationType) -> Self {
        Self(kind.code())
    }

    /// The type, if the scope is the logical unit and the type is known.
    #[must_use]
    pub fn kind(self) -> Option<ReservationType> {
        ReservationType::try_from(self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_codes_are_types_and_no_other() {
        let known: Vec<u8> = (0..=u8::MAX)
            .filter(|code| ReservationType::try_from(*code).is_ok())
            .collect();
        assert_eq!(known, [1, 3, 5, 6, 7, 8]);
    }

    #[test]
    fn a_key_is_read_from_hexadecimal_alone() {
        for (text, key) in [
            ("0x0", 0),
            ("0xABCdef", 0xab_cdef),
            ("0xffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Key(key)));
        }
        for text in [
            "",
            "0x",
            "12",
            "0x+1",
            "0x-1",
            "0x1g",
            "0x00000000000000001",
            "X1",
            "0x 1",
        ] {
            assert_eq!(text.parse::<Key>(), Err(NotAKey), "{text}");
        }
    }

    #[test]
    fn a_key_of_printable_bytes_has_a_text() {
        assert_eq!(
            Key(u64::from_be_bytes(*b"BPGR0001")).text().as_deref(),
            Some("BPGR0001")
        );
        assert_eq!(Key(0xfeed).text(), None);
        assert_eq!(Key(u64::MAX).text(), None);
    }

    #[test]
    fn a_scope_other_than_the_logical_unit_has_no_type() {
        assert_eq!(
            ScopeAndType(0x05).kind(),
            Some(ReservationType::WriteExclusiveRegistrantsOnly)
        );
        assert_eq!(ScopeAndType(0x15).kind(), None);
        assert_eq!(ScopeAndType(0x00).kind(), None);
    }
}
