//! What is shown by exhaustion: every state that can be reached, and every step out of it.
//!
//! | room | what it explores | what judges |
//! |---|---|---|
//! | [`machine`] | the real [`holdfast::reservation`] machine, with every service action from every nexus | the tables of SPC-4 section 5.13, written down a second time as tables |
//! | [`fence`] | a model of what reactors, backends and the store do around it | the promise of the fence |
//!
//! Each room has mutants: the same with one thing done wrong. For each of them a test shows that the
//! exploration finds it out, and prints the shortest way there. A checker that has never caught
//! anything proves nothing.
//!
//! `cargo test --test model -- --nocapture` prints how many states and steps were explored, and what
//! finds each mutant out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where something is not as it says"
)]

mod fence;
mod machine;
