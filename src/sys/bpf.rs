//! BPF programs: filters of system calls, and of the devices of a control group.

use super::{cvt_long, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction of a filter of system calls.
pub type Instruction = libc::sock_filter;

/// From now on the filter decides about every system call of this process and its children (seccomp(2)).
pub fn filter_system_calls(program: &[Instruction]) -> Result<()> {
    const SET_MODE_FILTER: u32 = 1;
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: pointer and length are of one slice, which the kernel copies and does not write to.
    cvt_long("seccomp", unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &program) })?;
    Ok(())
}

/// linux/bpf.h: commands, program and attach types.
const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// The programs of parent and child groups stay attached.
const ALLOW_MULTI: u32 = 2;

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// Attaches `program` to the control group of the directory `cgroup`: it decides
/// about each use of a device in the group.
pub fn filter_devices(cgroup: BorrowedFd<'_>, program: &[u64]) -> Result<()> {
    let load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let size = std::mem::size_of::<Load>();
    // SAFETY: the struct, the program and the string live through the call; size is the struct's.
    let fd = cvt_long("bpf(load)", unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &load, size) })?;
    // SAFETY: a new descriptor, owned by nobody else; the kernel sets close-on-exec.
    let loaded = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let attach: [u32; 4] = [cgroup.as_raw_fd() as u32, loaded.as_raw_fd() as u32, ATTACH_CGROUP_DEVICE, ALLOW_MULTI];
    let size = std::mem::size_of_val(&attach);
    // SAFETY: four numbers are the beginning of `union bpf_attr` for this command; both descriptors are open.
    cvt_long("bpf(attach)", unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, attach.as_ptr(), size) })?;
    Ok(())
}
