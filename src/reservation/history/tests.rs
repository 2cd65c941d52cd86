use super::*;
use crate::base::limits::{
    HISTORY_ENTRIES_MAX, HISTORY_ENTRY_BYTES_MAX, HISTORY_IDLE_ENTRIES_MAX, ISCSI_NAME_BYTES_MAX,
};
use crate::reservation::{Context, apply};
use crate::reservation::{InitiatorPort, State, encode, evict_all, evict_key};
use proptest::prelude::*;

fn nexus(number: u8) -> Nexus {
    let port = InitiatorPort::new("iqn.2024-01.example:node", [0x80, 0, 0, 0, 0, number]);
    Nexus::new(port, 1)
}

fn refused(number: u8, key: u64, at_ms: u64) -> Entry {
    let actor = Actor::Nexus {
        nexus: nexus(number),
        address: None,
    };
    let event = Event::from(&Command::Clear { key: Key(key) });
    Entry {
        status: Status::CONFLICT,
        ..Entry::new(at_ms, actor, event)
    }
}

fn effective(number: u8, at_ms: u64) -> Entry {
    Entry {
        status: Status::Good,
        effect: true,
        ..refused(number, 1, at_ms)
    }
}

fn sequences(history: &History) -> Vec<u64> {
    history.entries().map(|entry| entry.sequence).collect()
}

/// What a store would hold.
#[derive(Default)]
struct Store(std::collections::BTreeMap<u64, Vec<u8>>);

impl Store {
    fn save(&mut self, batch: &Batch) {
        for sequence in &batch.forget {
            self.0.remove(sequence);
        }
        self.0.extend(batch.entries.iter().cloned());
    }

    fn kept(&self) -> Vec<(u64, Vec<u8>)> {
        self.0.clone().into_iter().collect()
    }
}

#[test]
fn equal_refusals_count_until_something_of_effect_comes_between() {
    let mut history = History::default();
    for at in 0..5 {
        history.record(refused(1, 7, 100 + at));
        history.record(refused(2, 7, 100 + at));
    }
    history.record(effective(3, 200));
    history.record(refused(1, 7, 300));
    let told: Vec<_> = history
        .entries()
        .map(|entry| (entry.sequence, entry.times, entry.at_ms, entry.last_ms))
        .collect();
    assert_eq!(
        told,
        [
            (1, 5, 100, 104),
            (2, 5, 100, 104),
            (3, 1, 200, 200),
            (4, 1, 300, 300)
        ]
    );
}

#[test]
fn refusals_do_not_push_out_what_took_effect() {
    let mut history = History::default();
    history.record(effective(1, 1));
    for key in 0..100_000 {
        history.record(refused(2, key, 2));
    }
    assert_eq!(history.entries().len(), 1 + HISTORY_IDLE_ENTRIES_MAX);
    assert_eq!(
        history.entries().next(),
        Some(&Entry {
            sequence: 1,
            ..effective(1, 1)
        })
    );
    for at in 0..HISTORY_ENTRIES_MAX as u64 {
        history.record(effective(1, at));
    }
    assert_eq!(history.entries().len(), HISTORY_ENTRIES_MAX);
    assert!(history.entries().all(|entry| entry.effect));
}

#[test]
fn what_is_saved_is_what_the_ring_holds() {
    let (mut history, mut store) = (History::default(), Store::default());
    for at in 0..3 * HISTORY_ENTRIES_MAX as u64 {
        history.record(effective(1, at));
        history.record(refused(2, at / 2, at));
        if at % 7 == 0 {
            let batch = history.unsaved();
            store.save(&batch);
            // What comes before the answer of the store is saved with the next one.
            history.record(refused(3, at, at));
            history.saved(&batch);
        }
    }
    store.save(&history.unsaved());
    let restored = History::restore(&store.kept(), 0);
    assert!(restored.entries().eq(history.entries()));
}

#[test]
fn a_batch_that_was_not_saved_comes_again() {
    let mut history = History::default();
    history.record(effective(1, 1));
    let first = history.unsaved();
    assert_eq!((first.entries.len(), &history.unsaved()), (1, &first));
    history.saved(&first);
    assert!(history.unsaved().entries.is_empty());
    let opened = history.open(effective(2, 2));
    let batch = history.unsaved();
    history.settle(opened, effective(2, 2));
    history.saved(&batch);
    let again = history.unsaved();
    assert_eq!(again.entries.len(), 1);
}

#[test]
fn what_is_damaged_goes_with_a_note_and_the_rest_stays() {
    let mut history = History::default();
    (0..4).for_each(|at| history.record(effective(1, at)));
    let mut kept = history.unsaved().entries;
    kept[1].1[20] ^= 1;
    kept.push((u64::MAX, b"nonsense".to_vec()));
    let mut restored = History::restore(&kept, 77);
    assert_eq!(sequences(&restored), [1, 3, 4, 5]);
    let note = restored.entries().next_back().expect("the note");
    assert_eq!((note.event, note.at_ms), (Event::EntriesLost(2), 77));
    let batch = restored.unsaved();
    assert_eq!(batch.forget, [2, u64::MAX]);
    assert_eq!(batch.entries.len(), 1);
    // An entry under another's number is not believed either.
    let swapped = [(1, kept[2].1.clone())];
    assert_eq!(sequences(&History::restore(&swapped, 0)), [1]);
}

#[test]
fn an_entry_is_bounded_whatever_the_names() {
    let name = "x".repeat(ISCSI_NAME_BYTES_MAX);
    let long = |number: u16| Nexus::new(InitiatorPort::new(&name, [0xff; 6]), number);
    let actor = Actor::Nexus {
        nexus: long(0),
        address: Some("[2001:db8::1]:65535".parse().expect("an address")),
    };
    let command = Command::Preempt {
        key: Key(u64::MAX),
        victim: Key(u64::MAX),
        scope_and_type: ScopeAndType(0xff),
    };
    let mut entry = Entry::new(u64::MAX, actor, Event::from(&command));
    let loss = |number| Loss {
        nexus: long(number),
        registration: true,
        reservation: true,
        write: true,
        read: true,
    };
    entry.set_losses((0..2000).map(loss).collect());
    assert_eq!(entry.losses.len() + entry.losses_left_out as usize, 2000);
    let bytes = codec::encode(&entry);
    assert!(bytes.len() <= HISTORY_ENTRY_BYTES_MAX, "{}", bytes.len());
    assert_eq!(codec::decode(&bytes), Ok(entry));
}

#[test]
fn a_command_reads_the_same_from_its_bytes() {
    let cdb = [0x5f, 0x05, 0x07, 0, 0, 0, 0, 0, 24, 0];
    let mut parameters = [0; 24];
    parameters[7] = 0xa;
    parameters[15] = 0xb;
    let command = Command::PreemptAndAbort {
        key: Key(0xa),
        victim: Key(0xb),
        scope_and_type: ScopeAndType(7),
    };
    assert_eq!(
        Event::of_bytes(&cdb, &parameters),
        Some(Event::from(&command))
    );
    assert_eq!(
        Event::of_bytes(&cdb, &parameters[..20]),
        Some(Event::ReserveOut {
            action: 5,
            scope_and_type: ScopeAndType(7),
            parameters: None
        })
    );
    assert_eq!(
        Event::of_bytes(&[0x16, 0, 0, 0, 0, 0], &[]),
        Some(Event::Reserve)
    );
    assert_eq!(Event::of_bytes(&[0x28], &[]), None);
    assert_eq!(Event::of_bytes(&[], &[]), None);
}

// ---- states -----------------------------------------------------------------------------------

fn step(state: &State, from: u8, command: Command) -> State {
    let context = Context {
        ports: &[1],
        known: &|_| Vec::new(),
        registrations_max: 16,
    };
    apply(state, &nexus(from), &command, &context)
        .expect("the command is right")
        .next
}

fn register(state: &State, from: u8, aptpl: bool) -> State {
    let command = Command::RegisterAndIgnore {
        new_key: Key(from.into()),
        aptpl,
        all_target_ports: false,
    };
    step(state, from, command)
}

fn reserved(kind: ReservationType) -> State {
    let both = register(&register(&State::new(), 1, true), 2, true);
    let key = Key(1);
    step(&both, 1, Command::Reserve { key, kind })
}

#[test]
fn a_preempted_holder_loses_all_and_a_stranger_nothing_new() {
    let before = reserved(ReservationType::WriteExclusiveRegistrantsOnly);
    let command = Command::Preempt {
        key: Key(2),
        victim: Key(1),
        scope_and_type: ScopeAndType::of(ReservationType::ExclusiveAccess),
    };
    let after = step(&before, 2, command);
    let sessions = [nexus(1), nexus(2), nexus(3)];
    let lost: Vec<_> = losses(&before, &after, &sessions)
        .into_iter()
        .map(|loss| {
            (
                loss.nexus,
                [loss.registration, loss.reservation, loss.write, loss.read],
            )
        })
        .collect();
    // The stranger could not write before, and can't read any more.
    let expected = [
        (nexus(1), [true, true, true, true]),
        (nexus(3), [false, false, false, true]),
    ];
    assert_eq!(lost, expected);
}

#[test]
fn an_age_is_that_of_the_key_and_of_the_holder() {
    let first = register(&State::new(), 1, true);
    let ages = Ages::default().after(&State::new(), &first, 10);
    let both = register(&first, 2, true);
    let ages = ages.after(&first, &both, 20);
    let again = register(&both, 1, true);
    let ages = ages.after(&both, &again, 30);
    let kind = ReservationType::WriteExclusive;
    let held = step(&again, 1, Command::Reserve { key: Key(1), kind });
    let ages = ages.after(&again, &held, 40);
    assert_eq!(ages.registered(&nexus(1)), Some(10));
    assert_eq!(ages.registered(&nexus(2)), Some(20));
    assert_eq!(ages.reserved(), Some(40));
    let command = Command::RegisterAndIgnore {
        new_key: Key(9),
        aptpl: true,
        all_target_ports: false,
    };
    let changed = step(&held, 1, command);
    let ages = ages.after(&held, &changed, 50);
    assert_eq!(
        (ages.registered(&nexus(1)), ages.reserved()),
        (Some(50), Some(40))
    );
    let cleared = evict_all(&changed).expect("there is something").next;
    assert_eq!(ages.after(&changed, &cleared, 60), Ages::default());
}

#[test]
fn ages_go_with_one_record_and_no_other() {
    let state = reserved(ReservationType::WriteExclusiveAllRegistrants);
    let ages = Ages::default().after(&State::new(), &state, 10);
    let record = encode(&state);
    let bytes = ages.encode(&state, &record);
    assert_eq!(Ages::decode(&bytes, &state, &record), Ok(ages.clone()));
    let other = encode(&reserved(ReservationType::WriteExclusive));
    assert!(Ages::decode(&bytes, &state, &other).is_err());
    for length in 0..bytes.len() {
        assert!(Ages::decode(&bytes[..length], &state, &record).is_err());
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert!(Ages::decode(&damaged, &state, &record).is_err());
    }
    // Without APTPL nothing outlives a stop, and nothing has an age.
    let volatile = register(&state, 1, false);
    let record = encode(&volatile);
    let bytes = ages.encode(&volatile, &record);
    let restored = Ages::decode(&bytes, &State::new(), &record);
    assert_eq!(restored, Ok(Ages::default()));
}

#[test]
fn an_operator_removes_one_key_or_everything() {
    use crate::reservation::Attention;
    let state = reserved(ReservationType::WriteExclusiveRegistrantsOnly);
    assert_eq!(evict_key(&state, Key(99)), None);
    let holder = evict_key(&state, Key(1)).expect("it is registered");
    assert_eq!(holder.next.registrations().len(), 1);
    assert_eq!(holder.next.reservation(), None);
    assert_eq!(holder.next.generation(), state.generation() + 1);
    // With nothing reserved everybody may write.
    assert!(!holder.fences());
    assert_eq!(
        holder.attentions,
        [
            (nexus(2), Attention::ReservationsReleased),
            (nexus(1), Attention::RegistrationsPreempted)
        ]
    );
    let other = evict_key(&state, Key(2)).expect("it is registered");
    assert_eq!(other.next.reservation(), state.reservation());
    assert_eq!(other.fenced, [nexus(2)]);
    let all = evict_all(&state).expect("there is something");
    assert_eq!(all.next.registrations().len(), 0);
    assert!(!all.next.is_reserved() && all.durable && all.next.aptpl());
    assert_eq!(
        all.attentions,
        [nexus(1), nexus(2)].map(|nexus| (nexus, Attention::ReservationsPreempted))
    );
    assert_eq!(evict_all(&all.next), None);
    let legacy = crate::reservation::reserve_legacy(&all.next, &nexus(3)).expect("it is free");
    let ended = evict_all(&legacy.next).expect("there is something");
    assert_eq!(
        ended.attentions,
        [(nexus(3), Attention::ReservationsPreempted)]
    );
    assert!(!ended.next.is_reserved() && ended.fenced.is_empty());
}

// ---- arbitrary entries ------------------------------------------------------------------------

prop_compose! {
    fn any_nexus()(
        name in "[a-z0-9.:-]{1,223}", isid in any::<[u8; 6]>(), port in any::<u16>(),
    ) -> Nexus {
        Nexus::new(InitiatorPort::new(&name, isid), port)
    }
}

fn any_actor() -> impl Strategy<Value = Actor> {
    let address = proptest::option::of((any::<std::net::IpAddr>(), any::<u16>()));
    let process = proptest::option::of((any::<u32>(), any::<u32>()));
    prop_oneof![
        Just(Actor::Target),
        (any_nexus(), address).prop_map(|(nexus, address)| Actor::Nexus {
            nexus,
            // As a socket tells them: a mapped address is an IPv4 address.
            address: address.map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port)),
        }),
        process.prop_map(|process| Actor::Operator {
            process: process.map(|(uid, pid)| Process { uid, pid }),
        }),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let parameters = proptest::option::of((any::<u64>(), any::<u64>(), any::<bool>()));
    let out = (any::<u8>(), any::<u8>(), parameters).prop_map(|(action, byte, parameters)| {
        Event::ReserveOut {
            action,
            scope_and_type: ScopeAndType(byte),
            parameters: parameters.map(|(key, action_key, aptpl)| Parameters {
                key: Key(key),
                action_key: Key(action_key),
                aptpl,
            }),
        }
    });
    let kind = proptest::option::of(proptest::sample::select(&ReservationType::ALL[..]));
    let restored = (any::<u32>(), kind).prop_map(|(registrations, kind)| Event::Restored {
        registrations,
        kind,
    });
    prop_oneof![
        out,
        restored,
        any::<u64>().prop_map(|key| Event::Removed(Key(key))),
        any::<u32>().prop_map(Event::EntriesLost),
        proptest::sample::select(vec![
            Event::Reserve,
            Event::Release,
            Event::EndedByReset,
            Event::EndedByNexusLoss,
            Event::Cleared,
        ]),
    ]
}

fn any_status() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Unfinished),
        Just(Status::Good),
        any::<(u8, u8, u8)>().prop_map(|(key, asc, ascq)| Status::CheckCondition(key, asc, ascq)),
        any::<u8>().prop_map(Status::Other),
    ]
}

prop_compose! {
    fn any_loss()(nexus in any_nexus(), what in any::<[bool; 4]>()) -> Loss {
        let [registration, reservation, write, read] = what;
        Loss { nexus, registration, reservation, write, read }
    }
}

prop_compose! {
    fn any_entry()(
        times in any::<(u64, u64, u64)>(), counts in any::<(u32, u32, u32)>(),
        fence_us in proptest::option::of(0..u64::MAX), effect in any::<bool>(),
        actor in any_actor(), event in any_event(), status in any_status(),
        losses in proptest::collection::vec(any_loss(), 0..12),
    ) -> Entry {
        let mut entry = Entry::new(times.1, actor, event);
        entry.set_losses(losses);
        Entry {
            sequence: times.0,
            last_ms: times.2,
            times: counts.0,
            generation: counts.1,
            aborted: counts.2,
            fence_us,
            effect,
            status,
            ..entry
        }
    }
}

proptest! {
    #[test]
    fn an_entry_comes_back_as_it_was(entry in any_entry()) {
        let bytes = codec::encode(&entry);
        prop_assert!(bytes.len() <= HISTORY_ENTRY_BYTES_MAX);
        prop_assert_eq!(codec::decode(&bytes), Ok(entry));
    }

    #[test]
    fn a_damaged_entry_is_not_believed(
        entry in any_entry(), at in any::<proptest::sample::Index>(), bit in 0..8_u32,
    ) {
        let bytes = codec::encode(&entry);
        let at = at.index(bytes.len());
        prop_assert!(codec::decode(&bytes[..at]).is_err());
        let mut damaged = bytes;
        damaged[at] ^= 1 << bit;
        prop_assert!(codec::decode(&damaged).is_err());
    }

    /// Bytes with a checksum that is right are judged by their fields.
    #[test]
    fn one_entry_has_one_form(entry in any_entry(), at in any::<proptest::sample::Index>(), to in any::<u8>()) {
        let mut bytes = codec::encode(&entry);
        bytes.truncate(bytes.len() - 4);
        let at = at.index(bytes.len());
        bytes[at] = to;
        crate::reservation::durable::seal(&mut bytes);
        if let Ok(read) = codec::decode(&bytes) {
            prop_assert_eq!(codec::encode(&read), bytes);
        }
    }
}

/// The numbers and counts of what is new, and how many were lost.
fn told(excerpt: &Excerpt) -> (Vec<(u64, u32)>, u64) {
    let entries = excerpt.entries.iter();
    let entries = entries.map(|entry| (entry.sequence, entry.times)).collect();
    (entries, excerpt.lost)
}

#[test]
fn who_follows_reads_what_came_counted_up_or_ended_and_nothing_twice() {
    let mut history = History::default();
    history.record(refused(1, 7, 100));
    let all = history.excerpt();
    assert_eq!(told(&all), (vec![(1, 1)], 0));
    let none = history.after(all.cursor);
    assert!(none.is_empty() && none.cursor == all.cursor);
    history.record(refused(1, 7, 101));
    history.record(refused(2, 7, 102));
    let counted = history.after(all.cursor);
    assert_eq!(told(&counted), (vec![(1, 2), (2, 1)], 0));
    let entry = Entry {
        status: Status::Unfinished,
        ..effective(1, 103)
    };
    let opened = history.open(entry);
    history.record(refused(3, 7, 104));
    let refusal = history.after(counted.cursor);
    assert_eq!(told(&refusal), (vec![(4, 1)], 0), "what is under way waits");
    history.settle(opened, effective(1, 103));
    let settled = history.after(refusal.cursor);
    assert_eq!(told(&settled), (vec![(opened, 1)], 0));
    assert!(history.after(settled.cursor).is_empty());
}

#[test]
fn who_is_too_slow_hears_how_many_entries_are_gone() {
    let mut history = History::default();
    history.record(effective(1, 0));
    let seen = history.excerpt().cursor;
    let came = HISTORY_ENTRIES_MAX as u64 + 5;
    for at in 1..=came {
        history.record(effective(1, at));
    }
    let late = history.after(seen);
    assert_eq!((late.entries.len(), late.lost), (HISTORY_ENTRIES_MAX, 5));
    assert!(history.after(late.cursor).is_empty());
}

#[test]
fn who_follows_over_a_restart_of_the_volume_misses_nothing() {
    let (mut history, mut store) = (History::default(), Store::default());
    for at in 0..9 {
        history.record(effective(1, at));
    }
    let seen = history.excerpt().cursor;
    store.save(&history.unsaved());
    let mut history = History::restore(&store.kept(), 0);
    for at in 9..30 {
        history.record(effective(1, at));
        if at == 12 {
            // Fewer changes than there had been.
            assert_eq!(told(&history.after(seen)).0.len(), 4);
        }
    }
    let new = told(&history.after(seen));
    assert_eq!(new, ((10..31).map(|number| (number, 1)).collect(), 0));
}
