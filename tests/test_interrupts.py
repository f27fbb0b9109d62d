"""Ctrl-C as a word in a mailbox: noticed whatever the waiting thread is doing when it comes."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from penstock.interrupts import INTERRUPT, Mailbox, heed_interrupts

LONG_S = 60.0


def test_words_come_out_in_the_order_they_were_put() -> None:
    mailbox = Mailbox()
    for word in ("a", "b", "c"):
        mailbox.put(word)
    assert [mailbox.get(0) for _ in range(4)] == ["a", "b", "c", None]


def test_a_waiting_thread_wakes_for_a_word_from_another() -> None:
    mailbox, got = Mailbox(), []
    waiter = threading.Thread(target=lambda: got.append(mailbox.get(LONG_S)))
    waiter.start()
    mailbox.put("now")
    waiter.join(LONG_S)
    assert got == ["now"]
    assert mailbox.get(0) is None


def test_more_words_than_the_pipe_has_room_for_are_all_kept() -> None:
    mailbox = Mailbox()
    count = 200_000  # more than the 64 KiB of a pipe
    for number in range(count):
        mailbox.put(str(number))
    assert all(mailbox.get(0) == str(number) for number in range(count))
    assert mailbox.get(0) is None


def test_ctrl_c_that_reaches_another_thread_wakes_the_one_that_waits() -> None:
    """The signal must not depend on interrupting the wait itself: here another thread's system call gets it.

    So it is, in effect, when the signal comes in the instant before the main thread blocks.
    """
    mailbox, end = Mailbox(), threading.Event()
    main = threading.main_thread().ident

    def target_of_the_signal() -> None:
        # When this thread holds the GIL and the main one stands in `get`, that one is inside of its system call.
        while sys._current_frames()[main].f_code is not Mailbox.get.__code__ and not end.wait(0.001):
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)
        end.wait(LONG_S)

    thread = threading.Thread(target=target_of_the_signal)
    with heed_interrupts(mailbox):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            thread.start()
            assert mailbox.get(LONG_S) == INTERRUPT
        finally:
            end.set()
            thread.join(LONG_S)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert mailbox.get(0) is None


def test_handler_and_wakeup_descriptor_are_put_back() -> None:
    with heed_interrupts(Mailbox()):
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_wakeup_descriptor_of_an_event_loop_is_left_in_place() -> None:
    loops = Mailbox()
    signal.set_wakeup_fd(loops.wakeup_fd)
    try:
        with heed_interrupts(Mailbox()):
            assert signal.set_wakeup_fd(loops.wakeup_fd) == loops.wakeup_fd
        assert signal.set_wakeup_fd(loops.wakeup_fd) == loops.wakeup_fd
    finally:
        signal.set_wakeup_fd(-1)


def test_handler_of_the_program_is_left_alone() -> None:
    def own(_number: int, _frame: object) -> None:
        raise AssertionError("not called")

    before = signal.signal(signal.SIGINT, own)
    try:
        with heed_interrupts(Mailbox()):
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_off_the_main_thread_nothing_is_changed() -> None:
    seen = []

    def elsewhere() -> None:
        with heed_interrupts(Mailbox()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(LONG_S)
    assert seen == [signal.default_int_handler]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc to count descriptors in")
def test_a_mailbox_gives_its_descriptors_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        Mailbox().put("word")
    assert len(os.listdir("/proc/self/fd")) == before
