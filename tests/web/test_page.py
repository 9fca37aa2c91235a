"""The page at `/` in a real browser."""

from __future__ import annotations

import asyncio
import re
import time

import aiodocker
from playwright.async_api import BrowserContext, Page, WebSocket, expect

from support.client import Api
from support.person import (
    PROMPT,
    SCREEN,
    attached,
    become_guest,
    complaint,
    fill,
    listed,
    open_terminal,
    press,
    row,
    shows,
    sign_in,
    submit,
    typed,
)
from support.server import Served

SMALL = {"memory_mb": "256", "cpu_shares": "500", "disk_mb": "1024"}
ASKED = r'bash -c "stty -echo; printf \"\033[5n\"; read -t 60 -d n a; stty echo; echo got-\${#a}"'
ROOM = """() => {
    const box = (selector) => document.querySelector(selector).getBoundingClientRect();
    const screen = box(".xterm-screen");
    const beside = box(".xterm-scrollable-element > .scrollbar.vertical").left - screen.right;
    return { below: innerHeight - screen.bottom, beside };
}"""
ENDED = "Your session has ended. Sign in again."


async def test_a_person_creates_types_reloads_and_deletes(signed_in: Page) -> None:
    page = signed_in
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    stages: list[str] = []

    def heard(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: stages.extend(re.findall(r'"stage":"([a-z]+)"', str(frame))))

    page.on("websocket", heard)
    await page.reload()
    await listed(page)

    await submit(await fill(page, image="debian:bookworm", name="from-the-page", **SMALL))
    made = row(page, "from-the-page")
    await expect(made).to_have_attribute("data-status", "running")
    await expect(made).to_contain_text("debian:bookworm · 256 MB · 0.5 cores · 1 GB disk")
    assert stages[-1] == "ready", stages

    await open_terminal(page, "from-the-page", PROMPT)
    await typed(page, "MARK=kept; echo first-$((20 + 3))")
    await shows(page, "first-23")
    # A program asks the terminal something. Who joins later must not answer again.
    await typed(page, f"{ASKED}; cat -v")
    await shows(page, "got-3")
    await page.reload()
    await attached(page, "first-23")
    await typed(page, "none-answered")
    await expect(page.locator(SCREEN)).to_contain_text(re.compile("none-answered.*none-answered", re.DOTALL))
    await expect(page.locator(SCREEN)).not_to_contain_text("[0n")
    await page.keyboard.press("Control+c")
    await typed(page, "echo second-$MARK")
    await shows(page, "second-kept")
    await typed(page, "seq 200000; echo flood-$((40 + 2))")
    await shows(page, "flood-42")
    await fits_at_every_size(page)
    await typed(page, "exit 3")
    await expect(page.get_by_role("alert")).to_contain_text("The shell ended with code 3.")
    await page.get_by_role("button", name="New shell").click()
    await attached(page, PROMPT)
    await expect(page.locator(SCREEN)).not_to_contain_text("second-kept")

    await page.get_by_role("button", name="← Containers").click()
    await expect(made.get_by_role("button", name="Terminal")).to_be_focused()
    await press(page, "Delete", "from-the-page")
    question = page.get_by_role("alertdialog", name="Delete from-the-page?")
    await page.keyboard.press("Escape")
    await expect(question).to_have_count(0)
    await expect(made).to_be_visible()
    await press(page, "Delete", "from-the-page")
    await question.get_by_role("button", name="Delete").click()
    await expect(made).to_have_count(0)
    assert not troubles


async def fits_at_every_size(page: Page) -> None:
    """The whole last line is seen, no line is given away, and the scroll bar stands beside the text."""
    usual = page.viewport_size
    assert usual is not None
    for width, height in ((1000, 700), (1000, 640), (1000, 600), (1000, 599), (1000, 560), (390, 500)):
        await page.set_viewport_size({"width": width, "height": height})
        async with asyncio.timeout(60):
            while not 0 <= (room := await page.evaluate(ROOM))["below"] < 30 or room["beside"] < 0:
                await asyncio.sleep(0.1)
    await page.set_viewport_size(usual)


async def test_a_terminal_goes_on_at_the_byte_when_the_server_was_killed(
    signed_in: Page, api: Api, served: Served, docker: aiodocker.Docker
) -> None:
    page = signed_in
    container = await api.create(name="outlives")
    asked: list[str] = []
    page.on("websocket", lambda socket: asked.append(socket.url))
    await open_terminal(page, "outlives", "#")
    await typed(page, "echo before-$((0 + 1)); until [ -e /tmp/go ]; do sleep 0.1; done; seq -f 'line-%g;' 1 9")
    await shows(page, "before-1")
    beside = await page.context.new_page()
    await beside.goto("/")
    await listed(beside)
    await expect(row(beside, "outlives")).to_be_visible()

    await served.kill()
    state = page.locator(".terminal .state")
    await expect(state).to_have_text("reconnecting… what you type is not sent")
    await expect(beside.locator(".banner[role=status]")).to_contain_text("The server does not answer")
    for button in ("New container", "Sign out", "Terminal outlives", "Stop outlives", "Delete outlives"):
        await expect(beside.get_by_role("button", name=button)).to_be_disabled()
    inside = docker.containers.container(container["container_id"])
    command = await inside.exec(cmd=["touch", "/tmp/go"])
    await command.start(detach=True)
    await served.start()

    await shows(page, "line-9;")
    text = await page.locator(SCREEN).text_content() or ""
    assert [text.count(f"line-{number};") for number in range(1, 10)] == [1] * 9, text
    assert text.count("before-1") == 1, text
    assert "since=" in asked[-1], asked
    assert "epoch=" in asked[-1], asked
    await expect(state).to_have_text("")
    await typed(page, "echo after-$((1 + 1))")
    await shows(page, "after-2")
    await listed(beside)
    await expect(beside.locator(".banner[role=status]")).to_have_text("")
    await expect(beside.get_by_role("button", name="Stop outlives")).to_be_enabled()

    await page.context.set_offline(True)
    await expect(state).to_have_text("your browser is offline… what you type is not sent")
    await expect(beside.locator(".banner[role=status]")).to_contain_text("Your browser is offline.")
    await page.context.set_offline(False)
    await expect(state).to_have_text("")
    await listed(beside)
    await typed(page, "echo online-$((1 + 1))")
    await shows(page, "online-2")


async def test_two_tabs_tell_the_same_and_end_together(signed_in: Page, context: BrowserContext, api: Api) -> None:
    one, two = signed_in, await context.new_page()
    await two.goto("/")
    await listed(two)
    await submit(await fill(one, image="debian:bookworm", name="shared", **SMALL))
    await expect(row(two, "shared")).to_have_attribute("data-status", "running")

    await press(two, "Pause", "shared")
    await expect(row(one, "shared")).to_have_attribute("data-status", "paused")
    await press(one, "Resume", "shared")
    await expect(row(two, "shared")).to_have_attribute("data-status", "running")
    await press(two, "Stop", "shared")
    await expect(row(one, "shared")).to_contain_text("Stopped by you")
    await press(one, "Start", "shared")
    await expect(row(two, "shared")).to_have_attribute("data-status", "running")

    await open_terminal(two, "shared", PROMPT)
    await press(one, "Stop", "shared")
    await expect(two.get_by_role("alert")).to_contain_text("The container is stopped: Stopped by you.")
    await two.get_by_role("button", name="Start the container").click()
    await expect(row(one, "shared")).to_have_attribute("data-status", "running")
    await attached(two, PROMPT)

    await one.get_by_role("button", name="Sign out").click()
    await expect(one.locator("input[name=token]")).to_be_visible()
    await expect(two.get_by_role("alert")).to_have_text(ENDED)
    assert (await two.request.get("/api/profile")).status == 401


async def test_reasons_are_told_in_words(signed_in: Page) -> None:
    page = signed_in
    await submit(await fill(page, image="custom", custom_image="registry.invalid/none:1", name="never", **SMALL))
    await expect(row(page, "never")).to_have_attribute("data-status", "error")
    await expect(row(page, "never")).to_contain_text(
        re.compile("There is no such image|The image could not be fetched")
    )
    await expect(row(page, "never").get_by_role("button", name="Terminal never")).to_be_hidden()
    await expect(page.locator(".usage")).to_have_text(re.compile(r"^\d+ containers?, and [1-9]\d* in error$"))


async def test_a_forms_errors_stand_next_to_their_fields(signed_in: Page, api: Api) -> None:
    page = signed_in
    await api.create(name="taken")
    form = await fill(page, image="debian:bookworm", name="no spaces!", memory_mb="5", disk_mb="1024.5")
    await submit(form)
    await complaint(form, "name", "1 to 64 letters, digits, hyphens or underscores")
    await complaint(form, "memory_mb", "Must be between 256 and ")
    await complaint(form, "disk_mb", "A whole number, please.")
    await expect(form.locator("option[value=macos]")).to_be_disabled()

    await form.locator("[name=image]").select_option("custom")
    for name, value in {**SMALL, "name": "fine"}.items():
        await form.locator(f"[name={name}]").fill(value)
    await submit(form)
    await complaint(form, "custom_image", "required")
    await form.locator("[name=image]").select_option("debian:bookworm")
    await form.locator("[name=name]").fill("taken")
    await submit(form)
    await complaint(form, "name", "already exists")
    await form.locator("[name=name]").fill("taken-no-more")
    await submit(form)
    await expect(row(page, "taken-no-more")).to_be_visible()


async def test_a_wrong_an_expired_and_no_token_are_told_and_nothing_is_kept(
    page: Page, context: BrowserContext, api: Api
) -> None:
    made = await api.http.post("/api/tokens", json={"name": "short", "scopes": ["containers:read"], "expires_in": 1})
    expired = made.json()["token"]
    async with asyncio.timeout(60):
        while (await api.http.get("/api/profile", headers={"Authorization": f"Bearer {expired}"})).status_code != 401:
            await asyncio.sleep(0.2)
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    await page.goto("/")
    button = page.get_by_role("button", name="Sign in")
    await button.click()
    await complaint(page.locator("main"), "token", "Paste a token first.")
    assert not troubles
    for token in ("rexec_" + "0" * 64, expired):
        await page.fill("input[name=token]", token)
        await expect(page.locator("input[name=token]")).not_to_have_attribute("aria-invalid", "true")
        await button.click()
        await complaint(page.locator("main"), "token", "This token is unknown, has expired or was revoked.")
    assert not await context.cookies()


async def test_an_ended_session_ends_every_page_politely(signed_in: Page, context: BrowserContext, api: Api) -> None:
    page = signed_in
    await api.create(name="left-behind")
    await open_terminal(page, "left-behind", "#")
    for session in (await api.http.get("/api/sessions")).json()["sessions"]:
        if "HeadlessChrome" in (session["user_agent"] or ""):
            assert (await api.http.delete(f"/api/sessions/{session['id']}")).status_code == 200
    await expect(page.get_by_role("alert")).to_have_text(ENDED)

    await page.fill("input[name=token]", api.token)
    await page.get_by_role("button", name="Sign in").click()
    await attached(page, "#")
    await context.clear_cookies()
    await page.reload()
    await expect(page.get_by_role("alert")).to_have_text(ENDED)


async def test_a_guest_gets_in_by_name_and_back_by_its_token(page: Page) -> None:
    await page.goto("/")
    await page.fill("input[name=username]", "no spaces")
    await page.get_by_role("button", name="Try as a guest").click()
    await complaint(page.locator("main"), "username", "2 to 30 letters")
    token = await become_guest(page, "page-guest")
    await expect(page.locator(".usage")).to_have_text("0 of 1 containers")
    await expect(page.locator("header")).to_contain_text("account ends in 49 h")
    await submit(await fill(page, image="debian:bookworm", name="of-a-guest"))
    await expect(row(page, "of-a-guest")).to_have_attribute("data-status", "running")
    await expect(row(page, "of-a-guest").locator("time")).to_contain_text("ends in 49 h")
    form = await fill(page, image="debian:bookworm")
    await submit(form)
    await expect(form.get_by_role("alert")).to_have_text("You have 1 of 1 containers: delete one first.")
    await form.get_by_role("button", name="Cancel").click()

    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Sign out").click()
    await expect(page.locator("input[name=token]")).to_be_visible()
    await sign_in(page, token)
    await expect(row(page, "of-a-guest")).to_be_visible()
    await press(page, "Delete", "of-a-guest")
    await page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".usage")).to_have_text("0 of 1 containers")


async def test_a_session_of_a_container_is_renewed(page: Page, api: Api) -> None:
    made = await api.http.post("/api/admin/users", json={"username": f"renews-{time.time_ns()}"})
    await sign_in(page, made.json()["token"])
    await submit(await fill(page, image="debian:bookworm", name="goes-on", **SMALL))
    await expect(row(page, "goes-on")).to_have_attribute("data-status", "running")
    ends = row(page, "goes-on").locator("time")
    await expect(ends).to_have_text(re.compile(r"ends in (49|50) h"))
    before = await ends.get_attribute("datetime") or ""
    await press(page, "Renew", "goes-on")
    await expect(ends).not_to_have_attribute("datetime", before)
    assert (await ends.get_attribute("datetime") or "") > before


async def test_the_page_is_closed_to_scripts_frames_and_strangers(signed_in: Page, api: Api) -> None:
    answer = await api.http.get("/")
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    refused = "() => { try { document.body.innerHTML = '<img>'; return 'taken' } catch { return 'refused' } }"
    assert await signed_in.evaluate(refused) == "refused"

    cookies = await signed_in.context.cookies()
    assert cookies
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Strict" for cookie in cookies)
    assert await signed_in.evaluate("() => document.cookie") == ""
    body = {"token": api.token}
    secure = {"Origin": api.url.replace("http:", "https:"), "Authorization": ""}
    flags = (await api.http.post("/api/auth/session", json=body, headers=secure)).headers["set-cookie"]
    assert "; Secure" in flags
    stranger = await api.http.post("/api/auth/session", json=body, headers={"Origin": "https://evil.example"})
    assert stranger.status_code == 403


async def test_the_page_can_be_used_by_keyboard_alone(signed_in: Page) -> None:
    page = signed_in
    await page.locator("#new").focus()
    await page.keyboard.press("Enter")
    form = page.get_by_role("dialog", name="New container")
    await expect(form.get_by_label("Image", exact=True)).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.type("by-keys")
    await page.keyboard.press("Enter")
    await expect(form).to_have_count(0)
    await expect(page.locator("#new")).to_be_focused()
    await expect(row(page, "by-keys")).to_have_attribute("data-status", "running")
    await row(page, "by-keys").get_by_role("button", name="Delete by-keys").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alertdialog").get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(row(page, "by-keys")).to_have_count(0)
    await expect(page.locator("#new")).to_be_focused()
