import os
import subprocess
import sys

from tests.conftest import COMMAND

TALKING = """
from autoprune.cli.console import ConsoleReporter
from autoprune.core.clock import SystemClock
reporter = ConsoleReporter(False, SystemClock())
reporter.note("one")
reporter.warn("another")
print("work went on")
"""


def test_who_reads_the_news_may_end_and_the_work_goes_on():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", TALKING], stdout=subprocess.PIPE, stderr=writer, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, "work went on\n")


def test_a_reader_of_the_output_that_has_enough_is_no_error():
    listing = subprocess.Popen([*COMMAND, "plugins"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    listing.stdout.close()
    assert listing.stderr.read() == ""
    assert listing.wait(timeout=60) == 0
