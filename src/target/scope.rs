//! Whose registration counts for a session: that of its own nexus, or one that its client's sessions
//! share.
//!
//! The state machine knows registrants and nothing of sessions. Under [`ReservationScope::Nexus`] the
//! registrant is the session's I_T nexus. Under [`ReservationScope::Client`] it is
//! [`Nexus::of_client`], the same for all sessions of one initiator name, through every target port;
//! what a command says of initiator and target ports is translated here, ahead of the machine.

use crate::reservation::{Command, InitiatorPort, Nexus, Refusal, TransportId};
use crate::volume::ReservationScope;

/// No target port of a volume whose only one, to the machine, is [`Nexus::CLIENT_PORT`].
const NO_PORT: u16 = u16::MAX;

/// The registrant of a session with this nexus.
pub(crate) fn registrant(scope: ReservationScope, nexus: &Nexus) -> Nexus {
    match scope {
        ReservationScope::Nexus => nexus.clone(),
        ReservationScope::Client => Nexus::of_client(nexus.initiator.name()),
    }
}

/// The target ports that registrants are told apart by, of those that there are.
pub(crate) fn target_ports(scope: ReservationScope, ports: Vec<u16>) -> Vec<u16> {
    match scope {
        ReservationScope::Nexus => ports,
        ReservationScope::Client => vec![Nexus::CLIENT_PORT],
    }
}

/// The command as the machine is to see it, on a volume with these target ports. Where registrants
/// are clients, a TransportID means its node whether it names a port or not, and any target port of
/// the volume means all of them.
pub(crate) fn command(scope: ReservationScope, command: Command, ports: &[u16]) -> Command {
    if scope == ReservationScope::Nexus {
        return command;
    }
    match command {
        Command::Register {
            key,
            new_key,
            aptpl,
            all_target_ports,
            others,
        } => Command::Register {
            key,
            new_key,
            aptpl,
            all_target_ports,
            others: others.map(|listed| listed.map(|ids| ids.iter().map(client).collect())),
        },
        Command::RegisterAndMove {
            key,
            new_key,
            unregister,
            aptpl,
            target_port,
            destination,
        } => Command::RegisterAndMove {
            key,
            new_key,
            unregister,
            aptpl,
            target_port: if ports.contains(&target_port) {
                Nexus::CLIENT_PORT
            } else {
                NO_PORT
            },
            destination: destination.map(|id: TransportId| client(&id)) as Result<_, Refusal>,
        },
        command => command,
    }
}

fn client(id: &TransportId) -> TransportId {
    TransportId::Port(InitiatorPort::of_client(id.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reservation::Key;

    const NAME: &str = "iqn.2024-01.x:a";

    fn port(isid: u8) -> InitiatorPort {
        InitiatorPort::new(NAME, [0, 0, 0, 0, 0, isid])
    }

    #[test]
    fn sessions_of_one_name_are_one_client_and_as_many_nexuses() {
        let sessions = [Nexus::new(port(1), 1), Nexus::new(port(2), 7)];
        for nexus in &sessions {
            assert_eq!(registrant(ReservationScope::Nexus, nexus), *nexus);
            let client = registrant(ReservationScope::Client, nexus);
            assert_eq!(client, Nexus::of_client(NAME));
        }
        assert_eq!(
            target_ports(ReservationScope::Nexus, vec![1, 7]),
            vec![1, 7]
        );
        assert_eq!(target_ports(ReservationScope::Client, vec![1, 7]), vec![0]);
    }

    #[test]
    fn transport_ids_of_either_format_name_the_client() {
        let listed = |ids| Command::Register {
            key: Key(0),
            new_key: Key(1),
            aptpl: false,
            all_target_ports: false,
            others: Some(Ok(ids)),
        };
        let asked = listed(vec![
            TransportId::Port(port(1)),
            TransportId::Node(NAME.to_owned()),
        ]);
        let client = TransportId::Port(InitiatorPort::of_client(NAME));
        assert_eq!(
            command(ReservationScope::Client, asked.clone(), &[1]),
            listed(vec![client.clone(), client])
        );
        assert_eq!(command(ReservationScope::Nexus, asked.clone(), &[1]), asked);
    }

    #[test]
    fn a_target_port_that_is_not_there_stays_unknown() {
        let moved = |target_port| Command::RegisterAndMove {
            key: Key(1),
            new_key: Key(2),
            unregister: false,
            aptpl: false,
            target_port,
            destination: Ok(TransportId::Port(port(1))),
        };
        let seen = |target_port| match command(ReservationScope::Client, moved(target_port), &[7]) {
            Command::RegisterAndMove { target_port, .. } => target_port,
            other => panic!("{other:?}"),
        };
        assert_eq!([7, 0, 1].map(seen), [Nexus::CLIENT_PORT, NO_PORT, NO_PORT]);
    }
}
