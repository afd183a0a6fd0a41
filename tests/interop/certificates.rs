//! Certificates that pyzmq and czmq write are read here, and the other way
//! round.
//!
//! `ZMTP_AUTH_PYTHON` names a Python interpreter with pyzmq; `./test` prepares one.

use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use zmtp_auth::cert::{Certificate, create_certificates, load_certificate, load_certificates};

/// Runs `script` with `input` as its JSON value `data`, and returns the JSON that it prints.
fn python(script: &str, input: &Value) -> Value {
    let python = std::env::var_os("ZMTP_AUTH_PYTHON")
        .expect("ZMTP_AUTH_PYTHON must name a Python with pyzmq; ./test sets it");
    let mut child = Command::new(python)
        .arg("-c")
        .arg(format!(
            "import json, sys\ndata = json.load(sys.stdin)\n{script}"
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    write!({ stdin }, "{input}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the script failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Difficult metadata, different for each number.
fn metadata(number: usize) -> Vec<(&'static str, String)> {
    vec![
        ("name", format!("Ada # {number} 'of' Example")),
        ("X-role", "größe\tund = mehr \\".to_owned()),
        ("a$b_c@d.e&f+g/h", String::new()),
        ("percent", "%s %n %d".to_owned()),
        ("blanks", "  kept  ".to_owned()),
        ("long", "v".repeat(990)),
    ]
}

fn create_many(dir: &Path, count: usize) -> Vec<(String, Certificate)> {
    (0..count)
        .map(|number| {
            let name = format!("ada{number:03}");
            let metadata = metadata(number);
            let metadata: Vec<_> = metadata
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let (_, secret) = create_certificates(dir, &name, &metadata).unwrap();
            (name, load_certificate(secret).unwrap())
        })
        .collect()
}

fn texts(certificate: &Certificate) -> (String, String) {
    let pair = certificate.key_pair().unwrap();
    (
        pair.public_key().to_z85(),
        pair.secret_key().to_z85().to_string(),
    )
}

#[test]
fn pyzmq_reads_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    // Some of 100 pairs of keys contain '#', which begins a comment in other places.
    let ours = create_many(dir.path(), 100);
    assert!(
        ours.iter()
            .any(|(_, certificate)| texts(certificate).0.contains('#'))
    );
    let answer = python(
        r"
import os, zmq, zmq.auth
def text(key): return key and key.decode()
out = {'files': {}, 'directory': sorted(map(text, zmq.auth.load_certificates(data)))}
for file in os.listdir(data):
    public, secret = zmq.auth.load_certificate(os.path.join(data, file))
    belongs = secret is None or zmq.curve_public(secret) == public
    out['files'][file] = [text(public), text(secret), belongs]
print(json.dumps(out))
",
        &json!(dir.path()),
    );
    for (name, certificate) in &ours {
        let (public, secret) = texts(certificate);
        assert_eq!(
            answer["files"][format!("{name}.key")],
            json!([public, null, true])
        );
        assert_eq!(
            answer["files"][format!("{name}.key_secret")],
            json!([public, secret, true])
        );
    }
    assert_eq!(answer["files"].as_object().unwrap().len(), 200);
    let mut keys: Vec<_> = ours.iter().map(|(_, ours)| texts(ours).0).collect();
    keys.sort();
    assert_eq!(answer["directory"], json!(keys));
}

#[test]
fn we_read_what_pyzmq_writes() {
    let dir = tempfile::tempdir().unwrap();
    let answer = python(
        r"
import zmq.auth
out = {}
for number in range(100):
    meta = {'name': f'Ada {number}', 'email': 'ada@example.org'} if number % 2 else None
    files = zmq.auth.create_certificates(data, f'ada{number:03}', meta)
    public, secret = zmq.auth.load_certificate(files[1])
    out[f'ada{number:03}'] = [public.decode(), secret.decode()]
print(json.dumps(out))
",
        &json!(dir.path()),
    );
    let answer = answer.as_object().unwrap();
    assert_eq!(answer.len(), 100);
    for (number, (name, keys)) in answer.iter().enumerate() {
        let public = load_certificate(dir.path().join(format!("{name}.key"))).unwrap();
        let secret = load_certificate(dir.path().join(format!("{name}.key_secret"))).unwrap();
        let (public_text, secret_text) = texts(&secret);
        assert_eq!(*keys, json!([public_text, secret_text]));
        assert_eq!(public.public_key(), secret.public_key());
        if number % 2 == 1 {
            assert_eq!(secret.metadata()[0].1, format!("Ada {number}"));
            assert_eq!(secret.metadata()[1].1, "ada@example.org");
        }
    }
    let report = load_certificates(dir.path()).unwrap();
    assert_eq!((report.certificates.len(), report.problems.len()), (100, 0));
}

#[test]
#[ignore = "needs Debian's libczmq4, whose library ZMTP_AUTH_CZMQ names: ./test --full peers"]
fn czmq_and_we_read_each_other() {
    let library = std::env::var("ZMTP_AUTH_CZMQ").expect("ZMTP_AUTH_CZMQ must name libczmq");
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("czmq");
    fs::create_dir(&theirs).unwrap();
    let ours = create_many(dir.path(), 50);
    // zcert_load looks for the secret file first, then for the public one.
    let public = dir.path().join("public");
    fs::create_dir(&public).unwrap();
    for (name, certificate) in &ours {
        certificate.save_public(&public, name).unwrap();
    }
    let answer = python(
        r"
import ctypes
lib = ctypes.CDLL(data['library'])
P, S = ctypes.c_void_p, ctypes.c_char_p
for name, result, arguments in [
    ('zcert_new', P, []), ('zcert_load', P, [S]), ('zcert_public_txt', S, [P]),
    ('zcert_secret_txt', S, [P]), ('zcert_meta', S, [P, S]),
    ('zcert_set_meta', None, [P, S, S, S]), ('zcert_save', ctypes.c_int, [P, S]),
]:
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments
def facts(cert):
    meta = {n: lib.zcert_meta(cert, n.encode()) for n in data['names']}
    meta = {n: value if value is None else value.decode() for n, value in meta.items()}
    return [lib.zcert_public_txt(cert).decode(), lib.zcert_secret_txt(cert).decode(), meta]
top = data['dir']
out = {'ours': {}, 'public': {}, 'theirs': {}}
for name in data['files']:
    for kind, sub in (('ours', ''), ('public', '/public')):
        cert = lib.zcert_load(f'{top}{sub}/{name}.key'.encode())
        out[kind][name] = cert and facts(cert)
    cert = lib.zcert_new()
    for n in data['names'][:3]:
        lib.zcert_set_meta(cert, n.encode(), b'%s', f'{name} # {n}'.encode())
    lib.zcert_save(cert, f'{top}/czmq/{name}.key'.encode())
    out['theirs'][name] = facts(cert)
print(json.dumps(out))
",
        &json!({
            "library": library,
            "dir": dir.path(),
            "files": ours.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "names": metadata(0).iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        }),
    );
    for (number, (name, certificate)) in ours.iter().enumerate() {
        let (public, secret) = texts(certificate);
        let facts: serde_json::Map<_, _> = metadata(number)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        assert_eq!(answer["ours"][name], json!([public, secret, facts]));
        assert_eq!(
            answer["public"][name],
            json!([public, "0".repeat(40), facts])
        );

        let read = load_certificate(theirs.join(format!("{name}.key_secret"))).unwrap();
        let (public, secret) = texts(&read);
        assert_eq!(answer["theirs"][name][0], json!(public));
        assert_eq!(answer["theirs"][name][1], json!(secret));
        assert_eq!(read.metadata().len(), 3);
        for (key, value) in read.metadata() {
            assert_eq!(*value, format!("{name} # {key}"));
        }
        assert_eq!(read.warnings(), []);
    }
    let report = load_certificates(&theirs).unwrap();
    assert_eq!((report.certificates.len(), report.problems.len()), (50, 0));
}
