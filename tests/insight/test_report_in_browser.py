"""The report as a reader sees it: opened in headless Chromium, light and dark, narrow and wide, and printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chainrule.insight import Summary, write_report
from tests.insight.devtools import Chromium, Page
from tests.insight.runs import digits_run, hard_run, numbers_run

VISIBLE = """(selector) => [...document.querySelectorAll(selector)].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(e).visibility === "visible";
}).length"""
RUNS = {"digits": digits_run, "hard": hard_run, "numbers": numbers_run}


@pytest.fixture(scope="module")
def chromium(browser: str) -> Iterator[Chromium]:
    with Chromium(browser) as process:
        yield process


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Summary]]:
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for name, run in RUNS.items():
        summary = run()
        write_report(folder / f"{name}.html", summary)
        found[name] = folder / f"{name}.html", summary
    return found


def visible(page: Page, selector: str) -> int:
    return int(page.evaluate(f"({VISIBLE})({selector!r})"))


def test_every_part_of_a_trained_run_is_there_and_visible(
    chromium: Chromium, pages: dict[str, tuple[Path, Summary]]
) -> None:
    path, summary = pages["digits"]
    assert summary.error_flow is not None
    with chromium.open(path) as page:
        assert page.evaluate("document.title") == "digits: report"
        sections = page.evaluate("[...document.querySelectorAll('main > section')].map((s) => s.id)")
        expected = ["verdict", "advice", "training", "classes", "flow", "worst", "data", "settings", "environment"]
        assert sections == expected
        assert visible(page, "main > section") == len(expected)
        assert visible(page, ".lead p") >= 1
        assert visible(page, ".bar-fill") == 2
        assert visible(page, "#training svg") == 3  # loss, accuracy, learning rate
        assert visible(page, "#training svg .mark") == 3  # the best epoch
        assert visible(page, "#classes .matrix td.hit") >= 9
        assert visible(page, "#flow .layer") == 3
        assert visible(page, ".units li") == sum(layer.units for layer in summary.error_flow)
        assert visible(page, "#flow .heat td") > 100
        assert visible(page, "#worst img") == 12
        assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth === 8 && i.alt)")
        assert page.evaluate("document.querySelector('.ours .bar-value').textContent").endswith("%")
        discs = page.evaluate(
            "[...document.querySelectorAll('.layer:last-of-type .units li')]"
            ".map((e) => parseFloat(getComputedStyle(e, '::before').width) ** 2)"
        )
        shares = summary.error_flow[-1].share
        largest = int(shares.argmax())
        assert discs[largest] == max(discs)
        for disc, share in zip(discs, shares, strict=True):  # areas are shares
            assert disc / discs[largest] == pytest.approx(share / shares[largest], abs=0.03)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("width", [420, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_page_asks_for_nothing_complains_of_nothing_and_fits(
    chromium: Chromium, pages: dict[str, tuple[Path, Summary]], name: str, width: int, dark: bool
) -> None:
    with chromium.open(pages[name][0], width=width, dark=dark) as page:
        assert page.problems == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
        assert [url for url in page.requests if url.startswith("file:")] == [pages[name][0].as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
        assert (page.evaluate(lightness) < 60) is dark
        too_wide = "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, svg')"
        assert page.evaluate(f"{too_wide} && e.getBoundingClientRect().right > {width} + 1).length") == 0
        smallest = (
            "Math.min(...[...document.querySelectorAll('svg.chart')].map((s) => "
            "11.5 * s.getBoundingClientRect().width / 420))"
        )
        assert page.evaluate(smallest) > 9.5  # points of the text in drawings


def test_no_text_of_the_data_becomes_markup(chromium: Chromium, pages: dict[str, tuple[Path, Summary]]) -> None:
    with chromium.open(pages["hard"][0]) as page:
        assert page.evaluate("document.querySelectorAll('script').length") == 1
        assert page.evaluate("document.querySelectorAll('main i:not([style]):not([class])').length") == 0
        assert "<script>alert('1')</script>" in page.evaluate("document.querySelector('h1').textContent")
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.spoilt=1\">')")
        assert page.evaluate("window.spoilt === undefined")


def test_pointing_at_a_unit_tells_its_numbers(chromium: Chromium, pages: dict[str, tuple[Path, Summary]]) -> None:
    with chromium.open(pages["digits"][0]) as page:
        box = page.evaluate(
            "(() => { const e = document.querySelector('.units .down'); e.scrollIntoView({behavior: 'instant'});"
            " scrollBy({top: -200, behavior: 'instant'}); const b = e.getBoundingClientRect();"
            " return new Promise((done) => setTimeout(() => done({x: b.x + b.width / 2, y: b.y + b.height / 2}), 300)) })()"
        )
        page.call("Input.dispatchMouseEvent", type="mouseMoved", **box)
        text = page.evaluate("document.querySelector('.tip').textContent")
        assert visible(page, ".tip") == 1
        for part in ("unit ", "contribution −", "(lowers the loss)", "mean |δ|", "largest |δ| in class"):
            assert part in text


def test_contrast_of_text_is_enough_to_read(chromium: Chromium, pages: dict[str, tuple[Path, Summary]]) -> None:
    # WCAG 2.2, 1.4.3: 4.5 for text, 3 for large text; here everything that is text on the page or on a card.
    code = """(() => {
        const numbers = (c) => c.match(/[\\d.]+/g).map(Number);
        const light = (c) => numbers(c).slice(0, 3).map((v) => v / 255)
            .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((s, v, k) => s + v * [.2126, .7152, .0722][k], 0);
        const ground = getComputedStyle(document.body).backgroundColor;
        const of = (e) => { const a = light(getComputedStyle(e).color), b = light(ground);
            return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) };
        return Math.min(...[...document.querySelectorAll('p, dt, dd, h1, h2, h3, summary, .flag, .warn, .wrong')].map(of));
    })()"""
    for dark in (False, True):
        with chromium.open(pages["digits"][0], dark=dark) as page:
            assert page.evaluate(code) >= 4.5


def test_the_report_prints(chromium: Chromium, pages: dict[str, tuple[Path, Summary]]) -> None:
    with chromium.open(pages["digits"][0]) as page:
        assert page.pdf().startswith(b"%PDF")
        page.call("Emulation.setEmulatedMedia", media="print")
        assert visible(page, "nav") == 0
        assert visible(page, "#flow .layer") == 3
