"""Arrow keys that step through a series, wherever on the page the focus is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from panel.custom import JSComponent


class ArrowKeys(JSComponent):
    """Invisible component that hears the arrows left and right while it is on the page.

    Who types a text or moves a slider keeps the arrows.
    """

    _esm = """
    const own = (element) =>
      element.isContentEditable || ["TEXTAREA", "SELECT"].includes(element.tagName) ||
      (element.tagName === "INPUT" && !["checkbox", "button"].includes(element.type)) ||
      ["slider", "tab", "option", "menuitem"].includes(element.getAttribute?.("role"))

    export function render({ model }) {
      const press = (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
        const meant = event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented
        if (!step || meant || own(event.composedPath()[0])) return
        event.preventDefault()
        model.send_msg(step)
      }
      window.addEventListener("keydown", press)
      model.on("remove", () => window.removeEventListener("keydown", press))
      return document.createElement("div")
    }
    """

    def __init__(self, pressed: Callable[[int], None], **params: Any) -> None:
        super().__init__(width=0, height=0, margin=0, **params)
        self._pressed = pressed

    def _handle_msg(self, data: Any) -> None:
        if data in (-1, 1):
            self._pressed(int(data))
