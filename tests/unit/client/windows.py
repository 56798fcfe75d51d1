"""A Python from which all is taken that Windows lacks, and that we might use."""

WINDOWS = """
import _socket, os, select, signal, socket, stat, sys
sys.modules |= dict.fromkeys(["fcntl", "grp", "pwd", "resource", "termios"])
for module, names in {
    os: "splice sendfile readv writev get_blocking set_blocking fork geteuid getuid"
        " O_NONBLOCK O_NOCTTY RTLD_DEEPBIND",
    select: "poll epoll POLLIN POLLOUT POLLERR POLLHUP POLLNVAL",
    signal: "SIGHUP SIGPIPE",
    _socket: "AF_UNIX SCM_RIGHTS MSG_DONTWAIT",
    socket: "AF_UNIX SCM_RIGHTS send_fds recv_fds socketpair",
}.items():
    for name in names.split():
        delattr(module, name)
def waits(*ends, real=select.select):
    *lists, seconds = ends
    asked = {fd for fds in lists for fd in fds}
    if not asked or not all(stat.S_ISSOCK(os.fstat(fd).st_mode) for fd in asked):
        raise OSError("only sockets can be waited for, and there has to be one")
    return real(*lists, seconds)
select.select = waits
sys.platform = "win32"
"""
"""What a program of Python begins with there."""
