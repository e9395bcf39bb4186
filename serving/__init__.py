"""How do people and programs ask? The HTTP API and the page."""
