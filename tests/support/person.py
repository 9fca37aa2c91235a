"""What a person does with the page."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect

SCREEN = ".xterm-rows"
PROMPT = "❯"


async def sign_in(page: Page, token: str) -> None:
    await page.goto("/")
    await page.fill("input[name=token]", token)
    await page.get_by_role("button", name="Sign in").click()
    await listed(page)


async def become_guest(page: Page, name: str) -> str:
    """The guest's token, as the page tells it."""
    await page.goto("/")
    await page.fill("input[name=username]", name)
    await page.get_by_role("button", name="Try as a guest").click()
    await listed(page)
    return await page.get_by_role("textbox", name="Your token").input_value()


async def listed(page: Page) -> None:
    """Until the list is there and live."""
    await expect(page.locator(".connection.up")).to_be_visible()


def row(page: Page, name: str) -> Locator:
    return page.locator("li.container", has=page.get_by_role("heading", name=name, exact=True))


async def press(page: Page, verb: str, name: str) -> None:
    await row(page, name).get_by_role("button", name=f"{verb} {name}", exact=True).click()


async def open_terminal(page: Page, name: str, prompt: str) -> None:
    await press(page, "Terminal", name)
    await attached(page, prompt)


async def attached(page: Page, prompt: str) -> None:
    """Until the shell listens: what is typed before goes nowhere."""
    await expect(page.locator(".terminal .state")).to_have_text("")
    await expect(page.locator(SCREEN)).to_contain_text(prompt)


async def typed(page: Page, text: str) -> None:
    await page.locator(".xterm-helper-textarea").focus()
    await page.keyboard.type(text)
    await page.keyboard.press("Enter")


async def shows(page: Page, text: str) -> None:
    await expect(page.locator(SCREEN)).to_contain_text(text)


async def fill(page: Page, **values: str) -> Locator:
    """Open the form for a new container and write into it."""
    await page.click("#new")
    form = page.get_by_role("dialog", name="New container")
    for name, value in values.items():
        control = form.locator(f"[name={name}]")
        if await control.evaluate("element => element.tagName") == "SELECT":
            await control.select_option(value)
        else:
            await control.fill(value)
    return form


async def submit(form: Locator) -> None:
    await form.get_by_role("button", name="Create").click()


async def complaint(form: Locator, name: str, text: str) -> None:
    """What is said next to one field, and that assistive programs are told that it belongs there."""
    control = form.locator(f"[name={name}]")
    await expect(control).to_have_attribute("aria-invalid", "true")
    described = await control.get_attribute("aria-describedby") or ""
    await expect(form.locator(f"#{described.split()[0]}")).to_contain_text(text)
