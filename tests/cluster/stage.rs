//! A server, its nodes, and what disturbs them between two steps of a sequence.
//!
//! A sequence names its nodes and sends commands through [`Stage::on`]. Undisturbed, nothing is done
//! for it: a unit attention that it does not expect fails its next command. Disturbed, the node does
//! what hosts do after a reset or a login: it takes the unit attentions before it goes on. The one that
//! the disturbance brings must be there, first and once; those about reservations are put by, until the
//! sequence asks for them with [`Stage::expect`].

use crate::support::initiator::Initiator;
use crate::support::login::Login;
use crate::support::reserve::{action, flag, parameters};
use crate::support::scsi::{Outcome, sense, test_unit_ready};
use crate::support::server::{Engine, Server, Setup, Volume};

/// Task management functions (RFC 7143 section 11.5.1).
const LOGICAL_UNIT_RESET: u8 = 5;
const TARGET_WARM_RESET: u8 = 6;

/// Steps that a target lives for where it is killed between steps. Each setup begins to count elsewhere,
/// so that all setups together cover all steps.
const STEPS_A_LIFE: usize = 4;

type SenseCode = (u8, u8, u8);

/// What happens between every two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    Nothing,
    /// Every node logs out, and in again with the same ISID.
    Logout,
    /// Every node's TCP connection is cut, and it logs in again with the same ISID.
    Cut,
    /// Another initiator resets the logical unit.
    UnitReset,
    /// Another initiator resets the target.
    TargetReset,
    /// The target is killed and started again, at every [`STEPS_A_LIFE`]th step, because a start takes
    /// longer than a step; registrations are made with APTPL.
    Restart,
}

impl Disturbance {
    const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Logout,
        Self::Cut,
        Self::UnitReset,
        Self::TargetReset,
        Self::Restart,
    ];

    /// Whether this unit attention is what it leaves behind (SAM-5 section 5.14).
    fn leaves(self, code: SenseCode) -> bool {
        match self {
            Self::Nothing => false,
            Self::Logout | Self::Restart => code == sense::POWER_ON,
            // The target may or may not have seen the loss before the next login reinstates the session.
            Self::Cut => [sense::POWER_ON, sense::NEXUS_LOSS].contains(&code),
            Self::UnitReset => code == sense::UNIT_RESET,
            Self::TargetReset => code == sense::TARGET_RESET,
        }
    }
}

/// Runs a sequence undisturbed, and once more with each disturbance.
pub(crate) fn in_every_form(setup: &Setup, sequence: impl Fn(&mut Stage)) {
    // A start takes longer than a sequence: the forms that leave the target alone share one.
    let mut server = start(setup, setup.backend);
    for disturbance in Disturbance::ALL {
        // A test that fails says in which form.
        eprintln!("disturbance: {disturbance:?}");
        if disturbance == Disturbance::Restart {
            // What is to outlive the process is on a disk.
            server = start(setup, "file");
        }
        let mut stage = Stage::new(server, disturbance);
        sequence(&mut stage);
        server = stage.finish();
    }
}

fn start(setup: &Setup, backend: &'static str) -> Server {
    let mut fresh = Setup::new(setup.engine, setup.reactors, backend).config(
        "[tuning]\nconnections = \"spread\"\nshards = \"spread\"\nshard_size = \"1MiB\"\n\
         arena = \"16MiB\"\n",
    );
    fresh.listen.clone_from(&setup.listen);
    fresh.portals = setup.portals;
    fresh.start()
}

/// An initiator of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(usize);

/// A volume of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskId(usize);

struct Node {
    login: Login,
    portal: usize,
    /// None while its path is down.
    session: Option<Initiator>,
    /// A disturbance has passed whose unit attention it has not taken yet.
    is_shaken: bool,
    /// Unit attentions about reservations that it took, and that the sequence has not asked for.
    told: Vec<SenseCode>,
}

impl Node {
    fn session(&mut self) -> &mut Initiator {
        self.session.as_mut().expect("the node's path is up")
    }

    /// Takes what waits for it.
    fn listen(&mut self, disturbance: Disturbance) {
        let waiting = self.session().take_attentions();
        for code in waiting {
            self.hear(code, disturbance);
        }
        assert!(!self.is_shaken, "{disturbance:?} leaves a unit attention");
    }

    /// One unit attention. What a disturbance leaves comes before all others.
    fn hear(&mut self, code: SenseCode, disturbance: Disturbance) {
        if std::mem::take(&mut self.is_shaken) {
            assert!(
                disturbance.leaves(code),
                "{disturbance:?} leaves {code:02x?}"
            );
        } else {
            assert!(sense::ABOUT_RESERVATIONS.contains(&code), "{code:02x?}");
            self.told.push(code);
        }
    }

    /// The path is there, or there again.
    fn connect(&mut self) {
        let mut session = self.login.connect();
        let waiting = session.take_attentions();
        let (first, others) = waiting.split_first().expect("a login leaves its mark");
        assert!(Disturbance::Cut.leaves(*first), "{first:02x?}");
        assert!(
            others
                .iter()
                .all(|code| sense::ABOUT_RESERVATIONS.contains(code)),
            "{others:02x?}"
        );
        self.told.extend(others);
        self.session = Some(session);
        self.is_shaken = false;
    }
}

/// A server, volumes, nodes, and one more initiator that resets them.
pub(crate) struct Stage {
    /// None for the moment between its end and its start.
    server: Option<Server>,
    disks: Vec<(Volume, Initiator)>,
    nodes: Vec<Node>,
    disturbance: Disturbance,
    /// Disturbances so far.
    steps: usize,
}

impl Stage {
    fn new(server: Server, disturbance: Disturbance) -> Self {
        let setup = &server.setup;
        let steps = usize::from(setup.engine == Engine::Mio) * 2 + usize::from(setup.reactors > 1);
        Self {
            server: Some(server),
            disks: Vec::new(),
            nodes: Vec::new(),
            disturbance,
            steps,
        }
    }

    /// A new volume.
    pub(crate) fn disk(&mut self, name: &str) -> DiskId {
        let form = format!("{:?}", self.disturbance).to_lowercase();
        let volume = self.server().create_small(&format!("{name}-{form}"));
        let outsider = self.server().session(&volume, "outsider");
        self.disks.push((volume, outsider));
        DiskId(self.disks.len() - 1)
    }

    /// A new node, logged in to a volume through the first portal.
    pub(crate) fn join(&mut self, disk: DiskId, name: &str) -> NodeId {
        self.join_by(disk, name, 0, 1)
    }

    /// A path of a node: through that portal, from the initiator port of that ISID.
    pub(crate) fn join_by(&mut self, disk: DiskId, name: &str, portal: usize, isid: u16) -> NodeId {
        let server = self.server();
        let login = server.login(&self.disks[disk.0].0, name).isid(isid);
        let mut node = Node {
            login: login.portal(server.portals[portal]),
            portal,
            session: None,
            is_shaken: false,
            told: Vec::new(),
        };
        node.connect();
        assert_eq!(node.told, [], "a stranger has nothing to hear");
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// The next step, by that node, once the disturbance has passed and it knows of it.
    pub(crate) fn on(&mut self, id: NodeId) -> &mut Initiator {
        self.disturb();
        let disturbance = self.disturbance;
        let node = &mut self.nodes[id.0];
        if node.is_shaken {
            node.listen(disturbance);
        }
        node.session()
    }

    /// The next step, by a tool that sends TEST UNIT READY once, whatever becomes of it, and then does
    /// not retry its command.
    pub(crate) fn after_test_unit_ready(&mut self, id: NodeId) -> &mut Initiator {
        self.disturb();
        let disturbance = self.disturbance;
        let node = &mut self.nodes[id.0];
        let answer = node.session().none(&test_unit_ready());
        if !answer.is_good() {
            node.hear(answer.sense_code(), disturbance);
        }
        node.session()
    }

    /// Two nodes at once, for a race between them.
    pub(crate) fn both(
        &mut self,
        one: NodeId,
        another: NodeId,
    ) -> (&mut Initiator, &mut Initiator) {
        for id in [one, another] {
            self.on(id);
        }
        let disturbance = self.disturbance;
        let nodes = self.nodes.get_disjoint_mut([one.0, another.0]);
        let [first, second] = nodes.expect("two nodes");
        // The second step's disturbance reached the first node again.
        if first.is_shaken {
            first.listen(disturbance);
        }
        (first.session(), second.session())
    }

    /// A registration, with APTPL where it is to outlive the target.
    pub(crate) fn register(&mut self, id: NodeId, key: u64, new_key: u64) -> Outcome {
        let flags = self.flags();
        self.on(id).register_with(key, new_key, flags)
    }

    /// As [`Stage::register`], whatever the key is now.
    pub(crate) fn register_and_ignore(&mut self, id: NodeId, new_key: u64) -> Outcome {
        let list = parameters(0, new_key, self.flags());
        self.on(id)
            .reserve_out_with(action::REGISTER_AND_IGNORE, 0, &list)
    }

    /// Byte 20 of a registration's parameter list.
    pub(crate) fn flags(&self) -> u8 {
        match self.disturbance {
            Disturbance::Restart => flag::APTPL,
            _ => 0,
        }
    }

    /// The node has been told just this about reservations since it was last asked, in this order.
    /// What it was not told before the target lost power it can't be told.
    #[track_caller]
    pub(crate) fn expect(&mut self, id: NodeId, codes: &[SenseCode]) {
        self.disturb();
        let disturbance = self.disturbance;
        let node = &mut self.nodes[id.0];
        node.listen(disturbance);
        let told = std::mem::take(&mut node.told);
        if disturbance == Disturbance::Restart {
            assert!(told.iter().all(|code| codes.contains(code)), "{told:02x?}");
        } else {
            assert_eq!(told, codes, "what the node was told about reservations");
        }
    }

    /// The node's path goes down without a word.
    pub(crate) fn lose(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        node.session.take().expect("the path was up").cut();
        node.is_shaken = false;
    }

    /// The path is there again, with the same names.
    pub(crate) fn restore(&mut self, id: NodeId) {
        self.nodes[id.0].connect();
    }

    /// The same node comes back with another ISID: another nexus.
    pub(crate) fn restore_with_isid(&mut self, id: NodeId, isid: u16) {
        let node = &mut self.nodes[id.0];
        node.login = node.login.clone().isid(isid);
        node.told.clear();
        node.connect();
        assert_eq!(node.told, [], "a stranger has nothing to hear");
    }

    /// Nobody has heard anything that the sequence did not ask for.
    fn finish(mut self) -> Server {
        for id in (0..self.nodes.len()).map(NodeId) {
            if self.nodes[id.0].session.is_some() {
                self.expect(id, &[]);
            }
        }
        self.server.take().expect("it runs")
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    fn disturb(&mut self) {
        match self.disturbance {
            Disturbance::Nothing => return,
            Disturbance::Logout => self.log_in_again(Initiator::logout),
            Disturbance::Cut => self.log_in_again(Initiator::cut),
            Disturbance::UnitReset => self.reset(LOGICAL_UNIT_RESET),
            Disturbance::TargetReset => self.reset(TARGET_WARM_RESET),
            Disturbance::Restart => {
                self.steps += 1;
                if !self.steps.is_multiple_of(STEPS_A_LIFE) {
                    return;
                }
                self.restart();
            }
        }
        for node in &mut self.nodes {
            node.is_shaken = node.session.is_some();
        }
    }

    fn log_in_again(&mut self, leave: impl Fn(Initiator)) {
        for node in &mut self.nodes {
            if let Some(session) = node.session.take() {
                leave(session);
                node.session = Some(node.login.connect());
            }
        }
    }

    fn reset(&mut self, function: u8) {
        for (_, outsider) in &mut self.disks {
            assert_eq!(outsider.manage(function, None), 0, "function complete");
            outsider.take_attentions();
        }
    }

    fn restart(&mut self) {
        let server = self.server.take().expect("it runs").kill().start();
        for (volume, outsider) in &mut self.disks {
            *outsider = server.session(volume, "outsider");
        }
        for node in &mut self.nodes {
            node.login.portal = server.portals[node.portal];
            if node.session.is_some() {
                node.session = Some(node.login.connect());
            }
        }
        self.server = Some(server);
    }
}
