//! A script with pyzmq in a process of its own: a line in, figures out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use zmtp_auth_judges::wheel;

pub struct Pyzmq {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Pyzmq {
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(wheel::python())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        Self {
            process,
            stdin,
            stdout,
        }
    }

    /// What the script says to that line.
    pub fn figures(&mut self, line: &str) -> Vec<f64> {
        writeln!(self.stdin, "{line}").unwrap();
        let mut said = String::new();
        self.stdout.read_line(&mut said).unwrap();
        said.split_whitespace()
            .map(|figure| figure.parse().unwrap())
            .collect()
    }
}

impl Drop for Pyzmq {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
