"""The console: the incidents in a browser, for a tired person at three in the morning."""

from opslib.console.routes import router

__all__ = ["router"]
