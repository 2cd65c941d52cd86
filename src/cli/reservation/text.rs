//! Reservations for people.

use std::fmt::Write;

use crate::cli::table::{Column, describe, render};
use crate::cli::time::utc;
use crate::cli::values::human_seconds;
use crate::control::api::{
    ActorView, HistoryEntryView, HistoryView, LossView, NexusView, PreemptCheckView,
    RegistrationView, ReservationClearView, ReservationView,
};
use crate::reservation::Key;

pub(super) fn reservation(reservation: &ReservationView) -> String {
    let mut pairs = vec![
        ("volume", reservation.volume.clone()),
        ("type", type_of(reservation)),
    ];
    if reservation.type_code.is_some() {
        pairs.extend([
            ("scope", reservation.scope.clone().unwrap_or_default()),
            ("holder", holder(reservation)),
            ("since", since(reservation)),
        ]);
    }
    if let Some(holder) = &reservation.spc2_holder {
        pairs.push(("spc-2", format!("reserved by {}", named(holder))));
    }
    pairs.extend([
        ("generation", reservation.generation.to_string()),
        (
            "aptpl",
            if reservation.aptpl { "yes" } else { "no" }.to_owned(),
        ),
        ("registrations", reservation.registrations.len().to_string()),
    ]);
    if reservation.changing {
        let warning =
            "a command is waiting for writes in flight; whoever it fences may still write";
        pairs.push(("changing", warning.to_owned()));
    }
    let mut text = describe(&pairs);
    if !reservation.registrations.is_empty() {
        text.push('\n');
        text.push_str(&registrations(reservation));
    }
    text
}

fn type_of(reservation: &ReservationView) -> String {
    let kind = reservation.kind.clone();
    kind.unwrap_or_else(|| "not reserved".to_owned())
}

/// Under the all-registrants types all hold it, which needs no list.
fn holder(reservation: &ReservationView) -> String {
    let mut holders = reservation.registrations.iter().filter(|own| own.holder);
    match (reservation.type_code, holders.next()) {
        (Some(7 | 8), _) => "every registrant".to_owned(),
        (_, Some(holder)) => named(&holder.nexus),
        (_, None) => "-".to_owned(),
    }
}

fn since(reservation: &ReservationView) -> String {
    match reservation.since_ms {
        Some(since) => format!(
            "{} ({} ago)",
            utc(since),
            age(Some(since), reservation.now_ms)
        ),
        None => "unknown".to_owned(),
    }
}

fn age(since_ms: Option<u64>, now_ms: u64) -> String {
    since_ms.map_or_else(
        || "unknown".to_owned(),
        |since| human_seconds(now_ms.saturating_sub(since) / 1000),
    )
}

fn registrations(reservation: &ReservationView) -> String {
    let columns = [
        Column::Text("KEY"),
        Column::Text("HOLDER"),
        Column::Number("PORT"),
        Column::Text("ISID"),
        Column::Number("AGE"),
        Column::Text("HOST"),
        Column::Text("INITIATOR"),
        Column::Text("KEY AS TEXT"),
    ];
    let row = |own: &RegistrationView| {
        let text = own.key_text.as_ref();
        vec![
            own.key.clone(),
            if own.holder { "holder" } else { "-" }.to_owned(),
            own.nexus.port.to_string(),
            own.nexus.isid.clone(),
            age(own.since_ms, reservation.now_ms),
            hosts(&own.addresses),
            own.nexus.initiator.clone(),
            text.map_or_else(|| "-".to_owned(), |text| format!("{text:?}")),
        ]
    };
    render(&columns, reservation.registrations.iter().map(row))
}

fn hosts(addresses: &[String]) -> String {
    match addresses {
        [] => "not logged in".to_owned(),
        addresses => addresses.join(","),
    }
}

fn named(nexus: &NexusView) -> String {
    let NexusView {
        initiator,
        isid,
        port,
    } = nexus;
    match port {
        0 => format!("{initiator}, any session"),
        port => format!("{initiator},i,0x{isid} at target port {port}"),
    }
}

fn lost(loss: &LossView) -> String {
    format!("{}: {}", named(&loss.nexus), loss.lost.join(", "))
}

pub(super) fn history(history: &HistoryView) -> String {
    if history.entries.is_empty() {
        return match history.left_out {
            0 => "nothing has happened\n".to_owned(),
            count => format!("nothing in that time; {count} entries are older\n"),
        };
    }
    let entries: Vec<_> = history.entries.iter().map(entry).collect();
    entries.join("\n")
}

pub(super) fn entry(entry: &HistoryEntryView) -> String {
    let HistoryEntryView {
        sequence, action, ..
    } = entry;
    let mut text = format!("#{sequence}  {}  {action}", utc(entry.at_ms));
    if let Some(kind) = &entry.kind {
        // Writing to a string never fails.
        let _ = write!(text, " ({kind})");
    } else if let Some(byte) = entry.scope_and_type {
        let _ = write!(text, " (scope and type {byte:02X}h)");
    }
    let _ = writeln!(text, ": {}", entry.status);
    let mut pairs = Vec::new();
    if entry.times > 1 {
        let last = utc(entry.last_ms);
        pairs.push(("times", format!("{}, the last at {last}", entry.times)));
    }
    pairs.push(("by", by(&entry.by)));
    let keys = [("key", &entry.key), ("action key", &entry.action_key)];
    pairs.extend(
        keys.into_iter()
            .filter_map(|(name, key)| Some((name, with_text(key.as_deref()?)))),
    );
    if entry.aptpl == Some(true) {
        pairs.push(("aptpl", "yes".to_owned()));
    }
    if let Some(count) = entry.count {
        let of = if entry.action == "RESTART" {
            "registrations restored"
        } else {
            "entries"
        };
        pairs.push(("count", format!("{count} {of}")));
    }
    pairs.extend(entry.losses.iter().map(|loss| ("lost by", lost(loss))));
    if entry.losses_left_out > 0 {
        pairs.push(("lost by", format!("{} more", entry.losses_left_out)));
    }
    if entry.aborted > 0 {
        pairs.push(("aborted", format!("{} commands", entry.aborted)));
    }
    match entry.fence_us {
        None => {}
        Some(0) => pairs.push((
            "fence",
            "no write in flight had to be waited for".to_owned(),
        )),
        Some(us) => {
            let took = std::time::Duration::from_micros(us);
            pairs.push(("fence", format!("waited {took:?} for writes in flight")));
        }
    }
    pairs.push(("generation", entry.generation.to_string()));
    for line in describe(&pairs).lines() {
        let _ = writeln!(text, "    {line}");
    }
    text
}

/// A key, and what it reads as if that is text.
fn with_text(key: &str) -> String {
    match key.parse::<Key>().ok().and_then(Key::text) {
        Some(text) => format!("{key} {text:?}"),
        None => key.to_owned(),
    }
}

fn by(actor: &ActorView) -> String {
    match actor {
        ActorView::Target => "the target".to_owned(),
        ActorView::Initiator { nexus, address } => match address {
            Some(address) => format!("{} from {address}", named(nexus)),
            None => named(nexus),
        },
        ActorView::Operator { uid, pid } => {
            let known = |number: &Option<u32>| {
                number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
            };
            format!("operator, user {}, process {}", known(uid), known(pid))
        }
    }
}

pub(super) fn check(check: &PreemptCheckView) -> String {
    let mut text = format!(
        "PREEMPT of key {} ({}), sent by {} with key {}: {}\n",
        check.preempt,
        check.kind,
        named(&check.by),
        check.key,
        check.status
    );
    let Some(after) = &check.after else {
        text.push_str("nothing would change\n");
        return text;
    };
    text.push('\n');
    let columns = [
        Column::Text("WOULD LOSE"),
        Column::Number("COMMANDS"),
        Column::Number("WAITING"),
        Column::Number("WRITES"),
        Column::Text("HOST"),
        Column::Number("PORT"),
        Column::Text("ISID"),
        Column::Text("INITIATOR"),
    ];
    let rows = check.victims.iter().map(|victim| {
        vec![
            victim.loss.lost.join(","),
            victim.commands.to_string(),
            victim.awaiting_data.to_string(),
            victim.writes.to_string(),
            hosts(&victim.addresses),
            victim.loss.nexus.port.to_string(),
            victim.loss.nexus.isid.clone(),
            victim.loss.nexus.initiator.clone(),
        ]
    });
    text.push_str(&render(&columns, rows));
    text.push('\n');
    let mut pairs = vec![("type then", type_of(after))];
    if after.type_code.is_some() {
        pairs.push(("holder then", holder(after)));
    }
    let left = after.registrations.iter();
    let left: Vec<_> = left
        .map(|own| format!("{} {}", own.key, named(&own.nexus)))
        .collect();
    pairs.push(("generation then", after.generation.to_string()));
    pairs.push(("registrations then", left.len().to_string()));
    pairs.extend(left.into_iter().map(|own| ("", own)));
    let told = check.attentions.iter();
    pairs.extend(told.map(|told| {
        let nexus = named(&told.nexus);
        ("would be told", format!("{} {nexus}", told.sense))
    }));
    text.push_str(&describe(&pairs));
    text
}

/// What `clear` is about to take away; `None`: nothing.
pub(super) fn threat(present: &ReservationView, key: Option<Key>) -> Option<String> {
    let goes = |own: &&RegistrationView| key.is_none_or(|key| own.key.parse() == Ok(key));
    let going = present.registrations.iter().filter(goes);
    let mut text = String::new();
    let mut holds = false;
    for own in going {
        holds |= own.holder;
        let host = hosts(&own.addresses);
        let _ = writeln!(
            text,
            "  the registration of key {} by {} ({host})",
            with_text(&own.key),
            named(&own.nexus)
        );
    }
    let stays = match present.type_code {
        // Under the all-registrants types it goes with the last of them.
        Some(7 | 8) => present.registrations.iter().any(|own| !goes(&own)),
        _ => !holds,
    };
    if let (Some(kind), false) = (&present.kind, stays) {
        let _ = writeln!(
            text,
            "  the reservation ({kind}); every initiator may write then"
        );
    }
    if let (Some(holder), None) = (&present.spc2_holder, key) {
        let _ = writeln!(text, "  the SPC-2 reservation of {}", named(holder));
    }
    let what = format!("This removes from volume {}:\n{text}", present.volume);
    (!text.is_empty()).then_some(what)
}

pub(super) fn cleared(cleared: &ReservationClearView) -> String {
    let mut text = format!("removed from volume {}:\n", cleared.after.volume);
    for loss in &cleared.losses {
        let _ = writeln!(text, "  {}", lost(loss));
    }
    let _ = writeln!(
        text,
        "left: {} registrations, {}",
        cleared.after.registrations.len(),
        type_of(&cleared.after)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(type_code: Option<u8>, keys: &[(u64, bool)]) -> ReservationView {
        let registration = |(key, holder): &(u64, bool)| RegistrationView {
            key: format!("{key:#018x}"),
            key_text: None,
            nexus: NexusView {
                initiator: format!("iqn.2024-01.example:{key:x}"),
                isid: "800000000001".to_owned(),
                port: 1,
            },
            holder: *holder,
            all_target_ports: false,
            since_ms: None,
            addresses: Vec::new(),
        };
        ReservationView {
            volume: "db-1".to_owned(),
            now_ms: 0,
            changing: false,
            generation: 3,
            kind: type_code.map(|code| format!("type {code}")),
            type_code,
            scope: None,
            since_ms: None,
            aptpl: false,
            registrations: keys.iter().map(registration).collect(),
            spc2_holder: None,
        }
    }

    #[test]
    fn a_threat_names_what_goes_and_nothing_else() {
        let told = |view: &ReservationView, key: Option<u64>| {
            let threat = threat(view, key.map(Key));
            threat.map(|text| [":a,", ":b,", "(type"].map(|part| text.contains(part)))
        };
        let held_by_a = view(Some(5), &[(0xa, true), (0xb, false)]);
        assert_eq!(told(&held_by_a, None), Some([true, true, true]));
        assert_eq!(told(&held_by_a, Some(0xa)), Some([true, false, true]));
        assert_eq!(told(&held_by_a, Some(0xb)), Some([false, true, false]));
        assert_eq!(told(&held_by_a, Some(0xc)), None);
        let held_by_all = view(Some(7), &[(0xa, true), (0xb, true)]);
        assert_eq!(told(&held_by_all, Some(0xa)), Some([true, false, false]));
        assert_eq!(told(&held_by_all, None), Some([true, true, true]));
        let alone = view(Some(8), &[(0xa, true)]);
        assert_eq!(told(&alone, Some(0xa)), Some([true, false, true]));
        assert_eq!(
            told(&view(None, &[(0xa, false)]), None),
            Some([true, false, false])
        );
        assert_eq!(told(&view(None, &[]), None), None);
    }
}
