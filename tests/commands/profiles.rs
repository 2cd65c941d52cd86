//! `holdfast profile`. What `profile check` finds is the host's: `host_setup` judges that on copies of hosts.

use std::path::Path;

use crate::transcript::Transcript;

#[test]
fn profiles_are_listed_shown_and_compared() {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = tempfile::Builder::new()
        .prefix("holdfast-")
        .tempdir_in(parent)
        .expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path.to_str().expect("the path is text").to_owned()
    };
    let own = write("own.toml", "base = \"latency\"\nidle = \"adaptive\"\n");
    let wrong_key = write("key.toml", "base = \"latency\"\nidel = \"spin\"\n");
    let wrong_value = write("value.toml", "idle = \"sleep\"\n");
    Transcript::alone()
        .run("profile list")
        .run("profile list --json")
        .run("profile show compat")
        .run("profile show compat --json")
        .run("profile diff latency throughput")
        .run("profile diff latency throughput --json")
        .run(&format!("profile diff latency {own}"))
        .run("profile diff latency latency")
        .run("profile show fastest")
        .run("profile show ./fastest.toml")
        .run(&format!("profile show {wrong_key}"))
        .run(&format!("profile show {wrong_value}"))
        .run("profile check fastest")
        .run("profile check latency --cores 1-")
        .matches("profile");
}
