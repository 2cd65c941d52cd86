use super::access::ALLOW_DEFAULT;
use super::*;
use crate::control::access::Origins;
use std::collections::BTreeSet;

const EXAMPLE: &str = include_str!("../../../tuning/holdfast.toml");

fn refused(text: &str) -> String {
    Config::parse(Path::new("my.toml"), text)
        .unwrap_err()
        .to_string()
}

#[test]
fn the_example_states_the_defaults() {
    let example = Config::parse(Path::new("holdfast.toml"), EXAMPLE).unwrap();
    let spelled_out = AccessConfig {
        allow: Some(
            ALLOW_DEFAULT
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
        ),
        initiators: Some(BTreeSet::new()),
        enforce_crc: Some(false),
        ..AccessConfig::default()
    };
    let portals = vec![PortalConfig {
        tag: Some(1),
        ..PortalConfig::default()
    }];
    assert_eq!(
        example,
        Config {
            access: spelled_out,
            portals,
            ..Config::default()
        }
    );
    let rules = |config: &Config| config.access_book().unwrap().defaults.access.rules;
    assert_eq!(rules(&example), rules(&Config::default()));
}

/// The parser itself lists the keys of a table when it meets a stranger.
#[test]
fn the_example_names_every_key() {
    for table in [
        "",
        "[san]",
        "[[portal]]",
        "[limits]",
        "[access]",
        "[groups.abc]",
        "[log]",
        "[metrics]",
        "[audit]",
        "[tuning]",
    ] {
        let message = refused(&format!("{table}\nno_such_key = 1"));
        let keys: Vec<_> = message.split('`').skip(3).step_by(2).collect();
        assert!(!keys.is_empty(), "{message}");
        for key in keys {
            let stated = EXAMPLE.lines().any(|line| {
                let bare = line.trim_start_matches(['#', ' ']);
                bare.starts_with(&format!("{key} ="))
                    || bare.starts_with(&format!("[{key}]"))
                    || bare.starts_with(&format!("[[{key}]]"))
                    || bare.starts_with(&format!("[{key}."))
            });
            assert!(stated, "the example says nothing of {table} {key}");
        }
    }
}

#[test]
fn an_error_names_file_line_and_what_was_expected() {
    let message = refused("data = \"d\"\n\n[limits]\nlogin_timeout = \"soon\"\n");
    assert!(
        message.starts_with("my.toml:4:17: limits.login_timeout: "),
        "{message}"
    );
    assert!(message.contains("such as \"15s\""), "{message}");

    let message = refused("[limits]\nsessions_per_volume = 0\n");
    assert!(message.starts_with("my.toml:2:"), "{message}");
    assert!(message.contains("from 1 to 4096, got 0"), "{message}");

    for wrong in ["999ms", "26s"] {
        let message = refused(&format!("[limits]\nfence_timeout = \"{wrong}\"\n"));
        assert!(
            message.starts_with("my.toml:2:17: limits.fence_timeout: "),
            "{message}"
        );
        assert!(
            message.contains("from 1s to 25s") && message.contains(wrong),
            "{message}"
        );
    }

    let message = refused("[san]\nname = \"X\"\n");
    assert!(
        message.contains("san.name") && message.contains("SAN name"),
        "{message}"
    );

    let message = refused("[[portal]]\nlisten = \"127.0.0.1:1\"\n[[portal]]\nlisten = 5\n");
    assert!(message.starts_with("my.toml:4:"), "{message}");

    let message = refused("[tuning]\nengine = \"warp\"\n");
    assert!(message.contains("`auto`, `uring`, `mio`"), "{message}");

    let message = refused("reacters = 2\n");
    assert!(message.starts_with("my.toml:1:1: "), "{message}");
    assert!(message.contains("unknown field `reacters`"), "{message}");

    let message = refused("reactors = 2\ncores = \"0,1\"\n");
    assert!(
        message.starts_with("my.toml: reactors: expected either"),
        "{message}"
    );

    assert!(refused("data = \n").starts_with("my.toml:1:"));
    assert!(refused("portal = []").contains("1 to 64 portals"));
}

#[test]
fn a_group_inherits_what_it_leaves_out() {
    let text = "[access]\nallow = [\"10.0.0.0/8\"]\nrequire_digests = true\n\
                [groups.databases]\nallow = [\"10.1.2.3\"]\n[groups.closed]\nallow = []\n";
    let book = Config::parse(Path::new("x"), text)
        .unwrap()
        .access_book()
        .unwrap();
    let rules = |name: &str| book.of(&name.parse().unwrap()).clone();
    assert_eq!(
        rules("databases").rules.networks,
        vec!["10.1.2.3/32".parse().unwrap()]
    );
    assert!(rules("databases").require_digests);
    assert!(rules("closed").rules.networks.is_empty());
    assert_eq!(
        rules("other").rules.networks,
        vec!["10.0.0.0/8".parse().unwrap()]
    );
}

#[test]
fn enforce_crc_is_known_by_its_former_name() {
    for key in ["enforce_crc", "require_digests"] {
        let config = Config::parse(Path::new("x"), &format!("[access]\n{key} = true\n")).unwrap();
        assert!(
            config
                .access_book()
                .unwrap()
                .defaults
                .access
                .require_digests
        );
    }
    let both = refused("[access]\nenforce_crc = true\nrequire_digests = false\n");
    assert!(both.contains("duplicate field"), "{both}");
}

#[test]
fn every_rule_says_where_it_comes_from() {
    let text = "[limits]\nsessions_per_initiator = 64\n\
                [access]\nallow = [\"10.0.0.0/8\"]\nmax_burst_length = \"256KiB\"\n\
                [groups.databases]\nenforce_crc = true\nfirst_burst_length = 65536\n\
                sessions_per_initiator = 32\nmax_receive_segment = \"128KiB\"\n";
    let book = Config::parse(Path::new("x"), text)
        .unwrap()
        .access_book()
        .unwrap();
    let databases = book.ruling_of(&"databases".parse().unwrap());
    assert_eq!(
        databases.origins,
        Origins {
            allow: Origin::Access,
            initiators: Origin::Default,
            chap_accounts: Origin::Default,
            enforce_crc: Origin::Group,
            sessions_per_initiator: Origin::Group,
            max_burst_length: Origin::Access,
            first_burst_length: Origin::Group,
            max_receive_segment: Origin::Group,
        }
    );
    let offer = databases.access.offer;
    assert_eq!(
        (
            offer.max_burst_bytes,
            offer.first_burst_bytes,
            offer.receive_data_segment_bytes
        ),
        (256 << 10, 64 << 10, Some(128 << 10))
    );
    assert_eq!(databases.access.sessions_per_initiator, Some(32));
    let other = book.ruling_of(&"other".parse().unwrap());
    assert_eq!(other.access.sessions_per_initiator, Some(64));
    assert_eq!(other.origins.sessions_per_initiator, Origin::Limits);
}

#[test]
fn lengths_and_budgets_are_within_what_can_be() {
    for wrong in ["511", "\"2MiB\"", "0"] {
        let message = refused(&format!("[access]\nmax_burst_length = {wrong}\n"));
        assert!(
            message.starts_with("my.toml:2:20: access.max_burst_length: "),
            "{message}"
        );
        assert!(message.contains("from 512B to 1MiB"), "{message}");
    }
    let message = refused("[groups.a-b-c]\nsessions_per_initiator = 0\n");
    assert!(message.contains("from 1 to 4096, got 0"), "{message}");
    let text = "[groups.a-b-c]\nfirst_burst_length = \"64KiB\"\nmax_burst_length = \"32KiB\"\n";
    let message = refused(text);
    assert!(
        message.contains("groups.a-b-c.first_burst_length: expected at most max_burst_length"),
        "{message}"
    );
}

#[test]
fn nothing_listens_beyond_loopback_unless_asked() {
    let portals = Config::default().portals;
    assert!(
        portals
            .iter()
            .all(|portal| portal.listen.0.ip().is_loopback())
    );
    assert!(!portals.is_empty());
}

#[test]
fn a_portal_may_redirect_to_another_one() {
    let portal = |redirect: &str| format!("[[portal]]\nlisten = \"127.0.0.1:1\"\n{redirect}\n");
    let text = portal("redirect = \"san2.example.org:3260\"\nredirect_permanent = true");
    let config = Config::parse(Path::new("x"), &text).unwrap();
    let redirect = config.portals[0].redirect.as_ref().unwrap();
    assert_eq!(redirect.to_string(), "san2.example.org:3260");
    assert!(config.portals[0].redirect_permanent);
    for wrong in ["redirect = \"0.0.0.0:3260\"", "redirect = \"san2\""] {
        assert!(refused(&portal(wrong)).contains("ADDR:PORT"), "{wrong}");
    }
    let message = refused(&portal("redirect = \"127.0.0.1:1\""));
    assert!(message.contains("another portal"), "{message}");
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::read(Path::new("/nowhere/holdfast.toml")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/holdfast.toml: can't be read")
    );
}
