//! Values of the configuration that are valid by construction, so that an error has a line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use crate::base::limits;

/// The registered port of iSCSI (RFC 7143 section 14).
const ISCSI_PORT: u16 = 3260;
/// Where scrapers look for the metrics of this program.
const METRICS_PORT: u16 = 9260;

/// Gives a type that parses from text its serde, in the words of its `FromStr`.
macro_rules! text_value {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

/// A length of time: a whole number and `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

text_value!(Span);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.chars().take_while(char::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_milliseconds = match unit.trim_start() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => {
                return Err(format!(
                    "expected a time such as \"15s\" or \"500ms\", got {text:?}"
                ));
            }
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit_milliseconds))
            .map(|milliseconds| Self(Duration::from_millis(milliseconds)))
            .filter(|span| span.0 <= Duration::from_secs(24 * 3600))
            .ok_or_else(|| format!("expected a time of at most 24h, got {text:?}"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        if milliseconds.is_multiple_of(1000) {
            write!(f, "{}s", milliseconds / 1000)
        } else {
            write!(f, "{milliseconds}ms")
        }
    }
}

/// An address with a port, or without: then with `port`. IPv6 addresses may stand in brackets.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let bare = || inner.unwrap_or(text).parse::<IpAddr>();
    let whole = text.parse::<SocketAddr>();
    whole.or_else(|_| bare().map(|ip| (ip, port).into())).ok()
}

/// Where a portal listens: an address with a port; the port may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(pub SocketAddr);

text_value!(Listen);

impl Default for Listen {
    fn default() -> Self {
        Self(SocketAddr::from((Ipv4Addr::LOCALHOST, ISCSI_PORT)))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        address(text, ISCSI_PORT).map(Self).ok_or_else(|| {
            format!("expected ADDR:PORT such as 0.0.0.0:3260 or [::1]:3260, got {text:?}")
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the metrics endpoint listens: an address with a port; the port may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MetricsListen(pub SocketAddr);

text_value!(MetricsListen);

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected ADDR:PORT such as 127.0.0.1:9260, got {text:?}");
        address(text, METRICS_PORT).map(Self).ok_or_else(expected)
    }
}

impl fmt::Display for MetricsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The address that discovery gives out: an address or a host name, with a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Advertise(String);

text_value!(Advertise);

impl FromStr for Advertise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host_name = |host: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            (1..=253).contains(&host.len()) && host.chars().all(legal)
        };
        let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
        let address = text.parse::<SocketAddr>();
        let usable = match address {
            Ok(address) => address.port() != 0 && !address.ip().is_unspecified(),
            Err(_) => text
                .rsplit_once(':')
                .is_some_and(|(host, number)| host_name(host) && port(number)),
        };
        if !usable {
            return Err(format!(
                "expected the ADDR:PORT or NAME:PORT that initiators reach, got {text:?}"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Cores by number: `0,2,4-7`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CoreList(Vec<usize>);

text_value!(CoreList);

impl CoreList {
    /// The numbers, none twice, at least one.
    #[must_use]
    pub fn cores(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for CoreList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected cores such as \"0,2,4-7\", got {text:?}");
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            cores.extend((first..=last).map(usize::from));
        }
        let named = cores.len();
        cores.sort_unstable();
        cores.dedup();
        if cores.len() != named {
            return Err(format!("expected each core once, got {text:?}"));
        }
        if named > limits::REACTORS_MAX {
            return Err(format!(
                "expected at most {} cores, got {named}",
                limits::REACTORS_MAX
            ));
        }
        Ok(Self(cores))
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, core) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{core}")?;
        }
        Ok(())
    }
}

/// A network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

text_value!(Network);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(|network| Self(network.trunc()))
            .map_err(|_| {
                format!("expected a network such as 192.168.7.0/24 or fd00::/8, got {text:?}")
            })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A length that a login negotiates: 512 bytes up to what one buffer holds, 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ByteSize", into = "ByteSize")]
pub struct Length(u32);

/// RFC 7143 sections 13.12 to 13.14.
const LENGTH_MIN: u64 = 512;

impl Length {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

impl TryFrom<ByteSize> for Length {
    type Error = String;

    fn try_from(size: ByteSize) -> Result<Self, String> {
        u32::try_from(size.as_u64())
            .ok()
            .filter(|bytes| u64::from(*bytes) >= LENGTH_MIN && *bytes <= limits::MAX_BURST_BYTES)
            .map(Self)
            .ok_or_else(|| format!("expected a length from 512B to 1MiB, got {size}"))
    }
}

impl From<Length> for ByteSize {
    fn from(length: Length) -> Self {
        Self::b(length.0.into())
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ByteSize::from(*self).fmt(f)
    }
}

/// What to log: a level, or `tracing` directives such as `info,holdfast::iscsi=debug`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFilter(String);

text_value!(LogFilter);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = tracing_subscriber::EnvFilter::try_new(text);
        if text.trim().is_empty() || parsed.is_err() {
            return Err(format!(
                "expected error, warn, info, debug, trace or directives such as \
                 info,holdfast::control=debug, got {text:?}"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Reads a number within limits, and says the limits where it is not.
fn within<'de, D: Deserializer<'de>>(deserializer: D, max: u32) -> Result<u32, D::Error> {
    let number = i64::deserialize(deserializer)?;
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| {
            serde::de::Error::custom(format!("expected a number from 1 to {max}, got {number}"))
        })
}

pub(super) fn sessions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, limits::VOLUME_SESSIONS_MAX)
}

pub(super) fn budget<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within(deserializer, limits::VOLUME_SESSIONS_MAX).map(Some)
}

pub(super) fn registrations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, limits::NEXUSES_MAX)
}

pub(super) fn fence_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    let span = Span::deserialize(deserializer)?;
    let (min, max) = (limits::FENCE_TIMEOUT_MIN, limits::FENCE_TIMEOUT_MAX);
    if (min..=max).contains(&span.0) {
        return Ok(span);
    }
    Err(serde::de::Error::custom(format!(
        "expected a time from {} to {}, below the 30s after which initiators give up, got {span}",
        Span(min),
        Span(max)
    )))
}

pub(super) fn slow_io<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Span>, D::Error> {
    let span = Span::deserialize(deserializer)?;
    if span.0.is_zero() {
        return Err(serde::de::Error::custom(
            "expected a time of at least 1ms; leave slow_io out to log none",
        ));
    }
    Ok(Some(span))
}

pub(super) fn reactors<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    within(
        deserializer,
        u32::try_from(limits::REACTORS_MAX).unwrap_or(u32::MAX),
    )
    .map(Some)
}

pub(super) fn tag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let number = within(deserializer, u32::from(u16::MAX))?;
    Ok(u16::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_take_a_unit() {
        assert_eq!("15s".parse(), Ok(Span(Duration::from_secs(15))));
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("2m".parse(), Ok(Span(Duration::from_secs(120))));
        for wrong in ["", "15", "s", "-1s", "1d", "99999999999999999999s", "25h"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_portal_may_leave_out_the_port() {
        let listen = |text: &str| text.parse::<Listen>().map(|listen| listen.to_string());
        assert_eq!(listen("127.0.0.1:0").as_deref(), Ok("127.0.0.1:0"));
        assert_eq!(listen("10.0.0.1").as_deref(), Ok("10.0.0.1:3260"));
        assert_eq!(listen("::1").as_deref(), Ok("[::1]:3260"));
        assert_eq!(listen("[::1]").as_deref(), Ok("[::1]:3260"));
        assert!(listen("localhost:3260").is_err());
    }

    #[test]
    fn an_advertised_address_can_be_reached() {
        for right in ["192.0.2.1:3260", "[2001:db8::1]:3260", "san.example:860"] {
            assert!(right.parse::<Advertise>().is_ok(), "{right}");
        }
        for wrong in [
            "0.0.0.0:3260",
            "192.0.2.1:0",
            "san.example",
            "a b:1",
            ":1",
            "a,b:1",
        ] {
            assert!(wrong.parse::<Advertise>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn core_lists_have_ranges() {
        let cores = |text: &str| text.parse::<CoreList>().map(|list| list.0);
        assert_eq!(cores("0,2,4-6"), Ok(vec![0, 2, 4, 5, 6]));
        for wrong in ["", "a", "3-1", "1,1", "0-65535", "-1"] {
            assert!(cores(wrong).is_err(), "{wrong}");
        }
    }
}
