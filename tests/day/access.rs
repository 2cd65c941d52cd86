//! Eight o'clock: who may log in.

use crate::hosts::{capacity, named, tool};
use crate::office::{Office, SECRET, USER, has, has_not};
use crate::opening::MIB;

/// A configuration that lets nobody in lets nobody in, and shows nobody what there is.
pub(crate) fn nobody_may_log_in(office: &Office) {
    let discover = format!("iscsi-ls iscsi://{}", office.portal());
    assert_eq!(tool(office, &discover, "db1", None).succeeds(), "");
    let inquire = format!("iscsi-inq {}", office.url("orders"));
    let said = tool(office, &inquire, "db1", None).fails();
    has(&said, &["Authorization failure(514)"]);

    office.hears_of(&[
        "login_refused  orders",
        "address 127.0.0.1 is in none of the networks allowed",
    ]);
    has(
        &office.types("holdfast group show databases"),
        &["allow", "nobody"],
    );
}

/// Rules for two groups. The secrets are in a file that others could read, at first.
pub(crate) fn rules_let_hosts_in(office: &mut Office) {
    office.writes("secret", SECRET);
    office.writes(
        "accounts.toml",
        &format!("[[account]]\nuser = \"{USER}\"\nsecret = \"{SECRET}\"\n"),
    );
    let rules = format!(
        "[groups.databases]\n\
         allow = [\"127.0.0.0/8\"]\n\
         initiators = [\"{}\", \"{}\"]\n\
         chap_accounts = {:?}\n\
         [groups.ledger]\n\
         allow = [\"127.0.0.0/8\"]\n\
         enforce_crc = true\n",
        named("db1"),
        named("db2"),
        office.path("accounts.toml"),
    );
    office.writes("holdfast.toml", &(office.configuration() + &rules));

    office.chmod("accounts.toml", 0o644);
    let check = format!(
        "holdfast config check --config {}",
        office.file("holdfast.toml")
    );
    let said = office.is_refused(&check);
    has(&said, &["others may read the CHAP secrets", "chmod 600"]);
    office.chmod("accounts.toml", 0o600);
    has(&office.types(&check), &["databases, ledger"]);

    office.stops_the_server();
    office.starts_the_server();
    let group = office.asks("holdfast group show databases");
    assert_eq!(group["chap_users"][0], USER);
    assert_eq!(group["initiators"][0], named("db1"));
}

/// CHAP: without a proof, with a wrong one, with the right one.
pub(crate) fn a_host_proves_itself(office: &Office) {
    let discover = format!("iscsi-ls iscsi://{}", office.portal());
    let inquire = format!("iscsi-inq {}", office.url("orders"));
    assert_eq!(tool(office, &discover, "db1", None).succeeds(), "");
    for secret in [None, Some("not-what-it-should-be")] {
        let said = tool(office, &inquire, "db1", secret).fails();
        has(&said, &["Authentication failure(513)"]);
    }
    let said = tool(office, &inquire, "web1", Some(SECRET)).fails();
    has(&said, &["Authorization failure(514)"]);
    office.hears_of(&[
        "login refused: the initiator did not authenticate",
        "orders  iqn.2024-01.test:db1  127.0.0.1  warning: login refused: CHAP name or response is wrong",
        "login refused: initiator iqn.2024-01.test:web1 is not among those allowed",
    ]);

    let shown = tool(office, &discover, "db1", Some(SECRET)).succeeds();
    has(
        &shown,
        &[&office.target("orders"), &office.target("golden")],
    );
    let told = tool(office, &inquire, "db1", Some(SECRET)).succeeds();
    has(&told, &["Vendor:HOLDFAST", "Product:VOLUME"]);
    assert_eq!(capacity(office, "orders"), 64 * MIB);

    let audit = std::fs::read_to_string(office.path("audit.jsonl")).expect("the audit log");
    for place in [
        office.log(),
        audit,
        office.process_list(),
        office.types("holdfast events"),
        office.types("holdfast group show databases --json"),
    ] {
        has_not(&place, &[SECRET]);
    }
}

/// libiscsi has no data digests; the load generator has.
pub(crate) fn digests_are_enforced(office: &Office) {
    office.types("holdfast volume create books --size 16MiB --group ledger");
    let inquire = format!("iscsi-inq {}?header_digest=crc32c", office.url("books"));
    let said = tool(office, &inquire, "ledger1", None).fails();
    has(&said, &["Initiator error(512)"]);
    office.hears_of(&["login refused: DataDigest=CRC32C is required and was not negotiated"]);
    has(
        &office.is_refused("holdfast connect books --client qemu"),
        &[
            "refuses logins without data digests (enforce_crc)",
            "--client linux",
        ],
    );
    let verify = format!(
        "holdfast bench {} --rw randrw --verify --time 300ms --header-digest --data-digest",
        office.url("books")
    );
    let report = office.asks(&verify);
    assert_eq!(report["error"], serde_json::Value::Null);
    let job = &report["jobs"][0];
    assert_eq!(
        (&job["header_digest"], &job["data_digest"]),
        (&true.into(), &true.into())
    );
}
