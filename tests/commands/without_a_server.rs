//! Commands that find no server, and commands that need none.

use crate::transcript::Transcript;

#[test]
fn no_server_answers() {
    Transcript::alone()
        .run("volume list --control /no/such/socket")
        .run("volume list --control /no/such/socket --json")
        .run("volume list --data /no/such/directory")
        .run("events --control /no/such/socket")
        .run("top --once --control /no/such/socket")
        .matches("no_server");
}

#[test]
fn wrong_usage() {
    Transcript::alone()
        .run("volum list")
        .run("volume lst")
        .run("volume create")
        .run("serve --lsten 127.0.0.1:0")
        .run("serve --reactors 0")
        .run("serve --listen nowhere")
        .run("serve --metrics nowhere")
        .run("serve --profile fastest --data /no/such/directory")
        .matches("wrong_usage");
}
