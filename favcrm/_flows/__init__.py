"""The flows, written once for both colours: no HTTP library, event loop, clock or environment in here."""
