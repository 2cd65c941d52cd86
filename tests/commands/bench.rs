//! `holdfast bench`: the shape of what it tells, and what it says of what can't be measured.

use crate::support::server::{Engine, Setup};
use crate::transcript::Transcript;

/// Figures differ from run to run, and with them how wide columns are.
const MEASURED: [(&str, &str); 4] = [
    (
        r"\d+(\.\d+)?( ?(%|[kM]\b|[kKMGT]?i?B/s|µs|us|ms|ns|s\b))?",
        "#",
    ),
    (r"#(\.#|, ?#)+", "#"),
    (r" {2,}", "  "),
    (r"(#  )+#", "#"),
];

#[test]
fn a_run_tells_what_it_measured() {
    let server = Setup::new(Engine::Mio, 1, "null").start();
    let iqn = server.create_small("db-1").iqn;
    let url = format!("iscsi://{}/{iqn}", server.portal());
    let bench = |words: &str| format!("bench {url}{words}");
    Transcript::alone()
        .run(&bench(" --time 200ms --warmup 0s --yield"))
        .run(&bench(
            "/0 --rw randrw --mix 70 --depth 4 --sessions 2 --time 200ms --warmup 0s --yield",
        ))
        .matches_but_for("bench_run", &MEASURED);
}

#[test]
fn what_can_not_be_measured_is_named() {
    let server = Setup::new(Engine::Mio, 1, "null").start();
    let iqn = server.create_small("db-1").iqn;
    let url = format!("iscsi://{}/{iqn}", server.portal());
    let bench = |words: &str| format!("bench {url}{words}");
    Transcript::alone()
        .run("bench")
        .run("bench http://127.0.0.1/x")
        .run(&format!("bench iscsi://127.0.0.1:1/{iqn} --time 1s"))
        .run(&format!(
            "bench iscsi://{}/iqn.2024-01.test:nobody --time 1s",
            server.portal()
        ))
        .run(&bench("/7 --time 1s"))
        .run(&bench(" --bs 100 --time 1s"))
        .run(&bench(" --rw upwards"))
        .run(&bench(" --depth 0"))
        .run(&bench(" --size 1TiB --time 1s"))
        .run(&bench(
            " --verify --rw randwrite --secret-file /no/such/file --user a",
        ))
        .run(&bench(" --time soon"))
        .run("bench floor --file /no/such/file --burst 1ms --bursts 1")
        .run("bench compare profile:latency")
        .run("bench compare profile:fastest floor")
        .run("bench compare floor nonsense")
        .run("bench compare floor profile:latency,program=/no/such/holdfast")
        .run("bench report /no/such/file")
        .run("bench memory --sessions 0")
        .run("bench limits --server-core 4096 --time 1s")
        .matches("bench_refusals");
}
