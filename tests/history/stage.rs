//! The stage: a server, a volume on the backend that the scenario asks for, and everybody's sessions.

use std::time::Duration;

use super::area::VOLUME_SIZE;
use super::lots::Lots;
use super::port::Port;
use super::record::Nexus;
use super::support::server::{Server, Setup};

const PORTALS: [&str; 3] = ["127.0.0.1:0"; 3];
const WRITERS: Nexus = 8;
/// Writers of the same remainder are sessions of one node.
const NODES: Nexus = 6;
/// The fencer's nexuses count from here.
const OBSERVERS_FROM: Nexus = 100;
const OBSERVERS: Nexus = 2;

/// How the volume's backend behaves, and what happens to commands that another nexus aborts.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Wrappers of the backend as `--test-wrapper` takes them, the innermost first.
    pub(crate) wrappers: Vec<String>,
    /// The longest that they hold a request.
    pub(crate) longest_delay: Duration,
    pub(crate) task_aborted_status: bool,
    /// New processes take the server's place all the time.
    pub(crate) upgrades: bool,
    pub(crate) seed: u64,
}

impl Scenario {
    /// A slow backend that reorders, and fails now and then. Every other one tells of aborts by
    /// TASK ABORTED.
    pub(crate) fn honest(seed: u64) -> Self {
        let fault = r#"{"type":"fault","seed":SEED,"rules":[
            {"on":"write","when":{"one-in":150},"action":{"fail":"medium"}},
            {"on":"write","when":{"one-in":150},"action":{"torn":1024}}]}"#;
        let wrappers = vec![
            delay("completions", 0, 4_000),
            delay("requests", 100, 16_000),
            fault.to_owned(),
        ];
        Self::new(seed, wrappers, Duration::from_millis(20))
    }

    /// As the honest one, while the server is replaced again and again.
    pub(crate) fn replaced(seed: u64) -> Self {
        Self {
            upgrades: true,
            ..Self::honest(seed)
        }
    }

    /// A backend that completes writes before it does them: no fence above it can hold.
    pub(crate) fn lying(seed: u64) -> Self {
        let longest = Duration::from_millis(60);
        Self::new(seed, vec![delay("effects", 5_000, 60_000)], longest)
    }

    /// A backend that loses some of the writes that it acknowledges.
    pub(crate) fn losing(seed: u64) -> Self {
        let fault = r#"{"type":"fault","seed":SEED,"rules":[
            {"on":"write","when":{"one-in":20},"action":"dropped"}]}"#;
        let wrappers = vec![delay("requests", 100, 5_000), fault.to_owned()];
        Self::new(seed, wrappers, Duration::from_millis(5))
    }

    fn new(seed: u64, wrappers: Vec<String>, longest_delay: Duration) -> Self {
        let wrappers = wrappers
            .iter()
            .map(|wrapper| wrapper.replace("SEED", &seed.to_string()))
            .collect();
        Self {
            wrappers,
            longest_delay,
            task_aborted_status: Lots::new(seed).one_in(2),
            upgrades: false,
            seed,
        }
    }
}

fn delay(what: &str, min_us: u64, max_us: u64) -> String {
    format!(
        r#"{{"type":"delay","seed":SEED,"hold":{{"what":"{what}",
            "until":{{"elapsed":{{"min_us":{min_us},"max_us":{max_us}}}}}}}}}"#
    )
}

/// Who takes part, and where.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) writers: Vec<Port>,
    /// The fencer's own, which read the volume.
    pub(crate) observers: Vec<Port>,
}

impl Stage {
    /// Starts a server with three portals, and shards and connections over all of its reactors.
    pub(crate) fn new(setup: Setup, scenario: &Scenario) -> Self {
        let tuning =
            "[tuning]\nshards = \"spread\"\nshard_size = \"1MiB\"\nconnections = \"spread\"\n";
        let server = setup.listen(&PORTALS).config(tuning).start();
        let backend = server.setup.backend;
        let mut create = vec!["volume", "create", "history", "--size", VOLUME_SIZE];
        create.extend(["--backend", backend]);
        for wrapper in &scenario.wrappers {
            create.extend(["--test-wrapper", wrapper]);
        }
        server.text(&create);
        let target = server.volume("history").iqn;
        let port = |nexus: Nexus, node: &str| Port::new(nexus, node, &server.portals, &target);
        let writers = (0..WRITERS)
            .map(|nexus| port(nexus, &format!("writer-{}", nexus % NODES)))
            .collect();
        let observers = (OBSERVERS_FROM..OBSERVERS_FROM + OBSERVERS)
            .map(|nexus| port(nexus, &format!("observer-{nexus}")).prompt())
            .collect();
        Self {
            server,
            writers,
            observers,
        }
    }
}
