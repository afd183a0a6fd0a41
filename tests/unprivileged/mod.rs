//! Runs tests as a user without root's rights, since root can read every file.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const CHILD: &str = "ZMTP_AUTH_TEST_CHILD";

pub fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A command that runs the test `name` of this binary as a user without root's rights, with umask
/// 0, so that a loose mode shows. The directory, writable for all, is its TMPDIR.
pub fn child(name: &str) -> (Command, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    chmod(dir.path(), 0o777);
    // The user may have no access to the build directory, so the binary is copied. `cp` does it: a
    // file that this process itself had open for writing might still be open in a child forked
    // meanwhile.
    let binary = dir.path().join("test-binary");
    let copied = Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&binary)
        .status();
    assert!(copied.unwrap().success());
    chmod(&binary, 0o755);
    let tmp = dir.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    chmod(&tmp, 0o777);
    let is_root = fs::metadata(dir.path()).unwrap().uid() == 0;
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
            "sh",
        ]);
        command
    } else {
        Command::new("sh")
    };
    command
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(&binary)
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, name)
        .env("TMPDIR", &tmp)
        .current_dir("/");
    (command, dir)
}

/// Runs `body` in such a child.
pub fn unprivileged(name: &str, body: impl FnOnce()) {
    if is_child() {
        return body();
    }
    let (mut command, _dir) = child(name);
    let output = command.output().expect("setpriv and sh");
    let shown = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("1 passed"), "{shown}");
}

/// True in such a child.
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}
