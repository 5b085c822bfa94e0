//! The two functions of the C library that Rust's own library does not offer. All unsafe code of the trainer is here.
#![allow(unsafe_code)]

use std::os::raw::c_int;
use std::sync::atomic::{AtomicI32, Ordering};

pub const SIGINT: c_int = 2;
pub const SIGTERM: c_int = 15;
/// Sent to a background process that reads from its terminal.
const SIGTTIN: c_int = 21;
const SIG_IGN: usize = 1;
const STDIN: c_int = 0;

extern "C" {
    /// POSIX `signal`; handlers and `SIG_IGN` are pointer-sized, so one type serves both.
    fn signal(signal_number: c_int, handler: usize) -> usize;
    fn isatty(file_descriptor: c_int) -> c_int;
}

/// The last stop signal received, 0 for none.
static STOP_SIGNAL: AtomicI32 = AtomicI32::new(0);

extern "C" fn remember(signal_number: c_int) {
    STOP_SIGNAL.store(signal_number, Ordering::Relaxed);
}

/// From here on SIGTERM and SIGINT are remembered for `stop_signal` instead of ending the process. A handler is needed
/// even for the default behaviour when the trainer is process 1 of a container, which the kernel otherwise shields.
/// SIGTTIN is ignored, so that a trainer put in the background is not halted for listening to the keyboard.
pub fn catch_stop_signals() {
    let handler = remember as extern "C" fn(c_int) as usize;
    // SAFETY: the handler only stores to an atomic, which is allowed at any point of the interrupted program.
    unsafe {
        signal(SIGTERM, handler);
        signal(SIGINT, handler);
        signal(SIGTTIN, SIG_IGN);
    }
}

/// The stop signal received, if any.
pub fn stop_signal() -> Option<c_int> {
    match STOP_SIGNAL.load(Ordering::Relaxed) {
        0 => None,
        signal_number => Some(signal_number),
    }
}

/// Whether someone may type: standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    // SAFETY: isatty only looks at the descriptor, and says 0 when it is closed.
    unsafe { isatty(STDIN) == 1 }
}
