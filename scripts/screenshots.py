"""Makes the pictures in docs/images: the web page and the terminal, of a real solve.

    python scripts/screenshots.py

Takes the best pack that is here. Needs Chromium and the development packages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from lorid_edge import Solver
from lorid_edge.cli.board import Board, summary
from lorid_edge.cli.render import draw
from lorid_edge.loading import LoadSettings
from lorid_edge.packs.store import PackStore
from lorid_edge.solver import SolveSettings

IMAGES = Path(__file__).parents[1] / "docs" / "images"
QUESTION = (
    "A gardener plants 6 rows of 14 tulips. A quarter of them do not come up, and she sells the "
    "rest in bunches of 7 for $4 a bunch. How much money does she get?"
)
POLICY = "paper"  # all roles take part in it
WIDTH = 2
TERMINAL_COLUMNS, TERMINAL_LINES = 104, 22
THEME = TerminalTheme(
    (22, 23, 26),
    (226, 224, 219),
    [
        (60, 62, 66), (231, 130, 120), (121, 201, 157), (214, 185, 92),
        (134, 182, 228), (200, 160, 220), (130, 200, 205), (226, 224, 219),
    ],
)  # fmt: skip


def best_pack() -> str:
    store = PackStore()
    return next(name for name in ("standard", "small", "tiny") if store.find(name).is_present)


def terminal_svg(pack: str) -> str:
    """What `solve` leaves on a terminal, as SVG without any address of another host."""
    board = Board(QUESTION)
    with Solver.open(pack, settings=LoadSettings(width=WIDTH)) as solver:
        for event in solver.stream(QUESTION, settings=SolveSettings(POLICY)):
            board.take(event)
    assert board.solution is not None
    console = Console(record=True, width=TERMINAL_COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text(f"$ lorid-edge solve --policy {POLICY} --width {WIDTH} 'A gardener ...'"))
    console.print(draw(board, TERMINAL_COLUMNS, TERMINAL_LINES))
    console.print(Text(board.solution.answer or ""))
    console.print(Text(summary(board.solution)), end="\n\n")  # the last line would be cut
    svg = console.export_svg(title="lorid-edge", theme=THEME)
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)
    return svg.replace("Fira Code", "DejaVu Sans Mono")


@contextmanager
def served(pack: str) -> Iterator[str]:
    """The address of the page, with its token."""
    command = [str(Path(sys.executable).parent / "lorid-edge"), "serve", "--json", "--port", "0"]
    command += ["--pack", pack, "--width", str(WIDTH)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            yield f"{said['address']}/#token={said['token']}"
        finally:
            process.terminate()


def shoot_terminal(browser: Browser, svg: str) -> None:
    page = browser.new_page(device_scale_factor=1.5)
    page.set_content(f"<body style='margin:0'>{svg}</body>")
    page.locator("svg").first.screenshot(path=IMAGES / "terminal.png", omit_background=True)
    page.close()


def shoot_page(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page.set_default_timeout(180_000)
    page.goto(address)
    page.fill("#question", QUESTION)
    page.click("#options summary")
    page.select_option("#policy", POLICY)
    page.click("#options summary")
    page.press("#question", "Control+Enter")
    page.wait_for_selector("#deep-samples .text p")
    page.wait_for_timeout(1500)  # some more text
    shoot(page, "page-dark.png")
    page.wait_for_selector("#result.solved")
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(800)  # the bar of the confidence grows
    shoot(page, "page-light.png")
    page.close()


def shoot_phone(browser: Browser, address: str) -> None:
    page = browser.new_page(
        viewport={"width": 360, "height": 780}, device_scale_factor=2, color_scheme="light"
    )
    page.set_default_timeout(180_000)
    page.goto(address)
    page.fill("#question", QUESTION)
    page.press("#question", "Control+Enter")
    page.wait_for_selector("#result.solved")
    page.wait_for_timeout(800)
    page.screenshot(path=IMAGES / "page-phone.png")
    page.close()


def shoot(page: Page, name: str) -> None:
    """The whole page, but no longer than a reader would look at."""
    height = page.evaluate("document.documentElement.scrollHeight")
    page.screenshot(
        path=IMAGES / name,
        full_page=True,
        clip={"x": 0, "y": 0, "width": 1280, "height": min(1150, height)},
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    pack = best_pack()
    svg = terminal_svg(pack)
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright, served(pack) as address:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        shoot_terminal(browser, svg)
        shoot_page(browser, address)
        shoot_phone(browser, address)
        browser.close()
    for path in sorted(IMAGES.glob("*.png")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, pack {pack}")


if __name__ == "__main__":
    main()
