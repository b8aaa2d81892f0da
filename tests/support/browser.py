"""Real headless Chromium, driven by Playwright: found on PATH, and never on the network."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

#: It may not fetch anything by itself.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-domain-reliability", "--disable-sync", "--no-pings", "--disable-extensions",
    "--disable-features=OptimizationHints,MediaRouter,Translate,DialMediaRouteProvider,AutofillServerCommunication",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium():
    """Where it is, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def opened(path, **options):
    """(page, errors, requests) of a file: what its console complains of, and what it asks for beside itself."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            page = browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | options)).new_page()
            errors, requests = [], []
            page.on("console", lambda each: errors.append(each.text) if each.type in ("error", "warning") else None)
            page.on("pageerror", lambda each: errors.append(str(each)))
            page.on("request", lambda each: requests.append(each.url))
            page.goto(path.as_uri(), timeout=120_000, wait_until="commit")
            page.wait_for_selector("html[data-ready=yes]", timeout=120_000)
            yield page, errors, [each for each in requests if each != path.as_uri()]
        finally:
            browser.close()
