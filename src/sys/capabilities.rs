//! Capabilities (capabilities(7)), and no_new_privs.

use super::{cvt, cvt_long, Error, Result};

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h): two words of each set.
const VERSION_3: u32 = 0x2008_0522;

/// The bounding set; a bit for each capability that the kernel knows.
pub fn bounding() -> u64 {
    // SAFETY: takes numbers only.
    let read = |number: u32| unsafe { libc::prctl(libc::PR_CAPBSET_READ, number as libc::c_ulong, 0, 0, 0) };
    // The kernel knows all capabilities below the first that it does not know.
    let known = (0..64).map(|number| (number, read(number))).take_while(|(_, holds)| *holds >= 0);
    known.fold(0, |set, (number, holds)| set | (holds as u64) << number)
}

/// Takes a capability out of the bounding set, for good.
pub fn drop_bounding(number: u32) -> Result<()> {
    // SAFETY: takes numbers only.
    cvt("prctl(capbset)", unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number as libc::c_ulong, 0, 0, 0) })?;
    Ok(())
}

/// The permitted set is kept over a change of user, until exec.
pub fn keep_over_setuid() -> Result<()> {
    // SAFETY: takes numbers only.
    cvt("prctl(keepcaps)", unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })?;
    Ok(())
}

/// Sets the effective and permitted set to `effective`, and the inheritable set.
pub fn set(effective: u64, inheritable: u64) -> Result<()> {
    let header: [u32; 2] = [VERSION_3, 0];
    let (low, high) = (|set: u64| set as u32, |set: u64| (set >> 32) as u32);
    let data: [u32; 6] =
        [low(effective), low(effective), low(inheritable), high(effective), high(effective), high(inheritable)];
    // SAFETY: version 3 takes a header of two numbers and two structs of three; both live through the call.
    cvt_long("capset", unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })?;
    Ok(())
}

/// Sets the ambient set, whose capabilities must be permitted and inheritable.
pub fn set_ambient(set: u64) -> Result<()> {
    let ambient = |what: libc::c_int, number: u32| {
        // SAFETY: takes numbers only.
        cvt("prctl(ambient)", unsafe {
            libc::prctl(libc::PR_CAP_AMBIENT, what as libc::c_ulong, number as libc::c_ulong, 0, 0)
        })
    };
    match ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0) {
        // Linux before 4.3 has no such set.
        Err(Error { errno: libc::EINVAL, .. }) if set == 0 => return Ok(()),
        result => result?,
    };
    for number in (0..64).filter(|number| set & 1 << number != 0) {
        ambient(libc::PR_CAP_AMBIENT_RAISE, number)?;
    }
    Ok(())
}

/// From now on exec gives no more privileges (prctl(2), PR_SET_NO_NEW_PRIVS).
pub fn no_new_privileges() -> Result<()> {
    // SAFETY: takes numbers only.
    cvt("prctl(no_new_privs)", unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    Ok(())
}
