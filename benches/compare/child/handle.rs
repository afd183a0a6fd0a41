//! Child processes. Each end of a connection has a process of its own, with either library. Children
//! end with this process, or when they take too long.

use crate::child::job::Job;
use crate::measuring::stopwatch;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// The first argument of a child.
pub const MARK: &str = "--child";

/// The longest wait for a line, and the longest life of a child.
const PATIENCE: Duration = Duration::from_secs(20);
const LIFE: Duration = Duration::from_secs(120);

/// A running child, which ends when this is dropped.
pub struct Child {
    process: process::Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    what: String,
}

impl Child {
    pub fn start(job: &Job) -> Self {
        let what = job.to_arguments().join(" ");
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(MARK)
            .args(job.to_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (to, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            process,
            stdin,
            lines,
            what,
        }
    }

    /// The next line from the child.
    pub fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("{}: says nothing", self.what))
    }

    /// The next figure from the child.
    pub fn figure(&self) -> f64 {
        let line = self.line();
        line.parse()
            .unwrap_or_else(|_| panic!("{}: says {line:?}", self.what))
    }

    /// Nanoseconds of processor time that it has used.
    pub fn cpu(&mut self) -> f64 {
        writeln!(self.stdin, "cpu").unwrap();
        self.figure()
    }

    /// Nanoseconds of processor time that its threads have used, without asking it.
    pub fn cpu_seen(&self) -> f64 {
        self.cpu_where(|_| true).iter().sum()
    }

    /// Nanoseconds of processor time that each of its threads of this name has used.
    pub fn cpu_of_threads(&self, name: &str) -> Vec<f64> {
        self.cpu_where(|thread| fs::read_to_string(thread.join("comm")).unwrap().trim() == name)
    }

    /// Bytes of memory that it has in use, by the system.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<f64>().unwrap() * 1024.0
    }

    fn cpu_where(&self, counts: impl Fn(&Path) -> bool) -> Vec<f64> {
        let threads = format!("/proc/{}/task", self.process.id());
        fs::read_dir(threads)
            .unwrap()
            .map(|thread| thread.unwrap().path())
            .filter(|thread| counts(thread))
            .map(|thread| {
                let times = fs::read_to_string(thread.join("schedstat")).unwrap();
                times.split(' ').next().unwrap().parse().unwrap()
            })
            .collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a child: answers the parent's questions, and ends with the parent.
pub fn obey() {
    thread::spawn(|| {
        thread::sleep(LIFE);
        process::exit(1);
    });
    thread::spawn(|| {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if line == "cpu" {
                tell(stopwatch::process_cpu().as_nanos());
            }
        }
        process::exit(0);
    });
}

/// In a child: sends a line to the parent, and ends with it.
pub fn tell(what: impl std::fmt::Display) {
    if writeln!(std::io::stdout(), "{what}").is_err() {
        process::exit(0);
    }
}
