"""Bytes at their place in a file: all of them, however many calls that takes."""

import os


def read_all(descriptor: int, data: memoryview, offset: int) -> int:
    """Fill ``data`` from an offset, in bytes; return how many came before the file's end."""
    done = 0
    while done < len(data):
        count = os.preadv(descriptor, [data[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of ``data`` at an offset, in bytes from the start of the file."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)
