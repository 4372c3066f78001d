"""perfgate: performance regression gates for LLM inference engines, as a pytest plugin."""

__version__ = "0.1.0"
