//! The operational keys of RFC 7143 section 13 and how each comes to its value.
//!
//! Every key is a row of the table: its result function, its range, the target's offer and where the
//! result goes. A key that never comes keeps its default.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::answer::Offer;
use super::error::Violation;
use super::event::{Parameters, TaskReporting};
use super::pdu::SessionType;
use super::text::{self, Outgoing};

/// MaxRecvDataSegmentLength of a side that never declared one, in bytes.
pub const DEFAULT_DATA_SEGMENT_BYTES: u32 = 8192;
/// The largest value of every length key: a data segment's 24 bits.
const LENGTH_MAX: u32 = (1 << 24) - 1;
/// iSCSIProtocolLevel of RFC 7144.
const PROTOCOL_LEVEL: u32 = 2;

impl Default for Parameters {
    /// What holds when no key is exchanged (RFC 7143 section 13).
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            initiator_data_segment_bytes: DEFAULT_DATA_SEGMENT_BYTES,
            target_data_segment_bytes: DEFAULT_DATA_SEGMENT_BYTES,
            max_burst_bytes: 262_144,
            first_burst_bytes: 65_536,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 1,
        }
    }
}

/// What the target demands of the digests beside its [`Offer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demands {
    /// Take CRC32C from the list wherever it stands.
    pub header_digest: bool,
    /// Take CRC32C from the list wherever it stands.
    pub data_digest: bool,
}

/// A key's result function.
enum Rule {
    /// First common of the list; whether it is demanded, and where the result goes.
    Digest(fn(&Demands) -> bool, fn(&mut Parameters, bool)),
    /// Yes if either side says yes.
    Or(fn(&Offer) -> bool, fn(&mut Parameters, bool)),
    /// Yes if both sides say yes.
    And(fn(&Offer) -> bool, fn(&mut Parameters, bool)),
    /// The smaller number.
    Minimum(u32, u32, fn(&Offer) -> u32, fn(&mut Parameters, u32)),
    /// The larger number.
    Maximum(u32, u32, fn(&Offer) -> u32, fn(&mut Parameters, u32)),
    /// Declared by the initiator; no answer.
    Declared(u32, u32, fn(&mut Parameters, u32)),
    /// TaskReporting: the first of the list that is known.
    Reporting,
    /// A marker key of RFC 3720: always No.
    Obsolete,
    /// A marker interval of RFC 3720: always Reject.
    ObsoleteInterval,
}

struct Key {
    name: &'static str,
    rule: Rule,
    /// Whether the key means something in a discovery session.
    in_discovery: bool,
}

const fn key(name: &'static str, rule: Rule) -> Key {
    Key {
        name,
        rule,
        in_discovery: true,
    }
}

const fn normal_only(name: &'static str, rule: Rule) -> Key {
    Key {
        name,
        rule,
        in_discovery: false,
    }
}

/// Narrows a number whose range is known to fit.
fn narrow(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// In the order in which they are judged: FirstBurstLength comes after what bounds it.
static KEYS: [Key; 20] = [
    key(
        "HeaderDigest",
        Rule::Digest(|d| d.header_digest, |p, v| p.header_digest = v),
    ),
    key(
        "DataDigest",
        Rule::Digest(|d| d.data_digest, |p, v| p.data_digest = v),
    ),
    normal_only(
        "MaxConnections",
        Rule::Minimum(1, 65_535, |_| 1, |p, v| p.max_connections = narrow(v)),
    ),
    normal_only(
        "InitialR2T",
        Rule::Or(|o| o.initial_r2t, |p, v| p.initial_r2t = v),
    ),
    normal_only(
        "ImmediateData",
        Rule::And(|o| o.immediate_data, |p, v| p.immediate_data = v),
    ),
    key(
        "MaxRecvDataSegmentLength",
        Rule::Declared(512, LENGTH_MAX, |p, v| p.initiator_data_segment_bytes = v),
    ),
    normal_only(
        "MaxBurstLength",
        Rule::Minimum(
            512,
            LENGTH_MAX,
            |o| o.max_burst_bytes,
            |p, v| p.max_burst_bytes = v,
        ),
    ),
    normal_only(
        "FirstBurstLength",
        Rule::Minimum(
            512,
            LENGTH_MAX,
            |o| o.first_burst_bytes,
            |p, v| p.first_burst_bytes = v,
        ),
    ),
    key(
        "DefaultTime2Wait",
        Rule::Maximum(
            0,
            3600,
            |o| u32::from(o.default_time2wait),
            |p, v| p.default_time2wait = narrow(v),
        ),
    ),
    key(
        "DefaultTime2Retain",
        Rule::Minimum(
            0,
            3600,
            |o| u32::from(o.default_time2retain),
            |p, v| p.default_time2retain = narrow(v),
        ),
    ),
    normal_only(
        "MaxOutstandingR2T",
        Rule::Minimum(
            1,
            65_535,
            |o| o.max_outstanding_r2t,
            |p, v| p.max_outstanding_r2t = v,
        ),
    ),
    normal_only(
        "DataPDUInOrder",
        Rule::Or(|_| true, |p, v| p.data_pdu_in_order = v),
    ),
    normal_only(
        "DataSequenceInOrder",
        Rule::Or(|_| true, |p, v| p.data_sequence_in_order = v),
    ),
    key(
        "ErrorRecoveryLevel",
        Rule::Minimum(0, 2, |_| 0, |p, _| p.error_recovery_level = 0),
    ),
    normal_only("TaskReporting", Rule::Reporting),
    key(
        "iSCSIProtocolLevel",
        Rule::Minimum(
            0,
            31,
            |_| PROTOCOL_LEVEL,
            |p, v| p.protocol_level = narrow(v),
        ),
    ),
    key("IFMarker", Rule::Obsolete),
    key("OFMarker", Rule::Obsolete),
    key("IFMarkInt", Rule::ObsoleteInterval),
    key("OFMarkInt", Rule::ObsoleteInterval),
];

/// The operational negotiation of one login.
#[derive(Debug)]
pub struct Negotiation {
    offer: Offer,
    demands: Demands,
    session_type: SessionType,
    parameters: Parameters,
    /// One bit per row of [`KEYS`] that has come.
    seen: u32,
}

const _: () = assert!(KEYS.len() <= u32::BITS as usize);

impl Negotiation {
    /// A negotiation in which nothing has been said.
    #[must_use]
    pub fn new(offer: Offer, demands: Demands, session_type: SessionType) -> Self {
        Self {
            offer,
            demands,
            session_type,
            parameters: Parameters::default(),
            seen: 0,
        }
    }

    /// What has been agreed so far.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let mut parameters = self.parameters;
        let first_burst = parameters.first_burst_bytes.min(parameters.max_burst_bytes);
        parameters.first_burst_bytes = first_burst;
        parameters
    }

    /// The target has declared its MaxRecvDataSegmentLength.
    pub fn declare_data_segment_bytes(&mut self, bytes: u32) {
        self.parameters.target_data_segment_bytes = bytes;
    }

    /// Judges the keys of one step and writes the answers.
    ///
    /// # Errors
    /// When a key comes twice in a login, or a value cannot be.
    pub fn judge(
        &mut self,
        pairs: &[(&str, &str)],
        answers: &mut Outgoing,
    ) -> Result<(), Violation> {
        for (index, key) in KEYS.iter().enumerate() {
            for (_, value) in pairs.iter().filter(|(name, _)| *name == key.name) {
                let bit = 1u32.wrapping_shl(u32::try_from(index).unwrap_or(0));
                if self.seen & bit != 0 {
                    return Err(Violation::MisplacedKey { key: key.name });
                }
                self.seen |= bit;
                self.judge_one(key, value, answers)?;
            }
        }
        for (name, value) in pairs
            .iter()
            .filter(|(name, _)| KEYS.iter().all(|k| k.name != *name))
        {
            // The answer to a key of ours is not to be answered again.
            if *value != "NotUnderstood" {
                answers.push(name, "NotUnderstood");
            }
        }
        Ok(())
    }

    fn judge_one(
        &mut self,
        key: &Key,
        value: &str,
        answers: &mut Outgoing,
    ) -> Result<(), Violation> {
        if self.session_type == SessionType::Discovery && !key.in_discovery {
            answers.push(key.name, "Irrelevant");
            return Ok(());
        }
        let invalid = || Violation::InvalidValue { key: key.name };
        let parameters = &mut self.parameters;
        match &key.rule {
            Rule::Digest(demanded, store) => {
                let choice = choose_digest(value, demanded(&self.demands), self.offer.digests);
                store(parameters, choice == Some("CRC32C"));
                answers.push(key.name, choice.unwrap_or("Reject"));
            }
            Rule::Or(offer, store) | Rule::And(offer, store) => {
                let (theirs, ours) = (boolean(value).ok_or_else(invalid)?, offer(&self.offer));
                let either = matches!(key.rule, Rule::Or(..));
                let result = if either { theirs | ours } else { theirs & ours };
                store(parameters, result);
                answers.push(key.name, if result { "Yes" } else { "No" });
            }
            Rule::Minimum(low, high, offer, store) => {
                let theirs = in_range(value, *low, *high).ok_or_else(invalid)?;
                let mut result = theirs.min(offer(&self.offer).max(*low));
                if key.name == "FirstBurstLength" {
                    result = result.min(parameters.max_burst_bytes);
                }
                store(parameters, result);
                answers.push(key.name, &result.to_string());
            }
            Rule::Maximum(low, high, offer, store) => {
                let theirs = in_range(value, *low, *high).ok_or_else(invalid)?;
                let result = theirs.max(offer(&self.offer).min(*high));
                store(parameters, result);
                answers.push(key.name, &result.to_string());
            }
            Rule::Declared(low, high, store) => {
                store(
                    parameters,
                    in_range(value, *low, *high).ok_or_else(invalid)?,
                );
            }
            Rule::Reporting => {
                let known = text::list(value).find_map(|name| Some((name, reporting(name)?)));
                let (name, chosen) = known.unwrap_or(("Reject", TaskReporting::Rfc3720));
                parameters.task_reporting = chosen;
                answers.push(key.name, name);
            }
            Rule::Obsolete => answers.push(key.name, "No"),
            Rule::ObsoleteInterval => answers.push(key.name, "Reject"),
        }
        Ok(())
    }
}

/// Whether `name` is an operational key, which has no place in full feature phase.
#[must_use]
pub fn is_operational(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name)
}

/// A MaxRecvDataSegmentLength that an initiator declares.
#[must_use]
pub fn data_segment_bytes(value: &str) -> Option<u32> {
    in_range(value, 512, LENGTH_MAX)
}

/// The first of the list that the target takes.
fn choose_digest(list: &str, demanded: bool, offered: bool) -> Option<&'static str> {
    let has = |name: &str| text::list(list).any(|item| item == name);
    if demanded && has("CRC32C") {
        return Some("CRC32C");
    }
    text::list(list).find_map(|item| match item {
        "CRC32C" if offered || demanded => Some("CRC32C"),
        "None" => Some("None"),
        _ => None,
    })
}

/// The target waits for affected tasks before it answers, which is what ResponseFence promises;
/// FastAbort is not offered.
fn reporting(name: &str) -> Option<TaskReporting> {
    match name {
        "RFC3720" => Some(TaskReporting::Rfc3720),
        "ResponseFence" => Some(TaskReporting::ResponseFence),
        _ => None,
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

fn in_range(value: &str, low: u32, high: u32) -> Option<u32> {
    text::number(value).filter(|number| (low..=high).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answers(negotiation: &mut Negotiation, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut out = Outgoing::default();
        negotiation.judge(pairs, &mut out).unwrap();
        let text = out.next_piece(usize::MAX);
        let pairs = text::parse(&text).unwrap();
        pairs
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    fn fresh() -> Negotiation {
        Negotiation::new(Offer::default(), Demands::default(), SessionType::Normal)
    }

    fn one(key: &str, value: &str) -> String {
        answers(&mut fresh(), &[(key, value)])
            .pop()
            .map_or("(none)".into(), |pair| pair.1)
    }

    /// The table of the specification, row by row, against this target's default offer.
    #[test]
    fn the_table() {
        for (key, value, answer) in [
            ("HeaderDigest", "CRC32C,None", "CRC32C"),
            ("HeaderDigest", "None,CRC32C", "None"),
            ("DataDigest", "MD5,CRC32C", "CRC32C"),
            ("DataDigest", "MD5", "Reject"),
            ("MaxConnections", "8", "1"),
            ("InitialR2T", "Yes", "Yes"),
            ("InitialR2T", "No", "No"),
            ("ImmediateData", "Yes", "Yes"),
            ("ImmediateData", "No", "No"),
            ("MaxRecvDataSegmentLength", "262144", "(none)"),
            ("MaxBurstLength", "16776192", "1048576"),
            ("MaxBurstLength", "4096", "4096"),
            ("FirstBurstLength", "512", "512"),
            ("DefaultTime2Wait", "2", "2"),
            ("DefaultTime2Retain", "20", "0"),
            ("MaxOutstandingR2T", "1", "1"),
            ("MaxOutstandingR2T", "65535", "8"),
            ("DataPDUInOrder", "No", "Yes"),
            ("DataSequenceInOrder", "No", "Yes"),
            ("ErrorRecoveryLevel", "2", "0"),
            (
                "TaskReporting",
                "FastAbort,ResponseFence,RFC3720",
                "ResponseFence",
            ),
            ("iSCSIProtocolLevel", "31", "2"),
            ("iSCSIProtocolLevel", "1", "1"),
            ("IFMarker", "Yes", "No"),
            ("OFMarkInt", "2048~8192", "Reject"),
            ("X-com.example.key", "1", "NotUnderstood"),
            ("NoSuchKey", "1", "NotUnderstood"),
        ] {
            assert_eq!(one(key, value), answer, "{key}={value}");
        }
    }

    #[test]
    fn values_out_of_range_and_repeated_keys_are_violations() {
        for (key, value) in [
            ("MaxBurstLength", "511"),
            ("MaxBurstLength", "16777216"),
            ("MaxOutstandingR2T", "0"),
            ("InitialR2T", "yes"),
            ("ErrorRecoveryLevel", "3"),
            ("MaxRecvDataSegmentLength", "0"),
        ] {
            let result = fresh().judge(&[(key, value)], &mut Outgoing::default());
            assert!(
                matches!(result, Err(Violation::InvalidValue { .. })),
                "{key}={value}"
            );
        }
        let twice = [("InitialR2T", "No"), ("InitialR2T", "No")];
        let result = fresh().judge(&twice, &mut Outgoing::default());
        assert_eq!(result, Err(Violation::MisplacedKey { key: "InitialR2T" }));
    }

    #[test]
    fn a_first_burst_never_exceeds_the_burst_whatever_the_order() {
        let mut negotiation = fresh();
        let pairs = [("FirstBurstLength", "262144"), ("MaxBurstLength", "65536")];
        let got = answers(&mut negotiation, &pairs);
        assert!(got.contains(&("FirstBurstLength".into(), "65536".into())));
        assert_eq!(negotiation.parameters().first_burst_bytes, 65_536);
    }

    #[test]
    fn a_demanded_digest_is_taken_from_anywhere_in_the_list() {
        let demands = Demands {
            header_digest: true,
            data_digest: false,
        };
        let mut negotiation = Negotiation::new(Offer::default(), demands, SessionType::Normal);
        let pairs = [
            ("HeaderDigest", "None,CRC32C"),
            ("DataDigest", "None,CRC32C"),
        ];
        let _ = answers(&mut negotiation, &pairs);
        let parameters = negotiation.parameters();
        assert!(parameters.header_digest && !parameters.data_digest);
    }

    #[test]
    fn what_means_nothing_in_discovery_is_irrelevant() {
        let discovery = SessionType::Discovery;
        let mut negotiation = Negotiation::new(Offer::default(), Demands::default(), discovery);
        let got = answers(
            &mut negotiation,
            &[("InitialR2T", "No"), ("HeaderDigest", "None")],
        );
        assert!(got.contains(&("InitialR2T".into(), "Irrelevant".into())));
        assert!(got.contains(&("HeaderDigest".into(), "None".into())));
    }

    proptest! {
        #[test]
        fn numbers_and_booleans_follow_a_naive_table(
            burst in 512u32..=LENGTH_MAX, first in 512u32..=LENGTH_MAX, ours in 512u32..2_000_000,
            our_first in 512u32..2_000_000, theirs: (bool, bool), offered: (bool, bool),
            wait in 0u32..=3600, our_wait in 0u16..=3600,
        ) {
            let offer = Offer {
                initial_r2t: offered.0,
                immediate_data: offered.1,
                max_burst_bytes: ours,
                first_burst_bytes: our_first,
                default_time2wait: our_wait,
                ..Offer::default()
            };
            let yes_no = |value| if value { "Yes" } else { "No" };
            let mut negotiation =
                Negotiation::new(offer, Demands::default(), SessionType::Normal);
            negotiation.judge(&[
                ("FirstBurstLength", &first.to_string()),
                ("InitialR2T", yes_no(theirs.0)),
                ("ImmediateData", yes_no(theirs.1)),
                ("MaxBurstLength", &burst.to_string()),
                ("DefaultTime2Wait", &wait.to_string()),
            ], &mut Outgoing::default()).unwrap();
            let got = negotiation.parameters();
            prop_assert_eq!(got.max_burst_bytes, burst.min(ours));
            prop_assert_eq!(got.first_burst_bytes, first.min(our_first).min(burst.min(ours)));
            prop_assert_eq!(got.initial_r2t, theirs.0 || offered.0);
            prop_assert_eq!(got.immediate_data, theirs.1 && offered.1);
            prop_assert_eq!(u32::from(got.default_time2wait), wait.max(u32::from(our_wait)));
        }

        #[test]
        fn any_pairs_are_answered_or_refused(
            pairs in prop::collection::vec(("[A-Za-z]{1,20}", "\\PC{0,20}"), 0..10),
            known in prop::collection::vec((0usize..20, "\\PC{0,12}"), 0..10),
        ) {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
                .chain(known.iter().map(|(k, v)| (KEYS[*k].name, v.as_str()))).collect();
            let _ = fresh().judge(&pairs, &mut Outgoing::default());
        }
    }
}
