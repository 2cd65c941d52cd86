//! Configurations, profiles and accounts that can't be used: the check says so, and so does a start, which
//! leaves everything as it was.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::house::{Closed, House, serve_with};
use crate::support::confine::confine;
use crate::transcript::Transcript;

/// What is wrong, and the file.
const FILES: [(&str, &str); 24] = [
    (
        "a key that is misspelt",
        "[limits]\nsesions_per_volume = 4\n",
    ),
    ("a table that is misspelt", "[acess]\nallow = []\n"),
    (
        "a key of a group that none has",
        "[groups.databases]\nalow = []\n",
    ),
    (
        "a key in the wrong table",
        "[access]\nlisten = \"127.0.0.1:0\"\n",
    ),
    ("a key twice", "reactors = 1\nreactors = 2\n"),
    ("a table that is not closed", "[access\nallow = []\n"),
    ("text for a number", "reactors = \"two\"\n"),
    ("no reactor", "reactors = 0\n"),
    ("a core that is not there", "cores = \"9999\"\n"),
    (
        "a network of 33 bits",
        "[access]\nallow = [\"10.7.0.0/33\"]\n",
    ),
    (
        "a network with bits of a host",
        "[access]\nallow = [\"10.7.0.1/16\"]\n",
    ),
    (
        "a range for a network",
        "[access]\nallow = [\"10.7.0.1-10.7.0.9\"]\n",
    ),
    (
        "a name for a network",
        "[groups.databases]\nallow = [\"db.example.com\"]\n",
    ),
    (
        "one network, not a list",
        "[access]\nallow = \"10.7.0.0/16\"\n",
    ),
    (
        "a name that is no iSCSI name",
        "[access]\ninitiators = [\"db1\"]\n",
    ),
    (
        "a group's name with a capital",
        "[groups.Databases]\nallow = []\n",
    ),
    (
        "a port beyond 65535",
        "[[portal]]\nlisten = \"127.0.0.1:70000\"\n",
    ),
    (
        "one portal twice",
        "[[portal]]\nlisten = \"127.0.0.1:3260\"\n[[portal]]\nlisten = \"127.0.0.1:3260\"\n",
    ),
    ("a time without a unit", "[limits]\ndrain_timeout = \"5\"\n"),
    (
        "a SAN of another name than the data's",
        "[san]\nname = \"harbour\"\n",
    ),
    (
        "an authority that is no date and domain",
        "[san]\nauthority = \"example.com\"\n",
    ),
    ("a profile that is not there", "profile = \"fastest\"\n"),
    ("a knob that no profile has", "[tuning]\nidel = \"spin\"\n"),
    (
        "an audit log in no directory",
        "[audit]\npath = \"/no/such/directory/audit.jsonl\"\n",
    ),
];

/// What is wrong, the accounts, and the file's mode.
const ACCOUNTS: [(&str, &str, u32); 9] = [
    (
        "secrets that others may read",
        "[[account]]\nuser = \"db\"\nsecret = \"KEPT-FROM-ALL-EYES\"\n",
        0o644,
    ),
    (
        "a secret of eleven bytes",
        "[[account]]\nuser = \"db\"\nsecret = \"KEPT-FROM-A\"\n",
        0o600,
    ),
    (
        "a secret that is missing",
        "[[account]]\nuser = \"db\"\n",
        0o600,
    ),
    ("no account", "", 0o600),
    (
        "an account twice",
        "[[account]]\nuser = \"db\"\nsecret = \"KEPT-FROM-ALL-EYES\"\n[[account]]\nuser = \"db\"\nsecret = \"KEPT-FROM-MANY-EYES\"\n",
        0o600,
    ),
    (
        "one secret for both directions",
        "[[account]]\nuser = \"db\"\nsecret = \"KEPT-FROM-ALL-EYES\"\nmutual_user = \"san\"\nmutual_secret = \"KEPT-FROM-ALL-EYES\"\n",
        0o600,
    ),
    (
        "half of what mutual CHAP needs",
        "[[account]]\nuser = \"db\"\nsecret = \"KEPT-FROM-ALL-EYES\"\nmutual_user = \"san\"\n",
        0o600,
    ),
    (
        "no TOML, with a secret in it",
        "db:KEPT-FROM-ALL-EYES\n",
        0o600,
    ),
    (
        "a file that can't be read",
        "[[account]]\nuser = \"db\"\nsecret = \"KEPT-FROM-ALL-EYES\"\n",
        0o000,
    ),
];

/// Every secret of the table begins so.
const SECRET: &str = "KEPT-FROM";

/// Checks a file, and starts a server by it: both refuse it, with the same words where both see it.
struct Checker {
    closed: Closed,
    told: String,
}

impl Checker {
    fn new() -> Self {
        let closed = House::new().closes();
        Self {
            closed,
            told: String::new(),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.closed.data().with_file_name(name)
    }

    fn refuses(&mut self, wrong: &str, config: &Path) {
        let (data, config) = (self.closed.data(), config.to_str().expect("plain"));
        let data = data.to_str().expect("plain");
        let output = serve_with(&["--data", data, "--config", config], |command| {
            confine(command)
        });
        let mut transcript = Transcript::alone();
        transcript.note(wrong);
        self.told += transcript
            .record(&format!("serve --config {config}"), &output)
            .refused();
        self.closed.is_untouched(wrong);
    }
}

#[test]
fn configurations_that_are_wrong() {
    let mut checker = Checker::new();
    for (index, (wrong, text)) in FILES.into_iter().enumerate() {
        let path = checker.path(&format!("{index}.toml"));
        std::fs::write(&path, text).expect("a file");
        checker.refuses(wrong, &path);
    }
    for (wrong, name) in [("no such file", "none.toml"), ("a directory", "data")] {
        checker.refuses(wrong, &checker.path(name));
    }
    Transcript::alone()
        .append(&checker.told)
        .matches("wrong_configurations");
    checker.closed.opens();
}

#[test]
fn secrets_that_are_wrong() {
    let mut checker = Checker::new();
    let accounts = checker.path("accounts.toml");
    let config = checker.path("holdfast.toml");
    let names = format!("[groups.databases]\nchap_accounts = {accounts:?}\n");
    std::fs::write(&config, names).expect("a file");
    for (wrong, text, mode) in ACCOUNTS {
        std::fs::write(&accounts, text).expect("a file");
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&accounts, permissions).expect("ours");
        checker.refuses(wrong, &config);
        std::fs::remove_file(&accounts).expect("ours");
    }
    checker.refuses("no such file", &config);
    assert!(!checker.told.contains(SECRET), "{}", checker.told);
    Transcript::alone()
        .append(&checker.told)
        .matches("wrong_secrets");
    checker.closed.opens();
}
