"""The flows, written once for sync and async, without an HTTP library, an event loop, a clock or the environment."""
