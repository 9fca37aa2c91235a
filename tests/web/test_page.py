"""The page at `/` in a real browser."""

from __future__ import annotations

import re

from playwright.async_api import BrowserContext, Page, expect

from support.client import Api

SCREEN = ".xterm-rows"


async def open_terminal(page: Page, name: str) -> None:
    row = page.locator("li.container", has_text=name)
    await row.get_by_role("button", name="Terminal").click()
    await page.wait_for_selector(".xterm-helper-textarea", state="attached")


async def typed(page: Page, text: str) -> None:
    await page.locator(".xterm-helper-textarea").focus()
    await page.keyboard.type(text)
    await page.keyboard.press("Enter")


async def screen(page: Page, text: str) -> None:
    """Until the terminal shows `text`, whichever renderer draws it."""
    await page.wait_for_function(
        "text => document.querySelector('.xterm').textContent.includes(text)", arg=text, timeout=30_000
    )


async def test_a_person_creates_types_reloads_and_deletes(signed_in: Page, api: Api) -> None:
    page = signed_in
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))

    await page.click("#new")
    dialog = page.locator("dialog")
    await dialog.locator("[name=image]").select_option("debian:bookworm")
    await dialog.locator("[name=name]").fill("from-the-page")
    await dialog.locator("[name=memory_mb]").fill("256")
    await dialog.locator("[name=cpu_shares]").fill("500")
    await dialog.locator("[name=disk_mb]").fill("1024")
    await dialog.get_by_role("button", name="Create").click()
    row = page.locator("li.container", has_text="from-the-page")
    await expect(row).to_be_visible()
    await expect(row).to_have_attribute("data-status", "running", timeout=60_000)

    await open_terminal(page, "from-the-page")
    await typed(page, "MARK=kept; echo first-$((20 + 3))")
    await screen(page, "first-23")
    await page.reload()
    await page.wait_for_selector(".xterm-helper-textarea", state="attached")
    await screen(page, "first-23")
    await typed(page, "echo second-$MARK")
    await screen(page, "second-kept")

    await page.click("text=← Containers")
    page.on("dialog", lambda dialog: dialog.accept())
    await row.get_by_role("button", name="Delete").click()
    await expect(row).to_have_count(0)
    assert not troubles


async def test_progress_and_reasons_are_shown(signed_in: Page, api: Api) -> None:
    page = signed_in
    answer = await api.http.post(
        "/api/containers", json={"image": "custom", "custom_image": "registry.invalid/none:1", "name": "never"}
    )
    row = page.locator("li.container", has_text="never")
    await expect(row).to_have_attribute("data-status", "error", timeout=60_000)
    await expect(row.locator(".note")).to_contain_text(re.compile("image_not_found|pull_failed"))
    await api.delete(answer.json()["id"])
    await expect(row).to_have_count(0)


async def test_an_expired_session_goes_back_to_the_sign_in_and_says_why(
    signed_in: Page, context: BrowserContext
) -> None:
    page = signed_in
    await context.clear_cookies()
    await page.reload()
    await expect(page.locator(".trouble")).to_contain_text("session has ended")


async def test_a_wrong_token_is_told_and_nothing_is_kept(page: Page, context: BrowserContext) -> None:
    await page.goto("/")
    await page.fill("input[name=token]", "rexec_" + "0" * 64)
    await page.click("text=Sign in")
    await expect(page.locator(".trouble")).not_to_be_empty()
    assert not await context.cookies()


async def test_the_page_is_closed_to_scripts_and_frames(page: Page, api: Api, signed_in: Page) -> None:
    answer = await api.http.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "'unsafe-eval'" not in policy
    assert "script-src" not in policy or "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert "frame-ancestors 'none'" in policy
    cookies = await signed_in.context.cookies()
    assert cookies
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Strict" for cookie in cookies)
    assert await signed_in.evaluate("document.cookie") == ""


async def test_a_guest_gets_in_by_name(page: Page) -> None:
    await page.goto("/")
    await page.fill("input[name=username]", "a-guest")
    await page.click("text=Try as a guest")
    await page.wait_for_selector("#new")
    await expect(page.locator(".usage")).to_contain_text("0 of 1 containers")
