"""Ctrl-C, and SIGTERM, with which a machine or a scheduler stops a process."""

import signal

received = 0  # the signal that stops this process; 0: none


def listen() -> None:
    """From now on both signals raise KeyboardInterrupt, and `received` tells which one came.

    A library may swallow the exception, as Keras does where it converts the logs after each batch.
    So long work reads `received` too.
    """
    global received
    received = 0
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, _stop)


def _stop(number, _):
    global received
    received = number
    raise KeyboardInterrupt
