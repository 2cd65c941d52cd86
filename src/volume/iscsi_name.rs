//! iSCSI names (RFC 7143 section 4.2.7) and how a volume gets its own.

use super::name::{SanName, VolumeName};
use crate::base::limits::ISCSI_NAME_BYTES_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An iSCSI name, in the lower case that names are compared in (RFC 3722).
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct IscsiName(String);

/// Why a text is no iSCSI name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IscsiNameError {
    /// Longer than names may be.
    #[error("{0} bytes, expected at most {ISCSI_NAME_BYTES_MAX}")]
    Length(usize),
    /// None of the three types.
    #[error("{0:?} is not an iSCSI name: expected it to begin with \"iqn.\", \"eui.\" or \"naa.\"")]
    Type(String),
    /// A character that no iSCSI name has.
    #[error(
        "{name:?} has {character:?} at byte {at}, expected letters, digits, \"-\", \".\", \":\""
    )]
    Character {
        /// The name.
        name: String,
        /// The character.
        character: char,
        /// Where it stands.
        at: usize,
    },
    /// No date of the form yyyy-mm behind `iqn.`.
    #[error("{0:?} lacks a date, expected \"iqn.yyyy-mm.\" with a month from 01 to 12")]
    Date(String),
    /// The naming authority is not a reversed domain name.
    #[error("{0:?} is not a reversed domain name, expected labels of a-z, 0-9 and \"-\" with dots")]
    Authority(String),
    /// `eui.` or `naa.` without its digits.
    #[error(
        "{name:?} has {found} characters behind its type, expected {expected} hexadecimal digits"
    )]
    Digits {
        /// The name.
        name: String,
        /// Characters behind the type.
        found: usize,
        /// How many digits there have to be.
        expected: &'static str,
    },
}

impl IscsiName {
    /// The name in lower case, if it has one of the three forms.
    pub fn new(name: &str) -> Result<Self, IscsiNameError> {
        let name = name.to_lowercase();
        if name.len() > ISCSI_NAME_BYTES_MAX {
            return Err(IscsiNameError::Length(name.len()));
        }
        if let Some((at, character)) = name.char_indices().find(|(_, c)| !is_name_character(*c)) {
            return Err(IscsiNameError::Character {
                name,
                character,
                at,
            });
        }
        match name.split_once('.') {
            Some(("iqn", rest)) => check_iqn(rest)?,
            Some(("eui", digits)) => check_digits(&name, digits, &[16], "16")?,
            Some(("naa", digits)) => check_digits(&name, digits, &[16, 32], "16 or 32")?,
            _ => return Err(IscsiNameError::Type(name)),
        }
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IscsiName {
    type Error = IscsiNameError;

    fn try_from(name: String) -> Result<Self, IscsiNameError> {
        Self::new(&name)
    }
}

impl std::str::FromStr for IscsiName {
    type Err = IscsiNameError;

    fn from_str(name: &str) -> Result<Self, IscsiNameError> {
        Self::new(name)
    }
}

impl From<IscsiName> for String {
    fn from(name: IscsiName) -> Self {
        name.0
    }
}

impl fmt::Display for IscsiName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// Lets a map keyed by names be searched by what a login brought, once that is in lower case.
impl std::borrow::Borrow<str> for IscsiName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// RFC 3722 section 5 leaves these characters. The underscore is not among them, but the service's
/// volume names and many hosts' initiator names have it.
fn is_name_character(c: char) -> bool {
    matches!(c, '-' | '.' | ':' | '_') || c.is_alphanumeric()
}

/// `yyyy-mm.authority` and, behind a colon, whatever the authority likes.
fn check_iqn(rest: &str) -> Result<(), IscsiNameError> {
    let authority = rest
        .split_once(':')
        .map_or(rest, |(authority, _)| authority);
    NamingAuthority::new(authority).map(|_| ())
}

fn check_digits(
    name: &str,
    digits: &str,
    lengths: &[usize],
    expected: &'static str,
) -> Result<(), IscsiNameError> {
    let all_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if all_digits && lengths.contains(&digits.len()) {
        return Ok(());
    }
    let found = digits.chars().count();
    Err(IscsiNameError::Digits {
        name: name.to_owned(),
        found,
        expected,
    })
}

/// Who names the targets: `yyyy-mm` of owning a domain, and the domain reversed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct NamingAuthority(String);

impl NamingAuthority {
    /// An authority from text like `2024-01.com.example`.
    pub fn new(text: &str) -> Result<Self, IscsiNameError> {
        let (date, domain) = text.split_once('.').unwrap_or((text, ""));
        if !is_year_and_month(date) {
            return Err(IscsiNameError::Date(text.to_owned()));
        }
        if !domain.split('.').all(is_label) {
            return Err(IscsiNameError::Authority(domain.to_owned()));
        }
        if text.len() > Self::BYTES_MAX {
            return Err(IscsiNameError::Length(text.len()));
        }
        Ok(Self(text.to_owned()))
    }

    /// So long that the name of every volume fits: `iqn.`, two colons, the longest SAN and volume
    /// names.
    const BYTES_MAX: usize = ISCSI_NAME_BYTES_MAX - "iqn.::".len() - 24 - 63;

    /// The name of a volume's target: `iqn.<yyyy-mm>.<authority>:<san>:<volume>`.
    #[must_use]
    pub fn target_name(&self, san: &SanName, volume: &VolumeName) -> IscsiName {
        IscsiName(format!("iqn.{}:{san}:{volume}", self.0))
    }

    /// The authority as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The authority of a target that nobody has configured: a domain that exists in no DNS.
impl Default for NamingAuthority {
    fn default() -> Self {
        Self("2024-01.internal.holdfast".to_owned())
    }
}

impl TryFrom<String> for NamingAuthority {
    type Error = IscsiNameError;

    fn try_from(text: String) -> Result<Self, IscsiNameError> {
        Self::new(&text)
    }
}

impl From<NamingAuthority> for String {
    fn from(authority: NamingAuthority) -> Self {
        authority.0
    }
}

fn is_year_and_month(date: &str) -> bool {
    let Some((year, month)) = date.split_once('-') else {
        return false;
    };
    let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    year.len() == 4
        && is_number(year)
        && month.len() == 2
        && is_number(month)
        && ("01"..="12").contains(&month)
}

fn is_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !label.is_empty()
        && label.chars().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_named_after_its_san() {
        let authority = NamingAuthority::new("2024-01.com.example").unwrap();
        let (san, volume) = (
            SanName::new("prod_1").unwrap(),
            VolumeName::new("db-0").unwrap(),
        );
        let name = authority.target_name(&san, &volume);
        assert_eq!(name.as_str(), "iqn.2024-01.com.example:prod_1:db-0");
        assert_eq!(IscsiName::new(name.as_str()), Ok(name));
    }

    #[test]
    fn the_longest_names_fit() {
        let domain = format!("2024-01.{}", "a".repeat(NamingAuthority::BYTES_MAX - 8));
        let authority = NamingAuthority::new(&domain).unwrap();
        let san = SanName::new(&"s".repeat(24)).unwrap();
        let volume = VolumeName::new(&"v".repeat(63)).unwrap();
        let name = authority.target_name(&san, &volume);
        assert_eq!(name.as_str().len(), ISCSI_NAME_BYTES_MAX);
        assert!(IscsiName::new(name.as_str()).is_ok());
        assert!(NamingAuthority::new(&format!("{domain}a")).is_err());
        let default = NamingAuthority::default();
        assert_eq!(NamingAuthority::new(default.as_str()), Ok(default));
    }

    #[test]
    fn names_of_all_three_types_are_taken_in_lower_case() {
        for name in [
            "iqn.1993-08.org.debian:01:abcdef",
            "iqn.1991-05.com.microsoft:host_7.example.com",
            "iqn.2001-04.com.example",
            "eui.02004567a425678d",
            "naa.52004567ba64678d",
            "naa.62004567ba64678d0123456789abcdef",
        ] {
            let taken = IscsiName::new(&name.to_uppercase()).unwrap();
            assert_eq!(taken.as_str(), name);
        }
    }

    #[test]
    fn each_violation_has_its_error() {
        let error = |name: &str| IscsiName::new(name).unwrap_err();
        assert!(matches!(error("nqn.2014-08.org"), IscsiNameError::Type(_)));
        assert!(matches!(error(""), IscsiNameError::Type(_)));
        assert!(matches!(error("iqn"), IscsiNameError::Type(_)));
        for date in [
            "iqn.",
            "iqn.2024",
            "iqn.2024-13.com",
            "iqn.2024-00.com",
            "iqn.24-01.com",
        ] {
            assert!(matches!(error(date), IscsiNameError::Date(_)), "{date}");
        }
        for domain in [
            "iqn.2024-01",
            "iqn.2024-01.",
            "iqn.2024-01.a..b:x",
            "iqn.2024-01.-a",
        ] {
            assert!(
                matches!(error(domain), IscsiNameError::Authority(_)),
                "{domain}"
            );
        }
        for digits in ["eui.0200", "eui.02004567a425678g", "naa.52004567ba64678d00"] {
            assert!(
                matches!(error(digits), IscsiNameError::Digits { .. }),
                "{digits}"
            );
        }
        for odd in [
            "iqn.2024-01.com:a b",
            "iqn.2024-01.com:a\nb",
            "iqn.2024-01.com:a,b",
        ] {
            assert!(
                matches!(error(odd), IscsiNameError::Character { at: 17, .. }),
                "{odd:?}"
            );
        }
        let long = format!("iqn.2024-01.com:{}", "x".repeat(208));
        assert_eq!(error(&long), IscsiNameError::Length(224));
        assert!(IscsiName::new(&long[..223]).is_ok());
    }
}
