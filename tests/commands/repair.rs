//! `holdfast repair`. What it makes of damage, `corrupt_store` judges.

use crate::support::server::{Engine, Setup};
use crate::transcript::Transcript;

#[test]
fn a_data_directory_is_looked_into_and_mended() {
    let server = Setup::new(Engine::Mio, 1, "file").start();
    server.create_small("db-1");
    let data = server.setup.data();
    let data = data.to_str().expect("the path is text");
    let repair = |words: &str| format!("repair --data {data}{words}");
    let mut told = Transcript::alone();
    told.run("repair --data /no/such/directory")
        .run(&repair(""));
    let setup = server.stop();
    told.run(&repair(""))
        .run(&repair(" --json"))
        .run(&repair(" --forget db-1"))
        .run(&repair(" --forget db-9"))
        .run(&repair(" --reservations db-1=discard --check"))
        .run(&repair(" --reservations db-1"))
        .run(&repair(" --reservations db-1=keep"))
        .run(&repair(" --restore-from /no/such/copy"))
        .run(&repair(" --start-empty --check"))
        .run(&repair(" --start-empty --yes"))
        .run(&repair(""));
    let restored = format!("{data}/catalogue.redb.before-repair-1");
    told.run(&repair(&format!(" --restore-from {restored} --yes")))
        .run(&repair(&format!(
            " --restore-from {restored} --reservations ALL=keep --yes"
        )));
    told.matches("repair");
    let server = setup.start();
    assert_eq!(server.volume("db-1").name, "db-1", "nothing is lost");
}
