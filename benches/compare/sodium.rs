//! libsodium, loaded at run time: the few functions that libzmq uses.
#![allow(unsafe_code)]

use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uchar, c_ulonglong};
use std::path::Path;

pub const KEY_LEN: usize = 32;
pub const NONCE_LEN: usize = 24;
pub const TAG_LEN: usize = 16;

/// A shared key, as `crypto_box_beforenm` leaves it.
pub type SharedKey = [u8; KEY_LEN];

type Box2 = unsafe extern "C" fn(
    *mut c_uchar,
    *const c_uchar,
    c_ulonglong,
    *const c_uchar,
    *const c_uchar,
) -> c_int;
type Multiply = unsafe extern "C" fn(*mut c_uchar, *const c_uchar, *const c_uchar) -> c_int;
type Base = unsafe extern "C" fn(*mut c_uchar, *const c_uchar) -> c_int;

/// A loaded libsodium.
pub struct Sodium {
    /// Its name and version.
    pub name: String,
    easy_afternm: Box2,
    open_easy_afternm: Box2,
    before: Multiply,
    multiply: Multiply,
    base: Base,
    /// Keeps the functions above loaded.
    _library: Library,
}

impl Sodium {
    pub fn load(path: &Path) -> Self {
        // SAFETY: libsodium has no constructors that could harm a process; what is loaded is the
        // library of the test environment, or the one that the caller names.
        let library = unsafe { Library::new(path) }
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // SAFETY: the types are those of libsodium's headers, and the pointers are kept together
        // with the library.
        unsafe {
            let init = *library
                .get::<unsafe extern "C" fn() -> c_int>(b"sodium_init")
                .unwrap();
            assert!(init() >= 0, "libsodium does not start");
            let version = *library
                .get::<unsafe extern "C" fn() -> *const c_char>(b"sodium_version_string")
                .unwrap();
            let version = CStr::from_ptr(version()).to_str().unwrap();
            Self {
                name: format!("libsodium {version}"),
                easy_afternm: *library.get(b"crypto_box_easy_afternm").unwrap(),
                open_easy_afternm: *library.get(b"crypto_box_open_easy_afternm").unwrap(),
                before: *library.get(b"crypto_box_beforenm").unwrap(),
                multiply: *library.get(b"crypto_scalarmult").unwrap(),
                base: *library.get(b"crypto_scalarmult_base").unwrap(),
                _library: library,
            }
        }
    }

    /// Seals `text` into `boxed`, which is longer by [`TAG_LEN`].
    pub fn seal(&self, boxed: &mut [u8], text: &[u8], nonce: &[u8; NONCE_LEN], key: &SharedKey) {
        assert_eq!(boxed.len(), text.len() + TAG_LEN);
        // SAFETY: the lengths are those that libsodium reads and writes: checked above, and by
        // the types of nonce and key.
        let done = unsafe {
            (self.easy_afternm)(
                boxed.as_mut_ptr(),
                text.as_ptr(),
                text.len() as c_ulonglong,
                nonce.as_ptr(),
                key.as_ptr(),
            )
        };
        assert_eq!(done, 0);
    }

    /// Opens `boxed` into `text`, which is shorter by [`TAG_LEN`].
    pub fn open(&self, text: &mut [u8], boxed: &[u8], nonce: &[u8; NONCE_LEN], key: &SharedKey) {
        assert_eq!(boxed.len(), text.len() + TAG_LEN);
        // SAFETY: as for `seal`.
        let done = unsafe {
            (self.open_easy_afternm)(
                text.as_mut_ptr(),
                boxed.as_ptr(),
                boxed.len() as c_ulonglong,
                nonce.as_ptr(),
                key.as_ptr(),
            )
        };
        assert_eq!(done, 0, "the box opens");
    }

    /// The key that two key pairs share.
    pub fn shared_key(&self, public: &[u8; KEY_LEN], secret: &[u8; KEY_LEN]) -> SharedKey {
        let mut key = [0; KEY_LEN];
        // SAFETY: all three are 32 bytes, which is what libsodium reads and writes.
        let done = unsafe { (self.before)(key.as_mut_ptr(), public.as_ptr(), secret.as_ptr()) };
        assert_eq!(done, 0);
        key
    }

    /// X25519 by a point.
    pub fn multiply(&self, secret: &[u8; KEY_LEN], point: &[u8; KEY_LEN]) -> [u8; KEY_LEN] {
        let mut product = [0; KEY_LEN];
        // SAFETY: as for `shared_key`.
        let done =
            unsafe { (self.multiply)(product.as_mut_ptr(), secret.as_ptr(), point.as_ptr()) };
        assert_eq!(done, 0);
        product
    }

    /// X25519 by the base point: the public key of `secret`.
    pub fn public_key(&self, secret: &[u8; KEY_LEN]) -> [u8; KEY_LEN] {
        let mut product = [0; KEY_LEN];
        // SAFETY: both are 32 bytes, which is what libsodium reads and writes.
        let done = unsafe { (self.base)(product.as_mut_ptr(), secret.as_ptr()) };
        assert_eq!(done, 0);
        product
    }
}
