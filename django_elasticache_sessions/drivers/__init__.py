"""The only code that talks to the store: one driver for threads, one for asyncio."""
