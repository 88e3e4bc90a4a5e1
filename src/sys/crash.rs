//! Crashes: a signal handler that stores the address for PID 1, or prints it as this process's last words.

use super::signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
use super::{last_words, Error, Result};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// A page that PID 1 shares with its child, the boot, and can read after the child's crash.
#[repr(C)]
struct CrashPage {
    address: AtomicUsize,
    note: AtomicUsize,
    heard: AtomicUsize,
    section: AtomicUsize,
}

static CRASH: AtomicPtr<CrashPage> = AtomicPtr::new(null_mut());

/// Makes the shared page. Call before `clone`.
pub fn share_page() -> Result<()> {
    let (kind, access) = (libc::MAP_SHARED | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping at a place that the kernel chooses; it is never unmapped.
    let page = unsafe { libc::mmap(null_mut(), 4096, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(Error::last("mmap"));
    }
    CRASH.store(page.cast(), Ordering::Relaxed);
    Ok(())
}

/// The instruction at which the child crashed; 0 where it did not.
pub fn address() -> usize {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_page`, which is never unmapped.
    unsafe { page.as_ref() }.map_or(0, |page| page.address.load(Ordering::Relaxed))
}

/// A number that the child has stored for PID 1; 0 where it has not.
pub fn note() -> usize {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_page`, which is never unmapped.
    unsafe { page.as_ref() }.map_or(0, |page| page.note.load(Ordering::Relaxed))
}

pub fn set_note(note: usize) {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_page`, which is never unmapped.
    if let Some(page) = unsafe { page.as_ref() } {
        page.note.store(note, Ordering::Relaxed);
    }
}

/// Where no page is shared, as in a test.
static OWN_SECTION: AtomicUsize = AtomicUsize::new(0);

/// The number of the console's section that is open, which PID 1 ends after a crash; 0 for none.
fn section() -> &'static AtomicUsize {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_page`, which is never unmapped.
    unsafe { page.as_ref() }.map_or(&OWN_SECTION, |page| &page.section)
}

pub fn set_section(number: usize) {
    section().store(number, Ordering::Relaxed);
}

/// The number of the open section, which from now on is none.
pub fn take_section() -> usize {
    section().swap(0, Ordering::Relaxed)
}

/// Whether the child has received the request to end.
pub fn was_heard() -> bool {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_page`, which is never unmapped.
    unsafe { page.as_ref() }.is_some_and(|page| page.heard.load(Ordering::Relaxed) != 0)
}

/// In the child: it has received the request to end, and acts on it.
pub fn set_heard() {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: null, or the page of `share_page`, which is never unmapped.
    if let Some(page) = unsafe { page.as_ref() } {
        page.heard.store(1, Ordering::Relaxed);
    }
}

/// From now on a crash stores its address in the shared page, and the signal then has its default effect; without a
/// page, [`last_words`] ends the process.
pub fn catch() {
    for signal in [SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT] {
        // SAFETY: the handler is async-signal-safe: it stores a number. SA_RESETHAND lets the signal kill when the
        // faulting instruction runs again; SA_ONSTACK survives a stack overflow where std made such a stack.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_crash as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_ONSTACK;
            libc::sigaction(signal, &action, null_mut());
        }
    }
}

/// Called before `main` (`.init_array`), since std and the C library end a program by a signal already there when the
/// system refuses what every program needs. In PID 1 a signal that is not caught has no effect.
pub extern "C" fn at_first() {
    if std::process::id() != 1 {
        catch();
    }
}

extern "C" fn on_crash(_signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let page = CRASH.load(Ordering::Relaxed);
    // SAFETY: the kernel gives valid pointers; the page is null or never unmapped.
    unsafe {
        if let Some(page) = page.as_ref() {
            page.address.store(instruction(info, context), Ordering::Relaxed);
            return;
        }
        last_words::crashed(instruction(info, context))
    }
}

/// The instruction pointer at the fault.
///
/// # Safety
/// Both pointers must be those that the kernel gave to a signal handler.
#[allow(unused_variables)]
// SAFETY: the contract above is the caller's.
unsafe fn instruction(info: *mut libc::siginfo_t, context: *mut libc::c_void) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: by contract a ucontext of this architecture.
    return unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as usize };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    return unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc as usize };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    // SAFETY: for an illegal instruction, what a panic is in the release, this is its address.
    return unsafe { (*info).si_addr() as usize };
}
