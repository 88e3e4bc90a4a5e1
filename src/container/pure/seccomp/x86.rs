//! The system calls of x86: 64-bit, and 32-bit beside it (Linux,
//! `syscall_64.tbl` and `syscall_32.tbl`).

use crate::container::pure::seccomp::column::NONE;

/// Every call, in the order of its native number; see `abi.rs`.
pub const NAMES: &str = "\
    read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask \
    rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore madvise \
    shmget shmat shmctl dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile ?socket connect accept \
    sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt \
    clone fork vfork execve exit wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock \
    fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat link unlink symlink \
    readlink chmod fchmod chown fchown lchown umask gettimeofday getrlimit getrusage sysinfo times ptrace getuid \
    syslog getgid setuid setgid geteuid getegid setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups \
    setresuid getresuid setresgid getresgid getpgid setfsuid setfsgid getsid capget capset rt_sigpending \
    rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod !uselib =personality !ustat statfs fstatfs \
    !sysfs getpriority setpriority sched_setparam sched_getparam sched_setscheduler sched_getscheduler \
    sched_get_priority_max sched_get_priority_min sched_rr_get_interval mlock munlock mlockall munlockall Yvhangup \
    modify_ldt pivot_root -_sysctl prctl arch_prctl adjtimex setrlimit Cchroot sync Pacct Ksettimeofday mount umount2 \
    !swapon !swapoff reboot Asethostname Asetdomainname Iiopl Iioperm -create_module Minit_module Mdelete_module \
    -get_kernel_syms Mquery_module Aquotactl !nfsservctl -getpmsg -putpmsg -afs_syscall -tuxcall -security gettid \
    readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr \
    lremovexattr fremovexattr tkill time futex sched_setaffinity sched_getaffinity set_thread_area io_setup io_destroy \
    io_getevents io_submit io_cancel get_thread_area Alookup_dcookie epoll_create epoll_ctl_old epoll_wait_old \
    remap_file_pages getdents64 set_tid_address restart_syscall semtimedop fadvise64 timer_create timer_settime \
    timer_gettime timer_getoverrun timer_delete Kclock_settime clock_gettime clock_getres clock_nanosleep exit_group \
    epoll_wait epoll_ctl tgkill utimes -vserver mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend \
    mq_timedreceive mq_notify mq_getsetattr !kexec_load waitid -add_key -request_key keyctl ioprio_set ioprio_get \
    inotify_init inotify_add_watch inotify_rm_watch !migrate_pages openat mkdirat mknodat fchownat futimesat \
    newfstatat unlinkat renameat linkat symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare set_robust_list \
    get_robust_list splice tee sync_file_range !vmsplice !move_pages utimensat epoll_pwait signalfd timerfd_create \
    eventfd fallocate timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2 \
    inotify_init1 preadv pwritev rt_tgsigqueueinfo Eperf_event_open recvmmsg fanotify_init fanotify_mark prlimit64 \
    name_to_handle_at Ropen_by_handle_at clock_adjtime syncfs sendmmsg setns getcpu process_vm_readv process_vm_writev \
    Tkcmp Mfinit_module sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create !kexec_file_load Bbpf \
    execveat !userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx \
    !io_pgetevents rseq @424 pidfd_send_signal -io_uring_setup -io_uring_enter -io_uring_register open_tree move_mount \
    fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 Tprocess_madvise \
    epoll_pwait2 mount_setattr Aquotactl_fd landlock_create_ruleset landlock_add_rule landlock_restrict_self \
    memfd_secret process_mrelease !futex_waitv -set_mempolicy_home_node !cachestat fchmodat2 !map_shadow_stack \
    !futex_wake !futex_wait !futex_requeue -statmount -listmount -lsm_get_self_attr -lsm_set_self_attr \
    -lsm_list_modules -mseal -setxattrat -getxattrat -listxattrat -removexattrat -open_tree_attr -file_getattr \
    -file_setattr | waitpid -break !oldstat umount Kstime !oldfstat -stty -gtty !nice -ftime -prof signal -lock -mpx \
    -ulimit !oldolduname -sigaction !sgetmask !ssetmask -sigsuspend -sigpending !oldlstat -readdir -profil socketcall \
    !olduname -idle !vm86old ipc sigreturn sigprocmask !bdflush _llseek _newselect !vm86 ugetrlimit mmap2 truncate64 \
    ftruncate64 stat64 lstat64 fstat64 lchown32 getuid32 getgid32 geteuid32 getegid32 setreuid32 setregid32 \
    getgroups32 setgroups32 fchown32 setresuid32 getresuid32 setresgid32 getresgid32 chown32 setuid32 setgid32 \
    setfsuid32 setfsgid32 fcntl64 sendfile64 statfs64 fstatfs64 fadvise64_64 fstatat64 clock_gettime64 \
    Kclock_settime64 clock_adjtime64 clock_getres_time64 clock_nanosleep_time64 timer_gettime64 timer_settime64 \
    timerfd_gettime64 timerfd_settime64 utimensat_time64 pselect6_time64 ppoll_time64 !io_pgetevents_time64 \
    recvmmsg_time64 mq_timedsend_time64 mq_timedreceive_time64 semtimedop_time64 rt_sigtimedwait_time64 futex_time64 \
    sched_rr_get_interval_time64";

/// The numbers of the same calls for 32-bit programs.
#[rustfmt::skip]
pub const COMPAT: [u16; 468] = [
    3, 4, 5, 6, 106, 108, 107, 168, 19, 90, 125, 91, 45, 174, 175, 173, 54, 180, 181, 145, 146, 33, 42, 82, 158,
    163, 144, 218, 219, 395, 397, 396, 41, 63, 29, 162, 105, 27, 104, 20, 187, 359, 362, NONE, 369, 371, 370, 372,
    373, 361, 363, 367, 368, 360, 366, 365, 120, 2, 190, 11, 1, 114, 37, 122, 393, NONE, 394, 398, 399, 400, 401,
    402, 55, 143, 118, 148, 92, 93, 141, 183, 12, 133, 38, 39, 40, 8, 9, 10, 83, 85, 15, 94, 182, 95, 16, 60, 78,
    76, 77, 116, 43, 26, 24, 103, 47, 23, 46, 49, 50, 57, 64, 65, 66, 70, 71, 80, 81, 164, 165, 170, 171, 132, 138,
    139, 147, 184, 185, 176, 177, 178, 179, 186, 30, 14, 86, 136, 62, 99, 100, 135, 96, 97, 154, 155, 156, 157, 159,
    160, 161, 150, 151, 152, 153, 111, 123, 217, 149, 172, 384, 124, 75, 61, 36, 51, 79, 21, 52, 87, 115, 88, 74,
    121, 110, 101, 127, 128, 129, 130, 167, 131, 169, 188, 189, 137, NONE, NONE, 224, 225, 226, 227, 228, 229, 230,
    231, 232, 233, 234, 235, 236, 237, 238, 13, 240, 241, 242, 243, 245, 246, 247, 248, 249, 244, 253, 254, NONE,
    NONE, 257, 220, 258, 0, NONE, 250, 259, 260, 261, 262, 263, 264, 265, 266, 267, 252, 256, 255, 270, 271, 273,
    274, 276, 275, 277, 278, 279, 280, 281, 282, 283, 284, 286, 287, 288, 289, 290, 291, 292, 293, 294, 295, 296,
    297, 298, 299, NONE, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 315, 314, 316, 317, 320,
    319, 321, 322, 323, 324, 325, 326, 364, 327, 328, 329, 330, 331, 332, 333, 334, 335, 336, 337, 338, 339, 340,
    341, 342, 343, 344, 345, 346, 318, 347, 348, 349, 350, 351, 352, 353, 354, 355, 356, NONE, 357, 358, 374, 375,
    376, 377, 378, 379, 380, 381, 382, 383, 385, 386, 424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 435,
    436, 437, 438, 439, 440, 441, 442, 443, 444, 445, 446, 447, 448, 449, 450, 451, 452, 453, 454, 455, 456, 457,
    458, 459, 460, 461, 462, 463, 464, 465, 466, 467, 468, 469, 7, 17, 18, 22, 25, 28, 31, 32, 34, 35, 44, 48, 53,
    56, 58, 59, 67, 68, 69, 72, 73, 84, 89, 98, 102, 109, 112, 113, 117, 119, 126, 134, 140, 142, 166, 191, 192,
    193, 194, 195, 196, 197, 198, 199, 200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211, 212, 213, 214,
    215, 216, 221, 239, 268, 269, 272, 300, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 416, 417,
    418, 419, 420, 421, 422, 423,
];
