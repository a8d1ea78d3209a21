"""What files may do to the process that reads them; importable without torch and pytest."""

import ctypes
import os
import signal
import sys
import time

import numpy as np


class PanicError(BaseException):
    """Like what comes out of extensions that are written in Rust."""


def read(task: str) -> str | int:
    """Do what the task says."""
    if task == "exit":
        os._exit(9)
    if task == "abort":
        os.abort()
    if task == "segfault":
        ctypes.string_at(0)
    if task == "hang":
        while True:
            pass
    if task == "sleep":
        time.sleep(60)
    if task == "memory":
        return len(np.ones(1 << 34))
    if task == "panic":
        raise PanicError("one\nline")
    if task == "error":
        raise KeyError("\x1b[2Jbad\nname")
    if task == "print":
        print("noise " * 1000)
        os.write(1, b"more noise")
        sys.stderr.write("and here")
    if task == "parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if task.startswith("parent once "):
        try:
            os.close(os.open(task.removeprefix("parent once "), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return "survived"
        return read("parent")
    if task == "pid":
        return os.getpid()
    return task
