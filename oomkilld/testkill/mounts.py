# SPDX-License-Identifier: Apache-2.0
"""A private mount namespace: nobody else sees its mounts, and it ends with its last process."""

import ctypes
import os

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2
_EINVAL = 22

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


def enter_private_namespace() -> None:
    """Raises OSError if that is forbidden."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    try:
        _mount("none", "/", None, _MS_REC | _MS_PRIVATE, None)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        _make_private_from_chroot()


def mount(kind: str, target: str, options: str | None = None) -> None:
    """Raises OSError."""
    _mount(kind, target, kind, 0, options)


def unmount(target: str) -> None:
    """Unmount at once, even if it is in use. Raises OSError."""
    _check(_libc.umount2(target.encode(), _MNT_DETACH), target)


def _make_private_from_chroot() -> None:
    """In a chroot, "/" is no mount point; only a process outside can name the mount that contains it."""
    pid = os.fork()
    if pid == 0:
        try:
            # ".." does not stop at a root below the current directory.
            os.chdir("/")
            os.chroot("/proc")
            while os.stat(".").st_ino != os.stat("..").st_ino or os.stat(".").st_dev != os.stat("..").st_dev:
                os.chdir("..")
            os.chroot(".")
            _mount("none", "/", None, _MS_REC | _MS_PRIVATE, None)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise OSError(status, os.strerror(status), "/")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _check(_libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]), target)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
