"""A signal is remembered until the step is done; the second one is not."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from geochat.engine.interruption import StopSignals, TrainingInterrupted


@pytest.fixture(autouse=True)
def usual_handlers():
    """Whoever started the tests may have told them to ignore Ctrl-C."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_remembered_and_the_handlers_come_back(number, capfd):
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.received == 0
        os.kill(os.getpid(), number)
        assert signals.received == number
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before
    assert f'{signal.Signals(number).name}: saving at the end of this step' in capfd.readouterr().err


def test_the_second_ctrl_c_ends_the_program_at_once():
    with StopSignals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_what_is_to_be_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == 0


def test_outside_the_main_thread_nothing_is_caught():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def enter():
        with StopSignals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]


def test_the_exit_code_is_the_shells():
    assert TrainingInterrupted('', signal.SIGTERM).exit_code == 143
    assert TrainingInterrupted('', signal.SIGINT).exit_code == 130


def test_a_process_that_was_forked_meanwhile_ends_as_usual():
    fork = multiprocessing.get_context('fork')
    ready = fork.Event()

    def wait():
        ready.set()
        time.sleep(60)

    with StopSignals():
        child = fork.Process(target=wait)
        child.start()
        ready.wait()
        child.terminate()
        child.join(timeout=30)
    assert child.exitcode == -signal.SIGTERM
