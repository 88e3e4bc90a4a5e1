//! The system calls of Arm: 64-bit, and 32-bit beside it (Linux,
//! `asm-generic/unistd.h` and arm's `syscall.tbl`).

use crate::container::pure::seccomp::column::NONE;

/// Every call, in the order of its native number; see `abi.rs`.
pub const NAMES: &str = "\
    io_setup io_destroy io_submit io_cancel io_getevents setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr \
    listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr getcwd Alookup_dcookie eventfd2 \
    epoll_create1 epoll_ctl epoll_pwait dup dup3 fcntl inotify_init1 inotify_add_watch inotify_rm_watch ioctl \
    ioprio_set ioprio_get flock mknodat mkdirat unlinkat symlinkat linkat renameat umount2 mount pivot_root \
    !nfsservctl statfs fstatfs truncate ftruncate fallocate faccessat chdir fchdir Cchroot fchmod fchmodat fchownat \
    fchown openat close Yvhangup pipe2 Aquotactl getdents64 lseek read write readv writev pread64 pwrite64 preadv \
    pwritev sendfile pselect6 ppoll signalfd4 !vmsplice splice tee readlinkat newfstatat fstat sync fsync fdatasync \
    sync_file_range timerfd_create timerfd_settime timerfd_gettime utimensat Pacct capget capset =personality exit \
    exit_group waitid set_tid_address unshare futex set_robust_list get_robust_list nanosleep getitimer setitimer \
    !kexec_load Minit_module Mdelete_module timer_create timer_gettime timer_getoverrun timer_settime timer_delete \
    Kclock_settime clock_gettime clock_getres clock_nanosleep syslog ptrace sched_setparam sched_setscheduler \
    sched_getscheduler sched_getparam sched_setaffinity sched_getaffinity sched_yield sched_get_priority_max \
    sched_get_priority_min sched_rr_get_interval restart_syscall kill tkill tgkill sigaltstack rt_sigsuspend \
    rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigreturn setpriority getpriority \
    reboot setregid setgid setreuid setuid setresuid getresuid setresgid getresgid setfsuid setfsgid times setpgid \
    getpgid getsid setsid getgroups setgroups uname Asethostname Asetdomainname getrlimit setrlimit getrusage umask \
    prctl getcpu gettimeofday Ksettimeofday adjtimex getpid getppid getuid geteuid getgid getegid gettid sysinfo \
    mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr msgget msgctl msgrcv msgsnd semget semctl \
    semtimedop semop shmget shmctl shmat shmdt ?socket socketpair bind listen accept connect getsockname getpeername \
    sendto recvfrom setsockopt getsockopt shutdown sendmsg recvmsg readahead brk munmap mremap -add_key -request_key \
    keyctl clone execve mmap fadvise64 !swapon !swapoff mprotect msync mlock munlock mlockall munlockall mincore \
    madvise remap_file_pages mbind get_mempolicy set_mempolicy !migrate_pages !move_pages rt_tgsigqueueinfo \
    Eperf_event_open accept4 recvmmsg @260 wait4 prlimit64 fanotify_init fanotify_mark name_to_handle_at \
    Ropen_by_handle_at clock_adjtime syncfs setns sendmmsg process_vm_readv process_vm_writev Tkcmp Mfinit_module \
    sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create Bbpf execveat !userfaultfd membarrier mlock2 \
    copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx !io_pgetevents rseq !kexec_file_load \
    @424 pidfd_send_signal -io_uring_setup -io_uring_enter -io_uring_register open_tree move_mount fsopen fsconfig \
    fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 Tprocess_madvise epoll_pwait2 \
    mount_setattr Aquotactl_fd landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret \
    process_mrelease !futex_waitv -set_mempolicy_home_node !cachestat fchmodat2 !map_shadow_stack !futex_wake \
    !futex_wait !futex_requeue -statmount -listmount -lsm_get_self_attr -lsm_set_self_attr -lsm_list_modules -mseal \
    -setxattrat -getxattrat -listxattrat -removexattrat -open_tree_attr -file_getattr -file_setattr | fork open creat \
    link unlink mknod chmod lchown pause access !nice rename mkdir rmdir pipe !ustat dup2 getpgrp -sigaction \
    -sigsuspend -sigpending symlink readlink !uselib stat lstat sigreturn sigprocmask !bdflush !sysfs _llseek getdents \
    _newselect -_sysctl poll chown vfork ugetrlimit mmap2 truncate64 ftruncate64 stat64 lstat64 fstat64 lchown32 \
    getuid32 getgid32 geteuid32 getegid32 setreuid32 setregid32 getgroups32 setgroups32 fchown32 setresuid32 \
    getresuid32 setresgid32 getresgid32 chown32 setuid32 setgid32 setfsuid32 setfsgid32 fcntl64 sendfile64 \
    epoll_create epoll_wait statfs64 fstatfs64 utimes arm_fadvise64_64 !pciconfig_iobase !pciconfig_read \
    !pciconfig_write send recv -vserver inotify_init futimesat fstatat64 arm_sync_file_range signalfd eventfd \
    clock_gettime64 Kclock_settime64 clock_adjtime64 clock_getres_time64 clock_nanosleep_time64 timer_gettime64 \
    timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64 pselect6_time64 ppoll_time64 \
    !io_pgetevents_time64 recvmmsg_time64 mq_timedsend_time64 mq_timedreceive_time64 semtimedop_time64 \
    rt_sigtimedwait_time64 futex_time64 sched_rr_get_interval_time64 breakpoint cacheflush -usr26 -usr32 set_tls \
    -get_tls";

/// The numbers of the same calls for 32-bit programs.
#[rustfmt::skip]
pub const COMPAT: [u16; 434] = [
    243, 244, 246, 247, 245, 226, 227, 228, 229, 230, 231, 232, 233, 234, 235, 236, 237, 183, 249, 356, 357, 251,
    346, 41, 358, 55, 360, 317, 318, 54, 314, 315, 143, 324, 323, 328, 331, 330, 329, 52, 21, 218, 169, 99, 100, 92,
    93, 352, 334, 12, 133, 61, 94, 333, 325, 95, 322, 6, 111, 359, 131, 217, 19, 3, 4, 145, 146, 180, 181, 361, 362,
    187, 335, 336, 355, 343, 340, 342, 332, NONE, 108, 36, 118, 148, NONE, 350, 353, 354, 348, 51, 184, 185, 136, 1,
    248, 280, 256, 337, 240, 338, 339, 162, 105, 104, 347, 128, 129, 257, 259, 260, 258, 261, 262, 263, 264, 265,
    103, 26, 154, 156, 157, 155, 241, 242, 158, 159, 160, 161, 0, 37, 238, 268, 186, 179, 174, 175, 176, 177, 178,
    173, 97, 96, 88, 71, 46, 70, 23, 164, 165, 170, 171, 138, 139, 43, 57, 132, 147, 66, 80, 81, 122, 74, 121, NONE,
    75, 77, 60, 172, 345, 78, 79, 124, 20, 64, 24, 49, 47, 50, 224, 116, 274, 275, 276, 277, 278, 279, 303, 304,
    302, 301, 299, 300, 312, 298, 307, 308, 305, 306, 281, 288, 282, 284, 285, 283, 286, 287, 290, 292, 294, 295,
    293, 296, 297, 225, 45, 91, 163, 309, 310, 311, 120, 11, NONE, NONE, 87, 115, 125, 144, 150, 151, 152, 153, 219,
    220, 253, 319, 320, 321, 400, 344, 363, 364, 366, 365, 114, 369, 367, 368, 370, 371, 372, 373, 375, 374, 376,
    377, 378, 379, 380, 381, 382, 383, 384, 385, 386, 387, 388, 389, 390, 391, 392, 393, 394, 395, 396, 397, 399,
    398, 401, 424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 435, 436, 437, 438, 439, 440, 441, 442, 443,
    444, 445, 446, NONE, 448, 449, 450, 451, 452, 453, 454, 455, 456, 457, 458, 459, 460, 461, 462, 463, 464, 465,
    466, 467, 468, 469, 2, 5, 8, 9, 10, 14, 15, 16, 29, 33, 34, 38, 39, 40, 42, 62, 63, 65, 67, 72, 73, 83, 85, 86,
    106, 107, 119, 126, 134, 135, 140, 141, 142, 149, 168, 182, 190, 191, 192, 193, 194, 195, 196, 197, 198, 199,
    200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211, 212, 213, 214, 215, 216, 221, 239, 250, 252, 266,
    267, 269, 270, 271, 272, 273, 289, 291, 313, 316, 326, 327, 341, 349, 351, 403, 404, 405, 406, 407, 408, 409,
    410, 411, 412, 413, 414, 416, 417, 418, 419, 420, 421, 422, 423, 32769, 32770, 32771, 32772, 32773, 32774,
];
