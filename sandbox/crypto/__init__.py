"""The crypto trading platform of the sandbox: one real service on a real redis-server."""

from sandbox.crypto.lifecycle import DEFAULT_WEBHOOK, down, platform_status, up, verify

__all__ = ["DEFAULT_WEBHOOK", "down", "platform_status", "up", "verify"]
