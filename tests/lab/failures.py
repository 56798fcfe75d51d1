"""In which ways system calls are made to fail: see errno(3) and their pages."""

from typing import Final

_MEMORY = ("ENOMEM",)
_BUFFERS = ("ENOBUFS",)
_DISK = ("EIO", "ENOSPC")
_FILES = ("EMFILE",)

HALF: Final = "half"
"""Not an error: half of the bytes are read or written."""

ERRORS = {
    # The store, and what is said in the log.
    "write": _DISK,
    "pwrite64": _DISK,
    "fsync": ("EIO",),
    "fdatasync": ("EIO",),
    "openat": ("EACCES", "EMFILE"),
    "renameat": ("EROFS", "ENOSPC"),
    "unlinkat": ("EROFS",),
    "close": ("EIO",),
    "read": ("EIO",),
    "fstat": _MEMORY,
    "newfstatat": _MEMORY,
    # The capture, the packet filter, and what the programs say to each other.
    "socket": ("EMFILE", "ENOBUFS"),
    "bind": _BUFFERS,
    "connect": ("EAGAIN",),
    "getsockname": _BUFFERS,
    "getsockopt": _BUFFERS,
    "setsockopt": _BUFFERS,
    "sendto": ("ENOBUFS", "EPERM"),
    "sendmsg": ("ENOBUFS", "EPERM"),
    "recvfrom": _MEMORY,
    "recvmsg": ("ENOMEM", "ENOBUFS"),
    "accept4": _FILES,
    "poll": _MEMORY,
    "bpf": ("EPERM", "ENOMEM"),
    "pselect6": _MEMORY,
    "ioctl": ("ENODEV",),
    "fcntl": ("EINVAL",),
    # The programs that iptables and ipset are.
    "pipe2": _FILES,
    "clone": ("EAGAIN",),
    "clone3": ("EAGAIN",),
    "vfork": ("EAGAIN",),
    "fork": ("EAGAIN",),
    "wait4": ("ECHILD",),
    "pidfd_open": _FILES,
    "eventfd2": _FILES,
    "epoll_create1": _FILES,
    "epoll_ctl": _MEMORY,
    "epoll_wait": ("EINVAL",),
    "kill": ("EPERM",),
    "access": _MEMORY,
    "faccessat2": _MEMORY,
    "lseek": ("EINVAL",),
    # That of a file or a device: what seccomp sees, and strace does not tell.
    "mmap": _MEMORY,
    "flock": ("ENOLCK", "EINTR"),
    "link": ("EMLINK",),
    "linkat": ("EMLINK",),
    "mkdir": ("ENOSPC",),
    "mkdirat": ("ENOSPC",),
    "rename": ("EROFS", "ENOSPC"),
    "unlink": ("EROFS",),
    "fchmod": ("EPERM",),
    "fchown": ("EPERM",),
    "getdents64": ("EIO",),
    "pread64": ("EIO",),
    "stat": _MEMORY,
    "socketpair": _FILES,
    "listen": ("EADDRINUSE",),
    # What the listener gives up.
    "prctl": ("EPERM",),
    "capset": ("EPERM",),
    "setgroups": ("EPERM",),
    "setresgid": ("EAGAIN",),
    "setresuid": ("EAGAIN",),
    "prlimit64": ("EPERM",),
    "landlock_create_ruleset": _MEMORY,
    "landlock_add_rule": _MEMORY,
    "landlock_restrict_self": _MEMORY,
    "statx": _MEMORY,
}
"""The calls that are made to fail, and how."""

HARMLESS = {
    # Without memory for itself, Python ends wherever it is, as it does when killed.
    *("brk", "mmap", "mremap", "munmap", "mprotect", "madvise"),
    # They do not fail.
    *(
        "futex",
        "getpid",
        "gettid",
        "getuid",
        "geteuid",
        "uname",
        "rt_sigaction",
        "rt_sigprocmask",
        "umask",
    ),
    *("clock_gettime", "clock_nanosleep", "restart_syscall", "getrandom"),
}
