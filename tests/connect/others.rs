//! What is printed for other clients: read by a parser of its language, or run against a program that
//! records its arguments.

use crate::support::skip;
use std::io::Write;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use super::host::Host;
use super::{TWO_PORTALS, connect, server};

const SECRET: &str = "initiator-secret-1";

/// Accounts of a group, in a directory that has to live.
fn accounts(users: &[&str]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("accounts");
    let account = |user: &&str| {
        format!(
            "[[account]]\nuser = \"{user}\"\nsecret = \"{SECRET}\"\n\
             mutual_user = \"target\"\nmutual_secret = \"target-secret-12345\"\n"
        )
    };
    std::fs::write(&path, users.iter().map(account).collect::<String>()).expect("a file");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).expect("our file");
    let rules = format!("chap_accounts = {path:?}\n");
    (directory, rules)
}

/// Where shellcheck is installed, as `tests/run` sees to.
fn shellcheck(script: &str) {
    let spawned = Command::new("shellcheck")
        .args(["--shell=sh", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return skip(format!("shellcheck can't be run: {error}")),
    };
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(script.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("our child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{script}");
}

#[test]
fn shell_scripts_are_clean() {
    let (_kept, rules) = accounts(&["it's $HOME `id` \\\"", "b"]);
    let guarded = server(&rules);
    let open = server("initiators = [\"iqn.2024-01.test:a\"]\n");
    let user = ["--chap-user", "it's $HOME `id` \""];
    for client in ["linux", "esxi"] {
        shellcheck(&connect(&open, client, &TWO_PORTALS));
        shellcheck(&connect(
            &guarded,
            client,
            &[&user[..], &["--mutual"]].concat(),
        ));
    }
    shellcheck(&connect(&open, "qemu", &TWO_PORTALS));
    shellcheck(&connect(&guarded, "qemu", &user));
}

#[test]
fn esxi_gets_static_targets_and_round_robin_once() {
    const ESXCLI: &str = r#"#!/bin/sh
touch "$FAKE/rules" "$FAKE/targets" "$FAKE/sessions"
case "$*" in
    'iscsi software get') echo true ;;
    'iscsi adapter list') printf 'Adapter  Driver\nvmhba64  iscsi_vmk\n' ;;
    'storage nmp satp rule list') cat "$FAKE/rules" ;;
    'storage nmp satp rule add'*) echo "$*" >>"$FAKE/rules" ;;
    'iscsi adapter discovery statictarget list') cat "$FAKE/targets" ;;
    'iscsi adapter discovery statictarget add'*) echo "$*" >>"$FAKE/targets" ;;
    'storage core adapter rescan'*) cat "$FAKE/targets" >"$FAKE/sessions" ;;
    'iscsi session list'*) sed 's/^/ISID: /' "$FAKE/sessions" ;;
esac
"#;
    let server = server("enforce_crc = true\n");
    let script = connect(&server, "esxi", &TWO_PORTALS);
    let iqn = server.volume("db-1").iqn;
    let host = Host::new("sh");
    host.program("esxcli", ESXCLI);
    let calls = host.succeed(&script, &[]);
    for portal in ["10.0.0.5:3260", "[fd00::5]:3261"] {
        let add = format!(
            "esxcli iscsi adapter discovery statictarget add --adapter=vmhba64 --address={portal} --name={iqn}"
        );
        assert!(calls.contains(&add), "{add} in {calls:#?}");
        for key in ["HeaderDigest", "DataDigest"] {
            let set = format!(
                "esxcli iscsi adapter target portal param set --adapter=vmhba64 --address={portal} \
                 --name={iqn} --key={key} --value=required"
            );
            assert!(calls.contains(&set), "{set} in {calls:#?}");
        }
    }
    assert!(calls.iter().any(|call| call.contains("--psp=VMW_PSP_RR")));
    let again = host.succeed(&script, &[]);
    assert!(
        !again.iter().any(|call| call.contains(" add ")),
        "{again:#?}"
    );
}

#[test]
fn qemu_is_started_with_the_volume_and_without_the_secret() {
    let (_kept, rules) = accounts(&["db,1"]);
    let server = server(&format!("{rules}initiators = [\"iqn.2024-01.test:vm1\"]\n"));
    let script = connect(&server, "qemu", &["--portal", "10.0.0.5:3260"]);
    let iqn = server.volume("db-1").iqn;
    let mut host = Host::new("sh");
    host.program("qemu-system-x86_64", "#!/bin/sh\nexit 0\n");
    assert!(host.fail(&script, &[]).contains("HOLDFAST_SECRET_FILE"));
    let secret = host.file("secret", SECRET, 0o600);
    host.variables
        .push(("HOLDFAST_SECRET_FILE", secret.clone()));
    let calls = host.succeed(&script, &["-m", "1G"]);
    let [call] = calls.as_slice() else {
        panic!("one call: {calls:#?}")
    };
    for part in [
        format!("-object secret,id=db-1-secret,file={secret} "),
        format!(
            "driver=iscsi,node-name=db-1,transport=tcp,portal=10.0.0.5:3260,target={iqn},lun=0,"
        ),
        "header-digest=crc32c-none,".to_owned(),
        "initiator-name=iqn.2024-01.test:vm1,user=db,,1,password-secret=db-1-secret ".to_owned(),
        "-device scsi-block,drive=db-1,bus=db-1-bus.0 -m 1G".to_owned(),
    ] {
        assert!(call.contains(&part), "{part} in {call}");
    }
    assert!(!call.contains(SECRET) && !script.contains(SECRET));
    assert!(
        script.contains("pr-manager-helper"),
        "for those who pass the host's device on"
    );

    let enforced = self::server("enforce_crc = true\n");
    let output = enforced.command(&["connect", "db-1", "--client", "qemu"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("refuses logins without data digests"),
        "{told}"
    );
    assert!(told.contains("pr-manager=pr"), "{told}");
}

/// The documents of a YAML stream, by a parser.
fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let documents = documents.map(|document| Value::deserialize(document).expect("YAML"));
    documents.filter(|document| !document.is_null()).collect()
}

#[test]
fn kubernetes_gets_a_volume_and_a_secret_without_its_password() {
    let (_kept, rules) = accounts(&["true", "b"]);
    let server = server(&rules);
    // A user that YAML would take for something else.
    let more = [
        &TWO_PORTALS[..],
        &["--chap-user", "true", "--mutual", "--namespace", "prod"],
    ]
    .concat();
    let text = connect(&server, "k8s", &more);
    let [secret, volume] = &documents(&text)[..] else {
        panic!("two documents in {text}")
    };
    assert_eq!(secret["kind"], "Secret");
    assert_eq!(secret["type"], "kubernetes.io/iscsi-chap");
    assert_eq!(secret["metadata"]["namespace"], "prod");
    assert_eq!(secret["stringData"]["node.session.auth.username"], "true");
    assert_eq!(
        secret["stringData"]["node.session.auth.username_in"],
        "target"
    );
    assert_eq!(
        secret["stringData"]["discovery.sendtargets.auth.username"],
        "true"
    );
    let keys = secret["stringData"].as_object().expect("a map").keys();
    assert!(
        keys.clone().all(|key| !key.contains("password")),
        "{keys:?}"
    );
    assert!(!text.contains(SECRET));

    assert_eq!(volume["kind"], "PersistentVolume");
    assert_eq!(volume["spec"]["capacity"]["storage"], "65536Ki");
    let iscsi = &volume["spec"]["iscsi"];
    assert_eq!(iscsi["targetPortal"], "10.0.0.5:3260");
    assert_eq!(iscsi["portals"][0], "[fd00::5]:3261");
    assert_eq!(iscsi["iqn"], server.volume("db-1").iqn.as_str());
    assert_eq!(iscsi["lun"], 0);
    assert_eq!(iscsi["chapAuthDiscovery"], true);
    assert_eq!(iscsi["chapAuthSession"], true);
    assert_eq!(iscsi["secretRef"]["name"], secret["metadata"]["name"]);
    assert_eq!(iscsi["secretRef"]["namespace"], "prod");

    let open = self::server("");
    let plain = documents(&connect(&open, "k8s", &[]));
    assert_eq!(plain.len(), 1, "no secret where none is asked for");
    assert!(plain[0]["spec"]["iscsi"].get("secretRef").is_none());
}

/// The command in the manifest's comment makes the patch that it promises.
#[test]
fn the_patch_for_the_secret_is_json() {
    let (_kept, rules) = accounts(&["db1"]);
    let server = server(&rules);
    let text = connect(&server, "k8s", &[]);
    let function = text
        .lines()
        .find_map(|line| line.strip_prefix("#   secret() "))
        .expect("a function");
    let host = Host::new("sh");
    let file = host.file("secret", SECRET, 0o600);
    let script = format!("secret() {function}\nsecret node.session.auth.password {file}\n");
    let output = host.run(&script, &[]);
    let patch: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(SECRET);
    assert_eq!(
        patch["data"]["node.session.auth.password"],
        encoded.as_str()
    );
}

#[test]
fn powershell_is_read_by_a_parser_and_does_what_it_has_to() {
    let (_kept, rules) = accounts(&["it's $HOME", "b"]);
    let guarded = server(&rules);
    let open = server("initiators = [\"iqn.2024-01.test:a\"]\n");
    let user = ["--chap-user", "it's $HOME", "--mutual"];
    let scripts = [
        connect(&open, "windows", &TWO_PORTALS),
        connect(&open, "windows", &["--sessions", "2"]),
        connect(&guarded, "windows", &user),
    ];
    let mut parser = tree_sitter::Parser::new();
    let language = tree_sitter_powershell::LANGUAGE.into();
    parser.set_language(&language).expect("a grammar that fits");
    for script in &scripts {
        let tree = parser.parse(script, None).expect("a tree");
        assert!(
            !tree.root_node().has_error(),
            "{}\n{script}",
            tree.root_node().to_sexp()
        );
        for part in [
            "Set-Service -Name MSiSCSI -StartupType Automatic",
            "Enable-MSDSMAutomaticClaim -BusType iSCSI",
            "New-IscsiTargetPortal",
            "Connect-IscsiTarget",
            "-IsPersistent $true -IsMultipathEnabled $Multipath",
            "-IsHeaderDigest $true -IsDataDigest $true",
        ] {
            assert!(script.contains(part), "{part}");
        }
        assert!(!script.contains(SECRET));
    }
    assert!(
        parser
            .parse("if (", None)
            .expect("a tree")
            .root_node()
            .has_error()
    );
    assert!(scripts[0].contains("@{ Address = 'fd00::5'; Port = 3261; Sessions = 16 }"));
    assert!(scripts[2].contains("$ChapUser = 'it''s $HOME'"));
    assert!(scripts[2].contains("$ChapMutual = 'target'"));
}
