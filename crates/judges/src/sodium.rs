//! libsodium, loaded at run time. The one place with unsafe code: each call passes pointers to slices
//! and arrays whose lengths were checked, or are those of their types.
#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]

use crate::judge::{BLOCK_LEN, Judge, KEY_LEN, Key, NONCE_LEN, Nonce, TAG_LEN, Tag};
use crate::wheel::Missing;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uchar, c_ulonglong};
use std::fmt;
use std::path::Path;
use std::ptr;

type Bytes = *const c_uchar;
type Out = *mut c_uchar;
type Len = c_ulonglong;

type Boxes = unsafe extern "C" fn(Out, Bytes, Len, Bytes, Bytes) -> c_int;
type BoxOfPairs = unsafe extern "C" fn(Out, Bytes, Len, Bytes, Bytes, Bytes) -> c_int;
type Multiply = unsafe extern "C" fn(Out, Bytes, Bytes) -> c_int;
type Base = unsafe extern "C" fn(Out, Bytes) -> c_int;
type Stream = unsafe extern "C" fn(Out, Bytes, Len, Bytes, u64, Bytes) -> c_int;
type Mac = unsafe extern "C" fn(Out, Bytes, Len, Bytes) -> c_int;
type Encrypt =
    unsafe extern "C" fn(Out, *mut Len, Bytes, Len, Bytes, Len, Bytes, Bytes, Bytes) -> c_int;
type Decrypt =
    unsafe extern "C" fn(Out, *mut Len, Out, Bytes, Len, Bytes, Len, Bytes, Bytes) -> c_int;

/// A loaded libsodium.
pub struct Sodium {
    /// Its name and version.
    name: String,
    easy_afternm: Boxes,
    open_easy_afternm: Boxes,
    easy: BoxOfPairs,
    before: Multiply,
    multiply: Multiply,
    base: Base,
    stream: Stream,
    mac: Mac,
    encrypt: Encrypt,
    decrypt: Decrypt,
    /// Keeps the functions above loaded.
    _library: Library,
}

impl fmt::Debug for Sodium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Sodium {
    /// Loads and starts a library.
    ///
    /// # Errors
    /// Returns [`Missing`] if the file is not a libsodium that can be loaded.
    pub fn load(path: &Path) -> Result<Self, Missing> {
        let missing =
            |error: &dyn fmt::Display| Missing::new(format!("{}: {error}", path.display()));
        // SAFETY: libsodium has no constructors that could harm a process; what is loaded is the
        // library of the test environment, or the one that the caller names.
        let library = unsafe { Library::new(path) }.map_err(|error| missing(&error))?;
        // SAFETY: the types are those of libsodium's headers, and the pointers are kept together
        // with the library.
        unsafe { Self::start(library) }.map_err(|error| missing(&error))
    }

    /// Looks up the functions.
    ///
    /// # Safety
    /// The library is libsodium.
    unsafe fn start(library: Library) -> Result<Self, Box<dyn std::error::Error>> {
        type Init = unsafe extern "C" fn() -> c_int;
        type Version = unsafe extern "C" fn() -> *const c_char;
        // SAFETY: the types are those of libsodium's headers. It is started before anything else is
        // called, and its version is a text that lives as long as the library.
        unsafe {
            let init = library.get::<Init>(b"sodium_init")?;
            if init() < 0 {
                return Err("libsodium does not start".into());
            }
            let version = library.get::<Version>(b"sodium_version_string")?;
            let version = CStr::from_ptr(version()).to_string_lossy().into_owned();
            Ok(Self {
                name: format!("libsodium {version}"),
                easy_afternm: *library.get(b"crypto_box_easy_afternm")?,
                open_easy_afternm: *library.get(b"crypto_box_open_easy_afternm")?,
                easy: *library.get(b"crypto_box_easy")?,
                before: *library.get(b"crypto_box_beforenm")?,
                multiply: *library.get(b"crypto_scalarmult")?,
                base: *library.get(b"crypto_scalarmult_base")?,
                stream: *library.get(b"crypto_stream_xsalsa20_xor_ic")?,
                mac: *library.get(b"crypto_onetimeauth_poly1305")?,
                encrypt: *library.get(b"crypto_aead_xchacha20poly1305_ietf_encrypt")?,
                decrypt: *library.get(b"crypto_aead_xchacha20poly1305_ietf_decrypt")?,
                _library: library,
            })
        }
    }

    /// The key that a public and a secret key share. `None` if the public key is of low order.
    #[must_use]
    pub fn shared_key(&self, public: &Key, secret: &Key) -> Option<Key> {
        let mut key = [0; KEY_LEN];
        // SAFETY: all three are 32 bytes, which is what libsodium reads and writes.
        let done = unsafe { (self.before)(key.as_mut_ptr(), public.as_ptr(), secret.as_ptr()) };
        (done == 0).then_some(key)
    }

    /// Seals `text` into `boxed`, which is longer by [`TAG_LEN`].
    pub fn seal_into(&self, boxed: &mut [u8], text: &[u8], nonce: &Nonce, key: &Key) {
        assert_eq!(boxed.len(), text.len() + TAG_LEN);
        // SAFETY: the lengths are those that libsodium reads and writes: checked above, and by
        // the types of nonce and key.
        let done = unsafe {
            (self.easy_afternm)(
                boxed.as_mut_ptr(),
                text.as_ptr(),
                text.len() as Len,
                nonce.as_ptr(),
                key.as_ptr(),
            )
        };
        assert_eq!(done, 0);
    }

    /// Opens `boxed` into `text`, which is shorter by [`TAG_LEN`]. Returns whether it opens.
    #[must_use]
    pub fn open_into(&self, text: &mut [u8], boxed: &[u8], nonce: &Nonce, key: &Key) -> bool {
        assert_eq!(boxed.len(), text.len() + TAG_LEN);
        // SAFETY: as for `seal_into`.
        let done = unsafe {
            (self.open_easy_afternm)(
                text.as_mut_ptr(),
                boxed.as_ptr(),
                boxed.len() as Len,
                nonce.as_ptr(),
                key.as_ptr(),
            )
        };
        done == 0
    }
}

impl Judge for Sodium {
    fn name(&self) -> &str {
        &self.name
    }

    fn multiply(&self, secret: &Key, point: &Key) -> Option<Key> {
        let mut product = [0; KEY_LEN];
        // SAFETY: all three are 32 bytes, which is what libsodium reads and writes.
        let done =
            unsafe { (self.multiply)(product.as_mut_ptr(), secret.as_ptr(), point.as_ptr()) };
        (done == 0).then_some(product)
    }

    fn public_key(&self, secret: &Key) -> Key {
        let mut product = [0; KEY_LEN];
        // SAFETY: both are 32 bytes, which is what libsodium reads and writes.
        let done = unsafe { (self.base)(product.as_mut_ptr(), secret.as_ptr()) };
        assert_eq!(done, 0);
        product
    }

    fn seal_box(&self, secret: &Key, public: &Key, nonce: &Nonce, text: &[u8]) -> Option<Vec<u8>> {
        let mut boxed = vec![0; text.len() + TAG_LEN];
        // SAFETY: the box is longer than the text by a tag, and the other lengths are those of the
        // types.
        let done = unsafe {
            (self.easy)(
                boxed.as_mut_ptr(),
                text.as_ptr(),
                text.len() as Len,
                nonce.as_ptr(),
                public.as_ptr(),
                secret.as_ptr(),
            )
        };
        (done == 0).then_some(boxed)
    }

    fn seal(&self, key: &Key, nonce: &Nonce, text: &[u8]) -> Vec<u8> {
        let mut boxed = vec![0; text.len() + TAG_LEN];
        self.seal_into(&mut boxed, text, nonce, key);
        boxed
    }

    fn open(&self, key: &Key, nonce: &Nonce, boxed: &[u8]) -> Option<Vec<u8>> {
        let mut text = vec![0; boxed.len().checked_sub(TAG_LEN)?];
        self.open_into(&mut text, boxed, nonce, key).then_some(text)
    }

    fn block(&self, key: &Key, nonce: &Nonce, number: u32) -> [u8; BLOCK_LEN] {
        const { assert!(NONCE_LEN == 24) };
        let (zeros, mut block) = ([0; BLOCK_LEN], [0; BLOCK_LEN]);
        // SAFETY: both texts are as long as is said, and nonce and key are 24 and 32 bytes.
        let done = unsafe {
            (self.stream)(
                block.as_mut_ptr(),
                zeros.as_ptr(),
                BLOCK_LEN as Len,
                nonce.as_ptr(),
                u64::from(number),
                key.as_ptr(),
            )
        };
        assert_eq!(done, 0);
        block
    }

    fn mac(&self, key: &Key, text: &[u8]) -> Tag {
        let mut tag = [0; TAG_LEN];
        // SAFETY: a tag is 16 bytes and a key 32, and the text is as long as is said.
        let done = unsafe {
            (self.mac)(
                tag.as_mut_ptr(),
                text.as_ptr(),
                text.len() as Len,
                key.as_ptr(),
            )
        };
        assert_eq!(done, 0);
        tag
    }

    fn seal_cookie(&self, key: &Key, nonce: &Nonce, context: &[u8], text: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; text.len() + TAG_LEN];
        // SAFETY: what is written is longer than the text by a tag. Text and context are as long as
        // is said, nonce and key are 24 and 32 bytes. The length written is not asked for, and the
        // secret nonce is unused, so both may be null.
        let done = unsafe {
            (self.encrypt)(
                sealed.as_mut_ptr(),
                ptr::null_mut(),
                text.as_ptr(),
                text.len() as Len,
                context.as_ptr(),
                context.len() as Len,
                ptr::null(),
                nonce.as_ptr(),
                key.as_ptr(),
            )
        };
        assert_eq!(done, 0);
        sealed
    }

    fn open_cookie(
        &self,
        key: &Key,
        nonce: &Nonce,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let mut text = vec![0; sealed.len().checked_sub(TAG_LEN)?];
        // SAFETY: what is written is shorter than what is read by a tag; the rest is as for
        // `seal_cookie`.
        let done = unsafe {
            (self.decrypt)(
                text.as_mut_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
                sealed.as_ptr(),
                sealed.len() as Len,
                context.as_ptr(),
                context.len() as Len,
                nonce.as_ptr(),
                key.as_ptr(),
            )
        };
        (done == 0).then_some(text)
    }
}
