//! Scoped threads: they end before the call that has started them.
//!
//! std's have names, handles and results, and need musl's printf for the names: 19
//! KB more in the compressed initramfs.

use super::{Error, Result};
use std::ffi::c_void;
use std::ptr;

/// musl's default of 128 KiB is little for TLS. Only pages that are used take memory.
const STACK_BYTES: usize = 1 << 20;

/// A thread that has to be waited for.
struct Thread(libc::pthread_t);

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: the thread was started, is joinable, and joined only here.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
    }
}

/// Runs `here` and, on a thread of its own, each of `others`; returns when all
/// have ended. Where a thread cannot be started, `here` and what comes after it
/// in `others` do not run.
pub fn beside(others: &mut [&mut (dyn FnMut() + Send)], here: &mut dyn FnMut()) -> Result<()> {
    // Joined when they are dropped.
    let mut threads = Vec::with_capacity(others.len());
    for work in others {
        threads.push(start(work)?);
    }
    here();
    Ok(())
}

fn start(work: &mut &mut (dyn FnMut() + Send)) -> Result<Thread> {
    let mut attributes = std::mem::MaybeUninit::uninit();
    // SAFETY: the struct is ours; the call fills it and cannot fail.
    unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) };
    // SAFETY: filled above; the size is above the least one.
    unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES) };
    let mut thread = std::mem::MaybeUninit::uninit();
    let argument = ptr::from_mut(work).cast();
    // SAFETY: `work` outlives the thread, which is joined before its caller's frame ends, and nobody else uses it.
    let failed = unsafe { libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), run, argument) };
    match failed {
        // SAFETY: filled by the call.
        0 => Ok(Thread(unsafe { thread.assume_init() })),
        errno => Err(Error::new("pthread_create", errno)),
    }
}

extern "C" fn run(work: *mut c_void) -> *mut c_void {
    // SAFETY: `start` gives a pointer to such a reference, for this thread alone.
    let work = unsafe { &mut *work.cast::<&mut (dyn FnMut() + Send)>() };
    work();
    ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Barrier;

    #[test]
    fn all_at_once_and_all_ended() {
        let (barrier, ended) = (Barrier::new(4), AtomicU32::new(0));
        let work = || {
            barrier.wait();
            ended.fetch_add(1, Ordering::Relaxed);
        };
        let (mut a, mut b, mut c) = (work, work, work);
        let mut here = 0;
        beside(&mut [&mut a, &mut b, &mut c], &mut || here += u32::from(barrier.wait().is_leader()) + 1).unwrap();
        assert_eq!(ended.load(Ordering::Relaxed), 3);
        assert!(here > 0);
    }
}
