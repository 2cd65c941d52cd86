//! Wrong input: what is said of it, word for word, and that nothing is lost by it.
//!
//! Each table has rows of what is wrong and the command that meets it; `snapshots/wrong_*.snap` has the
//! message of each: what is refused, where, what was expected, what to do. After every row a volume, a
//! snapshot, a registration and every file are held against what they were before.
//!
//! | what | here | elsewhere |
//! |---|---|---|
//! | names, sizes, places of volumes | `commands` | `what_volumes_refuse`, `what_limits_refuse`, `snapshots_and_what_they_refuse`, `images_and_what_they_refuse` |
//! | networks, unknown keys, profiles, secrets | `configuration` | `what_is_wrong_is_named_with_its_place` |
//! | ports, directories, sockets, another server | `starting` | `tests/control.rs` |
//! | a full disk, a directory that can't be written | `disk` | `tests/keeping/harm.rs`, on a file system that really is full; `tests/corrupt_store.rs`, for reservations |
//! | files that vanished or shrank | `disk` | `tests/keeping/harm.rs`, while they are served |
//! | a damaged catalogue | `disk` | `tests/corrupt_store.rs`, every kind of damage and its repair |

mod commands;
mod configuration;
mod disk;
mod house;
mod starting;
