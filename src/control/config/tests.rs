use super::*;

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
        require_digests: Some(false),
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
    let rules = |config: &Config| config.access_book().unwrap().defaults.rules;
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
