//! libzmq, loaded at run time: sockets that bind, connect, send and receive.
#![allow(unsafe_code)]

use libloading::Library;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;
use zmtp_auth_judges::wheel;

// Numbers of zmq.h.
const SUB: c_int = 2;
const DEALER: c_int = 5;
const ROUTER: c_int = 6;
const PULL: c_int = 7;
const PUSH: c_int = 8;
const XPUB: c_int = 9;
const IO_THREADS: c_int = 1;
const SNDMORE: c_int = 2;
const SUBSCRIBE: c_int = 6;
const LAST_ENDPOINT: c_int = 32;
const XPUB_VERBOSE: c_int = 40;
const CURVE_SERVER: c_int = 47;
const CURVE_PUBLICKEY: c_int = 48;
const CURVE_SECRETKEY: c_int = 49;
const CURVE_SERVERKEY: c_int = 50;

/// `zmq_msg_t`.
#[repr(C, align(8))]
struct RawMessage([u8; 64]);

/// The functions, which live as long as the library.
struct Functions {
    socket: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    set: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, usize) -> c_int,
    get: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, *mut usize) -> c_int,
    bind: unsafe extern "C" fn(*mut c_void, *const i8) -> c_int,
    connect: unsafe extern "C" fn(*mut c_void, *const i8) -> c_int,
    send: unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_int) -> c_int,
    msg_init: unsafe extern "C" fn(*mut RawMessage) -> c_int,
    msg_recv: unsafe extern "C" fn(*mut RawMessage, *mut c_void, c_int) -> c_int,
    msg_send: unsafe extern "C" fn(*mut RawMessage, *mut c_void, c_int) -> c_int,
    msg_data: unsafe extern "C" fn(*mut RawMessage) -> *mut c_void,
    msg_close: unsafe extern "C" fn(*mut RawMessage) -> c_int,
}

/// A loaded libzmq with one context, which the process keeps until it ends.
pub struct Zmq {
    pub name: String,
    functions: Functions,
    context: *mut c_void,
    _library: Library,
}

/// Kinds of socket that the comparison uses.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Dealer,
    Pull,
    Push,
    Router,
    Sub,
    /// A PUB that shows who subscribes.
    Xpub,
}

/// One end's CURVE keys.
pub enum Curve<'a> {
    Server {
        secret: &'a [u8; 32],
    },
    Client {
        public: &'a [u8; 32],
        secret: &'a [u8; 32],
        server: &'a [u8; 32],
    },
}

impl Zmq {
    /// Loads the wheel's, with this many threads for its connections.
    pub fn load(threads: u8) -> Self {
        let path = wheel::zmq().unwrap_or_else(|missing| panic!("{missing}"));
        // SAFETY: libzmq has no constructors that could harm a process; what is loaded is the
        // library of the test environment.
        let library = unsafe { Library::new(&path) }
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // SAFETY: the types are those of zmq.h, and the pointers are kept together with the
        // library.
        unsafe {
            let version = *library
                .get::<unsafe extern "C" fn(*mut c_int, *mut c_int, *mut c_int)>(b"zmq_version")
                .unwrap();
            let (mut major, mut minor, mut patch) = (0, 0, 0);
            version(&raw mut major, &raw mut minor, &raw mut patch);
            let context = *library
                .get::<unsafe extern "C" fn() -> *mut c_void>(b"zmq_ctx_new")
                .unwrap();
            let context = context();
            assert!(!context.is_null());
            let set = *library
                .get::<unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int>(b"zmq_ctx_set")
                .unwrap();
            assert_eq!(set(context, IO_THREADS, c_int::from(threads)), 0);
            Self {
                name: format!("libzmq {major}.{minor}.{patch}"),
                functions: Functions {
                    socket: *library.get(b"zmq_socket").unwrap(),
                    set: *library.get(b"zmq_setsockopt").unwrap(),
                    get: *library.get(b"zmq_getsockopt").unwrap(),
                    bind: *library.get(b"zmq_bind").unwrap(),
                    connect: *library.get(b"zmq_connect").unwrap(),
                    send: *library.get(b"zmq_send").unwrap(),
                    msg_init: *library.get(b"zmq_msg_init").unwrap(),
                    msg_recv: *library.get(b"zmq_msg_recv").unwrap(),
                    msg_send: *library.get(b"zmq_msg_send").unwrap(),
                    msg_data: *library.get(b"zmq_msg_data").unwrap(),
                    msg_close: *library.get(b"zmq_msg_close").unwrap(),
                },
                context,
                _library: library,
            }
        }
    }

    pub fn socket(&self, kind: Kind, curve: Option<&Curve<'_>>) -> Socket<'_> {
        let kind = match kind {
            Kind::Dealer => DEALER,
            Kind::Pull => PULL,
            Kind::Push => PUSH,
            Kind::Router => ROUTER,
            Kind::Sub => SUB,
            Kind::Xpub => XPUB,
        };
        // SAFETY: the context lives as long as `self`.
        let raw = unsafe { (self.functions.socket)(self.context, kind) };
        assert!(!raw.is_null());
        let socket = Socket {
            raw,
            functions: &self.functions,
        };
        match curve {
            None => {}
            Some(Curve::Server { secret }) => {
                socket.set(CURVE_SERVER, &1_i32.to_ne_bytes());
                socket.set(CURVE_SECRETKEY, *secret);
            }
            Some(Curve::Client {
                public,
                secret,
                server,
            }) => {
                socket.set(CURVE_PUBLICKEY, *public);
                socket.set(CURVE_SECRETKEY, *secret);
                socket.set(CURVE_SERVERKEY, *server);
            }
        }
        socket
    }
}

/// A socket, used by one thread. It is not closed: its process ends instead.
pub struct Socket<'a> {
    raw: *mut c_void,
    functions: &'a Functions,
}

impl Socket<'_> {
    fn set(&self, option: c_int, value: &[u8]) {
        // SAFETY: `value` is as long as is said, and libzmq copies it.
        let done =
            unsafe { (self.functions.set)(self.raw, option, value.as_ptr().cast(), value.len()) };
        assert_eq!(done, 0, "option {option}");
    }

    /// Shows each subscription of an XPUB, also those that another has.
    pub fn show_all_subscriptions(&self) {
        self.set(XPUB_VERBOSE, &1_i32.to_ne_bytes());
    }

    pub fn subscribe_to_all(&self) {
        self.set(SUBSCRIBE, &[]);
    }

    /// Binds to a port of the system's choice, and says which.
    pub fn bind(&self) -> String {
        let mut endpoint = [0_u8; 256];
        let mut len = endpoint.len();
        // SAFETY: the address ends with a zero, and so does what libzmq writes into `endpoint`,
        // of whose length it is told.
        unsafe {
            let done = (self.functions.bind)(self.raw, c"tcp://127.0.0.1:*".as_ptr());
            assert_eq!(done, 0);
            let done = (self.functions.get)(
                self.raw,
                LAST_ENDPOINT,
                endpoint.as_mut_ptr().cast(),
                &raw mut len,
            );
            assert_eq!(done, 0);
        }
        let endpoint = CStr::from_bytes_until_nul(&endpoint).unwrap();
        endpoint.to_str().unwrap().to_owned()
    }

    pub fn connect(&self, endpoint: &str) {
        let endpoint = CString::new(endpoint).unwrap();
        // SAFETY: the address ends with a zero, and libzmq copies it.
        let done = unsafe { (self.functions.connect)(self.raw, endpoint.as_ptr()) };
        assert_eq!(done, 0);
    }

    /// Sends a copy of `payload`; waits while libzmq's queue is full.
    pub fn send(&self, payload: &[u8]) {
        // SAFETY: `payload` is as long as is said, and libzmq copies it.
        let sent =
            unsafe { (self.functions.send)(self.raw, payload.as_ptr().cast(), payload.len(), 0) };
        assert_eq!(sent as usize, payload.len());
    }

    /// Waits for a message, looks at its first byte without copying it, and says how long it is.
    pub fn receive(&self) -> usize {
        let mut message = RawMessage([0; 64]);
        // SAFETY: the message is initialised before it is used, is not moved between, and is
        // closed; its data is `received` bytes long.
        unsafe {
            (self.functions.msg_init)(&raw mut message);
            let received = (self.functions.msg_recv)(&raw mut message, self.raw, 0);
            let received = usize::try_from(received).expect("a message");
            if received > 0 {
                let data = (self.functions.msg_data)(&raw mut message).cast::<u8>();
                std::hint::black_box(ptr::read(data));
            }
            (self.functions.msg_close)(&raw mut message);
            received
        }
    }

    /// Receives a message of a ROUTER, the routing id and one frame, and sends it back without a copy.
    pub fn send_back(&self) {
        let mut routing_id = RawMessage([0; 64]);
        let mut body = RawMessage([0; 64]);
        let Functions {
            msg_init,
            msg_recv,
            msg_send,
            ..
        } = self.functions;
        // SAFETY: both messages are initialised before they are used, and are not moved between. libzmq
        // takes what they hold when it sends them.
        unsafe {
            msg_init(&raw mut routing_id);
            msg_init(&raw mut body);
            assert!(msg_recv(&raw mut routing_id, self.raw, 0) > 0);
            assert!(msg_recv(&raw mut body, self.raw, 0) > 0);
            assert!(msg_send(&raw mut routing_id, self.raw, SNDMORE) > 0);
            assert!(msg_send(&raw mut body, self.raw, 0) > 0);
        }
    }
}
