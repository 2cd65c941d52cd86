//! Logins, good and bad.

use super::super::super::answer::{ChapAccount, ChapPolicy, Secret};
use super::super::super::chap::{Algorithm, decode as decode_binary, encode};
use super::super::super::error::{CloseReason, Violation};
use super::super::super::pdu::{LoginResponse, LoginStatus, NopOut, SessionType};
use super::super::super::settings::EntropyError;
use super::*;
use crate::base::limits::{LOGIN_TEXT_BYTES_MAX, LOGIN_TIMEOUT};
use std::sync::Arc;

fn response(received: &Received) -> LoginResponse {
    assert_eq!(received.0.opcode(), Opcode::LoginResponse);
    LoginResponse::parse(&received.0)
}

fn value(text: &[(String, String)], key: &str) -> Option<String> {
    text.iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.clone())
}

/// The status and the violation of a login that the connection refuses by itself.
fn failure(initiator: &mut Initiator) -> (LoginStatus, Violation) {
    let Event::Closed(CloseReason::LoginFailed { status, violation }) = initiator.event() else {
        panic!("the login fails")
    };
    let received = initiator.received();
    assert_eq!(response(received.last().unwrap()).status, status);
    (status, violation)
}

fn chap_policy() -> Arc<ChapPolicy> {
    let account = |name: &str, secret: &str| ChapAccount {
        name: name.into(),
        secret: Secret::new(secret),
    };
    Arc::new(ChapPolicy {
        accounts: vec![account("alice", "secret of alice")],
        mutual: Some(account("holdfast", "secret of target")),
        algorithms: vec![7, 5],
    })
}

fn chap_identity() -> Identity {
    Identity {
        auth: AuthPolicy::Chap(chap_policy()),
        ..identity()
    }
}

/// What a discovery session is told where some targets ask for CHAP.
fn optional_identity() -> Identity {
    Identity {
        auth: AuthPolicy::Optional(vec![chap_policy()]),
        ..identity()
    }
}

#[test]
fn one_request_is_enough() {
    let mut initiator = Initiator::connect(settings());
    let keys = [
        "InitiatorAlias=A",
        "MaxBurstLength=262144",
        "InitialR2T=No",
        "X-key=1",
    ];
    initiator.login(1, Some(3), &[NORMAL, &keys].concat());
    let Event::Identify(who) = initiator.event() else {
        panic!()
    };
    assert_eq!(who.initiator_name, "iqn.initiator");
    assert_eq!(who.initiator_alias.as_deref(), Some("A"));
    assert_eq!(who.target_name.as_deref(), Some("iqn.target"));
    assert_eq!((who.isid, who.tsih, who.cid), ([0x80, 1, 2, 3, 4, 5], 0, 3));
    initiator.no_event();
    initiator.connection.identify(identity());
    let Event::LoginComplete(summary) = initiator.event() else {
        panic!()
    };
    assert_eq!(summary.parameters.max_burst_bytes, 262_144);
    assert!(!summary.parameters.initial_r2t);
    assert!(
        initiator.received().is_empty(),
        "nothing is said before admission"
    );
    initiator.connection.admit(42);
    let received = initiator.receive_one();
    let login = response(&received);
    assert_eq!((login.transit, login.next_stage, login.tsih), (true, 3, 42));
    assert_eq!((login.status, login.exp_cmd_sn), (LoginStatus::Success, 1));
    let text = text_of(&received.1);
    assert_eq!(value(&text, "TargetPortalGroupTag").as_deref(), Some("7"));
    assert_eq!(value(&text, "MaxBurstLength").as_deref(), Some("262144"));
    assert_eq!(value(&text, "X-key").as_deref(), Some("NotUnderstood"));
    assert_eq!(
        value(&text, "MaxRecvDataSegmentLength").as_deref(),
        Some("262144")
    );
}

#[test]
fn keys_may_be_split_anywhere() {
    let text = b"InitiatorName=iqn.initiator\0TargetName=iqn.target\0InitialR2T=No\0";
    for cut in [5, 30, 50, 60] {
        let mut initiator = Initiator::connect(settings());
        let first = LoginRequest {
            continued: true,
            ..login_request(1, None)
        };
        initiator.send(first.emit(), &text[..cut]);
        initiator.no_event();
        let received = initiator.receive_one();
        assert!(received.1.is_empty() && !response(&received).transit);
        initiator.send(login_request(1, Some(3)).emit(), &text[cut..]);
        assert!(matches!(initiator.event(), Event::Identify(_)));
        initiator.connection.identify(identity());
        let Event::LoginComplete(summary) = initiator.event() else {
            panic!()
        };
        assert!(!summary.parameters.initial_r2t);
    }
}

#[test]
fn security_without_authentication_then_operational() {
    let mut initiator = Initiator::connect(settings());
    initiator.login(0, Some(1), &[NORMAL, &["AuthMethod=CHAP,None"]].concat());
    assert!(matches!(initiator.event(), Event::Identify(_)));
    initiator.connection.identify(identity());
    let received = initiator.receive_one();
    let login = response(&received);
    assert_eq!(
        (login.transit, login.current_stage, login.next_stage),
        (true, 0, 1)
    );
    let text = text_of(&received.1);
    assert_eq!(value(&text, "AuthMethod").as_deref(), Some("None"));
    assert_eq!(value(&text, "TargetPortalGroupTag").as_deref(), Some("7"));
    initiator.login(1, Some(3), &["HeaderDigest=CRC32C,None", "DataDigest=None"]);
    let Event::LoginComplete(summary) = initiator.event() else {
        panic!()
    };
    assert!(summary.parameters.header_digest && !summary.parameters.data_digest);
    assert_eq!(summary.authenticated_as, None);
}

/// Runs CHAP up to the proof and returns the events and texts after it.
fn chap(secret: &[u8], mutual: bool) -> (Initiator, Option<String>) {
    chap_with(chap_identity(), secret, mutual)
}

fn chap_with(identity: Identity, secret: &[u8], mutual: bool) -> (Initiator, Option<String>) {
    let mut initiator = Initiator::connect(settings());
    initiator.login(0, Some(1), &[NORMAL, &["AuthMethod=CHAP,None"]].concat());
    assert!(matches!(initiator.event(), Event::Identify(_)));
    initiator.connection.identify(identity);
    let received = initiator.receive_one();
    assert!(!response(&received).transit, "authentication comes first");
    initiator.login(0, None, &["CHAP_A=5,7"]);
    initiator.no_event();
    let text = text_of(&initiator.receive_one().1);
    assert_eq!(value(&text, "CHAP_A").as_deref(), Some("5"));
    let identifier: u8 = value(&text, "CHAP_I").unwrap().parse().unwrap();
    let challenge = decode_binary(&value(&text, "CHAP_C").unwrap()).unwrap();
    let proof = encode(&Algorithm::Md5.response(identifier, secret, &challenge));
    let response = format!("CHAP_R={proof}");
    let mut keys = vec!["CHAP_N=alice", &response];
    if mutual {
        keys.extend(["CHAP_I=9", "CHAP_C=0x000102030405060708090a0b0c0d0e0f"]);
    }
    initiator.login(0, Some(1), &keys);
    let challenge: Vec<u8> = (0..16).collect();
    let expected = encode(&Algorithm::Md5.response(9, b"secret of target", &challenge));
    (initiator, mutual.then_some(expected))
}

#[test]
fn chap_lets_the_right_secret_in_and_the_target_proves_itself() {
    for mutual in [false, true] {
        let (mut initiator, expected) = chap(b"secret of alice", mutual);
        initiator.no_event();
        let received = initiator.receive_one();
        assert!(response(&received).transit);
        let text = text_of(&received.1);
        assert_eq!(value(&text, "CHAP_R"), expected);
        initiator.login(1, Some(3), &[]);
        let Event::LoginComplete(summary) = initiator.event() else {
            panic!()
        };
        assert_eq!(summary.authenticated_as.as_deref(), Some("alice"));
        assert_eq!(summary.mutual, mutual);
    }
}

#[test]
fn who_may_prove_itself_is_known_by_it_and_who_does_not_is_let_in_unknown() {
    let (mut initiator, _) = chap_with(optional_identity(), b"secret of alice", false);
    initiator.no_event();
    assert!(response(&initiator.receive_one()).transit);
    initiator.login(1, Some(3), &[]);
    let Event::LoginComplete(summary) = initiator.event() else {
        panic!()
    };
    assert_eq!(summary.satisfied, [chap_policy()]);

    let (mut initiator, _) = chap_with(optional_identity(), b"guess", false);
    let status = failure(&mut initiator).0;
    assert_eq!(status, LoginStatus::AuthenticationFailure);

    // The initiator's order of preference decides; without a security stage nothing is proved.
    let none: &[&str] = &["AuthMethod=None,CHAP"];
    for (stage, keys) in [(0, none), (1, &[])] {
        let mut initiator = Initiator::connect(settings());
        initiator.login(stage, Some(3), &[NORMAL, keys].concat());
        assert!(matches!(initiator.event(), Event::Identify(_)));
        initiator.connection.identify(optional_identity());
        let Event::LoginComplete(summary) = initiator.event() else {
            panic!()
        };
        assert_eq!(summary.authenticated_as, None);
        assert!(summary.satisfied.is_empty());
    }

    // A proof that comes without a challenge is none.
    let mut initiator = Initiator::connect(settings());
    initiator.login(
        0,
        Some(1),
        &[NORMAL, &["CHAP_N=alice", "CHAP_R=0x00"]].concat(),
    );
    assert!(matches!(initiator.event(), Event::Identify(_)));
    initiator.connection.identify(optional_identity());
    let status = failure(&mut initiator).0;
    assert_eq!(status, LoginStatus::AuthenticationFailure);
}

#[test]
fn whoever_does_not_authenticate_stays_out() {
    let (mut initiator, _) = chap(b"guess", false);
    assert_eq!(
        failure(&mut initiator).0,
        LoginStatus::AuthenticationFailure
    );
    for (stage, next, method) in [
        (1, 3, "InitialR2T=No"),
        (0, 1, "AuthMethod=None"),
        (0, 3, "InitialR2T=No"),
    ] {
        let mut initiator = Initiator::connect(settings());
        initiator.login(stage, Some(next), &[NORMAL, &[method]].concat());
        assert!(matches!(initiator.event(), Event::Identify(_)));
        initiator.connection.identify(chap_identity());
        assert_eq!(
            failure(&mut initiator).0,
            LoginStatus::AuthenticationFailure
        );
    }
}

#[test]
fn without_random_bytes_there_is_no_challenge() {
    fn none(_: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
    let mut initiator = Initiator::connect(Settings {
        entropy: none,
        ..settings()
    });
    initiator.login(0, Some(1), &[NORMAL, &["AuthMethod=CHAP"]].concat());
    assert!(matches!(initiator.event(), Event::Identify(_)));
    initiator.connection.identify(chap_identity());
    initiator.login(0, Some(1), &["CHAP_A=7"]);
    assert_eq!(failure(&mut initiator).0, LoginStatus::TargetError);
}

#[test]
fn an_enforced_digest_that_is_missing_is_named() {
    let rejected = |key: &str| (key.to_owned(), "Reject".to_owned());
    for (keys, violation, named) in [
        (
            "HeaderDigest=None",
            Violation::DigestsMissing,
            vec![rejected("HeaderDigest"), rejected("DataDigest")],
        ),
        (
            "HeaderDigest=CRC32C",
            Violation::DataDigestMissing,
            vec![rejected("DataDigest")],
        ),
        (
            "DataDigest=None,CRC32C",
            Violation::HeaderDigestMissing,
            vec![rejected("HeaderDigest")],
        ),
    ] {
        let mut initiator = Initiator::connect(settings());
        initiator.login(1, Some(3), &[NORMAL, &[keys]].concat());
        assert!(matches!(initiator.event(), Event::Identify(_)));
        initiator.connection.identify(Identity {
            require_header_digest: true,
            require_data_digest: true,
            ..identity()
        });
        let Event::Closed(CloseReason::LoginFailed {
            status,
            violation: told,
        }) = initiator.event()
        else {
            panic!("the login fails")
        };
        assert_eq!((status, told), (LoginStatus::InitiatorError, violation));
        let received = initiator.receive_one();
        assert_eq!(response(&received).status, LoginStatus::InitiatorError);
        assert_eq!(text_of(&received.1), named);
    }
}

#[test]
fn the_offer_bounds_bursts_and_declares_segments() {
    let mut initiator = Initiator::connect(settings());
    let keys = ["MaxBurstLength=262144", "FirstBurstLength=262144"];
    initiator.login(1, Some(3), &[NORMAL, &keys].concat());
    assert!(matches!(initiator.event(), Event::Identify(_)));
    initiator.connection.identify(Identity {
        offer: Offer {
            max_burst_bytes: 131_072,
            first_burst_bytes: 8192,
            receive_data_segment_bytes: Some(4096),
            ..Offer::default()
        },
        ..identity()
    });
    let Event::LoginComplete(summary) = initiator.event() else {
        panic!()
    };
    let agreed = summary.parameters;
    assert_eq!(
        (
            agreed.max_burst_bytes,
            agreed.first_burst_bytes,
            agreed.target_data_segment_bytes
        ),
        (131_072, 8192, 4096)
    );
    initiator.connection.admit(1);
    let text = text_of(&initiator.receive_one().1);
    assert_eq!(
        value(&text, "MaxRecvDataSegmentLength").as_deref(),
        Some("4096")
    );
    assert_eq!(value(&text, "MaxBurstLength").as_deref(), Some("131072"));
}

#[test]
fn a_discovery_session_needs_no_target() {
    let mut initiator = Initiator::connect(settings());
    initiator.login(
        1,
        Some(3),
        &["InitiatorName=iqn.i", "SessionType=Discovery"],
    );
    let Event::Identify(who) = initiator.event() else {
        panic!()
    };
    assert_eq!(
        (who.session_type, who.target_name),
        (SessionType::Discovery, None)
    );
    initiator.connection.identify(identity());
    assert!(matches!(initiator.event(), Event::LoginComplete(_)));
    initiator.connection.admit(1);
    let text = text_of(&initiator.receive_one().1);
    assert_eq!(value(&text, "TargetPortalGroupTag"), None);
}

#[test]
fn each_bad_request_has_its_status() {
    let good = login_request(1, Some(3));
    for (request, keys, status) in [
        (
            LoginRequest {
                version_min: 1,
                ..good
            },
            NORMAL,
            LoginStatus::UnsupportedVersion,
        ),
        (
            LoginRequest {
                next_stage: 2,
                ..good
            },
            NORMAL,
            LoginStatus::InitiatorError,
        ),
        (
            LoginRequest {
                current_stage: 3,
                ..good
            },
            NORMAL,
            LoginStatus::InitiatorError,
        ),
        (
            LoginRequest {
                continued: true,
                ..good
            },
            NORMAL,
            LoginStatus::InitiatorError,
        ),
        (good, &NORMAL[..1], LoginStatus::MissingParameter),
        (good, &NORMAL[1..], LoginStatus::MissingParameter),
        (
            good,
            &["InitiatorName=i", "SessionType=X"],
            LoginStatus::SessionTypeNotSupported,
        ),
        (
            good,
            &["InitiatorName=", "TargetName=t"],
            LoginStatus::InitiatorError,
        ),
        (
            good,
            &["InitiatorName=i\x01", "TargetName=t"],
            LoginStatus::InitiatorError,
        ),
        (good, &["garbage"], LoginStatus::InitiatorError),
    ] {
        let mut initiator = Initiator::connect(settings());
        let text: Vec<u8> = keys
            .iter()
            .flat_map(|k| [k.as_bytes(), b"\0"].concat())
            .collect();
        initiator.send(request.emit(), &text);
        assert_eq!(failure(&mut initiator).0, status, "{request:?} {keys:?}");
        assert!(initiator.connection.is_closed());
    }
}

#[test]
fn a_login_stays_one_login() {
    let mut initiator = Initiator::connect(settings());
    initiator.login(1, None, NORMAL);
    assert!(matches!(initiator.event(), Event::Identify(_)));
    initiator.connection.identify(identity());
    let _ = initiator.received();
    let other = LoginRequest {
        isid: [9; 6],
        ..login_request(1, Some(3))
    };
    initiator.send(other.emit(), &[]);
    assert_eq!(
        failure(&mut initiator),
        (LoginStatus::InvalidDuringLogin, Violation::LoginMixed)
    );
}

#[test]
fn anything_but_a_login_is_refused() {
    let mut initiator = Initiator::connect(settings());
    let ping = NopOut {
        immediate: true,
        lun: [0; 8],
        initiator_task_tag: 1,
        target_transfer_tag: NO_TAG,
        cmd_sn: 1,
        exp_stat_sn: 0,
    };
    initiator.send(ping.emit(), &[]);
    assert_eq!(failure(&mut initiator).0, LoginStatus::InvalidDuringLogin);
}

#[test]
fn a_login_cannot_go_on_without_end() {
    let mut initiator = Initiator::connect(settings());
    let more = LoginRequest {
        continued: true,
        ..login_request(1, None)
    };
    for _ in 0..=LOGIN_TEXT_BYTES_MAX / 8192 {
        initiator.send(more.emit(), &[b'a'; 8192]);
    }
    assert!(matches!(failure(&mut initiator).1, Violation::Text(_)));
    let mut initiator = Initiator::connect(settings());
    initiator.login(1, None, NORMAL);
    assert!(matches!(initiator.event(), Event::Identify(_)));
    initiator.connection.identify(identity());
    for _ in 0..64 {
        initiator.login(1, None, &[]);
    }
    assert!(matches!(
        failure(&mut initiator).1,
        Violation::LoginTooLong { .. }
    ));
}

#[test]
fn the_owner_refuses_redirects_and_sees_tsih() {
    for redirect in [None, Some(false), Some(true)] {
        let mut initiator = Initiator::connect(settings());
        let request = LoginRequest {
            tsih: 5,
            ..login_request(1, Some(3))
        };
        let text: Vec<u8> = NORMAL
            .iter()
            .flat_map(|k| [k.as_bytes(), b"\0"].concat())
            .collect();
        initiator.send(request.emit(), &text);
        let Event::Identify(who) = initiator.event() else {
            panic!()
        };
        assert_eq!(who.tsih, 5);
        let (status, address) = match redirect {
            None => {
                initiator
                    .connection
                    .refuse_login(LoginStatus::SessionDoesNotExist);
                (LoginStatus::SessionDoesNotExist, None)
            }
            Some(permanent) => {
                initiator
                    .connection
                    .redirect_login("[fe80::1]:3261", permanent);
                let moved = if permanent { 0x0102 } else { 0x0101 };
                (
                    LoginStatus::from_wire(moved),
                    Some("[fe80::1]:3261".to_owned()),
                )
            }
        };
        let closed = initiator.event();
        assert!(matches!(closed, Event::Closed(CloseReason::LoginRefused(s)) if s == status));
        let received = initiator.receive_one();
        assert_eq!(response(&received).status, status);
        assert_eq!(value(&text_of(&received.1), "TargetAddress"), address);
    }
}

#[test]
fn a_login_has_a_time_limit() {
    let mut initiator = Initiator::connect(settings());
    let deadline = initiator.connection.next_deadline().unwrap();
    assert_eq!(deadline, initiator.now + LOGIN_TIMEOUT);
    assert!(initiator.connection.handle_timeout(initiator.now).is_none());
    let event = initiator.connection.handle_timeout(deadline);
    assert!(matches!(
        event,
        Some(Event::Closed(CloseReason::LoginTimeout))
    ));
    assert_eq!(initiator.connection.next_deadline(), None);
}
