//! `holdfast connect`: scripts and manifests that connect clients, and a look at those that are connected.
//!
//! | room | what it is |
//! |---|---|
//! | `plan` | what a client is to do, whatever its system |
//! | `linux`, `windows`, `esxi`, `qemu`, `kubernetes` | how each does it |
//! | `check` | a client as the target sees it |
//! | `quote` | text that no shell mistakes |
//!
//! Everything here asks the server and prints; it never runs what it prints, and never sees a secret.

mod check;
mod esxi;
mod kubernetes;
mod linux;
mod plan;
mod qemu;
mod quote;
mod windows;

use std::io::Write;
use std::net::IpAddr;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;

use self::check::Expected;
pub(super) use self::check::Report;
use self::plan::{Path, Plan, Wishes};
use super::client::Connection;
use super::{EXIT_USAGE, Failure, print};
use crate::control::api::{
    GroupSelect, GroupView, SessionList, SessionView, VolumeSelect, VolumeView, method,
};
use crate::control::config::Advertise;
use crate::volume::{IscsiName, VolumeName};

const EXAMPLES: &str = "\
Examples:
  holdfast connect db-1 --client linux > connect-db-1.sh
      a script for open-iscsi: 32 sessions over all portals, digests, multipath, again at every boot.
      On the client: sudo sh connect-db-1.sh
  holdfast connect db-1 --client linux --sessions 4 --portal 10.0.0.5:3260 --portal 10.0.1.5:3260
      four sessions over two portals
  holdfast connect db-1 --client linux --chap-user db1 --mutual > connect-db-1.sh
      CHAP in both directions. On the client, the secrets in files of mode 0600, or typed in:
      sudo sh connect-db-1.sh --secret-file secret --mutual-secret-file target-secret
  holdfast connect db-1 --client windows > connect-db-1.ps1
      PowerShell: the initiator service, MPIO, persistent logins
  holdfast connect db-1 --client esxi            static targets of the software adapter, round robin
  holdfast connect db-1 --client qemu            QEMU's own initiator, for one guest
  holdfast connect db-1 --client k8s | kubectl apply -f -
      a PersistentVolume, and the Secret it logs in with
  holdfast connect db-1 --check --sessions 32
      whether each client has 32 sessions with digests over all portals; exit code 1 if not

What is printed can be run again: it does what is not done yet. It has no secret in it. Where a group
has sessions_per_initiator, fewer than 32 sessions are made.";

/// The sessions that `--sessions` may ask for; a volume's own limit is told by the server.
const SESSIONS: std::ops::RangeInclusive<i64> = 1..=4096;

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ConnectArguments {
    /// The volume's name
    name: VolumeName,
    /// What the client runs
    #[arg(long, value_enum, required_unless_present = "check")]
    client: Option<ClientArgument>,
    /// Judge the clients that are connected instead: sessions, digests, paths, names
    #[arg(long, conflicts_with_all = ["client", "chap_user", "mutual", "namespace"])]
    check: bool,
    /// Sessions, dealt out over the portals [default: 32, or what the group lets an initiator have]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(SESSIONS))]
    sessions: Option<u32>,
    /// Portal to connect to, as the client reaches it; may be repeated [default: all of the server]
    #[arg(long, value_name = "ADDR:PORT")]
    portal: Vec<Advertise>,
    /// CHAP account [default: the group's, where it has one alone]
    #[arg(long, value_name = "USER")]
    chap_user: Option<String>,
    /// Have the target prove itself as well (mutual CHAP)
    #[arg(long)]
    mutual: bool,
    /// The client's iSCSI name; with --check: this client alone
    #[arg(long, value_name = "NAME")]
    initiator: Option<IscsiName>,
    /// Kubernetes: the namespace of the Secret [default: default]
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    namespace: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// What a client runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClientArgument {
    /// A shell script for open-iscsi and multipath
    Linux,
    /// A PowerShell script for the initiator of Windows and MPIO
    Windows,
    /// A shell script for the software adapter of ESXi
    Esxi,
    /// A shell script that starts QEMU with the volume
    Qemu,
    /// A PersistentVolume and a Secret of Kubernetes
    K8s,
}

/// What connects a client, in JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Script<'a> {
    /// What the client runs, as `--client` names it.
    client: &'static str,
    /// The script or manifest, whole.
    text: &'a str,
    /// The volume's name.
    volume: &'a str,
}

impl ClientArgument {
    /// Whether it makes as many sessions as it is told to, and not one for each portal.
    fn counts_sessions(self) -> bool {
        matches!(self, Self::Linux | Self::Windows)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
            Self::Esxi => "esxi",
            Self::Qemu => "qemu",
            Self::K8s => "k8s",
        }
    }
}

/// A name of Kubernetes (RFC 1123), which also means that no shell mistakes it.
fn namespace(text: &str) -> Result<String, &'static str> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if (1..=63).contains(&text.len()) && ends && text.chars().all(legal) {
        return Ok(text.to_owned());
    }
    Err("expected a namespace: 1 to 63 lowercase letters, digits and '-' between them")
}

pub(super) fn run(arguments: ConnectArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let mut client = arguments.connection.client()?;
    let select = VolumeSelect {
        name: arguments.name.clone(),
    };
    let volume: VolumeView = client.call(method::VOLUME_SHOW, &select)?;
    let name = volume.group.parse().map_err(Failure::new)?;
    let group: GroupView = client.call(method::GROUP_SHOW, &GroupSelect { name })?;
    match arguments.client {
        Some(kind) => arguments.script(kind, &volume, &group, out),
        None => {
            let list = SessionList {
                volume: Some(arguments.name.clone()),
            };
            let sessions: Vec<SessionView> = client.call(method::SESSION_LIST, &list)?;
            arguments.check(&volume, &group, sessions, out)
        }
    }
}

/// A server that listens on every address knows none that a client reaches it by.
fn warn_of_loopback(plan: &Plan) {
    let is_loopback = |path: &&Path| {
        let address = path.host.parse::<IpAddr>();
        address.is_ok_and(|address| address.is_loopback())
    };
    if let Some(path) = plan.paths.iter().find(is_loopback) {
        // Nobody may be reading.
        let _ = writeln!(
            std::io::stderr(),
            "warning: portal {} is reached from the server's own host alone; name the address that the \
             client reaches with --portal, or give it to the portal with --advertise",
            path.portal()
        );
    }
}

fn usage(message: impl ToString) -> Failure {
    Failure {
        code: EXIT_USAGE,
        message: message.to_string(),
    }
}

impl ConnectArguments {
    fn script(
        self,
        kind: ClientArgument,
        volume: &VolumeView,
        group: &GroupView,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if self.sessions.is_some() && !kind.counts_sessions() {
            return Err(usage(format!(
                "--client {} makes one session for each portal and knows no number of sessions; leave \
                 --sessions out",
                kind.name()
            )));
        }
        if self.namespace.is_some() && kind != ClientArgument::K8s {
            return Err(usage("--namespace is for --client k8s alone"));
        }
        let made_by = self.made_by(kind);
        let is_json = self.connection.is_json();
        let namespace = self.namespace.unwrap_or_else(|| "default".to_owned());
        let wishes = Wishes {
            sessions: self.sessions,
            portals: self.portal,
            chap_user: self.chap_user,
            mutual: self.mutual,
            initiator: self.initiator,
        };
        let chosen_by_server = wishes.portals.is_empty();
        let plan = Plan::new(volume, group, wishes).map_err(Failure::new)?;
        if chosen_by_server {
            warn_of_loopback(&plan);
        }
        let text = match kind {
            ClientArgument::Linux => linux::script(&plan, &made_by),
            ClientArgument::Windows => windows::script(&plan, &made_by),
            ClientArgument::Esxi => esxi::script(&plan, &made_by),
            ClientArgument::Qemu => qemu::script(&plan, &made_by).map_err(Failure::new)?,
            ClientArgument::K8s => kubernetes::manifest(&plan, &namespace, &made_by),
        };
        if is_json {
            let script = Script {
                volume: &volume.name,
                client: kind.name(),
                text: &text,
            };
            let answer = serde_json::to_string_pretty(&script).map_err(Failure::new)?;
            print(out, &format!("{answer}\n"));
        } else {
            print(out, &text);
        }
        Ok(())
    }

    /// The command as the printed text names it: what it was asked for, so that it can be made again.
    fn made_by(&self, kind: ClientArgument) -> String {
        let mut text = format!("holdfast connect {} --client {}", self.name, kind.name());
        let mut flag = |name: &str, value: &str| {
            text.push_str(&format!(" --{name} {}", quote::shell_if_needed(value)));
        };
        if let Some(sessions) = self.sessions {
            flag("sessions", &sessions.to_string());
        }
        for portal in &self.portal {
            flag("portal", &portal.to_string());
        }
        if let Some(user) = &self.chap_user {
            flag("chap-user", user);
        }
        if let Some(initiator) = &self.initiator {
            flag("initiator", initiator.as_str());
        }
        if let Some(namespace) = &self.namespace {
            flag("namespace", namespace);
        }
        if self.mutual {
            text.push_str(" --mutual");
        }
        text
    }

    fn check(
        self,
        volume: &VolumeView,
        group: &GroupView,
        mut sessions: Vec<SessionView>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if let Some(name) = &self.initiator {
            sessions.retain(|session| session.initiator.eq_ignore_ascii_case(name.as_str()));
        }
        let portals = match self.portal.len() {
            0 => volume.portals.len(),
            named => named,
        };
        let expected = Expected {
            volume,
            group,
            sessions: self.sessions,
            portals,
        };
        let report = check::judge(&expected, &sessions);
        if self.connection.is_json() {
            let text = serde_json::to_string_pretty(&report).map_err(Failure::new)?;
            print(out, &format!("{text}\n"));
        } else if !sessions.is_empty() {
            print(out, &check::show(&report));
        }
        match (report.ok, sessions.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => Err(Failure::new(format!(
                "no session of {} on volume {}",
                self.initiator
                    .as_ref()
                    .map_or("any client", IscsiName::as_str),
                volume.name
            ))),
            (false, false) => Err(Failure::new(format!(
                "clients of volume {} are not connected as they should be",
                volume.name
            ))),
        }
    }
}
