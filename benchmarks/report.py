"""How large the page of a report is, and how long a browser takes to draw it: 64 and 10,000 made-up trials.

    python benchmarks/report.py

Needs autoprune[dev], chromium and chromedriver. Seconds are from asking for the file to its last script's end, the best
of some; the load of the machine is printed beside them.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from selenium import webdriver

from autoprune.report.page import report
from tests.report.runs import make_run

TIMES = 3
LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd"


def main():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"):
        options.add_argument(each)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    with tempfile.TemporaryDirectory() as folder:
        for trials, groups in ((64, 12), (10_000, 20)):
            run, page = make_run(Path(folder) / str(trials), trials=trials, groups=groups), Path(folder) / "page.html"
            begun = time.perf_counter()
            page.write_bytes(report([run]))
            made, opened = time.perf_counter() - begun, []
            for _ in range(TIMES):
                driver.get(page.as_uri())
                opened.append(
                    driver.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
                )
            print(
                f"{trials} trials: {page.stat().st_size / 1e6:.2f} MB, made in {made:.2f} s, "
                f"drawn in {min(opened) / 1e3:.2f} s, load {os.getloadavg()[0]:.1f}"
            )
    driver.quit()


if __name__ == "__main__":
    main()
