//! The end of a command on a host that runs out of memory or crashes: it prints why, and starts a program in its place
//! that cleans up. At boot PID 1 does both.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CString;
use std::ptr::null;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// The program that cleans up; null where there is none.
static SUCCESSOR: AtomicPtr<Successor> = AtomicPtr::new(std::ptr::null_mut());

struct Successor {
    path: CString,
    /// Null-terminated, as execve(2) takes them.
    arguments: Vec<*const libc::c_char>,
    /// Memory that is never used: under a limit of address space (`ulimit -v`) the successor has that much more.
    _reserve: Vec<u8>,
}

/// More than the successor needs to open a store and to remove from it.
const RESERVE_BYTES: usize = 512 << 10;

/// If this process runs out of memory or crashes, `path` is started with `arguments` in its place. Both are kept for as
/// long as the process lives, since at its end nothing can be allocated.
pub fn set_successor(path: CString, arguments: Vec<CString>) {
    let pointers = arguments.leak().iter().map(|word| word.as_ptr()).chain([null()]).collect();
    let successor = Box::new(Successor { path, arguments: pointers, _reserve: Vec::with_capacity(RESERVE_BYTES) });
    SUCCESSOR.store(Box::leak(successor), Ordering::Release);
}

/// Has the successor take this process's place now.
pub fn succeed() -> ! {
    end(b"")
}

/// In a child: its parent cleans up after it.
pub fn clear_successor() {
    SUCCESSOR.store(std::ptr::null_mut(), Ordering::Release);
}

/// Whether `main` has begun.
static STARTED: AtomicBool = AtomicBool::new(false);

/// To be called at the beginning of `main`.
pub fn started() {
    STARTED.store(true, Ordering::Relaxed);
}

/// Ends a process that has crashed, where PID 1 does not report it. Makes only calls that are allowed in a signal
/// handler.
pub(super) fn crashed(address: usize) -> ! {
    if !STARTED.load(Ordering::Relaxed) {
        end(b"FAIL ocinit  cannot start: the system refuses what each program needs; it is short of memory, most likely\n");
    }
    let mut text = *b"FAIL ocinit  crashed at 0x0000000000000000: a bug, which ./dev where 0x... turns into its line\n";
    let digits = text.iter_mut().skip(26).take(16).rev().enumerate();
    for (at, digit) in digits {
        *digit = b"0123456789abcdef"[address >> (4 * at) & 15];
    }
    end(&text)
}

/// Writes `text` to standard error and ends this process, or has the successor take its place.
fn end(text: &[u8]) -> ! {
    // SAFETY: pointer and length are of one slice. Losing it twice is no reason to stop.
    let write = || unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    if write() < 0 {
        write();
    }
    // SAFETY: null, or what `set_successor` has leaked.
    if let Some(successor) = unsafe { SUCCESSOR.load(Ordering::Acquire).as_ref() } {
        let environment = [null::<libc::c_char>()];
        // SAFETY: path and arrays are null-terminated, and live for ever.
        unsafe { libc::execve(successor.path.as_ptr(), successor.arguments.as_ptr(), environment.as_ptr()) };
    }
    // SAFETY: takes a number only.
    unsafe { libc::_exit(125) }
}

/// The system's allocator; where it has no more memory, the process ends. Allocations that may fail (`try_reserve`) are
/// not used.
pub struct Allocator;

fn some(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() {
        end(b"FAIL memory  the system has no more memory for this program\n           hint     a limit of it (ulimit -v) or of the control group\n");
    }
    pointer
}

// SAFETY: each function is the system allocator's; a null pointer never returns.
unsafe impl GlobalAlloc for Allocator {
    // SAFETY: the contract is passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        some(unsafe { System.alloc(layout) })
    }

    // SAFETY: the contract is passed on.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    // SAFETY: the contract is passed on.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        some(unsafe { System.alloc_zeroed(layout) })
    }

    // SAFETY: the contract is passed on.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        some(unsafe { System.realloc(pointer, layout, size) })
    }
}
