//! Who may log in, what discovery shows to whom, and that no secret gets out.

mod support;

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::chap::Chap;
use support::copy::{Segment, copy_target, extended_copy};
use support::login::Login;
use support::scsi::pattern;
use support::server::{Server, Setup, Volume, holdfast};
use tempfile::TempDir;

const SECRET: &str = "initiator-secret-1";
const OTHER_SECRET: &str = "initiator-secret-2";
const TARGET_SECRET: &str = "target-secret-12345";

/// A file of mode 0600 with these accounts.
fn accounts(directory: &TempDir, name: &str, users: &[(&str, &str)]) -> PathBuf {
    let mut toml = String::new();
    for (user, secret) in users {
        toml += &format!(
            "[[account]]\nuser = \"{user}\"\nsecret = \"{secret}\"\n\
             mutual_user = \"target\"\nmutual_secret = \"{TARGET_SECRET}\"\n"
        );
    }
    let path = directory.path().join(name);
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(toml.as_bytes()))
        .expect("the accounts are written");
    path
}

fn create_in(server: &Server, group: &str, name: &str) -> Volume {
    let size = ["--size", "64MiB", "--backend", "ram"];
    server.text(&[&["volume", "create", name, "--group", group], &size[..]].concat());
    server.volume(name)
}

/// Every combination of what a login may bring along, against a group that asks for everything: the
/// first rule that is broken, in this order, decides the status (RFC 7143 section 11.13.5).
#[test]
fn every_cell_of_address_name_proof_and_digests_has_its_status() {
    let directory = TempDir::new().expect("a directory");
    let file = accounts(&directory, "accounts", &[("user", SECRET)]);
    let config = format!(
        "[groups.strict]\nallow = [\"127.0.0.1\"]\ninitiators = [\"iqn.2024-01.test:good\"]\n\
         chap_accounts = {file:?}\nenforce_crc = true\n"
    );
    let server = Setup::default().config(&config).start();
    let volume = create_in(&server, "strict", "guarded");
    let proofs = [
        (None, false),
        (Some(Chap::one_way("user", "wrong-secret-wrong")), false),
        (Some(Chap::one_way("user", SECRET)), true),
        (
            Some(Chap::one_way("user", SECRET).mutual("target", TARGET_SECRET)),
            true,
        ),
    ];
    let digests = [
        ("None", "None"),
        ("CRC32C", "None"),
        ("None", "CRC32C"),
        ("None,CRC32C", "CRC32C,None"),
    ];
    let mut cells = 0;
    for (address, right_address) in [
        (Ipv4Addr::LOCALHOST, true),
        (Ipv4Addr::new(127, 0, 0, 9), false),
    ] {
        for (name, right_name) in [("GOOD", true), ("bad", false)] {
            for (proof, proved) in &proofs {
                for (header, data) in digests {
                    let has = |list: &str| list.contains("CRC32C");
                    let expected = match () {
                        () if !right_address || !right_name => 0x0202,
                        () if !proved => 0x0201,
                        () if !has(header) || !has(data) => 0x0200,
                        () => 0,
                    };
                    let mut login = server.login(&volume, name).from(address);
                    login.chap.clone_from(proof);
                    let outcome = login.digests(header, data).try_connect();
                    let status = match &outcome {
                        Ok(_) => 0,
                        Err(refusal) => refusal.status(),
                    };
                    let cell = format!("{address} {name} {proof:?} {header} {data}");
                    assert_eq!(status, expected, "{cell}: {outcome:?}");
                    if let (Err(refusal), 0x0200) = (&outcome, expected) {
                        let named = |key| refusal.key(key) == Some("Reject");
                        assert_eq!(named("HeaderDigest"), !has(header), "{cell}: {refusal:?}");
                        assert_eq!(named("DataDigest"), !has(data), "{cell}: {refusal:?}");
                    }
                    cells += 1;
                }
            }
        }
    }
    assert_eq!(cells, 64);
    let log = server.errors();
    for reason in [
        "address 127.0.0.9 is in none of the networks allowed",
        "initiator iqn.2024-01.test:bad is not among those allowed",
        "the initiator did not authenticate",
        "CHAP name or response is wrong",
        "HeaderDigest=CRC32C is required and was not negotiated",
        "DataDigest=CRC32C is required and was not negotiated",
        "HeaderDigest=CRC32C and DataDigest=CRC32C are required and were not negotiated",
    ] {
        assert!(log.contains(reason), "{reason} in\n{log}");
    }
}

/// The names of the targets that a discovery session is shown.
fn discovered(login: &Login) -> BTreeSet<String> {
    let mut session = login.connect();
    let keys = session.text(&[("SendTargets", "All")]).expect("an answer");
    session.logout();
    let names = keys.into_iter().filter(|(key, _)| key == "TargetName");
    names.map(|(_, name)| name).collect()
}

#[test]
fn discovery_shows_what_an_initiator_may_use_and_has_proved_itself_to() {
    let directory = TempDir::new().expect("a directory");
    let both = ("both", OTHER_SECRET);
    let a = accounts(&directory, "a", &[("of-a", SECRET), both, ("same", SECRET)]);
    let b = accounts(&directory, "b", &[both, ("same", OTHER_SECRET)]);
    let config = format!(
        "[groups.far]\nallow = [\"192.0.2.0/24\"]\n\
         [groups.named]\ninitiators = [\"iqn.2024-01.test:known\"]\n\
         [groups.chap-a]\nchap_accounts = {a:?}\n\
         [groups.chap-b]\nchap_accounts = {b:?}\ninitiators = [\"iqn.2024-01.test:known\"]\n\
         [groups.closed]\nallow = []\nchap_accounts = {b:?}\n"
    );
    let server = Setup::default().config(&config).start();
    let groups = ["open", "far", "named", "chap-a", "chap-b", "closed"];
    let volumes = groups.map(|group| create_in(&server, group, &format!("in-{group}")));
    server.text(&["volume", "delete", "volume-1"]);
    let shown = |initiator: &str, chap: Option<Chap>| {
        let mut login = Login::discovery(server.portal(), initiator);
        login.chap = chap;
        let names = discovered(&login);
        let visible = groups.iter().zip(&volumes);
        let visible = visible.filter(|(_, volume)| names.contains(&volume.iqn));
        let visible: Vec<&str> = visible.map(|(group, _)| *group).collect();
        assert_eq!(visible.len(), names.len(), "no other target: {names:?}");
        visible
    };
    let proof = |user: &str, secret: &str| Some(Chap::one_way(user, secret));

    assert_eq!(shown("stranger", None), ["open"]);
    assert_eq!(shown("known", None), ["open", "named"]);
    assert_eq!(
        shown("known", proof("of-a", SECRET)),
        ["open", "named", "chap-a"]
    );
    assert_eq!(
        shown("known", proof("both", OTHER_SECRET)),
        ["open", "named", "chap-a", "chap-b"]
    );
    // A name is not an account: who knows the secret in one group is nobody in the other.
    assert_eq!(
        shown("known", proof("same", OTHER_SECRET)),
        ["open", "named", "chap-b"]
    );
    let mutual = proof("of-a", SECRET).map(|chap| chap.mutual("target", TARGET_SECRET));
    assert_eq!(shown("stranger", mutual), ["open", "chap-a"]);

    // An account of a group that the initiator may not use is no account.
    let wrong = Login::discovery(server.portal(), "stranger");
    for (user, secret) in [("same", OTHER_SECRET), ("of-a", "wrong-secret-wrong")] {
        let refusal = wrong.clone().chap(Chap::one_way(user, secret)).refused();
        assert_eq!(refusal.status(), 0x0201, "{user}");
    }
    assert!(
        server
            .errors()
            .contains("discovery does not show targets that ask for CHAP"),
        "whoever wonders finds it in the log"
    );

    // A session of a volume is told of its own volume, and of others as discovery would.
    let login = server
        .login(&volumes[3], "known")
        .chap(Chap::one_way("of-a", SECRET));
    let mut session = login.connect();
    for (volume, told) in [
        (&volumes[3], true),
        (&volumes[0], true),
        (&volumes[4], false),
    ] {
        let keys = session
            .text(&[("SendTargets", &volume.iqn)])
            .expect("an answer");
        let found = keys
            .iter()
            .any(|(key, name)| key == "TargetName" && *name == volume.iqn);
        assert_eq!(found, told, "{}", volume.name);
    }
}

/// A third-party copy reaches no volume whose CHAP the session has not satisfied.
#[test]
fn a_copy_does_not_read_what_a_login_could_not() {
    let directory = TempDir::new().expect("a directory");
    let file = accounts(&directory, "accounts", &[("user", SECRET)]);
    let config = format!("[groups.guarded]\nchap_accounts = {file:?}\n");
    let server = Setup::default().config(&config).start();
    let [guarded, sibling] =
        ["guarded-1", "guarded-2"].map(|name| create_in(&server, "guarded", name));
    let open = create_in(&server, "open", "open-1");
    let chap = Chap::one_way("user", SECRET);

    let session = |volume: &Volume, chap: Option<&Chap>| {
        let mut login = server.login(volume, "a");
        login.chap = chap.cloned();
        let mut session = login.connect();
        session.take_attentions();
        session
    };
    let mut owner = session(&guarded, Some(&chap));
    owner.write_blocks(0, &pattern(7, 1)).good();
    let source = copy_target(&mut owner);
    let copy_into = |volume: &Volume, chap: Option<&Chap>| {
        let mut session = session(volume, chap);
        let targets = [source.clone(), copy_target(&mut session)];
        let segment = Segment {
            to: 1,
            from_lba: 0,
            to_lba: 0,
            blocks: 1,
        };
        let outcome = session.run(&extended_copy(1, &targets, &segment, false));
        (outcome, session.read_blocks(0, 1).good())
    };
    let (outcome, copied) = copy_into(&sibling, Some(&chap));
    outcome.good();
    assert_eq!(
        copied,
        pattern(7, 1),
        "within the group that the session proved itself to"
    );
    let (outcome, copied) = copy_into(&open, None);
    const COPY_ABORTED: u8 = 0x0a;
    outcome.check(COPY_ABORTED, 0x0d, 0x02);
    assert!(copied.iter().all(|byte| *byte == 0), "nothing has got out");
}

/// Everything that a server says, on every occasion there is.
#[test]
fn no_secret_gets_out() {
    let directory = TempDir::new().expect("a directory");
    let file = accounts(&directory, "accounts", &[("user", SECRET)]);
    let config = format!("[access]\nchap_accounts = {file:?}\nenforce_crc = true\n");
    let setup = Setup::default()
        .config(&config)
        .argument("--log")
        .argument("trace");
    let server = setup.start();
    let volume = server.create_small("guarded");
    let login = server.login(&volume, "a").digests("CRC32C", "CRC32C");
    let chap = Chap::one_way("user", SECRET).mutual("target", TARGET_SECRET);
    let _session = login.clone().chap(chap).connect();
    login
        .clone()
        .chap(Chap::one_way("user", OTHER_SECRET))
        .refused();
    login.refused();

    let mut said = vec![("the log", server.errors())];
    for command in [
        &["group", "list"][..],
        &["group", "show", "default"],
        &["group", "show", "nowhere"],
        &["volume", "list"],
        &["volume", "show", "guarded"],
        &["session", "list"],
        &["server", "status"],
        &["reservation", "show", "guarded"],
    ] {
        for json in [&[][..], &["--json"]] {
            let output = server.command(&[command, json].concat());
            said.push(("a command", format!("{output:?}")));
        }
    }
    let of_process = |file: &str| {
        let bytes = std::fs::read(format!("/proc/{}/{file}", server.process_id()));
        String::from_utf8_lossy(&bytes.expect("our child")).into_owned()
    };
    said.push(("its command line", of_process("cmdline")));
    said.push(("its environment", of_process("environ")));
    for (path, content) in readable_by_all(&setup.data()) {
        said.push((
            "a file",
            format!("{path:?} {}", String::from_utf8_lossy(&content)),
        ));
    }
    assert!(said[0].1.contains("login refused") || said[0].1.contains("login failed"));
    for (place, text) in &said {
        for secret in [SECRET, OTHER_SECRET, TARGET_SECRET] {
            assert!(!text.contains(secret), "{secret} in {place}: {text}");
        }
    }
    let shown = server.json(&["group", "show", "default"]);
    assert_eq!(shown["chap_users"][0], "user", "a name is no secret");
    assert_eq!(shown["chap_mutual"], "target");
}

/// Files below a directory that others than their owner may read.
fn readable_by_all(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("its metadata");
        if metadata.is_dir() {
            found.extend(readable_by_all(&entry.path()));
        } else if metadata.is_file()
            && metadata.permissions().mode() & 0o044 != 0
            && metadata.len() < 64 << 20
        {
            found.push((
                entry.path(),
                std::fs::read(entry.path()).expect("its content"),
            ));
        }
    }
    found
}

#[test]
fn accounts_that_others_may_read_are_refused_and_never_quoted() {
    let directory = TempDir::new().expect("a directory");
    let file = accounts(&directory, "accounts", &[("user", SECRET)]);
    let config = format!("[access]\nchap_accounts = {file:?}\n");
    let told = || {
        let failure = Setup::default()
            .config(&config)
            .try_start()
            .expect_err("a refusal");
        assert_eq!(failure.status.code(), Some(1));
        assert!(!failure.errors.contains(SECRET), "{}", failure.errors);
        failure.errors
    };
    for mode in [0o640, 0o604, 0o620] {
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).expect("our file");
        let told = told();
        assert!(told.contains("chmod 600"), "{told}");
        assert!(told.contains(&format!("{mode:04o}")), "{told}");
    }
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("our file");
    let text = format!("[[account]]\nuser = \"user\"\nsecret = {SECRET}\n");
    std::fs::write(&file, text).expect("our file");
    let told = told();
    assert!(
        told.contains(":3:") && told.contains("expected [[account]]"),
        "{told}"
    );
    std::fs::write(&file, "[[account]]\nuser = \"user\"\nsecret = \"short\"\n").expect("our file");
    assert!(self::holdfast(&["--version"]).status.success());
    let failure = Setup::default()
        .config(&config)
        .try_start()
        .expect_err("a refusal");
    assert!(
        failure.errors.contains("12 to 128 bytes"),
        "{}",
        failure.errors
    );
    assert!(!failure.errors.contains("short"), "{}", failure.errors);
}

/// What another process of the same user reads of the server's environment.
fn environment_as_seen(server: &Server) -> Option<String> {
    let mut reader = Command::new("cat");
    reader.arg(format!("/proc/{}/environ", server.process_id()));
    support::confine::confine(&mut reader);
    let output = reader.output().expect("cat runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

#[test]
fn an_environment_with_secrets_is_closed_to_other_processes() {
    let open = Setup::default()
        .confined()
        .variable("HOLDFAST_TEST", "harmless")
        .start();
    let seen = environment_as_seen(&open).expect("an ordinary environment can be read");
    assert!(seen.contains("HOLDFAST_TEST=harmless"));

    let pair = format!("user:{SECRET}");
    let setup = Setup::default()
        .confined()
        .variable("HOLDFAST_CHAP_ACCOUNTS", &pair);
    let server = setup.start();
    assert_eq!(environment_as_seen(&server), None, "one with secrets can't");
    assert!(!server.errors().contains(SECRET));
    let volume = server.create_small("guarded");
    let login = server.login(&volume, "a");
    assert_eq!(login.refused().status(), 0x0201);
    login.chap(Chap::one_way("user", SECRET)).connect().logout();
    let shown = server.json(&["group", "show", "default"]);
    assert_eq!(shown["origins"]["chap_accounts"], "environment");
}

/// Addresses of TCP sockets on which a process listens, by the kernel's own account.
fn listening(process: u32) -> BTreeSet<SocketAddr> {
    let own: BTreeSet<String> = std::fs::read_dir(format!("/proc/{process}/fd"))
        .expect("our child")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(link.to_owned())
        })
        .collect();
    let mut addresses = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{process}/net/{table}"));
        for line in text.unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, state, inode) = (fields[1], fields[3], fields[9]);
            if state == "0A" && own.contains(inode) {
                addresses.insert(kernel_address(address));
            }
        }
    }
    addresses
}

/// `0100007F:0CBC`: 32-bit words in the byte order of the host, and a port.
fn kernel_address(text: &str) -> SocketAddr {
    let (address, port) = text.split_once(':').expect("an address and a port");
    let port = u16::from_str_radix(port, 16).expect("a port");
    let words: Vec<u8> = (0..address.len())
        .step_by(8)
        .flat_map(|at| {
            let word = u32::from_str_radix(&address[at..at + 8], 16).expect("a word");
            word.to_ne_bytes()
        })
        .collect();
    match <[u8; 4]>::try_from(words.as_slice()) {
        Ok(address) => (address, port).into(),
        Err(_) => (
            <[u8; 16]>::try_from(words.as_slice()).expect("four words"),
            port,
        )
            .into(),
    }
}

#[test]
fn a_server_listens_where_it_was_asked_to_and_nowhere_else() {
    let server = Setup::default()
        .listen(&["127.0.0.1:0", "127.0.0.1:0"])
        .start();
    let asked: BTreeSet<_> = server.portals.iter().copied().collect();
    assert_eq!(listening(server.process_id()), asked);
    let socket = std::fs::metadata(server.control()).expect("the control socket");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}
