//! The script for Linux: what it does to open-iscsi, twice, and what it keeps to itself.

use super::host::Host;
use super::{TWO_PORTALS, connect, server};

const SECRET: &str = "initiator-secret-1";
const TARGET_SECRET: &str = "target-secret-12345";

const SHELLS: [&str; 2] = ["sh", "bash"];

/// The calls that change something.
fn changes(calls: &[String]) -> Vec<&String> {
    let changing = |call: &&String| call.contains("-o new") || call.contains("--login");
    calls.iter().filter(changing).collect()
}

#[test]
fn the_second_run_finds_everything_done() {
    let server = server("enforce_crc = true\n");
    let script = connect(
        &server,
        "linux",
        &[&["--sessions", "5"], &TWO_PORTALS[..]].concat(),
    );
    let iqn = server.volume("db-1").iqn;
    for shell in SHELLS {
        let host = Host::new(shell);
        let calls = host.succeed(&script, &[]);
        let on = |portal: &str, call: &str| format!("iscsiadm -m node -T {iqn} -p {portal} {call}");
        for (portal, sessions) in [("10.0.0.5:3260", 3), ("[fd00::5]:3261", 2)] {
            let place = |call: &str| {
                let wanted = on(portal, call);
                let found = calls.iter().position(|made| *made == wanted);
                found.unwrap_or_else(|| panic!("{wanted} in {calls:#?}"))
            };
            let login = place("--login");
            assert!(place("-o new") < login);
            for (key, value) in [
                ("node.conn[0].iscsi.HeaderDigest", "CRC32C"),
                ("node.conn[0].iscsi.DataDigest", "CRC32C"),
                ("node.session.iscsi.InitialR2T", "No"),
                ("node.session.iscsi.ImmediateData", "Yes"),
                ("node.session.iscsi.MaxBurstLength", "262144"),
                ("node.session.iscsi.FirstBurstLength", "262144"),
                ("node.conn[0].iscsi.MaxRecvDataSegmentLength", "262144"),
                ("node.session.nr_sessions", &sessions.to_string()),
                ("node.startup", "automatic"),
            ] {
                assert!(
                    place(&format!("-o update -n {key} -v {value}")) < login,
                    "{key}"
                );
            }
        }
        assert!(!calls.iter().any(|call| call.contains("discovery")));
        let sessions = || std::fs::read_to_string(host.path("state/sessions")).expect("sessions");
        assert_eq!(sessions().lines().count(), 5);
        let configured = host.path("root/etc/multipath/conf.d/holdfast-volume.conf");
        let multipath = std::fs::read_to_string(&configured).expect("a drop-in");
        for line in [
            "vendor \"^HOLDFAST\"",
            "path_grouping_policy multibus",
            "path_selector \"round-robin 0\"",
            "failback immediate",
        ] {
            assert!(multipath.contains(line), "{line} in {multipath}");
        }
        assert!(calls.contains(&"multipathd reconfigure".to_owned()));
        assert!(calls.contains(&"systemctl enable --now multipathd.service".to_owned()));

        let (before, there) = (host.files(), sessions());
        let again = host.succeed(&script, &[]);
        assert_eq!(changes(&again), Vec::<&String>::new(), "{shell}");
        assert!(!again.contains(&"multipathd reconfigure".to_owned()));
        assert_eq!((host.files(), sessions()), (before.clone(), there.clone()));

        // Sessions that are gone come back, and no other.
        let kept: Vec<&str> = there.lines().filter(|line| !line.contains("[2]")).collect();
        std::fs::write(host.path("state/sessions"), kept.join("\n") + "\n").expect("our file");
        let mended = host.succeed(&script, &[]);
        assert_eq!(changes(&mended).len(), 2, "{mended:#?}");
        assert_eq!(sessions().lines().count(), 5);
        assert_eq!(host.files(), before);
    }
}

#[test]
fn one_session_needs_no_multipath() {
    let server = server("");
    let script = connect(
        &server,
        "linux",
        &["--sessions", "1", "--portal", "10.0.0.5:3260"],
    );
    let host = Host::new("sh");
    let calls = host.succeed(&script, &[]);
    assert!(!calls.iter().any(|call| call.starts_with("multipath")));
    let digests = calls
        .iter()
        .find(|call| call.contains("HeaderDigest"))
        .expect("digests");
    assert!(
        digests.ends_with("-v CRC32C,None"),
        "what the target may choose: {digests}"
    );
}

#[test]
fn a_portal_may_have_a_name() {
    let server = server("");
    let script = connect(
        &server,
        "linux",
        &["--sessions", "1", "--portal", "san.example:3260"],
    );
    let host = Host::new("sh");
    host.program(
        "getent",
        "#!/bin/sh\n[ \"$2\" != san.example ] || echo '192.0.2.9 STREAM san.example'\n",
    );
    let calls = host.succeed(&script, &[]);
    assert!(
        calls
            .iter()
            .any(|call| call.contains("-p 192.0.2.9:3260 --login")),
        "{calls:#?}"
    );
    host.program("getent", "#!/bin/sh\nexit 2\n");
    assert!(
        host.fail(&script, &[])
            .contains("san.example is no address")
    );
}

/// A server whose group asks for CHAP; the accounts live as long as the server.
fn guarded() -> (super::Server, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("accounts");
    let accounts = format!(
        "[[account]]\nuser = \"it's db1\"\nsecret = \"{SECRET}\"\n\
         mutual_user = \"target\"\nmutual_secret = \"{TARGET_SECRET}\"\n"
    );
    std::fs::write(&path, accounts).expect("a file");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).expect("our file");
    (server(&format!("chap_accounts = {path:?}\n")), directory)
}

#[test]
fn a_secret_goes_into_the_record_and_nowhere_else() {
    let (server, _accounts) = guarded();
    let sessions = ["--sessions", "1", "--portal", "10.0.0.5:3260"];
    let script = connect(&server, "linux", &[&sessions[..], &["--mutual"]].concat());
    for shell in SHELLS {
        let host = Host::new(shell);
        let secret = host.file("secret", &format!("{SECRET}\n"), 0o600);
        let target_secret = host.file("target-secret", TARGET_SECRET, 0o600);
        let files = [
            "--secret-file",
            &secret,
            "--mutual-secret-file",
            &target_secret,
        ];
        let output = host.run(&script, &files);
        assert!(output.status.success(), "{output:?}");
        let calls = host.take_calls();
        for secret in [SECRET, TARGET_SECRET] {
            assert!(!script.contains(secret));
            assert!(!format!("{output:?}").contains(secret), "{output:?}");
            assert!(
                !calls.iter().any(|call| call.contains(secret)),
                "{calls:#?}"
            );
        }
        let records = host.files();
        let (path, mode, record) = records
            .iter()
            .find(|file| file.0.ends_with("default"))
            .expect("a record");
        assert_eq!(mode & 0o077, 0, "{path:?}");
        for line in [
            "node.session.auth.authmethod = CHAP",
            "node.session.auth.username = it's db1",
            &format!("node.session.auth.password = {SECRET}"),
            "node.session.auth.username_in = target",
            &format!("node.session.auth.password_in = {TARGET_SECRET}"),
        ] {
            assert_eq!(
                record.lines().filter(|found| *found == line).count(),
                1,
                "{line} in\n{record}"
            );
        }
        assert!(record.ends_with("# END RECORD\n"));
        assert!(!record.contains("<empty>"), "the old value is gone");
        host.succeed(&script, &files);
        assert_eq!(host.files(), records, "{shell}: twice is as once");
    }
}

#[test]
fn what_is_wrong_is_told_before_anything_is_done() {
    let (server, _accounts) = guarded();
    let script = connect(
        &server,
        "linux",
        &["--sessions", "1", "--portal", "10.0.0.5:3260"],
    );
    let host = Host::new("sh");
    let open = host.file("open", SECRET, 0o644);
    let short = host.file("short", "short\n", 0o600);
    for (arguments, told) in [
        (&[][..], "no terminal to ask"),
        (&["--secret-file", &open], "chmod 600"),
        (&["--secret-file", &short], "fewer than 12 bytes"),
        (&["--secret-file", "/nowhere"], "can't read /nowhere"),
        (&["--secret-file"], "needs a file"),
        (&["--secret"], "unknown argument --secret"),
    ] {
        let text = host.fail(&script, arguments);
        assert!(text.contains(told), "{arguments:?}: {text}");
        assert!(!text.contains(SECRET));
        assert_eq!(host.take_calls(), Vec::<String>::new(), "{arguments:?}");
    }
    assert!(String::from_utf8_lossy(&host.run(&script, &["--help"]).stdout).contains("usage:"));
}

#[test]
fn a_host_that_is_not_let_in_is_told_so() {
    let server = server("initiators = [\"iqn.2024-01.test:db1\", \"iqn.2024-01.test:db2\"]\n");
    let script = connect(
        &server,
        "linux",
        &["--sessions", "1", "--portal", "10.0.0.5:3260"],
    );
    let host = Host::new("sh");
    let name = "root/etc/iscsi/initiatorname.iscsi";
    host.file(
        name,
        "## comment\nInitiatorName=iqn.2024-01.test:other\n",
        0o600,
    );
    let text = host.fail(&script, &[]);
    assert!(
        text.contains("this host is called iqn.2024-01.test:other"),
        "{text}"
    );
    host.file(name, "InitiatorName=iqn.2024-01.test:db2\n", 0o600);
    host.succeed(&script, &[]);
}

#[test]
fn sessions_that_the_target_refuses_are_missed() {
    let server = server("");
    let script = connect(
        &server,
        "linux",
        &["--sessions", "4", "--portal", "10.0.0.5:3260"],
    );
    let mut host = Host::new("sh");
    host.variables.push(("FAKE_SESSIONS_MAX", "3".to_owned()));
    let text = host.fail(&script, &[]);
    assert!(
        text.contains("3 of 4 sessions; the server's log says why"),
        "{text}"
    );
}

#[test]
fn a_wish_that_would_be_refused_is_refused_at_once() {
    let server = server("sessions_per_initiator = 8\n");
    let told = |arguments: &[&str]| {
        let output = server.command(&[&["connect", "db-1"], arguments].concat());
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(told(&["--client", "linux", "--sessions", "9"]).contains("may have 8"));
    assert!(told(&["--client", "linux", "--sessions", "1"]).contains("at least 2 sessions"));
    assert!(told(&["--client", "linux", "--mutual"]).contains("asks for no CHAP"));
    assert!(told(&["--client", "esxi", "--sessions", "2"]).contains("leave --sessions out"));
    assert!(told(&["--client", "linux", "--namespace", "a"]).contains("k8s alone"));
    assert!(told(&["--client", "amiga"]).contains("possible values"));
    assert!(told(&[]).contains("--client"));
    let output = server.command(&["connect", "nowhere", "--client", "linux"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not exist"));
    assert!(
        connect(&server, "linux", &[]).contains("|4 "),
        "eight sessions over two portals"
    );
}
