//! passwd and other users: owners of the file, and processes that change it at the same time.

use super::program::{House, command, ends, mode, run};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Command, Stdio};

/// A user and group that own no files.
const OTHER: u32 = 65534;

fn is_root(house: &House) -> bool {
    fs::metadata(house.path("right")).unwrap().uid() == 0
}

#[test]
fn passwd_by_root_leaves_the_file_to_its_owner_and_group() {
    let house = House::new();
    if !is_root(&house) {
        return;
    }
    let file = house.path("passwords");
    fs::write(&file, "eve=clear\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&file, Some(OTHER), Some(OTHER - 1)).unwrap();
    house.ends(0, "passwd @passwords bob --password-file @right");
    let after = fs::metadata(&file).unwrap();
    let owners = (after.uid(), after.gid(), mode(&file));
    assert_eq!(owners, (OTHER, OTHER - 1, 0o640));
}

#[test]
fn passwd_refuses_to_take_a_file_from_its_owner() {
    let house = House::new();
    if !is_root(&house) {
        return;
    }
    let file = house.path("passwords");
    fs::write(&file, "eve=clear\n").unwrap();
    for (path, mode) in [(house.path(""), 0o777), (file.clone(), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    // The user may not be able to read the build directory.
    let program = house.path("program");
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_zmtp-auth"))
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&program)
        .args(["passwd", &house.text("passwords"), "bob"])
        .env("ZMTP_AUTH_PASSWORD", "secret")
        .output()
        .unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("owner"), "{complaint}");
    let after = fs::metadata(&file).unwrap();
    assert_eq!((after.uid(), mode(&file)), (0, 0o644));
    assert_eq!(fs::read_to_string(&file).unwrap(), "eve=clear\n");
    assert_eq!(files_beside(&house), 0);
}

/// Temporary files and locks that are left.
fn files_beside(house: &House) -> usize {
    let entries = fs::read_dir(house.dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("passwords.")).count()
}

#[test]
fn a_user_deleted_during_the_prompt_stays_deleted() {
    let house = House::new();
    let file = house.path("passwords");
    fs::write(&file, "bob=old\neve=clear\n").unwrap();
    let made = Command::new("mkfifo").arg(house.path("typed")).status();
    assert!(made.unwrap().success());
    let arguments = house.arguments("passwd @passwords bob --password-file @typed");
    let mut child = Command::new(env!("CARGO_BIN_EXE_zmtp-auth"))
        .args(&arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Opens once the program waits for the password.
    let mut typed = fs::File::create(house.path("typed")).unwrap();
    fs::write(&file, "eve=clear\ncarol=new\n").unwrap();
    typed.write_all(b"secret\n").unwrap();
    drop(typed);
    let mut complaint = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut complaint).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{complaint}");
    assert!(complaint.contains("bob"), "{complaint}");
    let after = fs::read_to_string(&file).unwrap();
    assert_eq!(after, "eve=clear\ncarol=new\n");
    assert_eq!(files_beside(&house), 0);
}

#[test]
fn users_added_at_the_same_time_are_all_there() {
    let house = House::new();
    let children: Vec<_> = (0..8)
        .map(|number| {
            let name = format!("user{number}");
            let mut command = command(&["passwd", &house.text("passwords"), &name]);
            let command = command.env("ZMTP_AUTH_PASSWORD", "secret");
            command.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let text = fs::read_to_string(house.path("passwords")).unwrap();
    let mut names: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    let all: Vec<_> = (0..8).map(|number| format!("user{number}")).collect();
    assert_eq!(names, all, "{text}");
    assert_eq!(
        (mode(&house.path("passwords")), files_beside(&house)),
        (0o600, 0)
    );
}

#[test]
fn passwd_says_where_the_password_came_from_and_takes_no_empty_one() {
    let house = House::new();
    let file = house.text("passwords");
    let set = |password: &str| {
        let mut command = command(&["passwd", &file, "bob"]);
        command
            .env("ZMTP_AUTH_PASSWORD", password)
            .output()
            .unwrap()
    };
    let told = String::from_utf8(set("secret").stdout).unwrap();
    assert!(told.contains("$ZMTP_AUTH_PASSWORD"), "{told}");
    assert_eq!(set("").status.code(), Some(2));
    fs::write(house.path("empty"), "\n").unwrap();
    let empty = house.text("empty");
    ends(2, &["passwd", &file, "eve", "--password-file", &empty], "");
    let client =
        format!("connect tcp://127.0.0.1:1 --type push --plain bob --password-file {empty}");
    house.ends(2, &client);
    let told = run(&[
        "passwd",
        &file,
        "carol",
        "--password-file",
        &house.text("right"),
    ])
    .stdout;
    assert_eq!(String::from_utf8(told).unwrap(), "added\n");
}
